"""Options of a method, checked before anything is computed."""

from dataclasses import fields
from typing import Any, TypeVar

from workbench.models.registry import one_of

Options = TypeVar("Options")


def chosen(method: str, kind: type[Options], given: dict[str, Any]) -> Options:
    """Return the options of a method, defaults filled in, or raise ValueError naming those that there are."""
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ValueError(f"{method} has no option {unknown[0]!r}. {one_of(unknown[0], known)}")
    return kind(**given)


def check_count(name: str, value: Any, least: int, what: str) -> None:
    """Raise ValueError unless `value` is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} is {what}, a whole number of at least {least}; got {value!r}")
