import pytest
import torch
from naive_models import doubles, layer_norm, linear, naive_encoder_layer, naive_states

from workbench.models.asset_transformer import AssetTransformer


def assets(dtype=torch.float64, seed=0, **options):
    torch.manual_seed(seed)
    small = {"d_model": 6, "n_heads": 2, "n_layers": 3, "d_ff": 7}
    return AssetTransformer(4, **(small | options)).to(dtype).eval()


def naive_assets(model, tokens):
    for layer in model.layers:
        tokens = naive_encoder_layer(layer, tokens)
    read = [layer_norm(model.norm, t) if isinstance(model.norm, torch.nn.LayerNorm) else t for t in tokens]
    return torch.stack([linear(model.head, t) for t in read])


@pytest.mark.parametrize("norm", ["post", "pre"])
@pytest.mark.parametrize("encoder", ["lstm", "gru"])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_the_network_agrees_with_loops_over_assets_and_heads(norm, encoder, dtype, tolerance):
    model, x = assets(dtype, norm=norm, encoder=encoder), doubles(5, 6, 4).to(dtype)
    expected = naive_assets(model, list(naive_states(model.encoder, x)[:, -1]))
    torch.testing.assert_close(model(x).double(), expected, rtol=0, atol=tolerance)


@pytest.mark.parametrize("norm", ["post", "pre"])
def test_over_a_transformer_too(norm):
    model, x = assets(norm=norm, encoder="transformer", encoder_layers=2), doubles(5, 6, 4)
    bars = model.encoder.positions(model.encoder.embedding(x))
    tokens = []
    for window in bars.detach():
        steps = list(window)
        for layer in model.encoder.layers:
            steps = naive_encoder_layer(layer, steps)
        last = layer_norm(model.encoder.norm, steps[-1]) if norm == "pre" else steps[-1]
        tokens.append(linear(model.encoder.head, last))
    torch.testing.assert_close(model(x), naive_assets(model, tokens), rtol=0, atol=1e-12)


def test_the_encoder_over_time_sees_one_asset_at_a_time():
    model, x = assets(encoder="transformer"), doubles(5, 6, 4)
    alone = torch.cat([model._tokens(window[None]) for window in x])
    torch.testing.assert_close(model._tokens(x), alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"encoder": "cnn"}, "encoder must be 'lstm', 'gru' or 'transformer', got 'cnn'"),
        ({"d_model": 7}, "positive multiple of n_heads"),
        ({"norm": "none"}, "'post'"),
        ({"n_layers": 0}, "n_layers must be at least 1, got 0"),
        ({"encoder_layers": 0}, "n_layers must be at least 1, got 0"),
        ({"task": "ranking"}, "'regression', got 'ranking'"),
    ],
)
def test_options_that_cannot_work_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        assets(**options)


def test_a_window_longer_than_the_encoder_reads_is_refused():
    with pytest.raises(ValueError, match="max_seq_len=6"):
        assets(encoder="transformer", max_seq_len=5)(doubles(5, 6, 4))
