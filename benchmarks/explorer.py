"""How long from a key or a click in the Explorer to new pixels on its canvases?

    python benchmarks/explorer.py

JupyterLab in a headless Chromium, driven as the tests in tests/browser drive it. A time runs from the moment
the browser has the event until after the frame in which every canvas concerned has other pixels than before;
loading ends with the map and the scores of the new day. Prints a table of medians and writes
results/explorer.json.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import record

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "browser"))
from browser_flags import FLAGS, found_chromium
from explorer_pages import ExplorerPage
from jupyter_pages import open_notebook, run_all, save, write_notebook
from jupyter_servers import Server, start_lab
from playwright.sync_api import Page, sync_playwright

# The vocabulary is bound when it is first used.
IMPORTS = "import workbench as wb\nwb.Explorer, wb.build_model, wb.Windows"
OPENING = 'explorer = wb.Explorer(date="2011-08-08")\nexplorer'
SIZED = """prices = wb.load_prices("AAPL")
windows = wb.Windows.of(wb.make_features(prices), wb.label_moves(prices), lookback={bars})
model = wb.build_model("transformer", windows, seed=0, n_layers=4, n_heads=4, d_model=32)
wb.Explorer(model, windows[-120:], prices, history=None)"""
SAVED_KB = 300

# Waits for an event of `kind`, then for frames, until the back canvas of every view named has changed.
ARM = """(element, [kind, views]) => {
  const look = (name) => {
    const { back } = element.awb.views[name];
    return back.getContext('2d').getImageData(0, 0, back.width, back.height).data;
  };
  const same = (a, b) => a.length === b.length && a.every((value, i) => value === b[i]);
  const before = views.map(look);
  window.awbTimed = new Promise((done) => {
    element.addEventListener(kind, ({ timeStamp }) => {
      const check = () => {
        const now = performance.now();
        const changed = views.every((name, i) => !same(look(name), before[i]));
        if (changed) done(now - timeStamp);
        else if (now - timeStamp > 20000) done(NaN);
        else requestAnimationFrame(() => setTimeout(check));
      };
      requestAnimationFrame(() => setTimeout(check));
    }, { once: true, capture: true });
  });
}"""
# Waits for an event of `kind` on the body, then until an Explorer shows bars, map and scores that are new.
ARM_LOAD = """([kind, name]) => {
  const shown = () => {
    const app = [...document.querySelectorAll('.awb-explorer')].at(-1)?.awb;
    if (!app?.ready || app.facts.name !== name) return false;
    const { candles, heatmap } = app.views;
    return heatmap.props.values && candles.props.scores && candles.frame === 0 && heatmap.frame === 0;
  };
  window.awbTimed = new Promise((done) => {
    const begin = ({ timeStamp }) => {
      const check = () => {
        const now = performance.now();
        if (shown()) done(now - timeStamp);
        else if (now - timeStamp > 60000) done(NaN);
        else requestAnimationFrame(() => setTimeout(check));
      };
      requestAnimationFrame(() => setTimeout(check));
    };
    if (kind) document.addEventListener(kind, begin, { once: true, capture: true });
    else begin({ timeStamp: performance.now() });
  });
}"""
FORGET = """() => {
  for (const old of document.querySelectorAll('.awb-explorer')) old.classList.remove('awb-explorer');
}"""
RUN_AGAIN = """() => {
  const { commands, shell } = window.jupyterapp;
  shell.currentWidget.content.activeCellIndex = 1;
  commands.execute('notebook:clear-cell-output').then(() => commands.execute('notebook:run-cell'));
}"""


@dataclass(frozen=True)
class Row:
    """One act: the median and the nine tenths quantile of its times, beside what is wanted."""

    act: str
    median_ms: float
    most_ms: float
    wanted_ms: float
    rounds: int

    def __str__(self) -> str:
        kept = "" if self.median_ms <= self.wanted_ms else "  too slow"
        return f"{self.act:<42}{self.median_ms:8.0f}{self.most_ms:8.0f}{self.wanted_ms:8.0f}{kept}"


def timed(act: str, wanted: float, rounds: int, once: Callable[[int], float]) -> Row:
    """Do it `rounds` times after once for nothing."""
    once(0)
    times = [once(i + 1) for i in range(rounds)]
    most = statistics.quantiles(times, n=10)[-1]
    row = Row(act, statistics.median(times), most, wanted, rounds)
    print(row, flush=True)
    return row


def after(explorer: ExplorerPage, kind: str, views: list[str], act: Callable[[], object]) -> float:
    """Milliseconds from an event to new pixels on the views' canvases."""
    explorer.settle()
    explorer.root.evaluate(ARM, [kind, views])
    act()
    return explorer.page.evaluate("() => window.awbTimed")


def looking(explorer: ExplorerPage, bars: int, wanted: float, rounds: int) -> Iterator[Row]:
    """Other layers and heads of one map."""
    keys = explorer.page.keyboard
    for name, key in (("layer", "l"), ("head", "h")):
        explorer.canvas("heatmap").focus()
        yield timed(
            f"another {name}, {bars} × {bars}",
            wanted,
            rounds,
            lambda i, key=key: after(explorer, "keydown", ["heatmap"], lambda: keys.press(key)),
        )


def moving(explorer: ExplorerPage, rounds: int) -> Iterator[Row]:
    """Other days and methods whose numbers are in the browser."""
    keys, views = explorer.page.keyboard, ["candles", "heatmap"]
    fetched(explorer, rounds)
    explorer.canvas("candles").focus()
    yield timed(
        "the day before, in the span that is loaded",
        50,
        rounds,
        lambda i: after(explorer, "keydown", views, lambda: keys.press("ArrowLeft")),
    )
    methods = ["gradient_x_input", "rollout"]
    for method in methods:
        explorer.select("method", method)
    select = explorer.control("method").select_option
    yield timed(
        "another method, computed before",
        60,
        rounds,
        lambda i: after(explorer, "change", ["candles"], lambda: select(methods[i % 2])),
    )


def fetched(explorer: ExplorerPage, days: int) -> None:
    """Wait until the maps of the days before are here."""
    here = "([{ awb }, days]) => [...Array(days + 2).keys()].every((i) => awb.store.maps.has(awb.day - i))"
    explorer.page.wait_for_function(here, arg=[explorer.root.element_handle(), days], timeout=60_000)


def loading(page: Page, rounds: int) -> Iterator[Row]:
    """Opening, and another ticker that has a trained model."""

    def opened(i: int) -> float:
        page.evaluate(FORGET)
        page.evaluate(ARM_LOAD, ["", "AAPL"])
        page.evaluate(RUN_AGAIN)
        return page.evaluate("() => window.awbTimed")

    yield timed("opening, after the imports", 2000, rounds, opened)
    explorer = ExplorerPage(page).open()
    tickers = ["MSFT", "AAPL", "IBM", "GOOG"]

    def changed(i: int) -> float:
        explorer.settle()
        page.evaluate(ARM_LOAD, ["change", tickers[i % len(tickers)]])
        explorer.control("ticker").select_option(tickers[i % len(tickers)])
        return page.evaluate("() => window.awbTimed")

    yield timed("another ticker with a trained model", 1500, rounds, changed)


@contextmanager
def chromium(server: Server) -> Iterator[Callable[[str, list[str]], Page]]:
    """Give a function that opens and runs a notebook of cells in a page of its own."""
    path = found_chromium()
    if path is None:
        raise SystemExit("There is no chromium on this machine (on Debian: apt-get install chromium).")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path, args=FLAGS)

        def opened(name: str, cells: list[str]) -> Page:
            page = browser.new_page(viewport={"width": 1500, "height": 1200})
            write_notebook(server.folder, name, *cells)
            open_notebook(page, server, name)
            run_all(page)
            return page

        yield opened
        browser.close()


def saved_bytes(page: Page, server: Server, name: str) -> int:
    """The size of a notebook with one Explorer after saving it."""
    ExplorerPage(page).open()
    time.sleep(1)
    save(page)
    return (server.folder / name).stat().st_size


def main() -> None:
    """Measure, print, record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15, help="of each act (15)")
    rounds = parser.parse_args().rounds
    rows: list[Row] = []
    print(f"{'act':<42}{'median':>8}{'90 %':>8}{'wanted':>8}  [ms]")
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as settings:
        server = start_lab(Path(folder), Path(settings))
        try:
            with chromium(server) as opened:
                page = opened("opening.ipynb", [IMPORTS, OPENING])
                size = saved_bytes(page, server, "opening.ipynb")
                rows += loading(page, rounds)
                page.close()
                for bars, wanted in ((64, 30), (252, 40)):
                    page = opened(f"maps{bars}.ipynb", [IMPORTS, SIZED.format(bars=bars)])
                    explorer = ExplorerPage(page).open()
                    rows += looking(explorer, bars, wanted, rounds)
                    if bars == 64:
                        rows += moving(explorer, rounds)
                    page.close()
        finally:
            server.stop()
    print(f"{'a saved notebook with one Explorer':<42}{size / 1000:8.0f}{'':8}{SAVED_KB:8}  [kB]")
    measured = {
        "rows": [asdict(row) for row in rows],
        "saved_notebook_bytes": size,
        "browser": "Chromium, headless",
    }
    record.write("explorer", measured, ("numpy", "torch", "jupyterlab", "anywidget", "playwright"))


if __name__ == "__main__":
    main()
