"""What messages say."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from workbench.gates.messages import SUBJECT, Alert, Event, Message, Severity, clipped, one_line

AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)


def alert(
    title: str = "rnn.l0 forget gate: saturation_right",
    event: Event = "firing",
    severity: Severity = "warning",
    source: str = "",
) -> Alert:
    return Alert(source, "key", event, severity, title, "It is 0.98.", AT)


def test_the_subject_is_short_and_says_what_happened_to_what():
    assert alert().subject == "[firing] rnn.l0 forget gate: saturation_right"
    assert alert(source="aapl").subject == "[firing] aapl · rnn.l0 forget gate: saturation_right"
    assert len(alert("x" * 1000).subject) == SUBJECT
    assert alert("x" * 1000).subject.endswith("…")


def test_line_breaks_and_control_characters_never_get_into_a_subject():
    broken = alert("loss\r\nBcc: all@example.org\n\x00\x1b[31m\x85\u2028end")
    assert broken.subject == "[firing] loss Bcc: all@example.org [31m end"


@given(st.text(st.characters(codec=None), max_size=60))
def test_one_line_is_one_line_that_can_be_written_down(text: str):
    line = one_line(text)
    assert len(line.splitlines()) <= 1
    assert line.encode().decode() == line
    assert one_line(line) == line


@given(st.text(min_size=1, max_size=40), st.integers(1, 30))
def test_clipped_text_is_as_long_as_asked_and_whole_where_it_fits(text: str, length: int):
    short = clipped(text, length)
    assert len(short) <= length
    assert short == text if len(text) <= length else short[:-1] == text[: length - 1]


def test_a_message_of_one_alert_says_what_where_when():
    message = Message("1", (alert(),))
    assert message.subject == alert().subject
    assert message.text == (
        "[firing] rnn.l0 forget gate: saturation_right\nIt is 0.98.\nwarning, 2026-03-04 05:06:07 UTC, key\n"
    )


def test_a_message_of_several_is_headed_by_the_gravest_and_counts_them():
    alerts = (alert("a", "resolved"), alert("b", severity="critical"), alert("c"))
    message = Message("1", alerts, held=2)
    assert message.subject == "[firing] b (and 2 more)"
    assert message.text.startswith("3 alerts: 2 firing, 1 resolved.\n\n[resolved] a\n")
    assert (
        message.text.index("[resolved] a")
        < message.text.index("[firing] b")
        < message.text.index("[firing] c")
    )
    assert message.text.endswith("2 of these were held back by the limit on messages an hour.\n")


def test_a_firing_alert_heads_a_message_before_a_resolved_one_of_the_same_weight():
    message = Message("1", (alert("a", "resolved"), alert("b", "firing")))
    assert message.subject == "[firing] b (and 1 more)"


def test_a_long_subject_keeps_the_count():
    message = Message("1", (alert("x" * 1000), alert("y")))
    assert len(message.subject) == SUBJECT
    assert message.subject.endswith("… (and 1 more)")
