"""The frozen configuration of one run: what decides its numbers, checked, and as JSON."""

import dataclasses
import os
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from configs import graphs
from configs.datasets import DATASETS, check_known, published_sharpness
from configs.errors import UnknownName, UserError, name_of
from configs.registry import (
    BASELINES,
    DECODERS,
    ENCODERS,
    LIKELIHOODS,
    PRIORS,
    SAMPLERS,
    STRUCTURES,
    Structure,
)
from configs.setting import MAX_SIZE, value_text
from configs.settings import SETTINGS, STRUCTURAL

_DECIDING = [s for s in SETTINGS.values() if s.decides and s.name not in STRUCTURAL]
# The sizes of a structure, and what names of directories call them.
SIZES = dict(
    num_latents="latents", num_groups="groups", num_hidden_layers="layers", hidden_units="hidden"
)
# Settings that came when runs had been recorded: a record leaves them out at their defaults.
_LATER = {name: SETTINGS[name].field_default for name in ("num_temperatures",)}
_LATER["started_from"] = ""
_Fields = dataclasses.make_dataclass(
    "_Fields",
    [
        *((setting.name, setting.field_type, setting.field_default) for setting in _DECIDING),
        ("structure", Structure, STRUCTURES["2-layer-nonlin"]),
        ("started_from", str, ""),
    ],
    frozen=True,
)


class ExperimentConfig(_Fields):
    """Everything that decides the numbers of a run. Built and checked by `build_config`.

    Its fields are the settings of `configs.settings` that decide numbers, `structure`, what
    `struct` stands for, and `started_from`, the digest of the checkpoint whose model it started
    from, or "".
    """

    @property
    def has_own_data(self) -> bool:
        """Whether the data set is a user's own file, of which `dataset` is the path."""
        return self.dataset.endswith(".npz")

    @property
    def dataset_name(self) -> str:
        """The name of the data set: of a user's own file, that of the file."""
        return Path(self.dataset).name

    @property
    def has_sharpness(self) -> bool:
        """Whether the method has a β; `beta` is 1 where it has none."""
        return bool(BASELINES[self.baseline].sharpness)

    @property
    def prior(self) -> str:
        """The name of the prior, as --prior has it; of a file, that of the file and a digest."""
        return self.structure.prior

    @property
    def structure_name(self) -> str:
        """`struct`, and the sizes that are not those it stands for: "1-layer-nonlin-latents100"."""
        usual, mine = STRUCTURES[self.struct], self.structure
        sizes = [
            f"{short}{getattr(mine, name)}"
            for name, short in SIZES.items()
            if getattr(mine, name) != getattr(usual, name)
        ]
        return "-".join([self.struct, *sizes])

    def run_directory(self, log_dir: str | Path) -> Path:
        """LOG_DIR/<dataset>/<structure>/<baseline>/<k>/<prior if no RBM, sampler, β, seed>."""
        leaf = f"{self.sampler}_beta{self.beta:g}_seed{self.seed}"
        if self.prior != "rbm":
            leaf = f"{self.prior.replace(':', '')}_{leaf}"
        cell = Path(self.dataset_name, self.structure_name, self.baseline, str(self.k))
        return Path(log_dir) / cell / leaf

    def to_json(self) -> dict[str, Any]:
        """A JSON object from which `from_json` makes an equal configuration."""
        record = dataclasses.asdict(self)
        for name, default in _LATER.items():
            if record[name] == default:
                del record[name]
        if not self.structure.edges:  # likewise
            del record["structure"]["edges"]
        return record

    @classmethod
    def from_json(cls, record: Any) -> "ExperimentConfig":
        """The inverse of `to_json`. Raises UserError when the record does not fit."""
        try:
            record = _LATER | record
            structure = Structure(**_typed(Structure, dict(record["structure"])))
            config = cls(
                **{s.name: s.checked(record[s.name]) for s in _DECIDING},
                structure=structure,
                **_typed(cls, {"started_from": record["started_from"]}),
            )
            if None in dataclasses.astuple(config):
                raise ValueError("a setting is null")
            unknown = record.keys() - {field.name for field in dataclasses.fields(cls)}
            if unknown:
                raise KeyError(min(unknown))
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise UserError(
                f"the recorded configuration does not fit this version ({error}): train anew"
            ) from None
        check_config(config)
        return config


def _typed(kind: type, values: dict[str, Any]) -> dict[str, Any]:
    """The values, checked to be of the types that the dataclass `kind` names."""
    types = {field.name: field.type for field in dataclasses.fields(kind)}
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, types[name]):
            raise TypeError(f"{name} is {value_text(value)}, not of type {types[name].__name__}")
    return values


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise UserError(message)


def check_config(config: ExperimentConfig) -> None:
    """Raises UserError with one line on the first thing that is wrong."""
    for setting in _DECIDING:
        setting.checked(getattr(config, setting.name))
    for name, known in (("baseline", BASELINES), ("sampler", SAMPLERS), ("struct", STRUCTURES)):
        _require_known(name, getattr(config, name), known)
    _require(
        not any(unicodedata.category(c) == "Cc" and c not in "\n\t" for c in config.dataset),
        f"{name_of('dataset')}={config.dataset[:80]!r} holds characters that command a terminal",
    )
    check_known(config.dataset)
    method = BASELINES[config.baseline]
    _require(
        config.beta > method.least_sharpness,
        f"{name_of('beta')}={config.beta:g} must exceed {method.least_sharpness:g} "
        f"for {config.baseline}",
    )
    _require(
        config.k >= method.least_k,
        f"{name_of('k')}={config.k} must be at least {method.least_k} for {config.baseline}",
    )
    _require(
        method.most_groups is None or config.structure.num_groups <= method.most_groups,
        f"{config.baseline} knows models of one latent group only: choose {name_of('struct')}="
        "1-layer-lin or 1-layer-nonlin",
    )
    _require(
        config.sampler != "pt" or config.num_chains >= config.num_temperatures,
        f"{name_of('num_chains')}={config.num_chains} cannot be divided among "
        f"{name_of('num_temperatures')}={config.num_temperatures}",
    )
    _check_structure(config.structure)


def _require_known(name: str, value: str, known: Iterable[str]) -> None:
    if value not in known:
        raise UnknownName(f"{name_of(name)}={value_text(value, quotes=False)}", ", ".join(known))


def _check_structure(structure: Structure) -> None:
    sizes = [value for value in dataclasses.astuple(structure) if isinstance(value, int)]
    _require(
        structure.num_groups >= 1
        and structure.num_latents >= 2
        and structure.hidden_units >= 1
        and 0 <= structure.num_hidden_layers
        and max(sizes) <= MAX_SIZE,
        f"a structure of {structure} cannot be built",
    )
    for part, known in (
        ("encoder", ENCODERS),
        ("decoder", DECODERS),
        ("likelihood", LIKELIHOODS),
        ("prior", PRIORS),
    ):
        name = structure.prior_kind if part == "prior" else getattr(structure, part)
        with_edges = part == "prior" and structure.edges != ""
        if not (name in known or with_edges):
            raise UnknownName(f"{part} {value_text(name, quotes=False)}", ", ".join(known))
    try:
        edges = graphs.from_text(structure.edges)
        _require(all(0 <= i < j < structure.num_latents for i, j in edges), "of no such units")
        _require(len(set(edges)) == len(edges), "one is there twice")
    except ValueError as error:
        raise UserError(f"the edges of the prior {structure.prior} are damaged: {error}") from None


def _structure(
    struct: str,
    prior: str | None = None,
    num_latents: int | None = None,
    num_groups: int | None = None,
    **networks: int,
) -> Structure:
    """The structure of a name, with other sizes where they are given."""
    usual = STRUCTURES[struct]
    groups = num_groups or usual.num_groups
    units, rest = divmod(num_latents or usual.num_latents, groups)
    _require(
        rest == 0 and units > 0,
        f"{name_of('num_latents')}={num_latents or usual.num_latents} must be a multiple of the "
        f"{groups} groups",
    )
    sized = dataclasses.replace(usual, num_groups=groups, units_per_group=units, **networks)
    return graphs.with_prior(sized, prior or usual.prior)


def _published_intervals(steps: int) -> dict[str, int]:
    """Those of the papers' schedule, and shorter ones for runs that would see one point of it."""
    if steps < 10_000:
        return {"eval_every": max(steps // 4, 1), "summary_every": max(steps // 10, 1)}
    return {"eval_every": 10_000 if steps <= 100_000 else 20_000, "summary_every": 1000}


def build_config(**given: Any) -> ExperimentConfig:
    """Fills in what the papers fix and checks the result.

    Args:
      **given: fields of `ExperimentConfig` but `structure`, which `struct`, sizes and `prior` (a
        name or the path of a file of edges) decide. None for beta, eval_batchsize, eval_every,
        summary_every and sampler: as published; for sizes and prior: those of `struct`.

    Raises:
      UserError: one line on the first setting that is wrong.
    """
    fields = {name: SETTINGS[name].checked(value) for name, value in given.items()}
    fields = {name: value for name, value in fields.items() if value is not None}
    parts = {name: fields.pop(name) for name in STRUCTURAL if name in fields}
    config = ExperimentConfig(**fields)
    if config.has_own_data:
        config = dataclasses.replace(config, dataset=os.path.abspath(config.dataset))
    if config.struct in STRUCTURES:
        config = dataclasses.replace(config, structure=_structure(config.struct, **parts))
    # The names must be known before they can index a table.
    check_config(config)
    published = {
        "beta": published_sharpness(config.baseline, config.struct, config.dataset),
        "eval_batchsize": config.eval_batchsize
        if config.has_own_data
        else DATASETS[config.dataset].eval_batch_size,
        **_published_intervals(config.num_train_iter),
    }
    config = dataclasses.replace(config, **(published | fields))
    check_config(config)
    # Runs that were recorded with one are read all the same.
    _require(
        config.has_sharpness or config.beta == published["beta"],
        f"{config.baseline} has no {name_of('beta')}: leave it out",
    )
    return config
