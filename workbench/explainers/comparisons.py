"""The same windows explained by several methods: what each says, where they agree, and what they cost."""

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Any

from torch import nn

from workbench.explainers.compared import Comparison
from workbench.explainers.explanation import Explanation, explain
from workbench.explainers.inside import NotInside
from workbench.explainers.methods import METHODS, method_of
from workbench.explainers.options import BadOption
from workbench.explainers.targets import Target
from workbench.explainers.watching import Cancelled, Watch
from workbench.features.windows import Windows
from workbench.training.days import is_cross_sectional

__all__ = ["Comparison", "compare"]


def compare(
    model: nn.Module,
    windows: Windows,
    methods: str | Sequence[str] | Mapping[str, str] = "quick",
    target: str | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    watch: Watch | None = None,
) -> Comparison:
    """Explain the same windows by several methods, and say how far these agree and what each took.

    Parameters
    ----------
    model, windows
        As for `explain`.
    methods
        "quick": those with scores by bar that `list_methods()` does not call slow; what is inside of some
        models is left out of others. "all" of them, slow or not. Names, or a mapping from names
        of your own to theirs, by which a method can take part twice: {"mean": "rollout", "max": "rollout"}.
    target
        As for `explain`; asked of the methods that explain one answer. The others explain the whole answer.
    options
        By name as in `methods`, what `explain` is to be given: {"lime": {"samples": 256}}.
    watch
        Follows the windows done, those of every method counted, and may end the comparison early.

    Returns
    -------
    Comparison
        The explanations, their agreement, and the time of each. A method that raises a ValueError, as one
        that needs attention does of a model without any, or under which the model raises a RuntimeError, is
        not part of it: `refused` has its reason.

    Raises
    ------
    ValueError
        If a method, a target, or an option or a name in `options` is unknown or out of range, no windows are
        given, a method named has no scores by bar, or every method refuses them.
    Cancelled
        If `watch` was told to stop.

    Notes
    -----
    Agreement is no proof. Methods that agree may err alike, and methods that disagree may answer different
    questions: what was attended to, what a small change does, what is lost without a bar.

    Examples
    --------
    >>> seen = compare(model, test, "all", options={"lime": {"samples": 256}})  # doctest: +SKIP
    >>> seen.spearman.loc["rollout", "lime"]  # doctest: +SKIP
    0.41
    """
    chosen = _chosen(methods)
    _check(windows, chosen, target, options or {})
    watch = Watch() if watch is None else watch
    found: dict[str, Explanation] = {}
    seconds: dict[str, float] = {}
    refused: dict[str, str] = {}
    total = len(windows) * len(chosen)
    for i, (name, method) in enumerate(chosen.items()):
        asked = dict((options or {}).get(name, {}))
        if METHODS[method].targets:
            asked.setdefault("target", target)
        start = perf_counter()
        try:
            found[name] = explain(
                model, windows, method, watch=_part(watch, i * len(windows), total), **asked
            )
        except (BadOption, Cancelled):
            raise
        except NotInside as error:
            if not isinstance(methods, str):  # it was asked for by name
                refused[name] = " ".join(str(error).split())
            watch.report((i + 1) * len(windows), total)
            continue
        except (ValueError, RuntimeError) as error:  # of the method, or of the model that runs under it
            refused[name] = " ".join(str(error).split())
            watch.report((i + 1) * len(windows), total)
            continue
        seconds[name] = perf_counter() - start
    if not found and is_cross_sectional(model):
        raise ValueError(
            f"no two methods can be compared on {type(model).__name__} because it reads the stocks of a day "
            "together, and methods by bar take each window alone: explain(model, windows, 'neighbours') says "
            "which stocks an answer draws on"
        )
    if not found:
        reasons = "\n".join(f"  {name}: {reason}" for name, reason in refused.items())
        raise ValueError(f"no method could explain {type(model).__name__} on these windows:\n{reasons}")
    return Comparison.of(found, seconds, refused)


def _chosen(methods: str | Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    """Return the methods' names by the names they go by here."""
    if methods == "all":
        return {name: name for name in METHODS if METHODS[name].axes[0] == "time"}
    if methods == "quick":
        return {name: name for name in _chosen("all") if not METHODS[name].slow}
    if isinstance(methods, str):
        raise ValueError(f"methods is 'quick', 'all' or a list such as ['rollout', 'lime']. Got {methods!r}.")
    named = dict(methods) if isinstance(methods, Mapping) else {name: name for name in methods}
    if not named or len(named) != len(methods):
        raise ValueError(
            f"methods must be one name or more, none of them twice. Got {list(methods)}. A method that is to "
            "take part twice needs two names: {'mean': 'rollout', 'max': 'rollout'}."
        )
    return named


def _check(
    windows: Windows, chosen: dict[str, str], target: str | None, options: Mapping[str, Mapping[str, Any]]
) -> None:
    """Raise ValueError for a mistake of the caller, which is no method's reason to refuse."""
    astray = [name for name, method in chosen.items() if method_of(method, None).axes[0] != "time"]
    if astray:
        axes = " and ".join(METHODS[chosen[astray[0]]].axes)
        raise ValueError(
            f"methods are compared by bar, and {chosen[astray[0]]} is by {axes}: leave it out, and "
            "explain by it alone"
        )
    taking = [name for name, method in chosen.items() if method_of(method, None).targets]
    if len(windows) == 0:
        raise ValueError("there are no windows to explain; choose dates that the windows cover")
    if target is not None:
        Target.of(windows, target)
        if not taking:
            raise ValueError(f"none of {', '.join(chosen)} explains one answer, {target!r}: leave out target")
    strangers = sorted(set(options) - set(chosen))
    if strangers:
        raise ValueError(
            f"options are for {strangers[0]!r}, which is not compared; there are {', '.join(chosen)}"
        )


def _part(watch: Watch, before: int, total: int) -> Watch:
    """Return what one method reports to: its windows come after those of the methods before it."""
    if watch.progress is None:
        return watch
    told = watch.progress
    return Watch(lambda done, _: told(before + done, total), watch.stop)
