from __future__ import annotations

from pathlib import Path

import pytest

from data_prep import store
from pipeline.checkpoint.hf_folder import model_digest, weights_digest


def test_weights_are_hashed_once_as_long_as_they_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("config.json", "tokenizer.json"):
        (tmp_path / name).write_text("{}")
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"weights")
    read: list[str] = []
    hashed = store.sha256_of

    def counted(path: str) -> str:
        read.append(Path(path).name)
        return hashed(path)

    monkeypatch.setattr(store, "sha256_of", counted)
    model, only_weights = model_digest(str(tmp_path)), weights_digest(tmp_path)
    assert model_digest(str(tmp_path)) == model != only_weights
    assert sorted(read) == ["config.json", "model.safetensors", "tokenizer.json"]
    weights.write_bytes(b"others")
    assert model_digest(str(tmp_path)) != model
    assert weights_digest(tmp_path) != only_weights
    assert read.count("model.safetensors") == 2
