"""The agent `web`: its pointer, its network on tables of any length, cloning."""

from __future__ import annotations

import copy
import dataclasses
import io
import signal
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from daedalus.accelerators.checkpoint import load_checkpoint
from daedalus.accelerators.instances import natives_of
from daedalus.accelerators.metrics import read_metrics
from daedalus.accelerators.run_directory import RunDirectory
from daedalus.accelerators.signals import Stopped
from daedalus.agents import web_network
from daedalus.agents.a3c_network import A3CNetwork
from daedalus.agents.base import Preparation
from daedalus.agents.training import Progress, train
from daedalus.agents.web import Config, Web
from daedalus.agents.web_network import ElementNetwork, matches, visible_rows
from daedalus.agents.web_policy import PointerPolicy
from daedalus.envs.batch import Batch
from daedalus.envs.web.demonstrate import demonstrate
from daedalus.envs.web.family import Web as Family
from daedalus.progress import ProgressLine
from daedalus.scenarios import SEQUENCE


def every_action(rows: int, fields: int) -> torch.Tensor:
    """List what differs: nothing, each click, each field in each row."""
    listed = [(0, 0, 0), *((1, r, 0) for r in range(rows))]
    listed += [(2, r, f) for r in range(rows) for f in range(fields)]
    return torch.tensor(listed)


def test_the_pointer_is_a_distribution_over_what_differs() -> None:
    policy = PointerPolicy(3, 2)
    output = torch.randn(1, policy.size, generator=torch.Generator().manual_seed(0))
    actions = every_action(3, 2)
    log_pi, entropy = policy.log_prob_entropy(output.expand(len(actions), -1), actions)
    assert float(log_pi.exp().sum()) == pytest.approx(1.0, abs=1e-5)
    assert float(entropy[0]) == pytest.approx(float(-(log_pi.exp() * log_pi).sum()), abs=1e-5)
    assert torch.equal(policy.mode(output)[0], actions[log_pi.argmax()])


def test_components_that_a_type_does_not_use_do_not_count() -> None:
    policy = PointerPolicy(3, 2)
    output = torch.randn(2, policy.size, generator=torch.Generator().manual_seed(1))
    for pair in ([[0, 0, 0], [0, 2, 1]], [[1, 2, 0], [1, 2, 1]]):
        log_pi, _ = policy.log_prob_entropy(output[:1].expand(2, -1), torch.tensor(pair))
        assert float(log_pi[0]) == float(log_pi[1])


def test_samples_follow_the_distribution() -> None:
    policy = PointerPolicy(2, 2)
    output = torch.randn(1, policy.size, generator=torch.Generator().manual_seed(2))
    drawn = policy.sample(output.expand(20_000, -1), torch.Generator().manual_seed(3))
    for action in every_action(2, 2):
        log_pi, _ = policy.log_prob_entropy(output, action[None])
        share = (drawn == action).all(1).float().mean() if action[0] else (drawn[:, 0] == 0).float()
        assert float(share.mean()) == pytest.approx(float(log_pi.exp()), abs=0.015)


def observe(rows: int | None) -> tuple[Batch, dict[str, torch.Tensor]]:
    batch = Batch(Family(task="find-city", rows=rows), 6)
    batch.reset(0)
    return batch, {name: torch.from_numpy(array) for name, array in batch.observation.items()}


def test_hidden_rows_and_longer_tables_change_nothing() -> None:
    batch, seen = observe(None)
    longer, more = observe(40)
    agents = [Web(b, Config(width=8, layers=2), num_envs=6) for b in (batch, longer)]
    networks = [agent.learner.network for agent in agents]
    networks[1].load_state_dict(networks[0].state_dict())
    with torch.no_grad():
        short, long = networks[0](seen), networks[1](more)
    rows = batch.family.rows  # type: ignore[attr-defined]
    assert torch.allclose(short[:, -1], long[:, -1], atol=1e-5)
    assert torch.allclose(short[:, : 1 + rows], long[:, : 1 + rows], atol=1e-5)
    drawn = networks[1].distribution.sample(networks[1].actor(long), torch.Generator())
    clicked = drawn[drawn[:, 0] > 0]
    assert (more["mask"][drawn[:, 0] > 0, clicked[:, 1]] == 1).all()
    assert visible_rows(seen)[1].shape[1] == int(seen["mask"].sum(1).max())


def test_matches_are_those_of_words_and_fields() -> None:
    seen = {
        "words": torch.tensor([[[7, 1, 2, 0, 5, 9, 9], [9, 9, 0, 0, 0, 0, 0]]]),
        "fields": torch.tensor([[[5, 9, 9, 6, 4, 1], [2, 8, 3, 0, 9, 0], [0] * 6]]),
    }
    found = matches(seen)[0]
    # row 0: value 9 and name 5 are those of field 0; its word 2 is the key of field 1, whose second
    # part is its value
    assert found[0, 0].tolist() == [0, 1, 1, 0, 1, 0, 0, 0, 0]
    assert found[0, 1].tolist() == [0, 0, 0, 1, 0, 0, 0, 1, 0]
    assert found[1, 0].tolist() == [1, 0, 0, 0, 0, 1, 0, 0, 0]
    assert not found[:, 2].any()  # no field


def test_the_network_reads_tables_wherever_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the device meta, which has shapes only and refuses arrays of other devices.

    How many rows show cannot be known there: all are taken.
    """
    batch, observed = observe(None)
    spaces = Web(batch, Config(width=8, layers=1), num_envs=6).spaces
    network: Any = ElementNetwork(spaces, 8, 1).to("meta")
    seen = {name: value.to("meta") for name, value in observed.items()}
    places = torch.zeros(seen["mask"].shape, dtype=torch.int64, device="meta")
    monkeypatch.setattr(web_network, "visible_rows", lambda seen: (dict(seen), places))
    output = network.actor(network(seen))
    action = network.distribution.mode(output)
    log_pi, entropy = network.distribution.log_prob_entropy(output, action)
    found = [(x.device.type, tuple(x.shape)) for x in (action, log_pi, entropy)]
    assert found == [("meta", (6, 3)), ("meta", (6,)), ("meta", (6,))]


def success(agent: Web, family: Family) -> float:
    batch = Batch(family, 64)
    batch.reset(999)
    state, generator = agent.learner.network, torch.Generator().manual_seed(0)
    rewards: list[float] = []
    for _ in range(12):
        seen = {name: torch.from_numpy(array) for name, array in batch.observation.items()}
        with torch.no_grad():
            action = state.distribution.sample(state.actor(state(seen)), generator)
        batch.step(action.numpy())
        rewards += batch.reward[batch.ended].tolist()
    return float(np.mean([reward == 1.0 for reward in rewards])) if rewards else 0.0


def test_cloning_learns_what_the_demonstrator_does() -> None:
    family = Family(task="enter-text+click-option", instances=100)
    agent = Web(Batch(family, 16), Config(width=32, layers=2, clone_updates=150), seed=0)
    before = success(agent, family)
    shown = demonstrate(family, 100, 0)
    assert (shown.rewards == 1.0).all()
    metrics = agent.clone(shown)
    assert before < 0.3
    assert 0.8 < success(agent, family) <= 1.0
    assert 0.0 < float(metrics["clone_loss"]) < 0.5  # type: ignore[arg-type]


def test_it_teaches_itself_before_the_first_update_and_after_a_resume() -> None:
    family = Family(task="click-test-2", instances=20)
    config = Config(width=8, layers=1, demonstrations=4, clone_updates=3, n_steps=4)
    agent = Web(Batch(family, 4), config, seed=5)
    agent.learn(32)
    assert agent.demonstrations is not None
    assert len(agent.demonstrations.rewards) == 4
    tensors, state = copy.deepcopy(agent.get_state())
    again = Web(Batch(family, 4), config, seed=5)
    again.set_state(tensors, state)
    agent.learn(32, reset_num_timesteps=False)
    again.learn(32, reset_num_timesteps=False)
    ours, theirs = (a.learner.network.state_dict() for a in (agent, again))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


QUICK = Config(width=8, layers=1, demonstrations=4, clone_updates=12, n_steps=4)


def quick(run: RunDirectory | None = None) -> Web:
    """Return a small agent, new or as a run has it."""
    batch = Batch(Family(task="click-test-2", instances=20), 4)
    if run is None:
        return Web(batch, QUICK, seed=5)
    saved = run.load()
    return Web.from_state(saved.tensors, saved.state, env=batch)


def test_cloning_is_shown_logged_and_stopped_between_two_updates(tmp_path: Path) -> None:
    whole = quick().learn(32)
    seen: list[Progress] = []

    def interrupt(at: Progress) -> None:
        seen.append(at)
        if at.preparation and at.preparation.done == 7:
            signal.raise_signal(signal.SIGINT)

    with RunDirectory.create(tmp_path / "run", {}) as run:
        with pytest.raises(Stopped):
            train(quick(), 32, run=run, progress=interrupt)
        assert load_checkpoint(run.path).state["num_prepared"] == 7
    assert [(at.num_timesteps, at.preparation and at.preparation.done) for at in seen] == [
        (0, done) for done in range(8)
    ]
    with RunDirectory.open(tmp_path / "run") as run:
        again = quick(run)
        train(again, 32, run=run, progress=seen.append, log_interval=16)
    done = [at.preparation.done for at in seen if at.preparation]
    assert done == [*range(8), 0, *range(8, 13)]  # 0: asking the demonstrator
    ours, theirs = (a.learner.network.state_dict() for a in (whole, again))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    rows, _ = read_metrics(tmp_path / "run" / "metrics")
    assert [row["step"] for row in rows] == [0] * 12 + [16, 32]
    losses = [row["train/clone_loss"] for row in rows]
    shown = [at.preparation.metrics for at in seen if at.preparation and at.preparation.done]
    assert losses[:12] == [metrics["clone_loss"] for metrics in shown]


def stage(task: str, task_id: str = "known") -> dict[str, Any]:
    """Return the parameters of two pages one after another, at the one called ``task``."""
    pages = {"first": "ClickTest2", "second": "ClickButton"}
    kwargs = {"rows": 24, "instances": 8}
    stages = [
        {"name": name, "env": f"daedalus/Web-{page}-v0", "env_kwargs": kwargs}
        for name, page in pages.items()
    ]
    return {"stages": stages, "task": task, "task_id": task_id}


def test_demonstrations_are_of_the_present_task(tmp_path: Path) -> None:
    """The second page's are asked for when it begins, and after a resume within it."""
    agent = Web(SEQUENCE, QUICK, num_envs=4, seed=5, device="cpu", env_kwargs=stage("first"))
    agent.learn(32)
    for task, told in (("first", [1, 0]), ("second", [0, 1])):
        if task == "second":
            agent.finish_task("first")
            agent.set_env(SEQUENCE, env_kwargs=stage("second"))
            assert agent.demonstrations is None
            agent.learn(32, reset_num_timesteps=False)
        shown: Any = agent.demonstrations
        family = natives_of(agent.batch)[0].family
        assert isinstance(family, Family)
        seed = int(np.random.SeedSequence((5, 2)).generate_state(1)[0])
        expected = demonstrate(family, 4, seed)
        for name, array in shown.observation.items():
            if name != "task":
                np.testing.assert_array_equal(array, expected.observation[name])
        assert (shown.observation["task"] == told).all()
        assert len(shown.rewards) == 4
    agent.save(tmp_path / "saved")
    saved = load_checkpoint(tmp_path / "saved")
    again = Web.from_state(
        saved.tensors, saved.state, env=SEQUENCE, device="cpu", env_kwargs=stage("second")
    )
    for each in (agent, again):
        each.learn(32, reset_num_timesteps=False)
    ours, theirs = (a.learner.network.state_dict() for a in (agent, again))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_tasks_side_by_side_share_the_demonstrations() -> None:
    """Five episodes of two pages are three of each, told apart; each page takes one click."""
    config = dataclasses.replace(QUICK, demonstrations=5)
    agent = Web(SEQUENCE, config, num_envs=4, device="cpu", env_kwargs=stage("all")).learn(16)
    shown: Any = agent.demonstrations
    assert shown.observation["task"].tolist() == [[1, 0]] * 3 + [[0, 1]] * 3
    assert shown.lengths.tolist() == [1] * 6
    assert len(shown.action) == len(shown.observation["mask"]) == len(shown.rewards) == 6


def test_a_task_that_is_to_be_inferred_is_so_in_its_demonstrations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = stage("second", "inferred")
    agent = Web(SEQUENCE, QUICK, num_envs=4, device="cpu", env_kwargs=world).learn(16)
    shown: Any = agent.demonstrations
    assert (shown.observation["task"] == -1).all()
    seen = []
    whole = agent.learner.network.unroll

    def watched(inputs: Any, *rest: Any) -> Any:
        seen.append(inputs.observation["task"])
        return whole(inputs, *rest)

    monkeypatch.setattr(agent.learner.network, "unroll", watched)
    agent._unlikelihood()
    assert seen[0].unique(dim=1).tolist() == [[[1.0, 0.0]]]  # the first that it came to know


def test_where_nobody_demonstrates_it_says_so() -> None:
    config = Config(hidden=16, lstm=0, n_steps=4)
    with pytest.warns(UserWarning, match="learns without demonstrations") as caught:
        Web("daedalus/Catch-v0", config, num_envs=2, device="cpu").learn(16)
    assert len(caught) == 1
    none = dataclasses.replace(config, demonstrations=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Web("daedalus/Catch-v0", none, num_envs=2, device="cpu").learn(16)


def test_the_live_line_tells_of_the_preparation_until_the_first_step() -> None:
    agent = SimpleNamespace(num_timesteps=0)
    line = ProgressLine(agent, 1000, Console(file=io.StringIO()))
    nan = float("nan")

    def at(done: int, total: int, what: str, **metrics: float) -> Progress:
        return Progress(0, 1000, 0.0, nan, nan, Preparation(what, done, total, metrics))

    line(at(0, 0, "asking the demonstrator"))
    assert line.text() == "asking the demonstrator"
    line(at(3, 12, "cloning the demonstrator", clone_loss=1.5))
    begin = "cloning the demonstrator: 3 of 12 updates (25 %)  clone loss 1.500"
    assert line.text() == f"{begin}  - left"
    line(at(6, 12, "cloning the demonstrator", clone_loss=0.5))
    assert line.text().startswith("cloning the demonstrator: 6 of 12 updates (50 %)")
    assert line.text().endswith("  0 s left")  # three took no time
    agent.num_timesteps = 100
    assert line.text().startswith("100 of 1,000 steps (10 %)")


def test_fine_tuning_after_cloning_has_a_gradient() -> None:
    family = Family(task="click-test-2", instances=20)
    agent = Web(Batch(family, 4), Config(width=8, demonstrations=4, clone_updates=3, n_steps=4))
    agent.learn(32)
    assert agent.collector is not None
    rollout = agent.collector.collect(4)
    assert rollout is not None
    assert float(agent.update(rollout)["gradient_norm"]) > 0.0  # type: ignore[arg-type]


def test_on_pixels_it_is_a_convolutional_network() -> None:
    family = Family(task="click-test", actions="humphreys22", instances=8)
    batch = Batch(family, 2, observations=["pixels"])
    agent = Web(batch, Config(hidden=16, n_steps=2, demonstrations=2, clone_updates=2))
    agent.learn(8)
    assert agent.num_updates == 2
    shown: Any = agent.demonstrations
    stack: Any = agent.learner.network.encoder.stacks["pixels"]
    assert float(stack.standardise.mean) == pytest.approx(shown.observation["pixels"].mean())
    table = Web(Batch(Family(task="click-test"), 2))
    kinds = [type(a.learner.network) for a in (agent, Web(Batch(family, 2)), table)]
    assert kinds == [A3CNetwork, A3CNetwork, ElementNetwork]


def test_short_episodes_are_cloned_as_often_as_long_ones() -> None:
    family = Family(task="click-test-2", instances=20)
    agent = Web(Batch(family, 2), Config(width=8, layers=1, clone_batch=6000), num_envs=2)
    rows = agent._drawn(np.array([1, 3, 2]))  # steps 0 | 1 2 3 | 4 5
    assert np.bincount(rows).tolist() == pytest.approx([2000, 667, 667, 667, 1000, 1000], rel=0.15)


def test_pages_that_go_through_in_parts_come_out_in_their_order() -> None:
    batch = Batch(Family(task="click-tab-2+find-city+click-button", instances=8), 70)
    agent = Web(batch, Config(width=8, layers=1), num_envs=70)
    batch.reset(0)
    seen = {name: torch.from_numpy(array) for name, array in batch.observation.items()}
    network: Any = agent.learner.network
    with torch.no_grad():
        parts, whole = network(seen), network._pages(seen)
    assert torch.allclose(parts, whole, atol=1e-5)
    assert not torch.allclose(whole[0], whole[1], atol=1e-3)


def test_what_pops_up_is_about_the_field_that_has_the_focus() -> None:
    """The open box of guests wants 2, rooms want 3: only the focus tells the two entries apart."""
    batch = Batch(Family(task="click-button"), 1)
    network: Any = Web(batch, Config(width=8, layers=1), num_envs=1).learner.network
    elements = torch.zeros(1, 4, 10)
    elements[0, 0, 5] = 1  # the first box has the focus; rows 2 and 3 pop up
    about = torch.tensor([[[9.0, -9.0], [-9.0, 9.0], [-9.0, -9.0], [-9.0, -9.0]]])
    pairs = torch.zeros(1, 4, 2, 9)
    pairs[0, 2, 0, 0] = pairs[0, 3, 1, 0] = 1.0  # texts: 2, the guests'; 3, the rooms'
    told = network._told({"elements": elements}, about, pairs, torch.ones(1, 2, 8))
    popped = told[0, :, 9:18]
    assert popped[2, 0] > 0.99
    assert popped[3].abs().sum() < 0.01
