"""Held-out perplexity per token, word and byte."""

from __future__ import annotations

import math
from collections.abc import Iterator

from data_prep.errors import UserError
from data_prep.shards import DatasetManifest, TokenSplit
from pipeline.config.schema import PerplexityConfig
from pipeline.evaluate.model import Scorer, Window, windows_of


def perplexity(scorer: Scorer, config: PerplexityConfig) -> dict[str, float]:
    """Score documents of the validation split, each by itself.

    The log-probability of all text is divided by the number of its tokens, whitespace-separated words and UTF-8 bytes
    (GPT-2 3.1: per canonical unit). <|endoftext|> stands before each document and is not itself scored.

    Returns:
        `ppl_token`, `ppl_word`, `ppl_byte`, `bits_per_byte`, `tokens`, `words`, `bytes`, `documents`, and with them
        `window` and `stride` in tokens, which are part of the definition.

    Raises:
        UserError: the dataset was made with another tokenizer than the checkpoint.
    """
    manifest = DatasetManifest.load(config.path)
    if manifest.tokenizer_sha256 != scorer.tokenizer.sha256:
        raise UserError(
            "the dataset was made with another tokenizer than the checkpoint",
            where=config.path,
            fix="give the dataset that the checkpoint was trained on, or shards of the same tokenizer",
        )
    split = TokenSplit(config.path, manifest, "validation")
    length = scorer.sequence_length
    stride = min(config.stride or length, length)
    count = min(config.documents, split.documents)
    totals = {"tokens": 0, "words": 0, "bytes": 0}

    def windows() -> Iterator[Window]:
        for number in range(count):
            ids = split.document(number)[:-1].tolist()
            if not ids:
                continue
            text = scorer.tokenizer.decode_bytes(ids)
            totals["tokens"] += len(ids)
            totals["words"] += len(text.decode("utf-8", "replace").split())
            totals["bytes"] += len(text)
            yield from windows_of(ids, manifest.eot_id, length, stride, number)

    nll = -math.fsum(scored.logprob for scored in scorer.token_logprobs(windows(), title="perplexity"))
    return {
        "ppl_token": math.exp(nll / totals["tokens"]),
        "ppl_word": math.exp(min(700.0, nll / totals["words"])),
        "ppl_byte": math.exp(nll / totals["bytes"]),
        "bits_per_byte": nll / totals["bytes"] / math.log(2),
        **totals,
        "documents": count,
        "window": length,
        "stride": stride,
    }
