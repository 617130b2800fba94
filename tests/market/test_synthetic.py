import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.features.indicators import make_features
from workbench.market.frame import PriceError, Request, content_sha256
from workbench.market.planting import DRIVERS, Cell
from workbench.market.quality import check_prices
from workbench.market.synthetic import fetch, plant, plant_panel, tickers
from workbench.market.truth import mask

FEATURES = ("log_return", "range", "log_volume")
cells = st.builds(Cell, st.sampled_from(DRIVERS), st.integers(0, 8), st.floats(0.2, 4.0))


def correlations(features: pd.DataFrame, driver: str, lags: range) -> np.ndarray:
    """Correlation of the move after bar t with the driver at bar t − lag, by lag."""
    after = features["log_return"].shift(-1)
    return np.array([after.corr(features[driver].shift(lag)) for lag in lags])


def test_noise_has_no_driver() -> None:
    market = plant(snr=0)
    features = make_features(market.prices)
    for driver in DRIVERS:
        assert np.abs(correlations(features, driver, range(20))).max() < 0.08
    assert market.driver is None
    assert not market.truth(10, FEATURES).any()


@settings(max_examples=25)
@given(cells, st.sampled_from(["1d", "1h"]), st.integers(0, 10_000), st.integers(1, 100))
def test_prices_always_keep_the_contract(cell: Cell, interval: str, seed: int, bars: int) -> None:
    prices = plant(
        cell.driver, cell.lag, cell.snr, bars, interval, seed
    ).prices  # conform refuses what is bad
    assert len(prices) == bars
    assert np.isfinite(prices.to_numpy()).all()
    report = check_prices(prices)
    assert report.ok
    assert report.table.loc[["missing bars", "unexpected bars"], "found"].tolist() == ["0", "0"]


@settings(max_examples=25)
@given(cells, st.integers(0, 10_000), st.integers(1, 100), st.integers(1, 100))
def test_fewer_bars_are_a_prefix_of_more(cell: Cell, seed: int, bars: int, more: int) -> None:
    short = plant(cell.driver, cell.lag, cell.snr, bars, seed=seed).prices
    long = plant(cell.driver, cell.lag, cell.snr, bars + more, seed=seed).prices
    pd.testing.assert_frame_equal(long.iloc[:bars], short, check_exact=True)


def test_the_same_seed_makes_the_same_bits_and_another_others() -> None:
    first, again, other = plant(seed=3), plant(seed=3), plant(seed=4)
    pd.testing.assert_frame_equal(first.prices, again.prices, check_exact=True)
    assert first.prices.attrs == again.prices.attrs
    assert content_sha256(first.prices) != content_sha256(other.prices)
    assert abs(np.log(first.prices["close"]).diff().corr(np.log(other.prices["close"]).diff())) < 0.06


def test_markets_of_one_seed_are_not_each_others_echo() -> None:
    markets = [plant(driver, lag) for driver in DRIVERS for lag in (0, 3, 5)] + [plant(snr=0)]
    moves = np.array([np.log(market.prices["close"]).diff().to_numpy()[1:] for market in markets])
    assert np.abs(np.corrcoef(moves) - np.eye(len(moves))).max() < 0.08


def test_prices_look_like_a_market() -> None:
    daily, hourly = plant(bars=5000).prices, plant(bars=5000, interval="1h").prices
    assert np.log(daily["close"]).diff().std() == pytest.approx(0.015, rel=0.05)
    assert np.log(hourly["close"]).diff().std() == pytest.approx(0.006, rel=0.05)
    assert (daily["open"] / daily["close"].shift()).dropna().sub(1).abs().median() > 0.001, "gaps at the open"
    assert (hourly["open"] / hourly["close"].shift()).dropna().sub(1).abs().median() < 1e-12, "hours adjoin"
    for prices, scale in ((daily, 0.015), (hourly, 0.006)):
        assert np.log(prices["high"] / prices["low"]).median() == pytest.approx(scale * np.exp(0.6), rel=0.02)
        assert (prices["volume"] > 0).all()


def test_dates_are_business_days_or_every_hour() -> None:
    daily, hourly = plant(bars=10).prices, plant(bars=30, interval="1h").prices
    assert daily.index.day_of_week.max() == 4
    assert str(hourly.index.tz) == "UTC"
    assert set(np.diff(hourly.index.to_numpy())) == {pd.Timedelta("1h")}


def test_synthetic_prices_say_so() -> None:
    told = plant("range", 2, 0.5, seed=7).prices.attrs["provenance"]
    assert told["synthetic"] is True
    assert told["source"] == told["adjusted"] == "synthetic"
    assert told["truth"] == {"driver": "range", "lag": 2, "snr": 0.5, "seed": 7}
    assert told["ticker"] == "LAG2-RANGE-SNR0.5-SEED7"
    assert json.loads(json.dumps(told)) == told


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("LAG5", {}),
        ("lag5", {}),
        ("LAG5-SNR2-SEED3", {"snr": 2.0, "seed": 3}),
        ("LAG3-VOLUME", {"driver": "log_volume", "lag": 3}),
        ("LAG0-RANGE-SNR0.25-BARS200", {"driver": "range", "lag": 0, "snr": 0.25, "bars": 200}),
        ("NOISE-SEED9", {"snr": 0.0, "seed": 9}),
    ],
)
def test_a_name_says_what_was_planted(name: str, arguments: dict) -> None:
    prices = fetch(Request(name, None, None))
    pd.testing.assert_frame_equal(prices, plant(**arguments).prices, check_exact=True)
    assert prices.attrs["provenance"]["truth"] == plant(**arguments).prices.attrs["provenance"]["truth"]


@settings(max_examples=20)
@given(cells, st.integers(0, 10**6), st.sampled_from([10, 100]), st.booleans())
def test_a_markets_own_name_makes_it_again(cell: Cell, seed: int, bars: int, noise: bool) -> None:
    market = plant(cell.driver, cell.lag, 0.0 if noise else cell.snr, bars, seed=seed)
    again = fetch(Request(market.prices.attrs["provenance"]["ticker"], None, None))
    assert again.attrs == market.prices.attrs


def test_every_example_can_be_loaded() -> None:
    for name in tickers():
        assert len(fetch(Request(name, None, None))) == 3000


@pytest.mark.parametrize(
    "name", ["LAG", "LAG5-VOLUM", "LAG5-SEED1-SNR2", "NOISE-SNR2", "AAPL", "LAG-1", "LAG5-SNR-1"]
)
def test_a_name_that_says_nothing_is_refused_with_examples(name: str) -> None:
    with pytest.raises(PriceError, match=r"must read LAG<n>.*LAG3-VOLUME.*Got"):
        fetch(Request(name, None, None))


def test_ranges_and_intervals_of_synthetic_prices() -> None:
    day = pd.Timestamp("2000-01-10")
    assert len(fetch(Request("LAG5", None, day))) == 6
    with pytest.raises(PriceError, match=r"intervals 1d, 1h. Got '1m'"):
        fetch(Request("LAG5", None, None, "1m"))
    with pytest.raises(PriceError, match="no bars between 2030"):
        fetch(Request("LAG5", pd.Timestamp("2030-01-01"), None))


def test_arguments_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"driver must be one of .*Got 'volume'. Did you mean 'log_volume'"):
        plant("volume")
    with pytest.raises(ValueError, match="lag must be 0"):
        plant(lag=-1)
    with pytest.raises(ValueError, match="snr must be a finite"):
        plant(snr=-1.0)
    with pytest.raises(ValueError, match="snr must be a finite"):
        plant(snr=float("nan"))
    with pytest.raises(ValueError, match="bars must be at least 1"):
        plant(bars=0)


def panel_of_three() -> dict[str, Cell]:
    return {"C": Cell("log_return", 1, 1.0, "A"), "A": Cell("log_volume", 3, 2.0), "B": Cell(snr=0)}


def test_a_panels_assets_are_driven_by_their_cells() -> None:
    panel = plant_panel(panel_of_three(), bars=10_000, seed=1)
    features = make_features(panel.prices).unstack("ticker")  # noqa: PD010  # the index is the panel's own
    after = features["log_return"].shift(-1)

    def corr(ticker: str, driver: str, holder: str, lag: int) -> float:
        return after[ticker].corr(features[driver][holder].shift(lag))

    assert corr("C", "log_return", "A", 1) == pytest.approx(np.sqrt(1 / 2), abs=0.03)
    assert corr("A", "log_volume", "A", 3) == pytest.approx(np.sqrt(2 / 3), abs=0.03)
    for ticker, driver, holder, lag in [
        ("C", "log_return", "C", 1),
        ("C", "log_return", "B", 1),
        ("C", "log_return", "A", 0),
        ("A", "log_return", "C", 1),
        ("B", "log_return", "A", 1),
        ("B", "log_volume", "A", 3),
    ]:
        assert abs(corr(ticker, driver, holder, lag)) < 0.04
    assert features["log_return"].std().to_numpy() == pytest.approx([0.015] * 3, rel=0.03)


def test_a_panels_truth_names_the_asset_too() -> None:
    panel = plant_panel(panel_of_three(), bars=50)
    assert panel.tickers == ("A", "B", "C")
    assert np.argwhere(panel.truth("C", 10, FEATURES)).tolist() == [[0, 8, 0]]
    assert np.argwhere(panel.truth("A", 10, FEATURES)).tolist() == [[0, 6, 2]]
    assert not panel.truth("B", 10, FEATURES).any()
    assert panel.influence().to_numpy().astype(int).tolist() == [[1, 0, 0], [0, 0, 0], [1, 0, 0]]
    told = panel.prices.attrs["provenance"]
    assert told["synthetic"] is True
    assert told["truth"]["C"] == {"driver": "log_return", "lag": 1, "snr": 1.0, "seed": 0, "asset": "A"}
    assert mask(told["truth"]["C"], 10, FEATURES).tolist() == panel.truth("C", 10, FEATURES)[0].tolist()


def test_an_asset_of_a_panel_does_not_depend_on_those_that_do_not_drive_it() -> None:
    whole, part = (
        plant_panel(panel_of_three(), bars=50),
        plant_panel({"A": Cell("log_volume", 3, 2.0)}, bars=50),
    )
    pd.testing.assert_frame_equal(
        whole.prices.xs("A", level="ticker"), part.prices.xs("A", level="ticker"), check_exact=True
    )


def test_a_panels_hours_keep_the_contract_and_its_seed() -> None:
    panel = plant_panel(panel_of_three(), bars=200, interval="1h", seed=5)
    assert check_prices(panel.prices).ok
    assert panel.prices.index.is_monotonic_increasing
    again = plant_panel(panel_of_three(), bars=200, interval="1h", seed=5)
    pd.testing.assert_frame_equal(panel.prices, again.prices, check_exact=True)


def test_a_cell_in_an_asset_that_is_not_there_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"the cell of B must lie in one of B, OIL. Got asset='OIK'. Did you mean"
    ):
        plant_panel({"OIL": Cell(), "B": Cell(asset="OIK")}, bars=10)
