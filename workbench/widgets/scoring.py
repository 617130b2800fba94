"""Explanations of a subject's windows, computed block by block as they are asked for, and kept."""

import threading
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np

from workbench.explainers.explanation import Explanation, explain
from workbench.explainers.methods import METHODS, Method
from workbench.explainers.watching import Watch
from workbench.widgets.packing import Scores
from workbench.widgets.subject import Subject

BLOCK = 64  # windows explained together by a method of one pass
SLOW_BLOCK = 4  # by one that takes many
BLOCK_NUMBERS = 4_000_000  # the most scores of a block
MESSAGE_NUMBERS = 150_000  # and of a message
KEPT_BYTES = 2**27

Key = tuple[str, str, int]  # method, target, block


@dataclass(eq=False)
class Archive:
    """The explanations of one subject so far; the oldest go when they take too much memory."""

    subject: Subject
    _kept: OrderedDict[Key, Explanation] = field(default_factory=OrderedDict)
    _bytes: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def known(self, method: str, target: str, windows: list[int]) -> bool:
        """Tell whether these windows are explained already."""
        with self._lock:
            return all((method, target, block) in self._kept for block in self._blocks(method, windows))

    def scores(self, method: str, target: str, windows: list[int], watch: Watch) -> Scores:
        """Return the scores of some windows, explained now where they are not yet."""
        width, blocks = self._width(method), self._blocks(method, windows)
        found: dict[int, Explanation] = {}
        for i, block in enumerate(blocks):
            told = _share_of(watch, i, len(blocks))
            found[block] = self._explained((method, target, block), told)
        return _gathered(METHODS[method], windows, [(found[w // width], w % width) for w in windows])

    def portion(self, method: str, windows: list[int]) -> list[int]:
        """Return as many of these windows, the first always among them, as one message should answer.

        A Jupyter server drops what comes too fast, and a slow method shall answer for the day at hand first;
        the browser asks again for the rest.
        """
        known = METHODS[method]
        if known.slow:
            width = self._width(method)
            return [window for window in windows if window // width == windows[0] // width]
        return windows[: max(1, MESSAGE_NUMBERS // self._numbers(method))]

    def one(self, method: str, target: str, window: int) -> Explanation:
        """Return the explanation of one window, computed now if need be."""
        width = self._width(method)
        return self._explained((method, target, window // width), Watch())[[window % width]]

    def _explained(self, key: Key, watch: Watch) -> Explanation:
        method, target, block = key
        with self._lock:
            if key in self._kept:
                return self._kept[key]
        known, width = METHODS[method], self._width(method)
        bench = self.subject.slow if known.slow else self.subject.quick
        part = self.subject.windows[slice(block * width, (block + 1) * width)]
        found = explain(bench.model, part, method, target_of(known, target), watch=watch)
        self._keep(key, found)
        return found

    def _keep(self, key: Key, found: Explanation) -> None:
        with self._lock:
            self._kept[key] = found
            self._bytes += found.scores.nbytes
            while self._bytes > KEPT_BYTES and len(self._kept) > 2:
                _, oldest = self._kept.popitem(last=False)
                self._bytes -= oldest.scores.nbytes

    def _blocks(self, method: str, windows: list[int]) -> list[int]:
        return sorted({window // self._width(method) for window in windows})

    def _width(self, method: str) -> int:
        wanted = SLOW_BLOCK if METHODS[method].slow else BLOCK
        return max(1, min(wanted, BLOCK_NUMBERS // self._numbers(method)))

    def _numbers(self, method: str) -> int:
        windows = self.subject.windows
        return windows.lookback * (windows.n_features if METHODS[method].by_feature else 1)


def target_of(method: Method, target: str) -> str | None:
    """Return the target as `explain` takes it: none for methods without, None for the likeliest."""
    return target if target and method.targets else None


def _share_of(watch: Watch, block: int, blocks: int) -> Watch:
    """Return a watch over one block that counts it as a part of all."""
    report = watch.progress
    if report is None:
        return watch
    return Watch(lambda done, total: report(block * total + done, blocks * total), watch.stop)


def _gathered(method: Method, windows: list[int], found: list[tuple[Explanation, int]]) -> Scores:
    """Put rows of several explanations together."""
    trusts = dict.fromkeys(str(explained.trust) for explained, _ in found if explained.trust is not None)
    return Scores(
        windows=list(windows),
        scores=np.stack([explained.scores[row] for explained, row in found]),
        null=_nulls(found),
        answered=[_answered(method, explained, row) for explained, row in found],
        trust="; ".join(trusts) or None,
        signed=method.signed,
    )


def _nulls(found: list[tuple[Explanation, int]]) -> np.ndarray | None:
    """Return the null of each window (window, time), or the one that all share (time,)."""
    rows = []
    for explained, row in found:
        if explained.null is None:
            return None
        null = explained.null if explained.null.ndim == 1 else explained.null[row]
        rows.append(null if null.ndim == 1 else null.sum(axis=1))
    shared = all(np.array_equal(rows[0], row) for row in rows[1:])
    return rows[0] if shared else np.stack(rows)


def _answered(method: Method, explained: Explanation, row: int) -> str:
    """Return what was explained of a window: a class, where each has its own."""
    predictions = explained.predictions
    if not method.targets or explained.target in predictions.columns:
        return explained.target
    return str(predictions.columns[int(predictions.iloc[row].to_numpy().argmax())])
