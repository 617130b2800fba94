import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.features.alpha158 import alpha158
from workbench.features.fitted import OtherColumns
from workbench.features.indicators import make_features
from workbench.features.processors import Chain, DropRows, Fill, RankNorm, RobustZScore, processor_of
from workbench.market.loading import load_panel, load_prices

DATES = pd.bdate_range("2000-01-03", periods=5, name="date")
seeds = st.integers(0, 2**32 - 1)


def frame(**columns) -> pd.DataFrame:
    return pd.DataFrame(columns, index=DATES[: len(next(iter(columns.values())))], dtype="float64")


def day(values, date="2000-01-03") -> pd.DataFrame:
    names = [chr(ord("A") + k) for k in range(len(values))]
    index = pd.MultiIndex.from_product([[pd.Timestamp(date)], names], names=["date", "ticker"])
    return pd.DataFrame({"x": values}, index=index, dtype="float64")


def test_a_robust_z_score_by_hand():
    made = frame(x=[1, 2, 3, 5, 100], y=[np.nan, 4, 4, 6, np.nan])
    found = RobustZScore().fit(made).transform(made)
    unit = 1.4826 * (2 + 1e-12)  # median 3, distances 2 1 0 2 97
    np.testing.assert_allclose(found["x"], [-2 / unit, -1 / unit, 0, 2 / unit, 3])
    np.testing.assert_array_equal(found["y"], [np.nan, 0, 0, 3, np.nan])  # median 4, distances 0 0 2: MAD 0


@given(seed=seeds, clip=st.sampled_from([None, 1.5, 3.0]))
def test_a_robust_z_score_equals_its_definition(seed, clip):
    rng = np.random.default_rng(seed)
    values = np.where(rng.random((60, 3)) < 0.2, np.nan, rng.standard_t(3, (60, 3)))
    made = pd.DataFrame(values, pd.bdate_range("2000-01-03", periods=60, name="date"), ["a", "b", "c"])
    found = RobustZScore(clip=clip).fit(made, before="2000-03-01").transform(made)
    for name in made:
        fit = sorted(x for x in made.loc[made.index < "2000-03-01", name] if x == x)
        middle = np.median(fit)
        z = (made[name] - middle) / (1.4826 * (np.median([abs(x - middle) for x in fit]) + 1e-12))
        np.testing.assert_allclose(found[name], z if clip is None else z.clip(-clip, clip), rtol=1e-12)


def test_the_fit_period_comes_to_zero_and_one():
    features = make_features(load_prices("AAPL")).dropna()
    found = RobustZScore(clip=None).fit(features, before="2008").transform(features)[:"2007-12-31"]
    np.testing.assert_allclose(found.median(), 0, atol=1e-12)
    np.testing.assert_allclose(found.abs().median() * 1.4826, 1, rtol=1e-6)


def test_ranks_of_a_day_by_hand():
    made = pd.concat([day([5, 1, 3, 3]), day([np.nan, 2, 1, 9], "2000-01-04")])
    found = RankNorm().fit(made).transform(made)["x"]
    shares = np.array([1, 0.25, 0.625, 0.625, np.nan, 2 / 3, 1 / 3, 1])
    np.testing.assert_allclose(found, (shares - 0.5) * 3.46)


@given(seed=seeds, power=st.floats(0.2, 5))
def test_ranks_know_the_order_alone(seed, power):
    made = day(np.random.default_rng(seed).uniform(0, 1, 12))
    rank = RankNorm().fit(made)
    pd.testing.assert_frame_equal(rank.transform(made), rank.transform(made**power * 7 - 2))


def test_ranks_need_a_panel():
    with pytest.raises(ValueError, match=r"RankNorm ranks a day's stocks: it needs a panel"):
        RankNorm().fit(frame(x=[1, 2]))


def test_gaps_are_filled_or_rows_left_out():
    made = frame(x=[1, np.nan, 3], y=[np.nan, 5, 6])
    assert Fill().fit(made).transform(made)["x"].tolist() == [1, 0, 3]
    assert Fill(value=-1).fit(made).transform(made)["y"].tolist() == [-1, 5, 6]
    assert DropRows().fit(made).transform(made).index.tolist() == [DATES[2]]
    unlabelled = DropRows(subset=["y"]).fit(made)  # as qlib's DropnaLabel
    assert unlabelled.transform(made).index.tolist() == [DATES[1], DATES[2]]
    with pytest.raises(ValueError, match=r"subset must name columns of the frame. There is no z"):
        DropRows(subset=["z"]).fit(made)


def test_no_bar_after_the_fit_period_is_seen():
    panel = load_panel(["IBM", "AAPL"], start="2010", end="2010-06")
    features = alpha158(panel)
    later = features.copy()
    later[np.asarray(features.index.get_level_values("date") >= "2010-04-01")] *= -7
    ours, theirs = (RobustZScore().fit(made, before="2010-04-01") for made in (features, later))
    assert ours.told() == theirs.told()
    cut = features[np.asarray(features.index.get_level_values("date") < "2010-04-01")]
    assert RobustZScore().fit(cut).median == ours.median
    assert RobustZScore().fit(features).median != ours.median


def test_the_first_date_of_the_fit_period_is_in_and_the_last_out():
    made = frame(x=[1, 2, 30, 40, 500])
    found = RobustZScore().fit(made, since="2000-01-04", before="2000-01-06")
    assert found.median == (16.0,)
    assert (found.since, found.before) == ("2000-01-04", "2000-01-06")
    with pytest.raises(
        ValueError, match=r"nothing to learn from: 0 rows from the first to before 1999, 1 col"
    ):
        RobustZScore().fit(made, before="1999")
    with pytest.raises(ValueError, match=r"y have no value in the fit period: drop them, or begin later"):
        RobustZScore().fit(frame(x=[1, 2], y=[np.nan, 2]), before="2000-01-04")


def test_a_fitted_processor_stays_as_it_is():
    made = frame(x=[1, 2, 4])
    scale = RobustZScore().fit(made)
    with pytest.raises(
        ValueError, match=r"This RobustZScore is fitted already and stays as it is: make a new"
    ):
        scale.fit(made)
    with pytest.raises(AttributeError):
        scale.clip = 5.0  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(ValueError, match=r"This Fill is not fitted: call fit\(features, before=…\) first"):
        Fill().transform(made)


def test_other_columns_are_refused():
    scale = RobustZScore().fit(frame(x=[1, 2, 4], y=[1, 2, 3]))
    with pytest.raises(
        OtherColumns, match=r"fitted on 2 columns and got 2 \(missing: y; unknown: z\)"
    ) as caught:
        scale.transform(frame(x=[1], z=[2]))
    assert caught.value.columns == ["y"]
    with pytest.raises(
        OtherColumns, match=r"missing: none; unknown: none\). Give those it was fitted on, in"
    ):
        scale.transform(frame(y=[1], x=[2]))


def test_the_kind_of_number_and_the_input_stay():
    features = alpha158(load_panel(["IBM", "AAPL"], start="2012"))
    before = features.copy()
    for processor in (RobustZScore(), RankNorm(), Fill()):
        found = processor.fit(features).transform(features)
        assert (found.dtypes == "float32").all()
        assert found.index.equals(features.index)
    pd.testing.assert_frame_equal(features, before, check_exact=True)
    whole = pd.DataFrame({"x": [1, 2, 4]}, DATES[:3])
    assert RobustZScore().fit(whole).transform(whole)["x"].iloc[0] == pytest.approx(-1 / 1.4826)


def test_a_chain_fits_each_on_what_those_before_made_of_the_fit_period():
    made = pd.concat([frame(x=[1, 2, np.nan, 8, 900])])
    chain = Chain(Fill(), RobustZScore()).fit(made, before="2000-01-07")
    assert chain.processors[1].median == (1.5,)  # of 1 2 0 8
    found = chain.transform(made)
    filled = made.fillna(0)
    expected = RobustZScore().fit(filled, before="2000-01-07").transform(filled)
    pd.testing.assert_frame_equal(found, expected)


@pytest.mark.parametrize(
    "processor", [RobustZScore(clip=2.0), RankNorm(), Fill(value=0.5), DropRows(["MA5"])]
)
def test_what_is_told_makes_it_again(processor):
    features = alpha158(load_panel(["IBM", "AAPL"], start="2012"), columns=["MA5", "WVMA5"])
    found = processor.fit(features, before="2012-06").transform(features)
    told = found.attrs["features"]["then"]
    assert [step["kind"] for step in told] == [processor.kind]
    again = processor_of(told[0])
    pd.testing.assert_frame_equal(again.transform(features), found, check_exact=True)
    assert again.told() == processor.told()
