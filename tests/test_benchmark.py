"""The benchmark: plans, a store that loses nothing, runs that fail or die, comparisons."""

import csv
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from result_stores import CATCH, HERE, finish, kill_writers, spec

from daedalus import __version__ as daedalus_version
from daedalus.accelerators.lock import RunLock, RunLockedError
from daedalus.cli import run as daedalus
from daedalus.evaluation import Evaluation, provenance
from daedalus.evaluation.benchmark import benchmark
from daedalus.evaluation.compare import compare, comparison_table, holm, welch
from daedalus.evaluation.page_evidence import evidence
from daedalus.evaluation.plan import PlanError, RunSpec, plan_from, read_plan
from daedalus.evaluation.store import SECONDS, ResultStore, StoreError
from daedalus.evaluation.store_tools import Merged, export, merge, resumptions, verify
from daedalus.evaluation.summary import scale, summarise, table


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ResultStore]:
    """An empty store."""
    with ResultStore(tmp_path / "results.sqlite", create=True) as found:
        yield found


# ---- plans --------------------------------------------------------------------------------------

PLAN = """
seeds: 2
episodes: 10
groups:
  - scenarios: [demo, CartPole-v1]
    agents: [actor_critic]
    total_timesteps: 1e3
  - scenarios: [daedalus/Catch-v0]
    agents:
      small steps: {agent: actor_critic, learning_rate: 1e-5}
"""


def test_a_plan_is_written_out_into_runs_seed_after_seed(tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(PLAN)
    specs = read_plan(file).specs()
    named = [(s.label, s.scenario, s.seed) for s in specs]
    first = [("actor_critic", "demo"), ("actor_critic", "CartPole-v1"), ("small steps", CATCH)]
    assert named == [(*pair, seed) for seed in (0, 1) for pair in first]
    assert specs[0].config["hidden"] == 128  # the scenario's setting for this agent
    assert specs[0].total_timesteps == 1_000
    assert specs[0].num_envs == 16
    assert specs[2].agent == "actor_critic"
    assert specs[2].config["learning_rate"] == 1e-5
    assert len({s.id for s in specs}) == 6
    assert specs[0].id == read_plan(file).specs()[0].id
    assert specs[1].folder == f"actor-critic-CartPole-v1-0-{specs[1].id[:8]}"
    for letter in "aé":  # names of files are 255 bytes at most
        long = replace(specs[0], label=letter * 255)
        assert len(long.folder.encode()) <= 209
        assert long.folder.endswith(long.id[:8])


def test_a_scenarios_limit_reaches_the_agents_that_keep_one(tmp_path: Path) -> None:
    task = tmp_path / "task.yaml"
    task.write_text("env: daedalus/PointCircle-v0\ncost_limit: 3\n")
    by_agent = {run.agent: run for run in plan_from(["cpo", "trpo"], [str(task)], seeds=1).specs()}
    assert by_agent["cpo"].config["cost_limit"] == 3.0
    assert "cost_limit" not in by_agent["trpo"].config
    assert {run.cost_limit for run in by_agent.values()} == {3.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed: 2", "the plan: unknown key 'seed'; there are: groups, seeds"),
        ("seeds: 2", "'groups' must be a list"),
        ("groups: [{agents: [ppo]}]", "group 1: 'scenarios' must be a list"),
        ("groups: [{scenarios: [demo], agents: [ppq]}]", "unknown agent 'ppq'; did you mean 'ppo'"),
        ("groups: [{scenarios: [dem], agents: [ppo]}]", "did you mean 'demo'"),
        (
            "groups: [{scenarios: [demo], agents: {ppo: {gama: 1}}}]",
            "ppo has no setting 'gama'",
        ),
        ("seeds: 0.5\ngroups: [{scenarios: [demo], agents: [ppo]}]", "whole number of at least 1"),
        ("a: [", "not valid YAML"),
        ("seeds: 2\nseeds: 3", "plan.yaml, line 2: the key 'seeds' stands there twice"),
        ("seeds: &a 2\nepisodes: *a", "plan.yaml, line 2: aliases"),
        ("seeds: 1e999\ngroups: [{scenarios: [demo], agents: [ppo]}]", "whole number of at least"),
    ],
)
def test_a_plan_that_is_wrong_says_where(text: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(text)
    with pytest.raises(PlanError, match=message):
        read_plan(file).specs()


def test_a_plan_without_runs_is_refused(tmp_path: Path) -> None:
    plan = plan_from(["actor_critic"], [CATCH], seeds=0)
    with pytest.raises(PlanError, match="the plan has no runs: it needs"):
        benchmark(plan, tmp_path / "store")


@pytest.mark.parametrize("device", ["tpu", 0])
def test_a_device_that_is_not_here_is_said_before_any_run(device: Any, tmp_path: Path) -> None:
    plan = plan_from(["actor_critic"], [CATCH], seeds=1, device=device)
    with pytest.raises(PlanError, match=f"the plan: unknown device {device!r}; devices: auto"):
        benchmark(plan, tmp_path / "store")
    assert not (tmp_path / "store").exists()
    with ResultStore(tmp_path, create=True) as store:
        finish(store, spec(device="tpu"), 2.0)
    state = benchmark([spec(device="tpu")], tmp_path)  # nothing is left to run there
    assert (state.done, state.failed) == (1, [])


def test_a_run_that_is_taken_up_again_has_no_old_error(store: ResultStore) -> None:
    store.add([spec()], HERE)
    (row,) = store.runs()
    store.fail(row["id"], "the sum is wrong")
    store.take_up(row["id"])
    again = store.run(row["id"])
    assert (again["state"], again["error"], again["faults"]) == ("running", "", 1)


# ---- store --------------------------------------------------------------------------------------


def test_a_run_comes_back_as_it_was_stored(store: ResultStore) -> None:
    finish(store, spec(), 2.0, spread=1.0)
    (row,) = store.runs()
    assert row["state"] == "done"
    assert row["config"] == {"gamma": 0.9}
    assert (row["seconds"], row["steps_per_second"]) == (10.0, 10.0)
    assert row["versions"] == {"python": "3"}
    np.testing.assert_array_equal(store.curve(row["id"]), [[50, 100], [1.0, 2.0]])
    found = store.episodes(row["id"])
    np.testing.assert_array_equal(found["returns"], [1, 2, 3])
    np.testing.assert_array_equal(found["costs"], [1, 1, 1])
    assert store.runs(label="a", seed=[0, 1]) == [row]
    assert store.runs(label="b") == []


def test_adding_a_known_run_again_leaves_it_alone(store: ResultStore) -> None:
    finish(store, spec(), 2.0)
    before = store.runs()
    store.add([spec(), spec(seed=1)], HERE)
    assert [row["state"] for row in store.runs()] == ["done", "waiting"]
    assert store.runs(seed=0) == before


def test_a_known_run_is_judged_by_what_its_scenario_says_now(store: ResultStore) -> None:
    for seed in range(2):
        finish(store, spec(seed=seed, references={"random": 0.0}), 2.0)
    with sqlite3.connect(store.path) as other:
        other.execute("UPDATE episode SET length = 8 WHERE run = ?", (spec(seed=1).id,))
    now: dict[str, Any] = {"references": {"random": 0.0, "human": 4.0}, "cost_limit": 3.0}
    store.add([spec(seed=seed, **now) for seed in range(2)], HERE)
    assert [{key: row[key] for key in now} for row in store.runs()] == [now, now]
    assert [spec(seed=1).id in line for line in verify(store)] == [True]  # its fault still shows


def test_a_resumed_run_keeps_what_its_steps_were_made_with(store: ResultStore) -> None:
    run, later = spec(), replace(HERE, git_commit="1" * 40)
    finish(store, spec(seed=1), 1.0)
    with sqlite3.connect(store.path) as plain:  # one that was not resumed is as it always was
        assert plain.execute("PRAGMA user_version").fetchone() == (1,)
    store.add([run], HERE)
    for stood_on, step in (
        (HERE, 0),
        (later, 0),
        (HERE, 40),
        (later, 40),
        (HERE, 60),
        (HERE, 50),
    ):
        why = "torch 2.4, now 2.5" if step == 50 else ""
        store.begin(run.id, stood_on, step, why)
    kept = [(row["step"], row["git_commit"], row["not_exact"]) for row in store.earlier(run.id)]
    # commit 1 until step 40, what went on there as commit 0 did nothing, then 1 again until 50
    assert kept == [(40, "1" * 40, ""), (50, "1" * 40, "torch 2.4, now 2.5")]
    store.log(run.id, 100, {SECONDS: 1.0})
    store.finish(run.id, Evaluation("a", *([np.ones(1)] * 4)), {})
    assert verify(store) == []
    found = resumptions(store, store.run(run.id))
    told = f"commit {'1' * 40} before, {'0' * 40} from then on"
    assert found == [f"at step 50: not bit for bit: torch 2.4, now 2.5; {told}"]
    assert found[0] in evidence(store, store.runs(state="done"))
    with ResultStore(store.path.with_name("other.sqlite"), create=True) as other:
        merge(other, store)
        assert verify(other) == []
        assert other.earlier(run.id) == store.earlier(run.id)
    with sqlite3.connect(store.path) as changed:
        changed.execute("UPDATE earlier SET git_commit = 'another' WHERE step = 50")
    assert [run.id in line for line in verify(store)] == [True]


def test_rows_that_are_written_again_after_a_resume_are_there_once(store: ResultStore) -> None:
    store.add([spec()], HERE)
    for step in (10, 20, 30):
        store.log(spec().id, step, {"x": step, "y": float("nan")})
    store.rewind(spec().id, 10)
    store.log(spec().id, 20, {"x": 5.0})
    np.testing.assert_array_equal(store.curve(spec().id, "x"), [[10, 20], [10, 5]])
    assert store.names(spec().id) == ["x"]


def test_a_number_without_provenance_is_refused(store: ResultStore) -> None:
    for column in ("git_commit", "versions", "hardware", "config_hash"):
        for value in (None, ""):
            with pytest.raises(sqlite3.IntegrityError):
                store.insert({**_coded(store, spec()), column: value}, {})
    store.add([spec()], HERE)
    with pytest.raises(StoreError, match="no learning curve"):
        store.finish(spec().id, Evaluation("a", *([np.zeros(0)] * 4)), {})
    assert store.runs()[0]["state"] == "waiting"


def test_a_commit_is_that_of_this_code_and_not_of_a_repository_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / ".venv" / "daedalus" / "evaluation" / "provenance.py"
    module.parent.mkdir(parents=True)
    module.touch()
    (tmp_path / "mine.py").touch()
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a"]
    for words in (["init", "-q"], ["add", "mine.py"], ["commit", "-qm", "mine"]):
        subprocess.run([*git, *words], check=True)
    monkeypatch.setattr(provenance, "__file__", str(module))
    assert provenance.commit() == f"release {daedalus_version}"
    written = module.parents[1] / "results" / "run.json"
    written.parent.mkdir()
    written.touch()
    for words in (["add", "-f", str(module), str(written)], ["commit", "-qm", "ours"]):
        subprocess.run([*git, *words], check=True)
    written.write_text("what a run writes")
    assert len(provenance.commit()) == 40
    module.write_text("# other code")
    assert provenance.commit()[40:] == "+changes"


def _coded(store: ResultStore, run: RunSpec) -> dict[str, Any]:
    store.add([run], HERE)
    (row,) = store.runs()
    return {**row, "id": "other"}


def test_a_changed_number_or_file_is_found(store: ResultStore) -> None:
    finish(store, spec(), 2.0)
    assert verify(store) == []
    with sqlite3.connect(store.path) as other:
        other.execute('UPDATE episode SET "return" = 3.0 WHERE seed = 1')
    assert [line for line in verify(store) if "not those that were stored" in line]


def test_what_is_no_store_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no result store"):
        ResultStore(tmp_path / "none.sqlite")
    text = tmp_path / "text.sqlite"
    text.write_text("not a database at all, but long enough to look at")
    with pytest.raises(StoreError, match="is no result store"):
        ResultStore(text)
    with sqlite3.connect(tmp_path / "other.sqlite") as other:
        other.execute("CREATE TABLE t (x)")
    with pytest.raises(StoreError, match="application id"):
        ResultStore(tmp_path / "other.sqlite")


def test_a_store_on_a_read_only_medium_is_read(
    store: ResultStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish(store, spec(), 2.0)
    store.close()
    monkeypatch.setattr("os.access", lambda path, mode: mode != os.W_OK)
    with ResultStore(store.path) as found:
        assert verify(found) == []
        assert [p.name for p in store.path.parent.iterdir()] == [store.path.name]
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            found.add([spec(seed=1)], HERE)
    folder = store.path.parent / "folder.sqlite"
    folder.mkdir()
    with pytest.raises(StoreError, match="cannot be opened: unable to open"):
        ResultStore(folder, create=True)


def test_a_store_that_others_are_just_making_is_waited_for(store: ResultStore) -> None:
    store.close()
    other = sqlite3.connect(store.path, isolation_level=None, check_same_thread=False)
    other.execute("PRAGMA journal_mode = DELETE")  # as before the one who made it is done
    other.execute("BEGIN IMMEDIATE")
    leave = threading.Timer(0.2, other.execute, ["COMMIT"])
    leave.start()
    with ResultStore(store.path) as found:
        assert found.runs() == []
    leave.join()
    other.close()


def test_stores_are_merged_once_and_what_differs_stays(tmp_path: Path) -> None:
    with (
        ResultStore(tmp_path / "a.sqlite", create=True) as one,
        ResultStore(tmp_path / "b.sqlite", create=True) as two,
    ):
        finish(one, spec(seed=0), 1.0)
        finish(two, spec(seed=0), 9.0)
        finish(two, spec(seed=1), 2.0)
        one.add([spec(seed=1)], HERE)  # waits here, is done there
        lock = RunLock(tmp_path)  # as a benchmark holds it
        with pytest.raises(RunLockedError, match="is in use by process"):
            merge(one, two)
        lock.release()
        assert merge(one, two) == Merged(taken=1, known=0, differing=1)
        assert merge(one, two) == Merged(taken=0, known=1, differing=1)
        assert [row["state"] for row in one.runs()] == ["done", "done"]
        assert one.episodes(spec(seed=0).id)["returns"].mean() == 1.0
        assert verify(one) == []
        with sqlite3.connect(two.path) as other:
            other.execute("DELETE FROM metric")
        with pytest.raises(StoreError, match=r"b\.sqlite is damaged"):
            merge(one, two)


def test_tables_are_exported(store: ResultStore, tmp_path: Path) -> None:
    finish(store, spec(), 2.0, spread=1.0)
    rows = {}
    for name, count in (("runs", 1), ("curves", 4), ("episodes", 3)):
        path = tmp_path / f"{name}.csv"
        assert export(store, path, name, store.runs()) == count
        with path.open(newline="") as file:
            rows[name] = list(csv.DictReader(file))
    assert rows["runs"][0]["mean_return"] == "2.0"
    assert rows["runs"][0]["git_commit"] == "0" * 40
    assert [row["return"] for row in rows["episodes"]] == ["1.0", "2.0", "3.0"]
    with pytest.raises(StoreError, match=r"\.csv or \.parquet"):
        export(store, tmp_path / "x.xlsx", "runs", store.runs())


def test_tables_are_exported_as_parquet(store: ResultStore, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    finish(store, spec(), 2.0)
    export(store, tmp_path / "x.parquet", "curves", store.runs())
    found = parquet.read_table(tmp_path / "x.parquet").to_pylist()
    assert {row["step"] for row in found} == {50, 100}


def test_killed_writers_lose_no_acknowledged_row(tmp_path: Path) -> None:
    found = kill_writers(tmp_path / "results.sqlite", rounds=10)
    assert found["rounds"] == 10
    assert found["acknowledged"] >= 20
    assert found["lost"] == found["torn"] == found["damaged"] == 0


# ---- runs ---------------------------------------------------------------------------------------


@pytest.fixture
def agents_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes find the agents of the tests."""
    folder = str(Path(__file__).parent)
    monkeypatch.setenv("PYTHONPATH", folder)
    monkeypatch.syspath_prepend(folder)


def options(*agents: str, **more: Any) -> Any:
    """A plan for the agents of the tests."""
    names = [f"benchmark_agents:{agent}" for agent in agents]
    return plan_from(names, [CATCH], total_timesteps=800, num_envs=2, seeds=1, episodes=4, **more)


def test_there_are_no_more_workers_than_cores_that_one_may_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from daedalus.evaluation import benchmark as runner

    started = []

    class Runner:
        def __init__(self, store: ResultStore, specs: Any, workers: int, watch: Any) -> None:
            started.append(workers)

        def run(self) -> None:
            """Nothing."""

    monkeypatch.setattr(runner, "_Runner", Runner)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(6)))
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    for threads in (1, 2, 8):
        benchmark([spec(threads=threads)], tmp_path)
    assert started == [6, 3, 1]


def test_a_full_disk_names_the_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(ResultStore, "add", full)
    reason = r"results\.sqlite cannot be written: database or disk is full; once that is mended"
    with pytest.raises(StoreError, match=reason):
        benchmark([spec()], tmp_path)


def test_a_run_that_fails_or_is_killed_stops_no_other_and_goes_on_later(
    tmp_path: Path, agents_found: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from daedalus.evaluation.benchmark import State, benchmark

    pytest.importorskip("torch")
    events: list[str] = []
    monkeypatch.chdir(tmp_path)
    (tmp_path / "yaml.py").write_text("raise SystemExit('hides the library')")

    def watch(state: State) -> None:
        events.extend([state.event] if state.event else [])

    plan = options("Raises", "Dies")
    plan.groups[0].agents["benchmark_agents:Dies"]["once"] = str(tmp_path / "seen")
    plan.groups[0].agents["fine"] = {"agent": "benchmark_agents:Random"}
    state = benchmark(plan, tmp_path, workers=3, watch=watch)
    assert (state.done, state.total) == (1, 3)
    reasons = sorted(error for _, error in state.failed)
    assert reasons == ["ArithmeticError: the sum is wrong", "killed by signal 9"]
    assert any("FAILED: ArithmeticError" in event for event in events)
    with ResultStore(tmp_path) as store:
        (fine,) = store.runs(label="fine")
        np.testing.assert_array_equal(store.curve(fine["id"], "train/speed")[1], np.ones(50))
        assert len(store.curve(fine["id"])[0]) > 30  # from the first end of an episode on

    del plan.groups[0].agents["benchmark_agents:Raises"]
    assert benchmark(plan, tmp_path, workers=1).done == 2
    with ResultStore(tmp_path) as store:
        (died,) = store.runs(label="benchmark_agents:Dies")
        assert (died["state"], died["attempts"], died["faults"]) == ("done", 2, 1)
        steps, _ = store.curve(died["id"], "train/speed")
        np.testing.assert_array_equal(steps, np.arange(16, 801, 16))  # each row once
        assert len(store.episodes(died["id"])["returns"]) == 4
        assert store.runs(label="fine") == [fine]  # not run again
        assert verify(store) == []
        path = store.directory(died) / "config.yaml"
        path.write_text(path.read_text() + "# a change\n")
        assert [line for line in verify(store) if line.endswith("config.yaml was changed")]


def test_a_killed_benchmark_takes_its_runs_along_and_goes_on(
    tmp_path: Path, agents_found: None
) -> None:
    pytest.importorskip("torch")
    plan = tmp_path / "plan.yaml"
    plan.write_text(
        f"seeds: 1\nepisodes: 2\ngroups: [{{scenarios: [{CATCH}], num_envs: 2, total_timesteps: "
        "800, agents: {a: {agent: 'benchmark_agents:Random', wait: 0.05}}}]\n"
    )
    command = [sys.executable, "-m", "daedalus", "benchmark", str(plan), "--store", str(tmp_path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    first = _wait_for_progress(tmp_path)
    process.kill()
    process.wait()
    with ResultStore(tmp_path) as store:
        for _ in range(600):
            if store.runs(state="waiting"):  # nothing is said to be running now
                break
            time.sleep(0.1)
        else:
            raise AssertionError(store.runs()[0]["state"])
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "1 of 1 runs are done" in done.stdout
    with ResultStore(tmp_path) as store:
        (row,) = store.runs()
        steps, _ = store.curve(row["id"], "train/speed")
        np.testing.assert_array_equal(np.diff(steps), 16)  # no row lost or doubled
        assert steps[-1] == 800
        assert row["attempts"] == 2
        assert first["id"] == row["id"]
        (before,) = store.earlier(row["id"])
        assert (before["step"] > 0, before["not_exact"]) == (True, "")


def test_a_run_with_damaged_checkpoints_is_not_begun_anew(store: ResultStore) -> None:
    from daedalus.accelerators.checkpoint import CheckpointError
    from daedalus.accelerators.run_directory import RunDirectory
    from daedalus.evaluation.worker import _open

    store.add([spec(), spec(seed=1, agent="nosuch:Agent")], HERE)
    for row in store.runs():
        RunDirectory.create(store.directory(row), {"agent": "a"}).close()
    damaged, unknown = store.runs()
    checkpoint = store.directory(damaged) / "checkpoints" / "50"
    checkpoint.mkdir()
    (checkpoint / "manifest.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"50/manifest\.json.*; delete .* to begin this run"):
        _open(store, damaged)
    assert checkpoint.is_dir()
    with pytest.raises(ImportError):
        _open(store, unknown)
    assert (store.directory(unknown) / "config.yaml").is_file()


def _wait_for_progress(folder: Path) -> Mapping[str, Any]:
    """Wait until the only run has logged three rows; return it."""
    for _ in range(600):
        time.sleep(0.1)
        if (folder / "results.sqlite").is_file():
            with ResultStore(folder, create=True) as store:
                (row,) = store.runs() or [{}]
                if row and len(store.curve(row["id"], "train/speed")[0]) >= 3:
                    return row
    raise AssertionError("the run has not begun")


# ---- comparisons --------------------------------------------------------------------------------


def test_welch_agrees_with_scipy() -> None:
    # scipy.stats.ttest_ind(new, old, equal_var=False): 4 degrees of freedom, a whole number
    result = welch(np.array([1.0, 2.0, 3.0]), np.array([4.0, 5.0, 6.0]))
    assert result.difference == 3.0
    assert result.p == pytest.approx(0.021311641128756727)
    assert result.low == pytest.approx(3 - 2.7764451051977934 * np.sqrt(2 / 3))
    assert welch(np.ones(3), np.ones(2)) == (0.0, 0.0, 0.0, 1.0)
    assert np.isnan(welch(np.ones(1), np.ones(2)).p)


def test_holm_by_hand() -> None:
    assert holm([0.04, 0.01, 0.03, 0.005]) == pytest.approx([0.06, 0.03, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_false_alarms_are_as_rare_as_they_should_be() -> None:
    rng, alarms = np.random.default_rng(0), 0
    for _ in range(200):
        pairs = rng.normal(size=(10, 2, 5))
        alarms += min(holm([welch(old, new).p for old, new in pairs])) < 0.05
    assert alarms / 200 < 0.09


def test_a_comparison_names_what_changed_and_what_cannot_be_told(tmp_path: Path) -> None:
    with (
        ResultStore(tmp_path / "old.sqlite", create=True) as old,
        ResultStore(tmp_path / "new.sqlite", create=True) as new,
    ):
        noise = np.random.default_rng(0).normal(size=(2, 5))
        for seed in range(5):
            for label, rise in (("better", 10), ("same", 0), ("worse", -10)):
                finish(old, spec(label, seed), noise[0, seed])
                finish(new, spec(label, seed), noise[1, seed] + rise)
        finish(old, spec("once"), 0.0)
        finish(new, spec("once"), 50.0)
        finish(new, spec("new"), 0.0)
        finish(old, spec("dropped"), 0.0)
        changes = compare(old, new)
    assert {change.label: change.verdict for change in changes} == {
        "better": "better",
        "same": "no change shown",
        "worse": "worse",
        "once": "too few runs",
        "dropped": "only before",
        "new": "only now",
    }
    lines = comparison_table(changes).splitlines()
    assert lines[2].split() == ["s", "once", "1,", "1", "0", "50", "+50", "-", "too", "few", "runs"]
    assert lines[-2:] == ["only before: dropped on s", "only now: new on s"]
    stores = ["--store", str(tmp_path / "new.sqlite"), "--compare", str(tmp_path / "old.sqlite")]
    assert daedalus(["benchmark", *stores]) == 3
    assert daedalus(["benchmark", *stores[:2], "--compare", stores[1]]) == 0


def test_runs_of_other_budgets_are_neither_compared_nor_thrown_together(tmp_path: Path) -> None:
    with (
        ResultStore(tmp_path / "old.sqlite", create=True) as old,
        ResultStore(tmp_path / "new.sqlite", create=True) as new,
    ):
        finish(old, spec(), 1.0)
        finish(new, replace(spec(), total_timesteps=200), 2.0)
        with pytest.raises(StoreError, match="a on s had 100 steps then and 200 steps now"):
            compare(old, new)
        finish(new, spec(), 1.0)
        finish(new, spec(seed=1), 1.0)
        found = {(cell.label, cell.runs) for cell in summarise(new, new.runs())}
    assert found == {("a (100 steps)", 2), ("a (200 steps)", 1)}


@pytest.mark.parametrize(
    ("changes", "one", "other"),
    [
        ({"env_kwargs": {"rows": 5}}, "rows by default", "rows=5"),
        ({"env": "CartPole-v1"}, CATCH, "CartPole-v1"),
        ({"episodes": 7}, "100 episodes", "7 episodes"),
        ({"agent": "a2c", "threads": 2}, "agent ppo, 1 threads", "agent a2c, 2 threads"),
        ({"device": "cuda"}, "on cpu", "on cuda"),
    ],
)
def test_runs_of_other_tasks_are_told_apart_by_what_differs(
    changes: dict[str, Any], one: str, other: str, store: ResultStore
) -> None:
    for seed in range(2):
        finish(store, spec(seed=seed), 1.0)
        finish(store, spec(seed=seed, **changes), 0.0)
    cells = {cell.label: (cell.runs, cell.iqm) for cell in summarise(store, store.runs())}
    assert cells == {f"a ({one})": (2, 1.0), f"a ({other})": (2, 0.0)}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"env_kwargs": {"rows": 5}}, "a on s had rows by default then and rows=5 now"),
        ({"env": "CartPole-v1", "episodes": 7}, f"had {CATCH}, 100 episodes then and CartPole-v1"),
        ({"label": "b"}, "has no agent and scenario that"),
    ],
)
def test_other_tasks_are_not_compared(
    changes: dict[str, Any], message: str, tmp_path: Path, store: ResultStore
) -> None:
    with ResultStore(tmp_path / "new.sqlite", create=True) as new:
        finish(store, spec(), 1.0)
        finish(new, replace(spec(), **changes), 0.0)
        with pytest.raises(StoreError, match=message):
            compare(store, new)


# ---- summaries and commands ---------------------------------------------------------------------


def test_scores_are_put_on_the_scale_of_the_references(store: ResultStore) -> None:
    assert scale({"random": 1.0, "oracle": 5.0}) == (1.0, 5.0, "oracle")
    assert scale({"random": 1.0, "oracle": 5.0, "human": 3.0}) == (1.0, 3.0, "human")
    assert scale({"random": 1.0}) is None
    for seed in range(3):
        finish(store, spec(seed=seed, references={"random": 0.0, "human": 4.0}), 2.0 + seed)
    cells = summarise(store, store.runs())
    assert cells[0].area == pytest.approx(np.mean([score * 0.625 for score in (2, 3, 4)]))
    assert cells[0].constrained is None
    np.testing.assert_array_equal(table(cells, "a", ["s"]), [[0.5], [0.75], [1.0]])
    assert table(cells, "b", ["s"]) is None


def test_commands_on_a_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(tmp_path / "r.sqlite")
    with ResultStore(path, create=True) as store:
        for seed in range(3):
            finish(store, spec(seed=seed), 2.0)
        store.add([spec(seed=3)], HERE)
    assert daedalus(["results", path]) == 0
    out = capsys.readouterr().out
    assert "2 [2, 2]" in out
    assert "not done: 1 waiting" in out
    assert daedalus(["results", path, "--each", "--seed", "1"]) == 0
    assert capsys.readouterr().out.count("done") == 1
    assert daedalus(["results", path, "--verify"]) == 0
    assert daedalus(["results", path, "--agent", "A"]) == 2
    assert "did you mean 'a'" in capsys.readouterr().err
    assert daedalus(["results", path, "--table", "x"]) == 2
    for words, said in (
        (("--table", "curves"), "--table would change nothing: it says what --export FILE writes"),
        (("--state", "finished"), "--state is one of waiting, running, failed, done, not 'fin"),
        (("--seed", "0", "9"), "has no seed '9'; there are: 0, 1, 2, 3"),
        (("--verify", "--seed", "1"), "--seed would change nothing: --verify checks all runs"),
        (("--each", "--export", "x.csv"), "--each would change nothing: with --export"),
    ):
        capsys.readouterr()
        assert daedalus(["results", path, *words]) == 2
        assert said in capsys.readouterr().err
    assert daedalus(["results", path, "--state", "failed"]) == 0
    assert "has no such runs" in capsys.readouterr().err
    assert daedalus(["results", str(tmp_path / "no")]) == 1
    assert daedalus(["benchmark"]) == 2
    assert daedalus(["benchmark", "--agents", "ppo"]) == 2
    assert daedalus(["benchmark", "--agents", "ppq", "--scenarios", CATCH]) == 1


def test_a_failed_run_fails_the_command_also_with_a_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from daedalus.evaluation import benchmark as runner

    new, old = tmp_path / "new.sqlite", tmp_path / "old.sqlite"
    for path in (new, old):
        with ResultStore(path, create=True) as made:
            for seed in range(3):
                finish(made, spec(seed=seed), 2.0)
    ended = runner.State(4, done=3, failed=[({"label": "a", "scenario": "s", "seed": 3}, "why")])
    monkeypatch.setattr(runner, "benchmark", lambda *_, **__: ended)
    words = ["benchmark", "--agents", "actor_critic", "--scenarios", CATCH, "--store", str(new)]
    assert daedalus([*words, "--compare", str(old)]) == 1
    said = capsys.readouterr()
    assert "FAILED: a on s, seed 3: why" in said.err
    assert f"compared with {old}" in said.out
    ended.failed.clear()
    assert daedalus([*words, "--compare", str(old)]) == 0
    monkeypatch.delattr(runner, "benchmark")  # an unusable store is said before any run
    assert daedalus([*words, "--compare", str(tmp_path / "no")]) == 1
    assert "there is no result store" in capsys.readouterr().err
    assert daedalus(["report", str(new), "--output", str(tmp_path)]) == 1
    assert f"error: {tmp_path}: is a folder; name a file in it" in capsys.readouterr().err


def test_the_speed_leaves_out_what_was_compiled_before_the_first_row(store: ResultStore) -> None:
    store.add([spec()], HERE)
    for step, seconds in ((10, 60.0), (20, 61.0), (40, 63.0)):
        store.log(spec().id, step, {SECONDS: seconds})
    store.finish(spec().id, Evaluation("a", *([np.ones(1)] * 4)), {})
    (row,) = store.runs()
    assert (row["seconds"], row["steps_per_second"]) == (63.0, 10.0)


def test_a_run_waits_for_a_process_that_is_still_saving(tmp_path: Path) -> None:
    from daedalus.accelerators.run_directory import RunDirectory
    from daedalus.evaluation.worker import _opened

    held = RunDirectory.create(tmp_path / "run", {"agent": "a"})
    release = threading.Timer(0.5, held.close)
    release.start()
    _opened(tmp_path / "run").close()
    release.join()
