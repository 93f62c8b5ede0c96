"""YAML configuration: `base:` files, dotted overrides, strict schemas, errors that name the right key.

A config file is a YAML mapping checked against a pydantic model with `extra="forbid"`. `base:` names one file or
a list of files (relative to the file that names them) that are merged first, in order; `a.b=c` on the command
line wins over all files. Numbers may carry a unit: `375M` (10^6), `64KiB` (2^10).
"""

from __future__ import annotations

import difflib
import re
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from data_prep import store
from data_prep.errors import UserError

_DECIMAL = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "G": 10**9, "T": 10**12}
_BINARY = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_COUNT = re.compile(r"^([0-9][0-9_,]*(?:\.[0-9]+)?(?:[eE][0-9]+)?)\s*([A-Za-z]*)$")


def parse_count(value: object) -> object:
    """`"375M"` -> 375_000_000, `"64KiB"` -> 65_536, `3e9` -> 3_000_000_000; anything else is left to pydantic."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if not isinstance(value, str):
        return value
    match = _COUNT.match(value.strip())
    if match is None:
        return value
    number, unit = match.group(1).replace("_", "").replace(",", ""), match.group(2)
    factor = _BINARY.get(unit) or _DECIMAL.get(unit.upper())
    if factor is None:
        return value
    scaled = float(number) * factor
    return int(number) * factor if number.isdigit() else (int(scaled) if scaled.is_integer() else value)


Count = Annotated[int, BeforeValidator(parse_count)]
"""An integer that may be written with a unit."""


def _as_written(value: object) -> object:
    # YAML reads 4:00:00 as 14400, which Slurm would take for minutes.
    if isinstance(value, int):
        raise ValueError('YAML reads this as a number; write it in quotes, time: "4:00:00"')
    return value


SlurmTime = Annotated[str, BeforeValidator(_as_written)]
"""A wall-clock limit in Slurm's form."""


class Settings(BaseModel):
    """Base of every configuration section: unknown keys are errors, values are immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)


T = TypeVar("T", bound=BaseModel)


class _UniqueKeys(yaml.SafeLoader):
    """Rejects a mapping that gives one key twice, which YAML would settle silently."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if isinstance(key, (list, dict)):
                raise yaml.constructor.ConstructorError(None, None, "a key must be a plain word", key_node.start_mark)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} stands twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


# YAML 1.1 reads `3e-4` as a string; every config of this field means a float.
_UniqueKeys.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9][0-9_]*)(?:\.[0-9_]*)?[eE][-+]?[0-9]+$"),
    list("-+0123456789"),
)


def parse_yaml(text: str, where: str) -> Any:
    """Parse YAML.

    Raises:
        UserError: not valid YAML, or a key given twice; names line and column.
    """
    try:
        return yaml.load(text, Loader=_UniqueKeys)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"{where}:{mark.line + 1}:{mark.column + 1}" if mark else where
        raise UserError(f"not valid YAML: {error.problem}", where=place, fix="mend the file") from None
    except yaml.YAMLError as error:
        raise UserError(f"not valid YAML: {error}", where=where, fix="mend the file") from None


def read_mapping(path: str, _seen: tuple[str, ...] = ()) -> dict[str, Any]:
    """A config file with its `base:` files merged in, as plain data.

    Raises:
        UserError: a file is missing, not a mapping, or includes itself.
    """
    resolved = str(Path(path).resolve())
    if resolved in _seen:
        raise UserError("base files include each other", where=path, fix="remove the circle")
    try:
        text = Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError("no such config file", where=path, fix="check the path") from None
    except (UnicodeDecodeError, IsADirectoryError):
        raise UserError("not a text file", where=path, fix="give a YAML file") from None
    except OSError as error:
        raise UserError(f"cannot be read ({error.strerror})", where=path, fix="check the path") from None
    data = parse_yaml(text, path)
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise UserError("the file must hold `key: value` lines", where=path, fix="mend the file")
    bases = data.pop("base", [])
    merged: dict[str, Any] = {}
    bases = [bases] if isinstance(bases, str) else bases
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise UserError(f"base must be a path or a list of paths (got {bases!r})", where=path, fix="mend the value")
    for base in bases:
        merged = merge(merged, read_mapping(str(Path(path).parent / base), (*_seen, resolved)))
    return merge(merged, data)


def merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Deep merge of mappings; `above` wins, lists are replaced whole."""
    result = dict(below)
    for key, value in above.items():
        old = result.get(key)
        result[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def apply_overrides(data: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Set `a.b=c` items; the value is read as YAML.

    Raises:
        UserError: an item without `=` or without a key, or whose value is not YAML.
    """
    result = data
    for item in overrides:
        dotted, equals, raw = item.partition("=")
        keys = dotted.strip().split(".")
        if not equals or not all(keys):
            raise UserError(f"cannot read the override {item!r}", where="command line", fix="write section.key=value")
        value: Any = parse_yaml(raw, f"command line, {dotted}")
        for key in reversed(keys):
            value = {key: value}
        result = merge(result, value)
    return result


def validate(schema: type[T], data: dict[str, Any], where: str) -> T:
    """Check plain data against a schema.

    Raises:
        UserError: the first problem in one line; an unknown key names the nearest right one.
    """
    try:
        return schema.model_validate(data)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        first = next((p for p in problems if p["type"] == "extra_forbidden"), problems[0])
        # Discriminator tags and union branches appear in `loc` but not in the user's file.
        dotted = ".".join(str(part) for part in first["loc"])
        more = f" (and {len(problems) - 1} more problems)" if len(problems) > 1 else ""
        if first["type"] == "extra_forbidden":
            known, leaf = list(known_keys(schema)), dotted.rpartition(".")[2]
            near = (
                [key for key in known if key.rpartition(".")[2] == leaf]  # the right name in the wrong section
                or difflib.get_close_matches(dotted, known, n=1, cutoff=0.4)
                or difflib.get_close_matches(leaf, [key for key in known if "." not in key], n=1)
            )
            hint = f"did you mean {near[0]}?" if near else "remove it"
            raise UserError(f"unknown key {dotted}{more}", where=where, fix=hint) from None
        if first["type"] == "missing":
            raise UserError(f"{dotted} is missing{more}", where=where, fix=f"set {dotted}") from None
        message = str(first["msg"]).removeprefix("Value error, ")
        given = first["input"]
        shown = f" (got {given!r})" if isinstance(given, (str, int, float, bool)) else ""
        field = f"{dotted}: " if dotted else ""
        raise UserError(f"{field}{message}{shown}{more}", where=where, fix="mend the value") from None


def _section(annotation: Any) -> type[BaseModel] | None:
    """The settings model inside an annotation such as `Optimizer | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for part in typing.get_args(annotation):
        found = _section(part)
        if found is not None:
            return found
    return None


def known_keys(schema: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Every dotted key a schema knows."""
    for name, field in schema.model_fields.items():
        yield prefix + name
        section = _section(field.annotation)
        if section is not None:
            yield from known_keys(section, f"{prefix}{name}.")


def load(path: str, schema: type[T], overrides: Sequence[str] = ()) -> T:
    """Read, merge, override and check a config file.

    Raises:
        UserError: see `read_mapping`, `apply_overrides`, `validate`.
    """
    return validate(schema, apply_overrides(read_mapping(path), overrides), path)


def resolved(settings: BaseModel) -> dict[str, Any]:
    """All values, defaults included, as JSON-able data."""
    return settings.model_dump(mode="json")


def config_sha(settings: BaseModel) -> str:
    """sha256 (hex) of the resolved values."""
    return store.digest(resolved(settings))


def to_yaml(settings: BaseModel) -> str:
    """The resolved values as YAML, in schema order."""
    text: str = yaml.safe_dump(resolved(settings), sort_keys=False, allow_unicode=True)
    return text


def flatten(data: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"a": {"b": 1}}` -> `{"a.b": 1}`; lists stay values."""
    flat: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, dict) and value:
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[prefix + key] = value
    return flat
