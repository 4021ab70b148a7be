"""Evaluation: benchmarks, scores with intervals, reports, videos, watching.

>>> from daedalus.evaluation import evaluate
>>> scores = evaluate("random", "daedalus/Catch-v0", episodes=20)
>>> len(scores.returns), -1 <= scores.mean <= 1
(20, True)
"""

from daedalus.evaluation.evaluate import Evaluation, evaluate, held_out_seeds
from daedalus.evaluation.statistics import Interval, bootstrap_interval, iqm

__all__ = [
    "Evaluation",
    "Interval",
    "bootstrap_interval",
    "evaluate",
    "held_out_seeds",
    "iqm",
]
