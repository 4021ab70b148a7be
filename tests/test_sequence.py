"""Tasks one after another: scenarios with stages, their environments, the matrix of scores."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Discrete

from daedalus.accelerators.agent_rows import by_agent, has_agents, row_spaces
from daedalus.accelerators.metrics import MetricsWriter, read_metrics
from daedalus.accelerators.sequence import at_stage, stage_ends, stage_tasks, task_names
from daedalus.accelerators.vector import make_batch
from daedalus.agents import make_agent
from daedalus.agents.actor_critic import ActorCritic, Config
from daedalus.evaluation.sequence import (
    evaluate_tasks,
    is_scored,
    joined,
    matrix_from,
    score_table,
    stage_names,
    summed_up,
    train_sequence,
)
from daedalus.scenarios import SEQUENCE, ScenarioError, load_text

TEXT = """
env: daedalus/Catch-v0
env_kwargs: {rows: 6}
total_timesteps: 1000
stages:
  - {name: plain}
  - {name: noisy, env_kwargs: {noise: 0.1, rows: 6}, total_timesteps: 250}
  - {name: mirrored, env_kwargs: {flipped: true}}
"""
SCENARIO = load_text(TEXT, name="three")
KWARGS = SCENARIO.env_kwargs
SMALL: dict[str, Any] = {"hidden": 16, "lstm": 0, "n_steps": 5, "fisher_samples": 16}


def test_stages_take_from_the_scenario_what_they_do_not_say() -> None:
    """A third of 1000 is 333 for those without a number: 333 + 250 + 333 = 916 in all."""
    assert SCENARIO.env == SEQUENCE
    assert [s.total_timesteps for s in SCENARIO.stages] == [333, 250, 333]
    assert SCENARIO.total_timesteps == 916
    assert SCENARIO.stages[2].env_kwargs == {"rows": 6, "flipped": True}
    assert task_names(KWARGS) == ["plain", "noisy", "mirrored"]
    assert stage_ends(KWARGS, 916) == [333, 583, 916]
    assert stage_ends(KWARGS, 1832) == [666, 1166, 1832]


@pytest.mark.parametrize(
    ("stages", "message"),
    [
        ("[{name: a}]", "line 2: stages: expected a list of at least 2 stages"),
        ("[{name: a}, {env: B}]", "stages.1: a stage needs a name"),
        ("[{name: a}, {name: b, nam: c}]", "stages.1.nam: unknown key; a stage has: name, env"),
        ("[{name: a}, {name: b, total_timesteps: 0}]", "expected a whole number of at least 1"),
    ],
)
def test_wrong_stages_are_named(stages: str, message: str) -> None:
    with pytest.raises(ScenarioError, match=message):
        load_text(f"env: A\nstages: {stages}\n", name="x")


def test_a_task_shows_which_it_is_and_spaces_hold_all_tasks() -> None:
    batch = make_batch(SEQUENCE, 2, env_kwargs=at_stage(SEQUENCE, KWARGS, 1))
    batch.reset([1, 2])
    assert batch.observation["task"].tolist() == [[0, 1, 0]] * 2
    assert batch.observation_spaces["board"].low.min() == -np.inf  # type: ignore[attr-defined]
    batch.step(np.array([1, 1]))
    assert batch.next_observation["task"].tolist() == [[0, 1, 0]] * 2
    hidden = make_batch(SEQUENCE, 2, env_kwargs={**KWARGS, "task": "plain", "task_id": "hidden"})
    assert list(hidden.observation_spaces) == ["board"]


def test_all_tasks_side_by_side() -> None:
    """Seven environments of three tasks: 3, 2 and 2. Each row is that of its own environment."""
    batch = make_batch(SEQUENCE, 7, env_kwargs={**KWARGS, "task": "all"})
    batch.reset(list(range(7)))
    assert batch.observation["task"].argmax(1).tolist() == [0, 0, 0, 1, 1, 2, 2]
    mirrored = make_batch("daedalus/Catch-v0", 2, env_kwargs={"rows": 6, "flipped": True})
    mirrored.reset([5, 6])
    for _ in range(6):
        assert np.array_equal(batch.observation["board"][5:], mirrored.observation["board"])
        actions = np.array([0, 1, 2, 0, 1, 2, 0])
        batch.step(actions)
        mirrored.step(actions[5:])
        assert np.array_equal(batch.reward[5:], mirrored.reward)
        assert np.array_equal(batch.terminated[5:], mirrored.terminated)
    state = batch.get_state()
    batch.step(actions)
    after = batch.observation["board"].copy()
    batch.set_state(state)
    batch.step(actions)
    assert np.array_equal(after, batch.observation["board"])
    assert len(batch.pop_episodes()) == 7
    assert batch.render(6).ndim == 3


def test_what_does_not_fit_is_said_in_one_line() -> None:
    with pytest.raises(ValueError, match="no task 'nosy'; the tasks: plain, noisy, mirrored, all"):
        make_batch(SEQUENCE, 3, env_kwargs={**KWARGS, "task": "nosy"})
    with pytest.raises(ValueError, match="3 tasks side by side"):
        make_batch(SEQUENCE, 2, env_kwargs={**KWARGS, "task": "all"})
    assert len(make_batch(SEQUENCE, 2, env_kwargs=KWARGS).parts) == 2  # type: ignore[attr-defined]
    mixed = load_text("env: CartPole-v1\nstages: [{name: a}, {name: b, env: Acrobot-v1}]", name="m")
    with pytest.raises(ValueError, match="same observations"):
        make_batch(SEQUENCE, 2, env_kwargs={**mixed.env_kwargs, "task": "a"})


PAIRS: dict[str, Any] = {
    "task_id": "known",
    "stages": [
        {
            "name": game,
            "env": "daedalus/ClimbingGame-v0",
            "env_kwargs": {"game": game},
            "total_timesteps": 64,
        }
        for game in ("climbing", "penalty")
    ],
}
"""Two games of two agents: the diagonals pay 11, 7, 5 and 10, 2, 10."""


def test_the_agents_of_every_task_have_rows_of_their_own() -> None:
    """Two copies of each game are eight rows; seeds and arrays go by copy, actions by row."""
    joint = make_batch(SEQUENCE, 4, env_kwargs={**PAIRS, "task": "all"})
    rows = by_agent(joint)
    assert (rows.num_envs, rows.copies, rows.action_space) == (8, 4, Discrete(3))
    assert has_agents(joint)
    assert not has_agents(rows)
    assert row_spaces(joint) == (rows.observation_spaces, rows.action_space)
    rows.reset(list(range(8)))
    assert rows.observation["task"].argmax(1).tolist() == [0] * 4 + [1] * 4
    assert rows.observation["agent"].argmax(1).tolist() == [0, 1] * 4
    assert joint.observation["task"].shape == (4, 2, 2)  # every array is by agent
    rows.step(np.array([0, 0, 1, 1, 0, 0, 1, 1]))
    assert rows.reward.tolist() == [11, 11, 7, 7, 10, 10, 2, 2]
    assert len(rows.pop_episodes()) == 8


@pytest.mark.parametrize(
    ("name", "task_id"), [("comm", "known"), ("iql", "inferred"), ("actor_critic", "hidden")]
)
def test_several_agents_go_through_stages(name: str, task_id: str, tmp_path: Path) -> None:
    cls, kwargs, rows = make_agent(name), {**PAIRS, "task_id": task_id}, []
    config = cls.Config(n_steps=4, hidden=8)
    given = {"num_envs": 4, "seed": 1, "device": "cpu"}
    agent = cls(SEQUENCE, config, **given, env_kwargs=at_stage(SEQUENCE, kwargs, 0))
    assert (agent.num_envs, agent.copies, agent.spaces.action) == (8, 4, Discrete(3))
    last = train_sequence(agent, kwargs, 128, lambda *row: rows.append(row), episodes=8)
    assert agent.finished_tasks == ["climbing", "penalty"]
    assert [step for step, _ in rows] == [0, 64, 128]
    assert set(last[0].returns) <= {11, -30, 0, 7, 6, 5}
    assert set(last[1].returns) <= {10, 0, -100, 2}
    agent.save(tmp_path / "saved")
    second = at_stage(SEQUENCE, kwargs, 1)
    again = cls.load(
        tmp_path / "saved", env=make_batch(SEQUENCE, 4, env_kwargs=second), device="cpu"
    )
    for twin in (agent, again):
        twin.learn(32, reset_num_timesteps=False)
    ours, theirs = (a.get_state()[0] for a in (agent, again))
    assert all(np.array_equal(np.asarray(ours[k]), np.asarray(theirs[k])) for k in ours)


def made(method: str = "ewc") -> ActorCritic:
    config = Config(**SMALL, consolidation=method)
    kwargs = at_stage(SEQUENCE, KWARGS, 0)
    return ActorCritic(SEQUENCE, config, num_envs=4, seed=1, device="cpu", env_kwargs=kwargs)


def test_training_goes_through_all_stages_and_fills_the_matrix() -> None:
    agent, rows = made(), []
    last = train_sequence(agent, KWARGS, 200, lambda *row: rows.append(row), episodes=8)
    assert agent.finished_tasks == ["plain", "noisy", "mirrored"]
    assert [step for step, _ in rows] == [0, 80, 140, 200]  # rollouts of 20 steps
    assert list(rows[0][1]) == ["task/plain", "task/noisy", "task/mirrored"]
    assert agent.consolidation is not None
    assert list(agent.consolidation.terms) == agent.finished_tasks
    curves = {k: (np.array([]), np.array([r[k] for _, r in rows])) for k in rows[0][1]}
    matrix = matrix_from(curves, ["plain", "noisy", "mirrored"])
    assert matrix.shape == (4, 3)
    assert matrix[3].tolist() == [e.mean for e in last]
    assert joined(last).mean == pytest.approx(matrix[3].mean())
    assert len(set(joined(last).seeds.tolist())) == 24  # tasks have seeds of their own


def test_the_matrix_is_summed_up_with_the_untrained_row_in_front() -> None:
    """Scaled from [-1, 1]: untrained 0, 0; then 1, 0.25; then 0.5, 1.

    Average 0.75, forgetting and backward transfer 1/2, forward transfer 1/4.
    """
    matrix = np.array([[-1.0, -1.0], [1.0, -0.5], [0.0, 1.0]])
    found = summed_up(matrix, -1.0, 1.0)
    assert (found.average, found.forgetting) == (0.75, 0.5)
    assert (found.backward_transfer, found.forward_transfer) == (-0.5, 0.25)


AGAIN: dict[str, Any] = {
    "stages": [{"name": name, "env": "daedalus/Catch-v0", "total_timesteps": 10} for name in "aba"]
}
"""Two tasks in three stages."""


def logged(path: Path, rows: list[tuple[int, float, float]]) -> list[str]:
    """What is printed of rows of a step and the scores on a and b."""
    with contextlib.closing(MetricsWriter(path / "metrics")) as metrics:
        for step, a, b in rows:
            metrics.write(step, {"task/a": a, "task/b": b})
    return score_table(path, AGAIN)


def test_a_task_that_comes_again_is_numbered_and_summed_up(tmp_path: Path) -> None:
    """Average (0.9 + 0.5) / 2; b loses 0.8 - 0.5; before it was trained it had 0.2 - 0.1 more."""
    assert stage_names(AGAIN) == ["a (1)", "b", "a (2)"]
    assert stage_tasks(AGAIN) == [0, 1, 0]
    rows = [(0, 0.0, 0.1), (10, 1.0, 0.2), (20, 0.4, 0.8), (30, 0.9, 0.5)]
    lines = logged(tmp_path, rows)
    assert [line.split()[:3] for line in lines[2:5]] == [
        ["after", "a", "(1)"],
        ["after", "b", "0.40"],
        ["after", "a", "(2)"],
    ]
    assert lines[5:] == [
        "average 0.7; forgetting 0.3; backward transfer -0.3; forward transfer 0.1"
    ]


def test_the_newest_scores_of_a_stage_are_shown(tmp_path: Path) -> None:
    """Stopped while it was scored at 10, and trained on after its end, twice."""
    rows = [(0, 0.0, 0.1), (10, 0.7, 0.2), (10, 1.0, 0.2), (20, 0.4, 0.8)]
    lines = logged(tmp_path, [*rows, (30, 0.2, 0.1), (40, 0.3, 0.3), (50, 0.9, 0.5)])
    assert [line.split()[-2:] for line in lines[1:5]] == [
        ["0.00", "0.10"],
        ["1.00", "0.20"],
        ["0.40", "0.80"],
        ["0.90", "0.50"],
    ]
    assert lines[5].startswith("average 0.7; forgetting 0.3;")
    assert is_scored(tmp_path, AGAIN, 50)
    assert not is_scored(tmp_path, AGAIN, 60)


class Killed(Exception):
    """In the place of a signal."""


@pytest.mark.parametrize("method", ["ewc", "si"])
@pytest.mark.parametrize("when", [40, 80, 120])
def test_a_run_that_was_killed_goes_on_bit_for_bit(method: str, when: int, tmp_path: Path) -> None:
    """Within the first stage, at its end before it was finished, and within the second one."""
    whole, rows, again_rows = made(method), [], []
    train_sequence(whole, KWARGS, 200, lambda *row: rows.append(row), episodes=4)
    agent = made(method)

    class Stop:
        """Saves after the update at ``when`` steps, and ends training there."""

        def __call__(self, at: Any) -> None:
            if at.num_timesteps == when:
                agent.save(tmp_path / "half")
                raise Killed

    with pytest.raises(Killed):
        train_sequence(
            agent, KWARGS, 200, lambda *_: None, episodes=4, log_interval=20, progress=Stop()
        )
    from daedalus.accelerators.checkpoint import load_checkpoint

    saved = load_checkpoint(tmp_path / "half")
    stage = len(saved.state["finished_tasks"])
    assert stage == (1 if when == 120 else 0)
    again = ActorCritic.from_state(
        saved.tensors,
        saved.state,
        env=SEQUENCE,
        device="cpu",
        env_kwargs=at_stage(SEQUENCE, KWARGS, stage),
    )
    train_sequence(again, KWARGS, 200, lambda *row: again_rows.append(row), episodes=4)
    assert torch.equal(whole.learner.optimizer.vector, again.learner.optimizer.vector)
    assert again_rows == rows[-len(again_rows) :]


def test_the_latest_episodes_are_of_the_present_environment() -> None:
    """Or the returns logged at first would be those of the task before."""
    agent = ActorCritic("daedalus/Catch-v0", Config(lstm=0), num_envs=2, device="cpu").learn(80)
    assert {abs(episode["r"]) for episode in agent.ep_info_buffer} == {1.0}
    agent.set_env("daedalus/Catch-v0", env_kwargs={"flipped": True})
    assert not agent.ep_info_buffer


def test_every_task_begins_with_episodes_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Seeds of its environments depend on how many tasks are finished; again on nothing else."""
    agent, found = made("none"), list[list[int]]()
    taken = "daedalus.agents.tasks.Collector"
    monkeypatch.setattr(taken, lambda batch, agent, device, seeds: found.append(seeds))
    for task in ("plain", "noisy"):
        agent.finish_task(task)
        for _ in range(2):
            agent.set_env(SEQUENCE, env_kwargs=at_stage(SEQUENCE, KWARGS, 1))
    first, same, second, again = found
    assert first == same
    assert second == again
    assert not set(first) & set(second)


def test_evaluation_leaves_training_as_it_was() -> None:
    first, second = made(), made()
    evaluate_tasks(second, KWARGS, 4)
    for agent in (first, second):
        agent.learn(60)
    assert torch.equal(first.learner.optimizer.vector, second.learner.optimizer.vector)


def test_gains_of_tasks_are_their_own() -> None:
    """While one task is learnt the gains and biases of others stay at 1 and 0."""
    kwargs = at_stage(SEQUENCE, KWARGS, 1)
    config = Config(**SMALL, task_gains=True)
    agent = ActorCritic(SEQUENCE, config, num_envs=4, seed=1, device="cpu", env_kwargs=kwargs)
    agent.learn(200)
    core = agent.learner.network.core
    assert torch.equal(core.gain[[0, 2]], torch.ones(2, 16))
    assert torch.equal(core.bias[[0, 2]], torch.zeros(2, 16))
    assert not torch.equal(core.gain[1], torch.ones(16))
    x = torch.tensor([[1.0, 2.0]])
    small = type(core)(2, 2)
    with torch.no_grad():
        small.gain[1], small.bias[1] = torch.tensor([3.0, -1.0]), torch.tensor([0.5, 1.0])
    seen = agent.collector.collect(1).inputs.at(-1)  # type: ignore[union-attr]
    shown = seen._replace(observation={"task": torch.tensor([[0.0, 1.0]])})
    assert small.step(x, shown, {})[0].tolist() == [[3.5, 0.0]]  # relu(3 + 1/2), relu(-2 + 1)
    with pytest.raises(ValueError, match="observations that tell the task"):
        ActorCritic("daedalus/Catch-v0", config, num_envs=2, device="cpu")


def test_a_benchmark_stores_the_matrix_and_the_page_draws_it(tmp_path: Path) -> None:
    from daedalus.evaluation.page_sequence import heat_maps, scaled
    from daedalus.evaluation.plan import Group, Plan
    from daedalus.evaluation.store import ResultStore
    from daedalus.evaluation.summary import summarise
    from daedalus.evaluation.worker import carry_out, this_code

    (tmp_path / "mine.yaml").write_text(TEXT + "scores: {random: -1, perfect: 1}\nnum_envs: 4\n")
    agents = {"SI": {"agent": "actor_critic", "consolidation": "si", **SMALL}}
    group = Group((str(tmp_path / "mine.yaml"),), agents, total_timesteps=200)
    (spec,) = Plan((group,), seeds=1, episodes=4).specs()
    with ResultStore(tmp_path / "store", create=True) as store:
        store.add([spec], this_code("here"))
        carry_out(store, spec.id)
        (cell,) = summarise(store, store.runs(state="done"))
        assert store.curve(spec.id, "task/noisy")[0].tolist() == [0, 80, 140, 200]
    assert cell.matrices[0].shape == (4, 3)
    assert cell.scores[0] == pytest.approx(cell.matrices[0][-1].mean())
    assert scaled(cell)[0] == pytest.approx((cell.matrices[0] + 1) / 2)
    page = heat_maps([cell])
    assert page.count("<rect") == 12
    assert "after mirrored" in page
    assert "forward transfer" in page


def test_training_from_the_command_line_prints_the_matrix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from daedalus import commands_train
    from daedalus.commands_score import Evaluate

    monkeypatch.setattr(commands_train, "STAGE_EPISODES", 4)
    (tmp_path / "mine.yaml").write_text(TEXT)
    settings = "--steps 200 --num-envs 4 --hidden 16 --lstm 0 --n-steps 5 --consolidation l2"
    words = ["actor_critic", str(tmp_path / "mine.yaml"), *settings.split()]
    command = commands_train.train_command([*words, "--run", str(tmp_path / "run")], "train")
    assert command.run() == 0
    said = capsys.readouterr().out
    assert "after mirrored" in said
    assert "backward transfer" in said
    assert commands_train.Resume(str(tmp_path / "run")).run() == 0
    assert "nothing to do" in capsys.readouterr().out
    assert commands_train.Resume(str(tmp_path / "run"), steps=260).run() == 0
    said = capsys.readouterr().out
    newest = read_metrics(tmp_path / "run" / "metrics")[0][-1]
    assert newest["step"] == 260
    means = [newest[f"task/{name}"] for name in ("plain", "noisy", "mirrored")]
    row = next(line for line in said.splitlines() if line.startswith("after mirrored"))
    assert row.split()[2:] == [f"{mean:.2f}" for mean in means]
    assert "backward transfer" in said
    output = tmp_path / "scores.json"
    assert Evaluate(str(tmp_path / "run"), episodes=4, output=str(output)).run() == 0
    said = capsys.readouterr().out
    assert "4 episodes on each task" in said
    assert "random, mirrored" in said
    found = json.loads(output.read_text())["policies"]
    names = ("plain", "noisy", "mirrored")
    assert [found[f"actor_critic, {name}"]["mean"] for name in names] == means
    assert found["actor_critic, all tasks"]["mean"] == pytest.approx(np.mean(means))
    single = Evaluate(str(tmp_path / "run"), episodes=4, env_kwargs=("task=noisy",))
    assert single.run() == 0
    assert "noisy" not in capsys.readouterr().out.split("\n", 1)[1]


def test_whoever_learns_tasks_together_is_told_how() -> None:
    """Stages of 200 steps end at 73, 127 and 200: with rollouts of 80 steps at 80, 160 and 240."""
    from daedalus.commands_train import _advice

    agent = SimpleNamespace(
        name="distral",
        rollout_length=20,
        num_envs=4,
        num_timesteps=0,
        finished_tasks=[],
        batch=None,
    )
    config = {"env": SEQUENCE, "env_kwargs": KWARGS}
    assert list(_advice(agent, 200, config)) == [
        "distral learns tasks together, not in turn: add --env-kwargs task=all",
        "a rollout is 80 steps: training stops at 240, not at 200",
    ]
    together = {"env": SEQUENCE, "env_kwargs": {**KWARGS, "task": "all"}}
    assert list(_advice(agent, 240, together)) == []
    agent.name, agent.num_timesteps, agent.finished_tasks = "iql", 80, ["plain"]
    assert list(_advice(agent, 240, config)) == []  # stages end at 160 and 240


def test_a_run_that_stopped_before_its_last_scores_is_completed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from daedalus import commands_train
    from daedalus.evaluation import sequence

    monkeypatch.setattr(commands_train, "STAGE_EPISODES", 4)
    (tmp_path / "mine.yaml").write_text(TEXT)
    settings = "--steps 200 --num-envs 4 --hidden 16 --lstm 0 --n-steps 5"
    words = ["actor_critic", str(tmp_path / "mine.yaml"), *settings.split()]
    evaluate, stages = sequence.evaluate_tasks, []

    def stops_in_the_end(agent: Any, *rest: Any) -> Any:
        stages.append(len(agent.finished_tasks))
        if stages[-1] == 3:
            raise KeyboardInterrupt
        return evaluate(agent, *rest)

    monkeypatch.setattr(sequence, "evaluate_tasks", stops_in_the_end)
    with pytest.raises(KeyboardInterrupt):
        commands_train.train_command([*words, "--run", str(tmp_path / "run")], "train").run()
    assert stages[-1] == 3
    monkeypatch.setattr(sequence, "evaluate_tasks", evaluate)
    capsys.readouterr()
    assert commands_train.Resume(str(tmp_path / "run")).run() == 0
    assert "after mirrored" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("ppo", {"n_steps": 8, "batch_size": 16, "n_epochs": 1}),
        ("dqn", {"learning_starts": 8, "buffer_size": 100}),
    ],
)
def test_algorithms_of_stable_baselines3_go_through_stages_too(
    name: str, settings: dict[str, Any]
) -> None:
    cls, rows = make_agent(name), []
    config = cls.Config(**settings, net_arch=(8,))
    kwargs = at_stage(SEQUENCE, KWARGS, 0)
    agent = cls(SEQUENCE, config, num_envs=2, seed=1, device="cpu", env_kwargs=kwargs)
    train_sequence(agent, KWARGS, 120, lambda *row: rows.append(row), episodes=4)
    assert agent.finished_tasks == ["plain", "noisy", "mirrored"]
    assert len(rows) == 4
    assert agent.batch.observation["task"].argmax(1).tolist() == [2, 2]


def test_stages_of_one_name_are_of_one_task() -> None:
    stages = [
        {"name": "a", "env": "daedalus/Catch-v0", "env_kwargs": kwargs}
        for kwargs in ({}, {"rows": 7})
    ]
    with pytest.raises(ValueError, match="the name 'a' is that of an earlier stage with another"):
        make_batch("daedalus/Sequence", 2, env_kwargs={"stages": stages})
