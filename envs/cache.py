"""Where compiled kernels are kept: a second run starts in milliseconds, an edit is always seen.

Numba decides whether cached machine code is still good by looking at the file of the *caller*
alone. Our kernels call functions of other files, so an edit there would run stale code. The cache
folder is therefore named after a hash of every source file below ``envs/`` and the Numba version:
any edit starts a new folder.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import shutil
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numba
from numba.core import event
from numba.core.errors import NumbaExperimentalFeatureWarning

SOURCES = Path(__file__).parent
WITHOUT_KERNELS = {SOURCES / "checker", SOURCES / "web" / "browser"}
KEEP_FOLDERS = 4
"""How many cache folders (of this and earlier source versions) are kept."""


def source_hash() -> str:
    """Return a hash of every source file of the environments and of the Numba version."""
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(SOURCES.rglob("*.py")):
        if not WITHOUT_KERNELS.isdisjoint(path.parents):
            continue
        digest.update(str(path.relative_to(SOURCES)).encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _base_folder() -> Path:
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    home = os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")
    for base in (Path(chosen) if chosen else Path(home) / "daedalus" / "kernels",):
        with contextlib.suppress(OSError):
            base.mkdir(parents=True, exist_ok=True)
            if os.access(base, os.W_OK):
                return base
    return Path(tempfile.gettempdir()) / f"daedalus-kernels-{os.getuid()}"


def _prune(base: Path, current: Path) -> None:
    folders = [p for p in base.glob("envs-*") if p.is_dir() and p != current]
    folders.sort(key=lambda p: p.stat().st_mtime, reverse=True)
    for old in folders[KEEP_FOLDERS - 1 :]:
        shutil.rmtree(old, ignore_errors=True)


@functools.cache
def cache_folder() -> Path:
    """Return the folder of this source version, made if it is missing; older folders are pruned."""
    base = _base_folder()
    folder = base / f"envs-{source_hash()}"
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(OSError):
        os.utime(folder)
        _prune(base, folder)
    return folder


def jit(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Compile a kernel function with Numba, cached and without the GIL, as ``numba.njit`` would.

    Args:
        function: The function; absent when used with options, as in ``@jit(fastmath=True)``.
        **options: Further options of ``numba.njit``.
    """
    if function is None:
        return functools.partial(jit, **options)
    config: Any = numba.config
    before, config.CACHE_DIR = config.CACHE_DIR, str(cache_folder())
    try:
        return numba.njit(function, cache=True, nogil=True, **options)
    finally:
        config.CACHE_DIR = before


class _Announcer(event.Listener):  # type: ignore[misc]
    """Says on standard error, once, that something compiles and how often it will."""

    def __init__(self, name: str, when: str) -> None:
        self.name, self.when = name, when
        self.started = 0.0

    def on_start(self, event: Any) -> None:
        if not self.started:
            self.started = time.perf_counter()
            print(f"daedalus: compiling {self.name} ({self.when}) ...", file=sys.stderr)

    def on_end(self, event: Any) -> None:
        """Nothing to do: nested compilations end before the outermost one."""


@contextlib.contextmanager
def announce_compilation(name: str, kept: bool) -> Iterator[None]:
    """Print a line when code compiles inside the block and how long it took; else nothing.

    Args:
        name: What is compiled.
        kept: The machine code is kept for later processes, so this one is the first.
    """
    announcer = _Announcer(name, "first run only" if kept else "in every process")
    with event.install_listener("numba:compile", announcer), warnings.catch_warnings():
        # every state begins with the engine's fields, so one may be "a subtype" of another
        warnings.simplefilter("ignore", NumbaExperimentalFeatureWarning)
        yield
    if announcer.started:
        seconds = time.perf_counter() - announcer.started
        print(f"daedalus: compiled {name} in {seconds:.1f} s", file=sys.stderr)
