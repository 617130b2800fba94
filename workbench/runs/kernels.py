"""The kernel of the environment at hand, whatever else is registered as `python3`."""

import os
from pathlib import Path

import zmq
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from traitlets import default

import workbench
from workbench.machine import usable_processors

KERNEL = "python3"


class EnvironmentKernels(KernelSpecManager):
    """Knows one kernel, `python3`: the interpreter that runs this.

    A `python3` registered by another environment hides Jupyter's own choice: the notebook then
    starts elsewhere and fails on its first import. So no folder of registered kernels is searched.
    """

    @default("kernel_dirs")
    def _kernel_dirs_default(self) -> list[str]:
        return []

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """Return the kernel of this interpreter; any other name raises `NoSuchKernel`."""
        spec = super().get_kernel_spec(kernel_name)
        spec.env = {**spec.env, **kernel_environment()}
        spec.argv = [*spec.argv, "--log-level=50"]  # its farewells when it is stopped are of no use
        return spec


class EnvironmentKernel(AsyncKernelManager):
    """Starts and stops one kernel of `EnvironmentKernels`."""

    @default("kernel_spec_manager")
    def _kernel_spec_manager_default(self) -> KernelSpecManager:
        return EnvironmentKernels(parent=self)

    @default("transport_encryption")
    def _transport_encryption_default(self) -> str:
        return transport_encryption()


def kernel_environment() -> dict[str, str]:
    """Return the variables that a kernel gets on top of this process's own.

    It imports the `workbench` that runs this. Its threads are as many as the processors this process
    may use (in a container PyTorch would count the host's), and they sleep while they wait: where
    another process holds a core, waiting threads that spin make small models five times slower.
    What the caller sets in `OMP_NUM_THREADS` and `OMP_WAIT_POLICY` stays.
    """
    home = str(Path(workbench.__file__).resolve().parents[1])
    search = [home, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(search)),
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(usable_processors())),
        "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY", "PASSIVE"),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",  # the debugger's warning about frozen modules
    }


def transport_encryption() -> str:
    """Return how a kernel's sockets are to be kept private from others on the machine."""
    return "auto" if zmq.has("curve") else "disabled"
