"""Records of published evaluation sets as rows, a function for each set's form."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from xml.etree import ElementTree

import orjson

from pipeline.evaluate.suite.records import Options

Row = dict[str, Any]
_DESCRIPTION = re.compile(r'\(description (?:"([^"]*)"|([^()"]+))\)')


def renamed(line: str, options: Options) -> Row:
    """Any JSON lines. `rename`: our field -> theirs; `answers` may name several fields, strings or lists of them."""
    row = dict(orjson.loads(line))
    for ours, theirs in options.get("rename", {}).items():
        row[ours] = row[theirs] if isinstance(theirs, str) else [row[one] for one in theirs]
    if isinstance(answers := row.get("answers"), str):
        row["answers"] = [answers.strip()]
    elif answers is not None:
        row["answers"] = [text for one in answers for text in ([one] if isinstance(one, str) else one)]
    return row


def labelled(record: Mapping[str, str], options: Options) -> Row:
    """A table with a label. `labels`: what each becomes as a choice, in the order of the numbers."""
    row: Row = dict(record)
    row["label"] = int(row["label"])
    if "labels" in options:
        row |= {"choices": list(options["labels"]), "answer": row["label"]}
    return row


def hellaswag(line: str, options: Options) -> Row:
    """HellaSwag, with texts as lm-evaluation-harness makes them but for spaces that its rules leave over."""
    record = orjson.loads(line)
    context = f"{record['activity_label']}: {record['ctx_a']} {record['ctx_b'].capitalize()}"
    return {
        "context": _without_brackets(context),
        "choices": [_without_brackets(ending) for ending in record["endings"]],
        "answer": int(record["label"]),
    }


def _without_brackets(text: str) -> str:
    """WikiHow's marks taken out."""
    return re.sub(r" +", " ", re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". "))).strip()


def hellaswag_text(block: list[str], options: Options) -> Row:
    """HellaSwag as lines of text: context, number of the right ending, four endings."""
    context, label, *endings = block
    return {"context": context, "choices": endings, "answer": int(label)}


def piqa(record: tuple[str, str], options: Options) -> Row:
    """PIQA: a row of the lines and its label."""
    row = orjson.loads(record[0])
    return {"goal": row["goal"], "choices": [row["sol1"], row["sol2"]], "answer": int(record[1])}


def arc(line: str, options: Options) -> Row:
    """ARC and OpenBookQA."""
    record = orjson.loads(line)
    choices = record["question"]["choices"]
    labels = [choice["label"] for choice in choices]
    return {
        "question": record["question"]["stem"],
        "choices": [choice["text"] for choice in choices],
        "answer": labels.index(record["answerKey"]),
    }


def race(text: str, options: Options) -> list[Row]:
    """RACE: a passage with its questions."""
    record = orjson.loads(text)
    solved = ""
    rows = []
    for question, choices, key in zip(record["questions"], record["options"], record["answers"], strict=True):
        answer = list("ABCD").index(key)
        rows.append(
            {"article": record["article"], "solved": solved, "question": question, "choices": choices, "answer": answer}
        )
        # GPT-3 (G.1): the passage's other questions stand solved before this one.
        solved += f"Q: {question}\n\nA: {choices[answer]}\n\n"
    return rows


def copa(line: str, options: Options) -> Row:
    """COPA of SuperGLUE; the choices go on within a sentence."""
    record = orjson.loads(line)
    joint = {"cause": "because", "effect": "therefore"}[record["question"]]
    choices = [record["choice1"], record["choice2"]]
    return {
        "premise": record["premise"].strip().removesuffix("."),
        "joint": joint,
        "choices": [choice[0].lower() + choice[1:] for choice in choices],
        "answer": int(record["label"]),
    }


def boolq(line: str, options: Options) -> Row:
    """BoolQ of SuperGLUE (`label`) or of its authors (`answer`)."""
    record = orjson.loads(line)
    answer = record["label"] if "label" in record else record["answer"]
    if not isinstance(answer, bool):
        raise ValueError("the answer is neither true nor false")
    return {**record, "choices": ["no", "yes"], "answer": int(answer)}


def winogrande(line: str, options: Options) -> Row:
    """Winogrande."""
    record = orjson.loads(line)
    before, after = record["sentence"].split("_")
    choices = [record["option1"], record["option2"]]
    return {"before": before, "after": after.strip(), "choices": choices, "answer": int(record["answer"]) - 1}


def winograd(schema: ElementTree.Element, options: Options) -> Row:
    """Winograd Schema Challenge."""

    def text(tag: str) -> str:
        found = schema.findtext(f".//{tag}")
        if found is None:
            raise KeyError(tag)
        return " ".join(found.split())

    before, after = text("text/txt1"), text("text/txt2")
    choices = [" ".join((answer.text or "").split()) for answer in schema.iter("answer")]
    if text("text/pron").lower() in ("his", "her", "their", "its"):
        choices = [f"{choice}'s" for choice in choices]
    if before:
        # Within a sentence a referent begins as an article would.
        choices = [re.sub(r"^(The|A|An|My|His|Her|Our|Their)\b", lambda m: m[0].lower(), choice) for choice in choices]
        before += " "
    answer = list("AB").index(text("correctAnswer").strip(" ."))
    return {"before": before, "after": after, "choices": choices, "answer": answer}


def story_cloze(record: Mapping[str, str], options: Options) -> Row:
    """StoryCloze."""
    return {
        "context": " ".join(record[f"InputSentence{number}"] for number in (1, 2, 3, 4)),
        "choices": [record["RandomFifthSentenceQuiz1"], record["RandomFifthSentenceQuiz2"]],
        "answer": int(record["AnswerRightEnding"]) - 1,
    }


def trivia_qa(text: str, options: Options) -> list[Row]:
    """TriviaQA."""
    rows = []
    for record in orjson.loads(text)["Data"]:
        answer = record["Answer"]
        rows.append({"question": record["Question"], "answers": [answer["Value"], *answer["Aliases"]]})
    return rows


def split_passage(text: str) -> tuple[str, str]:
    """(context, last word), without the space between.

    Raises:
        ValueError: it has one word only.
    """
    context, _, word = text.rstrip().rpartition(" ")
    if not context.strip() or not word:
        raise ValueError("a passage needs more than one word")
    return context, word


def last_word(line: str, options: Options) -> Row:
    """LAMBADA."""
    record = orjson.loads(line)
    context, word = split_passage(record["text"])
    return {"text": record["text"], "context": context, "answers": [word]}


def web_questions(text: str, options: Options) -> list[Row]:
    """WebQuestions: the answers are descriptions in a list of Lisp's form."""
    rows = []
    for record in orjson.loads(text):
        found = [quoted or bare for quoted, bare in _DESCRIPTION.findall(record["targetValue"])]
        rows.append({"question": record["utterance"], "answers": found})
    return rows


def natural_questions(line: str, options: Options) -> Row:
    """Natural Questions, open."""
    record = orjson.loads(line)
    answers = record["answer"]
    return {"question": record["question"], "answers": [answers] if isinstance(answers, str) else list(answers)}


def coqa(text: str, options: Options) -> list[Row]:
    """CoQA, a row for each turn. The option `between` stands behind each question and answer of the history."""
    rows = []
    between = options.get("between", "\n")
    for record in orjson.loads(text)["data"]:
        history = ""
        others = record.get("additional_answers", {}).values()
        for turn, (question, answer) in enumerate(zip(record["questions"], record["answers"], strict=True)):
            answers = [answer["input_text"], *(other[turn]["input_text"] for other in others)]
            rows.append(
                {
                    "story": record["story"],
                    "history": history,
                    "question": question["input_text"],
                    "answers": answers,
                }
            )
            history += f"Q: {question['input_text']}{between}A: {answer['input_text']}{between}"
    return rows


def story(text: str, options: Options) -> Row:
    """CNN and Daily Mail."""
    article, *highlights = (part.strip() for part in text.split("@highlight"))
    if not highlights:
        raise ValueError("no @highlight")
    return {"article": article, "answers": ["\n".join(highlights)]}
