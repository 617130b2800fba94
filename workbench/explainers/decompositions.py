"""Answers that are a sum inside the model, told apart exactly: an ALSTM's by bar, that of HIST by module."""

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from workbench.explainers.inside import Parts, Wanted, check_scores, collected, inside_method, refuse_options
from workbench.explainers.questions import Method, Question, Scored
from workbench.explainers.targets import Target

BARS = Wanted("decomposition", "bars", "ALSTM, whose answer is a sum over bars")
MODULES = Wanted("modules", "individual", "HIST, whose answer is the sum of three forecasts")


def _decomposition(question: Question) -> Scored:
    """Return the parts of an ALSTM's answer by bar: the context's, and at the last bar the last state's."""
    refuse_options(question, "decomposition")
    target = Target.of(question.windows, question.target)

    def pick(parts: Parts, output: Tensor) -> Parts:
        weigh = target.weigh(output)  # (batch, output)
        state, bars = (parts["state"] * weigh).sum(1), torch.einsum("bto,bo->bt", parts["bars"], weigh)
        bars[:, -1] += state
        return {"bars": bars, "state": state, "bias": weigh @ parts["bias"], "weights": parts["weights"]}

    found = collected(question, BARS, pick)
    check_scores(found["bars"], "parts of the answer")
    lags = [f"t−{back}" for back in reversed(range(question.windows.lookback))]
    options = {
        "state": pd.Series(found["state"].numpy()),
        "bias": pd.Series(found["bias"].numpy()),
        "weights": pd.DataFrame(found["weights"].numpy(), columns=lags),
    }
    scores = found["bars"].float().numpy()
    return Scored(scores, found["outputs"], target.told, options=options, change=_change(target, found))


def _modules(question: Question) -> Scored:
    """Return the three forecasts that the answer of HIST is the sum of, beside its bias."""
    refuse_options(question, "modules")
    names, target = ("shared", "hidden", "individual"), Target.of(question.windows, question.target)

    def pick(parts: Parts, output: Tensor) -> Parts:
        weigh = target.weigh(output)
        each = torch.stack([(parts[name] * weigh).sum(1) for name in names], dim=1)
        return {"modules": each, "bias": weigh @ parts["bias"]}

    found = collected(question, MODULES, pick)
    check_scores(found["modules"], "parts of the answer")
    return Scored(
        found["modules"].float().numpy(),
        found["outputs"],
        target.told,
        options={"bias": pd.Series(found["bias"].numpy())},
        change=_change(target, found),
        axis_labels={"module": names},
    )


def _change(target: Target, found: Parts) -> Float[np.ndarray, " window"]:
    """Return what is to be shared out, in float64: the answer less its bias."""
    answers = found["outputs"].double()
    return ((answers * target.weigh(answers)).sum(1) - found["bias"].double()).numpy()


DECOMPOSITIONS: tuple[Method, ...] = (
    inside_method(
        BARS,
        (
            "Decomposition",
            "what each bar's state, and the last one's own, add to an ALSTM's answer, exactly",
        ),
        _decomposition,
        targets=True,
        signed=True,
    ),
    inside_method(
        MODULES,
        ("Modules", "what shared, hidden and individual information add to the answer of HIST, exactly"),
        _modules,
        targets=True,
        signed=True,
        over="module",
    ),
)
