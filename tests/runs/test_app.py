"""The Explorer as a web page: the real server, visited by a guest, by strangers, by one who tries doors."""

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urljoin

import psutil
import pytest
import requests
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from workbench.environment import ROOT
from workbench.runs import app, visit
from workbench.runs.pages import PROTOCOL
from workbench.runs.server import Show, configuration

STARTED = 60


@dataclass
class Served:
    """A running server, and what a visitor's browser knows after opening the page."""

    process: subprocess.Popen
    place: str
    token: str
    guest: requests.Session
    page: requests.Response | None = None

    def url(self, path: str) -> str:
        return f"{self.place}{path}"

    @property
    def kernel(self) -> str:
        assert self.page is not None
        found = re.search(
            r'id="jupyter-config-data" type="application/json">(.*?)</script>', self.page.text, re.S
        )
        assert found is not None
        return json.loads(found.group(1))["kernelId"]


def start(*options: str) -> Served:
    settings = {**os.environ, "WORKBENCH_ENV": "current", "OMP_NUM_THREADS": "1"}
    settings |= {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}  # no way out
    process = subprocess.Popen(
        [sys.executable, "-m", "workbench", "app", "--port", "0", "--no-browser", *options],
        cwd=ROOT, env=settings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        found = re.search(r"(http://127\.0\.0\.1:\d+)/\?token=(\w+)", line)
        if found:
            guest = requests.Session()
            guest.trust_env = False
            return Served(process, found.group(1), found.group(2), guest)
    pytest.fail(f"The server ended without an address:\n{''.join(lines)}")


def stop(served: Served, how: int = signal.SIGINT) -> int:
    served.process.send_signal(how)
    try:
        return served.process.wait(20)
    finally:
        served.process.kill()
        served.guest.close()
        assert served.process.stdout is not None
        served.process.stdout.close()


def opened(served: Served, query: str = "") -> Served:
    served.page = served.guest.get(served.url(f"/?token={served.token}{query}"), timeout=STARTED)
    served.page.encoding = "utf-8"
    return served


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("secret-runs")


@pytest.fixture(scope="module")
def served(runs: Path) -> Iterator[Served]:
    """One server with room for one page, and that page opened."""
    server = start("--run", str(runs), "--pages", "1", "--theme", "dark")
    try:
        yield opened(server)
    finally:
        stop(server)


def plain(served: Served, path: str, **options) -> requests.Response:
    """Ask as one who has no cookie."""
    with requests.Session() as stranger:
        stranger.trust_env = False
        return stranger.get(served.url(path), timeout=20, allow_redirects=False, **options)


def raw(served: Served, path: str, with_cookie: bool = True) -> tuple[int, str]:
    """Ask for a path exactly as written: clients tidy '..' away."""
    host, port = served.place.removeprefix("http://").split(":")
    cookie = "; ".join(f"{each.name}={each.value}" for each in served.guest.cookies) if with_cookie else ""
    with socket.create_connection((host, int(port)), timeout=10) as line:
        lines = [
            f"GET {path} HTTP/1.1",
            f"Host: {host}:{port}",
            f"Cookie: {cookie}",
            "Connection: close",
            "",
            "",
        ]
        line.sendall("\r\n".join(lines).encode())
        answer = b"".join(iter(lambda: line.recv(65536), b"")).decode(errors="replace")
    return int(answer.split()[1]), answer


def test_the_page_opens_with_its_token_and_shows_a_widget(served: Served):
    assert served.page is not None
    assert served.page.status_code == 200
    assert "application/vnd.jupyter.widget-view+json" in served.page.text
    assert "<title>Explorer · Attention Workbench</title>" in served.page.text
    assert 'data-jp-theme-light="false"' in served.page.text


def test_the_source_of_the_page_and_where_things_lie_stay_hidden(served: Served, runs: Path):
    assert served.page is not None
    assert "runs.visit" not in served.page.text
    assert str(runs) not in served.page.text
    assert "Traceback" not in served.page.text


def test_no_other_address_of_this_machine_is_served(served: Served):
    port = int(served.place.rpartition(":")[2])
    with pytest.raises(OSError, match=r"refused|timed out|assign"):
        socket.create_connection(("127.0.0.2", port), timeout=2).close()


@pytest.mark.parametrize("token", ["", "?token=", "?token=wrong"])
@pytest.mark.parametrize(
    "path",
    [
        "/", "/login", "/voila/static/voila.js", "/voila/templates/lab/static/voila.js", "/nothing",
        "/voila/api/themes/@jupyterlab/theme-light-extension/index.css", "/api/kernels",
        "/api/kernels/{kernel}",
        "/voila/labextensions/anywidget/static/style.js", "/api/kernels/{kernel}/channels", "/favicon.ico",
    ],
)  # fmt: skip
def test_without_the_token_nothing_is_served(served: Served, path: str, token: str):
    answer = plain(served, path.format(kernel=served.kernel) + token)
    assert answer.status_code == 403
    assert "all of it, up to the end of ?token=" in answer.text or path.endswith("/channels")
    assert served.token not in answer.text
    assert len(answer.content) < 1500


def test_who_has_no_token_cannot_end_a_kernel(served: Served):
    stranger = requests.post(served.url(f"/voila/api/shutdown/{served.kernel}"), timeout=20)
    assert stranger.status_code == 403
    other_site = served.guest.post(served.url(f"/voila/api/shutdown/{served.kernel}"), timeout=20)
    assert other_site.status_code == 403  # the cookie without the page's own mark
    assert served.guest.get(served.url(f"/api/kernels/{served.kernel}"), timeout=20).status_code == 200


def test_a_name_that_a_stranger_points_at_this_machine_is_refused(served: Served):
    answer = plain(served, f"/?token={served.token}", headers={"Host": "evil.example"})
    assert answer.status_code == 403


def test_what_the_page_loads_names_no_other_host(served: Served):
    assert served.page is not None
    markup = re.sub(r"<script[^>]*json[^>]*>.*?</script>", "", served.page.text, flags=re.S)
    links = re.findall(r"""(?:href|src)=["']([^"']+)["']""", markup)
    assert len(links) >= 3
    for link in links:
        address = urljoin(served.place, link)
        assert address.startswith((served.place + "/", "data:")), link
        if not address.startswith("data:"):
            answer = served.guest.get(address, timeout=20)
            assert answer.status_code == 200, link
            if "css" in answer.headers["Content-Type"]:
                assert not re.search(r"""(?:url\(|@import)\s*["']?\s*(?:https?:)?//""", answer.text), link
    assert not re.search(r"https?://(?!www\.w3\.org)(?!127\.0\.0\.1)", markup)


def test_the_browser_is_told_to_ask_no_other_host(served: Served):
    assert served.page is not None
    policy = served.page.headers["Content-Security-Policy"]
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    port = served.place.rpartition(":")[2]
    assert rules["connect-src"] == f"'self' ws://127.0.0.1:{port} ws://localhost:{port}"
    hosts = re.findall(r"\w+://[^ ;]+", policy)
    assert hosts == [f"ws://127.0.0.1:{port}", f"ws://localhost:{port}"]
    assert served.page.headers["Referrer-Policy"] == "same-origin"
    assert "Access-Control-Allow-Origin" not in plain(served, "/nothing").headers


async def conversation(served: Served, messages: list[dict], until: str = "kernel_info_reply") -> list[str]:
    """Send kernel messages as a visitor's script would; return what came back, up to one that has `until`."""
    cookie = "; ".join(f"{each.name}={each.value}" for each in served.guest.cookies)
    place = f"{served.place.replace('http', 'ws')}/api/kernels/{served.kernel}"
    address = f"{place}/channels?session_id={uuid.uuid4().hex}"
    request = HTTPRequest(address, headers={"Cookie": cookie})
    line = await websocket_connect(request, subprotocols=[PROTOCOL])
    heard: list[str] = []
    for message in messages:
        await line.write_message(packed(message), binary=True)
    try:
        while not heard or until not in heard[-1]:
            came = await asyncio.wait_for(line.read_message(), 30)
            assert isinstance(came, bytes), "the server hung up"
            heard.append(came.decode(errors="replace"))
    finally:
        line.close()
        while await line.read_message() is not None:
            pass
    return heard


def packed(message: dict) -> bytes:
    """Write a message the way JupyterLab's newer protocol does."""
    texts = [
        json.dumps(message[part]).encode() for part in ("header", "parent_header", "metadata", "content")
    ]
    parts = [message["channel"].encode(), *texts]
    place, places = 8 * (len(parts) + 2), []
    for part in parts:
        places.append(place)
        place += len(part)
    numbers = [len(parts) + 1, *places, place]
    return b"".join(number.to_bytes(8, "little") for number in numbers) + b"".join(parts)


def message(kind: str, channel: str = "shell", **content) -> dict:
    header = {
        "msg_id": uuid.uuid4().hex,
        "msg_type": kind,
        "session": "tried",
        "username": "",
        "version": "5.3",
    }
    return {"header": header, "parent_header": {}, "metadata": {}, "content": content, "channel": channel}


def test_code_is_refused_over_the_line_to_the_kernel(served: Served, tmp_path: Path):
    mark = tmp_path / "ran"
    code = f"open({str(mark)!r}, 'w').close()"
    debug = {"seq": 1, "type": "request", "command": "evaluate", "arguments": {"expression": code}}
    messages = [
        message("execute_request", code=code, silent=False, store_history=False, user_expressions={}),
        message("execute_request", "control", code=code, silent=True, user_expressions={"a": code}),
        message("complete_request", code="import os; os.", cursor_pos=13),
        message("inspect_request", code="show", cursor_pos=4, detail_level=1),
        message("history_request", hist_access_type="tail", n=9, output=False, raw=True),
        message("debug_request", "control", **debug),
        message("kernel_info_request"),
    ]
    heard = " ".join(asyncio.run(conversation(served, messages)))  # so the line does work
    assert not mark.exists()
    assert not re.search(r"(execute|complete|inspect|history|debug)_reply", heard)


def widgets(served: Served) -> list[str]:
    """The names that the kernel's widgets go by, as the page learns them."""
    heard = asyncio.run(
        conversation(served, [message("comm_info_request", target_name="jupyter.widget")], "comm_info_reply")
    )
    return re.findall(r'"([0-9a-f]{32})"', heard[-1].rpartition("comms")[2])


@pytest.mark.parametrize(
    ("wish", "answer"),
    [
        ({"read_only": False}, "read_only is not for the browser to set"),
        ({"source": "csv", "ticker": "/etc/passwd"}, "not csv"),
        ({"run": "../../../../etc"}, "There is no saved model"),
        ({"ask": "train", "name": "transformer"}, "for looking only"),
    ],
)
def test_a_visitor_who_claims_more_rights_gets_none(served: Served, wish: dict, answer: str):
    data = {"method": "update", "state": wish, "buffer_paths": []}
    if "ask" in wish:
        data = {"method": "custom", "content": wish}
    names = widgets(served)
    assert names
    heard = " ".join(
        asyncio.run(
            conversation(served, [message("comm_msg", comm_id=name, data=data) for name in names], answer)
        )
    )
    assert "root:" not in heard
    assert str(ROOT) not in heard


def test_a_visitor_opens_no_widget_and_reads_nothing_that_the_kernel_prints(served: Served):
    state = {"_model_module": "nowhere", "_model_name": "None"}
    opening = message("comm_open", comm_id="0" * 32, target_name="jupyter.widget", data={"state": state})
    broken = [
        message("comm_open", comm_id="1" * 32, target_name="jupyter.widget.control", data={"state": state}),
        message("comm_msg", comm_id="1" * 32, data={"method": "update", "state": "x", "buffer_paths": 5}),
    ]
    heard = " ".join(asyncio.run(conversation(served, [opening, *broken, message("kernel_info_request")])))
    assert "0" * 32 not in heard
    assert "stream" not in re.findall(r'"msg_type": ?"(\w+)"', heard)
    assert "Traceback" not in heard


def test_the_older_protocol_is_not_spoken(served: Served):
    asked = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    asked |= {"Sec-WebSocket-Key": "c2l4dGVlbiBieXRlcyE="}
    answer = served.guest.get(served.url(f"/api/kernels/{served.kernel}/channels"), headers=asked, timeout=20)
    assert answer.status_code == 400


def test_a_page_of_another_site_gets_no_line_to_the_kernel(served: Served):
    asked = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
    asked |= {"Sec-WebSocket-Key": "c2l4dGVlbiBieXRlcyE=", "Sec-WebSocket-Protocol": PROTOCOL}
    asked |= {"Origin": "http://evil.example"}
    address = served.url(f"/api/kernels/{served.kernel}/channels")
    assert served.guest.get(address, headers=asked, timeout=20).status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/voila/files/explorer.ipynb", "/voila/files/../pyproject.toml", "/files/pyproject.toml",
        "/explorer.ipynb", "/voila/render/explorer.ipynb", "/voila/tree", "/voila/api/contents/",
        "/voila/static/../../app.py", "/voila/static/..%2f..%2fapp.py", "/voila/static/%2e%2e/%2e%2e/app.py",
        "/voila/static//etc/passwd", "/voila/static/%2fetc%2fpasswd", "/voila/static/....//....//etc/passwd",
        "/voila/templates/lab/static/../../../../../../../../../../../etc/passwd",
        "/voila/templates/lab/static/..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2f..%2fetc%2fpasswd",
        "/voila/templates/lab/static/../index.html.j2", "/voila/templates/..%2f..%2fstatic/etc/passwd",
        "/voila/api/themes/../../../../../../../../etc/passwd", "/voila/api/themes/%2fetc%2fpasswd",
        "/voila/labextensions/anywidget/static/../../../../../../../../etc/passwd",
        "/voila/labextensions/anywidget/static/..%2f..%2f..%2fjupyter%2fkernels%2fpython3%2fkernel.json",
        "/voila/labextensions/jupyterlab-jupytext/package.json", "/static/../../../etc/passwd",
        "/api/kernels", "/api/sessions", "/api/kernelspecs", "/api/contents/", "/api", "/metrics", "/lab",
        "/api/kernels/{kernel}/restart", "/voila/execution/{kernel}", "/voila/query/{kernel}",
    ],
)  # fmt: skip
def test_no_file_no_list_of_kernels_and_no_other_door(served: Served, path: str):
    status, answer = raw(served, path.format(kernel=served.kernel))
    assert status in (403, 404), answer[:300]
    assert "root:" not in answer
    assert "nbformat" not in answer
    assert served.kernel not in answer


@pytest.mark.parametrize(("method", "path"), [("DELETE", ""), ("POST", "/restart"), ("POST", "/interrupt")])
def test_a_kernel_is_neither_ended_nor_restarted_from_outside(served: Served, method: str, path: str):
    given = {"X-XSRFToken": served.guest.cookies["_xsrf"]}
    answer = served.guest.request(
        method, served.url(f"/api/kernels/{served.kernel}{path}"), headers=given, timeout=20
    )
    assert answer.status_code in (403, 404, 405)
    assert served.guest.get(served.url(f"/api/kernels/{served.kernel}"), timeout=20).status_code == 200


def test_what_stands_in_the_address_does_not_get_into_the_page(served: Served):
    mark = '"><img src=x onerror=alert(1)>'
    answer = served.guest.get(served.url("/"), params={"theme": mark}, timeout=20)
    assert answer.status_code == 400
    assert "The theme is light or dark" in answer.text
    assert "<img" not in answer.text


def test_more_pages_than_agreed_are_refused_in_words(served: Served):
    answer = served.guest.get(served.url("/"), timeout=STARTED)
    assert answer.status_code == 503
    assert "All 1 pages that may be open at once are open" in answer.text
    assert "Close one" in answer.text


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_nothing_behind(ending: int):
    server = start()
    try:
        opened(server)
        left = kernels(psutil.Process(server.process.pid))
        assert len(left) == 1
        words = left[0].cmdline()
        place = Path(words[words.index("-f") + 1])
        assert place.exists()
    finally:
        code = stop(server, ending)
    assert code == 0
    assert not any(each.is_running() and each.status() != psutil.STATUS_ZOMBIE for each in left)
    assert not any(folder.exists() for folder in place.parents[:2])
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(server.place.rpartition(":")[2])), timeout=2)


def test_a_page_that_closes_stops_its_kernel():
    server = start("--pages", "1")
    try:
        kernel = opened(server).kernel
        family = psutil.Process(server.process.pid)
        assert len(kernels(family)) == 1
        goodbye = server.url(f"/voila/api/shutdown/{kernel}")
        mark = {"_xsrf": server.guest.cookies["_xsrf"]}
        assert server.guest.post(goodbye, data=mark, timeout=20).status_code == 204
        assert not kernels(family)
        assert server.guest.post(goodbye, data=mark, timeout=20).status_code == 404
    finally:
        stop(server)


def kernels(family: psutil.Process) -> list[psutil.Process]:
    return [
        each for each in family.children(recursive=True) if "ipykernel_launcher" in " ".join(each.cmdline())
    ]


def test_a_taken_port_is_told_with_what_to_do(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert app.run_app(app.parse(["-p", str(port), "--no-browser"]), ROOT) == 1
    said = capsys.readouterr().err
    assert f"Port {port} of 127.0.0.1 cannot be had (Address already in use)" in said
    assert "--port 0" in said


def test_a_folder_that_is_not_there_is_told_before_anything_starts(tmp_path: Path, capsys):
    assert app.run_app(app.parse(["--run", str(tmp_path / "none"), "--no-browser"]), ROOT) == 2
    assert "expects a folder of trained models" in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong", [["--port", "70000"], ["-p", "web"], ["--pages", "0"], ["--theme", "pink"], ["x"]]
)
def test_misspelt_options_are_told(wrong: list[str], capsys):
    with pytest.raises(SystemExit) as ended:
        app.parse(wrong)
    assert ended.value.code == 2
    assert wrong[-1] in capsys.readouterr().err


def test_an_error_is_told_in_words_without_markup_or_places():
    words = visit.failure(FileNotFoundError(f"{ROOT}/data/models/<b>x</b> is missing under {Path.home()}/y"))
    assert "&lt;b&gt;x&lt;/b&gt; is missing" in words
    assert str(ROOT) not in words
    assert f"{Path.home()}/" not in words
    assert "ZeroDivisionError" in visit.failure(ZeroDivisionError())


def test_a_page_that_went_without_a_word_gives_its_place_back():
    options = configuration(Show(Path("runs"), "light", 3, browser=False))
    assert options.PageKernels.limit == 3
    assert 0 < options.PageKernels.cull_idle_timeout <= 120
    assert options.PageKernels.cull_interval <= 30
    assert "cull_connected" not in options.PageKernels  # a page that is open keeps its kernel
