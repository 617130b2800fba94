"""Chance, for series with a memory: the same series against the same calendar, turned by so many bars."""

import numpy as np
from jaxtyping import Bool, Float

LEVEL = 0.05
POWER = 0.8
_TIE = 1 - 1e-9  # a turned difference equal to the observed one but for rounding reaches it
_STILL = 1e-12  # a spread this small beside the values is rounding
_TURNS = 200  # of which power is counted
WIDEST = 8.0  # times a series' own spread: the largest effect that power is counted for


def contrast_weights(groups: Bool[np.ndarray, "group bar"], rest: Bool[np.ndarray, " bar"]) -> np.ndarray:
    """Return (bar,), by which a series is summed to mean over groups − mean of the rest, each group alike.

    w_t = Σ_g 1[t in g] / (G · n_g) − 1[t in rest] / n_rest. The weights add up to 0.

    Raises
    ------
    ValueError
        If there is no group, or one or the rest holds no bar.
    """
    sizes = groups.sum(axis=1)
    if len(groups) == 0 or (sizes == 0).any() or not rest.any():
        raise ValueError(
            f"each group and the rest need a bar. Got groups of {sizes.tolist()} bars, and {int(rest.sum())} "
            "in the rest."
        )
    return (groups / sizes[:, None]).mean(axis=0) - rest / rest.sum()


def turned(
    weights: Float[np.ndarray, "contrast bar"], series: Float[np.ndarray, "bar series"]
) -> Float[np.ndarray, "turn contrast series"]:
    """Return every contrast with every series at each of its circular shifts, the first being none.

    D[j, c, s] = Σ_t w[c, t] · x[(t − j) mod n, s], for j = 0 … n − 1, by the convolution theorem. A shift
    keeps each series' memory, and what the series have to do with each other; it breaks what they have to do
    with the calendar. Where the ends don't meet there is a jump, which no bar of the series has.
    """
    still = series - series.mean(axis=0)  # the weights add up to 0; large levels would cost digits
    spectrum = np.conj(np.fft.rfft(still, axis=0))[:, None] * np.fft.rfft(weights, axis=1).T[:, :, None]
    return np.fft.irfft(spectrum, n=len(series), axis=0)


class Turns:
    """What circular shifts say of differences.

    Parameters
    ----------
    weights
        A row a contrast: see `contrast_weights`.
    series
        (bar, series), finite.

    Attributes
    ----------
    differences
        (turn, contrast, series), those observed first.
    observed
        (contrast, series).
    """

    def __init__(self, weights: Float[np.ndarray, "contrast bar"], series: Float[np.ndarray, "bar series"]):
        self.weights = weights
        self.differences = turned(weights, series)
        self.spread = series.std(axis=0)
        varies = self.spread > _STILL * np.abs(series).max(axis=0, initial=1e-300)
        self.differences[:, :, ~varies] = np.nan
        self.observed = self.differences[0]

    def p_values(self) -> Float[np.ndarray, "contrast series"]:
        """Share of turns, the observed one included, that differ at least as much; NaN of a constant."""
        size = np.abs(self.differences)
        return np.where(np.isnan(self.observed), np.nan, (size >= _TIE * size[0]).mean(axis=0))

    def family_p_values(self) -> Float[np.ndarray, "contrast series"]:
        """Share of turns at which *any* series and contrast stands out at least as much.

        Each difference is divided by its standard deviation over all turns; of each turn the largest counts
        (Westfall & Young 1993). At most 0.05 for any of them by chance in 5 of 100 looks at the whole table.
        """
        size = self._standardised()
        largest = np.nanmax(size.reshape(len(size), -1), axis=1, initial=0.0)
        reached = (largest[:, None, None] >= _TIE * size[0]).mean(axis=0)
        return np.where(np.isnan(self.observed), np.nan, reached)

    def chance(self, level: float = LEVEL) -> Float[np.ndarray, "contrast series"]:
        """How large a difference `level` of all turns reach: half the width of the interval around one."""
        return np.quantile(np.abs(self.differences), 1 - level, axis=0)

    def detectable(
        self, marked: Float[np.ndarray, "contrast bar"], level: float = LEVEL, power: float = POWER
    ) -> Float[np.ndarray, "contrast series"]:
        """Return the least effect that would have been found `power` of the times, in a series' own unit.

        The series are turned to up to 200 places, where nothing but chance relates them to the calendar; an
        effect is added to one of them at the bars that are `marked` (1; elsewhere 0); and it counts as found
        where its family-wise p is at most `level`. Infinite where even 8 times a series' own spread is not.
        """
        size = self._standardised().reshape(len(self.differences), -1)
        first, second = _two_largest(size)
        least = np.full(self.observed.shape, np.nan)
        for contrast, series in np.argwhere(~np.isnan(self.observed)).tolist():
            column = contrast * self.observed.shape[1] + series
            others = np.where(size[:, column] >= first, second, first)
            effect = turned(self.weights[contrast][None], marked[contrast][:, None])[:, 0, 0]
            own = self.differences[:, contrast, series]
            least[contrast, series] = _least(
                own, effect, others, WIDEST * self.spread[series], (level, power)
            )
        return least

    def _standardised(self) -> Float[np.ndarray, "turn contrast series"]:
        spread = self.differences.std(axis=0)  # the mean over all turns is 0
        return np.abs(self.differences) / np.where(spread > 0, spread, np.nan)


def _two_largest(size: Float[np.ndarray, "turn column"]) -> tuple[np.ndarray, np.ndarray]:
    known = np.sort(np.nan_to_num(size), axis=1)
    return known[:, -1], known[:, -2] if known.shape[1] > 1 else np.zeros(len(known))


def _least(
    own: Float[np.ndarray, " turn"],
    effect: Float[np.ndarray, " turn"],
    others: Float[np.ndarray, " turn"],
    widest: float,
    asked: tuple[float, float],
) -> float:
    """Halve the interval in which the least effect lies, to 1/256 of `widest`."""
    level, power = asked
    n = len(own)
    places = np.unique(np.linspace(0, n - 1, min(n, _TURNS)).astype(int))
    at = (places[:, None] + np.arange(n)) % n  # (place, turn): turned to the place, then on for its null

    def found(size: float) -> float:
        values = own[at] + size * effect
        values = np.abs(values) / values.std(axis=1, keepdims=True)
        largest = np.maximum(values, others[at])
        return float(((largest >= _TIE * values[:, :1]).mean(axis=1) <= level).mean())

    if found(widest) < power:
        return float("inf")
    low, high = 0.0, widest
    for _ in range(8):
        middle = (low + high) / 2
        low, high = (low, middle) if found(middle) >= power else (middle, high)
    return high
