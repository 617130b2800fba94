from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from workbench.models.registry import build_model
from workbench.training.prediction import evaluating, frame_of, outputs_of, predict


def test_probabilities_worked_by_hand(make_windows):
    windows = make_windows()[:3]
    odds = torch.tensor([[1.0, 1.0, 2.0], [1.0, 3.0, 4.0], [5.0, 2.0, 3.0]])
    frame = frame_of(odds.log(), windows)
    assert frame.to_numpy() == pytest.approx(
        np.array([[0.25, 0.25, 0.5], [0.125, 0.375, 0.5], [0.5, 0.2, 0.3]])
    )
    assert frame.columns.tolist() == ["sell", "hold", "buy"]
    assert frame.index.equals(windows.dates)
    assert frame.index.name == "date"


def test_forecasts_are_passed_on_as_they_are(make_windows):
    windows = make_windows(task="regression")[:3]
    frame = frame_of(torch.tensor([[0.5], [-1.0], [2.0]]), windows)
    assert frame["forecast"].tolist() == [0.5, -1.0, 2.0]


def test_a_panel_is_told_by_date_and_ticker(make_windows, linear):
    windows = make_windows(tickers=("MSFT", "AAPL"))
    frame = predict(linear(), windows)
    expected = pd.MultiIndex.from_arrays([windows.dates, windows.tickers], names=["date", "ticker"])
    assert frame.index.equals(expected)
    assert frame.index.names == ["date", "ticker"]
    one = predict(linear(), windows[(windows.tickers == "MSFT")])
    pd.testing.assert_frame_equal(frame.xs("MSFT", level="ticker"), one.droplevel("ticker"))


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_every_window_gets_its_own_answer_whatever_the_batch(make_windows, linear, batch_size):
    windows, model = make_windows(), linear()
    frame = predict(model, windows, batch_size)
    expected = model.layer(windows.x.flatten(1)).double().softmax(1).detach().numpy()
    assert frame.to_numpy() == pytest.approx(expected, abs=1e-6)
    assert frame.sum(axis=1).to_numpy() == pytest.approx(1)


@pytest.mark.parametrize("name", ["transformer", "lstm"])
def test_an_answer_does_not_hang_on_how_many_windows_follow(make_windows, name):
    windows = make_windows(bars=604)[:600]
    model = build_model(name, windows)
    whole = predict(model, windows)
    for count in (*range(1, 34), 100, *range(255, 266), 300, *range(511, 522), 599):
        assert predict(model, windows[:count]).equals(whole[:count]), count
    assert predict(model, windows[:257]).equals(predict(model, windows[:258])[:257])


@pytest.mark.parametrize(("batch_size", "sizes"), [(256, [8]), (5, [5, 5]), (1, [1] * 6)])
def test_a_small_last_batch_is_filled_up_but_never_past_the_batch_size(make_windows, batch_size, sizes):
    class Size(nn.Module):
        def forward(self, x):
            seen.append(len(x))
            return x[:, -1]

    seen: list[int] = []
    assert len(predict(Size(), make_windows()[:6], batch_size)) == 6
    assert seen == sizes


def test_windows_whose_label_is_not_known_yet_are_predicted_too(make_windows, linear):
    windows = make_windows()
    assert (windows.y < 0).any()
    assert len(predict(linear(), windows)) == len(windows)


def test_no_windows_give_an_empty_frame(make_windows, linear):
    assert predict(linear(), make_windows()[:0]).shape == (0, 3)


def test_the_frame_says_where_it_comes_from(make_windows, linear):
    attrs = predict(linear(), make_windows()).attrs
    assert attrs["provenance"]["ticker"] == "AAPL"
    assert attrs["horizon"] == 1


def test_dropout_is_off_and_every_part_gets_its_mode_back(make_windows):
    windows = make_windows()
    model = build_model("transformer", windows, d_model=8, dropout=0.5).train()
    model.head.eval()
    assert predict(model, windows).equals(predict(model, windows))
    assert model.training
    assert not model.head.training


def test_threads_are_one_unless_told_otherwise_and_come_back(make_windows):
    class Count(nn.Module):
        def forward(self, x):
            counts.append(torch.get_num_threads())
            return x[:, -1]

    counts: list[int] = []
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        for threads in (1, None, 3):
            predict(Count(), make_windows(), threads=threads)
            assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert counts == [1, 2, 3]


def test_the_mode_comes_back_after_an_error_too():
    model = nn.Dropout()

    def fail():
        with evaluating(model):
            assert not model.training
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert model.training


def test_no_gradient_is_kept(make_windows, linear):
    assert not outputs_of(linear(), make_windows()).requires_grad


def test_a_nan_is_refused_with_its_date(make_windows, linear):
    windows = make_windows()
    bars = windows.bars.clone()
    bars[50] = float("nan")
    with pytest.raises(ValueError, match="window decided on"):
        predict(linear(), replace(windows, bars=bars))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"feature_names": ("a", "c", "b")}, "same names in another order"),
        ({"feature_names": ("a", "b", "x")}, r"lack c\. The model doesn't know x"),
        ({"classes": ("down", "flat", "up")}, r"built for classes \('sell'"),
        ({"horizon": 5}, "built for horizon 1 and the windows have 5"),
    ],
)
def test_windows_that_the_model_was_not_built_for_are_refused(make_windows, change, message):
    windows = make_windows()
    with pytest.raises(ValueError, match=message):
        predict(build_model("lstm", windows), replace(windows, **change))


def test_windows_of_another_length_are_refused(make_windows):
    with pytest.raises(ValueError, match="built for lookback 4 and the windows have 6"):
        predict(build_model("lstm", make_windows()), make_windows(lookback=6))


def test_an_output_that_is_no_tensor_is_refused(make_windows):
    with pytest.raises(TypeError, match=r"must return a tensor .* got tuple"):
        predict(nn.LSTM(3, 3, batch_first=True), make_windows())


def test_a_batch_size_of_nothing_is_refused(make_windows, linear):
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        predict(linear(), make_windows(), batch_size=0)
