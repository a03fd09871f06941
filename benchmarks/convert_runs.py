"""Finished runs and exported models of earlier formats, copied in the present one.

    python -m benchmarks.convert_runs OLD NEW

OLD is the directory of a finished run, of an exported model, of kept results (config.json and
result.json alone), or of many of these; NEW must not exist. Every number is copied as it is, but
`latest-*`, with which a run goes on, is left out: an unfinished run is ended by the version that
began it.
"""

import argparse
import json
import math
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from configs.errors import UserError
from configs.experiment import ExperimentConfig
from configs.registry import PRIORS, resolve
from dvae.prior_chains import PriorChains
from dvae.runs.checkpoint_store import CheckpointStore, file_digest
from dvae.runs.json_files import digest, read_checked, read_json
from dvae.runs.records import (
    RunConfig,
    checkpoint_digest,
    checkpoint_place,
    write_bound,
    write_config,
)
from dvae.train_state import TrainState, named_leaves
from samplers import counter_random

# data_sha256 of the published file of binarized_mnist, for results that do not say whether it was.
_PUBLISHED = "0ca16e91057b9a806f1c11355bb4610bb4d6c08dab952b1a3186e73244221ca1"
_OURS = ("config.json", "data.json", "result.json", "lock.json", "checkpoints")
_AVERAGES = ("moving_mean", "moving_variance")
_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"


class _Old(NamedTuple):
    """A run of an earlier format: its settings, and what its files are marked with, and as what."""

    run: RunConfig
    mark: str
    marked_as: str


def _config(path: Path) -> _Old:
    """The configuration of a run."""
    record = read_json(path)
    number = record.get("format")
    if number not in (None, 1):
        raise UserError(f"{path} has format {number} already")
    mark, marked_as = digest(record), "owner"
    if number == 1:
        record = read_checked(path)
        del record["format"]
        mark, marked_as = record.pop("identity"), "identity"
    else:
        record["beta"] = record.pop("sharpness", None)
    data_sha256 = record.pop("data_sha256", None)
    if not isinstance(data_sha256, str):
        raise UserError(f"{path} is damaged (no data_sha256)")
    run = RunConfig(ExperimentConfig.from_json(record), data_sha256)
    if number == 1 and mark != digest({"format": 1, **run.binding()}):
        raise UserError(f"{path} is damaged (another identity)")
    if number is None and run.config.baseline == "rodeo":
        raise UserError(f"{path} is of rodeo, whose checkpoints had another order then")
    return _Old(run, mark, marked_as)


def _unmarked(record: dict[str, Any], path: Path, old: _Old) -> dict[str, Any]:
    """A record of a run without its format and mark."""
    if old.marked_as == "identity" and record.pop("identity", None) != old.mark:
        raise UserError(f"{path} is of another run than the config.json beside it")
    record.pop("format", None)
    return record


def _result(path: Path, old: _Old) -> dict[str, Any]:
    """result.json of the old run; "published_data" was not always recorded in it."""
    run, result = old.run, _unmarked(read_checked(path), path, old)
    settings = {"data_sha256": run.data_sha256, **run.config.to_json()}
    for name in settings.keys() & result.keys() - {"dataset"}:
        if result[name] != settings[name]:
            raise UserError(f"{path} and the config.json beside it differ in {name}")
    published = None
    if run.config.dataset == "binarized_mnist":
        published = run.data_sha256 == _PUBLISHED
    protocol = {"published_data": published, **result["protocol"]}
    return {"published_data": published, **result, "protocol": protocol}


def _facts(path: Path, old: _Old, result: dict[str, Any]) -> dict[str, Any]:
    """data.json of the old run; "published" was not always recorded in it."""
    record = _unmarked(read_json(path), path, old)
    record.pop("checksum", None)
    facts = {"published": result["published_data"], **record}
    if facts["sha256"] != old.run.data_sha256:
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


def _model(checkpoint: Path, config: ExperimentConfig) -> dict[str, tf.Tensor]:
    """The leaves of a model's state, from variables each under a name and number of its own."""
    reader = tf.train.load_checkpoint(str(checkpoint / "tensors"))
    names = sorted(reader.get_variable_to_shape_map())
    found: dict[bool, list[np.ndarray]] = {False: [], True: []}
    for name in names:
        if name.startswith("model/"):
            kind = name.removesuffix(_VALUE).rsplit(" ", 1)[1]
            found[kind in _AVERAGES].append(reader.get_tensor(name).ravel())
    weights, averages = (
        tf.constant(np.concatenate([np.zeros(0, np.float32), *found[moving]]))
        for moving in (False, True)
    )
    sampler = PriorChains(config, resolve(PRIORS[config.structure.prior])(config.structure))
    state = TrainState(weights, averages, sampler.init(counter_random.key(0)))
    leaves = named_leaves(state)
    chains = [name for name in leaves if name.startswith("sampler/")]
    for index, name in enumerate(chains):
        leaves[name] = tf.constant(reader.get_tensor(f"chains/{index}{_VALUE}"), leaves[name].dtype)
    if f"chains/{len(chains)}{_VALUE}" in names:
        raise UserError(f"{checkpoint} has the chains of another sampler")
    return leaves


def _convert_checkpoint(place: Path, store: CheckpointStore, old: _Old) -> None:
    manifest = _manifest(place / "manifest.json")
    if manifest[old.marked_as] != old.mark:
        raise UserError(f"{place} belongs to another run than the config.json above it")
    for name, sha256 in manifest["sha256"].items():
        if file_digest(place / Path(name).name) != sha256:
            raise UserError(f"{place / name} does not match its checksum")
    kind, leaves = place.name.split("-")[0], _model(place, old.run.config)
    store.save(kind, manifest["step"], manifest["progress"], leaves)


def convert(source: Path, new: Path) -> None:
    """Copies one run. Raises UserError when it is unfinished or damaged, OSError."""
    old = _config(source / "config.json")
    run = old.run
    if not (source / "result.json").exists():
        raise UserError(f"{source} is not finished: end it with the version that began it")
    result = _result(source / "result.json", old)
    new.mkdir(parents=True)
    write_config(new / "config.json", run)
    if (source / "data.json").exists():
        write_bound(new / "data.json", _facts(source / "data.json", old, result), run.identity)
    store = CheckpointStore(new / "checkpoints", run.identity)
    for kind in ("best", "kept"):
        for place in sorted((source / "checkpoints").glob(f"{kind}-*")):
            _convert_checkpoint(place, store, old)
    best = checkpoint_place(new, "best", result["best_step"])
    bound = {
        **result,
        "checkpoint": checkpoint_digest(best) if best.exists() else None,
        "config": run.binding(),
        "dataset": run.config.dataset_name,
    }
    write_bound(new / "result.json", bound, run.identity)
    for path in sorted(source.iterdir()):
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
