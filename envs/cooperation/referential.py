"""ReferentialGame: one sees the target and says a symbol, the other hears it and points."""

from __future__ import annotations

import math
from typing import Any, ClassVar, NamedTuple

import numpy as np
from gymnasium.spaces import Box
from numba.extending import register_jitable

from daedalus.envs.canvas import GREEN, INK, RED, Canvas
from daedalus.envs.cooperation.family import Cooperative
from daedalus.envs.random import GOAL, LAYOUT, NOISE, integers, normal, uniform

_SCALE = 56
_LETTERS = "0123456789"


class ReferentialParams(NamedTuple):
    """The concepts, and what a game shows of them."""

    prototypes: np.ndarray  # float64 (concepts, features), unit length
    images: int
    symbols: int
    spread: float  # length of an image's own part beside its concept's
    same_concept: bool
    same_images: bool  # both see the same images; otherwise only the same concepts
    noise_images: bool
    channel_noise: float


class ReferentialArrays(NamedTuple):
    """What the two see, may do and got; and what a game was about."""

    images: np.ndarray
    message: np.ndarray
    action_mask: np.ndarray
    rewards: np.ndarray
    concept: np.ndarray
    symbol: np.ndarray


def referential_reset(state: Any, params: ReferentialParams) -> None:
    """Draw concepts, images and the receiver's order."""
    concepts, count = params.prototypes.shape[0], params.images
    state.said, state.heard, state.pointed = -1, -1, -1
    state.place = integers(state, LAYOUT, count)
    for g in range(count):
        concept = integers(state, GOAL, concepts)
        while g > 0 and not params.same_concept and _is_taken(state, concept, g):
            concept = integers(state, GOAL, concepts)
        state.concept[g] = state.concept[0] if g > 0 and params.same_concept else concept
        _draw_image(state, state.sent, g, state.concept[g], params)
    for g in range(count):
        at = _place_of(g, state.place)
        if not params.same_images:
            _draw_image(state, state.received, at, state.concept[g], params)
            continue
        for k in range(params.prototypes.shape[1]):
            state.received[_at(at, k, params)] = state.sent[_at(g, k, params)]


@register_jitable
def _place_of(g: int, target: int) -> int:
    """Return where the receiver has the sender's image ``g``, the target being at ``target``."""
    return target if g == 0 else g - 1 if g <= target else g


@register_jitable
def _at(g: int, k: int, params: ReferentialParams) -> int:
    return g * params.prototypes.shape[1] + k


@register_jitable
def _is_taken(state: Any, concept: int, count: int) -> bool:
    """Tell whether one of the first ``count`` images is of the concept."""
    taken = False
    for g in range(count):
        taken = taken or state.concept[g] == concept
    return taken


@register_jitable
def _draw_image(
    state: Any, images: np.ndarray, g: int, concept: int, params: ReferentialParams
) -> None:
    """Draw image ``g`` of unit length: the concept and noise, or nothing but noise."""
    features, square = params.prototypes.shape[1], 0.0
    scale = 1.0 if params.noise_images else params.spread / math.sqrt(features)
    for k in range(features):
        value = scale * normal(state, NOISE)
        if not params.noise_images:
            value += params.prototypes[concept, k]
        images[_at(g, k, params)] = value
        square += value * value
    for k in range(features):
        images[_at(g, k, params)] /= math.sqrt(square)


def referential_step(
    state: Any, action: np.ndarray, params: ReferentialParams
) -> tuple[float, bool]:
    """Hear the sender first, then see where the receiver points."""
    if state.said < 0:
        state.said = state.heard = action[0]
        if params.channel_noise > 0.0 and uniform(state, NOISE) < params.channel_noise:
            state.heard = integers(state, NOISE, params.symbols)
        state.rewards[0] = state.rewards[1] = 0.0
        return 0.0, False
    state.pointed = action[1]
    state.rewards[0] = state.rewards[1] = 1.0 if state.pointed == state.place else 0.0
    return state.rewards[0], True


def referential_observe(state: Any, params: ReferentialParams, out: ReferentialArrays) -> None:
    """Show the sender the target first, the receiver its order and, later, the symbol."""
    if out.images.size > 0:
        for g in range(params.images):
            for k in range(params.prototypes.shape[1]):
                out.images[0, g, k] = state.sent[_at(g, k, params)]
                out.images[1, g, k] = state.received[_at(g, k, params)]
    speaks = state.said < 0
    if out.message.size > 0:
        out.message[:] = 0.0
        if not speaks:
            out.message[1, state.heard] = 1.0
    if out.action_mask.size > 0:
        out.action_mask[:] = 0
        out.action_mask[0, : params.symbols if speaks else 1] = 1
        out.action_mask[1, : 1 if speaks else params.images] = 1
    if out.rewards.size > 0:
        out.rewards[:] = 0.0 if state.elapsed == 0 else state.rewards[0]
    if out.concept.size > 0:
        out.concept[0] = state.concept[0]
    if out.symbol.size > 0:
        out.symbol[0] = state.said


class ReferentialGame(Cooperative):
    """Name the target with one symbol, so that another, who sees the images shuffled, points at it.

    An image is a vector of features of length 1: a concept's prototype plus noise. In the first
    step only the sender acts, in the second only the receiver; ``action_mask`` leaves the other one
    action 0. Sender and receiver share the reward and nothing else. An *agnostic* sender looks at
    the concatenated images, an *informed* one compares them feature by feature: the same arrays
    serve both (`daedalus.agents.comm`).

    Observation:
        images: float32 (2, images, features); the sender's with the target first, the receiver's
            shuffled.
        message: float32 (2, symbols); one-hot, what the receiver heard; zeros before, and for the
            sender.
        action_mask: int8 (2, max(symbols, images)); 1 for the actions that an agent has now.
    Action:
        MultiDiscrete(symbols, images): the sender's symbol; the image at which the receiver points.
    Reward:
        Both get 1 if the receiver points at the target.
    Episode end:
        Terminates after the second step. ``info``: concept of the target, symbol said (-1 before).
    Parameters:
        images: Images in a game, one of them the target, at least 2.
        symbols: Symbols to choose from, 2 to 1000.
        concepts: Concepts, at least as many as images.
        features: Features of an image, at least 2.
        spread: Length of the noise of an image beside its prototype, which has length 1.
        same_concept: The distractors are other images of the target's concept.
        same_images: Both see the same images; otherwise only the same concepts.
        noise_images: Control: images are nothing but noise.
        channel_noise: Control: probability that the receiver hears a random symbol instead.
        data_seed: Draws the prototypes, which stay the same in all games.
    Version history:
        v0: first version.
    Source:
        Lazaridou et al. 2017, "Multi-agent cooperation and the emergence of (natural) language"
        (1612.07182), with prototypes in place of ImageNet's features; chance is 1 / images. Noise
        as control: Bouchacourt and Baroni 2018, "How agents see things" (1808.10696).
    """

    Params, Arrays = ReferentialParams, ReferentialArrays
    observations: ClassVar[tuple[str, ...]] = ("images", "message", "action_mask")
    infos: ClassVar[tuple[str, ...]] = ("rewards", "concept", "symbol")
    takes_turns = True
    keys = {str(k): (k, min(k, 1)) for k in range(10)}
    fps = 1
    reset, step, observe = referential_reset, referential_step, referential_observe
    params: ReferentialParams

    def __init__(
        self,
        *,
        images: int = 2,
        symbols: int = 10,
        concepts: int = 20,
        features: int = 50,
        spread: float = 0.5,
        same_concept: bool = False,
        same_images: bool = True,
        noise_images: bool = False,
        channel_noise: float = 0.0,
        data_seed: int = 0,
    ) -> None:
        """Check the sizes and draw the prototypes."""
        if not (2 <= images <= concepts and 2 <= symbols <= 1000 and features >= 2):
            raise ValueError(
                "ReferentialGame needs 2 <= images <= concepts, symbols from 2 to 1000 and "
                f"features >= 2, got {images}, {concepts}, {symbols}, {features}"
            )
        if not 0.0 <= channel_noise <= 1.0 or spread < 0.0:
            raise ValueError(
                "ReferentialGame needs channel_noise from 0 to 1 and spread >= 0, got "
                f"{channel_noise} and {spread}"
            )
        self.describe(["sender", "receiver"], [symbols, images])
        vectors = np.random.default_rng(data_seed).normal(size=(concepts, features))
        prototypes = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        controls = bool(same_concept), bool(same_images), bool(noise_images), float(channel_noise)
        self.params = ReferentialParams(prototypes, images, symbols, float(spread), *controls)
        own = [("sent", "f4", (images * features,)), ("received", "f4", (images * features,))]
        numbers = self.fields(said=None, heard=None, pointed=None, place=None)
        self.state_dtype = np.dtype(
            [*numbers.descr, *own, ("concept", "i8", (images,))]  # type: ignore[list-item]
        )
        self.spaces |= {
            "images": Box(-1.0, 1.0, (2, images, features), np.float32),
            "message": Box(0.0, 1.0, (2, symbols), np.float32),
            "concept": Box(0, concepts, (1,), np.int64),
            "symbol": Box(-1, symbols, (1,), np.int64),
        }

    def render(self, state: np.void) -> np.ndarray:
        """Return the sender's images, what is said, and the receiver's images as patches."""
        count, rows = self.params.images, -(-self.params.prototypes.shape[1] // 10)
        height = max(rows * 0.1 + 0.9, 1.4)
        canvas = Canvas(1.25 * count + 0.6, 2 * height, _SCALE * 2, (240, 238, 232))
        pointed = int(state["pointed"])
        for who, images in enumerate((state["sent"], state["received"])):
            for g in range(count):
                x, y = 0.4 + 1.25 * g, 0.35 + who * height
                target = g == (0 if who == 0 else int(state["place"]))
                if (who == 0 and target) or (who == 1 and g == pointed):
                    frame = (x - 0.1, y - 0.1, x + 1.1, y + 0.1 * rows + 0.1)
                    canvas.box(frame, GREEN if target else RED, round_=0.06)
                self._patch(canvas, x, y, images.reshape(count, -1)[g])
        said, heard = int(state["said"]), int(state["heard"])
        middle = canvas.pixels.shape[1] / canvas.scale / 2
        if said >= 0:
            y = height + 0.02
            canvas.box((middle - 0.4, y - 0.22, middle + 0.4, y + 0.22), (255, 255, 255), 1, 0.14)
            colour = INK if said == heard else RED
            canvas.text(middle, y, "".join(_LETTERS[int(d)] for d in str(heard)), 0.26, colour)
        return canvas.picture()

    def _patch(self, canvas: Canvas, x: float, y: float, image: np.ndarray) -> None:
        """Paint features as squares, ten in a row: blue below 0, red above."""
        strength = np.clip(image * math.sqrt(len(image)) / 2.5, -1.0, 1.0)
        for k, value in enumerate(strength):
            base = np.array(RED if value > 0 else (66, 118, 214), float)
            red, green, blue = (int(v) for v in 250 + abs(value) * (base - 250))
            u, v = x + 0.1 * (k % 10), y + 0.1 * (k // 10)
            canvas.box((u, v, u + 0.1, v + 0.1), (red, green, blue))
