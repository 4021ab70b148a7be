"""Settings of stable-baselines3's algorithms as dataclasses, made from their own signatures."""

from __future__ import annotations

import dataclasses
import inspect
import re
import typing
from types import NoneType, UnionType
from typing import Annotated, Any

import sb3_contrib
import tyro

from daedalus.agents.sb3_spaces import ANY_SPACE

_SIMPLE = (bool, int, float, str)
_OURS = {"policy", "env", "tensorboard_log", "verbose", "seed", "device", "stats_window_size"}
_EXTRA: tuple[tuple[str, Any, Any, str], ...] = (
    (
        "policy",
        str,
        "auto",
        "stable-baselines3's name of the policy; auto chooses by the observation space",
    ),
    (
        "net_arch",
        tuple[int, ...] | None,
        None,
        "units of the hidden layers; None takes the policy's own",
    ),
)
_NOISE = (
    "action_noise_std",
    float,
    0.0,
    "standard deviation of Gaussian noise that exploration adds to actions",
)

CONSOLIDATION = (
    (
        "consolidation",
        str,
        "none",
        "what protects earlier tasks of a sequence: none, l2, ewc, online_ewc or si",
    ),
    (
        "consolidation_weight",
        float | None,
        None,
        "lambda of EWC and L2 (penalty lambda/2 sum I d^2), c of SI (c sum Omega d^2); None for "
        "100, 0.01 and 1",
    ),
    ("fisher_samples", int, 512, "observations from which EWC estimates the Fisher information"),
    (
        "ewc_decay",
        float,
        1.0,
        "gamma of online_ewc: what remains of the Fisher information with each further task",
    ),
    ("si_damping", float, 0.1, "xi of si: keeps parameters that hardly moved from all importance"),
)
"""Settings of `daedalus.agents.consolidation`, of algorithms that follow a loss's gradient."""


def config_class(name: str, algorithm: type[Any]) -> type[Any]:
    """Return a frozen dataclass with the settings of ``algorithm`` that are plain values.

    Types and defaults come from the signature, meanings from the ``:param`` lines of the docstring
    (as ``metadata["help"]`` and on the command line). Schedules take their constant form. Classes,
    dicts of keywords and what an `Agent` is given otherwise (seed, device) are left out;
    ``policy``, ``net_arch`` and, with algorithms that take noise, ``action_noise_std`` are added.

    Args:
        name: Name of the dataclass.
        algorithm: A stable-baselines3 algorithm.
    """
    meanings = _meanings(algorithm)
    rows = [_EXTRA[0], _EXTRA[1]]
    follows_gradients = not issubclass(algorithm, sb3_contrib.TRPO | sb3_contrib.ARS)
    for parameter in list(inspect.signature(algorithm.__init__).parameters.values())[1:]:
        if parameter.name == "action_noise":
            rows.append(_NOISE)
        kind = _simple(parameter.annotation, parameter.default)
        if parameter.name in _OURS or parameter.name.startswith("_") or kind is None:
            continue
        default = float(parameter.default) if kind is float else parameter.default
        rows.append((parameter.name, kind, default, meanings.get(parameter.name, "")))
    rows += CONSOLIDATION if follows_gradients else ()
    fields = []
    for field, kind, default, meaning in rows:
        # `checked` looks at no type in Annotated: the algorithms take more than a shell can give
        annotated: Any = Annotated[kind, tyro.conf.arg(help=meaning or None)]
        made = dataclasses.field(default=default, metadata={"help": meaning})
        fields.append((field, annotated, made))
    made_class = dataclasses.make_dataclass(name, fields, frozen=True)
    made_class.__doc__ = f"Settings of {algorithm.__module__.split('.')[0]}'s {algorithm.__name__}."
    return made_class


def _simple(hint: Any, default: Any) -> Any:
    """Return the part of a type that a command line can give, or None if there is none."""
    parts = typing.get_args(hint) if _is_union(hint) else (hint,)
    kinds = [kind for kind in _SIMPLE if kind in parts]
    if not kinds or default is inspect.Parameter.empty:
        return None
    kind: Any = kinds[0]
    for other in kinds[1:]:
        kind = kind | other
    return kind | None if NoneType in parts else kind


def _is_union(hint: Any) -> bool:
    return isinstance(hint, UnionType) or typing.get_origin(hint) is typing.Union


def _meanings(algorithm: type[Any]) -> dict[str, str]:
    """Return parameter -> first sentence of its ``:param`` text, bases first."""
    meanings: dict[str, str] = {}
    for known in reversed(algorithm.__mro__):
        found = re.findall(r":param (\w+):(.*?)(?=:param|\Z)", known.__doc__ or "", re.DOTALL)
        for name, text in found:
            sentence = re.split(r"\.\s+(?=[A-Z])| See https?:| By default", " ".join(text.split()))[
                0
            ]
            sentence = re.sub(r",? it can be a function of .*?\(from 1 to 0\)", "", sentence)
            if sentence.strip(" ."):
                meanings[name] = sentence.strip(" .")
    return meanings


def policy_name(config: Any, algorithm: type[Any], image: bool, several: bool) -> str:
    """Return the policy for an observation space.

    Args:
        config: Made by `config_class`.
        algorithm: The algorithm, for its names of policies.
        image: The observation is one image.
        several: The observation is a dict.

    Raises:
        ValueError: The algorithm has no such policy; the message lists those it has.
    """
    known = list(algorithm.policy_aliases)
    kind = "MultiInput" if several else "Cnn" if image else "Mlp"
    name = next((n for n in known if n.startswith(kind)), None)
    name = name if config.policy == "auto" else config.policy
    if name not in known:
        asked = f"policy for a {kind} observation" if name is None else f"policy {name!r}"
        hint = f"; use {ANY_SPACE}" if name is None else ""
        raise ValueError(f"{algorithm.__name__} has no {asked}; it has: {', '.join(known)}{hint}")
    return str(name)
