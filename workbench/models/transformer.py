"""A transformer encoder that reads a window of bars and answers at its last one."""

from jaxtyping import Float
from torch import Tensor, nn

from workbench.models.attention import MultiHeadAttention, SinusoidalPositions, check_heads, check_norm
from workbench.models.dropout import Dropout
from workbench.models.scaling import ForecastScaling, InputScaling
from workbench.models.spec import ModelSpec, check_task


class FeedForward(nn.Module):
    """The position-wise network with its residual and layer norm: LN(x + W₂·relu(W₁x)) (section 3.3)."""

    def __init__(self, d_model: int, d_ff: int, dropout: float | int = 0.0, norm: str = "post"):
        super().__init__()
        check_norm(norm)
        self.norm_first = norm == "pre"
        self.w_1 = nn.Linear(d_model, d_ff)
        self.w_2 = nn.Linear(d_ff, d_model)
        self.norm = nn.LayerNorm(d_model)
        self.dropout = Dropout(dropout)

    def forward(self, x: Float[Tensor, "batch time d_model"]) -> Float[Tensor, "batch time d_model"]:
        """Return every step passed through the same two layers."""
        steps = (self.norm(x) if self.norm_first else x).flatten(0, 1)  # (batch·time, d_model)
        hidden = self.w_1(steps).relu_()  # in place on no view, which autograd would copy
        output = x + self.dropout(self.w_2(hidden).view_as(x))
        return output if self.norm_first else self.norm(output)


class EncoderLayer(nn.Module):
    """Self-attention, then the feed-forward network."""

    def __init__(self, d_model: int, n_heads: int, d_ff: int, dropout: float | int = 0.0, norm: str = "post"):
        super().__init__()
        self.attention = MultiHeadAttention(d_model, n_heads, dropout, norm)
        self.feed_forward = FeedForward(d_model, d_ff, dropout, norm)

    def forward(
        self, x: Float[Tensor, "batch time d_model"], causal: bool = False, last_only: bool = False
    ) -> Float[Tensor, "batch attended d_model"]:
        """Return every step, or with `last_only` the last one alone."""
        self.attention.last_query_only = last_only
        return self.feed_forward(self.attention(x, causal=causal))


class TradingTransformer(nn.Module):
    """Windows of bars in, class scores or a forecast at the last bar out (Vaswani et al. 2017, encoder).

    The answer is read from the last bar, so the last layer needs the last query only: its output is the
    same, for about two thirds of the time.

    Parameters
    ----------
    input_dim
        Number of features a bar.
    d_model, n_heads, n_layers, d_ff
        Width, heads (dividing the width), layers, and width of the feed-forward network.
    dropout
        Share zeroed after the positions and after each sub-layer, while training.
    max_seq_len
        Longest window the model can read.
    n_classes
        Number of classes; with task="regression" the output is one forecast instead.
    causal
        Keep each bar from attending to later bars of the window.
    task
        "classification" or "regression".
    norm
        "post" as in the paper, or "pre".

    Attributes
    ----------
    prune
        False computes every query of the last layer, for comparing; the output is the same.
    scaling
        The training set's statistics, applied first: raw features go in.
    forecast_scaling
        With task="regression", the training labels' statistics, applied last: forecasts come out in
        the labels' own units.

    Notes
    -----
    qlib's runs have d_model 64, n_heads 2, n_layers 2 and d_ff 2048. Weights of its `Transformer` go in by
    these names: feature_layer → embedding, decoder_layer → head, and of the layers as `Localformer` tells.
    """

    def __init__(
        self,
        input_dim: int,
        *,
        d_model: int = 128,
        n_heads: int = 8,
        n_layers: int = 4,
        d_ff: int = 512,
        dropout: float | int = 0.1,
        max_seq_len: int = 512,
        n_classes: int = 3,
        causal: bool = False,
        task: str = "classification",
        norm: str = "post",
    ):
        super().__init__()
        check_heads(d_model, n_heads)
        check_task(task)
        if n_layers < 1:
            raise ValueError(f"n_layers must be at least 1, got {n_layers}.")
        self.spec: ModelSpec | None = None
        self.causal = causal
        self.prune = True
        self.scaling = InputScaling(input_dim)
        self.embedding = nn.Linear(input_dim, d_model)
        self.positions = SinusoidalPositions(d_model, max_seq_len)
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(
            EncoderLayer(d_model, n_heads, d_ff, dropout, norm) for _ in range(n_layers)
        )
        self.norm = nn.LayerNorm(d_model) if norm == "pre" else nn.Identity()
        self.head = nn.Linear(d_model, n_classes if task == "classification" else 1)
        self.forecast_scaling = ForecastScaling() if task == "regression" else nn.Identity()

    def forward(self, x: Float[Tensor, "batch time feature"]) -> Float[Tensor, "batch output"]:
        """Return logits (batch, n_classes), or the forecast (batch, 1)."""
        h = self.dropout(self.positions(self.embedding(self.scaling(x))))  # (batch, time, d_model)
        for layer in self.layers:
            last_only = self.prune and layer is self.layers[-1]
            h = layer(h, self.causal, last_only)  # (batch, time, d_model), at last (batch, 1, d_model)
        return self.forecast_scaling(self.head(self.norm(h[:, -1])))
