"""Faults made to order, shared by the tests and by ``benchmarks/reliability.py``.

Each function makes one kind of damage to a checkpoint or its writer and says what came of it.
"""

from __future__ import annotations

import os
import resource
import signal
import struct
import time
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from daedalus.accelerators.checkpoint import (
    Checkpoint,
    list_checkpoints,
    load_checkpoint,
    prune_checkpoints,
    save_checkpoint,
    write_checkpoint,
)

STATE = {"seed": 7, "generator": {"state": 2**127 + 1}, "lr": 0.1, "names": ["a", None, True]}


def tensors(step: int = 0) -> dict[str, Any]:
    """Arrays whose every byte depends on the step."""
    random = np.random.default_rng(step)
    return {
        "weight": torch.from_numpy(random.normal(size=(3, 4)).astype(np.float32)),
        "replay": random.integers(0, 256, (5, 2), dtype=np.uint8),
        "step": np.int64(step),
    }


def is_whole(found: Checkpoint) -> bool:
    """Whether a loaded checkpoint is exactly what was saved at its step."""
    return all(
        np.array_equal(found.tensors[k], np.asarray(v)) for k, v in tensors(found.step).items()
    )


def loaded_step(run: Path) -> int:
    """The step of the checkpoint that is used; fails unless it is exactly as saved."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = load_checkpoint(run)
    assert is_whole(found)
    return found.step


def damages(path: Path, stride: int = 1, bits: Iterable[int] | None = None) -> Iterator[str]:
    """Yield after each damage to one file, every ``stride`` bytes.

    Args:
        path: The file; it is whole again at the end.
        stride: Bytes between two damages.
        bits: The bits of each byte to flip one by one; None cuts the file there instead.
    """
    content = path.read_bytes()
    for offset in range(0, len(content), stride):
        if bits is None:
            path.write_bytes(content[:offset])
            yield f"{path.name} cut at {offset}"
            continue
        for bit in bits:
            flipped = bytearray(content)
            flipped[offset] ^= 1 << bit
            path.write_bytes(flipped)
            yield f"{path.name} bit {bit} of byte {offset}"
    path.write_bytes(content)


def forked_saver(run: Path, step: int, replace: bool = False) -> tuple[int, int]:
    """Start a process that saves in a loop; returns its pid and the pipe of acknowledged steps."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writer)
        return pid, reader
    while True:
        step += 1
        if replace:
            write_checkpoint(run, tensors(step), {}, step)
        else:
            save_checkpoint(run, step, tensors(step), {})
            prune_checkpoints(run, keep_last=2)
        os.write(writer, struct.pack("q", step))


def kill_while_saving(run: Path, delay: float, replace: bool = False) -> tuple[int, int]:
    """Kill a saver after ``delay`` s: the step that loads, and the last acknowledged one."""
    before = 0
    if (run / "manifest.json").exists() or list_checkpoints(run):
        before = load_checkpoint(run).step
    pid, reader = forked_saver(run, before, replace)
    time.sleep(delay)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    acknowledged = before
    while chunk := os.read(reader, 8):
        (acknowledged,) = struct.unpack("q", chunk)
    os.close(reader)
    found = load_checkpoint(run)
    assert is_whole(found)
    return found.step, acknowledged


def save_with_limit(run: Path, step: int, limit: int) -> str:
    """Save while no file may grow past ``limit`` bytes; returns the error's text or ''."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        save_checkpoint(run, step, tensors(step), STATE)
    except OSError as error:
        return str(error)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    return ""


def race_for_lock(path: Path, starters: int = 2) -> list[str]:
    """Let several processes take one run directory at once; returns what each one said.

    Every starter waits at a barrier, tries, tells the outcome, and holds what it got until all
    have told theirs.
    """
    from daedalus.accelerators.run_directory import RunDirectory

    begin, tell, end = os.pipe(), os.pipe(), os.pipe()
    children = []
    for _ in range(starters):
        if pid := os.fork():
            children.append(pid)
            continue
        os.close(begin[1])
        os.close(end[1])
        os.read(begin[0], 1)
        try:
            RunDirectory.open(path)
            said = f"won by process {os.getpid()}"
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        os.write(tell[1], said.encode().ljust(512)[:512])
        os.read(end[0], 1)
        os._exit(0)
    for descriptor in (begin[0], begin[1], end[0]):
        os.close(descriptor)
    answers = [os.read(tell[0], 512).decode().strip() for _ in children]
    os.close(end[1])
    for pid in children:
        os.waitpid(pid, 0)
    os.close(tell[0])
    os.close(tell[1])
    return answers
