import hashlib
import shutil
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from workbench import doctor
from workbench.environment import ROOT, Environment, Need


@pytest.fixture
def address() -> Iterator[str]:
    """A server on this machine that answers /200, /403, … with that number."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(int(self.path[1:]))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "tiny"\nversion = "1.2"\ndependencies = []\n')
    (tmp_path / "constraints.txt").write_text("")
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "01_a.ipynb").write_text("{}")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "prices.csv").write_text("1")
    (tmp_path / "data" / "SHA256SUMS").write_text(f"{hashlib.sha256(b'1').hexdigest()}  prices.csv\n")
    return tmp_path


def test_each_source_says_whether_it_answers(address: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(
        doctor,
        "SOURCES",
        {
            "Good": f"{address}/200",
            "Limited": f"{address}/429",
            "Refused": f"{address}/403",
            "Gone": "http://127.0.0.1:9/",
            "Nowhere": "http://no.such.host.invalid/",
        },
    )
    good, limited, refused, gone, nowhere = doctor.sources()
    assert good.state == "ok"
    assert {finding.state for finding in (limited, refused, gone, nowhere)} == {"note"}
    assert "HTTP 429" in limited.text
    assert "may not serve this country" in refused.text
    assert "not within reach" in gone.text
    assert "bundled data needs no network" in nowhere.text


def test_a_bare_machine_is_examined_without_making_anything(checkout: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("WORKBENCH_ENV", raising=False)
    monkeypatch.setattr(doctor, "SOURCES", {})
    monkeypatch.setattr(
        doctor, "package_index", lambda place: doctor.Finding("Package index", "ok", "answers")
    )
    said: list[str] = []
    assert doctor.examine(Environment(checkout), said.append) == 0
    text = "".join(said)
    assert "Attention Workbench 1.2" in text
    assert "since there is none yet" in text
    assert "01_a" in text
    assert text.endswith("can run.\n")
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize("trouble", ["disk", "notebooks", "index", "writing", "data"])
def test_whatever_would_stop_the_main_job_fails_the_examination(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, trouble: str
):
    monkeypatch.delenv("WORKBENCH_ENV", raising=False)
    monkeypatch.setattr(doctor, "SOURCES", {})
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    if trouble != "index":
        monkeypatch.setattr(doctor, "package_index", lambda place: doctor.Finding("Package index", "ok", ""))
    if trouble == "disk":
        usage = shutil.disk_usage(checkout)._replace(free=10**9)
        monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage)
    if trouble == "notebooks":
        (checkout / "notebooks" / "01_a.ipynb").unlink()
    if trouble == "writing":
        (checkout / "runs").write_text("a file in the way")
    if trouble == "data":
        shutil.rmtree(checkout / "data")
    said: list[str] = []
    assert doctor.examine(Environment(checkout), said.append) == 1
    assert "cannot run: see" in said[-1]
    subject = {"index": "Package index", "data": "Sample data"}.get(trouble, trouble.capitalize())
    assert subject in said[-1]


def test_in_its_environment_the_packages_the_data_and_the_kernel_are_examined(
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.setenv("WORKBENCH_ENV", "current")
    monkeypatch.setattr(Environment, "in_use", lambda self: False)
    monkeypatch.setattr(doctor, "SOURCES", {})
    found = {finding.subject: finding for finding in doctor.findings(Environment(ROOT))}
    assert "WORKBENCH_ENV=current" in found["Environment"].text
    assert "torch 2" in found["Packages"].text
    assert found["Sample data"].state == "ok"
    assert found["Kernel"].state == "ok"
    assert "Package index" not in found


def test_sample_data_that_was_altered_or_lost_fails_the_examination(checkout: Path):
    assert doctor.sample(checkout).state == "ok"
    (checkout / "data" / "prices.csv").write_text("99")
    altered = doctor.sample(checkout)
    assert (altered.state, "prices.csv" in altered.text, "was altered" in altered.text) == ("bad", True, True)
    (checkout / "data" / "prices.csv").unlink()
    lost = doctor.sample(checkout)
    assert (lost.state, "not whole" in lost.text) == ("bad", True)


def test_missing_packages_fail_the_examination(checkout: Path):
    (checkout / "pyproject.toml").write_text(
        '[project]\nname = "tiny"\ndependencies = ["no-such-thing>=1"]\n'
    )
    finding = doctor.packages(checkout)
    assert finding.state == "bad"
    assert "no-such-thing" in finding.text


def test_a_kernel_that_does_not_start_fails_the_examination(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from workbench.runs import kernels

    (tmp_path / "ipykernel_launcher.py").write_text("raise SystemExit(3)")
    monkeypatch.setattr(kernels, "kernel_environment", lambda: {"PYTHONPATH": str(tmp_path)})
    assert doctor.kernel().state == "bad"


def test_an_accelerator_is_named(monkeypatch: pytest.MonkeyPatch):
    import torch

    class Card:
        name, total_memory = "NVIDIA H100", 80e9

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: Card)
    assert doctor.accelerator().text == "NVIDIA H100, 80 GB"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert "mps" in doctor.accelerator().text


def test_an_environment_that_needs_repair_is_announced(checkout: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(Environment, "need", lambda self, extras: Need(True, "its Python does not start"))
    finding = doctor.environment(Environment(checkout), inside=False)
    assert (finding.state, finding.text.endswith("since its Python does not start")) == ("note", True)
    assert str(sys.executable) not in finding.text


def test_a_python_without_packages_is_told_so_to_the_end(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORKBENCH_ENV", "current")
    monkeypatch.setattr(doctor, "missing_packages", lambda *_: ["papermill"])
    monkeypatch.setattr(doctor, "kernel", lambda: pytest.fail("a kernel was started without its packages"))
    monkeypatch.setattr(doctor, "sources", lambda: [])
    found = {finding.subject: finding for finding in doctor.findings(doctor.Environment())}
    assert found["Packages"].state == "bad"
    assert found["Kernel"].state == "bad"
