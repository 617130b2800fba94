import copy
import threading
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from workbench.explainers.capture import attention_maps
from workbench.explainers.explanation import explain
from workbench.explainers.maps import NoAttentionFound
from workbench.explainers.regimes import attention_regime
from workbench.explainers.relevances import relevance
from workbench.explainers.watching import Cancelled, Watch
from workbench.models.recurrent import LSTMModel
from workbench.models.transformer import TradingTransformer
from workbench.training.prediction import predict

pytestmark = pytest.mark.usefixtures("small_batches")
CLOSE = {"rtol": 0, "atol": 1e-6}


def transformer(causal=False, layers=3, **options):
    return TradingTransformer(3, d_model=12, n_heads=3, n_layers=layers, d_ff=8, causal=causal, **options)


class Encoder(nn.Module):
    """A user's own model, which reads its answer from the bars in a way of its own."""

    def __init__(self, read, outputs=3, padded=False):
        super().__init__()
        layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)
        self.embedding, self.head = nn.Linear(3, 4), nn.Linear(4, outputs)
        self.encoder = nn.TransformerEncoder(layer, 3, enable_nested_tensor=False)
        self.read, self.padded = read, padded

    def forward(self, x):
        padding = (x[:, :, 0] > 0.5).index_fill(1, torch.tensor(5), False) if self.padded else None
        return self.head(self.read(self.encoder(self.embedding(x), src_key_padding_mask=padding)))


def last(h):
    return h[:, -1]


def expected(model, x, answer, read):
    """Return the shares that rows of R − I hold, averaged over the positions read, and their sums."""
    maps = attention_maps(copy.deepcopy(model).double(), x.double(), gradients=True)
    beyond = relevance(maps, answer(maps.output)) - torch.eye(x.shape[1])
    rows = beyond[:, read].mean(1)
    total = rows.sum(1, keepdim=True)
    return rows / total, total[:, 0]


TARGETS = {
    "buy": lambda output: output[:, 2],
    "buy-sell": lambda output: output[:, 2] - output[:, 0],
    None: lambda output: output.amax(1),
}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("causal", [False, True])
def test_every_window_has_the_row_of_its_last_bar_for_the_answer_asked_for(windows, causal, target):
    model = transformer(causal)
    why = explain(model, windows, "relevance", target=target)
    shares, total = expected(model, windows.x, TARGETS[target], [-1])
    np.testing.assert_allclose(why.scores, shares, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(why.scores.sum(1), 1, **CLOSE)
    np.testing.assert_allclose(why.options["total"], total, rtol=1e-4)
    assert why.options["total"].index.equals(windows.dates)
    assert why.options["read"] == "last bar"
    assert why.target == (target or "likeliest class")
    assert why.null is None
    pd.testing.assert_frame_equal(why.predictions, predict(model, windows), atol=1e-6)


def test_a_window_is_explained_alike_alone_and_among_others(windows):
    model = transformer(causal=True)
    why = explain(model, windows, "relevance", target="buy")
    for i in (0, 3, 34):
        alone = explain(model, windows[[i]], "relevance", target="buy")
        np.testing.assert_allclose(why.scores[i], alone.scores[0], rtol=1e-4, atol=1e-6)


def test_a_forecast_is_explained_as_it_is(windows):
    windows = replace(windows, task="regression", classes=(), y=windows.y.float())
    model = transformer(task="regression")
    why = explain(model, windows, "relevance")
    shares, _ = expected(model, windows.x, lambda output: output[:, 0], [-1])
    np.testing.assert_allclose(why.scores, shares, rtol=1e-4, atol=1e-6)
    assert why.target == "forecast"


POOLS = {
    "class token": (lambda h: h[:, 0], [0], "bar 0"),
    "mean": (lambda h: h.mean(1), list(range(6)), "mean of 6 bars"),
    "two bars": (lambda h: h[:, 4] - 2 * h[:, 1], [1, 4], "mean of 2 bars"),
}


@pytest.mark.parametrize("pool", POOLS)
def test_the_rows_read_are_those_that_the_model_reads(windows, pool):
    read, positions, told = POOLS[pool]
    model = Encoder(read).eval()
    why = explain(model, windows, "relevance", target="sell")
    shares, _ = expected(model, windows.x, lambda output: output[:, 0], positions)
    np.testing.assert_allclose(why.scores, shares, rtol=1e-4, atol=1e-6)
    assert why.options["read"] == told


def test_bars_that_each_window_pools_for_itself_are_its_own(windows):
    model = Encoder(lambda h: h.amax(1)).eval()
    told = explain(model, windows, "relevance").options["read"]
    assert told.startswith("mean of ")
    assert told.endswith(" bars")


@pytest.mark.parametrize("options", [{"position": 2}, {"identity": True}, {"start_layer": 1}])
def test_options_reach_the_relevance(windows, options):
    model = transformer()
    why = explain(model, windows, "relevance", target="buy", **options)
    maps = attention_maps(copy.deepcopy(model).double(), windows.x.double(), gradients=True)
    start = options.get("start_layer", 0)
    rolled = relevance(maps, maps.output[:, 2], start)
    rows = rolled[:, options.get("position", -1)]
    rows = rows if options.get("identity") else rows - torch.eye(6)[options.get("position", -1)]
    np.testing.assert_allclose(why.scores, rows / rows.sum(1, keepdim=True), rtol=1e-3, atol=1e-6)
    assert {name: why.options[name] for name in options} == options


def test_a_mask_keeps_what_nobody_may_look_at_at_nothing(windows):
    why = explain(Encoder(last, padded=True).eval(), windows, "relevance")
    padding = (windows.x[:, :, 0] > 0.5).index_fill(1, torch.tensor(5), False).numpy()
    assert (why.scores[padding] == 0).all()
    np.testing.assert_allclose(why.scores.sum(1), 1, **CLOSE)


def test_the_answer_says_which_class_the_bars_speak_for(windows):
    model = transformer()
    buy, sell = (explain(model, windows, "relevance", target=t).scores for t in ("buy", "sell"))
    rolled = explain(model, windows).scores
    assert np.abs(buy - sell).max() > 0.05
    assert np.abs(buy - rolled).max() > 0.05


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_a_caller_that_turned_gradients_off_gets_the_same_and_the_model_is_left_as_it_was(windows, mode):
    model = transformer().train()
    model.requires_grad_(False)
    plain = explain(model, windows, "relevance")
    with mode():
        again = explain(model, windows, "relevance")
    np.testing.assert_array_equal(plain.scores, again.scores)
    assert model.training
    assert model.prune
    assert all(weight.grad is None for weight in model.parameters())


class Zeroed(Encoder):
    """A last layer whose attention is multiplied by zero, as some begin their training."""

    def __init__(self):
        super().__init__(last)
        with torch.no_grad():
            self.encoder.layers[-1].self_attn.out_proj.weight.zero_()


def test_a_last_layer_without_a_say_is_no_silent_zero(windows):
    model = Zeroed().eval()
    message = r"self_attn, the last that attends, has no say .*windows.*position=-1"
    with pytest.raises(ValueError, match=message):
        explain(model, windows, "relevance")
    why = explain(model, windows, "relevance", position=-1)
    np.testing.assert_allclose(why.scores.sum(1), 1, **CLOSE)


class Detached(Encoder):
    def forward(self, x):
        return self.head(self.read(self.encoder(self.embedding(x)).detach())) + x.sum() * 0


def additive(x):
    """Attention over the states of nothing but the bars themselves: one query that is no bar."""
    return (x * x.mean(2, keepdim=True).softmax(1)).sum(1)


class Additive(nn.Module):
    def forward(self, x):
        return additive(x)


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        (Detached(last).eval(), {}, "no gradient of the answers reaches the attention of encoder.*detach"),
        (Additive(), {}, r"one query that is none of them, which relevance does not follow.*'attention'"),
        (transformer(), {"position": 6}, "position 6 is outside the 6 bars"),
        (transformer(), {"start_layer": 3}, "start_layer 3 is not one of the 3 layers"),
        (transformer(), {"head": 1}, "relevance has no option 'head'. There are: position, identity"),
        (transformer(), {"target": "up"}, "There is no class 'up'. There are: sell, hold, buy"),
    ],
)
def test_what_cannot_be_followed_is_refused_with_the_reason(windows, model, options, message):
    with pytest.raises(ValueError, match=message):
        explain(model, windows, "relevance", **options)


def test_without_attention_gradients_or_finite_weights_it_is_refused(windows):
    with pytest.raises(NoAttentionFound, match="it is recurrent"):
        explain(LSTMModel(3), windows, "relevance")

    class NoGrad(Encoder):
        def forward(self, x):
            with torch.no_grad():
                return super().forward(x)

    with pytest.raises(ValueError, match=r"runs with gradients turned off.*torch\.no_grad"):
        explain(NoGrad(last).eval(), windows, "relevance")
    model = transformer(layers=1)
    with torch.no_grad():
        model.head.weight.fill_(float("inf"))
    with pytest.raises(
        ValueError, match="35 of 35 windows have a gradient that is not finite, the first dec"
    ):
        explain(model, windows, "relevance", target="buy")


def test_it_has_no_null_and_says_so(windows):
    with pytest.raises(ValueError, match="relevance comes without a null"):
        attention_regime(explain(transformer(), windows, "relevance"))
    with pytest.raises(
        ValueError, match=r"relevance has no null to be taken off.*rollout, flow and attention"
    ):
        explain(transformer(), windows, "relevance", against_null=True)


def test_it_can_be_ended_early(windows):
    told = []
    watch = Watch(lambda done, total: told.append((done, total)))
    explain(transformer(), windows, "relevance", watch=watch)
    assert told[-1] == (35, 35)
    assert len(told) > 3

    stop = threading.Event()
    watch = Watch(lambda done, total: stop.set(), stop)
    with pytest.raises(Cancelled):
        explain(transformer(), windows, "relevance", watch=watch)


def test_a_hugging_face_bert_over_bars_is_followed_from_its_class_token(windows):
    transformers = pytest.importorskip("transformers")

    class Bert(nn.Module):
        def __init__(self):
            super().__init__()
            config = transformers.BertConfig(
                vocab_size=4,
                hidden_size=16,
                num_hidden_layers=2,
                num_attention_heads=4,
                intermediate_size=16,
                attn_implementation="sdpa",
            )
            self.embedding, self.bert = nn.Linear(3, 16), transformers.BertModel(config)
            self.head = nn.Linear(16, 3)

        def forward(self, x):
            return self.head(self.bert(inputs_embeds=self.embedding(x)).pooler_output)

    model = Bert().eval()
    why = explain(model, windows, "relevance", target="buy")
    shares, _ = expected(model, windows.x, TARGETS["buy"], [0])
    np.testing.assert_allclose(why.scores, shares, rtol=1e-4, atol=1e-6)
    assert why.options["read"] == "bar 0"


def test_a_hugging_face_patch_tst_is_refused_since_patches_are_no_bars(windows):
    transformers = pytest.importorskip("transformers")

    class Patches(nn.Module):
        def __init__(self):
            super().__init__()
            config = transformers.PatchTSTConfig(
                num_input_channels=3,
                context_length=6,
                patch_length=2,
                patch_stride=2,
                num_hidden_layers=1,
                d_model=8,
                num_attention_heads=2,
                ffn_dim=8,
                num_targets=3,
            )
            self.inner = transformers.PatchTSTForClassification(config)

        def forward(self, x):
            return self.inner(x).prediction_logits

    for method in ("relevance", "attention"):
        with pytest.raises(
            ValueError, match=r"attends in \d+ rows for 1 windows|over 3 positions and the windows"
        ):
            explain(Patches().eval(), windows, method)
