import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from workbench.explainers.capture import attention_maps
from workbench.explainers.explanation import explain
from workbench.explainers.maps import NoAttentionFound
from workbench.explainers.regimes import attention_regime
from workbench.models.recurrent import LSTMModel
from workbench.models.transformer import TradingTransformer
from workbench.training.prediction import predict

pytestmark = pytest.mark.usefixtures("small_batches")
CLOSE = {"rtol": 0, "atol": 1e-6}


def transformer(causal=False, layers=3):
    return TradingTransformer(3, d_model=12, n_heads=3, n_layers=layers, d_ff=8, causal=causal)


class ALSTM(nn.Module):
    """An LSTM whose states are pooled by additive attention, written by hand."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(3, 6, batch_first=True)
        self.hidden, self.energy = nn.Linear(6, 5), nn.Linear(5, 1, bias=False)
        self.head = nn.Linear(12, 3)

    def weights(self, states):
        return torch.softmax(self.energy(torch.tanh(self.hidden(states))), dim=1)

    def forward(self, x):
        states, _ = self.lstm(x)
        pooled = torch.sum(states * self.weights(states), dim=1)
        return self.head(torch.cat([states[:, -1], pooled], dim=1))


class Asks(nn.Module):
    """Learnt queries that look at the bars: cross-attention by nn.MultiheadAttention."""

    def __init__(self, queries=2):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(queries, 4))
        self.embedding, self.head = nn.Linear(3, 4), nn.Linear(4, 3)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x):
        bars = self.embedding(x)
        found, _ = self.attention(self.queries.expand(len(x), -1, -1), bars, bars)
        return self.head(found.mean(1))


class Padded(nn.Module):
    """A user's encoder, which masks bars of each window's own."""

    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(3, 1, 8, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.head = nn.Linear(3, 3)

    def forward(self, x):
        return self.head(self.encoder(x, src_key_padding_mask=self.padding(x))[:, -1])

    @staticmethod
    def padding(x):
        return (x[:, :, 0] > 0.5).index_fill(1, torch.tensor(5), False)


FUSED = {"mean": lambda w: w.mean(1), "max": lambda w: w.max(1), "min": lambda w: w.min(1)}


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("layer", [0, -1])
@pytest.mark.parametrize(("head", "position"), [("mean", 5), ("max", -1), ("min", 2), (-1, -4)])
def test_the_row_is_the_models_own(windows, causal, layer, head, position):
    windows, model = windows[:5], transformer(causal)
    why = explain(model, windows, "attention", layer=layer, head=head, position=position)
    assert why.target == ("last bar" if position in (-1, 5) else f"bar {position}")
    rows = attention_maps(model, windows.x).layers[layer][:, :, position].numpy()  # (window, head, key)
    expected = FUSED[head](rows) if isinstance(head, str) else rows[:, head]
    np.testing.assert_allclose(why.scores, expected, **CLOSE)
    seen = position % 6 + 1 if causal else 6
    np.testing.assert_allclose(why.null, np.repeat([1 / seen, 0], [seen, 6 - seen]), **CLOSE)


def test_a_window_is_explained_alike_alone_and_among_others(windows):
    model = transformer(causal=True)
    why = explain(model, windows, "attention")
    pd.testing.assert_frame_equal(why.predictions, predict(model, windows), atol=1e-6)
    for i in (0, 3, 34):
        alone = explain(model, windows[[i]], "attention")
        np.testing.assert_allclose(why.scores[i], alone.scores[0], **CLOSE)


def test_one_layer_by_hand_is_the_softmax_of_its_scores(windows):
    """Queries and keys are the features themselves, scaled by √3: three bars, one head."""

    class Bare(nn.Module):
        def forward(self, x):
            return nn.functional.scaled_dot_product_attention(x, x, x)[:, -1]

    why = explain(Bare(), windows, "attention")
    x = windows.x.double().numpy()
    scores = np.exp(np.einsum("wf,wtf->wt", x[:, -1], x) / np.sqrt(3))
    np.testing.assert_allclose(why.scores, scores / scores.sum(1, keepdims=True), **CLOSE)
    np.testing.assert_allclose(why.null, np.full(6, 1 / 6), **CLOSE)


def test_additive_attention_of_an_lstm_is_shown_as_it_is(windows):
    model = ALSTM().eval()
    why = explain(model, windows, "attention")
    with torch.no_grad():
        expected = model.weights(model.lstm(windows.x)[0])[:, :, 0]
    np.testing.assert_allclose(why.scores, expected, **CLOSE)
    np.testing.assert_allclose(why.null, np.full(6, 1 / 6), **CLOSE)
    pd.testing.assert_frame_equal(why.predictions, predict(model, windows), atol=1e-6)
    assert why.target == "answer"
    assert attention_regime(why)["regime"].isin(["momentum", "mixed", "mean-reversion"]).all()
    with pytest.raises(ValueError, match=r"which rollout does not follow.*the method 'attention'"):
        explain(model, windows, "rollout")


@pytest.mark.parametrize(("position", "told"), [(-1, "last query"), (1, "last query"), (0, "query 0")])
def test_queries_of_cross_attention_are_chosen_by_number(windows, position, told):
    model = Asks().eval()
    why = explain(model, windows, "attention", layer="cross", position=position, head=1)
    np.testing.assert_allclose(
        why.scores, attention_maps(model, windows.x).layers[0][:, 1, position], **CLOSE
    )
    assert why.target == told


def test_a_mask_of_each_windows_own_gives_a_null_of_its_own(windows):
    model = Padded().eval()
    why = explain(model, windows, "attention", layer="*layers.0*")
    open_bars = ~Padded.padding(windows.x).numpy()
    np.testing.assert_allclose(why.null, open_bars / open_bars.sum(1, keepdims=True), **CLOSE)
    assert (why.scores[~open_bars] == 0).all()
    np.testing.assert_allclose(why.scores.sum(1), 1, **CLOSE)


def test_a_row_that_may_look_at_nothing_is_zero_and_so_is_its_null(windows):
    class Blind(nn.Module):
        def forward(self, x):
            allowed = torch.ones(6, 6, dtype=torch.bool).tril(-1)  # the first bar sees none
            return nn.functional.scaled_dot_product_attention(x, x, x, attn_mask=allowed)[:, -1]

    why = explain(Blind(), windows, "attention", position=0)
    assert (why.scores == 0).all()
    assert (why.null == 0).all()
    np.testing.assert_allclose(explain(Blind(), windows, "attention").null, [0.2] * 5 + [0], **CLOSE)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=5)
@given(st.permutations(range(3)), st.integers(0, 10**6))
def test_the_order_of_heads_matters_to_none_but_a_numbered_one(windows, order, seed):
    windows = windows[:2]
    torch.manual_seed(seed)
    model = transformer(layers=2).eval()
    why = {head: explain(model, windows, "attention", head=head).scores for head in ("mean", "max", 1)}
    attention = model.layers[-1].attention
    rows = torch.cat([torch.arange(4 * i, 4 * i + 4) for i in order])
    with torch.no_grad():
        for part in (attention.w_q, attention.w_k, attention.w_v):
            part.weight.copy_(part.weight[rows])
        for part in (attention.w_q, attention.w_v):
            part.bias.copy_(part.bias[rows])
        attention.w_o.weight.copy_(attention.w_o.weight[:, rows])
    for head, scores in why.items():
        again = explain(model, windows, "attention", head=order.index(1) if head == 1 else head)
        np.testing.assert_allclose(again.scores, scores, **CLOSE)
    assert (why["mean"] <= why["max"] + 1e-6).all()


class Transposed(nn.Module):
    """Attends over features, not bars."""

    def forward(self, x):
        turned = x.transpose(1, 2)
        return nn.functional.scaled_dot_product_attention(turned, turned, turned).mean(2)


class Channels(nn.Module):
    """Joins features with the batch, and attends over the bars of each."""

    def forward(self, x):
        flat = x.transpose(1, 2).reshape(-1, x.shape[1], 1)
        return nn.functional.scaled_dot_product_attention(flat, flat, flat)[:, -1].view(len(x), -1)


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (transformer(), {"layer": 3}, "no layer 3: 3 attend, numbered from 0"),
        (transformer(), {"layer": "layers.*"}, r"3 layers match 'layers\.\*'.*layers\.0\.attention, layers"),
        (transformer(), {"layer": "encoder"}, "no layer matches 'encoder'.*choose one of layers.0.attention"),
        (transformer(), {"head": 3}, "no head 3: this layer has 3, numbered from 0"),
        (transformer(), {"head": "median"}, "head is 'mean', 'max', 'min' or .*; got 'median'"),
        (transformer(), {"position": 6}, "position 6 is outside the 6 bars.*from -6 to 5"),
        (ALSTM(), {"position": 3}, "position 3 is outside the 1 queries"),
        (transformer(), {"residual": 0.5}, "attention has no option 'residual'. There are: layer, head, pos"),
        (Transposed(), {}, "attends over 3 positions and the windows have 6 bars"),
        (Channels(), {}, r"attends in \d+ rows for \d+ windows"),
    ],
)
def test_what_cannot_be_shown_is_refused_with_the_choice(windows, model, options, message):
    with pytest.raises(ValueError, match=message):
        explain(model, windows, "attention", **options)


def test_a_model_without_attention_is_refused(windows):
    with pytest.raises(NoAttentionFound, match="it is recurrent"):
        explain(LSTMModel(3), windows, "attention")


def test_weights_that_are_not_finite_are_refused_by_date(windows):
    model = transformer(layers=1)
    with torch.no_grad():
        model.embedding.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match="attention that is not finite, the first decided on 2010-01-11"):
        explain(model, windows, "attention")
