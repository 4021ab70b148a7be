"""A run directory: everything a run writes, with one owner at a time.

::

    runs/<name>/
        config.yaml        what was asked for
        status.json        running, finished, interrupted or failed; replaced in one step
        lock               held by the owner for life
        metrics/           metrics.csv and TensorBoard files
        checkpoints/       <step>/ with manifest.json, tensors.safetensors, state.json; best.json
        faults/            what led to a value that was not finite, if that happened
        videos/
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from daedalus.accelerators.checkpoint import (
    Checkpoint,
    CheckpointError,
    list_checkpoints,
    load_checkpoint,
    save_checkpoint,
)
from daedalus.accelerators.files import sweep, temporary_name, write_file
from daedalus.accelerators.lock import RunLock
from daedalus.accelerators.metrics import MetricsWriter
from daedalus.scenarios import PlainError, read_plain, write_plain

if TYPE_CHECKING:
    from daedalus.accelerators.checkpoint import Tensors

CONFIG, STATUS, BEST = "config.yaml", "status.json", "best.json"


class RunDirectoryError(Exception):
    """The folder cannot be used as a run directory; the message says why and what to do."""


class RunDirectory:
    """A folder that one run writes to; use `create`, or `open` to go on with a run.

    Attributes:
        path: the folder.
        config: what was asked for, as read from ``config.yaml``.
        metrics: the writer of logged rows.
        resumed: the checkpoint that `load` returned, None in a new run.
        notes: what a person should know: a lock taken over, leftovers removed.
    """

    def __init__(self, path: Path, config: dict[str, Any], lock: RunLock) -> None:
        """Own ``path``; called by `create` and `open`."""
        self.path, self.config, self._lock = path, config, lock
        self.metrics = MetricsWriter(path / "metrics")
        self.resumed: Checkpoint | None = None
        self.notes: list[str] = []
        if lock.taken_over:
            self.notes.append(f"took over from {lock.taken_over}, which ended without a word")
        if swept := [*sweep(path / "checkpoints"), *sweep(path)]:
            self.notes.append(f"removed {len(swept)} unfinished file(s) of an earlier writer")

    @classmethod
    def create(cls, path: str | Path, config: Mapping[str, Any]) -> Self:
        """Make a new run directory and take its lock.

        Args:
            path: a folder that does not exist yet or is empty.
            config: plain values (what YAML can hold).

        Raises:
            RunDirectoryError: there is a run already, or the folder holds something else.
            RunLockedError: another process works in it.
        """
        path = Path(path)
        path.mkdir(parents=True, exist_ok=True)
        lock = RunLock(path)
        others = [name for name in os.listdir(path) if name != lock.path.name]
        if others:
            lock.release()
            what = "holds a run; resume it" if CONFIG in others else "is not empty; clear it"
            raise RunDirectoryError(f"{path} {what} or choose another name")
        for folder in ("metrics", "checkpoints", "videos"):
            (path / folder).mkdir()
        run = cls(path, json.loads(json.dumps(dict(config))), lock)
        write_file(path / CONFIG, write_plain(run.config).encode())
        run.set_status("created")
        link_last(path)
        return run

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Take the lock of an existing run, to go on with it.

        Raises:
            RunDirectoryError: no run is there.
            RunLockedError: another process works in it.
        """
        path = Path(path).resolve()
        config = read_config(path)
        return cls(path, config, RunLock(path))

    # ---- what a run writes ----------------------------------------------------------------------

    def set_status(self, state: str, **fields: Any) -> None:
        """Replace ``status.json``; best effort, for a full disk must not stop training.

        Args:
            state: ``created``, ``running``, ``finished``, ``interrupted`` or ``failed``.
            fields: further plain values, for example ``num_timesteps`` and ``error``.
        """
        status = {
            "state": state,
            **fields,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "time": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        }
        with contextlib.suppress(OSError):
            write_file(self.path / STATUS, json.dumps(status, indent=1).encode())

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Write one row of metrics (best effort)."""
        self.metrics.write(step, values)

    def save(self, step: int, tensors: Tensors, state: Mapping[str, Any]) -> Path:
        """Write a checkpoint; all rows logged before it are on the disk first.

        Raises:
            OSError: no space, or not writable; older checkpoints are untouched.
        """
        self.metrics.sync()
        return save_checkpoint(self.path, step, tensors, state)

    def load(self) -> Checkpoint:
        """Return the newest whole checkpoint; rows logged after it are dropped.

        Raises:
            CheckpointError: there is none.
        """
        check_saved(self.path)
        self.resumed = found = load_checkpoint(self.path)
        self.metrics.rewind(found.step)
        return found

    def mark_best(self, step: int, score: float) -> None:
        """Name the checkpoint at ``step`` as the best so far."""
        content = json.dumps({"step": step, "score": score}).encode()
        write_file(self.path / "checkpoints" / BEST, content)

    def close(self) -> None:
        """Close the files and give the lock back."""
        self.metrics.close()
        self._lock.release()

    def __enter__(self) -> Self:
        """Return the run itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the run."""
        self.close()


def read_config(path: str | Path) -> dict[str, Any]:
    """Return a run's ``config.yaml``; needs no lock.

    Raises:
        RunDirectoryError: there is none, or it is no mapping of plain values.
    """
    file = Path(path) / CONFIG
    try:
        config = read_plain(file.read_text(encoding="utf-8"), str(file))
    except OSError as error:
        raise RunDirectoryError(f"{path} is no run directory ({file}: {error.strerror})") from error
    except UnicodeDecodeError as error:
        raise RunDirectoryError(f"{file}: not UTF-8 text ({error})") from error
    except PlainError as error:
        raise RunDirectoryError(str(error)) from error
    if not isinstance(config, dict):
        raise RunDirectoryError(f"{file}: not a mapping")
    return config


def read_status(path: str | Path) -> dict[str, Any]:
    """Return a run's status; a run whose owner died while ``running`` is reported ``killed``."""
    try:
        status = json.loads((Path(path) / STATUS).read_text())
    except (OSError, ValueError):
        status = None
    if not isinstance(status, dict):
        return {"state": "unknown"}
    here = status.get("host") == socket.gethostname()
    alive = Path(f"/proc/{status.get('pid')}").exists()
    if status.get("state") in ("created", "running") and here and not alive:
        status["state"] = "killed"
    return status


def check_saved(path: str | Path) -> None:
    """See that a run has checkpoints, whole or not.

    Raises:
        CheckpointError: it has none.
    """
    if not list_checkpoints(path):
        raise CheckpointError(f"{path} has no checkpoints")


def best_step(path: str | Path) -> int | None:
    """Return the step of a run's best checkpoint, or None."""
    try:
        return int(json.loads((Path(path) / "checkpoints" / BEST).read_text())["step"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def link_last(path: Path) -> None:
    """Point ``last`` beside the run to it (best effort)."""
    path = path.absolute()
    link = path.parent / "last"
    if link.exists() and not link.is_symlink():
        return
    temporary = temporary_name(path.parent, "last")
    with contextlib.suppress(OSError):
        temporary.symlink_to(path.name)
        temporary.replace(link)
