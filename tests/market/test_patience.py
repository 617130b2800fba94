"""Asking again: how often, how long in between, and when not."""

import pytest

from workbench.market.frame import SourceError
from workbench.market.patience import NoBars, Patience, Unreachable


class Asked:
    """Raises the errors in turn, then answers."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.times = 0

    def __call__(self) -> str:
        self.times += 1
        if self.errors:
            raise self.errors.pop(0)
        return "bars"


def test_pauses_double_up_to_the_longest(pauses: list[float]) -> None:
    question = Asked(*[Unreachable("busy")] * 5)
    assert Patience(attempts=6, first=1.0, longest=5.0, sleep=pauses.append).ask(question) == "bars"
    assert pauses == [1.0, 2.0, 4.0, 5.0, 5.0]


def test_the_servers_own_pause_is_kept(pauses: list[float]) -> None:
    question = Asked(Unreachable("busy", wait=3.5), Unreachable("busy"), Unreachable("busy", wait=0.0))
    assert Patience(sleep=pauses.append).ask(question) == "bars"
    assert pauses == [3.5, 1.0, 0.0]


def test_the_last_error_comes_through_when_patience_ends(pauses: list[float]) -> None:
    question = Asked(Unreachable("one"), Unreachable("two"), Unreachable("three"))
    with pytest.raises(Unreachable, match="two"):
        Patience(attempts=2, sleep=pauses.append).ask(question)
    assert question.times == 2


@pytest.mark.parametrize(
    "error",
    [
        Unreachable("x", wait=31.0),
        Unreachable("x", again=False),
        NoBars("x"),
        SourceError("x"),
        KeyError("x"),
    ],
)
def test_what_will_not_pass_is_not_asked_again(error: Exception, pauses: list[float]) -> None:
    question = Asked(error)
    with pytest.raises(type(error)):
        Patience(longest=30.0, sleep=pauses.append).ask(question)
    assert question.times == 1
    assert pauses == []
