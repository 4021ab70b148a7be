"""What `daedalus probe trust` prints and draws."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from daedalus.evaluation.plots import COLOURS
from daedalus.evaluation.probes.trust import Success, Trust
from daedalus.evaluation.report import columns
from daedalus.scenarios.extras import needed


def text(found: Trust) -> str:
    """Return tables on value, success and strangeness."""
    value, steps = found.value, len(found.usual.value)
    lines = [
        f"value: {steps:,} steps; mean error of a bin {value.error:.3g}, bias {value.bias:+.3g}, "
        f"explains {100 * value.explained:.0f} % of the variance of what followed"
    ]
    if found.success is None:
        lines.append("success: every episode had the same outcome; choose a --threshold")
    else:
        lines += _success(found.success)
    if found.strange:
        rows = [("strange observations", "score", "AUROC", "AUPR strange (chance)", "AUPR usual")]
        rows += [
            (
                s.what,
                s.score,
                f"{s.auroc:.2f}",
                f"{s.aupr_strange:.2f} ({s.base_rate:.2f})",
                f"{s.aupr_usual:.2f}",
            )
            for s in found.strange
        ]
        lines += ["", columns(rows)]
    return "\n".join(lines)


def _success(found: Success) -> list[str]:
    head = (
        f"success (return of {found.threshold:g} or more, {100 * found.rate:.0f} % of the test "
        f"episodes): {found.steps:,} test steps, 15 bins"
    )
    rows = [("", "ECE", "largest gap", "NLL", "Brier", "AUROC")]
    for i, (name, bins) in enumerate(
        (("as fitted", found.before), (f"temperature {found.temperature:.2f}", found.after))
    ):
        rows.append(
            (
                name,
                f"{bins.ece:.3f}",
                f"{bins.mce:.3f}",
                f"{found.nll[i]:.3f}",
                f"{found.brier[i]:.3f}",
                f"{found.auroc:.2f}",
            )
        )
    return ["", head, columns(rows)]


def as_data(found: Trust) -> dict[str, Any]:
    """Return the numbers as plain data for JSON."""
    value, won = found.value, found.success
    return {
        "steps": len(found.usual.value),
        "value": {
            "predicted": value.predicted.tolist(),
            "outcome": value.outcome.tolist(),
            "error": value.error,
            "bias": value.bias,
            "explained": value.explained,
        },
        "success": None
        if won is None
        else {
            "threshold": won.threshold,
            "rate": won.rate,
            "temperature": won.temperature,
            "ece": [won.before.ece, won.after.ece],
            "nll": list(won.nll),
            "brier": list(won.brier),
            "auroc": won.auroc,
            "steps": won.steps,
        },
        "strange": [s._asdict() for s in found.strange],
    }


def draw(path: str | Path, found: Trust, title: str = "") -> Path:
    """Draw value against outcome, the reliability diagram, and how well strangeness is told.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    with needed(extra="watch"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    figure = Figure(figsize=(12, 4), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, 3)
    _draw_value(axes[0], found)
    _draw_success(axes[1], found.success)
    _draw_strange(axes[2], found)
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
        each.tick_params(labelsize=8)
    figure.suptitle(title)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


def _draw_value(axes: Any, found: Trust) -> None:
    value = found.value
    both = np.concatenate([value.predicted, value.outcome])
    ends = [float(both.min()), float(both.max())]
    axes.plot(ends, ends, color="#718096", linestyle="--", linewidth=1, label="what it says")
    axes.plot(value.predicted, value.outcome, color=COLOURS[0], marker="o", label="what followed")
    axes.set(xlabel="value", ylabel="discounted return that followed", title="value")
    axes.legend(frameon=False, fontsize=8)


def _draw_success(axes: Any, found: Success | None) -> None:
    axes.set(xlabel="predicted probability", ylabel="share that succeeded", title="success")
    axes.plot([0, 1], [0, 1], color="#718096", linestyle="--", linewidth=1)
    if found is None:
        axes.annotate("every episode had the same outcome", (0.5, 0.5), ha="center", fontsize=9)
        return
    for bins, colour, label in (
        (found.before, COLOURS[1], "as fitted"),
        (found.after, COLOURS[0], f"temperature {found.temperature:.2f}"),
    ):
        full = bins.number > 0
        name = f"{label}: ECE {bins.ece:.3f}"
        axes.plot(bins.confidence[full], bins.frequency[full], color=colour, marker="o", label=name)
    axes.legend(frameon=False, fontsize=8)


def _draw_strange(axes: Any, found: Trust) -> None:
    whats = list(dict.fromkeys(s.what for s in found.strange))
    scores = list(dict.fromkeys(s.score for s in found.strange))
    for i, score in enumerate(scores):
        values = {s.what: s.auroc for s in found.strange if s.score == score}
        where = np.arange(len(whats)) + (i - (len(scores) - 1) / 2) * 0.8 / len(scores)
        heights = [values[what] for what in whats]
        axes.barh(where, heights, 0.8 / len(scores), color=COLOURS[i], label=score)
    axes.axvline(0.5, color="#718096", linestyle="--", linewidth=1)
    axes.set_yticks(range(len(whats)), whats, fontsize=8)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1), xlabel="AUROC (0.5 is chance)", title="telling strange from usual")
    if scores:
        axes.legend(frameon=False, fontsize=8, loc="lower right")
