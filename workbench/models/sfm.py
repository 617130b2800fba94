"""A recurrent network whose memory is kept by frequency."""

import math
from collections import deque
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from workbench.models.dropout import Dropout
from workbench.models.scaling import ForecastScaling, InputScaling
from workbench.models.spec import ModelSpec, n_outputs


class Memory(Function):
    """One bar of the memory, F ∘ S + u ⊗ wave, and how loud each state is in it.

    Its gradient is written out because the memory is by far the largest thing here: PyTorch's own keeps and
    reads three times as much. Batch is the last axis, so that the gates spread over long rows.
    """

    @staticmethod
    def forward(
        ctx: Any,
        memory: Float[Tensor, "2 frequency hidden batch"],
        state_gate: Float[Tensor, "hidden batch"],
        frequency_gate: Float[Tensor, "frequency batch"],
        update: Float[Tensor, "hidden batch"],
        wave: Float[Tensor, "2 frequency"],
        weight: Float[Tensor, " frequency"],
    ) -> tuple[Float[Tensor, "2 frequency hidden batch"], Float[Tensor, "hidden batch"]]:
        """Return the new memory, and Σ over k of weight_k (re² + im²)."""
        rows = 2 * len(weight), -1
        new = memory * (frequency_gate[:, None] * state_gate)
        new.view(rows).addr_(wave.reshape(-1), update.reshape(-1))
        loudness = (weight.repeat(2) @ new.square().view(rows)).view_as(state_gate)
        ctx.save_for_backward(memory, new, state_gate, frequency_gate, wave, weight)
        return new, loudness

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]  (the decorator hides names)
        ctx: Any, *grad_outputs: Tensor
    ) -> tuple[Tensor | None, ...]:
        """Return the gradients by what forward took; `work` is written over as soon as it has been read."""
        memory, new, state_gate, frequency_gate, wave, weight = ctx.saved_tensors
        by_new, by_loudness = grad_outputs
        rows = 2 * len(weight), -1
        work = new * by_loudness
        by_new = torch.addcmul(by_new, work, 2 * weight[:, None, None])
        by_weight = work.mul_(new).view(rows).sum(1).view(2, -1).sum(0)
        by_update = (wave.reshape(-1) @ by_new.view(rows)).view_as(state_gate)
        torch.mul(by_new, memory, out=work)
        by_both = work[0].add_(work[1])  # by F, (frequency, hidden, batch)
        by_frequency = torch.mul(by_both, state_gate, out=work[1]).sum(1)
        by_state = by_both.mul_(frequency_gate[:, None]).sum(0)
        by_memory = by_new.mul_(frequency_gate[:, None] * state_gate)
        return by_memory, by_state, by_frequency, by_update, None, by_weight


class SFM(nn.Module):
    """State-frequency memory: each state's memory is a short Fourier transform (Zhang, Aggarwal & Qi 2017).

    With gates i, s (states), r (frequencies) and o, hard sigmoids of x_t and h_(t−1), F_dk = s_d r_k, and
    u = i ∘ tanh(W_c x_t + U_c h_(t−1) + b_c), the memory of state d at frequency k goes from bar to bar by

        re ← F ∘ re + u cos(2πkt/K),   im ← F ∘ im + u sin(2πkt/K),   A = re² + im²,
        a = tanh(A u_a + b_a),   h_t = o ∘ a,

    and the answer is linear in an output W_p h_T + b_p. A is the squared amplitude, as in the authors' code.

    Parameters
    ----------
    input_dim
        Number of features a bar.
    hidden_size, n_frequencies, output_width
        Number of states, K, and the width of W_p h_T + b_p.
    dropout_w, dropout_u
        Share of the features, and of the state that the gates hear, zeroed while training. Which are zeroed
        is drawn once a window, for all its bars (Gal & Ghahramani 2016).
    n_classes
        Number of classes; with task="regression" the output is one forecast instead.
    task
        "classification" or "regression".

    Notes
    -----
    The bars are counted from 1. k = 0 is the memory's mean; K − k turns as k does, the other way round.

    Weights of qlib's `SFM_Model` go in by these names, its matrices transposed: W_i, W_ste, W_c, W_o and
    W_fre, one upon the other, → gates_x.weight; b_i, b_ste, b_c, b_o and b_fre → gates_x.bias; U_i, U_ste,
    U_c, U_o and U_fre → gates_h.weight; U_a → amplitude_weight; b_a → amplitude_bias; W_p and b_p → output;
    fc_out → head.
    """

    def __init__(
        self,
        input_dim: int,
        *,
        hidden_size: int = 64,
        n_frequencies: int = 25,
        output_width: int = 32,
        dropout_w: float | int = 0.0,
        dropout_u: float | int = 0.0,
        n_classes: int = 3,
        task: str = "classification",
    ):
        super().__init__()
        outputs = n_outputs(task, n_classes)
        sizes = {"hidden_size": hidden_size, "n_frequencies": n_frequencies, "output_width": output_width}
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"{name} must be at least 1, got {size}.")
        self.spec: ModelSpec | None = None
        self.gate_sizes = [hidden_size] * 4 + [n_frequencies]
        self.scaling = InputScaling(input_dim)
        self.dropout_w, self.dropout_u = Dropout(dropout_w), Dropout(dropout_u)
        rows = 4 * hidden_size + n_frequencies
        self.gates_x = nn.Linear(input_dim, rows)
        self.gates_h = nn.Linear(hidden_size, rows, bias=False)
        self.amplitude_weight = nn.Parameter(torch.empty(n_frequencies))
        self.amplitude_bias = nn.Parameter(torch.zeros(hidden_size))
        self.output = nn.Linear(hidden_size, output_width)
        self.head = nn.Linear(output_width, outputs)
        self.forecast_scaling = ForecastScaling() if task == "regression" else nn.Identity()
        self._draw()

    def forward(self, x: Float[Tensor, "batch time feature"]) -> Float[Tensor, "batch output"]:
        """Return logits (batch, n_classes), or the forecast (batch, 1)."""
        h, _ = deque(self._bars(x), maxlen=1).pop()
        return self.forecast_scaling(self.head(self.output(h.t())))

    def parts(self, x: Float[Tensor, "batch time feature"]) -> dict[str, Tensor]:
        """Return how much energy the memory holds at each frequency, Σ over the states of re² + im².

        Returns
        -------
        dict
            frequencies (batch, frequency): at the last bar, where the answer is read. over_time
            (batch, time, frequency): after each bar.
        """
        energies = [memory.square().sum(dim=(0, 2)).t() for _, memory in self._bars(x)]
        return {"frequencies": energies[-1], "over_time": torch.stack(energies, dim=1)}

    def _bars(
        self, x: Float[Tensor, "batch time feature"]
    ) -> Iterator[tuple[Float[Tensor, "hidden batch"], Float[Tensor, "2 frequency hidden batch"]]]:
        """Yield state and memory after each bar."""
        batch, time, features = x.shape
        heard = self.scaling(x) * self.dropout_w(x.new_ones(batch, 1, features))
        weight, bias = self.gates_x.weight.expand(time, -1, -1), self.gates_x.bias[:, None]
        from_x = torch.baddbmm(bias, weight, heard.permute(1, 2, 0))  # (time, gate, batch)
        waves = _waves(time, self.gate_sizes[-1]).to(x)
        h = x.new_zeros(self.gate_sizes[0], batch)
        memory = x.new_zeros(2, self.gate_sizes[-1], *h.shape)
        kept = self.dropout_u(torch.ones_like(h))
        for wave, gates in zip(waves, from_x, strict=True):
            i, s, candidate, o, r = torch.addmm(gates, self.gates_h.weight, h * kept).split(self.gate_sizes)
            update = F.hardsigmoid(i) * candidate.tanh()
            s, r = F.hardsigmoid(s), F.hardsigmoid(r)
            memory, loudness = Memory.apply(memory, s, r, update, wave, self.amplitude_weight)
            h = F.hardsigmoid(o) * torch.tanh(loudness + self.amplitude_bias[:, None])
            yield h, memory

    @torch.no_grad()
    def _draw(self) -> None:
        """Draw first weights as qlib does: each gate's own, memories at first kept rather than forgotten."""
        for weight in self.gates_x.weight.split(self.gate_sizes):
            nn.init.xavier_uniform_(weight)
        for weight in self.gates_h.weight.split(self.gate_sizes):
            nn.init.orthogonal_(weight)
        _, states, _, _, frequencies = self.gates_x.bias.zero_().split(self.gate_sizes)
        states.fill_(1.0)
        frequencies.fill_(1.0)
        nn.init.orthogonal_(self.amplitude_weight[:, None])


def _waves(time: int, n_frequencies: int) -> Float[Tensor, "time 2 frequency"]:
    """Return cos and sin of 2πkt/K for the bars t = 1, 2, …, the turns taken off before they cost digits."""
    turned = torch.arange(1, time + 1)[:, None] * torch.arange(n_frequencies) % n_frequencies
    angle = 2 * math.pi * turned.double() / n_frequencies
    return torch.stack([angle.cos(), angle.sin()], dim=1)
