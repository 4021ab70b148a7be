"""The part of the page that lets a reader check it: videos, commands, settings, versions."""

from __future__ import annotations

import base64
import warnings
from collections import Counter
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import yaml

from daedalus.evaluation.store import ResultStore
from daedalus.evaluation.store_tools import resumptions
from daedalus.evaluation.summary import Cell, grouped

MAX_VIDEO = 3_000_000
"""Largest video that is put into a page, in bytes."""


def videos_of(store: ResultStore, cells: Sequence[Cell]) -> dict[str, str]:
    """Return a figure with a film of the best agent of each scenario, where it can be made."""
    films = {}
    for scenario in {cell.scenario for cell in cells}:
        best = max((c for c in cells if c.scenario == scenario), key=lambda cell: cell.iqm)
        path = _film(store, best.rows[0])
        if path is not None and path.stat().st_size <= MAX_VIDEO:
            films[scenario] = _figure(path, best)
    return films


def _film(store: ResultStore, run: dict[str, Any]) -> Path | None:
    """The video of a run, filmed now if there is none; None where that cannot be done."""
    directory = store.directory(run)
    video = directory / "videos" / f"{run['total_timesteps']}.mp4"
    if video.is_file() or not (directory / "checkpoints").is_dir():
        return video if video.is_file() else None
    from daedalus.evaluation.runs import load_run
    from daedalus.evaluation.watch import watch

    try:
        agent = load_run(directory, device="cpu").agent
        return watch(agent, run["env"], episodes=1, video=video, env_kwargs=run["env_kwargs"])
    except Exception as error:  # a picture less is no reason for no page
        warnings.warn(f"no video of {run['label']} on {run['scenario']}: {error}", stacklevel=2)
        return None


def _figure(path: Path, cell: Cell) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return (
        f'<figure><video controls muted loop playsinline src="data:video/mp4;base64,{data}">'
        f"</video><figcaption>{escape(cell.label)}, seed {cell.rows[0]['seed']}, an episode on a "
        f"held-out seed.</figcaption></figure>"
    )


def evidence(store: ResultStore, runs: Sequence[dict[str, Any]]) -> str:
    """Return the section on where the figures come from."""
    parts = ["<h2>Where the figures come from</h2>", _commands(runs), _origin(runs)]
    parts += [
        _settings(runs),
        _runs(runs),
        _resumed(store, runs) + _health(store, runs),
        _unfinished(store),
    ]
    return "\n".join(parts)


def _commands(runs: Sequence[dict[str, Any]]) -> str:
    commands = Counter(run["command"] for run in runs)
    lines = "\n".join(escape(command) for command, _ in commands.most_common())
    seeds = sorted({run["seed"] for run in runs})
    episodes = sorted({run["episodes"] for run in runs})
    return (
        f"<pre>{lines}</pre><p>Seeds {_listed(seeds)}; {_listed(episodes)} held-out episodes after "
        f"each run; {_listed(sorted({run['threads'] for run in runs}))} thread(s) a run.</p>"
    )


def _listed(values: Sequence[Any]) -> str:
    return ", ".join(map(str, values))


def _origin(runs: Sequence[dict[str, Any]]) -> str:
    """Every combination of commit, versions and machine, with the number of its runs."""
    found = Counter(
        (
            run["git_commit"],
            ", ".join(f"{name} {value}" for name, value in run["versions"].items()),
            ", ".join(f"{name} {value}" for name, value in run["hardware"].items()),
        )
        for run in runs
    )
    items = "".join(
        f"<li>{count} runs: commit <code>{escape(commit)}</code>; {escape(versions)}; "
        f"{escape(hardware)}</li>"
        for (commit, versions, hardware), count in found.most_common()
    )
    return f"<ul>{items}</ul>"


def _settings(runs: Sequence[dict[str, Any]]) -> str:
    """The settings of each agent on each scenario, folded."""
    parts = []
    for (scenario, label), rows in grouped(runs).items():
        run = min(rows, key=lambda row: row["seed"])
        shown = {name: run[name] for name in ("agent", "env", "env_kwargs", "num_envs")}
        text = yaml.safe_dump({**shown, "config": run["config"]}, sort_keys=False)
        name = f"{label} on {scenario}"
        parts.append(
            f"<details><summary>{escape(name)} (settings {run['config_hash']})</summary>"
            f"<pre>{escape(text)}</pre></details>"
        )
    return f"<details><summary>Settings</summary>{''.join(parts)}</details>"


def _runs(runs: Sequence[dict[str, Any]]) -> str:
    rows = "\n".join(
        f"{run['id']}  {run['label']} on {run['scenario']}, seed {run['seed']}: "
        f"{run['seconds']:,.0f} s, {run['steps_per_second']:,.0f} steps/s, faults {run['faults']}, "
        f"sha256 {run['hash'][:16]}"
        for run in runs
    )
    return f"<details><summary>Every run</summary><pre>{escape(rows)}</pre></details>"


def _resumed(store: ResultStore, runs: Sequence[dict[str, Any]]) -> str:
    """Return the runs that went on with other code or on another machine, or not bit for bit."""
    items = "".join(
        f"<li>{escape(run['label'])} on {escape(run['scenario'])}, seed {run['seed']}, "
        f"{escape(line)}</li>"
        for run in runs
        for line in resumptions(store, run)
    )
    return f"<h3>Resumed</h3><ul>{items}</ul>" if items else ""


def _health(store: ResultStore, runs: Sequence[dict[str, Any]]) -> str:
    """Return the alarms of training, run by run; see `daedalus.agents.health`."""
    items = []
    for run in runs:
        for name in store.names(run["id"]):
            if not name.startswith("health/"):
                continue
            steps, held = store.curve(run["id"], name)
            if held.any():
                items.append(
                    f"<li>{escape(run['label'])} on {escape(run['scenario'])}, seed {run['seed']}: "
                    f"{escape(name.removeprefix('health/').replace('_', ' '))} from step "
                    f"{steps[held > 0][0]:,.0f}, {held.sum():.0f} of {len(held)} logged rows</li>"
                )
    return f"<h3>Training health</h3><ul>{''.join(items)}</ul>" if items else ""


def _unfinished(store: ResultStore) -> str:
    left = [run for run in store.runs() if run["state"] != "done"]
    if not left:
        return ""
    items = "".join(
        f"<li>{escape(run['label'])} on {escape(run['scenario'])}, seed {run['seed']}: "
        f"{run['state']}{': ' + escape(run['error']) if run['error'] else ''}</li>"
        for run in left
    )
    return f"<h3>Not finished</h3><ul>{items}</ul>"
