"""Videos of rollouts through imageio-ffmpeg: mp4 (H.264) that every browser plays, and GIF."""

from __future__ import annotations

import itertools
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from daedalus.accelerators.files import temporary_name
from daedalus.scenarios.extras import require

_PALETTES = "split[a][b];[a]palettegen=stats_mode=single[p];[b][p]paletteuse=new=1:dither=none"
_FORMATS = {
    ".mp4": (
        "-vcodec libx264 -pix_fmt yuv420p -crf 15 -preset veryfast -movflags +faststart -vf "
        "scale=ceil(iw/2)*2:ceil(ih/2)*2"
    ),
    ".gif": f"-vcodec gif -pix_fmt pal8 -vf {_PALETTES}",
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
        OSError: It cannot be written; what was there before is untouched.
    """
    path = Path(path)
    if path.suffix not in _FORMATS:
        raise ValueError(f"{path}: a video's name must end in .mp4 or .gif")
    ffmpeg = require("imageio_ffmpeg", extra="watch")
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = iter(frames)
    first = next(stream, None)
    if first is None:
        raise ValueError(f"{path}: there are no frames to write")
    part = temporary_name(path.parent, path.name)
    source = f"-f rawvideo -pix_fmt rgb24 -s {first.shape[1]}x{first.shape[0]} -r {fps} -i -"
    words = f"-v error -y {source} -an {_FORMATS[path.suffix]} -f {path.suffix[1:]}".split()
    try:
        command = [ffmpeg.get_ffmpeg_exe(), *words, str(part)]
        count, failure = _encoded(command, itertools.chain([first], stream))
        if failure:
            raise OSError(f"{path}: the video cannot be written: {failure}")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return count


def _encoded(command: list[str], frames: Iterable[np.ndarray]) -> tuple[int, str]:
    """Hand frames to ffmpeg; return how many it took, and why it failed or ""."""
    count, shape = 0, None
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=said,
            start_new_session=True,  # Ctrl-C reaches it through this process alone
        )
        assert process.stdin is not None
        try:
            for frame in frames:
                shape = shape or frame.shape
                if frame.shape != shape:
                    raise ValueError(f"frame {count} is {frame.shape}, those before are {shape}")
                if not _done(process.stdin.write, np.ascontiguousarray(frame).data):
                    break
                count += 1
            _done(process.stdin.close)
            code = process.wait()
        finally:
            process.kill()
            process.wait()
            _done(process.stdin.close)
        said.seek(0)
        lines = said.read().decode(errors="replace").split("\n")
    reason = next((line for line in lines if line.strip()), f"ffmpeg ended with exit code {code}")
    return count, reason if code else ""


def _done(call: Callable[..., object], *arguments: object) -> bool:
    """Call; False where ffmpeg has gone, which says why by its exit code."""
    try:
        call(*arguments)
    except BrokenPipeError:
        return False
    return True
