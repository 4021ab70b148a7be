"""Settings of the test run, made before any test module imports NumPy or torch."""

import os

# The suite runs in parallel processes (pytest -n); threads inside each would only compete. These
# must be set before the libraries load, and the subprocesses that tests start inherit them.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
os.environ.setdefault("MPLBACKEND", "Agg")  # figures without a display
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest  # noqa: E402 - after the environment is set
from hypothesis import settings  # noqa: E402

settings.register_profile("suite", deadline=None, derandomize=True, max_examples=50)
settings.register_profile("search", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))


def _world(item: pytest.Item) -> str | None:
    """Return the package below ``envs/`` whose kernels a test needs, if its name tells."""
    from daedalus.envs import NATIVE

    ours = {i: family for i, family in NATIVE.items() if family.startswith("daedalus.envs.")}
    worlds = {env_id: family.split(".")[2] for env_id, family in ours.items()}
    env_id = getattr(item, "callspec", None) and item.callspec.params.get("env_id")  # type: ignore[attr-defined]
    if env_id in worlds:
        return worlds[env_id]
    file = item.path.stem
    return next((w for w in worlds.values() if file.startswith(f"test_{w.rstrip('s')}")), None)


def pytest_itemcollected(item: pytest.Item) -> None:
    """Keep the tests of a world in one process, and so the tests of any other file.

    (With ``--dist loadgroup``: two processes with an empty cache would both compile the world's
    kernels, and both would build what the file's fixtures build. pytest-xdist looks at the marks
    before any ``pytest_collection_modifyitems`` of ours.)
    """
    item.add_marker(pytest.mark.xdist_group(_world(item) or item.path.stem))
