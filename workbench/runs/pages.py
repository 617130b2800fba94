"""What `ExplorerServer` answers, address by address: to those with the token, and in words."""

import hmac
import json
from http import HTTPStatus
from typing import Any

from jupyter_server.auth.identity import IdentityProvider
from jupyter_server.base.handlers import FileFindHandler, JupyterHandler
from jupyter_server.services.kernels.connection.base import deserialize_msg_from_ws_v1
from jupyter_server.services.kernels.handlers import KernelHandler
from jupyterlab_server.themes_handler import ThemesHandler
from tornado.web import HTTPError, RequestHandler
from voila.shutdown_kernel_handler import VoilaShutdownKernelHandler
from voila.static_file_handler import MultiStaticFileHandler, TemplateStaticFileHandler
from voila.tornado.handler import TornadoVoilaHandler
from voila.tornado.kernel_websocket_handler import VoilaKernelWebsocketHandler

PROTOCOL = "v1.kernel.websocket.jupyter.org"
THEMES = ("light", "dark")
WORDS = {
    403: "This page opens with the address that was printed where it was started: all of it, "
    "up to the end of ?token=…",
    404: "There is nothing at this address.",
    500: "The terminal in which the page was started says why.",
    503: "Close one, or wait a minute: the place of a page that was closed is free soon.",
}


class TokenOnly(IdentityProvider):
    """Knows visitors by the token or by the cookie that it earned; there is no login page."""

    cookie_options = {"samesite": "Strict"}  # noqa: RUF012

    async def get_user_token(self, handler: RequestHandler) -> Any:
        """As the parent's, but takes the same time for every wrong token."""
        given = self.get_token(handler) or ""
        if not hmac.compare_digest(given.encode(), self.token.encode()):
            return None
        return await super().get_user_token(handler)


class Guarded(JupyterHandler):
    """Serves nothing without the token: Jupyter hands out its static files, and Tornado all, to anyone."""

    async def prepare(self) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Refuse (403) whoever has neither token nor cookie."""
        await super().prepare()
        if self.current_user is None:
            raise HTTPError(403)

    def get_login_url(self) -> str:
        """Refuse (403): nobody is led to a login page."""
        raise HTTPError(403)

    def write_error(self, status_code: int, **details: Any) -> None:
        """Say in words what went wrong, on a page that needs no other file."""
        error = details.get("exc_info", (None, None, None))[1]
        said = getattr(error, "reason", None) or HTTPStatus(status_code).phrase
        self.set_header("Content-Type", "text/html; charset=utf-8")
        template = self.settings["voila_jinja2_env"].get_template("refused.html")
        self.finish(template.render(status=status_code, title=said, words=WORDS.get(status_code, "")))


class Page(Guarded, TornadoVoilaHandler):  # pyright: ignore[reportIncompatibleMethodOverride]
    """The page itself; each one starts a kernel."""

    async def get(self, path: str | None = None) -> None:
        """Send the page as it comes into being."""
        theme = self.get_argument("theme", None)
        if theme not in (None, *THEMES):  # goes into the page as it is
            raise HTTPError(400, reason="The theme is light or dark")
        self.xsrf_token  # noqa: B018  the cookie with which a page that closes may stop its kernel
        await TornadoVoilaHandler.get(self)  # pyright: ignore[reportGeneralTypeIssues]


class Kernel(Guarded, KernelHandler):
    """Whether a kernel lives. It can neither be ended nor restarted from here, and none is listed."""

    SUPPORTED_METHODS = ("GET",)


class Channels(VoilaKernelWebsocketHandler):
    """The page's line to its kernel: widgets' messages pass, code does not (Voilà's list says what may)."""

    async def get(self, kernel_id: str) -> None:
        """Take the newer of Jupyter's two protocols, the one that the page speaks."""
        if PROTOCOL not in self.request.headers.get("Sec-WebSocket-Protocol", ""):
            raise HTTPError(400, reason=f"Expected the protocol {PROTOCOL}")
        await super().get(kernel_id)

    def on_message(self, ws_message: str | bytes) -> None:
        """Pass on what a page may say: it opens no widgets, it asks for those that are there."""
        if isinstance(ws_message, str):
            return
        _, parts = deserialize_msg_from_ws_v1(ws_message)
        opens = json.loads(parts[0])["msg_type"] == "comm_open"
        if not opens or json.loads(parts[3])["target_name"] == "jupyter.widget.control":
            super().on_message(ws_message)

    def write_message(self, message: Any, binary: bool = False) -> Any:
        """Keep what the kernel prints from the page: it may say where files lie. It goes to the terminal."""
        if isinstance(message, bytes):
            _, parts = deserialize_msg_from_ws_v1(message)
            if json.loads(parts[0])["msg_type"] in ("stream", "error"):
                content = json.loads(parts[3])
                self.log.error("A page's kernel says:\n%s", content.get("text") or content.get("evalue"))
                return None
        return super().write_message(message, binary)


class Goodbye(Guarded, VoilaShutdownKernelHandler):
    """A page that closes stops its kernel."""

    async def post(self, kernel_id: str) -> None:
        """Stop the kernel, if it is there."""
        if kernel_id not in self.kernel_manager:
            raise HTTPError(404)
        await VoilaShutdownKernelHandler.post(self, kernel_id)  # pyright: ignore[reportGeneralTypeIssues]


class TemplateFiles(Guarded, TemplateStaticFileHandler):
    """Voilà's scripts and styles."""

    def parse_url_path(self, path: str) -> str:
        """Refuse (404) a way up, on which Voilà's would stumble."""
        if ".." in path.split("/"):
            raise HTTPError(404)
        return super().parse_url_path(path)


class StaticFiles(Guarded, MultiStaticFileHandler):
    """Voilà's scripts, and what they load."""


class ThemeFiles(Guarded, ThemesHandler):  # pyright: ignore[reportIncompatibleMethodOverride]
    """Light and dark."""


class ExtensionFiles(Guarded, FileFindHandler):  # pyright: ignore[reportIncompatibleMethodOverride]
    """The scripts of ipywidgets and anywidget."""


class Nothing(Guarded):
    """Every other address."""

    async def prepare(self) -> None:
        """Refuse."""
        await super().prepare()
        raise HTTPError(404)
