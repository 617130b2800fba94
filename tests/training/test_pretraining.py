from dataclasses import replace

import pytest
import torch
from torch import nn

from workbench.models.registry import build_model
from workbench.training.fitting import fit
from workbench.training.prediction import predict
from workbench.training.pretraining import pretrain

QUICK = {"epochs": 2, "progress": False}
SMALL = {"hidden_size": 6, "n_layers": 2, "dropout": 0.1}


@pytest.fixture(scope="module")
def parts(make_windows):
    """Train and valid of three stocks, with concepts and past labels between their features."""
    windows = make_windows(bars=60, tickers=("AA", "BB", "CC"))
    random = torch.Generator().manual_seed(0)
    a, b, c = windows.bars.unbind(1)
    oil, banks = torch.randint(0, 2, (2, len(a)), generator=random).float()
    label = torch.randint(0, 3, (len(a),), generator=random).float()
    windows = replace(
        windows,
        bars=torch.stack([a, oil, b, banks, c, label], 1),
        feature_names=("a", "concept:oil", "b", "concept:banks", "c", "past_label"),
    )
    return windows.split(0.6, 0.8)[:2]


@pytest.mark.parametrize("base", ["lstm", "gru"])
@pytest.mark.parametrize("name", ["gats", "hist", "tra"])
def test_the_base_is_that_of_the_plain_model_trained_alone(parts, name, base):
    train, valid = parts
    model = build_model(name, train, seed=4, base=base, **SMALL)
    others = {key: value.clone() for key, value in model.state_dict().items() if not key.startswith("base")}
    history = pretrain(model, train, valid, seed=4, **QUICK)
    columns = [0, 1, 2, 3, 4, 5] if name == "gats" else [0, 2, 4]
    plain = [
        replace(w, bars=w.bars[:, columns], feature_names=tuple(w.feature_names[i] for i in columns))
        for w in parts
    ]
    alone = build_model(base, plain[0], seed=4, **SMALL)
    expected = fit(alone, *plain, seed=4, **QUICK)
    for key, value in alone.get_submodule(base).state_dict().items():
        assert torch.equal(model.base.state_dict()[key], value)
    assert history.epochs["valid_loss"].tolist() == expected.epochs["valid_loss"].tolist()
    assert all(torch.equal(model.state_dict()[key], value) for key, value in others.items())


@pytest.mark.parametrize("name", ["gats", "hist", "tra"])
def test_the_whole_is_trained_from_there(parts, name):
    train, valid = parts
    model = build_model(name, train, **SMALL)
    pretrain(model, train, valid, **QUICK)
    before = model.base.weight_ih_l0.detach().clone()
    fit(model, train, valid, epochs=1, progress=False)
    assert not torch.equal(model.base.weight_ih_l0, before)
    assert predict(model, valid).notna().all(axis=None)


def test_a_model_without_such_a_base_is_refused(parts):
    train, valid = parts
    with pytest.raises(TypeError, match=r"such as gats, hist or tra\. TradingTransformer has none: use fit"):
        pretrain(build_model("transformer", train), train, valid)
    model = build_model("gats", train)
    model.base = nn.Linear(1, 1)
    with pytest.raises(TypeError, match="GATs has a Linear"):
        pretrain(model, train, valid)


def test_windows_of_other_features_are_refused(parts):
    train, valid = parts
    other = replace(train, feature_names=("x", *train.feature_names[1:]))
    with pytest.raises(ValueError, match="different features"):
        pretrain(build_model("gats", train), other, valid)
