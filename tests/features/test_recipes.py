import json

import pytest

from workbench.features.indicators import make_features
from workbench.features.labels import forward_return, label_moves
from workbench.features.windows import Windows


@pytest.mark.parametrize(
    ("label", "told"),
    [
        (
            lambda prices: label_moves(prices, 2, 0.7, "volatility"),
            {"kind": "label_moves", "horizon": 2, "threshold": 0.7, "scale": "volatility"},
        ),
        (
            label_moves,
            {"kind": "label_moves", "horizon": 1, "threshold": 0.01, "scale": "fixed"},
        ),
        (lambda prices: forward_return(prices, 3), {"kind": "forward_return", "horizon": 3}),
    ],
)
@pytest.mark.parametrize("zscore", [None, 30])
def test_windows_tell_how_they_are_made_again(make_prices, label, told, zscore):
    prices = make_prices(150)
    windows = Windows.of(make_features(prices, zscore), label(prices), 5)
    recipe = {name: value for name, value in windows.provenance.items() if name not in _own(prices)}
    assert recipe == {
        "bars": {"first": prices.index[0].isoformat(), "last": prices.index[-1].isoformat()},
        "features": {"kind": "make_features", "zscore": zscore},
        "labels": told,
    }
    assert json.loads(json.dumps(recipe)) == recipe


def test_what_was_made_in_another_way_tells_nothing(make_prices):
    prices = make_prices(80)
    features = prices[["close"]].pct_change()
    labels = (forward_return(prices) > 0).astype(float).rename("up")
    labels.attrs = {"task": "classification", "horizon": 1, "classes": ["down", "up"]}
    assert not {"features", "labels"} & Windows.of(features, labels, 5).provenance.keys()


def test_the_parts_of_a_split_tell_where_it_was_cut(make_panel):
    panel = make_panel((150, 120))
    windows = Windows.of(make_features(panel), label_moves(panel), 5)
    train, valid, test = windows.split(0.6, 0.8)
    told = {"valid": valid.dates.min().isoformat(), "test": test.dates.min().isoformat()}
    assert train.provenance["split"] == valid.provenance["split"] == test.provenance["split"] == told
    assert "split" not in windows.provenance


def test_the_prices_own_provenance_is_left_as_it_was(make_prices):
    prices = make_prices(80)
    before = dict(_own(prices))
    Windows.of(make_features(prices), label_moves(prices), 5).split(0.5, 0.7)
    assert _own(prices) == before
    assert set(prices.attrs) == {"provenance"}


def _own(prices):
    return prices.attrs["provenance"]
