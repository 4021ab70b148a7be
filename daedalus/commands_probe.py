"""``daedalus probe robustness | trust | sight | similarity``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from daedalus.commands_score import open_run
from daedalus.options import refuse
from daedalus.output import check_output, write_output
from daedalus.parsing import (
    Count,
    MaybeCount,
    MaybeFloat,
    MaybeText,
    Positive,
    UsageError,
    positional,
)

FIGURES = (".png", ".svg", ".pdf", ".jpg")


@dataclass
class _Common:
    """What all probes are told."""

    path: Annotated[tyro.conf.Positional[str], positional("RUN")]
    """Run directory, or a zip of stable-baselines3."""
    env: MaybeText = None
    """Environment or scenario (auto: the one it was trained in)."""
    env_kwargs: tuple[str, ...] = ()
    """Parameters of the environment as key=value, in place of the run's."""
    seed: Count = 0
    """Chooses the held-out seeds."""
    step: MaybeCount = None
    """Checkpoint to load (auto: the newest)."""
    device: str = "auto"
    """auto, cpu or cuda."""
    agent: MaybeText = None
    """Algorithm of a stable-baselines3 zip, such as ppo (auto: a run knows its own)."""
    trust: bool = False
    """Read a stable-baselines3 zip although it runs code that it holds."""

    def _open(self) -> tuple[Any, Any]:
        trained, task = open_run(self.path, self)
        self._trained, self._task = trained, task
        return trained, task

    def _default(self, name: str) -> Path:
        """Where a figure or video goes unless told otherwise: into the run."""
        folder = self._trained.path if self._trained.path.is_dir() else Path()
        return folder / "probes" / name

    @property
    def _title(self) -> str:
        return f"{self._trained.agent.name} after {self._trained.step:,} steps, {self._task.name}"


@dataclass
class _Probe(_Common):
    """What probes that measure are told."""

    num_envs: Positive = 32
    """Copies of the environment stepped together."""
    output: MaybeText = None
    """JSON file for all numbers (auto: none)."""

    def _open(self) -> tuple[Any, Any]:
        check_output(self.output)
        return super()._open()

    def _figure(self, figure: str | None, name: str) -> Path:
        """Return the figure's file, which can be written."""
        path = Path(figure) if figure else self._default(f"{name}.png")
        if path.suffix not in FIGURES:
            raise UsageError(f"--figure {path}: the name must end in {', '.join(FIGURES)}")
        check_output(path)
        return path

    def _write(self, data: Mapping[str, Any]) -> None:
        if self.output:
            named = {"env": self._task.env, "env_kwargs": self._task.env_kwargs, **data}
            write_output(self.output, json.dumps(named, indent=1))


@dataclass
class Robustness(_Probe):
    """Score a run under perturbations: noise, colours, blur, occlusion, late actions, attacks.

    Prints a table, and draws score against strength, one small figure per perturbation. The
    attacks (fgsm, pgd) know the agent's weights. --change gives the environment other parameters:
    other dynamics, other looks.

    Examples:
      daedalus probe robustness runs/last
      daedalus probe robustness runs/last --kinds noise sticky --strengths 0.05 0.1 0.2
      daedalus probe robustness runs/last --kinds none --change speed=0.2,0.4 --change turn=10,20
    """

    kinds: tuple[str, ...] = ()
    """Perturbations, or none (auto: all that apply here)."""
    strengths: tuple[float, ...] = ()
    """Strengths for the --kinds (auto: each one's own)."""
    change: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """A parameter of the environment and values for it, key=value,value; may be repeated."""
    episodes: Positive = 50
    """Held-out episodes of every point."""
    deterministic: bool = False
    """Take the most likely action instead of drawing from the policy."""
    figure: MaybeText = None
    """Figure to draw, .png, .svg, .pdf or .jpg (auto: probes/robustness.png in the run)."""

    def run(self) -> int:
        """Probe, print the table and draw the figure."""
        from daedalus.evaluation.probes import robustness as probe
        from daedalus.lookup import naming_parameters

        kinds = self._kinds()
        changes = dict(map(_values, self.change))
        trained, task = self._open()
        figure = self._figure(self.figure, "robustness")
        _try(task, changes)
        with naming_parameters(task), _Progress() as progress:
            found = probe.robustness(
                trained.agent,
                task.env,
                kinds,
                changes=changes,
                episodes=self.episodes,
                seed=self.seed,
                num_envs=self.num_envs,
                deterministic=self.deterministic,
                env_kwargs=task.env_kwargs,
                progress=progress,
            )
        self._write(probe.as_data(found))
        print(f"{self._title}, {self.episodes} episodes a point")
        print(probe.table(found))
        if found.points:
            print(f"wrote {probe.draw(figure, found, self._title)}")
        return 0

    def _kinds(self) -> dict[str, Sequence[float] | None] | None:
        """Return kinds with their strengths, None for all.

        Raises:
            UsageError: Strengths for perturbations of different units, or an unknown kind.
        """
        from daedalus.evaluation.probes.perturbations import KINDS
        from daedalus.parsing import nearest

        if self.kinds == ("none",):
            return {}
        for name in self.kinds:
            if name not in KINDS:
                hint = nearest(name, KINDS) or f"; known: {', '.join(KINDS)}"
                raise UsageError(f"unknown perturbation {name!r}{hint}")
        if self.strengths and not self.kinds:
            raise UsageError("--strengths are for the perturbations that --kinds names")
        if any(strength < 0 for strength in self.strengths):
            raise UsageError("--strengths must not be negative")
        if "delay" in self.kinds and not all(s.is_integer() for s in self.strengths):
            raise UsageError("--strengths of delay are whole numbers of steps")
        return dict.fromkeys(self.kinds, self.strengths or None) if self.kinds else None


@dataclass
class Trust(_Probe):
    """Ask whether a run's value and confidence mean what they say, and fall where it is lost.

    Calibration of the value and of the prediction of success, with temperature scaling; and how
    well confidence, entropy and (with --ensemble) disagreement tell perturbed observations and
    --foreign environments from those it was trained on.

    Examples:
      daedalus probe trust runs/last
      daedalus probe trust runs/a --ensemble runs/b runs/c --foreign collect_inverted
    """

    ensemble: tuple[str, ...] = ()
    """Runs of the same kind from other seeds; their values vote."""
    foreign: tuple[str, ...] = ()
    """Environments or scenarios with the same spaces that it was not trained in."""
    threshold: MaybeFloat = None
    """Return of an episode from which it is a success (auto: the median)."""
    episodes: Positive = 100
    """Held-out episodes of every environment."""
    figure: MaybeText = None
    """Figure to draw, .png, .svg, .pdf or .jpg (auto: probes/trust.png in the run)."""

    def run(self) -> int:
        """Probe, print the tables and draw the figure."""
        from daedalus.evaluation.probes import trust as probe
        from daedalus.evaluation.probes import trust_report as report
        from daedalus.evaluation.runs import load_run
        from daedalus.lookup import find_task, naming_parameters

        if self.episodes < 8:
            raise UsageError("--episodes must be at least 8: they are split in three parts")
        trained, task = self._open()
        figure = self._figure(self.figure, "trust")
        agents = [trained.agent, *(load_run(p, device=self.device).agent for p in self.ensemble)]
        foreign = {name: find_task(name) for name in self.foreign}
        with naming_parameters(task), _Progress() as progress:
            found = probe.trust(
                agents,
                task.env,
                foreign={name: (t.env, t.env_kwargs) for name, t in foreign.items()},
                threshold=self.threshold,
                episodes=self.episodes,
                seed=self.seed,
                num_envs=self.num_envs,
                env_kwargs=task.env_kwargs,
                progress=progress,
            )
        self._write(report.as_data(found))
        print(f"{self._title}, {self.episodes} episodes")
        print(report.text(found))
        print(f"wrote {report.draw(figure, found, self._title)}")
        return 0


@dataclass
class Similarity(_Probe):
    """Compare what two runs' networks represent, layer by layer (SVCCA), on the same states.

    1 means the same up to a linear map, what random networks share comes out too: --beside
    untrained compares with the network before any training.

    Examples:
      daedalus probe similarity runs/a --beside runs/b
      daedalus probe similarity runs/last --beside untrained
      daedalus probe similarity runs/last --beside-step 100000     an earlier checkpoint
    """

    beside: MaybeText = None
    """Another run, or untrained (auto: the same run)."""
    beside_step: MaybeCount = None
    """Checkpoint of the other run (auto: the newest)."""
    points: Positive = 4000
    """Observations to compare on."""

    def run(self) -> int:
        """Compare and print a row per layer."""
        from daedalus.evaluation.probes.similarity import similarity
        from daedalus.evaluation.report import columns
        from daedalus.lookup import naming_parameters

        if self.beside is None and self.beside_step is None:
            raise UsageError("say with what: --beside RUN, --beside untrained or --beside-step N")
        trained, task = self._open()
        with naming_parameters(task):
            found = similarity(
                [trained.agent, self._other(trained)],
                task.env,
                points=self.points,
                seed=self.seed,
                num_envs=self.num_envs,
                env_kwargs=task.env_kwargs,
            )
        rows = [("layer", "similarity", "directions kept", "observations")]
        rows += [
            (
                name,
                f"{s.mean:.3f}",
                f"{s.kept[0]} and {s.kept[1]}",
                f"{s.points:,}" + ("" if s.is_reliable else " (too few: take 5 x the directions)"),
            )
            for name, s in found.items()
        ]
        self._write({name: {"mean": s.mean, "kept": s.kept} for name, s in found.items()})
        print(self._title)
        print(columns(rows))
        return 0

    def _other(self, trained: Any) -> Any:
        from daedalus.evaluation.runs import load_run

        if self.beside == "untrained":
            agent = trained.agent
            return type(agent)(agent.spaces, agent.config, seed=agent.seed + 1, device=self.device)
        return load_run(self.beside or self.path, step=self.beside_step, device=self.device).agent


@dataclass
class Sight(_Common):
    """Show which pixels decide: heat maps over what the agent sees, in a window, page or video.

    The methods: grad_cam, integrated_gradients (checked for completeness), occlusion.

    Examples:
      daedalus probe sight runs/last
      daedalus probe sight runs/last --method occlusion --of value --video sight.mp4
    """

    method: str = "grad_cam"
    """grad_cam, integrated_gradients or occlusion."""
    of: str = "action"
    """What is explained: the logit of the most likely action, or the value."""
    episodes: Positive = 1
    """Episodes to show."""
    video: MaybeText = None
    """File to write, .mp4 or .gif (auto: a window, or an mp4 without a display)."""
    page: bool = False
    """Serve a live page for browsers instead."""
    deterministic: bool = False
    """Take the most likely action instead of drawing from the policy."""

    def run(self) -> int:
        """Watch through the method's eyes."""
        from daedalus.evaluation.probes.sight import METHODS, Sighted
        from daedalus.evaluation.watch import Page, has_display, watch
        from daedalus.lookup import naming_parameters

        if self.method not in METHODS or self.of not in ("action", "value"):
            raise UsageError(f"--method is {', '.join(METHODS)}; --of is action or value")
        if self.page:
            refuse(self, ("video",), "with --page no file is written; leave one of them out")
        trained, task = self._open()
        sighted = Sighted(trained.agent, self.method, of=self.of, deterministic=self.deterministic)
        video = Path(self.video) if self.video else None
        if video is None and not self.page and not has_display():
            video = self._default("sight.mp4")
        with naming_parameters(task):
            written = watch(
                sighted,
                task.env,
                episodes=self.episodes,
                video=video,
                page=Page(port=8035) if self.page else None,
                seed=self.seed,
                env_kwargs=task.env_kwargs,
            )
        if written is not None:
            print(f"wrote {written}")
        return 0


def _try(task: Any, changes: Mapping[str, Sequence[Any]]) -> None:
    """Make the environment with every change, before any work.

    Raises:
        UsageError: It has no such parameter; names the nearest.
    """
    from daedalus.accelerators.vector import make_batch
    from daedalus.lookup import naming_parameters

    for key, values in changes.items():
        for value in values:
            changed = replace(task, env_kwargs={**task.env_kwargs, key: value})
            with naming_parameters(changed):
                make_batch(changed.env, 1, env_kwargs=changed.env_kwargs).close()


def _values(text: str) -> tuple[str, list[Any]]:
    """Split ``key=value,value``."""
    from daedalus.lookup import plain_value

    key, sign, values = text.partition("=")
    if not sign or not key.isidentifier() or not values:
        raise UsageError(f"expected key=value,value after --change, got {text!r}")
    return key, [plain_value(value, key) for value in values.split(",")]


class _Progress:
    """A bar on a terminal, nothing elsewhere."""

    def __enter__(self) -> Any:
        """Return a function of (done, total, name)."""
        from rich.console import Console
        from rich.progress import Progress

        console = Console(stderr=True)
        self._rich = Progress(console=console, transient=True, disable=not console.is_terminal)
        self._rich.start()
        task = self._rich.add_task("", total=None)

        def show(done: int, total: int, name: str) -> None:
            self._rich.update(task, completed=done, total=total, description=name)

        return show

    def __exit__(self, *_: object) -> None:
        self._rich.stop()
