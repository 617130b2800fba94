"""Gates, candidates and memory of PyTorch's recurrent layers at every step, exactly, with no change to them.

PyTorch's kernels hand out h_t of the last layer only. All h_t known, every pre-activation is a product with
x_t and h_{t−1}, known beforehand, so that one matrix product makes those of all steps at once; of an LSTM's
memory the recurrence c_t = f_t c_{t−1} + i_t g_t is left (Hochreiter & Schmidhuber 1997; Gers et al. 2000).
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from workbench.gates.calls import Direction, RecurrentCall, Steps, recurrent_layers
from workbench.gates.passes import run_once, watching
from workbench.gates.states import GATES, GateStates, LayerGates

ROUNDINGS = 64  # of the largest term of a pre-activation: what a difference may be and still be rounding


def gate_states(
    module: nn.Module, x: Tensor | PackedSequence, initial: Tensor | tuple[Tensor, Tensor] | None = None
) -> GateStates:
    """Return all that the recurrent layers of a module computed on `x`, at every step.

    Parameters
    ----------
    module
        An `nn.LSTM` or `nn.GRU`, or any module that runs such: layers, directions, `proj_size`,
        `batch_first`, biases, initial states and packed sequences are as they are in its forward.
    x
        Its input; of a packed sequence the layers' steps come out padded, in the batch's own order. It is
        moved to the module's device.
    initial
        The forward's second argument where given: of a bare layer, h_0 or (h_0, c_0).

    Returns
    -------
    GateStates
        A `LayerGates` for each direction of each layer, in the order in which they ran. Of layers that run
        several times in one forward, the second run's names end in "#2", and so on.

    Raises
    ------
    ValueError
        There are no recurrent layers, none ran, or they compute in less than float32.
    RuntimeError
        What was recovered does not give back what the layers computed; this is checked on every call.

    Notes
    -----
    The module runs once, in evaluation mode, since dropout between layers cannot be seen from outside.
    Its modes, gradients and hooks, and the state of random numbers, are left as they were; threads that look
    at one model take turns. Beside the module's own pass this costs a pass of each layer but the last.

    Examples
    --------
    >>> states = gate_states(torch.nn.LSTM(3, 8, batch_first=True), torch.zeros(2, 5, 3))
    >>> states["l0"].gates["forget"].shape
    torch.Size([2, 5, 8])
    """
    module = getattr(module, "_orig_mod", module)  # torch.compile wraps the module that was written
    paths = recurrent_layers(module)
    recovery = Recovery()
    with torch.no_grad(), watching(module, recovery.take):
        run_once(module, x, initial)
    if not recovery.layers:
        raise ValueError(
            f"{type(module).__name__} has recurrent layers at {', '.join(map(repr, paths))}, "
            "and its forward ran none of them on this input."
        )
    return GateStates(tuple(recovery.layers), recovery.error)


class Recovery:
    """What was recovered in one pass of a model.

    Attributes
    ----------
    layers
        In the order in which they ran.
    error
        Largest difference found, in units of the largest of the states compared, at least 1.
    """

    def __init__(self) -> None:
        self.layers: list[LayerGates] = []
        self.error = 0.0
        self._runs: Counter[str] = Counter()

    def take(self, path: str, call: RecurrentCall) -> None:
        """Recover one run of the layers at a path."""
        self._runs[path] += 1

        def recover(direction: Direction) -> Steps:
            own = direction.own
            h = direction.fused(direction.x, direction.weights) if own is None else own
            recovered = RECOVER[direction.kind](direction, h)
            layer = recovered.layer(path, self._runs[path])
            self.error = max(self.error, recovered.checked(layer.name))
            self.layers.append(layer)
            return h

        call.through(recover)


@dataclass(frozen=True, eq=False)
class Recovered:
    """One direction of one layer, every step in the order in which it was read.

    Attributes
    ----------
    direction, h
        What ran, and the states that PyTorch's kernel computed.
    gates
        In PyTorch's order.
    cell
        c_t of an LSTM.
    rebuilt
        h_t by the layer's equations from gates, cell and h_{t−1}.
    """

    direction: Direction
    h: Steps
    gates: Float[Tensor, "gate time batch unit"]
    cell: Steps | None
    rebuilt: Steps

    def layer(self, path: str, run: int) -> LayerGates:
        """Return it for a reader: batch first, time from left to right, padding 0."""
        of = self.direction
        place = f"l{of.layer}" + ".reverse" * of.reverse + (f"#{run}" if run > 1 else "")
        return LayerGates(
            name=f"{path}.{place}" if path else place,
            module=path,
            kind=of.kind,
            layer=of.layer,
            reverse=of.reverse,
            gates={
                gate: self._shown(values) for gate, values in zip(GATES[of.kind], self.gates, strict=True)
            },
            cell=None if self.cell is None else self._shown(self.cell),
            hidden=self._shown(self.h),
            mask=of.call.mask.T,
        )

    def checked(self, name: str) -> float:
        """Return the largest difference from what PyTorch computed, or raise if it is more than rounding."""
        of, error = self.direction, self._error()
        allowed = ROUNDINGS * torch.finfo(self.h.dtype).eps * max(1.0, _reach(of, self.h))
        if error > allowed:
            raise RuntimeError(
                f"the gates of {name} do not give the states that it computed: they differ by {error:.2g}, "
                f"where rounding explains {allowed:.2g}. {type(of.call.module).__name__} at {name!r} must "
                "compute what PyTorch's nn.LSTM or nn.GRU does; look for a forward of its own, for a hook "
                "that changes its answer, and for weights that change while it runs."
            )
        return error

    def _error(self) -> float:
        call, last = self.direction.call, self.direction.last
        valid = slice(None) if call.lengths is None else call.mask
        pairs = [(self.rebuilt[valid], self.h[valid]), (call.at_the_end(self.h), last[0])]
        if self.cell is not None:
            pairs.append((call.at_the_end(self.cell), last[1]))
        return max(_apart(ours, theirs) for ours, theirs in pairs)

    def _shown(self, values: Steps) -> Float[Tensor, "batch time _"]:
        call = self.direction.call
        values = call.turned(values) if self.direction.reverse else values
        values = values if call.lengths is None else values.masked_fill(~call.mask[..., None], 0.0)
        return values.transpose(0, 1)


def lstm(direction: Direction, h: Steps) -> Recovered:
    """Recover an LSTM's gates and cell: i, f, o = σ(a), g = tanh(a), c_t = f c_{t−1} + i g, h = o tanh c."""
    by_input = direction.products("weight_ih", "bias_ih", direction.x)
    gates = direction.products("weight_hh", "bias_hh", direction.previous(h), by_input)
    i, f, g, o = gates  # (time, batch, unit)
    for gate in (i, f, o):
        gate.sigmoid_()
    g.tanh_()
    cell = i * g
    before = direction.first[1]
    for new, forget in zip(cell.unbind(), f.unbind(), strict=True):
        before = new.addcmul_(forget, before)
    rebuilt = o * cell.tanh()
    w_hr = direction.weight("weight_hr")
    return Recovered(direction, h, gates, cell, rebuilt if w_hr is None else F.linear(rebuilt, w_hr))


def gru(direction: Direction, h: Steps) -> Recovered:
    """Recover a GRU's gates: r, z = σ(a), n = tanh(W x + b + r ⊙ (W h + b)), h ← (1 − z) n + z h."""
    previous = direction.previous(h)
    gates = direction.products("weight_ih", "bias_ih", direction.x)
    by_state = direction.products("weight_hh", "bias_hh", previous)
    r, z, n = gates  # (time, batch, unit)
    for gate, more in ((r, by_state[0]), (z, by_state[1])):
        gate.add_(more).sigmoid_()
    n.addcmul_(r, by_state[2]).tanh_()
    return Recovered(direction, h, gates, None, torch.lerp(n, previous, z))


RECOVER: dict[str, Callable[[Direction, Steps], Recovered]] = {"lstm": lstm, "gru": gru}


def _apart(ours: Tensor, theirs: Tensor) -> float:
    """Return the largest difference, in units of the largest value, at least 1.

    Where theirs is not finite ours need not be; where theirs is, ours must.
    """
    difference = float((ours - theirs).abs().max())
    if math.isfinite(difference):
        return difference / max(1.0, float(theirs.abs().max()))
    finite = theirs.isfinite()
    apart = (ours - theirs)[finite].abs().nan_to_num(nan=math.inf)
    return float(apart.max()) / max(1.0, float(theirs[finite].abs().max())) if len(apart) else 0.0


def _reach(direction: Direction, h: Steps) -> float:
    """Return what no pre-activation's terms, taken without their signs, add up to more than."""
    pairs = (("weight_ih", direction.x), ("weight_hh", direction.previous(h)))
    return sum(
        float(_finite(direction.needed(name)).abs().sum(1).max() * _finite(values).abs().max())
        for name, values in pairs
    )


def _finite(values: Tensor) -> Tensor:
    return values.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
