"""The price chart's Python side: what is sent, and how traits keep in step."""

import base64
from typing import Any

import numpy as np
import pandas as pd
import pytest
import traitlets

import workbench as wb
from workbench.explainers.explanation import Explanation
from workbench.widgets.chart import PriceChart


@pytest.fixture(scope="module")
def prices() -> pd.DataFrame:
    return wb.load_prices("AAPL")


def _explained(dates: pd.DatetimeIndex, scores: np.ndarray, **changes: Any) -> Explanation:
    fields: dict[str, Any] = {
        "scores": scores,
        "method": "rollout",
        "target": "last bar",
        "dates": dates,
        "tickers": np.full(len(dates), "AAPL"),
        "feature_names": ("one", "two"),
        "predictions": pd.DataFrame({"forecast": np.zeros(len(dates))}, dates),
    }
    return Explanation(**fields | changes)


def _bars(chart: PriceChart) -> np.ndarray:
    return np.frombuffer(chart.bars, "<f8").reshape(6, -1)


def test_bars_are_sent_exactly_as_they_are(prices: pd.DataFrame) -> None:
    sent = _bars(PriceChart(prices))
    np.testing.assert_array_equal(sent[1:].T, prices.to_numpy())
    assert pd.to_datetime(sent[0], unit="ms").equals(pd.DatetimeIndex(prices.index, name=None))


def test_a_frame_of_closes_only_sends_nan_for_the_rest() -> None:
    closes = wb.load_prices("AAPL", source="sample20")
    sent = _bars(PriceChart(closes))
    assert np.isnan(sent[[1, 2, 3, 5]]).all()
    np.testing.assert_array_equal(sent[4], closes["close"])


def test_a_date_without_a_bar_is_the_last_bar_before_it(prices: pd.DataFrame) -> None:
    chart = PriceChart(prices, date="2011-08-07")  # a Sunday
    assert (chart.date, prices.index[chart.bar]) == ("2011-08-05", pd.Timestamp("2011-08-05"))


def test_bar_and_date_follow_each_other(prices: pd.DataFrame) -> None:
    chart = PriceChart(prices)
    assert chart.date == "2013-03-01"
    chart.bar = 0
    assert chart.date == str(prices.index[0].date())
    chart.date = str(prices.index[2].date())
    assert chart.bar == 2
    chart.bar = -1
    assert (chart.bar, chart.date) == (len(prices) - 1, "2013-03-01")


def test_intraday_dates_carry_their_time_in_utc() -> None:
    dates = pd.date_range("2024-03-01 14:30", periods=50, freq="15min", tz="America/New_York").tz_convert(
        "UTC"
    )
    chart = PriceChart(pd.DataFrame({"close": np.arange(1.0, 51.0)}, dates))
    assert chart.facts["intraday"]
    chart.date = "2024-03-01 19:50"
    assert (chart.bar, chart.date) == (1, "2024-03-01 19:45")
    chart.date = "2024-03-01"  # a day means its last bar
    assert chart.date == "2024-03-01 23:45"
    assert _bars(chart)[0, 1] == pd.Timestamp("2024-03-01 19:45").value / 1e6


@pytest.mark.parametrize(
    ("trait", "value", "words"),
    [
        ("bar", 5000, "bar must be one of the 3,270 bars"),
        ("first", -4000, "first must be one of the 3,270 bars"),
        ("date", "1999-01-01", "there is no bar at or before 1999-01-01: the prices go from 2000-03-01"),
        ("date", "soon", "such as '2011-08-08'. Got 'soon'"),
        ("span", ["2011-01-03"], "two dates, or none"),
        ("lit", b"abc", "float32"),
    ],
)
def test_values_out_of_range_are_refused_in_words(
    prices: pd.DataFrame, trait: str, value: Any, words: str
) -> None:
    chart = PriceChart(prices)
    before = getattr(chart, trait)
    with pytest.raises(traitlets.TraitError) as caught:
        setattr(chart, trait, value)
    assert words in str(caught.value)
    assert getattr(chart, trait) == before


def test_a_span_is_put_in_order_and_onto_bars(prices: pd.DataFrame) -> None:
    chart = PriceChart(prices)
    chart.span = ["2011-08-07", "2011-08-01"]
    assert chart.span == ["2011-08-01", "2011-08-05"]


def test_scores_of_every_window_travel_with_the_bars_they_end_on(prices: pd.DataFrame) -> None:
    dates = pd.DatetimeIndex(prices.index)[[100, 101, 200]]
    scores = np.random.default_rng(0).dirichlet(np.ones(30), 3).astype(np.float32)
    chart = PriceChart(prices, _explained(dates, scores, null=np.full(30, 1 / 30, np.float32)))
    np.testing.assert_array_equal(np.frombuffer(chart.rows, "<i4"), [100, 101, 200])
    np.testing.assert_array_equal(np.frombuffer(chart.scores, "<f4").reshape(3, 30), scores)
    assert len(chart.none) == 4 * 30
    assert chart.bar == 200
    assert chart.facts["lookback"] == 30
    assert not chart.facts["signed"]
    assert chart.facts["label"].endswith("share [%]")


def test_scores_by_feature_are_added_up_and_keep_their_sign(prices: pd.DataFrame) -> None:
    dates = pd.DatetimeIndex(prices.index)[[100]]
    scores = np.random.default_rng(0).normal(size=(1, 30, 2))
    chart = PriceChart(prices, _explained(dates, scores, method="mine"))
    sent = np.frombuffer(chart.scores, "<f4")
    np.testing.assert_allclose(sent, scores[0].sum(axis=1), rtol=1e-5, atol=1e-6)
    assert chart.facts["signed"]
    assert chart.facts["label"] == "mine of last bar"


def test_of_a_panels_explanation_only_the_prices_own_windows_are_taken(prices: pd.DataFrame) -> None:
    dates = pd.DatetimeIndex(prices.index)[[100, 100, 101]]
    scores = np.arange(3.0)[:, None] + np.zeros((3, 5))
    chart = PriceChart(prices, _explained(dates, scores, tickers=np.array(["AAPL", "IBM", "AAPL"])))
    np.testing.assert_array_equal(np.frombuffer(chart.scores, "<f4").reshape(-1, 5)[:, 0], [0, 2])


def test_an_explanation_of_other_prices_is_refused(prices: pd.DataFrame) -> None:
    scores = np.full((1, 30), 1 / 30)
    with pytest.raises(ValueError, match=r"must be of the prices' one asset, AAPL\. Got windows of IBM"):
        PriceChart(
            prices, _explained(pd.DatetimeIndex(prices.index)[[50]], scores, tickers=np.array(["IBM"]))
        )
    with pytest.raises(ValueError, match="1 of its 1 windows do not, the first on 2030-01-01"):
        PriceChart(prices, _explained(pd.DatetimeIndex(["2030-01-01"]), scores))
    with pytest.raises(ValueError, match="30 bars or more from their start"):
        PriceChart(prices, _explained(pd.DatetimeIndex(prices.index)[[28]], scores))


def test_a_panel_is_refused() -> None:
    with pytest.raises(ValueError, match="must be of one asset"):
        PriceChart(wb.load_panel(["AAPL", "MSFT"], source="sample20"))


def test_other_prices_take_the_place_of_the_old(prices: pd.DataFrame) -> None:
    chart = PriceChart(prices, date="2011-08-05")
    chart.span, chart.lit = ["2011-08-01", "2011-08-05"], np.ones(5, np.float32).tobytes()
    chart.show(prices.iloc[:100])
    assert (chart.bar, chart.date, chart.first, chart.last) == (99, "2000-07-21", 0, 99)
    assert (chart.span, chart.lit) == ([], b"")


def test_five_thousand_bars_are_shown_from_their_end() -> None:
    dates = pd.bdate_range("2000-01-03", periods=5000)
    chart = PriceChart(pd.DataFrame({"close": np.linspace(1.0, 2.0, 5000)}, dates))
    assert (chart.bar, chart.first, chart.last) == (4999, 4750, 4999)


def test_a_picture_stands_beside_the_widget(prices: pd.DataFrame) -> None:
    import matplotlib.pyplot as plt

    chart, open_before = PriceChart(prices, date="2011-08-05"), plt.get_fignums()
    chart.lit = np.ones(30, np.float32).tobytes()
    bundle = chart._repr_mimebundle_()
    assert bundle is not None
    assert base64.b64decode(bundle[0]["image/png"]).startswith(b"\x89PNG")
    assert bundle[0]["application/vnd.jupyter.widget-view+json"]["model_id"] == chart.model_id
    assert plt.get_fignums() == open_before


def test_the_picture_shows_the_visible_bars_and_shades_the_window(prices: pd.DataFrame) -> None:
    dates = pd.DatetimeIndex(prices.index)[[2000]]
    chart = PriceChart(prices, _explained(dates, np.full((1, 30), 1 / 30)))
    chart.first, chart.last = 1950, 2049
    price = chart.snapshot().axes[0]
    shaded = price.patches[-1].get_window_extent().transformed(price.transData.inverted())
    assert (round(shaded.x0, 6), round(shaded.x1, 6)) == (20.5, 50.5)  # bars 1971 to 2000, counted from 1950
    assert "100 bars" in price.get_title(loc="left")
