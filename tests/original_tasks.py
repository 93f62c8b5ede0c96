"""Every registered data set in every form in which it is distributed, a few made-up rows each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from pipeline.finetune.task import Example

ROWS = 24
"""Of each label; enough to hold some out."""


@dataclass(frozen=True)
class Original:
    """A data set as its authors give it.

    Attributes:
        name: of the task.
        form: of its files.
        files: path below the data root -> content.
        some: examples that must be there, in whichever split.
        total: examples of all of train, validation and test.
        labels: of the task.
        left_out: notes on rows left out.
    """

    name: str
    form: str
    files: Mapping[str, str]
    some: Sequence[Example]
    total: int
    labels: Sequence[str] = ()
    left_out: Sequence[str] = field(default_factory=tuple)

    def write(self, root: Path) -> None:
        for path, content in self.files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(content, encoding="utf-8", newline="")


def _numbered(first: str, line: str, values: Sequence[Any], rows: int = ROWS, begin: int = 0) -> str:
    """A header, and lines with {n} and {label}."""
    return first + "".join(
        line.replace("{n}", str(begin + n * len(values) + i)).replace("{label}", str(value))
        for n in range(rows)
        for i, value in enumerate(values)
    )


def _json(rows: Sequence[Mapping[str, Any]]) -> str:
    return "".join(orjson.dumps(row).decode() + "\n" for row in rows)


def _glue(folder: str, header: str, line: str, values: Sequence[Any], extra: str = "") -> dict[str, str]:
    return {
        f"glue_data/{folder}/train.tsv": _numbered(header, line, values) + extra,
        f"glue_data/{folder}/dev.tsv": _numbered(header, line, values, 4, 1000),
    }


SENTIMENT = ("negative", "positive")
_NLI = [
    {"gold_label": label, "sentence1": f"Premise {n} {label}.", "sentence2": "It is.", "pairID": str(n)}
    for n in range(ROWS)
    for label in ("neutral", "entailment", "contradiction")
] + [{"gold_label": "-", "sentence1": "Nobody agrees.", "sentence2": "On this.", "pairID": "x"}]
_NLI_LABELS = ("entailment", "neutral", "contradiction")
_MNLI_HEADER = "index\tpairID\tsentence1\tsentence2\tlabel1\tgold_label\n"
_MNLI_LINE = '{n}\tp\t"Yes {n}\tNo.\t-\t{label}\n'
_QUORA_HEADER = "id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate\n"
_BIMPM_LINE = "{label}\tWhy {n} ?\tHow ?\t{n}\n"
_TWO_WAY = ("not_entailment", "entailment")
_MSR_HEADER = "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\n"
_MSR_LINE = '{label}\t1\t2\tHe said {n} " .\tShe said {n} .\n'
_STORY = "InputStoryid,InputSentence1,InputSentence2,InputSentence3,InputSentence4,RandomFifthSentenceQuiz1,"
_STORY += "RandomFifthSentenceQuiz2,AnswerRightEnding\n"
_STORY_LINE = '{n}-a,Ann {n} left.,"She ran, fast.",It rained.,She fell.,She cried.,"She ate, a lot.",{label}\n'
_PASSAGE = {
    "article": "Tom has a cat. It is red.",
    "questions": ["What has Tom?", "The cat is _ ."],
    "options": [["a dog", "a cat", "a cow", "a car"], ["red", "blue", "big", "old"]],
    "answers": ["B", "A"],
    "id": "middle1.txt",
}


def _stories(begin: int, rows: int) -> str:
    return _numbered(_STORY, _STORY_LINE, (1, 2), rows, begin)


def _sts(header: str, line: str, rows: int, begin: int) -> str:
    return _numbered(header, line, ("0.000", "3.200", "5.000"), rows, begin)


_STS_LINE = "main-news\tMSRvid\t2012test\t{n}\t{label}\tA man {n} runs.\tA dog runs.\n"
_STS_LONG = 'main-forums\tans\t2015\t9999\t1.500\tIt "is.\tIt was.\tsource, one\thttp://b\n'

ORIGINALS = [
    Original(
        "imdb",
        "original",
        {
            **{
                f"aclImdb/{split}/{label}/{n}_{rating}.txt": f'Film {split} {n} {label}.<br />\nGood "bad.'
                for split in ("train", "test")
                for label, rating in (("neg", 2), ("pos", 9))
                for n in range(ROWS)
            },
            "aclImdb/train/unsup/0_0.txt": "no label",
        },
        [Example(('Film train 0 pos.<br />\nGood "bad.',), "positive")],
        4 * ROWS,
        SENTIMENT,
    ),
    Original(
        "imdb",
        "jsonl",
        {
            f"imdb/imdb_{split}.jsonl": _json(
                [
                    {"id": f"{n}_{r}", "sentiment": int(r > 5), "rating": r, "review": f"NA {split} {n} {r}\u2028x"}
                    for n in range(ROWS)
                    for r in (1, 10)
                ]
            )
            for split in ("train", "test")
        },
        [Example(("NA test 3 10\u2028x",), "positive")],
        4 * ROWS,
        SENTIMENT,
    ),
    Original(
        "imdb",
        "bag-of-popcorn",
        {
            "labeledTrainData.tsv": _numbered(
                "id\tsentiment\treview\n", '"{n}_8"\t{label}\t"He, {n}, said \\"well\\"\t."\n', (0, 1)
            )
        },
        [Example(('He, 1, said "well"\t.',), "positive")],
        2 * ROWS,
        SENTIMENT,
    ),
    Original(
        "sst-2",
        "glue",
        _glue("SST-2", "sentence\tlabel\n", 'a film " {n} \t{label}\n', (0, 1)),
        [Example(('a film " 1 ',), "positive")],
        2 * ROWS + 8,
        SENTIMENT,
    ),
    Original(
        "cola",
        "glue",
        _glue("CoLA", "", 'gj04\t{label}\t*\t"Sue {n} slept.\n', (0, 1)),
        [Example(('"Sue 0 slept.',), "unacceptable")],
        2 * ROWS + 8,
        ("unacceptable", "acceptable"),
    ),
    Original(
        "cola",
        "original",
        {
            f"cola_public/raw/{name}.tsv": _numbered("", "gj04\t{label}\t\tSue {n} slept.\n", (0, 1), 4, begin)
            for begin, name in ((0, "in_domain_train"), (100, "in_domain_dev"), (200, "out_of_domain_dev"))
        },
        [Example(("Sue 201 slept.",), "acceptable")],
        24,
        ("unacceptable", "acceptable"),
    ),
    Original(
        "ag-news",
        "original",
        {
            f"ag_news_csv/{split}.csv": _numbered(
                "", '"{label}","Oil {n} ""up""","Fears, {n}\\of oil"\n', (1, 2, 3, 4), 12, begin
            )
            for begin, split in ((0, "train"), (1000, "test"))
        },
        [
            Example(('Oil 0 "up" Fears, 0\\of oil',), "World"),
            Example(('Oil 1003 "up" Fears, 1003\\of oil',), "Sci/Tech"),
        ],
        96,
        ("World", "Sports", "Business", "Sci/Tech"),
    ),
    Original(
        "nsmc",
        "original",
        {
            "nsmc/ratings_train.txt": _numbered("id\tdocument\tlabel\n", '{n}\t"영화 {n}\t{label}\n', (0, 1))
            + "9999\t\t1\n",
            "nsmc/ratings_test.txt": _numbered("id\tdocument\tlabel\n", "{n}\t재밌다 {n}\t{label}\n", (0, 1), 4),
        },
        [Example(('"영화 1',), "positive")],
        2 * ROWS + 8,
        SENTIMENT,
        ("train: 1 rows left out (a text is empty)",),
    ),
    Original(
        "nsmc",
        "rebuilt",
        {
            f"nsmc_rebuilt/{split}.tsv": _numbered("id\tdocument\tlabel\n", "{n}\t영화 {n}\t{label}\n", (0, 1), 24, at)
            for at, split in ((0, "train"), (1000, "test"))
        },
        [Example(("영화 1001",), "positive")],
        96,
        SENTIMENT,
    ),
    Original(
        "qqp",
        "glue",
        _glue("QQP", _QUORA_HEADER, '{n}\t1\t2\tWhy "{n}?\tHow?\t{label}\n', (0, 1), "77\t1\t2\tHalf a\n"),
        [Example(('Why "1?', "How?"), "duplicate")],
        2 * ROWS + 8,
        ("different", "duplicate"),
        ("train: 1 rows left out (there is no label)",),
    ),
    Original(
        "qqp",
        "original",
        {
            "quora_duplicate_questions.tsv": _numbered(
                _QUORA_HEADER, '"{n}"\t"1"\t"2"\t"Why ""{n}""?\nReally?"\t"How?"\t"{label}"\n', (0, 1)
            )
            + '"999"\t"1"\t"2"\t"Why?"\t""\t"0"\n'
        },
        [Example(('Why "1"?\nReally?', "How?"), "duplicate")],
        2 * ROWS,
        ("different", "duplicate"),
        ("train: 1 rows left out (a text is empty)",),
    ),
    Original(
        "qqp",
        "bimpm",
        {
            f"Quora_question_pair_partition/{split}.tsv": _numbered(
                "", "{label}\tWhy {n} ?\tHow ?\t{n}\n", (0, 1), 4, at
            )
            for at, split in ((0, "train"), (100, "dev"), (200, "test"))
        },
        [Example(("Why 101 ?", "How ?"), "duplicate")],
        24,
        ("different", "duplicate"),
    ),
    Original(
        "qqp",
        "bimpm-dev",
        {f"qqp/{split}.tsv": _numbered("", _BIMPM_LINE, (0, 1), ROWS, at) for at, split in ((0, "dev"), (100, "test"))},
        [Example(("Why 101 ?", "How ?"), "duplicate")],
        4 * ROWS,
        ("different", "duplicate"),
    ),
    Original(
        "mrpc",
        "glue",
        {
            f"glue/MRPC/{name}": _numbered(_MSR_HEADER, _MSR_LINE, (0, 1), 4, begin)
            for begin, name in ((0, "train.tsv"), (100, "dev.tsv"), (200, "msr_paraphrase_test.txt"))
        },
        [Example(('He said 201 " .', "She said 201 ."), "paraphrase")],
        24,
        ("different", "paraphrase"),
    ),
    Original(
        "mrpc",
        "original",
        {
            f"MSRParaphraseCorpus/msr_paraphrase_{split}.txt": _numbered(_MSR_HEADER, _MSR_LINE, (0, 1), ROWS, begin)
            for begin, split in ((0, "train"), (100, "test"))
        },
        [Example(('He said 0 " .', "She said 0 ."), "different")],
        4 * ROWS,
        ("different", "paraphrase"),
    ),
    Original(
        "sts-b",
        "original",
        {
            f"stsbenchmark/sts-{split}.csv": _sts("", _STS_LINE, 4, begin) + _STS_LONG
            for begin, split in ((0, "train"), (100, "dev"), (200, "test"))
        },
        [Example(("A man 1 runs.", "A dog runs."), 3.2), Example(('It "is.', "It was."), 1.5)],
        39,
    ),
    Original(
        "sts-b",
        "glue",
        _glue(
            "STS-B",
            "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2\tscore\n",
            "{n}\tmain\tMSRvid\t2012\t0001\tnone\tnone\tA man {n} runs.\tA dog runs.\t{label}\n",
            ("0.000", "5.000"),
        ),
        [Example(("A man 1 runs.", "A dog runs."), 5.0)],
        2 * ROWS + 8,
    ),
    Original(
        "korean-pairs",
        "original",
        {
            "kor_question_pair/kor_pair_train.csv": _numbered(
                "\ufeffid,qid1,qid2,question1,question2,is_duplicate\n", '{n},1,2,"이별, {n}",10년 끝,{label}\n', (0, 1)
            ),
            "kor_question_pair/kor_Pair_test.csv": _numbered(
                "\ufefftest_id,question1,question2,is_duplicate,\n", "{n},사랑 {n},노력,{label},\n", (0, 1), 4
            ),
        },
        [Example(("이별, 1", "10년 끝"), "duplicate"), Example(("사랑 0", "노력"), "different")],
        2 * ROWS + 8,
        ("different", "duplicate"),
    ),
    Original(
        "rte",
        "glue",
        _glue(
            "RTE",
            "index\tsentence1\tsentence2\tlabel\n",
            "{n}\tNo {n}.\tYes.\t{label}\n",
            _TWO_WAY,
        ),
        [Example(("No 1.", "Yes."), "entailment")],
        2 * ROWS + 8,
        _TWO_WAY,
    ),
    Original(
        "qnli",
        "glue",
        _glue(
            "QNLI",
            "index\tquestion\tsentence\tlabel\n",
            "{n}\tWho {n}?\tI.\t{label}\n",
            _TWO_WAY,
        ),
        [Example(("Who 1?", "I."), "entailment")],
        2 * ROWS + 8,
        _TWO_WAY,
    ),
    Original(
        "mnli",
        "original",
        {
            f"multinli_1.0/multinli_1.0_{split}.jsonl": _json(_NLI)
            for split in ("train", "dev_matched", "dev_mismatched")
        },
        [Example(("Premise 0 neutral.", "It is."), "neutral")],
        6 * ROWS,
        _NLI_LABELS,
        ("train: 1 rows left out (label '-')", "test_mismatched: 1 rows left out (label '-')"),
    ),
    Original(
        "mnli",
        "glue",
        {
            f"glue/MNLI/{split}.tsv": _numbered(
                _MNLI_HEADER, '{n}\tp\t"Yes {n}\tNo.\t-\t{label}\n', _NLI_LABELS, 12, at
            )
            for at, split in ((0, "train"), (100, "dev_matched"), (200, "dev_mismatched"))
        },
        [Example(('"Yes 101', "No."), "neutral")],
        72,
        _NLI_LABELS,
    ),
    Original(
        "snli",
        "original",
        {f"snli_1.0/snli_1.0_{split}.jsonl": _json(_NLI) for split in ("train", "dev", "test")},
        [Example(("Premise 23 contradiction.", "It is."), "contradiction")],
        9 * ROWS,
        _NLI_LABELS,
        ("validation: 1 rows left out (label '-')",),
    ),
    Original(
        "scitail",
        "original",
        {
            f"SciTailV1.1/tsv_format/scitail_1.0_{split}.tsv": _numbered(
                "", '"Pluto {n}\tA planet.\t{label}\n', ("neutral", "entails"), 4, begin
            )
            for begin, split in ((0, "train"), (100, "dev"), (200, "test"))
        },
        [Example(('"Pluto 201', "A planet."), "entails")],
        24,
        ("neutral", "entails"),
    ),
    Original(
        "race",
        "original",
        {
            f"RACE/{split}/{level}/{n}.txt": orjson.dumps({**_PASSAGE, "article": f"{level} {n}. Tom."}).decode()
            for split in ("train", "dev", "test")
            for level in ("middle", "high")
            for n in range(2)
        },
        [
            Example(("high 1. Tom. What has Tom?", "a dog", "a cat", "a cow", "a car"), 1),
            Example(("middle 0. Tom. The cat is _ .", "red", "blue", "big", "old"), 0),
        ],
        24,
    ),
    Original(
        "story-cloze",
        "original",
        {
            "cloze_test_val__spring2016 - cloze_test_ALL_val.csv": _stories(0, ROWS),
            "cloze_test_test__spring2016 - cloze_test_ALL_test.csv": _stories(1000, 4),
        },
        [Example(("Ann 1 left. She ran, fast. It rained. She fell.", "She cried.", "She ate, a lot."), 1)],
        2 * ROWS + 8,
    ),
]
