"""Recurrent layers and attention by plain loops over stocks, bars and heads, from the equations."""

import math

import torch


def doubles(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def naive_states(rnn, x):
    """States (stock, time, hidden) of the last layer of an nn.LSTM or nn.GRU, in float64."""
    rows = []
    for window in x.double():
        bars = list(window)
        for layer in range(rnn.num_layers):
            names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            weights = [getattr(rnn, f"{name}_l{layer}").detach().double() for name in names]
            step = lstm_step if isinstance(rnn, torch.nn.LSTM) else gru_step
            h = c = torch.zeros(rnn.hidden_size, dtype=torch.float64)
            out = []
            for bar in bars:
                h, c = step(bar, h, c, *weights)
                out.append(h)
            bars = out
        rows.append(torch.stack(bars))
    return torch.stack(rows)


def lstm_step(x, h, c, w_ih, w_hh, b_ih, b_hh):
    i, f, g, o = (w_ih @ x + b_ih + w_hh @ h + b_hh).chunk(4)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def gru_step(x, h, _, w_ih, w_hh, b_ih, b_hh):
    (rx, zx, nx), (rh, zh, nh) = (w_ih @ x + b_ih).chunk(3), (w_hh @ h + b_hh).chunk(3)
    r, z = torch.sigmoid(rx + rh), torch.sigmoid(zx + zh)
    return (1 - z) * torch.tanh(nx + r * nh) + z * h, None


def linear(module, x):
    weight = module.weight.detach().double()
    return weight @ x + (0 if module.bias is None else module.bias.detach().double())


def leaky(x, slope=0.01):
    return torch.where(x > 0, x, slope * x)


def softmax(scores):
    """Shares by key, of scores by key."""
    top = max(scores.values())
    total = sum(math.exp(s - top) for s in scores.values())
    return {key: math.exp(s - top) / total for key, s in scores.items()}


def cosine(a, b):
    size = math.sqrt(float(a @ a)) * math.sqrt(float(b @ b))
    return float(a @ b) / size if size else 0.0


def layer_norm(module, x):
    centred = x - x.mean()
    scaled = centred / torch.sqrt(centred.square().mean() + module.eps)
    return scaled * module.weight.detach().double() + module.bias.detach().double()


def naive_encoder_layer(layer, tokens):
    """One encoder layer over a list of tokens, head by head and query by query."""
    attention, ff = layer.attention, layer.feed_forward
    pre = attention.norm_first
    given = [layer_norm(attention.norm, t) if pre else t for t in tokens]
    width = len(tokens[0]) // attention.n_heads
    attended = []
    for own in given:
        heads = []
        for head in range(attention.n_heads):
            part = slice(head * width, (head + 1) * width)
            q = linear(attention.w_q, own)[part]
            scores = {
                j: float(q @ linear(attention.w_k, other)[part]) / math.sqrt(width)
                for j, other in enumerate(given)
            }
            shares = softmax(scores)
            heads.append(sum(shares[j] * linear(attention.w_v, o)[part] for j, o in enumerate(given)))
        attended.append(linear(attention.w_o, torch.cat(heads)))
    tokens = [t + a for t, a in zip(tokens, attended, strict=True)]
    tokens = tokens if pre else [layer_norm(attention.norm, t) for t in tokens]
    given = [layer_norm(ff.norm, t) if pre else t for t in tokens]
    tokens = [t + linear(ff.w_2, linear(ff.w_1, g).clamp(min=0)) for t, g in zip(tokens, given, strict=True)]
    return tokens if pre else [layer_norm(ff.norm, t) for t in tokens]
