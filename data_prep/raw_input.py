"""The user's own files, as settings name them."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from data_prep import store
from data_prep.errors import UserError
from data_prep.manifest import STAGE_FILE, FileRef
from data_prep.warc import ENDINGS

_COMPLETE = ("near-dedup", STAGE_FILE)
_VARIABLE = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?")


def raw_files(where: str, patterns: Sequence[str]) -> list[FileRef]:
    """The files of some patterns, hashed.

    Args:
        where: the config field, for errors.
        patterns: paths, folders or globs, with environment variables.

    Raises:
        UserError: a pattern matches nothing, or a variable is not set.
    """
    return [FileRef.of(path) for path in raw_paths(where, patterns)]


def raw_paths(where: str, patterns: Sequence[str]) -> list[str]:
    """The files of some patterns, each once; arguments and errors as `raw_files`.

    Of a folder of archives, files of other kinds do not count, but those in folders below it do. In `inputs.against`
    the root of a corpus stands for its documents after near dedup.
    """
    endings = ENDINGS if where == "inputs.archives" else ()
    paths: dict[str, None] = {}
    for pattern in patterns:
        for variable in _VARIABLE.findall(pattern):
            if variable not in os.environ:
                raise UserError(
                    f"the environment variable {variable} in {pattern!r} is not set",
                    where=where,
                    fix=f"set {variable}, or give {where}=[...] on the command line",
                )
        expanded = os.path.expandvars(pattern)
        if where == "inputs.against" and store.exists(store.join(expanded, *_COMPLETE)):
            expanded = store.join(expanded, _COMPLETE[0], "part-*.parquet")
        found = store.listing(expanded, endings)
        if not found:
            raise UserError(f"no file matches {expanded!r}", where=where, fix="check the path")
        paths.update(dict.fromkeys(found))
    return list(paths)
