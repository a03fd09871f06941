"""All faults: importing this module collects them from every module of this package."""

import contextlib
import importlib
import os
import pkgutil
import time

from tests import faults
from tests.faults import FAULTS as FAULTS

for module in sorted(found.name for found in pkgutil.iter_modules(faults.__path__)):
    if module not in ("__main__", "all"):
        importlib.import_module(f"tests.faults.{module}")

# Changes that cannot be seen because they change nothing: what they are, and why.
EQUIVALENT = {
    "uniform(...) <= p for < p in the binarisation": "at most one in 2^24 draws falls on p itself",
    "watch_accessed_variables=True, or jit_compile=False": "no number changes beyond rounding",
}


def judge(index):
    """The verdict on a fault, and a line for each test that saw nothing."""
    from tests.helpers.fault_runner import survived

    start, fault = time.monotonic(), FAULTS[index]
    with open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
        try:
            lines = survived(fault)
        except Exception as error:  # it does not fit the code any more
            lines = [f"cannot be put in: {error!r}"]
    verdict = "SURVIVED" if lines else "caught  "
    head = f"{verdict} {time.monotonic() - start:5.1f} s  {fault.what}"
    return "\n    ".join([head, *lines])
