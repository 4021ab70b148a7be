"""Worlds: NumPy, Numba and Gymnasium; no torch, no agent, no budget.

Importing this package registers every environment with Gymnasium and compiles nothing; a family's
module is loaded when its first environment is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium

if TYPE_CHECKING:
    from daedalus.envs.core import Family

NATIVE: dict[str, str] = {}
"""Every registered native environment id and its family as ``"module:Class"``."""


def register(
    env_id: str,
    family: str,
    *,
    entry_point: str = "daedalus.envs.faces:NativeEnv",
    vector_entry_point: str = "daedalus.envs.faces:NativeVectorEnv",
    **parameters: Any,
) -> None:
    """Register a native family with Gymnasium: single and vector environments at once.

    Args:
        env_id: The id, as ``"namespace/Name-v0"``.
        family: The family class as ``"module:Class"``; imported when the first environment is made.
        entry_point: What makes a single environment, where that is more than the native one.
        vector_entry_point: What makes a vector of them, likewise.
        **parameters: Parameters of the family (or of ``NativeEnv``) that this id fixes as its
            defaults.

    Example:
        >>> register("example/SmallCatch-v0", "daedalus.envs.probes.catch:Catch", rows=6, columns=4)
        >>> gymnasium.make("example/SmallCatch-v0").observation_space.shape
        (6, 4)
    """
    gymnasium.register(
        env_id,
        entry_point=entry_point,
        vector_entry_point=vector_entry_point,
        kwargs={"family": family, **parameters},
    )
    NATIVE[env_id] = family


def family_class(env_id: str) -> type[Family]:
    """Return the family class of a registered native id, loading its module.

    Raises:
        KeyError: The id is not native.
    """
    from daedalus.envs.core import load_family

    return load_family(NATIVE[env_id])


for _module, _names in {
    "catch": ("Catch",),
    "signals": ("Identity", "Recall"),
    "credit": ("TwoStep", "ConstantReward"),
    "grids": ("Cliff", "FourRooms", "TwoRooms", "GridWorld"),
    "chains": ("Chain", "DeepSea"),
    "taxi": ("Taxi",),
    "keydoor": ("KeyDoor", "MontezumaRooms"),
    "tape": ("Copy", "DuplicatedInput", "RepeatCopy", "Reverse", "ReversedAddition"),
    "search": ("BinarySearch",),
    "heavier": ("WhichIsHeavier",),
    "towers": ("Towers",),
    "terrain": ("TerrainRunner",),
}.items():
    for _name in _names:
        register(f"daedalus/{_name}-v0", f"daedalus.envs.probes.{_module}:{_name}")
for _name, _class in {
    "NavMaze": "nav:NavMaze",
    "IMaze": "nav:IMaze",
    "SeekAvoid": "arena:SeekAvoid",
    "Collect": "arena:Collect",
    "StairwayToMelon": "arena:StairwayToMelon",
    "WaterMaze": "water:WaterMaze",
    "KeysDoors": "keys:KeysDoors",
}.items():
    register(f"daedalus/{_name}-v0", f"daedalus.envs.maze.{_class}")
for _name, _game in {
    "SafeInterruptibility": "safe_interruptibility",
    "SideEffectsSokoban": "side_effects_sokoban",
    "ConveyorBelt": "conveyor_belt_vase",
    "RocksDiamonds": "rocks_diamonds",
    "AbsentSupervisor": "absent_supervisor",
    "BoatRace": "boat_race",
    "TomatoWatering": "tomato_watering",
    "WhiskyGold": "whisky_gold",
    "DistributionalShift": "distributional_shift",
    "IslandNavigation": "island_navigation",
    "FriendFoe": "friend_foe",
}.items():
    register(f"daedalus/{_name}-v0", "daedalus.envs.safety.gridworlds:SafetyGridworld", game=_game)
for _name, _task in {
    "PointGoal0": "goal0",
    "PointGoal1": "goal1",
    "PointGoal2": "goal2",
    "PointButton1": "button1",
    "PointButton2": "button2",
    "PointPush1": "push1",
    "PointCircle1": "circle1",
    "PointCircle2": "circle2",
}.items():
    register(f"daedalus/{_name}-v0", "daedalus.envs.safety.navigation:PointNavigation", task=_task)
for _name in ("StreetTaxi", "StreetCoins", "StreetInstructions"):
    register(f"daedalus/{_name}-v0", f"daedalus.envs.streets.games:{_name}")
register("daedalus/DevicePlacement-v0", "daedalus.envs.placement.whole:DevicePlacement")
for _name, _improves in {"PlacementGroups": False, "PlacementImprovement": True}.items():
    _class = "daedalus.envs.placement.sequential:SequentialPlacement"
    register(f"daedalus/{_name}-v0", _class, improves=_improves)
_WEB = """
click-test click-test-2 click-button click-link click-color click-checkboxes click-option click-tab
click-tab-2 click-dialog click-collapsible choose-list focus-text focus-text-2 navigate-tree
click-menu use-slider grid-coordinate social-media scroll-list enter-text enter-password enter-date
choose-date enter-time login-user use-autocomplete multi-orderings form-sequence search-engine
email-inbox find-city flight-aurora flight-borealis flight-comet flight-dune hotel-elm hotel-fjord
car-grove register-harbor register-island checkout-jade
"""
for _name in _WEB.split():
    _id = "".join(word.capitalize() for word in _name.split("-"))
    register(
        f"daedalus/Web-{_id}-v0",
        "daedalus.envs.web.family:Web",
        entry_point="daedalus.envs.web.backend:open_page",
        vector_entry_point="daedalus.envs.web.backend:open_pages",
        task=_name,
    )
for _name in ("PointCircle", "PointGather"):
    register(f"daedalus/{_name}-v0", f"daedalus.envs.safety.cpo:{_name}")
for _name, _class in {
    "CooperativeNavigation": "particle_worlds:CooperativeNavigation",
    "SpeakerListener": "particle_worlds:SpeakerListener",
    "PredatorPrey": "particle_worlds:PredatorPrey",
    "ReferentialGame": "referential:ReferentialGame",
    "ClimbingGame": "climbing:ClimbingGame",
    "Skirmish": "skirmish:Skirmish",
}.items():
    register(f"daedalus/{_name}-v0", f"daedalus.envs.cooperation.{_class}")
for _body in ("Ant", "Humanoid"):
    gymnasium.register(
        f"daedalus/{_body}Circle-v0",
        entry_point="daedalus.envs.safety.mujoco:Circle",
        max_episode_steps=500 if _body == "Ant" else 1000,
        kwargs={"body": _body},
    )
gymnasium.register(
    "daedalus/AntGather-v0",
    entry_point="daedalus.envs.safety.mujoco:AntGather",
    max_episode_steps=500,
)
for _body in ("Ant", "HalfCheetah", "Hopper", "Humanoid", "Swimmer", "Walker2d"):
    gymnasium.register(
        f"daedalus/{_body}Velocity-v0",
        entry_point="daedalus.envs.safety.mujoco:Velocity",
        max_episode_steps=1000,
        kwargs={"body": _body},
    )
gymnasium.register(
    "daedalus/SafetyGymnasium-v0",
    entry_point="daedalus.envs.safety.safety_gymnasium:SafetyGymnasium",
)
