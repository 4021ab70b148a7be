"""Checkpoints survive kills, cuts, flipped bits and full disks, and never run what they hold.

Every guard is also switched off once, to see that the test would notice its absence.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faults import (
    STATE,
    damages,
    kill_while_saving,
    loaded_step,
    save_with_limit,
    tensors,
)

from daedalus.accelerators import checkpoint as module
from daedalus.accelerators import files, manifest
from daedalus.accelerators.checkpoint import (
    CheckpointError,
    list_checkpoints,
    load_checkpoint,
    prune_checkpoints,
    read_checkpoint,
    save_checkpoint,
    write_checkpoint,
)

RECORD = np.dtype([("x", "f8"), ("cell", "i4", (2,)), ("name", "U3")])


# ---- round trip ---------------------------------------------------------------------------------


def test_everything_comes_back_with_its_type(tmp_path: Path) -> None:
    records = np.zeros(4, RECORD)
    records["x"], records["name"] = np.arange(4), "abc"
    arrays = {**tensors(), "environment": records, "empty": np.zeros((0, 3)), "flag": np.bool_(1)}
    save_checkpoint(tmp_path, 12, arrays, STATE)
    found = load_checkpoint(tmp_path)
    assert (found.step, found.state, set(found.tensors)) == (12, STATE, set(arrays))
    for name, value in arrays.items():
        array = np.asarray(value)
        assert (found.tensors[name].dtype, found.tensors[name].shape) == (array.dtype, array.shape)
        assert np.array_equal(found.tensors[name], array)
    found.tensors["weight"][:] = 0.0  # owned by the caller


def test_the_array_file_is_plain_safetensors(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    path = save_checkpoint(tmp_path, 1, tensors(), {})
    assert np.array_equal(load_file(path / manifest.TENSORS)["replay"], tensors()["replay"])


@pytest.mark.parametrize(
    ("state", "name"),
    [
        ({"a": {"b": [0.0, float("nan")]}}, "state.a.b[1]"),
        ({"a": float("inf")}, "state.a"),
        ({"a": np.float32(1)}, "state.a"),
        ({1: 2}, "state"),
        ({"a": object()}, "state.a"),
    ],
)
def test_a_value_that_is_no_plain_data_is_named(tmp_path: Path, state: Any, name: str) -> None:
    with pytest.raises(CheckpointError, match=name.replace("[", r"\[")):
        save_checkpoint(tmp_path, 1, {}, state)
    assert list_checkpoints(tmp_path) == []


def test_an_array_of_objects_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="tensor a has dtype object"):
        save_checkpoint(tmp_path, 1, {"a": np.array([object()])}, {})


def test_what_is_no_checkpoint_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(CheckpointError, match="is not a checkpoint"):
        write_checkpoint(tmp_path, tensors(), {})
    assert (tmp_path / "thesis.txt").read_text() == "years of work"


def test_saving_again_replaces_in_one_step(tmp_path: Path, monkeypatch: Any) -> None:
    write_checkpoint(tmp_path / "agent", tensors(), {"n": 1})
    write_checkpoint(tmp_path / "agent", tensors(), {"n": 2})
    assert read_checkpoint(tmp_path / "agent").state == {"n": 2}
    monkeypatch.setattr(files, "_exchange", lambda *paths: False)  # a system without renameat2
    write_checkpoint(tmp_path / "agent", tensors(), {"n": 3})
    assert read_checkpoint(tmp_path / "agent").state == {"n": 3}
    assert os.listdir(tmp_path) == ["agent"]


def test_old_checkpoints_go_but_last_best_and_every_nth_stay(tmp_path: Path) -> None:
    for step in range(10, 130, 10):
        save_checkpoint(tmp_path, step, {}, {})
    deleted = prune_checkpoints(tmp_path, keep_last=2, keep_every=50, best=70)
    assert list_checkpoints(tmp_path) == [10, 50, 70, 100, 110, 120]
    assert deleted == [20, 30, 40, 60, 80, 90]


def test_everything_is_on_the_disk_before_the_name_is(tmp_path: Path, monkeypatch: Any) -> None:
    """The order that survives a power cut."""
    events: list[str] = []

    def fsync(descriptor: int) -> None:
        events.append("fsync " + Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)

    rename = Path.rename
    monkeypatch.setattr(os, "fsync", fsync)

    def renamed(source: Path, target: Path) -> Path:
        events.append("rename")
        return rename(source, target)

    monkeypatch.setattr(Path, "rename", renamed)
    save_checkpoint(tmp_path, 5, tensors(), {})
    events = ["fsync folder" if e.startswith("fsync .tmp-5-") else e for e in events]
    assert events == [
        "fsync tensors.safetensors", "fsync state.json", "fsync manifest.json", "fsync folder",
        "rename", "fsync checkpoints",
    ]  # fmt: skip


# ---- damage -------------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with two checkpoints, at steps 1 and 2."""
    for step in (1, 2):
        save_checkpoint(tmp_path, step, tensors(step), STATE)
    return tmp_path


@pytest.mark.parametrize("name", [manifest.TENSORS, manifest.STATE, manifest.MANIFEST])
def test_cuts_and_flipped_bits_fall_back_to_the_one_before(run: Path, name: str) -> None:
    path = run / "checkpoints" / "2" / name
    for damage in itertools.chain(damages(path), damages(path, bits=[len(name) % 8])):
        assert loaded_step(run) == 1, damage
    assert loaded_step(run) == 2


def test_without_hashes_flipped_bits_would_pass(run: Path, monkeypatch: Any) -> None:
    class Blind:  # the mutation: every hash equals every other
        def __init__(self, content: bytes = b"") -> None: ...
        def update(self, content: bytes) -> None: ...
        def hexdigest(self) -> str:
            return "0" * 64

    monkeypatch.setattr(hashlib, "sha256", Blind)
    for step in (1, 2):
        save_checkpoint(run, step, tensors(step), STATE)
    path = run / "checkpoints" / "2" / manifest.TENSORS
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(AssertionError):
        loaded_step(run)


def test_damaged_ones_are_named_and_a_run_without_any_says_why(run: Path) -> None:
    (run / "checkpoints" / "2" / manifest.STATE).unlink()
    with pytest.warns(UserWarning, match=r"passed over: .*2/state\.json"):
        found = load_checkpoint(run)
    assert found.step == 1
    assert len(found.skipped) == 1
    (run / "checkpoints" / "1" / manifest.TENSORS).write_bytes(b"")
    with (
        warnings.catch_warnings(action="error"),  # each is named once, in the error
        pytest.raises(CheckpointError, match=r"(?s)no usable.*state\.json.*tensors\.safetensors"),
    ):
        load_checkpoint(run)


def test_paths_that_are_no_checkpoint_say_what_one_is(tmp_path: Path) -> None:
    (tmp_path / "model.zip").write_bytes(b"PK")
    for path, text in [("nothing", "does not exist"), ("model.zip", "is a file")]:
        with pytest.raises(CheckpointError, match=text):
            load_checkpoint(tmp_path / path)
    with pytest.raises(CheckpointError, match=r"manifest\.json: cannot be read"):
        load_checkpoint(tmp_path)


# ---- kills and full disks -----------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
@pytest.mark.parametrize("replace", [False, True], ids=["run", "one folder"])
def test_a_kill_while_saving_loses_nothing_acknowledged(tmp_path: Path, replace: bool) -> None:
    run = tmp_path / "run"
    delays = np.random.default_rng(0).uniform(0.003, 0.03, 20)
    if replace:
        write_checkpoint(run, tensors(), {})
    else:
        save_checkpoint(run, 0, tensors(), {})
    for delay in delays:
        loaded, acknowledged = kill_while_saving(run, delay, replace)
        assert loaded >= acknowledged
    folder = tmp_path if replace else run / "checkpoints"
    files.sweep(folder)
    assert not [p for p in folder.iterdir() if p.name.startswith(".")]


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_save_in_place_would_lose_it(tmp_path: Path, monkeypatch: Any) -> None:
    def in_place(folder: Path, name: str) -> Path:  # the mutation: no temporary name
        shutil.rmtree(folder / name, ignore_errors=True)
        return folder / name

    monkeypatch.setattr(module, "temporary_name", in_place)
    monkeypatch.setattr(module, "publish_folder", lambda temporary, target: None)
    run = tmp_path / "run"
    write_checkpoint(run, tensors(), {})
    with pytest.raises(CheckpointError):
        _kill_often(run)


def _kill_often(run: Path) -> None:
    for delay in np.random.default_rng(0).uniform(0.003, 0.03, 50):
        kill_while_saving(run, delay, replace=True)


def test_a_full_disk_at_any_byte_leaves_the_old_ones(run: Path) -> None:
    largest = max(p.stat().st_size for p in (run / "checkpoints" / "2").iterdir())
    for limit in range(0, largest, 7):
        assert "File too large" in save_with_limit(run, 3, limit)
        assert loaded_step(run) == 2
        assert sorted(os.listdir(run / "checkpoints")) == ["1", "2"]
    assert save_with_limit(run, 3, largest + 64) == ""
    assert loaded_step(run) == 3
