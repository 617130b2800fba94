"""The real clients pointed at a local server: nothing leaves loopback."""

import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

import pandas as pd
import pytest
from loopback import Handler, Server
from made_up import Source, ask

from workbench.market.cache import cached

_YAHOO = re.compile(r"https://\w+\.finance\.yahoo\.com|https://finance\.yahoo\.com|http://127\.0\.0\.1:\d+")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        told = Server(f"http://127.0.0.1:{httpd.server_port}")
        httpd.told = told  # pyright: ignore[reportAttributeAccessIssue]
        thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield told
        httpd.shutdown()
        thread.join()


@pytest.fixture
def closed_port() -> int:
    """A port on which nobody answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def pauses() -> list[float]:
    """Seconds that a client would have slept."""
    return []


@pytest.fixture
def yfinance_at(monkeypatch: pytest.MonkeyPatch, closed_port: int) -> Iterator[Callable[[str], None]]:
    """Point yfinance at a URL, without its caches; what it asks over https meets a closed port."""
    import yfinance
    import yfinance.base
    import yfinance.cache
    import yfinance.data

    monkeypatch.setattr(yfinance.data.SingletonMeta, "_instances", {})
    monkeypatch.setattr(yfinance.cache._TzCacheManager, "_tz_cache", yfinance.cache._TzCacheDummy())
    monkeypatch.setattr(
        yfinance.cache._CookieCacheManager, "_Cookie_cache", yfinance.cache._CookieCacheDummy()
    )
    monkeypatch.setattr(yfinance.base, "_tz_info_fetch_ctr", 0)
    nowhere = {"https": f"http://127.0.0.1:{closed_port}"}
    monkeypatch.setitem(yfinance.config.network.data, "proxy", nowhere)

    def point(url: str) -> None:
        for module in [m for name, m in sys.modules.items() if name.partition(".")[0] == "yfinance"]:
            for name, value in list(vars(module).items()):
                if isinstance(value, str) and _YAHOO.match(value):
                    monkeypatch.setattr(module, name, _YAHOO.sub(url, value))

    yield point
    yfinance.data.YfData.cache_get.cache_clear()


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def load(source: Source, tmp_path: Path) -> Callable[..., pd.DataFrame]:
    def load(*ends: str | None, interval: str = "1d", **options: object) -> pd.DataFrame:
        request = ask(*ends, interval=interval)
        return cached(request, "made up", source.fetch, tmp_path, clock=lambda: source.now, **options)

    return load
