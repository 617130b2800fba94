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
# # 6 · Models: who sees what, and who is any better?
#
# **Goal.** Train the networks that quant finance compares on one panel of stocks, look into each by what it alone has
# to show, study a configuration before it is trained, and read a comparison that says where it cannot tell.
#
# **Prerequisites.** Notebook 2, for training, and notebook 5, for explanations of one ticker.
#
# **Time.** A minute and a half to run, 25 minutes to read.

# %% tags=["parameters"]
PANEL = "sample20"  # a source of several tickers
STOCK = "AAPL"  # the one looked at closely
PANEL_FROM, PANEL_TO = "2012", "2017"
PANEL_VALID, PANEL_TEST = "2016", "2017"
LOOKBACK = 20
HORIZON = 5
EVERY = 5  # decision days from one that is learnt from to the next
EPOCHS = 4
SEED = 0
DAY = None  # a decision date of the test part; None takes the day of the stock's largest fall
SMALL = "../runs/comparison-smallest"
RESULTS = "../data/comparison/results.json"

# %%
import pandas as pd

import workbench as wb
from workbench.features.concepts import with_concepts
from workbench.features.past import with_past_label
from workbench.market.sample import sectors
from workbench.runs.comparison import tables
from workbench.runs.comparison.cells import Settings
from workbench.runs.comparison.contest import Asked, contest
from workbench.runs.comparison.datasets import every, excess_return
from workbench.runs.comparison.results import disagreeing, read_results

pd.set_option("display.max_colwidth", None)

# %% [markdown]
# ## One panel for all
#
# Twenty stocks, closes only. What is to be forecast is the return over the next five days less the mean of all twenty: who
# will do better than the others. Beside the indicators there are two kinds of columns that only some models know how to
# use: the *sector* of a stock, and the *past label*, the one that has just come true.
#
# The sectors are those of 2022, so in 2012 they know a little of the future. With a history of your own, hand
# `with_concepts` a frame with dates, and they do not.

# %%
prices = wb.load_panel(wb.list_tickers(PANEL), source=PANEL, start=PANEL_FROM, end=PANEL_TO)
labels = excess_return(prices, HORIZON)
membership = sectors().rename("concept").reset_index().assign(since=PANEL_FROM)
features = with_concepts(with_past_label(wb.make_features(prices), labels), membership)
windows = wb.Windows.of(features, labels, lookback=LOOKBACK)
train, valid, test = windows.split(PANEL_VALID, PANEL_TEST)
train, valid = every(train, EVERY), every(valid, EVERY)

# %%
# NBVAL_CHECK_OUTPUT
print(f"{len(train)} windows to learn from, {len(valid)} to check, {len(test)} that nobody has seen")
print(f"{train.n_features} columns: {', '.join(train.feature_names[:5])}, …, {train.feature_names[-1]}")

# %%
wb.list_models()[["what"]]

# %% [markdown]
# ## A configuration, before it is trained
#
# `wb.study` counts and measures: parameters and those that get no gradient, operations, how far back the answer looks,
# and real steps of training, from which an epoch is estimated.

# %%
models = {name: wb.build_model(name, train, seed=SEED) for name in ("alstm", "tcn")}
study = wb.study(models["alstm"], train, valid, steps=5)
study

# %%
axes = wb.plots.architecture(study.architecture)

# %% [markdown]
# **What to see.** Where the parameters are, and where the work is. A warning, marked "!", comes with the number that it
# hangs on. Most of these networks have more parameters than there are windows to learn them from: they can learn the
# noise by heart, and only the validation years can tell whether they did.
#
# ## Seven networks, trained alike
#
# Each that has something of its own to show, on the same windows, with the same number of epochs. Three of them read all
# stocks of a day together: HIST, GATs and the asset transformer.

# %%
names = ["alstm", "sfm", "tabnet", "tra", "hist", "gats", "asset_transformer"]
models = {name: wb.build_model(name, train, seed=SEED) for name in names}
options = {"epochs": EPOCHS, "monitor": "valid_ic", "progress": False}
histories = {name: wb.fit(model, train, valid, seed=SEED, **options) for name, model in models.items()}
pd.DataFrame({name: history.best[["valid_ic", "valid_rank_ic"]] for name, history in histories.items()}).T

# %% [markdown]
# Training chose the epoch with the largest validation IC, so these flatter. The day that is looked at is one of the test
# year:

# %%
# NBVAL_CHECK_OUTPUT
own = wb.load_prices(STOCK, source=PANEL, start=PANEL_FROM, end=PANEL_TO)
moves = own["close"].pct_change().loc[test.dates.unique()]
date = pd.Timestamp(str(DAY)) if DAY else moves.idxmin()
window = test.at(date, STOCK)
stock, day = test[test.tickers == STOCK], test[test.dates == date]
print(f"{STOCK} on {date:%Y-%m-%d}, {moves[date]:+.1%} that day, one of {len(day)} stocks")

# %% [markdown]
# ## ALSTM: what each bar adds
#
# Its answer is a sum: of the last bar's state, and of every bar's state weighed by attention. So it comes apart without a
# remainder, and the attention, which is usually shown alone, can be held against what it brought.

# %%
parts = wb.explain(models["alstm"], window, "decomposition")
attention = parts.options["weights"].to_numpy()[0]
axes = wb.plots.methods(
    own, {"what each bar adds to the answer": parts, "its attention alone": attention}, date
)

# %%
# NBVAL_CHECK_OUTPUT
added = parts.scores[0].sum() + parts.options["bias"].iloc[0]
answer = parts.predictions["forecast"].iloc[0]
print(f"the parts and the bias add up to the answer: {abs(added - answer) < 1e-6}")

# %% [markdown]
# **What to see.** The lower strip is what an attention plot would show: all bars about alike. The upper one is what the
# answer was made of: the last bar by far, since its state enters twice, once past all attention.
#
# ## TabNet: which values it let through

# %%
masks = wb.explain(models["tabnet"], window, "masks")
table = pd.DataFrame(masks.scores[0], columns=train.feature_names)
axes = wb.plots.attribution(own, table, date)

# %% [markdown]
# **What to see.** Most cells are nothing at all, which sets sparse masks apart from attention: what is blank took no
# part in the answer. It says what was let through, not which way it pushed, nor whether there was anything: a mask can open
# on the column of a sector that the stock is not in, which holds a zero.
#
# ## SFM: how long its memory's waves are
#
# Its memory is kept by frequency k of K = 10: 0 is what lasts, 5 turns over from bar to bar, and k turns as fast as 10 − k.

# %%
energy = wb.explain(models["sfm"], stock, "frequencies")
axes = wb.plots.shares_over_time(energy)

# %% [markdown]
# **What to see.** How the energy is spread over frequencies, month by month. Bands that hardly move say that the
# spread is the model's habit, and not an answer to this stock's year.
#
# ## TRA: who was asked
#
# Three predictors share the work, and a router decides by their latest losses whom it asks. What it knows of the past is
# the past label, and nothing that came later.

# %%
routes = wb.explain(models["tra"], stock, "routing")
axes = wb.plots.shares_over_time(routes)

# %% [markdown]
# **What to see.** How sure the router is. If one colour fills the strip, it asks one predictor always, and the others are
# dead weight; three even bands say that it cannot tell them apart, and the answer is that of whichever is a hair ahead.
#
# ## HIST: the sector, the likeness, the stock itself
#
# Its answer is the sum of three forecasts: one shared with the stock's sector, one with stocks that are like it today
# whatever their sector, and the rest.

# %%
modules = wb.explain(models["hist"], test, "modules")
axes = wb.plots.shares_over_time(modules[modules.tickers == STOCK])

# %%
concepts = wb.explain(models["hist"], test, "concepts")
axes = wb.plots.shares_over_time(concepts[concepts.tickers == STOCK])

# %% [markdown]
# **What to see.** Above, parts of an answer, which add up to it and may cancel: most of it is the stock's own. Below,
# shares of attention, which add up to one: a stock attends to every concept that has members, and here to all about alike.
#
# ## GATs: a picture that misleads, and says so
#
# The attention of version 1 adds a number of the stock that asks to a number of the one that is asked. So all
# stocks rank the others alike, whatever they are. The rank agreement is measured, and the warning comes along.

# %%
neighbours = wb.explain(models["gats"], day, "neighbours")
axes = wb.plots.stock_matrix(neighbours)
print(neighbours.options.get("warning", "no warning"))

# %% [markdown]
# **What to see.** Columns. Asking "whom does this stock attend to?" has one answer for all of them. `version=2`
# (GATv2) can give each its own.
#
# ## An asset transformer: the day as a sentence of stocks
#
# Here every token is a stock, and rollout says how far the forecast of one draws on each other one.

# %%
drawn = wb.explain(models["asset_transformer"], test, "neighbours")
axes = wb.plots.stock_matrix(drawn)

# %%
axes = wb.plots.portfolio_over_time(drawn)

# %%
today = drawn[drawn.dates == date]
matrix = pd.DataFrame(today.scores, index=today.tickers, columns=list(today.axis_labels["asset"]))
axes = wb.plots.portfolio_bars(matrix)

# %% [markdown]
# **What to see.** The diagonal is the stock itself, carried past the attention by the residual connection. What the
# others get is about even: this model has found nothing in one stock that it would want for another. Over time the
# bars of the portfolio stay what they are.
#
# ## Who is any better?
#
# `python3 -m workbench compare` trains every model with several seeds on the same windows, and baselines beside them:
# nothing, the last return, ridge and LightGBM. Each cell is kept by a hash of data, configuration and code, so a killed run
# goes on where it was. Its smallest form, a few months of bars and one epoch:

# %%
asked = Asked(("zero", "ridge", "gru"), (0,), ("closes20",), True, Settings(epochs=1, draws=200))
small = contest(asked, SMALL)
tables.figures_table(small, "closes20").loc[["zero", "ridge", "gru"]]

# %% [markdown]
# **What to see.** "–" is no bad mark: who forecasts the same for all stocks has no correlation with what came, and
# nothing is put in its place.
#
# In full it takes some twenty minutes of a processor. These results come with the repository:

# %%
results = read_results(RESULTS)
changed, where = disagreeing(results), results["places"][0]["processor"]
print(f"{results['command']}\n{results['date'][:10]}, {where}, {len(results['cells'])} cells")
for part in ("data", "configuration", "code", "model"):
    count = sum(part in each["differs"] for each in changed)
    if count:
        print(
            f"! {count} of {len(results['cells'])} cells were computed with another {part} than is here now"
        )

# %%
# NBVAL_CHECK_OUTPUT
for name, told in results["datasets"].items():
    print(f"{name}: {told['what']}; tested on {told['test_days']} days, {' to '.join(told['tested'])}")

# %%
tables.figures_table(results, "closes20")

# %%
axes = wb.plots.intervals(
    tables.intervals_table(results, "closes20"),
    "IC, mean of the days",
    head="Twenty stocks: who ranks them best?",
)

# %% [markdown]
# **What to see.** The intervals come from resampling the test days in blocks and, with them, the seeds. They are
# several times wider than the differences between models.

# %%
curves = tables.learning_curves(results, "closes20", "valid_ic")
axes = wb.plots.learning_curves(curves, "Validation IC", "Twenty stocks: every logged epoch, a line a seed")

# %% [markdown]
# **What to see.** How much of what looks like a model's quality is its seed.
#
# What it cost:

# %%
tables.costs_table(results, "closes20")

# %% [markdown]
# ## Which model for which need
#
# A name stands alone only where the interval of its lead over each other leaves out zero, at 95 % for all of them
# together. Seconds and memory within a quarter of each other count as alike. Who comes first of so many came first partly by luck, so to be told from
# knowing nothing it must lie further off than one model alone would have to.

# %%
tables.needs_table(results, "closes20")

# %%
tables.needs_table(results, "ohlcv5")

# %% [markdown]
# ## Beside what others published
#
# Other stocks, features, years and labels than here: no figure of ours can be held against these.

# %%
print(results["published"]["citation"])
tables.published_table(results, "closes20")

# %% [markdown]
# ## What to make of it
#
# - Every one of these networks can be looked into, by what it alone has. None of those pictures is evidence that the
#   forecast is any good.
# - On twenty stocks a mean IC has to be large to be told from nothing. Published leads of a few thousandths were
#   measured on hundreds of stocks, and 20 seeds; here they could not be seen if they were there.
# - Take the cheapest model that cannot be told from the best.
