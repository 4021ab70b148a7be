"""Logged rows as CSV and TensorBoard files: best effort, never a reason to stop training.

Rows are identified by their step. A resumed run first drops the rows after its checkpoint, so no
row is there twice; ``sync`` before a checkpoint makes sure that none before it is missing. A
reader keeps the good beginning of a file that was cut and says what it left out.
"""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import os
import socket
import struct
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from daedalus.accelerators.files import write_file

CSV_NAME = "metrics.csv"
_number = itertools.count()


class MetricsWriter:
    """Writes rows of named numbers to ``metrics.csv`` and to a TensorBoard event file.

    If the disk fails, one warning is given, writing stops and the caller goes on; both files keep
    their whole rows.
    """

    def __init__(self, folder: str | Path) -> None:
        """Append to the files in ``folder``, which is made if needed."""
        self.folder = Path(folder)
        self.is_off = False
        self._columns: list[str] = []
        self._csv: BinaryIO | None = None
        self._events: BinaryIO | None = None
        self._has_tensorboard = True

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write one row.

        Args:
            step: environment steps; rises from row to row.
            values: numbers by tag (``rollout/ep_rew_mean`` ...); nan and inf are written as such.
        """
        self._attempt(lambda: self._write(step, values))

    def sync(self) -> None:
        """Force all rows to the disk."""
        self._attempt(self._sync)

    def rewind(self, step: int) -> None:
        """Drop every row after ``step`` and every torn one: the run goes on from there."""
        self.close()
        self._attempt(lambda: self._rewind(step))

    def close(self) -> None:
        """Close the files; the next row opens them again."""
        for file in (self._csv, self._events):
            if file is not None:
                with contextlib.suppress(OSError):
                    file.close()
        self._csv = self._events = None

    def _attempt(self, action: Any) -> None:
        if self.is_off:
            return
        try:
            action()
        except OSError as error:
            self.is_off = True
            warnings.warn(
                f"logging to {self.folder} is off: {error}; training goes on", stacklevel=3
            )

    def _write(self, step: int, values: Mapping[str, float]) -> None:
        new = [tag for tag in values if tag not in self._columns]
        if self._csv is None or new:
            self._open_csv(new)
        assert self._csv is not None
        cells = [str(step), *(_cell(values.get(tag)) for tag in self._columns)]
        _append(self._csv, (",".join(cells) + "\n").encode())
        if self._has_tensorboard:
            self._write_events(step, values)

    def _open_csv(self, new: list[str]) -> None:
        """Open the CSV file; new columns rewrite it in one step."""
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / CSV_NAME
        rows, _ = read_metrics(self.folder)
        if self._csv is not None:
            self._csv.close()
        known = dict.fromkeys(itertools.chain(*rows, self._columns, new))
        known.pop("step", None)
        self._columns = list(known)
        write_file(path, _table(self._columns, rows))
        self._csv = path.open("ab", buffering=0)

    def _write_events(self, step: int, values: Mapping[str, float]) -> None:
        try:
            from tensorboard.compat.proto.event_pb2 import Event
            from tensorboard.compat.proto.summary_pb2 import Summary
        except ImportError:
            self._has_tensorboard = False
            return
        if self._events is None:
            seconds, rest = divmod(time.time_ns(), 10**9)  # readers take files in order of names
            name = f"events.out.tfevents.{seconds:010d}.{rest:09d}.{socket.gethostname()}"
            name += f".{os.getpid()}.{next(_number)}"
            self._events = (self.folder / name).open("ab", buffering=0)
            first = Event(wall_time=time.time(), file_version="brain.Event:2")
            _append(self._events, _record(first.SerializeToString()))
        scalars = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
        event = Event(wall_time=time.time(), step=step, summary=Summary(value=scalars))
        _append(self._events, _record(event.SerializeToString()))

    def _sync(self) -> None:
        for file in (self._csv, self._events):
            if file is not None:
                os.fsync(file.fileno())

    def _rewind(self, step: int) -> None:
        rows, dropped = read_metrics(self.folder)
        kept = [row for row in rows if row["step"] <= step]
        if dropped or len(kept) < len(rows):
            columns = [tag for tag in dict.fromkeys(itertools.chain(*rows)) if tag != "step"]
            write_file(self.folder / CSV_NAME, _table(columns, kept))
        for path in sorted(self.folder.glob("events.out.tfevents.*")):
            records, dropped = read_records(path)
            good = b"".join(_record(r) for r in records if _step(r) <= step)
            if dropped or len(good) < path.stat().st_size:
                write_file(path, good)


def read_metrics(folder: str | Path) -> tuple[list[dict[str, float]], str]:
    """Read the rows of ``metrics.csv``.

    Args:
        folder: the ``metrics`` folder of a run.

    Returns:
        Rows by rising step, each with ``step`` and the tags that have a value in it; and what was
        left out of a damaged file ('' for none).
    """
    path = Path(folder) / CSV_NAME
    if not path.exists():
        return [], ""
    whole, newline, torn = path.read_bytes().rpartition(b"\n")
    lines = list(csv.reader(io.StringIO((whole + newline).decode(errors="replace"))))
    header: list[str] = lines[0] if lines else []
    rows: list[dict[str, float]] = []
    for number, line in enumerate(lines[1:], start=2):
        try:
            row = {tag: float(cell) for tag, cell in zip(header, line, strict=True) if cell}
            row["step"] = int(line[0])
        except (ValueError, IndexError):
            return rows, f"{path}: lines {number} to {len(lines)} are damaged and left out"
        rows.append(row)
    return rows, f"{path}: a torn last line of {len(torn)} bytes is left out" if torn else ""


def read_records(path: str | Path) -> tuple[list[bytes], str]:
    """Read the records of a TensorBoard event file up to the first damaged one.

    Returns:
        The records, and what was left out ('' for none).
    """
    content = Path(path).read_bytes()
    records: list[bytes] = []
    offset = 0
    for record in _records(content):
        records.append(record)
        offset += len(record) + 16
    left = len(content) - offset
    return records, f"{path}: the last {left} bytes are damaged and left out" if left else ""


def _records(content: bytes) -> Iterator[bytes]:
    """Yield the payloads of a TFRecord file: length, its CRC, payload, its CRC."""
    offset = 0
    while offset + 16 <= len(content):
        (length,) = struct.unpack_from("<Q", content, offset)
        record = content[offset + 12 : offset + 12 + length]
        end = offset + 16 + length
        if end > len(content) or content[offset:end] != _record(record):
            return
        yield record
        offset = end


def _record(payload: bytes) -> bytes:
    from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

    length = struct.pack("<Q", len(payload))
    crcs = (struct.pack("<I", masked_crc32c(part)) for part in (length, payload))
    return length + next(crcs) + payload + next(crcs)


def _step(record: bytes) -> int:
    from tensorboard.compat.proto.event_pb2 import Event

    return int(Event.FromString(record).step)


def _append(file: BinaryIO, content: bytes) -> None:
    """Append all of ``content`` or nothing."""
    size = os.fstat(file.fileno()).st_size
    try:
        done = file.write(content)
        while done < len(content):
            done += file.write(content[done:])
    except OSError:
        os.ftruncate(file.fileno(), size)
        raise


def _cell(value: float | None) -> str:
    return "" if value is None else repr(float(value))


def _table(columns: list[str], rows: list[dict[str, float]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["step", *columns])
    for row in rows:
        writer.writerow([str(row["step"]), *(_cell(row.get(tag)) for tag in columns)])
    return text.getvalue().encode()
