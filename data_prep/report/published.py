"""What was published about WebText and its re-creations, to put a corpus beside."""

from __future__ import annotations

from dataclasses import dataclass

from data_prep import store
from data_prep.errors import UserError

DOMAINS_SOURCE = "OpenAI's list of WebText's 1,000 most frequent domains (github.com/openai/gpt-2, domains.txt)"
TOP_DOMAINS: tuple[tuple[str, int], ...] = (
    ("google", 1_542_261),
    ("archive", 596_207),
    ("blogspot", 456_344),
    ("github", 414_695),
    ("nytimes", 333_160),
    ("wordpress", 321_622),
    ("washingtonpost", 315_368),
    ("wikia", 313_137),
    ("bbc", 311_917),
    ("theguardian", 246_303),
    ("ebay", 210_714),
    ("pastebin", 209_416),
    ("cnn", 199_360),
    ("yahoo", 196_124),
    ("huffingtonpost", 186_668),
    ("go", 186_137),
    ("reuters", 183_592),
    ("imdb", 183_080),
    ("goo", 160_553),
    ("nih", 139_965),
)
"""The first twenty of that list: label of the registered domain -> how often it occurs in WebText."""


@dataclass(frozen=True)
class Published:
    """Figures of a published corpus; None where none were published.

    Attributes:
        name: the corpus.
        source: where the figures stand.
        links: URLs with enough karma.
        documents: after deduplication and cleaning.
        text_bytes: of text.
    """

    name: str
    source: str
    links: int | None
    documents: int | None
    text_bytes: int | None


CORPORA = (
    Published("WebText", "Radford et al. 2019, section 2.1", 45_000_000, 8_000_000, 40 * 10**9),
    Published("OpenWebTextCorpus", "Gokaslan and Cohen 2019", None, 8_013_769, 38 * 2**30),
    Published("OpenWebText2", "EleutherAI 2020", None, 17_103_059, 65_860_000_000),
    Published("WebText2", "Kaplan et al. 2020, section 2.3", None, 20_300_000, 96 * 10**9),
)


def read_domains(path: str) -> dict[str, int]:
    """Domain label -> frequency, most frequent first, from a file in the form of OpenAI's domains.txt.

    Raises:
        UserError: no such file, or a line is not "frequency domain".
    """
    try:
        lines = store.read_bytes(path).decode("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"cannot be read ({error})", where=path, fix="give the file domains.txt of github.com/openai/gpt-2"
        ) from None
    found: dict[str, int] = {}
    for number, line in enumerate(lines, 1):
        count, _, name = line.strip().partition(" ")
        if not count.isdecimal():
            raise UserError(
                f"not a line `frequency domain`: {line[:60]!r}",
                where=f"{path}:{number}",
                fix="give the file domains.txt of github.com/openai/gpt-2",
            )
        if name.strip():  # the published list has one entry without a name
            found[name.strip()] = int(count)
    return dict(sorted(found.items(), key=lambda item: -item[1]))
