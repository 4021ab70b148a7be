"""Panels: what plain values become, and that every painter shows the same."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from daedalus.evaluation.drawing import COLOURS, Canvas, Stage, to_svg
from daedalus.evaluation.panels import (
    Bars,
    Curve,
    Fill,
    Image,
    Line,
    Panel,
    Pictures,
    Spans,
    Text,
    Words,
    as_panel,
    heat,
)
from daedalus.evaluation.rollout import Moment

pytest.importorskip("PIL")
HARMFUL = '</text><script>alert("x")</script>'


def moment(step: int, **fields: object) -> Moment:
    given = {"value": None, "reward": 0.0, "episode_return": 0.0, "action": 1, **fields}
    return Moment(picture=None, view=None, episode=0, step=step, **given)  # type: ignore[arg-type]


def test_plain_values_become_the_panels_that_suit_them() -> None:
    picture, map_, row = np.zeros((4, 6, 3), np.uint8), np.eye(3), np.array([1.0, -2.0])
    assert isinstance(as_panel("p", picture), Pictures)
    assert as_panel("p", map_).images[""].shape == (3, 3, 3)  # type: ignore[attr-defined]
    assert as_panel("p", row).labels == ("0", "1")  # type: ignore[attr-defined]
    both = as_panel("p", {"prediction": row, "target": 2 * row})
    assert isinstance(both, Bars)
    assert both.targets is not None
    assert both.targets.tolist() == [2.0, -4.0]
    assert as_panel("p", {"left": 0.25, "right": 0.75}).labels == ("left", "right")  # type: ignore[attr-defined]
    assert as_panel("p", ["hello", "world"]) == Words(("hello", "world"))
    assert as_panel("p", [("cpu", 0, 2), ("gpu", 1, 3, "conv")]) == Spans(
        (("cpu", 0.0, 2.0, ""), ("gpu", 1.0, 3.0, "conv"))
    )


@pytest.mark.parametrize("value", [object(), {"a": object()}, [1, 2], np.zeros((2, 2, 2, 2)), {}])
def test_what_cannot_be_shown_is_named(value: object) -> None:
    with pytest.raises(TypeError, match="odd"):
        as_panel("odd", value)


def test_predictions_and_targets_share_one_scale() -> None:
    low, high = np.zeros((2, 2)), np.full((2, 2), 4.0)
    panel = as_panel("p", {"prediction": low, "target": high})
    assert isinstance(panel, Pictures)
    assert (panel.images["prediction"] == (24, 20, 44)).all()  # the darkest and the brightest
    assert (panel.images["target"] == (252, 252, 208)).all()
    assert heat(np.array([[2.0]]), 0.0, 4.0).tolist() == [[[196, 84, 92]]]  # half-way


def test_a_bar_is_as_long_as_its_share_and_the_chosen_one_stands_out() -> None:
    panel = Bars(("a", "b"), np.array([0.25, 0.75]), chosen=1, top=1.0)
    shapes = panel.shapes(100.0, 40.0)
    bars = [s for s in shapes if isinstance(s, Fill) and s.colour != "line"]
    assert [bar.colour for bar in bars] == ["value", "return"]
    lengths = [bar.box[2] - bar.box[0] for bar in bars]
    assert lengths == pytest.approx([10.0, 30.0])  # of 40 in all
    many = Bars(tuple(map(str, range(40))), np.linspace(-1, 1, 40))
    assert not [s for s in many.shapes(100.0, 96.0) if isinstance(s, Text)]


def test_a_gantt_chart_has_a_lane_for_each_and_times_in_proportion() -> None:
    panel = Spans((("cpu", 0.0, 2.0, ""), ("gpu", 1.0, 4.0, ""), ("cpu", 3.0, 4.0, "")))
    assert panel.lanes == ["cpu", "gpu"]
    boxes = [s.box for s in panel.shapes(100.0, 60.0) if isinstance(s, Fill)]
    assert boxes[0] == pytest.approx((22.0, 2.0, 60.0, 18.0))  # 78 for 4 units, less the gap of 1
    assert boxes[1] == pytest.approx((41.5, 22.0, 99.0, 38.0))
    assert boxes[2][1] == boxes[0][1]


def test_a_curve_keeps_to_its_box_and_marks_rewards_by_their_sign() -> None:
    panel = Curve((0.0, 4.0, -4.0), marks=(0.0, 1.0, -1.0), room=3)
    lines = [s for s in panel.shapes(100.0, 80.0) if isinstance(s, Line)]
    assert [line.colour for line in lines] == ["line", "value", "gain", "loss"]
    assert [p[0] for p in lines[1].points] == [0.0, 50.0, 100.0]
    assert all(0 <= y <= 80 for line in lines for _, y in line.points)


def test_svg_is_well_formed_and_text_stays_text() -> None:
    panels: list[Panel] = [
        Words((HARMFUL,)),
        Bars((HARMFUL,), np.ones(1)),
        Spans(((HARMFUL, 0, 1, "x"),)),
        Pictures({HARMFUL: np.zeros((3, 3, 3), np.uint8)}),
        Curve((1.0, 2.0)),
    ]
    for panel in panels:
        text = to_svg(panel)
        names = {node.tag.rpartition("}")[2] for node in ElementTree.fromstring(text).iter()}
        assert names <= {"svg", "text", "rect", "polyline", "image"}
        used = set(re.findall(r"var\(--(\w+)\)", text))
        assert used <= set(COLOURS)


def test_pixels_and_svg_are_painted_from_the_same_shapes() -> None:
    canvas = Canvas(40, 40)
    red = np.full((2, 2, 3), (255, 0, 0), np.uint8)
    canvas.paint([Fill((0, 0, 9, 9), "gain"), Image((20, 20, 40, 40), red)])
    pixels = np.asarray(canvas.image)
    assert tuple(pixels[5, 5]) == COLOURS["gain"]
    assert (pixels[20:, 20:] == (255, 0, 0)).all()
    assert tuple(pixels[15, 15]) == COLOURS["back"]


def test_probabilities_stand_under_the_names_of_the_actions() -> None:
    stage = Stage("x", {3: "left", 4: "right"})
    now = moment(0, action=4, panels={"probabilities": np.array([0.1, 0.9])})
    stage.remember(now)
    panel = stage.panels(now)["action probabilities"]
    assert isinstance(panel, Bars)
    assert (panel.labels, panel.chosen) == (("left", "right"), 1)


def test_numbers_of_agents_become_curves_and_costs_appear_once_there_are_some() -> None:
    stage = Stage("x")
    for step, cost in enumerate((0.0, 1.0, 1.0)):
        now = moment(step, episode_cost=cost, panels={"temperature": 0.5 * step})
        stage.remember(now)
        assert ("cost" in stage.panels(now)) == (step > 0)
    curve = stage.panels(now)["temperature"]
    assert isinstance(curve, Curve)
    assert list(curve.values) == [0.0, 0.5, 1.0]
    stage.remember(moment(0))
    assert set(stage.panels(moment(0))) == {"return"}  # a new episode starts anew
