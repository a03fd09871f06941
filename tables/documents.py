"""What a report says, and its files: Markdown, CSV, LaTeX and HTML, each replaced as a whole."""

import csv
import io
import re
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jinja2

from configs.errors import UserError
from configs.files import read_bytes, replacing
from configs.text import markdown as as_markdown
from configs.text import one_row, printable

_MAX_TEXT_BYTES = 1 << 26
# What a spreadsheet takes for the start of a formula, unless nothing but numbers follows.
_FORMULA = re.compile(r"\s*([=@＝＠＋－]|[+-](?![-+.\d e]*$))|[\t\r]")
_TEX_SPECIAL = {
    "\\": r"\textbackslash{}",
    **{c: f"\\{c}" for c in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "–": "--",
    "…": r"\ldots{}",
    "[": "{[}",  # after the end of a row it would begin an argument
    "*": "{*}",
    "<": "$<$",
    ">": "$>$",
}


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
    constants = "; ".join(f"{table.header[i]} {table.rows[0][i]}" for i in constant)

    def rest(values: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(value for i, value in enumerate(values) if i not in constant)

    return table._replace(
        notes=(*table.notes, f"In all rows: {constants}."),
        header=rest(table.header),
        rows=tuple(rest(row) for row in table.rows),
    )


def _environment(**options: object) -> jinja2.Environment:
    loader = jinja2.FileSystemLoader(Path(__file__).with_name("templates"))
    return jinja2.Environment(
        loader=loader, undefined=jinja2.StrictUndefined, trim_blocks=True, **options
    )


def _without_bars(cell: str) -> str:
    return cell.replace("|", "\\|")


def markdown_rows(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    rule: str = "---",
    form: Callable[[str], str] = _without_bars,
) -> list[str]:
    """Lines of a Markdown table.

    Args:
      header: of the columns.
      rows: cells, of Markdown that is our own.
      rule: aligns all columns but the first.
      form: makes each of the cells what it is in the table.
    """

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(map(form, cells)) + " |"

    rules = "|".join(["---", *[rule] * (len(header) - 1)])
    return [line(header), f"|{rules}|", *map(line, rows)]


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]], rule: str = "---") -> str:
    """The same as text that ends with a line's end."""
    return "\n".join(markdown_rows(header, rows, rule)) + "\n"


def _titled_table(table: Table, heading: str) -> list[str]:
    notes = [as_markdown(note) + "  " for note in table.notes]
    lines = [heading.format(as_markdown(table.title)), "", *notes]
    lines += [""] if table.notes else []
    lines += [*markdown_rows(table.header, table.rows, form=as_markdown), ""]
    if table.commands:
        lines += ["```", *table.commands, "```", ""]
    return lines


def markdown(document: Document) -> str:
    """The whole document, pictures included."""
    lines = [f"# {document.title}", "", *document.notes, ""]
    for table in document.tables:
        lines += _titled_table(table, "## {}")
    if document.pictures:
        lines += ["## Learning curves and samples", ""]
        lines += [
            f"![{as_markdown(picture.title)}]({urllib.parse.quote(picture.path)})"
            for picture in document.pictures
        ]
    return "\n".join(lines).rstrip() + "\n"


def markdown_tables(document: Document) -> str:
    """Only notes and tables, for insertion into another text; titles are bold lines."""
    lines = [*document.notes, ""]
    for table in document.tables:
        lines += _titled_table(table, "**{}**")
    return "\n".join(lines).rstrip() + "\n"


def tex_escape(text: str) -> str:
    """Text with LaTeX's special characters made plain."""
    return "".join(_TEX_SPECIAL.get(character, character) for character in one_row(text))


def latex(document: Document) -> str:
    """Tables for \\input; needs the packages booktabs and longtable."""
    # Delimiters that are no LaTeX of ours.
    marks = dict(
        block_start_string="<%",
        block_end_string="%>",
        variable_start_string="<<",
        variable_end_string=">>",
        comment_start_string="<#",
        comment_end_string="#>",
    )
    environment = _environment(**marks)
    environment.filters["tex"] = tex_escape
    return environment.get_template("report.tex.j2").render(document=document)


def html(document: Document) -> str:
    """A page that stands alone but for the pictures beside it."""
    return _environment(autoescape=True).get_template("report.html.j2").render(document=document)


def csv_text(records: Sequence[Mapping[str, object]]) -> str:
    """Flat records, numbers unrounded, nothing for None; no text that a spreadsheet would run."""
    target = io.StringIO()
    if records:
        writer = csv.DictWriter(target, list(records[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: _csv_value(v) for k, v in record.items()} for record in records)
    return target.getvalue()


def _csv_value(value: object) -> object:
    if not isinstance(value, str):
        return None if value != value else value  # nothing for NaN either
    text = printable(value)
    return f"'{text}" if _FORMULA.match(text) else text


def write_text(path: Path, text: str) -> None:
    """Replaces a file atomically. Raises UserError when that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(text.encode(errors="backslashreplace"))
    except OSError as error:
        raise UserError(f"cannot write {path} ({error.strerror})") from None


def write_all(
    document: Document, records: Sequence[Mapping[str, object]], folder: Path, name: str
) -> None:
    """Writes FOLDER/NAME.md, .csv, .tex and .html."""
    write_text(folder / f"{name}.md", markdown(document))
    write_text(folder / f"{name}.csv", csv_text(records))
    write_text(folder / f"{name}.tex", latex(document))
    write_text(folder / f"{name}.html", html(document))


def insert(path: Path, text: str, name: str = "table") -> None:
    """Puts text between the markers of a file, in place of what was there.

    Args:
      name: of the markers, the lines `<!-- NAME: begin -->` and `<!-- NAME: end -->`.

    Raises:
      UserError: the file cannot be read, or does not hold each marker once, in order.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    try:
        old = read_bytes(path, _MAX_TEXT_BYTES).decode()
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no text: {error}") from None
    before, found_begin, rest = old.partition(begin)
    _, found_end, after = rest.partition(end)
    if not (found_begin and found_end) or old.count(begin) + old.count(end) != 2:
        raise UserError(f"{path} must hold the lines '{begin}' and '{end}' once")
    write_text(path, f"{before}{begin}\n\n{text}\n{end}{after}")
