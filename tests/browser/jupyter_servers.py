"""The servers a visitor meets, as real processes on a free port of this machine."""

import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.environment import ROOT

START_SECONDS = 60
ADDRESS = re.compile(r"http://127\.0\.0\.1:(?P<port>\d+)/\?token=(?P<token>\w+)")
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

    def answers(self) -> bool:
        """Whether it answers by now."""
        try:
            self.ask("api")
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            return False
        return True

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


def start_lab(folder: Path, settings: Path) -> Server:
    """Start JupyterLab on `folder` as `python3 -m workbench lab` does; wait until it answers."""
    port, token = free_port(), secrets.token_hex(16)
    own = [
        str(folder),  # a folder at the end is the one to serve
        "--no-browser",
        "--allow-root",
        "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}",
        "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={token}",
        "--LabApp.expose_app_in_browser=True",
    ]
    process, log = run(["lab", *own], settings)
    server = Server(process, port, token, folder, log)
    return ready(server, server.answers)


def start_app(folder: Path, settings: Path) -> Server:
    """Start the page of `python3 -m workbench app` on the models in `folder`; wait until it says where."""
    process, log = run(["app", "--port", "0", "--no-browser", "--run", str(folder)], settings)
    ready(Server(process, 0, "", folder, log), lambda: ADDRESS.search(log.read_text()) is not None)
    found = ADDRESS.search(log.read_text())
    assert found is not None
    return Server(process, int(found["port"]), found["token"], folder, log)


def run(arguments: list[str], settings: Path) -> tuple[subprocess.Popen[bytes], Path]:
    """Start `python -m workbench ARGUMENTS`; return it, and the file that takes what it says."""
    log = settings / "server.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "workbench", *arguments],
            cwd=ROOT,
            env=environment(settings),
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    return process, log


def environment(settings: Path) -> dict[str, str]:
    """This process's variables, no setting or extension of the user's, and no way out to the network."""
    places = ("CONFIG_DIR", "DATA_DIR", "RUNTIME_DIR")
    jupyter = {f"JUPYTER_{place}": str(settings / place.lower()) for place in places}
    lab = {f"JUPYTERLAB_{name}_DIR": str(settings / name.lower()) for name in ("SETTINGS", "WORKSPACES")}
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), NOWHERE)
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


def ready(server: Server, is_there: Callable[[], bool]) -> Server:
    """Return the server once it is there; stop it and fail with its last words if it ends or stays silent."""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end and server.process.poll() is None:
        if is_there():
            return server
        time.sleep(0.1)
    server.stop()
    said = server.log.read_text(encoding="utf-8", errors="replace")[-3000:]
    raise AssertionError(f"the server ended, or was not there within {START_SECONDS} s:\n{said}")
