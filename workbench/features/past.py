"""What has become known by a bar: the label of an earlier one."""

import numpy as np
import pandas as pd

from workbench.features.alignment import check_same_source, label_recipe
from workbench.features.panels import check_index, rows_by_ticker
from workbench.features.recipes import label_recipe_of, with_step

__all__ = ["PAST_LABEL", "with_past_label"]

PAST_LABEL = "past_label"  # what models know the column by


def with_past_label(features: pd.DataFrame, labels: pd.Series) -> pd.DataFrame:
    """Add the column `past_label`: the label of the ticker's bar `horizon` bars earlier, known only now.

    A label spans the `horizon` bars after its own, so at bar t the last one that has come true is that of bar
    t − horizon. Models that learn from how well they did of late (TRA) read it; it is not standardised.

    Parameters
    ----------
    features
        From `make_features`, `alpha158` and the like, of one ticker or a panel.
    labels
        From `label_moves` or `forward_return` of the same prices; every bar of the features has one, or NaN.

    Returns
    -------
    pd.DataFrame
        The features with the new column last. NaN at a ticker's first `horizon` bars, and where the earlier
        label is NaN.

    Raises
    ------
    ValueError
        Labels say no horizon, come from other prices or lack bars, or the features have the column already.
    """
    check_same_source(features, labels)
    check_index(features, "features")
    check_index(labels, "labels")
    horizon = label_recipe(labels).horizon
    if PAST_LABEL in features.columns:
        raise ValueError(f"features have a column {PAST_LABEL!r} already: add it once.")
    lacking = features.index.difference(labels.index)
    if len(lacking):
        raise ValueError(
            f"labels lack {len(lacking)} bars of the features, first {lacking[0]}: make both from the same "
            "prices."
        )
    values = labels.to_numpy(dtype="float64")
    past = np.full(len(values), np.nan)
    for rows in rows_by_ticker(labels):
        past[rows[horizon:]] = values[rows[: max(len(rows) - horizon, 0)]]
    kind = np.float32 if (features.dtypes == np.float32).all() else np.float64
    column = past[labels.index.get_indexer(features.index)].astype(kind)
    recipe = label_recipe_of(labels)
    result = features.assign(**{PAST_LABEL: column})
    step = None if recipe is None else {"kind": "with_past_label", "labels": recipe}
    result.attrs = with_step(features.attrs, step)
    return result
