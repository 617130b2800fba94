"""One page of a browser: opening a notebook, running it, and writing down what a page must not do."""

from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import nbformat
from jupyter_servers import Server
from nbformat.v4 import new_code_cell, new_notebook
from playwright.sync_api import BrowserContext, Locator, Page

LOOPBACK = {"127.0.0.1", "localhost", ""}  # a data: or blob: address names no host
SPLASH = "#jupyterlab-splash"
PATIENCE = 60_000  # milliseconds; a busy machine starts a kernel slowly

# True when the kernel of the current notebook is idle and all its code cells have run.
ALL_RAN = """() => {
  const panel = window.jupyterapp.shell.currentWidget;
  const kernel = panel.sessionContext.session && panel.sessionContext.session.kernel;
  if (!kernel || kernel.status !== 'idle') return false;
  const cells = panel.content.widgets.filter((cell) => cell.model.type === 'code');
  return cells.every((cell) => cell.model.executionCount > 0 && cell.model.executionState !== 'running');
}"""
KERNEL_READY = """() => {
  const panel = window.jupyterapp && window.jupyterapp.shell.currentWidget;
  const context = panel && panel.sessionContext;
  const kernel = context && context.session && context.session.kernel;
  return Boolean(kernel) && kernel.status === 'idle' && kernel.connectionStatus === 'connected';
}"""
ASK_KERNEL = """async (code) => {
  const { kernel } = window.jupyterapp.shell.currentWidget.sessionContext.session;
  const asked = kernel.requestExecute({ code, store_history: false });
  let text = '';
  asked.onIOPub = ({ content }) => { text += content.text ?? ''; };
  const { content } = await asked.done;
  return { text, status: content.status, error: content.evalue };
}"""
FAILED_CELLS = """() => window.jupyterapp.shell.currentWidget.content.widgets
  .filter((cell) => cell.model.type === 'code')
  .flatMap((cell) => cell.model.sharedModel.outputs)
  .filter((output) => output.output_type === 'error')
  .map((output) => `${output.ename}: ${output.evalue}`)"""


@dataclass
class Watch:
    """What a page did that a visitor would mind: requests to elsewhere, errors in the console."""

    abroad: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    paused: bool = False

    def watch(self, context: BrowserContext) -> None:
        """Write down what any page of `context` does from now on."""
        context.on("request", lambda request: self.asked(request.url))
        context.on("page", self.watch_page)
        context.on("weberror", lambda error: self.complained(f"uncaught: {error.error}"))
        context.on(
            "console",
            lambda said: (
                self.complained(f"{said.text} ({said.location['url']})") if said.type == "error" else None
            ),
        )

    def watch_page(self, page: Page) -> None:
        """Write down the sockets, which are no requests."""
        page.on("websocket", lambda socket: self.asked(socket.url))

    def asked(self, address: str) -> None:
        """Note an address that is not on this machine."""
        if (urlsplit(address).hostname or "") not in LOOPBACK:
            self.abroad.append(address)

    def complained(self, text: str) -> None:
        """Note an error, unless errors are expected now."""
        if not self.paused:
            self.errors.append(text)

    @contextmanager
    def errors_expected(self):
        """While a kernel is killed, the page's sockets fail, and say so."""
        self.paused = True
        try:
            yield
        finally:
            self.paused = False


def write_notebook(folder: Path, name: str, *cells: str) -> Path:
    """Write a notebook of code cells for the environment's kernel."""
    path = folder / name
    kernel = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    nbformat.write(new_notebook(cells=[new_code_cell(cell) for cell in cells], metadata=kernel), path)
    return path


def open_notebook(page: Page, server: Server, name: str) -> None:
    """Open it in JupyterLab, alone in the window, and wait until its kernel stands by."""
    page.goto(f"{server.address}/doc/tree/{name}?token={server.token}")
    page.wait_for_function(KERNEL_READY, timeout=PATIENCE)
    page.wait_for_selector(SPLASH, state="detached")
    sessions = server.ask("api/sessions")
    assert name in [session["path"] for session in sessions], f"{name} has no kernel. Sessions: {sessions}"


def kernel_of(page: Page) -> str:
    """Return the id of the kernel of the notebook in front; other tests' may run beside it."""
    return page.evaluate("() => window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.id")


def run_all(page: Page, seconds: float = 60) -> None:
    """Run every cell; fail with the error of any that failed."""
    page.evaluate("() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }")
    page.wait_for_function(ALL_RAN, timeout=1000 * seconds)
    assert page.evaluate(FAILED_CELLS) == []


def run_notebook(page: Page, server: Server, name: str, seconds: float = 60) -> None:
    """Open it and run it."""
    open_notebook(page, server, name)
    run_all(page, seconds)


def ask_kernel(page: Page, code: str) -> str:
    """Run code in the notebook's kernel, beside its cells; return what it prints."""
    said = page.evaluate(ASK_KERNEL, code)
    assert said["status"] == "ok", said
    return said["text"]


def save(page: Page) -> None:
    """Save the notebook, the widgets' state with it."""
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")


def set_theme(page: Page, dark: bool) -> None:
    """Change JupyterLab's theme, as its settings menu does."""
    name = "JupyterLab Dark" if dark else "JupyterLab Light"
    page.evaluate(
        "(theme) => window.jupyterapp.commands.execute('apputils:change-theme', {theme})",
        name,
    )
    page.wait_for_function(
        "(light) => document.body.dataset.jpThemeLight === light",
        arg="false" if dark else "true",
    )
    page.wait_for_selector(SPLASH, state="detached")


def eventually(page: Page, check: Callable[[], bool], what: str, seconds: float = 20) -> None:
    """Return as soon as `check` holds; fail saying `what` did not come true."""
    for _ in range(int(seconds * 20)):
        if check():
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"within {seconds} s it did not happen that {what}")


def centre(locator: Locator) -> tuple[float, float]:
    """The middle of an element on the page."""
    box = locator.bounding_box()
    assert box is not None, f"{locator} is not to be seen"
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
