"""The dilated LSTM of FeUdal Networks, core by core."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from daedalus.agents.dilated import DilatedLSTM, same_episode, summed
from daedalus.agents.recurrent import LSTM


def starts(*rows: int, steps: int = 6) -> Tensor:
    """Return bool (T, 1), true at ``rows``."""
    result = torch.zeros(steps, 1, dtype=torch.bool)
    result[list(rows)] = True
    return result


def test_sums_stay_within_the_episode() -> None:
    """An episode that began before the first of 1 .. 6 after 10, 20; the next one with 4."""
    x = torch.arange(1.0, 7.0).view(6, 1, 1)
    past = torch.tensor([10.0, 20.0]).view(2, 1, 1)
    start = starts(3)
    assert summed(past, x, start, 1).ravel().tolist() == [1, 2, 3, 4, 5, 6]
    assert summed(past, x, start, 2).ravel().tolist() == [21, 3, 5, 4, 9, 11]
    assert summed(past, x, start, 3).ravel().tolist() == [31, 23, 6, 4, 9, 15]
    assert same_episode(start, 9).ravel().tolist() == [True] * 3 + [False] * 3


def test_a_dilation_of_one_is_an_lstm() -> None:
    torch.manual_seed(0)
    dilated, plain = DilatedLSTM(3, 4, 1), LSTM(3, 4)
    dilated.lstm.load_state_dict(plain.state_dict())
    x, start = torch.randn(5, 2, 3), torch.zeros(5, 2, dtype=torch.bool)
    start[2, 1] = True
    h, c = torch.randn(2, 4), torch.randn(2, 4)
    torch.testing.assert_close(
        dilated(x, h.unsqueeze(1), c.unsqueeze(1), start), plain(x, h, c, start)
    )


def test_every_core_sees_every_third_input() -> None:
    """With r = 3, h_5 is of inputs 2 and 5 alone, and y_5 = h_3 + h_4 + h_5."""
    torch.manual_seed(0)
    dilated = DilatedLSTM(2, 4, 3)
    x, no = torch.randn(6, 1, 2), torch.zeros(6, 1, dtype=torch.bool)
    output = dilated(x, *dilated.initial_state(1), no)
    zero = torch.zeros(1, 4)
    cores = [dilated.lstm(x[k::3], zero, zero, no[:2]) for k in range(3)]
    torch.testing.assert_close(output[0], cores[0][0])
    torch.testing.assert_close(output[5], cores[0][1] + cores[1][1] + cores[2][1])


@pytest.mark.parametrize("split", [1, 3, 4])
def test_steps_and_unrolled_pieces_agree_whatever_their_length(split: int) -> None:
    torch.manual_seed(0)
    dilated = DilatedLSTM(2, 4, 3)
    x, start = torch.randn(8, 2, 2), torch.zeros(8, 2, dtype=torch.bool)
    start[0] = start[3, 0] = start[5, 1] = True
    whole = dilated(x, *dilated.initial_state(2), start)
    h, c = dilated.initial_state(2)
    for t in range(split):
        y, h, c = dilated.step(x[t], h, c, start[t])
        torch.testing.assert_close(y, whole[t])
    torch.testing.assert_close(dilated(x[split:], h, c, start[split:]), whole[split:])


def test_a_new_episode_forgets_all_cores() -> None:
    torch.manual_seed(0)
    dilated = DilatedLSTM(2, 4, 3)
    x = torch.randn(8, 1, 2)
    after = dilated(x, *dilated.initial_state(1), starts(4, steps=8))[4:]
    alone = dilated(x[4:], *dilated.initial_state(1), starts(steps=4))
    torch.testing.assert_close(after, alone)
