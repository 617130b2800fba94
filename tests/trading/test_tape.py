import numpy as np
import pandas as pd
import pytest
from cases import days, one_asset, panel, random_market

from workbench.trading.tape import latest, tape_of


def signal(values, dates=None):
    return pd.Series(np.asarray(values, dtype=float), days(len(values)) if dates is None else dates)


PRICES = one_asset([100, 101, 102, 103, 104, 105])
OPENS, CLOSES, POSITIONS = random_market(0, n_bars=6, n_assets=2)
PANEL = panel(CLOSES, OPENS, ["X", "Y"])


@pytest.mark.parametrize(
    ("fill", "last", "prices"), [("next_open", 4, "open"), ("next_close", 4, "close"), ("close", 3, "close")]
)
def test_the_run_goes_from_the_first_decision_to_the_fill_of_the_last(fill, last, prices):
    tape = tape_of(signal([1, 0, -1], PRICES.index[1:4]), PRICES, fill)
    assert tape.dates.equals(PRICES.index[1 : last + 1])
    assert tape.fills[:, 0].tolist() == PRICES[prices].iloc[1 : last + 1].tolist()
    lag = 0 if fill == "close" else 1
    assert tape.wanted()[:, 0].tolist() == [0.0] * lag + [1, 0, -1]


def test_a_last_decision_without_a_bar_after_it_is_not_filled():
    tape = tape_of(signal([1, -1], PRICES.index[4:]), PRICES, "next_open")
    assert tape.wanted()[:, 0].tolist() == [0, 1]


def test_bars_between_decisions_keep_the_last_one():
    tape = tape_of(signal([1, -1], PRICES.index[[0, 3]]), PRICES, "close")
    assert tape.decisions[:, 0].tolist() == [1, 1, 1, -1]
    assert tape.decided.tolist() == [True, False, False, True]


def test_a_panel_is_laid_by_ticker_whatever_the_order_of_columns():
    wide = pd.DataFrame(POSITIONS, days(6), ["X", "Y"])
    tape = tape_of(wide[["Y", "X"]], PANEL, "next_open")
    assert tape.tickers == ("Y", "X")
    assert np.array_equal(tape.fills, OPENS[:, ::-1])
    assert np.array_equal(tape.marks, CLOSES[:, ::-1])


def test_an_asset_of_a_panel_may_be_traded_alone():
    tape = tape_of(pd.DataFrame({"Y": POSITIONS[:, 1]}, days(6)), PANEL, "close")
    assert np.array_equal(tape.fills[:, 0], CLOSES[:, 1])


def test_a_series_trades_the_one_asset_of_a_panel():
    alone = PANEL.xs("X", level="ticker", drop_level=False)
    assert tape_of(signal(POSITIONS[:, 0]), alone, "close").tickers == ("X",)


def test_rows_a_panel_lacks_are_holes_and_marks_are_carried():
    holed = PANEL.drop([(days(6)[0], "Y"), (days(6)[3], "Y")])
    tape = tape_of(pd.DataFrame(POSITIONS, days(6), ["X", "Y"]), holed, "close")
    assert np.isnan(tape.fills[:, 1]).tolist() == [True, False, False, True, False, False]
    assert tape.marks[:, 1].tolist() == [1, *CLOSES[[1, 2, 2, 4, 5], 1]]


def test_latest_is_the_most_recent_known_value():
    values, known = np.array([[1.0], [2], [3], [4]]), np.array([[False], [True], [False], [True]])
    assert latest(values, known, before=-7.0)[:, 0].tolist() == [-7, 2, 2, 4]


def closes_only():
    prices = PRICES.copy()
    prices[["open", "high", "low", "volume"]] = np.nan
    prices.attrs["provenance"] = {**PRICES.attrs["provenance"], "fields": ["close"]}
    return prices


def changed(frame, row, column, value):
    other = frame.copy()
    other.iloc[row, other.columns.get_loc(column)] = value
    return other


@pytest.mark.parametrize(
    ("positions", "prices", "fill", "message"),
    [
        (signal([1, 1]), PRICES, "open", "fill must be one of next_open, next_close, close. Got 'open'"),
        (signal([1, 1]), closes_only(), "next_open", "needs the open prices.*Use fill='next_close'"),
        (signal([1, 1]), PRICES[["close"]], "next_open", "needs the open prices"),
        (signal([1, 1]), PRICES[["open"]], "close", "must have closes"),
        (
            signal([1, 1], pd.to_datetime(["2020-01-04", "2020-01-06"])),
            PRICES,
            "close",
            "1 of 2 dates are not: 2020-01-04 00:00:00. Load",
        ),
        (signal([1, 1]).tz_localize("UTC"), PRICES, "close", "2 of 2 dates are not"),
        (signal([]), PRICES, "close", "nothing to trade"),
        (signal([1, np.nan]), PRICES, "close", "not be NaN. 1 are not, first AAPL on 2020-01-02"),
        (signal([1, 1.5]), PRICES, "close", "use `exposure`"),
        (signal([1, 1]).iloc[::-1], PRICES, "close", "unique, increasing dates: sort"),
        (pd.concat([signal([1])] * 2), PRICES, "close", "unique, increasing dates: sort"),
        (signal([1, 1]), PANEL, "close", "prices hold 2 assets"),
        (pd.DataFrame(POSITIONS, days(6), ["X", "Z"]), PANEL, "close", r"prices have no \['Z'\]"),
        (pd.DataFrame(POSITIONS, days(6), ["X", "X"]), PANEL, "close", "a ticker twice"),
        (pd.DataFrame(POSITIONS, days(6), ["X", "Y"]), PRICES, "close", "prices hold one asset"),
        (PANEL["close"] / 1e6, PANEL, "close", "unstack"),
        (signal([1, 1]), changed(PRICES, 1, "close", 0.0), "close", "AAPL has close 0.0 on 2020-01-02"),
        (signal([1, 1]), changed(PRICES, 1, "open", np.inf), "next_open", "AAPL has open inf"),
        (
            pd.DataFrame(POSITIONS, days(6), ["X", "Y"]),
            PANEL.assign(close=PANEL["close"].where(PANEL.index.get_level_values(1) == "X")),
            "close",
            r"\['Y'\] have no close",
        ),
        (pd.DataFrame(POSITIONS, days(6), ["X", "Y"]), pd.concat([PANEL, PANEL.iloc[:1]]), "close", "twice"),
        (signal([1, 1]), PRICES.iloc[::-1], "close", "unique, increasing dates: see"),
        (signal([1, 1]), PRICES.reset_index(drop=True), "close", "indexed by date"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_repair(positions, prices, fill, message):
    with pytest.raises(ValueError, match=message):
        tape_of(positions, prices, fill)


def test_positions_decided_on_another_stock_are_refused():
    prices = one_asset([100, 101, 102, 103])
    prices.attrs["provenance"] = {**prices.attrs.get("provenance", {}), "ticker": "MSFT"}
    decided = pd.Series([1.0, 0, 1], prices.index[:3])
    assert tape_of(decided, prices, "close").tickers == ("MSFT",)
    decided.attrs["provenance"] = {"ticker": "AAPL"}
    with pytest.raises(ValueError, match=r"decided on AAPL, and the prices are those of MSFT"):
        tape_of(decided, prices, "close")
