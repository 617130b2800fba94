"""One call of a torch function, as a function mode sees it."""

from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Call:
    """A function, and what it was called with.

    Attributes
    ----------
    name
        The bare name, the same for `torch.softmax`, `Tensor.softmax`, `F.softmax` and the operator of an
        exported program, and for operators, methods and their in-place forms.
    """

    func: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    name: str

    @classmethod
    def of(cls, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> "Call":
        """Take what a torch function mode is given."""
        return cls(func, args, kwargs, name_of(func).partition(".")[0].strip("_"))

    def run(self) -> Any:
        """Return what the function answers."""
        return self.func(*self.args, **self.kwargs)

    def argument(self, place: int, *names: str) -> Any:
        """Return an argument by its place or one of its names; None where it was left out."""
        given = [self.kwargs[name] for name in names if name in self.kwargs]
        return given[0] if given else self.args[place] if place < len(self.args) else None

    def replaced(self, tensor: Tensor, other: Tensor) -> "Call":
        """Return the same call with `other` wherever `tensor` is given."""
        if tensor is other:
            return self
        args = tuple(_swapped(given, tensor, other) for given in self.args)
        kwargs = {name: _swapped(given, tensor, other) for name, given in self.kwargs.items()}
        return replace(self, args=args, kwargs=kwargs)

    @property
    def in_place(self) -> bool:
        """Whether the first argument is written over."""
        bare = name_of(self.func).partition(".")[0]
        written = bare.endswith("_") and not bare.endswith("__")
        return written or bare.startswith("__i") or self.argument(3, "inplace") is True

    @property
    def trains(self) -> bool:
        """Whether dropout is at work."""
        return self.argument(2, "training", "train") is not False


def name_of(func: Any) -> str:
    """Return the name of a function, or of the property that it reads."""
    name = getattr(func, "__name__", "")
    return getattr(func.__self__, "__name__", "") if name == "__get__" else name


def _swapped(given: Any, tensor: Tensor, other: Tensor) -> Any:
    if isinstance(given, list | tuple):
        return type(given)(_swapped(one, tensor, other) for one in given)
    return other if given is tensor else given
