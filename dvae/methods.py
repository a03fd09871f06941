"""What the methods are made of: each function here builds one family of baselines.

Which name stands for which of them, with which smoothing and sharpness, is an entry of
`configs.registry.BASELINES`; a new part (smoothing, posterior, log ratio, estimator) is a class in
its own module.
"""

from typing import NamedTuple

from configs.errors import UserError, name_of
from configs.registry import Structure, Target, resolve
from dvae import graph_log_ratio, log_ratio
from dvae.estimators.base import Estimator
from dvae.estimators.pathwise import Pathwise
from dvae.estimators.persistent_posterior import PersistentPosterior
from dvae.graph_relaxed_priors import GraphGaussianIntegralPrior, GraphMeanFieldPrior
from dvae.log_ratio import LogRatio
from dvae.posteriors import (
    BernoulliPosterior,
    MixturePosterior,
    Posterior,
    ShiftedGaussianPosterior,
    SpikeExponentialPosterior,
)
from dvae.relaxed_priors import GaussianIntegralPrior, MeanFieldPrior
from samplers.boltzmann import BoltzmannMachine
from samplers.energy_model import EnergyModel
from samplers.rbm import RBM


class Method(NamedTuple):
    """What a baseline is made of, beside what the structure says.

    posterior: relaxed posterior. log_ratio: the KL term. estimator: of the objective's gradient.
    encoder: the method's own, made as those of `configs.registry.ENCODERS`; None: the structure's.
    """

    posterior: Posterior
    log_ratio: LogRatio
    estimator: type[Estimator] = Pathwise
    encoder: Target | None = None


def _require_graph(energy_model: EnergyModel) -> None:
    """Raises UserError unless the prior has the couplings that a relaxed prior is made of."""
    if not isinstance(energy_model, RBM | BoltzmannMachine):
        raise UserError(
            f"this method is made for a Boltzmann machine, not for a prior of {energy_model}: "
            f"choose another {name_of('baseline')}"
        )


def dvae(structure: Structure, sharpness: float, energy_model: EnergyModel) -> Method:
    """DVAE, Rolfe 2017: the closed form for one group, else eq. 11 and 12 (gradient only)."""
    posterior = SpikeExponentialPosterior(sharpness)
    if structure.num_groups == 1:
        return Method(posterior, log_ratio.Factorial())
    of_rbm = isinstance(energy_model, RBM)
    ratio = log_ratio.SpikeGradient if of_rbm else graph_log_ratio.SpikeGroups
    return Method(posterior, ratio(structure.units_per_group))


def dvaepp(
    structure: Structure, sharpness: float, energy_model: EnergyModel, *, smoothing: Target
) -> Method:
    """DVAE++, Vahdat et al. 2018: the KL of the binary latents, smoothed by conditioning."""
    made = resolve(smoothing)(sharpness)
    if structure.num_groups == 1:
        return Method(MixturePosterior(made), log_ratio.Factorial())
    if isinstance(energy_model, RBM):
        return Method(MixturePosterior(made), log_ratio.Smoothed(made))
    ratio = graph_log_ratio.SmoothedGroups(made, structure.units_per_group)
    return Method(MixturePosterior(made), ratio)


def dvaes(
    structure: Structure, sharpness: float, energy_model: EnergyModel, *, smoothing: Target
) -> Method:
    """DVAE# with overlapping smoothing and the mean-field relaxed prior, Vahdat et al. 2018."""
    del structure
    _require_graph(energy_model)
    made = resolve(smoothing)(sharpness)
    if isinstance(energy_model, RBM):
        prior = MeanFieldPrior(made)
    else:
        prior = GraphMeanFieldPrior(made, energy_model)
    return Method(MixturePosterior(made), log_ratio.Relaxed(prior))


def dvaes_gaussian_integral(
    structure: Structure, sharpness: float, energy_model: EnergyModel
) -> Method:
    """DVAE# with the Gaussian integral."""
    _require_graph(energy_model)
    posterior = ShiftedGaussianPosterior(structure.num_groups, structure.units_per_group)
    if isinstance(energy_model, RBM):
        prior = GaussianIntegralPrior(sharpness)
    else:
        prior = GraphGaussianIntegralPrior(sharpness, energy_model)
    return Method(posterior, log_ratio.Relaxed(prior))


def relaxed_bits(
    structure: Structure,
    sharpness: float,
    energy_model: EnergyModel,
    *,
    posterior: Target,
    estimator: Target,
) -> Method:
    """Relaxed bits in the log ratio of binary ones, see `dvae.relaxed_bernoulli`."""
    del structure, energy_model
    return Method(resolve(posterior)(sharpness), log_ratio.Binary(), resolve(estimator))


def binary(
    structure: Structure, sharpness: float, energy_model: EnergyModel, *, estimator: Target
) -> Method:
    """Unrelaxed bits and the prior's own energy."""
    del structure, sharpness, energy_model
    return Method(BernoulliPosterior(), log_ratio.Binary(), resolve(estimator))


def undirected(
    structure: Structure, sharpness: float, energy_model: EnergyModel, *, relaxation: Target
) -> Method:
    """An RBM for each image, followed by persistent chains (Vahdat et al. 2019)."""
    del energy_model
    return Method(
        resolve(relaxation)(sharpness),
        log_ratio.HalfAveragedGradient(structure.num_latents // 2),
        PersistentPosterior,
        encoder="dvae.undirected:UndirectedEncoder",
    )
