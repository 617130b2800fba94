import shutil

import pytest

import workbench.training.reopening as reopening
from workbench.market.loading import load_prices
from workbench.training.reopening import bundled_models
from workbench.widgets.explorer import Explorer

CLOSES = "transformer-JPM-closes"
LACKED = "range, log_volume, close_position, gap"
WHY = f"transformer · JPM · 60 bars was taken: the model tried first reads {LACKED}, which these prices lack"


@pytest.fixture
def loads(monkeypatch):
    """Every load of prices by a saved model."""
    asked = []

    def counted(*arguments):
        asked.append(arguments[:2])
        return load_prices(*arguments)

    monkeypatch.setattr(reopening, "load_prices", counted)
    return asked


def test_prices_of_closes_alone_open_on_the_model_that_reads_them(tmp_path, loads):
    explorer = Explorer(source="sample20", ticker="XOM", folder=str(tmp_path))
    assert (explorer.run, explorer.facts["name"]) == (CLOSES, "XOM")
    assert WHY in explorer.status
    assert "trained on JPM, not on XOM" in explorer.status
    assert explorer.facts["fill"] == "next_close"
    assert loads.count(("XOM", "sample20")) == 1


def test_choosing_a_source_of_closes_takes_another_model_and_says_so(tmp_path, listen, loads):
    page = listen(Explorer(folder=str(tmp_path)))
    loads.clear()
    page.choose(source="sample20")
    explorer = page.explorer
    assert (explorer.error, explorer.ticker, explorer.run) == ("", "AAPL", CLOSES)
    assert WHY in explorer.status
    assert loads.count(("AAPL", "sample20")) == 1
    page.choose(ticker="JPM")
    assert (explorer.error, explorer.run, explorer.status) == ("", CLOSES, "")
    page.choose(source="sample")
    assert (explorer.error, explorer.ticker, explorer.run) == ("", "AAPL", "transformer-AAPL")


def test_a_model_handed_over_that_cannot_read_them_gives_way(page):
    page.choose(source="sample20")
    assert page.explorer.error == ""
    assert page.explorer.run == CLOSES
    assert WHY in page.explorer.status
    page.choose(source="synthetic")
    assert (page.explorer.error, page.explorer.run) == ("", "given")


def test_where_no_model_can_read_them_it_is_said_what_can_be_done(tmp_path, monkeypatch, listen):
    shutil.copytree(bundled_models() / "transformer-AAPL", tmp_path / "transformer-AAPL")
    monkeypatch.setattr("workbench.widgets.choices.bundled_models", lambda: tmp_path)
    page = listen(Explorer(folder=str(tmp_path)))
    page.choose(source="sample20")
    explorer = page.explorer
    assert explorer.error.startswith(
        "No saved model can read the prices of AAPL from sample20: they lack what each of them reads, "
        f"such as {LACKED}. Choose another ticker"
    )
    assert "wb.ensure_model" in explorer.error
    assert (explorer.source, explorer.version) == ("sample", 1)


def test_a_model_whose_weights_are_damaged_is_passed_over(tmp_path, monkeypatch):
    for name, key in {CLOSES: "a-first", "transformer-AAPL": "transformer-AAPL"}.items():
        shutil.copytree(bundled_models() / name, tmp_path / key)
    shutil.copytree(tmp_path / "a-first", tmp_path / "b-second")
    monkeypatch.setattr("workbench.widgets.choices.bundled_models", lambda: tmp_path)
    view = {"source": "sample20", "ticker": "KO", "folder": str(tmp_path)}
    assert Explorer(**view).run == "a-first"
    (tmp_path / "a-first" / "model.safetensors").write_bytes(b"nothing")
    assert Explorer(**view).run == "b-second"


def test_a_run_asked_for_by_name_is_not_replaced(tmp_path):
    with pytest.raises(reopening.UnreadablePrices, match="reads range, log_volume") as caught:
        Explorer(run="transformer-AAPL", source="sample20", ticker="XOM", folder=str(tmp_path))
    assert caught.value.columns == ["range", "log_volume", "close_position", "gap"]
