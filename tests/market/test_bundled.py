import hashlib
import shutil
from pathlib import Path

import pytest

from workbench.market import bundled
from workbench.market.bundled import folder, read_bundled
from workbench.market.frame import Request, SourceError
from workbench.market.sample import fetch, tickers20

DATA = Path(__file__).parents[2] / "data"


def whole(ticker: str) -> Request:
    return Request(ticker, None, None)


def test_the_hashes_are_those_that_the_documents_name() -> None:
    readme = (DATA / "README.md").read_text()
    for name in ("stocks.csv.gz", "closes20.csv.gz"):
        digest = hashlib.sha256((DATA / name).read_bytes()).hexdigest()
        assert f"| `{name}` | `{digest}` |" in readme
        assert f"{digest}  {name}\n" in (DATA / "SHA256SUMS").read_text()


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package's data, which is what the functions read."""
    package = tmp_path / "site-packages" / "workbench"
    shutil.copytree(DATA, package / "_data", ignore=shutil.ignore_patterns("cache"))
    monkeypatch.setattr(bundled, "_PACKAGE", package)
    return package / "_data"


def test_an_installed_package_reads_its_own_data(copy: Path) -> None:
    assert folder() == copy
    assert len(fetch(whole("AAPL"))) == 3270


def test_a_checkout_reads_its_data_folder() -> None:
    assert folder() == DATA


def test_an_altered_file_is_refused(copy: Path) -> None:
    content = bytearray((copy / "stocks.csv.gz").read_bytes())
    content[1000] ^= 1
    (copy / "stocks.csv.gz").write_bytes(content)
    with pytest.raises(SourceError, match=r"stocks\.csv\.gz was altered.*git checkout") as refused:
        fetch(whole("AAPL"))
    assert hashlib.sha256(content).hexdigest() in str(refused.value)


def test_a_missing_file_is_named(copy: Path) -> None:
    (copy / "closes20.csv.gz").unlink()
    with pytest.raises(SourceError, match=r"closes20\.csv\.gz is missing"):
        tickers20()
    with pytest.raises(SourceError, match=r"other\.csv\.gz is missing"):
        read_bundled("other.csv.gz")
    (copy / "SHA256SUMS").unlink()
    with pytest.raises(SourceError, match=r"bundled prices are missing: no SHA256SUMS in .*_data or .*data"):
        fetch(whole("AAPL"))
