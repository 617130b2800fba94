import threading

import pytest

from workbench.explainers.explanation import explain
from workbench.explainers.methods import METHODS
from workbench.explainers.watching import Cancelled, Watch
from workbench.models.transformer import TradingTransformer

pytestmark = pytest.mark.usefixtures("small_batches")


@pytest.fixture(params=sorted(name for name, method in METHODS.items() if not method.inside))
def method(request):
    return request.param


def small():
    return TradingTransformer(3, d_model=12, n_heads=3, n_layers=1, d_ff=8)


def test_progress_counts_the_windows_up_to_all(windows, method):
    seen = []
    explain(small(), windows, method, watch=Watch(lambda *counted: seen.append(counted)))
    done = [count for count, _ in seen]
    assert {total for _, total in seen} == {len(windows)}
    assert len(done) > 2
    assert done == sorted(set(done))
    assert done[-1] == len(windows)


def test_a_set_stop_ends_the_explanation_after_the_batch_at_hand(windows, method):
    seen, stop = [], threading.Event()

    def progress(done, total):
        seen.append(done)
        if len(seen) == 2:
            stop.set()

    with pytest.raises(Cancelled, match=rf"cancelled after \d+ of {len(windows)} windows"):
        explain(small(), windows, method, watch=Watch(progress, stop))
    assert len(seen) == 2


def test_a_stop_set_before_the_start_computes_nothing(windows, method):
    class Untouchable(TradingTransformer):
        def forward(self, x):
            raise AssertionError("the model ran")

    stop = threading.Event()
    stop.set()
    with pytest.raises(Cancelled, match="after 0 of 35"):
        explain(Untouchable(3, d_model=4, n_heads=1), windows, method, watch=Watch(stop=stop))


def test_watching_changes_no_figure(windows, method):
    model = small()
    watched = explain(model, windows, method, watch=Watch(lambda done, total: None, threading.Event()))
    assert (watched.scores == explain(model, windows, method).scores).all()


def test_a_cancelled_model_is_left_in_its_mode(windows, method):
    model, stop = small().train(), threading.Event()
    with pytest.raises(Cancelled):
        explain(model, windows, method, watch=Watch(lambda done, total: stop.set(), stop))
    assert model.training
