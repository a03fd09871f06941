"""From a configuration to a model and the estimator that trains it: the one place for both."""

import numpy as np

from configs.experiment import ExperimentConfig
from configs.registry import BASELINES, DECODERS, ENCODERS, LIKELIHOODS, resolve
from dvae.estimators.base import Estimator
from dvae.model import DVAE
from dvae.objective import Objective
from dvae.priors import Prior, energy_model


def build(config: ExperimentConfig, train_mean: np.ndarray) -> tuple[DVAE, Estimator]:
    """The model and the estimator of a configuration; train_mean: float32 [X].

    Raises UserError where the method is not defined for the structure, its prior, or K.
    """
    structure, entry = config.structure, BASELINES[config.baseline]
    of_prior = energy_model(structure)
    method = resolve(entry.method)(structure, config.beta, of_prior, **entry.options)
    objective = Objective(method.log_ratio, entry.importance_weighted and config.k > 1)
    estimator = method.estimator(objective, config.k, structure)

    encoder = resolve(method.encoder or ENCODERS[structure.encoder])
    likelihood = resolve(LIKELIHOODS[structure.likelihood])()
    decoder = resolve(DECODERS[structure.decoder])
    model = DVAE(
        method.posterior,
        encoder(structure, train_mean, method.posterior, config.seed),
        Prior(of_prior),
        likelihood,
        decoder(structure, train_mean, likelihood, config.seed),
    )
    return model, estimator
