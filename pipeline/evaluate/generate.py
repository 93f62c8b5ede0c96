"""Text that goes on from prompts."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

from data_prep.errors import UserError
from data_prep.progress import ProgressBar
from pipeline.evaluate.decoding import Decoding, Generation
from pipeline.evaluate.model import Scorer
from pipeline.evaluate.plan import Node, deal, prompts_forest
from pipeline.evaluate.sampling import OnText
from pipeline.evaluate.writing import write

__all__ = ["Decoding", "Generation", "generate"]

_SHOWN = 16
"""Fewer prompts than these show no progress."""


def generate(
    scorer: Scorer,
    prompts: Sequence[Sequence[int]],
    decoding: Decoding,
    on_text: OnText | None = None,
    title: str = "generating",
) -> list[list[Generation]]:
    """Continue prompts, over all ranks of the scorer.

    The seed, the number of a prompt and that of a sample decide a sampled text: batches and ranks do not.

    Args:
        scorer: the model.
        prompts: ids of each, at least one. A prompt that leaves no room for `max_tokens` is cut on the left and counted
            in `Scorer.truncated`.
        decoding: how.
        on_text: is given pieces of text as they appear (see `OnText`), on a single rank; beams have none.
        title: of the progress shown.

    Returns:
        For each prompt its samples, or its hypotheses of a beam search, best first.

    Raises:
        UserError: `max_tokens` leaves no room for a prompt, or a prompt is empty.
    """
    room = scorer.sequence_length - decoding.max_tokens
    if room < 1:
        raise UserError(
            f"{decoding.max_tokens:,} tokens leave no room for a prompt in the model's {scorer.sequence_length:,}",
            where="max_tokens",
            fix=f"ask for at most {scorer.sequence_length - 1:,}",
        )
    if not all(prompts):
        raise UserError("a prompt is empty", where="prompts", fix="begin with <|endoftext|>")
    scorer.truncated += sum(len(ids) > room for ids in prompts)
    # What is shared can change the last bits, and so, rarely, what is drawn.
    nodes = prompts_forest([ids[-room:] for ids in prompts], share=decoding.temperature == 0)
    shares = [(share, decoding) for share in deal(nodes, scorer.ranks.size)]
    found: list[list[Generation]] = [[] for _ in prompts]

    def mine(payload: tuple[Sequence[Node], Decoding]) -> list[tuple[int, list[Generation]]]:
        nodes, _ = payload
        total = max(1, sum(node.asked for node in nodes))
        streamed = on_text if scorer.ranks.size == 1 else None
        shown = len(prompts) >= _SHOWN and streamed is None
        with ProgressBar(title, len(prompts), "prompts") if shown else nullcontext() as bar:
            show = None if bar is None else lambda done: bar.update(len(prompts) * done / total)
            return write(scorer.forward, scorer.tokenizer, nodes, decoding, streamed, show)

    for part in scorer.ranks.share("generate", shares, mine):
        for number, generations in part:
            found[number] = generations
    return found
