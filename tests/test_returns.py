"""Returns against values worked out by hand, and the compiled code against its Python source."""

import numpy as np
import pytest

from daedalus.accelerators import returns

F, T = False, True
FUNCTIONS = ("n_step_return", "gae", "lambda_return", "n_step_map_return")


def column(*values: float | bool) -> np.ndarray:
    """Return (T, 1): float32, or bool if the values are."""
    kind = bool if isinstance(values[0], bool) else np.float32
    return np.array(values, kind)[:, None]


def test_n_step_return_bootstraps_from_the_last_value() -> None:
    # 3 + 0.5 * 8 = 7;  2 + 0.5 * 7 = 5.5;  1 + 0.5 * 5.5 = 3.75
    got = returns.n_step_return(
        column(1.0, 2.0, 3.0), column(F, F, F), column(F, F, F), column(0.0, 0.0, 8.0), 0.5
    )
    np.testing.assert_allclose(got.ravel(), [3.75, 5.5, 7.0])


def test_n_step_return_stops_at_a_terminal_state() -> None:
    # the episode ends with step 1: R_1 = 2, R_0 = 1 + 0.5 * 2; the 100 there must not be read
    got = returns.n_step_return(
        column(1.0, 2.0, 3.0), column(F, T, F), column(F, F, F), column(100.0, 100.0, 8.0), 0.5
    )
    np.testing.assert_allclose(got.ravel(), [2.0, 2.0, 7.0])


def test_n_step_return_bootstraps_at_a_time_limit() -> None:
    # cut after step 1: R_1 = 2 + 0.5 * 10 = 7, R_0 = 1 + 0.5 * 7 = 4.5
    got = returns.n_step_return(
        column(1.0, 2.0, 3.0), column(F, F, F), column(F, T, F), column(0.0, 10.0, 8.0), 0.5
    )
    np.testing.assert_allclose(got.ravel(), [4.5, 7.0, 7.0])


def test_terminated_wins_over_truncated() -> None:
    got = returns.n_step_return(column(2.0), column(T), column(T), column(10.0), 0.5)
    np.testing.assert_allclose(got.ravel(), [2.0])


def test_discounted_return_adds_no_value() -> None:
    got = returns.discounted_return(column(1.0, 2.0, 4.0), column(F, F, F), column(F, F, F), 0.5)
    np.testing.assert_allclose(got.ravel(), [3.0, 4.0, 4.0])


def test_gae_by_hand() -> None:
    # deltas: 1 + .5*2 - 1 = 1;  2 + .5*4 - 2 = 2;  4 - 4 = 0 (terminal)
    # A_2 = 0;  A_1 = 2 + .25 * 0 = 2;  A_0 = 1 + .25 * 2 = 1.5     (gamma lambda = .25)
    got = returns.gae(
        column(1.0, 2.0, 4.0),
        column(1.0, 2.0, 4.0),
        column(2.0, 4.0, 99.0),
        column(F, F, T),
        column(F, F, F),
        0.5,
        0.5,
    )
    np.testing.assert_allclose(got.ravel(), [1.5, 2.0, 0.0])


def test_gae_at_a_time_limit_keeps_the_bootstrap_and_stops_the_recursion() -> None:
    # step 0 is cut: delta = 1 + .5 * 6 - 2 = 2, and nothing of step 1 is added
    got = returns.gae(
        column(1.0, 100.0),
        column(2.0, 0.0),
        column(6.0, 0.0),
        column(F, F),
        column(T, F),
        0.5,
        1.0,
    )
    np.testing.assert_allclose(got.ravel(), [2.0, 100.0])


def test_gae_with_lambda_one_is_the_return_minus_the_value() -> None:
    rng = np.random.default_rng(0)
    reward, value, following = rng.normal(size=(3, 7, 4)).astype(np.float32)
    terminated = rng.random((7, 4)) < 0.2
    truncated = ~terminated & (rng.random((7, 4)) < 0.2)
    following[:-1] = np.where((terminated | truncated)[:-1], following[:-1], value[1:])
    advantage = returns.gae(reward, value, following, terminated, truncated, 0.9, 1.0)
    full = returns.n_step_return(reward, terminated, truncated, following, 0.9)
    np.testing.assert_allclose(advantage, full - value, atol=1e-5)


@pytest.mark.parametrize("lambda_", [0.0, 1.0])
def test_lambda_return_at_its_ends(lambda_: float) -> None:
    rng = np.random.default_rng(1)
    reward, following = rng.normal(size=(2, 6, 3)).astype(np.float32)
    terminated = rng.random((6, 3)) < 0.2
    truncated = ~terminated & (rng.random((6, 3)) < 0.2)
    got = returns.lambda_return(reward, following, terminated, truncated, 0.9, lambda_)
    one_step = reward + 0.9 * following * ~terminated
    all_steps = returns.n_step_return(reward, terminated, truncated, following, 0.9)
    np.testing.assert_allclose(got, all_steps if lambda_ else one_step, atol=1e-5)


def test_lambda_return_by_hand() -> None:
    # G_1 = 2 + .5 * 8 = 6;  G_0 = 1 + .5 * (.5 * 4 + .5 * 6) = 3.5
    got = returns.lambda_return(
        column(1.0, 2.0), column(4.0, 8.0), column(F, F), column(F, F), 0.5, 0.5
    )
    np.testing.assert_allclose(got.ravel(), [3.5, 6.0])


def test_map_return_of_sequences_of_different_length() -> None:
    reward = np.ones((3, 3, 2), np.float32) * np.array([1.0, 2.0], np.float32)
    following = np.full((3, 2), 4.0, np.float32)
    ends = np.array([F, T, F])
    got = returns.n_step_map_return(reward, following, ends, np.array([3, 2, 0]), 0.5)
    # sequence 0: 1 + .5*4 = 3, 1 + 1.5 = 2.5, 1 + 1.25 = 2.25; its second cell likewise with 2
    np.testing.assert_allclose(got[:, 0], [[2.25, 4.0], [2.5, 4.0], [3.0, 4.0]])
    # sequence 1 ends in a terminal state after two steps: 1, then 1.5; the third step is not its
    np.testing.assert_allclose(got[:, 1], [[1.5, 3.0], [1.0, 2.0], [0.0, 0.0]])
    np.testing.assert_allclose(got[:, 2], 0.0)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_compiled_and_interpreted_agree(name: str) -> None:
    rng = np.random.default_rng(2)
    reward, value, following = rng.normal(size=(3, 5, 3)).astype(np.float32)
    terminated, truncated = rng.random((2, 5, 3)) < 0.2
    arguments = {
        "n_step_return": (reward, terminated, truncated, following, 0.9),
        "gae": (reward, value, following, terminated, truncated, 0.9, 0.8),
        "lambda_return": (reward, following, terminated, truncated, 0.9, 0.8),
        "n_step_map_return": (
            rng.normal(size=(5, 3, 2)).astype(np.float32),
            rng.normal(size=(3, 2)).astype(np.float32),
            np.array([T, F, F]),
            np.array([5, 3, 1]),
            0.9,
        ),
    }[name]
    function = getattr(returns, name)
    np.testing.assert_allclose(function(*arguments), function.py_func(*arguments), rtol=1e-5)
