from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vocabularies import GPT1, GPT2, ROOT, TEXTS, corpus, gpt2, needs_data

from data_prep.errors import CorruptFile, UserError
from data_prep.tokenizer import END_OF_TEXT, Tokenizer, published, train

DASHES = "an em—dash, an en–dash, a bar―, an ellipsis…, an acute´s"


def write(folder: Path, vocabulary: object, merges: str) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "vocab.json").write_text(vocabulary if isinstance(vocabulary, str) else json.dumps(vocabulary))
    (folder / "merges.txt").write_text(merges)
    return str(folder)


def small_files(folder: Path) -> str:
    model = json.loads(train(iter(TEXTS), 320))["model"]
    lines = "".join(f"{left} {right}\n" for left, right in model["merges"])
    return write(folder, model["vocab"], f"#version: 0.2\n{lines}")


def test_a_pair_of_files_gives_the_very_tokenizer_they_were_taken_from(tmp_path: Path) -> None:
    data = train(iter(TEXTS), 320)
    assert published.read(small_files(tmp_path)) == data
    (tmp_path / "tokenizer.json").write_bytes(data)
    assert published.read(str(tmp_path / "tokenizer.json")) == published.read(str(tmp_path)) == data


@pytest.mark.parametrize(
    ("vocabulary", "merges", "error"),
    [
        ("{", "", r"vocab\.json: not valid JSON"),
        ([1], "", r"vocab\.json: not a table of tokens"),
        ({"a": True}, "", r"vocab\.json: not a table of tokens"),
        ({"a": 0, "b": 2}, "", r"vocab\.json: the ids are not 0, 1, 2"),
        ({END_OF_TEXT: 0, "b": 1}, "", r"vocab\.json: <\|endoftext\|> is not the last id"),
        ({"a": 0, "b": 1, "ab": 2}, "#version: 0.2\na b\na\n", r"merges\.txt:3: not a merge of two tokens"),
        ({"a": 0, "b": 1, "ab": 2}, "a c\n", r"merges\.txt: does not fit .*vocab\.json"),
    ],
)
def test_files_that_hold_no_vocabulary_are_named(tmp_path: Path, vocabulary: object, merges: str, error: str) -> None:
    with pytest.raises(CorruptFile, match=error):
        published.read(write(tmp_path, vocabulary, merges))


def test_a_place_without_a_vocabulary_says_what_is_looked_for(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none", tmp_path / "none.json"):
        with pytest.raises(
            UserError, match=r"no vocabulary here; give a tokenizer\.json, or a folder with .*vocab\.bpe"
        ):
            published.read(str(path))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(["vocab.json", "merges.txt"]), st.floats(0, 1), st.binary(max_size=4), st.integers(0, 30))
def test_damaged_files_load_or_are_refused_clearly(
    tmp_path_factory: pytest.TempPathFactory, name: str, place: float, put: bytes, cut: int
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    small_files(folder)
    data = (folder / name).read_bytes()
    start = int(place * len(data))
    (folder / name).write_bytes(data[:start] + put + data[start + cut :])
    try:
        Tokenizer(published.read(str(folder)))
    except UserError:
        pass
    finally:
        shutil.rmtree(folder)


@needs_data
def test_every_published_vector_of_gpt2() -> None:
    ours, _ = gpt2()
    assert (ours.vocab_size, ours.eot_id) == (50_257, 50_256)
    vectors = [json.loads(line) for line in (GPT2 / "test_vectors.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(vectors) == 107
    assert [ours.encode(vector["text"]) for vector in vectors] == [vector["ids"] for vector in vectors]
    assert [ours.decode(vector["ids"]) for vector in vectors] == [vector["text"] for vector in vectors]


@needs_data
def test_the_number_of_tokens_that_nanogpt_publishes_for_tiny_shakespeare() -> None:
    (path,) = sorted((ROOT / "references").rglob("*shakespeare*.txt"))
    text = path.read_text(encoding="utf-8")
    cut = int(len(text) * 0.9)
    assert [len(ids) for ids in gpt2()[0].encode_batch([text[:cut], text[cut:]])] == [301_966, 36_059]


@needs_data
def test_gpt1_gives_the_ids_of_the_published_port() -> None:
    transformers = pytest.importorskip("transformers.models.openai.tokenization_openai")
    ours = Tokenizer(published.read(str(GPT1)))
    assert (ours.kind, ours.vocab_size, ours.eot_id, ours.unknown_id) == ("gpt1", 40_479, 40_478, 0)
    vocabulary = json.loads((GPT1 / "encoder_bpe_40000.json").read_text(encoding="utf-8"))
    lines = (GPT1 / "vocab_40000.bpe").read_text(encoding="utf-8").split("\n")[1:-1]
    port = transformers.OpenAIGPTTokenizer(vocab=vocabulary, merges=[tuple(line.split(" ")) for line in lines])
    texts = [*TEXTS, *corpus("text_en")[:60], *corpus("text_multi")[:60]]
    standardised = [
        text.replace("—", "-").replace("–", "-").replace("―", "-").replace("…", "...").replace("´", "'")
        for text in texts
    ]
    for text, same, ids in zip(texts, standardised, ours.encode_batch(texts), strict=True):
        # The port takes <unk> in a text for the control token; here it is text.
        assert ids == port(same.replace("<unk>", ""), add_special_tokens=False)["input_ids"], text[:80]
    assert (
        ours.decode(ours.encode(DASHES)) == "an em - dash , an en - dash , a bar - , an ellipsis . . . , an acute ' s "
    )
    assert ours.unknown(np.array(ours.encode("a ☃ b"), np.uint32)) == 1
    assert ours.unknown_id not in ours.encode("<unk>")
