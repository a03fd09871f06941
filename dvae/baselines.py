"""What the methods are made of: each function here builds the parts of one family of baselines.

Which name stands for which of them, with which smoothing and sharpness, is an entry of
`configs.registry.BASELINES`; a new part (smoothing, posterior, KL term, estimator) is a class or
function in its own module.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from configs.errors import UserError
from configs.paper import Structure
from configs.registry import BASELINES, Target, resolve
from dvae import kl
from dvae.encoder import Encoding
from dvae.estimators import Estimator, Pathwise
from dvae.persistent_posterior import PersistentPosterior
from dvae.posteriors import (
    BernoulliPosterior,
    MixturePosterior,
    Posterior,
    ShiftedGaussianPosterior,
    SpikeExponentialPosterior,
)
from dvae.priors import Prior
from dvae.relaxed_priors import GaussianIntegralPrior, MeanFieldPrior, RelaxedPrior
from samplers.energy_model import Parameters
from samplers.rbm import RBM, RBMParameters

KLTerm = Callable[[Parameters, Encoding], tf.Tensor]


class Parts(NamedTuple):
    """What a baseline is made of.

    posterior: relaxed posterior.
    kl: KL term per row without log Z, see `dvae.kl`.
    kl_is_value: whether the KL term's value is one (else only its gradient is right).
    relaxed_prior: the relaxed prior of DVAE#, where there is one.
    importance_weighted: whether K > 1 trains the importance-weighted bound instead of the ELBO.
    estimator: of the gradient of the objective.
    encoder: the method's own, made as those of `configs.registry.ENCODERS`; None: the structure's.
    """

    posterior: Posterior
    kl: KLTerm
    kl_is_value: bool = True
    relaxed_prior: RelaxedPrior | None = None
    importance_weighted: bool = False
    estimator: Estimator = Pathwise()
    encoder: Target | None = None


def dvae(structure: Structure, sharpness: float, prior: Prior) -> Parts:
    """DVAE, Rolfe 2017: the closed form for one group, else eq. 11 and 12 (gradient only)."""
    if structure.num_groups == 1:
        return Parts(SpikeExponentialPosterior(sharpness), _factorial(prior))
    _require_rbm(prior)

    def gradient_only(rbm: RBMParameters, encoding: Encoding) -> tf.Tensor:
        return kl.spike_kl_gradient(rbm, encoding, structure.units_per_group)

    return Parts(SpikeExponentialPosterior(sharpness), gradient_only, kl_is_value=False)


def dvaepp(structure: Structure, sharpness: float, prior: Prior, *, smoothing: Target) -> Parts:
    """DVAE++, Vahdat et al. 2018: the KL of the binary latents, smoothed by conditioning."""
    made = resolve(smoothing)(sharpness)
    if structure.num_groups == 1:
        return Parts(MixturePosterior(made), _factorial(prior))
    _require_rbm(prior)

    def smoothed(rbm: RBMParameters, encoding: Encoding) -> tf.Tensor:
        return kl.smoothed_kl(rbm, encoding, made)

    return Parts(MixturePosterior(made), smoothed)


def dvaes(structure: Structure, sharpness: float, prior: Prior, *, smoothing: Target) -> Parts:
    """DVAE# with overlapping smoothing and the mean-field relaxed prior, Vahdat et al. 2018."""
    del structure
    _require_rbm(prior)
    made = resolve(smoothing)(sharpness)
    return _relaxed(MixturePosterior(made), MeanFieldPrior(made))


def dvaes_gaussian_integral(structure: Structure, sharpness: float, prior: Prior) -> Parts:
    """DVAE# with the Gaussian integral."""
    _require_rbm(prior)
    posterior = ShiftedGaussianPosterior(structure.num_groups, structure.units_per_group)
    return _relaxed(posterior, GaussianIntegralPrior(sharpness))


def straight(
    structure: Structure, sharpness: float, prior: Prior, *, posterior: Target, estimator: Target
) -> Parts:
    """Straight energies: relaxed bits stand in both energies as if they were bits."""
    del structure
    made = resolve(posterior)(sharpness)
    return Parts(made, _straight(prior), estimator=resolve(estimator)())


def binary(structure: Structure, sharpness: float, prior: Prior, *, estimator: Target) -> Parts:
    """Unrelaxed bits and the prior's own energy; estimator: made from the structure."""
    del sharpness
    return Parts(BernoulliPosterior(), _straight(prior), estimator=resolve(estimator)(structure))


def undirected(
    structure: Structure, sharpness: float, prior: Prior, *, relaxation: Target
) -> Parts:
    """An RBM for each image, followed by persistent chains (Vahdat et al. 2019)."""
    num_left = structure.num_latents // 2

    def log_ratio(params: Parameters, encoding: Encoding) -> tf.Tensor:
        return kl.half_averaged_log_ratio(prior, params, encoding, num_left)

    return Parts(
        resolve(relaxation)(sharpness),
        log_ratio,
        kl_is_value=False,
        estimator=PersistentPosterior(),
        encoder="dvae.undirected:UndirectedEncoder",
    )


def _require_rbm(prior: Prior) -> None:
    """Raises UserError unless the prior has the two halves that a method's formula is made of."""
    if not isinstance(prior.energy_model, RBM):
        raise UserError(
            f"this method is made for an RBM, not for a prior of {prior.energy_model}: "
            "choose another --baseline"
        )


def _factorial(prior: Prior) -> KLTerm:
    return lambda params, encoding: kl.factorial_kl(prior, params, encoding)


def _straight(prior: Prior) -> KLTerm:
    return lambda params, encoding: kl.straight_log_ratio(prior, params, encoding)


def _relaxed(posterior: Posterior, relaxed_prior: RelaxedPrior) -> Parts:
    def log_ratio(params: Parameters, encoding: Encoding) -> tf.Tensor:
        return kl.relaxed_log_ratio(params, encoding, relaxed_prior)

    return Parts(posterior, log_ratio, relaxed_prior=relaxed_prior)


def make_parts(baseline: str, structure: Structure, sharpness: float, prior: Prior) -> Parts:
    """The parts of a baseline for one structure, sharpness and prior."""
    entry = BASELINES[baseline]
    parts = resolve(entry.parts)(structure, sharpness, prior, **entry.options)
    return parts._replace(importance_weighted=entry.importance_weighted)
