"""The page of a report: blocks of text, tables and figures as one HTML file, which needs no other file.

Every value is escaped by the template ``page.html``.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import ClassVar, TypeAlias

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

#: longest text of a cell; the rest of it is cut off
CELL = 300
#: pixels per inch of a figure
DPI = 130


@dataclass(frozen=True)
class Text:
    """A paragraph, or a heading or code as `kind` says."""

    text: str
    kind: str = "text"


@dataclass(frozen=True)
class Tiles:
    """A few figures to see first, as pairs of a name and a value in words."""

    kind: ClassVar[str] = "tiles"
    values: Sequence[tuple[str, str]]


@dataclass(frozen=True)
class Picture:
    """A figure; `text` says what it shows."""

    kind: ClassVar[str] = "figure"
    png: str
    text: str
    wide: bool = False


@dataclass(frozen=True)
class Table:
    """A table. Columns of numbers are aligned to the right."""

    kind: ClassVar[str] = "table"
    columns: Sequence[str]
    rows: Sequence[Sequence[object]]
    caption: str = ""

    @property
    def numeric(self) -> list[bool]:
        """Whether each column has numbers only."""
        return [
            all(row[place] is None or isinstance(row[place], (int, float, Decimal)) for row in self.rows)
            for place in range(len(self.columns))
        ]


@dataclass(frozen=True)
class Side:
    """Blocks side by side, where the page is wide enough."""

    kind: ClassVar[str] = "side"
    blocks: Sequence[Text | Picture | Table]


Block: TypeAlias = Text | Tiles | Picture | Table | Side


@dataclass(frozen=True)
class Part:
    """A part of the page, with a name for links to it."""

    name: str
    title: str
    blocks: list[Block] = field(default_factory=list)


def picture(figure: Figure, text: str, wide: bool = False) -> Picture:
    """A matplotlib figure, as large as a column of the page: letters stay readable on a phone."""
    figure.set_size_inches(*((9.6, 4.2) if wide else (5.6, 3.8)))
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=DPI)
    return Picture(base64.b64encode(image.getvalue()).decode("ascii"), text, wide)


def settings(values: Mapping[str, object], names: tuple[str, str]) -> Table:
    """A table of two columns."""
    return Table(names, list(values.items()))


def page(title: str, parts: Sequence[Part]) -> str:
    """The HTML of a report."""
    templates = Environment(
        loader=PackageLoader("recspark.pipeline.report", ""), autoescape=True, undefined=StrictUndefined
    )
    templates.filters["cell"] = cell
    return templates.get_template("page.html").render(title=title, parts=parts)


def cell(value: object) -> str:
    """A value as a cell shows it.

    >>> cell(0.91234), cell(100000), cell(None), cell(float("nan")), cell("Heat")
    ('0.9123', '100,000', '-', '-', 'Heat')
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "-"
    if isinstance(value, float):
        return f"{value:,.4f}" if abs(value) < 1000 else f"{value:,.0f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    text = str(value)
    return text if len(text) <= CELL else f"{text[:CELL]} ..."
