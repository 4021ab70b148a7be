"""The documentation is run: examples, commands, links, generated pages, docstrings."""

import doctest
import importlib
import inspect
import re
import subprocess
import sys

import pytest
from source_tree import ROOT, Source, package_sources

import daedalus

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
WITH_EXAMPLES = [s for s in package_sources() if ">>> " in s.path.read_text(encoding="utf-8")]


@pytest.mark.parametrize("source", WITH_EXAMPLES, ids=[s.module for s in WITH_EXAMPLES])
def test_examples_in_docstrings(source: Source) -> None:
    module = importlib.import_module(source.module)
    result = doctest.testmod(module, optionflags=doctest.ELLIPSIS)
    assert result.attempted
    assert not result.failed


@pytest.mark.parametrize("name", daedalus.__all__)
def test_public_names_have_docstrings(name: str) -> None:
    thing = getattr(daedalus, name)
    text = inspect.getdoc(thing)
    assert text
    assert name in dir(daedalus)
    if inspect.isfunction(thing) and len(parameters := inspect.signature(thing).parameters) > 1:
        assert "Args:" in text, f"{name} does not explain {', '.join(parameters)}"


def test_lazy_names_are_those_that_type_checkers_see() -> None:
    text = (ROOT / "daedalus" / "__init__.py").read_text(encoding="utf-8")
    block = text.partition("if TYPE_CHECKING:")[2].partition("_LAZY")[0]
    typed: dict[str, str] = {}
    for module, names in re.findall(r"from (\S+) import (.+)", block):
        for item in names.split(","):
            original, _, alias = item.strip().partition(" as ")
            typed[alias or original] = f"{module}:{original}" if alias else module
    assert typed == daedalus._LAZY
    assert set(daedalus.__all__) == {*typed, "make", "make_vec", "register"}


def test_unknown_names_are_attribute_errors() -> None:
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        daedalus.no_such_name  # type: ignore[attr-defined]  # noqa: B018


def test_generated_pages_are_up_to_date() -> None:
    command = [sys.executable, "docs/build.py", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"run `make docs`:\n{done.stdout}{done.stderr}"


def commands(program: str) -> set[str]:
    """Return what follows the name of a program at the start of code in README and pages."""
    found: set[str] = set()
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        found |= set(re.findall(rf"(?:^|`|\$ ){program} ([a-z]+)", text, re.MULTILINE))
    return found


def test_make_targets_in_the_pages_exist() -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    assert {"demo", "test"} <= commands("make") <= set(targets)


def test_commands_in_the_pages_exist() -> None:
    from daedalus.cli import COMMANDS

    assert {"train", "watch"} <= commands("daedalus") <= {name.split()[0] for name in COMMANDS}


def test_scripts_in_the_pages_exist() -> None:
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for script in re.findall(r"python ((?:docs|benchmarks|tests)/\S+\.py)", text):
            assert (ROOT / script).is_file(), f"{page.name} names {script}"


def test_links_lead_somewhere() -> None:
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in PAGES
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
        if not target.startswith(("http://", "https://"))
        if not (page.parent / target).exists()
    ]
    assert not broken, "\n".join(broken)


def test_python_in_the_readme_runs(tmp_path_factory: pytest.TempPathFactory) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    assert blocks
    for block in blocks:
        code = re.sub(r"total_timesteps=\d[\d_]*", "total_timesteps=640", block)
        folder = tmp_path_factory.mktemp("readme")
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
