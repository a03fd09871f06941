"""Small restricted Boltzmann machines by enumeration in float64: the independent route.

Nothing of the project is imported here or in the modules beside it, and no TensorFlow:
every quantity is a plain sum over all 2^D states, or finite differences of one, so that a formula
of the code is never checked against itself.

    rbm               RBMs: log Z, moments, gradients, Gibbs transition matrices
    smoothing         r(ζ|z): densities, CDFs, samplers, mixtures, quadratures
    implicit          dζ/dq and the like by inverting CDFs at a fixed percentile
    prior             log p(ζ) of the relaxed priors
    shifted_gaussian  the shifted Gaussian mixture of the Gaussian-integral baseline
    kl                the KL terms of the baselines and their gradients
    vae               whole tiny VAEs and their networks in evaluation mode
    counter_random    the program's random numbers
    chains            a step of the prior's chains
    relaxation        posteriors and KL terms of one batch, for derivatives by complex step
    training_step     a whole training step: networks, objective, gradient, Adam

E(z) = -(a·z_L + b·z_R + z_L' W z_R), p(z) = exp(-E(z)) / Z. All log quantities are in nats.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.special import expit, log_expit, logsumexp

MAX_UNITS = 16


def all_states(num_units: int) -> np.ndarray:
    """All binary vectors [2^num_units, num_units] in counting order, the first unit slowest."""
    if num_units > MAX_UNITS:
        raise ValueError(f"{num_units} units are too many to enumerate (at most {MAX_UNITS})")
    counts = np.arange(2**num_units)[:, None]
    return (counts >> np.arange(num_units)[::-1] & 1).astype(np.float64)


def bernoulli_log_probability(states: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Log probability of binary states under independent units, summed over the last axis."""
    return np.sum(states * log_expit(logits) + (1 - states) * log_expit(-logits), axis=-1)


def numerical_gradient(
    function: Callable[[list[np.ndarray]], float | np.ndarray],
    arrays: Sequence[np.ndarray],
    step: float = 1e-3,
) -> list[np.ndarray]:
    """Gradient of a function of a list of arrays by the five-point stencil (error step^4).

    A function with a scalar value gives one array of the shape of each argument; a value of
    shape S gives arrays of shape argument.shape + S.
    """
    arrays = [np.array(array, dtype=np.float64) for array in arrays]
    gradients = []
    for array in arrays:
        columns = []
        for index in np.ndindex(array.shape):
            kept = array[index]
            values = []
            for multiple in (-2, -1, 1, 2):
                array[index] = kept + multiple * step
                values.append(np.asarray(function(arrays), dtype=np.float64))
            array[index] = kept
            far_low, low, high, far_high = values
            columns.append((8 * (high - low) - (far_high - far_low)) / (12 * step))
        shape = array.shape + (columns[0].shape if columns else ())
        gradients.append(np.reshape(columns, shape))
    return gradients


@dataclass(frozen=True)
class ReferenceRBM:
    """left_bias a [L], right_bias b [R], coupling W [L, R]; states [N, L+R], left units first."""

    left_bias: np.ndarray
    right_bias: np.ndarray
    coupling: np.ndarray

    @property
    def parameters(self) -> list[np.ndarray]:
        """Biases and coupling in the order of the constructor."""
        return [self.left_bias, self.right_bias, self.coupling]

    @property
    def num_left(self) -> int:
        """Number of units of the left half."""
        return len(self.left_bias)

    @property
    def num_units(self) -> int:
        """Number of units of both halves, D."""
        return len(self.left_bias) + len(self.right_bias)

    @property
    def bias(self) -> np.ndarray:
        """Both biases, [D]."""
        return np.concatenate([self.left_bias, self.right_bias])

    def states(self) -> np.ndarray:
        """All states [2^D, D]; left index slowest: row = left_index * 2^R + right_index."""
        return all_states(self.num_units)

    def energy(self, states: np.ndarray) -> np.ndarray:
        """E(z) of states [..., D], shape [...]."""
        left, right = states[..., : self.num_left], states[..., self.num_left :]
        bilinear = np.einsum("...i,ij,...j->...", left, self.coupling, right)
        return -(left @ self.left_bias + right @ self.right_bias + bilinear)

    def log_partition(self) -> float:
        """Log Z in nats."""
        return float(logsumexp(-self.energy(self.states())))

    def log_probability(self, states: np.ndarray) -> np.ndarray:
        """Log p(z) of states [..., D]."""
        return -self.energy(states) - self.log_partition()

    def probabilities(self) -> np.ndarray:
        """p(z) of all states in the order of `states()`, [2^D]."""
        return np.exp(self.log_probability(self.states()))

    def means(self) -> np.ndarray:
        """E[z], [D]."""
        return self.probabilities() @ self.states()

    def left_right_moment(self) -> np.ndarray:
        """E[z_L z_R'], [L, R] (not centred)."""
        states = self.states()
        left, right = states[:, : self.num_left], states[:, self.num_left :]
        return np.einsum("n,ni,nj->ij", self.probabilities(), left, right)

    def log_partition_gradient(self) -> list[np.ndarray]:
        """Gradient of log Z with respect to a, b and W: E[z_L], E[z_R], E[z_L z_R']."""
        means = self.means()
        return [means[: self.num_left], means[self.num_left :], self.left_right_moment()]

    def left_log_weights(self) -> np.ndarray:
        """Log of the sum over z_R of exp(-E), for all z_L in counting order, [2^L]."""
        return logsumexp(-self.energy(self.states()).reshape(2**self.num_left, -1), axis=1)

    def right_log_weights(self) -> np.ndarray:
        """Log of the sum over z_L of exp(-E), for all z_R in counting order, [2^R]."""
        return logsumexp(-self.energy(self.states()).reshape(2**self.num_left, -1), axis=0)

    def scaled(self, inverse_temperature: float) -> "ReferenceRBM":
        """The RBM with all energies multiplied by inverse_temperature."""
        return ReferenceRBM(*(inverse_temperature * parameter for parameter in self.parameters))

    def with_bias(self, extra: np.ndarray) -> "ReferenceRBM":
        """The RBM with extra [D] added to its biases."""
        left, right = extra[: self.num_left], extra[self.num_left :]
        return replace(self, left_bias=self.left_bias + left, right_bias=self.right_bias + right)

    def sweep_matrix(self, inverse_temperature: float = 1.0) -> np.ndarray:
        """Transition matrix [2^D, 2^D] (row = from) of one block-Gibbs sweep.

        z_L ~ p(z_L | z_R) first, then z_R ~ p(z_R | the new z_L). The conditionals are ratios of
        joint probabilities, not sigmoids.
        """
        joint = np.exp(-self.scaled(inverse_temperature).energy(self.states()))
        joint = (joint / joint.sum()).reshape(2**self.num_left, -1)
        left_given_right = joint / joint.sum(axis=0, keepdims=True)
        right_given_left = joint / joint.sum(axis=1, keepdims=True)
        from_right = left_given_right.T[:, :, None] * right_given_left[None, :, :]
        from_right = from_right.reshape(joint.shape[1], -1)
        return np.tile(from_right, (joint.shape[0], 1))

    def sample(self, rng: np.random.Generator, num_samples: int) -> np.ndarray:
        """Independent exact samples [num_samples, D]."""
        rows = rng.choice(2**self.num_units, size=num_samples, p=self.probabilities())
        return self.states()[rows]


def random_rbm(
    num_left: int,
    num_right: int,
    seed: int,
    bias_scale: float = 1.0,
    coupling_scale: float = 1.5,
) -> ReferenceRBM:
    """A dense, asymmetric RBM whose biases have both signs wherever a half has two units or more.

    The values are rounded to float32, so that code in single precision gets exactly the same RBM.
    """
    rng = np.random.default_rng(seed)

    def bias(size: int) -> np.ndarray:
        signs = rng.permutation(np.where(np.arange(size) % 2, -1.0, 1.0))
        return bias_scale * signs * rng.uniform(0.3, 1.3, size=size)

    coupling = coupling_scale * rng.standard_normal((num_left, num_right))
    parameters = (bias(num_left), bias(num_right), coupling)
    return ReferenceRBM(*(np.float64(np.float32(parameter)) for parameter in parameters))


def factorial_kl(rbm: ReferenceRBM, logits: np.ndarray) -> float:
    """KL(q || p) of independent units with logits [D] from the RBM, by enumeration."""
    states = rbm.states()
    log_q = bernoulli_log_probability(states, logits)
    return float(np.sum(np.exp(log_q) * (log_q - rbm.log_probability(states))))


def factorial_kl_gradient(rbm: ReferenceRBM, logits: np.ndarray) -> list[np.ndarray]:
    """Gradient of `factorial_kl` with respect to logits, a, b and W, as sums over all states.

    Logits: E_q[(z - q) (log q - log p)], the score's own mean being zero. Prior: gradient of
    log Z less E_q of the sufficient statistics.
    """
    states = rbm.states()
    log_q = bernoulli_log_probability(states, logits)
    probability = np.exp(log_q)
    ratio = probability * (log_q - rbm.log_probability(states))
    left, right = states[:, : rbm.num_left], states[:, rbm.num_left :]
    grad_left, grad_right, grad_coupling = rbm.log_partition_gradient()
    return [
        ratio @ (states - expit(logits)),
        grad_left - probability @ left,
        grad_right - probability @ right,
        grad_coupling - np.einsum("n,ni,nj->ij", probability, left, right),
    ]
