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
# # 3 · Rollout: what did the model look at?
#
# **Goal.** Read a transformer's attention through all its layers, and tell what the model chose to look at from
# what any model of its shape would show.
#
# **Prerequisites.** Notebook 2 for the model; trained here if it is not there yet.
#
# **Time.** Under a minute to run, 25 minutes to read.

# %% tags=["parameters"]
TICKER = "AAPL"
SOURCE = "sample"
START, END = None, None
INTERVAL = "1d"
LOOKBACK = 60
HORIZON = 1
SCALE, THRESHOLD = "volatility", None
VALID_FROM, TEST_FROM = 0.7, 0.85
MODEL = "transformer"  # one that attends
EPOCHS = 40
SEED = 0
MODELS = "../runs/models"
DAY = None  # a decision date of the test years; None takes the day of the largest fall

# %%
import ipywidgets
import numpy as np
import pandas as pd

import workbench as wb

# %%
prices = wb.load_prices(TICKER, source=SOURCE, start=START, end=END, interval=INTERVAL)
features = wb.make_features(prices)
labels = wb.label_moves(prices, horizon=HORIZON, threshold=THRESHOLD, scale=SCALE)
windows = wb.Windows.of(features, labels, lookback=LOOKBACK)
train, valid, test = windows.split(VALID_FROM, TEST_FROM)
model, history = wb.ensure_model(MODEL, train, valid, seed=SEED, folder=MODELS, epochs=EPOCHS, progress=False)

# %% [markdown]
# ## One day, every head
#
# `wb.attention_maps` watches the model while it runs. The model is not changed and need not be ours: any PyTorch
# module that attends will do.

# %%
# NBVAL_CHECK_OUTPUT
moves = features["log_return"].loc[test.dates]
date = pd.Timestamp(str(DAY)) if DAY else moves.idxmin()
day = test.at(date)
maps = wb.attention_maps(model, day.x)
print(f"decided on {date:%Y-%m-%d}, after a move of {np.expm1(moves[date]):.2%}")
print(maps)

# %%
axes = wb.plots.attention_grid(maps, day.bar_dates, provenance=prices.attrs["provenance"])
# %% [markdown]
# **What to see.** Each picture is one head: a row is a bar that asks (query), a column a bar it looks at (key).
# Vertical stripes are bars that everyone looks at, diagonals are bars that look at themselves or their
# neighbours. Eight such pictures are no answer yet: the second layer looks at the outputs of the first, which are
# mixtures of bars already.
#
# ## Through all layers: rollout
#
# Attention rollout (Abnar & Zuidema 2020) follows the mixing. The heads of a layer are averaged to A; half of
# every bar stays what it was, Ã = ½A + ½I, for the residual connection; the layers are multiplied, the later ones
# from the left. Row i of the product says how far bar i, at the output, draws on each input bar.

# %%
rolled = wb.rollout(maps)
axes = wb.plots.rollout(rolled, day.bar_dates, provenance=prices.attrs["provenance"])
# %% [markdown]
# **What to see.** The bright diagonal is the residual: it would be there in any model. The answer is read from the
# *last* row.
#
# ## Against an indifferent model
#
# Is any of it the model's doing? The *null* is the rollout of a model of the same depth, mask and residual that
# looks at all bars alike. Divided by it, the diagonal is gone:

# %%
null = wb.rollout(wb.uniform_maps(maps))
axes = wb.plots.rollout(rolled, day.bar_dates, null=null, provenance=prices.attrs["provenance"])

# %% [markdown]
# **What to see.** One colour for more than the null, one for less. Columns stand out, rows do not: the model found
# some *bars* worth looking at, whoever asks.
#
# `wb.explain` gives every window's last row, the null, and the predictions, in one pass over the test years.

# %%
why = wb.explain(model, test, method="rollout")
why

# %%
one = why.at(date)
axes = wb.plots.attribution(prices, one.scores[0], date, null=why.null, trust=one.trust)
# %% [markdown]
# **What to see.** Bars above the outline of the null were looked at more than an indifferent model would. The line
# on *trust* is there to be read: these scores have not been tested for faithfulness, so they say where attention
# went, not what moved the answer.
#
# ## To point at
#
# The same day as two widgets, linked in the browser by `jslink`: click a row of the heatmap, and the bars that it
# looks at light up on the candles. They answer in JupyterLab; a saved notebook keeps a picture of each.

# %%
chart = wb.PriceChart(prices, why, date)
chart.first = max(0, chart.bar - 99)  # the bars in view: near enough to see candles
heatmap = wb.AttentionHeatmap(maps, day.bar_dates, provenance=prices.attrs["provenance"])
link = ipywidgets.jslink((heatmap, "row_weights"), (chart, "lit"))
chart

# %%
heatmap

# %% [markdown]
# ## Asked another way
#
# Rollout is one method of several, and takes no notice of what the answer was. Each says another thing:

# %%
pd.set_option("display.max_colwidth", None)
methods = wb.list_methods()
methods.loc[methods["inside"] == "", ["what", "needs_attention", "by_feature", "signed"]]

# %%
other = wb.explain(model, day, method="gradient_x_input")
by_feature = pd.DataFrame(other.scores[0], columns=other.feature_names)
axes = wb.plots.attribution(prices, by_feature, date, trust=other.trust)

# %% [markdown]
# **What to see.** A cell is one feature of one bar: blue spoke for the class that the model chose, vermilion against
# it. Rollout spread its shares; this method may lay nearly everything on a few bars. Two methods that disagree answer
# two questions, or one of them is wrong. Neither was tested here, so neither is to be believed for looking sharper.
#
# ## All of it in one place
#
# The Explorer puts these pictures together, for any day, and lets you choose: layer, head, method, day.

# %%
explorer = wb.Explorer(model, windows, prices, history=history, date=date, folder=MODELS)
explorer

# %% [markdown]
# **What to see.** Step through the days with ← and →, first with rollout, then with the other method. Does the picture
# change with what the market did, or is it the same whatever happens? Bars that hardly leave the outline of the null
# are no finding, on this day or on any other.
#
# ## Over all test years

# %%
importance = wb.temporal_importance(why)
axes = wb.plots.importance(importance, null=why.null, provenance=prices.attrs["provenance"])
# %%
ratio = (importance / why.null).rename("attention over the null's")
ratio.sort_values(ascending=False).head(5).round(2).to_frame()

# %% [markdown]
# **What to see.** The last bar takes about a quarter of the rollout whatever the model learned: two layers hand on
# ½·½ of it unchanged. Only the ratio to the null counts. Ratios near 1 for every lag mean that the model has no
# preference worth telling, which for a model that cannot predict is the honest picture.

# %%
regimes = wb.attention_regime(why)
regimes["regime"].value_counts().rename("windows").to_frame()

# %% [markdown]
# A window is called *momentum* if the recent quarter of bars gets at least 1.2 times what the null gives it,
# *mean-reversion* if it gets at most 0.8 times, else *mixed*. These are names for where attention lies. They do
# not say that the model trades that way.
#
# ## When the truth is known
#
# Would rollout find a cause if there were one? In a synthetic market we know: the next move is driven by the
# return some bars ago, and by nothing else that can be known. If the prices above are not synthetic, the same
# model is trained on such a market here.

# %%
planted = prices if SOURCE == "synthetic" else wb.load_prices("LAG5-SNR2", source="synthetic")
truth = planted.attrs["provenance"].get("truth") or {}
print("the planted truth:", truth)

# %%
if SOURCE == "synthetic":
    found = why
else:
    made_up = wb.Windows.of(
        wb.make_features(planted), wb.label_moves(planted, threshold=THRESHOLD, scale=SCALE), lookback=20
    )
    learn, check, unseen = made_up.split(0.6, 0.8)
    twin, _ = wb.ensure_model(MODEL, learn, check, seed=SEED, folder=MODELS, epochs=EPOCHS, progress=False)
    found = wb.explain(twin, unseen)
importance = wb.temporal_importance(found)
axes = wb.plots.importance(importance, null=found.null, provenance=planted.attrs["provenance"])
# %%
lags = (importance / found.null).rename("attention over the null's").sort_values(ascending=False)
if truth.get("snr") and truth["lag"] < len(lags):
    place = int(np.flatnonzero(lags.index == f"t−{truth['lag']}")[0]) + 1
    print(f"the planted lag, t−{truth['lag']}, is number {place} of {len(lags)} by attention over the null's")
lags.head(5).round(2).to_frame()

# %% [markdown]
# **What to see.** The number printed above is the verdict. By raw rollout the last bar leads, because of the residual.
# Where the model has learned the cause, the planted lag stands out over the null, and its neighbours share in it,
# since the first layer has mixed bars before the second looks. A signal too weak (`snr`, its variance over the
# noise's), or too few epochs, and there is nothing to find. One success proves no method.
#
# **Next:** notebook 4 trades on the model's answers.
