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
# # 7 · Gates: what goes on inside a recurrent model, and who is told when it goes wrong?
#
# **Goal.** Watch an ALSTM and an LSTM from inside while they train, read their gates, catch one that is broken on purpose
# and get the mail about it; then ask whether the gates know of a drawdown before it comes.
#
# **Prerequisites.** Notebook 2, for training; notebook 4, for the backtest.
#
# **Time.** A minute to run, 30 minutes to read.
#
# *What to see* speaks of the parameters as they stand here. With others, look for yourself: it may be otherwise.

# %% tags=["parameters"]
TICKER = "AAPL"
SOURCE = "sample"
START, END = None, None
INTERVAL = "1d"
LOOKBACK = 60
HORIZON = 1
SCALE, THRESHOLD = "volatility", None
VALID_FROM, TEST_FROM = 0.7, 0.85
HIDDEN = 32  # units of a recurrent layer, 2 or more
EPOCHS = 16
SEED = 0
DAY = None  # a decision date of the test years; None takes the day of the largest fall
RUNS = 8  # healthy trainings that the detector learns from, 3 or more
RUN_EPOCHS = 8  # their length; RUNS × RUN_EPOCHS is 20 or more
RECENT = 600  # training windows of those: the last so many
DRAWDOWNS, BEFORE = 6, 10  # how many of the worst, and how many decisions before each
COST_BPS = 5.0  # per side, in basis points of what is traded
FILL = None  # "next_open", "next_close" or "close"; None: the next open, or the next close where opens are unknown

# %%
import mailbox
import socket
import tempfile
from dataclasses import dataclass
from email import message_from_bytes, policy

import numpy as np
import pandas as pd
import torch
from aiosmtpd.controller import Controller
from aiosmtpd.handlers import Mailbox
from IPython.display import display
from skorch.callbacks import Callback

import workbench as wb
from workbench.gates.alerts import Alerts
from workbench.gates.daily import gates_by_date
from workbench.gates.detect import IsolationForestDetector, RobustRules
from workbench.gates.regimes import before_drawdowns
from workbench.gates.smtp import Smtp
from workbench.trading.drawdowns import worst_drawdowns

# %%
prices = wb.load_prices(TICKER, source=SOURCE, start=START, end=END, interval=INTERVAL)
told = prices.attrs["provenance"]
features = wb.make_features(prices)
labels = wb.label_moves(prices, horizon=HORIZON, threshold=THRESHOLD, scale=SCALE)
windows = wb.Windows.of(features, labels, lookback=LOOKBACK)
train, valid, test = windows.split(VALID_FROM, TEST_FROM)
train

# %% [markdown]
# ## Watching a training
#
# A monitor goes into `wb.fit` as a callback. After each epoch it looks at the gates of the same sixteen windows, its
# *probe*; at some steps it measures the gradient of every gate before it is clipped, and what the step changed. The
# widget follows while the cell that trains still runs.

# %%
model = wb.build_model("alstm", windows, seed=SEED, hidden_size=HIDDEN)
monitor = wb.GateMonitor(valid, every=4)  # one step in four, and every epoch, whatever that costs
live = wb.MonitorWidget(monitor)
shown = display(live, display_id=True)

# %%
options = {"epochs": EPOCHS, "patience": None, "progress": False}
history = wb.fit(model, train, valid, seed=SEED, callbacks=[monitor], **options)
shown.update(live)  # so that the saved notebook keeps the last picture, not the first
print(monitor)

# %% [markdown]
# **What to see.** In the picture above, training loss sinks and validation loss soon does not: what notebook 2 showed. To
# its right the gradient norms by gate, on a logarithmic scale. That of the candidate, which is what there is to be
# remembered, is seven to ten times those of the gates that only open and shut; none vanishes, none explodes. The panels
# below are the gates after the last epoch.
#
# Looking at every epoch of so short a training costs more than the 2 % that a monitor allows itself. Left to its
# budget it leaves epochs out, and says which. The LSTM is watched like that:

# %%
lstm = wb.build_model("lstm", windows, seed=SEED, hidden_size=HIDDEN)
thrifty = wb.GateMonitor(valid)
wb.fit(lstm, train, valid, seed=SEED, callbacks=[thrifty], **options)
print(thrifty)
thrifty.record[["taken", "why", "steps", "sampled", "overhead"]].tail(4)

# %% [markdown]
# Does watching change what is learnt? Not a bit of it:

# %%
# NBVAL_CHECK_OUTPUT
watched, alone = (wb.build_model("alstm", windows, seed=SEED, hidden_size=HIDDEN) for _ in range(2))
short = {"seed": SEED, "epochs": 1, "progress": False}
wb.fit(watched, train[-200:], valid, callbacks=[wb.GateMonitor(valid, every=1)], **short)
wb.fit(alone, train[-200:], valid, **short)
pairs = zip(watched.state_dict().values(), alone.state_dict().values(), strict=True)
print("same bits:", all(a.equal(b) for a, b in pairs))

# %% [markdown]
# ## What the gates did on one day
#
# PyTorch's `nn.LSTM` hands out its last state and nothing of its gates. `wb.gate_states` recovers all of them, from any
# model that holds such layers, and checks on every call that they give back what the layer computed.

# %%
# NBVAL_CHECK_OUTPUT
date = pd.Timestamp(str(DAY)) if DAY else features["log_return"].loc[test.dates].idxmin()
day = test.at(date)
states = wb.gate_states(model, day.x)
layer = states.layers[-1]
moment = f"{date:%Y-%m-%d %H:%M}".removesuffix(" 00:00")
print(f"decided on {moment}: {', '.join(layer.gates)}, cell and hidden of {layer.name}")
print(f"recovered to within {'1e-6' if states.error < 1e-6 else states.error}")

# %%
axes = wb.plots.gates(layer, dates=day.bar_dates, window=0, provenance=told)

# %% [markdown]
# **What to see.** A row is a unit, a column a bar. At each bar the *input* gate says how much of the *candidate* is
# written into a unit's cell, the *forget* gate how much of the cell is kept (1 keeps all), the *output* gate how much of
# it is shown. Most gates stand half open, whatever the bar: the model's weights are those of its best epoch, an early one,
# and it hardly tells one bar from another. The cell does, and where many of its rows change at once, look at the candles below.
#
# How did it come to that? The same sixteen windows, epoch by epoch. Press Play, or drag the slider; the arrow keys read a
# cell's number.

# %%
epochs = monitor.log.epochs
frames = (monitor.log.states(epoch)[layer.name] for epoch in epochs)
wb.plots.gate_animation(frames, labels=[f"epoch {epoch}" for epoch in epochs], provenance=told)

# %% [markdown]
# **What to see.** Rows part from each other as the epochs go by: some gates come to stand a little more open, others more
# shut. The mean over windows takes out what a single day did; what is left are habits.
#
# What the units hold, under the candles that they read:

# %%
axes = wb.plots.units_over_time(layer.cell[0], day.bar_dates, prices, "cell")

# %% [markdown]
# **What to see.** Cells that change sign with the market beside cells that hardly move. A unit whose row looks like the
# candles is easily called a "trend unit"; of so many rows, some look like anything.
#
# ## How far back?
#
# Three answers. A forget gate of f leaves 1/e of the cell after −1/ln f bars; attention says which states the model looks
# back to; the gradient, how far the loss hangs on each bar, by whichever way.

# %%
best = monitor.log.snapshot(history.best_epoch)
attention = wb.explain(model, test, "decomposition").options["weights"].to_numpy().mean(axis=0)
axes = wb.plots.memory(best.units, attention=attention, lags=best.lags, provenance=told)

# %% [markdown]
# **What to see.** Forget gates that stand half open keep what they hold for one or two bars. Attention is spread evenly over
# the whole window, as if that were of no account. The gradient settles it: two thirds of it fall on the last five
# bars. The rest is spread thinly over all the others, so that the mean lag tells of neither. A picture of the attention
# alone would tell of a memory that this model hardly has.
#
# ## Who tells whom
#
# What unit j said at one bar goes into unit i's gate at the next as W[i, j]·h[j], an exact term of the sum that the gate
# is made of. The strongest of them, over the last bars and then bar by bar:

# %%
edges = wb.plots.recurrent_edges(layer, model.rnn.weight_hh_l0, "forget")
axes = wb.plots.recurrent_graph(edges, dates=day.bar_dates, provenance=told)

# %%
wb.plots.recurrent_animation(edges, dates=day.bar_dates, provenance=told)

# %% [markdown]
# **What to see.** Much the same few units speak from bar to bar, and how loudly changes with the market. The
# title of the still picture says what share of all terms these lines are. The rest is a crowd of whispers that no graph shows.
#
# ## What is healthy? Ask trainings that went well
#
# There is no table of good values: what is usual hangs on the model, the data and the epoch. So a detector learns it
# from healthy trainings with other seeds. Robust rules measure, signal by signal, how far a snapshot is from what was
# usual at that phase, in robust standard deviations. They learn the windows too: a training on other windows, be they a
# month later, looks strange to them, since its inputs are. So calibrate on those to be watched, or on many stretches.

# %%
lately = train[-RECENT:]
small = {"epochs": RUN_EPOCHS, "patience": None, "progress": False}


def watched_run(seed: int, *callbacks: Callback, **monitoring):
    """Train a small LSTM, and return what watched it."""
    network = wb.build_model("lstm", windows, seed=seed, hidden_size=HIDDEN // 2, n_layers=1)
    watcher = wb.GateMonitor(valid, every=3, **monitoring)
    wb.fit(network, lately, valid, seed=seed, callbacks=[*callbacks, watcher], **small)
    return watcher


healthy = [seen for seed in range(RUNS) for seen in watched_run(seed).snapshots]
rules = RobustRules().calibrate(healthy)
forest = IsolationForestDetector().calibrate(healthy)
print(rules, forest, sep="\n")

# %% [markdown]
# ## A fault, and who notices
#
# Half way through a training the forget gates are driven open, and another time a quarter of the units is shut up. No
# loss becomes NaN, no error is raised; a healthy run with a new seed stands beside them.

# %%
STRIKES = RUN_EPOCHS // 2 + 1


@dataclass(eq=False)
class Fault(Callback):
    """Add to the bias of a share of the units of a gate; gates go by PyTorch's order: i, f, g, o."""

    gate: int
    share: float
    amount: float

    def on_epoch_begin(self, net, *args, **kwargs):
        """Strike once, as an epoch begins."""
        if len(net.history) == STRIKES:
            layers = net.module_.lstm
            first, count = self.gate * layers.hidden_size, round(self.share * layers.hidden_size)
            with torch.no_grad():
                layers.bias_ih_l0[first : first + count] += self.amount


new = 1000 + SEED
trials = {
    "healthy": watched_run(new),
    "forget gates open": watched_run(new, Fault(gate=1, share=1.0, amount=6.0)),
    "a quarter of the units dead": watched_run(new, Fault(gate=3, share=0.25, amount=-30.0)),
}
scores = {
    (name, kind): [detector.score(seen) / detector.limit for seen in watcher.snapshots]
    for name, watcher in trials.items()
    for kind, detector in (("rules", rules), ("forest", forest))
}
scored = pd.DataFrame(scores, index=pd.RangeIndex(1, RUN_EPOCHS + 1, name="epoch"))
scored.round(2)

# %% [markdown]
# **What to see.** Scores over the detector's limit: above 1 is an alarm. The rules see both faults in the epoch in which they
# strike, and the healthy run stays well below. The forest has the same features and lets one strange one drown among
# seventy ordinary ones. And the loss? Nobody would have looked twice:

# %%
pd.DataFrame({name: watcher.record["valid_loss"] for name, watcher in trials.items()}).round(3)

# %% [markdown]
# The rules also say which signal, where, and by how much. A share that never moved while all was well has no spread to be
# measured by; 0.02 is taken for one, so that +50 is as far as a share can go. The first findings of the epoch in which
# the fault struck:

# %%
for name, watcher in list(trials.items())[1:]:
    print(f"{name}, epoch {STRIKES}")
    for finding in rules.check(watcher.snapshots[STRIKES - 1])[:4]:
        print(f"  {finding}")

# %% [markdown]
# Every unit a point: how often its gate stood shut (below 0.1), and how often wide open (above 0.9).

# %%
axes = wb.plots.saturation(trials["a quarter of the units dead"].snapshots[-1].units, provenance=told)

# %% [markdown]
# **What to see.** Points at (0, 0) are gates that move in between, as all do in a healthy network of this size. The dead units
# stand at (1, 0) of the output gate: whatever they hold, they say nothing.
#
# ## Somebody is told
#
# `Alerts` takes the findings of each epoch. What is found three epochs in a row is told, once; what is gone for three is
# resolved. Alerts are on disk before training goes on, and a thread sends them, so a mail server that is down delays no
# step and loses no alert. Here a server of our own listens on this machine.

# %%
folder = tempfile.TemporaryDirectory()
with socket.create_server(("127.0.0.1", 0)) as free:
    port = free.getsockname()[1]
server = Controller(Mailbox(f"{folder.name}/mail"), hostname="127.0.0.1", port=port)
server.start()
nobody = {"user_variable": "NO_USER", "password_variable": "NO_PASSWORD"}  # this server asks for none
people = {"sender": "workbench@example.org", "to": "me@example.org"}
mail = Smtp("127.0.0.1", security="plain", port=port, **people, **nobody)
alerts = Alerts([mail], f"{folder.name}/alerts.db", name=f"{told['ticker']} lstm")

# %% [markdown]
# Elsewhere it is `Smtp("mail.example.org", …)`, encrypted unless told otherwise; user name and password come from the
# environment, never from a notebook. The forget gates break once more, watched by rules and alerts:

# %%
broken = watched_run(new, Fault(gate=1, share=1.0, amount=6.0), detector=rules, alerts=alerts)
print(f"{len(broken.findings)} findings, in epochs {sorted({found.epoch for found in broken.findings})}")

# %%
waiting = alerts.close()
server.stop()
letters = [
    message_from_bytes(bytes(each), policy=policy.default) for each in mailbox.Maildir(f"{folder.name}/mail")
]
print(f"mails that have come: {len(letters)}, alerts that still wait: {waiting}")
for letter in letters:
    print(f"\nSubject: {letter['Subject']}\n\n{letter.get_content()[:600]} …")

# %% [markdown]
# **What to see.** One alert for each place that is wrong: the text says what stands out there most, and what else does. The
# next healthy training under this name would send "resolved", which never arrives before its "firing". Mind that
# three epochs must be looked at: a training so short that the budget of 2 % pays for one look needs `every`, as here.
#
# ## In use: do the gates know of a drawdown?
#
# Back to the two models and the test years. Every decision has its gates at the window's last bar, which know nothing of
# what comes after. Hold the stock, or sell it short where the ALSTM thinks a fall likelier than a rise, and take the worst
# drawdowns of the account. With `nested`, falls on the way back to an earlier peak count too.

# %%
opens = "open" in told["fields"]
FILL = FILL or ("next_open" if opens else "next_close")
answers = wb.predict(model, test)
held = np.where(answers["buy"] >= answers["sell"], 1.0, -1.0)
money = wb.backtest(pd.Series(held, answers.index), prices, fill=FILL, cost_bps=COST_BPS)
falls = worst_drawdowns(money, DRAWDOWNS, nested=True)
falls.assign(depth=(100 * falls["depth"]).round(1)).rename(columns={"depth": "depth [%]"})

# %% [markdown]
# Did the gates stand otherwise in the decisions before each peak, or in the fall, than on all other days? A yes is cheap: of
# many signals some differ by chance, and gates have a memory, so that ten days in a row are no ten observations. The null
# keeps both: the signals as they are, turned against the calendar of drawdowns by every possible number of days. And one
# column is no gate at all: the volatility of prices, which anyone can have without a model.

# %%
volatility = features["volatility_20"].rename("volatility of prices")
daily = gates_by_date(model, test).join(volatility)
contrast = before_drawdowns(daily, falls, bars=BEFORE)
axes = wb.plots.signals_before_drawdowns(contrast, daily, money.equity, provenance=told)

# %%
print(contrast.verdict)
columns = ["difference", "low", "high", "p_value", "family_p_value", "detectable"]
contrast.table[columns].sort_values("p_value").head(6).round(3)

# %% [markdown]
# **What to see.** To the right, the band holds 95 of 100 turns; a point beyond it is filled only if it still stands out once
# it is counted how many were looked at. Here the output gate stands lower in the falls, beyond its band. Alone it would
# have passed for a discovery (`p_value`); as the best of eighteen it does not (`family_p_value`). So nothing was found. That
# is no proof that there is nothing: so few drawdowns could only have shown a difference of one to two standard deviations
# of a signal, which is a great deal. And drawdowns are known as such afterwards: even a finding would be no warning.
#
# The LSTM, on the drawdowns of its own account:

# %%
answers = wb.predict(lstm, test)
held = np.where(answers["buy"] >= answers["sell"], 1.0, -1.0)
own = wb.backtest(pd.Series(held, answers.index), prices, fill=FILL, cost_bps=COST_BPS)
of_lstm = gates_by_date(lstm, test).join(volatility)
print(before_drawdowns(of_lstm, worst_drawdowns(own, DRAWDOWNS, nested=True), bars=BEFORE).verdict)

# %% [markdown]
# ## What all this does not see
#
# - Faults of *meaning*. With labels shuffled, time reversed, or two columns exchanged from the start, a network
#   learns nonsense with healthy gates, and no signal here tells; `benchmarks/gate_faults.py` measures which do. Checks of
#   the data, and validation figures, are for that.
# - Whether the model is any good. These gates are as healthy as they come, and notebook 2 says what such answers are
#   worth.
# - Dropout between layers: gates are looked at as the model answers, not as it trains.
# - What is usual for another model, another market or another length of training: calibrate again.
