"""How windows are made of their prices again, told along with where the prices came from."""

from collections.abc import Hashable, Mapping
from typing import Any

import pandas as pd

from workbench.features.panels import keys_of

__all__ = ["label_recipe_of", "provenance_of", "with_split", "with_step"]


def provenance_of(features: pd.DataFrame, labels: pd.Series) -> dict[str, Any]:
    """Return where the prices came from, and how the windows are made of them again.

    To the prices' own provenance it adds `bars`, first and last; `features`, as `make_features` told; and
    `labels`, as `label_moves` or `forward_return` did. What was made in another way tells nothing.
    """
    dates, _ = keys_of(features.index)
    first, last = (moment.isoformat() for moment in dates.sort_values()[[0, -1]])
    told: dict[str, Any] = {"bars": {"first": first, "last": last}}
    if "features" in features.attrs:
        told["features"] = dict(features.attrs["features"])
    recipe = label_recipe_of(labels)
    if recipe is not None:
        told["labels"] = recipe
    return {**features.attrs.get("provenance", {}), **told}


def label_recipe_of(labels: pd.Series) -> dict[str, Any] | None:
    """Return how `label_moves` or `forward_return` made the labels, None if they were made otherwise."""
    attrs = labels.attrs
    if {"threshold", "scale"} <= attrs.keys():
        options = {name: attrs[name] for name in ("horizon", "threshold", "scale")}
        return {"kind": "label_moves", **options}
    if labels.name == "forward_return":
        return {"kind": "forward_return", "horizon": attrs["horizon"]}
    return None


def with_step(attrs: Mapping[Hashable, Any], step: Mapping[str, Any] | None) -> dict[Hashable, Any]:
    """Return the attrs of features to which something was done after they were made.

    `attrs["features"]["then"]` lists such steps, by which `remake` repeats them. A step that cannot be told
    takes the recipe away, so that what cannot be made again does not look as if it could.
    """
    kept = dict(attrs)
    made = kept.pop("features", None)
    if made is not None and step is not None:
        kept["features"] = {**made, "then": [*made.get("then", []), dict(step)]}
    return kept


def with_split(provenance: dict[str, Any], valid: pd.DatetimeIndex, test: pd.DatetimeIndex) -> dict[str, Any]:
    """Return the provenance with `split`: the first decision dates of valid and of test."""
    begins = [moment.isoformat() for dates in (valid, test) for moment in dates.sort_values()[:1]]
    return {**provenance, "split": dict(zip(("valid", "test"), begins, strict=True))}
