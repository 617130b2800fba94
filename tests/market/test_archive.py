"""Laws of the cache: whatever is asked in whatever order, it answers as the source would."""

from collections.abc import Callable
from tempfile import TemporaryDirectory

import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up import Source, same

from workbench.market.cache import cached
from workbench.market.frame import Request
from workbench.market.patience import NoBars

days = st.integers(-200, 4500).map(lambda k: pd.Timestamp("2012-01-01") + pd.Timedelta(k, "D"))
spans = st.tuples(st.none() | days, st.none() | days).filter(lambda s: None in s or s[0] <= s[1])
waits = st.integers(0, 60).map(lambda n: pd.Timedelta(2 * n, "h"))


def outcome(fetch: Callable[[], pd.DataFrame]) -> pd.DataFrame | None:
    try:
        return fetch()
    except NoBars:
        return None


@settings(max_examples=15)
@given(st.lists(st.tuples(spans, waits), min_size=1, max_size=6))
def test_any_sequence_of_requests_gives_what_the_source_would(
    steps: list[tuple[tuple, pd.Timedelta]],
) -> None:
    source = Source("2015-06-01", pd.Timestamp("2024-04-10 12:00", tz="UTC"))
    with TemporaryDirectory() as folder:
        for (start, end), wait in steps:
            source.now += wait
            request = Request("ACME", start, end)
            expected = outcome(lambda request=request: source.online().fetch(request))
            prices = outcome(
                lambda request=request: cached(
                    request, "made up", source.fetch, folder, clock=lambda: source.now
                )
            )
            assert (prices is None) == (expected is None)
            if prices is not None and expected is not None:
                same(prices, expected)


hours = st.integers(-48, 400).map(
    lambda k: pd.Timestamp("2024-05-25", tz="UTC") + pd.Timedelta(30 * k, "min")
)
hour_spans = st.tuples(st.none() | hours, st.none() | hours).filter(lambda s: None in s or s[0] <= s[1])


@settings(max_examples=15)
@given(st.lists(st.tuples(hour_spans, waits), min_size=1, max_size=6), st.integers(0, 5))
def test_any_sequence_of_hourly_requests_and_a_rescaling_never_mixes_scales(
    steps: list[tuple[tuple, pd.Timedelta]], rescaled: int
) -> None:
    source = Source("2024-05-25", pd.Timestamp("2024-06-02 12:10", tz="UTC"))
    with TemporaryDirectory() as folder:
        for step, ((start, end), wait) in enumerate(steps):
            source.now += wait
            source.scale = 2.0 if step >= rescaled else 1.0
            request = Request("ACME", start, end, "1h")
            prices = outcome(
                lambda request=request: cached(
                    request, "made up", source.fetch, folder, clock=lambda: source.now
                )
            )
            candidates = [Source("2024-05-25", source.now, scale) for scale in {1.0, source.scale}]
            expected = [outcome(lambda c=c, request=request: c.fetch(request)) for c in candidates]
            if prices is None:
                assert expected[0] is None
            else:
                assert any(
                    e is not None and e.index.equals(prices.index) and e.equals(prices) for e in expected
                )
