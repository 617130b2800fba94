"""An LSTM or GRU whose answer weighs its states by attention over time."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from workbench.models.dropout import Dropout
from workbench.models.recurrent import run, stacked
from workbench.models.scaling import ForecastScaling, InputScaling
from workbench.models.spec import ModelSpec, n_outputs


class ALSTM(nn.Module):
    """Recurrent states weighed by temporal attention (Feng et al. 2019, without the adversarial training).

    m_t = tanh(W x_t + b); h = RNN(m); e_t = uᵀ tanh(W_a h_t + b_a); α = softmax over the bars of e;
    ŷ = W_y [h_T ; Σ α_t h_t] + b_y. The defaults are qlib's sizes with an LSTM. The paper's
    are one layer, input_width = input_dim and attention_width = hidden_size.

    Parameters
    ----------
    input_dim
        Number of features a bar.
    rnn
        "lstm" or "gru".
    hidden_size, n_layers
        Width of the state, and how many recurrent layers are stacked.
    input_width
        Width of m; None is hidden_size.
    attention_width
        Length of u; None is half of hidden_size, at least 1.
    context_first
        Join the two as [Σ α_t h_t ; h_T] rather than [h_T ; Σ α_t h_t].
    dropout
        Share zeroed between recurrent layers and within the attention, before its tanh, while training.
    n_classes
        Number of classes; with task="regression" the output is one forecast instead.
    task
        "classification" or "regression".

    Notes
    -----
    Weights of qlib's `ALSTMModel` go in by these names: net.fc_in → input_projection, rnn → rnn,
    att_net.att_fc_in → attention_hidden, att_net.att_fc_out → attention_score, fc_out → head. Where a score
    has a bias, leave it out: it adds the same to every bar's score, which softmax takes away, so it could
    never be learned.
    """

    def __init__(
        self,
        input_dim: int,
        *,
        rnn: str = "lstm",
        hidden_size: int = 64,
        n_layers: int = 2,
        input_width: int | None = None,
        attention_width: int | None = None,
        context_first: bool = False,
        dropout: float | int = 0.1,
        n_classes: int = 3,
        task: str = "classification",
    ):
        super().__init__()
        outputs = n_outputs(task, n_classes)
        width = hidden_size if input_width is None else input_width
        attends = max(hidden_size // 2, 1) if attention_width is None else attention_width
        for name, size in (("input_width", width), ("attention_width", attends)):
            if size < 1:
                raise ValueError(f"{name} must be at least 1, got {size}.")
        self.spec: ModelSpec | None = None
        self.context_first = context_first
        self.scaling = InputScaling(input_dim)
        self.input_projection = nn.Linear(input_dim, width)
        self.rnn = stacked(rnn, width, hidden_size, n_layers, dropout)
        self.attention_hidden = nn.Linear(hidden_size, attends)
        self.dropout = Dropout(dropout)
        self.attention_score = nn.Linear(attends, 1, bias=False)
        self.head = nn.Linear(2 * hidden_size, outputs)
        self.forecast_scaling = ForecastScaling() if task == "regression" else nn.Identity()

    def forward(self, x: Float[Tensor, "batch time feature"]) -> Float[Tensor, "batch output"]:
        """Return logits (batch, n_classes), or the forecast (batch, 1)."""
        h, last = self.states(x)
        both = [last, (self.weights(h).transpose(1, 2) @ h)[:, 0]]  # h_T and the context, (batch, hidden)
        return self.forecast_scaling(self.head(torch.cat(both[::-1] if self.context_first else both, dim=1)))

    def states(
        self, x: Float[Tensor, "batch time feature"]
    ) -> tuple[Float[Tensor, "batch time hidden"], Float[Tensor, "batch hidden"]]:
        """Return h, the recurrent state after each bar, and h_T."""
        return run(self.rnn, torch.tanh(self.input_projection(self.scaling(x))))

    def weights(self, h: Float[Tensor, "batch time hidden"]) -> Float[Tensor, "batch time 1"]:
        """Return α, the share of each bar's state in the context."""
        asked = torch.tanh(self.dropout(self.attention_hidden(h)))  # (batch, time, attention)
        return self.attention_score(asked).softmax(dim=1)

    def parts(self, x: Float[Tensor, "batch time feature"]) -> dict[str, Tensor]:
        """Return what the answer is the sum of, in its own units, without dropout in eval mode.

        Returns
        -------
        dict
            bars (batch, time, output): α_t W_c h_t, of each bar's state in the context. state
            (batch, output): W_s h_T, of the last state itself. bias (output,). The answer is their sum.
            weights (batch, time): α.
        """
        h, last_state = self.states(x)
        weights = self.weights(h)
        first, second = self.head.weight.chunk(2, dim=1)  # (output, hidden)
        of_state, of_context = (second, first) if self.context_first else (first, second)
        last = self.forecast_scaling
        scale = last.std if isinstance(last, ForecastScaling) else 1.0
        return {
            "bars": weights * F.linear(h, of_context) * scale,
            "state": F.linear(last_state, of_state) * scale,
            "bias": last(self.head.bias[None])[0],
            "weights": weights[..., 0],
        }
