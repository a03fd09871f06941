"""A training program in some state, and the same state for the reference step."""

from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

from configs.experiment import ExperimentConfig
from configs.registry import Structure
from data.dataset import Dataset
from dvae.adam import AdamState, unflatten
from dvae.train_step import TrainProgram
from tests.helpers import tiny_models
from tests.helpers.tiny_training import set_step, take_variables
from tests.reference.chains import Population
from tests.reference.rbm import ReferenceRBM
from tests.reference.training_step import Setting, State

# By the number of groups; one hidden layer, and two.
STRUCTURES = {1: Structure(1, 6, 1, 5), 2: Structure(2, 3, 2, 5), 4: Structure(4, 2, 1, 5)}
NUM_STEPS = 1000
# The steps before and after each boundary of the schedules, and the very first.
STEPS = (0, 19, 20, 299, 300, 599, 600, 749, 750, 949, 950)
# Where smoothing is far from both a step and a straight line.
SHARPNESS = dict(dvae_spike_exp=4.0, dvaepp_exp=5.0, dvaepp_power=3.0, dvaes_gi=6.5)
SHARPNESS |= dict(dvaes_gauss=8.0, dvaes_exp=5.0, dvaes_unexp=8.0, dvaes_power=3.0)
SHARPNESS |= dict(gumbolt=2.0, pwl=1.5, concrete=1.5, st=1.0, reinmax=1.0)
INDICES = np.array([[7, 2, 9, 0, 4, 10]])
GREY_UNIT = 1 / 16


def levels() -> np.ndarray:
    """Grey images of levels 0 to 16, whose fourth pixel is never lit."""
    images = np.random.default_rng(12).integers(0, 17, (tiny_models.NUM_IMAGES, 7))
    images[:, 3] = 0
    return np.uint8(images)


def dataset(grey: bool) -> Dataset:
    bits = tiny_models.images()
    bits[:, 3] = 0
    images = levels() if grey else bits
    return Dataset("tiny", images, GREY_UNIT if grey else 1.0, grey, bits, bits, (1, 7), "", "")


def config_of(baseline: str, groups: int, k: int, **fields) -> ExperimentConfig:
    """A run of 1000 steps, at a rate at which an update is no mere rounding."""
    values = dict(baseline=baseline, k=k, beta=SHARPNESS[baseline], structure=STRUCTURES[groups])
    values |= dict(input_size=tiny_models.NUM_PIXELS, train_batchsize=INDICES.size, seed=17)
    values |= dict(num_train_iter=NUM_STEPS, base_lr=3.0, num_chains=14, num_sweeps=2)
    return ExperimentConfig(**(values | fields))


def variables_of(program: TrainProgram) -> dict[str, keras.Variable]:
    """The weights by the names of the reference."""

    def network(name: str, layer) -> Iterator[tuple[str, keras.Variable]]:
        for i, dense in enumerate(layer.first):
            yield f"{name}/first{i}", dense.kernel
        for i, (norm, dense) in enumerate(zip(layer.norms, layer.rest, strict=True)):
            yield f"{name}/gamma{i}", norm.gamma
            yield f"{name}/beta{i}", norm.beta
            yield f"{name}/kernel{i}", dense.kernel
        yield f"{name}/bias", layer.bias

    model = program.model
    found = dict(network("decoder", model.decoder.network))
    for group, layer in enumerate(model.encoder.networks):
        found |= network(f"encoder{group}", layer)
    for group, raw in enumerate(getattr(model.encoder.posterior, "raw_scales", ())):
        found[f"raw_scale{group}"] = raw
    found |= model.prior.fields._asdict()
    assert {id(v) for v in found.values()} == {id(v) for v in program.trained}
    return found


def randomize(program: TrainProgram, step: int, seed: int = 3) -> None:
    """Weights, averages, slots and chains of a run at some step.

    Kernels before a batch norm are small, so that its epsilon counts; couplings are so large that
    mean field is far from its fixed point after five iterations; slots are of the size of the
    gradient, so that all of Adam's constants count.
    """
    rng = np.random.default_rng(seed)
    for name, variable in variables_of(program).items():
        scale = 0.15 if "first" in name else 2.5 if name == "coupling" else 0.7
        values = scale * rng.standard_normal(variable.shape)
        variable.assign(rng.uniform(0.4, 1.7, variable.shape) if "gamma" in name else values)
    for variable in program.model.non_trainable_variables:
        variable.assign(rng.uniform(0.4, 1.7, variable.shape))
    take_variables(program)
    set_step(program, step)
    state, shape = program.state.sampler, program.state.weights.shape
    first, second = 0.05 * rng.standard_normal(shape), 1e-5 * rng.uniform(0.1, 2.0, shape)
    slots = AdamState(
        tf.constant(step, tf.int64), *(tf.constant(slot, tf.float32) for slot in (first, second))
    )
    gradient = state.gradient
    chains = [np.float32(rng.random(half.shape) < 0.5) for half in gradient.chains]
    gradient = gradient._replace(chains=type(gradient.chains)(*map(tf.constant, chains)))
    if hasattr(gradient, "params"):
        old = [tf.constant(0.5 * p.numpy()) for p in program.model.prior.parameters()]
        log_weights = np.float32(0.5 * rng.standard_normal(len(chains[0])))
        log_weights = tf.constant(log_weights - np.log(np.mean(np.exp(log_weights))))
        gradient = gradient._replace(params=type(gradient.params)(*old), log_weights=log_weights)
    sampler = state._replace(gradient=gradient)
    program.state = program.state._replace(adam=slots, sampler=sampler)


def state_of(program: TrainProgram) -> State:
    """Everything that a step reads and writes, in float64."""
    weights = {name: np.float64(v.numpy()) for name, v in variables_of(program).items()}
    slots = program.state.adam
    pairs = zip(*(unflatten(slot, program.trained) for slot in slots[1:]), strict=True)
    by_id = {id(v): pair for v, pair in zip(program.trained, pairs, strict=True)}
    moments = {
        name: tuple(np.float64(slot) for slot in by_id[id(v)])
        for name, v in variables_of(program).items()
    }
    averages = {}
    networks = {"decoder": program.model.decoder.network}
    networks |= {f"encoder{i}": n for i, n in enumerate(program.model.encoder.networks)}
    for name, network in networks.items():
        for layer, norm in enumerate(network.norms):
            both = norm.moving_mean.numpy(), norm.moving_variance.numpy()
            averages[f"{name}/{layer}"] = tuple(np.float64(value) for value in both)
    chains = program.state.sampler.gradient
    states = np.float64(np.concatenate(chains.chains, axis=1))
    population = Population(states, np.zeros(len(states)), None, 0.0)
    if hasattr(chains, "params"):
        rbm = ReferenceRBM(*(np.float64(p) for p in chains.params))
        log_weights = np.float64(chains.log_weights)
        population = Population(states, log_weights, rbm, float(chains.log_partition))
    return State(program.state.step, weights, moments, averages, population)


def setting_of(config: ExperimentConfig, data: Dataset, **fields) -> Setting:
    structure = config.structure
    names = ("baseline", "k", "base_lr", "seed", "sampler", "num_sweeps")
    return Setting(
        **{name: getattr(config, name) for name in names},
        group_sizes=(structure.units_per_group,) * structure.num_groups,
        sharpness=config.beta,
        train_mean=np.float64(data.train_mean),
        num_steps=config.num_train_iter,
        threshold=config.resample_threshold,
        grey_unit=data.grey_unit if data.dynamic_binarization else None,
        **fields,
    )


def differences(before: State, found: State, expected: State) -> dict[str, float]:
    """Largest relative differences of a step's outcome: of slots, updates, averages and chains.

    Of each array, the largest difference over its largest number. Weights count by their change.
    """

    def worst(pairs) -> float:
        return max(float(np.max(np.abs(a - b)) / np.max(np.abs(b))) for a, b in pairs)

    names, both = list(before.weights), (found, expected)
    updates = [[state.weights[n] - before.weights[n] for n in names] for state in both]
    averages = [[part for n in before.averages for part in state.averages[n]] for state in both]
    chains, others = (state.population for state in both)
    return {
        "first moment": worst((found.moments[n][0], expected.moments[n][0]) for n in names),
        "second moment": worst((found.moments[n][1], expected.moments[n][1]) for n in names),
        "update": worst(zip(*updates, strict=True)),
        "averages": worst(zip(*averages, strict=True)),
        "chains": float(np.max(np.abs(chains.states - others.states))),
        "chain weights": worst([(chains.weights(), others.weights())]),
    }
