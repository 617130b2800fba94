from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
from cases import days, one_asset, panel

from workbench import plots
from workbench.trading import contrast as contrasts
from workbench.trading.attention import attention_by_outcome
from workbench.trading.contrast import Groups, contrast
from workbench.trading.ledger import backtest


@dataclass(frozen=True)
class Told:
    scores: np.ndarray
    dates: pd.DatetimeIndex
    tickers: np.ndarray
    null: np.ndarray | None = None


def market(seed, n=400, hold=3):
    """A random market of one asset and random positions held a few bars."""
    rng = np.random.default_rng(seed)
    prices = one_asset(100 * np.exp(np.cumsum(rng.normal(0, 0.01, n + 2))))
    held = np.repeat(rng.integers(-1, 2, n // hold + 1), hold)[:n].astype(float)
    return backtest(pd.Series(held, prices.index[:n]), prices), prices.index[:n]


def told(scores, dates, null=None):
    return Told(np.asarray(scores, dtype=np.float32), dates, np.array(["AAPL"] * len(scores)), null)


def won_of(result, dates):
    return result.outcomes["AAPL"].reindex(dates).to_numpy() > 0


def test_five_decisions_worked_by_hand():
    # Filled at the close. Long 100 → 110 wins; long 110 → 99 loses; flat; short 99 → 90 wins; long 90 → 90
    # earns 0 and loses; long at the last bar: unknown. Shares: [.5 .5] and [.25 .75] won, [1 0] and [.8 .2]
    # lost, so the recent bar has .625 against .1.
    prices = one_asset([100, 110, 99, 99, 90, 90])
    result = backtest(pd.Series([1.0, 1, 0, -1, 1, 1], prices.index), prices, fill="close")
    scores = [[2, 2], [3, 0], [1, 1], [1, 3], [-4, 1], [9, 9]]
    found = attention_by_outcome(told(scores, prices.index), result, bars=1)
    assert found.counts.to_dict() == {
        "windows": 6, "won": 2, "lost": 2, "flat": 1, "unknown": 1, "outside": 0, "blank": 0,
    }  # fmt: skip
    assert found.by_lag.index.tolist() == [1, 0]
    assert found.by_lag["won"].tolist() == pytest.approx([0.375, 0.625])
    assert found.by_lag["lost"].tolist() == pytest.approx([0.9, 0.1])
    assert found.by_lag["difference"].tolist() == pytest.approx([-0.525, 0.525])
    assert found.recent["share"].tolist() == pytest.approx([0.625, 0.1, 0.525])
    assert found.reason == (
        "No intervals: 2 decision bars won and 2 lost, and each needs at least 10. "
        "Explain and backtest a longer period."
    )
    assert found.recent[["low", "high"]].isna().all(axis=None)
    assert not found.by_lag["significant"].any()
    assert found.reason in str(found)


def test_features_are_summed_in_size_before_shares():
    prices = one_asset([100, 110, 99])
    result = backtest(pd.Series([1.0, 1.0], prices.index[:2]), prices, fill="close")
    found = attention_by_outcome(told([[[1, -1], [2, 0]], [[0, 0], [-3, 3]]], prices.index[:2]), result)
    assert found.by_lag["won"].tolist() == [0.5, 0.5]
    found = attention_by_outcome(told([[[1, -1], [3, 3]], [[0, 0], [-3, 3]]], prices.index[:2]), result)
    assert found.by_lag["won"].tolist() == [0.25, 0.75]


def test_a_planted_difference_is_found_at_its_lags():
    result, dates = market(1)
    scores = np.random.default_rng(1).dirichlet(np.ones(20), len(dates))
    scores[won_of(result, dates), -3:] *= 3
    found = attention_by_outcome(told(scores, dates), result)
    assert found.p_value == 1 / 2001
    assert found.recent.loc["difference", "low"] > 0.1
    assert found.by_lag["significant"].loc[[2, 1, 0]].all()
    assert (found.by_lag["difference"] > 0).loc[[2, 1, 0]].all()
    assert found.recent_bars == 5
    assert "won bars looked more at: t−2, t−1, t;" in str(found)
    assert "<table" in found._repr_html_()


@pytest.mark.parametrize(("hold", "few"), [(3, False), (60, True)])
def test_few_blocks_are_told_and_keep_their_intervals(hold, few):
    result, dates = market(1, hold=hold)
    scores = np.random.default_rng(1).dirichlet(np.ones(4), len(dates))
    found = attention_by_outcome(told(scores, dates), result, draws=200)
    assert (found.blocks < 10) == few
    assert (f"! Only {found.blocks} independent blocks: the interval is too narrow" in str(found)) == few
    assert found.recent.notna().all(axis=None)


def test_made_up_prices_are_named_in_print_and_drawing():
    prices = one_asset([100, 110, 99, 105], synthetic=True)
    result = backtest(pd.Series(1.0, prices.index), prices, fill="close")
    found = attention_by_outcome(told(np.ones((4, 4)), prices.index), result)
    assert str(found).startswith("SYNTHETIC")
    assert plots.attention_by_outcome(found)["attribution"].get_title(loc="left").startswith("SYNTHETIC")


def test_the_drawing_bounds_a_p_value_the_draws_cannot_tell_from_zero():
    result, dates = market(1)
    scores = np.random.default_rng(1).dirichlet(np.ones(20), len(dates))
    scores[won_of(result, dates), -3:] *= 3
    drawn = plots.attention_by_outcome(attention_by_outcome(told(scores, dates), result))
    assert "p ≤ 0.0005 among" in drawn["attribution"].get_title(loc="left").replace("\n", " ")


def test_shuffled_scores_differ_at_no_lag():
    result, dates = market(2)
    scores = np.random.default_rng(2).dirichlet(np.ones(20), len(dates))
    found = attention_by_outcome(told(scores, dates), result)
    assert found.p_value > 0.05
    assert not found.by_lag["significant"].any()
    assert "won bars looked more at: none; less at: none" in str(found)


def test_the_same_seed_gives_the_same_numbers():
    result, dates = market(3)
    scores = np.random.default_rng(3).dirichlet(np.ones(8), len(dates))
    one, two, other = (
        attention_by_outcome(told(scores, dates), result, seed=s, draws=300) for s in (5, 5, 6)
    )
    assert one.by_lag.equals(two.by_lag)
    assert one.recent.equals(two.recent)
    assert not one.by_lag.equals(other.by_lag)


def test_adding_a_constant_share_to_both_groups_leaves_their_difference():
    result, dates = market(4)
    scores = np.random.default_rng(4).dirichlet(np.ones(8), len(dates))
    one = attention_by_outcome(told(scores, dates), result, draws=200)
    tilted = scores / 2 + np.eye(8)[0] / 2
    two = attention_by_outcome(told(tilted, dates), result, draws=200)
    assert two.by_lag["difference"].to_numpy() == pytest.approx(
        one.by_lag["difference"].to_numpy() / 2, abs=1e-7
    )
    assert two.p_value == one.p_value


def test_a_panel_is_matched_by_date_and_ticker_in_any_order():
    closes = np.array([[100, 100], [110, 90], [99, 99], [99, 99]])
    prices = panel(closes, tickers=["X", "Y"])
    wide = pd.DataFrame(1.0, days(3), ["X", "Y"])
    result = backtest(wide, prices, fill="close")
    # X: won, lost. Y: lost, won.
    dates, tickers = days(3)[[1, 0, 1, 0]], np.array(["Y", "X", "X", "Y"])
    scores = np.array([[1, 3], [1, 1], [4, 0], [3, 1]], dtype=np.float32)
    found = attention_by_outcome(Told(scores, dates, tickers), result, bars=1)
    assert found.recent["share"].tolist() == pytest.approx([0.625, 0.125, 0.5])


def test_the_order_of_windows_changes_nothing():
    rng = np.random.default_rng(0)
    closes = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, (61, 2)), axis=0))
    wide = pd.DataFrame(rng.choice([-1.0, 1.0], (60, 2)), days(60), ["X", "Y"])
    result = backtest(wide, panel(closes, tickers=["X", "Y"]), fill="close")
    scores, dates = rng.dirichlet(np.ones(4), 120), days(60).append(days(60))
    tickers = np.repeat(["X", "Y"], 60)
    by_asset = attention_by_outcome(Told(scores, dates, tickers), result, draws=200)
    order = np.lexsort((tickers, dates))
    by_date = attention_by_outcome(Told(scores[order], dates[order], tickers[order]), result, draws=200)
    assert by_date.p_value == by_asset.p_value
    pd.testing.assert_frame_equal(by_date.by_lag, by_asset.by_lag)


def test_significance_is_the_false_discovery_rates_not_the_single_lags():
    result, dates = market(2)
    explained = told(np.random.default_rng(2).dirichlet(np.ones(20), len(dates)), dates)
    table = attention_by_outcome(explained, result, draws=200).by_lag
    p, q = table["p_value"].min(), table["q_value"].min()
    assert p < q
    at, below = (attention_by_outcome(explained, result, draws=200, fdr=f).by_lag for f in (q, (p + q) / 2))
    assert at["significant"].any()
    assert not below["significant"].any()


def test_windows_outside_the_backtest_or_without_attribution_are_dropped_and_counted():
    prices = one_asset([100, 110, 99, 105, 104])
    result = backtest(pd.Series([1.0, 1, 1], prices.index[:3]), prices, fill="close")
    dates = prices.index.append(pd.DatetimeIndex(["1999-01-04"]))
    scores = np.ones((6, 2))
    scores[1] = 0
    found = attention_by_outcome(told(scores, dates), result)
    assert found.counts[["won", "lost", "blank", "unknown", "outside"]].tolist() == [1, 0, 1, 1, 3]
    assert found.by_lag["lost"].isna().all()


@pytest.mark.parametrize("null", [np.array([0.0, 1, 1, 2]), np.tile([0.0, 1, 1, 2], (4, 1))])
def test_the_explanations_own_null_says_what_is_to_be_expected(null):
    prices = one_asset([100, 110, 99, 105])
    result = backtest(pd.Series(1.0, prices.index), prices, fill="close")
    scores = np.ones((4, 4))
    assert attention_by_outcome(told(scores, prices.index), result).indifferent == 0.25
    found = attention_by_outcome(told(scores, prices.index, null), result)
    assert found.indifferent == 0.5
    assert "hold 50.0% of an indifferent model's attribution" in str(found)


@pytest.mark.parametrize(
    ("scores", "dates", "options", "message"),
    [
        (np.ones((3, 4)), days(3, "1999-01-04"), {}, "no window is a decision of the backtest"),
        (np.ones((3, 4)), days(3), {"bars": 5}, "bars must be between 1 and the window's 4. Got 5"),
        (np.ones((3, 4)), days(3), {"bars": 0}, "bars must be between 1"),
        (np.ones((3, 4)), days(3), {"draws": 0}, "draws must be at least 1"),
        (np.ones(3), days(3), {}, r"Got shape \(3,\)"),
        (np.array([[1, 1], [1, np.nan], [1, 1]]), days(3), {}, "Those of window 1 are not"),
    ],
)
def test_what_cannot_be_compared_is_refused(scores, dates, options, message):
    prices = one_asset([100, 110, 99, 105])
    result = backtest(pd.Series(1.0, prices.index[:3]), prices)
    with pytest.raises(ValueError, match=message):
        attention_by_outcome(Told(scores, dates, np.array(["AAPL"] * 3)), result, **options)


def remembering(seed, n):
    """A smooth random series: neighbours share nine tenths of what they are made of."""
    return np.convolve(np.random.default_rng(seed).normal(size=n + 29), np.ones(30) / 30**0.5, mode="valid")


def null_groups(seed, n=400):
    """Attributions and outcomes that both remember, and have nothing to do with each other."""
    values = remembering(seed, n)[:, None]
    won = remembering(seed + 10_000, n) > 0
    return Groups(values, won, np.arange(n), np.zeros(n, dtype=int))


def test_under_the_null_p_values_are_nearly_uniform_where_free_shuffles_would_be_fooled(monkeypatch):
    p_values = np.array([contrast(null_groups(seed), 40, 99, 0).p_value[0] for seed in range(120)])
    assert (p_values <= 0.1).mean() <= 0.17
    assert 0.4 <= np.mean(p_values) <= 0.6
    monkeypatch.setattr(contrasts, "block_length", lambda series, least: 1)
    fooled = np.array([contrast(null_groups(seed), 40, 99, 0).p_value[0] for seed in range(60)])
    assert (fooled <= 0.1).mean() > 0.4


def test_the_shuffles_blocks_are_twice_the_bootstraps(monkeypatch):
    asked = []

    def remember(labels, dates, assets, block, draws, seed):
        asked.append(block)
        return iter([np.tile(labels, (draws, 1))])

    monkeypatch.setattr(contrasts, "shuffled_labels", remember)
    blocks = [contrast(null_groups(0), least, 9, 0).block for least in (40, 60, 100)]
    assert blocks == [40, 60, 100]
    assert asked == [80, 100, 100]


def test_a_dates_influence_is_what_its_weight_does_to_the_difference():
    rng = np.random.default_rng(0)
    values = rng.normal(size=90)
    groups = Groups(values[:, None], rng.random(90) < 0.4, np.arange(90) % 45, np.arange(90) // 45)

    def difference(weights):
        each = weights[groups.dates]
        won, lost = each * groups.won, each * ~groups.won
        return won @ values / won.sum() - lost @ values / lost.sum()

    found = contrasts._influence(groups, values[groups.won].mean(), values[~groups.won].mean())
    step = 1e-6 * np.eye(45)
    slopes = [(difference(1 + row) - difference(1 - row)) / 2e-6 for row in step]
    assert found == pytest.approx(np.array(slopes), abs=1e-8)


def test_the_interval_covers_the_true_difference_about_as_often_as_it_says():
    covered = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        won = rng.random(400) < 0.5
        values = (rng.normal(size=400) + 0.5 * won)[:, None]
        found = contrast(Groups(values, won, np.arange(400), np.zeros(400, dtype=int)), 1, 99, seed)
        low, high = found.intervals[2, :, 0]
        covered += low <= 0.5 <= high
    assert 0.88 <= covered / 100 <= 0.99


def test_assets_that_move_together_count_once():
    # Ten copies of one asset carry no more evidence than one.
    alone = null_groups(1)
    copies = Groups(
        np.tile(alone.values, (10, 1)),
        np.tile(alone.won, 10),
        np.tile(alone.dates, 10),
        np.repeat(np.arange(10), 400),
    )
    one, ten = contrast(alone, 20, 199, 3), contrast(copies, 20, 199, 3)
    assert ten.p_value == pytest.approx(one.p_value)
    assert ten.intervals == pytest.approx(one.intervals)


def test_scores_that_are_not_by_bar_are_refused():
    result, dates = market(0)
    by_module = told(np.ones((len(dates), 3)), dates)
    object.__setattr__(by_module, "axes", ("module",))
    with pytest.raises(
        ValueError, match="attention by outcome is about bars, and these scores are by module"
    ):
        attention_by_outcome(by_module, result)
