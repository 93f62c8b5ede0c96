from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vocabularies import TEXTS, small

from data_prep.errors import CorruptFile, UserError
from data_prep.tokenizer import END_OF_TEXT, Tokenizer, train

DATA = train(iter(TEXTS), 320)


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_any_text_survives_the_round_trip(text: str) -> None:
    ids = small().encode(text)
    assert small().decode(ids) == text
    assert small().encode_batch(["y", text, "x"]) == [small().encode("y"), ids, small().encode("x")]
    assert small().eot_id not in ids


@settings(max_examples=200, deadline=None)
@given(st.binary() | st.text().map(lambda t: t.encode()[1:]))
def test_any_bytes_survive_the_round_trip(data: bytes) -> None:
    assert small().decode_bytes(small().encode_bytes(data)) == data


def test_packed_ids_are_those_of_each_text() -> None:
    ids, offsets = small().encode_packed(["", *TEXTS, ""])
    assert (ids.dtype, offsets.dtype, offsets[0], offsets[-1]) == (np.uint32, np.int64, 0, len(ids))
    rows = [ids[start:end].tolist() for start, end in pairwise(offsets)]
    assert rows == [[], *(small().encode(text) for text in TEXTS), []]
    assert small().encode_batch([]) == []


def test_every_byte_is_a_token_in_the_order_of_gpt2() -> None:
    assert [small().decode_bytes([i]) for i in (0, 1, 93, 94, 188, 255)] == [
        b"!",
        b'"',
        b"~",
        b"\xa1",
        b"\x00",
        b"\xad",
    ]
    assert sorted(small().decode_bytes([i]) for i in range(256)) == [bytes([b]) for b in range(256)]


def test_end_of_text_in_a_document_is_text_and_its_id_is_the_last() -> None:
    ids = small().encode(f"a{END_OF_TEXT}b")
    assert small().eot_id == small().vocab_size - 1
    assert small().eot_id not in ids
    assert small().decode(ids) == f"a{END_OF_TEXT}b"
    assert small().decode([small().eot_id]) == END_OF_TEXT


def test_a_cut_character_decodes_to_the_replacement_character() -> None:
    assert small().decode(small().encode_bytes("é".encode()[:1])) == "�"


def test_half_a_surrogate_pair_is_an_error_that_says_where() -> None:
    for encode in (small().encode, lambda text: small().encode_batch(["fine", text])):
        with pytest.raises(UserError, match=r"'abc': half a surrogate pair \('\\ud800'\) at character 3"):
            encode("abc\ud800def")


@pytest.mark.parametrize("package", ["fastokens", "none"])
def test_padding_and_truncation_in_the_file_change_nothing(monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    if package == "none":
        monkeypatch.setitem(sys.modules, "fastokens", None)
    config = json.loads(DATA)
    config["truncation"] = {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0}
    config["padding"] = {
        "strategy": {"Fixed": 64},
        "direction": "Right",
        "pad_to_multiple_of": None,
        "pad_id": 0,
        "pad_type_id": 0,
        "pad_token": "!",
    }
    assert Tokenizer(json.dumps(config).encode()).encode(TEXTS[0]) == small().encode(TEXTS[0])


def test_load_answers_bad_files_clearly(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such tokenizer"):
        Tokenizer.load(str(tmp_path / "none.json"))
    cut = tmp_path / "cut.json"
    cut.write_bytes(DATA[:-100])
    with pytest.raises(CorruptFile, match=r"cut\.json: not a tokenizer file"):
        Tokenizer.load(str(cut))
    other = tmp_path / "other.json"
    other.write_text('{"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}')
    with pytest.raises(UserError, match="its model is WordLevel"):
        Tokenizer.load(str(other))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda c: c["added_tokens"][0].update(special=False), "could become the control token '<|endoftext|>'"),
        (lambda c: c["added_tokens"].clear(), "it has no <|endoftext|>"),
        (lambda c: c["model"].update(dropout=0.1), "dropout"),
        (lambda c: c["pre_tokenizer"].update(add_prefix_space=True), "GPT-2's pattern"),
        (lambda c: c["pre_tokenizer"].update(use_regex=False), "GPT-2's pattern"),
        (lambda c: c.update(pre_tokenizer=None), "GPT-2's pattern"),
        (lambda c: c.update(normalizer={"type": "Lowercase"}), "changes the text"),
        (lambda c: c["model"].update(vocab={"ab": 0}, merges=[]), "gaps|not every byte"),
        (lambda c: c["model"].update(end_of_word_suffix="</w>"), "there is no <unk>"),
    ],
)
def test_a_tokenizer_that_would_lose_text_or_take_text_for_control_is_refused(
    change: Callable[[dict[str, Any]], object], why: str
) -> None:
    config = json.loads(DATA)
    change(config)
    with pytest.raises(UserError, match=f"neither a byte-level BPE tokenizer as GPT-2's.*(?:{why})"):
        Tokenizer(json.dumps(config).encode())


def _paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += _paths(inner, (*path, key))
    return found


PATHS = _paths(json.loads(DATA))
ODD = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3) | st.just([]) | st.just({})


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(PATHS) | st.sampled_from([path for path in PATHS if len(path) < 3]), ODD)
def test_a_file_with_any_value_replaced_loads_or_is_refused_clearly(path: tuple[Any, ...], value: Any) -> None:
    config = json.loads(DATA)
    inner = config
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    try:
        found = Tokenizer(json.dumps(config).encode())
    except UserError as error:
        assert re.match(r"tokenizer\.json: ", str(error))
    else:
        text = "the worst of café"
        assert found.decode(found.encode(text)) == text


@settings(max_examples=200, deadline=None)
@given(st.integers(0, len(DATA) - 1), st.binary(max_size=4), st.integers(0, 40))
def test_a_file_with_any_bytes_replaced_loads_or_is_refused_clearly(start: int, put: bytes, cut: int) -> None:
    try:
        found = Tokenizer(DATA[:start] + put + DATA[start + cut :])
    except UserError:
        return
    assert found.decode(found.encode("the worst of café")) == "the worst of café"
