"""What the point robot's tasks consist of: counts, sizes, lidars and walls."""

from __future__ import annotations

from typing import NamedTuple

GOAL, BUTTON, PUSH, CIRCLE = range(4)
KINDS = ("goal", "gremlin", "pillar", "box", "button", "hazard", "vase")
"""In the order in which they are placed: what needs most room first."""
ROBOT, MAGNET, GRAVITY = 0.1, 0.5, 9.81
SENSORS = 12
"""Entries of the observation before the lidars."""
GOAL_SIZE, HAZARD_SIZE, SMALL, PILLAR_SIZE, BOX_SIZE = 0.3, 0.2, 0.1, 0.2, 0.2


class Task(NamedTuple):
    """What one of the tasks consists of."""

    task: int
    extent: float
    counts: dict[str, int]
    lidars: tuple[str, ...]
    hazard_keepout: float = 0.4
    hazard_size: float = HAZARD_SIZE
    vases_cost: bool = False
    walls: tuple[float, float] = (0.0, 0.0)


_GOAL_LIDARS = ("goal", "hazard", "vase")
_BUTTON_LIDARS = ("goal", "button", "gremlin", "hazard")
_PUSH_LIDARS = ("goal", "hazard", "pillar", "box")
TASKS: dict[str, Task] = {
    "goal0": Task(GOAL, 1.0, {"goal": 1}, ("goal",)),
    "goal1": Task(GOAL, 1.5, {"goal": 1, "hazard": 8, "vase": 1}, _GOAL_LIDARS, 0.18),
    "goal2": Task(
        GOAL, 2.0, {"goal": 1, "hazard": 10, "vase": 10}, _GOAL_LIDARS, 0.18, vases_cost=True
    ),
    "button1": Task(BUTTON, 1.5, {"button": 4, "gremlin": 4, "hazard": 4}, _BUTTON_LIDARS, 0.18),
    "button2": Task(BUTTON, 1.8, {"button": 4, "gremlin": 6, "hazard": 8}, _BUTTON_LIDARS, 0.18),
    "push1": Task(
        PUSH, 1.5, {"goal": 1, "hazard": 2, "pillar": 1, "box": 1}, _PUSH_LIDARS, hazard_size=0.3
    ),
    "circle1": Task(CIRCLE, 0.8, {}, ("goal",), walls=(1.125, 0.0)),
    "circle2": Task(CIRCLE, 0.8, {}, ("goal",), walls=(1.125, 1.125)),
}
