"""The experiments of ``reliability.py`` on Daedalus: one function each, figures as a dict."""

from __future__ import annotations

import importlib
import os
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from faults import (
    damages,
    kill_while_saving,
    loaded_step,
    race_for_lock,
    save_with_limit,
    tensors,
)
from hostile import BAD_STATES, BAD_TENSORS, FORGED_MANIFESTS, Canary, forge, forge_manifest
from result_stores import kill_writers
from training_runs import (
    SB3_TASKS,
    TASKS,
    Injection,
    Task,
    all_finite,
    digest,
    quiet,
    rows_of,
    stopped_and_resumed,
    train_in_child,
    uninterrupted,
    wait,
    wait_until_running,
    weights,
)

from daedalus.accelerators import manifest as module
from daedalus.accelerators.checkpoint import (
    CheckpointError,
    list_checkpoints,
    load_checkpoint,
    read_checkpoint,
    save_checkpoint,
    write_checkpoint,
)
from daedalus.accelerators.files import sweep
from daedalus.accelerators.guards import NotFiniteError, StepGuard
from daedalus.accelerators.metrics import MetricsWriter, read_metrics, read_records
from daedalus.accelerators.run_directory import RunDirectory, read_status
from daedalus.agents import make_agent
from daedalus.agents.recorder import Saving
from daedalus.agents.training import train

Figures = dict[str, Any]
FILES = (module.TENSORS, module.STATE, module.MANIFEST)


def _delays(count: int, low: float, high: float) -> Any:
    return np.random.default_rng(0).uniform(low, high, count)


def kills_while_saving(folder: Path, scale: float) -> Figures:
    """C1: kill -9 while saving; the newest whole checkpoint loads, none acknowledged is lost."""
    figures: Figures = {}
    for name, replace, count in [("run", False, 1000), ("one_folder", True, 300)]:
        path = folder / name
        if replace:
            write_checkpoint(path, tensors(), {})
        else:
            save_checkpoint(path, 0, tensors(), {})
        kills, loaded, lost = round(count * scale), 0, 0
        for delay in _delays(kills, 0.002, 0.03):
            step, acknowledged = kill_while_saving(path, delay, replace)
            loaded += 1
            lost += step < acknowledged
        parent = folder if replace else path / "checkpoints"
        swept = len(sweep(parent))
        figures[name] = {"kills": kills, "loaded": loaded, "lost": lost, "leftovers_swept": swept}
    figures["goal_met"] = all(f["loaded"] == f["kills"] and not f["lost"] for f in figures.values())
    return figures


def cuts_and_flips(folder: Path, scale: float) -> Figures:
    """C2, C3: every file cut at every byte, every single bit flipped; the one before is used."""
    for step in (1, 2):
        save_checkpoint(folder, step, tensors(step), {"seed": 7, "rate": 0.1})
    figures: Figures = {}
    stride = max(1, round(1 / scale))
    for kind, bits in [("cuts", None), ("flips", range(8))]:
        made = found = 0
        for name in FILES:
            path = folder / "checkpoints" / "2" / name
            for _ in damages(path, stride, bits):
                made += 1
                found += loaded_step(folder) == 1
        figures[kind] = {"made": made, "found_and_fell_back": found}
    assert loaded_step(folder) == 2
    figures["goal_met"] = all(f["made"] == f["found_and_fell_back"] for f in figures.values())
    return figures


def full_disk(folder: Path, scale: float) -> Figures:
    """C4: no space at any byte of a save; and a small tmpfs that fills while training goes on."""
    for step in (1, 2):
        save_checkpoint(folder, step, tensors(step), {})
    largest = max((folder / "checkpoints" / "2" / name).stat().st_size for name in FILES)
    limits = range(0, largest, max(1, round(1 / scale)))
    errors = sum("File too large" in save_with_limit(folder, 3, limit) for limit in limits)
    intact = sum(
        bool(save_with_limit(folder, 3, limit)) and loaded_step(folder) == 2 for limit in limits
    )
    figures: Figures = {"limits": len(limits), "clear_errors": errors, "older_intact": intact}
    figures["tmpfs"] = _small_tmpfs(folder / "tmpfs")
    tmpfs_good = figures["tmpfs"].get("passed", True)
    figures["goal_met"] = errors == intact == len(limits) and tmpfs_good
    return figures


def _small_tmpfs(mount: Path) -> Figures:
    """Train in an 8 MB file system, fill it, free it: two warnings, then saving works again."""
    mount.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(mount)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        return {"not_run": "mounting needs root"}
    task = TASKS[0]._replace(updates=60)
    agent, told, calls = task.make(), 0, 0
    saver: Any = RunDirectory
    save = saver.save

    def filled(self: Any, *arguments: Any) -> Any:
        nonlocal told, calls
        calls += 1
        filler = mount / "filler"
        if calls % 4 in (2, 3):
            free = shutil.disk_usage(mount).free
            filler.write_bytes(bytes(max(0, free - 4096)))
        else:
            filler.unlink(missing_ok=True)
        try:
            return save(self, *arguments)
        except OSError:
            told += 1
            raise

    saver.save = filled
    try:
        with RunDirectory.create(mount / "run", {}) as run:
            train(agent, task.steps, run=run, saving=Saving(interval=20))
        (mount / "filler").unlink(missing_ok=True)
        step = load_checkpoint(mount / "run").step
    finally:
        saver.save = save
        subprocess.run(["umount", str(mount)], check=False)
    passed = step == agent.num_timesteps == task.steps
    return {"saves": calls, "failed_saves": told, "trained_to_the_end": passed, "passed": passed}


def resume(folder: Path, scale: float) -> Figures:
    """C5: stop at random updates and resume; every later state and row equals the whole run's."""
    points = max(1, round(20 * scale))
    figures: Figures = {"points_per_task": points, "tasks": {}}
    for number, task in enumerate(TASKS + SB3_TASKS):
        expected, rows = uninterrupted(task, folder / f"{number}")
        exact = good_rows = 0
        random = np.random.default_rng(number)
        for point in range(points):
            stop_at = int(random.integers(1, len(expected)))
            path = folder / f"{number}-{point}"
            with quiet():
                trace, found, _ = stopped_and_resumed(task, path, stop_at)
            exact += trace == expected
            good_rows += found == rows
            shutil.rmtree(path)
        figures["tasks"][task.name] = {"bit_exact": exact, "rows_equal": good_rows}
    counts = [n for entry in figures["tasks"].values() for n in entry.values()]
    figures["resumes"] = points * len(figures["tasks"])
    figures["bit_exact"] = sum(e["bit_exact"] for e in figures["tasks"].values())
    figures["goal_met"] = all(n == points for n in counts)
    return figures


def _steps_lost(run: Path) -> int:
    """Return the steps from the newest checkpoint to the last logged row."""
    rows, saved = read_metrics(run / "metrics")[0], list_checkpoints(run)
    return round(rows[-1]["step"]) - saved[-1] if rows and saved else 0


def kill_the_trainer(folder: Path, scale: float) -> Figures:
    """C6: the whole trainer killed -9 again and again; the end equals an uninterrupted run's."""
    kills, interval = round(1000 * scale), 20
    task = TASKS[0]._replace(updates=max(20, 10 * kills))
    agent = task.make()
    train(agent, task.steps)
    done = most_lost = 0
    for delay in _delays(10 * kills, 0.1, 0.4):
        pid = train_in_child(task, folder / "run", Saving(interval=interval))
        time.sleep(delay)
        os.kill(pid, signal.SIGKILL)
        done += wait(pid) == -signal.SIGKILL
        most_lost = max(most_lost, _steps_lost(folder / "run"))
        if done >= kills or read_status(folder / "run")["state"] == "finished":
            break
    code = wait(train_in_child(task, folder / "run", Saving(interval=interval)), 7200)
    if code != 0:
        raise RuntimeError(f"the last start, which nobody killed, ended with exit code {code}")
    with RunDirectory.open(folder / "run") as run:
        equal = digest(task.restore(run)) == digest(agent)
    steps = [row["step"] for row in rows_of(folder / "run")]
    rows = steps == sorted(set(steps))
    return {
        "kills": done,
        "steps_lost_at_most": most_lost,
        "steps_between_checkpoints": interval,
        "final_state_equal": equal,
        "rows_once": rows,
        "goal_met": equal and rows and most_lost <= interval,
    }


def signals(folder: Path, scale: float) -> Figures:
    """C7: SIGINT and SIGTERM at random moments; exit code 130 or 143, resumable at that step."""
    count = round(200 * scale)
    for task in TASKS:  # compiled here, so that no child is asked to stop while it compiles
        train(task.make(), task._replace(updates=2).steps)
    right_code = resumable = 0
    seconds = []
    for number, delay in enumerate(_delays(count, 0.0, 0.3)):
        path, signum = folder / f"{number}", (signal.SIGINT, signal.SIGTERM)[number % 2]
        task = TASKS[number % len(TASKS)]._replace(updates=10**6)
        with quiet():
            pid = train_in_child(task, path, Saving())
            wait_until_running(path, pid)
            time.sleep(delay)
            os.kill(pid, signum)
            begin = time.perf_counter()
            right_code += wait(pid) == 128 + signum
        seconds.append(time.perf_counter() - begin)
        status = read_status(path)
        resumable += load_checkpoint(path).step == status["num_timesteps"]
        shutil.rmtree(path)
    return {
        "signals": count,
        "right_exit_code": right_code,
        "resumable_at_that_step": resumable,
        "seconds_to_exit_median": round(float(np.median(seconds)), 3),
        "seconds_to_exit_max": round(max(seconds), 3),
        "goal_met": right_code == resumable == count and max(seconds) < 10,
    }


def hostile_files(folder: Path, scale: float) -> Figures:
    """C8: forged checkpoints with right hashes; refused in one line, and no code runs."""
    canary = folder / "canary"
    torch.save(Canary(canary), folder / "model.pt")
    pickled = (folder / "model.pt").read_bytes()
    cases: list[tuple[str, Any]] = [(module.TENSORS, c) for c in BAD_TENSORS.values()]
    cases += [(module.STATE, c) for c in BAD_STATES.values()]
    cases += [(module.MANIFEST, c) for c in FORGED_MANIFESTS.values()]
    cases += [(name, pickled) for name in (module.TENSORS, module.STATE)]
    refused, slowest = 0, 0.0
    for name, content in cases:
        path = write_checkpoint(folder / "victim", tensors(), {})
        if name == module.MANIFEST:
            forge_manifest(path, **content)
        else:
            forge(path, name, content)
        begin = time.perf_counter()
        try:
            read_checkpoint(path)
        except CheckpointError as error:
            refused += "\n" not in str(error)
        slowest = max(slowest, time.perf_counter() - begin)
    figures = {"cases": len(cases), "refused": refused, "code_ran": canary.exists()}
    good = refused == len(cases) and not canary.exists() and slowest < 2
    return {**figures, "slowest_seconds": round(slowest, 3), "goal_met": good}


def two_starters(folder: Path, scale: float) -> Figures:
    """C9: two processes open one run at the same moment; one wins, the other names it."""
    races = round(1000 * scale)
    RunDirectory.create(folder / "run", {}).close()
    one_winner = named = 0
    for _ in range(races):
        said = sorted(race_for_lock(folder / "run"), key=lambda text: not text.startswith("won"))
        one_winner += [text.startswith("won") for text in said] == [True, False]
        named += said[0].removeprefix("won by ") in said[1]
    good = one_winner == named == races
    return {"races": races, "one_winner": one_winner, "winner_named": named, "goal_met": good}


def bad_values(folder: Path, scale: float) -> Figures:
    """W7: a NaN or infinity in one observation or reward at a random step; no weight sees it."""
    count = round(200 * scale)
    random = np.random.default_rng(0)
    stopped = named = finite = unchanged = 0
    for number in range(count):
        task = (TASKS + SB3_TASKS)[number % len(TASKS + SB3_TASKS)]
        agent = task.make(seed=number)
        floats = [n for n, s in agent.spaces.observation.items() if s.dtype.kind == "f"]
        name = str(random.choice(["reward", *floats]))
        step, env = int(random.integers(1, task.steps // 4)), number % 4
        Injection(agent, step, env, name, float(random.choice([np.nan, np.inf, -np.inf])))
        after_update: list[dict[str, torch.Tensor]] = [weights(agent)]
        update = agent.update

        def followed(rollout: Any, update: Any = update, seen: Any = after_update) -> Any:
            metrics = update(rollout)
            seen[0] = weights(agent)  # noqa: B023 - the loop waits for it
            return metrics

        agent.update = followed
        try:
            train(agent, task.steps)
        except NotFiniteError as error:
            stopped += 1
            named += name in error.name and error.env == env
            named -= error.details["step"] != 4 * (step - 1)
        finite += all_finite(weights(agent))
        unchanged += all(torch.equal(v, after_update[0][k]) for k, v in weights(agent).items())
    return {
        "injections": count,
        "stopped": stopped,
        "array_environment_and_step_named": named,
        "weights_finite": finite,
        "weights_as_after_the_last_good_update": unchanged,
        "goal_met": stopped == named == finite == unchanged == count,
    }


def logs(folder: Path, scale: float) -> Figures:
    """R2, R3: logging on a full disk never raises; log files cut anywhere keep what is good."""
    limits, raised = range(0, 3000, max(1, round(10 / scale))), 0
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    for limit in limits:
        writer = MetricsWriter(folder / f"{limit}")
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            for step in range(60):
                writer.write(step, {"a": step, "b": 0.1})
        except Exception:
            raised += 1
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        writer.close()
    writer = MetricsWriter(folder / "whole")
    for step in range(20):
        writer.write(step, {"a": step, "b": 0.1})
    writer.close()
    cuts = good = 0
    for path in (folder / "whole").iterdir():
        read: Any = (lambda p: read_metrics(p.parent)) if path.suffix == ".csv" else read_records
        whole, content = read(path)[0], path.read_bytes()
        for offset in range(len(content)):
            path.write_bytes(content[:offset])
            kept, _ = read(path)
            cuts, good = cuts + 1, good + (kept == whole[: len(kept)])
        path.write_bytes(content)
    figures = {"limits": len(limits), "raised": raised, "cuts": cuts, "prefix_kept": good}
    return {**figures, "goal_met": not raised and cuts == good}


def killed_writers(folder: Path, scale: float) -> Figures:
    """R1: two writers of the result store killed -9 at once lose and tear no acknowledged row."""
    found = kill_writers(folder / "results.sqlite", rounds=5_000, rows=round(50_000 * scale))
    return {**found, "goal_met": found["lost"] == found["torn"] == found["damaged"] == 0}


def guard_cost(folder: Path, scale: float) -> Figures:
    """The share of training time spent inside the guards, small networks and default ones."""
    guards: Any = StepGuard
    learner: Any = importlib.import_module("daedalus.agents.learner")
    whole = guards.check, learner.check_gradients
    spent = [0.0]

    def timed(function: Any) -> Any:
        def call(*arguments: Any) -> None:
            begin = time.perf_counter()
            function(*arguments)
            spent[0] += time.perf_counter() - begin

        return call

    def share(task: Task, size: str) -> float:
        agent = task.make() if size == "small" else make_agent(task.agent)(
            task.env, device="cpu", env_kwargs=task.env_kwargs
        )  # fmt: skip
        train(agent, 2 * agent.num_envs * agent.rollout_length)
        spent[0], begin = 0.0, time.perf_counter()
        updates = max(3, round((400 if size == "small" else 60) * scale))
        train(agent, agent.num_timesteps + updates * agent.num_envs * agent.rollout_length)
        return spent[0] / (time.perf_counter() - begin)

    guards.check, learner.check_gradients = timed(whole[0]), timed(whole[1])
    try:
        shares = {
            f"{task.name}, {size}": round(100 * share(task, size), 2)
            for task in TASKS
            for size in ("small", "default")
        }
    finally:
        guards.check, learner.check_gradients = whole
    return {
        "percent": shares,
        "largest": max(shares.values()),
        "goal_met": max(shares.values()) < 2,
    }


def saving_speed(folder: Path, scale: float) -> Figures:
    """Seconds to save and to load 100 MB, hashed and on the disk, beside torch.save with fsync."""
    big = {"weights": torch.rand(25_000_000)}

    def timed(action: Any) -> float:
        times = []
        for _ in range(5):
            begin = time.perf_counter()
            action()
            times.append(time.perf_counter() - begin)
        return round(float(np.median(times)), 3)

    def torch_save() -> None:
        with (folder / "torch.pt").open("wb") as file:
            torch.save(big, file)
            os.fsync(file.fileno())

    return {
        "save": timed(lambda: save_checkpoint(folder, 1, big, {})),
        "load_and_verify": timed(lambda: load_checkpoint(folder)),
        "torch_save_with_fsync": timed(torch_save),
        "torch_load": timed(lambda: torch.load(folder / "torch.pt", weights_only=True)),
    }


EXPERIMENTS = {
    "C1": kills_while_saving,
    "C2-C3": cuts_and_flips,
    "C4": full_disk,
    "C5": resume,
    "C6": kill_the_trainer,
    "C7": signals,
    "C8": hostile_files,
    "C9": two_starters,
    "W7": bad_values,
    "R1": killed_writers,
    "R2-R3": logs,
    "guard-cost": guard_cost,
    "saving-speed": saving_speed,
}
