"""One rank's part of generation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from data_prep.tokenizer import Tokenizer
from pipeline.evaluate.beam import beam_search
from pipeline.evaluate.decoding import Decoding, Generation
from pipeline.evaluate.forward import Forward
from pipeline.evaluate.plan import Node
from pipeline.evaluate.prompts import read_prompts
from pipeline.evaluate.sampling import OnText, sample


@torch.inference_mode()
def write(
    forward: Forward,
    tokenizer: Tokenizer,
    nodes: Sequence[Node],
    decoding: Decoding,
    on_text: OnText | None = None,
    show: Callable[[int], None] | None = None,
) -> list[tuple[int, list[Generation]]]:
    """(number, generations) of the prompts in some trees of `prompts_forest`.

    Args:
        forward: the model.
        tokenizer: its tokenizer.
        nodes: the trees.
        decoding: how.
        on_text: is given pieces of text as they appear; beams have none before their end.
        show: is given how many prompts are done.
    """
    found: list[tuple[int, list[Generation]]] = []
    copies = max(decoding.samples, decoding.beams)
    for read in read_prompts(forward, nodes, decoding.max_tokens, copies):
        if decoding.beams > 1:
            written = beam_search(forward, tokenizer, read, decoding)
        else:
            written = sample(forward, tokenizer, read, decoding, on_text)
        for one in written:
            found.append(one)
            if show is not None:
                show(len(found))
    return found
