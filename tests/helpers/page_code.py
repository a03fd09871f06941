"""Code that pages show, run as it is printed."""

import re

from configs import datasets, registry

_TABLES = [*vars(registry).values(), datasets.DATASETS]


def blocks(page, kind):
    """Fenced blocks of a kind."""
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", page.read_text(), re.S | re.M)
    return [text for found, text in fences if found == kind]


def execute(page, texts):
    """Runs blocks after each other; returns their names, and what they registered, now forgotten.

    The latter are a table, a name in it and its entry each.
    """
    kept = [(table, dict(table)) for table in _TABLES if isinstance(table, dict)]
    names = {"__name__": page.stem}
    try:
        for text in texts:
            exec(compile(text, page.name, "exec"), names)
        new = [(t, name, t[name]) for t, entries in kept for name in t.keys() - entries.keys()]
        return names, new
    finally:
        for table, entries in kept:
            table.clear()
            table.update(entries)
