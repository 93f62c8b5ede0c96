"""Charts and tables as HTML: boxes and text in the page's own fonts and colours, legible at any width."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

_DENSE = 60
_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


@dataclass(frozen=True)
class Column:
    """A column of a chart: its height, and what it says when pointed at."""

    count: int
    says: str


@dataclass(frozen=True)
class Tick:
    """A label below the columns; `at` counts columns from the left edge."""

    at: float
    label: str


def text(value: str) -> str:
    """Escaped for HTML."""
    return html.escape(value, quote=True)


def short(number: float) -> str:
    """`1234` -> `1.23k`; three digits at most, whole numbers below 1,000 as they are."""
    for size, unit in _UNITS:
        if abs(number) >= 0.9995 * size:
            return f"{number / size:.3g}{unit}" if abs(number) < 999.5 * size else f"{number / size:.0f}{unit}"
    return f"{number:.0f}" if number == round(number) or abs(number) >= 100 else f"{number:.3g}"


def percent(part: float, whole: float) -> str:
    """A share; "" of nothing."""
    if not whole:
        return ""
    share = 100 * part / whole
    return f"{share:.1f} %" if share >= 0.1 or share == 0 else "< 0.1 %"


def columns(title: str, axis: str, unit: str, bars: Sequence[Column], ticks: Sequence[Tick]) -> str:
    """A column chart.

    Args:
        title: above it.
        axis: what the ticks are.
        unit: what is counted, in the plural.
        bars: from left to right.
        ticks: labels below.
    """
    most = max((bar.count for bar in bars), default=0)
    if not most:
        return f"<figure><figcaption>{text(title)}</figcaption><p class=sub>none</p></figure>"
    boxes = "".join(f'<i style="height:{100 * bar.count / most:.2f}%" title="{text(bar.says)}"></i>' for bar in bars)
    labels = []
    for tick in ticks:
        at = 100 * tick.at / len(bars)
        side = " class=first" if at < 4 else " class=last" if at > 94 else ""
        labels.append(f'<span{side} style="left:{at:.2f}%">{text(tick.label)}</span>')
    dense = " dense" if len(bars) > _DENSE else ""
    return (
        f"<figure><figcaption>{text(title)}</figcaption><div class=peak>{most:,} {text(unit)}</div>"
        f'<div class="cols{dense}" role=img aria-label="{text(title)}, at most {most:,} {text(unit)}">{boxes}</div>'
        f"<div class=ticks>{''.join(labels)}</div><div class=axis>{text(axis)}</div></figure>"
    )


def decade_ticks(low: float, high: float, per_decade: int, most: int = 7) -> list[Tick]:
    """Ticks at powers of ten for columns of a logarithmic histogram; 2 and 5 between them where there is room."""
    if high <= low:
        return []
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    places = [factor * 10.0**exponent for exponent in exponents for factor in (1, 2, 5)]
    inside = [place for place in places if low * 0.999 <= place <= high * 1.001]
    if len(inside) > most:
        inside = [place for place in inside if abs(math.log10(place) - round(math.log10(place))) < 1e-9]
    return [Tick(per_decade * math.log10(place / low), short(place)) for place in inside]


def rows(items: Sequence[tuple[str, float, str]], kind: str = "") -> str:
    """Horizontal bars: (label, length, what stands behind it)."""
    most = max((length for _, length, _ in items), default=0) or 1
    lines = "".join(
        f'<span>{text(label)}</span><div><i style="width:{100 * length / most:.2f}%"></i></div>'
        f"<small>{text(note)}</small>"
        for label, length, note in items
    )
    return f'<div class="rows {kind}">{lines}</div>'


def table(heads: Sequence[str], body: Sequence[Sequence[str]], left: int = 1) -> str:
    """A table whose first `left` columns are text, the others numbers."""

    def line(cells: Sequence[str], tag: str) -> str:
        return "".join(f"<{tag}{'' if i < left else ' class=n'}>{text(cell)}</{tag}>" for i, cell in enumerate(cells))

    content = "".join(f"<tr>{line(row, 'td')}</tr>" for row in body)
    return f"<div class=scroll><table><thead><tr>{line(heads, 'th')}</tr></thead><tbody>{content}</tbody></table></div>"
