"""What the comparison shows, in order; each part only if the runs have data for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.report import table
from pipeline.report.arithmetic import HeatMap, arithmetic
from pipeline.report.experiment_plots import experiment_plot
from pipeline.report.loss_plots import laws_table, pretrain_plot, scaling_plots
from pipeline.report.paired import Difference, differences, paired_table
from pipeline.report.plots import Plot, Reference, Series
from pipeline.report.runs import Comparison, RunView
from pipeline.report.score_plots import shot_plots, size_plots, training_plots
from pipeline.report.score_table import scores_table
from pipeline.report.scores import scored
from pipeline.report.table import Table


@dataclass(frozen=True)
class Section:
    """A part of the comparison.

    Attributes:
        title: its heading.
        plots: as wide as the page.
        small: plots side by side.
        heat_map: a heat map.
        tables: below the plots.
        note: a remark above them.
    """

    title: str
    plots: Sequence[Plot] = ()
    small: Sequence[Plot] = ()
    heat_map: HeatMap | None = None
    tables: Sequence[Table] = ()
    note: str = ""


@dataclass(frozen=True)
class Analysis:
    """The comparison as it is shown.

    Attributes:
        comparison: the runs.
        sections: what was computed from them, between data and lineage.
        differences: between evaluation runs, for files.
    """

    comparison: Comparison
    sections: Sequence[Section]
    differences: Sequence[Difference]

    @property
    def tables(self) -> list[Table]:
        """Every table that has rows, in order; heat maps are tables, too."""
        data = [table.data_table(root, stages) for root, stages in self.comparison.data.items()]
        shown = [one for section in self.sections for one in _tables(section)]
        return [one for one in (*data, *shown, table.lineage_table(self.comparison.runs)) if one.rows]


def _tables(section: Section) -> list[Table]:
    return [*section.tables, *([section.heat_map.table] if section.heat_map is not None else [])]


def analyse(comparison: Comparison) -> Analysis:
    """Everything that is computed from the runs.

    Raises:
        CorruptFile: a file of a run is damaged.
    """
    pretrain, evaluate, runs = comparison.pretrain, comparison.evaluate, comparison.runs
    scores = {run.run_id: scored(run) for run in evaluate}
    found = differences(scores, evaluate)
    evaluation = table.evaluate_table(evaluate, runs)
    sections = [
        Section("Pretraining", [pretrain_plot(pretrain)], tables=[table.pretrain_table(pretrain)]),
        Section("Scaling", small=scaling_plots(pretrain), tables=[laws_table(pretrain)]),
        Section(
            "Fine-tuning: pretrained against random weights",
            small=finetune_plots(comparison.finetune),
            tables=[table.finetune_table(comparison.finetune)],
        ),
        *(_experiment(run) for run in comparison.experiments),
        Section("Evaluation", tables=[evaluation, scores_table(evaluate, scores)]),
        Section(
            "Paired differences",
            tables=[paired_table(found)],
            note="Which differences between evaluation runs are more than chance.",
        ),
        Section("Scores against model size", small=size_plots(scores, evaluate, runs), note=_BANDS),
        Section("Scores against solved examples", small=shot_plots(scores, evaluate), note=_BANDS),
        Section(
            "Scores over pretraining", small=training_plots(scores, evaluate, pretrain), note="Bands: 95 % intervals."
        ),
        Section("Arithmetic", heat_map=arithmetic(scores, evaluate)),
    ]
    return Analysis(comparison, [one for one in map(_without_empty, sections) if one is not None], found)


_BANDS = "Bands: from the least to the greatest of several seeds; without any, the 95 % interval."


def _without_empty(section: Section) -> Section | None:
    plots = [plot for plot in section.plots if plot.series]
    tables = [one for one in section.tables if one.rows]
    if not (plots or section.small or section.heat_map or tables):
        return None
    return Section(section.title, plots, section.small, section.heat_map, tables, section.note)


def _experiment(run: RunView) -> Section:
    content, plot = table.experiment_table(run), experiment_plot(run)
    return Section(content.title, [plot] if plot is not None else [], tables=[content])


def finetune_plots(runs: Sequence[RunView]) -> list[Plot]:
    """Validation accuracy and training loss against examples, those of both kinds of initial weights."""
    found = []
    floors = sorted({round(r.metrics["test/majority"], 4) for r in runs if "test/majority" in r.metrics})
    references = [Reference(f"majority class {100 * floor:.0f} %", floor) for floor in floors]
    for key, title, y_label in (
        ("val/accuracy", "Validation accuracy against examples", "validation accuracy"),
        ("train/loss", "Training loss against examples", "training loss (nats)"),
    ):
        is_share = key == "val/accuracy"
        lines = []
        for i, run in enumerate(runs):
            if curve := run.curves.get(key, []):
                end = f"{100 * curve[-1][1]:.0f} %" if is_share else f"{curve[-1][1]:.2f}"
                lines.append(Series(f"{run.init} {end}" if len(runs) <= 2 else f"{run.name} {end}", curve, i))
        if lines:
            found.append(Plot(title, "examples", y_label, lines, references if is_share else (), percent=is_share))
    return found
