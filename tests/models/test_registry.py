from dataclasses import dataclass

import pytest
import torch

from workbench.models.recurrent import LSTMModel
from workbench.models.registry import NETWORKS, Entry, build_model, list_models, rebuild
from workbench.models.transformer import TradingTransformer


@dataclass(frozen=True)
class Shape:
    """All that a model needs to know of windows."""

    feature_names: tuple[str, ...] = ("log_return", "range")
    lookback: int = 20
    task: str = "classification"
    classes: tuple[str, ...] = ("sell", "hold", "buy")
    horizon: int = 5


# With all that a network may ask for beside features.
FULL = ("log_return", "range", "concept:oil", "concept:banks", "past_label")


@pytest.mark.parametrize(("name", "network"), [("transformer", TradingTransformer), ("lstm", LSTMModel)])
def test_a_model_fits_its_windows_and_says_how_it_was_built(name, network):
    model = build_model(name, Shape(), seed=3)
    assert isinstance(model, network)
    assert model(torch.zeros(5, 20, 2)).shape == (5, 3)
    assert model.spec.name == name
    assert model.spec.feature_names == ("log_return", "range")
    assert (model.spec.lookback, model.spec.task, model.spec.seed) == (20, "classification", 3)
    assert model.spec.horizon == 5


@pytest.mark.parametrize("name", list_models().index)
def test_every_model_does_regression_too(name):
    model = build_model(name, Shape(FULL, task="regression", classes=()))
    assert model(torch.zeros(5, 20, 5)).shape == (5, 1)


@pytest.mark.parametrize("name", list_models().index)
def test_the_seed_decides_the_first_weights_and_the_callers_randomness_stays(name):
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    first, again, other = (build_model(name, Shape(FULL), seed=s) for s in (0, 0, 1))
    assert torch.equal(torch.rand(3), expected)
    weights = [torch.cat([p.flatten() for p in m.parameters()]) for m in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


@pytest.mark.parametrize("name", list_models().index)
def test_a_spec_builds_the_same_model_again(name):
    model = build_model(name, Shape(FULL), seed=2)
    twin = rebuild(model.spec)
    assert twin.spec == model.spec
    assert torch.equal(twin.eval()(torch.ones(1, 20, 5)), model.eval()(torch.ones(1, 20, 5)))


def test_every_option_is_written_down_with_overrides_on_top():
    options = build_model("transformer", Shape(), d_model=16, n_heads=2).spec.options
    assert options == {
        "d_model": 16,
        "n_heads": 2,
        "n_layers": 2,
        "d_ff": 128,
        "dropout": 0.1,
        "max_seq_len": 512,
        "causal": False,
        "norm": "post",
    }


def test_a_long_lookback_gets_the_room_it_needs():
    assert build_model("transformer", Shape(lookback=600)).spec.options["max_seq_len"] == 600


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("transfomer", {}, "Did you mean 'transformer'.*There are: transformer, lstm"),
        ("lstm", {"hiden_size": 3}, "no option 'hiden_size'. Did you mean 'hidden_size'"),
        ("lstm", {"n_classes": 5}, "follows from the windows"),
        ("lstm", {"feature_names": ("a",)}, "feature_names follows from the windows"),
        ("transformer", {"d_model": 30, "n_heads": 4}, "multiple of n_heads"),
    ],
)
def test_what_does_not_exist_is_refused_with_what_does(name, options, message):
    with pytest.raises(ValueError, match=message):
        build_model(name, Shape(), **options)


def test_a_network_that_reads_names_of_columns_is_given_them(monkeypatch):
    class Named(LSTMModel):
        cross_sectional = True

        def __init__(self, input_dim, *, feature_names, hidden_size=3, n_classes=3, task="classification"):
            super().__init__(input_dim, hidden_size=hidden_size, n_classes=n_classes, task=task)
            self.named = feature_names

    monkeypatch.setitem(NETWORKS, "named", Entry(Named, {}, "an LSTM that knows names", "a market cap"))
    model = build_model("named", Shape())
    assert model.named == ("log_return", "range")
    assert model.spec.options == {"hidden_size": 3}
    assert list_models().loc["named", "needs"] == "a panel: a batch is one day's windows; a market cap"


def test_the_table_of_models_names_them():
    table = list_models()
    assert list(table.index)[:3] == ["transformer", "lstm", "gru"]
    assert table.loc["transformer", "options"]["d_model"] == 32
    assert table.loc["transformer", "needs"] == ""
    assert table.loc["hist", "needs"].startswith("a panel: a batch is one day's windows; columns concept:")
