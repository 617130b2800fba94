"""What recovering every gate costs, over the fused forward pass and over loops of steps.

    python benchmarks/gate_recovery.py

Two layers of 64 units that read 8 features, float32, one thread, processor time of this process, contestants
interleaved; medians of the ratios of the rounds.

- fused: the module's own pass without gradients, which hands out h of the last layer.
- states: `gate_states`, its pass and its check included.
- cells: a loop of nn.LSTMCell or nn.GRUCell, which hands out h and c of both layers, and no gate.
- loop: a loop written by hand that hands out every gate, input products before it, one product a step in it.
- signals: `unit_signals` of what was recovered, the snapshot before included.
- step: a training step of the module, without an optimiser; gradients: `gate_gradients` of the same loss.
"""

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import contests
import record
import torch
from torch import Tensor, nn

from workbench.gates.gradients import gate_gradients
from workbench.gates.readings import unit_signals
from workbench.gates.recover import gate_states

UNITS, FEATURES, LAYERS = 64, 8, 2
SIZES = {"16 × 60": (16, 60), "256 × 60": (256, 60), "1 × 2000": (1, 2000)}
MODULES = {"lstm": (nn.LSTM, nn.LSTMCell), "gru": (nn.GRU, nn.GRUCell)}


@torch.no_grad()
def cells_of(cells: list[nn.Module], x: Tensor) -> list[Tensor]:
    """States of each layer by PyTorch's cells."""
    found = []
    for cell in cells:
        state, states = None, []
        for bar in x.unbind(1):
            state = cell(bar, state)
            states.append(state[0] if isinstance(state, tuple) else state)
        x = torch.stack(states, dim=1)
        found.append(x)
    return found


def lstm_step(a: Tensor, weight: Tensor, bias: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, ...]:
    """One step of an LSTM from the product of its input."""
    a = torch.addmm(a, h, weight) + bias
    i, f, g, o = a.chunk(4, dim=1)
    i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
    c = f * c + i * g
    return o * c.tanh(), c, torch.cat([i, f, g, o], dim=1)


def gru_step(a: Tensor, weight: Tensor, bias: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, ...]:
    """One step of a GRU from the product of its input."""
    r, z, n = a.chunk(3, dim=1)
    by_r, by_z, by_n = torch.addmm(bias, h, weight).chunk(3, dim=1)
    r, z = (r + by_r).sigmoid(), (z + by_z).sigmoid()
    n = (n + r * by_n).tanh()
    return n + z * (h - n), c, torch.cat([r, z, n], dim=1)


@torch.no_grad()
def loop_of(rnn: Any, x: Tensor) -> list[tuple[Tensor, Tensor]]:
    """States and gates of each layer by a loop over steps."""
    step = lstm_step if isinstance(rnn, nn.LSTM) else gru_step
    found = []
    for layer in range(LAYERS):
        w_ih, w_hh, b_ih, b_hh = (getattr(rnn, f"{name}_l{layer}") for name in NAMES)
        products = nn.functional.linear(x, w_ih, b_ih).unbind(1)
        h = c = x.new_zeros(len(x), UNITS)
        states, gates = [], []
        for a in products:
            h, c, values = step(a, w_hh.T, b_hh, h, c)
            states.append(h)
            gates.append(values)
        x = torch.stack(states, dim=1)
        found.append((x, torch.stack(gates, dim=1)))
    return found


NAMES = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def cells_with(rnn: Any, kind: str) -> list[nn.Module]:
    """PyTorch's cells with the weights of each layer."""
    cells = []
    for layer in range(LAYERS):
        cell = MODULES[kind][1](FEATURES if layer == 0 else UNITS, UNITS)
        cell.load_state_dict({name: getattr(rnn, f"{name}_l{layer}") for name in NAMES})
        cells.append(cell)
    return cells


def contest(kind: str, size: str, rounds: int) -> dict[str, Any]:
    """Times and ratios of one kind of layer at one size."""
    torch.manual_seed(0)
    batch, time = SIZES[size]
    rnn = MODULES[kind][0](FEATURES, UNITS, LAYERS, batch_first=True).eval()
    x = torch.randn(batch, time, FEATURES)
    before, states = gate_states(rnn, x + 0.1), gate_states(rnn, x)
    cells = cells_with(rnn, kind)

    def loss(answer: Any) -> Tensor:
        return answer[0][:, -1].square().mean()

    def step() -> None:
        rnn.zero_grad()
        loss(rnn(x)).backward()

    work: dict[str, Callable[[], object]] = {
        "fused": torch.no_grad()(partial(rnn, x)),
        "states": partial(gate_states, rnn, x),
        "cells": partial(cells_of, cells, x),
        "loop": partial(loop_of, rnn, x),
        "signals": partial(unit_signals, states, before),
        "step": step,
        "gradients": partial(gate_gradients, rnn, x, loss),
    }
    times = contests.interleaved({name: (done, 1) for name, done in work.items()}, rounds)
    apart = max(
        float((layer.hidden - h).abs().max())
        for layer, (h, _) in zip(states.layers, loop_of(rnn, x), strict=True)
    )
    return {
        "layer": kind,
        "batch": size,
        **{f"{name}, ms": times.ms(name) for name in work},
        "states ÷ fused": times.ratio("states", "fused"),
        "cells ÷ states": times.ratio("cells", "states"),
        "loop ÷ states": times.ratio("loop", "states"),
        "gradients ÷ step": times.ratio("gradients", "step"),
        "apart from the loop": apart,
        "self-check": states.error,
    }


def main() -> None:
    """Print a table and write benchmarks/results/gate_recovery.json."""
    made = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    made.add_argument("--rounds", type=int, default=15)
    rounds = made.parse_args().rounds
    torch.set_num_threads(1)
    rows = [contest(kind, size, rounds) for kind in MODULES for size in SIZES]
    contests.table(rows)
    record.write("gate_recovery", {"rounds": rounds, "rows": rows})


if __name__ == "__main__":
    main()
