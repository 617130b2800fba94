"""How much of a training's time may go into watching it."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

RECENT = 3  # costs that the next one is judged by
RESERVE = 0.1  # share of the budget kept for hooks at every step, and for the end of the log
OF_STEPS = 0.25  # share of the budget that measuring single steps may take


class Budget:
    """Measure what watching costs, and say when it may go on.

    Parameters
    ----------
    share
        What watching may cost at most, as a share of the time that training itself takes.
    clock
        Seconds.

    Attributes
    ----------
    costs
        Seconds by what they were spent on.
    spent
        Their sum.
    """

    def __init__(self, share: float | int, clock: Callable[[], float] = time.perf_counter):
        if not share > 0:
            raise ValueError(
                f"budget is the share of the training's time that watching may take, above 0; got {share}."
            )
        self.share, self._clock = float(share), clock
        self.start()

    def start(self) -> None:
        """Count from now."""
        self.costs: dict[str, float] = {}
        self.spent = 0.0
        self._recent: dict[str, deque[float]] = {}
        self._began, self._ended = self._clock(), None
        self._outer: str | None = None

    def stop(self) -> None:
        """Stop the clock: what follows is no longer training."""
        self._ended = self._clock()

    @contextmanager
    def spending(self, kind: str) -> Iterator[None]:
        """Count the time of the block as spent on `kind`; within another such block, as that one's."""
        if self._outer is not None:
            yield
            return
        self._outer, began = kind, self._clock()
        try:
            yield
        finally:
            self._outer = None
            self.add(kind, self._clock() - began)

    def add(self, kind: str, seconds: float) -> None:
        """Count seconds as spent on `kind`."""
        self.costs[kind] = self.costs.get(kind, 0.0) + seconds
        self.spent += seconds
        self._recent.setdefault(kind, deque(maxlen=RECENT)).append(seconds)

    def now(self) -> float:
        """Return the time by the budget's clock [s]."""
        return self._clock()

    @property
    def own(self) -> float:
        """Seconds that training itself took."""
        return (self._clock() if self._ended is None else self._ended) - self._began - self.spent

    @property
    def overhead(self) -> float:
        """Seconds of watching over seconds of training alone; 0 before there are any."""
        own = self.own
        return self.spent / own if own > 0 else 0.0

    def expected(self, kind: str) -> float:
        """Return what the next of a kind may cost: the most of the last three [s]; 0 for a first."""
        return max(self._recent.get(kind, (0.0,)))

    def allows(self, *kinds: str) -> bool:
        """Tell whether watching is well within its share even after the next of these kinds."""
        allowed = (1 - RESERVE) * self.share * self.own
        return self.spent + sum(map(self.expected, kinds)) <= allowed

    def enough_for_step(self, kind: str) -> float:
        """Return the seconds of training after which the next step fits the share and its part."""
        cost = self.expected(kind)
        of_steps = self.costs.get(kind, 0.0) + cost
        return max(of_steps / OF_STEPS, self.spent + cost) / self.share
