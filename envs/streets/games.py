"""The street games as environments: StreetTaxi, StreetCoins and StreetInstructions."""

from __future__ import annotations

from typing import Any

from daedalus.envs.streets.family import Options, Streets, check
from daedalus.envs.streets.state import COINS, COURIER, INSTRUCTIONS, STEPS


class StreetTaxi(Streets):
    """Drive through a real town to a goal given by its distances to landmarks; then to the next.

    Places (StreetLearn: panoramas) are about 10 m apart on the streets of a map, and the view is a
    street canyon drawn from place and heading: houses that differ from street to street, openings
    where side streets leave, sky that is brighter towards the sun.

    Observation:
        image: uint8 (84, 84, 3), RGB, what is seen; the default input, with ``goal``.
        goal: float32 (32,), the goal as a softmax over -0.002 times its metres to 32 landmarks.
        yaw: float32 (2,), sine and cosine of the heading, clockwise from north.
        neighbors: uint8 (8,), 1 where a street leaves, in bins of 45 degrees relative to the
            heading, the first centred ahead.
        latlng: float32 (2,), latitude and longitude, 0 to 1 over the town.
        target_latlng: float32 (2,), likewise, of the goal.
        instructions: int32 (5, 3), zeros in this game.
        thumbnails: uint8 (2, 84, 84, 3), zeros in this game.
        yaw_label: uint8 (1,), label: heading in 16 bins.
        latlng_label: int32 (1,), label: square of 32 x 32 that the taxi is in, row by row from the
            south-west.
        target_latlng_label: int32 (1,), label: square of the goal.
        position: float32 (3,), info: metres east and north of the corner, heading in degrees.
        distance: float32 (1,), info: metres to the goal as the crow flies.
        goals: int32 (1,), info: goals reached in the episode.
        latency: float32 (2,), info: steps to the first goal, mean steps to later ones; -1 if none.
        spl: float32 (1,), info: success weighted by path length, summed over found goals, divided
            by their number plus one: the unfinished goal counts.
        coins: int32 (1,), info: coins taken in the episode.

        The symbolic input is ``observations=("yaw", "neighbors", "latlng", "target_latlng")``.

    Action:
        Discrete(5): forward; turn left 22.5 or 67.5 degrees; turn right 22.5 or 67.5 degrees.
        Forward leads to the nearest place within three edges whose bearing is within 30 degrees of
        the heading; where there is none, the taxi stays.

    Reward:
        For a place that is new since the goal was set: within ``min_radius`` of the goal the number
        R of places on the shortest way there, from where the taxi was when the goal was set; then a
        new goal is drawn. Within ``max_radius``, and nearer than ever since the goal was set, R
        (max_radius - d) / (max_radius - min_radius), in full each time. And ``coin_reward`` for
        each coin. StreetLearn's agents learn from rewards clipped to [-1, 1].

    Episode end:
        Only by the time limit (truncation): 1000 steps. A found goal does not end the episode. The
        first heading is north.

    Parameters:
        min_radius: metres from the goal within which it is found.
        max_radius: metres from the goal within which getting nearer pays.
        goal_timeout: steps after which an unfound goal is replaced, without penalty.
        coins: share of the places that hold a coin, drawn every episode.
        coin_reward: reward of a coin.
        time_limit: steps; 0 for none.
        options: those of ``daedalus.envs.streets.family.Options``.

    Version history:
        v0: first version.

    Source:
        Mirowski et al., 2018, "Learning to navigate in cities without a map", and the StreetLearn
        environment; streets of West Oakland (c) OpenStreetMap contributors, ODbL 1.0. Views are
        drawn, not photographed.
    """

    def __init__(
        self,
        *,
        min_radius: float = 100.0,
        max_radius: float = 400.0,
        goal_timeout: int = 1000,
        coins: float = 0.01,
        coin_reward: float = 1.0,
        time_limit: int = 1000,
        **options: Any,
    ) -> None:
        """Check and store the parameters (see the class).

        Raises:
            ValueError: A parameter is out of range, or the street file cannot be read.
        """
        check("min_radius", min_radius, 0.1, max_radius)
        if min_radius == max_radius:
            raise ValueError(f"max_radius must be above min_radius, both are {min_radius:g}")
        check("goal_timeout", goal_timeout, 1, 2**31 - 1)
        self.configure(
            Options(**options),
            time_limit,
            COURIER,
            min_radius=min_radius,
            max_radius=max_radius,
            goal_timeout=goal_timeout,
            coins=coins,
            coin_reward=coin_reward,
        )


GOAL_OPTIONS = ("near", "far", "curriculum_start", "curriculum_steps", "curriculum_rate")
"""Options that are about goals."""


class StreetCoins(Streets):
    """Collect coins that lie on half of the places of a town: explore, and do not turn back.

    Observation:
        image: uint8 (84, 84, 3), RGB, what is seen; the default input. Coins are not.
        yaw_label: uint8 (1,), label: heading in 16 bins.
        latlng_label: int32 (1,), label: square of 32 x 32 that the taxi is in.
        target_latlng_label: int32 (1,), label: meaningless, there is no goal.

        Also ``yaw``, ``neighbors``, ``latlng`` and what is in ``info``, as in ``StreetTaxi``.

    Action:
        As in ``StreetTaxi``.

    Reward:
        ``coin_reward`` for each coin; a taken coin does not come back.

    Episode end:
        Only by the time limit (truncation): 1000 steps.

    Parameters:
        coins: share of the places that hold a coin, drawn every episode.
        coin_reward: reward of a coin.
        time_limit: steps; 0 for none.
        options: those of ``daedalus.envs.streets.family.Options``, but ``near``, ``far`` and
            ``curriculum_*``, which are about goals.

    Version history:
        v0: first version.

    Source:
        StreetLearn's coin game; streets of West Oakland (c) OpenStreetMap contributors, ODbL 1.0.
    """

    observations = ("image",)

    def __init__(
        self,
        *,
        coins: float = 0.5,
        coin_reward: float = 1.0,
        time_limit: int = 1000,
        **options: Any,
    ) -> None:
        """Check and store the parameters (see the class).

        Raises:
            ValueError: A parameter is out of range, or the street file cannot be read.
        """
        if aims := [name for name in options if name in GOAL_OPTIONS]:
            raise ValueError(f"StreetCoins has no goals, so it takes no {', '.join(aims)}")
        self.configure(Options(**options), time_limit, COINS, coins=coins, coin_reward=coin_reward)


GAMES = {
    "goal_instruction": (0.0, False),
    "incremental_instruction": (0.5, False),
    "step_by_step": (0.5, True),
}
"""Reward of a waypoint, and whether only the present instruction is shown."""


class StreetInstructions(Streets):
    """Follow turn-by-turn instructions through a town: "Turn left into 9th Street, 120 m".

    Observation:
        image: uint8 (84, 84, 3), RGB, what is seen; the default input, with ``instructions``.
        instructions: int32 (5, 3), a row for each instruction: 1 go along, 2 turn left into, 3 turn
            right into; number of the street; tens of metres. Zeros where there is none. In
            ``step_by_step`` the first row is the present one, the others are zero.
        thumbnails: uint8 (2, 84, 84, 3), on demand: what is seen at the beginning and at the end of
            the present instruction's way.
        yaw_label: uint8 (1,), label: heading in 16 bins.
        latlng_label: int32 (1,), label: square of 32 x 32 that the taxi is in.
        target_latlng_label: int32 (1,), label: square of the goal.

        Also ``yaw``, ``neighbors``, ``latlng`` and what is in ``info``, as in ``StreetTaxi``. The
        instructions in words: ``family.instruction_texts(state)``.

    Action:
        As in ``StreetTaxi``.

    Reward:
        ``goal_reward`` at the goal. In ``incremental_instruction`` and ``step_by_step`` also 0.5 at
        each waypoint in order; one next to it counts too. With ``dense``, 0.49 (50 - d) / 50 more
        for each new least distance d below 50 m to the next waypoint, in the step that reaches it
        or the goal too.

    Episode end:
        Terminates at the goal; truncated after 1000 steps. The first heading is the route's.

    Parameters:
        game: ``goal_instruction``, ``incremental_instruction`` or ``step_by_step``.
        legs: most instructions of a route, 1 to 5.
        goal_reward: reward at the goal.
        dense: pay for coming nearer to the next waypoint.
        coins: share of the places that hold a coin.
        coin_reward: reward of a coin.
        time_limit: steps; 0 for none.
        options: those of ``daedalus.envs.streets.family.Options``; ``far`` bounds the way as the
            crow flies.

    Version history:
        v0: first version.

    Source:
        StreetLearn's instruction games, with generated routes and instructions (a shortest way,
        another instruction at each turn) in place of recorded ones; streets of West Oakland (c)
        OpenStreetMap contributors, ODbL 1.0.
    """

    observations = ("image", "instructions")

    def __init__(
        self,
        *,
        game: str = "incremental_instruction",
        legs: int = 5,
        goal_reward: float = 1.0,
        dense: bool = False,
        coins: float = 0.0,
        coin_reward: float = 1.0,
        time_limit: int = 1000,
        **options: Any,
    ) -> None:
        """Check and store the parameters (see the class).

        Raises:
            ValueError: A parameter is out of range, or the street file cannot be read.
        """
        if game not in GAMES:
            raise ValueError(f"game must be one of {', '.join(GAMES)}, got {game!r}")
        check("legs", legs, 1, STEPS)
        waypoint_reward, one_by_one = GAMES[game]
        self.configure(
            Options(**options),
            time_limit,
            INSTRUCTIONS,
            legs=legs,
            goal_reward=goal_reward,
            waypoint_reward=waypoint_reward,
            one_by_one=one_by_one,
            dense_reward=0.49 if dense else 0.0,
            dense_radius=50.0,
            coins=coins,
            coin_reward=coin_reward,
        )
