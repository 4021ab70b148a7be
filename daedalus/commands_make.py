"""``daedalus check``, ``new env`` and ``new agent``."""

from __future__ import annotations

import inspect
import keyword
import re
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import tyro

from daedalus.parsing import Count, Positive, UsageError, positional


@dataclass
class Check:
    """Test an environment against its contract: spaces, seeding, resets, ownership, speed.

    Runs Gymnasium's checker, stable-baselines3's and Daedalus's own, which plays the environment
    again and again and compares to the last bit. Exit code 1 if there is an error.

    Examples:
      daedalus check daedalus/Catch-v0
      daedalus check my_world:MyWorld-v0
      daedalus check CartPole-v1 --no-external
    """

    env: Annotated[tyro.conf.Positional[str], positional("ENV")]
    """Environment id, package:Id or scenario."""
    seed: Count = 123
    """Seed of everything that is drawn."""
    steps: Positive = 1000
    """Steps of one play at most."""
    external: bool = True
    """Also run Gymnasium's and stable-baselines3's checkers."""
    env_kwargs: tuple[str, ...] = ()
    """Parameters of the environment as key=value."""

    def run(self) -> int:
        """Print the findings."""
        from daedalus.envs.checker import check
        from daedalus.lookup import find_task

        task = find_task(self.env, self.env_kwargs)
        for name in inspect.signature(check).parameters:
            if name in task.env_kwargs:
                raise UsageError(f"check has a setting {name!r} itself and cannot pass it on")
        result = check(
            task.env, seed=self.seed, steps=self.steps, external=self.external, **task.env_kwargs
        )
        print(result)
        return 0 if result.ok else 1


@dataclass
class NewEnv:
    """Start a new environment: a file with a small working world, to be changed step by step.

    Examples:
      daedalus new env my_world
      daedalus check my_world:MyWorld-v0
      daedalus train ppo my_world:MyWorld-v0
    """

    name: Annotated[tyro.conf.Positional[str], positional("NAME")]
    """Name of the module, such as my_world; the file is my_world.py."""

    def run(self) -> int:
        """Write the file and say what to try."""
        module, title = write_template("environment", self.name)
        print(f"wrote {module}.py")
        print(f"  daedalus check {module}:{title}-v0")
        print(f"  daedalus train actor_critic {module}:{title}-v0 --steps 2e5")
        return 0


@dataclass
class NewAgent:
    """Start a new agent: a file with a small working algorithm, to be changed step by step.

    Examples:
      daedalus new agent my_agent
      daedalus train my_agent:MyAgent CartPole-v1
    """

    name: Annotated[tyro.conf.Positional[str], positional("NAME")]
    """Name of the module, such as my_agent; the file is my_agent.py."""

    def run(self) -> int:
        """Write the file and say what to try."""
        module, title = write_template("agent", self.name)
        print(f"wrote {module}.py")
        print(f"  daedalus train {module}:{title} daedalus/Catch-v0 --steps 2e5")
        return 0


def write_template(kind: str, name: str, folder: Path | None = None) -> tuple[str, str]:
    """Write a template under a new name.

    Args:
        kind: ``"environment"`` or ``"agent"``.
        name: Name of the module in snake_case or CamelCase.
        folder: Where to write; by default the current folder.

    Returns:
        Names of the module and of the class.

    Raises:
        UsageError: Not a name for a module, or the file is there already.
    """
    module = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.removesuffix(".py")).lower()
    module = module.replace("-", "_")
    if not module.isidentifier() or keyword.iskeyword(module):
        raise UsageError(f"{name!r} cannot be the name of a module; try my_{kind}")
    path = (folder or Path()) / f"{module}.py"
    title = "".join(word.capitalize() for word in module.split("_"))
    text = files("daedalus").joinpath("templates", f"{kind}.py.txt").read_text(encoding="utf-8")
    filled = text.replace("my_module", module).replace("MyClass", title).replace("my_name", module)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(filled)
    except FileExistsError:
        raise UsageError(f"{path} is there already; choose another name") from None
    return module, title
