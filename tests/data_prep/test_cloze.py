from __future__ import annotations

import random
from collections import Counter

import pytest
from small_corpus import words

from data_prep.cloze import ChoiceSettings, ChoiceTask, passage
from data_prep.errors import UserError
from data_prep.paragraphs import Paragraph, paragraphs

SETTINGS = ChoiceSettings(items=50, context_words=5, ending_words=3, per_document=2)


def corpus(documents: int) -> list[list[Paragraph]]:
    rng = random.Random(0)
    return [list(paragraphs(f"d{i}", "\n".join(words(rng, 12) for _ in range(4)), 8)) for i in range(documents)]


def rows(held_out: list[list[Paragraph]], training: list[list[Paragraph]]) -> list[dict]:  # type: ignore[type-arg]
    task = ChoiceTask(SETTINGS)
    for kind, documents in ((True, held_out), (False, training)):
        for document in documents:
            task.offer(document, kind)
    task.close()
    for kind, documents in ((True, held_out), (False, training)):
        for document in documents:
            task.see(document, kind)
    return task.rows()


def test_a_passage_is_the_text_as_it_stands() -> None:
    (paragraph,) = paragraphs("d", "  a b  c d e f g h i", 1)
    found = passage(paragraph, SETTINGS)
    assert found is not None
    assert (found.context, found.ending) == ("a b  c d e", "f g h")
    assert passage(next(paragraphs("d", "a b c d e f g", 1)), SETTINGS) is None
    assert passage(next(paragraphs("d", "a b c d e  f g h", 1)), SETTINGS) is None


def test_the_answer_is_the_true_ending_and_the_others_are_of_other_documents() -> None:
    documents = corpus(20)
    owner = {passage(p, SETTINGS).ending: p.document for d in documents for p in d}  # type: ignore[union-attr]
    text = {p.id: p.text for d in documents for p in d}
    found = rows(documents, corpus(0))
    assert len(found) == 40
    for row in found:
        assert len(row["choices"]) == len(set(row["choices"])) == 4
        assert {len(choice.split()) for choice in row["choices"]} == {3}
        assert text[row["id"]].startswith(f"{row['context']} {row['choices'][row['answer']]}")
        assert len({owner[choice] for choice in row["choices"]}) == 4
    assert Counter(row["answer"] for row in found).keys() == {0, 1, 2, 3}
    assert max(Counter(row["id"].split(":")[0] for row in found).values()) == 2


def test_what_stands_in_training_documents_is_no_question() -> None:
    documents = corpus(20)
    known = [documents[3]]
    found = rows(documents, known)
    assert not {row["id"].split(":")[0] for row in found} & {"d3"}
    assert rows(documents, [])[0] in rows(documents, [])
    assert any(row["id"].startswith("d3:") for row in rows(documents, []))


def test_too_few_documents_are_an_error() -> None:
    with pytest.raises(UserError, match=r"tasks\.choice: 3 held-out documents"):
        rows(corpus(3), [])
