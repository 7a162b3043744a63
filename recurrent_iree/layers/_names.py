"""Names of layers and of their weights."""

import re
from collections import Counter
from collections.abc import Iterable

_counts: Counter[str] = Counter()


def snake_case(name: str) -> str:
    """A class name as `snake_case`.

    >>> snake_case("MinimalRNNCell"), snake_case("LSTM"), snake_case("ConvLSTM2D")
    ('minimal_rnn_cell', 'lstm', 'conv_lstm2d')
    """
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    name = re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
    return name if not name.startswith("_") else "private" + name


def unique_name(class_name: str) -> str:
    """The next unused name of this process for a class: `lstm`, `lstm_1`, …"""
    base = snake_case(class_name)
    number = _counts[base]
    _counts[base] += 1
    return f"{base}_{number}" if number else base


def reset_names() -> None:
    """Start the numbering of automatic layer names again."""
    _counts.clear()


def number_duplicates(names: Iterable[str]) -> list[str]:
    """The names, with `_1`, `_2`, … appended where one occurs again.

    >>> number_duplicates(["lstm", "dense", "lstm"])
    ['lstm', 'dense', 'lstm_1']
    """
    taken: set[str] = set()
    result = []
    for name in names:
        candidate, number = name, 0
        while candidate in taken:
            number += 1
            candidate = f"{name}_{number}"
        taken.add(candidate)
        result.append(candidate)
    return result
