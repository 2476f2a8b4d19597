"""Seconds since the epoch as `YYYY-MM-DDThh:mm:ssZ` and back, without a clock or calendar library.

The days are counted in the proleptic Gregorian calendar from 1 March, so that the leap day is the last of its year.

Source: rest-api.md section 1.2 (the form of server times).
"""

from __future__ import annotations

import re
from typing import Final

from keyturn.errors import FormatError

LAST_SECOND: Final = 253_402_300_799
"""9999-12-31T23:59:59Z, the last moment that four digits of a year can name."""

_DAY: Final = 86_400
_ERA_DAYS: Final = 146_097  # 400 years.
_EPOCH: Final = 719_468  # Days from 0000-03-01 to 1970-01-01.
_FORM: Final = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})Z", re.ASCII)


def format_time(seconds: int) -> str:
    """Write a moment.

    Args:
        seconds: Seconds since the epoch, 0 to `LAST_SECOND`.

    Returns:
        `YYYY-MM-DDThh:mm:ssZ`.

    Raises:
        FormatError: When the year has not four digits.
    """
    if not 0 <= seconds <= LAST_SECOND:
        raise FormatError("The time lies outside the years 1970 to 9999.")
    days, rest = divmod(seconds, _DAY)
    era, day_of_era = divmod(days + _EPOCH, _ERA_DAYS)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted_month = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * shifted_month + 2) // 5 + 1
    month = shifted_month + 3 if shifted_month < 10 else shifted_month - 9
    year = era * 400 + year_of_era + (month <= 2)
    hour, minute = divmod(rest // 60, 60)
    return f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{rest % 60:02}Z"


def parse_time(text: str) -> int:
    """Read a moment that `format_time` wrote.

    Args:
        text: `YYYY-MM-DDThh:mm:ssZ`, exactly.

    Returns:
        Seconds since the epoch.

    Raises:
        FormatError: When the text has another form or names no moment from 1970 on.
    """
    matched = _FORM.fullmatch(text)
    if matched is None:
        raise FormatError("The time is not written as YYYY-MM-DDThh:mm:ssZ.")
    year, month, day, hour, minute, second = map(int, matched.groups())
    shifted_year = year - (month <= 2)
    era, year_of_era = divmod(shifted_year, 400)
    day_of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    days = era * _ERA_DAYS + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year - _EPOCH
    seconds = days * _DAY + hour * 3600 + minute * 60 + second
    # Whatever is no date (30 February, 24 o'clock, a leap second) comes out written otherwise.
    if not 0 <= seconds <= LAST_SECOND or format_time(seconds) != text:
        raise FormatError("The time names no moment between 1970 and 9999.")
    return seconds
