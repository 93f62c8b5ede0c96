"""One training run around the loop: claim the folder, build the engine, train, record the result."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from data_prep.configfile import config_sha, flatten, resolved
from pipeline.checkpoint.store import CheckpointManifest, CheckpointStore
from pipeline.complete import run_folder
from pipeline.config.schema import EngineConfig
from pipeline.distributed import World, on_main
from pipeline.tracking import DatasetInput, RunInfo, Tracker
from pipeline.tracking.lineage import environment_tags, upstream_tags
from pipeline.tracking.uri import resolve_uri
from pipeline.train.engine import Engine
from pipeline.train.job import Job
from pipeline.train.trainer import Trainer


def say_on(world: World) -> Callable[[str], None]:
    """A printer of lines that speaks on rank 0 only."""
    return lambda line: print(line, flush=True) if world.is_main else None


def tracking_uri(config: EngineConfig) -> str | None:
    """The tracking URI, or None when MLflow is switched off."""
    return resolve_uri(config.tracking.uri, config.run.dir) if config.tracking.mlflow else None


def run_job(
    config: EngineConfig,
    build_engine: Callable[[], Engine],
    job: Job,
    world: World,
    *,
    made_from: str,
    params: dict[str, Any],
    inputs: list[DatasetInput],
    after: Callable[[Engine], dict[str, float]] | None = None,
) -> dict[str, Any]:
    """Train a job to its end and record the result; collective.

    Args:
        config: settings.
        build_engine: makes the engine around the model with its initial weights; called when the folder is claimed.
        job: what is trained.
        world: this process among all.
        made_from: digest of what the run reads.
        params: facts for the tracker beside the settings.
        inputs: datasets for the tracker.
        after: run on every rank when training has ended (a test set, say); its metrics join the result.

    Returns:
        The content of `result.json`.
    """
    run = run_folder(config.run)
    say = say_on(world)
    uri = tracking_uri(config)
    on_main(world, run.lock)
    on_main(world, lambda: run.write_config(config))

    def open_tracker(at_step: int) -> Tracker:
        info = RunInfo(
            name=config.run.name,
            stage=job.kind,
            params={**flatten(resolved(config)), **params},
            tags={**environment_tags(), **upstream_tags(job.lineage), "config_sha": config_sha(config)},
            inputs=inputs,
        )
        if at_step == 0:
            return Tracker.start(run.path, info, uri, config.tracking.experiment)
        return Tracker.resume(run.path, info, uri, config.tracking.experiment, at_step)

    checkpoints = CheckpointStore(run.checkpoints, config.checkpoint.keep_last)
    engine = build_engine()
    trainer = Trainer(config, job, engine, world, run.path, checkpoints, open_tracker, say)
    final = trainer.run()
    if after is not None:
        final = {**final, **after(engine)}

    def finish() -> dict[str, Any]:
        newest = checkpoints.steps()[-1]
        digest = CheckpointManifest.load(checkpoints.path(newest)).digest
        result = {
            "checkpoint": str(checkpoints.path(newest)),
            "checkpoint_digest": digest,
            "step": trainer.cursor.step,
            "consumed": trainer.cursor.consumed,
            "metrics": final,
        }
        run.write_result(config, made_from, result)
        tracker = trainer.tracker
        assert tracker is not None
        tracker.set_final(final)
        tracker.set_tags({"digest": digest})
        tracker.add_artifact("config.yaml")
        tracker.add_artifact("result.json")
        tracker.finish("FINISHED")
        return result

    return on_main(world, finish)
