"""Byte-pair encoding: GPT-2's byte-level kind (GPT-2, 2.2) and GPT-1's (Radford et al. 2018, 4.1); train, load, encode.

`layout` says what a vocabulary of each kind is, `codec` encodes and decodes, `training` learns one, `published` reads
OpenAI's files, `stage` is the step of the chain. `tokenizer.json` (Hugging Face format) is what is kept of all of them.
"""

from data_prep.tokenizer.codec import Tokenizer
from data_prep.tokenizer.layout import END_OF_TEXT, Kind
from data_prep.tokenizer.stage import FILE, TokenizerSettings, TokenizerStage, text_bytes
from data_prep.tokenizer.training import train

__all__ = ["END_OF_TEXT", "FILE", "Kind", "Tokenizer", "TokenizerSettings", "TokenizerStage", "text_bytes", "train"]
