"""Each reader on a small file in the form in which its set is published."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.errors import UserError
from pipeline.config.evaluate_suite import SetFiles
from pipeline.evaluate.suite.arithmetic import rows_of
from pipeline.evaluate.suite.formats import FORMATS, files_of, read_rows, read_text


def lines(*rows: Any) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


CBT = "".join(f"{n} Sentence number {n} , he said .\n" for n in range(1, 21))
CBT += "21 `` I saw the XXXXX , '' said Tom .\tcat\t\tcat|dog|cow|pig|hen|fox|ant|bee|owl|rat\n\n"
SCHEMAS = """<collection><schema>
<text><txt1>The trophy doesn't fit into the suitcase because</txt1><pron>it</pron><txt2>is too large.</txt2></text>
<quote><quote1/><pron>it</pron><quote2>is too large.</quote2></quote>
<answers><answer>The trophy</answer><answer>The suitcase</answer></answers>
<correctAnswer>A.</correctAnswer><source>x</source>
</schema></collection>"""
STORY = (
    "InputStoryid,InputSentence1,InputSentence2,InputSentence3,InputSentence4,"
    'RandomFifthSentenceQuiz1,RandomFifthSentenceQuiz2,AnswerRightEnding\nid,"Rick, a boy.",B.,C.,D.,E.,F.,2\n'
)

CASES: dict[str, tuple[str | dict[str, str], dict[str, Any], list[dict[str, Any]]]] = {
    "jsonl": (
        lines({"query": "Q", "opts": ["a", "b"], "gold": 1}),
        {"rename": {"choices": "opts", "answer": "gold"}},
        [{"query": "Q", "choices": ["a", "b"], "answer": 1}],
    ),
    "last-word": (
        lines({"text": "He ate the\n\nlast word"}),
        {},
        [{"context": "He ate the\n\nlast", "answers": ["word"]}],
    ),
    "tsv": (
        'sentence\tlabel\na "good film \t1\nbad\t0\n',
        {"labels": ["negative", "positive"]},
        [
            {"sentence": 'a "good film ', "label": 1, "choices": ["negative", "positive"], "answer": 1},
            {"sentence": "bad", "answer": 0},
        ],
    ),
    "hellaswag": (
        lines(
            {
                "activity_label": "Removing ice",
                "ctx_a": "[header] How to [title] Scrape.",
                "ctx_b": "then he",
                "endings": ["[step] goes on", "b", "c", "d"],
                "label": 0,
            }
        ),
        {},
        [{"context": "Removing ice: How to. Scrape. Then he", "choices": ["goes on", "b", "c", "d"], "answer": 0}],
    ),
    "hellaswag-text": (
        "Roof: A man\n3\na\nb\nc\nd\nClean: B\n0\ne\nf\ng\nh\n",
        {},
        [
            {"context": "Roof: A man", "choices": ["a", "b", "c", "d"], "answer": 3},
            {"context": "Clean: B", "choices": ["e", "f", "g", "h"], "answer": 0},
        ],
    ),
    "piqa": (
        {"set.jsonl": lines({"goal": "open it", "sol1": "pull", "sol2": "push"}), "set-labels.lst": "1\n"},
        {},
        [{"goal": "open it", "choices": ["pull", "push"], "answer": 1}],
    ),
    "arc": (
        lines(
            {
                "id": "x",
                "question": {
                    "stem": "Which?",
                    "choices": [{"text": "ice", "label": "1"}, {"text": "sun", "label": "2"}],
                },
                "answerKey": "2",
            }
        ),
        {},
        [{"question": "Which?", "choices": ["ice", "sun"], "answer": 1}],
    ),
    "race": (
        {
            "set/1.txt": json.dumps(
                {
                    "article": "Text.",
                    "questions": ["One?", "Two?"],
                    "options": [["a", "b", "c", "d"], ["e", "f", "g", "h"]],
                    "answers": ["B", "D"],
                }
            )
        },
        {},
        [
            {"article": "Text.", "solved": "", "question": "One?", "answer": 1},
            {"article": "Text.", "solved": "Q: One?\n\nA: b\n\n", "question": "Two?", "answer": 3},
        ],
    ),
    "copa": (
        lines(
            {
                "premise": "It rained.",
                "choice1": "All was wet.",
                "choice2": "I slept.",
                "question": "effect",
                "label": 0,
            }
        ),
        {},
        [{"premise": "It rained", "joint": "therefore", "choices": ["all was wet.", "i slept."], "answer": 0}],
    ),
    "boolq": (
        lines(
            {"question": "is it so", "passage": "P", "idx": 0, "label": True},  # SuperGLUE's
            {"question": "is it so", "title": "T", "answer": False, "passage": "P"},  # the authors'
        ),
        {},
        [{"question": "is it so", "choices": ["no", "yes"], "answer": 1}, {"answer": 0}],
    ),
    "winogrande": (
        lines({"sentence": "Ann beat Eve, so _ was glad.", "option1": "Ann", "option2": "Eve", "answer": "1"}),
        {},
        [{"before": "Ann beat Eve, so ", "after": "was glad.", "choices": ["Ann", "Eve"], "answer": 0}],
    ),
    "winograd-xml": (
        SCHEMAS,
        {},
        [
            {
                "before": "The trophy doesn't fit into the suitcase because ",
                "after": "is too large.",
                "choices": ["the trophy", "the suitcase"],
                "answer": 0,
            }
        ],
    ),
    "story-cloze": (STORY, {}, [{"context": "Rick, a boy. B. C. D.", "choices": ["E.", "F."], "answer": 1}]),
    "trivia-qa": (
        json.dumps({"Data": [{"Question": "Who?", "Answer": {"Value": "Ann", "Aliases": ["Ann", "A. B."]}}]}),
        {},
        [{"question": "Who?", "answers": ["Ann", "Ann", "A. B."]}],
    ),
    "web-questions": (
        json.dumps(
            [
                {
                    "url": "x",
                    "targetValue": '(list (description "Jazmyn B. (Bieber)") (description Jaxon))',
                    "utterance": "who is it?",
                }
            ]
        ),
        {},
        [{"question": "who is it?", "answers": ["Jazmyn B. (Bieber)", "Jaxon"]}],
    ),
    "natural-questions": (
        lines({"question": "who", "answer": ["Ann", "Eve"]}),
        {},
        [{"question": "who", "answers": ["Ann", "Eve"]}],
    ),
    "coqa": (
        json.dumps(
            {
                "data": [
                    {
                        "story": "S",
                        "questions": [{"input_text": "Who?"}, {"input_text": "Why?"}],
                        "answers": [{"input_text": "Ann"}, {"input_text": "so"}],
                        "additional_answers": {"0": [{"input_text": "Anna"}, {"input_text": "thus"}]},
                    }
                ]
            }
        ),
        {"between": "\n\n"},
        [
            {"story": "S", "history": "", "question": "Who?", "answers": ["Ann", "Anna"]},
            {"history": "Q: Who?\n\nA: Ann\n\n", "question": "Why?", "answers": ["so", "thus"]},
        ],
    ),
    "cnn-dm": (
        {"set/1.story": "Text here.\n\n@highlight\n\nFirst\n\n@highlight\n\nSecond"},
        {},
        [{"article": "Text here.", "answers": ["First\nSecond"]}],
    ),
    "parallel": (
        {"set.en": "a\u2028cat\nno\n", "set.fr": "un chat\nnon\n"},
        {"source": "en", "target": "fr"},
        [{"source": "a\u2028cat", "answers": ["un chat"]}, {"source": "no", "answers": ["non"]}],
    ),
    "cbt": (
        CBT + CBT,
        {},
        [{"lead": " ", "after": '," said Tom.', "answer": 0}, {"answer": 0}],
    ),
}


def write(folder: Path, content: str | dict[str, str]) -> str:
    for name, text in {"set": content}.items() if isinstance(content, str) else content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return "set.jsonl" if isinstance(content, dict) and "set.jsonl" in content else "set"


@pytest.mark.parametrize("form", CASES)
def test_rows_of_the_published_form(form: str, tmp_path: Path) -> None:
    content, options, expected = CASES[form]
    data = SetFiles(path=write(tmp_path, content), format=form, options=options)
    rows = read_rows(str(tmp_path), data)
    assert [{name: row[name] for name in want} for row, want in zip(rows, expected, strict=True)] == expected
    assert all(Path(file).exists() for file in files_of(str(tmp_path), data))


def test_every_format_has_a_case() -> None:
    assert {*CASES, "arithmetic", "book-cloze"} == set(FORMATS)


@pytest.mark.parametrize(
    ("form", "content", "options", "message"),
    [
        ("jsonl", lines({"a": 1}) + "{\n", {}, r"set, line 2: not a record of the format 'jsonl' \(JSONDecodeError"),
        ("jsonl", lines({"a": 1}), {"rename": {"choices": "b"}}, r"set, line 1: not a record .* \(KeyError: 'b'\)"),
        ("jsonl", lines({"choices": ["a"], "answer": 0}), {}, "line 1: .*two or more choices"),
        ("jsonl", lines({"choices": ["a", "b"], "answer": 2}), {}, "line 1: .*the answer 2 is none of 2 choices"),
        ("last-word", lines({"text": "word"}), {}, "line 1: .*more than one word"),
        ("hellaswag-text", "a\n1\nb\nc\nd\ne\nf\n", {}, "set, end of file: not a record"),
        ("winogrande", lines({"sentence": "no blank", "option1": "a", "option2": "b", "answer": "1"}), {}, "line 1"),
        ("winograd-xml", "<a>", {}, r"set: not XML"),
        ("boolq", lines({"question": "q", "passage": "p", "answer": "yes"}), {}, "neither true nor false"),
        (
            "race",
            json.dumps({"article": "T", "questions": ["q"], "options": [["a", "b", "c", "d"]], "answers": [""]}),
            {},
            "not a record of the format 'race' \\(ValueError",
        ),
        ("winograd-xml", SCHEMAS.replace("A.", " "), {}, "schema 1: not a record"),
        ("cbt", CBT.replace("20 Sentence", "19 Sentence"), {}, "line 21: .*not numbered from 1 to 21"),
        ("jsonl", "", {}, "the set holds no examples"),
        ("jsonl", lines({"a": "x"}), {"rename": {"answers": ["a", "b"]}}, r"line 1: .* \(KeyError: 'b'\)"),
        ("web-questions", '[{"utterance": "q", "targetValue": "(list)"}]', {}, "needs one or more answers"),
        ("parallel", "", {"source": "en"}, "set: the format 'parallel' needs the option 'target'"),
        ("tsv", "label\n" + "1" * 200_000, {}, r"set, line 2: not a row of a table \(field larger"),
        ("nothing", "", {}, "no such format of evaluation sets: 'nothing'; use one of arc, arithmetic"),
        ("arithmetic", "", {"operation": "/", "digits": 2}, "generated arithmetic: .*operation must be one of"),
        ("book-cloze", "Too short.", {"type": "noun"}, "the book is too short"),
    ],
)
def test_a_bad_record_is_named(form: str, content: str, options: Any, message: str, tmp_path: Path) -> None:
    write(tmp_path, content)
    csv.field_size_limit(1 << 17)  # Python's own, which other readers raise
    with pytest.raises(UserError, match=message):
        read_rows(str(tmp_path), SetFiles(path="set", format=form, options=options))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"none.en: no such evaluation file"):
        read_rows(str(tmp_path), SetFiles(path="none", format="parallel", options={"source": "en", "target": "fr"}))
    with pytest.raises(UserError, match="no such evaluation file"):
        read_text(str(tmp_path), SetFiles(path="none", format="text"))


def test_parallel_files_must_be_parallel(tmp_path: Path) -> None:
    write(tmp_path, {"set.en": "a\n", "set.fr": "b\nc\n"})
    with pytest.raises(UserError, match="1 and 2 lines in parallel files"):
        read_rows(str(tmp_path), SetFiles(path="set", format="parallel", options={"source": "en", "target": "fr"}))


def test_each_row_of_piqa_needs_its_label(tmp_path: Path) -> None:
    write(tmp_path, {"set.jsonl": lines({"goal": "g", "sol1": "a", "sol2": "b"}), "set-labels.lst": "1\n0\n"})
    with pytest.raises(UserError, match=r"set.jsonl: 1 lines and 2 labels"):
        read_rows(str(tmp_path), SetFiles(path="set.jsonl", format="piqa"))


def test_answers_of_several_fields_are_one_list(tmp_path: Path) -> None:
    write(tmp_path, lines({"answer": "Onion", "aliases": ["Onion skins", "Onion"]}))
    data = SetFiles(path="set", format="jsonl", options={"rename": {"answers": ["answer", "aliases"]}})
    assert read_rows(str(tmp_path), data)[0]["answers"] == ["Onion", "Onion skins", "Onion"]


def test_the_last_bytes_of_a_text(tmp_path: Path) -> None:
    (tmp_path / "text").write_bytes(b"abcdef")
    assert read_text(str(tmp_path), SetFiles(path="text", format="text", options={"last": 2})) == b"ef"
    with pytest.raises(UserError, match="the option `last` is 'all', no number of bytes"):
        read_text(str(tmp_path), SetFiles(path="text", format="text", options={"last": "all"}))
    with pytest.raises(UserError, match="has 6 bytes, too few"):
        read_text(str(tmp_path), SetFiles(path="text", format="text", options={"last": 7}))


@settings(max_examples=30)
@given(st.sampled_from(["+", "-", "*", "composite"]), st.integers(1, 6), st.integers(0, 99))
def test_arithmetic_is_right_repeatable_and_without_repeats(operation: str, digits: int, seed: int) -> None:
    rows = rows_of(operation, digits, 50, seed)
    assert rows == rows_of(operation, digits, 50, seed)
    assert len({row["problem"] for row in rows}) == 50
    for row in rows:
        asked = row["problem"].replace("plus", "+").replace("minus", "-").replace("times", "*")
        assert [str(eval(asked))] == row["answers"]
        assert all(len(number) <= digits for number in asked.translate(str.maketrans("()+-*", "     ")).split())


def test_a_book_becomes_questions_of_one_type(tmp_path: Path) -> None:
    nouns = ["cat", "dog", "hat", "boat", "moon", "road", "tree", "river", "house", "stone", "bird"]
    text = "*** START OF THE BOOK ***\n\nCHAPTER I\n\n"
    for number in range(60):
        text += f"Then Tom saw the {nouns[number % 11]} and the {nouns[number % 7]} of his friend Bob, he said.\n\n"
    text += "*** END OF THE BOOK ***\nNobody reads the licence of the book."
    (tmp_path / "book").write_text(text, encoding="utf-8")
    rows = read_rows(str(tmp_path), SetFiles(path="book", format="book-cloze", options={"type": "noun"}))
    assert len(rows) == 2
    for row in rows:
        assert len(row["choices"]) == 10 == len(set(row["choices"]))
        assert set(row["choices"]) <= set(nouns)
        answer = row["choices"][row["answer"]]
        assert answer in row["context"]
        assert "licence" not in row["context"]
        whole = f"{row['context']}{row['lead']}{answer}{row['after']}"
        assert whole in " ".join(text.split())
