import json

import pandas as pd
import pytest

from workbench.features.alpha158 import ALPHA158_20, alpha158
from workbench.features.alpha360 import alpha360, alpha360_bars
from workbench.features.concepts import with_concepts
from workbench.features.fitted import OtherColumns
from workbench.features.indicators import make_features
from workbench.features.labels import forward_return, label_moves
from workbench.features.making import remake, remake_labels
from workbench.features.past import with_past_label
from workbench.features.processors import Chain, Fill, RankNorm, RobustZScore
from workbench.features.recipes import label_recipe_of
from workbench.market.loading import load_panel, load_prices

OIL = pd.DataFrame(
    [("IBM", "old", "2012-02-01", None, 0.5), ("AAPL", "phones", "2012-01-10", "2012-06-01", 1.0)],
    columns=["ticker", "concept", "since", "until", "weight"],
)


@pytest.fixture(scope="module")
def prices():
    return load_panel(["IBM", "AAPL"], start="2012")


def as_json(told):
    """What a saved model's card gives back."""
    return json.loads(json.dumps(told))


@pytest.mark.parametrize(
    "make",
    [
        make_features,
        lambda prices: make_features(prices, 20),
        alpha158,
        alpha360,
        alpha360_bars,
        lambda prices: with_concepts(alpha158(prices), OIL),
        lambda prices: with_past_label(alpha360_bars(prices), forward_return(prices, 2)),
        lambda prices: with_past_label(make_features(prices), label_moves(prices, 3, 0.5, "volatility")),
    ],
)
def test_features_are_made_again_by_what_they_tell(prices, make):
    features = make(prices)
    again = remake(prices, as_json(features.attrs["features"]))
    pd.testing.assert_frame_equal(again, features, check_exact=True)
    assert as_json(again.attrs) == as_json(features.attrs)


def test_processors_and_what_comes_after_them_are_repeated_in_order(prices):
    features = alpha158(prices)[list(ALPHA158_20)]
    chain = Chain(RobustZScore(), Fill()).fit(features, before="2012-06")
    made = with_past_label(with_concepts(chain.transform(features), OIL), forward_return(prices))
    again = remake(prices, as_json(made.attrs["features"]))
    pd.testing.assert_frame_equal(again, made, check_exact=True)


def test_other_prices_are_processed_by_what_was_learnt(prices):
    features = alpha158(prices)
    scale = RobustZScore().fit(features)
    told = as_json(scale.transform(features).attrs["features"])
    other = load_prices("MSFT", start="2012")
    pd.testing.assert_frame_equal(remake(other, told), scale.transform(alpha158(other)), check_exact=True)
    closes = load_prices("MSFT", "sample20", start="2012")
    with pytest.raises(OtherColumns, match="RobustZScore was fitted on columns that these prices don't give"):
        remake(closes, told)


def test_what_cannot_be_told_leaves_no_recipe(prices):
    snapshots = pd.DataFrame({"oil": 1.0}, index=prices.index)
    assert "features" not in with_concepts(alpha158(prices), snapshots).attrs
    own = (forward_return(prices) > 0).astype(float).rename("up")
    own.attrs = {"task": "classification", "horizon": 1, "classes": ["down", "up"]}
    assert "features" not in with_past_label(alpha158(prices), own).attrs
    bare = pd.DataFrame(alpha158(prices))
    bare.attrs = {}
    assert RankNorm().fit(bare).transform(bare).attrs == {}
    with pytest.raises(ValueError, match=r"features are made again by make_features, alpha158"):
        remake(prices, {"kind": "mine"})


def test_labels_are_made_again_by_what_they_tell(prices):
    for labels in (forward_return(prices, 2), label_moves(prices, 3, 0.7, "volatility"), label_moves(prices)):
        again = remake_labels(prices, as_json(label_recipe_of(labels)))
        pd.testing.assert_series_equal(again, labels, check_exact=True)
