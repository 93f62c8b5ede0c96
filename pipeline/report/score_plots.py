"""Scores of suites against model size, solved examples and tokens of pretraining; one small plot a score."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from pipeline.evaluate.suite.scores import Score
from pipeline.report.plots import Plot, Reference, Series
from pipeline.report.runs import ZERO_SHOT, RunView, parameters_of
from pipeline.report.scores import Averaged, Key, Scored, averaged, band, is_share, shots

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([MB])\b")
_UNITS = {"M": 1e6, "B": 1e9}
_STDERR = "_stderr"
_REACH = 1.96  # standard errors of a 95 % interval


def _plot(
    title: str, x_label: str, metric: str, series: Sequence[Series], chance: set[float], log_x: bool = False
) -> Plot:
    levels = [Reference("chance", level) for level in chance] if len(chance) == 1 else []
    ys = [y for line in series for _, y in line.points]
    log_y = not is_share(metric) and min(ys) > 0 and max(ys) > 10 * min(ys)
    return Plot(title, x_label, metric, series, levels, percent=is_share(metric), log_x=log_x, log_y=log_y)


def size_plots(scored: Mapping[str, Scored], runs: Sequence[RunView], everything: Sequence[RunView]) -> list[Plot]:
    """Score against parameters (GPT-3, figure 1.3): a line for each number of solved examples; published ones dotted.

    Of each score that models of two or more sizes have; of several runs of one size the first counts.

    Args:
        scored: by run id.
        runs: evaluation runs.
        everything: runs that may have made the models.
    """
    found: dict[tuple[str, str], dict[str, dict[int, Averaged]]] = {}
    for run in runs:
        size = parameters_of(run, everything)
        if size is not None:
            for (task, condition, metric), one in averaged(scored[run.run_id].scores).items():
                found.setdefault((task, metric), {}).setdefault(condition, {}).setdefault(size, one)
    plots = []
    for (task, metric), lines in found.items():
        lines = {condition: by_size for condition, by_size in lines.items() if len(by_size) > 1}
        series = [
            Series(
                condition or metric,
                [(size, one.value) for size, one in sorted(by_size.items())],
                i,
                band=band([one for _, one in sorted(by_size.items())]),
            )
            for i, (condition, by_size) in enumerate(lines.items())
        ]
        if series:
            sources = [published(one) for by_size in lines.values() for one in by_size.values()]
            theirs = {source: points for one in sources for source, points in one.items()}
            colours = [*lines, *(condition for _, condition in theirs if condition not in lines)]
            series += [
                Series(", ".join(filter(None, (*source, "published"))), points, colours.index(source[1]), "fit")
                for source, points in theirs.items()
            ]
            chance = {one.chance for by_size in lines.values() for one in by_size.values() if one.chance is not None}
            plots.append(_plot(f"{task}: {metric}", "parameters", metric, series, chance, log_x=True))
    return plots


def published(one: Averaged) -> dict[tuple[str, str], list[tuple[float, float]]]:
    """(source, condition) -> (parameters, value) of published numbers whose models' names tell their size, such as
    "GPT-2 117M"."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for reference in one.references:
        for model, value in reference.values.items():
            if size := _SIZE.search(model):
                condition = f"{reference.shots}-shot" if reference.shots is not None else ""
                point = (float(size[1]) * _UNITS[size[2]], value)
                found.setdefault((reference.source, condition), []).append(point)
    return {source: sorted(points) for source, points in found.items()}


def shot_plots(scored: Mapping[str, Scored], runs: Sequence[RunView]) -> list[Plot]:
    """Score against solved examples (GPT-3, figure 1.2): a line for each run, with the band of the seeds."""
    plots = []
    for task, metric in dict.fromkeys((s.task, s.metric) for run in runs for s in scored[run.run_id].scores if s.main):
        series, chances, counts = [], set(), set()
        for number, run in enumerate(runs):
            own = [s for s in scored[run.run_id].scores if (s.task, s.metric) == (task, metric)]
            by_shots = {count: one for count in sorted({shots(s) or 0 for s in own}) for one in _with(own, count)}
            if len(by_shots) > 1:
                points = [(count, one.value) for count, one in by_shots.items()]
                series.append(Series(run.name, points, number, band=band(list(by_shots.values()))))
                chances |= {one.chance for one in by_shots.values() if one.chance is not None}
                counts |= set(by_shots)
        if series:
            found = _plot(f"{task}: {metric}", "solved examples in the prompt (K)", metric, series, chances, log_x=True)
            plots.append(replace(found, ticks={count: str(count) for count in counts}))
    return plots


def _with(scores: Sequence[Score], count: int) -> list[Averaged]:
    """The average over the seeds of one number of solved examples."""
    return list(averaged([one for one in scores if shots(one) == count]).values())


def training_plots(
    scored: Mapping[str, Scored], evaluate: Sequence[RunView], pretrain: Sequence[RunView]
) -> list[Plot]:
    """Score against tokens of pretraining (GPT-1, figure 2): of evaluations of all checkpoints, and of those that a
    pretraining run took of itself."""
    lines: dict[str, list[Series]] = {}
    chances: dict[str, set[float]] = {}
    for number, run in enumerate(evaluate, len(pretrain)):
        by_key: dict[Key, list[tuple[int, Averaged]]] = {}
        for tokens, scores in scored[run.run_id].curve:
            for key, one in averaged(scores).items():
                by_key.setdefault(key, []).append((tokens, one))
        for (task, condition, metric), points in by_key.items():
            title = f"{' '.join(filter(None, (task, condition)))}: {metric}"
            line = Series(
                run.name,
                [(tokens, one.value) for tokens, one in points],
                number,
                band=band([one for _, one in points]),
            )
            lines.setdefault(title, []).append(line)
            chances.setdefault(title, set()).update(one.chance for _, one in points if one.chance is not None)
    for number, run in enumerate(pretrain):  # their colours are those that they have in plots of losses
        for name, curve in run.curves.items():
            if name.startswith(ZERO_SHOT) and not name.endswith(_STDERR):
                errors = dict(run.curves.get(name + _STDERR, []))
                ends = [(y - _REACH * errors.get(x, 0), y + _REACH * errors.get(x, 0)) for x, y in curve]
                where, _, metric = name.removeprefix(ZERO_SHOT).rpartition("/")
                title = f"{where.replace('/', ' ')}: {metric}"
                lines.setdefault(title, []).append(Series(run.name, curve, number, band=ends if errors else ()))
    return [
        _plot(title, "tokens of pretraining", title.rpartition(": ")[2], series, chances.get(title, set()))
        for title, series in lines.items()
        if any(len(line.points) > 1 for line in series)
    ]
