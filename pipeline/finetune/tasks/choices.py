"""Data sets with several candidates, of which one is right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from data_prep import store
from data_prep.errors import UserError
from pipeline.finetune.tasks.form import PLACE, Form, Registered, table

_STORY = {
    "texts": [
        [f"InputSentence{n}" for n in (1, 2, 3, 4)],
        "RandomFifthSentenceQuiz1",
        "RandomFifthSentenceQuiz2",
    ],
    "label": "AnswerRightEnding",
    "labels": {1: 0, 2: 1},
    "id": "InputStoryid",
}
STORY_CLOZE = Registered(
    title="Story Cloze Test (ROCStories, 2016)",
    metrics=("accuracy",),
    licence="given on request; research",
    source="Mostafazadeh et al. 2016",
    forms=(
        Form(
            "original",
            table(
                "choice",
                format="csv",
                files={
                    # GPT-1 trains on the validation set: the training stories have no wrong ending.
                    "train": "cloze_test_val__spring2016*ALL_val.csv",
                    "test": "cloze_test_test__spring2016*ALL_test.csv",
                },
                **_STORY,
            ),
            folders=("", "rocstories", "story_cloze"),
            held_out={"validation": 0.2},
            note="train and validation come from the official validation set, as in GPT-1 (1,497 and 374 there)",
        ),
    ),
)


def race_rows(files: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Passages of RACE, one JSON object a file, as one row a question.

    Raises:
        UserError: a file is not such a passage.
    """
    for path in files:
        try:
            passage = orjson.loads(store.read_bytes(path))
            article, parts = passage["article"], (passage["questions"], passage["options"], passage["answers"])
            for number, (question, options, answer) in enumerate(zip(*parts, strict=True), 1):
                yield {
                    "article": article,
                    "question": question,
                    "options": options,
                    "answer": answer,
                    PLACE: f"{path}, question {number}",
                }
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"not a passage with article, questions, options and answers ({error!r})",
                where=path,
                fix="unpack the data set again",
            ) from None


RACE = Registered(
    title="RACE",
    metrics=("accuracy",),
    licence="given on request; non-commercial research",
    source="Lai et al. 2017",
    forms=(
        Form(
            "original",
            table(
                "choice",
                format="texts",
                files={
                    "train": "train/*/*.txt",
                    "validation": "dev/*/*.txt",
                    "test": "test/*/*.txt",
                    "test_middle": "test/middle/*.txt",
                    "test_high": "test/high/*.txt",
                },
                texts=[["article", "question"], "options"],
                label="answer",
                labels={letter: position for position, letter in enumerate("ABCD")},
            ),
            folders=("RACE", "race/RACE", "race"),
            rows=race_rows,
        ),
    ),
)
