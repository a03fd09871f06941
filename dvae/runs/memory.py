"""The memory that a run takes at least, from its configuration alone: held against what is free.

Only what grows with a setting is counted (weights, chains, rows of a batch), in float32; the
compiler's copies and TensorFlow itself (about 1 GiB) are not. So nothing that could run is refused.
"""

import math

import tensorflow as tf

from configs import memory
from configs.errors import name_of
from configs.experiment import ExperimentConfig
from configs.registry import Structure
from data.dataset import Dataset
from dvae.priors import energy_model
from samplers.energy_model import parameter_shapes

_FLOAT = 4
# Copies of the weights: the variables, one vector of them, its gradient, and Adam's two moments.
_TRAINED, _READ = 5, 2
_CHAIN_COPIES = 3  # a state, the one after it, and the fields between them
_ROW_COPIES = 2  # what a layer gives, and its gradient
_LAYER_BYTES = 20_000  # of the objects of one layer in Python and in the graph
_GPU_BYTES = 288 << 30  # the most that one has
_SIZES = "choose a smaller model or batch: " + ", ".join(
    map(name_of, ("struct", "train_batchsize", "k", "num_chains"))
)
_DAMAGED = "free some; if no such model was trained, its config.json is damaged"
_MEASURING = f"choose smaller {name_of('ais_chains')} or {name_of('eval_batchsize')}"


def _network(inputs: int, count: int, s: Structure, outputs: int) -> int:
    """Weights of `count` networks with `inputs` input units in all and `outputs` each."""
    if s.num_hidden_layers == 0:
        return inputs * outputs + count * outputs
    inner = (s.num_hidden_layers - 1) * s.hidden_units**2 + s.hidden_units * outputs
    return inputs * s.hidden_units + count * (inner + outputs)


def _weights(config: ExperimentConfig) -> int:
    s, pixels = config.structure, config.input_size
    groups, units = s.num_groups, s.units_per_group
    inputs = groups * pixels + units * (groups * (groups - 1) // 2)
    shapes = parameter_shapes(energy_model(s))
    prior = sum(math.prod(shape) for shape in shapes)
    networks = _network(inputs, groups, s, units) + _network(s.num_latents, 1, s, pixels)
    return networks + prior


def _floats_of_row(config: ExperimentConfig) -> int:
    """Numbers that encoder and decoder keep of one image and sample."""
    s = config.structure
    hidden = (s.num_groups + 1) * s.num_hidden_layers * s.hidden_units
    return hidden + 2 * s.num_latents + config.input_size


def _model_bytes(config: ExperimentConfig, copies: int) -> int:
    s = config.structure
    layers = (s.num_groups + 1) * (s.num_hidden_layers + 1) * _LAYER_BYTES
    chains = config.num_chains + config.log_z_chains * (config.log_z_population == "separate")
    floats = copies * _weights(config) + _CHAIN_COPIES * chains * s.num_latents
    return layers + _FLOAT * floats


def _ais_bytes(config: ExperimentConfig) -> int:
    chains = config.ais_chains * config.structure.num_latents
    return _FLOAT * (_CHAIN_COPIES * chains + config.ais_temperatures)


def _require(needed: int, what: str, remedy: str) -> None:
    gpus = tf.config.list_physical_devices("GPU")
    memory.require(needed, what, remedy, beside=_GPU_BYTES * len(gpus))


def check_training(config: ExperimentConfig, dataset: Dataset) -> None:
    """Raises UserError when a run takes more memory than is free."""
    rows = config.train_batchsize * config.k
    evaluated = min(config.eval_batchsize, max(len(dataset.validation), len(dataset.test)))
    in_steps = _ROW_COPIES * rows * _floats_of_row(config)
    in_evaluation = evaluated * _floats_of_row(config)
    needed = _model_bytes(config, _TRAINED) + dataset.train.nbytes
    needed += max(_FLOAT * in_steps, _FLOAT * in_evaluation, _ais_bytes(config))
    _require(needed, f"this run ({config.structure_name}, {rows} rows a step)", _SIZES)


def check_loading(config: ExperimentConfig, path: object) -> None:
    """Raises UserError when a run's model takes more memory than is free."""
    _require(_model_bytes(config, _READ), f"the model of {path}", _DAMAGED)


def check_measuring(config: ExperimentConfig) -> None:
    """Raises UserError when log Z takes more memory than is free."""
    _require(_ais_bytes(config), f"AIS with {config.ais_chains} chains", _MEASURING)


def check_images(config: ExperimentConfig, count: int) -> None:
    """Raises UserError when so many images with their latents take more memory than are free."""
    floats = count * (config.structure.num_latents + config.input_size)
    _require(_FLOAT * floats, f"{count} images", "ask for fewer at once")
