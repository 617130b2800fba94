"""Gates on decision dates against a loop over cells, and what drawdowns have to do with them."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from workbench.features.indicators import make_features
from workbench.features.labels import label_moves
from workbench.features.windows import Windows
from workbench.gates.daily import gates_by_date
from workbench.gates.regimes import before_drawdowns
from workbench.market.loading import load_panel, load_prices
from workbench.models.registry import build_model
from workbench.trading.drawdowns import worst_drawdowns


def windows_of(prices: pd.DataFrame, lookback: int = 5) -> Windows:
    return Windows.of(make_features(prices), label_moves(prices, scale="volatility"), lookback)


@pytest.fixture(scope="module")
def windows() -> Windows:
    return windows_of(load_prices("AAPL", start="2009-06-01", end="2010-03-31"))


@pytest.fixture(scope="module")
def lstm(windows: Windows) -> nn.Module:
    model = build_model("lstm", windows, seed=0, hidden_size=3, n_layers=2)
    with torch.no_grad():  # far from 0, so that some gates saturate
        for weight in model.get_submodule("lstm").parameters():
            weight.mul_(4)
    return model


def by_cells(model: nn.Module, x: torch.Tensor) -> dict[str, float]:
    """Signals of one window, by walking through cells written out in float64."""
    layers, signals = model.get_submodule("lstm"), {}
    rows = model.get_submodule("scaling")(x[None])[0].double()
    for layer in range(2):
        w_x, w_h, b_x, b_h = (
            getattr(layers, f"{name}_l{layer}").double()
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        )
        h, c, states = torch.zeros(3).double(), torch.zeros(3).double(), []
        for row in rows:
            i, f, g, o = (w_x @ row + b_x + w_h @ h + b_h).chunk(4)
            i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
            c = f * c + i * g
            before, h = h, o * c.tanh()
            states.append(h)
        gates = torch.cat([i, f, o])
        found = {
            "input": i.mean(), "forget": f.mean(), "output": o.mean(), "candidate size": g.abs().mean(),
            "cell size": c.abs().mean(), "hidden size": h.abs().mean(),
            "extremity": (2 * gates - 1).abs().mean(), "movement": (h - before).abs().mean(),
        }  # fmt: skip
        signals |= {f"lstm.l{layer} {name}": float(value.detach()) for name, value in found.items()}
        rows = torch.stack(states)
    return signals


def test_they_are_what_a_loop_over_cells_makes_of_each_window(windows: Windows, lstm: nn.Module):
    daily = gates_by_date(lstm, windows, batch_size=16)
    assert daily.index.equals(windows.dates)
    for row in (0, 15, 16, len(windows) - 1):
        expected = by_cells(lstm, windows.batch(row)[0])
        assert list(daily.columns) == list(expected)
        assert daily.iloc[row].to_dict() == pytest.approx(expected, abs=2e-6)
    assert daily.attrs["provenance"]["ticker"] == "AAPL"


def test_neither_what_follows_nor_how_many_changes_a_bit(windows: Windows, lstm: nn.Module):
    whole = gates_by_date(lstm, windows, batch_size=16)
    for count in (1, 7, 16, 30):
        pd.testing.assert_frame_equal(
            gates_by_date(lstm, windows[:count], batch_size=16), whole.iloc[:count], check_exact=True
        )


@pytest.mark.parametrize(("name", "layer", "signals"), [("gru", "gru.l0", 6), ("alstm", "rnn.l0", 8)])
def test_other_recurrent_models_have_their_own(windows: Windows, name: str, layer: str, signals: int):
    daily = gates_by_date(build_model(name, windows, hidden_size=4), windows)
    assert sum(column.startswith(layer) for column in daily) == signals
    assert np.isfinite(daily.to_numpy()).all()
    assert (daily.std() > 0).any()


def test_a_panel_goes_by_date_and_ticker():
    windows = windows_of(load_panel(["AAPL", "IBM"], start="2009-09-01", end="2009-12-31"))
    daily = gates_by_date(build_model("gats", windows, hidden_size=4), windows)
    assert daily.index.names == ["date", "ticker"]
    alone = windows[windows.tickers == "IBM"]
    own = gates_by_date(build_model("gats", windows, hidden_size=4), alone)
    np.testing.assert_allclose(own, daily.xs("IBM", level="ticker"), atol=1e-6)  # other places in the batch
    with pytest.raises(ValueError, match=r"groupby\('date'\)"):
        before_drawdowns(daily, DRAWDOWNS)


def test_a_model_without_recurrent_layers_says_so(windows: Windows):
    with pytest.raises(ValueError, match="no gates to look at"):
        gates_by_date(build_model("tcn", windows), windows)
    with pytest.raises(ValueError, match="need windows"):
        gates_by_date(build_model("lstm", windows), windows[:0])


DATES = pd.bdate_range("2020-01-01", periods=12, name="date")
DRAWDOWNS = pd.DataFrame(
    {"peak": DATES[[2, 6, 0]], "trough": DATES[[3, 8, 1]], "recovery": pd.NaT, "depth": [-0.3, -0.2, -0.1]},
    index=pd.RangeIndex(1, 4, name="drawdown"),
)


def test_three_drawdowns_by_hand():
    #         bar: 0  1  2  3  4  5  6  7   8  9  10 11
    values = [1.0, 2, 4, 9, 1, 3, 5, 10, 8, 2, 1, 2]
    found = before_drawdowns(pd.DataFrame({"gate": values}, DATES), DRAWDOWNS, bars=2)
    # Before: bars 1, 2 and 5, 6; the third peak has one bar alone, and is left out. Falls: 3; 7, 8; 1.
    # Rest: 0, 4, 9, 10, 11, mean (1 + 1 + 2 + 1 + 2)/5 = 1.4.
    assert found.used == {"before": 2, "fall": 3}
    table = found.table["mean"].to_dict()
    assert table["before", "gate"] == pytest.approx(((2 + 4) / 2 + (3 + 5) / 2) / 2)
    assert table["fall", "gate"] == pytest.approx((9 + (10 + 8) / 2 + 2) / 3)
    assert found.table["rest"].tolist() == pytest.approx([1.4, 1.4])
    assert found.table["difference"].tolist() == pytest.approx([2.1, 20 / 3 - 1.4])
    still = np.array(values) - np.mean(values)
    assert found.table["memory"].iloc[0] == pytest.approx((still[1:] * still[:-1]).sum() / (still**2).sum())


def naive(daily: pd.DataFrame, drawdowns: pd.DataFrame, bars: int) -> dict[tuple[str, str], list[float]]:
    """The difference at every shift, date by date, by phase and signal."""
    dates, n = list(daily.index), len(daily)
    before, falls = [], []
    for _, row in drawdowns.iterrows():
        until = [bar for bar in range(n) if dates[bar] <= row["peak"]]
        if len(until) >= bars:
            before.append(until[-bars:])
        falls.append([bar for bar in range(n) if row["peak"] < dates[bar] <= row["trough"]])
    taken = {bar for group in before + falls for bar in group}
    rest = [bar for bar in range(n) if bar not in taken]
    found = {}
    for phase, groups in {"before": before, "fall": [group for group in falls if group]}.items():
        for name in daily if groups else ():
            values = daily[name].tolist()
            found[phase, name] = []
            for shift in range(n):
                means = [sum(values[(bar - shift) % n] for bar in group) / len(group) for group in groups]
                other = sum(values[(bar - shift) % n] for bar in rest) / len(rest)
                found[phase, name].append(sum(means) / len(means) - other)
    return found


def market(seed: int, n: int = 300) -> tuple[pd.Series, pd.DataFrame]:
    """An account that wanders, and signals that have nothing to do with it."""
    rng = np.random.default_rng(seed)
    dates = pd.bdate_range("2015-01-01", periods=n, name="date")
    equity = pd.Series(100 * np.exp(np.cumsum(0.01 * rng.normal(size=n))), dates)
    noise = rng.normal(size=(n, 4))
    for bar in range(1, n):
        noise[bar] += 0.8 * noise[bar - 1]
    return equity, pd.DataFrame(noise, dates, columns=["one", "two", "three", "four"])


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), bars=st.integers(1, 6))
def test_it_agrees_with_a_loop_over_dates_and_shifts(seed: int, bars: int):
    equity, daily = market(seed, 60)
    drawdowns = worst_drawdowns(equity, 3)
    expected = naive(daily, drawdowns, bars)
    table = before_drawdowns(daily, drawdowns, bars).table
    assert len(expected) == len(table)
    for key, differences in expected.items():
        size = np.abs(differences)
        assert table.loc[key, "difference"] == pytest.approx(differences[0], abs=1e-12)
        assert table.loc[key, "p_value"] == pytest.approx((size >= size[0] * (1 - 1e-9)).mean())
        assert table.loc[key, "chance"] == pytest.approx(np.quantile(size, 0.95))


def test_a_planted_difference_is_found_where_it_is_and_said():
    equity, daily = market(3)
    drawdowns = worst_drawdowns(equity, 4)
    for peak in drawdowns["peak"]:
        until = daily.index[daily.index <= peak][-10:]
        daily.loc[until, "three"] += 6.0
    found = before_drawdowns(daily, drawdowns)
    least = found.table["family_p_value"]
    assert least.idxmin() == ("before", "three")
    assert least.min() <= 0.05
    assert found.table.loc[("before", "three"), "low"] > 0
    assert (least.drop(("before", "three")) > 0.05).all()
    told = f"three (before), family-wise p = {least.min():.2g}"
    assert found.verdict.startswith(f"These differ more than shifted series do: {told}.")
    assert "three" in str(found)
    assert "<table" in found._repr_html_()


def test_in_noise_none_is_found_at_the_stated_rate_and_the_power_is_told():
    least = []
    for seed in range(120):
        equity, daily = market(seed, 160)
        drawdowns = worst_drawdowns(equity, 4)
        try:
            found = before_drawdowns(daily, drawdowns)
        except ValueError:  # a history all of which is a fall has no rest
            continue
        least.append(found.table["family_p_value"].min())
    assert len(least) > 90
    assert 0.01 < np.mean(np.array(least) <= 0.05) < 0.10
    assert "None differs more than shifted series do" in found.verdict or least[-1] <= 0.05
    assert "in standard deviations of its signal, " in found.verdict
    assert " before the peaks and " in found.verdict


def test_signals_that_never_change_differ_in_nothing():
    equity, daily = market(1)
    found = before_drawdowns(daily * 0 + 3, worst_drawdowns(equity, 4))
    assert found.table["p_value"].isna().all()
    assert found.verdict == "No signal varies, so none can differ."


FLAT = pd.DataFrame({"gate": np.arange(12.0)}, DATES)


@pytest.mark.parametrize(
    ("daily", "drawdowns", "bars", "match"),
    [
        (FLAT, DRAWDOWNS, 0, "bars must be at least 1"),
        (FLAT[::-1], DRAWDOWNS, 2, "one row a date"),
        (FLAT.replace(3.0, np.nan), DRAWDOWNS, 2, "finite throughout"),
        (FLAT, DRAWDOWNS.drop(columns="trough"), 2, "drawdowns lack trough"),
        (FLAT, DRAWDOWNS.iloc[:0], 2, "the account never fell, so there is nothing to ask"),
        (FLAT, DRAWDOWNS.assign(trough=DRAWDOWNS["peak"]), 9999, "no drawdown has 9,999 decisions before"),
        (FLAT.tz_localize("UTC"), DRAWDOWNS, 2, r"Got daily with UTC, peaks with none: .*localize\(None\)"),
        (
            FLAT,
            DRAWDOWNS.assign(**{name: DRAWDOWNS[name].dt.tz_localize("UTC") for name in ("peak", "trough")}),
            2,
            r"Got daily with none, peaks with UTC: e\.g\. daily\.tz_localize\('UTC'\)",
        ),
        (FLAT.iloc[:0], DRAWDOWNS, 2, "hold one date"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    daily: pd.DataFrame, drawdowns: pd.DataFrame, bars: int, match: str
):
    with pytest.raises(ValueError, match=match):
        before_drawdowns(daily, drawdowns, bars)


def test_a_flat_account_never_fell():
    with pytest.raises(ValueError, match="the account never fell"):
        before_drawdowns(FLAT, worst_drawdowns(pd.Series(100.0, DATES)))


def test_a_phase_that_no_drawdown_has_is_named_with_its_reason():
    daily = pd.DataFrame({"gate": [1.0, 2, 4, 9, 1, 3, 5, 10, 8, 2, 1, 2]}, DATES)
    found = before_drawdowns(daily, DRAWDOWNS, bars=9999)
    assert found.used == {"before": 0, "fall": 3}
    said = "Not compared: before the peaks, since no drawdown has 9,999 decisions before its peak."
    assert said in found.verdict
    assert said in str(found)
    assert "the last 9,999" not in str(found)
    assert said in found._repr_html_()
    still = before_drawdowns(daily, DRAWDOWNS.assign(trough=DRAWDOWNS["peak"]), bars=2)
    assert still.used == {"before": 2, "fall": 0}
    assert "in the falls, since no drawdown has a decision in its fall." in still.verdict
    assert before_drawdowns(daily, DRAWDOWNS, bars=2).lacking == []


def test_the_report_goes_by_family_wise_p_and_then_by_p():
    equity, daily = market(5)
    found = before_drawdowns(daily, worst_drawdowns(equity, 4))
    table = found.table
    wanted = sorted(
        table.index.to_list(), key=lambda key: (table.loc[key, "family_p_value"], table.loc[key, "p_value"])
    )
    assert wanted != table.index.to_list()
    rows = [str(found).find(f"{table.loc[key, 'difference']:.3g} ") for key in wanted]
    assert -1 not in rows
    assert rows == sorted(rows)
    assert f"of {wanted[0][1]} ({wanted[0][0]})." in found.verdict
