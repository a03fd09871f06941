"""The eight baselines of the papers: which parts each name stands for, and nothing else.

A new baseline is a new row of BASELINES; a new part (smoothing, posterior, KL term) is a class or
function in its own module.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from configs.paper import Structure
from dvae import kl
from dvae.encoder import Encoding
from dvae.posteriors import (
    MixturePosterior,
    Posterior,
    ShiftedGaussianPosterior,
    SpikeExponentialPosterior,
)
from dvae.priors import GaussianIntegralPrior, MeanFieldPrior, RelaxedPrior
from dvae.smoothing import Exponential, Gaussian, Power, Smoothing, UniformExponential
from samplers.rbm import RBM

KLTerm = Callable[[RBM, Encoding], tf.Tensor]


class Parts(NamedTuple):
    """What a baseline is made of.

    posterior: relaxed posterior.
    kl: KL term per row without log Z, see `dvae.kl`.
    kl_is_value: whether the KL term's value is one (else only its gradient is right).
    importance_weighted: whether K > 1 trains the importance-weighted bound instead of the ELBO.
    smoothing: the mirrored smoothing, where there is one.
    relaxed_prior: the relaxed prior of DVAE#, where there is one.
    """

    posterior: Posterior
    kl: KLTerm
    kl_is_value: bool
    importance_weighted: bool
    smoothing: Smoothing | None = None
    relaxed_prior: RelaxedPrior | None = None


def _dvae(structure: Structure, sharpness: float) -> Parts:
    """DVAE, Rolfe 2017."""
    one_group = structure.num_groups == 1

    def gradient_only(rbm: RBM, encoding: Encoding) -> tf.Tensor:
        return kl.spike_kl_gradient(rbm, encoding, structure.units_per_group)

    term = kl.factorial_kl if one_group else gradient_only
    return Parts(SpikeExponentialPosterior(sharpness), term, one_group, False)


def _dvaepp(smoothing_type: type[Smoothing]) -> Callable[[Structure, float], Parts]:
    """DVAE++, Vahdat et al. 2018."""

    def make(structure: Structure, sharpness: float) -> Parts:
        smoothing = smoothing_type(sharpness)

        def smoothed(rbm: RBM, encoding: Encoding) -> tf.Tensor:
            return kl.smoothed_kl(rbm, encoding, smoothing)

        term = kl.factorial_kl if structure.num_groups == 1 else smoothed
        return Parts(MixturePosterior(smoothing), term, True, False, smoothing)

    return make


def _relaxed(
    posterior: Posterior, prior: RelaxedPrior, smoothing: Smoothing | None = None
) -> Parts:
    """DVAE# for any relaxed posterior and prior, Vahdat, Andriyash and Macready 2018."""

    def log_ratio(rbm: RBM, encoding: Encoding) -> tf.Tensor:
        return kl.relaxed_log_ratio(rbm, encoding, posterior, prior)

    return Parts(posterior, log_ratio, True, True, smoothing, prior)


def _dvaes(smoothing_type: type[Smoothing]) -> Callable[[Structure, float], Parts]:
    """DVAE# with overlapping smoothing and the mean-field relaxed prior."""

    def make(structure: Structure, sharpness: float) -> Parts:
        del structure
        smoothing = smoothing_type(sharpness)
        return _relaxed(MixturePosterior(smoothing), MeanFieldPrior(smoothing), smoothing)

    return make


def _dvaes_gaussian_integral(structure: Structure, sharpness: float) -> Parts:
    """DVAE# with the Gaussian integral."""
    posterior = ShiftedGaussianPosterior(structure.num_groups, structure.units_per_group)
    return _relaxed(posterior, GaussianIntegralPrior(sharpness))


BASELINES: dict[str, Callable[[Structure, float], Parts]] = {
    "dvae_spike_exp": _dvae,
    "dvaepp_exp": _dvaepp(Exponential),
    "dvaepp_power": _dvaepp(Power),
    "dvaes_gi": _dvaes_gaussian_integral,
    "dvaes_gauss": _dvaes(Gaussian),
    "dvaes_exp": _dvaes(Exponential),
    "dvaes_unexp": _dvaes(UniformExponential),
    "dvaes_power": _dvaes(Power),
}


def make_parts(baseline: str, structure: Structure, sharpness: float) -> Parts:
    """The parts of a baseline for one structure and sharpness."""
    return BASELINES[baseline](structure, sharpness)
