"""Options of a method, checked before anything is computed."""

from dataclasses import fields
from numbers import Integral, Real
from typing import Any, TypeVar

from workbench.models.registry import one_of

Options = TypeVar("Options")


class BadOption(ValueError):
    """An option, or a target, that no model makes right: the caller's mistake, not the method's refusal."""


def chosen(method: str, kind: type[Options], given: dict[str, Any]) -> Options:
    """Return the options of a method, defaults filled in, or raise BadOption naming those that there are."""
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise BadOption(f"{method} has no option {unknown[0]!r}. {one_of(unknown[0], known)}")
    try:
        return kind(**given)
    except ValueError as error:
        raise BadOption(str(error)) from error


def is_number(value: Any) -> bool:
    """Whether `value` is one real number; True and False are none."""
    return isinstance(value, Real) and not isinstance(value, bool)


def is_whole(value: Any) -> bool:
    """Whether `value` is a whole number by its type; True and False are none."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def check_count(name: str, value: Any, least: int, what: str) -> None:
    """Raise ValueError unless `value` is a whole number of at least `least`."""
    if not is_whole(value) or value < least:
        raise ValueError(f"{name} is {what}, a whole number of at least {least}; got {value!r}")


def check_whole(name: str, value: Any, what: str) -> None:
    """Raise ValueError unless `value` is a whole number."""
    if not is_whole(value):
        raise ValueError(f"{name} is {what}, a whole number; got {value!r}")


def check_position(position: Any) -> None:
    """Raise ValueError unless `position` may be that of a bar."""
    check_whole("position", position, "one bar of the window, from 0 or negative from the end")
