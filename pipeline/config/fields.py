"""Bounded numbers that several sections use."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from data_prep.configfile import Count

Positive = Annotated[Count, Field(gt=0)]
NotNegative = Annotated[Count, Field(ge=0)]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]
