"""Statistics against published numbers, an independent implementation, hand counts, simulation.

The values of ``rliable`` are those of version 1.2.0 on the same arrays, those of Student's t are
of SciPy 1.17.1.
"""

import json
import time
from pathlib import Path

import numpy as np
import pytest

from daedalus.evaluation.constrained import Constrained, constrained, violation_area
from daedalus.evaluation.continual import continual, transfer
from daedalus.evaluation.cooperative import (
    cross_play,
    fairness,
    message_information,
    team_return,
)
from daedalus.evaluation.curves import (
    Reached,
    aligned,
    area_under_curve,
    common_grid,
    median_steps,
    steps_to_threshold,
    survival,
)
from daedalus.evaluation.placement import lower_bound, placement
from daedalus.evaluation.statistics import (
    Interval,
    Metric,
    bootstrap_interval,
    difference,
    iqm,
    mean,
    median,
    normalised,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
    t_quantile,
    t_tail,
    wilson_interval,
)

ATARI = json.loads((Path(__file__).parent / "data" / "atari_100k_simple.json").read_text())
OURS = np.arange(12.0).reshape(4, 3) ** 1.5 / 10
THEIRS = np.array([[0.1, 0.5, 2.0], [0.3, 1.4, 1.0], [1.0, 1.0, 1.0]])


def atari() -> np.ndarray:
    """Human-normalised scores of SimPLe: (5 runs, 26 games)."""
    columns = [
        normalised(np.array(runs), ATARI["random"][game], ATARI["human"][game])
        for game, runs in ATARI["scores"].items()
    ]
    return np.stack(columns, axis=1)


# ---- metrics ------------------------------------------------------------------------------------


@pytest.mark.parametrize("metric", [mean, median, iqm, optimality_gap])
def test_metrics_agree_with_the_published_numbers_on_atari(metric: Metric) -> None:
    assert atari().shape == (5, 26)
    assert metric(atari()) == pytest.approx(ATARI["published"][metric.__name__], abs=5.1e-4)


def test_metrics_agree_with_rliable() -> None:
    assert iqm(OURS) == pytest.approx(1.3370184490387718)
    assert median(OURS) == pytest.approx(1.4785758944783982)
    assert optimality_gap(OURS) == pytest.approx(0.27479517043789325)
    assert probability_of_improvement(OURS, THEIRS) == pytest.approx(0.6388888888888888)


def test_a_stack_of_tables_gives_a_value_for_each() -> None:
    stack = np.stack([OURS, OURS + 1, OURS[::-1]])
    for metric in (mean, median, iqm, optimality_gap):
        np.testing.assert_allclose(metric(stack), [float(metric(table)) for table in stack])
    thresholds = np.array([0.0, 0.5, 2.0])
    expected = [performance_profile(table, thresholds) for table in stack]
    np.testing.assert_array_equal(performance_profile(stack, thresholds), expected)
    both = probability_of_improvement(stack, np.stack([THEIRS] * 3))
    np.testing.assert_allclose(both, [probability_of_improvement(x, THEIRS) for x in stack])


def test_a_tie_counts_half_and_tasks_count_the_same() -> None:
    assert probability_of_improvement(np.ones((3, 2)), np.ones((4, 2))) == 0.5
    ours, theirs = np.array([[1.0, 0.0]]), np.array([[0.0, 0.0], [0.0, 1.0]])
    assert probability_of_improvement(ours, theirs) == (1.0 + 0.25) / 2


def test_a_profile_counts_runs_strictly_above() -> None:
    profile = performance_profile(np.array([[0.0, 1.0], [1.0, 2.0]]), np.array([-1.0, 1.0, 2.0]))
    np.testing.assert_array_equal(profile, [1.0, 0.25, 0.0])


def test_references_that_span_no_scale_are_refused() -> None:
    np.testing.assert_array_equal(normalised(np.array([1.0, 3.0]), 1.0, 5.0), [0.0, 0.5])
    with pytest.raises(ValueError, match="both 2; they span no scale"):
        normalised(np.ones(2), 2.0, 2.0)


# ---- intervals ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("freedom", "expected"),
    [
        (1, 12.706204736174694),
        (2, 4.302652729749462),
        (3, 3.182446305283708),
        (4, 2.7764451051977934),
        (9, 2.262157162798205),
        (25, 2.0595385527532972),
    ],
)
def test_quantiles_of_students_t(freedom: int, expected: float) -> None:
    assert t_quantile(0.975, freedom) == pytest.approx(expected, rel=1e-9)
    assert t_tail(expected, freedom) == pytest.approx(0.025, rel=1e-9)
    assert t_tail(expected, freedom + 0.9) == t_tail(expected, freedom)
    assert t_tail(0.0, freedom) == pytest.approx(0.5)


@pytest.mark.parametrize(("runs", "tasks"), [(5, 1), (10, 1), (5, 5), (10, 26)])
@pytest.mark.parametrize("metric", [mean, iqm])
def test_intervals_cover_as_often_as_they_say(runs: int, tasks: int, metric: Metric) -> None:
    rng = np.random.default_rng(3)
    intervals = [
        bootstrap_interval(rng.normal(2.0, 1.0, (runs, tasks)), rng, metric, resamples=800)
        for _ in range(300)
    ]
    hits = sum(low <= 2.0 <= high for low, high in intervals)
    assert 0.90 <= hits / 300 <= 0.98


def test_an_interval_of_two_samples_covers_their_difference() -> None:
    rng, hits = np.random.default_rng(4), 0
    for _ in range(300):
        samples = rng.normal(1.0, 1.0, (10, 3)), rng.normal(0.0, 2.0, (8, 3))
        low, high = bootstrap_interval(samples, rng, difference(mean), resamples=1_000)
        hits += low <= 1.0 <= high
    assert 0.90 <= hits / 300 <= 0.98


def test_one_run_says_nothing_of_the_spread() -> None:
    assert np.isnan(bootstrap_interval(np.ones((1, 5)), np.random.default_rng(0))).all()


def test_a_profile_has_a_band() -> None:
    thresholds = np.linspace(0, 3, 7)
    band = bootstrap_interval(
        OURS, np.random.default_rng(0), lambda x: performance_profile(x, thresholds)
    )
    profile = performance_profile(OURS, thresholds)
    assert isinstance(band, Interval)
    assert (np.asarray(band.low) <= profile).all()
    assert (profile <= np.asarray(band.high)).all()
    assert (np.asarray(band.high) > np.asarray(band.low)).any()


def test_the_interval_does_not_depend_on_how_many_are_resampled_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = bootstrap_interval(OURS, np.random.default_rng(0), mean, resamples=500)
    monkeypatch.setattr("daedalus.evaluation.statistics.CHUNK", 100)
    assert bootstrap_interval(OURS, np.random.default_rng(0), mean, resamples=500) == whole


def test_five_thousand_resamples_take_less_than_a_fifth_of_a_second() -> None:
    scores, rng = np.random.default_rng(0).normal(size=(10, 26)), np.random.default_rng(1)
    times = []
    for _ in range(5):
        began = time.perf_counter()
        bootstrap_interval(scores, rng, iqm, resamples=5_000)
        times.append(time.perf_counter() - began)
    assert min(times) < 0.2


# ---- curves -------------------------------------------------------------------------------------


def test_area_holds_the_ends_and_leaves_out_rows_without_a_value() -> None:
    steps, values = np.array([0, 10, 20, 30]), np.array([np.nan, 1.0, 3.0, 3.0])
    assert area_under_curve((steps, values)) == pytest.approx((10 + 20 + 30) / 30)
    assert area_under_curve((steps, values), total=15) == pytest.approx((10 + 7.5) / 15)
    assert area_under_curve((steps, values), total=60) == pytest.approx((10 + 20 + 120) / 60)


def test_a_run_that_never_reaches_the_threshold_is_censored_not_dropped() -> None:
    curve = (np.array([10, 20, 30]), np.array([0.0, 2.0, 1.0]))
    assert steps_to_threshold(curve, 2.0) == (20, True)
    assert steps_to_threshold(curve, 3.0) == (30, False)
    runs = [Reached(10, True), Reached(15, False), Reached(20, True), Reached(40, False)]
    times, shares = survival(runs)  # by hand: 3/4, then 3/4 * 1/2
    np.testing.assert_array_equal(times, [10, 20])
    np.testing.assert_allclose(shares, [0.75, 0.375])
    assert median_steps(runs) == 20
    assert median_steps([Reached(40, False), Reached(5, True), Reached(40, False)]) == np.inf
    assert median_steps([Reached(step, True) for step in range(1, 25)]) == 12  # the 12th of 24


def test_uneven_logs_are_brought_onto_one_grid_and_nothing_is_made_up() -> None:
    curves = [
        (np.array([0, 10, 40]), np.array([0.0, 1.0, 4.0])),
        (np.array([5, 20]), np.array([10.0, 40.0])),
    ]
    grid = common_grid(curves, 4)
    np.testing.assert_array_equal(grid, [5, 10, 15, 20])
    np.testing.assert_allclose(
        aligned(curves, grid), [[0.5, 1.0, 1.5, 2.0], [10.0, 20.0, 30.0, 40.0]]
    )
    assert np.isnan(aligned(curves, np.array([30.0]))).tolist() == [[False], [True]]
    with pytest.raises(ValueError, match="one begins at 50, one ends at 40"):
        common_grid([curves[0], (np.array([50, 60]), np.zeros(2))])


@pytest.mark.parametrize(
    ("curve", "message"),
    [
        (([1, 2], [0.0]), "as many values"),
        (([1, 1], [0.0, 1.0]), "must increase"),
        (([1, 2], [np.nan, np.nan]), "no value"),
    ],
)
def test_curves_that_are_none_are_refused(
    curve: tuple[list[int], list[float]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        area_under_curve((np.array(curve[0]), np.array(curve[1])))


# ---- families -----------------------------------------------------------------------------------


def test_cost_counts_only_where_it_is_above_the_limit() -> None:
    assert constrained(np.array([25.0, 25.0]), 25.0) == Constrained(25.0, 0.0, 0.0)
    curve = (np.array([0.0, 10.0, 20.0, 30.0]), np.array([1.0, 3.0, 3.0, 1.0]))
    # above 2: from 5 to 10 a triangle, to 20 a square of 1, to 25 a triangle: 2.5 + 10 + 2.5
    assert violation_area(curve, 2.0) == pytest.approx(15 / 30)
    assert violation_area(curve, 5.0) == 0.0
    assert violation_area((np.array([3.0]), np.array([7.0])), 5.0) == 2.0


def test_continual_metrics_of_three_tasks() -> None:
    matrix = np.array([[0.8, 0.3, 0.1], [0.9, 0.7, 0.2], [0.5, 0.6, 0.9]])
    found = continual(matrix, np.array([0.0, 0.1, 0.1]))
    assert found.average == pytest.approx(2.0 / 3)
    assert found.forgetting == pytest.approx(((0.9 - 0.5) + (0.7 - 0.6)) / 2)
    assert found.backward_transfer == pytest.approx(((0.5 - 0.8) + (0.6 - 0.7)) / 2)
    assert found.forward_transfer == pytest.approx(((0.3 - 0.1) + (0.2 - 0.1)) / 2)
    assert np.isnan(continual(matrix).forward_transfer)
    with pytest.raises(ValueError, match="task 1 after stage 0 is missing"):
        continual(np.array([[1.0, np.nan], [1.0, 1.0]]))


def test_continual_metrics_of_a_task_that_comes_again() -> None:
    """The first task in stages 0 and 2: at best 0.85 before the end, 0.8 when it was last trained.

    What the second was worth before it was trained, 0.9, is no best of it, but transfer.
    """
    matrix = np.array([[0.5, 0.9, 0.1], [0.85, 0.7, 0.2], [0.8, 0.6, 0.3], [0.95, 0.5, 1.0]])
    found = continual(matrix, np.full(3, 0.1), [0, 1, 0, 2])
    assert found.average == pytest.approx(2.45 / 3)
    assert found.forgetting == pytest.approx(((0.85 - 0.95) + (0.7 - 0.5)) / 2)
    assert found.backward_transfer == pytest.approx(((0.95 - 0.8) + (0.5 - 0.7)) / 2)
    assert found.forward_transfer == pytest.approx(((0.9 - 0.1) + (0.3 - 0.1)) / 2)


def test_transfer_is_the_ratio_of_areas_above_nothing() -> None:
    steps = np.array([0.0, 10.0])
    fast, slow = (steps, np.array([1.0, 5.0])), (steps, np.array([1.0, 3.0]))
    assert transfer(fast, slow, 10, zero=1.0) == pytest.approx(2.0)
    with pytest.raises(ValueError, match="not above 9"):
        transfer(fast, slow, 10, zero=9.0)


def test_cooperative_metrics() -> None:
    returns = np.array([[1.0, 1.0, 1.0], [4.0, 4.0, 4.0]])
    np.testing.assert_array_equal(team_return(returns, shared=True), [1.0, 4.0])
    np.testing.assert_array_equal(team_return(returns, shared=False), [3.0, 12.0])
    with pytest.raises(ValueError, match="not shared"):
        team_return(np.array([[1.0, 2.0]]), shared=True)
    assert cross_play(np.array([[9.0, 1.0], [3.0, 7.0]])) == (8.0, 2.0)
    assert fairness(np.array([[1.0, 1.0], [3.0, 3.0]])) == 1.0
    same = np.array([0, 1, 2, 3] * 5)
    assert message_information(same, same) == pytest.approx(2.0)
    assert message_information(np.repeat([0, 1], 8), np.tile([0, 1], 8)) == pytest.approx(0.0)


def test_placement_metrics() -> None:
    bound = lower_bound(np.array([4.0, 4.0]), critical_path=3.0, devices=2)
    assert bound == 4.0
    memory = np.array([1.0, 3.0]), np.array([2.0, 2.0])
    found = placement(
        5.0, single=8.0, bound=bound, heuristic=6.0, loads=np.array([5.0, 3.0]), memory=memory
    )
    assert found.speedup == pytest.approx(1.6)
    assert found.gap == pytest.approx(0.25)
    assert found.over_heuristic == pytest.approx(1.2)
    assert found.balance == pytest.approx(0.8)
    assert not found.feasible
    with pytest.raises(ValueError, match="shorter than the lower bound"):
        placement(3.0, single=8.0, bound=4.0, heuristic=6.0, loads=np.ones(2), memory=memory)


def test_an_interval_of_a_success_rate_is_wilsons() -> None:
    """With z = 1.96: (n p + z^2/2 +- z sqrt(n p q + z^2/4)) / (n + z^2); 0 of 10 ends at 0.278."""
    assert wilson_interval(9, 10) == pytest.approx((0.5958, 0.9821), abs=1e-4)
    assert wilson_interval(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson_interval(50, 100, 0.9) == pytest.approx((0.4189, 0.5811), abs=1e-4)
    with pytest.raises(ValueError, match="3 successes in 2 trials"):
        wilson_interval(3, 2)
