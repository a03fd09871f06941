"""What the names of the command line stand for: an entry here adds a choice everywhere.

Pure data. What a name is made of is given as "module:attribute", imported when it is needed, so
that the command line answers before TensorFlow is loaded; a class or function itself will do too.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

Target = str | Callable[..., Any]


def resolve(target: Target, package: str | None = None) -> Callable[..., Any]:
    """What a "module:attribute" names; anything else is returned as it is.

    package: of a ".module".
    """
    if not isinstance(target, str):
        return target
    module, _, attribute = target.partition(":")
    return getattr(importlib.import_module(module, package), attribute)


@dataclass(frozen=True)
class Baseline:
    """One training method.

    method: makes a `dvae.methods.Method` from (structure, sharpness, energy_model, **options).
    options: passed on to `method`; say the smoothing.
    importance_weighted: whether K > 1 trains the importance-weighted bound instead of the ELBO.
    sharpness: β when --beta is not given, by structure; structures that are not named take that of
      2-layer-nonlin, and data sets may say otherwise (`configs.datasets`). {}: the method has none.
    least_sharpness: β must exceed this.
    least_k: samples per image without which the method is not defined.
    most_groups: latent groups that the method can have; None: any number.
    source: the publication to be cited.
    """

    method: Target
    sharpness: Mapping[str, float]
    options: Mapping[str, Any] = field(default_factory=dict)
    importance_weighted: bool = False
    least_sharpness: float = 0.0
    least_k: int = 1
    most_groups: int | None = None
    source: str = "your own"

    def is_defined(self, num_groups: int, k: int) -> bool:
        """Whether there is such a method for so many latent groups and samples per image."""
        return k >= self.least_k and (self.most_groups is None or num_groups <= self.most_groups)


def by_structure(
    linear: float, one: float | None = None, deep: float | None = None
) -> dict[str, float]:
    """β of 1-layer-lin, 1-layer-nonlin, and of both 2- and 4-layer-nonlin, or one for all."""
    one, deep = linear if one is None else one, linear if deep is None else deep
    return {
        "1-layer-lin": linear,
        "1-layer-nonlin": one,
        "2-layer-nonlin": deep,
        "4-layer-nonlin": deep,
    }


def _doubly_reparameterized(posterior: str, sharpness: float | None, source: str) -> Baseline:
    """Relaxed bits of a class of `dvae.relaxed_bernoulli`. sharpness: None of hard bits."""
    return Baseline(
        method="dvae.methods:relaxed_bits",
        options={
            "posterior": f"dvae.relaxed_bernoulli:{posterior}",
            "estimator": "dvae.estimators.doubly_reparameterized:DoublyReparameterized",
        },
        importance_weighted=True,
        sharpness={} if sharpness is None else by_structure(sharpness),
        source=source,
    )


def _binary(estimator: str, **fields: Any) -> Baseline:
    """Unrelaxed bits, whose gradient an estimator gives ("module:class") without bias."""
    return Baseline(
        method="dvae.methods:binary",
        options={"estimator": estimator},
        sharpness={},
        **fields,
    )


_DVAE = "Rolfe 2017, Discrete Variational Autoencoders, ICLR, arXiv 1609.02200"
_DVAEPP = (
    "Vahdat, Macready, Bian, Khoshaman, Andriyash 2018, DVAE++: Discrete Variational Autoencoders "
    "with Overlapping Transformations, ICML, arXiv 1802.04920"
)
_DVAES = (
    "Vahdat, Andriyash, Macready 2018, DVAE#: Discrete Variational Autoencoders with Relaxed "
    "Boltzmann Priors, NeurIPS, arXiv 1805.07445"
)
_GUMBOLT = (
    "Khoshaman, Amin 2018, GumBolt: Extending Gumbel trick to Boltzmann priors, NeurIPS, arXiv "
    "1805.07349"
)
_RELAXED_BITS = (
    "Andriyash, Vahdat, Macready 2018, Improved Gradient-Based Optimization Over Discrete "
    "Distributions, arXiv 1810.00116; compared in Vahdat, Andriyash, Macready 2019, arXiv "
    "1901.03440"
)
_STRAIGHT_THROUGH = (
    "Bengio, Léonard, Courville 2013, Estimating or Propagating Gradients Through Stochastic "
    "Neurons for Conditional Computation, arXiv 1308.3432"
)
_REINMAX = (
    "Liu, Dong, Liu, Yu, Gao 2023, Bridging Discrete and Backpropagation: Straight-Through and "
    "Beyond, NeurIPS, arXiv 2304.08612"
)
_LEAVE_ONE_OUT = (
    "Kool, van Hoof, Welling 2019, Buy 4 REINFORCE Samples, Get a Baseline for Free!, ICLR "
    "workshop on deep reinforcement learning meets structured prediction"
)
_VIMCO = (
    "Mnih, Rezende 2016, Variational Inference for Monte Carlo Objectives, ICML, arXiv 1602.06725"
)
_DISARM = (
    "Dong, Mnih, Tucker 2020, DisARM: An Antithetic Gradient Estimator for Binary Latent "
    "Variables, NeurIPS, arXiv 2006.10680"
)
_RODEO = (
    "Shi, Zhou, Hwang, Titsias, Mackey 2022, Gradient Estimation with Discrete Stein Operators, "
    "NeurIPS, arXiv 2202.09497"
)
_UNDIRECTED = (
    "Vahdat, Andriyash, Macready 2019, Learning Undirected Posteriors by Backpropagation through "
    "MCMC Updates, arXiv 1901.03440"
)


def _smoothed(
    method: str, smoothing: str, sharpness: tuple[float, float, float], source: str, **fields: Any
) -> Baseline:
    """A method with a class of `dvae.smoothing`."""
    return Baseline(
        method=f"dvae.methods:{method}",
        options={"smoothing": f"dvae.smoothing:{smoothing}"},
        sharpness=by_structure(*sharpness),
        source=source,
        **fields,
    )


def _dvaes(smoothing: str, sharpness: tuple[float, float, float], **fields: Any) -> Baseline:
    return _smoothed("dvaes", smoothing, sharpness, _DVAES, importance_weighted=True, **fields)


def _undirected(relaxation: str, sharpness: float) -> Baseline:
    """An RBM for each image, with relaxed bits of a class of `dvae.relaxed_bernoulli`."""
    return Baseline(
        method="dvae.methods:undirected",
        options={"relaxation": f"dvae.relaxed_bernoulli:{relaxation}"},
        importance_weighted=True,
        sharpness=by_structure(sharpness),
        most_groups=1,
        source=_UNDIRECTED,
    )


# Every sharpness of DVAE, DVAE++ and DVAE# is in the supplement of DVAE#, those of relaxed bits are
# in Vahdat et al. 2019, which compares with them. Those are here that hold for binarised MNIST.
BASELINES: dict[str, Baseline] = {
    "dvae_spike_exp": Baseline(
        method="dvae.methods:dvae", sharpness=by_structure(5, 5, 4), source=_DVAE
    ),
    "dvaepp_exp": _smoothed("dvaepp", "Exponential", (12, 14, 10), _DVAEPP),
    "dvaepp_power": _smoothed("dvaepp", "Power", (40, 30, 30), _DVAEPP, least_sharpness=1.0),
    "dvaes_gi": Baseline(
        method="dvae.methods:dvaes_gaussian_integral",
        importance_weighted=True,
        sharpness=by_structure(40, 30, 30),
        source=_DVAES,
    ),
    "dvaes_gauss": _dvaes("Gaussian", (40, 30, 25)),
    "dvaes_exp": _dvaes("Exponential", (12, 12, 10)),
    "dvaes_unexp": _dvaes("UniformExponential", (40, 30, 16)),
    "dvaes_power": _dvaes("Power", (40, 40, 30), least_sharpness=1.0),
    "gumbolt": Baseline(
        method="dvae.methods:relaxed_bits",
        options={
            "posterior": "dvae.relaxed_bernoulli:Concrete",
            "estimator": "dvae.estimators.pathwise:Pathwise",
        },
        importance_weighted=True,
        sharpness=by_structure(7),
        source=_GUMBOLT,
    ),
    "pwl": _doubly_reparameterized("PiecewiseLinear", 4, _RELAXED_BITS),
    "concrete": _doubly_reparameterized("Concrete", 10, _RELAXED_BITS),
    "st": _doubly_reparameterized("StraightThrough", None, _STRAIGHT_THROUGH),
    "reinmax": _doubly_reparameterized("ReinMax", None, _REINMAX),
    "loo": _binary("dvae.estimators.score_function:LeaveOneOut", source=_LEAVE_ONE_OUT),
    "vimco": _binary(
        "dvae.estimators.score_function:Vimco", importance_weighted=True, least_k=2, source=_VIMCO
    ),
    "disarm": _binary("dvae.estimators.disarm:Disarm", source=_DISARM),
    "rodeo": _binary("dvae.estimators.rodeo:Rodeo", source=_RODEO),
    # The gradient itself, for priors small enough.
    "exact": _binary("dvae.estimators.enumeration:Exact", importance_weighted=True),
    "dvaess_pwl": _undirected("PiecewiseLinear", 4),
    "dvaess_concrete": _undirected("Concrete", 10),
}

# Chains of the prior that feed the gradient of log Z: `dvae.prior_chains.ChainSampler`.
SAMPLERS: dict[str, Target] = {
    "pa": "dvae.prior_chains:PopulationAnnealing",
    "pcd": "dvae.prior_chains:PersistentContrastiveDivergence",
    "pt": "dvae.prior_chains:ParallelTempering",
}
# The parts of a model that a `Structure` names.
ENCODERS: dict[str, Target] = {"dense": "dvae.encoder:DenseEncoder"}
DECODERS: dict[str, Target] = {"dense": "dvae.decoder:Decoder"}
LIKELIHOODS: dict[str, Target] = {"bernoulli": "dvae.likelihood:Bernoulli"}
# Makes the energy model of the prior from the structure: `samplers.energy_model.EnergyModel`.
PRIORS: dict[str, Target] = {
    "rbm": "dvae.priors:restricted",
    "independent": "dvae.priors:independent",
    "complete": "dvae.priors:complete",
    "partite": "dvae.priors:partite",
}
# Of `dwave.graphs`, with a size: their edges, or those of a file, are a part of the structure.
GRAPHS = ("pegasus", "zephyr")


@dataclass(frozen=True)
class Structure:
    """Shape of a model: latent groups sampled in turn, and the networks between them."""

    num_groups: int
    units_per_group: int
    num_hidden_layers: int  # of each group's encoder network and of the decoder
    hidden_units: int = 200
    # Names of ENCODERS, DECODERS, LIKELIHOODS and PRIORS.
    encoder: str = "dense"
    decoder: str = "dense"
    likelihood: str = "bernoulli"
    prior: str = "rbm"  # with its number, as in --prior
    edges: str = ""  # of a prior that is no entry of PRIORS: pairs of latents, "0-1 0-2"

    @property
    def num_latents(self) -> int:
        """Number of binary latents D over all groups; the RBM prior is D/2 x D/2."""
        return self.num_groups * self.units_per_group

    @property
    def prior_kind(self) -> str:
        """The prior's name without its number."""
        return self.prior.partition(":")[0]


STRUCTURES = {
    "1-layer-lin": Structure(1, 200, 0),
    "1-layer-nonlin": Structure(1, 200, 2),
    "2-layer-nonlin": Structure(2, 200, 2),
    "4-layer-nonlin": Structure(4, 100, 2),
}
