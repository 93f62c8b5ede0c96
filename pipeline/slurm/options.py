"""What the steps of a chain ask of Slurm."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from data_prep.configfile import Settings, SlurmTime

Positive = Annotated[int, Field(gt=0)]


class SbatchConfig(Settings):
    """Options of sbatch; null leaves one to what applies otherwise.

    Attributes:
        partition: queue.
        account: who pays.
        time: wall-clock limit, in Slurm's form; a training job that reaches it is requeued.
        nodes: machines.
        ntasks_per_node: ranks of a machine; else one for each GPU that Slurm gives, else the chain's `ranks`.
        gpus_per_node: GPUs of a machine.
        sbatch: further options of sbatch, name -> value ("" for an option without one).
    """

    partition: str | None = None
    account: str | None = None
    time: SlurmTime | None = None
    nodes: Positive | None = None
    ntasks_per_node: Positive | None = None
    gpus_per_node: Positive | None = None
    sbatch: dict[str, str] = Field(default_factory=dict)

    def given(self) -> dict[str, str]:
        """Options that are set, by sbatch's names without dashes in front."""
        named = {
            "partition": self.partition,
            "account": self.account,
            "time": self.time,
            "nodes": self.nodes,
            "ntasks-per-node": self.ntasks_per_node,
            "gpus-per-node": self.gpus_per_node,
        }
        return {**{name: str(value) for name, value in named.items() if value is not None}, **self.sbatch}


class ChainSlurmConfig(SbatchConfig):
    """Options for all jobs of a chain, and those of each kind of step, which win.

    Attributes:
        data: of the job that submits data preparation's arrays; what these ask for stands in the data config's own
            section `slurm:`.
        pretrain: of pretraining.
        finetune: of fine-tuning.
        evaluate: of evaluation.
        small: of the steps that take one core for a minute: raw input of the demo, tracking, comparison.
    """

    data: SbatchConfig = SbatchConfig()
    pretrain: SbatchConfig = SbatchConfig()
    finetune: SbatchConfig = SbatchConfig()
    evaluate: SbatchConfig = SbatchConfig()
    small: SbatchConfig = SbatchConfig()
