"""`python3 -m workbench`: makes its environment and runs, tests, opens or examines the workbench.

Written for any Python 3, so that one that is too old is told so in a sentence.
"""

import shutil
import sys

OLDEST = (3, 11)


def main() -> int:
    """Check this Python, then hand over to `workbench.commands`; return the exit code."""
    if sys.version_info[:2] < OLDEST:
        sys.stderr.write(too_old() + "\n")
        return 1
    from workbench.commands import dispatch

    return dispatch(sys.argv[1:])


def too_old() -> str:
    """Say which Python was expected, which came, and which one at hand would do."""
    names = ["python3." + str(minor) for minor in (11, 12, 13)]
    found = [name for name in names if shutil.which(name)]
    repair = "run '" + found[0] + " -m workbench'" if found else "install it from python.org or your system"
    have = ".".join(map(str, sys.version_info[:3]))
    return "The workbench needs Python 3.11 or newer, this is " + have + ": " + repair + "."


if __name__ == "__main__":
    sys.exit(main())
