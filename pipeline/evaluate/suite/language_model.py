"""Perplexity of running text by its original units (GPT-2 3.1).

The log-probability of the whole text is divided by the words, bytes or characters of the set as it was published,
whatever the model's tokens are and whether artefacts of tokenisation were taken back.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from data_prep.errors import UserError
from pipeline.config.evaluate_suite import LanguageModelTask
from pipeline.evaluate.model import Scorer, Window, windows_of
from pipeline.evaluate.statistics import bounded_exp, perplexity_of, ratio, scaled
from pipeline.evaluate.suite.detokenize import Shares, detokenize
from pipeline.evaluate.suite.formats import read_text
from pipeline.evaluate.suite.scores import Score, TaskResult, referenced
from pipeline.model.loss import IGNORE

_LINE = 1000
"""Bytes that stand for a line where a text has no line ends."""
_METRICS = {"word": "ppl_word", "byte": "bits_per_byte", "char": "bits_per_char"}


def units_of(text: bytes, unit: str) -> int:
    """How many units a text has: bytes, characters, or words between white space with one more for each line's end.

    The last is how the published perplexities of PTB and WikiText count: 82,430 and 245,569 in their test sets.
    """
    if unit == "byte":
        return len(text)
    if unit == "char":
        return len(text.decode("utf-8", "replace"))
    return len(text.split()) + text.count(b"\n") + (not text.endswith(b"\n"))


def score_text(scorer: Scorer, name: str, task: LanguageModelTask, root: str, limit: int | None) -> TaskResult:
    """Score a text by each stride, as it stands and de-tokenised.

    Args:
        scorer: the model.
        name: of the task.
        task: what it is.
        root: folder of evaluation sets.
        limit: at most so many lines from the start; of a text without line ends (text8) so many times 1,000 bytes.

    Raises:
        UserError: the text is missing or has not as many units as the task says.
    """
    text = read_text(root, task.data)
    if limit is not None:
        lines = text.splitlines(keepends=True)
        text = b"".join(lines[:limit]) if len(lines) > 1 else text[: limit * _LINE]
    units = units_of(text, task.unit)
    if task.units is not None and units != task.units and limit is None:
        raise UserError(
            f"the text has {units:,} units ({task.unit}), but {task.units:,} are those of the published set",
            where=f"{name}: {task.data.path}",
            fix="give the test file as published, or correct `units`",
        )
    texts: dict[str, tuple[bytes, dict[str, Any]]] = {}
    if task.detokenizer is not None:
        texts["detokenized"] = _detokenized(text, task)
    texts["raw"] = (text, {"detokenizer": None})
    result = TaskResult()
    for form, (written, described) in texts.items():
        documents = written.splitlines(keepends=True) if task.documents == "line" else [written]
        ids = [scorer.tokenizer.encode_bytes(document) for document in documents]
        for number, (window, stride) in enumerate(strides(scorer.sequence_length, task)):
            nats, tokens = _score(scorer, f"{name} {form} {stride}", ids, window, stride)
            variant = f"{form}/stride-{stride}"
            definition = {
                "version": task.version,
                "unit": task.unit,
                "units": units,
                "tokens": sum(tokens),
                "window": window,
                "stride": stride,
                "documents": task.documents,
                "prefix": "<|endoftext|>",
                "lossless_tokens": scorer.tokenizer.kind == "gpt2",
                "unknown_words": written.count(b"<unk>") / units if task.unit == "word" else None,
                **described,
            }
            per_unit = scaled(ratio(nats, tokens), sum(tokens) / units)
            guess = math.log(scorer.vocab_size)  # nats of a token, if all are equally likely
            metric = _METRICS[task.unit]
            main = number == 0 and form == next(iter(texts))
            result.scores += [
                Score(
                    name,
                    variant,
                    metric,
                    perplexity_of(per_unit) if task.unit == "word" else scaled(per_unit, 1 / math.log(2)),
                    definition,
                    {"uniform": _in_unit(guess * sum(tokens) / units, task.unit)},
                    references=referenced(task.references, metric),
                    main=main,
                ),
                Score(
                    name,
                    variant,
                    "ppl_token",
                    perplexity_of(ratio(nats, tokens)),
                    definition,
                    {"uniform": float(scorer.vocab_size)},
                    main=False,
                ),
            ]
            result.examples += [
                {"id": i, "variant": variant, "nll": nll, "tokens": count}
                for i, (nll, count) in enumerate(zip(nats, tokens, strict=True))
            ]
    return result


def _in_unit(nats: float, unit: str) -> float:
    return bounded_exp(nats) if unit == "word" else nats / math.log(2)


def strides(length: int, task: LanguageModelTask) -> list[tuple[int, int]]:
    """(window, stride) of each overlap for a model of `length` tokens, equal ones once."""
    window = min(length, task.window)
    return list(dict.fromkeys((window, max(1, round(window * (1 - overlap)))) for overlap in task.overlaps))


def _detokenized(text: bytes, task: LanguageModelTask) -> tuple[bytes, dict[str, Any]]:
    assert task.detokenizer is not None
    shares = Shares()
    try:
        lines = text.decode("utf-8").split("\n")
    except UnicodeDecodeError as error:
        raise UserError(
            f"not UTF-8 text ({error.reason})",
            where=task.data.path,
            fix="give it as published, or no detokenizer",
        ) from None
    written = "\n".join(detokenize(line, task.detokenizer, shares) for line in lines).encode()
    return written, {"detokenizer": task.detokenizer, "detokenized": asdict(shares)}


def _score(
    scorer: Scorer, title: str, documents: list[list[int]], length: int, stride: int
) -> tuple[list[float], list[int]]:
    """(nats, tokens) of each window."""
    tokens: list[int] = []

    def windows() -> Iterator[Window]:
        for ids in documents:
            for window in windows_of(ids, scorer.tokenizer.eot_id, length, stride, len(tokens)):
                tokens.append(sum(target != IGNORE for target in window.targets))
                yield window

    nats = [-one.logprob for one in scorer.token_logprobs(windows(), title)]
    return nats, tokens
