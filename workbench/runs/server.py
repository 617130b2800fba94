"""The server behind `python3 -m workbench app`: Voilà, with all that the Explorer doesn't need taken away.

Voilà serves notebooks to people who may not run code, and by itself also their folder, their kernels'
REST interface, themes and templates of the visitor's choice, and icons from a CDN. Here every address
that answers is listed in `ExplorerServer.init_handlers`, and every one of them asks for the token.
"""

import logging
import secrets
import signal
import socket
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager
from nbclient.exceptions import CellExecutionError
from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.web import HTTPError
from traitlets import Any as AnyTrait
from traitlets import Integer
from traitlets.config import Config
from voila.app import Voila
from voila.utils import get_voila_labextensions_path

from workbench.runs import pages
from workbench.runs.kernels import EnvironmentKernels, transport_encryption

TEMPLATES = Path(__file__).parent / "page"
EXTENSIONS = ("anywidget", "@jupyter-widgets/jupyterlab-manager", "@voila-dashboards/widgets-manager8")
NOTEBOOK = "explorer.ipynb"
TITLE = "Explorer · Attention Workbench"
ABANDONED = 60  # seconds after which the kernel of a page that went without a word is stopped
SOURCE = "from workbench.runs.visit import show\n\nshow({folder!r})"
WHY = "The terminal in which 'python3 -m workbench app' runs says why."

# The browser itself refuses what would leave this machine, whatever a widget asks for.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "connect-src 'self' ws://127.0.0.1:{port} ws://localhost:{port}",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


@dataclass(frozen=True)
class Show:
    """What is shown, and to how many: models in `folder`, at most `pages` pages at once."""

    folder: Path
    theme: str
    pages: int
    browser: bool


class PageKernels(AsyncMappingKernelManager):
    """One kernel a page, and no more than `limit`."""

    limit = Integer(4, config=True)
    starting = 0

    async def start_kernel(self, **options: Any) -> str:
        """Start a kernel, or refuse (503) where the limit is reached."""
        if len(self.list_kernel_ids()) + self.starting >= self.limit:
            raise HTTPError(503, reason=f"All {self.limit} pages that may be open at once are open")
        self.starting += 1
        try:
            return await super().start_kernel(**options)
        finally:
            self.starting -= 1


class ExplorerServer(Voila):
    """Voilà for one page. Reads no configuration of the user's, so none can open what is closed here."""

    name = "workbench-app"
    line = AnyTrait()
    announce = AnyTrait()

    def _config_file_paths_default(self) -> list[str]:
        return []

    def setup_template_dirs(self) -> None:
        """Put the page's own templates before Voilà's."""
        super().setup_template_dirs()
        self.template_paths.insert(0, str(TEMPLATES))

    def init_settings(self) -> Any:
        """Voilà's settings, shut to other names of this machine and to other sites' pages."""
        self.identity_provider_class = pages.TokenOnly
        headers = {
            "Content-Security-Policy": POLICY.format(port=self.port),
            "Referrer-Policy": "same-origin",  # the address holds the token
            "Cross-Origin-Resource-Policy": "same-origin",
        }
        settings: Any = super().init_settings()
        return {
            **settings,
            "headers": headers,
            "allow_remote_access": False,  # a name that a stranger's DNS points here is refused
            "allow_unauthenticated_access": False,
            "default_handler_class": pages.Nothing,
            "ws_ping_interval": 0,  # on one machine a lost line is noticed without
            "log_function": lambda handler: None,  # would write the token into the log
        }

    def init_handlers(self) -> Any:
        """List every address that answers."""
        kernel = r"(?P<kernel_id>\w+-\w+-\w+-\w+-\w+)"
        names = "|".join(EXTENSIONS)
        page = {
            "notebook_path": NOTEBOOK,
            "template_paths": self.template_paths,
            "config": self.config,
            "voila_configuration": self.voila_configuration,
        }
        themes = {"themes_url": "/voila/api/themes", "path": self.themes_dir, "no_cache_paths": ["/"]}
        extensions = {"path": get_voila_labextensions_path(), "no_cache_paths": ["/"]}
        return [
            (r"/", pages.Page, page),
            (rf"/api/kernels/{kernel}", pages.Kernel),
            (rf"/api/kernels/{kernel}/channels", pages.Channels),
            (r"/voila/api/shutdown/(.*)", pages.Goodbye),
            (r"/voila/templates/(lab/static/.*)", pages.TemplateFiles),
            (r"/voila/static/(.*)", pages.StaticFiles, {"paths": self.static_paths}),
            (r"/voila/api/themes/(.*)", pages.ThemeFiles, themes),
            (rf"/voila/labextensions/((?:{names})/static/.*)", pages.ExtensionFiles, extensions),
        ]

    def listen(self) -> None:
        """Serve on the socket that was bound, until a signal ends it; then stop every kernel."""
        server = HTTPServer(self.app)
        server.add_socket(self.line)
        self.ioloop = IOLoop.current()
        signal.signal(signal.SIGINT, self._handle_signal_stop)
        if hasattr(signal, "SIGHUP"):
            signal.signal(signal.SIGHUP, self._handle_signal_stop)
        self.ioloop.add_callback(self.announce)
        try:
            self.ioloop.start()
        finally:
            server.stop()
            self.stop()


def serve(line: socket.socket, show: Show, place: Path, say: Callable[[str], None]) -> None:
    """Serve `show` on the listening socket `line` until Ctrl-C; what that writes goes into `place`."""
    token = secrets.token_hex(24)
    line.setblocking(False)
    port = line.getsockname()[1]
    address = f"http://127.0.0.1:{port}/?token={token}"

    def announce() -> None:
        say(f"The Explorer is at\n\n    {address}\n\nfor whoever has this address, on this machine only.")
        say(
            f"Models: {show.folder} and the bundled ones. At most {show.pages} pages at once. Ctrl-C ends it."
        )
        if show.browser:
            webbrowser.open(_forward(place, address).as_uri())

    ExplorerServer.clear_instance()
    server = ExplorerServer.instance(
        config=configuration(show),
        line=line,
        announce=announce,
        ip="127.0.0.1",
        port=port,
        token=token,
        notebook_path=str(_notebook(place, show.folder)),
        root_dir=str(place),
        connection_dir_root=str(place),
        open_browser=False,
        log_level="ERROR",
    )
    server.log.addFilter(brief)
    server.initialize([])
    server.start()


def brief(record: logging.LogRecord) -> bool:
    """Reduce what Voilà logs of a page that failed to the kernel's own traceback; let the rest pass."""
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, CellExecutionError):
        record.msg = f"A page could not be opened.\n{error.traceback}"
        record.args, record.exc_info = (), None
    return True


def configuration(show: Show) -> Config:
    """Return Voilà's options: no source is sent, and only the theme is the visitor's choice."""
    config = Config()
    config.VoilaConfiguration.update(
        allow_template_override="NO",
        allow_theme_override="YES",  # light or dark: pages.Page refuses others
        theme=show.theme,
        strip_sources=True,
        show_tracebacks=False,
        file_allowlist=[],
        extension_allowlist=list(EXTENSIONS),
        multi_kernel_manager_class=PageKernels,
        kernel_spec_manager_class=EnvironmentKernels,
    )
    config.VoilaExecutor.update(cell_error_instruction=WHY, timeout=None)
    config.PageKernels.update(limit=show.pages, cull_idle_timeout=ABANDONED, cull_interval=15)
    config.KernelManager.transport_encryption = transport_encryption()
    return config


def _notebook(place: Path, folder: Path) -> Path:
    """Write the notebook of the page: one cell."""
    cell = nbformat.v4.new_code_cell(SOURCE.format(folder=str(folder)))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"title": TITLE, "kernelspec": kernel})
    path = place / NOTEBOOK
    nbformat.write(notebook, path)
    return path


def _forward(place: Path, address: str) -> Path:
    """Write a page that leads to `address`: a browser's command line can be read by others."""
    path = place / "open.html"
    path.write_text(f'<meta charset="utf-8"><meta http-equiv="refresh" content="0;url={address}">\n')
    return path
