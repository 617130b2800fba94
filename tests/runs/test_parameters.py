import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.runs.parameters import (
    NotebookError,
    check_known,
    declared_parameters,
    known_parameters,
    parse_parameters,
    parse_value,
    read_notebook,
)

DECLARATION = """
TICKER, LOOKBACK = "AAPL", 60    # two at once
EPOCHS: int = 3
START = None
LIVE = False
RATE = 1e-3
TICKERS = ["AAPL", "MSFT"]
FOLDER = Path("x")
first = second = 7
"""


def test_every_way_to_assign_is_read(write):
    path = write("01_a.ipynb", "#md # A", parameters=DECLARATION)
    assert declared_parameters(path) == {
        "TICKER": "AAPL",
        "LOOKBACK": 60,
        "EPOCHS": 3,
        "START": None,
        "LIVE": False,
        "RATE": 1e-3,
        "TICKERS": ["AAPL", "MSFT"],
        "FOLDER": None,
        "first": 7,
        "second": 7,
    }


def test_a_notebook_without_a_parameters_cell_declares_nothing(write):
    assert declared_parameters(write("01_a.ipynb", "TICKER = 'AAPL'")) == {}


def test_magics_among_the_parameters_are_told(write):
    path = write("01_a.ipynb", "#md # A", parameters="%matplotlib inline\nTICKER = 'AAPL'")
    with pytest.raises(NotebookError, match=r"not plain Python.*Keep magics"):
        declared_parameters(path)


def test_the_first_notebook_decides_between_two_defaults(write):
    one = write("01_a.ipynb", "#md # A", parameters="SEED = 1\nONLY_HERE = 2")
    two = write("02_b.ipynb", "#md # B", parameters="SEED = 5\nONLY_THERE = 3")
    assert known_parameters([one, two]) == {"SEED": 1, "ONLY_HERE": 2, "ONLY_THERE": 3}


def test_a_missing_notebook_names_those_that_are_there(write):
    path = write("01_a.ipynb", "1")
    with pytest.raises(NotebookError, match=r"no notebook .*nope\.ipynb.*holds: 01_a\.ipynb"):
        read_notebook(path.with_name("nope.ipynb"))


@pytest.mark.parametrize(
    "content", ["not json", '{"cells": 3}', "\udcff", "[]", '{"nbformat": 4, "cells": 3}']
)
def test_a_file_that_is_no_notebook_is_told(tmp_path: Path, content: str):
    path = tmp_path / "bad.ipynb"
    path.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(NotebookError, match="is not a notebook"):
        read_notebook(path)


def test_an_unknown_name_is_refused_with_the_nearest_and_the_list():
    with pytest.raises(NotebookError, match=r"'TIKER'\. Did you mean TICKER\? Parameters: SEED, TICKER\."):
        check_known(["SEED", "TIKER"], ["TICKER", "SEED"])
    with pytest.raises(NotebookError, match=r"'ticker'\. Did you mean TICKER\?"):
        check_known(["ticker"], ["TICKER", "SEED"])
    with pytest.raises(NotebookError, match=r"'X'\. Parameters: none\."):
        check_known(["X"], [])


@pytest.mark.parametrize(
    ("text", "default", "value"),
    [
        ("0700", "AAPL", "0700"),
        ("2009", "2005-01-01", "2009"),
        ("90", 60, 90),
        ("-5", 60, -5),
        ("None", 60, None),
        ("3", 0.5, 3),
        ("1e-3", 0.5, 1e-3),
        ("true", False, True),
        ("False", True, False),
        ("MSFT,IBM", ["AAPL"], ["MSFT", "IBM"]),
        ("['MSFT']", ["AAPL"], ["MSFT"]),
        ("1,2", (5,), (1, 2)),
        ("2011-08-08", None, "2011-08-08"),
        ("7", None, 7),
    ],
)
def test_a_text_is_read_as_its_default_is(text: str, default: object, value: object):
    read = parse_value("X", text, default)
    assert read == value
    assert type(read) is type(value)


def test_infinity_and_nan_are_numbers():
    assert parse_value("X", "-inf", 1.0) == -math.inf
    assert math.isnan(parse_value("X", "nan", 1.0))


@pytest.mark.parametrize(
    ("text", "default"), [("many", 60), ("1.5", 60), ("1", True), ("True", 60), ("True", 1.0)]
)
def test_a_text_of_another_kind_is_refused(text: str, default: object):
    with pytest.raises(NotebookError, match=f"LOOKBACK is {default!r} by default"):
        parse_value("LOOKBACK", text, default)


@given(st.one_of(st.integers(), st.floats(allow_nan=False), st.booleans(), st.lists(st.integers())))
def test_what_python_writes_is_read_back(value):
    assert parse_value("X", repr(value), value) == value


@given(st.text())
def test_text_for_text_is_never_changed(text: str):
    assert parse_value("X", text, "AAPL") == text


def test_raw_text_is_passed_as_it_is_and_checked_for_its_name(write):
    path = write("01_a.ipynb", "#md # A", parameters="LOOKBACK = 60\nTICKER = 'AAPL'")
    assert parse_parameters({"LOOKBACK": "9"}, [path]) == {"LOOKBACK": 9}
    assert parse_parameters({}, [path], {"LOOKBACK": "9"}) == {"LOOKBACK": "9"}
    with pytest.raises(NotebookError, match="LOKBACK"):
        parse_parameters({}, [path], {"LOKBACK": "9"})
