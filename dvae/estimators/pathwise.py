"""The gradient through relaxed samples: DVAE, DVAE++ and DVAE#."""

from typing import Any

from dvae.estimators.base import Estimator, Inputs, Step
from dvae.model import DVAE


class Pathwise(Estimator):
    """As biased for the binary model as the relaxation is; exact for the relaxed one.

    With K > 1 the importance-weighted bound has the plain gradient of Burda et al. 2016.
    """

    def step(self, model: DVAE, inputs: Inputs, state: Any) -> Step:  # noqa: D102
        batch, params, key, kl_weight = inputs
        sample = model.sample(batch, self.num_samples, key, training=True)
        terms = self.objective.terms(model, batch, params, sample)
        bound = self.objective.value(terms.log_weights(kl_weight))
        return Step(bound, self.metrics(terms, bound, kl_weight), state)
