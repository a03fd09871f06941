"""How a run was trained and measured: only runs alike in all of it share a table.

Also what follows from it: how it differs from the published one, and the command lines that give
it again.
"""

import dataclasses
import hashlib
import shlex
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from configs.datasets import published_sharpness
from configs.experiment import SIZES, ExperimentConfig, build_config
from configs.programs import as_started
from configs.registry import STRUCTURES
from configs.settings import SETTINGS
from configs.tables import Setting

# The cell and the seed, and what decides no number beyond rounding; the data are there themselves.
_NOT_PROTOCOL = {
    "input_size",
    *(name for name, setting in SETTINGS.items() if setting.axis or setting.decides == "rounding"),
}
_MEASURING = [name for name, setting in SETTINGS.items() if setting.decides == "measurement"]
PUBLISHED = "as published"  # stands for a value that depends on the cell
_DATA_FIELDS = ("data_sha256", "training_binarization", "test_binarization", "num_test_images")


class Protocol(NamedTuple):
    """Everything beside the cell and the seed that decides the numbers of a run.

    training: fields of ExperimentConfig with their values, by name.
    measurement: likewise, and the data.
    """

    training: tuple[tuple[str, Any], ...]
    measurement: tuple[tuple[str, Any], ...]


def _config_fields(config: ExperimentConfig) -> dict[str, Any]:
    """Fields of the protocol; those whose published value depends on the cell become a word."""
    fields = dataclasses.asdict(config)
    if config.beta == published_sharpness(config.baseline, config.struct, config.dataset):
        fields["beta"] = PUBLISHED
    structure, usual = fields.pop("structure"), STRUCTURES[config.struct]
    for name in SIZES:  # the prior is an axis
        size = getattr(config.structure, name)
        fields[name] = PUBLISHED if size == getattr(usual, name) else size
    for name in ("encoder", "decoder", "likelihood"):
        fields[name] = structure[name]
    if config.eval_every == build_config(num_train_iter=config.num_train_iter).eval_every:
        fields["eval_every"] = PUBLISHED
    return {name: value for name, value in sorted(fields.items()) if name not in _NOT_PROTOCOL}


def protocol_of(config: ExperimentConfig, record: Mapping[str, Any]) -> Protocol:
    """The protocol of a finished run, from its configuration and `protocol` of its result.json."""
    fields = _config_fields(config)
    measuring = {name: fields.pop(name) for name in _MEASURING}
    measuring |= {name: record[name] for name in (*_DATA_FIELDS, "checkpoint", "published_data")}
    return Protocol(tuple(fields.items()), tuple(measuring.items()))


def _text(name: str, value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) and name != "seed" else f"{value}"


def _published_text(name: str, value: Any) -> str:
    return "another" if value == PUBLISHED else _text(name, value)


def changed_fields(ours: Protocol, theirs: Protocol) -> list[str]:
    """One line for each field in which two protocols differ: "name: ours, not theirs"."""
    old = dict((*theirs.training, *theirs.measurement))
    new = dict((*ours.training, *ours.measurement))
    return [
        f"{name}: {_text(name, new[name])}, not {_text(name, old[name])}"
        for name in new
        if new[name] != old[name]
    ]


def departures(protocol: Protocol) -> list[str]:
    """How protocol and data differ from the published ones; empty where they do not.

    And of data of which nothing was published.
    """
    published_data = dict(protocol.measurement)["published_data"]
    if published_data is None:
        return []
    default = dict(_config_fields(build_config()))
    found = [
        f"{name} {_text(name, value)} (published: {_published_text(name, default[name])})"
        for name, value in (*protocol.training, *protocol.measurement)
        if name in default and value != default[name]
    ]
    return found + ([] if published_data else ["data: not the published file"])


def title_of(dataset: str, protocol: Protocol) -> str:
    """The title of a table: data set, steps, and everything in which it is not as published."""
    default = dict(_config_fields(build_config()))
    fields = dict((*protocol.training, *protocol.measurement))
    steps, samples = fields["num_train_iter"], fields["eval_iw_samples"]
    parts = [dataset, f"data {fields['data_sha256'][:8]}", f"{steps:,} steps"]
    parts.append(f"{samples:,} importance samples")
    parts += [
        f"{name} {_text(name, value)}"
        for name, value in fields.items()
        if name not in ("num_train_iter", "eval_iw_samples")
        and name in default
        and value != default[name]
    ]
    if fields["published_data"] is None:
        return ", ".join(parts)
    if departures(protocol):
        reduced = steps < default["num_train_iter"]
        kind = "a reduced schedule" if reduced else "another protocol than published"
    else:
        kind = "the published protocol"
    return f"{', '.join(parts)}: {kind}"


def digest(protocol: object) -> str:
    """Eight hex digits that tell protocols (or what holds one) apart in file names."""
    return hashlib.sha256(repr(protocol).encode(errors="backslashreplace")).hexdigest()[:8]


def _flags_of(protocol: Protocol) -> list[str]:
    """Flags of run.py that give this protocol, beside the defaults."""
    default = dict(_config_fields(build_config()))
    return [
        f"--{name}={value}"
        for name, value in (*protocol.training, *protocol.measurement)
        if name in default and value != default[name] and name in SETTINGS
    ]


def _merge(rows: list[dict[str, tuple]], axis: str) -> list[dict[str, tuple]]:
    """Rows that differ in one axis alone become one."""
    merged: dict[tuple, dict[str, tuple]] = {}
    for row in rows:
        key = tuple(value for name, value in row.items() if name != axis)
        if key in merged:
            merged[key][axis] += row[axis]
        else:
            merged[key] = dict(row)
    return list(merged.values())


def _list_text(values: Sequence[object]) -> str:
    """Values as one flag takes several: a row of a csv file."""
    texts = [str(value) for value in values]
    quoted = ['"' + t.replace('"', '""') + '"' if set(t) & set(',"') else t for t in texts]
    return ",".join(quoted)


def commands_for(
    dataset: str, protocol: Protocol, cells: Sequence[tuple[Setting, Sequence[int]]]
) -> list[str]:
    """Command lines of `run_table.py` that run cells again: (setting, seeds) of one protocol."""
    rows = [
        {
            "structs": (setting.struct,),
            "ks": (setting.k,),
            "baselines": (setting.baseline,),
            "samplers": (setting.sampler,),
            "priors": (setting.prior,),
            "seeds": tuple(seeds),
        }
        for setting, seeds in cells
    ]
    for axis in ("priors", "samplers", "baselines", "ks", "structs"):
        rows = _merge(rows, axis)
    flags, program = _flags_of(protocol), as_started("python run_table.py")
    commands = []
    for row in rows:
        axes = {"datasets": (dataset,), **row}
        if axes["priors"] == ("rbm",):
            del axes["priors"]
        lists = [f"--{name}={_list_text(values)}" for name, values in axes.items()]
        commands.append(f"{program} {shlex.join([*lists, *flags])}")
    return commands
