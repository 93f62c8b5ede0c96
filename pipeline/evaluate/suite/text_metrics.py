"""How a written answer is compared with the accepted ones."""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

from data_prep.errors import UserError
from pipeline.evaluate.statistics import RESAMPLES, Estimate

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = frozenset(string.punctuation + "‘’´`")
_BETWEEN_SENTENCES = re.compile(r"(?<=[.!?])\s+|(?<=[.!?][\"'”’)])\s+|\n+")


def exact(written: str, answers: Sequence[str]) -> bool:
    """Whether it is one of the answers but for white space around."""
    return written.strip() in [answer.strip() for answer in answers]


def normalized(text: str) -> str:
    """Lower case without punctuation and English articles, one space between words, as SQuAD, TriviaQA and CoQA do."""
    bare = "".join(" " if c == "_" else c for c in text.lower())
    bare = "".join(c for c in bare if c not in _PUNCTUATION)
    return " ".join(_ARTICLES.sub(" ", bare).split())


def squad_exact(written: str, answers: Sequence[str]) -> bool:
    """Whether it is one of the answers when both are normalised."""
    return normalized(written) in map(normalized, answers)


def token_f1(written: str, answer: str) -> float:
    """Harmonic mean of precision and recall of normalised words; 1 if neither has any."""
    predicted, gold = normalized(written).split(), normalized(answer).split()
    if not predicted or not gold:
        return float(predicted == gold)
    common = sum((Counter(predicted) & Counter(gold)).values())
    if common == 0:
        return 0.0
    precision, recall = common / len(predicted), common / len(gold)
    return 2 * precision * recall / (precision + recall)


def squad_f1(written: str, answers: Sequence[str]) -> float:
    """Best F1 of any answer; with several of them, the mean over leaving one out, as CoQA has it for people's sake."""
    values = [token_f1(written, answer) for answer in answers]
    if len(values) == 1:
        return values[0]
    return sum(max(values[:i] + values[i + 1 :]) for i in range(len(values))) / len(values)


ACCEPTS: dict[str, Callable[[str, Sequence[str]], bool]] = {"exact": exact, "squad_exact": squad_exact}
"""Metrics by which an answer is right or wrong."""


def rouge(written: str, answer: str) -> dict[str, float]:
    """F1 of ROUGE-1, ROUGE-2 and ROUGE-L (by sentences, one a line), with Porter's stemmer, and their mean."""
    found = _rouge_scorer().score(answer, written)
    values = {name: found[kind].fmeasure for name, kind in _ROUGE.items()}
    return {**values, "rouge_mean": sum(values.values()) / len(values)}


_ROUGE = {"rouge_1": "rouge1", "rouge_2": "rouge2", "rouge_l": "rougeLsum"}


@cache
def _rouge_scorer() -> Any:
    try:
        from rouge_score.rouge_scorer import RougeScorer
    except ImportError:
        raise _not_installed("rouge-score") from None
    return RougeScorer(list(_ROUGE.values()), use_stemmer=True)


def bleu(written: Sequence[str], answers: Sequence[str]) -> tuple[Estimate, str]:
    """(corpus BLEU from 0 to 100 with sacrebleu's bootstrap, its signature); `intl` tokens, as GPT-3 3.3."""
    metric = _bleu_scorer(False)
    score = metric.corpus_score(list(written), [list(answers)], n_bootstrap=RESAMPLES if len(written) > 1 else 1)
    reach = float(score._ci) if len(written) > 1 else math.nan
    value = float(score.score)
    return Estimate(value, reach / 1.96, value - reach, value + reach, len(written)), str(metric.get_signature())


def sentence_bleu(written: str, answer: str) -> float:
    """BLEU of one sentence from 0 to 100, of the orders that it has; for tests between runs, example by example."""
    return float(_bleu_scorer(True).sentence_score(written, [answer]).score)


@cache
def _bleu_scorer(effective_order: bool) -> Any:
    try:
        from sacrebleu.metrics.bleu import BLEU
    except ImportError:
        raise _not_installed("sacrebleu") from None
    return BLEU(tokenize="intl", smooth_method="exp", lowercase=False, effective_order=effective_order)


def _not_installed(package: str) -> UserError:
    return UserError(f"{package} is not installed", where="metrics", fix="run `pip install -e '.[metrics]'`")


def first_sentences(text: str, count: int) -> str:
    """The first sentences of a text, one a line, as ROUGE-L by sentences wants them."""
    found = [sentence.strip() for sentence in _BETWEEN_SENTENCES.split(text)]
    return "\n".join([sentence for sentence in found if sentence][:count])
