"""What a report says, before it is written as Markdown, CSV, LaTeX or HTML."""

from typing import NamedTuple


class Table(NamedTuple):
    """One table, its cells as text.

    Attributes:
      notes: sentences between the title and the table.
      commands: shell commands that give it.
    """

    title: str
    notes: tuple[str, ...]
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    commands: tuple[str, ...] = ()


class Picture(NamedTuple):
    """A picture and where it lies, relative to the report."""

    title: str
    path: str


class Document(NamedTuple):
    """A report."""

    title: str
    notes: tuple[str, ...]
    tables: tuple[Table, ...]
    pictures: tuple[Picture, ...] = ()


def without_constant_columns(table: Table, keep: tuple[str, ...]) -> Table:
    """Says a column whose value never changes once, as a note, unless it is in `keep`."""
    constant = [
        index
        for index, name in enumerate(table.header)
        if name not in keep and table.rows and len({row[index] for row in table.rows}) == 1
    ]
    if not constant:
        return table
    said = "; ".join(f"{table.header[i]} {table.rows[0][i]}" for i in constant)

    def rest(values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(value for i, value in enumerate(values) if i not in constant)

    return table._replace(
        notes=(*table.notes, f"In all rows: {said}."),
        header=rest(table.header),
        rows=tuple(rest(row) for row in table.rows),
    )
