"""What every agent must do, and the parts that all of them share."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete

from daedalus.agents import agent_names, make_agent, register_agent
from daedalus.agents.actor_critic import ActorCritic, Config
from daedalus.agents.base import Agent, Inputs, Spaces
from daedalus.agents.networks import Encoder, flat_size
from daedalus.agents.optimizers import Adam, RMSProp
from daedalus.agents.policies import policy_for
from daedalus.agents.recurrent import LSTM, Recorded
from daedalus.agents.settings import RANGES, checked
from daedalus.agents.spaces import space_from_json, space_to_json
from daedalus.agents.training import train
from daedalus.agents.unreal import UNREAL
from daedalus.agents.unreal import Config as UnrealConfig

SMALL: dict[str, Any] = {"hidden": 16, "lstm": 8, "n_steps": 4}


class Images(gymnasium.Env[Any, Any]):
    """Random images and velocities; episodes of 5 steps; any action space."""

    def __init__(self, actions: Any = None, side: int = 21) -> None:
        """Choose the action space."""
        self.action_space = actions or Discrete(3)
        self.observation_space = gymnasium.spaces.Dict(
            {
                "image": Box(0, 255, (side, side, 3), np.uint8),
                "velocity": Box(-1, 1, (6,), np.float32),
            }
        )
        self.count = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.count = 0
        return self._observe(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), action
        self.count += 1
        reward = float(self.np_random.integers(-1, 2))
        return self._observe(), reward, False, self.count == 5, {}

    def _observe(self) -> Any:
        space = self.observation_space["image"]  # type: ignore[index]
        image = self.np_random.integers(0, 256, space.shape, np.uint8)
        return {"image": image, "velocity": self.np_random.uniform(-1, 1, 6).astype(np.float32)}


def vector(actions: Any = None, count: int = 2) -> gymnasium.vector.VectorEnv[Any, Any, Any]:
    return gymnasium.vector.SyncVectorEnv(
        [lambda: Images(actions)] * count, autoreset_mode=gymnasium.vector.AutoresetMode.SAME_STEP
    )


def agent(name: str, env: Any, **settings: Any) -> Agent:
    cls = make_agent(name)
    if name == "nav":
        settings = {"depth_2": 0.0, "loop_closure": 0.0} | settings
    if name == "unreal":
        settings = {"replay_start": 8, "replay_length": 40} | settings
    return cls(env, cls.Config(**(SMALL | settings)))  # type: ignore[no-any-return]


OURS = ("actor_critic", "unreal", "nav")


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("mode", ["same_step", "next_step", "disabled"])
def test_every_agent_learns_in_every_autoreset_mode(name: str, mode: str) -> None:
    env = gymnasium.vector.SyncVectorEnv([Images] * 2, autoreset_mode=mode.title().replace("_", ""))
    made = agent(name, env)
    before = made.learner.optimizer.vector.clone()  # type: ignore[attr-defined]
    made.learn(80)
    assert made.num_timesteps == 80
    after = made.learner.optimizer.vector  # type: ignore[attr-defined]
    assert torch.isfinite(after).all()
    assert not torch.equal(before, after)


@pytest.mark.parametrize(
    "space",
    [
        Discrete(4),
        Discrete(3, start=-1),
        MultiDiscrete([2, 3]),
        MultiBinary(3),
        Box(-0.5, 0.5, (2,), np.float32),
    ],
)
def test_every_action_space(space: Any) -> None:
    made = agent("actor_critic", vector(space))
    made.learn(24)
    observation, _ = Images(space).reset(seed=0)
    action, _ = made.predict(observation)
    assert space.contains(action)


def test_unsupported_actions_are_named() -> None:
    with pytest.raises(TypeError, match="actions of Text spaces: an ActionWrapper can") as caught:
        policy_for(gymnasium.spaces.Text(3))
    assert "as Box, Discrete, MultiDiscrete or MultiBinary" in str(caught.value)
    assert "\n" not in str(caught.value)
    for name in ("actor_critic", "cpo", "ppo"):
        with pytest.raises(TypeError, match="no agent takes actions of Tuple spaces"):
            make_agent(name)(Images(gymnasium.spaces.Tuple([Discrete(2)])), device="cpu")


NOT_NUMBERS: list[gymnasium.Space[Any]] = [
    gymnasium.spaces.Text(3),
    gymnasium.spaces.Sequence(Discrete(2)),
    gymnasium.spaces.Graph(Box(-1, 1, (2,)), None),
]


@pytest.mark.parametrize("space", NOT_NUMBERS, ids=lambda space: type(space).__name__)
def test_unsupported_observations_are_named(space: Any) -> None:
    message = f"observations of {type(space).__name__} spaces: an ObservationWrapper can"
    for name in ("actor_critic", "progressive", "cpo", "qprop"):
        action = Box(-1, 1, (1,), np.float32)
        with pytest.raises(TypeError, match=message) as caught:
            make_agent(name)(Spaces({"words": space}, action, {}), device="cpu")
        assert "as Box, Discrete, MultiDiscrete or MultiBinary" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_the_length_of_a_flat_observation() -> None:
    """One-hot: 4, and 2 + 5; as they are: 2 x 3 numbers, 3 bits, and one of no dimension."""
    spaces: list[gymnasium.Space[Any]] = [Discrete(4, start=2), MultiDiscrete([2, 5])]
    spaces += [Box(-1, 1, (2, 3)), MultiBinary(3), Box(-1, 1, ())]
    assert [flat_size(space) for space in spaces] == [4, 7, 6, 3, 1]


@pytest.mark.parametrize("name", ["pixel_control", "reward_prediction", "value_replay"])
def test_each_auxiliary_task_can_be_switched_off(name: str) -> None:
    made = agent("unreal", vector(), **{name: 0.0})
    made.learn(40)
    assert name not in made.tasks  # type: ignore[attr-defined]
    assert len(made.tasks) == 2  # type: ignore[attr-defined]


def test_unreal_without_tasks_is_the_actor_critic() -> None:
    off = {"pixel_control": 0.0, "reward_prediction": 0.0, "value_replay": 0.0}
    plain = agent("actor_critic", vector(), reward_clip=1.0).learn(40)
    bare = agent("unreal", vector(), **off).learn(40)
    vectors = (a.learner.optimizer.vector for a in (plain, bare))  # type: ignore[attr-defined]
    assert torch.equal(*vectors)


def weighted_sum(found: dict[str, float], **weights: float) -> float:
    """Return A3C's loss of 4 steps and tasks' beside it; the entropy that is logged is a mean."""
    own = found["policy_loss"] + 0.5 * found["value_loss"] - 0.1 * 4 * found["entropy"]
    return own + sum(weight * found[f"{name}_loss"] for name, weight in weights.items())


def test_unreal_adds_its_tasks_by_their_weights() -> None:
    weights = {"pixel_control": 0.03, "value_replay": 2.0, "reward_prediction": 5.0}
    settings = {"entropy_weight": 0.1, "reuse_acting": False, "replay_start": 12}
    discounts = {"gamma": 0.8, "pixel_gamma": 0.6}
    made: Any = agent("unreal", vector(), **settings, **discounts, **weights)
    assert [made.tasks[name].gamma for name in ("value_replay", "pixel_control")] == [0.8, 0.6]
    made.total_timesteps = 1000
    begun = []
    for _ in range(3):
        rollout = made.collector.collect(4)
        total, unrolled, _ = made.learner.loss(made.learner.prepare(rollout))
        (reaches,) = torch.autograd.grad(total, unrolled.output)
        metrics = made.update(rollout)
        begun.append("value_replay_loss" in metrics)
    assert begun == [False, False, True]  # with 12 steps
    found = {name: float(v() if callable(v) else v) for name, v in metrics.items()}
    assert found["loss"] == pytest.approx(weighted_sum(found, **weights), rel=1e-5)
    # the tasks' gradients do not count as the actor-critic's, but are in what is applied
    assert found["actor_critic_gradient_norm"] == pytest.approx(reaches.norm().item(), rel=1e-5)
    norms = {name for name in found if name.endswith("_gradient_norm")}
    sources = ("actor_critic", "pixel_control", "value_replay")
    assert norms == {f"{source}_gradient_norm" for source in sources}


@pytest.mark.parametrize("share", [True, False])
def test_pixel_control_and_value_replay_share_their_sequences_or_not(share: bool) -> None:
    made: Any = agent("unreal", vector(), share_sequences=share).learn(40)
    batches = made._batches()
    assert (batches["pixel_control"] is batches["value_replay"]) == share


def test_unreal_refuses_a_replay_that_holds_no_sequence() -> None:
    short = {"n_steps": 20, "replay_length": 21}
    with pytest.raises(ValueError, match="unreal needs replay_length >= 22, got 21"):
        agent("unreal", vector(), **short)
    off = {"pixel_control": 0.0, "reward_prediction": 0.0, "value_replay": 0.0}
    agent("unreal", vector(), **short, **off)


@pytest.mark.parametrize("name", ["unreal", "pgq"])
def test_replay_and_actor_critic_use_the_same_clipped_rewards(name: str) -> None:
    made = agent(name, vector(), reward_clip=0.5).learn(40)
    seen = made.replay.fields["reward"].unique().tolist()  # type: ignore[attr-defined]
    assert set(seen) <= {-0.5, 0.0, 0.5}


# ------------------------------------------------------------------------ reuse of acting


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("lstm", [0, 8])
def test_reusing_acting_gives_the_gradients_of_recomputing(name: str, lstm: int) -> None:
    if name == "nav" and lstm == 0:
        pytest.skip("nav is recurrent")
    vectors = []
    for reuse in (True, False):
        made = agent(name, vector(), reuse_acting=reuse, lstm=lstm, reward_clip=0.5)
        made.total_timesteps = 1000
        assert made.collector is not None
        for _ in range(3):
            rollout = made.collector.collect(4)
            assert rollout is not None
            assert any("state before" not in name for name in rollout.extras) == reuse
            made.update(rollout)
        vectors.append(made.learner.optimizer.vector.clone())  # type: ignore[attr-defined]
    torch.testing.assert_close(*vectors, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("name", [*OURS, "pgq", "feudal"])
def test_agents_learn_in_bfloat16_with_parameters_in_float32(name: str) -> None:
    horizon = {"horizon": 2} if name == "feudal" else {}
    made = agent(name, vector(), precision="bfloat16", lstm=8, **horizon).learn(80)
    rows = made.learner.optimizer.vector  # type: ignore[attr-defined]
    assert rows.dtype == torch.float32
    assert torch.isfinite(rows).all()
    kept = made.collector.collect(4).extras  # type: ignore[union-attr]
    images = [t for key, parts in kept.items() if key.startswith("image") for t in parts]
    assert {t.dtype for t in images} == {torch.bfloat16}


def test_agents_that_cannot_compute_in_bfloat16_say_so() -> None:
    with pytest.raises(ValueError, match="progressive computes in float32"):
        agent("progressive", vector(), precision="bfloat16", lstm=0)
    for name in OURS:
        with pytest.raises(ValueError, match="'float32' or 'bfloat16', got 'half'"):
            agent(name, vector(), precision="half")


def test_a_kept_pass_is_not_used_after_the_parameters_changed() -> None:
    made = agent("actor_critic", vector())
    assert made.collector is not None
    rollout = made.collector.collect(4)
    assert rollout is not None
    learner = made.learner  # type: ignore[attr-defined]
    assert learner.recorded(rollout) is not None
    nothing = rollout._replace(valid=torch.zeros_like(rollout.valid))
    assert learner.loss(nothing)[0].item() == 0.0  # steps that only reset do not count
    made.update(rollout)
    assert learner.recorded(rollout) is None


def test_what_is_seen_reaches_the_features_of_an_untrained_network() -> None:
    generator = torch.Generator().manual_seed(0)
    blocks = torch.randint(60, 150, (64, 3, 3, 3), generator=generator, dtype=torch.uint8)
    views = blocks.repeat_interleave(7, 1).repeat_interleave(7, 2)
    torch.manual_seed(0)
    encoder = Encoder({"image": Box(0, 255, (21, 21, 3), np.uint8)}, 128)
    with torch.no_grad():
        features = encoder(encoder.encode({"image": views}))
    # an LSTM has the previous action, 0 or 1, beside them; PyTorch's own scale leaves 0.005
    assert features.std(0).mean() > 0.05


@pytest.mark.parametrize("recorded", [False, True])
def test_an_lstm_in_bfloat16_has_the_gradients_of_float32_but_for_rounding(recorded: bool) -> None:
    torch.manual_seed(0)
    exact, rounded = LSTM(4, 16), LSTM(4, 16, torch.bfloat16)
    rounded.load_state_dict(exact.state_dict())
    x, (h, c), start = torch.randn(6, 3, 4), torch.randn(2, 3, 16), torch.rand(6, 3) < 0.3
    weight, found = torch.randn(6, 3, 16), []
    for lstm in (exact, rounded):
        now, known = (h, c), Recorded([], [], [])
        for t in range(6) if recorded else ():
            h_t, c_t, gates = lstm.step(x[t], *now, start[t])
            now = h_t, c_t
            for part, value in zip(known, (h_t, gates, c_t), strict=True):
                part.append(value)
        output = lstm(x, h, c, start, known if recorded else None)
        assert output.dtype == torch.float32
        gradients = torch.autograd.grad((output * weight).sum(), list(lstm.parameters()))
        found.append(torch.cat([g.flatten() for g in gradients]))
    assert 1e-4 < (found[1] - found[0]).norm() / found[0].norm() < 2e-2


@pytest.mark.parametrize("recorded", [False, True])
def test_lstm_backward_equals_automatic_differentiation(recorded: bool) -> None:
    torch.manual_seed(0)
    lstm = LSTM(4, 5).double()
    x = torch.randn(6, 3, 4, dtype=torch.double, requires_grad=True)
    h, c = torch.randn(2, 3, 5, dtype=torch.double)
    start = torch.rand(6, 3) < 0.3
    output = lstm(x, h, c, start)
    if recorded:
        known, now = Recorded([], [], []), (h, c)
        for t in range(6):
            h_t, c_t, gates = lstm.step(x[t], *now, start[t])
            now = h_t, c_t
            for part, value in zip(known, (h_t, gates, c_t), strict=True):
                part.append(value)
        torch.testing.assert_close(torch.stack(known.output), output)
        output = lstm(x, h, c, start, known)
    outputs = []
    for t in range(6):
        keep = (~start[t]).double().unsqueeze(1)
        h, c = h * keep, c * keep
        gates = x[t] @ lstm.weight.t() + h @ lstm.recurrent.t() + lstm.bias
        i, f, o, g = gates.chunk(4, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        outputs.append(h)
    expected = torch.stack(outputs)
    torch.testing.assert_close(output, expected)
    weight = torch.randn_like(expected)
    leaves = [x, *lstm.parameters()]
    mine = torch.autograd.grad((output * weight).sum(), leaves)
    theirs = torch.autograd.grad((expected * weight).sum(), leaves)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b)


def test_acting_step_by_step_equals_unrolling() -> None:
    made = agent("nav", vector())
    network = made.learner.network  # type: ignore[attr-defined]
    assert made.collector is not None
    rollout = made.collector.collect(7)  # crosses the end of an episode
    assert rollout is not None

    again = network.unroll(rollout.inputs.at(slice(-1)), rollout.initial_state)
    final = network.core.first.hidden
    assert final == 64
    reused = network.unroll(rollout.inputs.at(slice(-1)), rollout.initial_state, rollout.extras)
    torch.testing.assert_close(again.output, reused.output, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(again.output[-1], rollout.state["h2"], atol=1e-6, rtol=1e-5)


# ------------------------------------------------------------------------ the optimiser


@pytest.mark.parametrize(
    ("inside", "corrected", "expected"),
    [
        # g = 1: g2 = .9 * 0 + .1 * 1 = .1, corrected by 1 - .9 to 1
        (True, False, 0.1 / 0.2**0.5),
        (False, False, 0.1 / (0.1**0.5 + 0.1)),
        (True, True, 0.1 / 1.1**0.5),
        (False, True, 0.1 / 1.1),
    ],
)
def test_rmsprop_by_hand(inside: bool, corrected: bool, expected: float) -> None:
    p = torch.nn.Parameter(torch.zeros(1))
    optimizer = RMSProp([p], 0.1, decay=0.9, epsilon=0.1, inside=inside, corrected=corrected)
    optimizer.zero_grad()
    p.sum().backward()
    optimizer.step()
    assert p.item() == pytest.approx(-expected, rel=1e-6)


def test_rmsprop_clips_by_norm() -> None:
    p = torch.nn.Parameter(torch.zeros(2))
    optimizer = RMSProp([p], 0.1)
    optimizer.zero_grad()
    (p * torch.tensor([3.0, 4.0])).sum().backward()
    norm = optimizer.norm()
    assert norm.item() == pytest.approx(5.0)
    optimizer.clip(norm, 1.0)
    torch.testing.assert_close(p.grad, torch.tensor([0.6, 0.8]))
    optimizer.clip(optimizer.norm(), 10.0)
    torch.testing.assert_close(p.grad, torch.tensor([0.6, 0.8]))


@pytest.mark.parametrize("fused", [False, True])
def test_adam_is_pytorchs_to_the_bit(fused: bool) -> None:
    start = torch.randn(7, generator=torch.Generator().manual_seed(0))
    ways = []
    for kind in (Adam, torch.optim.Adam):
        p = torch.nn.Parameter(start.clone())
        optimizer = kind([p], 1e-2, fused=fused)
        for _ in range(3):
            optimizer.zero_grad()
            (p**3).sum().backward()
            optimizer.step()
        assert not optimizer.state_dict()["state"][0]["exp_avg"].requires_grad
        ways.append(p.detach())
    assert torch.equal(*ways)


def test_optimizers_do_not_load_the_compiler() -> None:
    """It would take 1.5 s and 70 MB of every process that trains."""
    code = (
        "import sys, torch\n"
        "from daedalus.agents.optimizers import Adam, RMSProp\n"
        "for kind in (Adam, RMSProp):\n"
        "    p = torch.nn.Parameter(torch.ones(2))\n"
        "    optimizer = kind([p], 0.1)\n"
        "    optimizer.zero_grad(); p.sum().backward(); optimizer.step()\n"
        "    optimizer.load_state_dict(optimizer.state_dict())\n"
        "print('torch._dynamo' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout == "False\n", done.stderr


def test_learning_rate_falls_to_zero() -> None:
    made = agent("actor_critic", vector(), n_steps=5, learning_rate=7e-4)
    rates: list[float] = []
    made.logger.sinks.append(lambda step, row: rates.append(row["train/learning_rate"]))
    made.learn(40, log_interval=10)
    np.testing.assert_allclose(rates, 7e-4 * np.array([0.75, 0.5, 0.25, 0.0]), atol=1e-9)


@pytest.mark.parametrize("space", [Discrete(3, start=2), MultiDiscrete([2, 3], start=[1, 0])])
@pytest.mark.parametrize("name", ["actor_critic", "unreal", "feudal"])
def test_an_lstm_is_fed_actions_that_do_not_start_at_0(name: str, space: Any) -> None:
    """Before an episode's first step the previous action is 0, which is none of them."""
    settings = {"horizon": 1} if name == "feudal" else {}
    made = agent(name, vector(space), **settings).learn(40)
    assert made.num_updates


# ------------------------------------------------------------------------ policies


@pytest.mark.parametrize("space", [Discrete(3, start=2), MultiDiscrete([2, 3]), MultiBinary(2)])
def test_samples_follow_the_probabilities(space: Any) -> None:
    policy = policy_for(space)
    torch.manual_seed(0)
    output = torch.randn(1, policy.size).expand(20_000, -1)
    drawn = policy.sample(output, torch.Generator().manual_seed(0))
    log_pi, entropy = policy.log_prob_entropy(output, drawn)
    assert all(space.contains(a.numpy().astype(space.dtype)) for a in drawn[:20])
    assert log_pi.exp().mean() > 0
    # the mean of -log pi over samples is the entropy
    assert -log_pi.mean().item() == pytest.approx(entropy[0].item(), abs=0.02)


def test_gaussian_log_density_and_entropy() -> None:
    policy = policy_for(Box(-1, 1, (2,), np.float32))
    policy.get_parameter("log_std").data[:] = torch.tensor([0.0, 0.5])
    mean, action = torch.tensor([[0.0, 1.0]]), torch.tensor([[1.0, 0.0]])
    log_pi, entropy = policy.log_prob_entropy(mean, action)
    normal = torch.distributions.Normal(mean, torch.tensor([0.0, 0.5]).exp())
    torch.testing.assert_close(log_pi, normal.log_prob(action).sum(-1))
    torch.testing.assert_close(entropy, normal.entropy().sum(-1))


# ------------------------------------------------------------------------ face of SB3, saving


@pytest.mark.parametrize("name", OURS)
def test_predict_one_and_many(name: str) -> None:
    made = agent(name, vector())
    one, _ = Images().reset(seed=0)
    action, state = made.predict(one)
    assert action.shape == ()
    many = {k: np.stack([v, v, v]) for k, v in one.items()}
    actions, state = made.predict(many, deterministic=True)
    assert actions.shape == (3,)
    actions, after = made.predict(many, state, np.array([True, False, False]), deterministic=True)
    _, first = made.predict(many, deterministic=True)
    for key in (k for k in after if k.startswith("recurrent/")):
        np.testing.assert_allclose(after[key][0], first[key][0], atol=1e-6)  # starts anew
        assert not np.allclose(after[key][1], first[key][1])
    np.testing.assert_array_equal(after["previous_action"], actions)


def test_evaluate_policy_and_callbacks_of_sb3(tmp_path: Path) -> None:
    evaluation = pytest.importorskip("stable_baselines3.common.evaluation")
    callbacks = pytest.importorskip("stable_baselines3.common.callbacks")
    made = ActorCritic("CartPole-v1", Config(**SMALL), num_envs=2)
    from stable_baselines3.common.monitor import Monitor

    seen: list[int] = []
    stop = callbacks.StopTrainingOnMaxEpisodes(max_episodes=3)
    ours = callbacks.EvalCallback(
        Monitor(gymnasium.make("CartPole-v1")),
        eval_freq=20,
        n_eval_episodes=2,
        best_model_save_path=str(tmp_path),
        verbose=0,
    )

    def note(local: dict[str, Any], _: dict[str, Any]) -> bool:
        seen.append(1)
        return True

    count = callbacks.ConvertCallback(note)
    made.learn(2000, callback=[ours, count, stop])
    assert 0 < made.num_timesteps < 2000
    assert len(seen) == made.num_timesteps // 2
    mean, _ = evaluation.evaluate_policy(made, Monitor(gymnasium.make("CartPole-v1")), 3)
    assert 5 < mean <= 500
    best = ActorCritic.load(tmp_path / "best_model")
    assert best.predict(np.zeros(4, np.float32))[0] in (0, 1)


def test_tensorboard_tags_are_those_of_sb3(tmp_path: Path) -> None:
    event = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    made = ActorCritic(
        "CartPole-v1", Config(**SMALL), num_envs=2, tensorboard_log=str(tmp_path)
    ).learn(400, log_interval=100)
    folder = made.logger.get_dir()
    assert folder is not None
    assert folder.endswith("actor_critic_1")
    read = event.EventAccumulator(folder)
    read.Reload()
    tags = read.Tags()["scalars"]
    wanted = ("rollout/ep_rew_mean", "rollout/ep_len_mean", "time/fps", "train/value_loss")
    assert set(wanted) <= set(tags)


def test_slow_environments_show_progress_before_a_row_is_due(monkeypatch: Any) -> None:
    monkeypatch.setattr("daedalus.agents.training.SHOWN", 0.0)
    shown: list[Any] = []
    made = agent("actor_critic", vector())
    train(made, 32, progress=shown.append)
    assert [at.num_timesteps for at in shown] == [8, 16, 24, 32]
    assert all(at.steps_per_second > 0 for at in shown)
    assert shown[-1].mean_length == 5


@pytest.mark.parametrize("name", OURS)
def test_saved_and_loaded_agents_act_alike(name: str, tmp_path: Path) -> None:
    made = agent(name, vector()).learn(40)
    made.save(tmp_path / "agent")
    loaded = type(made).load(tmp_path / "agent")
    observation, _ = Images().reset(seed=3)
    for deterministic in (True, False):
        first, _ = made.predict(observation, deterministic=deterministic)
        second, _ = loaded.predict(observation, deterministic=deterministic)
        np.testing.assert_array_equal(first, second)
    with pytest.raises(ValueError, match="no environment"):
        loaded.learn(10)


@pytest.mark.parametrize("lstm", [0, 8])
def test_training_continues_bit_for_bit(lstm: int) -> None:
    def run(stop: bool) -> torch.Tensor:
        made = ActorCritic("daedalus/Catch-v0", Config(**(SMALL | {"lstm": lstm})), num_envs=3)
        made.total_timesteps = 1000
        for i in range(6):
            if stop and i == 3:
                tensors, state = made.get_state()
                copy = {k: np.asarray(v).copy() for k, v in tensors.items()}
                made = ActorCritic.from_state(copy, state, env="daedalus/Catch-v0", num_envs=3)
            assert made.collector is not None
            rollout = made.collector.collect(4)
            assert rollout is not None
            made.num_timesteps += 12
            made.update(rollout)
        return made.learner.optimizer.vector.clone()

    assert torch.equal(run(False), run(True))


def test_the_replay_is_part_of_the_state() -> None:
    config = UnrealConfig(**SMALL, replay_start=8, replay_length=20)
    made = UNREAL(vector(), config).learn(80)
    tensors, state = made.get_state()
    copy = {k: np.asarray(v).copy() for k, v in tensors.items()}
    loaded = UNREAL.from_state(copy, state, env=vector())
    assert loaded.replay.count == made.replay.count == 20
    for name, field in made.replay.fields.items():
        assert torch.equal(field, loaded.replay.fields[name])
    assert loaded.rng.integers(2**60) == made.rng.integers(2**60)


def test_replayed_sequences_start_from_the_state_that_acting_had() -> None:
    made = UNREAL(vector(), UnrealConfig(**SMALL, replay_length=20))
    assert made.collector is not None
    rollout = made.collector.collect(12)
    assert rollout is not None
    made._remember(made.learner.prepare(rollout))
    outputs = torch.stack(rollout.extras["lstm/output"])
    for first in (1, 4, 7):
        drawn = made.replay.at(torch.full((made.num_envs,), first), 4)
        assert not torch.equal(drawn.state["h"], torch.zeros_like(drawn.state["h"]))
        assert torch.equal(drawn.state["h"], outputs[first - 1])
        again = made.learner.network.unroll(drawn.inputs, drawn.state).output
        torch.testing.assert_close(again, outputs[first : first + 5])
    batch = made._replayed()
    again = made.learner.network.unroll(batch.sequences.inputs, batch.sequences.state).output
    torch.testing.assert_close(batch.unrolled.output, again)


def test_checkpoints_of_other_agents_and_spaces_are_refused() -> None:
    made = agent("actor_critic", vector())
    tensors, state = made.get_state()
    with pytest.raises(ValueError, match="'actor_critic', not of 'unreal'"):
        UNREAL.from_state(tensors, state)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="observation spaces"):
        ActorCritic.from_state(tensors, state, env="CartPole-v1")  # type: ignore[arg-type]


def test_the_same_seed_gives_the_same_agent_and_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, second = (agent("unreal", vector()) for _ in range(2))
    assert torch.equal(torch.rand(1), expected)
    vectors = (a.learner.optimizer.vector for a in (first, second))  # type: ignore[attr-defined]
    assert torch.equal(*vectors)


@pytest.mark.parametrize(
    "space",
    [
        Box(0, 255, (4, 4, 3), np.uint8),
        Box(np.array([-1.0, -np.inf], np.float32), np.array([1.0, np.inf], np.float32)),
        Discrete(5, start=2),
        MultiDiscrete([2, 5]),
        MultiDiscrete([2, 5], start=[1, -2]),
        MultiBinary(3),
    ],
)
def test_spaces_survive_json(space: Any) -> None:
    import json

    assert space_from_json(json.loads(json.dumps(space_to_json(space)))) == space


def test_components_that_begin_elsewhere_are_still_theirs_after_loading(tmp_path: Path) -> None:
    space = MultiDiscrete([2, 3], start=[1, -2])
    agent("actor_critic", vector(space), lstm=0).learn(24).save(tmp_path / "saved")
    loaded = make_agent("actor_critic").load(tmp_path / "saved", device="cpu")
    observation, _ = Images(space).reset(seed=0)
    assert loaded.spaces.action == space
    assert space.contains(loaded.predict(observation)[0])


# ------------------------------------------------------------------------ the registry


def test_registry() -> None:
    assert set(OURS) <= set(agent_names())
    assert make_agent("actor_critic") is ActorCritic
    assert make_agent("daedalus.agents.unreal:UNREAL") is UNREAL
    with pytest.raises(ValueError, match="did you mean 'unreal'"):
        make_agent("unreel")
    with pytest.raises(ValueError, match="already registered"):
        register_agent("unreal", "somewhere:Else")


def test_nav_needs_its_labels() -> None:
    with pytest.raises(ValueError, match="no label 'depth'"):
        make_agent("nav")(vector())


LABELS: dict[str, gymnasium.Space[Any]] = {
    "depth": Box(0, 7, (4, 16), np.uint8),
    "loop_closure": Box(0, 1, (1,), np.uint8),
}


def test_nav_adds_its_tasks_by_their_weights_and_takes_the_labels_of_what_it_saw() -> None:
    """Depth t at step t and closures 1, 1, 0, 1 then 0; the last belongs to the next rollout.

    D2 gives bin k the odds 2^k, so -log p(k) = log 255 - k log 2; closure has odds of 3.
    """
    collects = agent("nav", vector())
    assert collects.collector is not None
    rollout = collects.collector.collect(4)
    assert rollout is not None
    depth = torch.arange(5).view(5, 1, 1, 1).expand(5, 2, 4, 16)
    closed = torch.tensor([1, 1, 0, 1, 0]).view(5, 1, 1).expand(5, 2, 1)
    rollout = rollout._replace(label={"depth": depth, "loop_closure": closed})
    weights = {"depth_1": 0.5, "depth_2": 0.25, "loop_closure": 3.0}
    spaces = Spaces(collects.spaces.observation, Discrete(3), LABELS)
    made: Any = agent("nav", spaces, entropy_weight=0.1, **weights)
    heads, log2 = made.tasks, float(np.log(2))
    assert [heads[name].source for name in ("depth_1", "depth_2")] == ["features", "output"]
    with torch.no_grad():
        heads["depth_2"].classes.weight.zero_()
        heads["depth_2"].classes.bias.copy_((torch.arange(8) * log2).repeat(64))
        heads["loop_closure"].layer.weight.zero_()
        heads["loop_closure"].layer.bias.fill_(np.log(3))
    found = {n: float(v() if callable(v) else v) for n, v in made.update(rollout).items()}
    assert found["depth_2_loss"] == pytest.approx(64 * (4 * np.log(255) - 6 * log2), rel=1e-5)
    assert found["loop_closure_loss"] == pytest.approx(-3 * np.log(0.75) - np.log(0.25), rel=1e-5)
    assert found["loss"] == pytest.approx(weighted_sum(found, **weights), rel=1e-5)


def test_what_enters_which_of_navs_memories() -> None:
    """The reward the first; velocity and action the second, both after the image's features.

    The second environment begins an episode: neither an action nor a reward came before.
    """
    made: Any = agent("nav", vector())
    network = made.learner.network
    assert set(network.encoder.spaces) == {"image"}
    features, velocity = torch.rand(2, 16), torch.rand(2, 6)
    image = torch.zeros(2, 21, 21, 3, dtype=torch.uint8)
    start = torch.tensor([False, True])
    seen = {"image": image, "velocity": velocity}
    inputs = Inputs(seen, torch.tensor([2, 1]), torch.tensor([0.5, 0.7]), start)
    first, second = network.core._parts(features, inputs)
    torch.testing.assert_close(first, torch.cat([features, torch.tensor([[0.5], [0.0]])], 1))
    action = torch.tensor([[0.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    torch.testing.assert_close(second, torch.cat([features, velocity, action], 1))


def test_labels_never_reach_the_policy() -> None:
    observation: dict[str, gymnasium.Space[Any]] = {"image": Box(0, 255, (21, 21, 3), np.uint8)}
    made = make_agent("nav")(Spaces(observation, Discrete(3), LABELS))
    assert set(made.learner.network.encoder.spaces) == {"image"}
    assert not made.learner.network.core.direct
    inputs = Inputs(
        {"image": torch.zeros(2, 21, 21, 3, dtype=torch.uint8)},
        torch.zeros(2, dtype=torch.int64),
        torch.zeros(2),
        torch.ones(2, dtype=torch.bool),
    )
    made.act(inputs, made.initial_state(2))  # needs no label


def test_unreal_waits_for_a_whole_sequence_whatever_replay_start_says() -> None:
    agent = make_agent("unreal")(
        "daedalus/Catch-v0",
        make_agent("unreal").Config(replay_start=1, pixel_control=0.0, hidden=8, lstm=8),
        num_envs=2,
    )
    agent.learn(200)
    assert agent.num_timesteps == 200


# ------------------------------------------------------------------------ settings


@pytest.mark.parametrize(
    ("name", "wrong", "told"),
    [
        ("feudal", {"learning_rate": -1.0}, "feudal needs learning_rate >= 0, got -1.0"),
        ("feudal", {"gamma": 1.5}, "feudal needs 0 <= gamma <= 1, got 1.5"),
        ("actor_critic", {"gamma": float("nan")}, "actor_critic needs 0 <= gamma <= 1, got nan"),
        ("ppo", {"gamma": 1.5}, "ppo needs 0 <= gamma <= 1, got 1.5"),
        ("iql", {"exploration_start": 3}, "iql needs 0 <= exploration_start <= 1, got 3"),
        ("iql", {"batch_size": 0}, "iql needs batch_size >= 1, got 0"),
        ("iql", {"gradient_steps": -1}, "iql needs gradient_steps >= 1, got -1"),
        ("pgq", {"hidden": -3}, "pgq needs hidden >= 1, got -3"),
        ("cpo", {"net_arch": (8, 0)}, r"cpo needs net_arch >= 1, got \(8, 0\)"),
        ("cpo", {"net_arch": 64}, "cpo needs net_arch to be a list, each a whole number, got 64"),
        ("pgq", {"hidden": "64"}, "pgq needs hidden to be a whole number, got '64'"),
        ("pgq", {"hidden": 64.0}, "pgq needs hidden to be a whole number, got 64.0"),
        ("pgq", {"hidden": True}, "pgq needs hidden to be a whole number, got True"),
        ("distral", {"feed_back": False}, "distral does not use feed_back: leave it at True"),
        ("pgq", {"eta": "half"}, "pgq needs eta to be a number, got 'half'"),
        ("pgq", {"anneal": "no"}, "pgq needs anneal to be true or false, got 'no'"),
        ("pgq", {"torso": 3}, "pgq needs torso to be text, got 3"),
        (
            "pgq",
            {"consolidation_weight": "much"},
            "pgq needs consolidation_weight to be a number or None, got 'much'",
        ),
    ],
)
def test_a_wrong_setting_is_told_when_the_agent_is_made(
    name: str, wrong: dict[str, Any], told: str
) -> None:
    cls = make_agent(name)
    spaces = Spaces({"x": Box(-1, 1, (2,), np.float32)}, Discrete(2), {})
    with pytest.raises(ValueError, match=f"^{told}$"):
        cls(spaces, cls.Config(**wrong), device="cpu")


def test_settings_as_files_write_them_are_right() -> None:
    for name in agent_names():
        config = make_agent(name).Config()
        assert checked(make_agent(name), config) is config
    cpo, dqn = make_agent("cpo"), make_agent("dqn")
    checked(
        make_agent("cpo"), cpo.Config(net_arch=[8], delta=1, extra_costs=["effort"])
    )  # lists of YAML
    checked(make_agent("cpo"), cpo.Config(net_arch=()))
    checked(
        make_agent("actor_critic"), Config(learning_rate=0.0, lstm=0, consolidation_weight=None)
    )
    checked(
        make_agent("dqn"), dqn.Config(train_freq=(1, "episode"), gradient_steps=-1)
    )  # as its authors take


def test_every_range_is_of_a_setting_that_some_agent_has() -> None:
    agents = {name: make_agent(name).Config() for name in agent_names()}
    known = {key for config in agents.values() for key in vars(config)}
    known |= {f"{name}.{key}" for name, config in agents.items() for key in vars(config)}
    listed = [name for names in RANGES.values() for name in names.split()]
    assert set(listed) <= known
    assert len(set(listed)) == len(listed)


def test_make_agent_says_that_it_returns_the_class() -> None:
    for more in (("CartPole-v1",), ()):
        with pytest.raises(
            TypeError, match=r"it returns the class, .+ make_agent\('feudal'\)\(env"
        ):
            make_agent("feudal", *more, **({} if more else {"env": 1}))  # type: ignore[arg-type]


def test_an_agent_that_took_another_ones_state_leaves_it_alone() -> None:
    """Training the second changes neither the weights nor the optimiser of the first."""
    first, second = (ActorCritic(vector(), Config(**SMALL), seed=n, device="cpu") for n in (0, 1))
    first.learn(16)
    tensors, state = first.get_state()
    before = {name: np.asarray(value).copy() for name, value in tensors.items()}
    second.set_state(tensors, state)
    second.learn(16)
    for name, value in first.get_state()[0].items():
        np.testing.assert_array_equal(np.asarray(value), before[name], err_msg=name)
    assert any("optimizer" in name for name in before)
