"""One training run around the loop: claim the folder, build the engine, train, record the result."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any

import psutil

from data_prep import store
from data_prep.configfile import config_sha
from data_prep.errors import UserError
from pipeline import distributed
from pipeline.checkpoint.checkpointer import Checkpointer
from pipeline.checkpoint.store import CheckpointManifest, CheckpointStore
from pipeline.complete import run_folder
from pipeline.config.schema import EngineConfig
from pipeline.data.skip import merged
from pipeline.distributed import World, on_main
from pipeline.exit_codes import ENDED, ExitCode, RunEnd, end_of, write_ended
from pipeline.preflight import check_data, check_disk, check_ranks, meet
from pipeline.runs import RunFolder
from pipeline.tracking import DatasetInput, RunInfo, Tracker
from pipeline.tracking.lineage import environment_tags, upstream_tags
from pipeline.tracking.params import params_of
from pipeline.tracking.uri import resolve_uri
from pipeline.train import attempts
from pipeline.train.engine import Engine
from pipeline.train.job import Job
from pipeline.train.stopping import StopRequests, check_no_stop_file, deadline
from pipeline.train.trainer import LAST_END, Trainer
from pipeline.train.watchdog import Watchdog


def say_on(world: World) -> Callable[[str], None]:
    """A printer of lines that speaks on rank 0 only."""
    return lambda line: print(line, flush=True) if world.is_main else None


def tracking_uri(config: EngineConfig) -> str | None:
    """The tracking URI, or None when MLflow is switched off."""
    return resolve_uri(config.tracking.uri, config.run.dir) if config.tracking.mlflow else None


def join(config: EngineConfig) -> World:
    """Join the other ranks, and see that each of them answers and is what it must be; collective.

    Raises:
        UserError: a rank does not answer, or differs in code, settings or libraries.
    """
    os.environ.update(distributed.map_environment(dict(os.environ)))
    rank = int(os.environ["RANK"])
    try:
        meet(config.health.preflight_minutes)
        world = distributed.init(config.parallel.timeout_minutes)
        check_ranks(world, config.health.preflight_minutes, config_sha(config))
    except UserError as error:
        run = run_folder(config.run)
        if rank == 0:
            with run.unclaimed() as free:
                if free:  # so that it does not say how the attempt before ended
                    write_ended(run.path, *end_of(error), step=0)
        raise
    return world


@dataclass
class _Attempt:
    """One start of a run.

    Attributes:
        run: the run folder.
        watchdog: of this rank.
        trainer: once there is one.
    """

    run: RunFolder
    watchdog: Watchdog
    trainer: Trainer | None = None

    def record(self, error: BaseException | None) -> None:
        """Write how it ended."""
        code, reason = end_of(error) if error is not None else (ExitCode.FINISHED, "finished")
        write_ended(self.run.path, code, reason, self.trainer.cursor.step if self.trainer is not None else 0)


@contextmanager
def _attempt(config: EngineConfig, job: Job, world: World, made_from: str) -> Iterator[_Attempt]:
    """Claim the run folder for the block, see that the run may begin, and record how the block ends; collective."""
    run, health = run_folder(config.run), config.health
    on_main(world, run.lock)

    def may_begin() -> str | None:
        refused = attempts.begin(run.path, merged(job.skip), health.max_deaths, job.kind == "pretrain")
        (run.path / ENDED).unlink(missing_ok=True)
        return refused

    refused = on_main(world, may_begin)
    with Watchdog(run.path, world.rank, health) as watchdog:
        attempt = _Attempt(run, watchdog)
        try:
            if refused is not None:
                raise RunEnd(ExitCode.POISON_STEP, refused)
            on_main(world, lambda: check_no_stop_file(run.path))
            check_data(world, health.preflight_minutes, {"data": job.samples.fingerprint, "made from": made_from})
            yield attempt
        except RunEnd as end:
            # All ranks are here, and wait for rank 0: a launcher ends all when the first is gone.
            on_main(world, functools.partial(attempt.record, end))
            raise
        except BaseException as error:
            if world.is_main:
                attempt.record(error)
            raise
        on_main(world, functools.partial(attempt.record, None))


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
        after: run on every rank when training has ended (a test set, say), with what the run made in the engine; its
            metrics join the result.

    Returns:
        The content of `result.json`.

    Raises:
        UserError: the run cannot begin or go on as it is.
        RunEnd: it ended early.
    """
    with _attempt(config, job, world, made_from) as attempt:
        return _run(config, build_engine, job, world, attempt, made_from, params, inputs, after)


def _run(
    config: EngineConfig,
    build_engine: Callable[[], Engine],
    job: Job,
    world: World,
    attempt: _Attempt,
    made_from: str,
    params: dict[str, Any],
    inputs: list[DatasetInput],
    after: Callable[[Engine], dict[str, float]] | None,
) -> dict[str, Any]:
    run = attempt.run
    say = say_on(world)
    uri = tracking_uri(config)
    on_main(world, lambda: run.write_config(config))

    def open_tracker(at_step: int) -> Tracker:
        info = RunInfo(
            name=config.run.name,
            stage=job.kind,
            params={**params_of(config), **params},
            tags={**environment_tags(), **upstream_tags(job.lineage), "config_sha": config_sha(config)},
            inputs=inputs,
        )
        if at_step == 0:
            return Tracker.start(run.path, info, uri, config.tracking.experiment)
        return Tracker.resume(run.path, info, uri, config.tracking.experiment, at_step)

    kept = config.checkpoint
    checkpoints = CheckpointStore(run.checkpoints, kept.keep_last, kept.milestone)
    upload = store.join(kept.upload, config.run.name) if kept.upload is not None else None
    most = kept.keep_last + 1 + (job.selects is not None)
    on_main(world, lambda: check_disk(run.path, job.parameters, most - len(checkpoints.steps())))
    until = deadline(config.health, os.environ, psutil.Process().create_time())
    with StopRequests(run.path, until, looks=world.is_main) as requests:
        engine = build_engine()
        with closing(Checkpointer(checkpoints, engine, world, kept, say, upload)) as checkpointer:
            trainer = attempt.trainer = Trainer(
                config, job, engine, world, run.path, checkpointer, open_tracker, say, attempt.watchdog, requests
            )
            final = trainer.run()
            made = trainer.cursor.step
            if job.result == "best" and trainer.best_step is not None:
                made = trainer.best_step
            if after is not None and made != trainer.cursor.step:
                with attempt.watchdog.phase("loading the best checkpoint"):
                    checkpointer.load_step(made)
    if after is not None:
        with attempt.watchdog.phase("the test set"):
            final = {**final, **after(engine)}

    def finish() -> dict[str, Any]:
        digest = CheckpointManifest.load(checkpoints.path(made)).digest
        result = {
            "checkpoint": str(checkpoints.path(made)),
            "checkpoint_digest": digest,
            "step": trainer.cursor.step,
            "consumed": trainer.cursor.consumed,
            "metrics": final,
        }
        run.write_result(config, made_from, result)
        tracker = trainer.tracker
        assert tracker is not None
        tracker.set_final(final)
        tracker.set_tags({"digest": digest, LAST_END: ExitCode.FINISHED.name})
        tracker.add_artifact("config.yaml")
        tracker.add_artifact("result.json")
        tracker.finish("FINISHED")
        return result

    return on_main(world, finish)
