"""Equations of networks written out bar by bar in float64, and what the tests of several networks share."""

import math

import torch

SINGLE = {"rtol": 0, "atol": 1e-6}
DOUBLE = {"rtol": 0, "atol": 1e-12}


def double_windows(batch, time, features, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, time, features, dtype=torch.float64, generator=generator)


def dead(model, x):
    """Name the weights that one backward pass in training mode leaves without gradient."""
    model.train().zero_grad()
    loss = model(x).square().mean()
    if hasattr(model, "training_loss"):
        loss = model.training_loss(loss, torch.zeros(len(x), dtype=x.dtype))
    loss.backward()
    return [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]


def gradients_are_right(model, x):
    """Compare the gradients by input and by every weight with differences (float64)."""
    names, weights = zip(*model.named_parameters(), strict=True)

    def answer(x, *weights):
        return torch.func.functional_call(model, dict(zip(names, weights, strict=True)), x)

    return torch.autograd.gradcheck(answer, (x.requires_grad_(), *weights), fast_mode=True)


def sigmoid(x):
    return 1 / (1 + torch.exp(-x))


def lstm_states(layers, windows):
    """States of the last of the stacked LSTM layers, window by window and bar by bar."""
    return [_states(layers, window, _lstm_step) for window in windows]


def gru_states(layers, windows):
    return [_states(layers, window, _gru_step) for window in windows]


def _states(layers, window, step):
    own = {name: weight.detach().double() for name, weight in layers.named_parameters()}
    steps = list(window.double())
    for layer in range(layers.num_layers):
        w, u, b, c = (own[f"{n}_l{layer}"] for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        h = memory = torch.zeros(layers.hidden_size, dtype=torch.float64)
        states = []
        for x in steps:
            h, memory = step(w @ x + b, u @ h + c, h, memory)
            states.append(h)
        steps = states
    return torch.stack(steps)


def _lstm_step(from_x, from_h, h, memory):
    i, f, g, o = (from_x + from_h).chunk(4)
    memory = sigmoid(f) * memory + sigmoid(i) * torch.tanh(g)
    return sigmoid(o) * torch.tanh(memory), memory


def _gru_step(from_x, from_h, h, memory):
    (r_x, z_x, n_x), (r_h, z_h, n_h) = from_x.chunk(3), from_h.chunk(3)
    r, z = sigmoid(r_x + r_h), sigmoid(z_x + z_h)
    return (1 - z) * torch.tanh(n_x + r * n_h) + z * h, memory


def position(t, width):
    """The sinusoidal encoding of one step."""
    waves = [(math.sin, math.cos)[i % 2](t / 10_000 ** ((i - i % 2) / width)) for i in range(width)]
    return torch.tensor(waves, dtype=torch.float64)


WITHIN = {  # an nn.TransformerEncoderLayer, as EncoderLayer names its parts
    "self_attn.out_proj": "attention.w_o",
    "norm1": "attention.norm",
    "linear1": "feed_forward.w_1",
    "linear2": "feed_forward.w_2",
    "norm2": "feed_forward.norm",
}


def from_pytorchs_encoder(theirs, names):
    """Weights of a module around nn.TransformerEncoder by our names; `names` has those of other parts."""
    ours = {}
    for name, weight in theirs.items():
        path, _, kind = name.rpartition(".")
        if path.startswith("encoder_layer"):  # qlib's template, with which nothing is computed
            continue
        if not path.startswith("transformer_encoder.layers"):
            ours[f"{names[path]}.{kind}"] = weight
            continue
        number, inside = path.split(".")[2], path.split(".", 3)[3]
        if not kind.startswith("in_proj"):
            ours[f"layers.{number}.{WITHIN[inside]}.{kind}"] = weight
            continue
        for which, third in zip("qkv", weight.chunk(3), strict=True):
            if (which, kind) != ("k", "in_proj_bias"):
                ours[f"layers.{number}.attention.w_{which}.{kind.removeprefix('in_proj_')}"] = third
    return ours
