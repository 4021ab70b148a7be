"""What one call of a `VectorEnv` returns, and what its autoreset mode promises."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from daedalus.envs.checker.checker import Checker
from daedalus.envs.checker.values import Leaf, arrays, fingerprint, problems, summary
from daedalus.envs.checker.vector_trace import (
    AnyVectorEnv,
    VectorStep,
    final_observation,
    rows_of,
)

_COLUMNS = {"reward": "fiu", "terminated": "b", "truncated": "b"}  # kinds of dtype


class Watch:
    """Looks at every call of one play."""

    def __init__(self, checker: Checker, envs: AnyVectorEnv, mode: AutoresetMode) -> None:
        """Prepare the checks.

        Args:
            checker: Where findings go.
            envs: The environment.
            mode: Its autoreset mode.
        """
        self.add, self.envs, self.mode = checker.add, envs, mode
        self.copies = bool(getattr(envs, "copy", True)) and bool(getattr(envs, "_copy", True))
        self.kept: tuple[VectorStep, dict[str, Leaf]] | None = None

    def __call__(self, step: VectorStep) -> None:
        """Look at one call, before anything else happens."""
        where = f"{step.kind} {step.index}"
        self._check_values(self.envs.observation_space, step.result[0], "observation", where)
        if not isinstance(step.result[-1], dict):
            self.add("type", "info", where, "a dict", summary(step.result[-1]))
        self._check_ownership(step, where)
        if step.kind == "step":
            self._check_columns(step, where)
            ended = np.asarray(step.result[2], bool) | np.asarray(step.result[3], bool)
            if self.mode is AutoresetMode.NEXT_STEP:
                self._check_reset_step(step, ended, where)
            elif self.mode is AutoresetMode.SAME_STEP:
                self._check_final(ended, step.result[4], where)
        elif step.before is not None:
            self._check_masked_reset(step, where)

    def _check_values(self, space: Any, value: Any, name: str, where: str) -> None:
        for check, field, expected, got, severity in problems(space, value, name):
            self.add(check, field, where, expected, got, severity)

    def _check_columns(self, step: VectorStep, where: str) -> None:
        shape = (self.envs.num_envs,)
        for (name, kinds), value in zip(_COLUMNS.items(), step.result[1:4], strict=True):
            wanted = f"a {'bool' if kinds == 'b' else 'float'} array {shape}"
            array = isinstance(value, np.ndarray) and value.shape == shape
            if not array or value.dtype.kind not in kinds:
                self.add("type", name, where, wanted, summary(value))
            elif not np.isfinite(value).all():
                self.add("finite", name, where, "finite numbers", summary(value))

    def _check_ownership(self, step: VectorStep, where: str) -> None:
        """What was returned stays as it was, unless the environment says that it does not copy."""
        if self.kept is not None and self.copies:
            previous, before = self.kept
            for name, leaf in _columns(previous).items():
                if leaf != before[name]:
                    expected = "what was returned to stay as it was"
                    got = f"{before[name].summary} became {leaf.summary}"
                    self.add("ownership", name, where, expected, got)
        self.kept = step, _columns(step)

    def _check_reset_step(self, step: VectorStep, ended: np.ndarray, where: str) -> None:
        for i in np.flatnonzero(step.mask):
            reward = step.result[1][i]
            if ended[i] or reward != 0:
                expected = "reward 0 and no end in the step that only resets (NEXT_STEP)"
                got = f"reward {reward}, ended {bool(ended[i])} in environment {i}"
                self.add("autoreset", "step()", where, expected, got)

    def _check_final(self, ended: np.ndarray, infos: dict[str, Any], where: str) -> None:
        if ended.any() and "final_obs" not in infos:
            expected = "info['final_obs'] where an episode ended (SAME_STEP)"
            got = f"an info with {sorted(infos)}"
            self.add("final_obs", "info['final_obs']", where, expected, got)
            return
        nowhere = np.zeros(self.envs.num_envs, bool)
        mask = np.asarray(infos.get("_final_obs", nowhere), bool)
        if not np.array_equal(mask, ended):
            expected, got = f"{ended.tolist()}", f"{mask.tolist()}"
            self.add("final_obs", "info['_final_obs']", where, expected, got)
        for i in np.flatnonzero(ended):
            final = final_observation(self.envs, infos, int(i))
            space = self.envs.single_observation_space
            self._check_values(space, final, "info['final_obs']", where)
        self._check_next_observation(ended, infos, where)

    def _check_next_observation(self, ended: np.ndarray, infos: Any, where: str) -> None:
        """Our own batches say what a step led to in an array of its own."""
        following = getattr(getattr(self.envs, "batch", None), "next_observation", None)
        if following is None:
            return
        following = next(iter(following.values())) if len(following) == 1 else following
        for i in np.flatnonzero(ended):
            got = rows_of(self.envs, following)[i]
            expected = final_observation(self.envs, infos, int(i))
            if fingerprint(got, "") != fingerprint(expected, ""):
                expected, got = summary(expected), summary(got)
                self.add("final_obs", "next_observation", where, expected, got)

    def _check_masked_reset(self, step: VectorStep, where: str) -> None:
        before, after = rows_of(self.envs, step.before), rows_of(self.envs, step.result[0])
        for i in np.flatnonzero(~step.mask):
            if self.copies and fingerprint(before[i], "") != fingerprint(after[i], ""):
                expected = f"environment {i}, not in reset_mask, to stay as it was"
                self.add("autoreset", "reset()", where, expected, summary(after[i]))


def _columns(step: VectorStep) -> dict[str, Leaf]:
    names = ("observation", *_COLUMNS) if step.kind == "step" else ("observation",)
    values: dict[str, Leaf] = {}
    for name, value in zip(names, step.result, strict=False):
        if arrays(value):
            values.update(fingerprint(value, name))
    return values
