from typing import Any

import pytest

from data_prep.configfile import validate
from data_prep.errors import UserError
from pipeline.config.model import ModelConfig

SHAPE = {"n_layer": 2, "n_head": 4, "d_model": 32, "sequence_length": 16}
PRINTED = {"n_head": 6, "d_model": 30, "d_head": 8}


def model(**changes: Any) -> ModelConfig:
    return validate(ModelConfig, {**SHAPE, **changes}, "test")


def test_the_printed_shape_is_used_only_when_asked_for() -> None:
    config = model(printed=PRINTED)
    assert (config.n_head, config.d_model, config.head_width) == (4, 32, 8)
    config = model(printed=PRINTED, as_printed=True)
    assert (config.n_head, config.d_model, config.head_width) == (6, 30, 8)
    assert ModelConfig.model_validate(config.model_dump()) == config
    with pytest.raises(UserError, match="as_printed needs the printed shape"):
        model(as_printed=True)


def test_facts_hold_what_decides_the_numbers() -> None:
    plain, printed = model(d_head=8), model(printed=PRINTED, as_printed=True)
    assert plain.facts(50) == model(d_head=8, vocab_multiple=64, printed=PRINTED).facts(50)
    assert plain.facts(50)["vocab_size"] == 50
    assert printed.facts(50)["d_model"] == 30
    for changes in ({"norm": "post"}, {"document_mask": True}, {"band_width": 3}, {"dropout": 0.1}):
        assert model(d_head=8, **changes).facts(50) != plain.facts(50)


@pytest.mark.parametrize(("multiple", "rows"), [(1, 50), (8, 56), (25, 50), (64, 64)])
def test_padding_rounds_up(multiple: int, rows: int) -> None:
    assert model(vocab_multiple=multiple).padded(50) == rows


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_head": 0}, "n_head is missing"),
        ({"n_head": 5}, "d_model 32 is not a multiple of n_head 5"),
        ({"units": 8}, "units belong to kind lstm"),
        ({"kind": "lstm"}, "an LSTM has no heads"),
        ({"kind": "lstm", "n_head": 0, "document_mask": True}, "no document mask"),
        ({"kind": "lstm", "n_head": 0, "attention": "alternating"}, "no attention"),
    ],
)
def test_shapes_that_make_no_sense_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        model(**changes)


def test_an_lstm_is_as_wide_as_its_units() -> None:
    assert model(kind="lstm", n_head=0, units=48).lstm_units == 48
    assert model(kind="lstm", n_head=0).lstm_units == 32
