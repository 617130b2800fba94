import threading

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from workbench.explainers.capture import attention_maps
from workbench.explainers.explanation import explain
from workbench.explainers.flows import attention_flow
from workbench.explainers.maps import NoAttentionFound
from workbench.explainers.null import uniform_maps
from workbench.explainers.watching import Cancelled, Watch
from workbench.models.recurrent import LSTMModel
from workbench.models.transformer import TradingTransformer
from workbench.training.prediction import predict

pytestmark = pytest.mark.usefixtures("small_batches")


def transformer(causal=False, layers=3):
    return TradingTransformer(3, d_model=12, n_heads=3, n_layers=layers, d_ff=8, causal=causal)


class Padded(nn.Module):
    """A user's own model, which masks bars of each window's own."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(3, 1, 8, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        self.head = nn.Linear(3, 3)

    def forward(self, x):
        padding = (x[:, :, 0] > 0.5).index_fill(1, torch.tensor(5), False)
        return self.head(self.encoder(x, src_key_padding_mask=padding)[:, -1])


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("layers", [1, 2, 4])
def test_every_window_has_the_flow_and_the_null_of_its_maps(windows, causal, layers):
    model = transformer(causal, layers)
    why = explain(model, windows, "flow")
    maps = attention_maps(model, windows.x)
    expected = attention_flow(maps, position=-1)
    np.testing.assert_allclose(why.scores, expected.shares, rtol=0, atol=1e-6)
    even = attention_flow(uniform_maps(maps), position=-1)
    assert why.null.shape == (6,)
    np.testing.assert_allclose(why.null, even.shares[0], rtol=0, atol=1e-6)
    pd.testing.assert_frame_equal(why.predictions, predict(model, windows), atol=1e-6)
    assert (why.method, why.target) == ("flow", "last bar")


@pytest.mark.parametrize("solver", ["numba", "scipy"])
def test_the_answer_tells_the_solver_and_how_much_is_saturated(windows, solver):
    model = transformer(causal=True)
    told = explain(model, windows[:5], "flow", solver=solver).options
    met = told.pop("saturated")
    assert told == {
        "fusion": "mean",
        "residual": 0.5,
        "discard": 0.0,
        "discard_by": "map",
        "start_layer": 0,
        "position": -1,
        "solver": solver,
    }
    expected = attention_flow(attention_maps(model, windows[:5].x), -1).saturated
    np.testing.assert_allclose(met, expected)
    assert met.index.equals(windows[:5].dates)


@pytest.mark.parametrize(
    "options",
    [
        {"fusion": "max"},
        {"fusion": [1, 2, 3], "residual": 0.2},
        {"start_layer": 1},
        {"position": 2},
        {"discard": 0.4},
    ],
)
def test_options_reach_the_flow(windows, options):
    model = transformer()
    why = explain(model, windows, "flow", **options)
    expected = attention_flow(attention_maps(model, windows.x), **{"position": -1, **options})
    np.testing.assert_allclose(why.scores, expected.shares, rtol=0, atol=1e-5)
    assert why.target == ("bar 2" if options.get("position") == 2 else "last bar")
    assert (why.null is None) == ("discard" in options)


def test_a_mask_of_each_windows_own_gives_a_null_of_its_own(windows):
    model = Padded().eval()
    why = explain(model, windows, "flow")
    even = uniform_maps(attention_maps(model, windows.x))
    np.testing.assert_allclose(why.null, attention_flow(even, position=-1).shares, rtol=0, atol=1e-6)


def test_the_null_of_one_mask_is_computed_once(windows, monkeypatch):
    from workbench.explainers import flow_pass

    solved = []

    def counted(passed, *rest):
        solved.append(passed)
        return row_flow(passed, *rest)

    row_flow = flow_pass.row_flow
    monkeypatch.setattr(flow_pass, "row_flow", counted)
    explain(transformer(causal=True), windows, "flow")
    assert len(solved) == len(windows) + 1


def test_the_work_ends_within_a_window_when_asked(windows, monkeypatch):
    monkeypatch.setattr("workbench.explainers.flow_solvers._refined_flow", lambda capacity: 1.0)
    monkeypatch.setattr("workbench.explainers.flow_solvers.SCIPY_PACE", 1)
    stop, checks = threading.Event(), []

    class Stop(Watch):
        def check(self, done, total):
            checks.append(done)
            if len(checks) == 30:
                stop.set()
            super().check(done, total)

    # One check at the start, one an input, one a window, and the null with the first: 28 after three windows.
    with pytest.raises(Cancelled, match="after 3 of 35 windows"):
        explain(transformer(), windows, "flow", solver="scipy", watch=Stop(stop=stop))
    assert len(checks) == 30


def test_what_cannot_flow_is_refused_with_the_reason(windows):
    class Decoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention, self.head = nn.MultiheadAttention(3, 1, batch_first=True), nn.Linear(3, 3)

        def forward(self, x):
            return self.head(self.attention(x[:, -2:], x, x)[0][:, -1])

    with pytest.raises(ValueError, match=r"is cross-attention \(2 queries, 6 keys\)"):
        explain(Decoder(), windows, "flow")
    with pytest.raises(NoAttentionFound, match="it is recurrent"):
        explain(LSTMModel(3), windows, "flow")
    with pytest.raises(ValueError, match=r"flow has no option 'solve'\. Did you mean 'solver'"):
        explain(transformer(), windows, "flow", solve="scipy")
    with pytest.raises(ValueError, match="position 6 is outside the 6 bars"):
        explain(transformer(), windows, "flow", position=6)


def test_broken_weights_are_reported_not_drawn(windows):
    model = transformer()
    with torch.no_grad():
        model.layers[0].attention.w_q.weight[0, 0] = torch.inf
    with pytest.raises(ValueError, match="attention that is not finite, the first decided on 2010-01-11"):
        explain(model, windows, "flow")
