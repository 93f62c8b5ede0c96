from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from overlap_corpus import decontaminated, write_set
from small_corpus import document, words, write_documents

from data_prep.documents import read_rows
from data_prep.ngrams import NgramSet, ngram_hashes
from data_prep.overlap.decontaminate import FORM, DecontaminateSettings, piece_id
from data_prep.overlap.pieces import pieces

LINE = "This is a @line #containing a certain number of characters, 76 to be exact. "
FILTH = "FILTH. lots of dirty filtHy FIlTh "


def spans(text: str, contaminants: tuple[str, ...], n: int, window: int) -> list[tuple[int, int]]:
    hashes = np.unique(np.concatenate([ngram_hashes(item, n, FORM) for item in contaminants]))
    found = NgramSet(hashes, n, FORM).find(text)
    return pieces(len(text), zip(found.start.tolist(), found.end.tolist(), strict=True), window)


def kept(folder: Path) -> list[Any]:
    return [row for path in sorted((folder / "decontaminate").glob("part-*")) for row in read_rows(str(path))]


def removed(folder: Path) -> list[dict[str, Any]]:
    files = sorted((folder / "decontaminate" / "removed").glob("*"))
    return [row for path in files for row in pq.read_table(path).to_pylist()]


# What lm-evaluation-harness 0.4 expects of its janitor (tests/test_janitor.py), rewritten.
START = 3 * LINE + "This is a @line #containing "
END = " characters, 76 to be exact. "


@pytest.mark.parametrize(
    ("text", "contaminants", "n", "expected"),
    [
        (6 * LINE + "FILTH. " + 5 * LINE, ["filth"], 1, [START]),
        (6 * LINE + "FILTH. " + 6 * LINE, ["filth"], 1, [START, END + 3 * LINE]),
        (6 * LINE + FILTH + 6 * LINE, ["filth lots of dirty filthy filth"], 6, [START, END + 3 * LINE]),
        (
            6 * LINE + FILTH + 7 * LINE + FILTH + 6 * LINE,
            ["filth lots of dirty filthy filth"],
            6,
            [START, END + LINE + "This is a @line #containing ", END + 3 * LINE],
        ),
        (
            6 * LINE + FILTH + 6 * LINE + "FILTH. lots of filtHy dirty FIlTh " + 6 * LINE,
            ["filth lots of dirty filthy filth", "filth lots of filthy dirty filth"],
            6,
            [START, END + 3 * LINE],
        ),
    ],
)
def test_agrees_with_the_janitor(text: str, contaminants: list[str], n: int, expected: list[str]) -> None:
    found = [text[start:end] for start, end in spans(text, tuple(contaminants), n, 200)]
    assert [piece for piece in found if len(piece) >= 200] == [piece for piece in expected if len(piece) >= 200]


@given(st.integers(0, 2**32), st.integers(1, 6))
def test_agrees_with_the_janitor_on_random_texts(seed: int, n: int) -> None:
    janitor = pytest.importorskip("lm_eval.decontamination.janitor")
    rng = random.Random(seed)
    filth = " ".join(rng.choice(["Xa,", "xb", "XC", "xd!"]) for _ in range(n))
    clean = " ".join(rng.choice(["Some", "words.", "that's", "it,", "(more)"]) for _ in range(40))
    text = "\n".join(rng.choice([clean, clean, filth]) for _ in range(12)) + " " + clean
    peer = janitor.Janitor(n, 50, 10**9, 40)
    peer.register_contaminant_python(filth)
    # It keeps a character more before a piece that another cut follows (see `data_prep.overlap.decontaminate`).
    expected = []
    for start, end in spans(text, (filth,), n, 50):
        last = end == len(text)
        piece = text[start if last else max(0, start - 1) : end]
        if len(piece) > 40 or (last and len(piece) == 40):
            expected.append(piece)
    assert peer.clean_python(text) == expected


def sentence(rng: random.Random, count: int) -> str:
    return " ".join("".join(rng.choice("abcdefghijklmnop") for _ in range(6)) for _ in range(count))


@pytest.fixture
def made() -> tuple[random.Random, str, str]:
    """A generator, a question of 20 words, a phrase of 13 that is common."""
    rng = random.Random(4)
    return rng, sentence(rng, 20), sentence(rng, 13)


def test_documents_are_cut_dropped_or_left_alone(tmp_path: Path, made: tuple[random.Random, str, str]) -> None:
    rng, question, common = made
    before, after, clean = sentence(rng, 100), sentence(rng, 100), sentence(rng, 10)
    middle = sentence(rng, 100)
    mixed = question.upper().replace(" ", ", \n")
    other = " ".join(f"q{i}" for i in range(13))
    refs = write_documents(
        tmp_path / "in",
        [document(0, f"{before} {mixed} {after}"), document(1, clean), document(2, f"short {question} text")],
        [document(3, " ".join([middle, other] * 10 + [middle])), document(4, f"{before} {other} {after}")],
        [document(10 + i, f"{common} {i} {sentence(rng, 50)}") for i in range(11)],
    )
    sets = {
        "quiz": write_set(tmp_path / "quiz.jsonl", [question, other, common]),
        "more": write_set(tmp_path / "more.jsonl", [other, common, sentence(rng, 30)]),
    }
    folder, manifests = decontaminated(tmp_path, refs, sets)
    rows = kept(folder)
    pages = {}
    for row in rows:
        pages.setdefault(row["url"], []).append(row)

    def texts(number: int) -> list[str]:
        return [row["text"] for row in pages.get(f"https://example.org/{number}", [])]

    assert texts(0) == [before[:-199], after[199:]]
    assert texts(1) == [clean]
    assert texts(4) == [before[:-199], after[199:]]
    assert all(len(texts(10 + i)) == 1 and texts(10 + i)[0].startswith(common) for i in range(11))
    gone = {row["id"]: row for row in removed(folder)}
    assert {int(id, 16): row["detail"] for id, row in gone.items()} == {
        2: "quiz: no piece of 200 characters",
        3: "more, quiz: 11 pieces",
    }
    assert {row["reason"] for row in gone.values()} == {"contaminated"}
    assert gone[f"{3:032x}"]["score"] == 10
    totals = manifests["decontaminate"].totals
    assert (totals.rows_in, totals.rows_out, totals.dropped) == (16, 16, {"contaminated": 2})
    assert totals.extra["documents_cut"] == totals.extra["further_pieces"] == 2
    first, second = pages["https://example.org/0"]
    assert (first["id"], second["id"]) == (f"{0:032x}", piece_id(f"{0:032x}", 1))
    facts = json.loads(second["metadata"])["decontaminated"]
    whole = f"{before} {mixed} {after}"
    assert whole[facts["start"] :] == second["text"]
    assert facts == {"piece": 1, "pieces": 2, "start": facts["start"], "characters": len(whole), "sets": ["quiz"]}
    assert len({row["id"] for row in rows}) == len(rows)
    assert manifests["contaminants"].summary["quiz"].startswith("9 of 10 distinct n-grams will be cut out; 1 more")
    assert manifests["contaminants"].summary["more"].startswith("1 of 20 distinct n-grams will be cut out; 1 more")


def test_a_phrase_of_ten_documents_is_cut_and_one_of_eleven_not(
    tmp_path: Path, made: tuple[random.Random, str, str]
) -> None:
    """A document counts once, however often the phrase stands in it."""
    rng, _, common = made
    path = write_set(tmp_path / "quiz.jsonl", [common])
    for count in (10, 11):
        texts = [f"{sentence(rng, 60)} {common} {common} {i}" for i in range(count)]
        refs = write_documents(tmp_path / f"in{count}", *([document(i, text)] for i, text in enumerate(texts)))
        folder, _ = decontaminated(tmp_path / str(count), refs, {"quiz": path})
        left = [row["text"] for row in kept(folder)]
        assert (left == texts) == (count == 11)
        assert (len(left) == 10 and not any(common in text for text in left)) == (count == 10)


def test_the_bytes_do_not_depend_on_task_order(tmp_path: Path, made: tuple[random.Random, str, str]) -> None:
    rng, question, _ = made
    texts = [f"{words(rng, 80)} {question} {words(rng, 90)}" if i % 3 else words(rng, 40) for i in range(20)]
    refs = write_documents(tmp_path / "in", *([document(i, texts[i]) for i in range(k, 20, 4)] for k in range(4)))
    path = write_set(tmp_path / "quiz.jsonl", [question])
    hashes = []
    for reverse in (False, True):
        folder, _ = decontaminated(tmp_path / str(reverse), refs, {"quiz": path}, reverse=reverse, max_documents=20)
        parts = sorted((folder / "decontaminate").glob("*/*")) + sorted((folder / "decontaminate").glob("part-*"))
        hashes.append([(p.name, hashlib.sha256(p.read_bytes()).hexdigest()) for p in parts if p.suffix == ".parquet"])
    assert hashes[0] == hashes[1]
    assert any(row["id"] == piece_id(row["id"], 0) and "decontaminated" in row["metadata"] for row in kept(folder))


def test_nothing_in_gives_nothing_out(tmp_path: Path, made: tuple[random.Random, str, str]) -> None:
    path = write_set(tmp_path / "quiz.jsonl", [made[1]])
    _, manifests = decontaminated(tmp_path, write_documents(tmp_path / "in", []), {"quiz": path})
    assert manifests["decontaminate"].totals.rows_out == 0


def test_the_defaults_are_the_papers() -> None:
    given = DecontaminateSettings()
    assert (given.ngram, given.max_documents, given.window, given.min_chars, given.max_pieces) == (13, 10, 200, 200, 10)


def test_ids_of_pieces_are_ids() -> None:
    id = f"{7:032x}"
    ids = [piece_id(id, number) for number in range(3)]
    assert ids[0] == id
    assert len(set(ids)) == 3
    assert all(len(item) == 32 and set(item) <= set("0123456789abcdef") for item in ids)
