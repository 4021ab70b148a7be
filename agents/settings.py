"""Checks of settings, so that a wrong one is told before training and not after a rollout.

`checked` looks at all settings of an agent when it is made: at their types, which are those of the
annotations (of what stable-baselines3's algorithms take, not: they take more than those say), and
at the ranges of names that agents share; those that a Config inherits and names in ``UNUSED`` must
be left as they are. What else an agent needs, as two settings that belong together, it checks
itself, by `at_least` and `above_zero` where that is enough.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from math import inf
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

C = TypeVar("C")

RANGES = {
    (0, 1): "gamma cost_gamma manager_gamma pixel_gamma gae_lambda cost_lambda rmsprop_decay "
    "target_decay ewc_decay centre_rate random_goal exploration_start exploration_end "
    "exploration_fraction exploration_initial_eps exploration_final_eps",
    (1, inf): "n_steps n_epochs hidden embedding goal_size horizon dilation first_lstm filters "
    "net_arch critic_arch batch_size buffer_size replay_size replay_length value_epochs "
    "value_batch critic_batch cg_iterations fisher_stride fisher_samples shaping_horizon rounds "
    "placements grouper_hidden target_update_interval iql.gradient_steps urex.samples web.width "
    "web.layers web.clone_batch",
    (0, inf): "learning_rate value_learning_rate critic_learning_rate final_learning_rate "
    "clone_rate multiplier_rate multiplier_start lstm learning_starts replay_start reward_clip "
    "reward_gap max_gradient_norm cost_limit damping groups critic_ratio rmsprop_epsilon "
    "adam_epsilon target_kl entropy_weight value_weight manager_weight intrinsic_weight "
    "signalling_weight consolidation_weight fisher_value pixel_control reward_prediction "
    "value_replay depth_1 depth_2 loop_closure shaping shaping_steps trpo_penalty.penalty "
    "ppo_lagrangian.clip_range progressive.columns web.demonstrations web.clone_updates web.anchor",
}
"""(Least, greatest value) of settings by name or ``agent.name``; of lists, of each entry."""

_BOUNDS: dict[str, tuple[float, float]] = {
    name: bounds for bounds, names in RANGES.items() for name in names.split()
}
_KINDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def checked(agent: Any, config: C) -> C:
    """Return ``config``, the settings of ``agent`` as a dataclass.

    The ranges are those of agents of this package: what others mean by a name is theirs to check.

    Args:
        agent: Whose they are; its class will do.
        config: The settings.

    Raises:
        ValueError: A setting is of another type than its annotation, out of its range, or of no use
            to the agent; one line.
    """
    kind = agent if isinstance(agent, type) else type(agent)
    name, ours = agent.name, kind.__module__.startswith("daedalus.")
    hints, unused = _hints(type(config)), getattr(config, "UNUSED", ())
    for field in fields(config):  # type: ignore[arg-type]
        value, hint = getattr(config, field.name), hints.get(field.name, Any)
        if field.name in unused and value != field.default:
            raise ValueError(f"{name} does not use {field.name}: leave it at {field.default!r}")
        if not _is_a(value, hint):
            raise ValueError(f"{name} needs {field.name} to be {_kind(hint)}, got {value!r}")
        if ours:
            _check_range(name, field.name, value)
    return config


def _check_range(agent: str, name: str, value: Any) -> None:
    entries = value if isinstance(value, tuple | list) else (value,)
    numbers: list[Any] = [entry for entry in entries if isinstance(entry, Real)]
    bounds = _BOUNDS.get(f"{agent}.{name}") or _BOUNDS.get(name)
    if bounds and not all(bounds[0] <= number <= bounds[1] for number in numbers):
        least, most = bounds
        wanted = f"{name} >= {least}" if most == inf else f"{least} <= {name} <= {most}"
        raise ValueError(f"{agent} needs {wanted}, got {value}")


def _hints(config: type[Any]) -> dict[str, Any]:
    """Return the annotations of a Config, none where they name what cannot be looked up."""
    try:
        return get_type_hints(config, include_extras=True)
    except NameError:
        return {}


def used(config: type[Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``settings`` of a checkpoint without those that a Config does not use."""
    return {k: v for k, v in settings.items() if k not in getattr(config, "UNUSED", ())}


def _is_a(value: Any, hint: Any) -> bool:
    """Whether a value is what an annotation says; of one that is not plain, any value is."""
    parts = get_args(hint)
    if get_origin(hint) in (Union, UnionType):
        return any(_is_a(value, part) for part in parts)
    if get_origin(hint) is tuple and parts[1:] == (...,):  # in YAML and JSON a list
        return isinstance(value, tuple | list) and all(_is_a(entry, parts[0]) for entry in value)
    if hint in (int, float):
        return isinstance(value, Integral if hint is int else Real) and not isinstance(value, bool)
    return hint not in (bool, str, NoneType) or isinstance(value, hint)


def _kind(hint: Any) -> str:
    """Say in words what `_is_a` asks for."""
    parts = get_args(hint)
    if get_origin(hint) is tuple:
        return f"a list, each {_kind(parts[0])}"
    return " or ".join(_kind(part) for part in parts) or _KINDS.get(hint, "None")


def at_least(agent: str, config: Any, **least: float) -> None:
    """Raise ValueError in one line where a setting of ``config`` is below its least value."""
    for name, value in least.items():
        if not getattr(config, name) >= value:  # not a number is no setting either
            raise ValueError(f"{agent} needs {name} >= {value}, got {getattr(config, name)}")


def above_zero(agent: str, config: Any, *names: str) -> None:
    """Raise ValueError in one line where a setting of ``config`` is not above 0."""
    for name in names:
        if not getattr(config, name) > 0:
            raise ValueError(f"{agent} needs {name} > 0, got {getattr(config, name)}")
