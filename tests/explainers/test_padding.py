"""What a watched encoder answers at padded positions."""

import pytest
import torch
from torch import nn

from workbench.explainers.capture import attention_maps
from workbench.explainers.explanation import explain
from workbench.training.prediction import predict

X = torch.randn(3, 6, 8, generator=torch.Generator().manual_seed(0))
LENGTHS = torch.tensor([4, 6, 1])
PADDED = torch.arange(6) >= LENGTHS[:, None]
HOLES = torch.arange(6) < LENGTHS[:, None] - 1  # padded on the left: torch leaves its short cut

pytestmark = pytest.mark.filterwarnings(
    "ignore:enable_nested_tensor is True", "ignore:The PyTorch API of nested tensors"
)


def encoder(norm_first=False, norm=None, heads=2, **options):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, heads, 16, batch_first=True, norm_first=norm_first)
    return nn.TransformerEncoder(layer, 3, norm, **options)


ENCODERS = {
    "post-norm": lambda: encoder(),
    "pre-norm": lambda: encoder(norm_first=True),
    "a norm after": lambda: encoder(norm=nn.LayerNorm(8, bias=True)),
    "no nested tensors": lambda: encoder(enable_nested_tensor=False),
    "one head": lambda: encoder(heads=1),
    "unchecked": lambda: encoder(mask_check=False),
}


@pytest.mark.parametrize("padding", [PADDED, PADDED.float() * -1e9, HOLES], ids=["bool", "float", "left"])
@pytest.mark.parametrize("make", ENCODERS.values(), ids=ENCODERS)
@pytest.mark.parametrize("gradients", [False, True])
def test_padded_positions_are_answered_as_unwatched(make, padding, gradients):
    model = make().eval()
    if padding is HOLES and make is ENCODERS["unchecked"]:
        return  # torch itself asks for padding on the right
    with torch.no_grad():
        expected = model(X, src_key_padding_mask=padding)
    maps = attention_maps(model, X, src_key_padding_mask=padding, gradients=gradients)
    torch.testing.assert_close(maps.output, expected, rtol=0, atol=2e-6)
    maps = attention_maps(model, X, None, padding, gradients=gradients)
    torch.testing.assert_close(maps.output, expected, rtol=0, atol=2e-6)
    assert len(maps) == 3
    assert not model.layers[-1]._forward_hooks
    assert not model._forward_pre_hooks


def test_in_training_mode_nothing_is_left_out():
    model = encoder()
    torch.manual_seed(1)
    expected = model(X, src_key_padding_mask=PADDED)
    torch.manual_seed(1)
    maps = attention_maps(model, X, training=True, src_key_padding_mask=PADDED)
    torch.testing.assert_close(maps.output, expected.detach(), rtol=0, atol=2e-6)


class Pooled(nn.Module):
    """Averages over all positions, padded or not."""

    def __init__(self, features):
        super().__init__()
        self.embed, self.encoder, self.head = nn.Linear(features, 8), encoder(), nn.Linear(8, 3)

    def forward(self, x):
        padded = (x[..., 0] > 0.5).sort(1).values
        return self.head(self.encoder(self.embed(x), src_key_padding_mask=padded).mean(1))


@pytest.mark.parametrize("method", ["rollout", "relevance", "attention"])
def test_explain_explains_the_answer_that_is_predicted(method, windows):
    model = Pooled(windows.n_features).eval()
    options = {"position": -1} if method == "relevance" else {}
    explained = explain(model, windows, method, **options)
    torch.testing.assert_close(
        torch.tensor(explained.predictions.to_numpy()),
        torch.tensor(predict(model, windows).to_numpy()),
        rtol=0,
        atol=2e-6,
    )
