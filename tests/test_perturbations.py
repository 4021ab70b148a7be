"""Perturbations and attacks: what they change, by hand; and the command that scores under them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete

from daedalus.agents import make_agent
from daedalus.agents.base import Spaces
from daedalus.evaluation.policy import Choice
from daedalus.evaluation.probes.attacks import Attacked
from daedalus.evaluation.probes.perturbations import KINDS, Lens, Perturbed, applicable
from daedalus.evaluation.probes.robustness import as_data, draw, kept, robustness, table

IMAGE = {"image": Box(0, 255, (4, 6, 3), np.uint8)}
VECTOR = {"x": Box(-1.0, 3.0, (2,), np.float32)}


class Counts:
    """A policy whose actions are the numbers of the steps."""

    name = "counts"

    def start(self, num_envs: int, seed: int) -> None:
        self.time = -np.ones(num_envs, np.int64)

    def choose(self, observation: Any, reward: np.ndarray, start: np.ndarray) -> Choice:
        self.time = np.where(start, 0, self.time + 1)
        return Choice(self.time.copy(), None)


def acts(kind: str, strength: float, starts: list[bool]) -> list[int]:
    """Actions of `Counts` behind a perturbation, in one environment."""
    policy = Perturbed(Counts(), Lens(kind, strength, VECTOR))
    policy.start(1, 7)
    seen = {"x": np.zeros((1, 2), np.float32)}
    nothing = np.zeros(1, np.float32)
    return [int(policy.choose(seen, nothing, np.array([s])).action[0]) for s in starts]


def see(kind: str, strength: float, image: np.ndarray) -> np.ndarray:
    """What is seen of one image."""
    lens = Lens(kind, strength, IMAGE)
    lens.start(0)
    seen: np.ndarray = lens.see({"image": image[None]})["image"][0]
    return seen


def test_late_actions_repeat_an_episodes_first_until_theirs_come() -> None:
    starts = [True, False, False, False, True, False, False]
    assert acts("delay", 2, starts) == [0, 0, 0, 1, 0, 0, 0]
    assert acts("delay", 1, [True, False, False, False]) == [0, 0, 1, 2]


def test_sticky_actions_repeat_the_last_executed_one_but_not_across_episodes() -> None:
    assert acts("sticky", 1.0, [True, False, False, True, False]) == [0, 0, 0, 0, 0]
    assert acts("sticky", 0.0, [True, False, False]) == [0, 1, 2]
    share = np.mean(np.diff(acts("sticky", 0.25, [True] + [False] * 3999)) == 0)
    assert 0.22 < share < 0.28


def test_inversion_mixes_with_the_negative() -> None:
    image = np.full((4, 6, 3), 200, np.uint8)
    assert (see("inversion", 1.0, image) == 55).all()
    assert (see("inversion", 0.25, image) == 164).all()  # 200 + 0.25 (255 - 400) = 163.75


def test_recolouring_keeps_brightness_and_greys() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(90, 160, (4, 6, 3)).astype(np.uint8)
    turned = see("recolour", 1 / 3, image)
    weights = np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(turned @ weights, image @ weights, atol=1.5)
    assert np.abs(turned.astype(int) - image).max() > 20
    grey = np.full((4, 6, 3), 77, np.uint8)
    assert (see("recolour", 0.4, grey) == grey).all()
    assert (see("recolour", 1.0, image) == image).all()


def test_blur_keeps_the_mean_inside_and_smooths_an_edge() -> None:
    image = np.zeros((4, 6, 3), np.uint8)
    image[:, 3:] = 240
    soft = see("blur", 0.25, image)  # sigma of one pixel
    row = soft[1, :, 0].astype(int)
    assert (np.diff(row) >= 0).all()
    assert row[2] > 40
    assert row[3] < 200
    assert row[2] + row[3] == pytest.approx(240, abs=2)


def test_occlusion_hides_its_share_in_grey() -> None:
    image = np.zeros((4, 6, 3), np.uint8)
    hidden = (see("occlusion", 0.25, image) == 128).all(-1)  # 2 x 3 of 4 x 6
    assert hidden.sum() == 6
    rows, columns = np.where(hidden)
    assert np.ptp(rows) == 1
    assert np.ptp(columns) == 2


def test_noise_is_relative_to_the_range_and_stays_inside() -> None:
    lens = Lens("noise", 0.1, {"x": Box(-1.0, 3.0, (2000,), np.float32)})
    lens.start(0)
    seen = lens.see({"x": np.full((1, 2000), 1.0, np.float32)})["x"][0]
    assert seen.std() == pytest.approx(0.4, rel=0.06)
    edge = lens.see({"x": np.full((1, 2000), 3.0, np.float32)})["x"][0]
    assert edge.max() == 3.0
    assert edge.dtype == np.float32


def test_nothing_changes_at_strength_zero_and_pictures_need_pictures() -> None:
    image = np.arange(72, dtype=np.uint8).reshape(4, 6, 3)
    assert all((see(kind, 0.0, image) == image).all() for kind in KINDS)
    assert applicable("blur", IMAGE, Discrete(2))
    assert not applicable("blur", VECTOR, Discrete(2))
    assert applicable("noise", VECTOR, Discrete(2))
    with pytest.raises(ValueError, match="known are noise"):
        Lens("fog", 0.1, IMAGE)


def linear_agent() -> Any:
    """An actor-critic without memory, to be attacked."""
    spaces = Spaces(
        {"x": Box(-1, 1, (3,), np.float32), "image": Box(0, 255, (12, 12, 3), np.uint8)},
        Discrete(3),
        {},
    )
    agent_class = make_agent("actor_critic")
    agent = agent_class(spaces, agent_class.Config(lstm=0, hidden=16), seed=1, device="cpu")
    with torch.no_grad():  # logits of some size: those of a new agent are all but equal
        agent.modules["network"].actor.weight.mul_(100)
    return agent


@pytest.mark.parametrize("kind", ["fgsm", "pgd"])
def test_attacks_stay_within_epsilon_and_lower_the_probability(kind: str) -> None:
    agent = linear_agent()
    policy = Attacked(agent, kind, 0.05)
    policy.start(8, 0)
    rng = np.random.default_rng(3)
    seen: dict[str, np.ndarray] = {
        "x": rng.uniform(-1, 1, (8, 3)).astype(np.float32),
        "image": rng.integers(0, 256, (8, 12, 12, 3)).astype(np.uint8),
    }
    nothing, start = np.zeros(8, np.float32), np.ones(8, bool)
    changed = policy.tampered(seen, nothing, start)
    assert np.abs(changed["x"] - seen["x"]).max() <= 0.1 + 1e-6  # 0.05 of a range of 2
    assert np.abs(changed["image"].astype(int) - seen["image"]).max() <= 12  # 0.05 * 255 = 12.75
    assert changed["image"].dtype == np.uint8
    assert np.abs(changed["x"]).max() <= 1

    with torch.no_grad():
        before, after = (
            agent.outputs(policy.inputs(x, nothing, start), policy.state).policy.softmax(-1)
            for x in (seen, changed)
        )
    chosen = before.argmax(-1, keepdim=True)
    after = after.gather(-1, chosen)
    assert (after < before.gather(-1, chosen)).all()


def test_pgd_is_at_least_as_strong_as_fgsm_on_average() -> None:
    agent, rng = linear_agent(), np.random.default_rng(5)
    seen: dict[str, np.ndarray] = {
        "x": rng.uniform(-1, 1, (64, 3)).astype(np.float32),
        "image": rng.integers(0, 256, (64, 12, 12, 3)).astype(np.uint8),
    }
    nothing, start = np.zeros(64, np.float32), np.ones(64, bool)
    left = {}
    for kind in ("fgsm", "pgd"):
        policy = Attacked(agent, kind, 0.1)
        policy.start(64, 0)
        changed = policy.tampered(seen, nothing, start)
        with torch.no_grad():
            clean, bad = (
                agent.outputs(policy.inputs(x, nothing, start), policy.state).policy.log_softmax(-1)
                for x in (seen, changed)
            )
        left[kind] = float(bad.gather(-1, clean.argmax(-1, keepdim=True)).mean())
    assert left["pgd"] <= left["fgsm"] + 0.02


def test_robustness_scores_every_point_on_the_same_seeds(tmp_path: Any) -> None:
    agent = make_agent("actor_critic")("daedalus/Catch-v0", num_envs=2, device="cpu")
    found = robustness(
        agent,
        "daedalus/Catch-v0",
        {"noise": (0.1,), "blur": None, "sticky": (0.5, 1.0), "fgsm": (0.1,)},
        changes={"time_limit": [4, 7]},
        episodes=6,
    )
    assert found.kinds == ["noise", "sticky", "fgsm", "time_limit"]
    assert set(found.left_out) == {"blur"}
    assert [point.strength for point in found.points] == [0.1, 0.5, 1.0, 0.1, 4, 7]
    assert all((point.scores.seeds == found.clean.seeds).all() for point in found.points)
    assert {int(point.scores.lengths[0]) for point in found.points} == {9, 4, 7}
    text = table(found)
    assert "left out: blur (nothing observed is an image)" in text
    assert "random policy" in text
    assert kept(found, found.random) == 0 or found.clean.mean <= found.random.mean
    assert draw(tmp_path / "r.png", found).stat().st_size > 5_000
    once = robustness(agent, "daedalus/Catch-v0", {"noise": (0.1,)}, episodes=1)
    assert json.loads(json.dumps(as_data(once), allow_nan=False))["clean"]["interval"] is None
