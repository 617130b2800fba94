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
# # 0 · Tour: point at a day, see what the model looked at
#
# **Goal.** Pick a day on the market and see, on one screen, what a model looked at before it answered, what it
# answered, and what came of it.
#
# **Prerequisites.** None: prices and a small trained model come along, and nothing is fetched.
#
# **Time.** 2 minutes.

# %% tags=["parameters"]
TICKER = "AAPL"  # any of wb.list_tickers(SOURCE)
SOURCE = "sample"  # wb.list_sources() says what there is
DATE = None  # such as "2011-08-08"; None takes the last decision whose outcome is known

# %%
import workbench as wb

# %% [markdown]
# Run the cell below (Shift+Enter). It opens on a small transformer that looks at 60 daily bars and says whether the
# next one brings a move worth selling or buying on, or neither.

# %%
explorer = wb.Explorer(ticker=TICKER, source=SOURCE, date=DATE)
explorer

# %% [markdown]
# On GitHub and in reports this is a still picture. In JupyterLab, which `python3 -m workbench lab` opens, it
# answers to mouse and keyboard.
#
# ## Three things to try
#
# **1. Point at a day.** Click a candle, or press ← and → with the chart in focus. *What to see:* the shaded bars are
# all that the model knew. Its probabilities stand beside what came next. Where all three are near 33 %, it says
# that it does not know; a model that is right now and then is right by luck as well.
#
# **2. Pick a layer, then click a row of the heatmap.** A row is one bar that looks, a column a bar it looks at. *What
# to see:* the bars it looks at light up on the candles. Switch the head from *mean* to one of them: heads do not look
# at the same bars. Drag over the candles, and the share of attention inside is written out.
#
# **3. Compare with the null, and read the trust line.** Under the candles stands the explanation: how far the answer
# draws on each bar. The line across it is the *null*: what an indifferent model, which looks at all bars alike,
# would show. *What to see:* the last bar towers in both, so that says nothing of this model; only what rises above
# the line is its own choice. The trust line says how well the explanation was found to describe the model. *Not
# measured* means what it says: look, and do not believe yet.
#
# ## What the panels mean
#
# | panel | what it shows |
# |---|---|
# | candles and volume | prices; the window that the model saw is shaded, its last bar is the decision |
# | explanation | the chosen method's score of each bar, over the line of the null where there is one; for some methods each feature too |
# | heatmap | attention of one layer: query (who looks) by key (at whom), on one colour scale for all layers |
# | answer | probability of each class, what happened next, and whether the day was one of those trained on |
# | position and equity | what trading on every answer that is sure enough would have held and earned, costs included, beside buying and holding |
#
# Days that the model was trained on are marked. It may know their answers by heart: judge it by the test days.
#
# ## What the screen shows, as Python
#
# What is chosen can be read and set: `explorer.date = "2011-08-08"` moves the view.

# %%
# NBVAL_CHECK_OUTPUT
print(f"{explorer.ticker} from {explorer.source}, decided on {explorer.date}, explained by {explorer.method}")

# %% [markdown]
# ## Where to go next
#
# | notebook | question |
# |---|---|
# | 01 Market | Can these prices be believed, and do the windows know only the past? |
# | 02 Training | Does the model know anything that guessing does not? |
# | 03 Rollout | What did it look at, beyond what any such model would? |
# | 04 Backtest | What would trading on it have earned? |
# | 05 Explainers | Do other methods see the same, and which is right where the cause is known? |
#
# `python3 -m workbench app` serves this screen as a web page, without notebook or code.
