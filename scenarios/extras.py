"""Optional packages: one line that names the pip command when one is missing.

This is the lowest layer, so every other one may use it:

>>> from daedalus.scenarios.extras import require
>>> require("json").__name__
'json'
"""

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

EXTRAS: dict[str, tuple[str, ...]] = {
    "train": (
        "torch",
        "stable_baselines3",
        "sb3_contrib",
        "safetensors",
        "tensorboard",
        "matplotlib",
    ),
    "watch": ("pygame", "imageio_ffmpeg", "websockets"),
    "multiagent": ("pettingzoo",),
    "web": ("starlette", "uvicorn", "selenium", "jinja2", "PIL"),
    "results": ("pyarrow",),
    "scale": ("ray",),
    "mujoco": ("mujoco", "imageio"),
    "placement": ("pymetis",),
}
"""Import name of each optional package, under the extra of ``pyproject.toml`` that installs it."""


class MissingExtraError(ImportError):
    """An optional package is not installed; the message is the command that installs it."""

    def __init__(self, module: str, extra: str) -> None:
        """Name the missing ``module`` and the ``extra`` that brings it."""
        super().__init__(
            f"{module} is not installed; run: pip install 'daedalus[{extra}]'", name=module
        )
        self.extra = extra


def require(module: str, *, extra: str | None = None) -> ModuleType:
    """Import an optional package, or say in one line how to install it.

    Args:
        module: dotted name to import, such as ``"torch"`` or ``"torch.nn"``.
        extra: the extra that installs it; by default looked up in `EXTRAS`.

    Returns:
        The imported module.

    Raises:
        MissingExtraError: the package is absent. Any other failure is passed on unchanged.
    """
    with needed(extra=extra):
        return importlib.import_module(module)


@contextmanager
def needed(*, extra: str | None = None) -> Iterator[None]:
    """Turn the failed import of an optional package within the block into `MissingExtraError`.

    Args:
        extra: the extra to name; by default the one that `EXTRAS` gives for the missing package.

    Raises:
        MissingExtraError: a package of `EXTRAS`, or any package when ``extra`` is given, is absent.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        found = extra or extra_of(package)
        if found is None or package == "daedalus":
            raise
        raise MissingExtraError(package, found) from error


def extra_of(package: str) -> str | None:
    """Return the extra that installs the top-level import name ``package``, or None."""
    return next((extra for extra, packages in EXTRAS.items() if package in packages), None)
