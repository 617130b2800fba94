from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.features.concepts import with_concepts
from workbench.features.indicators import make_features
from workbench.features.labels import forward_return
from workbench.features.windows import Windows
from workbench.market.loading import load_panel
from workbench.market.sample import sectors
from workbench.models.columns import concept_columns

DATES = pd.bdate_range("2000-01-03", periods=5, name="date")


def panel(tickers=("A", "B"), dates=DATES) -> pd.DataFrame:
    index = pd.MultiIndex.from_product([dates, list(tickers)], names=["date", "ticker"])
    return pd.DataFrame({"x": np.arange(float(len(index)))}, index=index)


def table(*rows, columns=("ticker", "concept", "since", "until")) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=list(columns))


def column(found, concept, ticker) -> list[float]:
    return found[f"concept:{concept}"].xs(ticker, level="ticker").tolist()


def test_a_stock_belongs_from_since_until_until():
    membership = table(
        ("A", "oil", "2000-01-04", "2000-01-06"),
        ("A", "oil", "2000-01-07", None),
        ("B", "banks", "1990-01-01", "2000-01-05"),
        ("C", "toys", "1990-01-01", None),  # a stock that is not looked at
    )
    found = with_concepts(panel(), membership)
    assert list(found.columns) == ["x", "concept:banks", "concept:oil"]
    assert column(found, "oil", "A") == [0, 1, 1, 0, 1]
    assert column(found, "oil", "B") == [0, 0, 0, 0, 0]
    assert column(found, "banks", "B") == [1, 1, 0, 0, 0]
    assert concept_columns(list(found.columns)) == [1, 2]


def test_weights_stand_in_for_ones_and_until_may_be_left_out():
    membership = table(("A", "oil", "2000-01-05", 0.25), columns=("ticker", "concept", "since", "weight"))
    assert column(with_concepts(panel(), membership), "oil", "A") == [0, 0, 0.25, 0.25, 0.25]


@given(data=st.data())
def test_marks_are_those_that_a_loop_finds(data):
    days = [data.draw(st.lists(st.integers(0, 8), min_size=2, max_size=4, unique=True)) for _ in range(3)]
    moments = pd.bdate_range("2000-01-03", periods=9)
    rows = [
        (ticker, "oil", moments[a], moments[b])
        for ticker, ends in zip("ABC", map(sorted, days), strict=True)
        for a, b in list(pairwise(ends))[::2]
    ]
    features = panel(("A", "B"))
    found = with_concepts(features, table(*rows))["concept:oil"]
    for (date, ticker), value in found.items():
        assert value == any(t == ticker and since <= date < until for t, _, since, until in rows)


def test_snapshots_count_until_the_next_of_the_stock():
    index = pd.MultiIndex.from_tuples(
        [(DATES[1], "A"), (DATES[1], "C"), (DATES[2], "B"), (DATES[3], "A")], names=["date", "ticker"]
    )
    snapshots = pd.DataFrame({"oil": [1.0, 1, 0.5, 0], "banks": [0.0, 1, 1, 1]}, index=index)
    found = with_concepts(panel(), snapshots)
    assert column(found, "oil", "A") == [0, 1, 1, 0, 0]
    assert column(found, "banks", "A") == [0, 0, 0, 1, 1]
    assert column(found, "oil", "B") == [0, 0, 0.5, 0.5, 0.5]


def test_what_comes_later_leaves_the_past_alone():
    early = table(("A", "oil", "2000-01-04", None), ("B", "banks", "2000-01-03", None))
    late = table(
        ("A", "oil", "2000-01-04", "2000-01-06"),
        ("B", "banks", "2000-01-03", None),
        ("B", "oil", "2000-01-06", None),
    )
    one, other = (with_concepts(panel(), membership) for membership in (early, late))
    past = np.asarray(one.index.get_level_values("date") < "2000-01-06")
    pd.testing.assert_frame_equal(one[past], other[past], check_exact=True)
    assert not one[~past].equals(other[~past])


def test_a_static_map_must_say_since_when():
    concepts = pd.Series({"A": "oil", "B": "banks"}, name="theme")
    with pytest.raises(
        ValueError, match=r"doesn't say from when it counts: pass since=, the date on which it"
    ):
        with_concepts(panel(), concepts)
    found = with_concepts(panel(), concepts, since="2000-01-05")
    assert column(found, "oil", "A") == [0, 0, 1, 1, 1]
    with pytest.raises(ValueError, match=r"since is for a Series"):
        with_concepts(panel(), table(("A", "oil", "2000-01-04", None)), since="2000")


def test_the_bundled_sectors_taken_for_earlier_than_they_are_warn_of_the_look_ahead():
    features = make_features(load_panel(["JPM", "XOM", "CVX"], "sample20", start="2021"))
    with pytest.warns(
        UserWarning, match=r"sectors are those of 2022-12-28, and count from 2021-01-01: until 2022"
    ):
        found = with_concepts(features, sectors(), since="2021")
    assert list(found.columns[-2:]) == ["concept:Energy", "concept:Financials"]
    assert (found["concept:Energy"].xs("XOM", level="ticker") == 1).all()
    with_concepts(features, sectors(), since="2022-12-28")  # known by then: nothing to warn of


def test_one_ticker_is_known_by_its_provenance():
    features = panel(("A",)).droplevel("ticker")
    features.attrs["provenance"] = {"ticker": "A"}
    found = with_concepts(features, table(("A", "oil", "2000-01-05", None)))
    assert found["concept:oil"].tolist() == [0, 0, 1, 1, 1]
    features.attrs = {}
    with pytest.raises(ValueError, match=r"membership knows none of the features' tickers \(unnamed\)"):
        with_concepts(features, table(("A", "oil", "2000-01-05", None)))


def test_intraday_bars_take_dates_as_utc():
    hours = pd.date_range("2000-01-03 22:00", periods=4, freq="1h", tz="UTC", name="date")
    found = with_concepts(panel(("A",), hours), table(("A", "oil", "2000-01-04", None)))
    assert found["concept:oil"].tolist() == [0, 0, 1, 1]


def test_the_kind_of_number_stays_and_windows_take_it():
    features = panel(dates=pd.bdate_range("2000-01-03", periods=30, name="date")).astype("float32")
    found = with_concepts(features, table(("A", "oil", "2000-01-04", None)))
    assert (found.dtypes == "float32").all()
    prices = features.rename(columns={"x": "close"}).astype("float64") + 1
    assert len(Windows.of(found, forward_return(prices), 5)) == 2 * 26


@pytest.mark.parametrize(
    ("membership", "message"),
    [
        (
            table(("A", "oil", "2000"), columns=("ticker", "concept", "from")),
            r"Missing: since. Or index it by",
        ),
        (table(("A", "oil", None, None)), r"since must be a date"),
        (table(("A", "oil", "2000-01-04", "2000-01-04")), r"until must come after since"),
        (table(("A", "oil", "2000", "2002"), ("A", "oil", "2001", None)), r"must not overlap"),
        (table(("A", "oil", "2000", None), ("A", "oil", "2001", None)), r"must not overlap"),
        (
            table(("A", "oil", "2000", -1.0), columns=("ticker", "concept", "since", "weight")),
            r"weight must be a finite number from 0 up",
        ),
        (table(("Z", "oil", "2000", None)), r"knows none of the features' tickers \(A, B\)"),
        (panel(("Z",)), r"knows none of the features' tickers"),
        (panel() - 1, r"must hold finite numbers from 0 up"),
    ],
)
def test_what_breaks_a_rule_is_refused(membership, message):
    with pytest.raises(ValueError, match=message):
        with_concepts(panel(), membership)


def test_concepts_are_added_once():
    membership = table(("A", "oil", "2000", None))
    with pytest.raises(ValueError, match=r"features have concept:oil already: add the concepts once"):
        with_concepts(with_concepts(panel(), membership), membership)
