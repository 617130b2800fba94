# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 1 · Market: prices that can be trusted
#
# **Goal.** Load daily prices, see whether they can be believed, and cut them into windows that know nothing
# of the future.
#
# **Prerequisites.** None: the bundled data needs no network.
#
# **Time.** About 10 seconds to run, 15 minutes to read.

# %% tags=["parameters"]
TICKER = "AAPL"  # for SOURCE = "csv", the path of your file
SOURCE = "sample"  # wb.list_sources() says what there is
START, END = None, None  # such as "2005-01-01"; None takes all there is
INTERVAL = "1d"
LOOKBACK = 60  # bars in a window
HORIZON = 1  # bars from the decision to the label
SCALE = "volatility"  # a move counts by recent volatility; "fixed": by its size
THRESHOLD = None  # None: half a standard deviation, or 1 % with "fixed"
VALID_FROM, TEST_FROM = 0.7, 0.85  # dates, or shares of the decision dates

# %%
import matplotlib.pyplot as plt
import pandas as pd
import seaborn as sns

import workbench as wb

# %% [markdown]
# ## What there is
#
# Every source answers the same call, `wb.load_prices(ticker, source)`. What comes is a frame of `open`, `high`,
# `low`, `close` and `volume`, checked, and it says where it came from.

# %%
wb.list_sources()

# %%
# NBVAL_CHECK_OUTPUT
prices = wb.load_prices(TICKER, source=SOURCE, start=START, end=END, interval=INTERVAL)
provenance = prices.attrs["provenance"]
print(
    f"{len(prices)} bars of {provenance['ticker']}, {prices.index[0]:%Y-%m-%d} to {prices.index[-1]:%Y-%m-%d}"
)
print(f"adjusted: {provenance['adjusted']}; synthetic: {provenance['synthetic']}")
print(f"sha256 {provenance['sha256'][:16]}…")

# %% [markdown]
# The checksum names these very prices. A saved model carries it, so that nobody mistakes one data set for
# another.
#
# ## Can they be believed?

# %%
report = wb.check_prices(prices)
report

# %%
axes = wb.plots.prices(prices, report)
# %% [markdown]
# **What to see.** The bars that the report flags are marked, not removed: a repeated close is one that equals the
# close before it, an extreme move one far outside what is usual for this series. In Apple's prices the largest
# drop, of 29 September 2000, is real: the shares halved overnight on a profit warning. That is why the workbench
# never corrects a price for its size alone.

# %%
report.flagged("extreme moves")

# %% [markdown]
# ## Features know the past only
#
# Each row uses its own bar and those before it. `wb.make_features` gives columns made for models: returns, ranges
# and indicators on comparable scales. `wb.indicators` gives the textbook's.

# %%
features = wb.make_features(prices)
features.describe().T[["count", "mean", "std", "min", "max"]].round(3)

# %%
wb.indicators(prices).tail(3).T.round(2)

# %% [markdown]
# Do not take it on trust. Double every price of the second half, and no earlier feature moves by one bit:

# %%
# NBVAL_CHECK_OUTPUT
middle = len(prices) // 2
altered = prices.copy()
altered.iloc[middle:] *= 2.0
before, after = features, wb.make_features(altered)
print("past unchanged:", before.iloc[:middle].equals(after.iloc[:middle]))
print("future changed:", not before.iloc[middle:].equals(after.iloc[middle:]))

# %% [markdown]
# Two sets of columns that quant finance compares models on come along, and must pass the same test: `alpha158`,
# figures of trailing windows of 5 to 60 bars, and `alpha360`, the last 60 bars as they are, against today's close.

# %%
# NBVAL_CHECK_OUTPUT
for make in (wb.alpha158, wb.alpha360):
    before, after = make(prices), make(altered)
    same = before.iloc[:middle].equals(after.iloc[:middle])
    print(f"{make.__name__}: {before.shape[1]} columns, past unchanged: {same}")

# %% [markdown]
# ## Labels, windows and the cut
#
# A window ends at the bar on which a decision is taken. Its label is the move of the next `HORIZON` bars: a buy
# above the threshold, a sell below minus the threshold, else hold. Nothing between window and label is skipped.

# %%
# NBVAL_CHECK_OUTPUT
labels = wb.label_moves(prices, horizon=HORIZON, threshold=THRESHOLD, scale=SCALE)
windows = wb.Windows.of(features, labels, lookback=LOOKBACK)
parts = train, valid, test = windows.split(VALID_FROM, TEST_FROM)
for name, part in zip(["train", "valid", "test"], parts, strict=True):
    print(f"{name:5s} {len(part):5d} windows, decided {part.dates[0]:%Y-%m-%d} to {part.dates[-1]:%Y-%m-%d}")

# %%
pd.concat([part.describe() for part in parts], keys=["train", "valid", "test"])

# %% [markdown]
# **What to see.** The three classes stay about as frequent in every part, because a move is measured in units of
# recent volatility. Measured in percent they drift, and a model learns the wild years' habits for the calm ones:

# %%
fixed = wb.label_moves(prices, horizon=HORIZON, threshold=0.01)
calls = pd.DataFrame({"fixed 1 %": fixed, "as chosen above": labels}).dropna()
(100 * (calls == 1).groupby(calls.index.year).mean()).round(0).rename_axis("hold [%] in").T

# %% [markdown]
# Train and validation give up the windows whose label would reach into the next part: the cut is *purged*.
#
# ## Many stocks at once
#
# Twenty large US stocks come along, closing prices only. What is not there is left empty, not invented, and
# features that need it are left out.

# %%
# NBVAL_CHECK_OUTPUT
panel = wb.load_panel(wb.list_tickers("sample20"), source="sample20", start="2010-01-01")
print(f"{panel.index.get_level_values('ticker').nunique()} stocks, {len(panel)} rows")
print("features:", ", ".join(wb.make_features(panel).columns))

# %%
moves = wb.make_features(panel)["log_return"].unstack("ticker")  # noqa: PD010 - a table, not a summary
sectors = pd.Series(panel.attrs["provenance"]["sector_by_ticker"], name="sector").sort_values()
figure, ax = plt.subplots(figsize=(9, 7), layout="constrained")
sns.heatmap(
    moves[sectors.index].corr(),
    cmap="cividis",
    square=True,
    ax=ax,
    cbar_kws={"label": "correlation of daily returns"},
)
_ = ax.set(xlabel="", ylabel="", title="20 US stocks since 2010, by sector")

# %%
sectors.to_frame()

# %% [markdown]
# **What to see.** Blocks along the diagonal: the two banks, and the two oil majors, move together most of all. What
# is alike on paper need not be in the market: Range Resources drills for gas and goes its own way.

# %% [markdown]
# ## Your own data
#
# - A file: `wb.load_prices("my.csv", source="csv")`. Columns are found whatever their case; a date or number that
#   cannot be read is named by line and column.
# - Live: `source="yahoo"` for stocks, `"bybit"` for crypto. Both are kept in `data/cache`, so that a second run
#   needs no network, and an outage is said, never papered over.
# - Made up, with a known driver: `wb.load_prices("LAG5", source="synthetic")`. The next move is driven by the
#   return five bars ago. Notebook 3 asks whether the explanation finds it.
#
# **Next:** notebook 2 trains a model on these windows.
