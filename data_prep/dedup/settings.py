"""Settings of near dedup."""

from __future__ import annotations

from pydantic import Field, model_validator

from data_prep.configfile import Count, Settings
from data_prep.dedup.bands import candidate_probability
from data_prep.dedup.exact import PartitionSettings
from data_prep.dedup.shingles import MAX_NGRAM

MAX_STAR_ROUNDS = 16
_UNLIKE, _MANY = 0.2, 0.5


class NearDedupSettings(Settings):
    """Which documents count as near-duplicates."""

    ngram: int = Field(default=5, gt=0, le=MAX_NGRAM)
    """Words in a shingle."""
    bands: int = Field(default=14, gt=0, le=1024)
    """Sharing one band is enough to be a candidate."""
    rows: int = Field(default=8, gt=0, le=1024)
    """Hash functions in a band, all of which must agree."""
    seed: int = Field(default=0, ge=0)
    """Of the hash functions."""
    verify: bool = False
    """Whether candidates are compared by their texts; without it they all count as near-duplicates."""
    threshold: float = Field(default=0.5, gt=0, le=1)
    """Least exact Jaccard similarity of a pair of near-duplicates, with `verify`."""
    pairs_per_document: int = Field(default=64, gt=0)
    """With `verify`, how many others of the same band a document is compared with: those nearest in length."""
    one_node_edges: Count = Field(default=200_000_000, gt=0)
    """Most edges between near-duplicates that one task joins to clusters (about 60 bytes of memory each)."""
    star_rounds: int = Field(default=0, ge=0, le=MAX_STAR_ROUNDS)
    """Rounds of large-star and small-star that join clusters by many tasks instead; 0 for one task."""

    @model_validator(mode="after")
    def _candidates_are_few(self) -> NearDedupSettings:
        share = candidate_probability(_UNLIKE, self.bands, self.rows)
        if share > _MANY and not self.verify:
            raise ValueError(
                f"{self.bands} bands of {self.rows} join {100 * share:.0f} % of the pairs at Jaccard {_UNLIKE}: "
                "set verify=true, or more rows"
            )
        return self


class SignatureSettings(PartitionSettings):
    """What decides the bands and where they go."""

    ngram: int
    bands: int
    rows: int
    seed: int
    verify: bool


class EdgesSettings(PartitionSettings):
    """What becomes of documents that share a band."""

    verify: bool
    pairs_per_document: int


class VerifySettings(PartitionSettings):
    """When a candidate counts as a near-duplicate."""

    ngram: int
    threshold: float


class ClustersSettings(Settings):
    """How many edges one task may hold."""

    one_node_edges: int
