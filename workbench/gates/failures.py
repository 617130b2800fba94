"""What goes wrong while watching is kept and told, and never ends the training."""

import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Failure:
    """An error in a part of the monitor.

    Attributes
    ----------
    part
        "capture", "steps", "log", "detector", "alerts", or a listener's class.
    epoch
        In which it happened.
    error
        What was raised.
    trace
        Where, as Python prints it.
    """

    part: str
    epoch: int
    error: Exception
    trace: str

    def __str__(self) -> str:
        return f"epoch {self.epoch}, {self.part}: {type(self.error).__name__}: {self.error}"


class Failures(list[Failure]):
    """The errors so far, oldest first."""

    @contextmanager
    def kept(self, part: str, epoch: int) -> Iterator[None]:
        """Keep an error of the block, and warn of the first of its part and type.

        Where warnings are made errors, that one ends the training.
        """
        try:
            yield
        except Exception as error:  # noqa: BLE001  (hours of training are worth more than what watches them)
            trace = "".join(traceback.format_exception(error))
            failure = Failure(part, epoch, error.with_traceback(None), trace)
            told = any(each.part == part and type(each.error) is type(error) for each in self)
            self.append(failure)
            if not told:
                warnings.warn(
                    f"Watching the gates went wrong in {failure}. Training goes on; monitor.errors keeps "
                    "this, and what follows of its kind.",
                    RuntimeWarning,
                    stacklevel=2,
                )
