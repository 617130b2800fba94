"""The maker of `.venv`, with a pip that only pretends; and once with the real one."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
import venv
from pathlib import Path

import pytest

from workbench import environment, installation
from workbench.environment import Environment, missing_packages
from workbench.installation import prepare
from workbench.setup_errors import SetupError

PIP = """
import os, pathlib, sys, time
folder = pathlib.Path(sys.argv[1])
with (folder.parents[3] / "pip.log").open("a") as log:
    log.write(" ".join(sys.argv[2:]) + chr(10))
time.sleep(float(os.environ.get("PIP_SECONDS", 0)))
if os.environ.get("PIP_SAYS"):
    print(os.environ["PIP_SAYS"])
    sys.exit(1)
name = "torch" if sys.argv[-1].startswith("torch") else "rest"
(folder / f"{name}-1.0.dist-info").mkdir(exist_ok=True)
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    """A project of its own whose pip writes down what it is asked and makes empty folders."""
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "tiny"\nversion = "0"\ndependencies = []\n')
    (tmp_path / "constraints.txt").write_text("torch==2.13.0\n")
    (tmp_path / "pretend.py").write_text(PIP)
    made = Environment(tmp_path)
    monkeypatch.setattr(
        installation,
        "pip_command",
        lambda of: [sys.executable, str(tmp_path / "pretend.py"), str(of.packages)],
    )
    monkeypatch.setattr(installation, "importable", lambda module: module != "ensurepip")  # faster
    return made


def asked(place: Environment) -> list[str]:
    """What pip was asked for, and forget it."""
    log = place.root / "pip.log"
    lines = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return lines


def ready(place: Environment, *extras: str) -> list[str]:
    """Prepare, check that it is ready, return what was said."""
    said: list[str] = []
    assert prepare(extras, said.append, place) == place.python
    assert place.need(extras) is None
    return said


def test_from_nothing_pytorch_comes_first_and_alone(place: Environment):
    said = ready(place)
    torch, rest = asked(place)
    assert torch.endswith(" torch==2.13.0")
    assert "--no-deps" in torch
    assert ("--retries 0" in torch) == ("download.pytorch.org" in torch)
    assert "download.pytorch.org" not in rest
    assert rest.endswith(f"--editable {place.root}")
    assert f"--constraint {place.root / 'constraints.txt'}" in rest
    assert said[0].startswith(f"Making the environment in {place.folder}, since there is none yet")
    assert place.python.exists()


def test_a_ready_environment_is_left_alone_and_costs_little(place: Environment):
    ready(place)
    asked(place)
    began = time.monotonic()
    assert ready(place) == []
    assert asked(place) == []
    assert time.monotonic() - began < 1


def test_linux_without_nvidias_driver_gets_the_small_pytorch(place: Environment, monkeypatch):
    monkeypatch.setattr(installation.shutil, "which", lambda name: None)
    monkeypatch.setattr(sys, "platform", "linux")
    ready(place)
    assert "--extra-index-url https://download.pytorch.org/whl/cpu" in asked(place)[0]
    monkeypatch.setattr(installation.shutil, "which", lambda name: f"/usr/bin/{name}")
    place.stamp.unlink()
    ready(place)
    assert "--extra-index-url" not in asked(place)[0]


@pytest.mark.parametrize("name", environment.INPUTS)
def test_a_changed_input_installs_again_on_top(place: Environment, name: str):
    ready(place, "test")
    asked(place)
    with (place.root / name).open("a") as file:
        file.write("# changed\n")
    kept = place.packages / "user_added"
    kept.mkdir()
    assert "pyproject.toml or constraints.txt changed" in ready(place)[0]
    assert asked(place)[1].endswith("[test]")  # what was asked for before stays
    assert kept.exists()


def test_a_further_extra_is_added_and_never_asked_for_twice(place: Environment):
    ready(place)
    asked(place)
    assert "test packages are wanted too" in ready(place, "test")[0]
    assert asked(place)[1].endswith(f"{place.root}[test]")
    ready(place, "dev")
    assert asked(place)[1].endswith(f"{place.root}[dev,test]")
    ready(place)
    ready(place, "test")
    assert asked(place) == []


def no_python(place: Environment) -> None:
    place.python.unlink()


def python_that_fails(place: Environment) -> None:
    place.python.unlink()
    place.python.write_text("#!/bin/sh\nexit 1\n")
    place.python.chmod(0o755)


def python_that_is_none(place: Environment) -> None:
    place.python.unlink()
    place.python.write_bytes(b"\0")
    place.python.chmod(0o755)


def python_of_another_version(place: Environment) -> None:
    place.python.unlink()
    place.python.write_text("#!/bin/sh\necho 3.99\n")
    place.python.chmod(0o755)


def a_package_gone(place: Environment) -> None:
    shutil.rmtree(place.packages / "rest-1.0.dist-info")


def everything_gone(place: Environment) -> None:
    shutil.rmtree(place.folder)
    place.folder.mkdir()


def a_file_in_its_place(place: Environment) -> None:
    shutil.rmtree(place.folder)
    place.folder.write_text("")


def a_dangling_link_in_its_place(place: Environment) -> None:
    shutil.rmtree(place.folder)
    place.folder.symlink_to(place.root / "nowhere")


def cut_off(place: Environment) -> None:
    place.write({**place.record(), "state": "making"})


@pytest.mark.parametrize(
    "damage",
    [
        no_python,
        python_that_fails,
        python_that_is_none,
        python_of_another_version,
        a_package_gone,
        everything_gone,
        a_file_in_its_place,
        a_dangling_link_in_its_place,
        cut_off,
    ],
)
def test_what_is_broken_is_made_anew(place: Environment, damage):
    ready(place)
    asked(place)
    if place.packages.exists():
        (place.packages / "leftover").mkdir()
    damage(place)
    assert ready(place)[0].startswith("Making the environment")
    assert len(asked(place)) == 2
    assert not (place.packages / "leftover").exists()


def test_a_moved_checkout_gets_a_new_environment(place: Environment, tmp_path: Path):
    ready(place)
    moved = Environment(tmp_path / "elsewhere")
    moved.root.mkdir()
    for name in (*environment.INPUTS, ".venv"):
        (place.root / name).rename(moved.root / name)
    need = moved.need([])
    assert need is not None
    assert need.anew
    assert str(place.root) in need.reason


@pytest.mark.parametrize("stamp", [None, "", "not json", "[1]"])
def test_an_environment_that_someone_else_made_is_filled_not_wiped(place: Environment, stamp: str | None):
    ready(place)
    asked(place)
    place.stamp.unlink()
    if stamp is not None:
        place.stamp.write_text(stamp)
    kept = place.packages / "user_added"
    kept.mkdir()
    assert "was not made by this command" in ready(place)[0]
    assert kept.exists()
    assert len(asked(place)) == 2


def test_an_installation_that_is_interrupted_is_made_anew(place: Environment, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(installation, "_pip", interrupted)
        with pytest.raises(KeyboardInterrupt):
            ready(place)
    assert "an earlier installation was not finished" in ready(place)[0]


def test_an_installation_that_is_killed_holds_nobody_up(place: Environment):
    script = f"""
    import sys
    sys.path.insert(0, {str(environment.ROOT)!r})
    from pathlib import Path
    from workbench import environment, installation
    root = Path({str(place.root)!r})
    installation.pip_command = lambda of: [sys.executable, str(root / "pretend.py"), str(of.packages)]
    installation.importable = lambda module: module != "ensurepip"
    installation.prepare([], print, environment.Environment(root))
    """
    victim = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**os.environ, "PIP_SECONDS": "30"},
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 30
    while not (place.root / "pip.log").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.killpg(victim.pid, signal.SIGKILL)
    victim.wait()
    assert "an earlier installation was not finished" in ready(place)[0]


def test_of_two_at_once_one_installs_and_the_other_waits(place: Environment, monkeypatch):
    monkeypatch.setenv("PIP_SECONDS", "0.5")
    said: list[str] = []
    together = threading.Barrier(2)

    def work() -> None:
        together.wait()
        prepare([], said.append, place)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(asked(place)) == 2
    assert said.count("Another process is making the environment: waiting for it.") == 1
    assert place.need([]) is None


OFFLINE = "ERROR: Could not find a version that satisfies the requirement torch (from versions: none)"
FULL = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device"
CONFLICT = "ERROR: Cannot install a and b because these have conflicting dependencies."
BROKEN = "ERROR: Failed building wheel for something"
INDEX_GONE = "WARNING: NewConnectionError: download.pytorch.org\n" + BROKEN


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (OFFLINE, r"^The package index cannot be reached.*check the network.*PIP_INDEX_URL"),
        (FULL, r"^The disk is full: the environment needs 4 GB at .* GB are free\. Free some"),
        (CONFLICT, r"has not all that constraints\.txt asks for.*\.ci/lock"),
        (BROKEN, r"^Installing failed: Failed building wheel for something\. .*install\.log"),
        (INDEX_GONE, r"^Installing failed: Failed building wheel for something"),
        ("nothing that is known", r"^Installing failed: nothing that is known\."),
    ],
)
def test_what_pip_says_comes_down_to_one_line(place: Environment, monkeypatch, words: str, message: str):
    monkeypatch.setenv("PIP_SAYS", words)
    with pytest.raises(SetupError, match=message) as caught:
        ready(place)
    assert "\n" not in str(caught.value)
    monkeypatch.delenv("PIP_SAYS")
    ready(place)


def test_without_network_a_working_environment_stays_as_it_was(place: Environment, monkeypatch):
    ready(place)
    (place.root / "constraints.txt").write_text("torch==9\n")
    kept = place.packages / "user_added"
    kept.mkdir()
    with monkeypatch.context() as patch:
        patch.setenv("PIP_SAYS", OFFLINE)
        with pytest.raises(SetupError, match="cannot be reached"):
            ready(place)
    need = place.need([])
    assert need is not None
    assert not need.anew
    ready(place)
    assert kept.exists()


def test_a_disk_that_is_too_full_is_told_before_anything_is_done(place: Environment, monkeypatch):
    usage = shutil.disk_usage(place.root)._replace(free=10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(SetupError, match=r"too full: the environment needs 4 GB at .*, 1\.0 GB are free"):
        ready(place)
    assert asked(place) == []
    assert not place.stamp.exists()


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (errno.ENOSPC, "^The disk is full"),
        (errno.EACCES, "cannot be written.*folder of your own"),
        (errno.EROFS, "cannot be written.*WORKBENCH_ENV=current"),
        (errno.EIO, "could not be made"),
    ],
)
def test_what_the_system_refuses_comes_down_to_one_line(
    place: Environment, monkeypatch, number: int, message: str
):
    def refused(self, folder):
        raise OSError(number, os.strerror(number), str(folder))

    monkeypatch.setattr(venv.EnvBuilder, "create", refused)
    with pytest.raises(SetupError, match=message) as caught:
        ready(place)
    assert "\n" not in str(caught.value)


def test_a_folder_that_cannot_be_written_is_told(place: Environment, monkeypatch):
    def refused(self, **options):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(SetupError, match="cannot be written"):
        ready(place)


def test_a_python_without_venv_or_pip_is_told(place: Environment, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(installation, "importable", lambda module: module != "venv")
    with pytest.raises(SetupError, match=r"no module venv.*apt install python3-venv"):
        ready(place)
    monkeypatch.setattr(installation, "importable", lambda module: module == "venv")
    with pytest.raises(SetupError, match=r"neither ensurepip nor pip.*apt install python3-venv"):
        ready(place)


def test_without_ensurepip_this_pythons_pip_works_for_the_environment(place: Environment, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(installation, "importable", lambda module: module != "ensurepip")
    assert installation.pip_command(place) == [sys.executable, "-m", "pip", "--python", str(place.python)]
    (place.packages / "pip").mkdir(parents=True)
    assert installation.pip_command(place) == [str(place.python), "-m", "pip"]


def test_the_real_pip_without_a_network_is_understood(place: Environment, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr(installation, "importable", lambda module: module != "ensurepip")
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setattr(installation, "CPU_TORCH", "http://127.0.0.1:9/cpu")
    with pytest.raises(SetupError, match="The package index cannot be reached"):
        ready(place)


def test_the_stamp_says_what_the_environment_was_made_from(place: Environment):
    ready(place, "test")
    record = json.loads(place.stamp.read_text())
    assert record["state"] == "ready"
    assert record["extras"] == ["test"]
    assert record["root"] == str(place.root)
    assert record["python"] == f"{sys.version_info[0]}.{sys.version_info[1]}"
    assert {"torch-1.0.dist-info", "rest-1.0.dist-info"} <= set(record["entries"])


def test_missing_packages_are_named_however_they_are_spelt(tmp_path: Path):
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "attention-workbench"\n'
        'dependencies = ["Lazy_Loader>=0.4", "no-such-thing[x]>=1; python_version>\'3\'"]\n'
        '[project.optional-dependencies]\ntest = ["pytest", "attention-workbench", "nor.this==1"]\n'
    )
    assert missing_packages([], tmp_path) == ["no-such-thing"]
    assert missing_packages(["test"], tmp_path) == ["no-such-thing", "nor.this"]
