"""Simulated against measured time of placed modules: rank correlations.

    python benchmarks/placement_measured.py

Three networks are traced and measured operation by operation, then run for real under placements of
many kinds on two pinned CPU threads (with a GPU, on a CPU thread and the GPU too). Each placement's
time is the least of several passes, since other work on the machine only adds. Writes
results/placement_measured.json, which docs/placement.md quotes; some minutes.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from daedalus.accelerators.files import write_file
from daedalus.accelerators.placed_module import MeasuredPlacement
from daedalus.envs.placement.baselines import BASELINES
from daedalus.evaluation.provenance import hardware

RESULT = Path(__file__).parents[1] / "results" / "placement_measured.json"
PLACEMENTS, REPEATS = 40, 12


class Branches(nn.Module):
    """Four chains of linear layers side by side."""

    def __init__(self, width: int = 512, branches: int = 4, depth: int = 4) -> None:
        """Make the layers."""
        super().__init__()
        layers = [[nn.Linear(width, width) for _ in range(depth)] for _ in range(branches)]
        self.stem, self.head = nn.Linear(width, width), nn.Linear(branches * width, width)
        self.parts = nn.ModuleList(nn.Sequential(*part) for part in layers)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, width) to (N, width)."""
        x = self.stem(x)
        output: Tensor = self.head(torch.cat([part(x) for part in self.parts], 1))
        return output


class Inception(nn.Module):
    """Three blocks of convolutions of several sizes side by side."""

    def __init__(self, channels: int = 32, blocks: int = 3) -> None:
        """Make the layers."""
        super().__init__()
        self.stem = nn.Conv2d(3, 4 * channels, 3, padding=1)
        sizes = (1, 3, 3, 5)
        self.sizes = len(sizes)
        self.parts = nn.ModuleList(
            nn.Conv2d(4 * channels, channels, k, padding=k // 2) for k in sizes * blocks
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map images (N, 3, H, W) to features."""
        x = self.stem(x)
        parts = list(self.parts)
        for i in range(0, len(parts), self.sizes):
            x = torch.cat([torch.relu(part(x)) for part in parts[i : i + self.sizes]], 1)
        return x.mean((2, 3))


class Attention(nn.Module):
    """Two blocks of attention with separate heads, and a feed-forward layer."""

    def __init__(self, width: int = 256, heads: int = 4, blocks: int = 2) -> None:
        """Make the layers."""
        super().__init__()
        self.count, each = heads, 3 * width // heads
        self.heads = nn.ModuleList(nn.Linear(width, each) for _ in range(heads * blocks))
        self.feed = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, T, width) to the same."""
        heads = list(self.heads)
        for block, feed in enumerate(self.feed):
            outputs = []
            for head in heads[block * self.count : (block + 1) * self.count]:
                query, key, value = head(x).chunk(3, -1)
                weights = torch.softmax(query @ key.transpose(-1, -2), -1)
                outputs.append(weights @ value)
            x = x + feed(torch.cat(outputs, -1))
        return x


def placements(env: MeasuredPlacement, rng: np.random.Generator) -> list[np.ndarray]:
    """Return baselines and random placements of all mixtures."""
    problem, devices = env.problem, len(env.placed.devices)
    found = [place(problem) for place in BASELINES.values()]
    plans = [plan[problem.graph.arrays.group] for plan in found if plan is not None]
    while len(plans) < PLACEMENTS:
        shares = rng.dirichlet(np.full(devices, 0.7))
        plans.append(rng.choice(devices, problem.graph.operations, p=shares))
    return plans


def correlation(a: list[float], b: list[float]) -> float:
    """Return Spearman's rank correlation; equal values share the mean of their ranks."""
    return float(np.corrcoef(_ranks(a), _ranks(b))[0, 1])


def _ranks(values: list[float]) -> np.ndarray:
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: np.ndarray = (np.cumsum(counts) - (counts - 1) / 2)[place]
    return ranks


def compare(module: nn.Module, inputs: Tensor, devices: tuple[str, ...]) -> dict[str, Any]:
    """Run one network under many placements."""
    env = MeasuredPlacement(module, (inputs,), devices, repeats=REPEATS)
    env.reset(seed=0)
    infos = [env.step(plan)[4] for plan in placements(env, np.random.default_rng(0))]
    simulated, measured = ([info[k] for info in infos] for k in ("simulated", "run_time"))
    return {
        "operations": env.problem.graph.operations,
        "simulated": simulated,
        "measured": measured,
        "rank correlation": correlation(simulated, measured),
    }


def main() -> None:
    """Measure and write the record."""
    generator = torch.Generator().manual_seed(0)
    tasks: dict[str, tuple[nn.Module, Tensor]] = {
        "branches": (Branches(), torch.randn(256, 512, generator=generator)),
        "inception": (Inception(), torch.randn(8, 3, 32, 32, generator=generator)),
        "attention": (Attention(), torch.randn(8, 128, 256, generator=generator)),
    }
    kinds = [("cpu", "cpu")] + ([("cpu", "cuda")] if torch.cuda.is_available() else [])
    result: dict[str, Any] = {"hardware": hardware(), "networks": {}}
    for devices in kinds:
        for name, (module, inputs) in tasks.items():
            found = compare(module, inputs, devices)
            result["networks"][f"{name} on {' + '.join(devices)}"] = found
            print(f"{name} on {devices}: {found['rank correlation']:.2f}", flush=True)
    write_file(RESULT, (json.dumps(result, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
