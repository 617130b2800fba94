"""The Explorer on a page: its controls, what its views draw, and the pixels that come of it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from playwright.sync_api import Locator, Page

# Typed arrays, and whatever holds them, as what JSON can carry.
PLAIN = """(element, [view, names]) => {
  const plain = (value) => {
    if (ArrayBuffer.isView(value)) return Array.from(value);
    if (Array.isArray(value)) return value.map(plain);
    if (value && typeof value === 'object') {
      return Object.fromEntries(Object.entries(value).map(([key, held]) => [key, plain(held)]));
    }
    return value === undefined ? null : value;
  };
  const from = view === 'store' ? element.awb.store : element.awb.views[view].props;
  return names.map((name) => plain(from[name]));
}"""
# Nothing is waited for: the day's map and scores are here, and every view is drawn.
SETTLED = """(element) => {
  const app = element.awb;
  const { heatmap, candles } = app.views;
  const layers = (app.facts.layers ?? []).length;
  const progress = app.model.get('progress') ?? {};
  return app.ready && (heatmap.props.values || !layers) && (candles.props.scores || candles.props.message)
    && !/^(Computing|Reading)/.test(candles.props.message ?? '') && !progress.what
    && Object.values(app.views).every((view) => view.frame === 0);
}"""
PIXEL = """(element, [view, canvas, x, y]) => {
  const on = element.awb.views[view][canvas];
  const at = [x, y].map((place) => Math.round((place * on.width) / on.clientWidth));
  return Array.from(on.getContext('2d').getImageData(...at, 1, 1).data);
}"""
STALE = """(element, name) => {
  const view = element.awb.views[name];
  const before = view.back.toDataURL();
  view.drawNow();
  return view.back.toDataURL() !== before;
}"""
CELL = """(element, [query, key]) => {
  const view = element.awb.views.heatmap;
  const size = { width: view.element.clientWidth, height: view.element.clientHeight };
  const box = view.cellBox(view.box(size), { query, key });
  return [box.x + box.width / 2, box.y + box.height / 2];
}"""
LOADED = """([{ awb }, name]) => awb.ready && [awb.facts.name, awb.facts.model].includes(name)"""
BAR_X = "(element, [view, bar]) => element.awb.views[view].place().x(bar)"


class ExplorerPage:
    """One Explorer of a page: the first, unless another is asked for."""

    def __init__(self, page: Page, number: int = 0):
        self.page = page
        self.root = page.locator(".awb-explorer").nth(number)

    def open(self) -> "ExplorerPage":
        """Wait until it shows its first day."""
        self.root.wait_for(timeout=120_000)
        self.root.scroll_into_view_if_needed()
        self.settle(60)
        return self

    def settle(self, seconds: float = 60) -> None:
        """Wait until what is chosen is what is drawn."""
        handle = self.root.element_handle()
        self.page.wait_for_function(SETTLED, arg=handle, timeout=1000 * seconds)

    def has_loaded(self, name: str) -> None:
        """Wait until another ticker, or model, is what it shows."""
        self.page.wait_for_function(LOADED, arg=[self.root.element_handle(), name])
        self.settle()

    def control(self, name: str) -> Locator:
        """The control, panel or place of a view that bears this name."""
        return self.root.locator(f'[data-awb="{name}"]')

    def canvas(self, view: str) -> Locator:
        """The canvas of a view that takes the pointer and the keys."""
        return self.control(view).locator("canvas").last

    def state(self) -> dict[str, Any]:
        """What is chosen."""
        return self.root.evaluate("(element) => element.awb.now()")

    def props(self, view: str, *names: str) -> list[Any]:
        """What a view draws, or with "store" what the browser keeps."""
        return self.root.evaluate(PLAIN, [view, list(names)])

    def array(self, view: str, name: str) -> np.ndarray:
        """One array that a view draws."""
        return np.asarray(self.props(view, name)[0], float)

    def map(self) -> np.ndarray:
        """The map that is drawn, (query, key)."""
        values, queries, keys = self.props("heatmap", "values", "queries", "keys")
        return np.asarray(values, float).reshape(queries, keys)

    def pixel(self, view: str, x: float, y: float, canvas: str = "back") -> list[int]:
        """Red, green, blue and opacity at a point of a view, in CSS pixels."""
        return self.root.evaluate(PIXEL, [view, canvas, x, y])

    def is_stale(self, view: str) -> bool:
        """Whether a view's picture is not the one it would draw now."""
        return self.root.evaluate(STALE, view)

    def cell(self, query: int, key: int) -> tuple[float, float]:
        """The middle of a cell of the map, within its view."""
        x, y = self.root.evaluate(CELL, [query, key])
        return x, y

    def bar_x(self, bar: int, view: str = "candles") -> float:
        """Where a bar stands in a view."""
        return self.root.evaluate(BAR_X, [view, int(bar)])

    def move_to(self, view: str, x: float, y: float) -> None:
        """Put the pointer on a point of a view."""
        self.canvas(view).scroll_into_view_if_needed()
        box = self.canvas(view).bounding_box()
        assert box is not None, f"the view {view} is not to be seen"
        self.page.mouse.move(box["x"] + x, box["y"] + y)

    def click(self, view: str, x: float, y: float) -> None:
        """Click a point of a view."""
        self.move_to(view, x, y)
        self.page.mouse.down()
        self.page.mouse.up()

    def drag(self, view: str, start: tuple[float, float], end: tuple[float, float]) -> None:
        """Draw the pointer, pressed, from one point of a view to another."""
        self.move_to(view, *start)
        self.page.mouse.down()
        self.move_to(view, (start[0] + end[0]) / 2, (start[1] + end[1]) / 2)
        self.move_to(view, *end)
        self.page.mouse.up()

    def tooltip(self, view: str) -> list[str]:
        """The lines beside the pointer."""
        tip = self.control(view).locator(".awb-tooltip")
        return tip.locator("div").all_inner_texts() if tip.is_visible() else []

    def options(self, name: str) -> list[str]:
        """The values that a selector offers and allows."""
        chosen = "(select) => [...select.options].filter((o) => !o.disabled).map((o) => o.value)"
        return self.control(name).evaluate(chosen)

    def select(self, name: str, value: str) -> None:
        """Choose from a selector with the pointer."""
        self.control(name).select_option(value)
        self.settle()

    def press(self, name: str, *keys: str) -> None:
        """Press keys on a control or view, and wait until what follows is drawn."""
        self.press_while_busy(name, *keys)
        self.settle()

    def press_while_busy(self, name: str, *keys: str) -> None:
        """Press keys on a control or view, whatever the kernel is doing."""
        target = self.canvas(name) if self.control(name).locator("canvas").count() else self.control(name)
        target.focus()
        for key in keys:
            self.page.keyboard.press(key)
        self.page.wait_for_timeout(30)


def serious(page: Page, within: str) -> list[str]:
    """What axe-core finds serious or critical within a part of the page, one line each."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, context=within).response["violations"]
    return [
        f"{fault['id']} ({fault['impact']}): {[node['html'][:200] for node in fault['nodes'][:3]]}"
        for fault in found
        if fault["impact"] in ("serious", "critical")
    ]


def close_colours(got: Sequence[int], wanted: Sequence[int], by: int = 3) -> bool:
    """Whether two colours are the same to the eye."""
    return all(abs(a - b) <= by for a, b in zip(got[:3], wanted[:3], strict=True))
