"""Result stores for tests, filled without any training."""

from typing import Any

import numpy as np

from daedalus.evaluation import Evaluation
from daedalus.evaluation.plan import RunSpec
from daedalus.evaluation.store import SECONDS, Provenance, ResultStore

CATCH = "daedalus/Catch-v0"
HERE = Provenance("daedalus benchmark", "0" * 40, {"python": "3"}, {"processor": "a"})


def spec(label: str = "a", seed: int = 0, scenario: str = "s", **changes: Any) -> RunSpec:
    """A run that is never carried out."""
    return RunSpec(label, "ppo", {"gamma": 0.9}, scenario, CATCH, {}, 2, 100, seed, **changes)


def finish(store: ResultStore, run: RunSpec, score: float, spread: float = 0.0) -> None:
    """Store a run as if it had been carried out."""
    store.add([run], HERE)
    store.begin(run.id, HERE)
    for step in (50, 100):
        store.log(run.id, step, {"rollout/ep_rew_mean": score * step / 100, SECONDS: step / 10})
    returns = score + spread * np.array([-1.0, 0.0, 1.0])
    store.finish(run.id, Evaluation("a", np.arange(3), returns, np.full(3, 7), np.ones(3)), {})
