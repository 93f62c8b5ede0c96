"""What pretraining reads: one token dataset, or a mixture of several; without torch, since it is asked before a run."""

from __future__ import annotations

from dataclasses import dataclass

from data_prep import store
from data_prep.errors import UserError
from data_prep.mixture import Mixture
from data_prep.shards import TOKENIZER, DatasetManifest


@dataclass(frozen=True)
class Source:
    """A token dataset with its weight.

    Attributes:
        name: of the source.
        folder: where the dataset lies.
        manifest: of the dataset.
        weight: on any scale.
    """

    name: str
    folder: str
    manifest: DatasetManifest
    weight: float


@dataclass(frozen=True)
class TrainingData:
    """Token datasets of one tokenizer.

    Attributes:
        name: of the dataset or the mixture.
        digest: of all that decides what is read.
        sources: the datasets, at least one; their order is part of the order of samples.
        lineage: name -> digest of everything they come from.
    """

    name: str
    digest: str
    sources: tuple[Source, ...]
    lineage: dict[str, str]

    @property
    def vocab_size(self) -> int:
        """Number of token ids, the same in all sources."""
        return self.sources[0].manifest.vocab_size

    @property
    def tokenizer(self) -> bytes:
        """Content of the tokenizer.json, the same in all sources."""
        return store.read_bytes(store.join(self.sources[0].folder, TOKENIZER))

    @property
    def weights(self) -> list[float]:
        """Of the sources."""
        return [source.weight for source in self.sources]


def open_data(path: str) -> TrainingData:
    """A folder of token shards, or a mixture's manifest (a file named *.json).

    Raises:
        UserError: there is neither, or a dataset is not the one that was mixed.
        CorruptFile: a manifest is damaged.
    """
    if not path.endswith(".json"):
        manifest = DatasetManifest.load(path)
        source = Source(manifest.name, path, manifest, 1.0)
        return TrainingData(manifest.name, manifest.digest, (source,), {**manifest.lineage, "shards": manifest.digest})
    mixture = Mixture.load(path)
    sources = []
    for mixed in mixture.sources:
        manifest = DatasetManifest.load(mixed.path)
        if manifest.digest != mixed.digest:
            raise UserError(
                f"{mixed.name} is not the dataset that was mixed "
                f"({mixed.digest[:12]}..., now {manifest.digest[:12]}...)",
                where=mixed.path,
                fix="restore it, or make the mixture again with `data-prep mix`",
            )
        sources.append(Source(mixed.name, mixed.path, manifest, mixed.weight))
    lineage = {"mixture": mixture.digest, **{f"shards/{source.name}": source.manifest.digest for source in sources}}
    return TrainingData(mixture.name, mixture.digest, tuple(sources), lineage)
