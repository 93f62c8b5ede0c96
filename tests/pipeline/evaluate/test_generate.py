from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from harness import ranks
from tiny_models import KINDS, LENGTH, hugging_face_folder, native_checkpoint, random_model

from data_prep.errors import UserError
from pipeline.evaluate.decoding import draw
from pipeline.evaluate.generate import Decoding, Generation, generate
from pipeline.evaluate.model import Scorer
from pipeline.evaluate.ranks import Ranks

PROMPTS = ["the cat", "a dog sees the moon.", "nobody likes two apples. the river", "it", "my sister finds the old man"]


@pytest.fixture(scope="module")
def theirs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Scorer]:
    folder = tmp_path_factory.mktemp("hf") / "model"
    return hugging_face_folder(folder), Scorer(str(folder))


def ids_of(scorer: Scorer) -> list[list[int]]:
    return [scorer.tokenizer.encode(text) for text in PROMPTS]


def continued(model: transformers.PreTrainedModel, ids: list[int], **settings: Any) -> Any:
    return model.generate(
        torch.tensor([ids]),
        pad_token_id=0,
        max_new_tokens=20,
        return_dict_in_generate=True,
        output_scores=True,
        **settings,
    )


def without_end(scorer: Scorer, ids: list[int]) -> list[int]:
    return ids[: ids.index(scorer.tokenizer.eot_id)] if scorer.tokenizer.eot_id in ids else ids


def test_greedy_text_is_that_of_transformers(theirs: tuple[Any, Scorer]) -> None:
    model, scorer = theirs
    found = generate(scorer, ids_of(scorer), Decoding(max_tokens=20))
    for prompt, (one,) in zip(ids_of(scorer), found, strict=True):
        expected = continued(model, prompt, do_sample=False)
        assert one.ids == without_end(scorer, expected.sequences[0, len(prompt) :].tolist())
        log_probabilities = torch.stack(expected.scores)[:, 0].log_softmax(-1)
        chosen = expected.sequences[0, len(prompt) :]
        assert one.logprob == pytest.approx(log_probabilities[range(len(chosen)), chosen].sum().item(), abs=1e-4)
        assert one.text == scorer.tokenizer.decode(one.ids)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.5])
def test_beams_are_those_of_transformers(theirs: tuple[Any, Scorer], alpha: float) -> None:
    model, scorer = theirs
    decoding = Decoding(max_tokens=20, beams=4, length_alpha=alpha, length_norm="power")
    found = generate(scorer, ids_of(scorer), decoding)
    ended = 0
    for prompt, hypotheses in zip(ids_of(scorer), found, strict=True):
        expected = continued(model, prompt, num_beams=4, do_sample=False, length_penalty=alpha, num_return_sequences=4)
        want = [without_end(scorer, row[len(prompt) :].tolist()) for row in expected.sequences]
        got = [one.ids for one in hypotheses]
        assert [row[: len(ids)] for row, ids in zip(want, got, strict=True)] == got
        scores = [one.score for one in hypotheses]
        assert scores == pytest.approx(expected.sequences_scores.tolist(), abs=1e-4)
        ended += sum(one.reason == "end" for one in hypotheses)
    assert ended, "no hypothesis ends: the test shows less than it should"


def test_length_norm_of_wu() -> None:
    decoding = Decoding(beams=2, length_alpha=0.6)
    assert decoding.norm(7) == pytest.approx(2**0.6)
    assert Decoding(beams=2, length_alpha=0.6, length_norm="power").norm(7) == pytest.approx(7**0.6)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_memory_changes_nothing(kind: str, tmp_path: Path) -> None:
    """Greedy text equals that of a model that reads everything again for each token."""
    scorer = Scorer(str(native_checkpoint(tmp_path / "c", random_model(kind))))
    prompts = ids_of(scorer)
    prompts[1].insert(2, scorer.tokenizer.eot_id)
    found = generate(scorer, prompts, Decoding(max_tokens=16))
    for prompt, (one,) in zip(prompts, found, strict=True):
        ids = list(prompt)
        for token in one.ids:
            with torch.no_grad():
                scores = scorer.model.logits(torch.tensor([ids]))[0, -1]
            assert scores[token] >= scores.max() - 1e-4
            ids.append(token)
        assert len(one.ids) == 16 or one.reason == "end"


SAMPLED = Decoding(max_tokens=12, temperature=0.9, top_k=40, top_p=0.95, samples=3, seed=5)


def texts(found: list[list[Generation]]) -> list[list[list[int]]]:
    return [[one.ids for one in samples] for samples in found]


def test_the_seed_decides_the_text_and_the_batch_does_not(theirs: tuple[Any, Scorer]) -> None:
    _, scorer = theirs
    prompts = ids_of(scorer)
    found = texts(generate(scorer, prompts, SAMPLED))
    before = scorer.forward.batch_tokens
    try:
        for size in (1, 100, 1000):
            scorer.forward.batch_tokens = size
            assert texts(generate(scorer, prompts, SAMPLED)) == found
    finally:
        scorer.forward.batch_tokens = before
    assert len({tuple(ids) for samples in found for ids in samples}) > 10
    other = Decoding(**{**vars(SAMPLED), "seed": 6})
    assert texts(generate(scorer, prompts, other)) != found


def test_draws_follow_the_distribution_that_transformers_warps() -> None:
    torch.manual_seed(0)
    logits = torch.randn(1, 12) * 2
    warped = logits / 0.7
    for warper in (transformers.TopKLogitsWarper(6), transformers.TopPLogitsWarper(0.9)):
        warped = warper(torch.zeros(1, 1), warped)
    expected = warped.softmax(-1)[0]
    assert 1 < int((expected > 0).sum()) < 6
    count = 20000
    uniform = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    settings = Decoding(temperature=0.7, top_k=6, top_p=0.9)
    found = torch.bincount(draw(logits.expand(count, -1), uniform, settings), minlength=12) / count
    assert found.tolist() == pytest.approx(expected.tolist(), abs=2e-4)
    assert draw(logits, torch.tensor([0.0], dtype=torch.float64), settings)[0] == expected.nonzero()[0, 0]
    assert draw(logits, torch.tensor([1 - 1e-16], dtype=torch.float64), settings)[0] == expected.nonzero()[-1, 0]


def test_a_stop_string_ends_a_text_and_is_no_part_of_it(theirs: tuple[Any, Scorer]) -> None:
    _, scorer = theirs
    prompts = ids_of(scorer)
    (free,) = generate(scorer, prompts[:1], Decoding(max_tokens=20))[0]
    stop = free.text[3:6]
    for beams in (1, 3):
        for one in generate(scorer, prompts[:1], Decoding(max_tokens=20, stop=("@@@", stop), beams=beams))[0]:
            assert stop not in one.text
            assert one.reason != "stop" or scorer.tokenizer.decode(one.ids).startswith(one.text + stop)
    (cut,) = generate(scorer, prompts[:1], Decoding(max_tokens=20, stop=("@@@", stop)))[0]
    assert (cut.text, cut.reason) == (free.text[: free.text.index(stop)], "stop")
    pieces: list[str] = []
    generate(scorer, prompts[:1], Decoding(max_tokens=20, stop=(stop,)), lambda *given: pieces.append(given[2]))
    assert "".join(pieces) == cut.text


def test_long_prompts_are_cut_on_the_left_and_counted(theirs: tuple[Any, Scorer]) -> None:
    _, scorer = theirs
    prompt = scorer.tokenizer.encode("the old man sees a boat. " * 20)
    before = scorer.truncated
    found = generate(scorer, [prompt, prompt[-(LENGTH - 10) :]], Decoding(max_tokens=10))
    assert found[0] == found[1]
    assert scorer.truncated == before + 1
    with pytest.raises(UserError, match="64 tokens leave no room for a prompt in the model's 64; ask for at most 63"):
        generate(scorer, [prompt], Decoding(max_tokens=LENGTH))
    with pytest.raises(UserError, match="a prompt is empty"):
        generate(scorer, [prompt, []], Decoding(max_tokens=5))


@pytest.mark.parametrize(
    "settings",
    [
        {"max_tokens": 0},
        {"top_p": 0.0, "temperature": 1.0},
        {"samples": 2},
        {"beams": 2, "temperature": 1.0},
        {"stop": ("",)},
    ],
)
def test_settings_that_make_no_sense_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"^decoding: "):
        Decoding(**settings)


def _on_ranks(checkpoint: str) -> Any:
    joined = Ranks.join()
    scorer = Scorer(checkpoint, ranks=joined)
    if not joined.is_main:
        scorer.serve()
        return None
    with scorer:
        pairs = [(text, " " + other) for text in PROMPTS for other in PROMPTS]
        sampled = generate(scorer, ids_of(scorer), SAMPLED)
        beams = generate(scorer, ids_of(scorer), Decoding(max_tokens=8, beams=3))
        wrong = ""
        try:
            scorer.ranks.share("score", [[]] * joined.size, _fails)
        except (RuntimeError, ValueError) as error:
            wrong = str(error)
        return scorer.loglikelihood(pairs), scorer.loglikelihood_rolling(PROMPTS, 16), sampled, beams, wrong


def _fails(_: Any) -> None:
    raise ValueError("on purpose")


def _said(found: list[list[Generation]]) -> list[list[tuple[list[int], str, str]]]:
    return [[(one.ids, one.text, one.reason) for one in of_prompt] for of_prompt in found]


def test_ranks_change_no_bit_of_scores_and_no_text(tmp_path: Path) -> None:
    hugging_face_folder(tmp_path / "model")
    one, two = (ranks(size, _on_ranks, str(tmp_path / "model"))[0] for size in (1, 2))
    assert one[:2] == two[:2]
    for ours, theirs in zip(one[2:4], two[2:4], strict=True):
        assert _said(ours) == _said(theirs)
        pairs = zip(itertools.chain(*ours), itertools.chain(*theirs), strict=True)
        assert all(a.logprob == pytest.approx(b.logprob, abs=1e-4) for a, b in pairs)
    assert two[4].startswith("rank 0 failed") and "on purpose" in two[4]
