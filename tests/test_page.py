"""The report page: what is on it, that it needs nothing else, that a phone shows it whole."""

import html
import json
import re
import resource
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from result_stores import HERE, finish, spec

from daedalus.cli import run as daedalus
from daedalus.evaluation.page import write_page
from daedalus.evaluation.store import ResultStore, StoreError
from daedalus.evaluation.svg import Bar, Series, interval_chart, line_chart, number, styles, ticks

ADDRESSES = resource.getrlimit(resource.RLIMIT_AS)[0]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("chrome")
HARMFUL = "<script>document.title = 'taken over'</script>"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of three agents on two scenarios, five runs each, one of them unfinished."""
    folder = tmp_path_factory.mktemp("page")
    rng = np.random.default_rng(0)
    with ResultStore(folder, create=True) as store:
        for seed in range(5):
            for label, skill in (("good", 3.0), ("same", 3.0), (HARMFUL, 1.0)):
                for scenario in ("first", "second"):
                    run = spec(
                        label,
                        seed,
                        scenario,
                        references={"random": 0.0, "human": 4.0},
                        cost_limit=0.5,
                    )
                    finish(store, run, skill + 0.1 * rng.normal(), spread=0.2)
        store.add([spec("late", 0, "first")], HERE)
        store.fail(spec("late", 0, "first").id, "ValueError: no")
        return write_page(store, folder / "report.html", title="Three & more", videos=False)


def test_the_page_holds_the_numbers_and_where_they_come_from(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "<title>Three &amp; more</title>" in text
    for words in ("Over 2 scenarios", "Performance profile", "Who beats whom", "0" * 40):
        assert words in text
    assert "human 4" in text
    assert "<td>100%, by 0.5 on average</td>" in text  # every episode costs 1, the limit is 0.5
    assert "daedalus benchmark" in text
    assert "failed: ValueError: no" in text
    assert text.count("<svg") == 1 + 2 * 2  # a profile; curves and scores of each scenario
    row = re.search(r"<tr><td>good</td>(.*?)</tr>", text.partition("Who beats whom")[2])
    assert row
    assert 'class="good">1 [1, 1]' in row[1]  # good beats the weak one in every pair
    assert row[1].count("class=") == 1  # and "same" is not told apart from it


def test_pairs_are_compared_where_they_met_at_equal_steps(tmp_path: Path) -> None:
    """Two tables: a, b and c on one scenario, of which c had more steps; c and d on another."""
    with ResultStore(tmp_path, create=True) as store:
        for scenario, labels in (("one", "abc"), ("two", "cd")):
            for label in labels:
                steps = 2000 if (scenario, label) == ("one", "c") else 1000
                finish(store, spec(label, 0, scenario, total_timesteps=steps), ord(label))
        store.rewind(spec("d", 0, "two", total_timesteps=1000).id, 0)
        text = write_page(store, tmp_path / "report.html", videos=False).read_text(encoding="utf-8")
    assert "nan" not in re.findall(r"<td>(.*?)</td>", text)  # d has no learning curve
    tables = re.findall(r"<table.*?</table>", text.partition("Who beats whom")[2], re.S)[:2]
    rows = [re.findall(r"<tr><td>(.)</td>(.*?)</tr>", table, re.S) for table in tables]
    cells = [[(who, re.findall(r"<td[^>]*>(.*?)</td>", row)) for who, row in t] for t in rows]
    assert cells == [
        [("a", ["-", "0", "-"]), ("b", ["1", "-", "-"]), ("c", ["-", "-", "-"])],
        [("c", ["-", "0"]), ("d", ["1", "-"])],
    ]


def test_the_page_needs_nothing_from_elsewhere_and_runs_no_code(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert "default-src 'none'" in text
    assert not re.findall(r'(?:src|href)="(?!#|data:)', text)
    assert not re.findall(r"<script|<link|<iframe|@import|url\(", text)
    assert html.escape(HARMFUL) in text


def in_browser(page: Path, width: int, folder: Path) -> dict[str, int]:
    """Lay the page out at a width and measure it."""
    wrapper = folder / "wrapper.html"
    wrapper.write_text(
        f'<iframe style="width:{width}px;height:900px;border:0" '
        f'srcdoc="{html.escape(page.read_text(encoding="utf-8"))}"></iframe><script>'
        "const frame = document.querySelector('iframe'); frame.onload = () => {"
        "const inner = frame.contentDocument, root = inner.documentElement;"
        "const charts = [...inner.querySelectorAll('svg')].map(c => c.getBoundingClientRect());"
        "document.body.textContent = JSON.stringify({width: root.scrollWidth, "
        "height: root.scrollHeight, charts: charts.length, title: inner.title.length,"
        "narrowest: Math.round(Math.min(...charts.map(c => c.width))),"
        "outside: charts.filter(c => c.right > root.clientWidth + 1).length})}</script>"
    )
    command = [str(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    command += [f"--user-data-dir={folder / 'profile'}", f"--window-size={width + 60},1000"]
    done = subprocess.run(
        [*command, wrapper.as_uri()], capture_output=True, text=True, timeout=90, check=True
    )
    found = re.search(r"<body>(\{.*\})</body>", done.stdout)
    assert found, done.stdout[:500] + done.stderr[-500:]
    return dict(json.loads(found[1]))


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
@pytest.mark.skipif(ADDRESSES != resource.RLIM_INFINITY, reason="Chromium reserves addresses")
@pytest.mark.parametrize("width", [360, 1280])
def test_a_browser_shows_it_whole_on_a_phone_and_on_a_screen(
    page: Path, width: int, tmp_path: Path
) -> None:
    found = in_browser(page, width, tmp_path)
    assert found["width"] <= width  # no sideways scrolling; wide tables scroll in their own box
    assert found["charts"] == 5
    assert found["outside"] == 0
    assert found["narrowest"] >= 300
    assert found["title"] == len("Three & more")  # nothing in the page ran


def test_the_command_writes_the_page_and_refuses_an_empty_store(
    page: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "new" / "page.html"
    command = ["report", str(page.parent), "--output", str(output), "--no-videos"]
    assert daedalus(command) == 0
    assert "page.html: " in capsys.readouterr().out
    assert output.stat().st_size > 10_000
    with (
        ResultStore(tmp_path / "empty.sqlite", create=True) as store,
        pytest.raises(StoreError, match="no finished run"),
    ):
        write_page(store, output)


# ---- charts -------------------------------------------------------------------------------------


def test_ticks_are_round_and_labels_short() -> None:
    assert ticks(0.0, 1.0) == [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    assert ticks(-7.0, 13.0) == [-5.0, 0.0, 5.0, 10.0]
    assert ticks(3.0, 3.0) == [3.0]
    assert [number(v) for v in (0.5, 1500, 50_000, 2e6)] == ["0.5", "1.5k", "50k", "2M"]


def test_lines_keep_to_their_frame_and_gaps_stay_gaps() -> None:
    x = np.array([0.0, 5.0, 10.0])
    y = np.array([0.0, np.nan, 2.0])
    chart = line_chart(
        [Series("a", x, y, y, y)], styles(["a"]), x_label="x", y_label="y", references={"far": 99.0}
    )
    line = re.search(r'<path d="M([^"]*)" fill="none"', chart)
    assert line
    points = [tuple(map(float, point.split())) for point in line[1].split("L")]
    assert len(points) == 2
    assert all(64 <= px <= 536 and 12 <= py <= 288 for px, py in points)
    assert points[0][1] > points[1][1]  # up is more
    assert "far" not in chart  # a reference that would flatten the lines is left to the table
    assert "No curve" in line_chart([], {}, x_label="x", y_label="y")


def test_intervals_of_a_single_run_are_points() -> None:
    bars = [Bar("a", 1.0, float("nan"), float("nan")), Bar("b", 2.0, 1.5, 2.5)]
    chart = interval_chart(bars, styles(["a", "b"]), x_label="x")
    assert chart.count("<circle") == 2
    assert chart.count("stroke-width") == 1
    assert len({tuple(style) for style in styles([str(i) for i in range(30)]).values()}) == 30


def test_alarms_of_training_are_on_the_page(tmp_path: Path) -> None:
    sick, well = spec("sick"), spec("well")
    with ResultStore(tmp_path, create=True) as store:
        for run in (sick, well):
            store.add([run], HERE)
            store.begin(run.id, HERE)
            for step in (50, 100):
                store.log(run.id, step, {"health/stall": float(run is sick and step == 100)})
            finish(store, run, 1.0)
        write_page(store, tmp_path / "page.html", videos=False)
        text = (tmp_path / "page.html").read_text()
    assert text.count("Training health") == 1
    assert "sick on s, seed 0: stall from step 100, 1 of 2 logged rows" in text
    assert "well on s, seed 0: stall" not in text
