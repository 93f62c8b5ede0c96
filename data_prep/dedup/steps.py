"""The stages of exact and near deduplication in their order."""

from __future__ import annotations

from data_prep.config import DataConfig
from data_prep.dedup import exact, near, star_stages
from data_prep.dedup.clusters import NearClustersStage
from data_prep.dedup.settings import MAX_STAR_ROUNDS, ClustersSettings, EdgesSettings, SignatureSettings, VerifySettings
from data_prep.dedup.verify import NearVerifyStage
from data_prep.stage import Stage
from data_prep.step import RAW, Digests, Files, S, Source, Step


def partitions(config: DataConfig) -> exact.PartitionSettings:
    """Settings of a stage that only cuts by keys."""
    return exact.PartitionSettings(partitions=config.partitions)


def _of_near_dedup(kind: type[S], config: DataConfig) -> S:
    """Those of the settings of near dedup that one of its stages has."""
    found = {**config.near_dedup.model_dump(), "partitions": config.partitions}
    return kind(**{name: found[name] for name in kind.model_fields})


def _star(number: int) -> Step:
    """One operation of large-star and small-star."""

    def build(config: DataConfig, folder: str, inputs: Files, upstream: Digests) -> Stage:
        settings = star_stages.StarSettings(partitions=config.partitions, number=number)
        return star_stages.StarStage(folder, settings, inputs, upstream)

    return Step(
        star_stages.star_name(number),
        "near-dedup",
        STARS,
        build,
        funnel=False,
        enabled=lambda c: 2 * c.near_dedup.star_rounds >= number,
        replaces=star_stages.star_name(0),
    )


def _by_stars(config: DataConfig) -> bool:
    return config.near_dedup.star_rounds > 0


def _by_one_task(config: DataConfig) -> bool:
    return not _by_stars(config)


def _verifies(config: DataConfig) -> bool:
    return config.near_dedup.verify


NEAR_EDGES: tuple[Source, ...] = (("near-edges", near.EDGES), ("near-verify", "part-"))
"""Where edges between near-duplicates come from."""
STARS: dict[str, tuple[Source, ...]] = {"edges": ((star_stages.star_name(0), star_stages.SPREAD),)}
"""Edges as the last operation on them left them."""

DEDUP_STEPS: tuple[Step, ...] = (
    Step(
        "exact-keys",
        "exact-dedup",
        {"documents": (("filter", "part-"),)},
        lambda c, f, i, u: exact.ExactKeysStage(f, partitions(c), i, u),
        funnel=False,
    ),
    Step(
        "exact-urls",
        "exact-dedup",
        {"keys": (("exact-keys", ""),)},
        lambda c, f, i, u: exact.ExactUrlsStage(f, partitions(c), i, u),
        funnel=False,
    ),
    Step(
        "exact-duplicates",
        "exact-dedup",
        {"keys": (("exact-urls", "keys/"),)},
        lambda c, f, i, u: exact.ExactDuplicatesStage(f, partitions(c), i, u),
        funnel=False,
    ),
    Step(
        "exact-dedup",
        "exact-dedup",
        {
            "documents": (("filter", "part-"),),
            exact.SAME_URL: (("exact-urls", "lost/"),),
            exact.SAME_TEXT: (("exact-duplicates", "part-"),),
        },
        lambda c, f, i, u: exact.ExactDedupStage(f, exact.NoSettings(), i, u),
    ),
    Step(
        "near-signatures",
        "near-dedup",
        {"documents": (("exact-dedup", "part-"),), "against": ((RAW, "against"),)},
        lambda c, f, i, u: near.NearSignaturesStage(f, _of_near_dedup(SignatureSettings, c), i, u),
        funnel=False,
    ),
    Step(
        "near-edges",
        "near-dedup",
        {"bands": (("near-signatures", near.BANDS),)},
        lambda c, f, i, u: near.NearEdgesStage(f, _of_near_dedup(EdgesSettings, c), i, u),
        funnel=False,
    ),
    Step(
        "near-verify",
        "near-dedup",
        {
            "pairs": (("near-edges", near.PAIRS),),
            "documents": (("exact-dedup", "part-"),),
            "against": ((RAW, "against"),),
        },
        lambda c, f, i, u: NearVerifyStage(f, _of_near_dedup(VerifySettings, c), i, u),
        funnel=False,
        enabled=_verifies,
    ),
    Step(
        "near-clusters",
        "near-dedup",
        {"edges": NEAR_EDGES, "members": (("near-signatures", near.MEMBERS),)},
        lambda c, f, i, u: NearClustersStage(f, _of_near_dedup(ClustersSettings, c), i, u),
        funnel=False,
        enabled=_by_one_task,
    ),
    Step(
        star_stages.star_name(0),
        "near-dedup",
        {"edges": NEAR_EDGES},
        lambda c, f, i, u: star_stages.StarSpreadStage(f, partitions(c), i, u),
        funnel=False,
        enabled=_by_stars,
    ),
    *(_star(number) for number in range(1, 2 * MAX_STAR_ROUNDS + 1)),
    Step(
        "near-members",
        "near-dedup",
        {**STARS, "members": (("near-signatures", near.MEMBERS),)},
        lambda c, f, i, u: star_stages.StarClustersStage(f, partitions(c), i, u),
        funnel=False,
        enabled=_by_stars,
    ),
    Step(
        "near-lost",
        "near-dedup",
        {"members": (("near-members", star_stages.PARTITIONED),)},
        lambda c, f, i, u: star_stages.StarLostStage(f, partitions(c), i, u),
        funnel=False,
        enabled=_by_stars,
    ),
    Step(
        "near-dedup",
        "near-dedup",
        {
            "documents": (("exact-dedup", "part-"),),
            near.NEAR_DUPLICATE: (("near-clusters", "part-"), ("near-lost", "part-")),
            near.IN_OTHER_CORPUS: (("near-clusters", "against-"), ("near-lost", "against-")),
        },
        lambda c, f, i, u: near.NearDedupStage(f, exact.NoSettings(), i, u),
    ),
)
