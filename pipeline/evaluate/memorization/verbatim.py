"""How much of its training text a model repeats word by word (Carlini et al. 2022), and how much of what it writes
freely stands there (GPT-2 8.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from data_prep.errors import UserError
from data_prep.shards import DatasetManifest, TokenSplit
from pipeline.config.evaluate_memorization import MemorizationConfig
from pipeline.evaluate.generate import Decoding, generate
from pipeline.evaluate.memorization.token_search import longest_common, passages_by_count
from pipeline.evaluate.model import Scorer
from pipeline.evaluate.statistics import mean, proportion

COPIES = ((1, 1), (2, 3), (4, 7), (8, 15), (16, 1 << 62))
"""(Least, greatest) number of copies of a passage in the training text, doubling."""
_LONGEST_SHOWN = 3


def open_corpus(scorer: Scorer, folder: str) -> DatasetManifest:
    """The manifest of the training text.

    Raises:
        UserError: it has another tokenizer than the model.
    """
    manifest = DatasetManifest.load(folder)
    if manifest.tokenizer_sha256 != scorer.tokenizer.sha256:
        raise UserError(
            "the corpus was made with another tokenizer than the checkpoint",
            where=folder,
            fix="give the token dataset that the checkpoint was trained on",
        )
    return manifest


def verbatim(scorer: Scorer, config: MemorizationConfig) -> list[dict[str, Any]]:
    """Share of training passages whose end greedy decoding writes token by token, by their copies in the training text.

    Returns:
        A row for each number of copies that there is: "copies", "passages", "completed" (share with its error and
        interval), "nats_per_token" of the end.

    Raises:
        UserError: passages do not fit into the model's window.
    """
    length = config.prefix + config.continuation
    if length > scorer.sequence_length:
        raise UserError(
            f"passages of {length} tokens do not fit into the model's {scorer.sequence_length}",
            where="memorization",
            fix="set memorization.prefix and memorization.continuation lower",
        )
    manifest = open_corpus(scorer, config.corpus)
    split = TokenSplit(config.corpus, manifest, "train")
    found = passages_by_count(split, length, COPIES, config.passages, config.seed, manifest.eot_id)
    rows = []
    for copies, passages in found.items():
        if not passages:
            continue
        pairs = [(one.ids[: config.prefix], one.ids[config.prefix :]) for one in passages]
        scored = scorer.loglikelihood_ids(pairs, f"passages with {copies[0]} copies")
        rows.append(
            {
                "copies": list(copies),
                "passages": len(passages),
                "completed": asdict(proportion([one.greedy for one in scored])),
                "nats_per_token": asdict(mean([-one.logprob / config.continuation for one in scored])),
            }
        )
    return rows


def samples_in_corpus(scorer: Scorer, config: MemorizationConfig) -> dict[str, Any]:
    """The longest part of what the model writes that stands in the training text, beside that of held-out text.

    Returns:
        "samples" and "held_out": mean number of tokens of that part, with its error; "longest": the longest parts of
        samples as text; and how the samples were drawn.
    """
    manifest = open_corpus(scorer, config.corpus)
    train, held_out = (TokenSplit(config.corpus, manifest, split) for split in ("train", "validation"))
    tokens = min(config.sample_tokens, scorer.sequence_length - 1)
    decoding = Decoding(
        max_tokens=tokens, temperature=1.0, top_k=config.top_k, samples=config.samples, seed=config.seed
    )
    (generations,) = generate(scorer, [[manifest.eot_id]], decoding)
    written = [one.ids[:tokens] for one in generations if one.ids]
    texts = [held_out.document(i)[:-1][:tokens].tolist() for i in range(min(config.samples, held_out.documents))]
    found = longest_common(train, [*written, *texts])
    ours, theirs = found[: len(written)], found[len(written) :]
    order = sorted(range(len(ours)), key=lambda i: -ours[i][1])[:_LONGEST_SHOWN]
    return {
        "tokens": tokens,
        "top_k": config.top_k,
        "seed": config.seed,
        "samples": _mean(ours),
        "held_out": _mean(theirs),
        "longest": [
            {"tokens": ours[i][1], "text": scorer.tokenizer.decode(written[i][ours[i][0] : sum(ours[i])])}
            for i in order
        ],
    }


def _mean(found: Sequence[tuple[int, int]]) -> dict[str, Any] | None:
    return asdict(mean([length for _, length in found])) if found else None
