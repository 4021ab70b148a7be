"""A run directory has one owner, tells what became of the run, and its logging never stops it."""

from __future__ import annotations

import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from faults import race_for_lock

from daedalus.accelerators import metrics
from daedalus.accelerators.checkpoint import load_checkpoint
from daedalus.accelerators.files import write_file
from daedalus.accelerators.lock import RunLock, RunLockedError
from daedalus.accelerators.metrics import CSV_NAME, MetricsWriter, read_metrics, read_records
from daedalus.accelerators.run_directory import (
    RunDirectory,
    RunDirectoryError,
    best_step,
    read_config,
    read_status,
)

CONFIG = {"agent": "unreal", "env": "daedalus/NavMaze-v0", "total_timesteps": 1000}


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDirectory]:
    """A new run directory, owned by this process."""
    with RunDirectory.create(tmp_path / "runs" / "one", CONFIG) as made:
        yield made


# ---- the folder ---------------------------------------------------------------------------------


def test_a_new_run_has_its_parts_and_a_link(run: RunDirectory) -> None:
    assert {p.name for p in run.path.iterdir()} == {
        "config.yaml", "status.json", "lock", "metrics", "checkpoints", "videos",
    }  # fmt: skip
    assert read_config(run.path) == CONFIG
    assert (run.path.parent / "last").resolve() == run.path.resolve()
    assert read_config(run.path.parent / "last") == CONFIG


def test_a_run_is_not_overwritten(run: RunDirectory, tmp_path: Path) -> None:
    run.close()
    with pytest.raises(RunDirectoryError, match="holds a run; resume it"):
        RunDirectory.create(run.path, CONFIG)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "text").touch()
    with pytest.raises(RunDirectoryError, match="not empty"):
        RunDirectory.create(tmp_path / "thesis", CONFIG)


BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"
"""Each line doubles: thirty more are gigabytes."""


@pytest.mark.parametrize(
    "text",
    ["!!python/object/apply:os.mkdir [canary]", "- 1\n", "a: [", "", "\xff", "[" * 2_000, BOMB],
)
def test_a_hostile_config_is_refused_in_one_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text, encoding="latin-1")
    with pytest.raises(RunDirectoryError) as caught:
        RunDirectory.open(tmp_path)
    assert "\n" not in str(caught.value)
    assert not Path("canary").exists()


def test_a_folder_without_a_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(RunDirectoryError, match="no run directory"):
        RunDirectory.open(tmp_path / "nothing")


def test_leftovers_of_a_killed_writer_are_swept(run: RunDirectory) -> None:
    run.close()
    (run.path / "checkpoints" / ".tmp-5-1-ab").mkdir()
    (run.path / "checkpoints" / ".trash-4-1-ab").mkdir()
    with RunDirectory.open(run.path) as again:
        assert os.listdir(again.path / "checkpoints") == []
        assert any("removed 2 unfinished" in note for note in again.notes)


def test_the_status_tells_a_dead_run_from_a_finished_one(run: RunDirectory) -> None:
    run.set_status("running", num_timesteps=10)
    assert read_status(run.path)["state"] == "running"
    status = json.loads((run.path / "status.json").read_text())
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    write_file(run.path / "status.json", json.dumps({**status, "pid": child.pid}).encode())
    assert read_status(run.path)["state"] == "killed"
    run.set_status("finished")
    assert read_status(run.path)["state"] == "finished"
    for broken in ("{", "[]"):
        (run.path / "status.json").write_text(broken)
        assert read_status(run.path) == {"state": "unknown"}


def test_the_best_checkpoint_is_named(run: RunDirectory) -> None:
    assert best_step(run.path) is None
    run.mark_best(70, 1.5)
    assert best_step(run.path) == 70


# ---- the lock -----------------------------------------------------------------------------------


def test_a_second_owner_is_refused_with_the_first_ones_name(run: RunDirectory) -> None:
    with pytest.raises(RunLockedError, match=rf"in use by process {os.getpid()} on .*, started 2"):
        RunDirectory.open(run.path)
    run.close()
    RunDirectory.open(run.path).close()


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_of_two_starters_one_wins(run: RunDirectory) -> None:
    run.close()
    for _ in range(30):
        won, lost = sorted(race_for_lock(run.path), key=lambda said: not said.startswith("won"))
        assert won.startswith("won by ")
        assert won.removeprefix("won by ") in lost
        assert lost.startswith("RunLockedError")


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_without_the_lock_both_would_win(run: RunDirectory, monkeypatch: Any) -> None:
    run.close()
    monkeypatch.setattr(
        "daedalus.accelerators.lock.fcntl.flock", lambda *arguments: None
    )  # the mutation
    assert [said.startswith("won") for said in race_for_lock(run.path)] == [True, True]


def test_the_lock_of_a_killed_owner_is_taken_over(run: RunDirectory) -> None:
    run.close()
    code = (
        "import sys, time\nfrom daedalus.accelerators.run_directory import RunDirectory\n"
        "run = RunDirectory.open(sys.argv[1]); print('mine', flush=True); time.sleep(60)"
    )
    owner = subprocess.Popen([sys.executable, "-c", code, run.path], stdout=subprocess.PIPE)
    assert owner.stdout is not None
    assert owner.stdout.readline() == b"mine\n"
    with pytest.raises(RunLockedError, match=f"process {owner.pid} "):
        RunDirectory.open(run.path)
    owner.send_signal(signal.SIGKILL)
    owner.communicate()
    with RunDirectory.open(run.path) as again:
        assert any(f"took over from process {owner.pid}" in note for note in again.notes)


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_worker_that_outlives_its_trainer_does_not_hold_the_run(tmp_path: Path) -> None:
    lock = RunLock(tmp_path)
    reader, writer = os.pipe()
    if (worker := os.fork()) == 0:
        os.write(writer, b"!")
        time.sleep(30)
        os._exit(0)
    os.read(reader, 1)
    lock._close()  # as the kernel does when the trainer is killed
    RunLock(tmp_path).release()
    os.kill(worker, signal.SIGKILL)
    os.waitpid(worker, 0)


# ---- logged rows --------------------------------------------------------------------------------


def test_rows_come_back_and_new_columns_fit_in(tmp_path: Path) -> None:
    writer = MetricsWriter(tmp_path)
    writer.write(1, {"a": 0.1})
    writer.write(2, {"a": 0.2, "b/c, d": 1e-30})
    writer.write(3, {"b/c, d": float("nan")})
    writer.close()
    rows, dropped = read_metrics(tmp_path)
    assert rows[:2] == [{"step": 1, "a": 0.1}, {"step": 2, "a": 0.2, "b/c, d": 1e-30}]
    assert rows[2]["step"] == 3
    assert dropped == ""


def test_tensorboard_reads_the_same_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the second file is the tenth of this process: "10" stands before "9"."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setattr(metrics, "_number", itertools.count(9))
    writer = MetricsWriter(tmp_path)
    for step in (1, 2, 3, 4):
        writer.write(step, {"rollout/ep_rew_mean": step / 2})
    writer.rewind(2)
    writer.write(3, {"rollout/ep_rew_mean": 9.0})
    writer.close()
    events = EventAccumulator(str(tmp_path)).Reload()
    found = [(e.step, e.value) for e in events.Scalars("rollout/ep_rew_mean")]
    assert found == [(1, 0.5), (2, 1.0), (3, 9.0)]
    assert [row["step"] for row in read_metrics(tmp_path)[0]] == [1, 2, 3]


def test_a_resumed_run_has_no_row_twice_and_none_missing(run: RunDirectory) -> None:
    run.log(10, {"a": 1.0})
    run.save(10, {}, {})
    run.log(20, {"a": 2.0})
    run.close()
    with (run.path / "metrics" / CSV_NAME).open("a") as file:
        file.write("30,3.")  # torn
    with RunDirectory.open(run.path) as again:
        assert again.load().step == 10
        again.log(20, {"a": 2.5})
    assert read_metrics(run.path / "metrics") == (
        [{"step": 10, "a": 1.0}, {"step": 20, "a": 2.5}],
        "",
    )


@pytest.mark.parametrize("pattern", [CSV_NAME, "events*"])
def test_a_file_cut_anywhere_keeps_its_good_beginning(tmp_path: Path, pattern: str) -> None:
    writer = MetricsWriter(tmp_path)
    for step in range(5):
        writer.write(step, {"a": step * 1.5, "b": -step})
    writer.close()
    (path,) = tmp_path.glob(pattern)

    def read() -> tuple[list[Any], str]:
        return read_metrics(tmp_path) if pattern == CSV_NAME else read_records(path)

    whole, content = read()[0], path.read_bytes()
    for offset in range(len(content)):
        path.write_bytes(content[:offset])
        kept, dropped = read()
        assert kept == whole[: len(kept)]
        assert bool(dropped) == (content[:offset] != b"" and not _ends_whole(content, offset, path))
    path.write_bytes(content)
    assert read() == (whole, "")


def _ends_whole(content: bytes, offset: int, path: Path) -> bool:
    if path.name == CSV_NAME:
        return content[offset - 1 : offset] == b"\n"
    return sum(len(r) + 16 for r in read_records(path)[0]) == offset


@contextmanager
def file_limit(limit: int) -> Iterator[None]:
    """No file may grow past ``limit`` bytes: a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_turns_logging_off_with_one_warning(run: RunDirectory) -> None:
    for limit in range(0, 1500, 50):
        writer = MetricsWriter(run.path / f"metrics-{limit}")
        with warnings.catch_warnings(record=True) as caught, file_limit(limit):
            warnings.simplefilter("always")
            for step in range(50):
                writer.write(step, {"a": step, "b": 0.123456789})
                writer.sync()
        writer.close()
        assert [str(w.message) for w in caught if "is off" not in str(w.message)] == []
        assert len(caught) == 1
        rows, dropped = read_metrics(run.path / f"metrics-{limit}")
        assert dropped == ""
        assert [row["step"] for row in rows] == list(range(len(rows)))


def test_a_full_disk_stops_neither_status_nor_lock(run: RunDirectory) -> None:
    with file_limit(0):
        run.set_status("running", num_timesteps=5)
    assert read_status(run.path)["state"] == "created"
    with pytest.raises(OSError, match="File too large"), file_limit(10):
        run.save(1, {}, {})
    run.save(2, {}, {})
    assert load_checkpoint(run.path).step == 2


def test_the_config_is_plain_yaml(run: RunDirectory) -> None:
    assert yaml.safe_load((run.path / "config.yaml").read_text()) == CONFIG
