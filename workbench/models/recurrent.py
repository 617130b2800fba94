"""Recurrent networks."""

from jaxtyping import Float
from torch import Tensor, nn

from workbench.models.dropout import Dropout
from workbench.models.scaling import ForecastScaling, InputScaling
from workbench.models.spec import ModelSpec, check_task


class LSTMModel(nn.Module):
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
        check_task(task)
        if n_layers < 1:
            raise ValueError(f"n_layers must be at least 1, got {n_layers}.")
        self.spec: ModelSpec | None = None
        self.scaling = InputScaling(input_dim)
        between = dropout if n_layers > 1 else 0.0  # nn.LSTM warns of a dropout that has nowhere to go
        self.lstm = nn.LSTM(input_dim, hidden_size, n_layers, batch_first=True, dropout=between)
        self.dropout = Dropout(dropout)
        self.head = nn.Linear(hidden_size, n_classes if task == "classification" else 1)
        self.forecast_scaling = ForecastScaling() if task == "regression" else nn.Identity()

    def forward(self, x: Float[Tensor, "batch time feature"]) -> Float[Tensor, "batch output"]:
        """Return logits (batch, n_classes), or the forecast (batch, 1)."""
        h, _ = self.lstm(self.scaling(x))  # (batch, time, hidden)
        return self.forecast_scaling(self.head(self.dropout(h[:, -1])))
