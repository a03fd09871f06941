"""Small restricted Boltzmann machines by enumeration in float64: the independent route.

Nothing of the project is imported here or in the modules beside it, and no TensorFlow:
every quantity is a plain sum over all 2^D states, or finite differences of one, so that a formula
of the code is never checked against itself.

    rbm               RBMs: log Z, moments, gradients, Gibbs transition matrices
    graph             Boltzmann machines on any graph
    smoothing         r(ζ|z): densities, CDFs, samplers, mixtures, quadratures
    prior             log p(ζ) of the relaxed priors
    kl                KL(q(z,ζ|x) || p(z) r(ζ|z)) and its gradient
    vae               whole tiny VAEs and their networks in evaluation mode
    score_functions   estimators of binary models at given samples
    enumeration       objectives of binary models and their gradients
    counter_random    the program's random numbers
    chains            a step of the prior's chains
    relaxation        posteriors and KL terms of one batch, for derivatives by complex step
    straight          relaxed bits that stand for bits, for the same
    training_step     a whole training step: networks, objective, gradient, Adam
    undirected        an undirected posterior and a step along it

E(z) = -(a·z_L + b·z_R + z_L' W z_R), p(z) = exp(-E(z)) / Z. All log quantities are in nats.
"""

from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit, log_expit, logsumexp

MAX_UNITS = 16


def all_states(num_units):
    """All binary vectors [2^num_units, num_units] in counting order, the first unit slowest."""
    if num_units > MAX_UNITS:
        raise ValueError(f"{num_units} units are too many to enumerate (at most {MAX_UNITS})")
    counts = np.arange(2**num_units)[:, None]
    return (counts >> np.arange(num_units)[::-1] & 1).astype(np.float64)


def bernoulli_log_probability(states, logits):
    """Log probability of binary states under independent units, summed over the last axis."""
    return np.sum(states * log_expit(logits) + (1 - states) * log_expit(-logits), axis=-1)


def numerical_gradient(function, arrays, step=1e-3):
    """Gradient of a function of a list of arrays by the five-point stencil (error step^4).

    A value of shape S gives, for each argument, an array of shape argument.shape + S.
    """
    arrays = [np.array(array, dtype=np.float64) for array in arrays]
    gradients = []
    for array in arrays:
        slopes = []
        for index in np.ndindex(array.shape):
            kept, values = array[index], []
            for multiple in (-2, -1, 1, 2):
                array[index] = kept + multiple * step
                values.append(np.asarray(function(arrays), dtype=np.float64))
            array[index] = kept
            far_low, low, high, far_high = values
            slopes.append((8 * (high - low) - (far_high - far_low)) / (12 * step))
        gradients.append(np.reshape(slopes, array.shape + np.shape(slopes)[1:]))
    return gradients


class ReferenceModel:
    """E(z) = -(b·z + Σ w_ij z_i z_j): `bias` [D] and `edges` (i, j), of which each has a coupling.

    `names`: of the fields that are parameters, biases first; states are [..., D].
    """

    @property
    def parameters(self):
        return [getattr(self, name) for name in self.names]

    def replaced(self, parameters):
        """The model at other parameters."""
        return replace(self, **dict(zip(self.names, parameters, strict=True)))

    def scaled(self, inverse_temperature):
        """The model with all energies multiplied by inverse_temperature."""
        return self.replaced([inverse_temperature * parameter for parameter in self.parameters])

    def between(self, base, temperature):
        """On the way from independent units with log odds `base` [D], energies mixed linearly."""
        starts = np.split(base, np.cumsum([len(part) for part in self.parameters[:-2]]))
        pairs = zip((*starts, 0.0), self.parameters, strict=True)
        return self.replaced([(1 - temperature) * a + temperature * b for a, b in pairs])

    def matrix(self):
        """Couplings [D, D], symmetric with a zero diagonal."""
        matrix, (first, second) = np.zeros([len(self.bias)] * 2), np.transpose(self.edges)
        matrix[first, second] = matrix[second, first] = np.ravel(self.coupling)
        return matrix

    def states(self):
        """All states [2^D, D], the first unit slowest."""
        return all_states(len(self.bias))

    def features(self, states):
        """Units and the products along the edges, [..., D + M]: the energy is linear in them."""
        first, second = np.transpose(self.edges)
        return np.concatenate([states, states[..., first] * states[..., second]], axis=-1)

    def energy(self, states):
        """E(z), [...]; at means, the mean energy of independent units."""
        return -self.features(states) @ np.concatenate([np.ravel(p) for p in self.parameters])

    def log_partition(self):
        return float(logsumexp(-self.energy(self.states())))

    def log_probability(self, states):
        return -self.energy(states) - self.log_partition()

    def probabilities(self):
        """p(z) of all states in the order of `states()`, [2^D]."""
        return np.exp(self.log_probability(self.states()))

    def moments(self):
        """Means of `features` under p(z), [D + M]: the gradient of log Z, parameters in order."""
        return self.probabilities() @ self.features(self.states())

    def means(self):
        """E[z], [D]."""
        return self.moments()[: len(self.bias)]

    def sample(self, rng, num_samples):
        """Independent exact samples [num_samples, D]."""
        states = self.states()
        return states[rng.choice(len(states), size=num_samples, p=self.probabilities())]


@dataclass(frozen=True)
class ReferenceRBM(ReferenceModel):
    """left_bias a [L], right_bias b [R], coupling W [L, R]; states [..., L+R], left units first.

    Row of a state in `states()`: left_index * 2^R + right_index.
    """

    left_bias: np.ndarray
    right_bias: np.ndarray
    coupling: np.ndarray
    names = ("left_bias", "right_bias", "coupling")

    @property
    def num_left(self):
        return len(self.left_bias)

    @property
    def bias(self):
        """Both biases, [D]."""
        return np.concatenate([self.left_bias, self.right_bias])

    @property
    def edges(self):
        """In the order of the raveled coupling."""
        left, right = np.indices(self.coupling.shape).reshape(2, -1)
        return np.column_stack([left, self.num_left + right])

    @property
    def classes(self):
        """The halves in the order in which mean field updates them."""
        left, right = np.split(np.arange(len(self.bias)), [self.num_left])
        return right, left

    def left_log_weights(self):
        """Log of the sum over z_R of exp(-E), for all z_L in counting order, [2^L]."""
        return logsumexp(-self.energy(self.states()).reshape(2**self.num_left, -1), axis=1)

    def sweep_matrix(self, inverse_temperature=1.0):
        """Transition matrix [2^D, 2^D] (row = from) of one block-Gibbs sweep.

        z_L ~ p(z_L | z_R) first, then z_R ~ p(z_R | the new z_L). The conditionals are ratios of
        joint probabilities, not sigmoids.
        """
        joint = self.scaled(inverse_temperature).probabilities().reshape(2**self.num_left, -1)
        left_given_right = joint / joint.sum(axis=0)
        right_given_left = joint / joint.sum(axis=1, keepdims=True)
        from_right = left_given_right.T[:, :, None] * right_given_left[None, :, :]
        return np.tile(from_right.reshape(joint.shape[1], -1), (joint.shape[0], 1))


def random_rbm(num_left, num_right, seed, bias_scale=1.0, coupling_scale=1.5):
    """A dense, asymmetric RBM whose biases have both signs wherever a half has two units or more.

    The values are rounded to float32, so that code in single precision gets exactly the same RBM.
    """
    rng = np.random.default_rng(seed)

    def bias(size):
        signs = rng.permutation(np.where(np.arange(size) % 2, -1.0, 1.0))
        return bias_scale * signs * rng.uniform(0.3, 1.3, size=size)

    coupling = coupling_scale * rng.standard_normal((num_left, num_right))
    parameters = (bias(num_left), bias(num_right), coupling)
    return ReferenceRBM(*(np.float64(np.float32(parameter)) for parameter in parameters))


def factorial_kl(rbm, logits):
    """KL(q || p) of independent units with logits [D] from the RBM, by enumeration."""
    log_q = bernoulli_log_probability(rbm.states(), logits)
    return float(np.sum(np.exp(log_q) * (log_q - rbm.log_probability(rbm.states()))))


def factorial_kl_gradient(rbm, logits):
    """Gradient of `factorial_kl` by the logits, and by a, b and W in one, as sums over all states.

    Logits: E_q[(z - q) (log q - log p)], the score's own mean being zero. Prior: gradient of
    log Z less E_q of the sufficient statistics.
    """
    states = rbm.states()
    log_q = bernoulli_log_probability(states, logits)
    q = np.exp(log_q)
    by_logits = q * (log_q - rbm.log_probability(states)) @ (states - expit(logits))
    return by_logits, rbm.moments() - q @ rbm.features(states)
