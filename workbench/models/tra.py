"""TRA: several predictors, and a router that chooses one for each window."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from workbench.models.columns import PAST_LABEL, column_of, side_columns
from workbench.models.dropout import Dropout
from workbench.models.recurrent import stacked, top_state
from workbench.models.scaling import ForecastScaling, InputScaling
from workbench.models.spec import ModelSpec, n_outputs

ROUTERS = ("both", "latent", "errors")
ITERATIONS = 50  # of Sinkhorn's scaling; each is two products of a matrix and a vector
TINY = 1e-200  # the least of a kernel: sums of it divide
SMOOTHING = 0.1  # ε of the transport, in units of the batch's mean cost


class TRA(nn.Module):
    """Temporal Routing Adaptor on an LSTM or GRU (Lin et al. 2021, arXiv 2106.12950, section 4).

    Predictor k answers f_k = W_k h + b_k from the state h after the last bar. The router gives each a
    probability by the state, by the predictors' past losses, or by both. While training the answer is
    Σ_k q_k f_k, q drawn by Gumbel-softmax; in use it is that of the likeliest predictor. `training_loss` adds
    the transport that keeps the router from sending every window to one predictor.

    The paper keeps the losses of earlier days in a memory that training fills. Here nothing is remembered
    between windows: the predictors answer at the earlier bars of the window itself, and those answers are
    compared with the labels that were known by its last bar. So a window's answer draws on that window alone,
    and no loss was measured by weights of another epoch; but a state early in the window has seen few bars,
    and columns divided by the window's last bar let earlier answers know that bar's price. Losses are less
    those of the best predictor at the bar, and what the router makes of them trains the router alone.

    Parameters
    ----------
    input_dim
        Number of features a bar, the past label included.
    feature_names
        Their names. A column `past_label` holds the label that became known at the bar.
    horizon
        Bars from a decision to the bar at which its label is known.
    base, hidden_size, n_layers, dropout
        "lstm" or "gru", its width and layers, and the share of each layer's output zeroed before what follows
        it, while training.
    n_predictors
        Number of predictors, at least 2.
    router, router_size
        What the router reads, "both", "latent" (the state) or "errors" (the losses), and the width of its
        LSTM over the losses.
    tau
        Temperature of Gumbel-softmax.
    transport, transport_decay
        Weight of the transport in the loss, and what it is multiplied by after every step.
    n_classes
        Number of classes; with task="regression" the output is one forecast instead.
    task
        "classification" or "regression".
    """

    steps: Tensor

    def __init__(
        self,
        input_dim: int,
        *,
        feature_names: tuple[str, ...],
        horizon: int,
        base: str = "lstm",
        hidden_size: int = 64,
        n_layers: int = 2,
        dropout: float | int = 0.0,
        n_predictors: int = 3,
        router: str = "both",
        router_size: int = 32,
        tau: float | int = 1.0,
        transport: float | int = 1.0,
        transport_decay: float | int = 0.99,
        n_classes: int = 3,
        task: str = "classification",
    ):
        super().__init__()
        outputs = n_outputs(task, n_classes)
        _check(n_predictors, router, tau, transport, transport_decay)
        self.spec: ModelSpec | None = None
        self.horizon, self.tau = horizon, tau
        self.transport, self.transport_decay = transport, transport_decay
        self.n_predictors, self.reads = n_predictors, router
        self._read_columns(input_dim, feature_names)
        self.scaling = InputScaling(input_dim, unscaled=side_columns(feature_names))
        self.base = stacked(base, len(self.read), hidden_size, n_layers, dropout, "base")
        self.dropout = Dropout(dropout)
        self.predictors = nn.Linear(hidden_size, n_predictors * outputs)
        self.losses = nn.Identity() if router == "latent" else stacked("lstm", n_predictors, router_size, 1)
        width = {"both": hidden_size + router_size, "latent": hidden_size, "errors": router_size}[router]
        self.router = nn.Linear(width, n_predictors)
        self.forecast_scaling = ForecastScaling() if task == "regression" else nn.Identity()
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self._kept: tuple[Tensor, Tensor] | None = None

    def forward(self, x: Float[Tensor, "batch time feature"]) -> Float[Tensor, "batch output"]:
        """Return logits (batch, n_classes), or the forecast (batch, 1)."""
        answers, scores = self._routed(x)  # (batch, predictor, output), (batch, predictor)
        if self.training:
            self._kept = answers.detach(), scores
            chosen = F.gumbel_softmax(scores, self.tau)
        else:
            self._kept = None
            chosen = F.one_hot(scores.argmax(1), self.n_predictors).to(scores.dtype)
        return self.forecast_scaling((chosen[..., None] * answers).sum(1))

    def training_loss(self, loss: Float[Tensor, ""], y: Tensor) -> Float[Tensor, ""]:
        """Return the loss with the transport added (section 4.3): − λ · mean_i Σ_k P_ik log p_ik.

        P is the assignment of the batch's windows to predictors that costs least while each predictor gets
        equally many, p what the router gives. Windows without a label (NaN, −1) count not.
        """
        kept, self._kept = self._kept, None
        known = y.isfinite() if y.is_floating_point() else y >= 0
        if kept is None or not bool(known.any()):
            return loss
        answers, scores = (part[known] for part in kept)
        best = assigned(self._losses(answers, y[known]))
        weight = self.transport * self.transport_decay ** int(self.steps)
        self.steps += 1
        return loss - weight * (best * scores.log_softmax(1)).sum(1).mean()

    def parts(self, x: Float[Tensor, "batch time feature"]) -> dict[str, Tensor]:
        """Return `routing` (batch, predictor), the probabilities, and `answers` (batch, predictor, output).

        The answer of the model is that of the likeliest predictor.
        """
        answers, scores = self._routed(x)
        return {
            "routing": scores.softmax(1),
            "answers": self.forecast_scaling(answers.flatten(0, 1)).view_as(answers),
        }

    def _routed(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return every predictor's answer, in the labels' standard units, and the router's scores."""
        states, state = self.base(self.scaling(x)[..., self.read])
        last = self.dropout(top_state(state))  # (batch, hidden)
        seen = [last] if self.reads != "errors" else []
        if self.reads != "latent":
            seen.append(top_state(self.losses(self._past_losses(x, states))[1]))
        return self._answers(last), self.router(torch.cat(seen, 1))

    def _answers(self, states: Float[Tensor, "*batch hidden"]) -> Float[Tensor, "*batch predictor output"]:
        return self.predictors(states).unflatten(-1, (self.n_predictors, -1))

    def _past_losses(
        self, x: Tensor, states: Float[Tensor, "batch time hidden"]
    ) -> Float[Tensor, "batch known predictor"]:
        """Return the losses at the bars whose labels are known by the last, each bar's less its least."""
        horizon, time = self.horizon, x.size(1)
        if time <= horizon:
            raise ValueError(
                f"In windows of {time} bars no label of {horizon} bars ahead is known yet, so there are no "
                f"past losses to route by. Use a lookback above {horizon}, or router='latent'."
            )
        with torch.no_grad():
            by_bar = states.transpose(0, 1)[:-horizon]  # as they lie in memory
            answers = self._answers(by_bar).transpose(0, 1)  # (batch, known, predictor, output)
            return self._losses(answers, x[:, horizon:, self.past_label_at])

    def _losses(
        self, answers: Float[Tensor, "*batch predictor output"], y: Tensor
    ) -> Float[Tensor, "*batch predictor"]:
        """Return each predictor's squared error in standard units, or cross-entropy, less the least."""
        if isinstance(self.forecast_scaling, ForecastScaling):
            wanted = (y - self.forecast_scaling.mean) / self.forecast_scaling.std
            losses = (answers[..., 0] - wanted[..., None]).square()
        else:
            classes = y.round().long().clamp(0, answers.size(-1) - 1)
            index = classes[..., None, None].expand(*answers.shape[:-1], 1)
            losses = -answers.log_softmax(-1).gather(-1, index)[..., 0]
        return losses - losses.min(-1, keepdim=True).values

    def _read_columns(self, input_dim: int, names: tuple[str, ...]) -> None:
        if len(names) != input_dim:
            raise ValueError(f"feature_names must name {input_dim} columns, got {len(names)}.")
        self.past_label_at = column_of(names, PAST_LABEL)
        if self.past_label_at is None and self.reads != "latent":
            raise ValueError(
                f"TRA with router={self.reads!r} needs a column {PAST_LABEL}, and got {', '.join(names)}. "
                "Make the windows from with_past_label(features, labels), or choose router='latent'."
            )
        sides = side_columns(names)
        self.read = [i for i in range(input_dim) if i not in sides]
        if not self.read:
            raise ValueError(f"TRA needs features beside {', '.join(names)}.")


def assigned(
    losses: Float[Tensor, "window predictor"], smoothing: float | int = SMOOTHING
) -> Float[Tensor, "window predictor"]:
    """Return the transport P that minimises Σ P·L − ε·H(P), each row summing to 1, each column to the same.

    By Sinkhorn's scaling of exp(−L/ε) (Cuturi 2013); ε is `smoothing` times the mean loss, so that the
    assignment doesn't hang on the unit of the losses.
    """
    cost = losses.double()  # of float32 the kernel would lose a predictor that is bad throughout
    kernel = torch.exp(-cost / (smoothing * cost.mean()).clamp_min(TINY)).clamp_min(TINY)
    columns = torch.ones_like(kernel[0])
    each = len(kernel) / len(columns)  # windows a predictor; without it columns would sink with every round
    for _ in range(ITERATIONS):
        rows = (kernel @ columns).reciprocal()
        columns = each * (rows @ kernel).reciprocal()
    plan = kernel * columns
    return (plan / plan.sum(1, keepdim=True)).to(losses.dtype)


def _check(
    n_predictors: int, router: str, tau: float | int, transport: float | int, decay: float | int
) -> None:
    if n_predictors < 2:
        raise ValueError(f"n_predictors must be at least 2, got {n_predictors}. One needs no router.")
    if router not in ROUTERS:
        raise ValueError(f"router must be one of {', '.join(ROUTERS)}, got {router!r}.")
    if not tau > 0 or transport < 0 or not 0 < decay <= 1:
        raise ValueError(
            "tau must be above 0, transport at least 0 and transport_decay in (0, 1], "
            f"got {tau}, {transport} and {decay}."
        )
