"""Small restricted Boltzmann machines by enumeration in float64: the independent route.

Nothing of the project is imported here or in the modules beside it, and no TensorFlow:
every quantity is a plain sum over all 2^D states, or finite differences of one, so that a formula
of the code is never checked against itself.

    rbm               RBMs: log Z, moments, gradients, Gibbs transition matrices
    graph             Boltzmann machines on any graph
    smoothing         r(ζ|z): densities, CDFs, samplers, mixtures, quadratures
    prior             log p(ζ) of the relaxed priors
    shifted_gaussian  the shifted Gaussian mixture of the Gaussian-integral baseline
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

from dataclasses import dataclass

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


@dataclass(frozen=True)
class ReferenceRBM:
    """left_bias a [L], right_bias b [R], coupling W [L, R]; states [N, L+R], left units first."""

    left_bias: np.ndarray
    right_bias: np.ndarray
    coupling: np.ndarray

    @property
    def parameters(self):
        return [self.left_bias, self.right_bias, self.coupling]

    @property
    def num_left(self):
        return len(self.left_bias)

    @property
    def bias(self):
        """Both biases, [D]."""
        return np.concatenate([self.left_bias, self.right_bias])

    def halves(self, states):
        """Left and right units of states [..., D]."""
        return states[..., : self.num_left], states[..., self.num_left :]

    def states(self):
        """All states [2^D, D]; left index slowest: row = left_index * 2^R + right_index."""
        return all_states(len(self.bias))

    def energy(self, states):
        """E(z) of states [..., D], shape [...]."""
        left, right = self.halves(states)
        bilinear = np.einsum("...i,ij,...j->...", left, self.coupling, right)
        return -(left @ self.left_bias + right @ self.right_bias + bilinear)

    def log_partition(self):
        return float(logsumexp(-self.energy(self.states())))

    def log_probability(self, states):
        """Log p(z) of states [..., D]."""
        return -self.energy(states) - self.log_partition()

    def probabilities(self):
        """p(z) of all states in the order of `states()`, [2^D]."""
        return np.exp(self.log_probability(self.states()))

    def means(self):
        """E[z], [D]."""
        return self.probabilities() @ self.states()

    def log_partition_gradient(self):
        """Gradient of log Z with respect to a, b and W: E[z_L], E[z_R], E[z_L z_R']."""
        p, (left, right) = self.probabilities(), self.halves(self.states())
        return [p @ left, p @ right, np.einsum("n,ni,nj->ij", p, left, right)]

    def left_log_weights(self):
        """Log of the sum over z_R of exp(-E), for all z_L in counting order, [2^L]."""
        return logsumexp(-self.energy(self.states()).reshape(2**self.num_left, -1), axis=1)

    def scaled(self, inverse_temperature):
        """The RBM with all energies multiplied by inverse_temperature."""
        return ReferenceRBM(*(inverse_temperature * parameter for parameter in self.parameters))

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

    def sample(self, rng, num_samples):
        """Independent exact samples [num_samples, D]."""
        states = self.states()
        return states[rng.choice(len(states), size=num_samples, p=self.probabilities())]


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
    """Gradient of `factorial_kl` with respect to logits, a, b and W, as sums over all states.

    Logits: E_q[(z - q) (log q - log p)], the score's own mean being zero. Prior: gradient of
    log Z less E_q of the sufficient statistics.
    """
    states = rbm.states()
    log_q, (left, right) = bernoulli_log_probability(states, logits), rbm.halves(states)
    q = np.exp(log_q)
    under_q = [q @ left, q @ right, np.einsum("n,ni,nj->ij", q, left, right)]
    by_prior = [p - own for p, own in zip(rbm.log_partition_gradient(), under_q, strict=True)]
    return [q * (log_q - rbm.log_probability(states)) @ (states - expit(logits)), *by_prior]
