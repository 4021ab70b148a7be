"""The base class of the street games: what they have in common, in one place."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from gymnasium.spaces import Box, Discrete

from daedalus.envs.core import Family
from daedalus.envs.maze.blocks import LANES
from daedalus.envs.streets import world
from daedalus.envs.streets.moves import BINS, HEADINGS
from daedalus.envs.streets.route import WORDS
from daedalus.envs.streets.state import RULES, STEPS, Arrays, Params, state_dtype
from daedalus.envs.streets.town import LANDMARKS, diameter, get_town
from daedalus.envs.streets.view import make_camera

_SQUARES = 1024


@dataclass(frozen=True)
class Options:
    """Parameters of every street game."""

    streets: str = "west_oakland"
    """``west_oakland``; ``city:PLACES`` or ``city:PLACES:SEED``, a generated city; or the path of a
    ``.graphml`` (OSMnx), ``.osm`` or ``.osm.bz2`` file."""
    spacing: float = 10.0
    """Metres between places, 2 to 100."""
    image: tuple[int, int] = (84, 84)
    """Height and width of ``image`` in pixels, 16 to 1024 each."""
    field_of_view: float = 60.0
    """Horizontal field of view in degrees, 20 to 120."""
    near: float = 500.0
    """Curriculum: farthest goal at its beginning, in metres."""
    far: float = 3500.0
    """Farthest goal at its end, and without curriculum, in metres."""
    curriculum_start: float = 0
    """Steps of one environment before the curriculum begins."""
    curriculum_steps: float = 0
    """Steps of one environment that it takes; 0 for none: goals up to ``far`` at once."""
    curriculum_rate: float = 2.0
    """Exponent of its progress."""

    def __post_init__(self) -> None:
        """Check every value.

        Raises:
            ValueError: A value is out of range; the message says which range.
        """
        object.__setattr__(self, "image", tuple(int(n) for n in self.image))
        check("spacing", self.spacing, 2, 100)
        check("image height and width", min(self.image), LANES, 1024)
        check("image height and width", max(self.image), LANES, 1024)
        check("field_of_view", self.field_of_view, 20, 120)
        check("near", self.near, 1, self.far)
        check("far", self.far, self.near, math.inf)
        check("curriculum_start", self.curriculum_start, 0, math.inf)
        check("curriculum_steps", self.curriculum_steps, 0, math.inf)
        check("curriculum_rate", self.curriculum_rate, 0.01, 100)


def check(name: str, value: float, low: float, high: float) -> None:
    """Raise a ValueError unless a value lies between two bounds, both included."""
    if not low <= value <= high:
        raise ValueError(f"{name} must be between {low:g} and {high:g}, got {value:g}")


class Streets(Family):
    """Base of the street games; not an environment itself."""

    Params, Arrays = Params, Arrays
    observations: ClassVar[tuple[str, ...]] = ("image", "goal")
    labels: ClassVar[tuple[str, ...]] = ("yaw_label", "latlng_label", "target_latlng_label")
    infos: ClassVar[tuple[str, ...]] = ("position", "distance", "goals", "latency", "spl", "coins")
    time_limit = 1000
    fps = 4
    keys = {"up": 0, "left": 1, "a": 2, "right": 3, "d": 4}
    actions: ClassVar[tuple[str, ...]] = world.ACTIONS
    reset, step, observe = world.reset, world.step, world.observe

    def configure(self, options: Options, time_limit: int, game: int, **rules: Any) -> None:
        """Set parameters, state and spaces.

        Args:
            options: The common parameters.
            time_limit: Steps of an episode; 0 for none.
            game: COURIER, COINS or INSTRUCTIONS.
            **rules: Fields of ``RULES``; ``coins`` as a share of the places.
        """
        check("time_limit", time_limit, 0, 2**31)
        check("coins", rules["coins"], 0, 1)
        self.options, self.time_limit = options, int(time_limit)
        self.town = get_town(options.streets, options.spacing)
        graph = self.town.graph
        rules["coins"] = math.floor(rules["coins"] * graph.size + 0.5)
        usual = {
            "game": game,
            "places": graph.size,
            "coin_bits": max(math.ceil(math.log2(graph.size) / 2), 1),
            "near": options.near,
            "far": options.far,
            "start": options.curriculum_start,
            "length": options.curriculum_steps,
            "rate": options.curriculum_rate,
            "diameter": diameter(graph),
        }
        record = np.zeros(1, RULES)
        for name, value in (usual | rules).items():
            record[name] = value
        record.flags.writeable = False
        self.params = Params(
            record,
            self.town.places,
            self.town.hubs,
            graph.cells,
            self.town.pieces,
            self.town.runs,
            self.town.codes,
            *make_camera(*options.image, options.field_of_view),
        )
        self.state_dtype = state_dtype(graph.size)
        self.action_space = Discrete(len(self.actions))
        self.spaces = _spaces(options, graph.extent, len(graph.streets))

    def instruction_texts(self, state: np.void) -> list[str]:
        """Return the instructions of an episode in words, empty where there are none."""
        texts = []
        for kind, street, tens in state["say"][: state["legs"]].tolist():
            name = self.town.graph.streets[street] or "the street"
            texts.append(f"{WORDS[kind]} {name}, {10 * tens} m")
        return texts

    def render(self, state: np.void) -> np.ndarray:
        """Return the view beside a map with the taxi, its goal and the shortest way there."""
        from daedalus.envs.streets.picture import draw_picture

        return draw_picture(state, self)


def _spaces(options: Options, extent: tuple[float, float], streets: int) -> dict[str, Any]:
    picture = (*options.image, 3)
    corner = np.array([*extent, 360], np.float32)
    said = np.tile(np.array([3, streets, 2**20], np.int32), (STEPS, 1))
    count = 2**31 - 1
    return {
        "image": Box(0, 255, picture, np.uint8),
        "goal": Box(0, 1, (LANDMARKS,), np.float32),
        "yaw": Box(-1, 1, (2,), np.float32),
        "neighbors": Box(0, 1, (BINS,), np.uint8),
        "latlng": Box(0, 1, (2,), np.float32),
        "target_latlng": Box(0, 1, (2,), np.float32),
        "instructions": Box(np.zeros_like(said), said, dtype=np.int32),
        "thumbnails": Box(0, 255, (2, *picture), np.uint8),
        "yaw_label": Box(0, HEADINGS - 1, (1,), np.uint8),
        "latlng_label": Box(0, _SQUARES - 1, (1,), np.int32),
        "target_latlng_label": Box(0, _SQUARES - 1, (1,), np.int32),
        "position": Box(np.zeros(3, np.float32), corner, dtype=np.float32),
        "distance": Box(0, 1.1 * math.hypot(*extent) + 1, (1,), np.float32),
        "goals": Box(0, count, (1,), np.int32),
        "latency": Box(-1, np.inf, (2,), np.float32),
        "spl": Box(0, 1, (1,), np.float32),
        "coins": Box(0, count, (1,), np.int32),
    }
