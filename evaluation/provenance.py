"""Where a figure comes from: code, versions, machine."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("daedalus", "torch", "numpy", "numba", "gymnasium", "stable-baselines3", "sb3-contrib")

_WRITTEN = (":(exclude)results", ":(exclude)docs", ":(exclude)*.md")


def commit() -> str:
    """Return the git commit of this code, with ``+changes`` if files that matter differ from it.

    Results and pages do not, as they are what runs write.

    An installed package has none, also within another project's repository; then it is the
    package's version that tells.
    """
    here = Path(__file__).resolve()
    root = here.parents[1]
    try:
        _git(root, "ls-files", "--error-unmatch", str(here))
        found = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", *_WRITTEN)
    except (OSError, subprocess.SubprocessError):
        return f"release {_version('daedalus')}"
    return found + "+changes" * bool(changed)


def _git(root: Path, *words: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(root), *words], capture_output=True, text=True, check=True, timeout=20
    )
    return done.stdout.strip()


def versions() -> dict[str, str]:
    """Return the versions of Python and of what results depend on."""
    return {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


def hardware() -> dict[str, Any]:
    """Return what the runs stand on: processor, cores, memory, accelerator and its driver."""
    pages = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": _processor(),
        "cores": os.cpu_count() or 0,
        "memory_gib": round(pages / 2**30, 1),
        "system": platform.platform(),
        **_accelerator(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def _accelerator() -> dict[str, str]:
    try:
        import torch
    except ImportError:
        return {"accelerator": "none", "cuda": "none", "driver": "none"}
    if not torch.cuda.is_available():
        return {"accelerator": "none", "cuda": str(torch.version.cuda or "none"), "driver": "none"}
    try:
        driver = Path("/proc/driver/nvidia/version").read_text().splitlines()[0]
    except OSError:
        driver = "unknown"
    name = torch.cuda.get_device_name()
    return {"accelerator": name, "cuda": str(torch.version.cuda or "none"), "driver": driver}
