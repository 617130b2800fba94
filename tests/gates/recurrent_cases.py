"""Recurrent layers of every kind, what they are given, and models that hold some."""

import torch
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from workbench.models.alstm import ALSTM
from workbench.models.gats import GATs
from workbench.models.hist import HIST
from workbench.models.recurrent import GRUModel, LSTMModel
from workbench.models.tra import TRA

KINDS = {"lstm": nn.LSTM, "gru": nn.GRU}


def random(*shape, dtype=torch.float64, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def layers(kind, *sizes, dtype=torch.float64, **options):
    torch.manual_seed(1)
    return KINDS[kind](*sizes, **options).to(dtype).eval()


def set_weights(rnn, **weights):
    with torch.no_grad():
        for name, rows in weights.items():
            getattr(rnn, f"{name}_l0").copy_(
                torch.tensor(rows, dtype=torch.float64).view_as(getattr(rnn, f"{name}_l0"))
            )


@st.composite
def configurations(draw):
    kind = draw(st.sampled_from(sorted(KINDS)))
    options = {
        "num_layers": draw(st.integers(1, 3)),
        "bidirectional": draw(st.booleans()),
        "bias": draw(st.booleans()),
        "batch_first": draw(st.booleans()),
    }
    width, units = draw(st.integers(1, 4)), draw(st.integers(1, 5))
    if options["num_layers"] > 1:
        options["dropout"] = draw(st.sampled_from([0.0, 0.5]))
    if kind == "lstm" and units > 1:
        options["proj_size"] = draw(st.integers(0, units - 1))
    batch, time = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    return {
        "kind": kind,
        "sizes": (width, units),
        "options": options,
        "form": draw(st.sampled_from(["padded", "sorted", "unsorted", "unbatched"])),
        "lengths": draw(st.lists(st.integers(1, time), min_size=batch, max_size=batch)),
        "initial": draw(st.booleans()),
        "dtype": draw(st.sampled_from([torch.float32, torch.float64])),
        "seed": draw(st.integers(0, 1000)),
    }


def made(kind, sizes, options, form, lengths, initial, dtype, seed):
    """Layers, what they are given, and the state that they start from."""
    rnn = layers(kind, *sizes, dtype=dtype, **options)
    batch, time = len(lengths), max(lengths)
    x = random(*((batch, time) if rnn.batch_first else (time, batch)), sizes[0], dtype=dtype, seed=seed)
    if form == "unbatched":
        batch, x = 1, x[:, 0]
    elif form != "padded":
        lengths = sorted(lengths, reverse=True) if form == "sorted" else lengths
        x = pack_padded_sequence(x, lengths, rnn.batch_first, enforce_sorted=form == "sorted")
    if not initial:
        return rnn, x, None
    places = rnn.num_layers * (1 + rnn.bidirectional)
    h = random(places, batch, rnn.proj_size or rnn.hidden_size, dtype=dtype, seed=seed + 1)
    c = random(places, batch, rnn.hidden_size, dtype=dtype, seed=seed + 2)
    h, c = (h[:, 0], c[:, 0]) if form == "unbatched" else (h, c)
    return rnn, x, (h, c) if kind == "lstm" else h


class Several(nn.Module):
    """A user's own: three recurrent modules, one of them run twice, one packed, called in different ways."""

    def __init__(self):
        super().__init__()
        self.first = nn.LSTM(3, 4, 2, batch_first=True, dropout=0.4)
        self.inner = nn.ModuleDict({"back": nn.GRU(4, 3, bidirectional=True)})
        self.last = nn.LSTM(6, 5, proj_size=2, batch_first=True)
        self.unused = nn.GRU(2, 2)

    def forward(self, x):
        h, state = self.first(input=x)
        h, _ = self.first(torch.relu_(h.clone())[..., :3], hx=state)
        packed = pack_padded_sequence(h, [3, 5], batch_first=True, enforce_sorted=False)
        h, _ = self.inner["back"](packed)
        h = pad_packed_sequence(h, batch_first=True)[0]
        answer, _ = self.last(h)
        return answer.mul_(0)  # in place, after the layer


STACKS = {
    "lstm": (lambda: LSTMModel(3, hidden_size=5), "lstm"),
    "gru": (lambda: GRUModel(3, hidden_size=5), "gru"),
    "alstm": (lambda: ALSTM(3, hidden_size=5), "rnn"),
    "alstm of gru": (lambda: ALSTM(3, hidden_size=5, rnn="gru"), "rnn"),
    "gats": (lambda: GATs(3, hidden_size=5), "base"),
    "gats of gru": (lambda: GATs(3, hidden_size=5, base="gru"), "base"),
    "hist": (
        lambda: HIST(3, feature_names=("concept:oil", "range", "return"), hidden_size=5, n_layers=2),
        "base",
    ),
    "tra": (
        lambda: TRA(
            3, feature_names=("range", "past_label", "return"), hidden_size=5, horizon=2, router_size=4
        ),
        "base",
    ),
}
