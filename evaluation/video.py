"""Videos of rollouts through imageio-ffmpeg: mp4 (H.264) that every browser plays, and GIF."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from daedalus.scenarios.extras import require

_PALETTES = "split[a][b];[a]palettegen=stats_mode=single[p];[b][p]paletteuse=new=1:dither=none"
_FORMATS: dict[str, dict[str, Any]] = {
    ".mp4": {
        "codec": "libx264",
        "pix_fmt_out": "yuv420p",
        "quality": 7,
        "output_params": ["-preset", "veryfast", "-movflags", "+faststart"],
    },
    ".gif": {
        "codec": "gif",
        "pix_fmt_out": "pal8",
        "output_params": ["-vf", _PALETTES],
        "ffmpeg_log_level": "error",
    },
}
"""Ending -> how ffmpeg writes it; a GIF gets a palette for every frame, so no frame waits."""


def write_video(path: str | Path, frames: Iterable[np.ndarray], fps: int = 15) -> int:
    """Write frames as an mp4 (H.264, yuv420p) or a GIF and return how many there were.

    The file appears under its name when it is complete.

    Args:
        path: File to write, ending in ``.mp4`` or ``.gif``; its folder is made.
        frames: uint8 (height, width, 3), all of one size; both sides even.
        fps: Frames in a second.

    Raises:
        MissingExtraError: imageio-ffmpeg is not installed.
        ValueError: No frames, or a name that ends in neither.
    """
    path = Path(path)
    if path.suffix not in _FORMATS:
        raise ValueError(f"{path}: a video's name must end in .mp4 or .gif")
    ffmpeg = require("imageio_ffmpeg", extra="watch")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    writer, count = None, 0
    try:
        for frame in frames:
            if writer is None:
                writer = ffmpeg.write_frames(
                    str(part),
                    (frame.shape[1], frame.shape[0]),
                    fps=fps,
                    macro_block_size=2,
                    **_FORMATS[path.suffix],
                )
                writer.send(None)
            writer.send(np.ascontiguousarray(frame))
            count += 1
    finally:
        if writer is not None:
            writer.close()
    if not count:
        raise ValueError(f"{path}: there are no frames to write")
    os.replace(part, path)
    return count
