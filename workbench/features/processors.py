"""What is done to columns before a model reads them, learnt from the fit period alone.

    scale = RobustZScore().fit(features, before="2010")  # the first cut of `windows.split`
    features = scale.transform(features)

A processor is fitted once and stays as it is; it refuses other columns than it was fitted on.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import pandas as pd

from workbench.features.fitted import OtherColumns, Processor
from workbench.features.panels import is_panel

__all__ = [
    "Chain",
    "DropRows",
    "Fill",
    "OtherColumns",
    "Processor",
    "RankNorm",
    "RobustZScore",
    "processor_of",
]

MAD_TO_SIGMA = 1.4826  # of a normal law
EPSILON = 1e-12
RANK_TO_SIGMA = 3.46  # ≈ √12: a uniform law on 0 … 1 gets deviation 1


@dataclass(frozen=True, eq=False)
class RobustZScore(Processor):
    """(x − median) / (1.4826 · (MAD + 1e-12)), cut off at ±clip; median and MAD of the fit period.

    MAD is the median distance from the median; NaN counts for nothing. A column that equals its median in
    more than half of the fit period has MAD 0: all else of it is cut off.
    """

    kind: ClassVar[str] = "RobustZScore"
    clip: float | int | None = 3.0
    median: tuple[float, ...] = field(default=(), init=False, repr=False)
    mad: tuple[float, ...] = field(default=(), init=False, repr=False)

    def _learn(self, frame: pd.DataFrame) -> None:
        values = frame.to_numpy()
        empty = [str(name) for name, number in frame.count().items() if number == 0]
        if empty:
            raise ValueError(
                f"{', '.join(empty)} have no value in the fit period: drop them, or begin later."
            )
        median = [float(np.nanmedian(column.astype("float64"))) for column in values.T]
        columns = zip(values.T, median, strict=True)
        self._take(
            median, [float(np.nanmedian(np.abs(column.astype("float64") - m))) for column, m in columns]
        )

    def _take(self, median: Sequence[float] = (), mad: Sequence[float] = ()) -> None:
        object.__setattr__(self, "median", tuple(median))
        object.__setattr__(self, "mad", tuple(mad))

    def _apply(self, frame: pd.DataFrame) -> pd.DataFrame:
        values = frame.to_numpy(dtype=_kind(frame), copy=True)
        for place, (median, mad) in enumerate(zip(self.median, self.mad, strict=True)):
            column = (values[:, place].astype("float64") - median) / (MAD_TO_SIGMA * (mad + EPSILON))
            values[:, place] = column if self.clip is None else np.clip(column, -self.clip, self.clip)
        return pd.DataFrame(values, index=frame.index, columns=frame.columns)

    def _learnt(self) -> dict[str, Any]:
        return {"median": list(self.median), "mad": list(self.mad)}


@dataclass(frozen=True, eq=False)
class RankNorm(Processor):
    """(rank among the day's stocks, as a share, − 0.5) · 3.46, of each day for itself; NaN stays NaN."""

    kind: ClassVar[str] = "RankNorm"

    def _learn(self, frame: pd.DataFrame) -> None:
        _refuse_one(frame)

    def _apply(self, frame: pd.DataFrame) -> pd.DataFrame:
        _refuse_one(frame)
        ranks = frame.groupby(level="date").rank(pct=True)
        return ((ranks - 0.5) * RANK_TO_SIGMA).astype(_kind(frame))


@dataclass(frozen=True, eq=False)
class Fill(Processor):
    """Put `value` in place of NaN."""

    kind: ClassVar[str] = "Fill"
    value: float | int = 0.0

    def _apply(self, frame: pd.DataFrame) -> pd.DataFrame:
        return frame.fillna(self.value)


@dataclass(frozen=True, eq=False)
class DropRows(Processor):
    """Leave out rows that hold a NaN: in any column, or in those of `subset`, such as a label's.

    For tables, one row a decision. `Windows.of` leaves out what it must by itself, and refuses features from
    which bars between others were dropped.
    """

    kind: ClassVar[str] = "DropRows"
    subset: Sequence[str] = ()

    def _learn(self, frame: pd.DataFrame) -> None:
        unknown = [name for name in self.subset if name not in frame.columns]
        if unknown:
            raise ValueError(f"subset must name columns of the frame. There is no {', '.join(unknown)}.")

    def _apply(self, frame: pd.DataFrame) -> pd.DataFrame:
        return frame.dropna(subset=list(self.subset) or None)


class Chain:
    """Several processors one after the other, each fitted on what those before it made of the fit period."""

    def __init__(self, *processors: Processor) -> None:
        self.processors = processors

    def fit(self, frame: pd.DataFrame, before: str | None = None, since: str | None = None) -> "Chain":
        """As `Processor.fit`."""
        for processor in self.processors:
            frame = processor.fit(frame, before, since).transform(frame)
        return self

    def transform(self, frame: pd.DataFrame) -> pd.DataFrame:
        """As `Processor.transform`."""
        for processor in self.processors:
            frame = processor.transform(frame)
        return frame


_KINDS: dict[str, type[Processor]] = {kind.kind: kind for kind in (RobustZScore, RankNorm, Fill, DropRows)}


def processor_of(told: dict[str, Any]) -> Processor:
    """Make the fitted processor again that `told` describes."""
    made = _KINDS[told["kind"]](**told["options"])
    made._take(**told["learnt"])
    made._fix(tuple(told["columns"]), told["since"], told["before"])
    return made


def _kind(frame: pd.DataFrame) -> str:
    return "float32" if bool((frame.dtypes == np.float32).all()) else "float64"


def _refuse_one(frame: pd.DataFrame) -> None:
    if not is_panel(frame):
        raise ValueError("RankNorm ranks a day's stocks: it needs a panel, rows by (date, ticker).")
