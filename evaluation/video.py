"""Videos of rollouts: H.264 in an mp4 that every browser plays, through imageio-ffmpeg."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from daedalus.scenarios.extras import require


def write_video(path: str | Path, frames: Iterable[np.ndarray], fps: int = 15) -> int:
    """Write frames as an mp4 (H.264, yuv420p) and return how many there were.

    The file appears under its name when it is complete.

    Args:
        path: File to write, ending in ``.mp4``; its folder is made.
        frames: uint8 (height, width, 3), all of one size; both sides even.
        fps: Frames in a second.

    Raises:
        MissingExtraError: imageio-ffmpeg is not installed.
        ValueError: No frames, or a name that does not end in ``.mp4``.
    """
    path = Path(path)
    if path.suffix != ".mp4":
        raise ValueError(f"{path}: a video's name must end in .mp4")
    ffmpeg = require("imageio_ffmpeg", extra="watch")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}.part.mp4")
    writer, count = None, 0
    try:
        for frame in frames:
            if writer is None:
                writer = ffmpeg.write_frames(
                    str(part),
                    (frame.shape[1], frame.shape[0]),
                    fps=fps,
                    codec="libx264",
                    pix_fmt_out="yuv420p",
                    quality=7,
                    macro_block_size=2,
                    output_params=["-preset", "veryfast", "-movflags", "+faststart"],
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
