"""A missing optional package is one line that names the pip command."""

import tomllib
from pathlib import Path

import pytest

from daedalus.scenarios.extras import EXTRAS, MissingExtraError, extra_of, needed, require

IMPORT_NAMES = {
    "pygame-ce": "pygame",
    "pillow": "PIL",
}  # a distribution's import name, where it is another word


def test_present_package_is_returned() -> None:
    assert require("json").loads("1") == 1


def test_missing_package_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXTRAS, "web", ("absent_package",))
    with pytest.raises(MissingExtraError) as caught:
        require("absent_package.part")
    assert str(caught.value) == "absent_package is not installed; run: pip install 'daedalus[web]'"
    assert isinstance(caught.value, ImportError)


def test_extra_given_by_the_caller() -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'daedalus\[scale\]'"):
        require("some_other_absent_package", extra="scale")


def test_a_mistyped_module_is_not_taken_for_a_missing_extra() -> None:
    with pytest.raises(ModuleNotFoundError) as caught, needed():
        import json.absent  # type: ignore[import-not-found]  # noqa: F401
    assert not isinstance(caught.value, MissingExtraError)
    with pytest.raises(ModuleNotFoundError) as caught, needed(extra="train"):
        import daedalus.absent  # type: ignore[import-not-found]  # noqa: F401
    assert not isinstance(caught.value, MissingExtraError)


def test_table_agrees_with_the_packaging() -> None:
    text = Path(__file__).parents[1].joinpath("pyproject.toml").read_text(encoding="utf-8")
    declared = tomllib.loads(text)["project"]["optional-dependencies"]
    for extra, requirements in declared.items():
        if extra in ("all", "dev"):
            continue
        distributions = [line.partition(">")[0] for line in requirements]
        names = {IMPORT_NAMES.get(name, name.replace("-", "_")) for name in distributions}
        assert set(EXTRAS[extra]) <= names
        assert all(extra_of(name) is not None for name in names)
