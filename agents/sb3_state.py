"""State of stable-baselines3's algorithms as plain arrays, so that they resume to the bit.

stable-baselines3 draws from the global generators of torch, NumPy and Python; `Streams` gives each
agent its own, which are global only while its code runs, and which are saved.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

Arrays = dict[str, np.ndarray]


def pack(value: Any) -> np.ndarray:
    """Return plain data as a uint8 array (its JSON)."""
    return np.frombuffer(json.dumps(value).encode(), np.uint8).copy()


def unpack(array: Any) -> Any:
    """Return what `pack` was given."""
    return json.loads(np.asarray(array).tobytes())


class Streams:
    """The global generators as one agent sees them."""

    def __init__(self, seed: int, device: torch.device) -> None:
        """Seed all of them; nothing outside changes."""
        self.cuda = device.type == "cuda"
        outside = self._read()
        torch.default_generator.manual_seed(seed)
        if self.cuda:
            torch.cuda.manual_seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002  (these are the ones that SB3 draws from)
        random.seed(seed)
        self.inside = self._read()
        self._write(outside)

    @contextmanager
    def active(self) -> Iterator[None]:
        """Make them the global ones for a while."""
        outside = self._read()
        self._write(self.inside)
        try:
            yield
        finally:
            self.inside = self._read()
            self._write(outside)

    def _read(self) -> dict[str, Any]:
        states: dict[str, Any] = {
            "torch": torch.get_rng_state(),
            "numpy": np.random.get_state(),  # noqa: NPY002
            "python": random.getstate(),
        }
        if self.cuda:
            states["cuda"] = torch.cuda.get_rng_state()
        return states

    def _write(self, states: Mapping[str, Any]) -> None:
        torch.set_rng_state(states["torch"])
        np.random.set_state(states["numpy"])  # noqa: NPY002
        random.setstate(states["python"])
        if self.cuda:
            torch.cuda.set_rng_state(states["cuda"])

    def get_state(self) -> Arrays:
        """Return all of them."""
        _, key, *rest = self.inside["numpy"]
        arrays = {
            "torch": self.inside["torch"].numpy(),
            "numpy": pack([key.tolist(), *rest]),
            "python": pack(self.inside["python"]),
        }
        if self.cuda:
            arrays["cuda"] = self.inside["cuda"].numpy()
        return arrays

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restore them."""
        key, *rest = unpack(state["numpy"])
        version, words, gauss = unpack(state["python"])
        self.inside["torch"] = torch.as_tensor(state["torch"])
        self.inside["numpy"] = ("MT19937", np.array(key, np.uint32), *rest)
        self.inside["python"] = (version, tuple(words), gauss)
        if self.cuda and "cuda" in state:
            self.inside["cuda"] = torch.as_tensor(state["cuda"])


class Counters:
    """The plain attributes of an algorithm that training changes."""

    NAMES = (
        "num_timesteps",
        "_n_updates",
        "_n_calls",
        "_episode_num",
        "_current_progress_remaining",
        "_total_timesteps",
        "exploration_rate",
    )

    def __init__(self, model: Any) -> None:
        """Look after ``model``."""
        self.model = model

    def get_state(self) -> Arrays:
        """Return counters and the generator of random actions."""
        model = self.model
        values = {name: getattr(model, name) for name in self.NAMES if hasattr(model, name)}
        sampler = model.action_space.np_random.bit_generator.state
        return {"counters": pack({"values": values, "sampler": sampler})}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restore both."""
        kept = unpack(state["counters"])
        for name, value in kept["values"].items():
            setattr(self.model, name, value)
        self.model.action_space.np_random.bit_generator.state = kept["sampler"]


class Variables:
    """Tensors that belong to no module, such as SAC's entropy coefficient."""

    def __init__(self, model: Any, names: list[str]) -> None:
        """Look after the attributes ``names`` of ``model``."""
        self.model, self.names = model, names

    def get_state(self) -> dict[str, torch.Tensor]:
        """Return them."""
        return {name: getattr(self.model, name).detach() for name in self.names}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restore them in place: optimisers hold them."""
        for name in self.names:
            getattr(self.model, name).data.copy_(torch.as_tensor(state[name]))


class Replay:
    """The filled part of a replay buffer."""

    COLUMNS = ("observations", "next_observations", "actions", "rewards", "dones", "timeouts")

    def __init__(self, model: Any) -> None:
        """Look after the replay buffer of ``model``."""
        self.model = model

    def get_state(self) -> Arrays:
        """Return the columns up to the fill level, and where the next row goes."""
        buffer = self.model.replay_buffer
        size = buffer.buffer_size if buffer.full else buffer.pos
        state = {"position": np.array([buffer.pos, int(buffer.full)])}
        return state | {name: array[:size] for name, array in self._columns()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Restore them."""
        buffer = self.model.replay_buffer
        position, full = (int(v) for v in np.asarray(state["position"]))
        buffer.pos, buffer.full = position, bool(full)
        for name, array in self._columns():
            kept = np.asarray(state[name])
            array[: len(kept)] = kept

    def _columns(self) -> Iterator[tuple[str, np.ndarray]]:
        for name in self.COLUMNS:
            column = getattr(self.model.replay_buffer, name, None)
            if isinstance(column, dict):
                yield from ((f"{name}/{key}", array) for key, array in column.items())
            elif column is not None:
                yield name, column
