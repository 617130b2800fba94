"""What a summary counts, against counts made by hand and by other means."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from workbench.models.counting import recurrent_flops
from workbench.models.recurrent import LSTMModel
from workbench.models.summary import summarize
from workbench.models.transformer import TradingTransformer

BATCH, TIME, WIDTH = 2, 5, 3


def x_of(batch: int = BATCH, time: int = TIME, width: int = WIDTH) -> Tensor:
    return torch.randn(batch, time, width, generator=torch.Generator().manual_seed(0))


class Attending(nn.Module):
    def __init__(self, heads: int = 2, width: int = 8):
        super().__init__()
        self.heads, self.project = heads, nn.Linear(WIDTH, width)

    def forward(self, x: Tensor) -> Tensor:
        q = self.project(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        return F.scaled_dot_product_attention(q, q, q)[:, :, -1].flatten(1)


class Loop(nn.Module):
    """An LSTM of three layers written out, so that its matrix products can be seen."""

    def __init__(self, lstm: nn.LSTM):
        super().__init__()
        self.lstm = lstm

    def forward(self, x: Tensor) -> Tensor:
        steps = list(x.unbind(1))
        for layer in range(self.lstm.num_layers):
            w = {name: getattr(self.lstm, f"{name}_l{layer}") for name in ("weight_ih", "weight_hh")}
            h = c = torch.zeros(len(x), self.lstm.hidden_size)
            for t, step in enumerate(steps):
                i, f, g, o = (step @ w["weight_ih"].T + h @ w["weight_hh"].T).chunk(4, dim=1)
                c = f.sigmoid() * c + i.sigmoid() * g.tanh()
                h = o.sigmoid() * c.tanh()
                steps[t] = h
        return steps[-1]


def test_an_lstm_of_three_layers_is_counted_by_hand():
    lstm, steps = nn.LSTM(3, 4, 3, batch_first=True), BATCH * TIME
    by_hand = 2 * steps * (4 * 4 * (3 + 4) + 2 * 4 * 4 * (4 + 4))  # gates · H · (I + H), then (H + H)
    assert by_hand == 7360
    assert recurrent_flops(lstm, steps) == summarize(lstm, x_of()).flops == by_hand


def test_an_lstm_costs_what_its_matrix_products_written_out_cost():
    lstm = nn.LSTM(3, 4, 3, batch_first=True)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        Loop(lstm)(x_of())
    assert summarize(lstm, x_of()).flops == counter.get_total_flops()


def test_pytorchs_own_counter_passes_over_the_lstm():
    model = LSTMModel(13, n_layers=2)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.eval()(x_of(1, 60, 13))
    found = summarize(model, x_of(1, 60, 13))
    assert counter.get_total_flops() == 2 * 64 * 3  # the head alone
    assert found.flops == 2 * 64 * 3 + 2 * 60 * 4 * 64 * (13 + 64 + 64 + 64)


def test_the_lstm_of_six_fields_over_sixty_days_takes_six_million_operations():
    found = summarize(LSTMModel(6, n_layers=2, task="regression"), x_of(1, 60, 6))
    assert found.flops == 6_082_560 + 128


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize(
    ("layer", "by_hand"),
    [
        (nn.GRU(3, 4, batch_first=True), 2 * 10 * 3 * 4 * (3 + 4)),
        (nn.RNN(3, 4, batch_first=True), 2 * 10 * 4 * (3 + 4)),
        (nn.GRU(3, 4, batch_first=True, bidirectional=True), 2 * 2 * 10 * 3 * 4 * (3 + 4)),
        (nn.LSTM(3, 4, batch_first=True, proj_size=2), 2 * 10 * (4 * 4 * (3 + 2) + 4 * 2)),
        (nn.LSTM(3, 4), 2 * 10 * 4 * 4 * (3 + 4)),
    ],
)
def test_every_kind_of_recurrent_layer_is_counted_by_hand(layer: nn.RNNBase, by_hand: int):
    assert summarize(layer, x_of()).flops == by_hand


def test_a_packed_sequence_counts_the_steps_that_it_has():
    class Packing(nn.Module):
        def __init__(self):
            super().__init__()
            self.gru = nn.GRU(3, 4, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([5, 2]), batch_first=True)
            return self.gru(packed)[1][0]

    found = summarize(Packing(), x_of())
    assert found.flops == 2 * 7 * 3 * 4 * (3 + 4)
    assert found.root.blocks[0].inputs == (7, 3)


def test_a_recurrent_cell_is_counted_by_its_matrix_products():
    class Cells(nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = nn.LSTMCell(3, 4)

        def forward(self, x: Tensor) -> Tensor:
            state = None
            for step in x.unbind(1):
                state = self.cell(step, state)
            return state[0]

    found = summarize(Cells(), x_of())
    assert found.flops == 2 * BATCH * TIME * 4 * 4 * (3 + 4)
    assert found.root.blocks[0].calls == TIME


def test_fused_attention_is_counted_by_hand_and_as_its_plain_kernel_is():
    model = Attending()
    found = summarize(model, x_of())
    projected, attended = 2 * BATCH * TIME * 3 * 8, 2 * BATCH * 2 * TIME * TIME * (4 + 4)
    assert found.flops == projected + attended
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(x_of())
    assert found.flops == counter.get_total_flops()


def test_attention_written_out_costs_the_same_and_shows_the_same_map():
    class Written(Attending):
        def forward(self, x: Tensor) -> Tensor:
            q = self.project(x).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            return ((q @ q.transpose(2, 3)).softmax(-1) @ q)[:, :, -1].flatten(1)

    fused, written = summarize(Attending(), x_of()), summarize(Written(), x_of())
    assert fused.flops == written.flops
    assert [found.shape for found in fused.maps] == [found.shape for found in written.maps]
    assert [found.fused for found in (*fused.maps, *written.maps)] == [True, False]
    assert fused.map_bytes == written.map_bytes == 4 * BATCH * 2 * TIME * TIME


def test_a_transformer_of_three_layers_is_counted_by_hand():
    model = TradingTransformer(3, d_model=8, n_heads=2, n_layers=3, d_ff=16)
    model.prune = False
    steps = BATCH * TIME
    layer = 2 * steps * (4 * 8 * 8 + 2 * 8 * 16) + 2 * BATCH * 2 * TIME * TIME * (4 + 4)
    found = summarize(model, x_of())
    assert found.flops == 2 * steps * 3 * 8 + 3 * layer + 2 * BATCH * 8 * 3
    assert [(m.module, m.shape) for m in found.maps] == [
        (f"layers.{i}.attention", (BATCH, 2, TIME, TIME)) for i in range(3)
    ]


@pytest.mark.parametrize("grown", [1, 3])
def test_pytorchs_own_encoder_is_looked_into_past_its_fast_path(grown: int):
    encoder = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2, enable_nested_tensor=False
    )
    found = summarize(encoder, x_of(grown, TIME, 8))
    steps = grown * TIME
    layer = 2 * steps * (4 * 8 * 8 + 2 * 8 * 16) + 2 * grown * 2 * TIME * TIME * (4 + 4)
    assert found.flops == 2 * layer
    assert torch.backends.mha.get_fastpath_enabled()


def test_a_convolution_is_counted_by_hand():
    class Convolving(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(3, 4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(x.transpose(1, 2)).mean(2)

    assert summarize(Convolving(), x_of()).flops == 2 * BATCH * 4 * (TIME - 1) * 3 * 2


@given(batch=st.integers(1, 6), time=st.integers(1, 9))
def test_operations_grow_in_step_with_windows(batch: int, time: int):
    model = nn.Sequential(nn.LSTM(3, 4, batch_first=True))
    single, several = summarize(model, x_of(1, time)), summarize(model, x_of(batch, time))
    assert several.flops == batch * single.flops
    assert sum(block.flops for block in several.root.blocks) == several.flops


class Tangled(nn.Module):
    """Registers its parts in another order than it calls them, calls one twice and one never."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 2)
        self.left_over = nn.Linear(7, 7)
        self.parts = nn.ModuleList([nn.Linear(4, 4), nn.Linear(3, 4)])

    def forward(self, x: Tensor) -> Tensor:
        first = self.parts[1](x)
        return self.head(self.parts[0](self.parts[0](first))[:, -1])


def test_blocks_come_in_the_order_in_which_they_ran():
    root = summarize(Tangled(), x_of()).root
    assert [block.path for block in root.walk()] == ["", "parts", "parts.1", "parts.0", "head", "left_over"]
    by_path = {block.path: block for block in root.walk()}
    assert (by_path["parts.0"].calls, by_path["parts"].calls, by_path["left_over"].calls) == (2, 0, 0)
    assert by_path["parts"].ran
    assert not by_path["left_over"].ran
    assert (by_path["parts.1"].inputs, by_path["parts.1"].output) == ((2, 5, 3), (2, 5, 4))
    assert by_path["left_over"].output is None


def test_parameters_are_counted_once_and_layers_sum_to_all():
    model = Tangled()
    model.head.weight.requires_grad_(False)
    found = summarize(model, x_of())
    assert found.parameters == sum(p.numel() for p in model.parameters()) == 10 + 56 + 20 + 16
    assert found.trainable == found.parameters - 8
    assert found.layers["parameters"].sum() == found.parameters
    assert found.layers["FLOPs"].sum() == found.flops
    assert found.layers.loc["left_over", "output"] == "not called"
    shared = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    shared[1].weight = shared[0].weight
    assert summarize(shared, x_of()).parameters == 9 + 3 + 3


def test_elementwise_operations_are_counted_apart():
    class Twice(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x * 2).tanh().clone()

    found = summarize(Twice(), x_of())
    assert (found.flops, found.elementwise) == (0, 2 * BATCH * TIME * WIDTH)


def test_a_model_says_its_receptive_field():
    class Field(nn.Identity):
        @property
        def receptive_field(self) -> int:
            return 29

    assert summarize(Field(), x_of()).receptive_field == 29
    assert summarize(nn.Identity(), x_of()).receptive_field is None


def test_nothing_is_left_changed():
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(5), nn.Dropout(0.5))
    model[1].eval()
    model(x_of()).sum().backward()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    gradients = {name: p.grad for name, p in model.named_parameters()}
    state = torch.get_rng_state()
    summarize(model, x_of())
    assert [m.training for m in model] == [True, False, True]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.grad is gradients[name] for name, p in model.named_parameters())
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_a_failing_forward_leaves_no_hook_behind():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(5, 4))
    with pytest.raises(RuntimeError):
        summarize(model, x_of())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert model.training
