"""Models that hold more than bars say, and models that read a day's stocks together, in the Explorer."""

import numpy as np
import pytest

import workbench as wb
from workbench.explainers.methods import METHODS
from workbench.models.registry import build_model
from workbench.training.checkpoints import ensure_model
from workbench.training.prediction import predict
from workbench.widgets.chart import PriceChart
from workbench.widgets.explorer import Explorer


@pytest.fixture(scope="module")
def alstm(windows):
    return build_model("alstm", windows, hidden_size=6).eval()


@pytest.fixture(scope="module")
def together(panel, windows_of):
    windows = windows_of(panel)
    return build_model("gats", windows, hidden_size=6).eval(), windows, panel


def offered(explorer):
    return {method["name"]: method["disabled"] for method in explorer.choices["methods"]}


def test_the_decomposition_of_an_alstm_is_shown_like_any_method(alstm, windows, prices, listen, numbers):
    page = listen(Explorer(alstm, windows, prices))
    page.choose(method="decomposition", target="buy")
    assert (page.explorer.error, page.explorer.method) == ("", "decomposition")
    (content, buffers), *_ = page.ask(
        ask="scores", version=1, method="decomposition", target="buy", windows=[3, 4]
    )
    assert (content["kind"], content["signed"], content["time"]) == ("scores", True, windows.lookback)
    expected = wb.explain(alstm, windows[[3, 4]], "decomposition", target="buy").scores
    np.testing.assert_allclose(numbers(buffers[0], "<f4", 2, windows.lookback), expected, atol=1e-5)


def test_what_is_not_by_bar_or_of_other_models_is_listed_with_the_reason(alstm, windows, prices):
    seen = offered(Explorer(alstm, windows, prices))
    assert list(seen) == list(METHODS)
    assert seen["decomposition"] == ""
    assert seen["masks"] == "Feature masks is inside of other models: alstm has nothing of the kind"
    for name in ("modules", "concepts", "neighbours", "frequencies", "routing"):
        assert f"is by {METHODS[name].over}, and this screen is about bars" in seen[name]


@pytest.mark.parametrize("method", ["modules", "masks"])
def test_asking_for_it_shows_the_sentence_and_the_explorer_lives_on(alstm, windows, prices, listen, method):
    page = listen(Explorer(alstm, windows, prices, method="gradient_x_input"))
    page.choose(method=method)
    assert page.explorer.method == "gradient_x_input"
    assert METHODS[method].label in page.explorer.error
    (content, _), *_ = page.ask(ask="scores", version=1, method=method, target="", windows=[0])
    assert content["kind"] == "failed"
    assert METHODS[method].label in content["error"]
    page.choose(method="decomposition")
    assert (page.explorer.error, page.explorer.method) == ("", "decomposition")
    (content, _), *_ = page.ask(ask="scores", version=1, method="decomposition", target="", windows=[0])
    assert content["kind"] == "scores"


def test_a_model_opened_on_what_is_not_by_bar_shows_another_method_and_says_so(alstm, windows, prices):
    explorer = Explorer(alstm, windows, prices, method="frequencies")
    assert not METHODS[explorer.method].over
    assert "is shown instead of Frequencies: Frequencies is by frequency" in explorer.status


def test_a_model_that_reads_a_day_together_opens_with_the_answers_of_the_whole_panel(together, listen):
    model, windows, panel = together
    page = listen(Explorer(model, windows, panel))
    ticker = page.explorer.ticker
    mine = np.flatnonzero(windows.tickers == ticker)
    whole = predict(model, windows).iloc[mine].to_numpy()
    alone = predict(model, windows[mine]).to_numpy()
    shown = page.explorer._subject.predictions.to_numpy()
    np.testing.assert_array_equal(shown, whole)
    assert not np.allclose(shown, alone, atol=1e-7)
    page.choose(ticker=next(name for name in set(windows.tickers) if name != ticker))
    assert page.explorer.error == ""


def test_it_says_in_place_why_no_method_explains_it_by_bar_and_lives_on(together, listen):
    model, windows, panel = together
    page = listen(Explorer(model, windows, panel))
    assert all(offered(page.explorer).values())
    assert "No method explains this model by bar" in page.explorer.status
    assert "reads the stocks of a day together" in page.explorer.facts["no_attention"]
    asked = {"version": page.explorer.version, "windows": [0]}
    (content, _), *_ = page.ask(ask="scores", method=page.explorer.method, target="", **asked)
    assert content["kind"] == "failed"
    assert "reads the stocks of a day together" in content["error"]
    (content, _), *_ = page.ask(ask="maps", **asked)
    assert "There are no maps: gats reads the stocks of a day together" in content["error"]
    page.choose(date=str(windows.dates[40].date()))
    assert (page.explorer.error, page.explorer.date) == ("", str(windows.dates[40].date()))
    assert len(page.explorer.snapshot().data) > 1000


def test_one_stock_alone_is_said_to_be_alone(together, windows, prices):
    model, _, _ = together
    assert "and here it sees LAG5-SNR2-BARS260 alone" in Explorer(model, windows, prices).status


def test_a_price_chart_refuses_other_axes_in_words(together):
    model, windows, panel = together
    ticker = windows.tickers[0]
    prices = panel.xs(ticker, level="ticker")
    prices.attrs = {"provenance": {"ticker": str(ticker)}}
    why = wb.explain(model, windows, "neighbours")
    with pytest.raises(
        ValueError, match="a price chart is about bars, and the scores of neighbours are by asset"
    ):
        PriceChart(prices, why)


@pytest.fixture(scope="module")
def kept(panel, windows_of, tmp_path_factory):
    """A folder with a model of two markets that is read a day at a time."""
    folder = tmp_path_factory.mktemp("together")
    train, valid, _ = windows_of(panel).split(0.6, 0.8)
    ensure_model("gats", train, valid, folder=folder, hidden_size=6, epochs=1, progress=False)
    return folder, next(folder.iterdir())


@pytest.mark.parametrize("by", ["folder", "selectors", "run"])
def test_a_saved_model_of_a_panel_reopens_with_all_stocks_of_its_training(
    kept, panel, windows_of, listen, by
):
    folder, place = kept
    noise, other = "NOISE-BARS240", "LAG2-BARS240"
    if by == "folder":
        explorer = Explorer(str(place), folder=str(folder), ticker=noise)
    elif by == "run":
        explorer = Explorer(folder=str(folder), run=place.name, ticker=noise)
    else:
        explorer = Explorer(str(place), folder=str(folder))
        assert explorer.ticker == other
        listen(explorer).choose(ticker=noise)
    assert (explorer.error, explorer.ticker) == ("", noise)
    windows = windows_of(panel)
    expected = predict(wb.load_model(place), windows).iloc[np.flatnonzero(windows.tickers == noise)]
    np.testing.assert_array_equal(explorer._subject.predictions, expected)
    assert "and here it sees" not in explorer.status


def test_a_saved_model_of_a_panel_says_where_another_stock_is_alone(kept):
    folder, place = kept
    explorer = Explorer(str(place), folder=str(folder), source="synthetic", ticker="LAG5-SNR2-BARS260")
    assert "and here it sees LAG5-SNR2-BARS260 alone" in explorer.status


def test_masks_by_bar_and_feature_are_shown_and_drawn(windows, prices, listen, numbers):
    model = build_model("tabnet", windows, n_d=4, n_a=4, n_steps=2).eval()
    page = listen(Explorer(model, windows, prices, method="masks"))
    assert page.explorer.method == "masks"
    (content, buffers), *_ = page.ask(ask="scores", version=1, method="masks", target="", windows=[5])
    assert (content["signed"], content["features"]) == (False, windows.n_features)
    expected = wb.explain(model, windows[[5]], "masks").scores[0]
    shown = numbers(buffers[0], "<f4", windows.lookback, windows.n_features)
    np.testing.assert_allclose(shown, expected, atol=1e-5)
    assert len(page.explorer.snapshot().data) > 1000
