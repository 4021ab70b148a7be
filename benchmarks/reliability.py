"""Measure what checkpoints, runs, guards and browsers survive, beside stable-baselines3 and torch.

    python benchmarks/reliability.py                 # everything, full counts: some hours
    python benchmarks/reliability.py --only C5 C9    # some of it
    python benchmarks/reliability.py --scale 0.05    # a twentieth of the counts

Figures go to ``results/reliability.json`` (``--out``), one entry per experiment, each with the
counts, the seconds, the versions, the machine and the commit it was measured with.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(ROOT / "benchmarks")]
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")  # bit-exactness is per number of threads

PARTS = ("accelerators", "agents", "envs")
"""What the figures are about."""


def provenance() -> dict[str, Any]:
    """Return what a figure depends on: commit, versions, machine."""
    import torch

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False
        ).stdout.strip()

    from daedalus.agents.recorder import _processor

    names = ("torch", "numpy", "gymnasium", "numba", "safetensors", "stable-baselines3", "selenium")
    return {
        "commit": git("rev-parse", "HEAD"),
        "uncommitted_changes": bool(
            git("status", "--porcelain", "--untracked-files=no", "--", *PARTS)
        ),
        "date": time.strftime("%Y-%m-%d"),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in names},
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "threads": torch.get_num_threads(),
        "file_system": _file_system(Path(tempfile.gettempdir())),
    }


def _file_system(path: Path) -> str:
    best = ("", "unknown")
    for line in Path("/proc/mounts").read_text().splitlines():
        _, mount, kind, *_ = line.split()
        if str(path.resolve()).startswith(mount) and len(mount) > len(best[0]):
            best = (mount, kind)
    return best[1]


def main() -> None:
    """Run the experiments that were asked for and store their figures."""
    import reliability_ours
    import reliability_peers
    import reliability_web
    import torch

    modules = (reliability_ours, reliability_web, reliability_peers)
    experiments = {name: run for module in modules for name, run in module.EXPERIMENTS.items()}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=sorted(experiments), metavar="NAME")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full counts")
    parser.add_argument("--out", type=Path, default=ROOT / "results" / "reliability.json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    where = provenance()
    failed = []
    for name in options.only or experiments:
        figures = run(name, experiments[name], options.scale, where)
        store(options.out, name, figures)
        if figures.get("goal_met") is False:
            failed.append(name)
    if failed:
        sys.exit(f"goal not met: {', '.join(failed)}")


def run(name: str, experiment: Any, scale: float, where: dict[str, Any]) -> dict[str, Any]:
    """Run one experiment in a temporary folder and print its figures."""
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        figures = experiment(Path(folder), scale)
    figures = json.loads(json.dumps(figures).replace(f"{folder}/", ""))  # its name says nothing
    seconds = round(time.perf_counter() - begin, 1)
    what = (experiment.__doc__ or "").splitlines()[0]
    print(f"[{name}] {what} ({seconds} s)")
    for key, value in figures.items():
        print(f"    {key}: {value}")
    sys.stdout.flush()
    command = f"python benchmarks/reliability.py --only {name}"
    measured = {"command": command if scale == 1 else f"{command} --scale {scale:g}", **where}
    return {"what": what, **figures, "scale": scale, "seconds": seconds, "measured": measured}


def store(path: Path, name: str, figures: dict[str, Any]) -> None:
    """Replace one entry of the results file."""
    from daedalus.accelerators.files import write_file

    results: dict[str, Any] = {}
    with contextlib.suppress(FileNotFoundError):
        results = json.loads(path.read_text())
    results[name] = figures
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, (json.dumps(results, indent=1, sort_keys=True) + "\n").encode())


if __name__ == "__main__":
    main()
