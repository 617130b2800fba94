"""What is learnt from the fit period once, and then stays as it is."""

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, TypeVar

import numpy as np
import pandas as pd

from workbench.features.panels import check_index, keys_of
from workbench.features.recipes import with_step
from workbench.features.splits import timestamp

__all__ = ["OtherColumns", "Processor"]

Own = TypeVar("Own", bound="Processor")


class OtherColumns(ValueError):
    """The columns are not those that the processor was fitted on.

    Attributes
    ----------
    columns
        Those that are missing.
    """

    def __init__(self, words: str, columns: list[str]) -> None:
        super().__init__(words)
        self.columns = columns


@dataclass(frozen=True, eq=False)
class Processor:
    """What every processor does: `fit` once, `transform` often, and say how.

    Attributes
    ----------
    columns
        What it was fitted on; empty until then.
    since, before
        The fit period: its first date, and the first after it; None is open.
    """

    kind: ClassVar[str]
    columns: tuple[str, ...] = field(default=(), init=False)
    since: str | None = field(default=None, init=False)
    before: str | None = field(default=None, init=False)

    def fit(self: Own, frame: pd.DataFrame, before: str | None = None, since: str | None = None) -> Own:
        """Learn from the rows of the fit period, and return this processor.

        Parameters
        ----------
        frame
            Features by date, or by (date, ticker).
        before
            First date that is not looked at: the first cut of `windows.split`, so that neither valid nor test
            is seen. None is every row, which is right only if the frame ends with training.
        since
            First date that is looked at.

        Raises
        ------
        ValueError
            It was fitted before, or there is nothing to learn from; the message says what is missing.
        """
        if self.columns:
            raise ValueError(f"This {self.kind} is fitted already and stays as it is: make a new one.")
        check_index(frame, "frame")
        dates, _ = keys_of(frame.index)
        inside = np.ones(len(frame), dtype=bool)
        if since is not None:
            inside &= np.asarray(dates >= timestamp(since, dates.tz))
        if before is not None:
            inside &= np.asarray(dates < timestamp(before, dates.tz))
        if not inside.any() or frame.shape[1] == 0:
            raise ValueError(
                f"{self.kind} has nothing to learn from: {int(inside.sum())} rows "
                f"from {since or 'the first'} to before {before or 'the end'}, {frame.shape[1]} columns."
            )
        self._learn(frame.loc[inside])
        self._fix(tuple(str(name) for name in frame.columns), since, before)
        return self

    def transform(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Return the frame as processed, of the same kind of numbers; `attrs["features"]` gains the step.

        Raises
        ------
        OtherColumns
            A ValueError: the columns are not those of `fit`, in their order.
        ValueError
            It was not fitted.
        """
        if not self.columns:
            raise ValueError(f"This {self.kind} is not fitted: call fit(features, before=…) first.")
        names = tuple(str(name) for name in frame.columns)
        if names != self.columns:
            missing = [name for name in self.columns if name not in names]
            extra = [name for name in names if name not in self.columns]
            said = f"missing: {', '.join(missing) or 'none'}; unknown: {', '.join(extra) or 'none'}"
            raise OtherColumns(
                f"{self.kind} was fitted on {len(self.columns)} columns and got {len(names)} ({said}). Give "
                "those it was fitted on, in their order, or fit a new one.",
                missing,
            )
        check_index(frame, "frame")
        done = self._apply(frame)
        done.attrs = with_step(frame.attrs, self.told())
        return done

    def told(self) -> dict[str, Any]:
        """Return all of it as JSON can hold it; `processor_of` makes it again."""
        options = {option.name: getattr(self, option.name) for option in fields(self) if option.init}
        fitted = {"columns": list(self.columns), "since": self.since, "before": self.before}
        return {"kind": self.kind, "options": options, "learnt": self._learnt(), **fitted}

    def _learn(self, frame: pd.DataFrame) -> None:
        """Take what is needed from the rows of the fit period."""

    def _apply(self, frame: pd.DataFrame) -> pd.DataFrame:
        raise NotImplementedError

    def _learnt(self) -> dict[str, Any]:
        """Say what `_take` takes back."""
        return {}

    def _take(self) -> None:
        """Keep what was learnt."""

    def _fix(self, columns: tuple[str, ...], since: str | None, before: str | None) -> None:
        for name, value in {"columns": columns, "since": since, "before": before}.items():
            object.__setattr__(self, name, value)
