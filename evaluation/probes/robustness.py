"""Scores of a policy under perturbations: how much, against how strong.

Every point plays the same held-out seeds, so differences come from the perturbation; the policy is
as it was trained, and is told nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from daedalus.accelerators.vector import EnvBatch, make_batch
from daedalus.evaluation.evaluate import Evaluation, evaluate, held_out_seeds
from daedalus.evaluation.plots import COLOURS
from daedalus.evaluation.policy import as_policy, check_spaces
from daedalus.evaluation.probes.attacks import Attacked
from daedalus.evaluation.probes.perturbations import KINDS, Lens, Perturbed, applicable, seen_ranges
from daedalus.evaluation.report import columns, ends, with_interval
from daedalus.scenarios.extras import needed

ATTACKS = ("fgsm", "pgd")


class Point(NamedTuple):
    """One perturbation at one strength.

    Attributes:
        kind: Name of the perturbation, or of the parameter of the environment.
        strength: In the kind's unit; the parameter's value.
        scores: Of the policy.
    """

    kind: str
    strength: Any
    scores: Evaluation


class Robustness(NamedTuple):
    """What `robustness` found.

    Attributes:
        clean: Scores without perturbation.
        random: Scores of a random policy.
        points: Scores with them, kind by kind.
        left_out: Kinds that cannot be applied here -> why.
    """

    clean: Evaluation
    random: Evaluation
    points: tuple[Point, ...]
    left_out: dict[str, str]

    @property
    def kinds(self) -> list[str]:
        """Names of the kinds in their order."""
        return list(dict.fromkeys(point.kind for point in self.points))


def robustness(
    policy: Any,
    env: str,
    kinds: Mapping[str, Sequence[float] | None] | None = None,
    *,
    changes: Mapping[str, Sequence[Any]] | None = None,
    episodes: int = 50,
    seed: int = 0,
    num_envs: int = 32,
    deterministic: bool = False,
    env_kwargs: Mapping[str, Any] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> Robustness:
    """Score a policy under perturbations of many strengths.

    Args:
        policy: An agent of `daedalus.agents`.
        env: Environment id.
        kinds: Names of `KINDS` -> strengths, None for the kind's own; by default all of them.
        changes: Parameters of the environment -> values, for changed dynamics or looks.
        episodes: Held-out episodes of every point.
        seed: Chooses them.
        num_envs: Copies of the environment stepped together.
        deterministic: Take the most likely action instead of drawing.
        env_kwargs: Keyword arguments of the environment.
        progress: Called with points done, points in all, and the kind.

    Raises:
        ValueError: Unknown kind, negative strength, or spaces that are not the agent's.
    """
    kwargs = dict(env_kwargs or {})
    asked = dict.fromkeys(KINDS) if kinds is None else dict(kinds)
    unknown = [name for name in asked if name not in KINDS]
    if unknown:
        raise ValueError(f"unknown perturbation {unknown[0]!r}; known: {', '.join(KINDS)}")
    play: dict[str, Any] = {"seeds": held_out_seeds(episodes, seed), "num_envs": num_envs}
    play["deterministic"] = deterministic
    batch = make_batch(env, min(num_envs, episodes), env_kwargs=kwargs)
    check_spaces(policy, batch, env)
    left_out = {name: why for name in asked if (why := _obstacle(name, policy, batch))}
    todo = _list(asked, left_out, changes or {})
    span = seen_ranges(as_policy(policy, batch.action_space), batch, held_out_seeds(episodes, seed))
    batch.close()
    points = []
    for done, (name, strength) in enumerate(todo):
        if progress is not None:
            progress(done, len(todo), name)
        if name in KINDS:
            acting = _perturbed(policy, name, strength, batch, span, deterministic)
            scores = evaluate(acting, env, env_kwargs=kwargs, **play)
        else:
            scores = evaluate(policy, env, env_kwargs={**kwargs, name: strength}, **play)
        points.append(Point(name, strength, scores))
    clean, random = (evaluate(p, env, env_kwargs=kwargs, **play) for p in (policy, "random"))
    return Robustness(clean, random, tuple(points), left_out)


def _list(
    asked: Mapping[str, Sequence[float] | None],
    left_out: Mapping[str, str],
    changes: Mapping[str, Sequence[Any]],
) -> list[tuple[str, Any]]:
    """Return every kind and strength, and every parameter and value."""
    found: list[tuple[str, Any]] = []
    for name, strengths in asked.items():
        if name not in left_out:
            found += [(name, s) for s in (strengths or KINDS[name].strengths)]
    return found + [(name, value) for name, values in changes.items() for value in values]


def _obstacle(name: str, policy: Any, batch: EnvBatch) -> str:
    """Say why a perturbation cannot be applied; empty if it can."""
    if not applicable(name, batch.observation_spaces, batch.action_space):
        return "nothing observed is an image" if name != "noise" else "nothing observed is a Box"
    if name in ATTACKS and not opens(policy, batch):
        return f"{getattr(policy, 'name', policy)} gives no gradients"
    return ""


def opens(policy: Any, batch: EnvBatch) -> bool:
    """Whether an agent's networks answer `Agent.outputs` in these spaces."""
    from daedalus.evaluation.policy import AgentPolicy

    if not hasattr(policy, "outputs"):
        return False
    asked = AgentPolicy(policy)
    batch.reset(list(range(batch.num_envs)))
    asked.start(batch.num_envs, 0)
    nothing = np.zeros(batch.num_envs, np.float32)
    try:
        policy.outputs(
            asked.inputs(batch.observation, nothing, np.ones(batch.num_envs, bool)), asked.state
        )
    except ValueError:
        return False
    return True


def _perturbed(
    policy: Any,
    kind: str,
    strength: float,
    batch: EnvBatch,
    span: Mapping[str, np.ndarray],
    deterministic: bool,
) -> Any:
    if kind in ATTACKS:
        return Attacked(policy, kind, strength, span, deterministic=deterministic)
    acting = as_policy(policy, batch.action_space, deterministic=deterministic)
    return Perturbed(acting, Lens(kind, strength, batch.observation_spaces, span))


# ---------------------------------------------------------------------------- table and figure


def table(found: Robustness) -> str:
    """Return a table: of every point the return, and what is left of the lead over random."""
    rows = [("perturbation", "strength", "mean return [95 %]", "left of the lead")]
    rows.append(("none", "", with_interval(found.clean.mean, found.clean.interval), "100 %"))
    for kind, strength, scores in found.points:
        share = kept(found, scores)
        rows.append(
            (
                kind,
                f"{strength:g}" if isinstance(strength, int | float) else str(strength),
                with_interval(scores.mean, scores.interval),
                "" if math.isnan(share) else f"{100 * share:.0f} %",
            )
        )
    random = found.random
    rows.append(("random policy", "", with_interval(random.mean, random.interval), "0 %"))
    lines = [columns(rows)]
    lines += [f"left out: {name} ({why})" for name, why in found.left_out.items()]
    return "\n".join(lines)


def kept(found: Robustness, scores: Evaluation) -> float:
    """Return the share of the lead over the random policy that is left; nan without a lead."""
    lead = found.clean.mean - found.random.mean
    return (scores.mean - found.random.mean) / lead if lead > 0 else math.nan


def as_data(found: Robustness) -> dict[str, Any]:
    """Return everything as plain data for JSON."""

    def plain(scores: Evaluation) -> dict[str, Any]:
        return {
            "mean": scores.mean,
            "interval": ends(scores.interval),
            "returns": scores.returns.tolist(),
        }

    return {
        "clean": plain(found.clean),
        "random": plain(found.random),
        "seeds": found.clean.seeds.tolist(),
        "points": [
            {"kind": kind, "strength": strength, **plain(scores)}
            for kind, strength, scores in found.points
        ],
        "left_out": found.left_out,
    }


def draw(path: str | Path, found: Robustness, title: str = "") -> Path:
    """Draw score against strength, one small figure per kind, with 95 % intervals.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    with needed(extra="watch"):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    kinds = found.kinds
    across = min(4, max(len(kinds), 1))
    down = math.ceil(max(len(kinds), 1) / across)
    figure = Figure(figsize=(3.3 * across, 2.7 * down), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(down, across, sharey=True, squeeze=False)
    for axes in grid.flat[len(kinds) :]:
        axes.set_visible(False)
    for axes, kind in zip(grid.flat, kinds, strict=False):
        _draw_kind(axes, kind, found)
    for row in grid:
        row[0].set_ylabel("mean return")
    figure.suptitle(title)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path)
    return path


def _draw_kind(axes: Any, kind: str, found: Robustness) -> None:
    """Draw one kind: strengths from 0, or the values of a parameter as they are."""
    points = [point for point in found.points if point.kind == kind]
    scores = [point.scores for point in points]
    labels = [point.strength for point in points]
    if kind in KINDS:
        scores, labels = [found.clean, *scores], [0, *labels]
    numbers = all(isinstance(label, int | float) for label in labels)
    x = [float(label) for label in labels] if numbers else list(range(len(labels)))
    axes.fill_between(
        x,
        [s.interval.low for s in scores],
        [s.interval.high for s in scores],
        color=COLOURS[0],
        alpha=0.2,
        linewidth=0,
    )
    axes.plot(x, [s.mean for s in scores], color=COLOURS[0], marker="o", markersize=3.5)
    for level, text in ((found.clean.mean, "clean"), (found.random.mean, "random")):
        axes.axhline(level, color="#718096", linestyle="--", linewidth=0.8)
        axes.annotate(text, (1, level), (-2, 2), xycoords=("axes fraction", "data"),
            textcoords="offset points", ha="right", fontsize=7, color="#4a5568")  # fmt: skip
    if not numbers:
        axes.set_xticks(x, [str(label) for label in labels], fontsize=7)
    axes.set_title(kind, fontsize=10)
    what = KINDS[kind].what if kind in KINDS else "parameter of the environment"
    axes.set_xlabel(what, fontsize=7)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
