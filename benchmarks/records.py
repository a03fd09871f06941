"""Where results are kept, what they depend on, and what every program here shares."""

import argparse
import functools
import json
import os
import platform
import re
from pathlib import Path
from typing import Any

import tensorflow as tf

from dvae.runs.process import num_cores, share_gpus
from samplers import hardware
from tables.documents import markdown_table, write_text

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"

Record = dict[str, Any]


def parser(description: str | None) -> argparse.ArgumentParser:
    """A command line explained by its module's docstring."""
    form = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(description=description, formatter_class=form)


def numbers(text: str) -> list[int]:
    """Whole numbers with commas between them."""
    return [int(number) for number in names(text)]


def keep(page: str, name: str, record: Record) -> None:
    """Keeps a result with its machine. Raises UserError when it cannot be written."""
    text = json.dumps({"machine": machine(), **record}, indent=1, allow_nan=False)
    write_text(RESULTS / page / f"{name}.json", text + "\n")
    print(f"kept {page}/{name}; python -m benchmarks.pages puts it into docs/")


def read(page: str) -> dict[str, Record]:
    """The kept results of a page, by name."""
    paths = sorted((RESULTS / page).glob("*.json"))
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}


table = functools.partial(markdown_table, rule="---:")  # of numbers
names = functools.partial(str.split, sep=",")  # words with commas between them


def machine() -> Record:
    """What numbers depend on."""
    path, details = Path("/proc/cpuinfo"), tf.config.experimental.get_device_details
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "processor": (re.findall(r"model name\s*: (.*)", text) or [platform.processor()])[0],
        "cpus": num_cores(),
        "gpus": [details(g).get("device_name") for g in tf.config.list_physical_devices("GPU")],
        "load": os.getloadavg()[0],
    }


def prepare_device() -> None:
    """GPU memory as it is needed, its layout, deterministic and exact operations from now on."""
    share_gpus()
    hardware.use(hardware.layout())
    tf.config.experimental.enable_op_determinism()
    tf.config.experimental.enable_tensor_float_32_execution(False)
