"""The grids of Tables 1 and 2 of DVAE# (arXiv 1805.07445), and the values it reports, as data.

The values are an unverified transcription (`PUBLISHED_STATUS`): whatever shows them says so.
"""

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

from configs.datasets import DATASETS
from configs.registry import BASELINES, STRUCTURES

PUBLISHED_RUNS = 5  # runs behind each published mean and standard deviation
UNVERIFIED = "unverified"  # the mark beside each published value


class Setting(NamedTuple):
    """One cell of a table: everything of a run that the tables vary, but its seed."""

    dataset: str
    struct: str
    k: int
    baseline: str
    sampler: str
    prior: str = "rbm"


class Grid(NamedTuple):
    """The settings of a table, as the product of its axes, and the seeds of each."""

    datasets: tuple[str, ...]
    structs: tuple[str, ...]
    ks: tuple[int, ...]
    baselines: tuple[str, ...]
    samplers: tuple[str, ...]
    seeds: tuple[int, ...]
    priors: tuple[str, ...] = ("rbm",)

    def settings(self) -> Iterator[Setting]:
        """All settings, in the order of the published table, but those that a method lacks."""
        axes = (self.datasets, self.structs, self.ks, self.baselines, self.samplers, self.priors)
        return (s for s in (Setting(*values) for values in product(*axes)) if _is_defined(s))


def _is_defined(setting: Setting) -> bool:
    """Whether a method has a setting; True for unknown names, which run.py refuses."""
    method, struct = BASELINES.get(setting.baseline), STRUCTURES.get(setting.struct)
    if method is None or struct is None:
        return True
    return method.is_defined(struct.num_groups, setting.k)


_KS = (1, 5, 25)
_SEEDS = tuple(range(PUBLISHED_RUNS))


class Published(NamedTuple):
    """Mean and standard deviation of a published test NLL over `PUBLISHED_RUNS` runs, in nats."""

    mean: float
    deviation: float


def _read() -> dict[str, Any]:
    return json.loads(Path(__file__).with_name("published.json").read_text(encoding="utf-8"))


_RECORD = _read()
PUBLISHED_STATUS = str(_RECORD["status"])
# What Table 1 compares, whatever else can be chosen by now.
PUBLISHED_BASELINES = tuple(_RECORD["columns"])
_PUBLISHED_DATASETS = tuple(name for name in DATASETS if name in _RECORD)
_PUBLISHED_STRUCTS = tuple(_RECORD[_PUBLISHED_DATASETS[0]])
_PUBLISHED_SAMPLER = "pa"

TABLES = {
    # The comparison of all baselines, under population annealing.
    1: Grid(
        _PUBLISHED_DATASETS,
        _PUBLISHED_STRUCTS,
        _KS,
        PUBLISHED_BASELINES,
        (_PUBLISHED_SAMPLER,),
        _SEEDS,
    ),
    # Population annealing against PCD.
    2: Grid(_PUBLISHED_DATASETS, _PUBLISHED_STRUCTS, _KS, ("dvaes_power",), ("pa", "pcd"), _SEEDS),
    # The methods beyond DVAE# beside the published ones: no table of that paper.
    3: Grid(
        _PUBLISHED_DATASETS[:1],
        ("1-layer-nonlin", "2-layer-nonlin"),
        (1, 5),
        tuple(name for name in BASELINES if name != "exact"),
        (_PUBLISHED_SAMPLER,),
        (0,),
    ),
}


def published_value(setting: Setting) -> Published | None:
    """What Table 1 of DVAE# reports for a setting, or None where it reports nothing."""
    if setting.sampler != _PUBLISHED_SAMPLER or setting.baseline not in PUBLISHED_BASELINES:
        return None
    if setting.prior != "rbm":
        return None
    if setting.dataset not in _PUBLISHED_DATASETS:
        return None
    row = _RECORD[setting.dataset].get(setting.struct, {}).get(str(setting.k))
    if row is None:
        return None
    return Published(*row[PUBLISHED_BASELINES.index(setting.baseline)])
