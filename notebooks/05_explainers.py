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
# # 5 · Explainers: do other methods see the same?
#
# **Goal.** Have one trained model explained by every method there is, see where they disagree and why, and learn
# which of them to ask for what.
#
# **Prerequisites.** Notebook 3, for rollout and its null. Its model is trained here if it is not there yet. The part
# on Hugging Face needs one more package, `python -m pip install transformers`, and is skipped without it.
#
# **Time.** A minute to run, 25 minutes to read.

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
WINDOWS = 24  # decisions of the test years to compare the methods on
PLANTED_EPOCHS = 20  # of the model that learns a market whose cause is known

# %%
import importlib.util

import numpy as np
import pandas as pd
import torch

import workbench as wb

pd.set_option("display.max_colwidth", None)

# %%
prices = wb.load_prices(TICKER, source=SOURCE, start=START, end=END, interval=INTERVAL)
features = wb.make_features(prices)
labels = wb.label_moves(prices, horizon=HORIZON, threshold=THRESHOLD, scale=SCALE)
windows = wb.Windows.of(features, labels, lookback=LOOKBACK)
train, valid, test = windows.split(VALID_FROM, TEST_FROM)
model, history = wb.ensure_model(MODEL, train, valid, seed=SEED, folder=MODELS, epochs=EPOCHS, progress=False)

# %%
# NBVAL_CHECK_OUTPUT
date = pd.Timestamp(str(DAY)) if DAY else features["log_return"].loc[test.dates].idxmin()
day = test.at(date)
print(f"decided on {date:%Y-%m-%d}, one of {len(test)} decisions that the model never learned from")

# %% [markdown]
# ## What can be asked
#
# A method is asked for by its name, in `wb.explain(model, windows, method)`. The slow ones ask the model many times
# a window.

# %%
methods = wb.list_methods()
methods.loc[methods["inside"] == "", ["what", "signed", "slow"]]

# %% [markdown]
# The Explorer has the same list. Besides, some models hold something of their own, which notebook 6 shows.

# %%
explorer = wb.Explorer(model, windows, prices, history=history, date=date, folder=MODELS, method="relevance")
explorer

# %% [markdown]
# **What to see.** Choose another method, and the explanation under the candles changes; prices, answer and money stay
# what they are. The trust line stays too: none of these pictures has been measured.
#
# ## One decision, every method
#
# `wb.compare` explains the same windows by several methods: the quick ones by default, here all.

# %%
once = wb.compare(model, day, "all")
axes = wb.plots.methods(prices, once.at(date), date)

# %% [markdown]
# **What to see.** Methods that follow attention keep near the line of an indifferent model, where they have one: for this
# model one bar is about as good to look at as another. The methods that ask what moved the answer put the last bar
# first by far, at ten to sixty times any other; it runs off their strips. Both can be true: the residual connection
# carries the last bar to the answer without any attention. `alti` counts that road, and gives the last bar 74 %.
#
# ## Many decisions
#
# One day proves little. Over decisions from all test years, how alike do any two methods *rank* the bars of a window?
# Spearman's correlation of |score| is 1 for the same order, 0 for orders that have nothing to do with each other.

# %%
chosen = np.unique(np.linspace(0, len(test) - 1, WINDOWS).astype(int))
often = wb.compare(model, test[chosen], "all")
axes = wb.plots.agreement(often.spearman)

# %% [markdown]
# **What to see.** The block of one colour: the attributions agree with each other, and gradient × input nearly so. That
# is no proof that they are right. They compare with the same baseline, and a model that learned so little is close to a
# straight line, on which their formulas coincide. With the methods of attention they have next to nothing in common; the
# one of those that asks for a class, `relevance`, stands between. Among themselves these agree best where one is a part
# of the other, as the last layer's attention is of rollout.

# %%
axes = wb.plots.agreement(often.top_k(5))

# %% [markdown]
# **What to see.** Of the five bars that matter most, chance alone shares one in twelve, 5 of 60. The attributions share
# most of theirs; most other pairs a fifth to a third, one bar of five and a little more. Mostly the one is the last bar,
# but `relevance` seldom has that among its five.
#
# What each costs, on the machine that this was run on:

# %%
milliseconds = 1000 * often.seconds["one window [s]"]
milliseconds.round(1).rename("one window [ms]").to_frame()

# %% [markdown]
# ## Early bars pile up
#
# A *causal* model lets a bar look at itself and at earlier bars only. The oldest bar can be seen by all, the newest by
# itself alone, and every layer compounds that. So rollout drifts towards the oldest bars, even if no bar was preferred
# to any other:

# %%
piled = {}
for n_layers in (2, 4, 8):
    indifferent = wb.build_model("transformer", windows, seed=SEED, causal=True, n_layers=n_layers)
    piled[f"{n_layers} layers of even attention"] = wb.explain(indifferent, day, "rollout").null
axes = wb.plots.methods(prices, piled, date)

# %%
# NBVAL_CHECK_OUTPUT
oldest = max(1, LOOKBACK // 10)
for name, null in piled.items():
    print(f"{name}: {null[:oldest].sum():.0%} on the oldest {oldest} of {LOOKBACK} bars")

# %% [markdown]
# **What to see.** Nothing was learned here, and nothing looked at the market. With two layers the last bar still leads,
# by the residual; with eight, most of the rollout lies on the oldest tenth of the bars.
#
# Whoever concludes from such a picture that a model remembers the distant past has described its mask. The null *is*
# that picture, so it can be taken off: `against_null=True`.
#
# ## A market whose cause is known
#
# Which method is right? Prices do not tell. In a synthetic market the next move is driven by the return five bars ago,
# and by nothing else that can be known. A causal model of four layers learns it:

# %%
planted = wb.load_prices("LAG5-SNR2", source="synthetic")
made_up = wb.Windows.of(
    wb.make_features(planted), wb.label_moves(planted, threshold=THRESHOLD, scale=SCALE), lookback=20
)
learn, check, unseen = made_up.split(0.6, 0.8)
deep = {"causal": True, "n_layers": 4, "epochs": PLANTED_EPOCHS}
twin, _ = wb.ensure_model("transformer", learn, check, seed=SEED, folder=MODELS, progress=False, **deep)
raw = wb.explain(twin, unseen, "rollout")
axes = wb.plots.importance(wb.temporal_importance(raw), null=raw.null)

# %% [markdown]
# **What to see.** The tallest bar is the oldest, t−19, which has nothing to do with the answer. It is *below* the line:
# the model looks at it less than an indifferent one would. What rises over the line is the cause, t−5.
#
# Every method, and those that have a null once more without it:

# %%
asked = {name: name for name in often.explanations}
without = {f"{name} less its null": name for name, why in often.explanations.items() if why.null is not None}
options = {name: {"against_null": True} for name in without}
chosen = np.unique(np.linspace(0, len(unseen) - 1, WINDOWS).astype(int))
found = wb.compare(twin, unseen[chosen], {**asked, **without}, options=options)

# %%
lags = found.by_lag()
verdicts = pd.DataFrame({"share of t−5": lags.loc["t−5"].map("{:.0%}".format)})
verdicts["place of t−5"] = (lags > lags.loc["t−5"]).sum() + 1
verdicts["first place"] = lags.idxmax()
verdicts

# %% [markdown]
# **What to see.** Rollout and flow as they are name the oldest bar. Less their null they name the cause. `alti` puts the
# decision's own bar first and the cause second, either way. The methods that ask for the answer name the cause without
# help: gradient × input gives it over a third, `relevance` and the attributions more than half. (Shares are of the
# sizes of all scores, also of those below the null.) One market whose cause is a single bar proves no method: it is
# the least that one should pass.
#
# ## A model of Hugging Face, untouched
#
# Nothing here is bound to our models. PatchTST (Nie et al. 2023) cuts each feature's series into patches and attends over
# those. Built small, with random weights, it shows *that* it can be explained, and nothing about markets.

# %%
patch_tst = None
if importlib.util.find_spec("transformers") is None:
    print("Skipped, as transformers is not installed. To see this part: python -m pip install transformers")
else:
    from transformers import PatchTSTConfig, PatchTSTForClassification

    torch.manual_seed(SEED)
    patch = next(bars for bars in (6, 5, 4, 3, 2, 1) if LOOKBACK % bars == 0)
    shape = {"d_model": 32, "num_attention_heads": 4, "num_hidden_layers": 3, "ffn_dim": 64}
    cut = {"context_length": LOOKBACK, "patch_length": patch, "patch_stride": patch}
    config = PatchTSTConfig(num_input_channels=day.n_features, num_targets=day.n_outputs, **cut, **shape)
    patch_tst = PatchTSTForClassification(config).eval()
    maps = wb.attention_maps(patch_tst, day.x)
    print(maps)

# %% [markdown]
# `wb.attention_maps` watched it as it is: a row of the batch for each feature, whose patches look at each other. Which
# bars a patch holds only the reader knows, so `wb.rollout` is asked for patches, and `wb.explain` refuses to call them
# bars. The methods that need no attention ask a module that returns scores and nothing else: a wrapper around the
# model, and no line in it.

# %%
if patch_tst is not None:

    class Scores(torch.nn.Module):
        def __init__(self, model):
            super().__init__()
            self.model = model

        def forward(self, x):
            return self.model(past_values=x).prediction_logits

    asked = ["rollout", "gradient_x_input", "integrated_gradients", "occlusion"]
    foreign = wb.compare(Scores(patch_tst), day, asked)
    rolled, even = (wb.rollout(each).mean((0, 1)) for each in (maps, wb.uniform_maps(maps)))  # over patches
    seen = {"rollout of patches": np.repeat(rolled / patch, patch), **foreign.at(date)}
    axes = wb.plots.methods(prices, seen, date)
    print(
        f"a patch gets {(rolled / even).min():.2f} to {(rolled / even).max():.2f} times what even attention gives"
    )
    for name, reason in foreign.refused.items():
        print(f"{name} was refused: {reason}")

# %% [markdown]
# **What to see.** Attention of random weights is even, and its rollout says so. The attributions look as busy as those of
# any trained model, in both colours: a picture full of structure is no sign that anything was learned.
#
# ## What to make of it
#
# Methods that disagree mostly answer different questions. Ask for the one that you have:
#
# | question | ask | mind |
# |---|---|---|
# | Where did attention go, beyond what it must? | `rollout` or `flow`, `against_null=True` | knows neither values nor answer |
# | And how much did it carry? | `value_rollout`, `alti` | of layers whose weights are known only |
# | Which attention speaks for this class? | `relevance` | shows support alone, has no null |
# | What moved the answer, and which way? | `integrated_gradients`, `kernel_shap` | against a baseline, at windows that no market made |
# | A first look at that | `gradient_x_input` | blind where the model is saturated |
# | What if this bar had been another? | `occlusion` | two bars that can stand in for each other both look needless |
#
# Then say which one it was, with its null or its baseline, beside every figure. Which of them describes *this* model is
# a matter of measurement, and the line on trust says that it was not measured here.
