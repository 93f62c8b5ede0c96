from __future__ import annotations

import importlib.util
import itertools
import os
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from harness import ranks
from hypothesis import given, settings
from hypothesis import strategies as st
from small_model import finetune_config, random_tokens, tokenizer_bytes, write_task
from tiny_models import KINDS, LENGTH, hugging_face_folder, native_checkpoint, random_model

from data_prep.errors import UserError
from data_prep.tokenizer import Tokenizer
from pipeline.checkpoint.pieces import state_file
from pipeline.config.schema import ModelConfig
from pipeline.evaluate.forward import Forward
from pipeline.evaluate.model import Scored, Scorer, Window, windows_of
from pipeline.evaluate.plan import MIN_PREFIX, window_node
from pipeline.evaluate.requests import encode_pairs
from pipeline.finetune.run import finetune
from pipeline.model.gpt import GPT
from pipeline.model.hf import weights_from_hf
from pipeline.model.loss import IGNORE

PREFIX = -1


def test_windows_of_a_text_by_hand() -> None:
    assert list(windows_of([10, 11, 12, 13, 14, 15, 16], PREFIX, 4, 2, 9)) == [
        Window([PREFIX, 10, 11, 12], [10, 11, 12, 13], 9),
        Window([11, 12, 13, 14], [IGNORE, IGNORE, 14, 15], 9),
        Window([12, 13, 14, 15], [IGNORE, IGNORE, IGNORE, 16], 9),
    ]
    assert list(windows_of([10, 11], PREFIX, 4, 4, 0)) == [Window([PREFIX, 10], [10, 11], 0)]
    assert list(windows_of([], PREFIX, 4, 4, 0)) == []


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 60), st.integers(1, 12), st.data())
def test_every_token_is_scored_once_with_all_the_context_that_fits(size: int, length: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, length))
    ids = list(range(100, 100 + size))
    inputs = [PREFIX, *ids[:-1]]
    scored: list[int] = []
    for window in windows_of(ids, PREFIX, length, stride, 0):
        assert len(window.tokens) == len(window.targets) <= length
        fresh = [target for target in window.targets if target != IGNORE]
        assert window.targets[-len(fresh) :] == fresh
        assert len(fresh) <= (stride if scored else length)
        scored += fresh
        assert window.tokens == inputs[max(0, len(scored) - length) : len(scored)]
    assert scored == ids


Ids = Sequence[int]
SIZES = (1, 100, 700, 8192)
"""Of batches, in tokens."""


def windows_to_score() -> list[Window]:
    found = []
    for number, size in enumerate((3, 140, 65, 1, 25)):
        ids = random_tokens((size,), 290, seed=number).tolist()
        found += list(windows_of(ids, 299, LENGTH, 50, number))
    return found


def pairs_to_score() -> list[tuple[list[int], list[int]]]:
    """Contexts with several continuations, some behind a common beginning, some too long, some twice."""
    draw = random.Random(0)
    beginning = [draw.randrange(290) for _ in range(MIN_PREFIX + 3)]
    found = []
    for number in range(20):
        context = [draw.randrange(300) for _ in range(draw.randint(1, LENGTH + 4))]
        if number % 3 == 0:
            context = beginning + context[:20]
        for _ in range(draw.randint(1, 4)):
            found.append((context, [draw.randrange(300) for _ in range(draw.randint(1, 9))]))
    return [*found, found[0]]


@pytest.fixture(scope="module", params=sorted(KINDS))
def scorer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    return Scorer(str(native_checkpoint(tmp_path_factory.mktemp("model") / "c", random_model(request.param))))


def log_probabilities(logits: torch.Tensor, targets: Ids) -> tuple[list[float], bool]:
    """(of each target, whether all are the likeliest) from logits [targets, vocab_size]."""
    scores = logits.log_softmax(-1)
    return scores[range(len(targets)), list(targets)].tolist(), scores.argmax(-1).tolist() == list(targets)


@torch.no_grad()
def test_windows_and_continuations_have_the_probabilities_of_a_plain_forward_pass(scorer: Scorer) -> None:
    """Of every kind of model, with cached contexts and beginnings as without."""
    windows = windows_to_score()
    found = list(scorer.token_logprobs(iter(windows)))
    assert [one.owner for one in found] == [window.owner for window in windows]
    for window, one in zip(windows, found, strict=True):
        places = [place for place, target in enumerate(window.targets) if target != IGNORE]
        logits = scorer.model.logits(torch.tensor([window.tokens]))[0, places]
        expected, greedy = log_probabilities(logits, [window.targets[place] for place in places])
        assert one.tokens == pytest.approx(expected, abs=1e-4)
        assert (one.logprob, one.greedy) == (pytest.approx(sum(expected), abs=1e-4), greedy)
    cut_before, pairs = scorer.truncated, pairs_to_score()
    for number, ((context, ids), one) in enumerate(zip(pairs, scorer.loglikelihood_ids(pairs), strict=True)):
        seen = [*context, *ids][:-1][-LENGTH:]
        expected, greedy = log_probabilities(scorer.model.logits(torch.tensor([seen]))[0, -len(ids) :], ids)
        assert one == Scored(number, pytest.approx(sum(expected), abs=1e-4), greedy, pytest.approx(expected, abs=1e-4))
    assert scorer.truncated - cut_before == sum(len(context) + len(ids) > LENGTH + 1 for context, ids in pairs) > 0


def test_the_batch_changes_no_bit(scorer: Scorer) -> None:
    """Nor do neighbours: each window by itself has the same numbers. An LSTM's may differ in rounding."""
    scored = []
    windows = windows_to_score()
    for size in SIZES:
        scorer.forward = Forward(scorer.model, scorer.vocab_size, size)
        scored.append((scorer.loglikelihood_ids(pairs_to_score()), list(scorer.token_logprobs(windows))))
    by_themselves = [next(scorer.token_logprobs([window])) for window in windows]
    if scorer.model.config.kind == "lstm":
        for pairs, whole in scored:
            assert [one.logprob for one in pairs] == pytest.approx([one.logprob for one in scored[0][0]], abs=1e-4)
            assert [one.logprob for one in whole] == pytest.approx([one.logprob for one in by_themselves], abs=1e-4)
    else:
        assert all(found == scored[0] for found in scored)
        assert by_themselves == scored[0][1]


def test_a_shared_beginning_moves_a_score_by_rounding_alone(scorer: Scorer) -> None:
    pairs = [(context, ids) for context, ids in pairs_to_score() if len(context) > MIN_PREFIX]
    alone = [scorer.loglikelihood_ids([pair])[0].logprob for pair in pairs]
    assert [one.logprob for one in scorer.loglikelihood_ids(pairs)] == pytest.approx(alone, abs=1e-4)


def test_texts_are_scored_in_windows(scorer: Scorer) -> None:
    texts = ["the cat sees the moon. " * 30, "", "it"]
    found = scorer.loglikelihood_rolling(texts, stride=20)
    for number, text in enumerate(texts):
        ids = scorer.tokenizer.encode(text)
        windows = list(windows_of(ids, scorer.tokenizer.eot_id, LENGTH, 20, number))
        assert found[number].owner == number
        assert found[number].tokens == [value for one in scorer.token_logprobs(windows) for value in one.tokens]
        assert found[number].logprob == pytest.approx(sum(found[number].tokens))
        assert len(found[number].tokens) == len(ids)


@pytest.fixture(scope="module")
def plain_scorer(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    return Scorer(str(native_checkpoint(tmp_path_factory.mktemp("model") / "c", random_model("pre-norm"))))


def test_windows_are_scored_as_they_come(plain_scorer: Scorer) -> None:
    """An endless stream is scored piece by piece, not collected."""
    scores = plain_scorer.nll(itertools.cycle([Window([1], [2], 0)]))
    assert len(list(itertools.islice(scores, 10))) == 10


@pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="lm-eval is not installed")
def test_pairs_are_encoded_as_the_harness_does() -> None:
    from pipeline.evaluate.harness_model import WebtextLM

    tokenizer = Tokenizer(tokenizer_bytes())
    model = WebtextLM.__new__(WebtextLM)
    model._tokenizer = tokenizer
    pairs = [("the cat", " sees"), ("the cat ", "sees"), ("a \n\n", "dog"), ("it", "s"), ("x" * 9, "xxx y")]
    assert encode_pairs(tokenizer, pairs) == [model._encode_pair(*pair) for pair in pairs]
    assert encode_pairs(tokenizer, [("", "it"), (" ", "it")]) == [
        ([tokenizer.eot_id], tokenizer.encode("it")),
        ([tokenizer.eot_id], tokenizer.encode(" it")),
    ]
    with pytest.raises(UserError, match="request 1: an empty continuation"):
        encode_pairs(tokenizer, [("a", "b"), ("a", "")])


@pytest.mark.parametrize("gpt1", [False, True])
@torch.no_grad()
def test_hugging_face_folders_have_the_probabilities_of_transformers(tmp_path: Path, gpt1: bool) -> None:
    theirs = hugging_face_folder(tmp_path / "model", gpt1)
    scorer = Scorer(str(tmp_path / "model"))
    for window, one in zip(windows_to_score(), scorer.token_logprobs(windows_to_score()), strict=True):
        places = [place for place, target in enumerate(window.targets) if target != IGNORE]
        logits = theirs(torch.tensor([window.tokens])).logits[0, places]
        expected, greedy = log_probabilities(logits, [window.targets[place] for place in places])
        assert (one.tokens, one.greedy) == (pytest.approx(expected, abs=1e-4), greedy)
    assert set(scorer.loaded.lineage) == {"imported"}
    before = scorer.loaded.digest
    (tmp_path / "model" / "config.json").write_text((tmp_path / "model" / "config.json").read_text() + " ")
    assert Scorer(str(tmp_path / "model")).loaded.digest != before


@pytest.mark.skipif("WEBTEXT_DATA_ROOT" not in os.environ, reason="WEBTEXT_DATA_ROOT is not set")
@pytest.mark.parametrize(("name", "kind"), [("hf_gpt2_tiny", "pre"), ("hf_gpt1_tiny", "post")])
def test_stored_logits_of_transformers(name: str, kind: str) -> None:
    stored = np.load(Path(os.environ["WEBTEXT_DATA_ROOT"]) / "references" / f"{name}.npz")
    ids, logits = stored["input_ids"], stored["logits"]
    shape = {"n_layer": 2, "n_head": 4, "d_model": 48, "sequence_length": 32, "norm": kind}
    config = ModelConfig.model_validate(shape)
    model = GPT(config, logits.shape[-1]).eval()
    state = {key.removeprefix("w/"): torch.tensor(stored[key]) for key in stored if key.startswith("w/")}
    model.load_state_dict(weights_from_hf(state, config, logits.shape[-1], name))
    windows = [Window(row[:-1].tolist(), row[1:].tolist(), number) for number, row in enumerate(ids)]
    forward = Forward(model, logits.shape[-1], 8192)
    found = [a for answers in forward.answers([window_node(one, one.owner) for one in windows]) for a in answers]
    for answer in found:
        expected, greedy = log_probabilities(
            torch.tensor(logits[answer.request, :-1]), ids[answer.request, 1:].tolist()
        )
        assert answer.logprobs == pytest.approx(expected, abs=1e-4)
        assert all(answer.greedy) == greedy
    assert len(found) == len(ids)


def test_a_checkpoint_that_cannot_be_scored_is_refused(pretrained: Path, tmp_path: Path) -> None:
    write_task(tmp_path / "task", train=8)
    config = finetune_config(pretrained, tmp_path / "task", tmp_path, train={"epochs": 1})
    checkpoint = ranks(1, finetune, config)[0]["checkpoint"]
    with pytest.raises(UserError, match="written by finetune; give a pretraining one"):
        Scorer(checkpoint)
    damaged = Path(shutil.copytree(pretrained, tmp_path / "damaged"))
    os.truncate(damaged / state_file(0), 7)
    with pytest.raises(UserError, match="has 7 bytes, the manifest says"):
        Scorer(str(damaged))
    hugging_face_folder(tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"no weights here \(model.safetensors is missing\)"):
        Scorer(str(tmp_path / "model"))
    with pytest.raises(UserError, match="no checkpoint here"):
        Scorer(str(tmp_path / "nothing"))
