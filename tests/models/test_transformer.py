import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from naive_networks import from_pytorchs_encoder, position
from torch import nn

from workbench.models.transformer import EncoderLayer, FeedForward, TradingTransformer

SMALL = {"d_model": 12, "n_heads": 3, "n_layers": 3, "d_ff": 20}


def model(dtype=torch.float64, **options) -> TradingTransformer:
    torch.manual_seed(0)
    return TradingTransformer(5, **(SMALL | options)).to(dtype).eval()


def windows(batch=4, time=9, dtype=torch.float64, seed=0):
    return torch.randn(batch, time, 5, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def copied_into_pytorch(layer: EncoderLayer) -> nn.TransformerEncoderLayer:
    ours = layer.attention
    twin = nn.TransformerEncoderLayer(
        12, 3, 20, dropout=0.0, batch_first=True, norm_first=ours.norm_first, dtype=torch.float64
    ).eval()
    with torch.no_grad():
        twin.self_attn.in_proj_weight.copy_(torch.cat([ours.w_q.weight, ours.w_k.weight, ours.w_v.weight]))
        twin.self_attn.in_proj_bias.copy_(
            torch.cat([ours.w_q.bias, torch.randn_like(ours.w_q.bias), ours.w_v.bias])
        )
    twin.self_attn.out_proj.load_state_dict(ours.w_o.state_dict())
    twin.linear1.load_state_dict(layer.feed_forward.w_1.state_dict())
    twin.linear2.load_state_dict(layer.feed_forward.w_2.state_dict())
    twin.norm1.load_state_dict(ours.norm.state_dict())
    twin.norm2.load_state_dict(layer.feed_forward.norm.state_dict())
    return twin


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("causal", [False, True])
def test_a_layer_agrees_with_pytorchs_given_the_same_weights(norm, causal):
    layer = model(norm=norm).layers[0]
    assert isinstance(layer, EncoderLayer)
    nn.init.normal_(layer.attention.norm.weight)
    nn.init.normal_(layer.feed_forward.norm.bias)
    x = torch.randn(2, 7, 12, dtype=torch.float64)
    mask = nn.Transformer.generate_square_subsequent_mask(7, dtype=torch.float64) if causal else None
    expected = copied_into_pytorch(layer)(x, src_mask=mask)
    torch.testing.assert_close(layer(x, causal=causal), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_the_whole_network_is_its_parts_in_order(norm):
    network, x = model(norm=norm), windows()
    h = network.positions(network.embedding(x))
    for layer in network.layers:
        h = copied_into_pytorch(layer)(h)
    h = network.norm(h) if norm == "pre" else h
    torch.testing.assert_close(network(x), network.head(h[:, -1]), rtol=0, atol=1e-12)


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_pruning_the_last_layer_changes_neither_output_nor_gradients(norm, causal, dtype, tolerance):
    network = model(dtype, norm=norm, causal=causal)

    def outcome(prune):
        network.prune = prune
        network.zero_grad()
        x = windows(dtype=dtype).requires_grad_()
        output = network(x)
        output.square().mean().backward()
        gradients = {name: p.grad for name, p in network.named_parameters()}
        assert None not in gradients.values()
        return output.detach(), gradients | {"x": x.grad}

    pruned, pruned_gradients = outcome(True)
    whole, whole_gradients = outcome(False)
    torch.testing.assert_close(pruned, whole, rtol=0, atol=tolerance)
    torch.testing.assert_close(pruned_gradients, whole_gradients, rtol=0, atol=tolerance)


def test_pruning_leaves_the_last_layer_one_query():
    network, lengths = model(), []
    network.layers[-1].register_forward_hook(lambda _, args, output: lengths.append(output.shape[1]))
    network(windows())
    assert network.layers[-1].attention.last_query_only
    assert not network.layers[0].attention.last_query_only
    network.prune = False
    network(windows())
    assert lengths == [1, 9]
    assert not network.layers[-1].attention.last_query_only


@given(st.integers(0, 1000), st.integers(0, 7))
def test_the_causal_network_never_hears_of_later_bars(seed, step):
    network, x, heard = model(causal=True), windows(1, seed=seed), []
    network.prune = False
    network.layers[-1].register_forward_hook(lambda _, args, output: heard.append(output))
    altered = x.clone()
    altered[:, step + 1 :] += 10
    network(x), network(altered)
    assert torch.equal(heard[0][:, : step + 1], heard[1][:, : step + 1])
    assert not torch.allclose(heard[0][:, step + 1 :], heard[1][:, step + 1 :])


def test_order_of_bars_matters_through_the_positions_only():
    network, x = model(), windows()
    swapped = x[:, [1, 0, *range(2, 9)]]
    assert not torch.allclose(network(x), network(swapped))
    network.positions.table.zero_()
    torch.testing.assert_close(network(x), network(swapped), rtol=0, atol=1e-12)


def test_windows_of_a_batch_do_not_hear_each_other():
    network, x = model(), windows(4)
    one_by_one = torch.cat([network(x[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(network(x), one_by_one, rtol=0, atol=1e-12)


def test_feed_forward_worked_by_hand():
    network = FeedForward(1, 2, norm="pre")
    network.norm = nn.LayerNorm(1)
    with torch.no_grad():
        network.norm.weight.zero_()
        network.norm.bias.fill_(3.0)  # whatever goes in, 3 goes on
        network.w_1.weight.copy_(torch.tensor([[1.0], [-1.0]]))
        network.w_1.bias.copy_(torch.tensor([0.5, 0.5]))
        network.w_2.weight.copy_(torch.tensor([[2.0, 100.0]]))
        network.w_2.bias.fill_(1.0)
    # relu(3.5) · 2 + relu(−2.5) · 100 + 1 = 8, added to the input
    assert network(torch.tensor([[[10.0], [20.0], [30.0]]])).flatten().tolist() == [18.0, 28.0, 38.0]


@pytest.mark.parametrize(("task", "outputs"), [("classification", 4), ("regression", 1)])
@pytest.mark.parametrize("batch", [1, 3])
def test_one_row_a_window_and_one_column_a_class_or_forecast(task, outputs, batch):
    assert model(task=task, n_classes=4)(windows(batch)).shape == (batch, outputs)


def test_dropout_works_while_training_only():
    network, x = model(dropout=0.3), windows()
    assert torch.equal(network(x), network(x))
    network.train()
    assert not torch.equal(network(x), network(x))


def test_the_defaults_are_those_of_the_design():
    network = TradingTransformer(5)
    assert (network.embedding.out_features, len(network.layers), network.head.out_features) == (128, 4, 3)
    assert network.layers[0].attention.n_heads == 8
    assert network.layers[0].feed_forward.w_1.out_features == 512
    assert network.layers[0].attention.dropout.p == 0.1
    assert network.positions.table.shape == (512, 128)


class Qlibs(nn.Module):
    """qlib's Transformer: time first, PyTorch's encoder."""

    def __init__(self):
        super().__init__()
        self.feature_layer = nn.Linear(5, 64)
        self.encoder_layer = nn.TransformerEncoderLayer(64, 2, dropout=0.0)
        self.transformer_encoder = nn.TransformerEncoder(self.encoder_layer, 2, enable_nested_tensor=False)
        self.decoder_layer = nn.Linear(64, 1)

    def forward(self, flat):
        src = self.feature_layer(flat.reshape(len(flat), 5, -1).permute(0, 2, 1)).transpose(1, 0)
        src = src + torch.stack([position(t, 64) for t in range(len(src))])[:, None].to(src)
        return self.decoder_layer(self.transformer_encoder(src).transpose(1, 0)[:, -1, :]).squeeze()


def test_weights_of_qlibs_module_give_its_answers():
    theirs = Qlibs().eval()
    for layer in theirs.transformer_encoder.layers:
        nn.init.normal_(layer.self_attn.in_proj_bias)
    ours = TradingTransformer(5, d_model=64, n_heads=2, n_layers=2, d_ff=2048, task="regression").eval()
    names = {"feature_layer": "embedding", "decoder_layer": "head"}
    found = ours.load_state_dict(from_pytorchs_encoder(theirs.state_dict(), names), strict=False)
    assert found.unexpected_keys == []
    assert all("scaling" in name for name in found.missing_keys)
    x = windows(dtype=torch.float32)
    torch.testing.assert_close(ours(x)[:, 0], theirs(x.transpose(1, 2).flatten(1)), rtol=0, atol=2e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"d_model": 10}, "d_model=10 and n_heads=3"),
        ({"n_layers": 0}, "at least 1, got 0"),
        ({"task": "ranking"}, "'regression', got 'ranking'"),
        ({"norm": "both"}, "'post'"),
        ({"dropout": 1.0}, "less than 1, got 1.0"),
    ],
)
def test_options_that_cannot_work_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        model(**options)


def test_a_window_longer_than_the_model_reads_is_refused():
    with pytest.raises(ValueError, match="max_seq_len=9"):
        model(max_seq_len=8)(windows())


def test_windows_with_other_features_are_refused():
    with pytest.raises(ValueError, match="built for 5 features and got windows of 4"):
        model()(windows()[..., :4])
