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
# # 2 · Training: a model, and whether it knows anything
#
# **Goal.** Train a small transformer on windows of bars, and judge it against doing nothing clever.
#
# **Prerequisites.** Notebook 1 for windows and labels. Runs on its own.
#
# **Time.** Half a minute to run, 15 minutes to read. The model is kept: notebooks 3 and 4 load it.

# %% tags=["parameters"]
TICKER = "AAPL"
SOURCE = "sample"
START, END = None, None
INTERVAL = "1d"
LOOKBACK = 60
HORIZON = 1
SCALE, THRESHOLD = "volatility", None
VALID_FROM, TEST_FROM = 0.7, 0.85
MODEL = "transformer"  # wb.list_models() says what there is; notebooks 3 and 4 need one that attends
EPOCHS = 40
SEED = 0
MODELS = "../runs/models"  # where trained models are kept

# %%
import numpy as np
import pandas as pd
from sklearn.metrics import balanced_accuracy_score, matthews_corrcoef

import workbench as wb

# %%
prices = wb.load_prices(TICKER, source=SOURCE, start=START, end=END, interval=INTERVAL)
labels = wb.label_moves(prices, horizon=HORIZON, threshold=THRESHOLD, scale=SCALE)
windows = wb.Windows.of(wb.make_features(prices), labels, lookback=LOOKBACK)
train, valid, test = windows.split(VALID_FROM, TEST_FROM)
train

# %% [markdown]
# ## The model

# %%
pd.set_option("display.max_colwidth", None)
wb.list_models()[["what", "needs"]]

# %% [markdown]
# Windows of raw features go in, (batch, time, feature); scores of the classes come out. The mean and spread of
# the *training* windows travel with the weights, so nothing is scaled by what comes later.

# %%
# NBVAL_CHECK_OUTPUT
model = wb.build_model(MODEL, windows, seed=SEED)
print(
    f"{sum(weight.numel() for weight in model.parameters()):,} parameters for {len(train):,} training windows"
)

# %% [markdown]
# ## Training
#
# `wb.ensure_model` trains and keeps the model, or loads the one that this very call kept before: the same data,
# options and seed. `wb.fit` is the training alone.

# %%
model, history = wb.ensure_model(MODEL, train, valid, seed=SEED, folder=MODELS, epochs=EPOCHS, progress=False)
print(history)

# %%
axes = wb.plots.history(history, provenance=prices.attrs["provenance"])
# %% [markdown]
# **What to see.** Training loss falls, validation loss soon stops falling: from there on the model learns the noise
# of its training years by heart. The weights kept are those of the marked epoch. The loss counts each class
# alike, however frequent (`class_weights="balanced"`); ln 3 = 1.10 is what a model that knows nothing reaches.
#
# The same seed gives the same weights, to the last bit:

# %%
# NBVAL_CHECK_OUTPUT
once, again = (wb.build_model(MODEL, windows, seed=SEED) for _ in range(2))
for twin in (once, again):
    wb.fit(twin, train[-200:], valid, seed=SEED, epochs=1, progress=False)
print(
    "same bits:",
    all(a.equal(b) for a, b in zip(once.state_dict().values(), again.state_dict().values(), strict=True)),
)

# %% [markdown]
# ## Does it know anything?
#
# The test years played no part so far. Beside the model stand the commonest class of the training years, and
# yesterday's move repeated.

# %%
forecast = wb.predict(model, test)
known = test.labelled()
truth = known.y.numpy()
answers = {
    "model": forecast.loc[known.dates].to_numpy().argmax(axis=1),
    "commonest class": np.full(len(truth), np.bincount(train.y.numpy()).argmax()),
    "last move again": labels.shift(HORIZON).loc[known.dates].to_numpy().astype(int),
}
scores = pd.DataFrame(
    {
        name: {
            "accuracy": (answer == truth).mean(),
            "balanced accuracy": balanced_accuracy_score(truth, answer),
            "Matthews correlation": matthews_corrcoef(truth, answer),
        }
        for name, answer in answers.items()
    }
).T
scores.round(3)

# %% [markdown]
# **What to see.** Balanced accuracy of a third, and a correlation of zero, are what guessing gets. One daily stock
# is close to unpredictable: read a small lead over a third as *unproven*.
# A model that knows little is no reason to stop. It is the usual case, and whether an explanation says so too is
# what this workbench is for.
#
# Are the probabilities worth what they say? They come from training that counts each class alike, so they lean away
# from the frequent classes, by design:

# %%
best = forecast.loc[known.dates].max(axis=1)
hit = pd.Series(answers["model"] == truth, index=best.index)
bins = pd.qcut(best, 4, duplicates="drop")
calibration = pd.DataFrame(
    {
        "claimed": best.groupby(bins, observed=True).mean(),
        "came true": hit.groupby(bins, observed=True).mean(),
    }
)
calibration.rename_axis("probability of the likeliest class").round(3)

# %% [markdown]
# Where `claimed` and `came true` part, a threshold on the probability means little; notebook 4 chooses it on the
# validation years.
#
# ## Kept and loaded
#
# A saved model is two files: weights as safetensors, and a JSON that says architecture, features, splits, seed
# and the checksum of the prices. Nothing is pickled, and windows that do not match are refused.

# %%
# NBVAL_CHECK_OUTPUT
folder = wb.save_model(model, f"{MODELS}/example", history=history, windows=train)
print(*sorted(file.name for file in folder.iterdir()))
print("same answers:", wb.predict(wb.load_model(folder, test), test).equals(forecast))

# %% [markdown]
# In JupyterLab, saved models can be chosen from a list, with what is known of each: the ones kept here, and the small
# ones that come along.

# %%
picker = wb.RunPicker(MODELS, run=folder.name)
picker

# %%
# NBVAL_CHECK_OUTPUT
print("chosen:", picker.path.name)
print("same answers:", wb.predict(wb.load_model(picker.path, test), test).equals(forecast))

# %% [markdown]
# **Next:** notebook 3 asks what this model looks at.
