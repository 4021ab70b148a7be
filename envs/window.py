"""A window for people, drawn with pygame (the package pygame-ce)."""

from __future__ import annotations

import string
from typing import Any

import numpy as np

from daedalus.scenarios.extras import require

_NAMED_KEYS = ("left", "right", "up", "down", "space", "return", "escape", "tab")


class Window:
    """Shows pictures at a steady rate and reports the keys that are held.

    Attributes:
        fps: Pictures in a second.
        is_open: False once the person closed it.
    """

    def __init__(self, title: str, fps: int) -> None:
        """Remember title and rate; the window opens with the first picture.

        Args:
            title: Text in the title bar.
            fps: Pictures in a second.

        Raises:
            MissingExtraError: pygame-ce is not installed.
        """
        self._pygame = require("pygame", extra="watch")
        self._title, self.fps = title, float(fps)
        self._screen: Any = None
        self._pressed: list[str] = []
        self.is_open = True

    def show(self, picture: np.ndarray) -> None:
        """Draw a uint8 picture (height, width, 3) and wait for its time."""
        pygame = self._pygame
        if self._screen is None:
            pygame.display.init()
            self._screen = pygame.display.set_mode((picture.shape[1], picture.shape[0]))
            pygame.display.set_caption(self._title)
            self._clock = pygame.time.Clock()
        surface = pygame.surfarray.make_surface(picture.swapaxes(0, 1))
        self._screen.blit(surface, (0, 0))
        pygame.display.flip()
        for event in pygame.event.get():
            if event.type == pygame.QUIT:
                self.is_open = False
            elif event.type == pygame.KEYDOWN:
                self._pressed.append(event.unicode or pygame.key.name(event.key))
        self._clock.tick(self.fps)

    def pressed(self) -> list[str]:
        """Return the keys that went down since the last call: what they type, or their names."""
        pressed, self._pressed = self._pressed, []
        return pressed

    def held(self) -> set[str]:
        """Return the names of the keys that are down, as pygame names them, such as "left"."""
        pygame = self._pygame
        pressed = pygame.key.get_pressed()
        names = (*_NAMED_KEYS, *string.ascii_lowercase, *string.digits)
        return {name for name in names if pressed[pygame.key.key_code(name)]}

    def close(self) -> None:
        """Close the window."""
        if self._screen is not None:
            self._pygame.display.quit()
            self._screen = None
        self.is_open = False
