"""A checkpoint in the lm-evaluation-harness against its export in the harness's own `hf` model."""

from __future__ import annotations

import importlib.util
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_model import sentence, text, write_rows
from tiny_models import native_checkpoint, random_model

from data_prep.errors import UserError
from pipeline.checkpoint.hugging_face import export_model

if importlib.util.find_spec("lm_eval") is None:
    pytest.skip("lm-eval is not installed: pip install -e '.[harness]'", allow_module_level=True)

from lm_eval.evaluator import simple_evaluate
from lm_eval.tasks import TaskManager

from pipeline.evaluate.harness_model import NAME, WebtextLM, decoding_of

TASKS = ["pick", "text", "write"]


def write_task(folder: Path, name: str, rows: list[dict[str, Any]], **settings: Any) -> None:
    write_rows(folder / f"{name}.jsonl", rows)
    data = {"data_files": {"test": str(folder / f"{name}.jsonl")}}
    task = {"task": name, "dataset_path": "json", "dataset_kwargs": data, "test_split": "test", **settings}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(task))


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A multiple choice with few-shot examples, a rolling perplexity and generated text."""
    folder = tmp_path_factory.mktemp("tasks")
    draw = random.Random(3)
    write_task(
        folder,
        "pick",
        [
            {
                "context": text(draw, 12) + " " if n % 5 == 4 else sentence(draw)[:-1],
                "choices": [" it.", " the moon.", f" {sentence(draw)}", "\n"],
                "answer": n % 4,
            }
            for n in range(20)
        ],
        output_type="multiple_choice",
        doc_to_text="{{context}}",
        doc_to_choice="{{choices}}",
        doc_to_target="answer",
        num_fewshot=2,
        fewshot_config={"sampler": "first_n"},
        metric_list=[{"metric": "acc"}, {"metric": "acc_norm"}],
    )
    write_task(
        folder,
        "text",
        [{"text": text(draw, size)} for size in (1, 3, 9, 20)],
        output_type="loglikelihood_rolling",
        doc_to_text="",
        doc_to_target="{{text}}",
        metric_list=[{"metric": "word_perplexity"}, {"metric": "bits_per_byte"}],
    )
    write_task(
        folder,
        "write",
        [{"context": text(draw, 1 + n % 9), "answer": "it."} for n in range(12)],
        output_type="generate_until",
        doc_to_text="{{context}}",
        doc_to_target="{{answer}}",
        generation_kwargs={"until": ["e", "\n\n"], "max_gen_toks": 24},
        metric_list=[{"metric": "exact_match"}],
    )
    return folder


def scores(tasks: Path, model: str, **settings: Any) -> tuple[dict[str, Any], dict[str, list[Any]]]:
    """(metrics, answers to every request) of a model by name."""
    manager = TaskManager(include_path=str(tasks), include_defaults=False)
    found = simple_evaluate(
        model, settings, TASKS, task_manager=manager, bootstrap_iters=0, log_samples=True, batch_size=4, device="cpu"
    )
    metrics = {
        f"{task}/{name}": value
        for task, values in found["results"].items()
        for name, value in values.items()
        if isinstance(value, float) and "stderr" not in name
    }
    return metrics, {task: [sample["resps"] for sample in found["samples"][task]] for task in TASKS}


@pytest.mark.slow
def test_every_digit_is_that_of_the_harness_on_our_export(tasks: Path, tmp_path: Path) -> None:
    checkpoint = native_checkpoint(tmp_path / "native", random_model("pre-norm"))
    exported = export_model(str(checkpoint), str(tmp_path / "exported"))
    theirs, their_answers = scores(tasks, "hf", pretrained=str(exported), dtype="float32")
    assert len(theirs) == 5
    assert 0 < theirs["pick/acc,none"] < 1
    for source in (checkpoint, exported):
        ours, our_answers = scores(tasks, NAME, checkpoint=str(source))
        assert ours == pytest.approx(theirs, rel=1e-4)
        for one, other in zip(our_answers["pick"], their_answers["pick"], strict=True):
            for ((logprob, greedy),), ((expected, expected_greedy),) in zip(one, other, strict=True):
                assert (float(logprob), str(greedy)) == (
                    pytest.approx(float(expected), abs=1e-4),
                    str(expected_greedy),
                )
        assert our_answers["write"] == their_answers["write"]
        assert len({str(answer) for answer in our_answers["write"]}) > 6


def test_settings_of_generation() -> None:
    how = decoding_of({"until": "x", "max_new_tokens": 5, "do_sample": False, "temperature": 0.7, "top_k": 4}, 9)
    assert (how.max_tokens, how.temperature, how.top_k, how.stop) == (5, 0.0, 0, ("x",))
    how = decoding_of({"until": ["x", "y"], "do_sample": True, "temperature": 0.7, "top_k": 4, "seed": 3}, 9)
    assert (how.max_tokens, how.temperature, how.top_k, how.seed) == (9, 0.7, 4, 3)
    how = decoding_of({"num_beams": 4, "length_penalty": 0.6}, 9)
    assert (how.beams, how.norm(8)) == (4, pytest.approx(8**0.6))
    with pytest.raises(UserError, match="'typical_p' is not supported"):
        decoding_of({"typical_p": 0.2}, 9)


def test_without_a_checkpoint_the_argument_is_named() -> None:
    with pytest.raises(UserError, match=r"--model_args: no checkpoint; give checkpoint=RUN/checkpoints/latest"):
        WebtextLM()
