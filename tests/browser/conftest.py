"""A headless Chromium, and the servers that it visits."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from browser_flags import FLAGS, found_chromium
from jupyter_pages import Watch
from jupyter_servers import Server, start_app, start_lab

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything here needs the browser."""
    for item in items:
        if Path(item.path).parent == Path(__file__).parent:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of Debian's Chromium; without it the test is skipped."""
    found = found_chromium()
    if found is None:
        pytest.skip("there is no chromium on this machine (on Debian: apt-get install chromium)")
    return found


@pytest.fixture(scope="module")
def browser(chromium: str) -> "Iterator[Browser]":
    """One browser a file: while it runs, this thread's event loop is Playwright's."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        made = driver.chromium.launch(executable_path=chromium, args=FLAGS)
        yield made
        made.close()


@pytest.fixture(scope="module")
def watch() -> Watch:
    """What the file's pages did that they must not do."""
    return Watch()


@pytest.fixture(scope="module")
def page(browser: "Browser", watch: Watch) -> "Iterator[Page]":
    """One page a file, watched from its first request."""
    context = browser.new_context(viewport={"width": 1500, "height": 1100}, device_scale_factor=1)
    watch.watch(context)
    made = context.new_page()
    made.set_default_timeout(30_000)
    yield made
    context.close()


@pytest.fixture(autouse=True)
def nothing_leaves_the_machine(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the test during which a page asks elsewhere, or writes an error to its console."""
    yield
    if "watch" in request.fixturenames:
        watch: Watch = request.getfixturevalue("watch")
        abroad, errors = watch.abroad[:], watch.errors[:]
        watch.abroad.clear()
        watch.errors.clear()
        assert abroad == []
        assert errors == []


@pytest.fixture(scope="session")
def lab(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """JupyterLab as `python3 -m workbench lab` starts it, on an empty folder."""
    server = start_lab(tmp_path_factory.mktemp("notebooks"), tmp_path_factory.mktemp("settings"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def app(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The page that `python3 -m workbench app` serves, with no trained model but the bundled ones."""
    server = start_app(tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("settings"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def pictures() -> Path | None:
    """Where the README's screenshots go, if WORKBENCH_PICTURES=1 asks for them."""
    from workbench.environment import ROOT

    return ROOT / "notebooks" / "pictures" if os.environ.get("WORKBENCH_PICTURES") == "1" else None
