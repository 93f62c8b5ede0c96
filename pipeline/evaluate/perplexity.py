"""Held-out perplexity per token, word and byte."""

from __future__ import annotations

import math
from collections.abc import Iterator

from data_prep.errors import UserError
from data_prep.shards import DatasetManifest, TokenSplit
from pipeline.config.schema import PerplexityConfig
from pipeline.evaluate.model import Scorer, Window, windows_of
from pipeline.evaluate.statistics import perplexity_of, ratio


def perplexity(scorer: Scorer, config: PerplexityConfig) -> dict[str, float]:
    """Score documents of the validation split, each by itself.

    The log-probability of all text is divided by the number of its tokens, whitespace-separated words and UTF-8 bytes
    (GPT-2 3.1: per canonical unit). <|endoftext|> stands before each document and is not itself scored.

    Returns:
        `ppl_token`, `ppl_word`, `ppl_byte`, `bits_per_byte`, of two and more documents each with its standard error
        over documents (`_stderr`); `tokens`, `words`, `bytes`, `documents`, and with them `window` and `stride` in
        tokens, which are part of the definition.

    Raises:
        UserError: the dataset was made with another tokenizer than the checkpoint, or there is no text in it.
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
    sizes: dict[str, list[int]] = {"tokens": [], "words": [], "bytes": []}  # of each document that is not empty

    def windows() -> Iterator[Window]:
        for number in range(count):
            ids = split.document(number)[:-1].tolist()
            if not ids:
                continue
            text = scorer.tokenizer.decode_bytes(ids)
            owner = len(sizes["tokens"])
            sizes["tokens"].append(len(ids))
            sizes["words"].append(len(text.decode("utf-8", "replace").split()))
            sizes["bytes"].append(len(text))
            yield from windows_of(ids, manifest.eot_id, length, stride, owner)

    scored = list(scorer.token_logprobs(windows(), title="perplexity"))
    totals = {name: sum(some) for name, some in sizes.items()}
    if not totals["words"]:
        raise UserError(
            "the validation split holds no text", where=config.path, fix="give a dataset with validation documents"
        )
    nll = -math.fsum(one.logprob for one in scored)
    nats = [0.0] * len(sizes["tokens"])
    for one in scored:
        nats[one.owner] -= one.logprob
    per_unit = {name: ratio(nats, some) for name, some in sizes.items()}
    errors = {
        "ppl_token_stderr": perplexity_of(per_unit["tokens"]).stderr,
        "ppl_word_stderr": perplexity_of(per_unit["words"]).stderr,
        "ppl_byte_stderr": perplexity_of(per_unit["bytes"]).stderr,
        "bits_per_byte_stderr": per_unit["bytes"].stderr / math.log(2),
    }
    return {
        "ppl_token": math.exp(nll / totals["tokens"]),
        "ppl_word": math.exp(min(700.0, nll / totals["words"])),
        "ppl_byte": math.exp(nll / totals["bytes"]),
        "bits_per_byte": nll / totals["bytes"] / math.log(2),
        **{name: error for name, error in errors.items() if math.isfinite(error)},
        **totals,
        "documents": count,
        "window": length,
        "stride": stride,
    }
