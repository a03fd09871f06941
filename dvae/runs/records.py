"""The JSON files of a run, which know each other.

config.json, data.json, result.json and the manifest of each checkpoint of a run hold the number of
this format and the run's identity, so that a file of another run is recognised.
"""

import math
import re
from pathlib import Path
from types import NoneType
from typing import Any, NamedTuple

from configs.errors import NothingTrained, UnknownName, UserError
from configs.experiment import ExperimentConfig
from configs.files import bad_file, exists
from dvae.runs.json_files import RESTORE, digest, read_json, write_json

# Of all files of a run. Another number: another version, and a converter where it is needed.
FORMAT = 2
_AGAIN = "restore it, or remove it and start again"  # a checkpoint is there still
_Types = tuple | list | dict  # of values of JSON: any of these; [of each]; {of those of a name}
_TEXT, _WHOLE, _KNOWN, _NUMBER = (str,), (int,), (float,), (int, float, NoneType)


def _all(types: _Types, names: str) -> dict[str, _Types]:
    return dict.fromkeys(names.split(), types)


_CODE = _all((str, NoneType), "sources commit")
# Of every result: finite numbers. Errors that are not known are null.
NUMBERS = ("test_nll", "test_neg_elbo", "unnormalized_nll", "log_z", "val_nll")
# What is read of a result, with its types.
_TYPES = {
    **_all(_KNOWN, " ".join(NUMBERS)),
    **_all(_TEXT, "dataset struct baseline sampler device"),
    **_all(_WHOLE, "k seed num_train_iter eval_iw_samples best_step"),
    **_all(_NUMBER, "ms_per_step log_z_stderr"),
    "log_z_interval": {
        "trusted": (bool,),
        "reasons": [_TEXT],
        "upper_status": _TEXT,
        **_all(_NUMBER, "low high exact forward_ais forward_ais_stderr forward_ais_ess"),
        **_all(_NUMBER, "markov_lower_bound reverse_ais reverse_ais_stderr"),
    },
    "nll_interval": {
        "trusted": (bool,),
        "reasons": [_TEXT],
        "log_z": [_NUMBER],
        **_all(_NUMBER, "low high low_with_test_set high_with_test_set"),
    },
    "protocol": {
        "published_data": (bool, NoneType),
        **_all(_TEXT, "data_sha256 data training_binarization test_binarization"),
        **_all(_TEXT, "ais_base checkpoint"),
        **_all(_WHOLE, "num_test_images importance_samples ais_temperatures ais_chains"),
    },
    "code": _CODE,
    "earlier_code": [_CODE],
}


def _fits(value: Any, types: _Types) -> bool:
    """Whether a value of JSON is of these types."""
    if isinstance(types, dict):
        names = isinstance(value, dict) and types.keys() <= value.keys()
        return names and all(_fits(value[name], types[name]) for name in types)
    if isinstance(types, list):
        return isinstance(value, list) and all(_fits(inner, types[0]) for inner in value)
    return type(value) in types


class RunConfig(NamedTuple):
    """What config.json holds: the settings, the data, and what binds a run's files together."""

    config: ExperimentConfig
    data_sha256: str

    def binding(self) -> dict[str, Any]:
        """What makes a run another run: settings and data; own data by their content alone."""
        record = self.config.to_json()
        if self.config.has_own_data:
            record["dataset"] = "own data"
        return {"data_sha256": self.data_sha256, **record}

    @property
    def identity(self) -> str:
        """The digest that all files of a run hold."""
        return digest({"format": FORMAT, **self.binding()})

    def differences(self, other: dict[str, Any], here: str) -> str:
        """In what another run's `binding` differs: "seed: 0 there, 1 HERE; ..."; or ""."""
        ours = self.binding()
        found = [
            f"{name}: {_brief(other.get(name))} there, {_brief(ours.get(name))} {here}"
            for name in ours | other
            if other.get(name) != ours.get(name)
        ]
        if self.config.has_own_data and len(found) == 1 and found[0].startswith("data_sha256"):
            found[0] += f" (another file of the name {self.config.dataset_name})"
        return "; ".join(found)


def _brief(value: Any) -> str:
    """A value of a configuration without the edges of a prior, which nobody reads."""
    if isinstance(value, dict):
        value = {name: one for name, one in value.items() if name != "edges"}
    return str(value)


def write_bound(path: Path, record: dict[str, Any], identity: str) -> None:
    """Writes a file of a run, with its checksum. Raises OSError, and as `write_json` does."""
    record = {"format": FORMAT, "identity": identity, **record}
    write_json(path, {**record, "checksum": digest(record)})


def read_bound(path: Path, remedy: str = RESTORE) -> dict[str, Any]:
    """Reads a file of any run. Raises UserError: none is there, damaged, of another format.

    remedy: what the user can do; ends the message.
    """
    record = read_json(path, remedy)
    found = record.get("format")
    if found != FORMAT:
        raise UserError(
            f"{path} has format {str(found)[:20]}, and this version reads {FORMAT}: use the "
            "version that wrote it"
        )
    if record.pop("checksum", None) != digest(record):
        raise UserError(f"{path} does not match its checksum: {remedy}")
    return record


def write_config(path: Path, run: RunConfig) -> None:
    """Writes a run's config.json. Raises OSError."""
    record = {"data_sha256": run.data_sha256, **run.config.to_json()}
    write_bound(path, record, run.identity)


def read_config(directory: Path) -> RunConfig:
    """A run's config.json. Raises UserError: none is there, damaged, or with unknown parts."""
    path = directory / "config.json"
    if not exists(path):
        raise UserError(f"there is no run at {directory} (no config.json): give a run's directory")
    record = read_bound(path)
    identity, sha256, _ = (record.pop(name, None) for name in ("identity", "data_sha256", "format"))
    try:
        run = RunConfig(ExperimentConfig.from_json(record), sha256)
    except UnknownName as error:  # the file is as it was written
        raise UserError(
            f"{path}: {error.name} is not known to this program: import the module that registers "
            "it first (docs/extending.md)"
        ) from None
    except UserError as error:
        raise bad_file(path, f"is damaged ({error})", "") from None
    if identity != run.identity or not isinstance(sha256, str):
        raise UserError(f"{path} is damaged (another identity): {RESTORE}")
    return run


def places_of(path: Path) -> list[Path]:
    """Where runs of one name lie: PATH and PATH-2, PATH-3, ..., those that hold one."""
    try:
        beside = [place for place in path.parent.iterdir() if place.name.startswith(path.name)]
    except (FileNotFoundError, NotADirectoryError):
        return []
    serial = re.compile(re.escape(path.name) + r"(?:-([2-9]|[1-9]\d+))?")
    found = {
        int(match[1] or 1): place
        for place in beside
        if (match := serial.fullmatch(place.name)) and (place / "config.json").exists()
    }
    return [found[number] for number in sorted(found)]


def checkpoint_name(kind: str, step: int) -> str:
    """The directory of the checkpoint of a kind and a step, among a run's checkpoints."""
    return f"{kind}-{step:010d}"


def checkpoint_digest(checkpoint: Path) -> str:
    """What tells the tensors of a checkpoint from those of another. Raises UserError."""
    return digest(read_bound(checkpoint / "manifest.json").get("sha256", {}))


def write_result(directory: Path, record: dict[str, Any]) -> None:
    """Writes result.json, bound to the best checkpoint and to config.json beside it.

    Raises OSError, and UserError as `read_config` does.
    """
    run = read_config(directory)
    best = directory / "checkpoints" / checkpoint_name("best", record["best_step"])
    checkpoint = checkpoint_digest(best) if exists(best) else None
    bound = {"checkpoint": checkpoint, "config": run.binding(), **record}
    write_bound(directory / "result.json", bound, run.identity)


def _check_belongs(path: Path, record: dict[str, Any]) -> None:
    """Raises UserError unless a result is of the config.json and best checkpoint beside it."""
    run = read_config(path.parent)
    if record.get("identity") != run.identity:
        other = record.get("config")
        differences = run.differences(other if isinstance(other, dict) else {}, "here")
        raise UserError(
            f"{path} is of another run than the config.json beside it ({differences}): {_AGAIN}"
        )
    best = path.parent / "checkpoints" / checkpoint_name("best", record["best_step"])
    places = sorted(best.parent.glob("best-*"))
    if not places:  # results alone are kept, or it was lost
        return
    if best not in places:
        raise UserError(
            f"{path} is of {best.name}, and not of {places[-1].name} beside it: {_AGAIN}"
        )
    try:
        found = checkpoint_digest(best)
    except UserError:
        return  # damaged, which whoever loads it says
    if found != record.get("checkpoint"):
        raise UserError(f"{path} is of another {best.name} than the one beside it: {_AGAIN}")


def _agree(result: dict[str, Any]) -> bool:
    """Whether the numbers of a result fit each other."""
    interval, error = result["nll_interval"], result["log_z_stderr"]
    nll, low, high = result["test_nll"], interval["low"], interval["high"]
    total = result["unnormalized_nll"] + result["log_z"]
    return (
        (low is None or low <= nll)
        and (high is None or nll <= high)
        and (error is None or error >= 0.0)
        and len(interval["log_z"]) == 2
        and math.isclose(nll, total, rel_tol=1e-9, abs_tol=1e-6)
    )


def read_result(path: Path) -> dict[str, Any]:
    """A run's result.json, with all that `_TYPES` names.

    Raises UserError when it is not what the run wrote, or of another run or checkpoint than those
    beside it.
    """
    record = read_bound(path, _AGAIN)
    for name in ("log_z_interval", "nll_interval"):
        if isinstance(record.get(name), dict):  # earlier runs did not record it
            record[name] = {"trusted": True, "reasons": [], **record[name]}
    if not (_fits(record, _TYPES) and _agree(record)):
        raise UserError(f"{path} is damaged: {_AGAIN}")
    _check_belongs(path, record)
    if record["num_train_iter"] == record.get("skipped_updates"):
        raise NothingTrained(f"{path} is of a run that took no update: it is no result")
    return record
