"""Looks: what a prompt or a notebook shows of measures: which there are, and of each column of models its mean, its
range and what it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from toymodels.glance import html_page, html_table, number
from toymodels.metrics.meanings import MODELS, Meaning


def measures_in_a_line(measures: Mapping[str, Any]) -> str:
    """How many models, and how many columns of each level."""
    levels = {level: columns for level, columns in measures.items() if level != "failed" and columns}
    if not levels:
        return "Measures: nothing is measured"
    said = [f"{len(columns)} columns by {level} {_shape(columns)}" for level, columns in levels.items()]
    failed = f"; not measured: {', '.join(measures['failed'])}" if measures["failed"] else ""
    return f"Measures: {', '.join(said)}{failed}"


def measures_as_html(line: str, measures: Mapping[str, Any]) -> str:
    """The line, and of each column of models its mean, least and most where it is defined, its unit and what it is."""
    titles, unknown = ["column of models", "mean", "least", "most", "unit", ""], Meaning("", "")
    rows = []
    for name, values in measures["models"].items():
        known, of = values.double()[values.double().isfinite()], MODELS.get(name, unknown)
        numbers = [known.mean(), known.min(), known.max()] if len(known) else [float("nan")] * 3
        rows.append([name, *(number(float(each)) for each in numbers), of.unit, of.says])
    return html_page("Measures", [line.removeprefix("Measures: ")], html_table(titles, rows, most=len(rows)))


def _shape(columns: Mapping[str, Tensor]) -> str:
    return str(list(next(iter(columns.values())).shape))
