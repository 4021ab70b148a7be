"""One HTML page of a benchmark: self-contained, without script and without network."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from daedalus.accelerators.files import write_file
from daedalus.evaluation.curves import aligned, common_grid
from daedalus.evaluation.page_evidence import evidence, videos_of
from daedalus.evaluation.page_sequence import heat_maps
from daedalus.evaluation.statistics import (
    Interval,
    bootstrap_interval,
    iqm,
    mean,
    median,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
)
from daedalus.evaluation.store import ResultStore, StoreError
from daedalus.evaluation.summary import Cell, scale, scaled_scenarios, summarise, table, task
from daedalus.evaluation.svg import Bar, Series, Style, interval_chart, line_chart, styles

POINTS = 50
"""Points on a drawn learning curve."""
RESAMPLES = 1_000
"""Resamples for each point of a band."""
BLOCKS = 3
"""Sets of scenarios that are aggregated, at most."""
ENOUGH = 5
"""Scores (runs x scenarios) of an agent from which on a pair may be coloured."""


def write_page(
    store: ResultStore, path: Path, *, title: str = "Benchmark", videos: bool = True
) -> Path:
    """Write the page.

    Args:
        store: The results.
        path: HTML file to write; its folder is made.
        title: Title of the page.
        videos: Film the best agent on each scenario, where its checkpoint is there.

    Raises:
        StoreError: There is no finished run.
    """
    runs = store.runs(state="done")
    if not runs:
        raise StoreError(f"{store.path} has no finished run to report")
    cells = summarise(store, runs)
    labels = sorted({cell.label for cell in cells})
    style = styles(labels)
    films = videos_of(store, cells) if videos else {}
    parts = [_head(store, runs, cells), *_aggregates(cells, labels, style)]
    parts.append(_improvement(cells, labels))
    for scenario in sorted({cell.scenario for cell in cells}):
        here = [cell for cell in cells if cell.scenario == scenario]
        parts.append(_scenario(here, style, films.get(scenario, "")))
    parts += [evidence(store, runs), _TERMS]
    template = Template((Path(__file__).parent / "page.html").read_text(encoding="utf-8"))
    page = template.substitute(title=escape(title), body="\n".join(parts))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, page.encode())
    return path


def _head(store: ResultStore, runs: Sequence[dict[str, Any]], cells: Sequence[Cell]) -> str:
    scenarios = sorted({cell.scenario for cell in cells})
    labels = {cell.label for cell in cells}
    links = " ".join(f'<a href="#{_anchor(name)}">{escape(name)}</a>' for name in scenarios)
    missing = len(store.runs()) - len(runs)
    note = f" {missing} more are not finished (see the end)." if missing else ""
    return (
        f"<p>{_counted(len(labels), 'agent')} on {_counted(len(scenarios), 'scenario')}, "
        f"{_counted(len(runs), 'run')}.{note} Brackets hold 95 % intervals over runs.</p>"
        f"<nav>{links}</nav>"
    )


def _counted(count: int, word: str) -> str:
    return f"{count} {word}{'s' * (count != 1)}"


# ---- over scenarios -----------------------------------------------------------------------------


def _aggregates(cells: Sequence[Cell], labels: Sequence[str], style: dict[str, Style]) -> list[str]:
    """Blocks for the sets of scenarios that several agents have in common, the largest ones."""
    scaled = set(scaled_scenarios(cells))
    own = {
        label: frozenset(c.scenario for c in cells if c.label == label and c.scenario in scaled)
        for label in labels
    }
    shared = [
        ([label for label in labels if own[label] >= names], sorted(names))
        for names in set(own.values())
        if len(names) > 1
    ]
    blocks = [(agents, names) for agents, names in shared if len(agents) > 1]
    blocks.sort(key=lambda block: (-len(block[0]) * len(block[1]), block[1]))
    return [_aggregate(cells, agents, names, style) for agents, names in blocks[:BLOCKS]]


def _aggregate(
    cells: Sequence[Cell], labels: Sequence[str], names: Sequence[str], style: dict[str, Style]
) -> str:
    """Aggregates and profiles of agents over scenarios that all of them have run."""
    tables = {label: table(cells, label, names) for label in labels}
    found = {label: scores for label, scores in tables.items() if scores is not None}
    metrics = (iqm, mean, median, optimality_gap)
    rows = [
        [escape(label), str(len(scores)), *(_with_interval(scores, metric) for metric in metrics)]
        for label, scores in sorted(found.items(), key=lambda item: -iqm(item[1]))
    ]
    header = ("agent", "runs", "IQM", "mean", "median", "optimality gap")
    every = np.concatenate([scores.ravel() for scores in found.values()])
    x = np.linspace(min(0.0, float(every.min())) - 0.02, max(1.0, float(every.max())) + 0.02, 301)
    profiles = [_profile(label, scores, x) for label, scores in found.items()]
    chart = line_chart(
        profiles, style, x_label="normalised score", y_label="share of runs above it"
    )
    return (
        f"<h2>Over {len(names)} scenarios</h2><p>{escape(', '.join(names))}. Scores are "
        f"normalised: a random policy is 0, the reference of each scenario is 1.</p>"
        f"{html_table(header, rows)}<h3>Performance profile</h3>{chart}{_legend(found, style)}"
    )


def _with_interval(scores: np.ndarray, metric: Callable[..., Any]) -> str:
    interval = Interval(*bootstrap_interval(scores, np.random.default_rng(0), metric))
    return bracketed(metric(scores), interval)


def _profile(label: str, scores: np.ndarray, x: np.ndarray) -> Series:
    band = bootstrap_interval(
        scores,
        np.random.default_rng(0),
        lambda tables: performance_profile(tables, x),
        resamples=RESAMPLES,
    )
    low, high = (np.broadcast_to(end, x.shape) for end in band)
    return Series(label, x, performance_profile(scores, x), low, high)


def _improvement(cells: Sequence[Cell], labels: Sequence[str]) -> str:
    """The probabilities that a run of one agent beats one of another, where they have met."""
    met: dict[frozenset[str], list[str]] = {}
    for scenario in sorted({cell.scenario for cell in cells}):
        there = frozenset(cell.label for cell in cells if cell.scenario == scenario)
        met.setdefault(there, []).append(scenario)
    largest = [group for group in met if len(group) > 1 and not any(group < more for more in met)]
    if not largest:
        return ""
    return (
        "<h2>Who beats whom</h2><p>Probability that a run of the row's agent scores above one of "
        "the column's, over the scenarios that both have run for as many steps; a tie counts half. "
        "Coloured where the interval leaves out one half and both sides have "
        f"{ENOUGH} scores or more.</p>"
        + "".join(
            _matrix(cells, [label for label in labels if label in group], met[group], len(largest))
            for group in largest
        )
    )


def _matrix(cells: Sequence[Cell], labels: list[str], scenarios: list[str], tables: int) -> str:
    """The pairs of agents that have met on ``scenarios``; named where there are more tables."""
    rows = [[escape(row), *(_beats(cells, row, column) for column in labels)] for row in labels]
    title = f"<h3>{escape(', '.join(scenarios))}</h3>" if tables > 1 else ""
    return title + html_table(("agent", *map(escape, labels)), rows)


def _beats(cells: Sequence[Cell], ours: str, theirs: str) -> str | tuple[str, str]:
    mine, other = (
        {(c.scenario, str(task(c.rows[0]))): c.scores for c in cells if c.label == label}
        for label in (ours, theirs)
    )
    common = sorted(set(mine) & set(other))
    if ours == theirs or not common:
        return "-"
    pair = tuple(
        np.stack([side[name][: min(len(side[n]) for n in common)] for name in common], axis=1)
        for side in (mine, other)
    )
    value = probability_of_improvement(*pair)
    interval = bootstrap_interval(
        pair, np.random.default_rng(0), probability_of_improvement, resamples=RESAMPLES
    )
    few = min(part.size for part in pair) < ENOUGH
    name = "" if few else "good" if interval.low > 0.5 else "bad" if interval.high < 0.5 else ""
    return bracketed(value, interval), name


# ---- one scenario -------------------------------------------------------------------------------


def _scenario(cells: Sequence[Cell], style: dict[str, Style], film: str) -> str:
    first = cells[0]
    references = first.references
    ordered = sorted(cells, key=lambda cell: -cell.iqm)
    known = ", ".join(f"{escape(name)} {value:g}" for name, value in references.items())
    bars = [Bar(cell.label, cell.iqm, *cell.interval) for cell in ordered]
    curves = line_chart(
        [_curve(cell) for cell in ordered],
        style,
        x_label="environment steps",
        y_label="return of an episode",
        references=references,
    )
    scores = interval_chart(bars, style, x_label="held-out return (IQM)", references=references)
    return (
        f'<h2 id="{_anchor(first.scenario)}">{escape(first.scenario)}</h2>'
        f'<p class="dim">{escape(first.rows[0]["env"])}'
        f"{'; reference scores: ' + known if known else ''}.</p>"
        f"{_score_table(ordered)}"
        f'<div class="pair"><figure>{curves}<figcaption>Learning: interquartile mean over runs, '
        f"95 % interval at each point.</figcaption></figure>"
        f"<figure>{scores}<figcaption>After training, on held-out seeds.</figcaption></figure>"
        f"{film}</div>{_legend([cell.label for cell in ordered], style)}{heat_maps(ordered)}"
    )


def _score_table(cells: Sequence[Cell]) -> str:
    costly = any(cell.costs.any() for cell in cells)
    header = ["agent", "runs", "IQM", "mean", "normalised", "area under curve", "steps", "steps/s"]
    rows = []
    for cell in cells:
        ends = scale(cell.references)
        share = "-" if ends is None else f"{(cell.iqm - ends[0]) / (ends[1] - ends[0]):.3f}"
        rows.append([
            escape(cell.label), str(cell.runs), bracketed(cell.iqm, cell.interval),
            f"{cell.mean:.4g}", share, "-" if np.isnan(cell.area) else f"{cell.area:.4g}",
            f"{cell.rows[0]['total_timesteps']:,}", f"{cell.steps_per_second:,.0f}",
            *_costs(cell, costly),
        ])  # fmt: skip
    return html_table([*header, *["cost", "over the limit"] * costly], rows)


def _costs(cell: Cell, costly: bool) -> list[str]:
    """Mean cost of an episode, and how often and how far it is over the limit."""
    if not costly:
        return []
    paid = cell.constrained
    over = "-" if paid is None else f"{paid.violation_rate:.0%}, by {paid.excess:.3g} on average"
    return [f"{cell.costs.mean():.4g}", over]


def _curve(cell: Cell) -> Series:
    """Interquartile mean over runs on a common grid, with its interval at each point."""
    logged = [curve for curve in cell.curves if len(curve[0]) > 1]
    try:
        grid = common_grid(logged, POINTS)
    except ValueError:  # no run has logged, or they share no steps
        return Series(cell.label, *[np.full(1, np.nan)] * 4)
    values = aligned(logged, grid)
    rng = np.random.default_rng(0)
    ends = [bootstrap_interval(column, rng, resamples=RESAMPLES) for column in values.T]
    low, high = np.array(ends).T
    return Series(cell.label, grid, np.array([iqm(column) for column in values.T]), low, high)


# ---- pieces -------------------------------------------------------------------------------------


def bracketed(value: float, interval: Interval) -> str:
    """Return a value with its interval, without one where there is none."""
    if np.isnan(interval.low):
        return f"{value:.3g}"
    return f"{value:.3g} [{interval.low:.3g}, {interval.high:.3g}]"


def html_table(header: Sequence[str], rows: Iterable[Sequence[str | tuple[str, str]]]) -> str:
    """Return a table; a cell may be a pair of content and class. Content is HTML already."""
    head = "".join(f"<th>{cell}</th>" for cell in header)
    body = "".join(f"<tr>{''.join(map(_td, row))}</tr>" for row in rows)
    inside = f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    return f'<div class="wide"><table>{inside}</table></div>'


def _td(cell: str | tuple[str, str]) -> str:
    content, name = (cell, "") if isinstance(cell, str) else cell
    return f'<td class="{name}">{content}</td>' if name else f"<td>{content}</td>"


def _legend(labels: Iterable[str], style: dict[str, Style]) -> str:
    items = "".join(
        f'<li><i style="border-top-color:{style[label].colour};'
        f'border-top-style:{"dashed" if style[label].dash else "solid"}"></i>{escape(label)}</li>'
        for label in labels
    )
    return f'<ul class="legend">{items}</ul>'


def _anchor(name: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in name)


_TERMS = """<h2>Terms</h2><ul>
<li><b>Held-out return</b>: mean return of the episodes on seeds that training never saw, one
episode for each seed, actions drawn from the policy. A run counts with this one number.</li>
<li><b>IQM</b>: interquartile mean, the mean of the middle half (Agarwal et al. 2021).</li>
<li><b>Interval</b>: stratified bootstrap over runs with expanded percentiles (Hesterberg 2015).
With fewer than five runs of one scenario it can be no wider than the range of the runs and covers
less than 95 %.</li>
<li><b>Optimality gap</b>: how far scores fall short of the reference on average; lower is
better.</li>
<li><b>Area under curve</b>: mean height of the learning curve over the whole budget.</li>
</ul>"""
