"""Where a synthetic market's truth lies in a model's window."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool

from workbench.market.names import suggestion


def truth_of(
    prices: pd.DataFrame, lookback: int, feature_names: Sequence[str]
) -> Bool[np.ndarray, "time feature"]:
    """Truth mask of a synthetic asset's prices, see `mask`; other prices are a ValueError."""
    truth = prices.attrs.get("provenance", {}).get("truth")
    if truth is None or "lag" not in truth:
        raise ValueError(
            "prices must be one synthetic asset's, whose provenance holds the truth. Got none. "
            'Make them with load_prices("LAG5", source="synthetic") or plant(…).prices.'
        )
    return mask(truth, lookback, feature_names)


def mask(
    truth: dict[str, Any], lookback: int, feature_names: Sequence[str]
) -> Bool[np.ndarray, "time feature"]:
    """Return (time, feature), True at the one cell that drives the next move; all False without a signal.

    Row lookback − 1 is the decision bar, so the cell lies in row lookback − 1 − lag. A window that cannot
    hold it, or features that lack the driver, are a ValueError.
    """
    found = np.zeros((lookback, len(feature_names)), dtype=bool)
    if truth["driver"] is None:
        return found
    driver, lag = truth["driver"], truth["lag"]
    if driver not in feature_names:
        raise ValueError(
            f"feature_names must hold the driver {driver!r}. Got {', '.join(feature_names)}."
            f"{suggestion(driver, list(feature_names))}"
        )
    if lag >= lookback:
        raise ValueError(f"lookback must be at least {lag + 1} to hold lag {lag}. Got {lookback}.")
    found[lookback - 1 - lag, list(feature_names).index(driver)] = True
    return found
