"""`python3 -m workbench` from the outside, and what it does before there is an environment."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from workbench import __main__ as entry
from workbench import commands
from workbench.environment import ROOT, Environment, Need
from workbench.setup_errors import SetupError

BARE = getattr(sys, "_base_executable", sys.executable)


def bare(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command under a Python that has no package at all and no way out to the network."""
    offline = {
        "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_FIND_LINKS": "",
    }
    proxies = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    settings = {**os.environ, **offline, **proxies, **variables}
    settings.pop("WORKBENCH_ENV", None)
    return subprocess.run(
        [BARE, "-E", "-S", "-B", *arguments],
        cwd=ROOT,
        env=settings,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize("name", ["__init__.py", "__main__.py"])
def test_the_first_files_are_readable_to_any_python_3(name: str):
    ast.parse((ROOT / "workbench" / name).read_text(), feature_version=(3, 6))


def test_an_old_python_is_told_so_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(sys, "version_info", (3, 9, 2))
    monkeypatch.setattr(
        entry.shutil, "which", lambda name: "/usr/bin/python3.12" if name.endswith("12") else None
    )
    assert entry.main() == 1
    said = capsys.readouterr().err
    assert said == "The workbench needs Python 3.11 or newer, this is 3.9.2: run 'python3.12 -m workbench'.\n"
    monkeypatch.setattr(entry.shutil, "which", lambda name: None)
    assert "install it from python.org" in entry.too_old()


def test_before_the_environment_only_the_standard_library_is_imported():
    code = (
        "import sys, workbench.__main__, workbench.commands, workbench.doctor, workbench.installation, "
        "workbench.runs.job, workbench.runs.app\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names))"
    )
    answer = bare("-c", code)
    assert answer.stderr == ""
    assert set(answer.stdout.split()) <= {"workbench", "__main__", "sitecustomize", "usercustomize"}


def test_help_is_for_the_asking_and_usage_for_those_who_ask_nothing():
    asked, silent = bare("-m", "workbench", "--help"), bare("-m", "workbench")
    assert (asked.returncode, silent.returncode) == (0, 2)
    assert asked.stdout == silent.stderr == commands.USAGE
    for name in commands.COMMANDS:
        assert re.search(rf"^  {name} +\w", commands.USAGE, re.MULTILINE)


@pytest.mark.parametrize(("typed", "meant"), [("docter", "doctor"), ("tests", "test"), ("rnu", "run")])
def test_a_misspelt_command_is_answered_with_the_nearest(typed: str, meant: str):
    answer = bare("-m", "workbench", typed)
    assert answer.returncode == 2
    assert answer.stderr.startswith(f"There is no command {typed!r}. Did you mean '{meant}'?")
    assert commands.USAGE in answer.stderr


def test_a_misspelt_option_of_run_is_told_before_anything_is_installed():
    answer = bare("-m", "workbench", "run", "--onyl", "03")
    assert answer.returncode == 2
    assert "unrecognized arguments: --onyl" in answer.stderr
    helped = bare("-m", "workbench", "run", "--help")
    assert helped.returncode == 0
    assert "--parameter NAME VALUE" in helped.stdout


def test_the_doctor_works_on_a_bare_python_and_fails_without_a_package_index(tmp_path: Path):
    code = (
        "import sys, pathlib; from workbench.doctor import Environment, examine\n"
        f"sys.exit(examine(Environment(pathlib.Path({str(tmp_path)!r})), sys.stdout.write))"
    )
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "tiny"\nversion = "1"\n')
    (tmp_path / "constraints.txt").write_text("")
    answer = bare("-c", code)
    assert answer.stderr == ""
    assert answer.returncode == 1
    assert re.search(r"bad +Package index", answer.stdout)
    assert answer.stdout.count("not within reach") == 2


def test_the_doctor_takes_no_arguments(capsys):
    assert commands.dispatch(["doctor", "now"]) == 2
    assert "takes no arguments. Got now" in capsys.readouterr().err


def test_current_means_the_python_at_hand(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORKBENCH_ENV", "current")
    monkeypatch.setattr(commands, "missing_packages", lambda extras: [])
    assert commands.enter([], ["run"]) is None
    monkeypatch.setattr(commands, "missing_packages", lambda extras: ["torch", "skorch"])
    with pytest.raises(SetupError, match=r"lacks torch, skorch: .*pip install -e \.\[test\]"):
        commands.enter(["test"], ["test"])
    monkeypatch.setenv("WORKBENCH_ENV", "conda")
    with pytest.raises(SetupError, match=r"'current' or not set\. Got 'conda'"):
        commands.enter([], ["run"])


def test_a_command_runs_again_in_the_environment_that_was_made(monkeypatch: pytest.MonkeyPatch):
    calls: list[list[str]] = []
    monkeypatch.delenv("WORKBENCH_ENV", raising=False)
    monkeypatch.setattr(Environment, "in_use", lambda self: False)
    monkeypatch.setattr(commands, "prepare", lambda extras, say: Path("/made") / "-".join(extras))
    monkeypatch.setattr(commands, "become", lambda command: calls.append(command) or 7)
    assert commands.enter(["test"], ["test", "-x"]) == 7
    assert calls == [["/made/test", "-m", "workbench", "test", "-x"]]


def test_inside_a_ready_environment_the_command_goes_on(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("WORKBENCH_ENV", raising=False)
    monkeypatch.setattr(Environment, "in_use", lambda self: True)
    monkeypatch.setattr(Environment, "need", lambda self, extras: None)
    assert commands.enter([], ["run"]) is None


def test_inside_an_outdated_environment_the_python_beneath_it_takes_over(monkeypatch: pytest.MonkeyPatch):
    calls: list[list[str]] = []
    monkeypatch.delenv("WORKBENCH_ENV", raising=False)
    monkeypatch.setattr(Environment, "in_use", lambda self: True)
    monkeypatch.setattr(Environment, "need", lambda self, extras: Need(False, "changed"))
    monkeypatch.setattr(commands, "become", lambda command: calls.append(command) or 7)
    assert commands.enter([], ["lab"]) == 7
    assert calls == [[BARE, "-m", "workbench", "lab"]]


def test_an_installed_package_without_its_repository_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(commands, "is_checkout", lambda: False)
    with pytest.raises(SetupError, match="clone the repository"):
        commands.enter([], ["run"])


@pytest.mark.parametrize("problem", [SetupError("The disk is full."), KeyboardInterrupt()])
def test_troubles_end_in_one_line_and_a_code(monkeypatch: pytest.MonkeyPatch, capsys, problem: BaseException):
    def fails(arguments: list[str]) -> int:
        raise problem

    monkeypatch.setitem(commands.COMMANDS, "lab", fails)
    code = commands.dispatch(["lab"])
    said = capsys.readouterr().err.strip()
    assert (code, said) == (
        (1, "The disk is full.") if isinstance(problem, SetupError) else (130, "Interrupted.")
    )


@pytest.fixture
def becomes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[str], dict]]:
    calls: list[tuple[list[str], dict]] = []
    monkeypatch.setattr(commands, "enter", lambda extras, arguments: None)
    monkeypatch.setattr(
        commands, "become", lambda command, **settings: calls.append((command, settings)) or 0
    )
    return calls


def test_the_whole_suite_is_spread_and_a_part_of_it_is_not(becomes, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(commands, "usable_processors", lambda: 2)
    commands.dispatch(["test"])
    commands.dispatch(["test", "-k", "rollout", "-x"])
    monkeypatch.setattr(commands, "usable_processors", lambda: 1)
    commands.dispatch(["test"])
    assert [command[3:] for command, _ in becomes] == [
        ["-n", "2", "--dist", "loadfile"],
        ["-k", "rollout", "-x"],
        [],
    ]
    assert {settings["OMP_NUM_THREADS"] for _, settings in becomes} == {"1"}
    assert becomes[0][1]["folder"] == ROOT


def test_jupyterlab_opens_the_notebooks_with_this_kernel_only(becomes):
    commands.dispatch(["lab", "--no-browser"])
    command = becomes[0][0]
    assert command[:3] == [sys.executable, "-m", "jupyterlab"]
    assert command[-1] == "--no-browser"
    assert f"--ServerApp.root_dir={ROOT / 'notebooks'}" in command
    assert "--ServerApp.kernel_spec_manager_class=workbench.runs.kernels.EnvironmentKernels" in command


def test_jupyterlab_asks_nobody_for_news_and_keeps_widgets_pictures(becomes):
    commands.dispatch(["lab"])
    command = becomes[0][0]
    assert "--LabApp.news_url=None" in command
    assert "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate" in command
    assert "--LabApp.extension_manager=readonly" in command
    [folder] = [word.partition("=")[2] for word in command if word.startswith("--LabApp.app_settings_dir=")]
    overrides = json.loads((Path(folder) / "overrides.json").read_text())
    assert overrides["@jupyter-widgets/jupyterlab-manager:plugin"] == {"saveState": True}
    assert overrides["@jupyterlab/apputils-extension:notification"]["fetchNews"] == "false"


def test_a_misspelt_option_of_app_is_told_before_anything_is_installed():
    answer = bare("-m", "workbench", "app", "--prot", "8080")
    assert answer.returncode == 2
    assert "unrecognized arguments: --prot" in answer.stderr
    assert "--no-browser" in bare("-m", "workbench", "app", "--help").stdout


def test_a_command_becomes_another_with_this_package_first_in_its_path(tmp_path: Path):
    look = "import os; print(os.getcwd(), *(os.environ[name] for name in ('PYTHONPATH', 'A', 'B')))"
    code = (
        "import sys, pathlib; from workbench.commands import become\n"
        f"become([sys.executable, '-c', {look!r}], folder=pathlib.Path({str(tmp_path)!r}), A='1', B='2')"
    )
    settings = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), "/other"]), "B": "mine"}
    answer = subprocess.run(
        [sys.executable, "-c", code], env=settings, capture_output=True, text=True, timeout=60
    )
    assert answer.stdout.split() == [str(tmp_path), os.pathsep.join([str(ROOT), "/other"]), "1", "mine"]
