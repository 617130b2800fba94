import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.features.indicators import make_features
from workbench.market.planting import DRIVERS, MANNERS, Cell, grow
from workbench.market.synthetic import plant


def correlations(features: pd.DataFrame, driver: str, lags: range) -> np.ndarray:
    """Correlation of the move after bar t with the driver at bar t − lag, by lag."""
    after = features["log_return"].shift(-1)
    return np.array([after.corr(features[driver].shift(lag)) for lag in lags])


def test_three_moves_by_hand() -> None:
    # lag 1: m0 = ε0, m1 = ε1, then m_t = √(3/4) m_{t−2} + √(1/4) ε_t
    noise = np.array([1.0, -2.0, 0.5, 3.0, -1.0])
    draws = np.zeros((5, 1, 5))
    draws[:, 0, 0] = noise
    m2 = np.sqrt(0.75) * 1.0 + 0.5 * 0.5
    m3 = np.sqrt(0.75) * -2.0 + 0.5 * 3.0
    m4 = np.sqrt(0.75) * m2 + 0.5 * -1.0
    close = grow({"A": Cell("log_return", 1, 3.0)}, draws, MANNERS["1h"])["close"][:, 0]
    moves = np.diff(np.log(close), prepend=np.log(100.0)) / 0.006
    np.testing.assert_allclose(moves, [1.0, -2.0, m2, m3, m4])


def test_a_move_driven_by_anothers_volume_by_hand() -> None:
    # A's move after bar t is B's volume at t − 0; snr 1
    rng = np.random.default_rng(0)
    draws = rng.standard_normal((4, 2, 5))
    grown = grow({"A": Cell("log_volume", 0, 1.0, "B"), "B": Cell(snr=0)}, draws, MANNERS["1h"])
    moves = np.diff(np.log(grown["close"]), axis=0) / 0.006
    expected = np.sqrt(0.5) * draws[:-1, 1, 1] + np.sqrt(0.5) * draws[1:, 0, 0]
    np.testing.assert_allclose(moves[:, 0], expected)
    np.testing.assert_allclose(moves[:, 1], draws[1:, 1, 0])


@settings(max_examples=10)
@given(st.sampled_from(DRIVERS), st.integers(0, 8), st.floats(0.2, 4.0), st.integers(0, 1000))
def test_only_the_planted_lag_correlates_with_the_next_move(
    driver: str, lag: int, snr: float, seed: int
) -> None:
    bars = 4000
    features = make_features(plant(driver, lag, snr, bars, seed=seed).prices)
    found = correlations(features, driver, range(2 * lag + 1))  # a log return's first echo is at 2·lag + 1
    assert found[lag] == pytest.approx(np.sqrt(snr / (1 + snr)), abs=0.1)
    assert np.abs(np.delete(found, lag)).max(initial=0.0) < 0.15


@pytest.mark.parametrize("driver", ["log_volume", "range"])
def test_volume_and_range_tell_nothing_at_any_other_lag(driver: str) -> None:
    features = make_features(plant(driver, 4, 1.0, 10_000).prices)
    found = correlations(features, driver, range(30))
    assert found[4] == pytest.approx(np.sqrt(0.5), abs=0.03)
    assert np.abs(np.delete(found, 4)).max() < 0.04


def test_a_log_return_echoes_as_documented_and_adds_nothing_given_the_cell() -> None:
    moves = make_features(plant("log_return", 2, 1.0, 20_000).prices)["log_return"].to_numpy()[1:]
    table = np.column_stack([moves[11 - lag : len(moves) - 1 - lag] for lag in range(12)])  # lags 0 … 11
    after = moves[12:]
    simple = [np.corrcoef(column, after)[0, 1] for column in table.T]
    expected = np.zeros(12)
    expected[[2, 5, 8, 11]] = np.sqrt(0.5) ** np.array([1, 2, 3, 4])
    np.testing.assert_allclose(simple, expected, atol=0.03)
    partial = np.linalg.lstsq(table, after, rcond=None)[0]
    np.testing.assert_allclose(partial, np.where(np.arange(12) == 2, np.sqrt(0.5), 0.0), atol=0.03)


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize(("interval", "scale"), [("1d", 0.015), ("1h", 0.006)])
def test_the_signal_is_computable_from_the_feature_and_its_ratio_is_exact(
    driver: str, interval: str, scale: float
) -> None:
    lag, snr, bars = 3, 2.0, 20_000
    features = make_features(plant(driver, lag, snr, bars, interval).prices)
    level = {"log_return": 0.0, "log_volume": 0.0, "range": scale * np.exp(0.6 + 0.3**2 / 2)}[driver]
    spread = {
        "log_return": scale,
        "log_volume": 0.3,
        "range": scale * np.exp(0.6) * np.sqrt((np.exp(0.09) - 1) * np.exp(0.09)),
    }[driver]
    signal = scale * np.sqrt(snr / (1 + snr)) * (features[driver].shift(lag) - level) / spread
    noise = features["log_return"].shift(-1) - signal
    known = noise.notna()
    assert signal[known].var() / noise[known].var() == pytest.approx(snr, rel=0.06)
    assert noise[known].std() == pytest.approx(scale * np.sqrt(1 / (1 + snr)), rel=0.02)
    assert abs(signal[known].corr(noise[known])) < 0.025
    slope = np.polyfit(features[driver].shift(lag)[known], features["log_return"].shift(-1)[known], 1)[0]
    assert slope == pytest.approx(scale * np.sqrt(snr / (1 + snr)) / spread, rel=0.03)


def test_without_noise_to_speak_of_the_move_is_the_feature_itself() -> None:
    features = make_features(plant("log_volume", 3, 1e12).prices)
    expected = 0.015 * features["log_volume"].shift(3) / 0.3
    known = expected.notna() & features["log_return"].shift(-1).notna()
    np.testing.assert_allclose(features["log_return"].shift(-1)[known], expected[known], atol=1e-7)
