"""Faults to be put into the code one at a time, each with the tests that must turn red.

`make test-faults` shows it for all of them (`python -m tests.faults`), a sample runs with the
suite (tests/test_faults.py). An entry names a function, a piece of its source and what stands
there instead: three lines for a fault that took somebody weeks to find.
"""

import importlib
import inspect
import sys
import textwrap
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

Patch = pytest.MonkeyPatch
OURS = ("configs", "data", "samplers", "dvae", "run")


@dataclass(frozen=True)
class Fault:
    """What is wrong, how to put it in, and the tests (below tests/) each of which must fail."""

    what: str
    inject: Callable[[Patch], None]
    caught_by: tuple[str, ...]


def fault(what: str, inject: Callable[[Patch], None], *caught_by: str) -> Fault:
    """A `Fault`, with its tests as arguments."""
    assert caught_by, what
    return Fault(what, inject, caught_by)


def _find(place: str) -> Any:
    """What "module:Class.name" names."""
    module, _, path = place.partition(":")
    found = importlib.import_module(module)
    for name in path.split("."):
        found = inspect.getattr_static(found, name)
    return found


def plain_function(found: Any) -> types.FunctionType:
    """The function inside a property, class method, cached property or tf.function."""
    for name in ("fget", "__func__", "func", "python_function", "__wrapped__"):
        found = getattr(found, name, found)
    return found


def _compiled(source: str, function: types.FunctionType) -> types.CodeType:
    """The code of a definition, with the same free variables as the function's own."""
    free = function.__code__.co_freevars
    body = textwrap.indent(source, "    ") if free else source
    if free:
        body = f"def _outer({', '.join(free)}):\n{body}\n    return {function.__name__}"
    space: dict[str, Any] = {}
    exec(compile(body, function.__code__.co_filename, "exec"), function.__globals__, space)
    if free:
        space[function.__name__] = space["_outer"](*(None for _ in free))
    return plain_function(space[function.__name__]).__code__


def change(place: str, *pairs: str) -> Callable[[Patch], None]:
    """Replaces pieces (old, new, old, new, ...) of a function's source, wherever it is used.

    Each old piece must stand in the source exactly once. The function itself stays the same
    object and takes new code, so that every importer of it meets the fault.
    """

    def inject(patch: Patch) -> None:
        function = plain_function(_find(place))
        source = textwrap.dedent(inspect.getsource(function))
        for old, new in zip(pairs[::2], pairs[1::2], strict=True):
            assert source.count(old) == 1, f"{place} has {source.count(old)} times: {old}"
            source = source.replace(old, new)
        patch.setattr(function, "__code__", _compiled(source, function))

    return inject


def constant(place: str, value: Any) -> Callable[[Patch], None]:
    """Another value of a module's constant, in each of our modules that imported it."""

    def inject(patch: Patch) -> None:
        module, _, name = place.partition(":")
        old = getattr(importlib.import_module(module), name)
        assert old != value, place
        for key, holder in list(sys.modules.items()):
            if key.split(".")[0] in OURS and vars(holder).get(name) is old:
                patch.setattr(holder, name, value)

    return inject


def entry(place: str, key: Any, value: Any) -> Callable[[Patch], None]:
    """Another value of an entry of a module's dictionary."""

    def inject(patch: Patch) -> None:
        table = _find(place)
        assert table[key] != value, place
        patch.setitem(table, key, value)

    return inject


def one_step(*cases: str) -> tuple[str, ...]:
    """Names of the comparison of a training step with the reference, such as "dvaes_exp-2-5"."""
    return tuple(f"dvae/test_reference_step.py::test_a_step_of_each_kind[{case}]" for case in cases)
