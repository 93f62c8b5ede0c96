"""Folders of Hugging Face models as checkpoints, and checkpoints as such folders."""

from __future__ import annotations

import hashlib
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from data_prep import store
from data_prep.errors import CorruptFile, UserError
from data_prep.tokenizer import END_OF_TEXT, Tokenizer
from data_prep.tokenizer.layout import WORD_END, tokenizer_json
from data_prep.tokenizer.published import read as read_vocabulary
from pipeline.checkpoint.disk import flush, new_folder, on_disk
from pipeline.checkpoint.foreign import CONFIG, INDEX, MODEL, weight_files
from pipeline.checkpoint.language_model import language_model
from pipeline.checkpoint.pieces import copy_to_host, state_file, whole_weights, write_state
from pipeline.checkpoint.reader import read_weights
from pipeline.checkpoint.store import (
    TOKENIZER,
    CheckpointManifest,
    CheckpointStore,
    Cursor,
    facts_of,
    open_checkpoint,
)
from pipeline.config.schema import ModelConfig
from pipeline.model import hf
from pipeline.model.gpt import EMBEDDING

HUB = "hub:"
_FILES = [CONFIG, "*.safetensors", INDEX, TOKENIZER, "vocab.json", "merges.txt"]


@dataclass(frozen=True)
class HuggingFaceModel:
    """A model of theirs as one of ours.

    Attributes:
        model: the shape.
        vocab_size: entries of the vocabulary, <|endoftext|> included.
        scored: entries that have a probability: GPT-1's published model knows no <|endoftext|>.
        weights: canonical name -> whole fp32 weight.
        tokenizer: bytes of a `tokenizer.json`.
        config_sha: digest of its settings.
        digest: sha256 (hex) over the files of the weights.
    """

    model: ModelConfig
    vocab_size: int
    scored: int
    weights: dict[str, Tensor]
    tokenizer: bytes
    config_sha: str
    digest: str


def read_model(folder: Path) -> HuggingFaceModel:
    """Read a folder with config.json, model.safetensors (or shards of it) and a tokenizer.

    GPT-1's published vocabulary has no <|endoftext|>, which our tokenizers have as the last id: its row is the mean of
    the others (Hewitt 2021: a new token's probability is then at most the mean of theirs).

    Raises:
        UserError: something is missing there, or the model is none that ours are.
        CorruptFile: a file is damaged.
    """
    config_path = folder / CONFIG
    if not config_path.is_file():
        raise UserError(f"no Hugging Face model here ({CONFIG} is missing)", where=str(folder), fix="check the path")
    config = store.read_json(str(config_path))
    if not isinstance(config, dict):
        raise CorruptFile("not a table of settings", where=str(config_path), fix="get the file again")
    model, rows = hf.model_of(config, str(config_path))
    data = _tokenizer(folder)
    tokenizer = Tokenizer(data, str(folder))
    state, digests = _read_weights(folder)
    weights = hf.weights_from_hf(state, model, rows, str(folder))
    name = f"{EMBEDDING}.weight"
    if tokenizer.vocab_size == rows + 1 and tokenizer.kind == "gpt1":
        weights[name] = torch.cat([weights[name], weights[name].mean(0, keepdim=True)])
    elif tokenizer.vocab_size != rows:
        raise UserError(
            f"the tokenizer has {tokenizer.vocab_size:,} ids, the model {rows:,}",
            where=str(folder),
            fix="give the tokenizer that the model was trained with",
        )
    config_sha = store.sha256_of(str(config_path))
    return HuggingFaceModel(model, tokenizer.vocab_size, rows, weights, data, config_sha, store.digest(digests))


def import_model(source: str, out: str) -> Path:
    """Write a model of theirs as a checkpoint that fine-tuning and evaluation open as one of pretraining.

    Args:
        source: folder as `read_model` takes it, or `hub:` and the id of a
            model on the Hub, which is downloaded.
        out: folder to make; it must not exist or be empty.

    Returns:
        The checkpoint, `out/step_00000000`; `out/latest` points at it.

    Raises:
        UserError: something is missing there, or the model is none that ours are.
        CorruptFile: a file is damaged.
    """
    target = new_folder(out)
    folder = _download(source.removeprefix(HUB)) if source.startswith(HUB) else Path(source)
    if not folder.is_dir():
        raise UserError("no such folder", where=source, fix=f"correct the path; for a model on the Hub write {HUB}ID")
    found = read_model(folder)
    checkpoints = CheckpointStore(target, keep_last=1)
    target.mkdir(parents=True, exist_ok=True)
    tmp = checkpoints.begin(0)

    def write() -> dict[str, dict[str, Any]]:
        write_state(tmp / state_file(0), copy_to_host(whole_weights(found.weights)))
        (tmp / TOKENIZER).write_bytes(found.tokenizer)
        names = (state_file(0), TOKENIZER)
        for name in names:
            flush(tmp / name)
        return {name: facts_of(tmp / name) for name in names}

    try:
        manifest = CheckpointManifest(
            cursor=Cursor(0, 0, 0),
            kind="pretrain",
            seed=0,
            model=found.model.facts(found.vocab_size),
            data="",
            topology={},
            tokenizer_sha256=hashlib.sha256(found.tokenizer).hexdigest(),
            identity={},
            config_sha=found.config_sha,
            lineage={"imported": found.digest},
            tracking_run="",
            files=on_disk(tmp, write),
        )
        return checkpoints.commit(tmp, manifest)
    except BaseException:
        shutil.rmtree(tmp, ignore_errors=True)
        raise


def export_model(checkpoint: str, out: str) -> Path:
    """Write a pretraining checkpoint as a folder that `transformers` opens: config.json, weights and tokenizer.

    Args:
        checkpoint: folder of the checkpoint (or `latest`).
        out: folder to make; it must not exist or be empty.

    Raises:
        UserError: not a checkpoint of a language model, or a model that Hugging Face has no class for.
    """
    target = new_folder(out)
    folder, manifest = open_checkpoint(checkpoint)
    dropout = float(manifest.model.get("dropout", 0.0))
    model, vocab_size = language_model(manifest, dropout, checkpoint)
    config = hf.config_of(model, vocab_size)
    weights = hf.weights_to_hf(read_weights(folder, manifest), model)
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **dict.fromkeys(("bos_token", "eos_token", "unk_token"), END_OF_TEXT),
        "model_max_length": model.sequence_length,
        "clean_up_tokenization_spaces": False,
    }
    tmp = target.with_name(target.name + store.TMP_SUFFIX)
    shutil.rmtree(tmp, ignore_errors=True)
    tmp.mkdir(parents=True)
    try:
        save_file(weights, tmp / MODEL, metadata={"format": "pt"})
        shutil.copyfile(folder / TOKENIZER, tmp / TOKENIZER)
        for name, content in ((CONFIG, config), ("tokenizer_config.json", tokenizer_config)):
            (tmp / name).write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2) + b"\n")
        for path in tmp.iterdir():
            flush(path)
        store.fsync_dir(tmp)
        tmp.replace(target)
        store.fsync_dir(target.parent)
    except BaseException:
        shutil.rmtree(tmp, ignore_errors=True)
        raise
    return target


def _download(model_id: str) -> Path:
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", model_id):
        raise UserError("not the id of a model on the Hub", where=HUB + model_id, fix=f"write {HUB}NAME or OWNER/NAME")
    try:
        from huggingface_hub import snapshot_download
    except ImportError as error:
        raise UserError(
            f"{error.name} is needed to download", where=HUB + model_id, fix="pip install huggingface_hub"
        ) from None
    try:
        return Path(snapshot_download(model_id, allow_patterns=_FILES))
    except Exception as error:  # errors of the network have no common base there, and change between releases
        reason = next(iter(str(error).strip().splitlines()), "")
        raise UserError(
            f"cannot be downloaded ({type(error).__name__}: {reason})",
            where=HUB + model_id,
            fix="check the id and the network, or give a local folder",
        ) from None


def _tokenizer(folder: Path) -> bytes:
    """The bytes of a tokenizer.json; one of GPT-1's kind gets the <|endoftext|> that it lacks."""
    data = read_vocabulary(str(folder))
    try:
        model = orjson.loads(data)["model"]
        vocabulary, merges = model["vocab"], model["merges"]
        if END_OF_TEXT in vocabulary or model.get("end_of_word_suffix") != WORD_END:
            return data
        pairs = [merge.split(" ") if isinstance(merge, str) else merge for merge in merges]
    except (ValueError, KeyError, TypeError):
        return data  # the tokenizer says what is wrong with it
    return tokenizer_json("gpt1", vocabulary, [(first, second) for first, second in pairs])


def _read_weights(folder: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(parameters, file name -> sha256)."""
    names = weight_files(folder)
    state: dict[str, Tensor] = {}
    for name in names:
        try:
            state |= load_file(folder / name)
        except SafetensorError as error:
            where = str(folder / name)
            raise CorruptFile(f"not a safetensors file ({error})", where=where, fix="get it again") from None
    return state, {name: store.sha256_of(str(folder / name)) for name in names}
