"""Ids of many texts at once as one array, by `fastokens` where it is installed, else by Hugging Face `tokenizers`.

`fastokens` gives the same ids (tests compare every character of Unicode, random text and whole corpora) an order of
magnitude faster. It is given the vocabulary from memory, so that it never looks for one on the network.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from tokenizers import Tokenizer as HuggingFaceTokenizer

Packed = tuple[npt.NDArray[np.uint32], npt.NDArray[np.int64]]
"""Ids of all texts one after another [tokens], and where each text starts and the last ends [texts + 1]."""
Encode = Callable[[Sequence[str]], Packed]


def slow_encoder(library: HuggingFaceTokenizer) -> Encode:
    """Encode with the library that defines the ids."""

    def encode(texts: Sequence[str]) -> Packed:
        found = [item.ids for item in library.encode_batch_fast(list(texts), add_special_tokens=False)]
        offsets = np.zeros(len(found) + 1, np.int64)
        np.cumsum([len(ids) for ids in found], out=offsets[1:])
        ids = np.fromiter(chain.from_iterable(found), np.uint32, count=int(offsets[-1]))
        return ids, offsets

    return encode


def fast_encoder(library: HuggingFaceTokenizer) -> Encode | None:
    """Encode byte-level BPE with `fastokens`; None where the package has no build for this platform."""
    try:
        from fastokens import Tokenizer as FastTokenizer
    except ImportError:
        return None
    config: dict[str, Any] = orjson.loads(library.to_str())
    # Only what decides the ids of text; without added tokens no text gives the id of one.
    for part in ("normalizer", "post_processor", "decoder", "truncation", "padding"):
        config[part] = None
    config["added_tokens"] = []
    fast = FastTokenizer.from_json_str(orjson.dumps(config).decode())

    def encode(texts: Sequence[str]) -> Packed:
        ids, offsets = fast.encode_batch_flat(list(texts))
        return np.frombuffer(ids, np.uint32), np.frombuffer(offsets, np.int64)

    return encode
