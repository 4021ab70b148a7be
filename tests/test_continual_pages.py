"""Pages of what is kept: their figures by hand, and what they say against the stored runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daedalus.scenarios import load

ROOT = Path(__file__).parents[1]


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module that writes the pages of sequences."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import continual

    return continual


@pytest.fixture
def language(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module that writes the page of codes."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import language

    return language


def shares(pages: Any, name: str, label: str) -> np.ndarray:
    """Return what the stored runs keep, in percent (runs, tasks - 1)."""
    scenario = load(name)
    low, high = scenario.scores["random"], scenario.scores["perfect"]
    files = (ROOT / "results" / name.replace("_", "-")).glob("*.json")
    runs = [run for path in sorted(files) if (run := json.loads(path.read_text()))]
    matrices = [np.array(run["matrix"]) for run in runs if run["label"] == label]
    found: np.ndarray = 100 * pages.kept((np.array(matrices) - low) / (high - low))
    return found


def test_what_is_kept_is_told_with_its_range(pages: Any) -> None:
    nan = np.nan
    assert pages._share(np.array([0.5, 0.9, 0.7])) == "70% (50 to 90)"
    assert pages._share(np.array([0.5, nan, 0.9])) == "70% (50 to 90; 2 of 3)"
    assert pages._share(np.array([1.0, 1.001, nan])) == "100% (2 of 3)"
    assert pages._share(np.array([1.0, 1.0])) == "100%"
    assert pages._share(np.array([nan, nan])) == "-"


def test_transfer_of_columns_by_hand(pages: Any) -> None:
    """Steps 15 and 20 of a stage from 10 to 20 count as 5 and 10: 0 up to the first, then to 2.

    So above a score of -1 it has the area 1.5, a column from scratch 1, beside untrained ones 1.25.
    Seed 1 has no column from scratch and does not count, nor does a run without a curve.
    """
    stages = [{"name": n, "total_timesteps": 10} for n in ("a", "b")]

    def run(label: str, seed: int, steps: list[int], returns: list[float]) -> dict[str, Any]:
        curve = {"steps": steps, "returns": returns}
        return {"label": label, "seed": seed, "tasks": ["a", "b"], "total_timesteps": 20} | {
            "curve": curve
        }

    runs = [
        run("progressive", 0, [5, 10, 15, 20], [9.0, 9.0, 0.0, 2.0]),
        run("progressive", 1, [5, 10, 15, 20], [9.0, 9.0, 0.0, 2.0]),
        run("from scratch: b", 0, [2, 10], [0.0, 0.0]),
        run("beside untrained columns: b", 0, [2, 10], [0.25, 0.25]),
        {"label": "progressive", "seed": 2, "tasks": ["a", "b"], "total_timesteps": 20},
    ]
    found = pages.transfers(runs, {"stages": stages}, -1.0)
    assert found == {"trained": {"b": [1.5]}, "untrained": {"b": [1.25]}}
    assert pages.transfers(runs[:2], {"stages": stages}, -1.0)["trained"] == {}
    assert "was not measured" in pages._transfer("catch_sequence", runs[-1:])


def test_columns_alone_have_the_steps_of_their_stage(pages: Any) -> None:
    """A fifth of 200,000; one of them is not told which task it is, so its column is the first."""
    specs = {spec.label: spec for spec in pages.specs_of("catch_sequence", 1, [])}
    alone = {label: spec for label, spec in specs.items() if ": " in label}
    assert len(alone) == 8
    for label, spec in alone.items():
        kind, task = label.split(": ")
        assert spec.total_timesteps == 40_000
        assert spec.env_kwargs["task"] == task
        assert spec.env_kwargs["task_id"] == {"from scratch": "hidden"}.get(kind, "known")
    assert specs["progressive"].total_timesteps == specs["all at once"].total_timesteps == 200_000
    only = pages.specs_of("catch_sequence", 2, ["from scratch"])
    assert [spec.label.split(": ")[0] for spec in only] == ["from scratch"] * 8
    assert not pages.alone("small_collect_sequence")


def test_all_commits_of_a_page_by_date(pages: Any) -> None:
    """Short, each once, and with a sign where not all was committed."""
    early, late = "b" * 40, "a" * 40
    sources = [{"date": "2", "commit": late}, {"date": "1", "commit": early + "+changes"}]
    sources.append({"date": "2", "commit": late})
    assert pages.commits(sources) == ["b" * 10 + "+changes", "a" * 10]


def test_what_the_page_of_looks_says_is_what_runs_kept(pages: Any) -> None:
    note = pages.NOTES["small_collect_sequence"]
    for method, told in (("EWC", "92, 95, 76 and 74 % (EWC)"), ("SI", "88, 93, 93 and 68 % (SI)")):
        inverted = shares(pages, "small_collect_sequence", method)[:, 2]
        left = inverted[~np.isnan(inverted)]
        numbers = [f"{value:.0f}" for value in left]
        assert f"{', '.join(numbers[:-1])} and {numbers[-1]} % ({method})" == told
        assert told in note
    both = [shares(pages, "small_collect_sequence", m)[:, 2] for m in ("EWC", "SI")]
    assert "three of these eight are below four fifths" in note
    assert np.nansum(np.array(both) < 80) == 3
    assert np.isnan(both).sum(1).tolist() == [1, 1]


def test_what_the_page_of_catch_says_is_what_runs_kept(pages: Any) -> None:
    note = pages.NOTES["catch_sequence"]
    ewc, si = (shares(pages, "catch_sequence", method) for method in ("EWC", "SI"))
    assert f"EWC keep {np.nanmin(ewc):.0f} % or more" in note
    assert f"of SI {np.nanmin(si):.0f} % or more" in note
    assert "in five and three of ten it is less than four fifths of some task" in note
    assert [int((np.nanmin(kept, 1) < 80).sum()) for kept in (ewc, si)] == [5, 3]
    plain, noisy = shares(pages, "catch_sequence", "EWC of DQN")[:, :2].T
    assert f"one keeps {plain[0]:.0f} % of *plain* and {noisy[0]:.0f} % of *noisy*" in note
    assert f"another {plain[2]:.0f} and {noisy[2]:.0f} %" in note
    assert (~np.isnan(shares(pages, "catch_sequence", "SI of DQN")[:, 3])).sum() == 3
    assert np.isnan(shares(pages, "catch_sequence", "L2 of DQN")[:, 3]).all()


def test_what_the_page_of_codes_says_is_what_runs_found(language: Any) -> None:
    """Ranges of single runs: on noise those that see the same images win, the others do not."""
    runs = [json.loads(path.read_text()) for path in language.FOLDER.glob("*-[0-9]*.json")]

    def values(column: str, *names: str) -> np.ndarray:
        return np.array([r[column] for r in runs if r["condition"] in names])

    def told(found: np.ndarray) -> list[str]:
        return [f"{100 * found.min():.0f}", f"{100 * found.max():.0f}"]

    same = values("on noise", "informed", "agnostic")
    wide = values("on noise", "informed, 100 symbols", "agnostic, 100 symbols")
    own = values("on noise", "only concepts shared")
    assert told(same) == ["91", "97"]
    assert told(wide) == ["83", "97"]
    shared = told(values("accuracy", "only concepts shared"))
    assert (f"{own.min():.2f}", f"{own.max():.2f}") == ("0.50", "0.53")
    assert sorted(np.round(100 * values("accuracy", "noise"))) == [50, 62, 94, 94, 95]
    assert len(values("accuracy", "same concept")) == 5
    assert (np.abs(values("accuracy", "same concept") - 0.5) < 0.03).all()
    below = values("accuracy", "informed, 100 symbols")
    assert sorted(below[below < language.LEARNT]) == [0.9355, 0.9435]
    page = (ROOT / "docs" / "language.md").read_text(encoding="utf-8")
    assert all(text in page for text in language.FOUND)
    assert page.count(f"{shared[0]} to {shared[1]} %") == 2, "in the answer and below"
    processors = {run["provenance"]["hardware"]["processor"] for run in runs}
    assert all(each in page for each in processors)
