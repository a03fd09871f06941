"""Where results are kept, what they depend on, and what every program here shares."""

import argparse
import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import tensorflow as tf

from dvae.runs.process import share_gpus
from samplers import hardware
from tables.documents import markdown_table, write_text

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"

Record = dict[str, Any]


def parser(description: str | None) -> argparse.ArgumentParser:
    """A command line explained by its module's docstring."""
    form = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(description=description, formatter_class=form)


def names(text: str) -> list[str]:
    """Words with commas between them."""
    return text.split(",")


def numbers(text: str) -> list[int]:
    """Whole numbers with commas between them."""
    return [int(number) for number in text.split(",")]


def keep(page: str, name: str, record: Record) -> None:
    """Keeps a result with its machine. Raises UserError when it cannot be written."""
    text = json.dumps({"machine": machine(), **record}, indent=1, allow_nan=False)
    write_text(RESULTS / page / f"{name}.json", text + "\n")
    print(f"kept {page}/{name}; python -m benchmarks.pages puts it into docs/")


def read(page: str) -> dict[str, Record]:
    """The kept results of a page, by name."""
    paths = sorted((RESULTS / page).glob("*.json"))
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in paths}


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of numbers as Markdown."""
    return markdown_table(header, rows, "---:")


def machine() -> Record:
    """What numbers depend on."""
    gpus = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu).get("device_name") for gpu in gpus]
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    processors = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "processor": processors[0] if processors else platform.processor(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "gpus": details,
        "load": os.getloadavg()[0],
    }


def prepare_device() -> None:
    """GPU memory as it is needed, its layout, deterministic and exact operations from now on.

    Where others' code runs too there is `dvae.runs.isolation`.
    """
    share_gpus()
    hardware.use(hardware.layout())
    tf.config.experimental.enable_op_determinism()
    tf.config.experimental.enable_tensor_float_32_execution(False)
