"""Untrusted text (names of data sets, fields of results) made harmless for display."""

import contextlib
import re

_MARKDOWN = re.compile(
    r"""[\\`|$\[\]]      # escapes, code, cells, formulas, links and pictures
    |<(?=[A-Za-z/!?])   # HTML
    |&(?=\#?\w+;)       # entities
    |:(?=//)            # a bare address becomes a link
    |\.(?<=\bwww\.)     # so does this
    """,
    re.VERBOSE,
)
_ENTITIES = {"<": "&lt;", "&": "&amp;", ":": "&#58;", ".": "&#46;"}


def printable(text: str) -> str:
    """Text whose characters, but for line ends and tabs, all show: none commands a terminal."""
    if text.isprintable():
        return text
    return "".join(
        c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text
    )


def encodable(text: str, encoding: str) -> str:
    """Text that old terminals and batch systems can show, too: +- for ±, other signs escaped."""
    with contextlib.suppress(UnicodeError):
        text.encode(encoding)
        return text
    return text.replace("±", "+-").encode(encoding, "backslashreplace").decode(encoding)


def one_row(text: str) -> str:
    """Printable text in a single line."""
    return printable(" ".join(text.split()))


def markdown(text: str) -> str:
    """Text of one line that Markdown shows as it is, in a cell of a table and elsewhere.

    Stars and underscores stay: the worst that they do is emphasis.
    """
    return _MARKDOWN.sub(lambda found: _ENTITIES.get(found[0], f"\\{found[0]}"), one_row(text))
