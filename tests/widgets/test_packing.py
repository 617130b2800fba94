import numpy as np
import pandas as pd
import pytest

from workbench.widgets.answers import Answers
from workbench.widgets.packing import (
    Scores,
    answers_message,
    bars_message,
    failed_message,
    maps_message,
    scores_message,
)

ASK = {"method": "rollout", "target": ""}


def test_bars_carry_dates_in_utc_milliseconds_and_five_columns(prices, numbers):
    message = bars_message(3, prices)
    assert message.content == {"kind": "bars", "version": 3, "n": len(prices)}
    dates, *columns = [numbers(buffer, "<f8") for buffer in message.buffers]
    assert pd.to_datetime(dates[0], unit="ms") == prices.index[0]
    for values, name in zip(columns, ("open", "high", "low", "close", "volume"), strict=True):
        assert np.array_equal(values, prices[name].to_numpy())


def test_intraday_dates_are_those_of_utc(numbers):
    index = pd.DatetimeIndex(["2024-03-01 14:30"], tz="America/New_York")
    prices = pd.DataFrame({"close": [1.0]}, index=index)
    message = bars_message(1, prices)
    assert (
        numbers(message.buffers[0], "<f8")[0] == pd.Timestamp("2024-03-01 19:30", tz="UTC").timestamp() * 1e3
    )
    assert np.isnan(numbers(message.buffers[1], "<f8")).all()  # no opens


def test_answers_keep_types_and_order(numbers):
    answers = Answers(
        rows=np.array([4, 5]),
        outputs=np.array([[0.1, 0.9], [0.8, 0.2]]),
        happened=np.array([0.5, np.nan]),
        moved=np.array([1, -1], dtype=np.int8),
        position=np.array([1.0, -1.0]),
        equity=np.array([np.nan, 100.0]),
        benchmark=np.array([np.nan, 101.0]),
        split=np.array([1, 3], dtype=np.uint8),
    )
    message = answers_message(2, answers)
    assert message.content == {"kind": "answers", "version": 2, "windows": 2, "outputs": 2}
    kinds = ["<i4", "<f4", "<f8", "i1", "<f4", "<f8", "<f8", "u1"]
    rows, outputs, happened, moved, position, equity, benchmark, split = [
        numbers(buffer, kind) for buffer, kind in zip(message.buffers, kinds, strict=True)
    ]
    assert rows.tolist() == [4, 5]
    assert outputs.tolist() == pytest.approx([0.1, 0.9, 0.8, 0.2])
    assert happened[0] == 0.5
    assert np.isnan(happened[1])
    assert moved.tolist() == [1, -1]
    assert position.tolist() == [1, -1]
    assert equity[1] == 100
    assert benchmark[1] == 101
    assert split.tolist() == [1, 3]


def test_maps_have_a_buffer_a_layer_of_head_query_key(numbers):
    layer = np.arange(12.0).reshape(2, 2, 3)
    message = maps_message(1, 7, [layer, layer[:1]])
    assert message.content == {"kind": "maps", "version": 1, "window": 7}
    assert np.array_equal(numbers(message.buffers[0], "<f4", 2, 2, 3), layer)
    assert len(message.buffers[1]) == 4 * 6


@pytest.mark.parametrize(
    ("null", "told"), [(None, 0), (np.ones(3), 1), (np.ones((2, 3)), 2)], ids=["none", "shared", "each"]
)
def test_scores_say_what_kind_of_null_they_have(null, told):
    found = Scores([4, 9], np.zeros((2, 3)), null, ["last bar"] * 2, None, False)
    message = scores_message(1, ASK, found)
    assert message.content["null"] == told
    assert len(message.buffers) == (1 if null is None else 2)
    assert message.content["windows"] == [4, 9]
    assert (message.content["time"], message.content["features"]) == (3, 0)
    assert message.content["trust"] is None


def test_scores_by_feature_say_how_many_and_what_each_window_was_asked(numbers):
    values = np.arange(12.0).reshape(2, 3, 2)
    found = Scores([0, 1], values, None, ["buy", "sell"], "0.7", True)
    message = scores_message(1, ASK, found)
    assert message.content["features"] == 2
    assert message.content["answered"] == ["buy", "sell"]
    assert message.content["signed"] is True
    assert message.content["trust"] == "0.7"
    assert np.array_equal(numbers(message.buffers[0], "<f4", 2, 3, 2), values)


def test_failures_repeat_the_ask_and_its_version():
    ask = {"ask": "maps", "version": 4}
    message = failed_message(ask, "why")
    assert message.content == {"kind": "failed", "version": 4, "ask": ask, "error": "why"}
    assert message.buffers == []
