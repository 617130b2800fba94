import os
import sys
from pathlib import Path

import pytest
from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

import workbench
from workbench.runs.kernels import EnvironmentKernels, kernel_environment


@pytest.fixture
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("python3", "other"):
        folder = tmp_path / "kernels" / name
        folder.mkdir(parents=True)
        (folder / "kernel.json").write_text(
            '{"argv": ["/nowhere"], "display_name": "x", "language": "python"}'
        )
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))


def test_python3_is_this_interpreter_even_where_another_is_registered(registered: None):
    assert KernelSpecManager().get_kernel_spec("python3").argv == ["/nowhere"]  # what newcomers stumble on
    kernels = EnvironmentKernels()
    assert kernels.get_kernel_spec("python3").argv[0] == sys.executable
    assert list(kernels.find_kernel_specs()) == ["python3"]
    assert kernels.get_all_specs()["python3"]["spec"]["argv"][0] == sys.executable


def test_other_kernels_are_not_known(registered: None):
    with pytest.raises(NoSuchKernel):
        EnvironmentKernels().get_kernel_spec("other")


def test_a_kernel_finds_this_package_first_and_keeps_the_callers_paths(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["/a", "/b", "/a"]))
    home = str(Path(workbench.__file__).resolve().parents[1])
    assert kernel_environment()["PYTHONPATH"].split(os.pathsep) == [home, "/a", "/b"]


def test_threads_are_the_processors_and_sleep_unless_the_caller_chose(monkeypatch: pytest.MonkeyPatch):
    from workbench.machine import usable_processors

    own = {"OMP_NUM_THREADS": str(usable_processors()), "OMP_WAIT_POLICY": "PASSIVE"}
    chosen = {"OMP_NUM_THREADS": "7", "OMP_WAIT_POLICY": "ACTIVE"}
    for name in own:
        monkeypatch.delenv(name, raising=False)
    assert own.items() <= kernel_environment().items()
    for name, value in chosen.items():
        monkeypatch.setenv(name, value)
    assert chosen.items() <= kernel_environment().items()
