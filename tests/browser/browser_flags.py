"""How Chromium is found and started."""

import shutil

# The last one leaves it no name to ask for but this machine's own.
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1 , EXCLUDE localhost",
]


def found_chromium() -> str | None:
    """The path of Debian's Chromium, or of one under the name that others give it."""
    return shutil.which("chromium") or shutil.which("chromium-browser")
