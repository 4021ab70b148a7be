"""The same faults on stable-baselines3, torch.save and bare safetensors, for comparison."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from faults import tensors
from hostile import Canary
from reliability_ours import Figures, _delays
from safetensors.torch import load_file, save_file
from stable_baselines3 import A2C, DQN, PPO, SAC


def _model(seed: int = 0) -> Any:
    return PPO("MlpPolicy", "CartPole-v1", seed=seed, device="cpu", n_steps=64)


def _weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.policy.state_dict().items()}


def _survives(path: Path, save: Callable[[], Any], load: Callable[[], Any], kills: int) -> int:
    """Kill a process that saves to one path in a loop; how often the file is still usable."""
    usable = 0
    for delay in _delays(kills, 0.01, 0.08):
        save()
        if (pid := os.fork()) == 0:
            while True:
                save()
        time.sleep(delay)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        try:
            load()
            usable += 1
        except Exception:
            path.unlink(missing_ok=True)
    return usable


def kills_while_saving(folder: Path, scale: float) -> Figures:
    """C1 on peers: kill -9 while saving in a loop to one path; is the file still usable?"""
    model, kills = _model(), round(300 * scale)
    state = {f"{i}": torch.rand(100, 100) for i in range(4)}
    zipped, pickled, bare = (folder / name for name in ("sb3.zip", "torch.pt", "bare.safetensors"))
    return {
        "kills": kills,
        "stable_baselines3_zip": _survives(
            zipped, lambda: model.save(zipped), lambda: PPO.load(zipped, device="cpu"), kills
        ),
        "torch_save": _survives(
            pickled, lambda: torch.save(state, pickled), lambda: torch.load(pickled), kills
        ),
        "safetensors_save_file": _survives(
            bare, lambda: save_file(state, bare), lambda: load_file(bare), kills
        ),
    }


def flips(folder: Path, scale: float) -> Figures:
    """C3 on peers: single flipped bits in a file; found means an error on loading."""
    state = {name: torch.as_tensor(value) for name, value in tensors().items()}
    state["weight"] = torch.rand(40, 40)
    pickled, bare, zipped = (folder / name for name in ("torch.pt", "bare.safetensors", "sb3.zip"))
    torch.save(state, pickled)
    save_file(state, bare)
    _model().save(zipped)
    rounds: list[tuple[str, Path, Any, int]] = [
        ("torch_load", pickled, lambda: torch.load(pickled, weights_only=True), 4000),
        ("safetensors", bare, lambda: load_file(bare), 4000),
        ("stable_baselines3_zip", zipped, lambda: PPO.load(zipped, device="cpu"), 400),
    ]
    figures: Figures = {}
    for name, path, load, count in rounds:
        content, random, found = path.read_bytes(), np.random.default_rng(0), 0
        made = round(count * scale)
        for _ in range(made):
            flipped = bytearray(content)
            flipped[int(random.integers(len(content)))] ^= 1 << int(random.integers(8))
            path.write_bytes(flipped)
            try:
                load()
            except Exception:
                found += 1
        figures[name] = {"flips": made, "found": found}
    return figures


def resume(folder: Path, scale: float) -> Figures:
    """C5 on stable-baselines3: learn 1024 steps, against 512, save, load, 512 more."""
    figures: Figures = {}
    kinds: list[tuple[Any, str, dict[str, Any]]] = [
        (PPO, "CartPole-v1", {"n_steps": 128}),
        (A2C, "CartPole-v1", {}),
        (DQN, "CartPole-v1", {"learning_starts": 100}),
        (SAC, "Pendulum-v1", {"learning_starts": 100}),
    ]
    for kind, env, settings in kinds:

        def fresh(kind: Any = kind, env: str = env, settings: Any = settings) -> Any:
            return kind("MlpPolicy", env, seed=0, device="cpu", **settings)

        whole = fresh().learn(1024)
        first = fresh().learn(512)
        first.save(folder / "model")
        if hasattr(first, "save_replay_buffer"):
            first.save_replay_buffer(folder / "replay")
        again = kind.load(folder / "model", env=first.get_env(), device="cpu")
        if hasattr(first, "save_replay_buffer"):
            again.load_replay_buffer(folder / "replay")
        again.learn(512, reset_num_timesteps=False)
        largest = max(
            float((v - _weights(again)[k]).abs().max()) for k, v in _weights(whole).items()
        )
        figures[kind.__name__] = {"bit_exact": largest == 0.0, "largest_difference": largest}
    figures["bit_exact"] = f"{sum(f['bit_exact'] for f in figures.values())} of {len(kinds)}"
    return figures


class Spoiled(gymnasium.Wrapper[Any, Any, Any, Any]):
    """Writes a NaN into one observation or reward."""

    def __init__(self, env: Any, name: str, at: int) -> None:
        """Spoil step ``at``."""
        super().__init__(env)
        self.name, self.at, self.count = name, at, 0

    def step(self, action: Any) -> Any:
        """Step."""
        observation, reward, *rest = self.env.step(action)
        self.count += 1
        if self.count == self.at:
            if self.name == "observation":
                observation = np.full_like(observation, np.nan)
            else:
                reward = float("nan")
        return observation, reward, *rest


def bad_values(folder: Path, scale: float) -> Figures:
    """W7 on stable-baselines3: one NaN at step 700 of 2000; are the weights finite at the end?"""
    figures: Figures = {}
    for kind, env in [(PPO, "CartPole-v1"), (A2C, "CartPole-v1"), (DQN, "CartPole-v1"),
                      (SAC, "Pendulum-v1")]:  # fmt: skip
        for name in ("observation", "reward"):
            spoiled = Spoiled(gymnasium.make(env), name, 700)
            settings = {"n_steps": 256} if kind is PPO else {}
            model, error = kind("MlpPolicy", spoiled, seed=0, device="cpu", **settings), "none"
            try:
                model.learn(2000)
            except Exception as raised:
                error = type(raised).__name__
            finite = all(bool(v.isfinite().all()) for v in _weights(model).values())
            figures[f"{kind.__name__} {name}"] = {"weights_finite": finite, "error": error}
    entries = list(figures.values())
    lost = sum(not entry["weights_finite"] for entry in entries)
    silent = sum(entry["error"] == "none" for entry in entries)
    return {**figures, "cases": len(entries), "weights_lost": lost, "without_error": silent}


def hostile_files(folder: Path, scale: float) -> Figures:
    """C8 on stable-baselines3: does PPO.load run code that the file holds?"""
    import base64
    import json
    import zipfile

    import cloudpickle

    _model().save(folder / "good.zip")
    canary = folder / "canary"
    payload = base64.b64encode(cloudpickle.dumps(Canary(canary))).decode()
    with (
        zipfile.ZipFile(folder / "good.zip") as good,
        zipfile.ZipFile(folder / "evil.zip", "w") as evil,
    ):
        for name in good.namelist():
            content = good.read(name)
            if name == "data":
                data = json.loads(content)
                data["lr_schedule"] = {":type:": "function", ":serialized:": payload}
                content = json.dumps(data).encode()
            evil.writestr(name, content)
    try:
        PPO.load(folder / "evil.zip", device="cpu")
    except Exception as error:
        return {"code_ran": canary.exists(), "error": type(error).__name__}
    return {"code_ran": canary.exists(), "error": "none"}


def full_disk(folder: Path, scale: float) -> Figures:
    """C4 on stable-baselines3: save over an old file without space; is the old one usable?"""
    import resource

    model, path = _model(), folder / "model.zip"
    model.save(path)
    size = path.stat().st_size
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    limits, usable = np.linspace(0, size - 1, round(60 * scale) or 1).astype(int), 0
    for limit in limits:
        model.save(path)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), hard))
        try:
            model.save(path)
        except Exception:
            pass
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        try:
            PPO.load(path, device="cpu")
            usable += 1
        except Exception:
            continue
    return {"limits": len(limits), "old_file_usable": usable}


EXPERIMENTS = {
    "C1-peers": kills_while_saving,
    "C3-peers": flips,
    "C4-peers": full_disk,
    "C5-peers": resume,
    "C8-peers": hostile_files,
    "W7-peers": bad_values,
}
