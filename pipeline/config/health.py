"""What a run does about its own troubles: bad updates, hangs, ends of its time, slow or wrong machines."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from data_prep.configfile import Settings
from pipeline.config.fields import NotNegative, Positive

Minutes = Annotated[float, Field(gt=0)]


class HealthConfig(Settings):
    """When a run leaves out an update, goes back, stops, or gives up.

    Attributes:
        max_skipped: updates in a row that are left out since the loss or the gradient is not finite; then the run goes
            back to its last good checkpoint (ours).
        spike_z: standard deviations above the mean of the last `spike_window` accepted steps from which a loss or a
            gradient norm is a spike, behind which the run goes back; never if not given, as what is usual differs
            from run to run (OLMo-core's SkipStepOptimizer leaves an update out at 6).
        spike_window: accepted steps that a spike is measured against; until there are as many there is none (128:
            llm.c's outlier detector and OLMo-core).
        max_rollbacks: times that a run goes back in all its life, restarts included (ours; PaLM 5.1 did so about 20
            times in 780 billion tokens).
        hang_factor: a step that takes longer than this many median steps hangs (ours).
        hang_minutes: no step hangs that takes less (ours).
        hang_phase_minutes: bound of all that is no plain step: building the model, the first step with its
            compilation, validation, text samples, checkpoints (ours).
        time_budget_minutes: the run stops behind a checkpoint when it has run so long; null for no bound.
        stop_margin_minutes: the run stops so long before the end of its Slurm job (SLURM_JOB_END_TIME), if it runs in
            one; enough for a step and a checkpoint (5: `#SBATCH --signal=B:USR1@300`, the usual margin).
        preflight_minutes: within which every rank must answer before a run begins (ours).
        straggler_ratio: a rank is slow that is this many times slower than the median (1.1: ours).
        max_deaths: times in a row that a run may die in the same step; then it refuses to begin (ours).
    """

    max_skipped: Positive = 3
    spike_z: Annotated[float, Field(gt=0)] | None = None
    spike_window: Annotated[Positive, Field(ge=8)] = 128
    max_rollbacks: NotNegative = 5
    hang_factor: Annotated[float, Field(gt=1)] = 10.0
    hang_minutes: Minutes = 5.0
    hang_phase_minutes: Minutes = 60.0
    time_budget_minutes: Minutes | None = None
    stop_margin_minutes: Minutes = 5.0
    preflight_minutes: Minutes = 5.0
    straggler_ratio: Annotated[float, Field(gt=1)] = 1.1
    max_deaths: Positive = 2
