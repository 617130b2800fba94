"""What can stop the environment from being made, each in one line that says what to do.

Standard library only: it is read before anything is installed.
"""

import errno
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from workbench.environment import Environment

ROOM = 4.0  # GB: the environment itself 2.2, the rest while pip unpacks and keeps its cache
OFFLINE = (
    "from versions: none",
    "NewConnectionError",
    "NameResolutionError",
    "Failed to establish a new connection",
    "Temporary failure in name resolution",
    "Network is unreachable",
    "Connection refused",
    "ConnectTimeout",
    "Read timed out",
    "ReadTimeoutError",
    "ProxyError",
    "Connection broken",
    "ConnectionResetError",
    "SSLError",
)


class SetupError(RuntimeError):
    """The environment could not be made. The message is one line that says what to do."""


def require_room(place: Environment) -> None:
    """Raise `SetupError` where less is free than an environment takes."""
    free = shutil.disk_usage(place.root).free / 1e9
    if free < ROOM:
        raise SetupError(
            f"The disk is too full: the environment needs {ROOM:.0f} GB at {place.root}, "
            f"{free:.1f} GB are free. Free some and run this again."
        )


@contextmanager
def explained(place: Environment) -> Iterator[None]:
    """Turn what the system refuses into one line."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise SetupError(_full(place)) from error
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise SetupError(
                f"{error.filename or place.folder} cannot be written ({error.strerror}). "
                "Clone into a folder of your own, or use the Python at hand: WORKBENCH_ENV=current."
            ) from error
        raise SetupError(f"The environment in {place.folder} could not be made: {error}.") from error


def translated(said: str, place: Environment) -> str:
    """Say in one line what pip's output comes to."""
    if "No space left on device" in said or "Disk quota exceeded" in said:
        return _full(place)
    # What stands before the first ERROR, pip got over: an index that isn't there, for one.
    trouble = said[max(said.find("ERROR"), 0) :]
    if "ResolutionImpossible" in trouble or "conflicting dependencies" in trouble:
        return (
            f"The package index has not all that constraints.txt asks for under Python {_version()}: check "
            "the network; if it is well, make the constraints anew (bash .ci/lock). "
            f"pip's words are in {place.log}."
        )
    if any(sign in trouble for sign in OFFLINE):
        return (
            f"The package index cannot be reached, or has nothing for Python {_version()}: check "
            f"the network, or name a mirror or proxy (PIP_INDEX_URL, HTTPS_PROXY), and run this again. "
            f"pip's words are in {place.log}."
        )
    first, last = trouble.partition("\n")[0], said.strip().rpartition("\n")[2]
    cause = first.removeprefix("ERROR:").strip() if first.startswith("ERROR") else last or "pip failed"
    return f"Installing failed: {cause}. All that pip said is in {place.log}."


def _full(place: Environment) -> str:
    free = shutil.disk_usage(place.root).free / 1e9
    return (
        f"The disk is full: the environment needs {ROOM:.0f} GB at {place.root} and some for temporary "
        f"files, {free:.1f} GB are free. Free some and run this again."
    )


def _version() -> str:
    return sys.version.split()[0]
