"""Times as text, compared with the standard library's calendar."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyturn.errors import FormatError
from keyturn.ska.iso_time import LAST_SECOND, format_time, parse_time


@given(st.integers(0, LAST_SECOND))
def test_every_moment_is_written_as_the_standard_library_writes_it(seconds: int) -> None:
    text = format_time(seconds)
    assert text == datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ").rjust(20, "0")
    assert parse_time(text) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2000-02-29T23:59:59Z", 951_868_799),
        ("2024-08-14T18:02:50Z", 1_723_658_570),
        ("9999-12-31T23:59:59Z", LAST_SECOND),
    ],
)
def test_known_moments(text: str, seconds: int) -> None:
    assert (format_time(seconds), parse_time(text)) == (text, seconds)


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "2024-02-30T00:00:00Z",
        "2023-02-29T00:00:00Z",
        "2024-00-01T00:00:00Z",
        "2024-13-01T00:00:00Z",
        "2024-01-00T00:00:00Z",
        "2024-01-01T24:00:00Z",
        "2024-01-01T00:60:00Z",
        "2024-01-01T23:59:60Z",
        "1969-12-31T23:59:59Z",
        "0000-01-01T00:00:00Z",
        "2024-01-01T00:00:00",
        "2024-01-01T00:00:00+00:00",
        "2024-01-01T00:00:00.0Z",
        "2024-01-01t00:00:00z",
        "2024-01-01T00:00:00Z\n",
        "\u0662024-01-01T00:00:00Z",
        "\u0662\u0660\u0662\u0664-01-01T00:00:00Z",
    ],
)
def test_what_is_no_moment_is_refused(bad: str) -> None:
    with pytest.raises(FormatError):
        parse_time(bad)
    assert parse_time("2024-02-29T00:00:00Z") == 1_709_164_800


@pytest.mark.parametrize("seconds", [-1, LAST_SECOND + 1])
def test_years_without_four_digits_are_refused(seconds: int) -> None:
    with pytest.raises(FormatError):
        format_time(seconds)
