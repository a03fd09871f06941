"""Runs and exported models of before format 1, copied in that format.

    python -m benchmarks.convert_runs OLD NEW

OLD is the directory of a finished run, of an exported model, of kept results (config.json and
result.json alone), or of many of these; NEW must not exist. Weights and chains are copied as they
are, and so is everything else but `latest-*`, with which a run goes on: an unfinished run is ended
by the version that began it.
"""

import argparse
import json
import math
import shutil
from pathlib import Path
from typing import Any

from configs.errors import UserError
from configs.paper import ExperimentConfig
from dvae.runs.json_files import digest, read_checked, read_json
from dvae.runs.records import (
    RunConfig,
    checkpoint_digest,
    checkpoint_place,
    write_bound,
    write_config,
)

# data_sha256 of the published file of binarized_mnist, for results that do not say whether it was.
_PUBLISHED = "0ca16e91057b9a806f1c11355bb4610bb4d6c08dab952b1a3186e73244221ca1"
_OURS = ("config.json", "data.json", "result.json", "lock.json", "checkpoints")


def _config(path: Path) -> tuple[RunConfig, str]:
    """The configuration, and what its checkpoints are marked with."""
    record = read_json(path)
    owner = digest(record)
    if "format" in record:
        raise UserError(f"{path} has format {record['format']} already")
    record["beta"] = record.pop("sharpness", None)
    data_sha256 = record.pop("data_sha256", None)
    if not isinstance(data_sha256, str):
        raise UserError(f"{path} is damaged (no data_sha256)")
    return RunConfig(ExperimentConfig.from_json(record), data_sha256), owner


def _result(path: Path, run: RunConfig) -> dict[str, Any]:
    """result.json of the old run; "published_data" was not always recorded in it."""
    result = read_checked(path)
    settings = {"data_sha256": run.data_sha256, **run.config.to_json()}
    for name in settings.keys() & result.keys() - {"dataset"}:
        if result[name] != settings[name]:
            raise UserError(f"{path} and the config.json beside it differ in {name}")
    published = None
    if run.config.dataset == "binarized_mnist":
        published = run.data_sha256 == _PUBLISHED
    protocol = {"published_data": published, **result["protocol"]}
    return {"published_data": published, **result, "protocol": protocol}


def _facts(path: Path, run: RunConfig, result: dict[str, Any]) -> dict[str, Any]:
    """data.json of the old run; "published" was not always recorded in it."""
    facts = {"published": result["published_data"], **read_json(path)}
    if facts["sha256"] != run.data_sha256:
        raise UserError(f"{path} is of other data than the config.json beside it")
    return facts


def _manifest(path: Path) -> dict[str, Any]:
    """A manifest of before: the best validation NLL was infinite before the first evaluation."""
    record = json.loads(path.read_text(encoding="utf-8"))
    if record.pop("checksum", None) != digest(record):
        raise UserError(f"{path} does not match its checksum")
    progress = record["progress"]
    if progress["best_val_nll"] == math.inf:
        progress["best_val_nll"] = None
    return record


def _convert_checkpoint(old: Path, new: Path, owner: str, identity: str) -> None:
    manifest = _manifest(old / "manifest.json")
    if manifest.pop("owner") != owner:
        raise UserError(f"{old} belongs to another run than the config.json above it")
    new.mkdir(parents=True)
    for name in manifest["sha256"]:
        shutil.copyfile(old / Path(name).name, new / Path(name).name)
    write_bound(new / "manifest.json", manifest, identity)


def convert(old: Path, new: Path) -> None:
    """Copies one run. Raises UserError when it is unfinished or damaged, OSError."""
    run, owner = _config(old / "config.json")
    if not (old / "result.json").exists():
        raise UserError(f"{old} is not finished: end it with the version that began it")
    result = _result(old / "result.json", run)
    new.mkdir(parents=True)
    write_config(new / "config.json", run)
    if (old / "data.json").exists():
        write_bound(new / "data.json", _facts(old / "data.json", run, result), run.identity)
    for kind in ("best", "kept"):
        for place in sorted((old / "checkpoints").glob(f"{kind}-*")):
            _convert_checkpoint(place, new / "checkpoints" / place.name, owner, run.identity)
    best = checkpoint_place(new, "best", result["best_step"])
    bound = {
        "checkpoint": checkpoint_digest(best) if best.exists() else None,
        "config": run.binding(),
        **result,
        "dataset": run.config.dataset_name,
    }
    write_bound(new / "result.json", bound, run.identity)
    for path in sorted(old.iterdir()):
        if path.name not in _OURS and path.is_file() and not path.is_symlink():
            shutil.copy2(path, new / path.name)


def main() -> None:
    """Converts everything under a directory."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    options = parser.parse_args()
    if options.new.exists():
        raise SystemExit(f"error: {options.new} exists: choose another directory")
    found = sorted(path.parent for path in options.old.rglob("config.json"))
    if not found:
        raise SystemExit(f"error: there is no run under {options.old}")
    for path in found:
        target = options.new / path.relative_to(options.old)
        try:
            convert(path, target)
        except (UserError, OSError, json.JSONDecodeError, KeyError) as error:
            raise SystemExit(f"error: {path}: {error}") from None
        print(f"converted {path} to {target}")


if __name__ == "__main__":
    main()
