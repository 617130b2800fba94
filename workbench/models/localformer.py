"""A transformer encoder with a convolution before each layer and a GRU at its end."""

from jaxtyping import Float
from torch import Tensor, nn

from workbench.models.attention import SinusoidalPositions, check_heads
from workbench.models.recurrent import run, stacked
from workbench.models.scaling import ForecastScaling, InputScaling
from workbench.models.spec import ModelSpec, n_outputs
from workbench.models.transformer import EncoderLayer


class Localformer(nn.Module):
    """Neighbouring bars mixed by a convolution before each layer attends (Localformer, as in qlib).

    With h from a linear layer and sinusoidal positions, each layer is c = Conv₃(h), h ← Encoder(h + c), the
    encoder's layer post-norm. A GRU of as many layers reads h + c, c of the last layer, and the answer is
    linear in its state at the last bar. The sizes of qlib's runs are d_model 64, n_heads 2, n_layers 2 and
    d_ff 2048.

    Parameters
    ----------
    input_dim
        Number of features a bar.
    d_model, n_heads, n_layers, d_ff
        Width, heads (dividing the width), layers of the encoder and of the GRU, and width of the feed-forward
        network.
    dropout
        Share zeroed after each sub-layer and between layers of the GRU, while training.
    max_seq_len
        Longest window the model can read.
    n_classes
        Number of classes; with task="regression" the output is one forecast instead.
    task
        "classification" or "regression".

    Notes
    -----
    What a bar attends with is a mixture of three bars, and the GRU reads them all, so attention followed
    through the layers does not say which bars the answer draws on: rollout and its like refuse, and the
    method `attention` shows a layer's own weights.

    Weights of qlib's `Transformer` of pytorch_localformer go in by these names: feature_layer → embedding,
    transformer_encoder.conv.i → convolutions.i, rnn → gru, decoder_layer → head; and of
    transformer_encoder.layers.i to layers.i: the thirds of self_attn.in_proj_weight and in_proj_bias →
    attention.w_q, w_k (which has no bias: it would add the same to a row's every score) and w_v,
    self_attn.out_proj → attention.w_o, norm1 → attention.norm, linear1 and linear2 → feed_forward.w_1 and
    w_2, norm2 → feed_forward.norm. Its encoder_layer, a template that nothing computes with, is left out.
    """

    mixes_bars = "a convolution mixes neighbouring bars before each layer attends, and a GRU reads them all"

    def __init__(
        self,
        input_dim: int,
        *,
        d_model: int = 64,
        n_heads: int = 2,
        n_layers: int = 2,
        d_ff: int = 2048,
        dropout: float | int = 0.1,
        max_seq_len: int = 512,
        n_classes: int = 3,
        task: str = "classification",
    ):
        super().__init__()
        check_heads(d_model, n_heads)
        outputs = n_outputs(task, n_classes)
        self.spec: ModelSpec | None = None
        self.scaling = InputScaling(input_dim)
        self.embedding = nn.Linear(input_dim, d_model)
        self.positions = SinusoidalPositions(d_model, max_seq_len)
        self.gru = stacked("gru", d_model, d_model, n_layers, dropout)
        self.convolutions = nn.ModuleList(nn.Conv1d(d_model, d_model, 3, padding=1) for _ in range(n_layers))
        self.layers = nn.ModuleList(EncoderLayer(d_model, n_heads, d_ff, dropout) for _ in range(n_layers))
        self.head = nn.Linear(d_model, outputs)
        self.forecast_scaling = ForecastScaling() if task == "regression" else nn.Identity()

    def forward(self, x: Float[Tensor, "batch time feature"]) -> Float[Tensor, "batch output"]:
        """Return logits (batch, n_classes), or the forecast (batch, 1)."""
        h = self.positions(self.embedding(self.scaling(x)))  # (batch, time, d_model)
        c = h
        for convolution, layer in zip(self.convolutions, self.layers, strict=True):
            c = convolution(h.transpose(1, 2)).transpose(1, 2)
            h = layer(h + c)
        _, last = run(self.gru, h + c)  # (batch, d_model)
        return self.forecast_scaling(self.head(last))
