"""What runs a model in other ways: compiled, exported, checkpointed, in parallel, without gradients."""

import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from workbench.explainers.batches import rollout_pass
from workbench.explainers.capture import attention_maps, watching
from workbench.explainers.explanation import explain
from workbench.explainers.maps import NoAttentionFound
from workbench.explainers.products import Shelf
from workbench.explainers.rollouts import RolloutOptions, rollout
from workbench.explainers.softmax import AttentionLayer
from workbench.explainers.streams import stream_rollout
from workbench.explainers.value_maps import alti_maps
from workbench.explainers.watching import Watch
from workbench.models.transformer import TradingTransformer

CLOSE = {"rtol": 0, "atol": 1e-6}


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Fused(nn.Module):
    def __init__(self, width=4):
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x):
        return F.scaled_dot_product_attention(self.linear(x), x, x)


class Written(Fused):
    def forward(self, x):
        return (self.linear(x) @ x.mT * x.shape[-1] ** -0.5).softmax(-1) @ x


BOTH = pytest.mark.parametrize("kind", [Fused, Written])


@BOTH
def test_compiled_parts_run_as_they_were_written(kind):
    class Holds(nn.Module):
        def __init__(self):
            super().__init__()
            self.part = torch.compile(kind(), backend="eager")

        def forward(self, x):
            return self.part(x)

    model, x = Holds(), random(2, 5, 4)
    maps = attention_maps(model, x)
    assert maps.names == ("part",)
    torch.testing.assert_close(maps.output, model.part._orig_mod(x), **CLOSE)


@BOTH
def test_an_exported_program_is_watched(kind):
    model, x = kind().eval(), random(2, 5, 4)
    exported = torch.export.export(model, (x,)).module()
    torch.testing.assert_close(attention_maps(exported, x).layers, attention_maps(model, x).layers)


@BOTH
def test_a_parallel_wrapper_is_taken_off(kind):
    model, x = kind(), random(2, 5, 4)
    maps = attention_maps(nn.DataParallel(model), x)
    torch.testing.assert_close(maps.layers, attention_maps(model, x).layers)


@BOTH
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointing_is_watched_and_refused_by_name_where_gradients_are_asked_for(kind, reentrant):
    class Holds(nn.Module):
        def __init__(self):
            super().__init__()
            self.part = kind()

        def forward(self, x):
            return checkpoint(self.part, x, use_reentrant=reentrant)

    model, x = Holds(), random(2, 5, 4).requires_grad_()
    torch.testing.assert_close(attention_maps(model, x).layers, attention_maps(model.part, x).layers)
    with pytest.raises(
        (ValueError, RuntimeError), match=r"checkpointing .*turn it off|turn checkpointing off"
    ):
        attention_maps(model, x, gradients=True)


@BOTH
def test_gradients_are_refused_by_name_where_the_model_turns_them_off(kind):
    class Holds(kind):
        def forward(self, x):
            with torch.no_grad():
                return super().forward(x)

    with pytest.raises(
        ValueError, match=r"attention in the model runs with gradients turned off.* torch.no_grad"
    ):
        attention_maps(Holds(), random(2, 5, 4), gradients=True)


@BOTH
def test_inference_mode_around_it_takes_no_gradient_away(kind):
    with torch.inference_mode():
        x = random(2, 5, 4)
    model = kind()
    with torch.inference_mode():
        maps = attention_maps(model, x, gradients=True)
    assert torch.autograd.grad(maps.output.sum(), maps.layers)[0].abs().sum() > 0


def test_attention_in_another_thread_or_by_exp_and_sum_is_named():
    class Sums(nn.Module):
        def forward(self, x):
            shares = (x @ x.mT).exp()
            return shares / shares.sum(-1, keepdim=True) @ x

    with pytest.raises(
        NoAttentionFound, match=r"exp and sum, by kernels outside torch .*, by torch.jit, or in"
    ):
        attention_maps(Sums(), random(2, 5, 4))


DEEP = {
    "encoder": lambda: nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2, enable_nested_tensor=False
    ),
    "ours": lambda: TradingTransformer(8, d_model=8, n_heads=2, n_layers=2, d_ff=8),
    "grouped": lambda: Grouped(),
    "broadcast": lambda: Grouped(mask=random(1, 5, 5)),
}


class Grouped(nn.Module):
    """Four query heads, two key heads."""

    def __init__(self, mask=None):
        super().__init__()
        self.query, self.key, self.value = nn.Linear(8, 8), nn.Linear(8, 4), nn.Linear(8, 4)
        self.mask = mask

    def forward(self, x):
        q, k, v = (f(x).unflatten(-1, (-1, 2)).transpose(1, 2) for f in (self.query, self.key, self.value))
        return F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask, enable_gqa=True).transpose(1, 2)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("make", DEEP.values(), ids=DEEP)
def test_the_gradient_by_the_weights_is_what_finite_differences_of_them_give(make, training):
    torch.manual_seed(0)
    model, x = make().double(), random(2, 5, 8).double()
    torch.manual_seed(1)
    maps = attention_maps(model, x, training=training, gradients=True)
    torch.manual_seed(1)
    plain = attention_maps(model, x, training=training)
    torch.testing.assert_close(maps.output, plain.output, rtol=0, atol=1e-12)
    gradients = torch.autograd.grad(maps.output.sin().sum(), maps.layers)
    assert [g.shape for g in gradients] == [w.shape for w in plain.layers]
    for i, gradient in enumerate(gradients):
        step = random(*gradient.shape, seed=i).double() * 1e-6
        ends = []
        for sign in (1, -1):
            torch.manual_seed(1)
            ends.append(nudged(model, x, i, sign * step, training).sin().sum())
        expected = float(ends[0] - ends[1]) / 2
        assert abs(expected - float((gradient * step).sum())) < 1e-6 * abs(expected) + 1e-14


def nudged(model, x, which, step, training):
    """Run the model with the weights of one layer changed by `step`."""
    calls = []
    with pytest.MonkeyPatch.context() as patch, torch.no_grad():
        keep, scores = AttentionLayer.keep, AttentionLayer.of_scores.__func__

        def kept(layer, shelf):
            keep(layer, shelf)
            calls.append(layer)
            layer.kept = layer.kept + step if len(calls) == which + 1 else layer.kept

        def of_scores(cls, *args):
            layer = scores(cls, *args)
            calls.append(layer)
            layer.kept = layer.kept + step if len(calls) == which + 1 else layer.kept
            return layer

        patch.setattr(AttentionLayer, "keep", kept)
        patch.setattr(AttentionLayer, "of_scores", classmethod(of_scores))
        patch.setattr("workbench.explainers.recorder.Recorder._add", lambda self, layer: None)
        with watching(model, training=training, keep=Shelf(reuse=False), gradients=True):
            return model(x)


class OwnStack(nn.Module):
    """A classifier of two layers of attention, written out."""

    def __init__(self, features):
        super().__init__()
        self.layers = nn.ModuleList(Written(features) for _ in range(2))
        self.out = nn.Linear(features, 3)

    def forward(self, x):
        for layer in self.layers:
            x = x + layer(x)
        return self.out(x[:, -1])


def test_explain_follows_written_attention_through_every_batch(windows, small_batches):
    model = OwnStack(windows.n_features)
    why = explain(model, windows)
    expected = rollout(attention_maps(model, windows.x), position=-1)
    torch.testing.assert_close(torch.as_tensor(why.scores), expected, **CLOSE)
    assert why.null is not None
    assert why.null.shape == (windows.lookback,)


def test_only_models_that_need_it_are_traced_after_the_first_pass():
    ours, own = TradingTransformer(3, d_model=12, n_heads=3, n_layers=2, d_ff=8), OwnStack(3)
    for model, needed in ((ours, False), (own, True)):
        with torch.no_grad(), watching(model, named=False) as recorder:
            for _ in range(3):
                recorder.clear()
                model(random(2, 6, 3))
                assert [layer.kind for layer in recorder.layers] == ["self", "self"]
            assert (recorder.written is not None) == needed


def test_kinds_found_in_the_first_pass_hold_in_the_next():
    model = nn.Transformer(8, 2, 1, 1, 16, batch_first=True).eval()
    with torch.no_grad(), watching(model) as recorder:
        for _ in range(2):
            recorder.clear()
            model(random(2, 5, 8), random(2, 5, 8, seed=1))
            assert [layer.kind for layer in recorder.layers] == ["self", "self", "cross"]


def test_a_model_that_attends_over_a_pool_of_its_states_cannot_be_rolled_out(windows):
    class Pools(nn.Module):
        def __init__(self):
            super().__init__()
            self.lstm, self.out = nn.LSTM(3, 3, batch_first=True), nn.Linear(3, 1)

        def forward(self, x):
            states = self.lstm(x)[0]
            return (self.out(states).softmax(1) * states).sum(1)

    with pytest.raises(ValueError, match="gathers 6 positions for one query that is none of them"):
        rollout_pass(Pools(), windows, RolloutOptions(), -1, Watch())


def test_attention_in_another_thread_is_told_as_that():
    class Elsewhere(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)

        def forward(self, x):
            found = []
            thread = threading.Thread(target=lambda: found.append(self.layer(x)))
            thread.start()
            thread.join()
            return found[0]

    with pytest.raises(NoAttentionFound, match="never reached it in this thread; what runs in other threads"):
        attention_maps(Elsewhere(), random(2, 5, 4))


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize(
    "shares",
    [
        lambda scores: F.softmin(-scores, -1),
        lambda scores: F.softmin(-scores, dim=-1),
        lambda scores: F.log_softmax(scores, -1).exp(),
        lambda scores: torch.exp(scores.log_softmax(-1)),
        lambda scores: F.log_softmax(scores, dim=-1).exp_(),
    ],
)
def test_softmin_and_the_exponential_of_log_softmax_are_seen(shares, gradients):
    class Shares(Written):
        def forward(self, x):
            return shares(self.linear(x) @ x.mT * x.shape[-1] ** -0.5) @ x

    model, x = Shares(), random(2, 5, 4)
    maps, plain = attention_maps(model, x, gradients=gradients), Written()
    plain.load_state_dict(model.state_dict())
    assert maps.kinds == ("self",)
    torch.testing.assert_close(maps.layers, attention_maps(plain, x).layers)
    torch.testing.assert_close(maps.output, model(x), **CLOSE)
    if gradients:
        assert torch.autograd.grad(maps.output.sin().sum(), maps.layers)[0].abs().sum() > 0


def test_an_input_may_be_given_by_name():
    class Named(Fused):
        def forward(self, *, inputs, scale=1.0):
            return super().forward(inputs * scale)

    model, x = Named(), random(2, 5, 4)
    torch.testing.assert_close(attention_maps(model, inputs=x).output, model(inputs=x), **CLOSE)
    torch.testing.assert_close(
        attention_maps(model, inputs=x, scale=2.0).output, model(inputs=x, scale=2.0), **CLOSE
    )
    with pytest.raises(TypeError, match=r"expected a tensor .*, got NoneType"):
        attention_maps(model)
    with pytest.raises(ValueError, match="the batch is empty"):
        attention_maps(model, inputs=x[:0])


@pytest.mark.parametrize("ask", [attention_maps, stream_rollout, alti_maps])
def test_our_transformer_says_what_input_it_reads(ask):
    model, x = TradingTransformer(4, d_model=8, n_heads=2, n_layers=3, d_ff=8), random(2, 5, 4)
    for wrong in (x[0], x[:, :0], x[0, 0]):
        with pytest.raises(
            ValueError, match=r"expected x \(batch, time, feature\) with at least one bar, got"
        ):
            ask(model, wrong)
    with pytest.raises(TypeError, match=r"computes in torch.float32 and x holds torch.float64: pass x.to"):
        ask(model, x.double())
    ask(model.double(), x.double())
