"""A transformer whose tokens are the assets of one day."""

from jaxtyping import Float
from torch import Tensor, nn

from workbench.models.attention import check_heads, check_norm
from workbench.models.dropout import Dropout
from workbench.models.recurrent import RNNS, stacked, top_state
from workbench.models.scaling import ForecastScaling, InputScaling
from workbench.models.spec import ModelSpec, n_outputs
from workbench.models.transformer import EncoderLayer, TradingTransformer


class AssetTransformer(nn.Module):
    """One encoder over time for every asset, then encoder layers over the assets of the day.

    The state of an asset after its last bar is a token; tokens attend to each other and each is read out as
    the answer of its asset. There are no positions: the same assets in another order give the same answers in
    that order.

    Parameters
    ----------
    input_dim
        Number of features a bar.
    encoder, encoder_layers
        "lstm", "gru" or "transformer", shared by all assets, and its layers.
    d_model, n_heads, n_layers, d_ff
        Width, heads (dividing the width), layers over assets, and width of the feed-forward networks.
    dropout
        Share zeroed after the encoder and after each sub-layer, while training.
    max_seq_len
        Longest window that an encoder "transformer" can read.
    n_classes
        Number of classes; with task="regression" the output is one forecast instead.
    task
        "classification" or "regression".
    norm
        "post" as in Vaswani et al. 2017, or "pre".

    Attributes
    ----------
    cross_sectional
        True: a batch is the windows of one day.
    layers
        The layers over assets.
    attends_over_assets
        Pattern of their names.
    """

    cross_sectional = True
    attends_over_assets = "layers.*"

    def __init__(
        self,
        input_dim: int,
        *,
        encoder: str = "lstm",
        encoder_layers: int = 1,
        d_model: int = 64,
        n_heads: int = 4,
        n_layers: int = 2,
        d_ff: int = 256,
        dropout: float | int = 0.1,
        max_seq_len: int = 512,
        n_classes: int = 3,
        task: str = "classification",
        norm: str = "post",
    ):
        super().__init__()
        outputs = n_outputs(task, n_classes)
        check_heads(d_model, n_heads)
        check_norm(norm)
        if n_layers < 1:
            raise ValueError(f"n_layers must be at least 1, got {n_layers}.")
        self.spec: ModelSpec | None = None
        self.scaling = InputScaling(input_dim)
        if encoder == "transformer":
            # Its answer, one number a class elsewhere, is the token here.
            self.encoder: nn.Module = TradingTransformer(
                input_dim,
                d_model=d_model,
                n_heads=n_heads,
                n_layers=encoder_layers,
                d_ff=d_ff,
                dropout=dropout,
                max_seq_len=max_seq_len,
                n_classes=d_model,
                norm=norm,
            )
        else:
            if encoder not in RNNS:
                raise ValueError(f"encoder must be 'lstm', 'gru' or 'transformer', got {encoder!r}.")
            self.encoder = stacked(encoder, input_dim, d_model, encoder_layers, dropout)
        self.dropout = Dropout(dropout)
        self.layers = nn.ModuleList(
            EncoderLayer(d_model, n_heads, d_ff, dropout, norm) for _ in range(n_layers)
        )
        self.norm = nn.LayerNorm(d_model) if norm == "pre" else nn.Identity()
        self.head = nn.Linear(d_model, outputs)
        self.forecast_scaling = ForecastScaling() if task == "regression" else nn.Identity()

    def forward(self, x: Float[Tensor, "batch time feature"]) -> Float[Tensor, "batch output"]:
        """Return logits (batch, n_classes), or the forecast (batch, 1), of the assets of one day."""
        tokens = self._tokens(self.scaling(x))[None]  # (1, batch, d_model)
        for layer in self.layers:
            tokens = layer(tokens)
        return self.forecast_scaling(self.head(self.norm(tokens[0])))

    def _tokens(self, x: Float[Tensor, "batch time feature"]) -> Float[Tensor, "batch d_model"]:
        states = self.encoder(x)
        return self.dropout(states if isinstance(states, Tensor) else top_state(states[1]))
