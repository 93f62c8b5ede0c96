from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from small_model import write_dataset

from data_prep.errors import UserError
from data_prep.shards import DatasetManifest, TokenSplit
from pipeline.config.schema import PerplexityConfig
from pipeline.evaluate.model import Scorer
from pipeline.evaluate.perplexity import perplexity
from pipeline.evaluate.statistics import perplexity_of, ratio

LENGTH = 16


def documents(folder: Path, count: int) -> list[list[int]]:
    split = TokenSplit(str(folder), DatasetManifest.load(str(folder)), "validation")
    return [split.document(number)[:-1].tolist() for number in range(count)]


@torch.no_grad()
def test_a_model_that_knows_nothing_has_the_perplexity_of_its_vocabulary(pretrained: Path, small_dataset: Path) -> None:
    scorer = Scorer(str(pretrained))
    for parameter in scorer.model.parameters():
        parameter.zero_()
    size = scorer.tokenizer.vocab_size
    found = perplexity(scorer, PerplexityConfig(path=str(small_dataset), documents=5))
    texts = [scorer.tokenizer.decode(ids) for ids in documents(small_dataset, 5)]
    tokens = sum(len(ids) for ids in documents(small_dataset, 5))
    words, octets = sum(len(text.split()) for text in texts), sum(len(text.encode()) for text in texts)
    assert (found["tokens"], found["words"], found["bytes"], found["documents"]) == (tokens, words, octets, 5)
    assert found["ppl_token"] == pytest.approx(size)
    assert found["ppl_word"] == pytest.approx(size ** (tokens / words), rel=1e-4)
    assert found["ppl_byte"] == pytest.approx(size ** (tokens / octets))
    assert found["bits_per_byte"] == pytest.approx(math.log2(size) * tokens / octets)


@pytest.mark.parametrize("stride", [None, 1, 5])
@torch.no_grad()
def test_each_token_has_the_context_of_its_window(pretrained: Path, small_dataset: Path, stride: int | None) -> None:
    """Token by token: position i is read in the window that ends with its group of `stride` tokens."""
    scorer = Scorer(str(pretrained))
    found = perplexity(scorer, PerplexityConfig(path=str(small_dataset), documents=2, stride=stride))
    step = stride or LENGTH
    total, tokens = 0.0, 0
    for ids in documents(small_dataset, 2):
        assert len(ids) > LENGTH, "the test needs documents longer than a window"
        inputs = [scorer.tokenizer.eot_id, *ids[:-1]]
        for i, token in enumerate(ids):
            end = LENGTH if i < LENGTH else LENGTH + step * (1 + (i - LENGTH) // step)
            begin = max(0, min(end, len(ids)) - LENGTH)
            logits = scorer.model.logits(torch.tensor([inputs[begin : i + 1]]))[0, -1]
            total -= logits.log_softmax(0)[token].item()
            tokens += 1
    assert found["ppl_token"] == pytest.approx(math.exp(total / tokens), rel=1e-5)
    assert (found["window"], found["stride"]) == (LENGTH, step)


def test_a_trained_model_is_far_better_than_chance(pretrained: Path, small_dataset: Path) -> None:
    scorer = Scorer(str(pretrained))
    found = perplexity(scorer, PerplexityConfig(path=str(small_dataset)))
    assert found["ppl_token"] < scorer.tokenizer.vocab_size / 5


def test_the_error_is_that_of_the_documents(pretrained: Path, small_dataset: Path) -> None:
    scorer = Scorer(str(pretrained))
    ids = documents(small_dataset, 6)
    nats = [-one.logprob for one in scorer.loglikelihood_rolling([scorer.tokenizer.decode(some) for some in ids])]
    found = perplexity(scorer, PerplexityConfig(path=str(small_dataset), documents=6))
    expected = perplexity_of(ratio(nats, [len(some) for some in ids]))
    assert found["ppl_token_stderr"] == pytest.approx(expected.stderr, rel=1e-4)
    assert found["bits_per_byte_stderr"] == pytest.approx(found["ppl_byte_stderr"] / found["ppl_byte"] / math.log(2))
    alone = perplexity(scorer, PerplexityConfig(path=str(small_dataset), documents=1))
    assert not any("stderr" in name for name in alone)


def test_a_dataset_of_another_tokenizer_is_refused(pretrained: Path, tmp_path: Path) -> None:
    write_dataset(tmp_path, vocab_size=280)
    with pytest.raises(UserError, match="another tokenizer than the checkpoint; give the dataset"):
        perplexity(Scorer(str(pretrained)), PerplexityConfig(path=str(tmp_path)))
