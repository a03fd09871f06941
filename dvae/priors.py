"""The prior over binary latents: the weights of an energy model.

log Z never appears in a training loss: that only needs its gradient, which comes from samples
(`log_partition_surrogate`); evaluation estimates its value apart (`samplers.log_partition`).
"""

import keras
import tensorflow as tf

from configs import graphs
from configs.registry import PRIORS, Structure, resolve
from dvae.adam import flatten
from samplers import hardware, rbm
from samplers.boltzmann import BoltzmannMachine
from samplers.energy_model import EnergyModel, Parameters, State, parameter_shapes

SAMPLE_SWEEPS = 1000


class Prior(keras.layers.Layer):
    """p(z) = exp(-E(z)) / Z over D binary latents; all weights start at zero.

    Weights are read once a step by `parameters` and passed on as tensors.
    """

    def __init__(self, energy_model: EnergyModel) -> None:
        super().__init__(dtype="float32")
        self.energy_model = energy_model
        shapes = parameter_shapes(energy_model)
        self._pack = type(shapes)
        self._in_order = [
            self.add_weight(shape=shape, initializer="zeros", name=name)
            for name, shape in zip(shapes._fields, shapes, strict=True)
        ]

    @property
    def fields(self) -> Parameters:
        """The variables, in the model's NamedTuple."""
        return self._pack(*self._in_order)

    def parameters(self) -> Parameters:
        """Their present values as tensors."""
        return self._pack(*map(tf.convert_to_tensor, self._in_order))

    def energy(self, params: Parameters, latents: tf.Tensor) -> tf.Tensor:
        """E(z) in nats, [N] from latents [N, D]; differentiable in both arguments."""
        return self.energy_model.energy(params, self.energy_model.state(latents))

    def samples(self, params: Parameters, chains: State, count: int, key: tf.Tensor) -> tf.Tensor:
        """`count` samples [count, D] of p(z): chains after `SAMPLE_SWEEPS` more sweeps.

        Above the number of chains several start as copies of one, which the sweeps part.
        """
        return _SWEPT(self.energy_model, params, chains, count, tf.constant(SAMPLE_SWEEPS), key)

    def decayed_variables(self) -> list[keras.Variable]:
        """What weight decay applies to: the couplings, not the biases."""
        return [v for v in self._in_order if v.name in self.energy_model.couplings]


def energy_model(structure: Structure) -> EnergyModel:
    """The energy model that a structure names, or has the edges of."""
    if structure.edges:
        return BoltzmannMachine(structure.num_latents, graphs.from_text(structure.edges))
    return resolve(PRIORS[structure.prior_kind])(structure)


def restricted(structure: Structure) -> rbm.RBM:
    """The prior of the papers: an RBM of two halves."""
    return rbm.equal_halves(structure.num_latents)


def independent(structure: Structure) -> BoltzmannMachine:
    """No couplings."""
    return BoltzmannMachine(structure.num_latents, ())


def complete(structure: Structure) -> BoltzmannMachine:
    """All pairs are coupled."""
    return BoltzmannMachine(structure.num_latents, graphs.complete(structure.num_latents))


def partite(structure: Structure) -> BoltzmannMachine:
    """`partite:N`: N parts of consecutive latents, all pairs of different parts coupled."""
    num_parts = graphs.argument(structure.prior)
    return BoltzmannMachine(structure.num_latents, graphs.partite(structure.num_latents, num_parts))


def _sweep(
    model: EnergyModel,
    params: Parameters,
    chains: State,
    count: int,
    num_sweeps: tf.Tensor,
    key: tf.Tensor,
) -> tf.Tensor:
    rows = tf.range(count) % tf.nest.flatten(chains)[0].shape[0]
    start = tf.nest.map_structure(lambda part: tf.gather(part, rows), chains)
    return model.units(model.sweeps(params, start, key, num_sweeps))


_SWEPT = hardware.Program(_sweep)


def log_partition_surrogate(
    model: EnergyModel, params: Parameters, chains: State, weights: tf.Tensor | None
) -> tf.Tensor:
    """A scalar whose gradient with respect to the prior's parameters estimates that of log Z.

    ∇ log Z = E_p[-∇E(z)], over chains with weights [C] that sum to one (None: equal): moments of
    the chains, since E is linear in the parameters. The value is the mean of -E, of no use as
    log Z. Biased as far as the chains are not samples of p(z).
    """
    moments = tf.nest.map_structure(tf.stop_gradient, model.moments(chains, weights))
    return tf.reduce_sum(flatten(params) * flatten(moments))
