"""Recurrent networks."""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from workbench.models.dropout import Dropout
from workbench.models.scaling import ForecastScaling, InputScaling
from workbench.models.spec import ModelSpec, n_outputs

RNNS: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}


def stacked(
    rnn: str,
    input_dim: int,
    hidden_size: int,
    n_layers: int,
    dropout: float | int = 0.0,
    called: str = "rnn",
) -> nn.LSTM | nn.GRU:
    """Return recurrent layers over (batch, time, feature), with dropout between them while training.

    `called` is the option that chose it, for the message.

    Raises
    ------
    ValueError
        If `rnn` is neither "lstm" nor "gru", or a size is less than 1.
    """
    if rnn not in RNNS:
        raise ValueError(f"{called} must be 'lstm' or 'gru', got {rnn!r}.")
    for name, size in (("n_layers", n_layers), ("hidden_size", hidden_size)):
        if size < 1:
            raise ValueError(f"{name} must be at least 1, got {size}.")
    between = dropout if n_layers > 1 else 0.0  # PyTorch warns of a dropout that has nowhere to go
    return RNNS[rnn](input_dim, hidden_size, n_layers, batch_first=True, dropout=between)


def top_state(state: Tensor | tuple[Tensor, Tensor]) -> Float[Tensor, "batch hidden"]:
    """Return the last layer's state after the last bar, of what an nn.LSTM or nn.GRU returns second.

    The same as its outputs at the last bar, and a step back from it makes no zeros for the other bars.
    """
    return (state[0] if isinstance(state, tuple) else state)[-1]


def run(
    layers: nn.Module, x: Float[Tensor, "batch time feature"]
) -> tuple[Float[Tensor, "batch time hidden"], Float[Tensor, "batch hidden"]]:
    """Return the last layer's state after each bar, and after the last one.

    Taken from the first, the last state would cost a gradient of zeros at every other bar.
    """
    states, final = layers(x)
    hidden = final if isinstance(final, Tensor) else final[0]  # an LSTM's has its memory beside it
    return states, hidden[-1]


class _Recurrent(nn.Module):
    """Recurrent layers over the bars of a window, read at the last.

    The layers go by the name of their kind, so that `state_dict` has `lstm.weight_ih_l0` or
    `gru.weight_ih_l0`; qlib's `rnn.*` and `fc_out.*` go into those and `head.*` as they are.
    """

    rnn: ClassVar[str]

    def __init__(
        self,
        input_dim: int,
        *,
        hidden_size: int = 64,
        n_layers: int = 2,
        dropout: float | int = 0.1,
        n_classes: int = 3,
        task: str = "classification",
    ):
        super().__init__()
        outputs = n_outputs(task, n_classes)
        self.spec: ModelSpec | None = None
        self.scaling = InputScaling(input_dim)
        self.add_module(self.rnn, stacked(self.rnn, input_dim, hidden_size, n_layers, dropout))
        self.dropout = Dropout(dropout)
        self.head = nn.Linear(hidden_size, outputs)
        self.forecast_scaling = ForecastScaling() if task == "regression" else nn.Identity()

    def states(self, x: Float[Tensor, "batch time feature"]) -> Float[Tensor, "batch time hidden"]:
        """Return the last layer's state after each bar, which no later bar has changed."""
        return run(self.get_submodule(self.rnn), self.scaling(x))[0]

    def forward(self, x: Float[Tensor, "batch time feature"]) -> Float[Tensor, "batch output"]:
        """Return logits (batch, n_classes), or the forecast (batch, 1)."""
        _, h = run(self.get_submodule(self.rnn), self.scaling(x))
        return self.forecast_scaling(self.head(self.dropout(h)))


class LSTMModel(_Recurrent):
    """An LSTM over the bars of a window, read at the last (Hochreiter & Schmidhuber 1997).

    Parameters
    ----------
    input_dim
        Number of features a bar.
    hidden_size, n_layers
        Width of the state, and how many layers are stacked.
    dropout
        Share of each layer's output zeroed before what follows it, while training.
    n_classes
        Number of classes; with task="regression" the output is one forecast instead.
    task
        "classification" or "regression".
    """

    rnn = "lstm"


class GRUModel(_Recurrent):
    """A GRU over the bars of a window, read at the last (Cho et al. 2014).

    Parameters
    ----------
    input_dim, hidden_size, n_layers, dropout, n_classes, task
        As of `LSTMModel`.
    """

    rnn = "gru"
