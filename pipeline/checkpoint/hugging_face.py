"""Folders of Hugging Face models as checkpoints, and checkpoints as such folders."""

from __future__ import annotations

import hashlib
import re
import shutil
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
from pipeline.checkpoint.hf_folder import CONFIG, INDEX, MODEL, weight_files, weights_digest
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
from pipeline.config.model import ModelConfig
from pipeline.model import hf
from pipeline.model.gpt import EMBEDDING

HUB = "hub:"
_FILES = [CONFIG, "*.safetensors", INDEX, TOKENIZER, "vocab.json", "merges.txt"]


def import_model(source: str, out: str) -> Path:
    """Write a model of theirs as a checkpoint that fine-tuning and evaluation open as one of pretraining.

    Args:
        source: folder with config.json, model.safetensors (or shards of it) and a tokenizer, or `hub:` and the id of a
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
    model, _, tokenizer_data = read_shape(folder)
    weights, digest = read_folder(folder), weights_digest(folder)
    vocab_size = len(weights[f"{EMBEDDING}.weight"])
    checkpoints = CheckpointStore(target, keep_last=1)
    target.mkdir(parents=True, exist_ok=True)
    tmp = checkpoints.begin(0)

    def write() -> dict[str, dict[str, Any]]:
        write_state(tmp / state_file(0), copy_to_host(whole_weights(weights)))
        (tmp / TOKENIZER).write_bytes(tokenizer_data)
        names = (state_file(0), TOKENIZER)
        for name in names:
            flush(tmp / name)
        return {name: facts_of(tmp / name) for name in names}

    try:
        manifest = CheckpointManifest(
            cursor=Cursor(0, 0, 0),
            kind="pretrain",
            seed=0,
            model=model.facts(vocab_size),
            data="",
            topology={},
            tokenizer_sha256=hashlib.sha256(tokenizer_data).hexdigest(),
            identity={},
            config_sha=store.sha256_of(str(folder / CONFIG)),
            lineage={"imported": digest},
            tracking_run="",
            files=on_disk(tmp, write),
        )
        return checkpoints.commit(tmp, manifest)
    except BaseException:
        shutil.rmtree(tmp, ignore_errors=True)
        raise


def read_shape(folder: Path) -> tuple[ModelConfig, int, bytes]:
    """(shape, ids that have a probability, tokenizer.json) of a model of theirs.

    GPT-1's published vocabulary has no <|endoftext|>, which our tokenizers have as the last id: it has no probability.

    Raises:
        UserError: something is missing there, or the model is none that ours are.
        CorruptFile: a file is damaged.
    """
    return *_shape(folder), _tokenizer(folder)


def read_folder(folder: Path, tokenizer: Tokenizer | None = None) -> dict[str, Tensor]:
    """Canonical weights of a model of theirs, with as many token embeddings as the tokenizer has ids.

    That of an <|endoftext|> which GPT-1's model does not know is the mean of the others (Hewitt 2021: a new token's
    probability is then at most the mean of theirs).

    Args:
        folder: of the model.
        tokenizer: its tokenizer, if it is open already.

    Raises:
        UserError: something is missing there, or does not fit the rest.
        CorruptFile: a file is damaged.
    """
    model, rows = _shape(folder)
    tokenizer = tokenizer or Tokenizer(_tokenizer(folder), str(folder))
    weights = hf.weights_from_hf(_read_weights(folder), model, rows, str(folder))
    name = f"{EMBEDDING}.weight"
    if tokenizer.vocab_size == rows + 1 and tokenizer.kind == "gpt1":
        weights[name] = torch.cat([weights[name], weights[name].mean(0, keepdim=True)])
    elif tokenizer.vocab_size != rows:
        raise UserError(
            f"the tokenizer has {tokenizer.vocab_size:,} ids, the model {rows:,}",
            where=str(folder),
            fix="give the tokenizer that the model was trained with",
        )
    return weights


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
    return write_folder(
        target,
        hf.config_of(model, vocab_size),
        hf.weights_to_hf(read_weights(folder, manifest), model),
        (folder / TOKENIZER).read_bytes(),
        dict.fromkeys(("bos_token", "eos_token", "unk_token"), END_OF_TEXT),
    )


def write_folder(
    target: Path, config: dict[str, Any], weights: dict[str, Tensor], tokenizer: bytes, tokens: dict[str, str]
) -> Path:
    """Write a folder that `transformers` opens, whole or not at all.

    Args:
        target: of `new_folder`.
        config: content of config.json.
        weights: under their names.
        tokenizer: content of tokenizer.json.
        tokens: what the tokenizer's control tokens are.
    """
    tokenizer_config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        **tokens,
        "model_max_length": config["n_positions"],
        "clean_up_tokenization_spaces": False,
    }
    tmp = target.with_name(target.name + store.TMP_SUFFIX)
    shutil.rmtree(tmp, ignore_errors=True)
    tmp.mkdir(parents=True)
    try:
        save_file(weights, tmp / MODEL, metadata={"format": "pt"})
        (tmp / TOKENIZER).write_bytes(tokenizer)
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


def _shape(folder: Path) -> tuple[ModelConfig, int]:
    """(shape, rows of the token embedding)."""
    path = folder / CONFIG
    if not path.is_file():
        raise UserError(f"no Hugging Face model here ({CONFIG} is missing)", where=str(folder), fix="check the path")
    config = store.read_json(str(path))
    if not isinstance(config, dict):
        raise CorruptFile("not a table of settings", where=str(path), fix="get the file again")
    return hf.model_of(config, str(path))


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


def _read_weights(folder: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for name in weight_files(folder):
        path = folder / name
        try:
            state |= load_file(path)
        except SafetensorError as error:
            raise CorruptFile(f"not a safetensors file ({error})", where=str(path), fix="get it again") from None
    return state
