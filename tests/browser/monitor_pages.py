"""A monitor's widget on a page: its words, what its views draw, and how it is used."""

from typing import Any

from playwright.sync_api import Locator, Page


class MonitorPage:
    """One monitor of a page: the first, unless another is asked for."""

    def __init__(self, page: Page, number: int = 0):
        self.page = page
        self.root = page.locator(".awb-monitor").nth(number)

    def part(self, name: str) -> Locator:
        """The control or place of words that bears this name."""
        return self.root.locator(f'[data-awb="{name}"]')

    def get(self, expression: str) -> Any:
        """A value of the widget, `face`."""
        return self.root.evaluate(f"({{awb: face}}) => {expression}")

    def epochs(self) -> int:
        """Epochs that the page knows of."""
        return self.get("face.story.count")

    def note(self) -> str:
        """What the first panel says of itself."""
        return self.get("face.panels[0]?.props.note ?? ''")

    def front(self, view: str) -> Locator:
        """The canvas of the curves or of the panels that takes pointer and keys."""
        return self.root.locator(f".awb-gate-{view} canvas.awb-front")
