import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.trading.resampling import (
    block_length,
    bootstrap_counts,
    false_discovery_rates,
    shuffled_labels,
)


def autocorrelated(seed, n=400, keep=0.9):
    rng, series = np.random.default_rng(seed), np.zeros(n)
    for step in range(1, n):
        series[step] = keep * series[step - 1] + rng.normal()
    return series


def test_a_series_that_remembers_needs_longer_blocks():
    assert block_length(autocorrelated(0)) > 3 * block_length(autocorrelated(0, keep=0.0))


def test_a_block_is_at_least_what_is_asked_and_at_most_a_quarter():
    noise = autocorrelated(0, keep=0.0)
    assert block_length(noise, 37) == 37
    assert block_length(noise, 1000) == 100
    assert block_length(np.ones(40), 3) == 3
    assert block_length(np.zeros(5), 3) == 1


def test_bootstrap_samples_are_as_long_as_the_series_and_repeat_with_the_seed():
    one, two = (np.concatenate(list(bootstrap_counts(50, 5, 300, seed=3))) for _ in range(2))
    assert one.shape == (300, 50)
    assert (one.sum(axis=1) == 50).all()
    assert np.array_equal(one, two)
    assert one.mean(axis=0) == pytest.approx(np.ones(50), abs=0.5)


def test_bootstrap_blocks_keep_neighbours_together():
    counts = np.concatenate(list(bootstrap_counts(200, 20, 300, seed=0)))
    together = np.corrcoef(counts[:, 99], counts[:, 100])[0, 1]
    assert together > 0.8
    alone = np.concatenate(list(bootstrap_counts(200, 1, 300, seed=0)))
    assert abs(np.corrcoef(alone[:, 99], alone[:, 100])[0, 1]) < 0.3


@given(seed=st.integers(0, 10**6), block=st.integers(1, 15), n_dates=st.integers(2, 40))
def test_a_shuffle_moves_whole_blocks_of_the_circle(seed, block, n_dates):
    dates = np.arange(n_dates)
    bits = [(dates >> bit) % 2 == 1 for bit in range(6)]  # six label sequences that spell the date
    spelt = [next(shuffled_labels(b, dates, dates * 0, block, 1, seed))[0] for b in bits]
    order = sum(bit.astype(int) << place for place, bit in enumerate(spelt))
    assert sorted(order) == list(range(n_dates))
    breaks = ((np.diff(order) - 1) % n_dates != 0).sum()
    assert breaks <= -(-n_dates // block) - 1


def test_assets_are_shuffled_alike_and_keep_their_number_of_labels():
    rng, n = np.random.default_rng(0), 60
    labels = rng.random(n) < 0.4
    rows = np.concatenate([labels, labels, labels[::2]])
    dates = np.concatenate([np.arange(n), np.arange(n), np.arange(0, n, 2)])
    assets = np.repeat([0, 1, 2], [n, n, n // 2])
    drawn = np.concatenate(list(shuffled_labels(rows, dates, assets, 4, 300, seed=1)))
    assert drawn.shape == (300, len(rows))
    assert np.array_equal(drawn[:, :n], drawn[:, n : 2 * n])
    assert (drawn[:, :n].sum(axis=1) == labels.sum()).all()
    assert (drawn[:, 2 * n :].sum(axis=1) == labels[::2].sum()).all()
    assert len(np.unique(drawn, axis=0)) > 250


def test_q_values_by_hand():
    # Sorted .01 .02 .03 .5 → ·4/rank: .04 .04 .04 .5; least from the right.
    assert false_discovery_rates(np.array([0.03, 0.5, 0.01, 0.02])) == pytest.approx([0.04, 0.5, 0.04, 0.04])


@given(seed=st.integers(0, 10**6))
def test_q_values_agree_with_scipy(seed):
    from scipy.stats import false_discovery_control

    p_values = np.random.default_rng(seed).random(30) ** 2
    assert false_discovery_rates(p_values) == pytest.approx(false_discovery_control(p_values), rel=1e-12)
