"""Models of Alpha158, Alpha360 and what is done to them are reopened with the windows of their training."""

import pandas as pd
import pytest
import torch

from workbench.features.alpha158 import ALPHA158_20, alpha158
from workbench.features.alpha360 import alpha360_bars
from workbench.features.concepts import with_concepts
from workbench.features.labels import forward_return
from workbench.features.past import with_past_label
from workbench.features.processors import Chain, Fill, RankNorm, RobustZScore
from workbench.features.windows import Windows
from workbench.market.loading import load_panel
from workbench.training.checkpoints import ensure_model
from workbench.training.coverage import fingerprint
from workbench.training.prediction import predict
from workbench.training.reopening import UnreadablePrices, reopen
from workbench.widgets.borrowing import windows_like

THEMES = pd.DataFrame(
    [("IBM", "old", "2011-01-01"), ("AAPL", "phones", "2011-01-01")], columns=["ticker", "concept", "since"]
)


@pytest.fixture(scope="module")
def prices() -> pd.DataFrame:
    return load_panel(["IBM", "AAPL", "MSFT"], start="2011", end="2012-03")


def scaled(prices: pd.DataFrame) -> pd.DataFrame:
    features = alpha158(prices)[list(ALPHA158_20)]
    return Chain(RobustZScore(), Fill()).fit(features, before="2011-08").transform(features)


def ranked(prices: pd.DataFrame) -> pd.DataFrame:
    features = alpha158(prices, columns=["MA5", "STD20", "WVMA10"])
    return RankNorm().fit(features, before="2011-08").transform(features)


def with_sides(prices: pd.DataFrame) -> pd.DataFrame:
    features = with_concepts(alpha158(prices, ["MA5", "RANK20"]), THEMES)
    return with_past_label(features, forward_return(prices))


def kept(folder, prices, features, lookback):
    windows = Windows.of(features, forward_return(prices), lookback)
    parts = windows.split("2011-08", "2011-11")
    model, _ = ensure_model("lstm", *parts[:2], folder=folder, hidden_size=4, epochs=1, progress=False)
    return model, windows


@pytest.mark.parametrize("make", [alpha158, alpha360_bars, scaled, ranked, with_sides])
def test_a_model_is_reopened_with_the_windows_of_its_training(tmp_path, prices, make):
    model, windows = kept(tmp_path, prices, make(prices), 60 if make is alpha360_bars else 5)
    again = reopen(next(tmp_path.iterdir()))
    assert again.note == ""
    assert fingerprint(again.windows) == fingerprint(windows)
    assert torch.equal(again.windows.y.nan_to_num(-9), windows.y.nan_to_num(-9))
    pd.testing.assert_frame_equal(predict(again.model, again.windows), predict(model, windows))


def test_the_same_call_finds_the_model_again(tmp_path, prices):
    kept(tmp_path, prices, scaled(prices), 5)
    before = sorted(path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors"))
    kept(tmp_path, prices, scaled(prices), 5)
    assert sorted(path.stat().st_mtime_ns for path in tmp_path.rglob("*.safetensors")) == before


def test_prices_that_lack_a_field_say_which_columns_are_missing(tmp_path, prices):
    kept(tmp_path, prices, scaled(prices), 5)
    with pytest.raises(
        UnreadablePrices, match=r"reads WVMA5, KLEN, .*which alpha158 doesn't make of the prices"
    ):
        reopen(next(tmp_path.iterdir()), "KO", "sample20")


def test_another_ticker_gets_windows_by_the_same_recipe(tmp_path, prices):
    _, windows = kept(tmp_path, prices, scaled(prices), 5)
    other = load_panel(["GOOG"], start="2011", end="2012-03")
    found = windows_like(windows, other)
    features = alpha158(other)[list(ALPHA158_20)]
    processors = Chain(RobustZScore(), Fill()).fit(alpha158(prices)[list(ALPHA158_20)], before="2011-08")
    expected = Windows.of(processors.transform(features), forward_return(other), 5)
    assert fingerprint(found) == fingerprint(expected)
    with pytest.raises(UnreadablePrices, match=r"which alpha158 doesn't give for these prices. Open another"):
        windows_like(windows, load_panel(["KO"], "sample20", start="2020"))
