"""All faults: importing this module collects them from every module of this package."""

import importlib
import pkgutil

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
