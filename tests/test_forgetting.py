"""Forgetting in seconds: Catch and its mirror image, bounded below and above."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from daedalus.accelerators.sequence import at_stage
from daedalus.agents import make_agent
from daedalus.evaluation.sequence import train_sequence
from daedalus.scenarios import SEQUENCE, load_text

KWARGS = load_text(
    """
env: daedalus/Catch-v0
env_kwargs: {rows: 6}
stages:
  - {name: plain}
  - {name: mirrored, env_kwargs: {flipped: true}}
""",
    name="mirror",
).env_kwargs
SETTINGS: dict[str, Any] = {
    **{"lstm": 0, "hidden": 64, "n_steps": 5, "learning_rate": 1e-2, "entropy_weight": 0.05}
}


def matrix(name: str, **settings: Any) -> list[list[float]]:
    """Return the mean returns on both tasks after each of them, 20,000 steps each."""
    torch.set_num_threads(1)
    cls, rows = make_agent(name), []
    config = cls.Config(**SETTINGS, **settings)
    kwargs = at_stage(SEQUENCE, KWARGS, 0)
    agent = cls(SEQUENCE, config, num_envs=32, seed=1, device="cpu", env_kwargs=kwargs)
    train_sequence(
        agent, KWARGS, 40_000, lambda _, row: rows.append(list(row.values())), episodes=100
    )
    return rows[1:]


@pytest.mark.parametrize(
    ("method", "weight", "kept"),
    [("none", 0.0, (-1.0, 0.05)), ("ewc", 300.0, (0.2, 1.0)), ("si", 3.0, (0.2, 1.0))],
)
def test_consolidation_keeps_what_fine_tuning_forgets(
    method: str, weight: float, kept: tuple[float, float]
) -> None:
    """A random policy gets -0.57 on either; going away from the ball gets less."""
    first, last = matrix(
        "actor_critic",
        consolidation=method,
        consolidation_weight=weight,
        task_gains=True,
        **{"fisher_value": 0.02, "fisher_samples": 128},
    )
    assert 0.8 <= first[0] <= 1.0
    assert first[1] < -0.4
    assert kept[0] <= last[0] <= kept[1]
    assert 0.2 <= last[1] <= 1.0


def test_progressive_learns_both_and_forgets_nothing() -> None:
    first, last = matrix("progressive")
    assert 0.8 <= last[0] <= 1.0
    assert last[0] == first[0]
    assert 0.8 <= last[1] <= 1.0
