from pathlib import Path

import pytest
import torch
import transformers
from small_model import tokenizer_bytes

from data_prep.tokenizer import Tokenizer
from launch import convert
from launch.hf import main


def test_a_model_goes_in_and_comes_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    size = Tokenizer(tokenizer_bytes()).vocab_size
    model = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=size, n_positions=8, n_embd=8, n_layer=1, n_head=2)
    )
    model.save_pretrained(tmp_path / "theirs")
    (tmp_path / "theirs" / "tokenizer.json").write_bytes(tokenizer_bytes())
    main(["import", str(tmp_path / "theirs"), str(tmp_path / "ours")])
    assert capsys.readouterr().out.strip() == str(tmp_path / "ours" / "step_00000000")
    convert.main(["export", str(tmp_path / "ours" / "latest"), str(tmp_path / "back")])
    again = transformers.GPT2LMHeadModel.from_pretrained(tmp_path / "back", local_files_only=True)
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def test_bad_input_ends_with_code_2_and_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["import", str(tmp_path / "nothing"), str(tmp_path / "out")])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert "no such folder" in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
