"""The servers a visitor meets, as real processes on a free port of this machine."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.environment import ROOT

START_SECONDS = 60
NOWHERE = "http://127.0.0.1:9"  # a proxy that answers nobody: what a server asks of the world fails at once


@dataclass(frozen=True)
class Server:
    """One running server: where it listens, what opens it, and the folder it serves."""

    process: subprocess.Popen[bytes]
    port: int
    token: str
    folder: Path
    log: Path

    @property
    def address(self) -> str:
        """Its root, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def ask(self, path: str, method: str = "GET") -> Any:
        """Return the answer of its interface, or None where it answers without a body."""
        request = urllib.request.Request(
            f"{self.address}/{path}", method=method, headers={"Authorization": f"token {self.token}"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:
            body = answer.read()
        return json.loads(body) if body else None

    def kernels(self) -> list[dict[str, Any]]:
        """The kernels it runs now."""
        return self.ask("api/kernels")

    def stop(self) -> None:
        """End it and its kernels."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)


def start(arguments: Iterable[str], folder: Path, settings: Path, ready: str = "api") -> Server:
    """Start `python -m workbench ARGUMENTS` on `folder`, with settings of its own; wait until it answers.

    `{port}`, `{token}` and `{folder}` in the arguments are filled in.
    """
    port, token = free_port(), secrets.token_hex(16)
    words = [word.format(port=port, token=token, folder=folder) for word in arguments]
    log = settings / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "workbench", *words],
            cwd=ROOT,
            env=environment(settings),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    server = Server(process, port, token, folder, log)
    try:
        wait_for(server, ready)
    except AssertionError:
        server.stop()
        raise
    return server


def environment(settings: Path) -> dict[str, str]:
    """This process's variables, no setting or extension of the user's, and no way out to the network."""
    places = ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR")
    jupyter = {f"JUPYTER_{place}": str(settings / place.lower()) for place in places}
    lab = {f"JUPYTERLAB_{name}_DIR": str(settings / name.lower()) for name in ("SETTINGS", "WORKSPACES")}
    proxies = {name: NOWHERE for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")}
    own = {
        "WORKBENCH_ENV": "current",
        "IPYTHONDIR": str(settings / "ipython"),
        "OMP_NUM_THREADS": "1",
        "no_proxy": "127.0.0.1,localhost",
        "NO_PROXY": "127.0.0.1,localhost",
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "PYTEST"))}
    return {**kept, **jupyter, **lab, **proxies, **own}


def free_port() -> int:
    """A port of the loopback address that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(server: Server, path: str) -> None:
    """Return when `path` answers; fail with the server's last words if it ends or stays silent."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        assert server.process.poll() is None, f"the server ended:\n{last_words(server)}"
        try:
            server.ask(path)
            return
        except urllib.error.HTTPError:
            return  # it answers, if only to refuse
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    raise AssertionError(f"the server did not answer within {START_SECONDS} s:\n{last_words(server)}")


def last_words(server: Server) -> str:
    """The end of what it wrote."""
    return server.log.read_text(encoding="utf-8", errors="replace")[-3000:]
