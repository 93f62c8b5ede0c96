"""What each run was made from, as far as the experiment holds it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline.report.runs import RunView, is_inner
from pipeline.tracking.lineage import MADE_TAGS, run_id_tag, upstream_of

Edges = Mapping[str, set[str]]
"""Run id -> ids of the runs it was made from."""


def edges(runs: Sequence[RunView]) -> dict[str, set[str]]:
    """Direct origins of each run that people look at, by digest, or by run id where no digest is known.

    Detours are left out, and the steps inside a stage stand for what they were made from.
    """
    maker = {run.tags[tag]: run.run_id for run in runs for tag in MADE_TAGS if tag in run.tags}
    known = {run.run_id for run in runs}
    found: dict[str, set[str]] = {}
    for run in runs:
        origins = set()
        for stage, digest in upstream_of(run.tags).items():
            origin = maker.get(digest) or run.tags.get(run_id_tag(stage))
            if origin in known and origin != run.run_id:
                origins.add(origin)
        found[run.run_id] = origins
    inner = {run.run_id for run in runs if is_inner(run)}
    return _reduced({node: _outer(origins, found, inner) for node, origins in found.items() if node not in inner})


def _outer(origins: set[str], found: Edges, inner: set[str]) -> set[str]:
    """The origins with every inner run replaced by its own."""
    result: set[str] = set()
    for origin in origins:
        result |= _outer(set(found[origin]), found, inner) if origin in inner else {origin}
    return result


def _reduced(found: Edges) -> dict[str, set[str]]:
    """Without the edges that a longer path says as well."""
    reach = ancestors(found)
    return {
        node: {o for o in origins if not any(o in reach.get(other, set()) for other in origins if other != o)}
        for node, origins in found.items()
    }


def ancestors(found: Edges) -> dict[str, set[str]]:
    """Run id -> all runs that it was made from, directly or not."""

    def above(node: str, seen: set[str]) -> set[str]:
        for origin in found.get(node, set()):
            if origin not in seen:
                seen.add(origin)
                above(origin, seen)
        return seen

    return {node: above(node, set()) for node in found}
