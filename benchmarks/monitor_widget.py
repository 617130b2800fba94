"""What does a live MonitorWidget cost, and how long from a click in it to new pixels?

    python benchmarks/monitor_widget.py

The kernel's side: processor time of one thread for the widget's part of an epoch (`on_snapshot` with the
refresh that follows), and the bytes that are then sent: of models of one and two layers, and of two after
1,000 epochs with 5 findings in each, interleaved. The browser's side: JupyterLab in a headless Chromium, from
the event until after the frame in which the canvases concerned have other pixels. Writes
results/monitor_widget.json.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import record
import torch

import workbench as wb
from workbench.gates.findings import Finding
from workbench.gates.monitor import GateMonitor
from workbench.gates.snapshots import Snapshot
from workbench.gates.states import GateStates
from workbench.widgets.monitor import MonitorWidget

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "browser"))
from browser_flags import FLAGS, found_chromium
from jupyter_pages import open_notebook, run_all, write_notebook
from jupyter_servers import start_lab
from monitor_pages import MonitorPage
from playwright.sync_api import Page, sync_playwright

LONG = 1000
CELLS = [
    """import workbench as wb
prices = wb.load_prices("LAG5-SNR2-BARS600", source="synthetic")
windows = wb.Windows.of(wb.make_features(prices), wb.label_moves(prices, scale="volatility"), 60)
train, valid, _ = windows.split(0.6, 0.8)
monitor = wb.GateMonitor(valid, every=1)
live = wb.MonitorWidget(monitor)
live""",
    """model = wb.build_model("lstm", windows, hidden_size=64, n_layers=2)
options = dict(epochs=20, patience=None, progress=False)
history = wb.fit(model, train[-128:], valid, callbacks=[monitor], **options)""",
]
# Waits for an event of `kind`, then for frames, until the back canvas of every view has changed.
ARM = """({ awb: face }, [kind, panels]) => {
  const views = panels ? face.panels : [face.curves];
  const look = ({ back }) => back.getContext('2d').getImageData(0, 0, back.width, back.height).data;
  const same = (a, b) => a.length === b.length && a.every((value, i) => value === b[i]);
  const before = views.map(look);
  window.awbTimed = new Promise((done) => {
    face.root.addEventListener(kind, ({ timeStamp }) => {
      const check = () => {
        const now = performance.now();
        if (views.every((view, i) => !same(look(view), before[i]))) done(now - timeStamp);
        else if (now - timeStamp > 20000) done(NaN);
        else requestAnimationFrame(() => setTimeout(check));
      };
      requestAnimationFrame(() => setTimeout(check));
    }, { once: true, capture: true });
  });
}"""


@dataclass(frozen=True)
class Row:
    """Times of one act [ms]: median and nine tenths quantile."""

    act: str
    median_ms: float
    most_ms: float
    rounds: int

    @classmethod
    def of(cls, act: str, times: list[float]) -> "Row":
        """Sum times up, and print them."""
        row = cls(act, statistics.median(times), statistics.quantiles(times, n=10)[-1], len(times))
        print(f"{act:<58}{row.median_ms:8.1f}{row.most_ms:8.1f}  [ms]", flush=True)
        return row


class Subject:
    """A widget on the monitor of a training, whose last epoch is told again and again as the next."""

    def __init__(self, layers: int, epochs: int = 0) -> None:
        windows = _windows()
        self.monitor = GateMonitor(windows, every=1)
        self.widget = MonitorWidget(self.monitor)
        self.seen = _looked_at(self.monitor, windows, layers)
        self.epoch = 1
        for _ in range(epochs):
            self._next()
        self.widget.refresh()

    def bytes(self) -> int:
        """Return the bytes of an epoch's panels."""
        return len(self.widget.panel_0)

    def once(self) -> float:
        """Return the milliseconds of processor time that the next epoch takes."""
        began = time.thread_time()
        self._next()
        self.widget._flush()
        return 1000 * (time.thread_time() - began)

    def _next(self) -> None:
        self.epoch += 1
        snapshot, states = self.seen
        rows = self.monitor._watch.rows
        rows.append(rows[0] | {"epoch": self.epoch})
        self.monitor.findings.extend(
            Finding("made up", f"signal_{k}", "lstm.l0", "forget", None, 1.0, 0.5, 9.0 + k, self.epoch)
            for k in range(5 if self.epoch > 2 else 0)
        )
        self.widget._story.add(replace(snapshot, epoch=self.epoch), states)


def _windows() -> wb.Windows:
    prices = wb.load_prices("LAG5-SNR2-BARS600", source="synthetic")
    return wb.Windows.of(wb.make_features(prices), wb.label_moves(prices, scale="volatility"), 60)[:-1]


def _looked_at(monitor: GateMonitor, windows: wb.Windows, layers: int) -> tuple[Snapshot, GateStates]:
    """Train for an epoch of one step, and return what was seen."""
    model = wb.build_model("lstm", windows, hidden_size=64, n_layers=layers)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    monitor.begin(model, optimizer)
    torch.nn.functional.cross_entropy(model(windows.x[:16]), windows.y[:16]).backward()
    optimizer.step()
    monitor.end_epoch({"train_loss": 1.0, "valid_loss": 1.1})
    return monitor.snapshots[-1], monitor.states


def kernel_side(rounds: int) -> tuple[list[Row], dict[str, int]]:
    """Time the widget's part of an epoch."""
    subjects = {
        "an epoch of one layer of 64 units, 60 bars": Subject(1),
        "an epoch of two layers": Subject(2),
        f"the same after {LONG:,} epochs with 5 findings each": Subject(2, LONG),
    }
    times: dict[str, list[float]] = {act: [] for act in subjects}
    for _ in range(rounds):
        for act, subject in subjects.items():  # interleaved
            times[act].append(subject.once())
    sizes = [subject.bytes() for subject in subjects.values()]
    return [Row.of(act, taken) for act, taken in times.items()], {"one": sizes[0], "two": sizes[1]}


def timed(monitor: MonitorPage, kind: str, panels: bool, act: Callable[[], object]) -> float:
    """Milliseconds from an event to new pixels."""
    monitor.page.wait_for_timeout(60)
    monitor.root.evaluate(ARM, [kind, panels])
    act()
    return monitor.page.evaluate("() => window.awbTimed")


def browser_side(page: Page, rounds: int) -> list[Row]:
    """Time choosing an epoch, a layer and a gate."""
    monitor = MonitorPage(page)
    monitor.root.wait_for()
    page.wait_for_function("() => document.querySelector('.awb-monitor').awb.story.count === 20")
    layers, steps = ["lstm.l0", "lstm.l1"], ["ArrowLeft", "ArrowRight"]

    def step(i: int) -> float:
        monitor.front("curves").focus()
        return timed(monitor, "keydown", True, lambda: page.keyboard.press(steps[i % 2]))

    def layer(i: int) -> float:
        choose = monitor.part("layer").select_option
        return timed(monitor, "change", True, lambda: choose(layers[(i + 1) % 2]))

    acts: dict[str, Callable[[int], float]] = {
        "another epoch by a key: four panels of 64 × 60": step,
        "another layer: four panels and the curves": layer,
    }
    return [Row.of(act, [once(i) for i in range(rounds)]) for act, once in acts.items()]


def in_chromium(rounds: int) -> list[Row]:
    """Open a notebook that trains, and time what is done in its widget."""
    path = found_chromium()
    if path is None:
        raise SystemExit("There is no chromium on this machine (on Debian: apt-get install chromium).")
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as settings:
        server = start_lab(Path(folder), Path(settings))
        try:
            with sync_playwright() as driver:
                browser = driver.chromium.launch(executable_path=path, args=FLAGS)
                page = browser.new_page(viewport={"width": 1500, "height": 1200})
                write_notebook(server.folder, "monitor.ipynb", *CELLS)
                open_notebook(page, server, "monitor.ipynb")
                run_all(page, 120)
                return browser_side(page, rounds)
        finally:
            server.stop()


def main() -> None:
    """Measure, print, record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=21, help="of each act (21)")
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    print(f"{'act':<58}{'median':>8}{'90 %':>8}")
    rows, sizes = kernel_side(rounds)
    print(f"bytes of an epoch's panels: {sizes['one']:,} of one layer, {sizes['two']:,} of two")
    rows += in_chromium(rounds)
    measured: dict[str, Any] = {"rows": [asdict(row) for row in rows], "bytes_an_epoch": sizes}
    record.write("monitor_widget", measured, ("numpy", "torch", "jupyterlab", "anywidget", "playwright"))


if __name__ == "__main__":
    main()
