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
# # 4 · Backtest: what would trading on it have earned?
#
# **Goal.** Turn the model's answers into positions and money, under stated conventions, and ask whether winning
# and losing decisions looked at different bars.
#
# **Prerequisites.** Notebook 2 for the model (trained here if it is not there yet), notebook 3 for rollout.
#
# **Time.** Under a minute to run, 20 minutes to read.

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
COST_BPS = 5.0  # per side, in basis points of what is traded
FILL = None  # "next_open", "next_close" or "close"; None: the next open, or the next close where opens are unknown

# %%
import numpy as np
import pandas as pd

import workbench as wb

# %%
prices = wb.load_prices(TICKER, source=SOURCE, start=START, end=END, interval=INTERVAL)
opens = "open" in prices.attrs["provenance"]["fields"]
FILL = FILL or ("next_open" if opens else "next_close")
labels = wb.label_moves(prices, horizon=HORIZON, threshold=THRESHOLD, scale=SCALE)
windows = wb.Windows.of(wb.make_features(prices), labels, lookback=LOOKBACK)
train, valid, test = windows.split(VALID_FROM, TEST_FROM)
model, history = wb.ensure_model(MODEL, train, valid, seed=SEED, folder=MODELS, epochs=EPOCHS, progress=False)

# %% [markdown]
# ## From probabilities to positions
#
# Buy is +1, sell is −1, hold keeps the position there is, and an answer less sure than the confidence asked for
# goes flat. How sure is sure enough? That is chosen on the *validation* years; choosing it on the test years would
# be looking at the answers.

# %%
trial = wb.predict(model, valid)
asked = np.unique(np.quantile(trial.max(axis=1), [0.1, 0.3, 0.5, 0.7, 0.9]).round(3))
results = {
    c: wb.backtest(wb.positions(trial, threshold=c), prices, fill=FILL, cost_bps=COST_BPS) for c in asked
}
names = ["Total return [%]", "Sharpe", "Exposure [%]", "Trades"]
choice = pd.DataFrame({c: result.stats[names] for c, result in results.items()}).T.rename_axis("confidence")
choice.astype(float).round(2)

# %%
sharpe = choice["Sharpe"].astype(float)
confidence = float(sharpe.idxmax()) if sharpe.notna().any() else float(asked[0])
reason = "chosen by the Sharpe ratio" if sharpe.notna().any() else "the lowest, since nothing was traded"
print(f"confidence asked for: {confidence}, {reason} of the validation years")

# %% [markdown]
# ## The test years
#
# First without any trading: what came after each answer?

# %%
why = wb.explain(model, test)
later = 1e4 * wb.forward_return(prices, horizon=HORIZON).loc[test.dates]
answer = why.predictions.idxmax(axis=1).rename("answer")
later[::HORIZON].groupby(answer).agg(["count", "mean", "sem"]).rename(
    columns={"mean": "mean [bp]", "sem": "standard error [bp]"}
).round(1)

# %% [markdown]
# Of overlapping returns only every one that starts after the last has ended is counted.
#
# **What to see.** The mean return after a buy should lie above that after a sell, by more than their standard errors.

# %%
positions = wb.positions(why.predictions, threshold=confidence)
money = wb.backtest(positions, prices, fill=FILL, cost_bps=COST_BPS)
money

# %%
axes = wb.plots.backtest(money, why)
# %% [markdown]
# **What to see.** The strategy beside buying and holding the same stock, at the same costs; how far the strategy
# stood below its last high; what was held; and where attention lay, against an indifferent model.
#
# Is it luck? A Sharpe ratio measured over so short a time is known to within about ±2/√years:

# %%
years = len(money.returns) / money.periods_per_year
print(f"Sharpe {money.stats['Sharpe']:.2f}, give or take {1.96 / years**0.5:.2f} (95 %, {years:.1f} years)")

# %% [markdown]
# An interval that reaches zero holds skill and chance alike. Another seed, or another stock, is the next thing to
# try: it costs a minute.
#
# ## How much is the convention worth?
#
# A decision uses the close. Filling it *at* that close is a trade nobody could have made.

# %%
fills = ["next_open", "next_close", "close"] if opens else ["next_close", "close"]
rows = {}
for fill in fills:
    for cost_bps in (0, 5, 20):
        result = wb.backtest(positions, prices, fill=fill, cost_bps=cost_bps)
        rows[fill, cost_bps] = result.stats[["Total return [%]", "Sharpe", "Costs paid"]]
pd.DataFrame(rows).T.rename_axis(["fill", "cost [bp a side]"]).astype(float).round(2)

# %% [markdown]
# **What to see.** The same decisions, filled at another price, or at a cost you would really pay. A result
# that turns on the convention is no result yet. Trading a whole position often is dear: see the costs paid.
#
# To know that the ledger is right, give it something whose answer is known: always long, no costs, filled at the
# close, earns what the stock did.

# %%
# NBVAL_CHECK_OUTPUT
always = pd.Series(1.0, index=test.dates)
hold = wb.backtest(always, prices, fill="close", cost_bps=0)
stock = prices["close"].loc[test.dates]
print(f"ledger {hold.stats['Total return [%]']:.6f} %")
print(f"stock  {100 * (stock.iloc[-1] / stock.iloc[0] - 1):.6f} %")

# %% [markdown]
# ## Did winners look elsewhere than losers?
#
# A decision bar in the market wins or loses by what its position earns next. Where did the model look when it won?

# %%
outcome = wb.attention_by_outcome(why, money, seed=SEED)
outcome

# %%
axes = wb.plots.attention_by_outcome(outcome, provenance=prices.attrs["provenance"])

# %% [markdown]
# **What to see.** The two curves, the interval of their difference, and how often shuffled outcomes differ as much.
# Unless the interval leaves zero out and the shuffled outcomes rarely reach it, the model did not look elsewhere
# when it won. Nor would that be a cause: it conditions on how things turned out.
#
# ## The costliest bar
#
# One bar cost more than any other. What did the model see when it decided, and how sure was it?

# %%
# NBVAL_CHECK_OUTPUT
costliest = money.returns.idxmin()
date = test.dates[test.dates < costliest][-1]
print(
    f"{money.returns.min():.2%} on {costliest:%Y-%m-%d}; the last decision before it was of {date:%Y-%m-%d}"
)

# %%
explorer = wb.Explorer(
    model, windows, prices, history=history,
    date=date, confidence=confidence, cost_bps=COST_BPS, fill=FILL, folder=MODELS,
)  # fmt: skip
explorer

# %% [markdown]
# **What to see.** The probabilities on the day before, the position, and the move that followed. If the probabilities
# were as near to each other as on any other day, the loss was no mistake that could be learned from: the model did
# not know, and was told to take a side. One day proves nothing, the worst one least of all, for it was chosen by how
# it turned out.
#
# **From here.** `python3 -m workbench run -p TICKER MSFT` runs all the notebooks on another stock;
# `-p SOURCE synthetic -p TICKER LAG5-SNR2` on a market with a known cause.
