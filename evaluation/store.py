"""The result store: one SQLite file that keeps every row it has acknowledged.

    benchmark/
        results.sqlite     runs with their provenance, learning curves, evaluations
        runs/              a run directory for each: configuration, checkpoint, video, output

Write-ahead logging with ``synchronous=FULL``: a row is on the disk before the writer goes on, a
killed writer leaves whole transactions only, several writers take turns, readers never wait. (Not
on a network file system: write-ahead logging needs shared memory.) No provenance column may be
empty. A finished run is sealed by a hash over all that is stored of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from daedalus.evaluation.plan import RunSpec, canonical

APPLICATION = 0x44414544  # "DAED"
VERSION, WITH_EARLIER = 1, 2  # of the tables, without and with `EARLIER`
SUFFIXES = (".sqlite", ".sqlite3", ".db")
PATIENCE = 30.0
"""Seconds to wait for others that write."""
RETURN = "rollout/ep_rew_mean"
SECONDS = "time/seconds"

TABLES = """
CREATE TABLE run (
    id TEXT PRIMARY KEY,
    label TEXT NOT NULL, agent TEXT NOT NULL, config TEXT NOT NULL, config_hash TEXT NOT NULL,
    scenario TEXT NOT NULL, env TEXT NOT NULL, env_kwargs TEXT NOT NULL, "references" TEXT NOT NULL,
    num_envs INTEGER NOT NULL, total_timesteps INTEGER NOT NULL, episodes INTEGER NOT NULL,
    seed INTEGER NOT NULL, device TEXT NOT NULL, threads INTEGER NOT NULL,
    directory TEXT NOT NULL, command TEXT NOT NULL, git_commit TEXT NOT NULL,
    versions TEXT NOT NULL, hardware TEXT NOT NULL, started TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'running', 'failed', 'done')),
    attempts INTEGER NOT NULL, faults INTEGER NOT NULL, error TEXT NOT NULL,
    seconds REAL NOT NULL, steps_per_second REAL NOT NULL, files TEXT NOT NULL, hash TEXT NOT NULL,
    cost_limit REAL,
    CHECK (git_commit <> '' AND config_hash <> ''),
    CHECK (json_type(versions) = 'object' AND versions <> '{}'),
    CHECK (json_type(hardware) = 'object' AND hardware <> '{}'),
    CHECK (state <> 'done' OR (hash <> '' AND seconds > 0))
) WITHOUT ROWID;
CREATE TABLE metric (
    run TEXT NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    step INTEGER NOT NULL, name TEXT NOT NULL, value REAL NOT NULL,
    PRIMARY KEY (run, name, step)
) WITHOUT ROWID;
CREATE TABLE episode (
    run TEXT NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    seed INTEGER NOT NULL, "return" REAL NOT NULL, length INTEGER NOT NULL, cost REAL NOT NULL,
    PRIMARY KEY (run, seed)
) WITHOUT ROWID;
"""
EARLIER = """
CREATE TABLE earlier (
    run TEXT NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    step INTEGER NOT NULL, command TEXT NOT NULL, git_commit TEXT NOT NULL,
    versions TEXT NOT NULL, hardware TEXT NOT NULL, started TEXT NOT NULL, not_exact TEXT NOT NULL,
    PRIMARY KEY (run, step)
) WITHOUT ROWID
"""
"""Attempts before the last that made steps of a run; the table is made with the first of them. Each
ends at ``step``, where the next went on: bit for bit, or not, and then it says why."""
JSON_COLUMNS = ("config", "env_kwargs", "references", "versions", "hardware", "files")


class StoreError(ValueError):
    """A file that is no result store, or one that cannot be used so; the message says why."""


@dataclass(frozen=True)
class Provenance:
    """Where runs come from: noted when they are started.

    Attributes:
        command: Command line.
        git_commit: Commit of the code.
        versions: Package -> version.
        hardware: What `daedalus.evaluation.provenance.hardware` says.
    """

    command: str
    git_commit: str
    versions: dict[str, str]
    hardware: dict[str, Any]


class ResultStore:
    """A result store, open for reading and writing.

    Attributes:
        path: The SQLite file.
    """

    def __init__(self, path: str | Path, *, create: bool = False) -> None:
        """Open a store.

        Args:
            path: The file, or the folder that holds ``results.sqlite``.
            create: Make it where there is none.

        Raises:
            StoreError: There is none, or the file is something else.
        """
        path = Path(path)
        self.path = path if path.suffix in SUFFIXES else path / "results.sqlite"
        if not create and not self.path.is_file():
            raise StoreError(f"there is no result store {self.path}; `daedalus benchmark` makes it")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._db, writable = _connected(self.path, create)
            try:
                self._prepare(create, writable)
            except BaseException:
                self._db.close()
                raise
        except sqlite3.OperationalError as error:
            raise StoreError(f"{self.path} cannot be opened: {error}") from None
        except sqlite3.DatabaseError as error:
            raise StoreError(f"{self.path} is no result store ({error})") from None

    def _prepare(self, create: bool, writable: bool) -> None:
        self._db.row_factory = sqlite3.Row
        self._db.execute("BEGIN")  # one moment, while others may be creating the file
        (found,) = self._db.execute("PRAGMA application_id").fetchone()
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        empty = not self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        self._db.execute("COMMIT")
        if not (empty and create) and found != APPLICATION:
            raise sqlite3.DatabaseError("its application id is another")
        if found == APPLICATION and version not in (VERSION, WITH_EARLIER):
            raise sqlite3.DatabaseError(f"its tables have version {version}, not {WITH_EARLIER}")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA foreign_keys = ON")
        if empty:
            with self.writing() as db:
                if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
                    for statement in TABLES.split(";"):
                        db.execute(statement)
                    db.execute(f"PRAGMA application_id = {APPLICATION}")
                    db.execute(f"PRAGMA user_version = {VERSION}")
        if writable:
            _write_ahead(self._db)

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction: all of the block is stored, or nothing of it."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def close(self) -> None:
        """Close the file; the last one to do so folds the log into it."""
        self._db.close()

    def __enter__(self) -> Self:
        """Return the store itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self.close()

    def directory(self, run: Mapping[str, Any]) -> Path:
        """Return the run directory of a run."""
        return self.path.parent / "runs" / str(run["directory"])

    # ---- the life of a run ----------------------------------------------------------------------

    def add(self, specs: Iterable[RunSpec], provenance: Provenance) -> None:
        """Note the runs that are wanted; of those known already only the judgement is renewed."""
        with self.writing() as db:
            for spec in specs:
                row = _row(spec, provenance)
                db.execute(_insertion(row, "OR IGNORE "), list(row.values()))
                self._judge(db, row)

    def _judge(self, db: sqlite3.Connection, row: Mapping[str, Any]) -> None:
        """Take over what a run is judged by, and seal it again if its seal was whole."""
        run, judged = row["id"], (row["references"], row["cost_limit"])
        *known, seal = db.execute(
            'SELECT "references", cost_limit, hash FROM run WHERE id = ?', (run,)
        ).fetchone()
        if tuple(known) == judged:
            return
        whole = seal and seal == self.content_hash(run)
        db.execute('UPDATE run SET "references" = ?, cost_limit = ? WHERE id = ?', (*judged, run))
        if whole:
            db.execute("UPDATE run SET hash = ? WHERE id = ?", (self.content_hash(run), run))

    def begin(self, run: str, provenance: Provenance, step: int = 0, not_exact: str = "") -> None:
        """A run is taken up, for the first time or again.

        Args:
            run: Its id.
            provenance: What it stands on from now on; what it stood on is kept in `earlier`.
            step: Where it goes on.
            not_exact: Why it does not go on bit for bit, "" if it does.
        """
        with self.writing() as db:
            self._keep_earlier(db, run, step, not_exact)
            db.execute(
                "UPDATE run SET state = 'running', error = '', attempts = attempts + 1, "
                "command = ?, git_commit = ?, versions = ?, hardware = ?, started = ? WHERE id = ?",
                (
                    provenance.command,
                    provenance.git_commit,
                    canonical(provenance.versions),
                    canonical(provenance.hardware),
                    time.strftime("%Y-%m-%d %H:%M:%S %z"),
                    run,
                ),
            )

    def _keep_earlier(self, db: sqlite3.Connection, run: str, step: int, not_exact: str) -> None:
        """Keep the attempts that made the steps up to ``step``, and no others."""
        if self._has_earlier():
            ends = [n for (n,) in db.execute("SELECT step FROM earlier WHERE run = ?", (run,))]
            if over := sorted(n for n in ends if n >= step > 0):  # the last ones added nothing
                db.execute("DELETE FROM earlier WHERE run = ? AND step > ?", (run, over[0]))
                db.execute(
                    "UPDATE earlier SET step = ?, not_exact = ? WHERE run = ? AND step = ?",
                    (step, not_exact, run, over[0]),
                )
                return
            if not step:
                db.execute("DELETE FROM earlier WHERE run = ?", (run,))
        if step:
            self._make_earlier(db)
            db.execute(
                "INSERT INTO earlier SELECT id, ?, command, git_commit, versions, hardware, "
                "started, ? FROM run WHERE id = ?",
                (step, not_exact, run),
            )

    def _has_earlier(self) -> bool:
        return bool(self._db.execute("PRAGMA table_info(earlier)").fetchone())

    def _make_earlier(self, db: sqlite3.Connection) -> None:
        if not self._has_earlier():
            db.execute(EARLIER)
            db.execute(f"PRAGMA user_version = {WITH_EARLIER}")

    def rewind(self, run: str, step: int) -> None:
        """Drop the rows after ``step``, which a resumed run will write again."""
        with self.writing() as db:
            db.execute("DELETE FROM metric WHERE run = ? AND step > ?", (run, step))

    def log(self, run: str, step: int, values: Mapping[str, float]) -> None:
        """Store one row of a learning curve; values that are not finite are left out."""
        rows = [(run, step, k, float(v)) for k, v in values.items() if np.isfinite(v)]
        with self.writing() as db:
            db.executemany("INSERT OR REPLACE INTO metric VALUES (?, ?, ?, ?)", rows)

    def take_up(self, run: str) -> None:
        """A run is about to begin, or to go on."""
        self._set(run, "state = 'running', error = ''")

    def wait(self, run: str) -> None:
        """A run was stopped before its end; the next benchmark takes it up again."""
        self._set(run, "state = 'waiting'")

    def fail(self, run: str, error: str) -> None:
        """A run came to grief; the next benchmark takes it up again."""
        self._set(run, "state = 'failed', faults = faults + 1, error = ?", error)

    def finish(self, run: str, evaluation: Any, files: Mapping[str, str]) -> None:
        """Store the final evaluation and seal the run.

        Args:
            run: Its id.
            evaluation: A `daedalus.evaluation.Evaluation`.
            files: Path in the run directory -> SHA-256.
        """
        columns = (evaluation.seeds, evaluation.returns, evaluation.lengths, evaluation.costs)
        rows = [
            (run, int(s), float(r), int(n), float(c)) for s, r, n, c in zip(*columns, strict=True)
        ]
        with self.writing() as db:
            db.execute("DELETE FROM episode WHERE run = ?", (run,))
            db.executemany("INSERT INTO episode VALUES (?, ?, ?, ?, ?)", rows)
            steps, clock = self.curve(run, SECONDS)
            if not len(steps) or not rows:
                raise StoreError(f"run {run} has no learning curve or no evaluation to store")
            db.execute(
                "UPDATE run SET state = 'done', seconds = ?, steps_per_second = ?, files = ?, "
                "hash = '-' WHERE id = ?",
                (float(clock[-1]), _speed(steps, clock), canonical(files), run),
            )
            db.execute("UPDATE run SET hash = ? WHERE id = ?", (self.content_hash(run), run))

    def _set(self, run: str, assignments: str, *values: Any) -> None:
        with self.writing() as db:
            db.execute(f"UPDATE run SET {assignments} WHERE id = ?", (*values, run))

    # ---- reading --------------------------------------------------------------------------------

    def runs(self, **filters: Any) -> list[dict[str, Any]]:
        """Return runs as mappings by column, in the order of scenario, label and seed.

        Args:
            filters: Column -> wanted value, or several; ``None`` for any.
        """
        wanted = {
            name: list(value) if isinstance(value, list | tuple) else [value]
            for name, value in filters.items()
            if value is not None
        }
        where = " AND ".join(f"{k} IN ({', '.join('?' * len(v))})" for k, v in wanted.items())
        rows = self._db.execute(
            f"SELECT * FROM run {'WHERE ' + where if where else ''} ORDER BY scenario, label, seed",
            [value for values in wanted.values() for value in values],
        )
        return [_decoded(row) for row in rows]

    def run(self, run: str) -> dict[str, Any]:
        """Return one run.

        Raises:
            StoreError: There is none of that id.
        """
        found = self.runs(id=run)
        if not found:
            raise StoreError(f"{self.path} has no run {run!r}")
        return found[0]

    def progress(self) -> dict[str, tuple[int, float]]:
        """Return the last step and the seconds spent of every run that has logged something."""
        rows = self._db.execute(
            "SELECT run, max(step), value FROM metric WHERE name = ? GROUP BY run", (SECONDS,)
        )
        return {run: (step, seconds) for run, step, seconds in rows}

    def names(self, run: str) -> list[str]:
        """Return the names of what a run has logged."""
        rows = self._db.execute("SELECT DISTINCT name FROM metric WHERE run = ?", (run,))
        return sorted(name for (name,) in rows)

    def curve(self, run: str, name: str = RETURN) -> tuple[np.ndarray, np.ndarray]:
        """Return steps (N,) and values (N,) of one logged quantity."""
        rows = self._db.execute(
            "SELECT step, value FROM metric WHERE run = ? AND name = ? ORDER BY step", (run, name)
        )
        table = np.array([tuple(row) for row in rows], np.float64).reshape(-1, 2)
        return table[:, 0], table[:, 1]

    def episodes(self, run: str) -> dict[str, np.ndarray]:
        """Return the final evaluation: seeds, returns, lengths and costs, (E,) each."""
        rows = self._db.execute(
            'SELECT seed, "return", length, cost FROM episode WHERE run = ? ORDER BY seed', (run,)
        ).fetchall()
        names = ("seeds", "returns", "lengths", "costs")
        return {name: np.array([row[i] for row in rows]) for i, name in enumerate(names)}

    def earlier(self, run: str) -> list[dict[str, Any]]:
        """Return the attempts before the last that made steps of a run, in their order."""
        if not self._has_earlier():
            return []
        rows = self._db.execute("SELECT * FROM earlier WHERE run = ? ORDER BY step", (run,))
        return [_decoded(row) for row in rows]

    def content_hash(self, run: str) -> str:
        """Return the SHA-256 over all that is stored of a run, but the hash itself."""
        (row,) = self._db.execute("SELECT * FROM run WHERE id = ?", (run,))
        seal = hashlib.sha256(canonical({k: row[k] for k in row.keys() if k != "hash"}).encode())  # noqa: SIM118
        tables = [("metric", "name, step"), ("episode", "seed")]
        for table, order in tables + [("earlier", "step")] * self._has_earlier():
            for part in self._db.execute(
                f"SELECT * FROM {table} WHERE run = ? ORDER BY {order}", (run,)
            ):
                seal.update(canonical(list(part)).encode())
        return seal.hexdigest()

    def table(self, name: str, runs: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of ``metric``, ``episode`` or ``earlier`` for some runs, as stored."""
        for run in runs if name != "earlier" or self._has_earlier() else ():
            yield from map(tuple, self._db.execute(f"SELECT * FROM {name} WHERE run = ?", (run,)))

    def insert(self, row: Mapping[str, Any], tables: Mapping[str, Iterable[Any]]) -> None:
        """Take over a run of another store in one transaction, in place of one of its id."""
        coded = {k: canonical(v) if k in JSON_COLUMNS else v for k, v in row.items()}
        with self.writing() as db:
            db.execute("DELETE FROM run WHERE id = ?", (row["id"],))
            db.execute(_insertion(coded), list(coded.values()))
            for name, rows in tables.items():
                if not (found := list(rows)):
                    continue
                if name == "earlier":
                    self._make_earlier(db)
                marks = ", ".join("?" * len(found[0]))
                db.executemany(f"INSERT INTO {name} VALUES ({marks})", found)

    def integrity(self) -> list[str]:
        """Return what SQLite finds wrong with the file."""
        rows = [row[0] for row in self._db.execute("PRAGMA integrity_check")]
        broken = [f"no run {row[0]}" for row in self._db.execute("PRAGMA foreign_key_check")]
        return [line for line in rows if line != "ok"] + broken


def _connected(path: Path, create: bool) -> tuple[sqlite3.Connection, bool]:
    """Open a file, and say whether it can be written; a read-only medium is only read."""
    writable = create or (os.access(path, os.W_OK) and os.access(path.parent, os.W_OK))
    target = f"{path.absolute().as_uri()}?mode={'rwc' if writable else 'ro'}"
    log = path.with_name(f"{path.name}-wal")
    if not writable and not log.exists():
        target += "&immutable=1"  # else SQLite needs files of its own beside it
    return sqlite3.connect(target, timeout=PATIENCE, isolation_level=None, uri=True), writable


def _write_ahead(db: sqlite3.Connection) -> None:
    """Switch to write-ahead logging, for which SQLite itself does not wait until others let go."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")  # a file system without it keeps its own
            return
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _speed(steps: np.ndarray, clock: np.ndarray) -> float:
    """Steps a second from the first logged row on: what was compiled before does not count."""
    if len(steps) == 1:
        return float(steps[0] / clock[0])
    return float((steps[-1] - steps[0]) / (clock[-1] - clock[0]))


def _insertion(row: Mapping[str, Any], otherwise: str = "") -> str:
    """The statement that inserts a row into ``run``."""
    names = ", ".join(f'"{name}"' for name in row)
    return f"INSERT {otherwise}INTO run ({names}) VALUES ({', '.join('?' * len(row))})"


def _row(spec: RunSpec, provenance: Provenance) -> dict[str, Any]:
    """A run that waits."""
    row = {
        "id": spec.id,
        **asdict(spec),
        "config_hash": spec.config_hash,
        "directory": spec.folder,
        **asdict(provenance),
        "started": "not yet",
        "state": "waiting",
        **dict.fromkeys(("attempts", "faults", "seconds", "steps_per_second"), 0),
        **dict.fromkeys(("error", "hash"), ""),
        "files": {},
    }
    return {key: canonical(v) if key in JSON_COLUMNS else v for key, v in row.items()}


def _decoded(row: sqlite3.Row) -> dict[str, Any]:
    return {k: json.loads(row[k]) if k in JSON_COLUMNS else row[k] for k in row.keys()}  # noqa: SIM118
