"""Losses of pretraining runs against tokens and training FLOPs, with power laws."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.report.plots import Plot, Reference, Series
from pipeline.report.power_law import LEAST_POINTS, PowerLaw, fit, frontier
from pipeline.report.runs import RunView
from pipeline.report.table import NONE, Table

FRONTIER = "frontier of all runs"
FORM = "loss(x) = floor + (scale / x)^exponent"


def pretrain_plot(runs: Sequence[RunView]) -> Plot:
    """Loss against tokens: validation bold, training faint, one colour a run; the unigram entropy as a level."""
    lines = []
    for i, run in enumerate(runs):
        train, val = run.curves.get("train/loss", []), run.curves.get("val/loss", [])
        if val:
            lines.append(Series(f"{run.name} {val[-1][1]:.2f}", val, i))
        if train:
            label = f"{run.name} train {train[-1][1]:.2f}"
            lines.append(Series(label, train, i, "faint" if val else "line"))
    levels = sorted({round(e, 3) for run in runs if (e := run.unigram_entropy) is not None})
    references = [Reference(f"unigram entropy {level:.2f}", level) for level in levels]
    return Plot("Loss against tokens", "tokens", "loss (nats per token)", lines, references)


def validation(run: RunView) -> list[tuple[float, float]]:
    """(tokens, validation loss) of the steps after the warm-up: before, the loss follows the learning rate."""
    warmup = float(run.params.get("schedule.warmup_tokens", "0"))
    return [(float(x), y) for x, y in run.curves.get("val/loss", []) if x > warmup and y > 0]


def against_flops(run: RunView) -> list[tuple[float, float]]:
    """(training FLOPs, validation loss) of the same steps; none if the run does not say what a token costs."""
    cost = run.flops_per_token
    return [] if cost is None else [(cost * x, y) for x, y in validation(run)]


def laws_of_tokens(runs: Sequence[RunView]) -> dict[str, PowerLaw]:
    """Run id -> the law of a run's own curve."""
    found = {run.run_id: fit(validation(run)) for run in runs}
    return {run_id: law for run_id, law in found.items() if law is not None}


def law_of_flops(runs: Sequence[RunView]) -> PowerLaw | None:
    """The law of the least loss that any run has for its FLOPs (GPT-3, figure 3.1)."""
    return fit(frontier([point for run in runs for point in against_flops(run)]))


def scaling_plots(runs: Sequence[RunView]) -> list[Plot]:
    """Validation loss against tokens and against training FLOPs on logarithmic axes, each where there are points."""
    laws, law = laws_of_tokens(runs), law_of_flops(runs)
    tokens = [Series(run.name, points, i) for i, run in enumerate(runs) if len(points := validation(run)) > 1]
    flops = [Series(run.name, points, i) for i, run in enumerate(runs) if len(points := against_flops(run)) > 1]
    fits = [Series("", laws[run.run_id].curve(), i, "fit") for i, run in enumerate(runs) if run.run_id in laws]
    least = [Series("power law of the frontier", law.curve(), None, "fit")] if law is not None else []
    note = "Dotted: the power law of each run, see the table." if fits else _TOO_FEW
    y = "validation loss (nats per token)"
    found = [
        Plot("Validation loss against tokens", "tokens", y, [*tokens, *fits], log_x=True, log_y=True, note=note),
        Plot(
            "Validation loss against training FLOPs",
            "training FLOPs",
            y,
            [*flops, *least],
            log_x=True,
            log_y=True,
            note=f"{_COST} " + (f"Frontier: {law.formula('FLOPs')}." if law is not None else _TOO_FEW),
        ),
    ]
    return [plot for plot, lines in zip(found, (tokens, flops), strict=True) if lines]


_COST = "Forward and backward passes, no recomputation."
_TOO_FEW = f"No power law: it takes {LEAST_POINTS} validations after the warm-up, over a factor of four, that fall."


def laws_table(runs: Sequence[RunView]) -> Table:
    """The fitted laws; a floor of "-" is 0, as in Kaplan et al. and GPT-3."""
    names = {run.run_id: run.name for run in runs}
    found = [(names[run_id], "tokens", law) for run_id, law in laws_of_tokens(runs).items()]
    law = law_of_flops(runs)
    if law is not None:
        found.append((FRONTIER, "FLOPs", law))
    rows = [
        [
            *(name, unit),
            f"{one.floor:.3f}" if one.floor else NONE,
            *(f"{one.scale:.3g}", f"{one.exponent:.4f}", str(one.points), f"{100 * one.error:.2f} %"),
            f"{one.low:.3g} to {one.high:.3g}",
        ]
        for name, unit, one in found
    ]
    columns = ["run", "x", "floor (nats)", "scale", "exponent", "points", "rms error", "fitted over"]
    note = (
        f"{FORM}, least squares in log loss; the floor is kept where Akaike's criterion for few points asks for it. "
        "Points of one run are not independent, and the decay of the learning rate bends its curve: the law describes "
        "what was measured and foretells nothing far outside."
    )
    return Table("Power laws of the validation loss", columns, rows, note, left=2)
