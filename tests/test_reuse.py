"""Gradients that are written out equal automatic differentiation's, and known results are used."""

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from gymnasium.spaces import Box
from torch import Tensor, nn

from daedalus.accelerators.patches import patches, sum_patches
from daedalus.agents import make_agent, reuse
from daedalus.agents.a3c_network import A3CConfig, A3CNetwork
from daedalus.agents.networks import CHUNK, NATURE, ConvolutionStack, Encoder, Standardise
from daedalus.agents.spaces import space_from_json

IMAGE = Box(0, 255, (21, 23, 3), np.uint8)
LAYERS = ((16, 5, 2), (32, 3, 2))


def test_patches_by_hand() -> None:
    x = torch.arange(9.0).view(1, 3, 3, 1)
    seen = patches(x, 2, 1)
    assert seen.shape == (1, 2, 2, 4)
    assert seen[0, 1, 0].tolist() == [3, 4, 6, 7]
    # how many patches see each pixel
    assert sum_patches(torch.ones_like(seen), (3, 3), 2, 1)[0, :, :, 0].tolist() == [
        [1, 2, 1],
        [2, 4, 2],
        [1, 2, 1],
    ]


@pytest.mark.parametrize("known", [False, True])
def test_a_large_dense_layer_has_the_gradients_of_automatic_differentiation(known: bool) -> None:
    """256 x 128 x 64, enough for the other library's products where they are the faster ones."""
    draw = torch.Generator().manual_seed(0)
    layer, x = nn.Linear(128, 64), torch.randn(256, 128, generator=draw, requires_grad=True)
    sources = [x, layer.weight, layer.bias]
    exact = F.relu(layer(x))
    ours = reuse.linear_relu(x, layer, exact.detach().clone() if known else None)
    weight = torch.randn(256, 64, generator=draw)
    assert torch.allclose(ours, exact, atol=1e-5)
    found, expected = (torch.autograd.grad((y * weight).sum(), sources) for y in (ours, exact))
    for ours, exact in zip(found, expected, strict=True):
        assert torch.allclose(ours, exact, atol=1e-4)


def test_sum_patches_is_the_transpose_of_patches() -> None:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(2, 9, 7, 3, generator=draw, dtype=torch.double)
    seen = patches(x, 3, 2)
    weight = torch.randn(seen.shape, generator=draw, dtype=torch.double)
    back = sum_patches(weight, (9, 7), 3, 2)
    torch.testing.assert_close((seen * weight).sum(), (x * back).sum())


def plain(x: Tensor, layers: list[Any]) -> Tensor:
    """Convolve as anyone would, for autograd."""
    for layer in layers:
        x = F.relu(layer(x))
    return x.permute(0, 2, 3, 1).flatten(1)


@pytest.mark.parametrize("narrow", [0, 16, 64], ids=["library", "as it is", "patches"])
@pytest.mark.parametrize("shape", [LAYERS, NATURE], ids=["a3c", "nature"])
def test_convolutions_have_the_gradients_of_autograd(
    narrow: int, shape: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reuse, "NARROW", narrow)
    torch.manual_seed(0)
    side = 21 if shape is LAYERS else 44
    stack = ConvolutionStack(Box(0, 255, (side, side + 2, 3), np.uint8), shape).double()
    layers: list[Any] = list(stack.layers)
    x = torch.rand(6, 3, side, side + 2, dtype=torch.double)
    x = x.contiguous(memory_format=torch.channels_last)
    mine = reuse.join([reuse.convolve(part, layers) for part in x.split(4)], layers)
    theirs = plain(x, layers)
    torch.testing.assert_close(mine, theirs)
    weight = torch.randn_like(theirs)
    found = torch.autograd.grad((mine * weight).sum(), list(stack.parameters()))
    expected = torch.autograd.grad((theirs * weight).sum(), list(stack.parameters()))
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-6)


def test_in_bfloat16_gradients_are_those_of_float32_but_for_rounding() -> None:
    torch.manual_seed(0)
    spaces = {"image": IMAGE}
    exact, rounded = Encoder(spaces, 32), Encoder(spaces, 32, precision="bfloat16")
    rounded.load_state_dict(exact.state_dict())
    images = torch.randint(0, 256, (5, *(IMAGE.shape or ())), dtype=torch.uint8)
    weight = torch.randn(5, 32)
    found = {}
    for name, encoder in (("exact", exact), ("rounded", rounded)):
        acted, kept = encoder.step({"image": images})
        known = {key: [value] for key, value in kept.items()}
        for reused in (None, known):
            features = encoder(encoder.encode({"image": images}, reused), reused)
            assert acted.dtype == features.dtype == torch.float32
            torch.testing.assert_close(features, acted, atol=1e-5, rtol=1e-5)
            gradients = torch.autograd.grad((features * weight).sum(), list(encoder.parameters()))
            assert all(g.dtype == torch.float32 for g in gradients)
            found[name, reused is None] = torch.cat([g.flatten() for g in gradients])
    assert kept["image/1"].dtype == kept["dense/0"].dtype == torch.bfloat16
    size = found["exact", True].norm()
    # rounding opens and shuts units near zero: 0.01 to 0.14 by seed, 0.03 with this one
    assert 1e-4 < (found["rounded", True] - found["exact", True]).norm() / size < 5e-2
    assert (found["rounded", True] - found["rounded", False]).norm() / size < 2e-2


def test_a_linear_layer_with_a_known_result_has_the_gradients_of_autograd() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(4, 3).double()
    x = torch.randn(5, 4, dtype=torch.double, requires_grad=True)
    expected = F.relu(layer(x))
    known = reuse.linear_relu(x, layer, expected.detach())
    weight, leaves = torch.randn_like(expected), [x, *layer.parameters()]
    mine = torch.autograd.grad((known * weight).sum(), leaves)
    theirs = torch.autograd.grad((expected * weight).sum(), leaves)
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-12, rtol=1e-12)


def test_a_known_result_is_not_computed_again() -> None:
    layer = nn.Linear(2, 2)
    other = torch.full((1, 2), 7.0)
    assert reuse.linear_relu(torch.ones(1, 2), layer, other).tolist() == [[7.0, 7.0]]
    stack = ConvolutionStack(IMAGE, LAYERS)
    images = torch.zeros(2, *(IMAGE.shape or ()), dtype=torch.uint8)
    maps = stack.maps(images)
    maps[-1].fill_(3.0)
    assert stack(images, [maps]).unique().tolist() == [3.0]


def test_many_images_go_through_in_parts() -> None:
    stack = ConvolutionStack(IMAGE, LAYERS)
    images = torch.randint(
        0, 256, (CHUNK + 3, *(IMAGE.shape or ())), dtype=torch.uint8,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    stack.standardise.begin(images)
    given = stack.standardise(images.permute(0, 3, 1, 2))
    torch.testing.assert_close(stack(images), plain(given, list(stack.layers)))


def test_images_are_standardised_by_those_that_training_begins_with() -> None:
    layer = Standardise()
    first = torch.tensor([40, 60, 80, 220], dtype=torch.uint8).view(1, 1, 2, 2)
    deviation = ((60**2 + 40**2 + 20**2 + 120**2) / 4) ** 0.5  # of their mean, 100
    layer.begin(first)
    expected = torch.tensor([-60, -40, -20, 120]) / deviation
    torch.testing.assert_close(layer(first).flatten(), expected)
    later = torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 1, 2)
    layer.begin(later)
    expected = torch.tensor([-100, 155]) / deviation
    torch.testing.assert_close(layer(later).flatten(), expected)
    given = later.float().requires_grad_()
    torch.testing.assert_close(layer(given).flatten().detach(), expected)
    layer(given).sum().backward()
    torch.testing.assert_close(given.grad, torch.full_like(given, 1 / deviation))
    assert layer(first, torch.bfloat16).dtype == torch.bfloat16


def test_before_training_images_are_standardised_by_their_own_and_nothing_is_kept() -> None:
    layer = Standardise()
    images = torch.tensor([0, 200], dtype=torch.uint8)
    assert layer(images).tolist() == [-1.0, 1.0]
    assert layer(images // 2).tolist() == [-1.0, 1.0]
    assert not layer.known


def test_a_checkpoint_holds_what_images_are_standardised_by() -> None:
    layer, other = Standardise(), Standardise()
    layer.begin(torch.tensor([0, 200], dtype=torch.uint8))
    other.begin(torch.tensor([7, 9], dtype=torch.uint8))
    other.load_state_dict(layer.state_dict())
    assert other(torch.tensor([100, 150], dtype=torch.uint8)).tolist() == [0.0, 0.5]
    other.load_state_dict(Standardise().state_dict())  # of an agent that never trained
    black = torch.zeros(3, dtype=torch.uint8)
    other.begin(black)
    assert other(black).tolist() == [0.0] * 3
    assert other(black + 51).tolist() == [2.0] * 3  # deviations below a tenth count as a tenth


def test_acting_before_training_changes_nothing_of_it() -> None:
    weights = []
    for looks in (0, 1):
        agent = make_agent("actor_critic")(
            "daedalus/Collect-v0", num_envs=2, seed=3, env_kwargs={"image": (21, 21)}
        )
        black = {n: np.zeros(s.shape, s.dtype) for n, s in agent.spaces.observation.items()}
        for _ in range(looks):
            agent.predict(black, deterministic=True)
        agent.learn(80)
        weights.append(torch.cat([p.flatten() for p in agent.modules["network"].parameters()]))
    assert torch.equal(*weights)


def test_images_and_vectors_are_kept_together() -> None:
    spaces: dict[str, Any] = {"image": IMAGE, "goal": Box(-1, 1, (4,), np.float32)}
    encoder = Encoder(spaces, hidden=8)
    draw = torch.Generator().manual_seed(0)
    observation = {
        "image": torch.randint(0, 256, (6, 21, 23, 3), dtype=torch.uint8, generator=draw),
        "goal": torch.rand(6, 4, generator=draw),
    }
    encoder.begin_with(observation)
    steps = [
        encoder.step({k: v[rows] for k, v in observation.items()})
        for rows in (slice(3), slice(3, 6))
    ]
    known = {name: [kept[name] for _, kept in steps] for name in steps[0][1]}
    features = encoder(encoder.encode(observation, known), known)
    again = encoder(encoder.encode(observation))
    torch.testing.assert_close(features, again)
    torch.testing.assert_close(features, torch.cat([value for value, _ in steps]))
    mine = torch.autograd.grad(features.square().sum(), list(encoder.parameters()))
    theirs = torch.autograd.grad(again.square().sum(), list(encoder.parameters()))
    for a, b in zip(mine, theirs, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_both_heads_at_once_are_each_alone() -> None:
    from daedalus.agents.base import Spaces

    discrete = space_from_json({"type": "Discrete", "n": 3, "start": 0})
    spaces = Spaces({"x": Box(-1, 1, (4,), np.float32)}, discrete, {})
    network = A3CNetwork(spaces, A3CConfig(hidden=8, lstm=0))
    output = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))
    policy, value = network.heads(output)
    torch.testing.assert_close(policy, network.actor(output))
    torch.testing.assert_close(value, network.critic(output).squeeze(-1))


FAULTS = """
import resource, sys, numpy as np
from daedalus.accelerators.memory import keep_freed_memory
kept = keep_freed_memory() if sys.argv[1] == "keep" else False
def work():
    for _ in range(20): np.ones(3_000_000)
work(); before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt; work()
print(int(kept), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
def test_freed_memory_is_not_faulted_in_again() -> None:
    def faults(word: str, **env: str) -> list[int]:
        command = [sys.executable, "-c", FAULTS, word]
        done = subprocess.run(
            command, capture_output=True, text=True, check=True, env={**os.environ, **env}
        )
        return [int(n) for n in done.stdout.split()]

    _, without = faults("leave", MALLOC_MMAP_THRESHOLD_="65536")
    kept, after = faults("keep")
    assert kept
    assert after < 100 < without
    assert faults("keep", MALLOC_MMAP_THRESHOLD_="65536")[0] == 0  # the user's choice stands
