"""The calendar of the pages: days are counted from 2017-01-01, today is 2017-03-01."""

from __future__ import annotations

import datetime

import numpy as np

FIRST = datetime.date(2017, 1, 1)
TODAY = (datetime.date(2017, 3, 1) - FIRST).days
MONTHS = 24
"""Months that a calendar shows."""
NAMES = "January February March April May June July August September October November December"


def _starts() -> np.ndarray:
    months = [datetime.date(2017 + m // 12, m % 12 + 1, 1) for m in range(MONTHS + 1)]
    return np.array([(month - FIRST).days for month in months], np.int64)


STARTS = _starts()
"""int64 (MONTHS + 1,): the first day of each month; 2017-01-01 was a Sunday."""
MONTH_TITLES = tuple(f"{NAMES.split()[m % 12]} {2017 + m // 12}" for m in range(MONTHS))


def date_text(day: int) -> str:
    """Return a day as MM/DD/YYYY.

    >>> date_text(TODAY)
    '03/01/2017'
    """
    return (FIRST + datetime.timedelta(days=day)).strftime("%m/%d/%Y")


DATE_TEXTS = tuple(date_text(day) for day in range(int(STARTS[-1])))
