import os
import re
import shutil
from pathlib import Path

import pytest
import torch
import transformers
from run_folder import checkpoint_weights

from launch.convert import main
from pipeline.checkpoint.store import MANIFEST, TOKENIZER, CheckpointManifest, open_checkpoint
from pipeline.evaluate.model import Scorer


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    main(arguments)
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """The one line of a command that ends with code 2."""
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


@pytest.fixture
def checkpoint(pretrained: Path, tmp_path: Path) -> Path:
    """A copy that may be damaged."""
    return Path(shutil.copytree(pretrained, tmp_path / pretrained.name))


def test_inspect_says_what_it_is_and_reads_the_manifest_only(
    checkpoint: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = CheckpointManifest.load(checkpoint)
    for name in manifest.files:
        (checkpoint / name).unlink()
    rows = dict(line.split("  ", 1) for line in told(capsys, "inspect", str(checkpoint)).splitlines())
    rows = {name: text.strip() for name, text in rows.items()}
    assert rows["checkpoint"] == str(checkpoint)
    assert rows["step"] == "40"
    assert rows["tokens"] == f"{40 * 12 * 16:,}"
    assert rows["digest"] == manifest.digest
    assert rows["holds"].startswith("weights and AdamW's two moments")
    assert "world_size 1, zero_stage 1" in rows["topology"]
    assert "n_layer 2" in rows["model"]
    assert {f"made from {name}": digest for name, digest in manifest.lineage.items()}.items() <= rows.items()
    for name, facts in manifest.files.items():
        assert rows[name] == f"{facts['bytes']:,} bytes"
    size = manifest.bytes + (checkpoint / MANIFEST).stat().st_size
    assert rows["3 files"] == f"{size:,} bytes"


def test_verify_names_the_bad_file(checkpoint: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = CheckpointManifest.load(checkpoint)
    assert told(capsys, "verify", str(checkpoint)) == (
        f"{checkpoint}: whole; 2 files, {manifest.bytes:,} bytes, digest {manifest.digest}\n"
    )
    os.truncate(checkpoint / TOKENIZER, 10)
    assert re.match(
        rf"error: {checkpoint}/tokenizer.json: the file has 10 bytes", refused(capsys, "verify", str(checkpoint))
    )
    (checkpoint / MANIFEST).unlink()
    assert "no checkpoint here" in refused(capsys, "verify", str(checkpoint))


def test_convert_keeps_the_weights_only(pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = Path(told(capsys, "convert", str(pretrained), str(tmp_path / "release")).strip())
    assert made == tmp_path / "release" / "step_00000040"
    folder, manifest = open_checkpoint(str(tmp_path / "release" / "latest"))
    before = CheckpointManifest.load(pretrained)
    assert folder == made
    assert manifest.weights_only
    assert manifest.lineage == {**before.lineage, "converted": before.digest}
    assert manifest.bytes - manifest.files[TOKENIZER]["bytes"] < 0.4 * before.bytes
    ours, theirs = checkpoint_weights(made), checkpoint_weights(pretrained)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert "weights only" in told(capsys, "inspect", str(made))
    told(capsys, "verify", str(made))
    assert Scorer(str(made), 1).loaded.digest == manifest.digest
    assert "something is there already" in refused(capsys, "convert", str(pretrained), str(tmp_path / "release"))


def test_export_is_what_transformers_opens(
    pretrained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = told(capsys, "export", str(pretrained), str(tmp_path / "theirs")).strip()
    model = transformers.AutoModelForCausalLM.from_pretrained(out, local_files_only=True)
    weights = checkpoint_weights(pretrained)
    assert torch.equal(model.transformer.wte.weight, weights["transformer.wte.weight"])


@pytest.mark.parametrize("command", ["convert", "export"])
def test_a_damaged_checkpoint_makes_nothing(
    checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    os.truncate(checkpoint / TOKENIZER, 10)
    assert "the file has 10 bytes" in refused(capsys, command, str(checkpoint), str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
