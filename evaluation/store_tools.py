"""What is done with whole stores: verify, merge, export."""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from daedalus.accelerators.lock import RunLock
from daedalus.evaluation.statistics import iqm, mean
from daedalus.evaluation.store import ResultStore, StoreError
from daedalus.scenarios.extras import needed


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def verify(store: ResultStore) -> list[str]:
    """Return what is wrong with a store: damaged pages, changed rows, changed files.

    Files that are gone are not counted: a store is useful without its run directories.
    """
    wrong = [f"{store.path}: {line}" for line in store.integrity()]
    for run in store.runs(state="done"):
        name = f"{run['label']} on {run['scenario']}, seed {run['seed']} ({run['id']})"
        if store.content_hash(run["id"]) != run["hash"]:
            wrong.append(f"{name}: its rows are not those that were stored")
        for file, expected in run["files"].items():
            path = store.directory(run) / file
            if path.is_file() and file_hash(path) != expected:
                wrong.append(f"{name}: {path} was changed")
    return wrong


class Merged(NamedTuple):
    """What `merge` did, in numbers of runs."""

    taken: int
    known: int
    differing: int


def merge(store: ResultStore, other: ResultStore) -> Merged:
    """Take over the finished runs of another store; what is finished here stays.

    Raises:
        StoreError: The other store does not verify.
        RunLockedError: A benchmark works on this store: it could begin a run that is taken over.
    """
    if wrong := [line for line in verify(other) if not line.endswith("was changed")]:
        raise StoreError(f"{other.path} is damaged: {wrong[0]}; nothing was taken over")
    lock = RunLock(store.path.parent)
    try:
        return _merged(store, other)
    finally:
        lock.release()


_TABLES = ("metric", "episode", "earlier")


def _merged(store: ResultStore, other: ResultStore) -> Merged:
    here = {run["id"]: run for run in store.runs(state="done")}
    counts = [0, 0, 0]
    for run in other.runs(state="done"):
        mine = here.get(run["id"])
        counts[0 if mine is None else 1 if mine["hash"] == run["hash"] else 2] += 1
        if mine is None:
            tables = {name: other.table(name, [run["id"]]) for name in _TABLES}
            store.insert(run, tables)
    return Merged(*counts)


# ---- export -------------------------------------------------------------------------------------

TABLES = ("runs", "curves", "episodes")
_KEYS = ("label", "scenario", "seed")


def export(store: ResultStore, path: Path, table: str, runs: Sequence[dict[str, Any]]) -> int:
    """Write a table as CSV or Parquet, by the file's suffix.

    Args:
        store: Where it comes from.
        path: File ending in ``.csv`` or ``.parquet``.
        table: One of `TABLES`.
        runs: The runs to write.

    Returns:
        Number of rows.

    Raises:
        StoreError: Another suffix.
        MissingExtraError: Parquet without pyarrow.
    """
    rows = list(_ROWS[table](store, runs))
    if path.suffix == ".csv":
        _write_csv(path, rows)
    elif path.suffix == ".parquet":
        _write_parquet(path, rows)
    else:
        raise StoreError(f"export to a file that ends in .csv or .parquet, not {path.name!r}")
    return len(rows)


def _write_csv(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]) if rows else [])
        writer.writeheader()
        writer.writerows(rows)


def _write_parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    with needed(extra="results"):
        import pyarrow
        import pyarrow.parquet as parquet
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)


def run_rows(store: ResultStore, runs: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield a flat row for each run: scores first, provenance after them."""
    for run in runs:
        returns = store.episodes(run["id"])["returns"]
        yield {
            "id": run["id"],
            **{key: run[key] for key in (*_KEYS, "state")},
            "mean_return": mean(returns) if returns.size else math.nan,
            "iqm_return": iqm(returns) if returns.size else math.nan,
            **{
                key: run[key]
                for key in ("seconds", "steps_per_second", "total_timesteps", "num_envs")
            },
            **{key: run[key] for key in ("agent", "config_hash", "env", "device", "threads")},
            **{key: run[key] for key in ("git_commit", "started", "attempts", "faults", "error")},
            **{f"version_{name}": value for name, value in run["versions"].items()},
            "processor": run["hardware"]["processor"],
            "resumed": "; ".join(resumptions(store, run)),
            "command": run["command"],
        }


def resumptions(store: ResultStore, run: Mapping[str, Any]) -> list[str]:
    """Return where a run went on with other code or on another machine, or not bit for bit."""
    attempts = [*store.earlier(run["id"]), run]
    found = []
    for before, after in pairwise(attempts):
        changed = [
            f"{what} {_told(before[column])} before, {_told(after[column])} from then on"
            for column, what in _STANDS_ON.items()
            if before[column] != after[column]
        ]
        inexact = [f"not bit for bit: {before['not_exact']}"] if before["not_exact"] else []
        if changed or inexact:
            found.append(f"at step {before['step']:,}: {'; '.join([*inexact, *changed])}")
    return found


_STANDS_ON = {"git_commit": "commit", "versions": "versions", "hardware": "machine"}


def _told(value: Any) -> str:
    if not isinstance(value, dict):
        return str(value)
    return ", ".join(f"{name} {item}" for name, item in value.items())


def _curve_rows(store: ResultStore, runs: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    columns = ("step", "name", "value")
    return _long_rows(store, runs, "metric", columns)


def _episode_rows(store: ResultStore, runs: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    columns = ("episode_seed", "return", "length", "cost")
    return _long_rows(store, runs, "episode", columns)


def _long_rows(
    store: ResultStore, runs: Sequence[dict[str, Any]], table: str, columns: Iterable[str]
) -> Iterator[dict[str, Any]]:
    for run in runs:
        for _, *values in store.table(table, [run["id"]]):
            named = dict(zip(columns, values, strict=True))
            yield {"id": run["id"], **{key: run[key] for key in _KEYS}, **named}


_ROWS = {"runs": run_rows, "curves": _curve_rows, "episodes": _episode_rows}


def scores(store: ResultStore, runs: Sequence[dict[str, Any]]) -> np.ndarray:
    """Return the mean held-out return of each run (N,)."""
    return np.array([mean(store.episodes(run["id"])["returns"]) for run in runs])
