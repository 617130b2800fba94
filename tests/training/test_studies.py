"""A study's numbers against counts of its own, and that it leaves no trace."""

import copy
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from workbench.models.registry import build_model, list_models
from workbench.training.fitting import fit
from workbench.training.remarks import Remark
from workbench.training.studies import study

TICKERS = ("AA", "BB", "CC", "DD")


@pytest.fixture(scope="module")
def panel(make_windows):
    return make_windows(bars=60, lookback=6, task="regression", tickers=TICKERS).split(0.6, 0.8)


@pytest.fixture(scope="module")
def full_panel(panel):
    """The panel with every column that some network asks for: concepts, market cap, past label."""
    bars = panel[0].bars
    sectors = (torch.arange(len(bars)) // 60) % 2
    sides = torch.stack([sectors, 1 - sectors, 1 + bars[:, 0].abs(), 0.01 * bars[:, 2]], 1)
    names = (*panel[0].feature_names, "concept:x", "concept:y", "market_cap", "past_label")
    table = torch.cat([bars, sides], 1).contiguous()
    return tuple(replace(part, bars=table, feature_names=names) for part in panel)


@pytest.fixture(scope="module")
def single(make_windows):
    return make_windows(bars=60, lookback=6).split(0.6, 0.8)


def values_of(found: dict, about: str):
    value = found
    for name in about.split("/"):
        value = value[name]
    return value


@pytest.mark.parametrize("name", list_models().index)
def test_every_network_is_studied_and_uses_all_its_weights(name: str, full_panel, single):
    sided = name in ("hist", "tra")  # which read columns that a single ticker's windows don't have
    for train, valid, _ in (full_panel,) if sided else (full_panel, single):
        model = build_model(name, train, seed=1)
        found = study(model, train, valid, steps=2, epochs=3)
        assert found.name == name
        assert found.weights.total == sum(p.numel() for p in model.parameters())
        assert found.weights.without_gradient == 0, found.weights.unreached
        assert found.operations.batch > 0
        assert 0 < found.field.measured <= 6
        assert found.samples.train == len(train.labelled())
        assert found.step is not None
        assert len(found.step.seconds) == 2
        assert found.layers["FLOPs"].sum() == found.operations.batch
        json.dumps(found.to_dict(), allow_nan=False)


class Odd(nn.Module):
    """A user's own: one part left over, one whose unit is always off, reading three bars of the window."""

    def __init__(self, outputs: int = 3):
        super().__init__()
        self.left_over = nn.Linear(5, 5)
        self.off = nn.Parameter(torch.tensor(0.0))
        self.frozen = nn.Parameter(torch.zeros(2), requires_grad=False)
        self.head = nn.Linear(9, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x[:, -3:].flatten(1)) + 0 * self.off


def test_what_no_gradient_reaches_is_counted_and_named(single):
    found = study(Odd(), *single[:2], steps=1)
    assert found.weights.total == 30 + 1 + 2 + 30
    assert found.weights.trainable == 61
    assert (found.weights.without_gradient, found.weights.unreached) == (
        30,
        ("left_over.weight", "left_over.bias"),
    )
    assert (found.weights.zero_gradient, found.weights.still) == (1, ("off",))
    assert found.layers.loc["left_over", "without gradient"] == 30
    assert found.layers["without gradient"].sum() == 30
    assert "left_over.weight, left_over.bias" in str(found)


def test_a_template_layer_left_registered_is_found(single):
    """The layer that nn.TransformerEncoder copies, kept by the model as well: a fault seen elsewhere."""

    class Templated(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Linear(3, 64)
            self.layer = nn.TransformerEncoderLayer(64, 2, batch_first=True)
            self.encoder = nn.TransformerEncoder(self.layer, 1, enable_nested_tensor=False)
            self.head = nn.Linear(64, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.encoder(self.embedding(x))[:, -1])

    found = study(Templated(), *single[:2], steps=1)
    assert found.weights.without_gradient == 281_152
    assert {name.partition(".")[0] for name in found.weights.unreached} == {"layer"}


def test_the_window_is_compared_with_what_the_model_reads(single):
    found = study(Odd(), *single[:2], steps=0)
    assert (found.field.window, found.field.measured, found.field.formula) == (6, 3, None)
    [remark] = [remark for remark in found.remarks if remark.about == "receptive_field/measured"]
    assert remark.value == 3
    assert "the last 3 of the 6 bars only. Take lookback=3" in remark.text
    model = Odd()
    type(model).receptive_field = 9
    try:
        wide = study(model, *single[:2], steps=0)
    finally:
        del type(model).receptive_field
    assert any("receptive field is 9 bars and the window 6" in remark.text for remark in wide.remarks)


def test_operations_and_samples_are_counted_by_hand(single):
    train, valid, _ = single
    found = study(Odd(), train, valid, steps=1, batch_size=8, epochs=5)
    assert (found.operations.batch, found.operations.windows) == (2 * 8 * 9 * 3, 8)
    assert found.operations.window == 2 * 9 * 3
    assert found.samples.train == len(train) == 32
    assert found.samples.per_parameter == 32 / 61
    assert found.samples.bars == 37  # 32 windows of 6 bars, one after the other
    assert (found.samples.valid, found.samples.batch) == (len(valid), 8)
    assert found.step is not None
    assert (found.step.batches, found.step.epochs) == (4, 5)


def test_an_epoch_is_estimated_from_the_steps_with_their_spread(single):
    step = study(Odd(), *single[:2], steps=5, batch_size=8).step
    assert step is not None
    low, middle, high = np.quantile(step.seconds, [0.25, 0.5, 0.75])
    assert step.quartiles == (low, middle, high)
    assert step.epoch == pytest.approx((4 * low, 4 * middle, 4 * high))


def test_an_epoch_has_as_many_steps_as_training_takes(single):
    train, valid, _ = single
    counted = []

    class Counting(Odd):
        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                counted.append(len(x))
            return super().forward(x)

    found = study(Counting(), train, valid, steps=1, batch_size=10)
    assert found.step is not None
    counted.clear()
    fit(Counting(), train, valid, epochs=1, batch_size=10, progress=False)
    assert len(counted) == found.step.batches == 4


def test_steps_are_those_that_fit_takes(single, monkeypatch):
    train, valid, _ = single
    torch.manual_seed(3)
    studied, fitted = Odd(), Odd()
    fitted.load_state_dict(studied.state_dict())
    seen: dict[str, list[float]] = {"study": [], "fit": []}
    monkeypatch.setattr(studied, "training_loss", lambda loss, y: _kept(loss, seen["study"]), raising=False)
    monkeypatch.setattr(fitted, "training_loss", lambda loss, y: _kept(loss, seen["fit"]), raising=False)
    study(studied, train, valid, seed=4, steps=3, batch_size=8)
    fit(fitted, train, valid, seed=4, epochs=1, batch_size=8, progress=False)
    assert seen["study"] == seen["fit"]
    assert len(set(seen["fit"])) == 4


def _kept(loss: Tensor, into: list[float]) -> Tensor:
    into.append(loss.item())
    return loss


class Trained(nn.Module):
    """Has all that training changes: weights, running statistics, dropout."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(3, 4), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Flatten(), nn.Linear(24, 3)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


@pytest.mark.parametrize("build", [lambda w: Trained(), lambda w: build_model("lstm", w)])
def test_nothing_is_left_changed(build, single):
    train, valid, _ = single
    model = build(train).train()
    next(iter(model.children())).eval()
    model(train.x[:4].contiguous()).sum().backward()
    before = copy.deepcopy(model.state_dict())
    gradients = {name: (p.grad, p.grad.clone()) for name, p in model.named_parameters()}
    modes = [module.training for module in model.modules()]
    state, numbers = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002  (that very state)
    study(model, train, valid, steps=2)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    for name, p in model.named_parameters():
        assert p.grad is gradients[name][0]
        assert torch.equal(p.grad, gradients[name][1])
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    np.testing.assert_array_equal(np.random.get_state()[1], numbers)  # noqa: NPY002
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_a_step_that_fails_leaves_the_weights_as_they_were(single):
    class Breaking(Odd):
        def forward(self, x: Tensor) -> Tensor:
            if self.training:
                with torch.no_grad():
                    self.head.weight.zero_()
                raise RuntimeError("no more")
            return super().forward(x)

    model = Breaking()
    before = model.head.weight.clone()
    with pytest.raises(RuntimeError, match="no more"):
        study(model, *single[:2], steps=1)
    assert torch.equal(model.head.weight, before)


def test_training_afterwards_is_what_it_would_have_been(single):
    train, valid, _ = single
    plain, studied = (build_model("lstm", train, seed=2) for _ in range(2))
    study(studied, train, valid, steps=2)
    for model in (plain, studied):
        fit(model, train, valid, epochs=2, progress=False)
    after = plain.state_dict()
    assert all(torch.equal(after[name], value) for name, value in studied.state_dict().items())


def test_features_of_any_size_do_not_blunt_the_probe(single):
    """Unscaled, features of a million would drive every gate of an LSTM to its end, and its gradient to 0."""
    train, valid, _ = single
    large = type(train)(**{**train.__dict__, "bars": train.bars * 1e9})
    found = study(build_model("lstm", large), large, valid, steps=0)
    assert found.field.measured == 6


def test_every_remark_points_at_its_number(single, panel):
    train, valid, _ = single
    found = study(Odd(), train, valid[:3], steps=1)
    plain = found.to_dict()
    assert [remark["about"] for remark in plain["remarks"]] == [
        "parameters/without_gradient",
        "parameters/zero_gradient",
        "receptive_field/measured",
        "samples/per_parameter",
        "samples/train",
        "samples/valid",
    ]
    for remark in plain["remarks"]:
        assert values_of(plain, remark["about"]) == remark["value"]
    assert "3 validation windows are fewer than a batch of 64" in str(found)


def test_rows_lost_to_missing_values_are_remarked_on_with_the_column(make_windows):
    windows = make_windows(bars=60, lookback=6)
    windows.bars[10:20, 1] = math.nan
    keep = np.array([not torch.isnan(windows.bars[e - 5 : e + 1]).any() for e in windows.ends])
    train, valid, _ = windows[keep].split(0.6, 0.8)
    found = study(Odd(), train, valid, steps=0)
    assert found.rows.worst == ("b", 10)
    [remark] = [remark for remark in found.remarks if remark.about == "rows/missing"]
    assert isinstance(remark, Remark)
    assert remark.value == found.rows.missing == 15
    assert "most often 'b' (10 missing)" in remark.text


def test_attention_that_is_large_is_remarked_on(single, monkeypatch):
    from workbench.training import remarks

    train, valid, _ = single
    model = build_model("transformer", train)
    assert not any(r.about.startswith("attention") for r in study(model, train, valid, steps=0).remarks)
    monkeypatch.setattr(remarks, "LARGE", 4000)
    found = study(model, train, valid, steps=0, batch_size=16)
    whole, last = 16 * 4 * 6 * 6 * 4, 16 * 4 * 6 * 4
    assert found.maps.bytes == whole + last
    [remark] = [remark for remark in found.remarks if remark.about == "attention/bytes"]
    assert f"Take batches of {16 * 4000 // (whole + last)}," in remark.text


def test_a_long_training_is_remarked_on(single, monkeypatch):
    from workbench.training import remarks

    monkeypatch.setattr(remarks, "LONG", 0.0)
    found = study(Odd(), *single[:2], steps=1, epochs=7)
    [remark] = [remark for remark in found.remarks if remark.about == "step/epoch_seconds"]
    assert remark.value == found.step.epoch[1]
    assert remark.text.startswith("7 epochs of about")


def test_the_same_is_printed_and_shown(single):
    found = study(Odd(), *single[:2], steps=1)
    for text in ("Study of Odd", "63, 61 trainable, 30 without gradient", "3 of the window's 6 bars"):
        assert text in repr(found)
        assert text.replace("'", "&#x27;") in found._repr_html_()
    assert "gradients not looked at" in repr(study(Odd(), single[0], steps=0))
    assert "no step taken" in repr(study(Odd(), single[0], steps=0))


def test_a_model_of_days_is_studied_by_days(panel):
    class Days(nn.Module):
        cross_sectional = True

        def __init__(self):
            super().__init__()
            self.head, self.sizes = nn.Linear(3, 1), []

        def forward(self, x: Tensor) -> Tensor:
            self.sizes.append(len(x))
            return self.head(x[:, -1] - x[:, -1].mean(0))

    model = Days()
    train, valid, _ = panel
    found = study(model, train, valid, steps=2)
    assert set(model.sizes) == {4}
    assert found.step is not None
    assert found.step.batches == len(train.dates.unique())
    assert (found.operations.windows, found.samples.batch) == (4, 4)


def test_wrong_questions_are_refused_in_words(single, panel):
    train, valid, _ = single
    with pytest.raises(ValueError, match=r"steps is how many to time, 0 or more\. Got -1"):
        study(Odd(), train, valid, steps=-1)
    with pytest.raises(TypeError, match="fit has no option 'batchsize'"):
        study(Odd(), train, valid, batchsize=3)
    with pytest.raises(ValueError, match="must return"):
        study(Odd(outputs=2), train, valid, steps=0)
    with pytest.raises(ValueError, match="train has no window whose label is known"):
        study(Odd(), train[np.zeros(len(train), dtype=bool)], valid)
    with pytest.raises(ValueError, match=r"different features|built for"):
        study(build_model("lstm", panel[0]), train, valid)
