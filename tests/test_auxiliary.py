"""Auxiliary tasks and the replay they learn from, against values worked out by hand."""

import math
import warnings
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete

from daedalus.accelerators.pixels import _cell_change, pixel_change
from daedalus.accelerators.replay import SequenceReplay
from daedalus.accelerators.rollout import Inputs, Rollout
from daedalus.agents import auxiliary, auxiliary_labels, losses, make_agent
from daedalus.agents.a3c_network import A3CConfig, A3CNetwork, Unrolled
from daedalus.agents.base import Spaces

IMAGE = Box(0, 255, (84, 84, 3), np.uint8)
SMALL = Box(0, 255, (21, 21, 3), np.uint8)


def network(space: Box = SMALL, lstm: int = 16) -> A3CNetwork:
    torch.manual_seed(0)
    spaces = Spaces({"image": space}, Discrete(3), {})
    return A3CNetwork(spaces, A3CConfig(hidden=16, lstm=lstm))


def read(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers, as they are read when a row is logged."""
    return {name: float(v() if callable(v) else v) for name, v in metrics.items()}


def stream(steps: int, envs: int, seed: int = 0, ends: float = 0.1) -> dict[str, np.ndarray]:
    """Return a random stream of episodes; ``x`` is the absolute step, ``episode`` its number."""
    rng = np.random.default_rng(seed)
    terminated = rng.random((steps, envs)) < ends
    truncated = ~terminated & (rng.random((steps, envs)) < ends)
    start = np.ones((steps + 1, envs), bool)
    start[1:] = terminated | truncated
    return {
        "x": np.broadcast_to(np.arange(steps + 1)[:, None], (steps + 1, envs)).astype(np.float32),
        "episode": np.cumsum(start, 0).astype(np.float32),
        "reward": rng.integers(-1, 2, (steps, envs)).astype(np.float32),
        "terminated": terminated,
        "truncated": truncated,
        "start": start,
        "action": rng.integers(0, 3, (steps, envs)),
    }


def rollout(data: dict[str, np.ndarray], first: int, last: int, **more: Any) -> Rollout:
    """Return steps first .. last - 1 of a stream."""
    part = {k: torch.from_numpy(np.array(v[first : last + 1])) for k, v in data.items()}
    steps = last - first
    names = ("reward", "terminated", "truncated", "action")
    reward, terminated, truncated, action = (part[n][:steps] for n in names)
    none = torch.zeros((0, 2), dtype=torch.int64)
    fields: dict[str, Any] = {
        "observation": {"x": part["x"], "episode": part["episode"]},
        "valid": torch.ones_like(terminated),
        "previous_action": torch.zeros_like(part["x"]),
        "previous_reward": torch.zeros_like(part["x"]),
        "label": {},
        "cost": torch.zeros_like(reward),
        "final_index": none,
        "final_observation": {},
        "final_state": {},
        "extras": {},
        "initial_state": {},
        "state": {},
    } | more
    return Rollout(
        action=action,
        reward=reward,
        terminated=terminated,
        truncated=truncated,
        episode_start=part["start"],
        **fields,
    )


CPU = torch.device("cpu")


def filled(data: dict[str, np.ndarray], capacity: int, length: int = 5) -> SequenceReplay:
    replay = SequenceReplay(capacity, CPU)
    for first in range(0, len(data["reward"]), length):
        part = rollout(data, first, first + length)
        replay.add(part, {"twice": 2 * part.reward})
    return replay


# ------------------------------------------------------------------------------------ the replay


def test_the_ring_holds_the_latest_steps_of_every_environment() -> None:
    replay = filled(stream(45, 2), capacity=17)
    position = torch.arange(17).unsqueeze(1).expand(-1, 2)
    rows = replay._rows(position)
    seen = replay._take("observation/x", rows, torch.arange(2).expand(17, -1))
    assert seen[:, 0].tolist() == list(range(28, 45))
    assert torch.equal(seen[:, 0], seen[:, 1])
    assert replay.count == 17


def test_sequences_by_hand() -> None:
    data = stream(20, 4, ends=0.0)
    data["terminated"][8, 1] = data["truncated"][8, 2] = True
    data["start"][9, 1:] = True  # in environment 3 without the end of the episode before
    data["terminated"][10, 2] = True  # of the next episode: must not matter
    sequences = filled(data, 20).at(torch.full((4,), 5), 6, ("twice",))
    assert sequences.inputs.observation["x"][:, 0].tolist() == [5, 6, 7, 8, 9, 10, 11]
    # no end: 6 steps and a bootstrap; terminal at step 8: steps 5 .. 8, no bootstrap;
    # cut by a time limit at 8, or broken off: steps 5 .. 7, bootstrap from what step 8 observed
    assert sequences.length.tolist() == [6, 4, 3, 3]
    assert sequences.ends.tolist() == [False, True, False, False]
    assert sequences.mask[:, 1].tolist() == [True] * 4 + [False] * 2
    # step by step: 1 goes on in the next episode, 2 and 3 leave out the step that was cut
    assert sequences.known[:, :2].all()
    assert sequences.known[:, 2].tolist() == [True] * 3 + [False] + [True] * 2
    assert torch.equal(sequences.known[:, 3], sequences.known[:, 2])
    assert sequences.terminated[:, 1].tolist() == [False] * 3 + [True] + [False] * 2
    assert sequences.terminated[5, 2]
    assert torch.equal(sequences.extra["twice"], 2 * sequences.reward)
    before = torch.from_numpy(data["reward"][4:11])
    expected = before * ~torch.from_numpy(data["start"][5:12])
    assert torch.equal(sequences.inputs.previous_reward, expected)
    assert torch.equal(sequences.inputs.previous_action, torch.from_numpy(data["action"][4:11]))


def test_no_sequence_counts_a_step_of_another_episode() -> None:
    data, rng = stream(300, 8, ends=0.05), np.random.default_rng(0)
    replay, starts = filled(data, 100), set[float]()
    for _ in range(50):
        sequences = replay.sequences(20, rng)
        episode, x = (sequences.inputs.observation[k] for k in ("episode", "x"))
        assert x.min() >= 200
        starts |= set(x[0].tolist())
        same = episode[:-1] == episode[0]
        assert (same | ~sequences.mask).all()
        last = sequences.length.clamp(max=20)
        bootstrap = episode.gather(0, last.unsqueeze(0)).squeeze(0)
        assert ((bootstrap == episode[0]) | sequences.ends).all()
    assert starts <= set(range(201, 280))
    assert len(starts) > 70  # of 79, in 400 draws: every environment's is its own


def test_a_step_that_only_resets_begins_no_sequence() -> None:
    data = stream(20, 1, ends=0.0)
    valid = torch.ones(20, 1, dtype=torch.bool)
    valid[7] = False
    replay = SequenceReplay(20, CPU)
    replay.add(rollout(data, 0, 20, valid=valid))
    assert replay.at(torch.tensor([7]), 5).length.tolist() == [0]
    assert replay.at(torch.tensor([5]), 5).length.tolist() == [2]
    assert replay.at(torch.tensor([5]), 5).known.T.tolist() == [[True, True, False, True, True]]


def test_too_few_steps_are_refused() -> None:
    with pytest.raises(ValueError, match="22 needed"):
        filled(stream(10, 2), 100).sequences(20, np.random.default_rng(0))


def test_a_replay_holds_enough_for_its_start_and_for_a_sequence() -> None:
    replay = filled(stream(20, 2), capacity=30)
    assert replay.holds(20, 5)
    assert not replay.holds(21, 5)
    assert replay.holds(8, 18)
    assert not replay.holds(8, 19)  # takes 21 steps
    assert filled(stream(35, 2), capacity=30).holds(500, 5)  # full


@pytest.mark.parametrize("cleared", [False, True])
def test_a_replay_begins_anew_with_another_number_of_environments(cleared: bool) -> None:
    replay = filled(stream(20, 2), capacity=30)
    if cleared:
        replay.clear()
        assert replay.count == 0
    data = stream(12, 3, ends=0.0)
    part = rollout(data, 0, 12)
    replay.add(part, {"twice": 2 * part.reward})
    assert (replay.count, replay.cursor) == (12, 12)
    assert torch.equal(replay.at(torch.ones(3, dtype=torch.int64), 10).reward, part.reward[1:11])
    assert replay.fields["age"][:12, 2].tolist() == list(range(12))


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize("name", ["unreal", "pgq"])
def test_agents_with_a_replay_go_on_with_another_number_of_copies(
    name: str, finished: bool
) -> None:
    off = {"pixel_control": 0.0} if name == "unreal" else {}
    kind = make_agent(name)
    config = kind.Config(n_steps=4, replay_start=8, hidden=8, lstm=8, **off)
    made = kind("daedalus/Catch-v0", config, num_envs=4).learn(80)
    assert made.replay.count == 20
    if finished:
        made.finish_task("first")
    made.set_env("daedalus/Catch-v0", num_envs=2)
    made.learn(24, reset_num_timesteps=False)
    assert made.replay.count == 12
    assert made.replay.fields["reward"].shape[1] == 2


# ----------------------------------------------------------------------------- reward prediction


@pytest.mark.parametrize("gap", [0, 1])
def test_reward_frames_are_of_one_episode_and_precede_the_reward(gap: int) -> None:
    data = stream(400, 4, seed=3, ends=0.08)
    replay = filled(data, 200)
    position, env = replay.rewarded(2000, 2 + gap, np.random.default_rng(0))  # type: ignore[misc]
    frames = replay.frames(position, env, 3, gap)
    step = position.numpy() + 200  # the oldest step held is 200
    assert torch.equal(frames["x"], torch.from_numpy(step[:, None] + [-2, -1, 0] - gap).float())
    reward = replay.reward_at(position, env).numpy()
    np.testing.assert_array_equal(reward, data["reward"][step, env.numpy()])
    own = data["episode"][step, env.numpy()]
    assert (frames["episode"].numpy() == own[:, None]).all()


def test_half_of_the_reward_frames_precede_a_reward() -> None:
    data = stream(200, 4, ends=0.02)
    data["reward"][:] = 0
    data["reward"][150, 2] = 1.0  # one in 800
    data["start"][146:151, 2] = data["terminated"][146:151, 2] = data["truncated"][146:151, 2] = 0
    replay = filled(data, 200)
    position, env = replay.rewarded(4000, 3, np.random.default_rng(0))  # type: ignore[misc]
    share = (replay.reward_at(position, env) != 0).float().mean().item()
    assert abs(share - 0.5) < 4 * math.sqrt(0.25 / 4000)


def test_without_any_reward_only_the_other_class_is_drawn() -> None:
    data = stream(50, 2)
    data["reward"][:] = 0
    position, _ = filled(data, 50).rewarded(30, 3, np.random.default_rng(0))  # type: ignore[misc]
    assert len(position) == 30
    short = stream(50, 2, ends=1.0)  # no episode is long enough
    assert filled(short, 50).rewarded(30, 3, np.random.default_rng(0)) is None


def test_the_class_is_the_sign_of_the_reward_that_follows_the_frames() -> None:
    """Rewards +, 0, -, 0, 0, 0, + ... by step: classes 1, 0, 2, 0, 0, 0, 1 ..."""
    data = stream(60, 1, ends=0.0)
    data["reward"][:, 0] = np.tile([0.5, 0, -2, 0, 0, 0], 10)
    task = auxiliary.RewardPrediction(network(), 1.0)
    batch = task.sample(filled(data, 60), 200, np.random.default_rng(0))
    assert batch is not None
    last = batch.frames["x"][:, -1].long()
    assert torch.equal(batch.label, torch.tensor([1, 0, 2, 0, 0, 0])[last % 6])
    assert set(batch.label.tolist()) == {0, 1, 2}


def test_with_a_gap_the_frames_are_of_one_episode_too() -> None:
    task = auxiliary.RewardPrediction(network(), 1.0, gap=1)
    replay = filled(stream(400, 4, seed=3, ends=0.2), 200)
    batch = task.sample(replay, 500, np.random.default_rng(0))
    assert batch is not None
    frames = batch.frames
    assert (frames["x"][:, 1:] - frames["x"][:, :-1] == 1).all()
    assert (frames["episode"] == frames["episode"][:, :1]).all()


def test_reward_prediction_loss_and_its_gradient() -> None:
    net = network()
    task = auxiliary.RewardPrediction(net, 1.0)
    torch.nn.init.zeros_(task.classes.weight)
    torch.nn.init.zeros_(task.classes.bias)
    frames = {"image": torch.randint(0, 255, (4, 3, 21, 21, 3), dtype=torch.uint8)}
    batch = auxiliary.RewardFrames(frames, torch.tensor([0, 1, 2, 1]))
    loss, metrics = task.loss(batch)
    assert loss.item() == pytest.approx(math.log(3), abs=1e-6)  # three equal classes
    assert read(metrics)["rewarded_share"] == 0.75
    with torch.no_grad():
        task.classes.bias[1] = 1.0  # now it always says positive, right for 2 of 3 rewards
    said = {k: v for k, v in read(task.loss(batch)[1]).items() if k.endswith("accuracy")}
    assert said == {
        "reward_accuracy": pytest.approx(2 / 3),
        "positive_reward_accuracy": 1.0,
        "negative_reward_accuracy": 0.0,
        "no_reward_accuracy": 0.0,
    }
    torch.nn.init.normal_(task.classes.weight)
    task.loss(batch)[0].backward()
    first = net.get_parameter("encoder.stacks.image.layers.0.weight").grad
    assert first is not None
    assert first.abs().sum() > 0
    assert all(p.grad is None for p in net.core.parameters())  # not through the LSTM
    assert net.encoder.first.weight.grad is None


# --------------------------------------------------------------------------------- pixel control


@pytest.mark.parametrize(
    ("side", "grid", "cell"),
    [(84, (20, 20), (4, 4)), (42, (12, 12), (3, 3)), (21, (10, 10), (2, 2))],
)
def test_the_grid_follows_the_image(side: int, grid: Any, cell: Any) -> None:
    space = Box(0, 255, (side, side, 3), np.uint8)
    task = auxiliary.PixelControl(network(space), Discrete(3), 0.05, 0.9)
    assert task.head.grid == grid
    assert task.cell == cell
    assert task.head(torch.zeros(2, 16)).shape == (2, grid[0] * grid[1], 3)


def test_pixel_change_by_hand() -> None:
    before = torch.zeros(1, 84, 84, 3, dtype=torch.uint8)
    after = before.clone()
    after[0, 2, 2, 0] = 255  # first pixel of the central 80 x 80: cell (0, 0)
    after[0, 1, 40] = 255  # outside
    after[0, 6:10, 81, :] = 51  # last column of cell (1, 19): 4 of 16 pixels change by 0.2
    change = pixel_change(before, after, (20, 20), (4, 4))[0]
    assert change[0, 0].item() == pytest.approx(1 / 48)
    assert change[1, 19].item() == pytest.approx(0.25 * 0.2)
    assert change.sum().item() == pytest.approx(1 / 48 + 0.05)


def test_pixel_change_is_symmetric_and_equals_its_source() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (2, 2, 21, 21, 3)).astype(np.uint8)
    got = pixel_change(torch.from_numpy(a), torch.from_numpy(b), (10, 10), (2, 2)).numpy()
    plain = np.abs(a.astype(float) - b)[:, :20, :20] / 255
    expected = plain.reshape(2, 10, 2, 10, 2, 3).mean((2, 4, 5))
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    np.testing.assert_allclose(got, _cell_change.py_func(b, a, (10, 10), (2, 2)), rtol=1e-5)


def test_pixel_rewards_at_the_end_of_an_episode_use_its_last_image() -> None:
    task = auxiliary.PixelControl(network(), Discrete(3), 0.05, 0.9)
    data = stream(2, 1, ends=0.0)
    images = torch.zeros(3, 1, 21, 21, 3, dtype=torch.uint8)
    images[1:] = 200  # the next episode looks different
    last = torch.full((1, 21, 21, 3), 51, dtype=torch.uint8)
    part = rollout(
        data,
        0,
        2,
        observation={"image": images},
        final_index=torch.tensor([[0, 0]]),
        final_observation={"image": last},
    )
    change = task.describe(part)["pixel_change"]
    assert change[0, 0].tolist() == pytest.approx([0.2] * 100)
    assert change[1, 0].tolist() == pytest.approx([0.0] * 100)
    assert images[1, 0, 0, 0, 0] == 200  # the rollout itself is left as it was


def test_pixel_control_loss_is_a_sum_over_cells_and_time() -> None:
    q, target = torch.zeros(5, 2, 400, 3), torch.ones(5, 2, 400)
    mask = torch.ones(5, 2, dtype=torch.bool)
    mask[3:, 1] = False
    loss = losses.map_q_loss(q, torch.zeros(5, 2, dtype=torch.int64), target, mask)
    assert loss.item() == pytest.approx(0.5 * (5 * 400 + 3 * 400) / 2)  # mean over 2 sequences


def test_pixel_q_is_that_of_the_action_taken() -> None:
    q = torch.arange(3.0).expand(1, 1, 4, 3)
    loss = losses.map_q_loss(
        q, torch.tensor([[2]]), torch.full((1, 1, 4), 5.0), torch.ones(1, 1, dtype=torch.bool)
    )
    assert loss.item() == pytest.approx(0.5 * 4 * 9)


def test_duelling_head_is_centred_over_actions() -> None:
    head = auxiliary.PixelControl(network(), Discrete(3), 0.05, 0.9).head
    output = torch.randn(2, 16)
    with torch.no_grad():
        q = head(output)
        x = torch.relu(head.spread(output)).view(-1, 4, 4, 32).permute(0, 3, 1, 2)
        value = torch.relu(head.maps(x))[:, 0].flatten(1)
    torch.testing.assert_close(q.mean(-1), value, atol=1e-6, rtol=0)


def test_pixel_control_says_what_it_needs() -> None:
    spaces = Spaces({"x": Box(-1, 1, (3,), np.float32)}, Discrete(2), {})
    with pytest.raises(ValueError, match="pixel_control=0"):
        auxiliary.PixelControl(A3CNetwork(spaces, A3CConfig()), Discrete(2), 0.05, 0.9)


def replayed(
    reward: list[float], length: int, ends: bool, extra: dict[str, torch.Tensor] | None = None
) -> Any:
    """Return one replayed sequence."""
    from daedalus.accelerators.replay import Sequences

    steps = len(reward)
    inputs = Inputs(
        {"image": torch.randint(0, 255, (steps + 1, 1, 21, 21, 3), dtype=torch.uint8)},
        torch.zeros(steps + 1, 1, dtype=torch.int64),
        torch.zeros(steps + 1, 1),
        torch.zeros(steps + 1, 1, dtype=torch.bool),
    )
    return Sequences(
        inputs,
        torch.zeros(steps, 1, dtype=torch.int64),
        torch.tensor(reward).unsqueeze(1),
        torch.tensor([length]),
        torch.tensor([ends]),
        torch.zeros(steps, 1, dtype=torch.bool),
        torch.ones(steps, 1, dtype=torch.bool),
        {"h": torch.zeros(1, 16), "c": torch.zeros(1, 16)},
        extra or {},
    )


@pytest.mark.parametrize("ends", [False, True])
def test_pixel_control_loss_of_a_sequence(ends: bool) -> None:
    net = network()
    task = auxiliary.PixelControl(net, Discrete(3), 0.05, 0.5)
    extra = {"pixel_change": torch.full((3, 1, 100), 0.5)}
    sequences = replayed([0.0] * 3, 2, ends, extra)
    unrolled = net.unroll(sequences.inputs, sequences.state)
    q = task.head(unrolled.output.flatten(0, 1)).view(4, 100, 3)
    last = torch.zeros(100) if ends else q[2].detach().amax(-1)
    second = 0.5 + 0.5 * last
    first = 0.5 + 0.5 * second
    expected = 0.5 * ((first - q[0, :, 0]) ** 2 + (second - q[1, :, 0]) ** 2).sum()
    loss, metrics = task.loss(auxiliary.ReplayedSequences(sequences, unrolled))
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    reaches = torch.autograd.grad(expected, unrolled.output, retain_graph=True)[0].norm()
    (3 * loss + unrolled.output.sum()).backward()  # other losses on the same output do not count
    found = read(metrics)
    assert found["pixel_control_gradient_norm"] == pytest.approx(3 * reaches.item(), rel=1e-4)
    assert found["pixel_return"] == 0.5 + 0.5 * 0.5  # two steps; what V says of the rest is no part


def test_the_pixel_return_is_a_mean_over_the_sequences_that_have_a_step() -> None:
    task = auxiliary.PixelControl(network(), Discrete(3), 0.05, 0.5)
    change = torch.tensor([[1.0, 5.0], [2.0, 5.0]]).unsqueeze(-1)
    mask = torch.tensor([[True, False], [True, False]])
    assert task._discounted(change, mask).item() == 2.0  # 1 + 0.5 * 2


# ---------------------------------------------------------------------------------- value replay


def test_replayed_returns_are_cut_at_the_given_point() -> None:
    value = torch.tensor([0.0, 10.0, 20.0, 30.0, 40.0]).unsqueeze(1)
    sequences = replayed([1.0, 1.0, 1.0, 1.0], 4, False)
    # cut at 2: R_1 = 1 + .5 V(s_2) = 11, R_0 = 1 + 5.5 = 6.5; R_3 = 1 + .5 * 40, R_2 = 1 + 10.5
    got = auxiliary.replayed_returns(sequences, value, np.array([2]), 0.5)
    assert got.squeeze(1).tolist() == [6.5, 11.0, 11.5, 21.0]
    # cut at its own end: the whole window
    got = auxiliary.replayed_returns(sequences, value, np.array([4]), 0.5)
    assert got.squeeze(1).tolist() == [4.375, 6.75, 11.5, 21.0]


def test_replayed_returns_do_not_bootstrap_from_a_terminal_state() -> None:
    value = torch.tensor([0.0, 10.0, 20.0, 30.0, 40.0]).unsqueeze(1)
    sequences = replayed([1.0, 1.0, 5.0, 9.0], 2, True)  # ends with its second step
    got = auxiliary.replayed_returns(sequences, value, np.array([1]), 0.5)
    assert got[:2].squeeze(1).tolist() == [6.0, 1.0]
    got = auxiliary.replayed_returns(sequences, value, np.array([2]), 0.5)
    assert got[:2].squeeze(1).tolist() == [1.5, 1.0]


def value_replay(sequences: Any, value: list[float], gamma: float) -> Any:
    """Return a function that draws a cut: the loss of values (T+1,), and what to log."""
    task = auxiliary.ValueReplay(network(), 1.0, gamma, np.random.default_rng(0))
    with torch.no_grad():
        task.critic[0].weight.fill_(0.5)  # of 16 units: its norm is 2
    leaf = torch.tensor(value).unsqueeze(1).requires_grad_()
    none = torch.zeros(())

    def draw() -> tuple[torch.Tensor, dict[str, Any]]:
        return task.loss(
            auxiliary.ReplayedSequences(sequences, Unrolled(none, none, none, none, leaf))
        )

    return draw


def test_value_replay_cuts_at_every_point_alike() -> None:
    """V = 0, 0, 8, 0 and 16 behind, no rewards, gamma 1/2.

    R - V is (0, 2, -4, 8), (2, 4, -4, 8), (0, 0, -8, 8) and (1, 2, -4, 8) for the cuts 1 to 4.
    """
    draw = value_replay(replayed([0.0] * 4, 4, False), [0.0, 0.0, 8.0, 0.0, 16.0], 0.5)
    drawn = Counter(draw()[0].item() for _ in range(400))
    assert set(drawn) == {42.0, 50.0, 64.0, 42.5}
    assert all(abs(n - 100) < 4 * math.sqrt(400 * 0.25 * 0.75) for n in drawn.values())


def test_what_value_replay_logs_is_of_the_steps_that_count() -> None:
    """Two steps to the end, R = 2.5, 3 whatever the cut, V = 2.4, 3.

    Var(R - V) = 0.005 and Var(R) = 0.125; the gradient at V is 0.1, the critic's norm 2.
    """
    loss, metrics = value_replay(
        replayed([1.0, 3.0, 99.0, 99.0], 2, True), [2.4, 3.0, 7.0, 7.0, 7.0], 0.5
    )()
    loss.backward()
    assert loss.item() == pytest.approx(0.005, rel=1e-4)
    found = read(metrics)
    assert found["replayed_explained_variance"] == pytest.approx(0.96, rel=1e-4)
    assert found["value_replay_gradient_norm"] == pytest.approx(0.2, rel=1e-4)


# ------------------------------------------------------------------------- depth and loop closure


def test_depth_loss_is_summed_over_pixels_and_time() -> None:
    logits = torch.zeros(5, 2, 64, 8)
    bins = torch.randint(0, 8, (5, 2, 64))
    valid = torch.ones(5, 2, dtype=torch.bool)
    loss = losses.bin_loss(logits, bins, valid)
    assert loss.item() == pytest.approx(5 * 64 * math.log(8), rel=1e-5)
    valid[:, 1] = False
    assert losses.bin_loss(logits, bins, valid).item() == pytest.approx(loss.item() / 2, rel=1e-5)


def test_loop_loss_is_the_binary_cross_entropy() -> None:
    logit = torch.tensor([[0.0], [2.0], [9.0]])
    label = torch.tensor([[1], [0], [0]])  # the last step only resets
    expected = math.log(2) + math.log(1 + math.exp(2.0))
    loss = losses.bernoulli_loss(logit, label, torch.tensor([[True], [True], [False]]))
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_f1_by_hand() -> None:
    predicted = torch.tensor([True, True, False, False])
    label = torch.tensor([True, False, True, False])
    assert losses.f1_score(predicted, label).item() == pytest.approx(0.5)
    assert losses.f1_score(predicted & False, label & False).item() == 0.0


def test_what_is_logged_of_labels_is_of_real_steps() -> None:
    """Of five steps the last only resets; the loop head says yes, yes, no, yes, yes."""
    output = torch.tensor([1.0, 1.0, -1.0, 1.0, 1.0]).view(5, 1, 1)
    none = torch.zeros(5, 1)
    unrolled = Unrolled(none, none, output, none, none)
    valid = torch.tensor([True] * 4 + [False]).view(5, 1)
    label = {
        "loop_closure": torch.tensor([1, 0, 1, 0, 1]).view(5, 1, 1),
        "depth": torch.tensor([1, 0, 0, 1, 0]).view(5, 1, 1),
    }
    loop, depth = (
        auxiliary_labels.LoopClosure(1, 1.0),
        auxiliary_labels.Depth("output", Box(0, 1, (1,), np.uint8), 1, 1.0, 2),
    )
    for layer in (loop.layer, depth.hidden, depth.classes):
        torch.nn.init.ones_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    with torch.no_grad():
        depth.classes.bias[1] = 1.0  # always says bin 1
    batch = auxiliary_labels.LabelledRollout(unrolled, label, valid)
    # said 0, 1, 3, true 0, 2: one of both
    found = read(loop.loss(batch)[1])
    assert found.pop("loop_precision") == pytest.approx(1 / 3)
    assert found.pop("loop_recall") == 0.5
    assert found.pop("loop_f1") == pytest.approx(0.4)  # 2 / (3 + 2)
    assert found.pop("loop_share") == 0.5
    assert not found
    assert read(depth.loss(batch)[1]) == {"depth_2_accuracy": 0.5}


@pytest.mark.parametrize("source", ["features", "output", "loop"])
def test_heads_read_what_they_say(source: str) -> None:
    """D1 the encoder's features; D2 and the loop's head what comes of the memory."""
    net = network()
    space = Box(0, 7, (4, 16), np.uint8)
    task: Any = auxiliary_labels.LoopClosure(16, 1.0)
    if source != "loop":
        task = auxiliary_labels.Depth(source, space, 16, 1.0, 8)
    inputs = replayed([0.0] * 3, 3, False).inputs
    unrolled = net.unroll(inputs, net.core.initial_state(1))
    label = {
        "depth": torch.randint(0, 8, (4, 1, 4, 16), dtype=torch.uint8),
        "loop_closure": torch.ones(4, 1, 1),
    }
    batch = auxiliary_labels.LabelledRollout(unrolled, label, torch.ones(4, 1, dtype=torch.bool))
    task.loss(batch)[0].backward()
    through_memory = any(p.grad is not None for p in net.core.parameters())
    assert through_memory == (source != "features")
    assert net.encoder.first.weight.grad is not None


@pytest.mark.parametrize("steps", [5, 20, 33])
def test_a_restored_replay_goes_on_as_the_old_one(steps: int) -> None:
    old, new = filled(stream(steps, 2), capacity=20), SequenceReplay(20, CPU)
    state = old.get_state()
    assert len(state["field/reward"]) == min(steps, 20)  # only what is filled is saved
    new.set_state({name: np.asarray(value) for name, value in state.items()})
    for replay in (old, new):
        replay.add(rollout(stream(9, 2), 0, 9), {"twice": torch.ones(9, 2)})
    assert (old.count, old.cursor) == (new.count, new.cursor)
    for name, field in old.fields.items():
        assert torch.equal(field, new.fields[name])


def test_unreal_without_pixels_to_control_says_so_once_and_trains() -> None:
    kind = make_agent("unreal")
    config = kind.Config(replay_start=8, hidden=8, lstm=8)
    with pytest.warns(UserWarning, match="pixel control is off: it needs an image") as caught:
        agent = kind("daedalus/Catch-v0", config, num_envs=2).learn(400)
    assert len([w for w in caught if "pixel control" in str(w.message)]) == 1
    assert set(agent.tasks) == {"value_replay", "reward_prediction"}
    tensors, state = agent.get_state()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # to look at it is no reason to say it again
        loaded = kind.from_state({k: np.asarray(v) for k, v in tensors.items()}, state)
    assert set(loaded.tasks) == set(agent.tasks)
