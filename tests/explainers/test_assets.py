import threading

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from naive_rollout import naive_rollout

from workbench.explainers.assets import asset_rollout
from workbench.explainers.rollouts import RolloutOptions
from workbench.explainers.watching import Cancelled, Watch
from workbench.features.windows import Windows
from workbench.models.registry import build_model
from workbench.training.prediction import outputs_of

SMALL = {"d_model": 8, "n_heads": 2, "n_layers": 3, "d_ff": 8}


def panel(seed=0, tickers=("AA", "BB", "CC", "DD")):
    """Days of four assets, of one and of three: `BB` is listed late and `DD` leaves early."""
    random = np.random.default_rng(seed)
    dates = pd.bdate_range("2020-01-06", periods=12, name="date")
    index = pd.MultiIndex.from_product([dates, tickers], names=["date", "ticker"])
    features = pd.DataFrame(random.normal(size=(len(index), 3)), index, ["a", "b", "c"])
    day, ticker = index.get_level_values("date"), index.get_level_values("ticker")
    gone = ((ticker == "BB") & (day < dates[3])) | ((ticker == "DD") & (day > dates[9]))
    gone |= (ticker != "AA") & (day == dates[11])
    features = features[~gone]
    labels = pd.Series(random.integers(0, 3, len(features)).astype(float), features.index)
    labels.attrs = {"task": "classification", "horizon": 1, "classes": ["sell", "hold", "buy"]}
    return Windows.of(features, labels, 5)


def network(windows, **options):
    model = build_model("asset_transformer", windows, **(SMALL | options))
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if ".w_q." in name or ".w_k." in name:
                weight.mul_(6)  # attention that is far from even
    return model.eval()


def day_by_day(windows):
    for date in windows.dates.unique():
        yield np.flatnonzero(windows.dates == date)


def maps_of(model, x):
    """Weights of the layers over assets, by the written-out formula, one layer on top of the other."""
    tokens, maps = model._tokens(model.scaling(x))[None], []
    for layer in model.layers:
        maps.append(layer.attention.attention_weights(tokens).detach().numpy())
        tokens = layer(tokens)
    return maps


@pytest.mark.parametrize(
    "options", [{}, {"fusion": "max", "residual": 0.3}, {"discard": 0.4, "start_layer": 1}]
)
@pytest.mark.parametrize(
    "built", [{}, {"norm": "pre"}, {"encoder": "transformer", "encoder_layers": 2}], ids=str
)
def test_the_rollout_of_every_day_is_the_product_of_the_layers_over_its_assets(built, options):
    windows = panel()
    model = network(windows, **built)
    found = asset_rollout(model, windows, RolloutOptions(**options))
    assert found.assets == ("AA", "BB", "CC", "DD")
    naive = {name: value for name, value in options.items() if name != "start_layer"}
    counts = set()
    for rows in day_by_day(windows):
        maps = maps_of(model, windows.batch(torch.from_numpy(rows)))[options.get("start_layer", 0) :]
        columns = [found.assets.index(ticker) for ticker in windows.tickers[rows]]
        expected = np.zeros((len(rows), 4))
        expected[:, columns] = naive_rollout(maps, **naive)[0]
        np.testing.assert_allclose(found.shares[rows], expected, rtol=0, atol=1e-6)
        counts.add(len(rows))
    assert counts == {1, 3, 4}
    assert found.shares.std() > 0.05  # attention is uneven enough to tell


def test_the_outputs_are_those_of_the_model():
    windows = panel()
    model = network(windows)
    torch.testing.assert_close(
        asset_rollout(model, windows).outputs, outputs_of(model, windows), rtol=0, atol=1e-6
    )


@settings(max_examples=3)
@given(st.integers(0, 99), st.floats(0, 1))
def test_shares_sum_to_one_and_none_is_of_an_asset_that_is_not_there(seed, residual):
    windows = panel(seed)
    found = asset_rollout(network(windows), windows, RolloutOptions(residual=residual))
    for scores in (found.shares, found.null):
        torch.testing.assert_close(scores.sum(1), torch.ones(len(windows)), rtol=0, atol=1e-5)
        assert (scores >= 0).all()
        for rows in day_by_day(windows):
            absent = [i for i, ticker in enumerate(found.assets) if ticker not in windows.tickers[rows]]
            assert not scores[rows][:, absent].any()


def test_the_null_is_what_even_attention_shows():
    windows = panel()
    found = asset_rollout(network(windows), windows)
    rows = next(day_by_day(windows))  # of three: ⅛ on itself by the residual paths, the rest spread evenly
    columns = [found.assets.index(ticker) for ticker in windows.tickers[rows]]
    expected = torch.eye(3) / 8 + 7 / 8 / 3
    torch.testing.assert_close(found.null[rows][:, columns], expected, rtol=0, atol=1e-6)
    even = network(windows)
    with torch.no_grad():
        for layer in even.layers:
            layer.attention.w_q.weight.zero_()
            layer.attention.w_q.bias.zero_()
    found = asset_rollout(even, windows)
    torch.testing.assert_close(found.shares, found.null, rtol=0, atol=1e-6)
    assert asset_rollout(even, windows, RolloutOptions(discard=0.1)).null is None


def test_a_day_is_explained_alone_as_among_others():
    windows = panel()
    model = network(windows)
    together = asset_rollout(model, windows).shares
    for rows in day_by_day(windows):
        alone = asset_rollout(model, windows[rows])
        columns = [("AA", "BB", "CC", "DD").index(asset) for asset in alone.assets]
        torch.testing.assert_close(alone.shares, together[rows][:, columns], rtol=0, atol=1e-6)


def test_an_asset_that_stands_alone_draws_on_itself():
    windows = panel()
    last = windows[[len(windows) - 1]]
    assert asset_rollout(network(windows), last).shares.tolist() == [[1.0]]


def test_it_is_followed_and_can_be_ended():
    windows, told, stop = panel(), [], threading.Event()
    model = network(windows)
    asset_rollout(model, windows, watch=Watch(lambda done, total: told.append((done, total))))
    assert told[0] == (3, len(windows))
    assert told[-1] == (len(windows), len(windows))
    stop.set()
    with pytest.raises(Cancelled):
        asset_rollout(model, windows, watch=Watch(stop=stop))


def test_what_has_no_attention_over_assets_is_refused_in_words():
    windows = panel()
    with pytest.raises(
        ValueError, match=r"TradingTransformer does not say .* because its tokens are no assets"
    ):
        asset_rollout(build_model("transformer", windows), windows)
    model = network(windows, encoder="transformer")
    model.attends_over_assets = "deeper.*"
    with pytest.raises(
        ValueError, match=r"matches attends_over_assets='deeper\.\*'; there are encoder\.layers"
    ):
        asset_rollout(model, windows)
    model.attends_over_assets = "encoder.*"
    with pytest.raises(ValueError, match=r"attends over 5 positions in \d rows, and the day has \d assets"):
        asset_rollout(model, windows)


def test_weights_that_are_not_finite_are_named():
    windows = panel()
    model = network(windows)
    with torch.no_grad():
        model.layers[0].attention.w_q.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match=r"not finite.*model's weights"):
        asset_rollout(model, windows)
