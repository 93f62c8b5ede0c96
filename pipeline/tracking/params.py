"""What the tracker shows of a configuration."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from data_prep.configfile import flatten, resolved

_DEFINITIONS = "suite.definitions"


def params_of(config: BaseModel) -> dict[str, Any]:
    """Dotted name -> value of every setting, without the definitions of evaluation tasks: pages of them, which stand
    in the `config.yaml` of the run folder.
    """
    return {name: value for name, value in flatten(resolved(config)).items() if not name.startswith(_DEFINITIONS)}
