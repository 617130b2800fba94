import numpy as np
import pytest
import torch
from trainings import model_of, parts_of, windows_of

from workbench.gates.probes import Probe, probe_gradient


def test_labelled_windows_are_chosen_evenly():
    windows = windows_of(bars=110)  # 105 windows, the last without a label
    probe = Probe.of(model_of([windows]), windows)
    places = [int(np.flatnonzero(windows.dates == date)[0]) for date in probe.windows.dates]
    assert places == [round(i * 103 / 15) for i in range(16)]
    assert probe.windows.label_dates.notna().all()
    assert [rows.tolist() for rows in probe.passes] == [list(range(16))]
    assert len(Probe.of(model_of([windows]), windows, None).windows) == 105


def test_few_windows_are_all_taken():
    windows = windows_of(bars=12).labelled()
    assert len(Probe.of(model_of([windows]), windows).windows) == len(windows) == 6


@pytest.mark.parametrize(("tickers", "days"), [(4, 4), (12, 1), (20, 1)])
def test_a_cross_sectional_model_gets_whole_days(tickers, days):
    windows = windows_of(bars=30, tickers=tuple(f"T{i:02}" for i in range(tickers)))
    probe = Probe.of(model_of([windows], "gats", dropout=0.0), windows)
    assert len(probe.passes) == days
    assert len(probe.windows) == tickers * days
    for rows in probe.passes:
        assert len(set(probe.windows.dates[rows.numpy()])) == 1
        assert len(rows) == tickers
    whole = Probe.of(model_of([windows], "gats", dropout=0.0), windows, None)
    assert len(whole.windows) == len(windows)


@pytest.mark.parametrize("task", ["classification", "regression"])
@pytest.mark.parametrize("name", ["lstm", "alstm"])
def test_the_gradient_is_that_of_finite_differences(task, name):
    windows = windows_of(bars=40, task=task)
    model = model_of([windows], name, dropout=0.5).double()
    model.scaling.fit_(torch.tensor([1.0, 9.0, 0.1]).double(), torch.tensor([2.0, 4.0, 0.5]).double())
    probe = Probe.of(model, windows, 3)
    (x,) = probe.batches(model)
    model.train()
    state = torch.get_rng_state()
    gradient = probe_gradient(model, probe, [x])
    assert model.training
    assert torch.equal(state, torch.get_rng_state())
    assert all(p.grad is None for p in model.parameters())
    model.eval()
    known = probe.windows.label_dates.notna()
    assert known.all()
    small, std = 1e-6, torch.tensor([2.0, 4.0, 0.5]).double()
    for place in [(0, 0, 0), (1, 3, 1), (2, 5, 2)]:  # by z = (x − mean) / std
        moved = [x.clone(), x.clone()]
        for way, sign in zip(moved, (1, -1), strict=True):
            way[place] += sign * small * std[place[2]]
        with torch.no_grad():
            up, down = (_loss(model(way), probe) for way in moved)
        assert gradient[place].item() == pytest.approx((up - down) / (2 * small), rel=1e-5, abs=1e-10)


def _loss(outputs, probe):
    """Return cross-entropy, or squared error over the labels' variance, written out."""
    y = probe.windows.y.numpy()
    values = outputs.numpy()
    if probe.windows.task == "regression":
        return ((values[:, 0] - y) ** 2).mean() / y.astype(float).var()
    shares = np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)
    return -np.log(shares[np.arange(len(y)), y]).mean()


def test_the_losses_of_the_passes_add_up_to_that_of_the_probe():
    windows = windows_of(bars=30, tickers=("A", "B", "C"))
    model = model_of([windows], "gats", dropout=0.0).eval()
    probe = Probe.of(model, windows, None)  # the last day has no label
    parts, outputs, labels = [], [], []
    for x, rows in zip(probe.batches(model), probe.passes, strict=True):
        answer = model(x).detach()
        parts.append(probe.loss(answer, rows).item())
        outputs.append(answer)
        labels.append(probe.windows.y[rows])
    known = torch.cat(labels) >= 0
    whole = torch.nn.functional.cross_entropy(torch.cat(outputs)[known], torch.cat(labels)[known])
    assert sum(parts) == pytest.approx(whole.item(), rel=1e-5)
    assert parts[-1] == 0.0


def test_windows_that_cannot_be_a_probe_are_refused():
    windows = windows_of(bars=40)
    unknown = windows[np.asarray(windows.label_dates.isna())]
    with pytest.raises(ValueError, match="label is known, and of these 1 none is"):
        Probe.of(model_of([windows]), unknown)
    with pytest.raises(ValueError, match="lookback"):
        Probe.of(model_of([windows]), windows_of(lookback=4))


def test_the_probe_says_what_is_looked_at():
    train, _ = parts_of()
    about = Probe.of(model_of([train]), train, 2).about()
    assert about["dates"] == [str(train.dates[0]), str(train.dates[-1])]
    assert about["tickers"] == ["AAPL", "AAPL"]
    assert (about["features"], about["lookback"], len(about["sha256"])) == (["a", "b", "c"], 6, 64)
