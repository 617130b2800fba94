import numpy as np
import pandas as pd
import pytest

from workbench.features.panels import apply_by_ticker, check_index, keys_of, known_fields


def test_work_on_a_panel_never_sees_another_ticker(make_panel):
    panel = make_panel((6, 4))
    seen = []

    def running_count(bars: pd.DataFrame) -> pd.DataFrame:
        seen.append(bars)
        return pd.DataFrame({"count": np.arange(1.0, len(bars) + 1)}, index=bars.index)

    found = apply_by_ticker(panel, running_count)["count"]
    assert [len(bars) for bars in seen] == [6, 4]
    assert found.xs("A", level="ticker").tolist() == [1, 2, 3, 4, 5, 6]
    assert found.xs("B", level="ticker").tolist() == [1, 2, 3, 4]
    assert apply_by_ticker(panel, running_count).attrs == panel.attrs


def test_keys_of_one_ticker_and_of_a_panel(make_prices, make_panel):
    dates, tickers = keys_of(make_prices(3).index, "MADE")
    assert dates.equals(make_prices(3).index)
    assert tickers.tolist() == ["MADE"] * 3
    dates, tickers = keys_of(make_panel((2, 2)).index)
    assert tickers.tolist() == ["A", "B", "A", "B"]
    assert dates[0] == dates[1] < dates[2] == dates[3]


def test_fields_are_what_provenance_states_else_the_columns_there_are(make_prices):
    prices = make_prices(5)
    assert known_fields(prices) == ("open", "high", "low", "close", "volume")
    assert known_fields(prices[["close", "volume"]]) == ("close", "volume")
    prices.attrs["provenance"]["fields"] = ["close"]
    assert known_fields(prices) == ("close",)
    prices.attrs = {}
    assert known_fields(prices) == ("open", "high", "low", "close", "volume")


def test_an_index_that_breaks_the_rules_is_refused_with_the_repair(make_prices, make_panel):
    prices = make_prices(5)
    with pytest.raises(TypeError, match=r"made: rows must be dated.*Got RangeIndex.*pd.to_datetime"):
        check_index(prices.reset_index(drop=True), "made")
    with pytest.raises(ValueError, match=r"made: 2000-01-04 00:00:00 occurs more than once: drop"):
        check_index(prices.iloc[[0, 1, 1, 2]], "made")
    with pytest.raises(ValueError, match=r"made: rows must run from old to new: sort them"):
        check_index(prices.iloc[::-1], "made")
    panel = make_panel((5, 5))
    with pytest.raises(ValueError, match=r"levels \('date', 'ticker'\). Got \('ticker', 'date'\)"):
        check_index(panel.swaplevel(), "made")
    with pytest.raises(ValueError, match=r"sort them"):
        check_index(panel.sort_index(level="ticker"), "made")
    check_index(panel, "made")
