"""From a run directory back to its agent and its environment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from daedalus.accelerators.run_directory import RunDirectoryError, check_saved, read_config
from daedalus.agents import make_agent

if TYPE_CHECKING:
    from daedalus.agents.health import Curve

KEYS = ("agent", "env", "env_kwargs", "num_envs", "seed", "total_timesteps")
TASK = ("agent", "env", "env_kwargs", "total_timesteps")
"""What two runs of the same task have in common."""
RETURN = "rollout/ep_rew_mean"


class RunError(ValueError):
    """A run cannot be used; the message says why."""


@dataclass(frozen=True)
class Trained:
    """An agent as a run's newest (or a chosen) checkpoint has it.

    Attributes:
        path: The run directory.
        config: Its ``config.yaml``.
        agent: The agent, without an environment.
        step: Environment steps it was trained for.
    """

    path: Path
    config: dict[str, Any]
    agent: Any
    step: int

    @property
    def env(self) -> str:
        """Id of the environment it was trained in."""
        return str(self.config["env"])

    @property
    def env_kwargs(self) -> dict[str, Any]:
        """Keyword arguments of that environment."""
        return dict(self.config["env_kwargs"])


def read_run(path: str | Path) -> dict[str, Any]:
    """Return the configuration of a run that `daedalus train` made.

    Raises:
        RunDirectoryError: No run is there.
        RunError: Its configuration lacks something.
    """
    config = read_config(path)
    missing = [key for key in KEYS if key not in config]
    if missing:
        raise RunError(f"{path}/config.yaml has no {missing[0]!r}; was it made by another version?")
    return config


def earlier_runs(path: str | Path) -> list[Curve]:
    """Return the learning curves of the finished runs beside a run that did the same task.

    The same agent, environment, its parameters and number of steps; settings may differ.
    """
    from daedalus.accelerators.metrics import read_metrics
    from daedalus.accelerators.run_directory import read_status
    from daedalus.agents.health import Curve

    path = Path(path).resolve()
    own = read_run(path)
    found = []
    for status in sorted(path.parent.glob("*/status.json")):
        folder = status.parent
        if folder.is_symlink() or folder.resolve() == path:
            continue
        try:
            config = read_run(folder)
            if read_status(folder).get("state") != "finished":
                continue
            rows, _ = read_metrics(folder / "metrics")
        except (ValueError, OSError, RunDirectoryError):
            continue  # half a run beside this one is no reason to stop
        pairs = [(row["step"], row[RETURN]) for row in rows if RETURN in row]
        if pairs and all(config[key] == own[key] for key in TASK):
            found.append(Curve(*np.array(pairs).T))
    return found


def load_run(path: str | Path, *, step: int | None = None, device: str = "auto") -> Trained:
    """Load the agent of a run.

    Args:
        path: Run directory, such as ``runs/last``.
        step: Checkpoint to load; by default the newest whole one.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.

    Raises:
        CheckpointError: No usable checkpoint.
    """
    from daedalus.accelerators.checkpoint import load_checkpoint

    path = Path(path)
    config = read_run(path)
    check_saved(path)
    chosen = path if step is None else path / "checkpoints" / str(step)
    checkpoint = load_checkpoint(chosen)
    agent_class = make_agent(str(config["agent"]))
    agent = agent_class.from_state(checkpoint.tensors, checkpoint.state, device=device)
    return Trained(path, config, agent, checkpoint.step)
