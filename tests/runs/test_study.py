"""`python3 -m workbench study`: which model is meant, the folder it writes, and its page."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib as mpl
import pytest
from bs4 import BeautifulSoup
from jsonschema import ValidationError
from PIL import Image

from workbench import commands
from workbench.environment import ROOT
from workbench.features.indicators import make_features
from workbench.features.labels import label_moves
from workbench.features.windows import Windows
from workbench.market.loading import load_prices
from workbench.models.registry import build_model
from workbench.runs.finalreport import writing
from workbench.runs.finalreport.building import check_report
from workbench.runs.finalreport.finding import UnknownRun, find_run, homes
from workbench.runs.finalreport.page import write_page
from workbench.runs.finalreport.writing import Occupied, check_free, replacing_folder
from workbench.runs.study import parse, run_study
from workbench.training.checkpoints import ensure_model, save_model

BARE = getattr(sys, "_base_executable", sys.executable)


@pytest.fixture(autouse=True)
def _backend():
    before = mpl.get_backend()
    yield
    mpl.use(before)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """A checkout with one trained model in runs/models."""
    place = tmp_path_factory.mktemp("checkout")
    prices = load_prices("AAPL", start="2010-01-04", end="2011-12-30")
    windows = Windows.of(make_features(prices), label_moves(prices, scale="volatility"), 10)
    train, valid, _ = windows.split(0.5, 0.7)
    ensure_model(
        "lstm", train, valid, folder=place / "runs" / "models", hidden_size=4, epochs=2, progress=False
    )
    (found,) = (place / "runs" / "models").iterdir()
    found.rename(found.with_name("small"))
    return place


@pytest.fixture(scope="module")
def written(root) -> Path:
    """Where its report is."""
    with mpl.rc_context():
        assert run_study(parse(["small", "--steps", "1"]), root) == 0
    return root / "runs" / "studies" / "small"


def test_the_folder_holds_report_figures_and_page(written: Path):
    report = json.loads((written / "report.json").read_text(encoding="utf-8"))
    check_report(report)
    assert [figure["name"] for figure in report["figures"]] == [
        "architecture",
        "training",
        "equity",
        "performance",
    ]
    for figure in report["figures"]:
        for theme, dark in (("light", False), ("dark", True)):
            with Image.open(written / figure["files"][theme]) as picture:
                corner = sum(picture.convert("RGB").getpixel((0, 0)))
            assert (corner < 200) == dark
    assert sorted(path.name for path in written.iterdir()) == ["figures", "report.html", "report.json"]
    assert [path.name for path in written.parent.iterdir()] == ["small"]  # nothing unfinished is left


def test_the_page_holds_everything_and_fetches_nothing(written: Path):
    report = json.loads((written / "report.json").read_text(encoding="utf-8"))
    page = BeautifulSoup((written / "report.html").read_text(encoding="utf-8"), "html.parser")
    assert page.find_all(["script", "link", "iframe"]) == []
    addresses = [str(tag.get("src") or tag.get("srcset")) for tag in page.find_all(["img", "source"])]
    assert len(addresses) == 8
    assert all(address.startswith("data:image/png;base64,") for address in addresses)
    assert all(image["alt"] for image in page.find_all("img"))
    assert {link["href"][1:] for link in page.select("nav a")} == {a["id"] for a in page.select("article")}
    text = page.get_text(" ")
    assert all(advice["about"] in text for advice in report["recommendations"])
    assert "undefined: the returns do not vary" in text


def test_a_page_of_made_up_prices_says_so(written: Path, tmp_path: Path):
    report = json.loads((written / "report.json").read_text(encoding="utf-8"))
    report["data"]["synthetic"] = True
    report["project"]["run"] = "<b>bold</b>"
    shutil.copytree(written / "figures", tmp_path / "figures")
    page = BeautifulSoup(write_page(report, tmp_path).read_text(encoding="utf-8"), "html.parser")
    assert "synthetic prices" in page.select_one("header .facts").get_text()
    assert page.find("h1").get_text() == "Study of <b>bold</b>"


def test_what_is_written_names_no_folder_of_this_machine(written: Path, root: Path):
    for name in ("report.json", "report.html"):
        assert str(root) not in (written / name).read_text(encoding="utf-8")


def test_a_second_report_takes_the_place_of_the_first(written: Path, root: Path, capsys, monkeypatch):
    monkeypatch.setattr(writing, "draw_figures", lambda *_: [])
    target = root / "copy"
    shutil.copytree(written, target)
    assert run_study(parse(["small", "--steps", "0", "--out", str(target), "--cost-bps", "9"]), root) == 0
    report = json.loads((target / "report.json").read_text(encoding="utf-8"))
    assert report["strategy"]["conventions"]["cost_bps"] == 9
    assert not (target / "figures" / "training-light.png").exists()
    said = capsys.readouterr().out
    assert str(target / "report.json") in said
    assert all(f"- {advice['text']}\n" in said for advice in report["recommendations"])


def test_a_report_that_fails_leaves_the_earlier_one(written: Path, root: Path, monkeypatch):
    def fails(*_):
        raise RuntimeError("no ink")

    monkeypatch.setattr(writing, "draw_figures", fails)
    before = (written / "report.json").read_bytes()
    with pytest.raises(RuntimeError, match="no ink"):
        run_study(parse(["small", "--steps", "0"]), root)
    assert (written / "report.json").read_bytes() == before
    assert [path.name for path in written.parent.iterdir()] == ["small"]


def test_a_report_that_breaks_its_schema_is_not_written(root: Path, tmp_path: Path, monkeypatch):
    monkeypatch.setattr(writing, "draw_figures", lambda *_: [{"name": "a", "title": "A"}])
    with pytest.raises(ValidationError):
        run_study(parse(["small", "--steps", "0", "--out", str(tmp_path / "out")]), root)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path, root: Path, capsys):
    (tmp_path / "thesis.txt").write_text("ten years")
    assert run_study(parse(["small", "--out", str(tmp_path)]), root) == 1
    assert (
        "holds something else than an earlier report. Choose another with --out." in capsys.readouterr().err
    )
    assert (tmp_path / "thesis.txt").read_text() == "ten years"
    (tmp_path / "report.json").write_text("[]")
    with pytest.raises(Occupied, match="something else"):
        check_free(tmp_path)
    with pytest.raises(Occupied, match=r"is a file\. Choose a folder"):
        check_free(tmp_path / "thesis.txt")
    (tmp_path / "empty").mkdir()
    check_free(tmp_path / "empty")
    check_free(tmp_path / "none")


def test_a_folder_is_replaced_whole(tmp_path: Path):
    target = tmp_path / "deep" / "folder"
    for text in ("one", "two"):
        with replacing_folder(target) as unfinished:
            (unfinished / text).write_text(text)
    assert [path.name for path in target.iterdir()] == ["two"]
    assert [path.name for path in target.parent.iterdir()] == ["folder"]


def test_a_model_without_windows_still_gets_a_report(tmp_path: Path, capsys):
    prices = load_prices("AAPL", start="2010-01-04", end="2011-12-30")
    features = make_features(prices) * 2
    features.attrs.pop("features", None)
    windows = Windows.of(features, label_moves(prices), 10)
    folder = save_model(build_model("lstm", windows, hidden_size=4), tmp_path / "own", windows=windows)
    target = tmp_path / "out"
    assert run_study(parse([str(folder), "--out", str(target)]), tmp_path) == 0
    report = json.loads((target / "report.json").read_text(encoding="utf-8"))
    check_report(report)
    drawn = {figure["name"]: "files" in figure for figure in report["figures"]}
    assert drawn == {"architecture": True, "training": False, "equity": False, "performance": False}
    assert "Not run: what needs the windows." in capsys.readouterr().out
    assert "not drawn, since" in (target / "report.html").read_text(encoding="utf-8")


def test_a_damaged_model_is_refused_in_one_line(root: Path, tmp_path: Path, capsys):
    shutil.copytree(root / "runs" / "models" / "small", tmp_path / "cut")
    (tmp_path / "cut" / "model.safetensors").write_bytes(b"")
    assert run_study(parse([str(tmp_path / "cut")]), root) == 1
    assert "cut short or altered" in capsys.readouterr().err


def test_a_model_is_found_by_name_or_path(root: Path):
    folders = homes(root)
    small = (root / "runs" / "models" / "small").resolve()
    assert find_run("small", folders) == find_run(str(small), folders) == small
    assert find_run("transformer-AAPL", folders).name == "transformer-AAPL"  # comes with the package


@pytest.mark.parametrize("wrong", ["smal", "nothing at all", "..", "../models/small", ""])
def test_an_unknown_model_is_answered_with_those_there_are(
    wrong: str, root: Path, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert run_study(parse([wrong]), root) == 2
    said = capsys.readouterr().err
    assert re.search(r"^  small +lstm · AAPL · 10 bars, trained 2010-", said, re.MULTILINE)
    assert "transformer-IBM" in said
    assert ("Did you mean 'small'?" in said) == (wrong in ("smal", "../models/small"))


def test_where_there_is_no_model_the_way_to_one_is_told(tmp_path: Path):
    with pytest.raises(UnknownRun, match="none yet: train one with ensure_model"):
        find_run("x", [tmp_path])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "the following arguments are required: RUN"),
        (["a", "--cost-bps", "-1"], "expected a fee from 0 to below 10000 basis points. Got '-1'"),
        (["a", "--threshold", "nan"], "expected a threshold from 0 on. Got 'nan'"),
        (["a", "--steps", "few"], "expected a whole number from 0 on. Got 'few'"),
        (["a", "--outt", "b"], "unrecognized arguments"),
    ],
)
def test_mistakes_are_told_by_the_parser(arguments: list[str], words: str, capsys):
    with pytest.raises(SystemExit) as ended:
        parse(arguments)
    assert ended.value.code == 2
    assert words in capsys.readouterr().err


def test_help_needs_no_package():
    settings = {name: value for name, value in os.environ.items() if name != "WORKBENCH_ENV"}
    answer = subprocess.run(
        [BARE, "-E", "-S", "-B", "-m", "workbench", "study", "--help"],
        cwd=ROOT, env=settings, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert "--threshold X" in answer.stdout
    assert "report.schema.json" in answer.stdout


def test_the_command_hands_its_options_on(monkeypatch, root: Path):
    seen = []
    monkeypatch.setattr(commands, "enter", lambda extras, arguments: seen.append(arguments))
    monkeypatch.setattr(
        "workbench.runs.study.run_study", lambda options, place: seen.append(options.run) or 5
    )
    assert commands.dispatch(["study", "small", "--steps", "2"]) == 5
    assert seen == [["study", "small", "--steps", "2"], "small"]
