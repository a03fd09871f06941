"""How fast Markov chains forget, and what a population of chains costs that is not quite right.

Plain NumPy on recorded states.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import linalg

GROUPS = 16  # of independent chains: their spread is the error
_LEAST_VARIANCE = 1e-6  # of a statistic that counts as varying
_LEAST_EIGENVALUE = 1e-6  # of a correlation matrix, over its largest


class CorrelationTime(NamedTuple):
    """An integrated autocorrelation time and its jackknife error over groups of chains.

    value, stderr: in steps of the series; 1 for independent values. cutoff: the last lag summed.
    """

    value: float
    stderr: float
    cutoff: int


def autocovariance(series: np.ndarray) -> np.ndarray:
    """Autocovariance at each lag, [GROUPS, S], of C independent stationary chains [S, C].

    The mean is that of all chains together, which leaves no bias of a short chain's own mean but
    one of 1/C. C must be a multiple of GROUPS.
    """
    series = np.asarray(series, np.float64)
    length, chains = series.shape
    spectrum = np.fft.rfft(series - series.mean(), n=2 * length, axis=0)
    products = np.fft.irfft(np.abs(spectrum) ** 2, axis=0)[:length]
    products /= (length - np.arange(length))[:, None]
    return products.reshape(length, GROUPS, chains // GROUPS).mean(axis=2).T


def _monotone_sum(covariance: np.ndarray) -> tuple[float, int]:
    """(time, cutoff) by the initial monotone sequence of Geyer 1992, section 3.3."""
    even = len(covariance) // 2 * 2
    pairs = covariance[:even].reshape(-1, 2).sum(axis=1)
    end = int(np.argmax(pairs <= 0.0)) if np.any(pairs <= 0.0) else len(pairs)
    summed = np.minimum.accumulate(pairs[:end]).sum()
    return float(2.0 * summed / covariance[0] - 1.0), 2 * end


def correlation_time(series: np.ndarray) -> CorrelationTime:
    """Integrated autocorrelation time, 1 + 2 sum of correlations, of chains [S, C].

    Geyer's initial monotone sequence, which assumes a function of a reversible chain, such as one
    half of an RBM under block-Gibbs sweeps (Liu, Wong, Kong 1994); it errs to the high side.

    Raises:
      ValueError: the series does not vary.
    """
    groups = autocovariance(series)
    if not groups[:, 0].mean() > 0.0:
        raise ValueError("the series does not vary")
    value, cutoff = _monotone_sum(groups.mean(axis=0))
    left_out = (groups.sum(axis=0) - groups) / (GROUPS - 1)
    values = np.array([_monotone_sum(covariance)[0] for covariance in left_out])
    return CorrelationTime(value, float(np.sqrt(values.var() * (GROUPS - 1))), cutoff)


def slowest_direction(states: np.ndarray, lag: int) -> np.ndarray:
    """The combination of units [D] whose correlation at a lag is largest, from states [S, C, D].

    The generalised eigenvector of the covariances at `lag` and at zero: by the variational
    principle for reversible chains no linear combination decays more slowly (Pérez-Hernández et al.
    2013, J. Chem. Phys. 139, 015102). Fitted to the given chains, so its correlation must be
    measured on others.
    """
    flat = states.reshape(-1, states.shape[-1])
    mean, used = flat.mean(axis=0), flat.var(axis=0) > _LEAST_VARIANCE
    centred = np.float64(states[..., used]) - mean[used]
    count = centred.shape[2]
    now = centred.reshape(-1, count)
    early, late = centred[:-lag].reshape(-1, count), centred[lag:].reshape(-1, count)
    lagged = early.T @ late / len(early)
    ridge = _LEAST_EIGENVALUE * np.eye(count)
    _, vectors = linalg.eigh(0.5 * (lagged + lagged.T), now.T @ now / len(now) + ridge)
    direction = np.zeros(states.shape[-1])
    direction[used] = vectors[:, -1]
    return direction


class Excess(NamedTuple):
    """A quantity of a population beside that of independent sets of the same size.

    value: of the population. floor, spread: mean and standard deviation over the sets.
    """

    value: float
    floor: float
    spread: float

    @property
    def score(self) -> float:
        """By how many standard deviations of the sets the population lies above them."""
        return (self.value - self.floor) / self.spread


def moment_distance(population: np.ndarray, sets: Sequence[np.ndarray]) -> Excess:
    """Root mean square difference of means [D] from the pool of J independent sets' means [D].

    Each set in turn, and the population, is compared with the mean of the J - 1 others.
    """
    sets = np.stack(sets)
    others = (sets.sum(axis=0) - sets) / (len(sets) - 1)
    floors, values = (np.sqrt(np.mean((m - others) ** 2, axis=1)) for m in (sets, population[None]))
    return Excess(float(values.mean()), float(floors.mean()), float(floors.std(ddof=1)))


class Cost(NamedTuple):
    """What replacing expectations by those of a population costs, in nats.

    value, stderr: the floor of sampling noise subtracted; may be negative. floor: what sets of the
    population's size come to on average. dimension: of the statistics, as far as they vary.
    """

    value: float
    stderr: float
    floor: float
    dimension: int


def _inverse_covariance(matrix: np.ndarray, count: int) -> tuple[np.ndarray, int]:
    """An unbiased inverse of a sample covariance (Hartlap, Simon, Schneider 2007), and its rank."""
    scale = np.sqrt(np.maximum(np.diag(matrix), 0.0))
    used = scale**2 > _LEAST_VARIANCE
    inverse_scale = np.where(used, 1.0 / np.where(used, scale, 1.0), 0.0)
    values, vectors = linalg.eigh(matrix * np.outer(inverse_scale, inverse_scale))
    kept = values > _LEAST_EIGENVALUE * values[-1]
    vectors, rank = vectors[:, kept] * inverse_scale[:, None], int(kept.sum())
    return (vectors / values[kept]) @ vectors.T * (count - rank - 2) / (count - 1), rank


def bias_cost(population: np.ndarray, sets: Sequence[np.ndarray]) -> Cost:
    """½ Δ' F⁻¹ Δ for the difference Δ of mean statistics, less what sampling noise makes of it.

    F is the covariance of the statistics under the model: for an exponential family the Fisher
    information, the Hessian of log Z. To second order this is the KL divergence of the model from
    the member of the family (over the span of the statistics) that has the population's moments,
    and so what maximum likelihood loses when its fixed point is found with these moments. With a
    part of the family's statistics it bounds the cost in all of them from below.

    Args:
      population: statistics [n, d] of its members, equally weighted. That they are related to each
        other counts as cost.
      sets: J arrays [n, d] of independent samples of the model. Δ and F are taken from all but one
        of them, in turn; the one left out gives the floor.
    """
    sums = np.stack([rows.sum(axis=0) for rows in sets])
    squares = np.stack([rows.T @ rows for rows in sets])
    mean = population.mean(axis=0)
    own, floors, rank = [], [], 0
    for index, rows in enumerate(sets):
        size = sum(len(other) for other in sets) - len(rows)
        pool = (sums.sum(axis=0) - sums[index]) / size
        second = (squares.sum(axis=0) - squares[index]) / size
        covariance = (second - np.outer(pool, pool)) * size / (size - 1)
        inverse, rank = _inverse_covariance(covariance, size)
        for difference, found in ((mean - pool, own), (sums[index] / len(rows) - pool, floors)):
            found.append(0.5 * difference @ inverse @ difference)
    floor = float(np.mean(floors))
    value = float(np.mean(own)) - floor
    variance = np.var(floors, ddof=1) * (1.0 + 1.0 / len(sets))
    variance += 2.0 * max(value, 0.0) / len(population)
    return Cost(value, float(np.sqrt(variance)), floor, rank)
