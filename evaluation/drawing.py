"""Frames of videos: pictures, texts and running curves side by side, drawn with Pillow."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np

from daedalus.evaluation.rollout import Moment
from daedalus.scenarios.extras import needed

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels
Colour = tuple[int, int, int]

WIDTH, HEIGHT = 960, 544  # multiples of 16, as video codecs like them
BACKGROUND: Colour = (17, 20, 28)
PANEL: Colour = (27, 31, 43)
TEXT: Colour = (226, 230, 240)
FAINT: Colour = (130, 138, 158)
VALUE: Colour = (92, 172, 255)
RETURN: Colour = (255, 196, 70)
GAIN: Colour = (90, 214, 130)
LOSS: Colour = (255, 104, 96)
GAP, HEADER, CURVES = 16, 40, 128
HISTORY = 300
"""Steps that the curves show."""


class Stage:
    """Turns the moments of rollouts into frames of equal size.

    Left is what the policy observes, where that is an image, beside it the environment's own
    picture; below run the policy's value estimate and the return. Reward flashes in the header.
    """

    def __init__(self, title: str, action_names: dict[Any, str] | None = None) -> None:
        """Prepare fonts.

        Args:
            title: Text at the top left.
            action_names: Words for actions.

        Raises:
            MissingExtraError: Pillow is not installed.
        """
        with needed(extra="watch"):
            from PIL import Image, ImageDraw, ImageFont
        self._image, self._draw_on = Image, ImageDraw
        self._font = ImageFont.load_default(17)
        self._small = ImageFont.load_default(13)
        self._title, self._names = title, action_names or {}
        self._values: deque[float] = deque(maxlen=HISTORY)
        self._returns: deque[float] = deque(maxlen=HISTORY)
        self._rewards: deque[float] = deque(maxlen=HISTORY)

    def frame(self, moment: Moment) -> np.ndarray:
        """Return the frame of a moment: uint8 (HEIGHT, WIDTH, 3)."""
        if moment.step == 0:
            for series in (self._values, self._returns, self._rewards):
                series.clear()
        self._returns.append(moment.episode_return)
        self._rewards.append(moment.reward)
        if moment.value is not None:
            self._values.append(moment.value)
        image = self._image.new("RGB", (WIDTH, HEIGHT), BACKGROUND)
        draw = self._draw_on.Draw(image)
        self._header(draw, moment)
        self._pictures(image, draw, moment)
        self._curves(draw)
        return np.asarray(image)

    def _header(self, draw: Any, moment: Moment) -> None:
        draw.text((GAP, 11), self._title, font=self._font, fill=TEXT)
        action = "end"
        if moment.action is not None:
            action = self._names.get(_key(moment.action), _words(moment.action))
        text = f"episode {moment.episode + 1}   step {moment.step}   {action}"
        draw.text((WIDTH - GAP, 11), text, font=self._font, fill=FAINT, anchor="ra")
        recent = sum(list(self._rewards)[-8:])
        if recent:
            colour = GAIN if recent > 0 else LOSS
            draw.text((WIDTH / 2, 11), f"{recent:+g}", font=self._font, fill=colour, anchor="ma")

    def _pictures(self, image: Any, draw: Any, moment: Moment) -> None:
        shown = [("agent's view", moment.view), ("world", moment.picture)]
        present = [(title, picture) for title, picture in shown if picture is not None]
        bottom = HEIGHT - CURVES - 2 * GAP
        shapes = [picture.shape[1] / picture.shape[0] for _, picture in present]
        room, left = WIDTH - GAP * (len(present) + 1), GAP
        for (title, picture), shape in zip(present, shapes, strict=True):
            right = left + int(room * shape / sum(shapes))
            draw.rectangle((left, HEADER, right, bottom), fill=PANEL)
            if len(present) > 1:
                draw.text((left + 8, HEADER + 6), title, font=self._small, fill=FAINT)
            self._paste(image, picture, (left, HEADER + 24 * (len(present) > 1), right, bottom))
            left = right + GAP

    def _paste(self, image: Any, picture: np.ndarray, box: Box) -> None:
        """Put a picture into a box, as large as it goes, pixels kept square and sharp."""
        height, width = picture.shape[:2]
        room_x, room_y = box[2] - box[0] - 8, box[3] - box[1] - 8
        scale = min(room_x / width, room_y / height)
        scale = int(scale) if scale >= 2 else scale
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        kind = self._image.Resampling.NEAREST if scale >= 2 else self._image.Resampling.BILINEAR
        scaled = self._image.fromarray(np.ascontiguousarray(picture)).resize(size, kind)
        left = box[0] + 4 + (room_x - size[0]) // 2
        top = box[1] + 4 + (room_y - size[1]) // 2
        image.paste(scaled, (left, top))

    def _curves(self, draw: Any) -> None:
        top, bottom = HEIGHT - CURVES - GAP, HEIGHT - GAP
        series = [("return", self._returns, RETURN)]
        if self._values:
            series.insert(0, ("value", self._values, VALUE))
        width = (WIDTH - GAP * (len(series) + 1)) // len(series)
        for i, (title, values, colour) in enumerate(series):
            left = GAP + i * (width + GAP)
            self._curve(draw, (left, top, left + width, bottom), title, list(values), colour)

    def _curve(self, draw: Any, box: Box, title: str, values: list[float], colour: Colour) -> None:
        left, top, right, bottom = box
        draw.rectangle(box, fill=PANEL)
        low, high = min(*values, 0.0), max(*values, 0.0)
        span = high - low or 1.0
        scale = (bottom - top - 44) / span
        zero = bottom - 10 + low * scale
        draw.line((left + 8, zero, right - 8, zero), fill=(52, 58, 76))
        step = (right - left - 16) / (HISTORY - 1)
        points = [(left + 8 + i * step, zero - v * scale) for i, v in enumerate(values)]
        if len(points) > 1:
            draw.line(points, fill=colour, width=2)
        for i, reward in enumerate(self._rewards if title == "return" else ()):
            if reward:
                x = left + 8 + i * step
                draw.line(
                    (x, bottom - 7, x, bottom - 2), fill=GAIN if reward > 0 else LOSS, width=2
                )
        x, y = points[-1]
        draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=colour)
        draw.text((left + 8, top + 6), title, font=self._small, fill=FAINT)
        draw.text(
            (right - 8, top + 6), f"{values[-1]:.2f}", font=self._font, fill=colour, anchor="ra"
        )


def _key(action: Any) -> Any:
    return int(action) if np.ndim(action) == 0 and np.asarray(action).dtype.kind in "iu" else None


def _words(action: Any) -> str:
    if np.ndim(action) == 0:
        return f"action {action}"
    return "action " + " ".join(f"{a:.2f}".rstrip("0").rstrip(".") for a in np.ravel(action)[:6])
