"""Folders of Hugging Face: opened by `transformers`, and opened here."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from run_folder import checkpoint_weights
from safetensors.torch import load_file, save_file
from small_model import random_tokens, tokenizer_bytes

from data_prep import store
from data_prep.errors import UserError
from data_prep.tokenizer import Tokenizer, train
from pipeline.checkpoint.hugging_face import export_model, import_model
from pipeline.checkpoint.store import CheckpointManifest, open_checkpoint
from pipeline.evaluate.model import Scorer, windows_of

TEXT = "the old man follows a dog."


def model_folder(folder: Path, norm: str = "pre", shard: str = "1GB") -> Any:
    """A model of theirs with its tokenizer, as its users save it."""
    tokenizer = tokenizer_bytes() if norm == "pre" else train(iter([TEXT, "nobody likes it"]), 60, kind="gpt1")
    size = Tokenizer(tokenizer).vocab_size
    shape = {"vocab_size": size, "n_positions": 16, "n_embd": 16, "n_layer": 2, "n_head": 4}
    torch.manual_seed(0)
    model: Any
    if norm == "pre":
        model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**shape))
    else:
        model = transformers.OpenAIGPTLMHeadModel(transformers.OpenAIGPTConfig(**shape))
    model.save_pretrained(folder, max_shard_size=shard)
    (folder / "tokenizer.json").write_bytes(tokenizer)
    return model.eval()


@pytest.mark.parametrize(("norm", "shard"), [("pre", "1GB"), ("pre", "10KB"), ("post", "1GB")])
def test_an_imported_model_scores_as_there(tmp_path: Path, norm: str, shard: str) -> None:
    model = model_folder(tmp_path / "theirs", norm, shard)
    assert (tmp_path / "theirs" / "model.safetensors").exists() == (shard == "1GB")
    made = import_model(str(tmp_path / "theirs"), str(tmp_path / "ours"))
    assert made == tmp_path / "ours" / "step_00000000"
    assert (tmp_path / "ours" / "latest").resolve() == made.resolve()
    scorer = Scorer(str(tmp_path / "ours" / "latest"), 4)
    ids = [scorer.tokenizer.eot_id, *scorer.tokenizer.encode(TEXT)[:14]]
    ((_, found),) = scorer.nll(windows_of(ids[1:], ids[0], 16, 16, 0))
    with torch.no_grad():
        log_probabilities = model(torch.tensor([ids])).logits[0].log_softmax(-1)
    expected = -sum(log_probabilities[i, token].item() for i, token in enumerate(ids[1:]))
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("norm", ["pre", "post"])
def test_import_and_export_give_the_same_bits_back(tmp_path: Path, norm: str) -> None:
    model = model_folder(tmp_path / "theirs", norm)
    import_model(str(tmp_path / "theirs"), str(tmp_path / "ours"))
    export_model(str(tmp_path / "ours" / "latest"), str(tmp_path / "back"))
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in ("theirs", "back"))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    tokens = random_tokens((2, 9), model.config.vocab_size)
    again = type(model).from_pretrained(tmp_path / "back", local_files_only=True).eval()
    assert torch.equal(again(tokens).logits, model(tokens).logits)


def test_transformers_opens_what_pretraining_made(pretrained: Path, tmp_path: Path) -> None:
    export_model(str(pretrained), str(tmp_path / "out"))
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out", local_files_only=True).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out", local_files_only=True)
    scorer = Scorer(str(pretrained), 4)
    ids = scorer.tokenizer.encode(TEXT)
    assert tokenizer(TEXT)["input_ids"] == ids
    assert tokenizer.eos_token_id == model.config.eos_token_id == scorer.tokenizer.eot_id
    tokens = torch.tensor([ids])
    with torch.no_grad():
        torch.testing.assert_close(model(tokens).logits, scorer.model.logits(tokens), rtol=1e-5, atol=1e-5)


def test_gpt1_gets_the_end_of_text_that_its_vocabulary_lacks(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    model_folder(folder, "post")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["added_tokens"] = [t for t in tokenizer["added_tokens"] if t["content"] != "<|endoftext|>"]
    tokenizer["model"]["vocab"].pop("<|endoftext|>", None)
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    state, config = load_file(folder / "model.safetensors"), json.loads((folder / "config.json").read_text())
    name = "transformer.tokens_embed.weight"
    state[name] = state[name][:-1].contiguous()
    config["vocab_size"] -= 1
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    made = import_model(str(folder), str(tmp_path / "ours"))
    weight = checkpoint_weights(made)["transformer.wte.weight"]
    assert torch.equal(weight[:-1], state[name])
    torch.testing.assert_close(weight[-1], state[name].mean(0))
    assert len(weight) == Tokenizer.load(str(made / "tokenizer.json")).vocab_size


def test_the_manifest_says_where_the_weights_come_from(tmp_path: Path) -> None:
    model_folder(tmp_path / "theirs")
    first = import_model(str(tmp_path / "theirs"), str(tmp_path / "a"))
    second = import_model(str(tmp_path / "theirs"), str(tmp_path / "b"))
    state = load_file(tmp_path / "theirs" / "model.safetensors")
    state["transformer.ln_f.bias"] += 1
    save_file(state, tmp_path / "theirs" / "model.safetensors", metadata={"format": "pt"})
    third = import_model(str(tmp_path / "theirs"), str(tmp_path / "c"))
    digests = [CheckpointManifest.load(path).digest for path in (first, second, third)]
    assert digests[0] == digests[1] != digests[2]
    _, manifest = open_checkpoint(str(first))
    assert list(manifest.lineage) == ["imported"]


def _without(name: str) -> Any:
    return lambda folder: (folder / name).unlink()


def _write(name: str, content: str) -> Any:
    return lambda folder: (folder / name).write_text(content)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_without("config.json"), r"config\.json is missing"),
        (_without("model.safetensors"), r"model\.safetensors is missing"),
        (_without("tokenizer.json"), "no vocabulary here"),
        (_write("model.safetensors", "nonsense"), "not a safetensors file"),
        (_write("config.json", "[]"), "not a table of settings"),
        (_write("model.safetensors.index.json", "{}"), None),
        (lambda folder: (folder / "tokenizer.json").write_bytes(tokenizer_bytes(290)), "the tokenizer has 290 ids"),
        (shutil.rmtree, "no such folder"),
    ],
)
def test_a_folder_that_is_no_model_is_refused_and_nothing_is_left(
    tmp_path: Path, damage: Any, message: str | None
) -> None:
    folder, out = tmp_path / "theirs", tmp_path / "ours"
    model_folder(folder)
    damage(folder)
    if message is None:
        assert import_model(str(folder), str(out)).is_dir()  # the whole file goes before an index
        return
    with pytest.raises(UserError, match=message):
        import_model(str(folder), str(out))
    assert not out.exists() or not any(out.iterdir())


def test_nothing_that_exists_is_overwritten(pretrained: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("")
    for work in (import_model, export_model):
        with pytest.raises(UserError, match="something is there already"):
            work(str(pretrained), str(tmp_path / "out"))


def test_a_model_with_no_class_there_leaves_no_folder(tmp_path: Path, pretrained: Path) -> None:
    shutil.copytree(pretrained, tmp_path / "banded")
    path = tmp_path / "banded" / "manifest.json"
    content = json.loads(path.read_text())
    content["model"]["attention"] = "alternating"
    fields = {name: value for name, value in content.items() if name not in ("format", "digest")}
    content["digest"] = store.digest(fields)
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match="banded attention has no Hugging Face model"):
        export_model(str(tmp_path / "banded"), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("source", ["hub:openai-community/gpt2", "hub:../etc/passwd"])
def test_the_hub_without_network_is_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(UserError, match=r"cannot be downloaded|not the id of a model") as caught:
        import_model(source, str(tmp_path / "ours"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ours").exists()


def test_a_missing_folder_is_not_looked_for_on_the_hub(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="for a model on the Hub write hub:ID"):
        import_model("gpt2-that-is-not-here", str(tmp_path / "ours"))


@pytest.mark.skipif("WEBTEXT_DATA_ROOT" not in os.environ, reason="WEBTEXT_DATA_ROOT is not set")
@pytest.mark.parametrize(("vocabulary", "kind", "rows"), [("gpt2_vocab", "gpt2", 50257), ("gpt1_vocab", "gpt1", 40478)])
def test_published_vocabularies(tmp_path: Path, vocabulary: str, kind: str, rows: int) -> None:
    """OpenAI's vocabulary files beside weights of its size, named as Hugging Face names them."""
    source = Path(os.environ["WEBTEXT_DATA_ROOT"]) / vocabulary
    names = ("encoder.json", "vocab.bpe") if kind == "gpt2" else ("encoder_bpe_40000.json", "vocab_40000.bpe")
    shape = {"vocab_size": rows, "n_positions": 8, "n_embd": 4, "n_layer": 1, "n_head": 1}
    folder = tmp_path / "theirs"
    model: Any
    if kind == "gpt2":
        model = transformers.GPT2LMHeadModel(transformers.GPT2Config(**shape))
    else:
        model = transformers.OpenAIGPTLMHeadModel(transformers.OpenAIGPTConfig(**shape))
    model.save_pretrained(folder)
    for name, there in zip(names, ("vocab.json", "merges.txt"), strict=True):
        shutil.copyfile(source / name, folder / there)
    made = import_model(str(folder), str(tmp_path / "ours"))
    tokenizer = Tokenizer.load(str(made / "tokenizer.json"))
    assert (tokenizer.kind, tokenizer.vocab_size) == (kind, {"gpt2": 50257, "gpt1": 40479}[kind])
    assert len(checkpoint_weights(made)["transformer.wte.weight"]) == tokenizer.vocab_size
