"""LSTM and GRU one sequence, one layer, one direction and one step at a time, from their equations."""

from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence

DOUBLE = {"rtol": 0, "atol": 1e-14}
SINGLE = {"rtol": 0, "atol": 1e-6}
CELLS = {"lstm": nn.LSTMCell, "gru": nn.GRUCell}


@dataclass
class Step:
    """Gates by name, cell and state after a step, and what the gates heard from input and state."""

    gates: dict
    h: torch.Tensor
    c: torch.Tensor | None
    by_input: torch.Tensor
    by_state: torch.Tensor


@dataclass
class Naive:
    """Steps of every sequence, in order of time, by (layer, reverse, sequence)."""

    steps: dict = field(default_factory=dict)

    def of(self, layer, what):
        """(time, unit) of each sequence, for a `LayerGates` and "hidden", "cell" or a gate."""
        runs = [s for (number, reverse, _), s in self.steps.items() if (number, reverse) == layer]
        picked = {"hidden": lambda s: s.h, "cell": lambda s: s.c}.get(what, lambda s: s.gates[what])
        return [torch.stack([picked(step) for step in run]) for run in runs]


def kind_of(rnn):
    return "lstm" if isinstance(rnn, nn.LSTM) else "gru"


def naive(rnn, sequences, h0=None, c0=None):
    """Run (time, feature) sequences through all layers; h0, c0 are (layer · direction, sequence, state)."""
    found = Naive()
    directions = 1 + rnn.bidirectional
    for number, sequence in enumerate(sequences):
        x = list(sequence)
        for layer in range(rnn.num_layers):
            outs = []
            for reverse in range(directions):
                place = layer * directions + reverse
                state = (
                    sequence.new_zeros(rnn.proj_size or rnn.hidden_size) if h0 is None else h0[place, number]
                )
                memory = sequence.new_zeros(rnn.hidden_size) if c0 is None else c0[place, number]
                run = []
                for bar in x[::-1] if reverse else x:
                    step = one_step(rnn, f"_l{layer}" + "_reverse" * reverse, bar, state, memory)
                    state, memory = step.h, step.c
                    run.append(step)
                outs.append(run[::-1] if reverse else run)
                found.steps[layer, bool(reverse), number] = outs[-1]
            x = [torch.cat([run[t].h for run in outs]) for t in range(len(x))]
    return found


def one_step(rnn, suffix, x, h, c):
    def w(name):
        return getattr(rnn, name + suffix).to(x.dtype)

    by_input, by_state = w("weight_ih") @ x, w("weight_hh") @ h
    if rnn.bias:
        by_input, by_state = by_input + w("bias_ih"), by_state + w("bias_hh")
    if by_input.requires_grad:
        by_input.retain_grad()
        by_state.retain_grad()
    if kind_of(rnn) == "lstm":
        i, f, g, o = (by_input + by_state).chunk(4)
        i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
        c = f * c + i * g
        h = o * c.tanh()
        h = w("weight_hr") @ h if rnn.proj_size else h
        return Step({"input": i, "forget": f, "candidate": g, "output": o}, h, c, by_input, by_state)
    (rx, zx, nx), (rh, zh, nh) = by_input.chunk(3), by_state.chunk(3)
    r, z = (rx + rh).sigmoid(), (zx + zh).sigmoid()
    n = (nx + r * nh).tanh()
    return Step({"reset": r, "update": z, "candidate": n}, (1 - z) * n + z * h, None, by_input, by_state)


def cell_states(rnn, layer, x, h=None, c=None):
    """h (and c) of one layer after each step of x (time, batch, feature), by PyTorch's own cell."""
    kind = kind_of(rnn)
    cell = CELLS[kind](x.shape[-1], rnn.hidden_size, bias=rnn.bias).to(x.dtype)
    cell.load_state_dict({k: getattr(rnn, f"{k}_l{layer}") for k in cell.state_dict()})
    state = None if h is None else ((h, c) if kind == "lstm" else h)
    states = []
    for step in x:
        state = cell(step, state)
        states.append(state if kind == "lstm" else (state,))
    return [torch.stack(part) for part in zip(*states, strict=True)]


def sequences_of(rnn, x):
    """Each sequence (time, feature), in float64, of what an nn.LSTM or nn.GRU is given."""
    if isinstance(x, PackedSequence):
        padded, lengths = pad_packed_sequence(x, batch_first=True)
        return [sequence[:length].double() for sequence, length in zip(padded, lengths, strict=True)]
    if x.dim() == 2:
        return [x.double()]
    return list((x if rnn.batch_first else x.transpose(0, 1)).double())
