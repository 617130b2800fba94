import json
import math

import pandas as pd

from workbench.training.history import History, epochs_frame, span

ROWS = [
    {"train_loss": 1.1, "valid_loss": 1.05, "valid_ic": math.nan, "lr": 0.001, "seconds": 0.5},
    {"train_loss": 0.9, "valid_loss": 0.95, "valid_ic": 0.1, "lr": 0.0005, "seconds": 0.25},
    {"train_loss": 0.8, "valid_loss": 0.99, "valid_ic": 0.2, "lr": 0.0001, "seconds": 0.25},
]
SPLITS = {
    "train": {"first": "2006-01-03T00:00:00", "last": "2008-12-30T00:00:00", "windows": 2200},
    "valid": {"first": "2009-01-02T00:00:00", "last": "2010-12-30T00:00:00", "windows": 500},
}


def history(rows=ROWS, **changes):
    facts = {"best_epoch": 2, "seconds": 1.0, "monitor": "valid_loss", "seed": 3, "stopped": "early"}
    return History(epochs_frame(rows, list(ROWS[0])), splits=SPLITS, task="regression", **facts | changes)


def test_epochs_are_numbered_from_one():
    epochs = history().epochs
    assert epochs.index.tolist() == [1, 2, 3]
    assert epochs.index.name == "epoch"
    assert history().best["valid_loss"] == 0.95
    assert history(rows=[], best_epoch=0).epochs.columns.tolist() == list(ROWS[0])


def test_it_prints_what_one_asks_first():
    text = str(history())
    for fact in (
        "stopped early after 3 epochs, 1.0 s (seed 3)",
        "2,200 windows, 2006-01-03 → 2008-12-30",
        "best epoch 2, chosen by valid_loss",
        "valid_ic                   0.1000",
    ):
        assert fact in text
    assert "ran all its 3 epochs" in str(history(stopped="finished"))


def test_a_notebook_shows_the_same_text():
    shown = history(monitor="<b>")._repr_html_()
    assert shown.startswith("<pre>Training stopped early")
    assert "&lt;b&gt;" in shown


def test_json_holds_it_whole():
    first = history(classes=("sell", "buy"), options={"lr": 0.1}, provenance={"ticker": "AAPL"})
    text = json.dumps(first.to_dict(), allow_nan=False)
    again = History.from_dict(json.loads(text))
    pd.testing.assert_frame_equal(again.epochs, first.epochs)
    assert {k: v for k, v in vars(again).items() if k != "epochs"} == {
        k: v for k, v in vars(first).items() if k != "epochs"
    }
    empty = history(rows=[], best_epoch=0)
    pd.testing.assert_frame_equal(History.from_dict(empty.to_dict()).epochs, empty.epochs)


def test_a_span_names_first_and_last_decision(make_windows):
    windows = make_windows(bars=20, lookback=4)
    assert span(windows) == {"first": "2010-01-07T00:00:00", "last": "2010-01-29T00:00:00", "windows": 17}
