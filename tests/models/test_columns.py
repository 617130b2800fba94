from workbench.models.columns import column_of, concept_columns, side_columns

NAMES = ("log_return", "concept:oil", "market_cap", "range", "past_label", "concept:banks", "my concept:x")


def test_columns_beside_the_features_are_known_by_their_names():
    assert concept_columns(NAMES) == [1, 5]
    assert side_columns(NAMES) == (1, 2, 4, 5)


def test_a_column_is_found_or_is_not_there():
    assert column_of(NAMES, "market_cap") == 2
    assert column_of(NAMES, "volume") is None
