import numpy as np
import pandas as pd
import pytest

from workbench.features.indicators import make_features
from workbench.features.labels import forward_return, label_moves
from workbench.features.windows import Windows


@pytest.fixture(scope="module")
def windows(make_prices):
    """Eight windows of two bars: the labels are 0 2 2 1 0 2 1 and one not yet known."""
    prices = make_prices(9)
    labels = label_moves(prices)
    labels.iloc[:] = [2, 0, 2, 2, 1, 0, 2, 1, np.nan]
    features = make_features(prices)[["range", "close_position"]]
    return Windows.of(features, labels, 2)


def test_one_line_says_size_ticker_dates_and_balance(windows):
    assert repr(windows) == (
        "Windows(8 × 2 bars × 2 features, MADE, 2000-01-04 → 2000-01-13, "
        "classification: 29 % sell, 29 % hold, 43 % buy, 1 not yet known)"
    )
    assert repr(windows[:0]) == "Windows(0 × 2 bars × 2 features, classification: no windows)"
    assert repr(windows[-1]).endswith("2000-01-13 → 2000-01-13, classification: 1 not yet known)")


def test_one_line_of_a_panel_and_of_a_forecast(make_panel):
    panel = make_panel((40, 40))
    found = Windows.of(make_features(panel), forward_return(panel), 5)
    y = 100 * forward_return(panel).dropna().loc[found.dates.min() :]
    assert repr(found) == (
        f"Windows(6 × 5 bars × 13 features, 2 tickers, 2000-02-23 → 2000-02-25, regression: "
        f"mean {y.mean():+.2f} %, sd {y.std():.2f} %, 2 not yet known)"
    )


def test_intraday_dates_show_their_hour(make_prices):
    prices = make_prices(9)
    prices.index = pd.date_range("2000-01-01", periods=9, freq="h", tz="UTC", name="date")
    found = Windows.of(make_features(prices)[["range"]], label_moves(prices), 2)
    assert "2000-01-01 01:00 → 2000-01-01 08:00" in repr(found)


def test_the_table_counts_every_class(windows):
    table = windows.describe()
    assert table.index.tolist() == ["MADE"]
    assert table.loc["MADE"].to_dict() == {
        "windows": 8,
        "first decision": pd.Timestamp("2000-01-04"),
        "last decision": pd.Timestamp("2000-01-13"),
        "sell [%]": 28.57,
        "hold [%]": 28.57,
        "buy [%]": 42.86,
        "not yet known": 1,
    }


def test_the_table_has_a_row_a_ticker_and_one_for_all(make_panel):
    panel = make_panel((50, 40))
    table = Windows.of(make_features(panel), forward_return(panel, 2), 5).describe()
    assert table.index.tolist() == ["A", "B", "all"]
    assert table["windows"].tolist() == [13, 3, 16]
    assert table["not yet known"].tolist() == [2, 2, 4]
    known = 100 * forward_return(panel, 2).dropna().xs("A", level="ticker").iloc[-11:]
    assert table.loc["A", "mean return [%]"] == round(known.mean(), 2)
    assert table.loc["A", "sd of returns [%]"] == round(known.std(), 2)
    assert table.loc["A", "positive [%]"] == round(100 * (known > 0).mean(), 2)


def test_the_table_of_nothing_is_a_row_of_nothing(windows):
    table = windows[:0].describe()
    assert table.loc["all", "windows"] == 0
    assert table["first decision"].isna().all()
