"""The published settings of DVAE, DVAE++ and DVAE#, and the frozen configuration of one run.

Sources: DVAE# = Vahdat, Andriyash, Macready 2018 (arXiv 1805.07445), its supplement and the
behaviour of its command line. Everything here is data: no mathematics beyond schedules' bounds.
"""

import dataclasses
import math
from pathlib import Path
from typing import Any

from configs.errors import UserError
from configs.registry import (
    BASELINES,
    DECODERS,
    ENCODERS,
    LIKELIHOODS,
    PRIORS,
    SAMPLERS,
)


@dataclasses.dataclass(frozen=True)
class Structure:
    """Shape of a model: latent groups sampled in turn, and the networks between them."""

    num_groups: int
    units_per_group: int
    num_hidden_layers: int  # of each group's encoder network and of the decoder
    hidden_units: int = 200
    # Names of `configs.registry`.
    encoder: str = "dense"
    decoder: str = "dense"
    likelihood: str = "bernoulli"
    prior: str = "rbm"

    @property
    def num_latents(self) -> int:
        """Number of binary latents D over all groups; the RBM prior is D/2 x D/2."""
        return self.num_groups * self.units_per_group


STRUCTURES = {
    "1-layer-lin": Structure(1, 200, 0),
    "1-layer-nonlin": Structure(1, 200, 2),
    "2-layer-nonlin": Structure(2, 200, 2),
    "4-layer-nonlin": Structure(4, 100, 2),
}

DATASETS = ("binarized_mnist", "omniglot", "digits")
EVAL_BATCH_SIZE = {"binarized_mnist": 1000, "omniglot": 269}

# Learning rate as (until this fraction of the run, divisor of the base rate).
LEARNING_RATE_STAGES = ((0.02, 10.0), (0.60, 1.0), (0.75, 3.0), (0.95, 10.0), (1.0, 33.0))
KL_WARMUP_FRACTION = 0.3
ADAM = {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-3}
BATCH_NORM = {"momentum": 0.8, "epsilon": 1e-2}
KERNEL_INIT_GAIN = 1.3 * 2.0  # stddev = sqrt(gain / fan_in), truncated at two of them
WEIGHT_DECAY = 1e-4
MEAN_CLIP = (0.001, 0.999)  # of the training mean, before its logit becomes the decoder's offset
# Smoothing. ρ^30..ρ^40 underflows in float32: about half of the draws of power smoothing fall below
# this constant, at which density and distribution function are evaluated. It acts as a
# hyperparameter.
POWER_OFFSET = 1e-7
UNIFORM_SHARE = 0.05  # ε of uniform + exponential
# Clips of q, as published.
SPIKE_CLIP = 1e-7  # without it q = 0 divides 0 by 0, and saturated units go on to have gradients
SHIFTED_Q_CLIP = 1e-4  # log q(ζ) of a latent far from the mean of a sure unit falls no further
SPIKE_LOGIT_CLIP = (
    88.0  # bounds what a sure unit adds to the logged value; its gradient is 0 anyway
)
SPIKE_Q_CLIP = 0.999  # bounds the weight 1 / (1 - q) of a left unit that was drawn 0
# Relaxed priors of DVAE#.
MEAN_FIELD_ITERATIONS = 5
LAMBDA_MARGIN = 5.0  # λ = max(σ_max(W) + this, β)

# Undirected posteriors (Vahdat, Andriyash, Macready 2019, arXiv 1901.03440).
COUPLING_NORM = {"momentum": 0.99, "epsilon": 1e-2}  # batch norm of the couplings
COUPLING_SCALE = 1.5  # of the normalised couplings, over the root of the units of a half
POSTERIOR_SCALE = 2.0  # t: inverse temperature of the posterior's spins
POSTERIOR_SWEEPS = 10  # of each image's chains in a training step
POSTERIOR_TEMPERATURES = 500  # of the AIS that samples a posterior in evaluation
# Modes of a posterior: iterations of mean field, rounding of its means, and the samples that a
# mode must have more than.
MODE_ITERATIONS, MODE_ROUNDING, MODE_HITS = 40, 0.01, 5

SELECTION_SAMPLES = 100  # importance samples of the evaluations during training


@dataclasses.dataclass(frozen=True)
class ExperimentConfig:
    """Everything that decides the numbers of a run. Built and checked by `build_config`."""

    dataset: str = "binarized_mnist"
    struct: str = "2-layer-nonlin"
    baseline: str = "dvaes_power"
    k: int = 1
    sampler: str = "pa"  # of the gradient of log Z, a name of `configs.registry.SAMPLERS`
    sharpness: float = 30.0
    seed: int = 0
    num_train_iter: int = 1_000_000
    train_batchsize: int = 100
    eval_batchsize: int = 1000
    eval_iw_samples: int = 4000
    eval_every: int = 20_000
    summary_every: int = 1000
    base_lr: float = 3e-3
    input_size: int = 784
    num_chains: int = 1000
    num_sweeps: int = 40
    resample_threshold: float = 1.0
    log_z_population: str = "shared"
    log_z_chains: int = 1000
    ais_chains: int = 1024
    ais_temperatures: int = 1000
    ais_base: str = "uniform"
    structure: Structure = STRUCTURES["2-layer-nonlin"]

    def run_directory(self, log_dir: str | Path) -> Path:
        """LOG_DIR/<dataset>/<struct>/<baseline>/<k>/<sampler, β, seed>."""
        leaf = f"{self.sampler}_beta{self.sharpness:g}_seed{self.seed}"
        return (
            Path(log_dir)
            / Path(self.dataset).name
            / self.struct
            / self.baseline
            / str(self.k)
            / leaf
        )

    def to_json(self) -> dict[str, Any]:
        """A JSON object from which `from_json` makes an equal configuration."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, record: Any) -> "ExperimentConfig":
        """The inverse of `to_json`. Raises UserError when the record does not fit."""
        try:
            structure = Structure(**_typed(Structure, dict(record["structure"])))
            fields = {name: value for name, value in record.items() if name != "structure"}
            if "population_annealing" in fields:  # what runs before the registry recorded
                fields["sampler"] = "pa" if fields.pop("population_annealing") else "pcd"
            config = cls(**_typed(cls, fields), structure=structure)
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
        allowed = (int, float) if types[name] is float else types[name]
        if isinstance(value, bool) != (types[name] is bool) or not isinstance(value, allowed):
            raise TypeError(f"{name} is {value!r}, not of type {types[name].__name__}")
    return values


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise UserError(message)


_POSITIVE = (
    "num_train_iter train_batchsize eval_batchsize eval_iw_samples eval_every summary_every "
    "input_size num_chains num_sweeps ais_chains ais_temperatures log_z_chains k"
).split()
_STEPS = "num_train_iter eval_every summary_every".split()
# Steps are counted in 32 bits. Sizes beyond these fit into no machine's memory.
MAX_STEPS, MAX_SIZE = 2**31 - 1, 10**7


def check_config(config: ExperimentConfig) -> None:
    """Raises UserError with one line on the first thing that is wrong."""

    def one_of(name: str, allowed: Any) -> None:
        value = getattr(config, name)
        _require(
            value in allowed, f"--{name}={value} is unknown; choose one of: {', '.join(allowed)}"
        )

    one_of("baseline", BASELINES)
    one_of("sampler", SAMPLERS)
    one_of("struct", tuple(STRUCTURES))
    if not config.dataset.endswith(".npz"):
        _require(
            config.dataset in DATASETS,
            f"--dataset={config.dataset} is unknown; choose one of: {', '.join(DATASETS)}, "
            "or the path of an .npz file",
        )
    one_of("ais_base", ("uniform", "fitted"))
    one_of("log_z_population", ("shared", "separate", "none"))
    _require(
        math.isfinite(config.sharpness) and config.sharpness > 0,
        f"--beta={config.sharpness:g} must be positive; leave it out for the published value",
    )
    least = BASELINES[config.baseline].least_sharpness
    _require(
        config.sharpness > least,
        f"--beta={config.sharpness:g} must exceed {least:g} for {config.baseline}",
    )
    _require(
        math.isfinite(config.base_lr) and config.base_lr > 0,
        f"--base_lr={config.base_lr:g} must be a positive number",
    )
    least_k = BASELINES[config.baseline].least_k
    _require(
        config.k >= least_k, f"--k={config.k} must be at least {least_k} for {config.baseline}"
    )
    most_groups = BASELINES[config.baseline].most_groups
    _require(
        most_groups is None or config.structure.num_groups <= most_groups,
        f"{config.baseline} knows models of one latent group only: choose --struct=1-layer-lin or "
        "1-layer-nonlin",
    )
    for name in _POSITIVE:
        value = getattr(config, name)
        _require(value >= 1, f"--{name}={value} must be at least 1")
        most = MAX_STEPS if name in _STEPS else MAX_SIZE
        _require(value <= most, f"--{name}={value} must be at most {most}")
    _check_structure(config.structure)
    _require(0 <= config.seed < 2**31, f"--seed={config.seed} must lie in [0, 2^31)")
    _require(
        0.0 < config.resample_threshold <= 1.0,
        f"--resample_threshold={config.resample_threshold:g} must lie in (0, 1]",
    )


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
        name = getattr(structure, part)
        _require(name in known, f"{part} {name} is unknown; choose one of: {', '.join(known)}")


def build_config(
    *,
    beta: float | None = None,
    eval_batchsize: int | None = None,
    eval_every: int | None = None,
    **fields: Any,
) -> ExperimentConfig:
    """Fills in what the papers fix and checks the result.

    Args:
      beta: sharpness of the smoothing, or None for the published one.
      eval_batchsize: images per evaluation batch, or None for the published one.
      eval_every: steps between evaluations, or None for the published interval.
      **fields: other fields of `ExperimentConfig`.

    Raises:
      UserError: one line on the first setting that is wrong.
    """
    optional = {"sharpness": beta, "eval_batchsize": eval_batchsize, "eval_every": eval_every}
    given = {name: value for name, value in optional.items() if value is not None}
    try:
        config = ExperimentConfig(**_typed(ExperimentConfig, fields))
        _typed(ExperimentConfig, given)
    except TypeError as error:
        raise UserError(f"{error}") from None
    if config.struct in STRUCTURES:
        config = dataclasses.replace(config, structure=STRUCTURES[config.struct])
    # The names must be known before they can index a table.
    check_config(config)
    if beta is None:
        beta = BASELINES[config.baseline].published_sharpness(config.dataset, config.struct)
    if eval_batchsize is None:
        eval_batchsize = EVAL_BATCH_SIZE.get(config.dataset, 1000)
    if eval_every is None:
        eval_every = 10_000 if config.num_train_iter <= 100_000 else 20_000
    config = dataclasses.replace(
        config,
        sharpness=float(beta),
        eval_batchsize=eval_batchsize,
        eval_every=eval_every,
    )
    check_config(config)
    return config
