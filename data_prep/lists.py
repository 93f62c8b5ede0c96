"""Lists that users choose from: blocked domains, blocked subreddits, words; bundled, from a file, or given one by one.

A setting that takes a list takes entries of three kinds: `list:NAME` (a list bundled with this package), the path
or URL of a text file (an entry with a `/` or that ends in `.txt`), or the thing itself. A list file holds one entry
a line; what follows a `#` at the start of a line or after white space is a comment.

A stage keeps the entries themselves in its settings, not the name of the list, so that its digest covers what the
list says: a changed list is a changed setting.
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from data_prep import store
from data_prep.errors import UserError
from data_prep.urls import canonical_url, host_of

BUNDLED = Path(__file__).parent / "bundled_lists"
PREFIX = "list:"
_COMMENT = re.compile(r"(?:^|\s)#.*")


def load_list(entries: tuple[str, ...]) -> tuple[str, ...]:
    """All that some entries stand for, in lower case, sorted, each once.

    Args:
        entries: `list:NAME`, paths or URLs of list files, or single things.

    Raises:
        UserError: there is no bundled list of that name; a file is missing, empty or not UTF-8; an entry is blank.
    """
    found: set[str] = set()
    for entry in entries:
        text = entry.strip()
        if not text:
            raise UserError("an entry of a list is blank", where=repr(entry), fix="remove it")
        if text.startswith(PREFIX):
            found.update(_bundled(text.removeprefix(PREFIX)))
        elif "/" in text or text.endswith(".txt"):
            found.update(_file(text))
        else:
            found.add(text.lower())
    return tuple(sorted(found))


def load_domains(entries: tuple[str, ...]) -> tuple[str, ...]:
    """`load_list` for domains: each as a canonical URL spells its host (IDNA, without `www.`).

    Raises:
        UserError: as `load_list`; or something is not the name of a host.
    """
    found = set()
    for name in load_list(entries):
        url = canonical_url(f"https://{name.removeprefix('*.').removeprefix('.')}/")
        if url is None or any(character in name for character in "/@:?"):
            raise UserError(
                "this entry of a list is not a domain", where=repr(name), fix="write it as in example.com, or remove it"
            )
        found.add(host_of(url))
    return tuple(sorted(found))


def blocked_by(host: str, domains: frozenset[str]) -> str | None:
    """The domain in `domains` that is the host or one of its parents, the longest if there are several; else None.

    Args:
        host: of a canonical URL.
        domains: as `load_domains` gives them.
    """
    while host:
        if host in domains:
            return host
        host = host.partition(".")[2]
    return None


def _bundled(name: str) -> set[str]:
    path = BUNDLED / f"{name}.txt"
    names = sorted(known.stem for known in BUNDLED.glob("*.txt"))
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        fix = f"did you mean {PREFIX}{near[0]}?" if near else f"there are: {', '.join(names)}"
        raise UserError(f"there is no bundled list {name!r}", where=PREFIX + name, fix=fix)
    return _lines(path.read_bytes(), str(path))


def _file(path: str) -> set[str]:
    try:
        return _lines(store.read_bytes(path), path)
    except OSError as error:
        said = error.strerror or str(error)
        raise UserError(f"this list file cannot be read ({said})", where=path, fix="check the path") from None


def _lines(data: bytes, where: str) -> set[str]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"not UTF-8 at byte {error.start}", where=where, fix="give a text file in UTF-8") from None
    found = {entry.lower() for line in text.splitlines() if (entry := _COMMENT.sub("", line).strip())}
    if not found:
        raise UserError("this list file holds no entry", where=where, fix="fill it, or do not name it")
    return found
