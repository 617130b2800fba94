import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.features.indicators import make_features
from workbench.market.planting import DRIVERS
from workbench.market.synthetic import plant
from workbench.market.truth import truth_of

FEATURES = ("log_return", "range", "log_volume")


def test_the_truth_is_one_cell_of_the_window() -> None:
    truth = plant("log_volume", 5).truth(60, FEATURES)
    assert truth.shape == (60, 3)
    assert np.argwhere(truth).tolist() == [[54, 2]]
    assert np.argwhere(plant("log_return", 0).truth(60, FEATURES)).tolist() == [[59, 0]]


@settings(max_examples=6)
@given(st.sampled_from(DRIVERS), st.integers(0, 9), st.integers(0, 100))
def test_the_true_cell_of_a_window_is_the_one_that_predicts_the_label(
    driver: str, lag: int, seed: int
) -> None:
    from workbench.features.labels import forward_return
    from workbench.features.windows import Windows

    market = plant(driver, lag, 2.0, 800, seed=seed)
    features = make_features(market.prices)[list(FEATURES)]
    windows = Windows.of(features, forward_return(market.prices), lookback=10).labelled()
    x, y = windows.x.double().numpy(), windows.y.double().numpy()
    standard = (x - x.mean(0)) / x.std(0)
    found = np.abs(np.einsum("wtf,w->tf", standard, (y - y.mean()) / y.std())) / len(y)
    truth = market.truth(10, windows.feature_names)
    assert np.unravel_index(found.argmax(), found.shape) == tuple(np.argwhere(truth)[0])


def test_a_window_that_cannot_hold_the_truth_is_refused() -> None:
    market = plant("log_return", 5)
    with pytest.raises(ValueError, match=r"lookback must be at least 6 to hold lag 5. Got 5"):
        market.truth(5, FEATURES)
    with pytest.raises(ValueError, match=r"must hold the driver 'log_return'. Got log_returns. Did you mean"):
        market.truth(10, ["log_returns"])
    with pytest.raises(ValueError, match="provenance holds the truth"):
        truth_of(pd.DataFrame(), 10, FEATURES)
