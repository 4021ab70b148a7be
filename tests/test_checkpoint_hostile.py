"""A checkpoint from a stranger is data: refused where it is wrong, and never run."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from faults import STATE, tensors
from hostile import BAD_STATES, BAD_TENSORS, FORGED_MANIFESTS, Canary, forge, forge_manifest

from daedalus.accelerators import files
from daedalus.accelerators import manifest as module
from daedalus.accelerators.checkpoint import (
    CheckpointError,
    load_checkpoint,
    read_checkpoint,
    save_checkpoint,
    write_checkpoint,
)


def refused(path: Path) -> None:
    """The one allowed outcome: a CheckpointError, quickly."""
    begin = time.perf_counter()
    with pytest.raises(CheckpointError) as caught:
        read_checkpoint(path)
    assert time.perf_counter() - begin < 2.0
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A good checkpoint for an attacker to change."""
    return write_checkpoint(tmp_path / "victim", tensors(), STATE)


@pytest.mark.parametrize("content", BAD_TENSORS.values(), ids=BAD_TENSORS)
def test_hostile_tensors_are_refused(victim: Path, content: bytes) -> None:
    forge(victim, module.TENSORS, content)
    refused(victim)


@pytest.mark.parametrize("content", BAD_STATES.values(), ids=BAD_STATES)
def test_hostile_states_are_refused(victim: Path, content: bytes) -> None:
    forge(victim, module.STATE, content)
    refused(victim)


def test_pickles_are_refused_and_never_run(victim: Path, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    torch.save(Canary(canary), tmp_path / "model.pt")
    for content in (pickle.dumps(Canary(canary)), (tmp_path / "model.pt").read_bytes()):
        for name in (module.TENSORS, module.STATE, module.MANIFEST):
            copy = Path(shutil.copytree(victim, tmp_path / "copy"))
            if name == module.MANIFEST:
                (copy / name).write_bytes(content)
            else:
                forge(copy, name, content)
            refused(copy)
            shutil.rmtree(copy)
    with pytest.raises(CheckpointError, match="is a file"):
        load_checkpoint(tmp_path / "model.pt")
    assert not canary.exists()
    pickle.loads(pickle.dumps(Canary(canary)))  # the canary does sing where code runs
    assert canary.exists()


@pytest.mark.parametrize("changes", FORGED_MANIFESTS.values(), ids=FORGED_MANIFESTS)
def test_hostile_manifests_are_refused(victim: Path, changes: dict[str, Any]) -> None:
    forge_manifest(victim, **changes)
    refused(victim)


def test_a_manifest_of_another_step_is_refused(tmp_path: Path) -> None:
    path = save_checkpoint(tmp_path, 1, {}, {})
    path.rename(path.with_name("9"))
    with pytest.raises(CheckpointError, match=r"(?s)no usable.*of step 1, not 9"):
        load_checkpoint(tmp_path)


def test_links_pipes_and_folders_are_refused(victim: Path, tmp_path: Path) -> None:
    for name in (module.TENSORS, module.STATE, module.MANIFEST):
        path, aside = victim / name, tmp_path / name
        path.rename(aside)
        link = partial(Path.symlink_to, target=aside)
        makers: list[Callable[[Path], object]] = [link, os.mkfifo, Path.mkdir]
        for make in makers:
            make(path)
            refused(victim)
            files.remove(path)
        aside.rename(path)
    (tmp_path / "link").symlink_to(victim)
    refused(tmp_path / "link")
    assert read_checkpoint(victim).state == STATE


def test_a_hostile_megabyte_costs_little_memory(victim: Path) -> None:
    """In a process that may use 256 MB more than it has after its imports."""
    forge(victim, module.STATE, b'{"a":[' + b"[],".join([b""] * 300_000) + b"[]]}")
    forge(victim, module.TENSORS, BAD_TENSORS["shape of 2^60"])
    code = (
        "import resource, sys, safetensors.numpy\n"
        "from daedalus.accelerators.checkpoint import read_checkpoint, CheckpointError\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, used + 2**28))\n"
        "try: read_checkpoint(sys.argv[1])\n"
        "except CheckpointError as error: print(error)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, victim], capture_output=True, text=True, timeout=60, check=True
    )
    assert "not a safetensors file" in result.stdout
