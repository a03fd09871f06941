"""Faults to be put into the code one at a time, each with the tests that must turn red.

`make test-faults` shows it for all of them (`python -m tests.faults`), a sample runs with the
suite (tests/test_faults.py). An entry says what is wrong, names its tests, and names what it
changes by the last parts of its name, enough to tell it from all else in our packages:

    with fault("one sweep fewer", STEP("dvaepp_exp-1-5")):
        argument("gibbs.sweeps", num_sweeps=lambda number: number - 1)

What it changes has another value, or is a function that takes other arguments, returns something
else or is another one; pieces of a function's source are exchanged only where nothing else will do.
"""

import ast
import functools
import importlib
import inspect
import itertools
import math
import re
import shlex
import sys
import textwrap
import types
from pathlib import Path

import numpy as np
import tensorflow as tf

ROOT = Path(__file__).parents[2]
OURS = ("configs", "data", "samplers", "dvae", "tables", "run", "run_table")
# Without a GPU Triton is to be imported for its interpreter alone: see `interpreted_kernels`.
_WITH_TRITON = ("samplers.gpu_kernels.triton_", "samplers.gpu_kernels.write")
OTHERS = {"tf": tf, "np": np, "math": math, "shlex": shlex}  # names of other libraries

FAULTS = []
_NUMBERS = itertools.count()


def _modules(*tops):
    """All modules of some packages by name."""
    files = [file for top in tops for file in (ROOT / f"{top}.py", *(ROOT / top).rglob("*.py"))]
    parts = {file: file.relative_to(ROOT).with_suffix("").parts for file in files if file.is_file()}
    found = {".".join(p).removesuffix(".__init__"): file for file, p in parts.items()}
    return {module: file for module, file in found.items() if not module.startswith(_WITH_TRITON)}


def _defined(body):
    """Names that the body of a module or a class defines, those of its classes' members too."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        if isinstance(node, ast.ClassDef):
            yield from (f"{node.name}.{name}" for name in _defined(node.body))
        if isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            yield from (n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name))


@functools.cache
def _places(*tops):
    """All that some packages define: module and name within it."""
    texts = {module: file.read_text() for module, file in _modules(*tops).items()}
    return {(m, name) for m, text in texts.items() for name in _defined(ast.parse(text).body)}


def _place(name, *tops):
    """The one place whose name ends so. Raises LookupError where there is none, or another."""
    found = [p for p in _places(*tops) if f".{'.'.join(p)}".endswith(f".{name}")]
    if len(found) != 1:
        raise LookupError(f"{name} is the name of {len(found)}: {sorted(map('.'.join, found))}")
    return found[0]


def full_name(name):
    """The test "file.py::Class::test[case]" below tests/ of "test[case]", "Class.test[case]"..."""
    test, bracket, case = name.partition("[")
    module, path = _place(test, "tests")
    file = module.removeprefix("tests.").replace(".", "/")
    return f"{file}.py::{path.replace('.', '::')}{bracket}{case}"


@functools.cache
def import_all():
    """Imports our modules, so that none is first imported while it would take in a fault."""
    for module in _modules(*OURS):
        importlib.import_module(module)


def find(name):
    """The module or class that holds what goes by a name, and the name's last part."""
    first, _, rest = name.partition(".")
    if first in OTHERS:
        holder, path = OTHERS[first], rest
    else:
        module, path = _place(name, *OURS)
        holder = importlib.import_module(module)
    *parents, last = path.split(".")
    return functools.reduce(getattr, parents, holder), last


def _plain(found):
    """The function inside a property, class method or tf.function."""
    for inside in ("fget", "__func__", "func", "python_function", "__wrapped__"):
        found = getattr(found, inside, found)
    return found


def _function(name):
    """The function that goes by a name."""
    return _plain(inspect.getattr_static(*find(name)))


def _exchange(patch, function, source):
    """Gives a function the code of a definition: whoever imported it meets the new code."""
    name, free = function.__code__.co_name, function.__code__.co_freevars
    if free:  # the code must have the same ones
        source = f"{source}\n    {', '.join(free)}\n"
        source = f"def _outer({', '.join(free)}):\n{textwrap.indent(source, '    ')}"
        source += f"\n    return {name}"
    space = {}
    exec(compile(source, function.__code__.co_filename, "exec"), function.__globals__, space)
    new = space["_outer"](*free) if free else space[name]
    patch.setattr(function, "__code__", _plain(new).__code__)


def _redirect(patch, name, call):
    """Calls of a function, whoever imported it, become `call(original, *arguments)`."""
    if name.split(".")[0] in OTHERS:
        holder, last = find(name)
        patch.setattr(holder, last, functools.partial(call, getattr(holder, last)))
        return
    function, hook = _function(name), f"_fault_{next(_NUMBERS)}"
    names = "code", "globals", "name", "defaults", "closure"
    original = types.FunctionType(*(getattr(function, f"__{name}__") for name in names))
    original.__kwdefaults__ = function.__kwdefaults__
    patch.setitem(function.__globals__, hook, functools.partial(call, original))
    head = f"def {function.__code__.co_name}(*args, **kwargs):"
    _exchange(patch, function, f"{head}\n    return {hook}(*args, **kwargs)")


class fault:
    """What is wrong and the tests each of which must fail; its block says how to put it in."""

    def __init__(self, what, *caught_by):
        self.what, self.changes = what, []
        self._tests = [(test,) if isinstance(test, str) else test for test in caught_by]

    def __enter__(self):
        FAULTS.append(self)

    def __exit__(self, *_):
        assert self._tests and self.changes, self.what

    def caught_by(self):
        """Its tests."""
        return tuple(map(full_name, itertools.chain.from_iterable(self._tests)))

    def inject(self, patch):
        """Puts it in until `patch` is undone."""
        import_all()
        for change in self.changes:
            change(patch)


def by(change):
    """Any change; the others come down to it."""
    FAULTS[-1].changes.append(change)


def value(name, new):
    """A constant of a module, wherever it was imported, or of a class has another value."""

    def change(patch):
        holder, last = find(name)
        old = getattr(holder, last)
        assert old != new, name
        ours = [module for key, module in sys.modules.items() if key.split(".")[0] in OURS]
        for place in ours if isinstance(holder, types.ModuleType) else [holder]:
            if vars(place).get(last) is old:
                patch.setattr(place, last, new)

    by(change)


def entry(name, key, new):
    """An entry of a dictionary is what is made of the old one."""

    def change(patch):
        table = getattr(*find(name))
        made = new(table[key])
        assert table[key] != made, name
        patch.setitem(table, key, made)

    by(change)


def wrapped(name, call):
    """`call(original, *arguments)` stands in a function's place."""
    by(lambda patch: _redirect(patch, name, call))


def result(name, new):
    """A function returns what is made of its result."""
    wrapped(name, lambda original, *args, **options: new(original(*args, **options)))


def argument(name, **new):
    """A function takes what is made of some of its arguments, by their names."""

    def call(original, *args, **options):
        bound = inspect.signature(original).bind(*args, **options)
        bound.apply_defaults()
        bound.arguments |= {key: make(bound.arguments[key]) for key, make in new.items()}
        return original(*bound.args, **bound.kwargs)

    wrapped(name, call)


def within(outer, inner, call):
    """`call(original, *arguments)` stands in the place of `inner` while `outer` runs."""
    running = []

    def call_outer(original, *args, **options):
        running.append(outer)
        try:
            return original(*args, **options)
        finally:
            running.pop()

    def call_inner(original, *args, **options):
        return call(original, *args, **options) if running else original(*args, **options)

    wrapped(outer, call_outer)
    wrapped(inner, call_inner)


def text(name, *pieces):
    """Pieces of a function's source, each there once: "context «old → new» context"."""

    def change(patch):
        function = _function(name)
        source = textwrap.dedent(inspect.getsource(function))
        for piece in pieces:
            before, old, new, after = re.fullmatch("(.*)«(.*) → (.*)»(.*)", piece, re.S).groups()
            assert source.count(before + old + after) == 1, f"{name} has not once: {piece}"
            source = source.replace(before + old + after, before + new + after)
        _exchange(patch, function, source)

    by(change)


def cases(test):
    """Makes the full names of a test's cases of what stands in their brackets."""
    return lambda *names: tuple(f"{test}[{name}]" for name in names)
