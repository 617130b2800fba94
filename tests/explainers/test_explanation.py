from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from workbench.explainers.capture import attention_maps
from workbench.explainers.explanation import explain
from workbench.explainers.maps import NoAttentionFound
from workbench.explainers.null import uniform_maps
from workbench.explainers.rollouts import rollout
from workbench.models.recurrent import LSTMModel
from workbench.models.transformer import TradingTransformer
from workbench.training.prediction import predict


def transformer(causal=False, layers=3):
    return TradingTransformer(3, d_model=12, n_heads=3, n_layers=layers, d_ff=8, causal=causal)


class Encoder(nn.Module):
    """A user's own model: nothing of this package in it."""

    def __init__(self, mask=None):
        super().__init__()
        layer = nn.TransformerEncoderLayer(3, 1, 8, batch_first=True)
        self.encoder, self.head, self.mask = (
            nn.TransformerEncoder(layer, 2, enable_nested_tensor=False),
            nn.Linear(3, 3),
            mask,
        )

    def forward(self, x):
        return self.head(self.encoder(x, mask=self.mask)[:, -1])


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("long", [1, 1000], ids=["computed again", "kept"])
@pytest.mark.parametrize("causal", [False, True])
def test_the_batched_pass_equals_one_window_at_a_time(windows, causal, long, monkeypatch):
    monkeypatch.setattr("workbench.explainers.batches.LONG", long)
    model = transformer(causal)
    why = explain(model, windows)
    assert why.scores.shape == (len(windows), windows.lookback)
    for i in range(len(windows)):
        maps = attention_maps(model, windows.batch(slice(i, i + 1)))
        np.testing.assert_allclose(why.scores[i], rollout(maps, position=-1)[0], atol=1e-6)
        np.testing.assert_allclose(why.null, rollout(uniform_maps(maps), position=-1)[0], atol=1e-6)
    pd.testing.assert_frame_equal(why.predictions, predict(model, windows), atol=1e-6)


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize(
    "options",
    [
        {"fusion": "max"},
        {"fusion": [1, 2, 3]},
        {"discard": 0.5},
        {"residual": 0.2, "start_layer": 1},
        {"position": 2},
        {"position": -1, "fusion": "min", "discard": 0.3},
    ],
)
@pytest.mark.parametrize("long", [1, 1000], ids=["computed again", "kept"])
def test_options_reach_the_rollout(windows, options, long, monkeypatch):
    monkeypatch.setattr("workbench.explainers.batches.LONG", long)
    monkeypatch.setattr("workbench.explainers.chains.BLOCK_BYTES", 1)
    model = transformer()
    why = explain(model, windows, method="rollout", **options)
    expected = rollout(attention_maps(model, windows.x), **{"position": -1, **options})
    np.testing.assert_allclose(why.scores, expected, atol=1e-6)
    assert why.target == ("bar 2" if options.get("position") == 2 else "last bar")


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("masked", [False, True])
def test_a_models_own_encoder_is_explained_without_a_change(windows, masked):
    model = Encoder(nn.Transformer.generate_square_subsequent_mask(6) if masked else None).eval()
    why = explain(model, windows)
    maps = attention_maps(model, windows.x)
    np.testing.assert_allclose(why.scores, rollout(maps, position=-1), atol=1e-6)
    assert why.null.shape == (6,)
    np.testing.assert_allclose(why.null, rollout(uniform_maps(maps), position=-1)[0], atol=1e-6)


@pytest.mark.usefixtures("small_batches")
def test_a_mask_of_each_windows_own_gives_a_null_of_its_own(windows):
    class Padded(Encoder):
        def forward(self, x):
            padding = (x[:, :, 0] > 0.5).index_fill(1, torch.tensor(5), False)
            return self.head(self.encoder(x, src_key_padding_mask=padding)[:, -1])

    model = Padded().eval()
    why = explain(model, windows)
    assert why.null.shape == why.scores.shape
    maps = attention_maps(model, windows.x)
    np.testing.assert_allclose(why.null, rollout(uniform_maps(maps), position=-1), atol=1e-6)
    np.testing.assert_allclose(why[3:5].null, why.null[3:5])


def test_later_windows_do_not_touch_earlier_explanations(windows):
    model = transformer()
    altered = windows.bars.clone()
    altered[30:] += 5
    before, after = explain(model, windows), explain(model, _with_bars(windows, altered))
    past = windows.ends.numpy() < 30
    assert past.any()
    assert not past.all()
    np.testing.assert_array_equal(before.scores[past], after.scores[past])
    assert not np.allclose(before.scores[~past], after.scores[~past])


def _with_bars(windows, bars):
    return replace(windows, bars=bars)


def test_a_panel_keeps_tickers_beside_dates(panel):
    why = explain(transformer(), panel)
    assert set(why.tickers) == {"AAA", "BBB"}
    day = why.at(panel.dates[10], ticker="BBB")
    assert len(day) == 1
    assert day.tickers[0] == "BBB"
    assert list(day.predictions.index.names) == ["date", "ticker"]
    with pytest.raises(KeyError, match="found 2: give the ticker too"):
        why.at(panel.dates[10])


def test_a_date_without_a_window_names_the_nearest(windows):
    why = explain(transformer(), windows)
    with pytest.raises(KeyError, match="found 0: the nearest is 2010-01-11"):
        why.at("2009-12-25")
    assert why.at("2010-01-12").dates[0] == pd.Timestamp("2010-01-12")


def test_trust_is_not_claimed_where_it_was_not_measured(windows):
    why = explain(transformer(), windows)
    assert why.trust is None
    assert "trust not measured" in repr(why)


def test_a_network_left_in_training_mode_is_explained_without_dropout(windows):
    model = transformer().train()
    np.testing.assert_array_equal(explain(model, windows).scores, explain(model, windows).scores)
    assert model.training


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"method": "rolout"}, r"There is no method 'rolout'\. Did you mean 'rollout'\?"),
        ({"head": 3}, r"rollout has no option 'head'. There are: fusion, residual"),
        ({"start_layer": 3}, "start_layer 3 is not one of the 3 layers"),
        ({"position": 6}, "position 6 is outside the 6 bars"),
        ({"fusion": [1, 2]}, "head weights are 3 numbers"),
    ],
)
def test_unknown_methods_and_options_are_refused_with_the_choice(windows, arguments, message):
    with pytest.raises(ValueError, match=message):
        explain(transformer(), windows, **arguments)


def test_what_cannot_be_explained_says_why(windows):
    with pytest.raises(ValueError, match="there are no windows to explain"):
        explain(transformer(), windows[0:0])
    with pytest.raises(NoAttentionFound, match="it is recurrent"):
        explain(LSTMModel(3), windows)
    with pytest.raises(ValueError, match=r"must return \(batch, output\).*Got \(1, 6, 3\)"):
        explain(nn.TransformerEncoderLayer(3, 1, 8, batch_first=True), windows)


def test_tokens_that_are_not_bars_are_refused(windows):
    class Patches(Encoder):
        def forward(self, x):
            return super().forward(x[:, ::2])

    with pytest.raises(ValueError, match="attends over 3 positions and the windows have 6 bars"):
        explain(Patches(), windows)


def test_a_missing_feature_value_is_named_by_its_window(windows):
    bars = windows.bars.clone()
    bars[20, 1] = torch.nan
    with pytest.raises(ValueError, match=r"decided on 2010-02-01.*in f1 \(6 of 35"):
        explain(transformer(), _with_bars(windows, bars))


def test_broken_weights_are_reported_not_drawn(windows):
    model = transformer()
    with torch.no_grad():
        model.layers[0].attention.w_q.weight[0, 0] = torch.inf
    with pytest.raises(ValueError, match="attention that is not finite, the first decided on 2010-01-11"):
        explain(model, windows)


def test_explaining_leaves_the_threads_as_they_were(windows):
    before = torch.get_num_threads()
    model = transformer()
    one, more = explain(model, windows), explain(model, windows, threads=2)
    assert torch.get_num_threads() == before
    np.testing.assert_allclose(one.scores, more.scores, atol=1e-6)


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("residual", [0.2, 0.8])
def test_the_null_has_the_residual_that_was_asked_for(windows, residual):
    model = transformer(causal=True)
    why = explain(model, windows, residual=residual)
    maps = attention_maps(model, windows.x)
    expected = rollout(uniform_maps(maps), residual=residual, position=-1)[0]
    np.testing.assert_allclose(why.null, expected, atol=1e-6)


def test_discarding_has_no_null(windows):
    why = explain(transformer(), windows, discard=0.5)
    assert why.null is None


@pytest.mark.usefixtures("small_batches")
def test_a_batch_that_masks_nothing_does_not_borrow_the_null_of_one_that_does(windows):
    class Sometimes(Encoder):
        def forward(self, x):
            padding = ((x[:, :, 0] > 0) & (x[:, -1:, 1] > 0)).index_fill(1, torch.tensor(5), False)
            return self.head(self.encoder(x, src_key_padding_mask=padding)[:, -1])

    model = Sometimes().eval()
    why = explain(model, windows)
    for i in range(len(windows)):
        maps = attention_maps(model, windows.batch(slice(i, i + 1)))
        expected = rollout(uniform_maps(maps), position=-1)[0]
        np.testing.assert_allclose(why.null[i], expected, atol=1e-6)


def test_rows_that_are_not_windows_are_refused(windows):
    class Joined(Encoder):
        def forward(self, x):
            heads = x.repeat_interleave(2, 0)
            joined = nn.functional.scaled_dot_product_attention(heads, heads, heads)
            return self.head(joined.unflatten(0, (-1, 2)).mean(1)[:, -1])

    with pytest.raises(ValueError, match="attends in 2 rows for 1 windows"):
        explain(Joined(), windows)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_models_are_explained_in_full(windows, dtype):
    why = explain(transformer().to(dtype), windows)
    assert why.scores.dtype == np.float32
    np.testing.assert_allclose(why.scores.sum(axis=1), 1, atol=1e-6)


def test_made_up_prices_are_named(windows):
    made_up = replace(windows, provenance={"synthetic": True})
    assert "SYNTHETIC" in repr(explain(transformer(), made_up))
    assert "no windows" in repr(explain(transformer(), windows)[0:0])


def test_what_options_say_of_each_window_is_cut_with_the_windows(panel):
    why = explain(transformer(), panel, "relevance", target="buy")
    total = why.options["total"]
    assert total.index.equals(why.predictions.index)
    assert total.index.is_unique
    day = why.at(panel.dates[10], ticker="BBB")
    assert day.options["total"].index.tolist() == [(panel.dates[10], "BBB")]
    assert day.options["total"].item() == total.loc[panel.dates[10], "BBB"]
    chosen = np.arange(len(panel)) % 3 == 0
    assert why[chosen].options["total"].equals(total[chosen])
    assert why[2:5].options["total"].equals(total.iloc[2:5])
    assert why[2:5].options["read"] == why.options["read"]
    met = explain(transformer(), panel[:4], "flow").options["saturated"]
    assert met.index.equals(panel_index(panel[:4]))


def panel_index(panel):
    return pd.MultiIndex.from_arrays([panel.dates, panel.tickers], names=["date", "ticker"])


def test_completeness_is_the_largest_gap_by_the_largest_change_and_is_shown(windows):
    why = explain(transformer(), windows, "integrated_gradients", target="buy", n_steps=3)
    sums = why.scores.sum(axis=(1, 2), dtype=float)
    expected = abs(sums - why.change).max() / abs(why.change).max()
    assert why.completeness == pytest.approx(expected)
    assert f"completeness within {100 * expected:.2g} %, trust" in repr(why)
    by_hand = replace(why[:2], scores=np.array([[1.0, 2.0], [0.0, -3.0]]), change=np.array([2.5, -4.0]))
    assert by_hand.gap.tolist() == [0.5, 1.0]
    assert by_hand.completeness == pytest.approx(1 / 4)
    assert "completeness within 25 %" in repr(by_hand)


def test_a_sum_that_is_far_off_is_shown(windows):
    near = explain(transformer(), windows, "kernel_shap", target="buy", samples=64)
    far = explain(transformer(), windows, "gradient_shap", target="buy", samples=3, background=windows)
    assert near.completeness < 1e-4
    assert "completeness within 0.01 %" in repr(near)
    assert far.completeness > 0.05
    assert f"completeness within {100 * far.completeness:.2g} %" in repr(far)


def test_where_nothing_changes_all_of_a_gap_is_amiss(windows):
    why = explain(transformer(), windows[:1], "integrated_gradients", target="buy", n_steps=3)
    still = replace(why, scores=np.zeros_like(why.scores), change=np.zeros(1))
    assert still.completeness == 0
    assert replace(still, scores=np.ones_like(why.scores)).completeness == np.inf
    assert "completeness" not in repr(why[:0])
    assert explain(transformer(), windows[:1]).completeness is None
