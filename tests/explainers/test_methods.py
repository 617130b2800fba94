import re

import numpy as np
import pytest

from workbench.explainers.explanation import explain
from workbench.explainers.maps import NoAttentionFound
from workbench.explainers.methods import METHODS, list_methods
from workbench.models.recurrent import LSTMModel
from workbench.models.transformer import TradingTransformer


def small():
    return TradingTransformer(3, d_model=12, n_heads=3, n_layers=1, d_ff=8)


@pytest.mark.parametrize("name", [name for name, method in METHODS.items() if not method.inside])
def test_what_the_registry_says_of_a_method_is_true(windows, name):
    method, why = METHODS[name], explain(small(), windows, name)
    assert name == method.name == why.method
    shape = (len(windows), windows.lookback, windows.n_features)
    assert why.scores.shape == (shape if method.by_feature else shape[:2])
    assert why.scores.dtype == np.float32
    assert bool((why.scores < 0).any()) == method.signed
    if method.targets:
        assert explain(small(), windows, name, target="buy").target == "buy"
    else:
        with pytest.raises(ValueError, match=r"leave out target.*: gradient_x_input"):
            explain(small(), windows, name, target="buy")
    if method.needs_attention:
        with pytest.raises(NoAttentionFound):
            explain(LSTMModel(3), windows, name)
    else:
        explain(LSTMModel(3), windows, name)


def test_the_list_shows_every_method_and_what_it_needs():
    table = list_methods()
    assert table.index.name == "name"
    assert list(table.index) == list(METHODS)
    assert table.loc["rollout", ["needs_attention", "targets", "by_feature", "signed", "slow"]].tolist() == [
        True,
        False,
        False,
        False,
        False,
    ]
    assert table["label"].is_unique
    assert all(re.fullmatch(r"[a-z].*[a-z]", sentence) for sentence in table["what"])


def test_an_unknown_method_is_refused_with_the_choice(windows):
    with pytest.raises(ValueError, match=r"no method 'gradient'\..*There are: rollout, gradient_x_input"):
        explain(small(), windows, "gradient")
