"""Threads that run one model take turns: running it in another mode, or watched, changes it for a while."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import nn

PATIENCE = 0.1  # seconds between two questions whether to go on waiting

Parts = frozenset[int]  # ids of a model and its modules, which whoever has or waits for a turn keeps alive

_CHANGED = threading.Condition()  # guards what follows
_HELD: dict[int, tuple[int, int]] = {}  # by module: the thread that has the turn, and how often it took it
_WAITING: list[tuple[int, Parts]] = []  # threads, first come first


@contextmanager
def turn(model: nn.Module, asked: Callable[[], object] | None = None) -> Iterator[None]:
    """Let no other thread that asks for a turn run `model`, or a model that shares a module, in the block.

    Parameters
    ----------
    model
        What `torch.compile` or `DataParallel` wraps counts as the wrapper's module, so both take turns.
    asked
        Called ten times a second while waiting; may raise, which ends the waiting.

    Notes
    -----
    A thread that has the turn may take it again. Turns go by who asked first. All modules of a model are
    taken at once, so that two threads never hold half of what the other needs; a thread that takes a second
    model's turn within one may still wait for ever for another that does so the other way round.
    """
    modules = list(model.modules())
    me, parts = threading.get_ident(), frozenset(map(id, modules))
    _take(me, parts, asked)
    try:
        yield
    finally:
        _give_back(me, parts)


def _take(me: int, parts: Parts, asked: Callable[[], object] | None) -> None:
    wish = me, parts
    with _CHANGED:
        _WAITING.append(wish)
        try:
            while not _free(me, parts):
                _CHANGED.wait(None if asked is None else PATIENCE)
                if asked is not None:
                    asked()
        finally:
            _WAITING.remove(wish)
            _CHANGED.notify_all()  # others may have waited behind it
        for part in parts:
            _HELD[part] = me, _HELD.get(part, (me, 0))[1] + 1


def _free(me: int, parts: Parts) -> bool:
    """Whether a thread may have these modules now."""
    holders = {_HELD[part][0] for part in parts if part in _HELD}
    if holders:
        return holders == {me}  # whoever waits for them waits for this thread, so it goes first
    earlier = _WAITING[: next(i for i, (thread, _) in enumerate(_WAITING) if thread == me)]
    return all(parts.isdisjoint(wanted) for _, wanted in earlier)


def _give_back(me: int, parts: Parts) -> None:
    with _CHANGED:
        for part in parts:
            times = _HELD.pop(part)[1] - 1
            if times:
                _HELD[part] = me, times
        _CHANGED.notify_all()
