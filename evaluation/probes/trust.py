"""Trust: do value and confidence mean what they say, and do they fall where the policy is lost?

- Value: V(s_t) against the return that followed, sum of gamma^k r (where an episode was cut by its
  time limit, with gamma^n V of its last observation), in bins of equal numbers.
- Success: the probability that an episode's return reaches a threshold, from V, the return so far
  and the steps so far, by a logistic regression; then temperature scaling. Fitted, scaled and
  tested on episodes of their own.
- Strangeness: scores that should tell observations like those of training from perturbed or
  foreign ones (the largest probability, the entropy, the disagreement of several agents' values).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from daedalus.evaluation.probes.calibration import (
    Reliability,
    aupr,
    auroc,
    brier,
    logistic,
    negative_log_likelihood,
    reliability,
    sigmoid,
    temperature,
)
from daedalus.evaluation.probes.perturbations import KINDS, applicable
from daedalus.evaluation.probes.steps import Steps, gather

# ------------------------------------------------------------------------------------ the value


class ValueCalibration(NamedTuple):
    """Values against what followed, in bins of equal numbers.

    Attributes:
        predicted: (bins,) mean value.
        outcome: (bins,) mean discounted return.
        error: Mean of |outcome - predicted| over bins, in units of return.
        bias: Mean of value minus outcome.
        explained: Share of the outcomes' variance that the values explain.
    """

    predicted: np.ndarray
    outcome: np.ndarray
    error: float
    bias: float
    explained: float


def value_calibration(steps: Steps, bins: int = 15) -> ValueCalibration:
    """Compare the values of steps with what followed."""
    parts = np.array_split(np.argsort(steps.value, kind="stable"), bins)
    parts = [part for part in parts if len(part)]
    predicted, outcome = (
        np.array([column[part].mean() for part in parts]) for column in (steps.value, steps.outcome)
    )
    weight = np.array([len(part) for part in parts]) / len(steps.value)
    miss = steps.value - steps.outcome
    variance = float(steps.outcome.var())
    explained = 1 - float(miss.var()) / variance if variance > 0 else float("nan")
    gap = float((np.abs(outcome - predicted) * weight).sum())
    return ValueCalibration(predicted, outcome, gap, float(miss.mean()), explained)


# ---------------------------------------------------------------------------------- the success


class Success(NamedTuple):
    """Predictions of success on episodes that nothing was fitted to.

    Attributes:
        threshold: Return of an episode that counts as success.
        rate: Share of the test episodes that succeeded.
        before: Reliability as fitted.
        after: Reliability with temperature scaling.
        temperature: T.
        nll: Negative log likelihood before and after.
        brier: Brier score before and after.
        auroc: How well successes are told from failures; the temperature does not matter.
        steps: Number of test steps.
    """

    threshold: float
    rate: float
    before: Reliability
    after: Reliability
    temperature: float
    nll: tuple[float, float]
    brier: tuple[float, float]
    auroc: float
    steps: int


def success(steps: Steps, threshold: float | None = None) -> Success | None:
    """Fit, scale and test a predictor of success.

    Args:
        steps: Of 30 episodes or more: a half fits, a quarter scales, a quarter tests.
        threshold: Return of an episode from which it succeeded; by default the median.

    Returns:
        None where a part has no success or no failure: there is nothing to predict.
    """
    episodes = np.unique(steps.episode)
    half, three = len(episodes) // 2, 3 * len(episodes) // 4
    parts = [
        steps.of(chosen) for chosen in (episodes[:half], episodes[half:three], episodes[three:])
    ]
    level = float(np.median(parts[0].total)) if threshold is None else threshold
    happened = [part.total >= level for part in parts]
    if any(h.all() or not h.any() for h in happened):
        return None
    raw = [np.column_stack([p.value, p.so_far, p.time]) for p in parts]
    centre, scale = raw[0].mean(0), raw[0].std(0) + 1e-9
    features = [(x - centre) / scale for x in raw]
    weights = logistic(features[0], happened[0])
    logits = [weights[0] + x @ weights[1:] for x in features]
    warmth = temperature(logits[1], happened[1])
    test, truth = logits[2], happened[2]
    scaled = test / warmth
    probabilities = sigmoid(test), sigmoid(scaled)
    return Success(
        threshold=level,
        rate=float(np.mean([truth[parts[2].episode == e][0] for e in episodes[three:]])),
        before=reliability(probabilities[0], truth),
        after=reliability(probabilities[1], truth),
        temperature=warmth,
        nll=(negative_log_likelihood(test, truth), negative_log_likelihood(scaled, truth)),
        brier=(brier(probabilities[0], truth), brier(probabilities[1], truth)),
        auroc=auroc(test[truth], test[~truth]),
        steps=len(test),
    )


# ------------------------------------------------------------------------------ the strangeness


class Strangeness(NamedTuple):
    """How well a score tells strange observations from usual ones.

    Attributes:
        what: What was strange.
        score: ``confidence``, ``entropy`` or ``disagreement``.
        auroc: 0.5 is chance, 1 perfect.
        aupr_strange: Area under precision and recall of the strange ones.
        aupr_usual: Of the usual ones.
        base_rate: Share of strange ones among all: what ``aupr_strange`` is by chance.
    """

    what: str
    score: str
    auroc: float
    aupr_strange: float
    aupr_usual: float
    base_rate: float


def strangeness(usual: Steps, strange: Steps, what: str) -> list[Strangeness]:
    """Ask every score that the agents have; low confidence, high entropy and disagreement warn."""
    found = []
    for name, sign in (("confidence", -1.0), ("entropy", 1.0), ("disagreement", 1.0)):
        a, b = sign * getattr(usual, name), sign * getattr(strange, name)
        if np.isnan(a).any() or np.isnan(b).any():
            continue
        rate = len(b) / (len(a) + len(b))
        found.append(Strangeness(what, name, auroc(b, a), aupr(b, a), aupr(-a, -b), rate))
    return found


# -------------------------------------------------------------------------------------- in all


class Trust(NamedTuple):
    """What `trust` found.

    Attributes:
        usual: Steps of the environment as it is.
        value: Calibration of the value.
        success: Predictions of success, if there are successes and failures.
        strange: Scores against strange observations.
    """

    usual: Steps
    value: ValueCalibration
    success: Success | None
    strange: tuple[Strangeness, ...]


def trust(
    agents: Sequence[Any],
    env: str,
    *,
    strange: Mapping[str, float] | None = None,
    foreign: Mapping[str, tuple[str, Mapping[str, Any]]] | None = None,
    threshold: float | None = None,
    episodes: int = 100,
    seed: int = 0,
    num_envs: int = 32,
    env_kwargs: Mapping[str, Any] | None = None,
    progress: Callable[[int, int, str], None] | None = None,
) -> Trust:
    """Ask how far an agent's value and confidence can be trusted.

    Args:
        agents: The agent; with others, trained apart, also their disagreement.
        env: Environment id.
        strange: Names of `KINDS` that change observations -> strength; by default all that apply,
            at their middle strength.
        foreign: Name -> environment id and its keyword arguments, with the same spaces.
        threshold: Return of an episode from which it is a success; by default the median.
        episodes: Held-out episodes of each environment.
        seed: Chooses them.
        num_envs: Copies of the environment stepped together.
        env_kwargs: Keyword arguments of the environment.
        progress: Called with environments done, environments in all, and the next one's name.

    Raises:
        ValueError: An agent's spaces are not an environment's.
        ValueError: An agent's networks cannot be asked.
    """
    play: dict[str, Any] = {"episodes": episodes, "seed": seed, "num_envs": num_envs}
    kwargs = dict(env_kwargs or {})
    shifts = _applicable(agents[0]) if strange is None else dict(strange)
    total = 1 + len(shifts) + len(foreign or {})
    tell = progress or (lambda *_: None)
    tell(0, total, "as trained")
    usual = gather(agents, env, env_kwargs=kwargs, **play)
    found: list[Strangeness] = []
    for done, (name, strength) in enumerate(shifts.items(), 1):
        tell(done, total, name)
        seen = gather(agents, env, env_kwargs=kwargs, perturbation=(name, strength), **play)
        found += strangeness(usual, seen, f"{name} {strength:g}")
    for done, (name, (other, given)) in enumerate((foreign or {}).items(), 1 + len(shifts)):
        tell(done, total, name)
        found += strangeness(usual, gather(agents, other, env_kwargs=given, **play), name)
    return Trust(usual, value_calibration(usual), success(usual, threshold), tuple(found))


def _applicable(agent: Any) -> dict[str, float]:
    """Return the perturbations of observations that apply, at their middle strength."""
    return {
        name: kind.strengths[len(kind.strengths) // 2]
        for name, kind in KINDS.items()
        if kind.see is not None and applicable(name, agent.spaces.observation, agent.spaces.action)
    }
