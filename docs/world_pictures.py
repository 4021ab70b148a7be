"""Draw the sheets of small worlds for the pages.

    python docs/world_pictures.py

Each tile is a moment of an episode; the sheets are docs/images/small-worlds.png,
safety-worlds.png and cooperative-worlds.png. The pictures of the street games' pages are taken too,
on a drive of the oracle.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

import daedalus  # noqa: F401  (registers the environments)
from daedalus.envs.batch import Batch
from daedalus.envs.cooperation.oracles import team_for
from daedalus.envs.streets.oracle import oracle_for

IMAGES = Path(__file__).parent / "images"
SHEETS = {
    "small-worlds": (
        *("FourRooms", "TwoRooms", "GridWorld", "Cliff", "Taxi", "DeepSea"),
        *("KeyDoor", "MontezumaRooms", "Chain", "BinarySearch", "ReversedAddition", "RepeatCopy"),
        *("WhichIsHeavier", "Towers", "TerrainRunner"),
    ),
    "safety-worlds": (
        *("PointGoal1", "PointGoal2", "PointButton1", "PointPush1", "PointCircle1"),
        *("PointCircle", "PointGather", "BoatRace", "TomatoWatering", "RocksDiamonds"),
        *("SafeInterruptibility", "SideEffectsSokoban", "ConveyorBelt", "AbsentSupervisor"),
        *("WhiskyGold", "DistributionalShift", "IslandNavigation", "FriendFoe"),
    ),
    "cooperative-worlds": (
        *("CooperativeNavigation", "SpeakerListener", "PredatorPrey"),
        *("ReferentialGame", "ClimbingGame", "Skirmish"),
    ),
}


DRIVES = {
    "street-taxi": ("StreetTaxi", 3, 30),
    "street-coins": ("StreetCoins", 2, 60),
    "street-instructions": ("StreetInstructions", 16, 14),
}
"""Picture -> environment, seed and steps of a drive through town."""


def moment(name: str, steps: int = 7) -> np.ndarray:
    """Return a picture of an environment after a few random steps, or some of a good team's."""
    env: Any = gymnasium.make(f"daedalus/{name}-v0").unwrapped
    if env.family.agents > 1:
        return moment_of_team(env.family)
    batch = Batch(env.family, 1)
    batch.reset(4)
    batch.action_space.seed(1)
    for _ in range(steps):
        batch.step(np.asarray(batch.action_space.sample())[None])
    return batch.render()


def drive(picture: str, name: str, seed: int, steps: int) -> None:
    """Write the picture of a street game's page: a moment of a drive that knows the way."""
    env: Any = gymnasium.make(f"daedalus/{name}-v0").unwrapped
    batch, act = Batch(env.family, 1), oracle_for(env.family)
    batch.reset(seed)
    for _ in range(steps):
        batch.step(act(batch))
    path = IMAGES / "environments" / f"{picture}.png"
    Image.fromarray(batch.render()).quantize(128).save(path, optimize=True)
    print(f"wrote {path.name}")


def moment_of_team(family: Any, steps: int = 11) -> np.ndarray:
    """Return a picture of agents who know what to do, at the latest when they have done it."""
    batch, act = Batch(family, 1, autoreset="disabled"), team_for(family)
    batch.reset(8)
    for _ in range(steps):
        if not batch.ended[0]:
            batch.step(act(batch))
    return batch.render()


def main() -> None:
    """Write the sheets and the drives."""
    for picture, (name, seed, steps) in DRIVES.items():
        drive(picture, name, seed, steps)
    for sheet, names in SHEETS.items():
        columns = {"small-worlds": 5, "safety-worlds": 6}.get(sheet, 3)
        rows = -(-len(names) // columns)
        figure, axes = plt.subplots(rows, columns, figsize=(2.4 * columns, 2.3 * rows), dpi=110)
        for axis in axes.flat:
            axis.axis("off")
        for axis, name in zip(axes.flat, names, strict=False):
            axis.imshow(moment(name), interpolation="antialiased")
            axis.set_title(name, fontsize=9)
        figure.tight_layout(pad=0.4)
        figure.savefig(IMAGES / f"{sheet}.png")
        print(f"wrote {sheet}.png")


if __name__ == "__main__":
    main()
