"""Value-weighted maps and ALTI by loops over pairs, in float64, from the weights and formulas alone."""

import math

import numpy as np
import torch
import torch.nn.functional as F

MEASURES = ("values", "inside", "alti")


class Attention:
    """The weights of one block, however its module names them."""

    def __init__(self, module, norm, norm_first):
        self.norm, self.norm_first = norm, norm_first
        if isinstance(module, torch.nn.MultiheadAttention):
            self.heads = module.num_heads
            width = module.embed_dim
            bias = module.in_proj_bias
            thirds = [slice(i * width, (i + 1) * width) for i in range(3)]
            self.projections = [
                (module.in_proj_weight[third], 0 if bias is None else bias[third]) for third in thirds
            ]
            out = module.out_proj
        else:
            self.heads = module.n_heads
            self.projections = [
                (module.w_q.weight, module.w_q.bias),
                (module.w_k.weight, 0),
                (module.w_v.weight, module.w_v.bias),
            ]
            out = module.w_o
        self.w_o, self.b_o = out.weight, 0 if out.bias is None else out.bias


def block(attention, x, allowed):
    """Return y (time, d_model) of one sample, and its rows by every measure: {name: (query, key)}."""
    x, norm = x.numpy(), attention.norm
    time, width = x.shape
    source = (
        np.stack([normal(norm, row, row) + norm.bias.numpy() for row in x]) if attention.norm_first else x
    )
    q, k, v = (source @ np.asarray(weight).T + np.asarray(bias) for weight, bias in attention.projections)
    w_o, size = np.asarray(attention.w_o), width // attention.heads
    rows = {name: np.zeros((time, time)) for name in MEASURES}
    outputs = np.zeros_like(x)
    for i in range(time):
        added = np.zeros((time, width))  # of each key
        for head in range(attention.heads):
            here = slice(head * size, (head + 1) * size)
            scores = [
                math.exp(q[i, here] @ k[j, here] / math.sqrt(size)) if allowed[i, j] else 0.0
                for j in range(time)
            ]
            for j in range(time):
                added[j] += scores[j] / sum(scores) * (w_o[:, here] @ v[j, here])
        whole = x[i] + added.sum(0) + np.asarray(attention.b_o)
        outputs[i] = whole if attention.norm_first else normal(norm, whole, whole) + norm.bias.numpy()
        for j in range(time):
            part = added[j] + (x[i] if i == j else 0)
            part = part if attention.norm_first else normal(norm, part, whole)
            rows["values"][i, j] = np.linalg.norm(added[j])
            rows["inside"][i, j] = np.linalg.norm(part)
            rows["alti"][i, j] = max(0.0, np.abs(outputs[i]).sum() - np.abs(outputs[i] - part).sum())
    for found in rows.values():
        found /= [[total or 1.0] for total in found.sum(-1)]
    return torch.from_numpy(outputs), {name: torch.from_numpy(found) for name, found in rows.items()}


def normal(norm, part, whole):
    """What a layer norm, without its bias, makes of a part of the vector that it normalises."""
    return (part - part.mean()) / math.sqrt(whole.var() + norm.eps) * norm.weight.numpy()


def own_model(model, x):
    """Return the rows of every layer of a TradingTransformer: {name: [(batch, query, key)]}."""
    with torch.no_grad():
        h = model.positions(model.embedding(model.scaling(x)))
    time = x.shape[1]
    allowed = torch.ones(time, time).tril() if model.causal else torch.ones(time, time)

    def layers():
        for layer in model.layers:
            part = layer.attention
            yield Attention(part, part.norm, part.norm_first), layer.feed_forward

    return stacked(layers(), h, [allowed] * len(x))


def encoder_model(encoder, x, allowed):
    """The same of an nn.TransformerEncoder whose input is (batch, time, d_model)."""

    def layers():
        for layer in encoder.layers:
            attention = Attention(layer.self_attn, layer.norm1, layer.norm_first)

            def after(h, layer=layer):
                if layer.norm_first:
                    return h + layer.linear2(F.relu(layer.linear1(layer.norm2(h))))
                return layer.norm2(h + layer.linear2(F.relu(layer.linear1(h))))

            yield attention, after

    return stacked(layers(), x, allowed)


def stacked(layers, h, allowed):
    found = {name: [] for name in MEASURES}
    with torch.no_grad():
        for attention, after in layers:
            samples = [block(attention, *given) for given in zip(h, allowed, strict=True)]
            for name in MEASURES:
                found[name].append(torch.stack([rows[name] for _, rows in samples]))
            h = after(torch.stack([outputs for outputs, _ in samples]))
    return found
