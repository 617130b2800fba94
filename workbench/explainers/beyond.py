"""Scores less their null: what a model shows beyond what an indifferent one would."""

from dataclasses import replace
from typing import Any

import numpy as np

from workbench.explainers.questions import Method, Scored

OPTION = "against_null"


def wants_beyond(method: Method, options: dict[str, Any]) -> bool:
    """Take `against_null` out of the options of a call, or refuse it where no null is thinkable."""
    wanted = options.pop(OPTION, False)
    if not isinstance(wanted, bool):
        raise ValueError(f"{OPTION} is True or False; got {wanted!r}")
    # Of one answer attention counts by its gradient, of which an even model has none; ranks are of a map.
    of_attention = method.needs_attention or method.over == "asset"
    if wanted and (not of_attention or method.targets or options.get("discard")):
        raise ValueError(_refusal(method.name, options))
    return wanted


def beyond_null(method: Method, found: Scored) -> Scored:
    """Return the scores less the null, the null itself left out, or refuse scores that came without one.

    The difference, not the ratio: both are shares of the same answer, so differences are shares too, sum to
    zero and stay small where both are; a ratio is largest where the null is next to nothing and so says most
    of the bars that matter least.
    """
    if found.null is None:
        raise ValueError(_refusal(method.name, found.options))
    scores = found.scores - np.broadcast_to(found.null, found.scores.shape)
    return replace(found, scores=scores, null=None, options={**(found.options or {}), OPTION: True})


def _refusal(name: str, options: dict[str, Any] | None = None) -> str:
    asked = f" with discard={options['discard']}" if options and options.get("discard") else ""
    return (
        f"{name}{asked} has no null to be taken off: what an even model would show is known of attention "
        f"without gradients or ranks, as in rollout, flow and attention. Leave out {OPTION}, or choose one "
        "of them"
    )
