"""Gates, candidates and memory of PyTorch's recurrent layers at every step, exactly, with no change to them.

PyTorch's kernels hand out h_t of the last layer only. All h_t known, every pre-activation is a product with
x_t and h_{t−1}, known beforehand, so that one matrix product makes those of all steps at once; of an LSTM's
memory the recurrence c_t = f_t c_{t−1} + i_t g_t is left (Hochreiter & Schmidhuber 1997; Gers et al. 2000).
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from workbench.gates.agreeing import check_rounding
from workbench.gates.calls import RecurrentCall, Steps
from workbench.gates.directions import Direction, through
from workbench.gates.passes import recurrent_layers, run_once, watching
from workbench.gates.states import GATES, GateStates, LayerGates


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
    TypeError
        `x` is neither a tensor nor a packed sequence.
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
        Largest difference found.
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
            h = direction.fused(direction.x, direction.weights)[0] if own is None else own.clone()
            recovered = RECOVER[direction.kind](direction, h)
            layer = recovered.layer(path, self._runs[path])
            self.error = max(self.error, recovered.checked(layer.name))
            self.layers.append(layer)
            return h

        through(call, recover)


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
    apart
        h_t by the layer's equations from gates, cell and h_{t−1}, less `h`.
    """

    direction: Direction
    h: Steps
    gates: Float[Tensor, "gate time batch unit"]
    cell: Steps | None
    apart: Steps

    def layer(self, path: str, run: int) -> LayerGates:
        """Return it for a reader."""
        of = self.direction
        return LayerGates(
            name=of.name(path, run),
            module=path,
            kind=of.kind,
            layer=of.layer,
            reverse=of.reverse,
            gates=dict(zip(GATES[of.kind], map(of.shown, self.gates), strict=True)),
            cell=None if self.cell is None else of.shown(self.cell),
            hidden=of.shown(self.h),
            mask=of.call.mask.T,
        )

    def checked(self, name: str) -> float:
        """Return the largest difference from what PyTorch computed, or raise if it is more than rounding."""
        of, last = self.direction, self.direction.last
        call = of.call
        valid = slice(None) if call.lengths is None else call.mask
        pairs = [(self.apart[valid], self.h[valid]), (call.at_the_end(self.h) - last[0], last[0])]
        if self.cell is not None:
            pairs.append((call.at_the_end(self.cell) - last[1], last[1]))
        return check_rounding(pairs, of, self.h, name)


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
    rebuilt, w_hr = cell.tanh().mul_(o), direction.weight("weight_hr")
    rebuilt = rebuilt if w_hr is None else F.linear(rebuilt, w_hr)
    return Recovered(direction, h, gates, cell, rebuilt.sub_(h))


def gru(direction: Direction, h: Steps) -> Recovered:
    """Recover a GRU's gates: r, z = σ(a), n = tanh(W x + b + r ⊙ (W h + b)), h ← (1 − z) n + z h."""
    previous = direction.previous(h)
    gates = direction.products("weight_ih", "bias_ih", direction.x)
    by_state = direction.products("weight_hh", "bias_hh", previous)
    r, z, n = gates  # (time, batch, unit)
    for gate, more in ((r, by_state[0]), (z, by_state[1])):
        gate.add_(more).sigmoid_()
    n.addcmul_(r, by_state[2]).tanh_()
    return Recovered(direction, h, gates, None, torch.lerp(n, previous, z).sub_(h))


RECOVER: dict[str, Callable[[Direction, Steps], Recovered]] = {"lstm": lstm, "gru": gru}
