"""What to check: an id, a class, a function or an environment, brought to one form."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode, VectorEnv

Target = str | EnvSpec | Callable[..., Any] | gymnasium.Env[Any, Any] | VectorEnv[Any, Any, Any]
"""An id (``"module:Id"`` too), a spec, a class or function that makes one, or an environment that
was made from an id."""


@dataclass(frozen=True)
class Maker:
    """How to make the environment again and again.

    Attributes:
        name: For people.
        single: Makes the `gymnasium.Env`; takes ``render_mode``. None where there is no single
            face.
        vector: Makes the `VectorEnv`; takes ``num_envs`` and more. None where there is no vector
            face.
        spec: The registration, where there is one.
    """

    name: str
    single: Callable[..., gymnasium.Env[Any, Any]] | None
    vector: Callable[..., VectorEnv[Any, Any, Any]] | None
    spec: EnvSpec | None = None

    def warm_up(self) -> None:
        """Compile a native family here, so that the children find it in the cache."""
        if self.single is not None and self.spec is not None:
            place = str(self.spec.entry_point)
            if place.endswith("NativeEnv"):
                env = self.single()
                env.reset(seed=0)
                env.step(env.action_space.sample())
                env.close()

    @property
    def takes_render_mode(self) -> bool:
        """Whether the single environment can be made in another render mode."""
        if self.spec is not None or self.single is None:
            return self.single is not None
        kinds = inspect.signature(self.single).parameters
        return "render_mode" in kinds or any(p.kind is p.VAR_KEYWORD for p in kinds.values())


def make_maker(target: Target, **kwargs: Any) -> Maker:
    """Return the `Maker` of a target.

    Args:
        target: See `Target`. A class or function is called with ``render_mode=`` where it has such
            a parameter; one that makes a vector environment must take ``num_envs=``.
        **kwargs: Parameters of the environment.

    Raises:
        TypeError: The target is none of these, or an environment without a spec.
    """
    import daedalus.envs  # noqa: F401  (registers our ids)

    if isinstance(target, gymnasium.Env | VectorEnv):
        if target.spec is None:
            raise TypeError(
                f"{target} has no spec, so it cannot be made a second time; "
                "pass the class or a function instead"
            )
        target = target.spec
    if isinstance(target, str | EnvSpec):
        return _registered(target, kwargs)
    if not callable(target):
        raise TypeError(
            f"expected an environment id, class, function or environment, got {target!r}"
        )
    name = getattr(target, "__name__", type(target).__name__)
    made = functools.partial(target, **kwargs)
    if _makes_vector(target):
        return Maker(name, None, made)
    return Maker(name, made, None)


def _makes_vector(target: Callable[..., Any]) -> bool:
    """Decide without calling where the target is a class, otherwise by calling it once."""
    if isinstance(target, type):
        return issubclass(target, VectorEnv)
    made = target()
    made.close()
    return isinstance(made, VectorEnv)


def _registered(target: str | EnvSpec, kwargs: dict[str, Any]) -> Maker:
    spec = _find_spec(target)
    single = vector = None
    if spec.entry_point is not None:
        single = functools.partial(gymnasium.make, spec, disable_env_checker=True, **kwargs)
    if spec.vector_entry_point is not None:
        vector = functools.partial(
            gymnasium.make_vec, spec, vectorization_mode="vector_entry_point", **kwargs
        )
    return Maker(spec.id, single, vector, spec)


def _find_spec(target: str | EnvSpec) -> EnvSpec:
    if isinstance(target, EnvSpec):
        return target
    module, _, name = target.rpartition(":")
    if module:
        __import__(module)
    return gymnasium.spec(name)


def autoreset_mode(envs: VectorEnv[Any, Any, Any]) -> AutoresetMode | None:
    """Return the mode that a vector environment declares, or None."""
    mode = envs.metadata.get("autoreset_mode")
    return mode if isinstance(mode, AutoresetMode) else None
