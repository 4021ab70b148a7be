"""Permuted digits: what fine-tuning, L2, EWC and SI keep of three tasks learnt one after another.

    python benchmarks/permuted_digits.py --seeds 5

Each task is the same digits with the pixels in another order, for one network with one head; no
method is told which task it sees. The losses and penalties are those of `daedalus.agents`. The
digits are handwritten, of 8 x 8 pixels: data/digits.csv.gz. Every finished run is kept in
results/permuted-digits.json and not run again; then docs/permuted-digits.md and its figure are
written. About a minute a seed. ``--scaled`` instead prints what remains with inputs and weights of
another scale, and keeps nothing; two minutes.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from evidence import packages, short, show, with_interval
from torch import Tensor, nn

from daedalus.accelerators.files import write_file
from daedalus.agents.consolidation import L2, Consolidation, Likelihoods
from daedalus.agents.ewc import EWC, batch_gradient_fisher, categorical_outcomes
from daedalus.agents.si import SI
from daedalus.evaluation.provenance import commit, hardware, versions

ROOT = Path(__file__).parents[1]
DOCS, STORED = ROOT / "docs", ROOT / "results" / "permuted-digits.json"
DATA = Path(__file__).parent / "data" / "digits.csv.gz"
TRAIN, EPOCHS, BATCH, RATE = 1400, 20, 64, 1e-3


class Digits(NamedTuple):
    """Images (N, 64) in [0, 1] and their labels (N,)."""

    image: Tensor
    label: Tensor


@functools.cache
def digits() -> tuple[Digits, Digits]:
    """Return `TRAIN` of the 1,797 digits, drawn once for all, and the rest to test with."""
    table = np.random.default_rng(0).permutation(np.loadtxt(DATA, delimiter=",", dtype=np.int64))
    rows = torch.from_numpy(table)
    images, labels = rows[:, :64].float() / 16, rows[:, 64]
    return Digits(images[:TRAIN], labels[:TRAIN]), Digits(images[TRAIN:], labels[TRAIN:])


# -------------------------------------------------------------------------------- the methods


class BatchGradientEWC(EWC):
    """EWC with the square of batches' mean gradients in the place of F: a common mistake."""

    def finish(self, task: str, likelihoods: Likelihoods) -> None:
        """Put it and the anchor."""
        outcomes = [samples[0][1] for samples in likelihoods]  # one drawn for each sample
        batches = [torch.stack(outcomes[i : i + BATCH]) for i in range(0, len(outcomes), BATCH)]
        wrong = batch_gradient_fisher(self.parameters, batches)
        self.put("online", wrong + self._before(), self.vector())

    def _before(self) -> Tensor:
        before = self.terms.get("online")
        return torch.zeros_like(self.vector()) if before is None else before.importance


@dataclasses.dataclass(frozen=True)
class Method:
    """A line of the table: how to protect parameters, with which strengths c.

    The penalty is c sum I d^2 for all of them, around the latest parameters for L2 and EWC online,
    so strengths can be compared; lambda is 2 c.
    """

    make: Callable[[list[nn.Parameter], float], Consolidation] | None
    strengths: tuple[float, ...] = (0.0,)


METHODS = {
    "fine-tuning": Method(None),
    "L2": Method(lambda p, c: L2(p, 2 * c), (0.003, 0.01, 0.03, 0.1)),
    "EWC": Method(lambda p, c: EWC(p, 2 * c), (30, 100, 300)),
    "EWC, online": Method(lambda p, c: EWC(p, 2 * c, decay=1.0), (100,)),
    "squared batch gradients": Method(
        lambda p, c: BatchGradientEWC(p, 2 * c, decay=1.0), (100, 10_000)
    ),
    "SI": Method(lambda p, c: SI(p, c, damping=0.1), (10, 30, 100)),
}
JOINT = "all tasks at once"


def network(scaled: bool = False) -> nn.Sequential:
    """Return 64-256-256-10 with ReLU; ``scaled`` begins with the weights of He et al. (2015)."""
    layers = (nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10))
    if scaled:
        for layer in layers[::2]:
            nn.init.kaiming_normal_(layer.weight)
            nn.init.zeros_(layer.bias)
    return nn.Sequential(*layers)


def train(model: nn.Module, kept: Consolidation | None, data: Digits, rng: Any) -> None:
    """Learn a task with Adam from its start."""
    optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
    for _ in range(EPOCHS):
        order = torch.from_numpy(rng.permutation(len(data.label)))
        for rows in order.split(BATCH):
            optimizer.zero_grad()
            F.cross_entropy(model(data.image[rows]), data.label[rows]).backward()
            if kept is not None:
                kept.before_step()
            optimizer.step()
            if kept is not None:
                kept.after_step()


def outcomes(model: nn.Module, data: Digits, generator: torch.Generator) -> Likelihoods:
    """Yield an outcome drawn from the model for each image; labels of the data are not used."""
    for image in data.image:
        yield list(categorical_outcomes(model(image), generator))


def accuracy(model: nn.Module, data: Digits) -> float:
    """Return the share of right answers."""
    with torch.no_grad():
        return float((model(data.image).argmax(1) == data.label).double().mean())


def run(
    name: str, strength: float, seed: int, tasks: int, *, scaled: bool = False
) -> list[list[float]]:
    """Learn ``tasks`` permutations in turn; return R[i][j], accuracy on j after i."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model, parts = network(scaled), list(permuted(seed, tasks, scaled))
    if name == JOINT:
        train(model, None, Digits(*map(torch.cat, zip(*(p[0] for p in parts), strict=True))), rng)
        return [[accuracy(model, test) for _, test in parts]] * tasks
    method = METHODS[name]
    kept = method.make(list(model.parameters()), strength) if method.make else None
    generator = torch.Generator().manual_seed(seed)
    matrix = []
    for task, (data, _) in enumerate(parts):
        train(model, kept, data, rng)
        if kept is not None:
            kept.finish(str(task), outcomes(model, data, generator))
        matrix.append([accuracy(model, test) for _, test in parts])
    return matrix


def permuted(seed: int, tasks: int, scaled: bool = False) -> Iterator[tuple[Digits, Digits]]:
    """Yield training and test digits of each task; the first has the pixels in order.

    Pixels are in [0, 1], or ``scaled`` to mean 0 and deviation 1 over all of the training images.
    """
    rng = np.random.default_rng((seed, 1))
    image = digits()[0].image
    mean, deviation = (image.mean(), image.std()) if scaled else (0.0, 1.0)
    for task in range(tasks):
        order = torch.arange(64) if task == 0 else torch.from_numpy(rng.permutation(64))
        train_set, test_set = (
            Digits((part.image[:, order] - mean) / deviation, part.label) for part in digits()
        )
        yield train_set, test_set


# ------------------------------------------------------------------------------- the evidence


def run_all(seeds: int, tasks: int) -> None:
    """Run what is missing, all methods of a seed before the next seed."""
    stored = json.loads(STORED.read_text()) if STORED.exists() else {"runs": {}}
    work = [(n, c) for n, m in METHODS.items() for c in m.strengths] + [(JOINT, 0.0)]
    for seed in range(seeds):
        for name, strength in work:
            key = f"{name} c={strength:g} seed={seed}"
            if key in stored["runs"]:
                continue
            began = time.perf_counter()
            matrix = run(name, strength, seed, tasks)
            stored["runs"][key] = {"method": name, "strength": strength, "seed": seed}
            stored["runs"][key] |= {"matrix": matrix}
            print(f"{key}: {np.mean(matrix[-1]):.3f}, {time.perf_counter() - began:.1f} s")
            stored["provenance"] = {
                **{"commit": commit(), "versions": versions(), "hardware": hardware()},
                "command": f"python benchmarks/permuted_digits.py --seeds {seeds}",
            }
            write_file(STORED, (json.dumps(stored) + "\n").encode())


def print_scaled(seeds: int) -> None:
    """Print what remains with inputs and weights of another scale."""
    for name, strength in (
        ("fine-tuning", 0.0),
        ("L2", 0.03),
        ("EWC, online", 100.0),
        ("SI", 30.0),
    ):
        last = [run(name, strength, seed, 3, scaled=True)[-1] for seed in range(seeds)]
        each = ", ".join(f"{value:.2f}" for value in np.mean(last, 0))
        print(f"{name} {strength:g}: {np.mean(last):.3f}, on each task {each}", flush=True)


def table(stored: dict[str, Any]) -> list[dict[str, Any]]:
    """Return a row for each method and strength: what remains after the last task."""
    rows: list[dict[str, Any]] = []
    for run_ in stored["runs"].values():
        key = (run_["method"], run_["strength"])
        if key not in [(row["method"], row["strength"]) for row in rows]:
            same = [r for r in stored["runs"].values() if (r["method"], r["strength"]) == key]
            last = np.array([r["matrix"][-1] for r in same])
            rows.append(
                {
                    **{"method": key[0], "strength": key[1], "runs": len(same)},
                    **{"mean": with_interval(last.mean(1)), "tasks": last.mean(0).tolist()},
                }
            )
    return rows


def best(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return each method's row with the best strength."""
    names = dict.fromkeys(row["method"] for row in rows)
    return [max((r for r in rows if r["method"] == n), key=_of_mean) for n in names]


def _of_mean(row: dict[str, Any]) -> float:
    return float(row["mean"]["iqm"])


def draw(stored: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Draw the first task's accuracy over tasks, and the digits themselves."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(
        1, 2, figsize=(9, 3.8), dpi=120, width_ratios=[2, 1], layout="constrained"
    )
    for row in best(rows):
        same = [
            np.array(r["matrix"])
            for r in stored["runs"].values()
            if (r["method"], r["strength"]) == (row["method"], row["strength"])
        ]
        first = np.array([matrix[:, 0] for matrix in same])
        label = row["method"] + (f", c = {row['strength']:g}" if row["strength"] else "")
        at = np.arange(1, first.shape[1] + 1)
        (line,) = left.plot(at, first.mean(0), marker=".", label=label)
        left.fill_between(at, first.min(0), first.max(0), color=line.get_color(), alpha=0.12)
    left.set(xlabel="tasks learnt", ylabel="accuracy on the first task", xticks=at, ylim=(0, 1.02))
    left.legend(frameon=False, fontsize=8, loc="lower left")
    left.spines[["top", "right"]].set_visible(False)
    shown = np.pad(digits()[1].image[:30].numpy().reshape(6, 5, 8, 8), 1)[1:-1, 1:-1]
    right.imshow(1 - shown.transpose(0, 2, 1, 3).reshape(60, 50), cmap="gray")
    right.set(title="digits of the first task", xticks=[], yticks=[])
    figure.savefig(DOCS / "images" / "permuted-digits.png")
    plt.close(figure)


PAGE = """# What do EWC and SI keep of permuted digits?

**After three tasks EWC has 0.83 and SI 0.81 on all of them, fine-tuning 0.61.**

Tasks one after another, each the same digits with the pixels in another order, for one network with
one head. A penalty around earlier parameters keeps what earlier tasks need:

    L(theta) + c sum_k I_k (theta_k - theta*_k)^2

with I = 1 (L2), the Fisher information (EWC, Kirkpatrick et al. 2017) or the path integral (SI,
Zenke et al. 2017).

![accuracy on the first task while others are learnt](images/permuted-digits.png)

| method | c | seeds | mean accuracy after the last task | on each task |
|---|---:|---:|---:|---:|
{rows}

Interquartile means over seeds with 95 % bootstrap intervals; the figure shows each method at its
best strength, means and ranges over seeds. All strengths that were tried are in the table. The
network is 64-256-256-10 with ReLU; Adam with a step of 1e-3, begun anew for each task; {epochs}
epochs of {train:,} images in batches of {batch}; {test} other images test.

The digits are the 1,797 handwritten ones of Alpaydin and Kaynak (1998), 8 x 8 pixels, with their
licence in `benchmarks/data/`, their pixels in [0, 1].

A prototype of this experiment, three seeds with the same network, steps and digits, had 0.69 with
fine-tuning, 0.86 with the best L2, 0.93 with EWC online at 100 and 0.94 with SI at 30: more is kept
than here. How pixels were scaled and weights begun there is not known, and these two are enough
for such a difference: with pixels of mean 0 and deviation 1 in place of [0, 1], and the weights of
He et al. (2015) in place of PyTorch's, which begin smaller, three seeds had 0.87 with L2 at 0.03,
0.91 with EWC online at 100 (0.85 to 0.96) and 0.94 with SI at 30 (`--scaled`, not kept). But
fine-tuning had 0.79 with them, more than there, so that what else differs is not known.

*Squared batch gradients* stand in many programs for the Fisher information. With outcomes drawn
from the model, as here, they are in expectation the Fisher information over the batch size of
{batch}: at the same c they protect little, at 100 times the c they do as well. (With the labels of
the data, as most of those programs have it, they also vanish where training has converged.)

`{command}`; {processor}; {packages}; commit `{commit}`. All runs are in
`results/permuted-digits.json`.
"""


def write_page(stored: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Write the page."""
    lines = [
        f"| {row['method']} | {row['strength'] or '-'} | {row['runs']} | {show(row['mean'], '.3f')}"
        f" | {', '.join(f'{value:.2f}' for value in row['tasks'])} |"
        for row in rows
    ]
    source = stored["provenance"]
    text = PAGE.format(
        **{
            "rows": "\n".join(lines),
            "epochs": EPOCHS,
            "train": TRAIN,
            "test": len(digits()[1].label),
        },
        **{"batch": BATCH, "command": source["command"]},
        processor=source["hardware"]["processor"],
        packages=packages(source["versions"]),
        commit=short(source["commit"]),
    )
    (DOCS / "permuted-digits.md").write_text(text, encoding="utf-8")


def main() -> None:
    """Run what is missing, then write figure and page."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=5, help="runs of each method and strength")
    parser.add_argument("--scaled", action="store_true", help="print another scale, three seeds")
    parser.add_argument("--summary", action="store_true", help="only rewrite figure and page")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.scaled:
        print_scaled(seeds=3)
        return
    if not arguments.summary:
        run_all(arguments.seeds, tasks=3)
    stored = json.loads(STORED.read_text(encoding="utf-8"))
    rows = table(stored)
    draw(stored, rows)
    write_page(stored, rows)
    print("see docs/permuted-digits.md")


if __name__ == "__main__":
    main()
