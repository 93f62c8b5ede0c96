"""Problems of arithmetic after GPT-3 (3.9.1), drawn by seed: for sets of other lengths than the published ones.

The paper's own problems are files of the format `jsonl`; these have the same distribution and wording.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

_WORDS = {"+": "plus", "-": "minus", "*": "times"}
_DO: dict[str, Callable[[int, int], int]] = {"+": int.__add__, "-": int.__sub__, "*": int.__mul__}


def rows_of(operation: str, digits: int, count: int = 2000, seed: int = 2020) -> list[dict[str, Any]]:
    """Problems with their answers, each once as long as there are enough.

    Args:
        operation: "+", "-", "*", or "composite": three numbers, two operations, the first two in parentheses.
        digits: of the largest operand; all operands are drawn evenly from [0, 10^digits).
        count: how many.
        seed: of the draw.

    Raises:
        ValueError: an unknown operation, or a number that is not positive.
    """
    if operation not in (*_DO, "composite") or digits < 1 or count < 1:
        raise ValueError(f'operation must be one of {", ".join(_DO)} and "composite", digits and count positive')
    draw = random.Random(seed)
    numbers = 3 if operation == "composite" else 2
    signs = (3**2 if operation == "composite" else 1) * 10 ** (digits * numbers)
    count = min(count, signs)
    found: dict[str, str] = {}
    while len(found) < count:
        values = [draw.randrange(10**digits) for _ in range(numbers)]
        if operation == "composite":
            first, second = draw.choice("+-*"), draw.choice("+-*")
            asked = f"({values[0]} {first} {values[1]}) {second} {values[2]}"
            result = _DO[second](_DO[first](values[0], values[1]), values[2])
        else:
            asked = f"{values[0]} {_WORDS[operation]} {values[1]}"
            result = _DO[operation](values[0], values[1])
        found[asked] = str(result)
    return [{"problem": problem, "answers": [result]} for problem, result in found.items()]
