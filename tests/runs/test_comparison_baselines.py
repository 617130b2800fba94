import importlib.util
from dataclasses import replace

import numpy as np
import pytest
import torch

from workbench.models.registry import NETWORKS, build_model
from workbench.runs.comparison import datasets
from workbench.runs.comparison.baselines import NotRun, last_return, lightgbm, ridge, table, zero
from workbench.runs.comparison.cells import Settings
from workbench.runs.comparison.datasets import Dataset, excess_return, load_dataset
from workbench.runs.comparison.trial import score, train


@pytest.fixture(scope="module")
def data() -> Dataset:
    return load_dataset("closes20", smallest=True)


def test_parts_are_purged_and_every_fifth_day_is_learnt_from(data: Dataset):
    assert data.train.label_dates.max() < data.valid.dates.min()
    assert data.valid.label_dates.max() < data.test.dates.min()
    bars = data.prices.index.unique("date")
    assert set(np.diff(bars.get_indexer(data.train.dates.unique()))) == {5}
    assert set(np.diff(bars.get_indexer(data.test.dates.unique()))) == {1}


def test_labels_are_returns_less_the_mean_of_the_day(data: Dataset):
    closes = data.prices["close"].unstack("ticker")
    day, horizon = 40, data.horizon
    raw = closes.iloc[day + horizon] / closes.iloc[day] - 1
    label = excess_return(data.prices, horizon).xs(closes.index[day], level="date")
    assert label.to_numpy() == pytest.approx((raw - raw.mean()).to_numpy())


def test_the_mean_of_a_day_waits_for_no_stock_that_misses_bars(data: Dataset):
    horizon, late = 2, data.prices.index.get_level_values("ticker") == "KO"
    dates = data.prices.index.unique("date")
    gone = late & data.prices.index.get_level_values("date").isin(dates[22:25])
    prices = data.prices[~gone]  # KO's label of day 20 is known on day 25 only
    labels = excess_return(prices, horizon)
    closes = prices["close"].unstack("ticker")
    raw = closes.iloc[22] / closes.iloc[20] - 1
    assert labels[dates[20], "AAPL"] == pytest.approx(raw["AAPL"] - raw.drop("KO").mean())
    own = closes["KO"].iloc[25] / closes["KO"].iloc[20] - 1
    everyone = np.append(raw.drop("KO"), own).mean()
    assert labels[dates[20], "KO"] == pytest.approx(own - everyone)
    changed = prices.copy()
    later = changed.index.get_level_values("date") > dates[22]
    changed.loc[later, "close"] *= np.random.default_rng(0).uniform(0.5, 2, later.sum())
    early = (labels.index.get_level_values("date") <= dates[20]) & (
        labels.index.get_level_values("ticker") != "KO"
    )
    assert excess_return(changed, horizon)[early].equals(labels[early])


@pytest.mark.parametrize("name", NETWORKS)
def test_the_smallest_form_suits_every_network(data: Dataset, name: str):
    model = build_model(name, data.train)
    assert model(data.train.batch(slice(0, 3))).shape == (3, 1)


def test_zero_forecasts_nothing_and_says_that_it_has_no_ic(data: Dataset):
    found = score(zero(data, 0).forecast(data.test), data, Settings(draws=50))
    assert np.isnan(found["figures"]["ic"])
    assert "nothing to correlate" in found["undefined"]["ic"]
    assert found["undefined"]["hit_rate"] == "no forecast has a sign"
    assert found["figures"]["r2_against_zero"] == 0
    assert found["undefined"]["sharpe"] == "the returns do not vary"


def test_last_return_is_the_label_that_is_known_at_the_bar(data: Dataset):
    closes, horizon = data.prices["close"].unstack("ticker"), data.horizon
    found = last_return(data, 0).forecast(data.test)
    for i in (0, 7, len(data.test) - 1):  # the last has no label yet, and a forecast all the same
        day = closes.index.get_loc(data.test.dates[i])
        past = closes.iloc[day] / closes.iloc[day - horizon] - 1
        assert found[i] == pytest.approx((past - past.mean())[data.test.tickers[i]], abs=1e-12)


def test_ridge_is_scikit_learns_and_the_normal_equations(data: Dataset):
    from sklearn.linear_model import Ridge

    fitted = ridge(data, 0)
    x, y = table(data.train).astype(np.float64), data.train.y.double().numpy()
    mean, spread = x.mean(axis=0), x.std(axis=0)
    spread[spread <= 10 * np.finfo(float).eps * np.abs(mean)] = 1  # a column that never moves
    z, asked = (x - mean) / spread, (table(data.test).astype(np.float64) - mean) / spread
    plain = Ridge(fitted.told["alpha"]).fit(z, y).predict(asked)
    weights = np.linalg.solve(z.T @ z + fitted.told["alpha"] * np.eye(z.shape[1]), z.T @ (y - y.mean()))
    found = fitted.forecast(data.test)
    assert found == pytest.approx(plain, abs=1e-9)
    assert found == pytest.approx(asked @ weights + y.mean(), abs=1e-9)


def test_ridge_takes_the_alpha_that_does_best_on_the_validation_windows(data: Dataset, monkeypatch):
    from workbench.runs.comparison import baselines

    found = {}
    for alpha in baselines.ALPHAS:
        monkeypatch.setattr(baselines, "ALPHAS", (alpha,))
        forecast, outcome = ridge(data, 0).forecast(data.valid), data.valid.y.double().numpy()
        days = [data.valid.dates == day for day in data.valid.dates.unique()]
        found[alpha] = np.mean([np.corrcoef(forecast[day], outcome[day])[0, 1] for day in days])
    monkeypatch.undo()
    assert len(set(found.values())) == len(found)
    assert ridge(data, 0).told["alpha"] == max(found, key=found.__getitem__)


@pytest.mark.parametrize("name", ["ridge", "lightgbm", "lstm"])
def test_what_comes_after_the_validation_part_changes_no_forecast_before_it(data: Dataset, name, monkeypatch):
    first = data.test.dates.min()
    prices = data.prices.copy()
    late = prices.index.get_level_values("date") >= first
    prices.loc[late, "close"] *= np.random.default_rng(0).uniform(0.5, 2, late.sum())
    monkeypatch.setattr(datasets, "load_panel", lambda *_: prices)
    changed = load_dataset("closes20", smallest=True)
    settings = Settings(epochs=1)
    before, after = (train(name, each, 0, settings).forecast for each in (data, changed))
    assert np.array_equal(before(data.valid), after(changed.valid))
    assert np.array_equal(before(data.test), after(data.test))
    assert not np.array_equal(before(data.test), after(changed.test))


@pytest.mark.parametrize("name", ["ridge", "lightgbm"])
def test_a_baseline_is_fitted_on_the_training_windows_alone(data: Dataset, name: str, monkeypatch):
    from workbench.runs.comparison import baselines

    monkeypatch.setattr(baselines, "ALPHAS", (100.0,))  # validation chooses alpha, and the number of trees
    monkeypatch.setitem(baselines.TREES, "most", 3)
    other = replace(data, valid=data.test.labelled())
    fits = [train(name, each, 0, Settings()) for each in (data, other)]
    if name == "lightgbm":  # which keeps the trees up to the best of three
        fits = [fit for fit in fits if fit.told["trees"] == fits[0].told["trees"]]
    forecasts = [fit.forecast(data.train) for fit in fits]
    assert all(np.array_equal(forecasts[0], each) for each in forecasts)
    flipped = replace(data.train, y=-data.train.y)
    assert not np.array_equal(train(name, replace(data, train=flipped), 0, Settings()).forecast(data.train),
                              forecasts[0])  # fmt: skip


def test_lightgbm_repeats_itself_with_its_seed(data: Dataset):
    one, two = (lightgbm(data, 3).forecast(data.test) for _ in range(2))
    assert np.array_equal(one, two)


def test_without_lightgbm_it_says_what_to_install(data: Dataset, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NotRun, match="lightgbm is not installed: python -m pip install"):
        lightgbm(data, 0)


def test_a_planted_order_is_found_by_ridge_and_lightgbm(data: Dataset):
    """The label is made of the newest bar's first column: whoever reads windows rightly finds it."""

    def planted(windows):
        x = table(windows)[:, -windows.n_features :]
        z = (x[:, 0] - x[:, 0].mean()) / x[:, 0].std()
        return replace(windows, y=torch.from_numpy(0.01 * z))

    made = replace(data, **{part: planted(getattr(data, part)) for part in ("train", "valid", "test")})
    for name in ("ridge", "lightgbm"):
        forecast = train(name, made, 0, Settings()).forecast(made.test)
        assert np.corrcoef(forecast, made.test.y.numpy())[0, 1] > 0.7, name
