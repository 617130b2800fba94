"""A name taken from a list of known ones, or an error that shows the list."""

from collections.abc import Sequence
from difflib import get_close_matches

from workbench.market.frame import PriceError


def chosen(name: str, known: Sequence[str], what: str) -> str:
    """Return the one of `known` that `name` means, whatever its case; else PriceError with the choices."""
    by_folded = {choice.casefold(): choice for choice in known}
    found = by_folded.get(name.casefold())
    if found is None:
        raise PriceError(f"{what} must be one of {', '.join(known)}. Got {name!r}.{suggestion(name, known)}")
    return found


def suggestion(name: str, known: Sequence[str]) -> str:
    """Return " Did you mean …?" for the nearest of `known`, or nothing when none is near."""
    found = nearest(name, known)
    return f" Did you mean {found!r}?" if found else ""


def nearest(name: str, known: Sequence[str]) -> str | None:
    """Return the one of `known` that `name` could be misspelt of, whatever its case, or None."""
    by_folded = {choice.casefold(): choice for choice in known}
    near = get_close_matches(name.casefold(), by_folded, n=1, cutoff=0.5)
    return by_folded[near[0]] if near else None
