import math

import pytest
import torch
from naive_networks import (
    DOUBLE,
    SINGLE,
    dead,
    double_windows,
    from_pytorchs_encoder,
    gradients_are_right,
    gru_states,
    position,
)
from torch import nn

from workbench.explainers.capture import attention_maps
from workbench.models.localformer import Localformer

SMALL = {"d_model": 6, "n_heads": 2, "n_layers": 3, "d_ff": 7, "dropout": 0.0}


def network(dtype=torch.float64, **options):
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)  # of the table of positions, which is no weight
    try:
        return Localformer(4, **(SMALL | options)).eval()
    finally:
        torch.set_default_dtype(torch.float32)


def windows(batch=2, time=5, dtype=torch.float64):
    return double_windows(batch, time, 4).to(dtype)


def linear(layer, x):
    bias = 0.0 if layer.bias is None else layer.bias.double()
    return layer.weight.double() @ x + bias


def normed(norm, x):
    centred = x - x.mean()
    return centred / (centred.square().mean() + norm.eps).sqrt() * norm.weight.double() + norm.bias.double()


def naive_convolution(conv, steps):
    zero, w = torch.zeros_like(steps[0]), conv.weight.double()
    around = [zero, *steps, zero]
    return [conv.bias.double() + sum(w[:, :, k] @ around[t + k] for k in range(3)) for t in range(len(steps))]


def naive_encoder(layer, steps):
    attention, network = layer.attention, layer.feed_forward
    q, k, v = ([linear(part, x) for x in steps] for part in (attention.w_q, attention.w_k, attention.w_v))
    made = []
    for t, x in enumerate(steps):
        heads = []
        for own in torch.arange(len(x)).chunk(attention.n_heads):
            scores = [torch.dot(q[t][own], one[own]) / math.sqrt(len(own)) for one in k]
            shares = [score.exp() / sum(s.exp() for s in scores) for score in scores]
            heads.append(sum(share * one[own] for share, one in zip(shares, v, strict=True)))
        x = normed(attention.norm, x + linear(attention.w_o, torch.cat(heads)))
        hidden = linear(network.w_1, x).clamp_min(0)
        made.append(normed(network.norm, x + linear(network.w_2, hidden)))
    return made


def naive(model, batch):
    read = []
    for window in batch.double():
        width = model.embedding.out_features
        h = [linear(model.embedding, x) + position(t, width) for t, x in enumerate(window)]
        for conv, layer in zip(model.convolutions, model.layers, strict=True):
            c = naive_convolution(conv, h)
            h = naive_encoder(layer, [a + b for a, b in zip(h, c, strict=True)])
        read.append(torch.stack([a + b for a, b in zip(h, c, strict=True)]))
    return torch.stack([linear(model.head, states[-1]) for states in gru_states(model.gru, read)])


@pytest.mark.parametrize("n_layers", [1, 3])
@pytest.mark.parametrize(("dtype", "close"), [(torch.float32, SINGLE), (torch.float64, DOUBLE)])
def test_the_network_is_its_equations_bar_by_bar(n_layers, dtype, close):
    model, x = network(dtype, n_layers=n_layers), windows(dtype=dtype)
    torch.testing.assert_close(model(x).double(), naive(model, x), **close)


def test_gradients_are_right_and_reach_every_weight():
    model = network()
    assert gradients_are_right(model, windows(1, 4))
    assert dead(model, windows()) == []


@pytest.mark.parametrize(("task", "outputs"), [("classification", 4), ("regression", 1)])
@pytest.mark.parametrize("batch", [1, 3])
def test_one_row_a_window_and_one_column_a_class_or_forecast(task, outputs, batch):
    assert network(task=task, n_classes=4)(windows(batch)).shape == (batch, outputs)


def test_a_window_alone_is_answered_as_among_others():
    torch.testing.assert_close(network()(windows()[:1]), network()(windows())[:1], **DOUBLE)


def test_dropout_works_while_training_only():
    model = network(dropout=0.5).train()
    assert not torch.equal(model(windows()), model(windows()))
    model.eval()
    assert torch.equal(model(windows()), model(windows()))


def test_the_attention_of_every_layer_is_seen_from_outside():
    model = network(torch.float32)
    maps = attention_maps(model, windows(dtype=torch.float32))
    assert maps.names == tuple(f"layers.{i}.attention" for i in range(3))
    assert set(maps.kinds) == {"self"}
    x = model.positions(model.embedding(windows(dtype=torch.float32)))
    attending = x + model.convolutions[0](x.transpose(1, 2)).transpose(1, 2)
    expected = model.layers[0].attention.attention_weights(attending)
    torch.testing.assert_close(maps.layers[0], expected, **SINGLE)


class Qlibs(nn.Module):
    """qlib's Localformer: time first, PyTorch's encoder layers, a template that nothing computes with."""

    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(6, 6, 2)
        self.feature_layer = nn.Linear(4, 6)
        self.encoder_layer = nn.TransformerEncoderLayer(6, 2, 7, dropout=0.0)
        self.transformer_encoder = nn.Module()
        self.transformer_encoder.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(6, 2, 7, dropout=0.0) for _ in range(2)
        )
        self.transformer_encoder.conv = nn.ModuleList(nn.Conv1d(6, 6, 3, 1, 1) for _ in range(2))
        self.decoder_layer = nn.Linear(6, 1)

    def forward(self, flat):
        src = self.feature_layer(flat.reshape(len(flat), 4, -1).permute(0, 2, 1)).transpose(1, 0)
        output = src + torch.stack([position(t, 6) for t in range(len(src))])[:, None]
        encoder = self.transformer_encoder
        for conv, layer in zip(encoder.conv, encoder.layers, strict=True):
            out = conv(output.permute(1, 2, 0)).permute(2, 0, 1)
            output = layer(output + out)
        output, _ = self.rnn(output + out)
        return self.decoder_layer(output.transpose(1, 0)[:, -1, :]).squeeze()


NAMES = {
    "feature_layer": "embedding",
    "decoder_layer": "head",
    "rnn": "gru",
    "transformer_encoder.conv.0": "convolutions.0",
    "transformer_encoder.conv.1": "convolutions.1",
}


def test_weights_of_qlibs_module_give_its_answers():
    theirs = Qlibs().double().eval()
    for layer in theirs.transformer_encoder.layers:
        nn.init.normal_(layer.self_attn.in_proj_bias)
    ours = network(n_layers=2, task="regression")
    found = ours.load_state_dict(from_pytorchs_encoder(theirs.state_dict(), NAMES), strict=False)
    assert found.unexpected_keys == []
    assert all("scaling" in name for name in found.missing_keys)
    flat = windows().transpose(1, 2).flatten(1)
    torch.testing.assert_close(ours(windows())[:, 0], theirs(flat), **DOUBLE)


def test_the_published_sizes_are_the_defaults():
    model = Localformer(6)
    assert (model.embedding.out_features, len(model.layers), model.gru.num_layers) == (64, 2, 2)
    assert model.layers[0].attention.n_heads == 2
    assert model.layers[0].feed_forward.w_1.out_features == 2048


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"d_model": 10, "n_heads": 4}, "d_model=10 and n_heads=4"),
        ({"n_layers": 0}, "n_layers must be at least 1, got 0"),
        ({"task": "ranking"}, "'regression', got 'ranking'"),
        ({"dropout": 1.0}, "less than 1, got 1.0"),
    ],
)
def test_options_that_cannot_work_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        network(**options)


def test_a_window_longer_than_the_model_reads_is_refused():
    with pytest.raises(ValueError, match="max_seq_len=5"):
        network(max_seq_len=4)(windows())
