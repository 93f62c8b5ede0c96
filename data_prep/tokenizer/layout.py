"""The two kinds of vocabulary, and how each is written as a `tokenizer.json`.

`gpt2`: ids 0..255 are the bytes, then the merges in the order in which they were learned, last <|endoftext|>; text is
cut into words by GPT-2's pattern, and nothing is lost.

`gpt1`: id 0 is <unk>, then characters and merges, last <|endoftext|>; the last piece of a word ends in `</w>`. Text is
standardised as in OpenAI's `text_utils.py` and cut into words by BERT's rules, which published ports of GPT-1 use where
spaCy is not installed: lower case, no accents, every punctuation mark a word of its own. Letter case and the amount of
white space are lost, characters outside the vocabulary become <unk>. `ftfy` is not applied: text that this project
extracts is decoded already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as HuggingFaceTokenizer

Kind = Literal["gpt2", "gpt1"]

END_OF_TEXT = "<|endoftext|>"
UNKNOWN = "<unk>"
WORD_END = "</w>"
BYTES = 256
PUBLISHED_SIZE: dict[Kind, int] = {"gpt2": 50_257, "gpt1": 40_479}
"""Ids of OpenAI's vocabularies; for `gpt1` 40,478 and <|endoftext|>, which stands between documents."""
STANDARDISED = {"—": "-", "–": "-", "―": "-", "…": "...", "´": "'"}
"""`text_standardize` of OpenAI's finetune-transformer-lm; what else it does is to put space around punctuation."""


def byte_characters() -> dict[str, int]:
    """Printable character -> byte, the one-to-one table of GPT-2's encoder.py."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(BYTES) if b not in set(printable)]
    return {**{chr(b): b for b in printable}, **{chr(BYTES + n): b for n, b in enumerate(others)}}


def untrained(kind: Kind) -> HuggingFaceTokenizer:
    """An empty tokenizer that cuts text as this kind does."""
    return _around(kind, models.BPE(**_model_options(kind)))


def tokenizer_json(kind: Kind, vocabulary: Mapping[str, int], merges: Sequence[tuple[str, str]]) -> bytes:
    """The bytes of a `tokenizer.json`; <|endoftext|> is put at the end unless it is in the vocabulary.

    Args:
        kind: of the vocabulary.
        vocabulary: token -> id.
        merges: pairs of tokens, first learned first.

    Raises:
        Exception: the library cannot make a tokenizer of these.
    """
    model = models.BPE(vocab=dict(vocabulary), merges=list(merges), **_model_options(kind))
    library = _around(kind, model)
    library.add_special_tokens([AddedToken(END_OF_TEXT, special=True, normalized=False)])
    return bytes(library.to_str(pretty=True).encode("utf-8"))


def _model_options(kind: Kind) -> dict[str, str]:
    return {} if kind == "gpt2" else {"unk_token": UNKNOWN, "end_of_word_suffix": WORD_END}


def _around(kind: Kind, model: models.BPE) -> HuggingFaceTokenizer:
    library = HuggingFaceTokenizer(model)
    if kind == "gpt2":
        # use_regex: GPT-2's pattern, which keeps merges from crossing character categories.
        library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
        library.decoder = decoders.ByteLevel()
    else:
        replace = [normalizers.Replace(old, new) for old, new in STANDARDISED.items()]
        library.normalizer = normalizers.Sequence([*replace, normalizers.BertNormalizer(lowercase=True)])
        library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        library.decoder = decoders.BPEDecoder(suffix=WORD_END)
    return library
