"""A page with the widgets' modules beside it and no kernel behind it."""

import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest

from workbench.widgets import assets
from workbench.widgets.assets import script, style

STATIC = Path(assets.__file__).parent / "static"
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"]
MODEL = """
window.dates = (n) => Float64Array.from({length: n}, (_, i) => Date.UTC(2011, 0, 3) + i * 864e5);
window.host = (width = 500) => {
  const made = document.createElement('div');
  made.style.width = `${width}px`;
  document.body.replaceChildren(made);
  return made;
};
window.press = (key) => document.activeElement.dispatchEvent(
  new KeyboardEvent('keydown', {key, bubbles: true, cancelable: true}));
window.settled = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
window.Model = class {
  constructor(state) { this.state = state; this.heard = {}; this.sent = []; }
  get(name) { return this.state[name]; }
  set(name, value) { this.state[name] = value; for (const f of this.heard[`change:${name}`] ?? []) f(); }
  save_changes() {}
  send(content) { this.sent.push(content); }
  on(name, f) { (this.heard[name] ??= new Set()).add(f); }
  off(name, f) { this.heard[name]?.delete(f); }
};
"""

PAGE = f"""<!doctype html><html lang='en'><title>t</title><style>{style()}</style>
<script>{MODEL}</script><body></body></html>"""


@pytest.fixture(scope="module")
def chromium():
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None or find_spec("playwright") is None:
        pytest.skip("there is no chromium on this machine, or no playwright (apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def module_page(chromium):
    """An empty page with the modules beside it; whatever goes wrong in it fails the test."""
    page, wrong = chromium.new_page(), []
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda message: wrong.append(message.text))
    page.route("http://modules.test/**", _answer)
    page.goto("http://modules.test/")
    yield page
    page.close()
    assert wrong == []


def _answer(route):
    name = route.request.url.rsplit("/", 1)[-1]
    if not name.endswith(".js"):
        route.fulfill(body=PAGE, content_type="text/html")
        return
    text = script(name) if "/entry/" in route.request.url else (STATIC / name).read_text()
    route.fulfill(body=text, content_type="text/javascript")
