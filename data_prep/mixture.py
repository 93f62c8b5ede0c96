"""Mixtures of token datasets: which datasets, with which weights, and how often training will read each.

`data-prep mix` turns a small YAML into a manifest that pretraining takes as `data.path`. The manifest names each
dataset by its digest, so that a run can be sure to read what was mixed.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from pydantic import Field, StringConstraints

from data_prep import configfile, store
from data_prep.configfile import Count, Settings
from data_prep.errors import CorruptFile, UserError
from data_prep.shards import DatasetManifest

FORMAT = 1
BLOCK = 1024
"""Samples within which the mixture is exact: weights are rounded to shares of this."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]


class PublishedSettings(Settings):
    """What a paper says of its own source, to be shown beside ours."""

    tokens: Count = Field(gt=0)
    epochs: float = Field(gt=0)


class SourceSettings(Settings):
    """One token dataset."""

    path: str = Field(min_length=1)
    """Folder made by `data-prep run` (it holds manifest.json); `$NAME`, `${NAME}` stand for environment variables."""
    weight: float = Field(gt=0)
    """Share of the samples, on any scale: all weights together are the whole."""
    published: PublishedSettings | None = None


class MixtureSettings(Settings):
    """A mixture."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    tokens: Count = Field(gt=0)
    """Tokens of the training for which the epochs are told; it decides nothing."""
    sources: dict[Name, SourceSettings] = Field(min_length=1)


def largest_remainders(weights: Sequence[float], total: int) -> list[int]:
    """Whole numbers in proportion to weights, summing to `total`, each less than one from its exact share."""
    exact = [total * w / sum(weights) for w in weights]
    counts = [int(share) for share in exact]
    by_remainder = sorted(range(len(exact)), key=lambda s: (counts[s] - exact[s], s))
    for s in by_remainder[: total - sum(counts)]:
        counts[s] += 1
    return counts


def quotas(weights: Sequence[float], block: int = BLOCK) -> list[int]:
    """Samples of each source in a block: largest remainders, summing to `block`.

    Raises:
        ValueError: a weight is not positive, or so small that it would get no sample in a block.
    """
    if not weights or min(weights) <= 0:
        raise ValueError("every source needs a positive weight")
    counts = largest_remainders(weights, block)
    if min(counts) == 0:
        raise ValueError(f"a weight is below 1/{block} of the mixture and would never be sampled")
    return counts


def expected_epochs(tokens: int, weights: Sequence[float], train_tokens: Sequence[int]) -> list[float]:
    """How often a training of `tokens` tokens reads each source, of which `train_tokens` are given."""
    parts = zip(quotas(weights), train_tokens, strict=True)
    return [tokens * quota / BLOCK / there for quota, there in parts]


@dataclass(frozen=True)
class MixtureSource:
    """A source as the manifest names it.

    Attributes:
        name: of the source.
        path: folder of its token dataset.
        digest: of the dataset's manifest.
        weight: as given.
        train_tokens: in its train split.
    """

    name: str
    path: str
    digest: str
    weight: float
    train_tokens: int


@dataclass(frozen=True)
class Mixture:
    """Several token datasets of one tokenizer.

    Attributes:
        name: of the mixture.
        tokens: of the training for which epochs are told.
        tokenizer_sha256: digest of the tokenizer of all of them.
        sources: in the order given, which is part of the order of samples.
    """

    name: str
    tokens: int
    tokenizer_sha256: str
    sources: tuple[MixtureSource, ...]

    @property
    def digest(self) -> str:
        """sha256 (hex) over all that decides what is read: datasets, weights, order; not where the datasets lie."""
        sources = [[source.name, source.digest, source.weight] for source in self.sources]
        return store.digest({"tokenizer": self.tokenizer_sha256, "sources": sources})

    @property
    def weights(self) -> list[float]:
        """As given."""
        return [source.weight for source in self.sources]

    @property
    def shares(self) -> list[float]:
        """Weights normalised to sum to 1."""
        return [weight / sum(self.weights) for weight in self.weights]

    @property
    def quotas(self) -> list[int]:
        """Samples of each source in every `BLOCK` of training."""
        return quotas(self.weights)

    @property
    def epochs(self) -> list[float]:
        """How often a training of `tokens` tokens reads each source's train split."""
        return expected_epochs(self.tokens, self.weights, [source.train_tokens for source in self.sources])

    def save(self, path: str) -> None:
        """Write the manifest; shares, quotas and epochs stand in it for readers, and are not read back."""
        told = zip(self.sources, self.shares, self.quotas, self.epochs, strict=True)
        sources = [
            {**asdict(source), "share": share, f"of_{BLOCK}": quota, "epochs": epochs}
            for source, share, quota, epochs in told
        ]
        store.write_json(path, {"format": FORMAT, "digest": self.digest, **asdict(self), "sources": sources})

    @staticmethod
    def load(path: str) -> Mixture:
        """Read and check a manifest.

        Raises:
            UserError: there is none, or it is of another format version.
            CorruptFile: it is damaged.
        """
        if not store.exists(path):
            raise UserError("no such mixture", where=path, fix="make it with `data-prep mix`, or correct data.path")
        fix = "make it again with `data-prep mix`"
        data = store.read_json(path)
        try:
            if data["format"] != FORMAT:
                raise UserError("this mixture has another format version", where=path, fix=fix)
            fields = MixtureSource.__dataclass_fields__
            sources = tuple(MixtureSource(**{key: source[key] for key in fields}) for source in data["sources"])
            mixture = Mixture(data["name"], data["tokens"], data["tokenizer_sha256"], sources)
            if mixture.digest != data["digest"]:
                raise CorruptFile("the content does not match its digest", where=path, fix=fix)
            mixture.quotas  # noqa: B018 -- weights that cannot be sampled
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CorruptFile(f"not a mixture ({error!r})", where=path, fix=fix) from None
        return mixture


def mix(settings: MixtureSettings, where: str) -> Mixture:
    """Look at the datasets of a mixture.

    Args:
        settings: the mixture.
        where: its config file, for errors.

    Raises:
        UserError: a dataset is missing or empty, a tokenizer is not that of the others, or a weight is too small.
    """
    found = []
    manifests: dict[str, DatasetManifest] = {}
    for name, source in settings.sources.items():
        path = os.path.expandvars(source.path)
        if "$" in path:
            raise UserError(
                f"an environment variable in {source.path!r} is not set",
                where=f"{where}, sources.{name}.path",
                fix=f"set it, or give sources.{name}.path=... on the command line",
            )
        manifests[name] = manifest = DatasetManifest.load(path)
        first = next(iter(manifests))
        if manifest.tokenizer_sha256 != manifests[first].tokenizer_sha256:
            raise UserError(
                f"{name} and {first} were encoded with different tokenizers "
                f"({manifest.tokenizer_sha256[:12]}..., {manifests[first].tokenizer_sha256[:12]}...)",
                where=path,
                fix="make both with the same one: set tokenizer.path to the tokenizer.json of the other",
            )
        tokens = manifest.splits["train"].tokens
        found.append(MixtureSource(name, path, manifest.digest, source.weight, tokens))
    try:
        quotas([source.weight for source in found])
    except ValueError as error:
        raise UserError(f"{error}", where=f"{where}, sources", fix="raise it, or leave the source out") from None
    return Mixture(settings.name, settings.tokens, next(iter(manifests.values())).tokenizer_sha256, tuple(found))


def rows(mixture: Mixture, settings: MixtureSettings) -> list[list[str]]:
    """A line for each source: name, tokens, weight, share, samples of `BLOCK`, epochs, and what was published."""
    table = []
    told = zip(mixture.sources, mixture.shares, mixture.quotas, mixture.epochs, strict=True)
    for source, share, quota, epochs in told:
        published = settings.sources[source.name].published
        line: list[Any] = [source.name, f"{source.train_tokens:,}", f"{source.weight:g}", f"{100 * share:.2f} %"]
        line += [f"{quota:,}", f"{epochs:.3g}"]
        line.append(f"{published.tokens:,} tokens, {published.epochs:g} epochs" if published else "")
        table.append(line)
    return table


def command(path: str, overrides: Sequence[str], output: str | None) -> None:
    """`data-prep mix`: print the table and write the manifest.

    Raises:
        UserError: see `mix`; or the output is not named *.json.
    """
    settings = configfile.load(path, MixtureSettings, overrides)
    if output is not None and not output.endswith(".json"):
        raise UserError("a mixture's name ends with .json", where=output, fix="give --output another name")
    mixture = mix(settings, path)
    from rich.console import Console  # training reads mixtures without it
    from rich.table import Table

    table = Table(title=f"Mixture {mixture.name}: {mixture.tokens:,} tokens", title_justify="left")
    for heading in ("source", "tokens", "weight", "share", f"of {BLOCK:,} samples", "epochs", "published"):
        table.add_column(heading, justify="left" if heading in ("source", "published") else "right")
    for row in rows(mixture, settings):
        table.add_row(*row)
    Console().print(table)
    total = sum(mixture.weights)
    if total not in (1, 100):
        print(f"the weights sum to {total:g}, not to 100 (or 1): normalised")
    if output is not None:
        mixture.save(output)
        print(f"{output}: {mixture.digest}")
