"""The windows that every contestant gets: same bars, same columns, same split, same purge."""

import hashlib
import json
import warnings
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from workbench.features.alpha158 import ALPHA158_20, alpha158
from workbench.features.concepts import with_concepts
from workbench.features.labels import forward_return
from workbench.features.past import with_past_label
from workbench.features.windows import Windows
from workbench.market.loading import list_tickers, load_panel
from workbench.market.sample import sectors


@dataclass(frozen=True)
class Recipe:
    """How a dataset is made.

    Attributes
    ----------
    what
        A sentence for people.
    source
        Bundled source of the prices; all its tickers are taken.
    start, valid, test, end
        First bar; first decision date of the validation and of the test part; last bar.
    lookback, horizon
        Bars of a window, and bars ahead that its label reaches.
    step
        Decision days from one that is learnt from to the next, in training and validation: at the horizon, no
        two labels of a stock overlap. Every day is tested.
    twenty
        Whether the columns are the 20 of Alpha158 that are given to sequence models, instead of all that the
        fields of the prices permit.
    """

    what: str
    source: str
    start: str
    valid: str
    test: str
    end: str
    lookback: int = 20
    horizon: int = 5
    step: int = 5
    twenty: bool = False


RECIPES = {
    "closes20": Recipe(
        "twenty US stocks, closes only, and their sectors", "sample20", "2006", "2013-07", "2016", "2022"
    ),
    "ohlcv5": Recipe(
        "AAPL, GOOG, IBM, MSFT and FB, open to volume",
        "sample",
        "2000",
        "2008-07",
        "2010",
        "2013",
        step=2,
        twenty=True,
    ),
}
SMALLEST = {
    "closes20": Recipe(
        "twenty US stocks, a year and a half", "sample20", "2021", "2022-03", "2022-07", "2022", 8
    ),
    "ohlcv5": Recipe(
        "five tickers, a year and a half", "sample", "2011-10", "2012-09", "2012-12", "2013", 8, twenty=True
    ),
}


@dataclass(frozen=True, eq=False)
class Dataset:
    """A dataset ready to be learnt from.

    Attributes
    ----------
    name, recipe
        As asked for.
    prices
        The panel.
    train, valid, test
        Windows; labels are returns over the horizon less the mean of the day's stocks.
    digest
        SHA-256 of the prices and the recipe.
    """

    name: str
    recipe: Recipe
    prices: pd.DataFrame
    train: Windows
    valid: Windows
    test: Windows
    digest: str

    @property
    def horizon(self) -> int:
        """Bars ahead that a label reaches."""
        return self.recipe.horizon


def load_dataset(name: str, smallest: bool = False) -> Dataset:
    """Load the prices of `name`, make its columns and labels, and cut it into windows."""
    recipe = (SMALLEST if smallest else RECIPES)[name]
    prices = load_panel(list_tickers(recipe.source), recipe.source, recipe.start, recipe.end)
    labels = excess_return(prices, recipe.horizon)
    windows = Windows.of(columns(prices, labels, recipe), labels, recipe.lookback)
    train, valid, test = windows.split(recipe.valid, recipe.test)
    return Dataset(
        name, recipe, prices, every(train, recipe.step), every(valid, recipe.step), test,
        digest_of(prices, recipe),
    )  # fmt: skip


def excess_return(prices: pd.DataFrame, horizon: int) -> pd.Series:
    """Return from close t to close t + horizon, less the mean of it over the stocks of the day.

    What all stocks do together can neither rank them nor pay a book that buys as much as it sells. A day's
    correlation over stocks is the same with and without it.

    The mean is that of the returns known when the stock's own is. So where some stock misses bars, and is
    late, those of the others don't wait for it, and know nothing later than they should.
    """
    raw = forward_return(prices, horizon)
    wide = raw.unstack("ticker")  # noqa: PD010 (each pair comes once)
    dates = pd.Series(prices.index.get_level_values("date"), prices.index)
    known = dates.groupby(level="ticker").shift(-horizon).unstack("ticker")  # noqa: PD010
    ends = pd.DataFrame(known, columns=wide.columns)
    means = {name: wide.where(ends.le(ends[name], axis=0)).mean(axis=1) for name in wide.columns}
    mean = pd.DataFrame(means, columns=wide.columns).stack(future_stack=True).reindex(raw.index)  # noqa: PD013
    excess = (raw - mean).rename("excess_return")
    excess.attrs = dict(raw.attrs)
    return excess


def columns(prices: pd.DataFrame, labels: pd.Series, recipe: Recipe) -> pd.DataFrame:
    """Make the columns of every bar, known at its close: Alpha158, the past label, and sectors where known.

    All contestants read all of them. The sectors are those of 2022 throughout, so they know a little of what
    became of the companies; that can flatter everyone here alike.
    """
    features = with_past_label(alpha158(prices, ALPHA158_20 if recipe.twenty else None), labels)
    if recipe.source != "sample20":
        return features
    with warnings.catch_warnings():  # of just that
        warnings.filterwarnings("ignore", message=".*they know what became of the companies")
        return with_concepts(features, sectors(), since=recipe.start)


def every(windows: Windows, step: int) -> Windows:
    """Keep the windows of every `step`-th decision day, from the first."""
    days = windows.dates.unique().sort_values()[::step]
    return windows[np.asarray(windows.dates.isin(days))]


def digest_of(prices: pd.DataFrame, recipe: Recipe) -> str:
    """Return what the data are recognised by: the prices as they came, and how windows are made of them."""
    told = {"prices": prices.attrs["provenance"]["sha256"], "recipe": asdict(recipe)}
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
