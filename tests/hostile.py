"""Hostile checkpoints: files an attacker could send, with manifests that vouch for them."""

from __future__ import annotations

import hashlib
import json
import os
import struct
from pathlib import Path
from typing import Any

from daedalus.accelerators import manifest as module


class Canary:
    """Unpickling one creates a file: the proof that code ran."""

    def __init__(self, path: Path) -> None:
        """Create ``path`` when unpickled."""
        self.path = path

    def __reduce__(self) -> Any:
        """Tell pickle to make a folder."""
        return (os.mkdir, (str(self.path),))


def forge(path: Path, name: str, content: bytes) -> None:
    """Replace a file and write a manifest that vouches for it, as an attacker can."""
    (path / name).write_bytes(content)
    entries = {
        n: {"bytes": len(c), "sha256": hashlib.sha256(c).hexdigest()}
        for n in (module.TENSORS, module.STATE)
        for c in [(path / n).read_bytes()]
    }
    forge_manifest(path, files=entries)


def forge_manifest(path: Path, **changes: Any) -> None:
    body = json.loads((path / module.MANIFEST).read_text())
    body = {**body, **changes}
    del body["sha256"]
    (path / module.MANIFEST).write_bytes(module.dump_manifest(body))


def header(content: dict[str, Any], data: bytes = b"") -> bytes:
    text = json.dumps(content).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(shape: list[int], end: int, dtype: str = "F32", begin: int = 0) -> dict[str, Any]:
    return {"a": {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}}


BAD_TENSORS = {
    "empty": b"",
    "zip": b"PK\x03\x04" + bytes(100),
    "header longer than the file": struct.pack("<Q", 1000) + b"{}",
    "header of 100 MB": struct.pack("<Q", 10**8) + b"{}",
    "header of 2^64 bytes": b"\xff" * 8 + b"{}",
    "header no JSON": struct.pack("<Q", 3) + b"{a}",
    "header deep": struct.pack("<Q", 10**5) + b"[" * 10**5,
    "header a list": struct.pack("<Q", 2) + b"[]",
    "shape of 2^60": header(entry([2**60], 4), bytes(4)),
    "shape that overflows": header(entry([2**32, 2**32], 0)),
    "shape negative": header(entry([-1], 4), bytes(4)),
    "shape a float": header({"a": {"dtype": "F32", "shape": [1.5], "data_offsets": [0, 4]}}),
    "shape empty but huge": header(entry([0, 2**62, 2**62], 0)),
    "offsets outside": header(entry([4], 16), bytes(4)),
    "offsets backwards": header(entry([1], 0, begin=4), bytes(4)),
    "offsets overlap": header({**entry([1], 4), "b": entry([1], 4)["a"]}, bytes(4)),
    "bytes left over": header(entry([1], 4), bytes(40)),
    "dtype unknown": header(entry([1], 4, "PICKLE"), bytes(4)),
    "dtype without NumPy": header(entry([2], 4, "BF16"), bytes(4)),
    "20,000 tensors that overlap": header({str(i): entry([1], 4)["a"] for i in range(20_000)}),
}
BAD_STATES = {
    "NaN": b'{"a": NaN}',
    "infinity": b'{"a": -Infinity}',
    "deep": b"[" * 10**6,
    "list": b"[1]",
    "not UTF-8": b"\xff\xfe{}",
    "number of a million digits": b'{"a": ' + b"9" * 10**6 + b"}",
    "text": b"import os",
    "empty": b"",
}


FORGED_MANIFESTS: dict[str, dict[str, Any]] = {
    "later format": {"format": 2},
    "format a text": {"format": "1"},
    "path above": {"files": {"../../etc/passwd": {"bytes": 1, "sha256": "0"}}},
    "absolute path": {"files": {"/etc/passwd": {"bytes": 1, "sha256": "0"}}},
    "a third file": {"files": {n: {} for n in (module.TENSORS, module.STATE, "x.pkl")}},
    "no files": {"files": {}},
    "files a list": {"files": []},
    "entry a number": {"files": {module.TENSORS: 1, module.STATE: 1}},
    "step negative": {"step": -1},
    "step a text": {"step": "1"},
    "dtypes a list": {"dtypes": []},
    "dtype of objects": {"dtypes": {"replay": "|O"}},
    "dtype with objects inside": {"dtypes": {"replay": [["a", "|O"]]}},
    "dtype unknown": {"dtypes": {"replay": "evil"}},
    "dtype of a tensor not there": {"dtypes": {"nothing": "<f4"}},
    "dtype too wide": {"dtypes": {"replay": "|V1000000000"}},
    "dtype deep": {"dtypes": {"replay": [[[[[[["a"]]]]]]]}},
}
