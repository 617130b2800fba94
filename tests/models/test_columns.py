import pytest

from workbench.features.concepts import PREFIX
from workbench.features.past import PAST_LABEL as MADE
from workbench.models.columns import CONCEPT, PAST_LABEL, anchors_of, column_of, concept_columns, side_columns

NAMES = ("log_return", "concept:oil", "market_cap", "range", "past_label", "concept:banks", "my concept:x")


def test_columns_beside_the_features_are_known_by_their_names():
    assert concept_columns(NAMES) == [1, 5]
    assert side_columns(NAMES) == (1, 2, 4, 5)


def test_the_columns_that_features_make_are_those_that_models_know():
    assert (PREFIX, MADE) == (CONCEPT, PAST_LABEL)


def test_a_column_is_found_or_is_not_there():
    assert column_of(NAMES, "market_cap") == 2
    assert column_of(NAMES, "volume") is None


def test_columns_named_after_a_last_value_are_divided_by_it():
    names = (
        "OPEN / last close",
        "range",
        "VOLUME / last volume",
        "CLOSE / last close",
        "VWAP_hlc3 / last close",
    )
    assert anchors_of(names) == {0: 3, 2: 2, 3: 3, 4: 3}
    assert anchors_of(NAMES) == {}
    with pytest.raises(ValueError, match=r"'OPEN / last close' needs 'CLOSE / last close' beside it"):
        anchors_of(names[:3])
