import numpy as np
import pandas as pd
import pytest
from cases import days, fractions, random_market
from hypothesis import assume, given
from hypothesis import strategies as st
from plain_ledger import plain_ledger

from workbench.trading import engine
from workbench.trading.engine import LEDGERS, keep_book
from workbench.trading.tape import Tape, latest

each_ledger = pytest.mark.parametrize("ledger", list(LEDGERS))


def tape_from(fills, marks):
    """A tape of (bar, asset) arrays; the engine reads only its prices."""
    fills, marks = np.array(fills, dtype=float), np.array(marks, dtype=float)
    names = tuple(f"A{i}" for i in range(fills.shape[1]))
    marks = latest(marks, ~np.isnan(marks), before=1.0)
    return Tape(
        days(len(fills)), names, np.ones(len(fills), dtype=bool), np.zeros_like(fills), fills, marks, 0
    )


def of_one(prices):
    prices = np.array(prices, dtype=float)[:, None]
    return tape_from(prices, prices)


def test_four_bars_worked_by_hand():
    # cost 1 %. Bar 0: buy .01 units at 100, fee .01, cash −.01. Bar 1: .01·110 − .01 = 1.09. Bar 2: worth
    # .99 − .01 = .98; sell .01 and .98/99 short: notional 1.97, fee .0197. Bar 3: buy back .98, fee .0098.
    book = keep_book(of_one([100, 110, 99, 99]), np.array([[1.0], [1.0], [-1.0], [0.0]]), 0.01, "on_change")
    assert book.equity == pytest.approx([0.99, 1.09, 0.9603, 0.9505], rel=1e-14)
    assert book.fees == pytest.approx([0.01, 0, 0.0197, 0.0098], rel=1e-14)
    assert book.turnover == pytest.approx([1, 0, 1.97 / 0.98, 0.98 / 0.9603], rel=1e-14)
    assert book.units is not None
    assert book.units[:, 0] == pytest.approx([0.01, 0.01, -0.98 / 99, 0], rel=1e-14)


def test_every_bar_charges_the_drift_and_formula_does_not():
    # Half in. Bar 1: price +20 %, equity 1.1, holding .6 must shrink to .55: .05 traded. Bar 2: price −25 %.
    tape, half = of_one([100, 120, 90]), np.full((3, 1), 0.5)
    charged = keep_book(tape, half, 0.1, "every_bar")
    after_entry = 1 - 0.1 * 0.5
    before = after_entry + 0.5 * 0.2  # 1.05, of which .6 are stock
    fee = 0.1 * (0.6 - 0.5 * before)
    assert charged.equity[:2] == pytest.approx([after_entry, before - fee], rel=1e-14)
    free = keep_book(tape, half, 0.1, "formula")
    assert free.equity == pytest.approx([0.95, 1.05, 1.05 * (1 - 0.5 * 0.25)], rel=1e-14)
    assert free.turnover.tolist() == [0.5, 0, 0]


@each_ledger
@given(seed=st.integers(0, 10**6), cost=st.sampled_from([0.0, 0.001, 0.05]), holes=st.booleans())
def test_the_engine_agrees_with_a_plain_loop_in_exact_fractions(ledger, seed, cost, holes):
    opens, closes, positions = random_market(seed, n_bars=12, n_assets=1 + seed % 3)
    rng = np.random.default_rng(seed)
    if holes:
        opens[rng.random(opens.shape) < 0.25] = np.nan  # a bar may have a close and no open, and the reverse
        closes[rng.random(opens.shape) < 0.25] = np.nan
    wanted = positions * rng.choice([0.25, 1.0]) / positions.shape[1]
    tape = tape_from(opens, closes)
    book = keep_book(tape, wanted, cost, ledger)
    exact = [fractions(rows) for rows in (wanted, opens, tape.marks)]
    one = exact[0][0][0] * 0 + 1
    truth = plain_ledger(*exact, fractions([[cost]])[0][0], ledger, one)
    assume(truth.ruin is None)
    assert book.equity == pytest.approx(np.array(truth.equity, dtype=float), rel=1e-12)
    assert book.turnover == pytest.approx(np.array(truth.turnover, dtype=float), rel=1e-11, abs=1e-13)
    assert book.fees == pytest.approx(np.array(truth.fees, dtype=float), rel=1e-11, abs=1e-13)
    assert np.array_equal(book.weights, np.array(truth.weights, dtype=float))
    if book.units is not None:
        assert book.units == pytest.approx(np.array(truth.units, dtype=float), rel=1e-11, abs=1e-14)


@pytest.mark.parametrize("ledger", ["on_change", "every_bar"])
@given(seed=st.integers(0, 10**6))
def test_cash_and_units_at_their_prices_are_the_equity(ledger, seed):
    opens, closes, positions = random_market(seed, n_bars=30)
    book = keep_book(tape_from(opens, closes), positions / 3, 0.002, ledger)
    assume(book.ruin is None and book.units is not None)
    spent = (np.diff(book.units, axis=0, prepend=0.0) * opens).sum(axis=1) + book.fees
    cash = 1 - np.cumsum(spent)
    assert cash + (book.units * closes).sum(axis=1) == pytest.approx(book.equity, rel=1e-11)
    traded = np.abs(np.diff(book.units, axis=0, prepend=0.0) * opens).sum(axis=1)
    assert book.fees == pytest.approx(0.002 * traded, rel=1e-9, abs=1e-14)


@given(seed=st.integers(0, 10**6), ledger=st.sampled_from(list(LEDGERS)), n_assets=st.integers(1, 12))
def test_zero_positions_leave_the_capital_alone(seed, ledger, n_assets):
    opens, closes, _ = random_market(seed, n_assets=n_assets)
    book = keep_book(tape_from(opens, closes), np.zeros_like(closes), 0.01, ledger)
    assert (book.equity == 1).all()
    assert not book.fees.any()


@given(seed=st.integers(0, 10**6), ledger=st.sampled_from(list(LEDGERS)), n_assets=st.integers(1, 12))
def test_scaling_prices_changes_no_money(seed, ledger, n_assets):
    opens, closes, positions = random_market(seed, n_assets=n_assets)
    wanted = positions / n_assets
    book = keep_book(tape_from(opens, closes), wanted, 0.001, ledger)
    powers = 2.0 ** np.random.default_rng(seed).integers(-9, 9, n_assets)
    exactly = keep_book(tape_from(opens * powers, closes * powers), wanted, 0.001, ledger)
    assert np.array_equal(book.equity, exactly.equity)
    assert np.array_equal(book.turnover, exactly.turnover)
    nearly = keep_book(tape_from(opens * 0.3, closes * 0.3), wanted, 0.001, ledger)
    assert nearly.equity == pytest.approx(book.equity, rel=1e-12, abs=1e-14)


@given(
    seed=st.integers(0, 10**6),
    ledger=st.sampled_from(list(LEDGERS)),
    costs=st.tuples(st.floats(0, 0.03), st.floats(0, 0.03)),
)
def test_more_cost_never_raises_the_final_equity(seed, ledger, costs):
    opens, closes, positions = random_market(seed)
    low, high = (
        keep_book(tape_from(opens, closes), positions / 3, cost, ledger).equity[-1] for cost in sorted(costs)
    )
    assert high <= low * (1 + 1e-14)


@given(seed=st.integers(0, 10**6), ledger=st.sampled_from(list(LEDGERS)), n_assets=st.integers(2, 12))
def test_permuting_assets_permutes_the_book(seed, ledger, n_assets):
    opens, closes, positions = random_market(seed, n_assets=n_assets)
    order = np.random.default_rng(seed).permutation(n_assets)
    book = keep_book(tape_from(opens, closes), positions / n_assets, 0.001, ledger)
    mixed = keep_book(
        tape_from(opens[:, order], closes[:, order]), positions[:, order] / n_assets, 0.001, ledger
    )
    assert mixed.equity == pytest.approx(book.equity, rel=1e-12, abs=1e-14)
    assert np.array_equal(mixed.weights, book.weights[:, order])
    if book.units is not None and mixed.units is not None:
        assert mixed.units == pytest.approx(book.units[:, order], rel=1e-11, abs=1e-14)


@given(
    seed=st.integers(0, 10**6),
    cost=st.sampled_from([0.0, 0.001, 0.05, 0.3, 0.9]),
    n_assets=st.integers(1, 8),
    step=st.sampled_from([0.03, 0.5]),
)
def test_substitution_and_loop_are_the_same_walk(seed, cost, n_assets, step):
    opens, _, positions = random_market(seed, n_bars=60, n_assets=n_assets, step=step)
    targets = 2 * positions / n_assets
    walked = engine._walk_few(targets, opens, cost)
    looped = engine._walk(targets, opens, np.ones(targets.shape, dtype=bool), cost)
    assume(walked is not None)
    until = np.argmax(looped[0] <= 0) if (looped[0] <= 0).any() else len(targets)
    for one, other in zip(walked, looped, strict=True):
        assert np.array_equal(one[:until], other[:until])
    assert (walked[0] <= 0).any() == (looped[0] <= 0).any()


def test_substitution_that_has_not_settled_falls_back_on_the_loop(monkeypatch):
    opens, closes, positions = random_market(3, n_bars=200, n_assets=1, step=0.2)
    targets = positions / 4
    monkeypatch.setattr(engine, "_ROUNDS", 3)
    assert engine._walk_few(targets, opens, 0.5) is None
    book = keep_book(tape_from(opens, closes), targets, 0.5, "every_bar")
    truth = plain_ledger(*(rows.tolist() for rows in (targets, opens, closes)), 0.5, "every_bar")
    lived = len(truth.equity)
    assert book.equity[:lived] == pytest.approx(truth.equity, rel=1e-9)


def test_an_asset_without_a_bar_keeps_its_units_and_its_mark_and_its_order_waits():
    nan = np.nan
    tape = of_one([100, nan, 120, 120])
    book = keep_book(tape, np.array([[1.0], [-1.0], [-1.0], [-1.0]]), 0.0, "on_change")
    assert book.weights[:, 0].tolist() == [1, 1, -1, -1]
    assert book.equity == pytest.approx([1, 1, 1.2, 1.2])
    assert book.turnover == pytest.approx([1, 0, 2, 0])


def test_a_missing_asset_is_not_resized_when_the_others_are():
    prices = [[100, 100], [110, np.nan], [110, 120]]
    wanted = np.array([[0.5, 0.5], [0.0, 0.5], [0.0, 0.5]])
    book = keep_book(tape_from(prices, prices), wanted, 0.0, "on_change")
    assert book.units is not None
    assert book.units[:, 1].tolist() == [0.005, 0.005, 0.005]
    assert book.units[:, 0].tolist() == [0.005, 0, 0]
    assert book.equity == pytest.approx([1, 1.05, 1.15])


def test_an_asset_without_an_open_is_worth_its_last_close_when_the_others_are_sized():
    # A halves at the open while B, up to 200 by the close, has no open: equity is 1 at the fill, not 1.5.
    opens, closes = [[100, 100], [100, np.nan]], [[100, 100], [100, 200]]
    book = keep_book(tape_from(opens, closes), np.array([[0.5, 0.5], [0.25, 0.5]]), 0.0, "on_change")
    assert book.units is not None
    assert book.units[1].tolist() == [0.0025, 0.005]
    assert book.equity.tolist() == [1, 1.5]


def test_an_asset_not_listed_yet_is_not_bought_until_it_trades():
    prices = [[100, np.nan], [100, np.nan], [110, 50], [110, 100]]
    book = keep_book(tape_from(prices, prices), np.full((4, 2), 0.5), 0.0, "on_change")
    assert book.weights.tolist() == [[0.5, 0], [0.5, 0], [0.5, 0.5], [0.5, 0.5]]
    assert book.equity == pytest.approx([1, 1, 1.05, 1.05 * 1.5])


@each_ledger
def test_a_short_that_loses_everything_closes_the_account(ledger):
    # Short one unit of capital at 100; at 210 it is worth −1.1 + 1 … gone, although the price comes back.
    tape, short = of_one([100, 150, 210, 100, 90]), np.full((5, 1), -1.0)
    if ledger != "on_change":  # rebalanced at 150: half the equity is left, and is short at it
        tape = of_one([100, 150, 301, 100, 90])
    book = keep_book(tape, short, 0.0, ledger)
    assert book.ruin == 2
    assert book.equity.tolist() == [1, 0.5, 0, 0, 0]
    assert book.weights[:, 0].tolist() == [-1, -1, -1, 0, 0]
    assert book.closing is not None
    assert book.closing.tolist() == [tape.marks[2, 0]]
    if book.units is not None:
        assert not book.units[2:].any()


def test_ruin_at_the_open_leaves_that_bars_orders_unfilled():
    tape = tape_from([[100], [250], [100]], [[100], [100], [100]])
    book = keep_book(tape, np.array([[-1.0], [1.0], [1.0]]), 0.01, "on_change")
    assert book.ruin == 1
    assert book.weights[:, 0].tolist() == [-1, -1, 0]
    assert book.fees.tolist() == [0.01, 0, 0]
    assert book.equity.tolist() == [0.99, 0, 0]
    assert book.closing is not None
    assert book.closing.tolist() == [250]


@given(seed=st.integers(0, 10**6), ledger=st.sampled_from(list(LEDGERS)))
def test_ruin_comes_when_the_plain_loop_says(seed, ledger):
    opens, closes, positions = random_market(seed, n_bars=25, n_assets=1 + seed % 2, step=0.5)
    wanted = 2 * positions
    book = keep_book(tape_from(opens, closes), wanted, 0.01, ledger)
    truth = plain_ledger(*(rows.tolist() for rows in (wanted, opens, closes)), 0.01, ledger)
    assert book.ruin == truth.ruin
    lived = len(truth.equity)
    assert book.equity[:lived] == pytest.approx(truth.equity, rel=1e-6)
    assert not book.equity[lived:].any()
    assert book.fees.sum() == pytest.approx(sum(truth.fees), rel=1e-6)


def test_marking_in_chunks_gives_the_same_bits(monkeypatch):
    opens, closes, positions = random_market(1, n_bars=200, n_assets=3)
    tape = tape_from(opens, closes)
    whole = keep_book(tape, positions / 3, 0.001, "on_change")
    monkeypatch.setattr(engine, "_CELLS", 21)
    assert np.array_equal(keep_book(tape, positions / 3, 0.001, "on_change").equity, whole.equity)


def test_an_unknown_ledger_is_refused_with_the_known_ones():
    with pytest.raises(ValueError, match="one of on_change, every_bar, formula"):
        keep_book(of_one([1, 2]), np.zeros((2, 1)), 0.0, "daily")


def test_bars_are_plain_integers_so_that_a_date_can_be_found():
    book = keep_book(of_one([100, 300]), np.full((2, 1), -1.0), 0.0, "on_change")
    assert isinstance(book.ruin, int)
    assert isinstance(days(2)[book.ruin], pd.Timestamp)
