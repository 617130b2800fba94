"""Features made again of prices, by what `attrs["features"]` told of how they were made."""

from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from workbench.features.alpha158 import alpha158
from workbench.features.alpha360 import alpha360, alpha360_bars
from workbench.features.concepts import with_concepts
from workbench.features.indicators import make_features
from workbench.features.labels import forward_return, label_moves
from workbench.features.past import with_past_label
from workbench.features.processors import OtherColumns, processor_of

__all__ = ["LABELS", "MAKERS", "remake", "remake_labels"]

LABELS: dict[str, Callable[..., pd.Series]] = {"label_moves": label_moves, "forward_return": forward_return}
MAKERS: dict[str, Callable[[pd.DataFrame, Mapping[str, Any]], pd.DataFrame]] = {
    "make_features": lambda prices, told: make_features(prices, told["zscore"]),
    "alpha158": lambda prices, _: alpha158(prices),
    "alpha360": lambda prices, _: alpha360(prices),
    "alpha360_bars": lambda prices, _: alpha360_bars(prices),
}


def remake(prices: pd.DataFrame, told: Mapping[str, Any]) -> pd.DataFrame:
    """Make features of prices as `told` says: the kind, and what was done to them `then`.

    Columns are all that the kind makes of these prices, or those that a processor was fitted on.

    Raises
    ------
    OtherColumns
        A ValueError: these prices lack a field, so a processor's columns cannot be made.
    ValueError
        No function here makes that kind of features.
    """
    if told["kind"] not in MAKERS:
        raise ValueError(f"features are made again by {', '.join(MAKERS)}. Got {told['kind']!r}.")
    features = MAKERS[told["kind"]](prices, told)
    for step in told.get("then", []):
        features = _then(features, prices, step)
    return features


def remake_labels(prices: pd.DataFrame, told: Mapping[str, Any]) -> pd.Series:
    """Make labels of prices as `told` says."""
    options = dict(told)
    return LABELS[options.pop("kind")](prices, **options)


def _then(features: pd.DataFrame, prices: pd.DataFrame, step: Mapping[str, Any]) -> pd.DataFrame:
    if step["kind"] == "with_concepts":
        names = ["ticker", "concept", "since", "until", "weight"]
        return with_concepts(features, pd.DataFrame(step["rows"], columns=names))
    if step["kind"] == "with_past_label":
        return with_past_label(features, remake_labels(prices, step["labels"]))
    missing = [name for name in step["columns"] if name not in features.columns]
    if missing:
        raise OtherColumns(
            f"{step['kind']} was fitted on columns that these prices don't give: {missing}.", missing
        )
    return processor_of(dict(step)).transform(features.loc[:, step["columns"]])
