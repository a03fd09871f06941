"""The table of baselines: each name's KL term, row by row, against its formula in float64.

The rows of an encoding are given here, so there is no sampling error: whatever part of a baseline
is not the one that its name stands for (another smoothing or prior, ν where q belongs, a term
averaged over units) shows in the value.
"""

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit

from configs.registry import BASELINES, Structure, resolve
from configs.tables import PUBLISHED_BASELINES as NAMES
from dvae import log_ratio, posteriors
from dvae import smoothing as ours
from dvae.posteriors import PosteriorParams
from dvae.priors import Prior
from dvae.relaxed_priors import GaussianIntegralPrior, MeanFieldPrior, gram_powers
from dvae.rollout import sample_of
from samplers.rbm import RBM, RBMParameters
from tests.helpers import tiny_models
from tests.reference import smoothing as reference
from tests.reference.kl import marginal_log_ratio, smoothed_kl_value
from tests.reference.prior import gaussian_integral_log_prior, mean_field_log_prior
from tests.reference.rbm import ReferenceRBM, bernoulli_log_probability, random_rbm
from tests.reference.shifted_gaussian import shifted_mixture_log_density

SHARPNESS = {
    "dvae_spike_exp": 4.0,
    "dvaepp_exp": 6.0,
    "dvaepp_power": 30.0,
    "dvaes_gi": 9.0,
    "dvaes_gauss": 10.0,
    "dvaes_exp": 7.0,
    "dvaes_unexp": 16.0,
    "dvaes_power": 20.0,
}
SMOOTHINGS = {
    "dvaepp_exp": (ours.Exponential, reference.Exponential(6.0)),
    "dvaepp_power": (ours.Power, reference.Power(30.0, 1e-7)),
    "dvaes_gauss": (ours.Gaussian, reference.Gaussian(10.0)),
    "dvaes_exp": (ours.Exponential, reference.Exponential(7.0)),
    "dvaes_unexp": (ours.UniformExponential, reference.UniformExponential(16.0)),
    "dvaes_power": (ours.Power, reference.Power(20.0, 1e-7)),
}
ROWS, UNITS = 11, 6
STRUCTURES = {
    "one group": Structure(1, UNITS, 1, 5),
    "two groups": Structure(2, UNITS // 2, 1, 5),
    "three groups": Structure(3, UNITS // 3, 1, 5),
}
EXACT_RBM = random_rbm(UNITS // 2, UNITS // 2, seed=3)
MODEL = RBM(UNITS // 2, UNITS // 2)


def sample_for(baseline, posterior):
    """Rows of logits and relaxed latents; a third of the latents of the spike are zero."""
    rng = np.random.default_rng(4)
    logits = np.float32(rng.normal(0, 2, (ROWS, UNITS)))
    relaxed = np.float32(rng.uniform(0.05, 0.95, (ROWS, UNITS)))
    if baseline == "dvae_spike_exp":
        relaxed[rng.random((ROWS, UNITS)) < 0.34] = 0.0
    params = PosteriorParams(tf.constant(logits))
    if baseline == "dvaes_gi":
        shift = tf.constant(0.25 * np.sin(logits))
        params = params._replace(shift=shift, scale=tf.constant([np.linspace(0.2, 0.7, UNITS)]))
        params = PosteriorParams(*(tf.cast(p, tf.float32) for p in params))
    return sample_of(posterior, tf.constant(relaxed), params)


def factorial(logits):
    """Σ_z q(z) (log q(z) + E(z)) by enumeration, one row after the other."""
    states = EXACT_RBM.states()
    log_q = [bernoulli_log_probability(states, row) for row in logits]
    return np.array([np.exp(row) @ (row + EXACT_RBM.energy(states)) for row in log_q])


def spike_surrogate(logits, relaxed, units_in_last):
    """DVAE with several groups (Rolfe 2017, eq. 11 and 12), unit by unit."""
    rbm, half = EXACT_RBM, UNITS // 2
    values = np.zeros(ROWS)
    for row in range(ROWS):
        q = expit(logits[row])
        s = np.float64(relaxed[row] > 0)
        s[UNITS - units_in_last :] = q[UNITS - units_in_last :]
        for unit in range(UNITS):
            clipped = min(0.999, q[unit])
            if unit < half:
                field = sum(rbm.coupling[unit, j] * s[half + j] for j in range(half))
                field *= (1 - s[unit]) / (1 - clipped)
            else:
                field = sum(rbm.coupling[i, unit - half] * s[i] for i in range(half))
            values[row] += (logits[row, unit] - rbm.bias[unit] - field) * clipped
        values[row] -= s[:half] @ rbm.coupling @ s[half:] + rbm.bias @ q
    return values


def expected_term(baseline, structure, sample):
    """The KL term without log Z of each row, [ROWS]."""
    logits, relaxed = np.float64(sample.params.logits), np.float64(sample.latents)
    log_z = EXACT_RBM.log_partition()
    if baseline == "dvae_spike_exp" and structure.num_groups > 1:
        return spike_surrogate(logits, relaxed, structure.units_per_group)
    if structure.num_groups == 1 and not baseline.startswith("dvaes"):
        return factorial(logits)
    if baseline == "dvaes_gi":
        prior = GaussianIntegralPrior(SHARPNESS[baseline])
        coupling = tf.constant(EXACT_RBM.coupling, tf.float32)
        strength = float(prior.precision(gram_powers(coupling)))
        shift, scale = (np.float64(p) for p in sample.params[1:])
        log_q = shifted_mixture_log_density(relaxed, expit(logits), shift, scale, 1 - 1e-4)
        log_p = gaussian_integral_log_prior(EXACT_RBM, relaxed, strength)
        return log_q.sum(axis=1) - log_p - log_z
    smoothing = SMOOTHINGS[baseline][1]
    if baseline.startswith("dvaepp"):
        odds = smoothing.log_odds(relaxed[:, : UNITS // 2])
        return smoothed_kl_value(EXACT_RBM, logits, odds) - log_z

    def log_prior(zeta, complement):
        return mean_field_log_prior(EXACT_RBM, smoothing, zeta, 5, complement)

    return marginal_log_ratio(log_prior, smoothing, relaxed, 1 - relaxed, logits) - log_z


def method_of(baseline, structure):
    entry = BASELINES[baseline]
    return resolve(entry.method)(structure, SHARPNESS[baseline], MODEL, **entry.options)


def test_every_name_has_its_parts():
    assert tuple(NAMES) == tuple(SHARPNESS)


@pytest.mark.parametrize("structure", STRUCTURES.values(), ids=STRUCTURES)
@pytest.mark.parametrize("baseline", NAMES)
def test_kl_term(baseline, structure):
    """Within float32 rounding (2e-4 nats) of the formula of its paper."""
    method = method_of(baseline, structure)
    sample = sample_for(baseline, method.posterior)
    rbm = RBMParameters(*(tf.constant(p, tf.float32) for p in EXACT_RBM.parameters))
    found = method.log_ratio(Prior(MODEL), rbm, sample)
    assert found.shape == [ROWS]
    expected = expected_term(baseline, structure, sample)
    assert np.ptp(expected) > 1
    assert np.allclose(found, expected, rtol=1e-5, atol=2e-4)


@pytest.mark.parametrize("structure", STRUCTURES.values(), ids=STRUCTURES)
@pytest.mark.parametrize("baseline", NAMES)
def test_shares_and_types(baseline, structure):
    """What training and summaries read off the table."""
    method = method_of(baseline, structure)
    posterior, ratio = method.posterior, method.log_ratio
    relaxed = baseline.startswith("dvaes")
    several = structure.num_groups > 1
    spike = baseline == "dvae_spike_exp" and several
    assert ratio.log_partition == float(not spike)
    assert isinstance(ratio, log_ratio.GradientOnly) == spike
    for k in (1, 5):
        estimator = tiny_models.make(structure, baseline=baseline, k=k).estimator
        weighted = relaxed and k > 1
        assert estimator.objective.importance_weighted == weighted
        assert list(estimator.shares.values()) == [(0.0, 1.0), (0.0, 0.0), (float(not spike), 0.0)]
        bound = "train/neg_iw_loss" if weighted else "train/neg_elbo"
        kl = "obj/kl_gradient_surrogate" if spike else "obj/kl"
        assert list(estimator.shares) == [bound, "obj/recon_loss", kl]
    if baseline == "dvae_spike_exp":
        assert isinstance(posterior, posteriors.SpikeExponentialPosterior)
        assert posterior.sharpness == 4.0
    elif baseline == "dvaes_gi":
        assert isinstance(posterior, posteriors.ShiftedGaussianPosterior)
        assert isinstance(ratio.relaxed_prior, GaussianIntegralPrior)
        assert ratio.relaxed_prior.sharpness == 9.0
        assert [len(s.numpy()) for s in posterior.raw_scales] == (
            [structure.units_per_group] * structure.num_groups
        )
    else:
        assert type(posterior.smoothing) is SMOOTHINGS[baseline][0]
        assert posterior.smoothing.sharpness == SHARPNESS[baseline]
        prior = getattr(ratio, "relaxed_prior", None)
        assert isinstance(prior, MeanFieldPrior if relaxed else type(None))


def test_unbalanced_biases_are_told_apart():
    """The reference of this file changes when the halves are swapped: no symmetry hides one."""
    sample = sample_for("dvaepp_exp", posteriors.MixturePosterior(ours.Exponential(6.0)))
    swapped = ReferenceRBM(EXACT_RBM.right_bias, EXACT_RBM.left_bias, EXACT_RBM.coupling.T)
    logits = np.float64(sample.params.logits)
    odds = np.zeros((ROWS, UNITS // 2))
    values = [smoothed_kl_value(rbm, logits, odds) for rbm in (EXACT_RBM, swapped)]
    assert np.min(np.abs(values[0] - values[1])) > 1e-2
