"""Stored rollouts: what comes back, and that damage is found before anything is parsed."""

import hashlib
from pathlib import Path

import numpy as np
import pytest

from daedalus.evaluation.policy import RandomPolicy
from daedalus.evaluation.rollout import Moment, open_for_people, play
from daedalus.evaluation.rollout_file import (
    KEY,
    MAGIC,
    About,
    RolloutError,
    StoredRollout,
    record,
)

ABOUT = About("random in Catch", 8, {0: "left", 1: "stay", 2: "right"}, (5, 6))
PANELS = {"bars": np.array([0.5, -1.0]), "pair": {"a": np.eye(2)}, "said": ["hi"], "x": 0.25}


def moments(count: int = 3 * KEY) -> list[Moment]:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (8, 9, 3), dtype=np.uint8)
    shown = []
    for i in range(count):
        picture = picture.copy()
        picture[i % 8] += 1
        view = None if i % 5 else picture[:4]
        shown.append(Moment(picture, view, 0, i, i % 3, 0.5 * i, 1.0, float(i), 2.0, PANELS))
    return shown


def same(first: Moment, second: Moment) -> None:
    for name in ("picture", "view"):
        assert np.array_equal(getattr(first, name), getattr(second, name))
    for name in ("episode", "step", "action", "value", "reward", "episode_return", "episode_cost"):
        assert getattr(first, name) == getattr(second, name)
    assert first.panels.keys() == second.panels.keys()
    assert np.array_equal(first.panels["pair"]["a"], second.panels["pair"]["a"])
    assert first.panels["said"] == second.panels["said"]
    assert first.panels["x"] == second.panels["x"]


def test_everything_comes_back_from_any_place(tmp_path: Path) -> None:
    shown = moments()
    assert record(tmp_path / "deep" / "a.rollout", shown, ABOUT) == len(shown)
    stored = StoredRollout(tmp_path / "deep" / "a.rollout")
    assert stored.about == ABOUT
    assert len(stored) == len(shown)
    for i in (*range(len(shown)), 70, 3, KEY, KEY - 1, 0):  # onwards, then here and there
        same(stored[i], shown[i])
    with pytest.raises(IndexError):
        stored[len(shown)]
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["a.rollout"]


def test_it_is_small_because_little_changes(tmp_path: Path) -> None:
    batch = open_for_people("daedalus/Catch-v0")
    shown = list(play(RandomPolicy(batch.action_space), batch, range(10)))
    raw = sum(m.picture.nbytes for m in shown if m.picture is not None)
    record(tmp_path / "a.rollout", shown, ABOUT)
    assert (tmp_path / "a.rollout").stat().st_size < raw / 20
    assert [m.action for m in StoredRollout(tmp_path / "a.rollout")] == [m.action for m in shown]


def test_no_flipped_bit_and_no_cut_goes_unnoticed(tmp_path: Path) -> None:
    path = tmp_path / "a.rollout"
    record(path, moments(4), ABOUT)
    whole = path.read_bytes()
    rng = np.random.default_rng(1)
    for at in {*rng.integers(0, 8 * len(whole), 300).tolist(), 0, 8 * len(whole) - 1}:
        damaged = bytearray(whole)
        damaged[at // 8] ^= 1 << at % 8
        path.write_bytes(damaged)
        with pytest.raises(RolloutError, match=r"a\.rollout: (damaged|is not a stored rollout)"):
            StoredRollout(path)
    for length in rng.integers(0, len(whole), 50):
        path.write_bytes(whole[:length])
        with pytest.raises(RolloutError):
            StoredRollout(path)


def test_a_hostile_file_with_a_right_hash_gives_one_error(tmp_path: Path) -> None:
    path = tmp_path / "a.rollout"
    record(path, moments(4), ABOUT)
    body = path.read_bytes()[:-32]
    rng = np.random.default_rng(2)
    refused = 0
    for _ in range(300):
        changed = bytearray(body)
        for at in rng.integers(len(MAGIC), len(body), rng.integers(1, 4)):
            changed[at] = rng.integers(256)
        path.write_bytes(bytes(changed) + hashlib.sha256(changed).digest())
        try:
            list(StoredRollout(path))
        except RolloutError:
            refused += 1
    assert refused > 200


def test_a_deeply_nested_trailer_is_refused(tmp_path: Path) -> None:
    trailer = b"[" * 100_000
    content = MAGIC + bytes(40) + trailer + len(trailer).to_bytes(8, "little")
    (tmp_path / "a.rollout").write_bytes(content + hashlib.sha256(content).digest())
    with pytest.raises(RolloutError, match=r"a\.rollout: not a valid rollout \(RecursionError"):
        StoredRollout(tmp_path / "a.rollout")


def test_nothing_half_written_stays_and_reasons_are_given(tmp_path: Path) -> None:
    with pytest.raises(RolloutError, match="no moments"):
        record(tmp_path / "a.rollout", [], ABOUT)
    odd = moments(1)[0]._replace(panels={"odd": object()})
    with pytest.raises(RolloutError, match=r"panels\.odd is a object"):
        record(tmp_path / "a.rollout", [odd], ABOUT)
    assert not list(tmp_path.iterdir())
    with pytest.raises(RolloutError, match="cannot be read"):
        StoredRollout(tmp_path / "a.rollout")


def test_a_notebook_shows_it_as_a_video(tmp_path: Path) -> None:
    pytest.importorskip("imageio_ffmpeg")
    record(tmp_path / "a.rollout", moments(3), ABOUT)
    shown = StoredRollout(tmp_path / "a.rollout")._repr_html_()
    assert shown.startswith("<video")
    assert 'src="data:video/mp4;base64,' in shown
