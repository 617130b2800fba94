"""Graph attention over the stocks of one day."""

from jaxtyping import Float
from torch import Tensor, nn

from workbench.models.dropout import Dropout
from workbench.models.recurrent import stacked, top_state
from workbench.models.scaling import ForecastScaling, InputScaling
from workbench.models.spec import ModelSpec, n_outputs


class GraphAttention(nn.Module):
    """How far each stock attends to each other one, itself included: rows of shares.

    Parameters
    ----------
    hidden_size
        Width of a stock's state.
    version
        1 scores LeakyReLU(a₁·Wh_j + a₂·Wh_i) (Veličković et al. 2018, equation 3). LeakyReLU only rises, so
        every stock i ranks the others alike, by a₁·Wh_j: its attention is static. 2 scores
        a·LeakyReLU(W₁h_j + W₂h_i), by which each can rank them its own way (Brody et al. 2022, equation 7),
        for stocks² × hidden_size numbers at a time.
    slope
        Of LeakyReLU below zero.
    """

    def __init__(self, hidden_size: int, version: int = 1, slope: float | int = 0.2):
        super().__init__()
        if version not in (1, 2):
            raise ValueError(f"version must be 1 (as published in 2018) or 2 (GATv2), got {version!r}.")
        self.version = version
        self.leaky = nn.LeakyReLU(slope)
        if version == 1:
            self.w = nn.Linear(hidden_size, hidden_size)
            self.a_1 = nn.Linear(hidden_size, 1, bias=False)
            self.a_2 = nn.Linear(hidden_size, 1, bias=False)
        else:
            self.w_1 = nn.Linear(hidden_size, hidden_size, bias=False)  # the sum needs one bias
            self.w_2 = nn.Linear(hidden_size, hidden_size)
            self.a = nn.Linear(hidden_size, 1, bias=False)

    def forward(self, h: Float[Tensor, "stock hidden"]) -> Float[Tensor, "stock neighbour"]:
        """Return the shares that each stock (row) gives to each (column)."""
        if self.version == 1:
            wh = self.w(h)
            scores = self.leaky(self.a_1(wh).T + self.a_2(wh))  # (stock, neighbour)
        else:
            scores = self.a(self.leaky(self.w_1(h)[None] + self.w_2(h)[:, None])).squeeze(-1)
        return scores.softmax(dim=1)


class GATs(nn.Module):
    """An LSTM or GRU for each stock, then graph attention over all stocks of the day.

    With h_i the state of stock i after its last bar: z_i = Σ_j A_ij h_j + h_i, and the answer is
    head(LeakyReLU(linear(z_i))). The form is that of Microsoft's qlib; A is of Veličković et al. 2018, "Graph
    Attention Networks", or of its second version.

    Parameters
    ----------
    input_dim
        Number of features a bar.
    base
        "lstm" or "gru". `pretrain` trains it before the whole.
    hidden_size, n_layers, dropout
        Of the base: width, layers, and the share of each layer's output zeroed before what follows it, while
        training.
    version, slope
        As of `GraphAttention`; the slope is that of both LeakyReLU.
    n_classes
        Number of classes; with task="regression" the output is one forecast instead.
    task
        "classification" or "regression".

    Attributes
    ----------
    cross_sectional
        True: a batch is the windows of one day, since the stocks in it attend to each other.

    Notes
    -----
    Weights of qlib's `GATModel` go into version 1 by these names: rnn → base, transformation → attention.w,
    the first and the second half of a, as rows, → attention.a_1.weight and attention.a_2.weight, fc → linear,
    fc_out → head.
    """

    cross_sectional = True

    def __init__(
        self,
        input_dim: int,
        *,
        base: str = "lstm",
        hidden_size: int = 64,
        n_layers: int = 2,
        dropout: float | int = 0.7,
        version: int = 1,
        slope: float | int = 0.01,
        n_classes: int = 3,
        task: str = "classification",
    ):
        super().__init__()
        outputs = n_outputs(task, n_classes)
        self.spec: ModelSpec | None = None
        self.scaling = InputScaling(input_dim)
        self.base = stacked(base, input_dim, hidden_size, n_layers, dropout, "base")
        self.dropout = Dropout(dropout)
        self.attention = GraphAttention(hidden_size, version, slope)
        self.linear = nn.Linear(hidden_size, hidden_size)
        self.leaky = nn.LeakyReLU(slope)
        self.head = nn.Linear(hidden_size, outputs)
        self.forecast_scaling = ForecastScaling() if task == "regression" else nn.Identity()

    def forward(self, x: Float[Tensor, "batch time feature"]) -> Float[Tensor, "batch output"]:
        """Return logits (batch, n_classes), or the forecast (batch, 1), of the stocks of one day."""
        h = self._states(x)  # (batch, hidden)
        z = self.attention(h) @ h + h
        return self.forecast_scaling(self.head(self.leaky(self.linear(z))))

    def parts(self, x: Float[Tensor, "batch time feature"]) -> dict[str, Tensor]:
        """Return `neighbours` (batch, batch): the share of each stock (column) in what a stock gathers."""
        return {"neighbours": self.attention(self._states(x))}

    def _states(self, x: Float[Tensor, "batch time feature"]) -> Float[Tensor, "batch hidden"]:
        return self.dropout(top_state(self.base(self.scaling(x))[1]))
