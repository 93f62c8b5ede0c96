"""An evaluation run: one checkpoint, its scores, their definitions."""

from __future__ import annotations

from typing import Any

from data_prep.configfile import config_sha
from data_prep.errors import UserError
from data_prep.shards import DatasetManifest
from pipeline.complete import choice_digest, harness_digest, made_from, result_of, run_folder
from pipeline.config.schema import EvaluateConfig
from pipeline.evaluate.checkpoints import checkpoints_in
from pipeline.evaluate.choice import DEFINITION as CHOICE
from pipeline.evaluate.choice import choice
from pipeline.evaluate.curve import PLOT, as_data, plot, score_checkpoints
from pipeline.evaluate.loading import LoadedModel
from pipeline.evaluate.memorization.run import lines, memorization
from pipeline.evaluate.model import Scorer
from pipeline.evaluate.perplexity import perplexity
from pipeline.evaluate.ranks import Ranks
from pipeline.evaluate.suite.compare import compare
from pipeline.evaluate.suite.run import TABLE, described, score_suite
from pipeline.evaluate.suite.sets import suite_digest
from pipeline.evaluate.suite.shot_curves import PLOT as SHOTS
from pipeline.evaluate.suite.show import show_comparison, show_scores
from pipeline.runs import RunFolder
from pipeline.tracking import DatasetInput, RunInfo, Tracker
from pipeline.tracking.lineage import environment_tags, upstream_tags
from pipeline.tracking.params import params_of
from pipeline.tracking.uri import resolve_uri


def _inputs(config: EvaluateConfig) -> list[DatasetInput]:
    inputs = []
    if config.perplexity is not None:
        manifest = DatasetManifest.load(config.perplexity.path)
        inputs.append(
            DatasetInput(f"{manifest.name}/validation", manifest.digest, config.perplexity.path, "evaluation")
        )
    if config.choice is not None:
        path = config.choice.path
        inputs.append(DatasetInput(config.choice.name, choice_digest(path), path, "evaluation"))
    if config.harness is not None:
        folder = config.harness.include_path
        inputs.append(DatasetInput("harness", harness_digest(folder), folder, "evaluation"))
    if config.suite is not None:
        inputs.append(DatasetInput("suite", suite_digest(config.suite), config.suite.root, "evaluation"))
    if config.memorization is not None:
        manifest = DatasetManifest.load(config.memorization.corpus)
        inputs.append(
            DatasetInput(f"{manifest.name}/train", manifest.digest, config.memorization.corpus, "memorization")
        )
    return inputs


def _check(config: EvaluateConfig) -> None:
    if not any((config.perplexity, config.choice, config.harness, config.suite, config.memorization)):
        raise UserError(
            "nothing to evaluate",
            where="config",
            fix="give a perplexity:, choice:, harness:, suite: or memorization: section",
        )
    if config.against is not None and config.suite is None:
        raise UserError(
            "only tasks of a suite: are compared", where="against", fix="give a suite: section, or leave it"
        )


def evaluate(config: EvaluateConfig) -> dict[str, Any]:
    """Score, or recognise as complete; returns the content of `result.json`, on ranks other than 0 an empty one.

    Raises:
        UserError: the checkpoint or the data cannot be used.
    """
    _check(config)
    done = result_of(config)
    if done is not None:
        return done
    if config.harness is not None:
        import pipeline.evaluate.harness  # noqa: F401  (needs an extra: say so before anything is scored)
    ranks = Ranks.join()
    if checkpoints_in(config.checkpoint):
        return _curve(config, ranks)
    scorer = ranks.together(lambda: Scorer(config.checkpoint, config.batch_tokens, ranks))
    if not ranks.is_main:
        scorer.serve()
        return {}
    with scorer:
        return _score(config, scorer)


def _curve(config: EvaluateConfig, ranks: Ranks) -> dict[str, Any]:
    """The suite on all checkpoints of a folder."""
    if any((config.perplexity, config.choice, config.harness, config.against, config.memorization)):
        raise UserError(
            "only a suite: is scored on several checkpoints", where=config.checkpoint, fix="name one of them"
        )
    run = run_folder(config.run)
    if ranks.is_main:
        run.lock()
        run.write_config(config)
    points, last = score_checkpoints(config, ranks)
    if last is None:
        return {}
    with _tracker(config, run, last) as tracker:
        for point in points:
            metrics = {key: value for score in point.scores for key, value in score.as_metrics().items()}
            tracker.log(metrics, point.step, point.tokens)
        tracker.set_final(metrics)
        plot(points, run.path, config.run.name)
        limit = None if config.suite is None else config.suite.limit
        show_scores(points[-1].scores, f"{config.run.name}, step {points[-1].step:,}", limit)
        result = {
            "checkpoint": config.checkpoint,
            "metrics": metrics,
            "limit": limit,
            "is_a_result": limit is None,
            "curve": as_data(points),
        }
        run.write_result(config, made_from(config), result)
        for name in ("config.yaml", "result.json", PLOT):
            tracker.add_artifact(name)
    return result


def _tracker(config: EvaluateConfig, run: RunFolder, model: LoadedModel) -> Tracker:
    info = RunInfo(
        name=config.run.name,
        stage="evaluate",
        params={**params_of(config), "model.parameters": sum(one.numel() for one in model.model.parameters())},
        tags={
            **environment_tags(),
            **upstream_tags(model.lineage),
            "config_sha": config_sha(config),
            "tokenizer_sha256": model.tokenizer.sha256,
        },
        inputs=_inputs(config),
    )
    uri = resolve_uri(config.tracking.uri, config.run.dir) if config.tracking.mlflow else None
    return Tracker.start(run.path, info, uri, config.tracking.experiment)


def _with_error(scores: dict[str, float], name: str, places: int) -> str:
    error = scores.get(f"{name}_stderr")
    return f"{scores[name]:.{places}f}" + ("" if error is None else f" ± {error:.{places}f}")


def _score(config: EvaluateConfig, scorer: Scorer) -> dict[str, Any]:
    run = run_folder(config.run)
    run.lock()
    run.write_config(config)
    model = scorer.loaded
    with _tracker(config, run, model) as tracker:
        metrics: dict[str, float] = {}
        more: dict[str, Any] = {}
        if config.perplexity is not None:
            scores = perplexity(scorer, config.perplexity)
            metrics |= {f"lm/{name}": value for name, value in scores.items()}
            print(
                f"{config.run.name}: perplexity per token {_with_error(scores, 'ppl_token', 2)}, "
                f"per word {_with_error(scores, 'ppl_word', 2)}, per byte {_with_error(scores, 'ppl_byte', 4)} "
                f"({_with_error(scores, 'bits_per_byte', 4)} bits) on {scores['documents']:,} documents, "
                f"{scores['tokens']:,} tokens, {scores['words']:,} words, {scores['bytes']:,} bytes; "
                f"window {scores['window']}, stride {scores['stride']}",
                flush=True,
            )
        if config.choice is not None:
            scores = choice(scorer, config.choice)
            more["choice"] = {"definition": CHOICE}
            metrics |= {f"choice/{name}": value for name, value in scores.items()}
            print(
                f"{config.run.name}: {config.choice.name} accuracy {scores['accuracy']:.4f} ± {scores['stderr']:.4f} "
                f"on {scores['examples']:,} examples; chance {scores['chance']:.4f}",
                flush=True,
            )
        if config.harness is not None:
            from pipeline.evaluate.harness import harness

            scores, more["harness"] = harness(scorer, config.harness)
            metrics |= {f"harness/{name}": value for name, value in scores.items()}
            limited = f", LIMITED to {config.harness.limit} documents a task: no result" if config.harness.limit else ""
            print(f"{config.run.name}: lm-evaluation-harness{limited}")
            for name, value in scores.items():
                print(f"    {name}: {value:.4f}", flush=True)
        if config.suite is not None:
            found = score_suite(scorer, config.suite, run.path)
            metrics |= {name: value for score in found for name, value in score.as_metrics().items()}
            more["suite"] = described(config.suite, found)
            show_scores(found, config.run.name, config.suite.limit)
            if config.against is not None:
                more["against"] = compare(str(run.path), more["suite"], config.against)
                show_comparison(more["against"], config.against)
        if config.memorization is not None:
            more["memorization"], numbers = memorization(scorer, config.memorization, config.suite, run.path)
            metrics |= {f"memorization/{name}": value for name, value in numbers.items()}
            print("\n".join([f"{config.run.name}: memorised or reasoned", *lines(more["memorization"])]), flush=True)
        tracker.log(metrics, model.step, model.consumed)
        tracker.set_final(metrics)
        result = {"checkpoint": config.checkpoint, "checkpoint_digest": model.digest, "metrics": metrics, **more}
        run.write_result(config, made_from(config), result)
        tracker.add_artifact("config.yaml")
        tracker.add_artifact("result.json")
        if config.suite is not None:
            tracker.add_artifact(TABLE)
            if (run.path / SHOTS).exists():
                tracker.add_artifact(SHOTS)
    return result
