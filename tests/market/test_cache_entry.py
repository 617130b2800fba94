"""Entries on disk: where they lie, and what happens to damaged ones."""

import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up import NOON, Source, ask, same

from workbench.market.cache import cached
from workbench.market.cache_entry import Entry, cache_folder, entry_path
from workbench.market.frame import Request, conform

Load = Callable[..., pd.DataFrame]


@pytest.mark.parametrize("how", ["cut", "flipped", "text", "empty", "other table"])
def test_a_damaged_entry_is_fetched_anew_with_a_warning(
    load: Load, source: Source, tmp_path: Path, how: str
) -> None:
    expected = load("2021-01-01", "2021-12-31")
    (path,) = tmp_path.rglob("*.parquet")
    content = path.read_bytes()
    if how == "other table":
        pd.DataFrame({"close": [1.0]}).to_parquet(path)
    else:
        middle = len(content) // 4
        flipped = content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]
        path.write_bytes({"cut": content[:-100], "flipped": flipped, "text": b"prices", "empty": b""}[how])
    with pytest.warns(UserWarning, match=r"1d\.parquet are damaged.*fetched anew"):
        same(load("2021-01-01", "2021-12-31"), expected)
    load("2021-01-01", "2021-12-31")
    assert len(source.asked) == 2


@settings(max_examples=25)
@given(st.data())
def test_whatever_byte_changes_the_entry_is_whole_or_found_damaged(data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        request = ask("2021-01-01", "2021-02-15")
        expected = cached(request, "made up", Source().fetch, folder, clock=lambda: NOON)
        (path,) = Path(folder).rglob("*.parquet")
        content = bytearray(path.read_bytes())
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
        path.write_bytes(content)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            prices = cached(request, "made up", Source().fetch, folder, clock=lambda: NOON)
        assert all("are damaged" in str(warning.message) for warning in caught)
        same(prices, expected)


@pytest.mark.parametrize(
    ("ticker", "name"),
    [
        ("AAPL", "AAPL"),
        ("aapl", "AAPL"),
        ("^GSPC", "^GSPC"),
        ("EURUSD=X", "EURUSD=X"),
        ("BRK-B", "BRK-B"),
        ("VOD.L", "VOD.L"),
        ("BTC/USD", "BTC%2FUSD"),
        ("../x", "%2E%2E%2FX"),
        ("..", "%2E%2E"),
        (".", "%2E"),
        ("a b\\c:d", "A%20B%5CC%3AD"),
    ],
)
def test_a_ticker_becomes_a_plain_folder_name(ticker: str, name: str, tmp_path: Path, source: Source) -> None:
    request = ask("2021-01-01", "2021-02-15", ticker=ticker)
    path = entry_path(tmp_path, "made up", request)
    assert path == tmp_path / "made up" / name / "1d.parquet"
    prices = cached(request, "made up", source.fetch, tmp_path, clock=lambda: NOON)
    assert path.is_file()
    again = cached(request, "made up", source.fetch, tmp_path, clock=lambda: NOON)
    assert prices.attrs["provenance"]["ticker"] == again.attrs["provenance"]["ticker"] == ticker
    assert len(source.asked) == 1


@given(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=20))
def test_any_ticker_stays_in_its_own_folder(one: str, other: str) -> None:
    folder = Path("/cache")
    paths = [entry_path(folder, "yahoo", ask(ticker=ticker)) for ticker in (one, other)]
    assert all(path.resolve().parent.parent == folder / "yahoo" for path in paths)
    assert (paths[0] == paths[1]) == (one.upper() == other.upper())


def test_the_cache_lies_in_the_checkout_or_else_with_the_user(monkeypatch, tmp_path: Path) -> None:
    assert cache_folder() == Path(__file__).resolve().parents[2] / "data" / "cache"
    installed = tmp_path / "site-packages" / "workbench" / "market" / "cache_entry.py"
    monkeypatch.setattr("workbench.market.cache_entry.__file__", str(installed))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "attention-workbench"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "attention-workbench"


def test_a_cache_that_cannot_be_written_is_only_warned_of(source: Source, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.warns(UserWarning, match="could not be cached in .*file/made up"):
        prices = cached(
            ask("2021-01-01", "2021-02-15"), "made up", source.fetch, tmp_path / "file", clock=lambda: NOON
        )
    assert len(prices) == 32


def test_intervals_and_sources_are_kept_apart(source: Source, tmp_path: Path) -> None:
    for name, interval in (("bybit", "1d"), ("bybit-linear", "1d"), ("bybit", "1h")):
        cached(ask("2021-01-01", "2021-02-15", interval), name, source.fetch, tmp_path, clock=lambda: NOON)
    kept = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    assert kept == ["bybit-linear/ACME/1d.parquet", "bybit/ACME/1d.parquet", "bybit/ACME/1h.parquet"]
    assert len(source.asked) == 3


def test_notes_of_all_answers_are_kept_once(tmp_path: Path) -> None:
    def fetch(request: Request) -> pd.DataFrame:
        prices = Source().fetch(request)
        note = f"since {request.start:%B}; seen"
        return conform(prices, prices.attrs["provenance"] | {"note": note})

    cached(ask("2021-03-01", "2021-03-31"), "made up", fetch, tmp_path, clock=lambda: NOON)
    prices = cached(ask("2021-02-01", "2021-03-31"), "made up", fetch, tmp_path, clock=lambda: NOON)
    assert prices.attrs["provenance"]["note"] == "since March; seen; since February"


def test_writers_at_the_same_time_leave_a_whole_entry(source: Source, tmp_path: Path) -> None:
    years = range(2020, 2024)
    failures: list[BaseException] = []

    def run(year: int) -> None:
        try:
            for month in range(3, 7):
                request = ask(f"{year}-{month:02d}-01", f"{year}-{month:02d}-28")
                same(
                    cached(request, "made up", source.fetch, tmp_path, clock=lambda: NOON),
                    Source().fetch(request),
                )
        except BaseException as failure:  # noqa: BLE001, a thread's failure is the test's
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(year,)) for year in years]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    (path,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(Entry.read(path, "1d").bars) > 0
