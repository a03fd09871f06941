"""One training step in float64, from the formulas alone: weights, slots and averages after it.

Follow the prior with the chains, binarise the batch, run encoder and decoder in training mode,
differentiate the loss by complex step (see `relaxation`), add weight decay, update by Adam.

Weights go by name: `encoder<group>/` and `decoder/` followed by `first<part>` (images, then each
earlier group), `kernel<i>`, `gamma<i>`, `beta<i>` and `bias`; `raw_scale<group>`; `left_bias`,
`right_bias` and `coupling` of the prior.
"""

from dataclasses import dataclass, field, replace

import numpy as np
from scipy.special import logit

from tests.reference import chains, relaxation, smoothing, straight
from tests.reference.chains import Population
from tests.reference.counter_random import fold_in, key_of, split, uniform
from tests.reference.rbm import ReferenceRBM
from tests.reference.relaxation import STEP, Draw, real

# Smoothing of each baseline of overlapping or conditioned smoothing.
SMOOTHINGS = {
    "dvaepp_exp": smoothing.Exponential,
    "dvaepp_power": smoothing.Power,
    "dvaes_gauss": smoothing.Gaussian,
    "dvaes_exp": smoothing.Exponential,
    "dvaes_unexp": smoothing.UniformExponential,
    "dvaes_power": smoothing.Power,
}
STEP_STREAM = 2
RATE_DIVISORS = ((0.02, 10), (0.6, 1), (0.75, 3), (0.95, 10), (2.0, 33))


@dataclass(frozen=True)
class Setting:
    """What a run fixes. terms: factors of single terms, to see what a fault would do."""

    baseline: str
    group_sizes: tuple[int, ...]
    k: int
    sharpness: float
    train_mean: np.ndarray
    base_lr: float
    num_steps: int
    seed: int
    sampler: str = "pa"
    num_sweeps: int = 1
    threshold: float = 1.0
    grey_unit: float | None = None  # None: binary images
    weight_decay: float = 1e-4
    terms: dict = field(default_factory=dict)

    def term(self, name):
        """1, or the factor that a test puts in."""
        return self.terms.get(name, 1.0)

    @property
    def of_samples(self):
        """Whether log q and the prior are those of relaxed samples, so that K of them weigh."""
        return self.baseline.startswith("dvaes_") or self.baseline in straight.ALL


@dataclass(frozen=True)
class State:
    """What a step changes. moments: first and second of each weight. averages: of batch norm,
    (mean, variance) by `<network>/<layer>`. values: objective, reconstruction, KL (for logs)."""

    step: int
    weights: dict
    moments: dict
    averages: dict
    population: Population
    values: dict = field(default_factory=dict)


def kl_weight(setting, step):
    """0 to 1 over the first 30 % of the run."""
    return setting.term("kl weight") * min(step / setting.num_steps / 0.3, 1.0)


def learning_rate(setting, step):
    """The staged rate."""
    fraction = step / setting.num_steps
    divisor = next(divisor for until, divisor in RATE_DIVISORS if fraction < until)
    return setting.term("learning rate") * setting.base_lr / divisor


class Pass:
    """One pass through the networks in training mode; collects batch statistics."""

    def __init__(self, setting, weights):
        self.setting, self.weights = setting, weights
        self.statistics = {}

    def network(self, name, *parts):
        weights, layer = self.weights, 0
        value = sum(part @ weights[f"{name}/first{i}"] for i, part in enumerate(parts))
        while f"{name}/gamma{layer}" in weights:
            mean = value.mean(axis=-2, keepdims=True)
            variance = ((value - mean) ** 2).mean(axis=-2, keepdims=True)
            self.statistics[f"{name}/{layer}"] = (real(mean)[0, 0], real(variance)[0, 0])
            epsilon = 1e-2 * self.setting.term("norm epsilon")
            normalised = (value - mean) / np.sqrt(variance + epsilon)
            scaled = normalised * weights[f"{name}/gamma{layer}"] + weights[f"{name}/beta{layer}"]
            value = np.tanh(scaled) @ weights[f"{name}/kernel{layer}"]
            layer += 1
        return value + weights[f"{name}/bias"]

    def encode(self, images, key):
        """All groups, each given the image and the groups before, [N, X]."""
        groups = []
        centred = (images - self.setting.train_mean)[None]
        for group in range(len(self.setting.group_sizes)):
            earlier = [draw.zeta for draw in groups]
            outputs = self.network(f"encoder{group}", centred, *earlier)
            raw_scale = self.weights.get(f"raw_scale{group}")
            groups.append(self._posterior()(outputs, raw_scale, fold_in(key, group)))
        columns = zip(*groups, strict=True)
        return Draw(*(None if c[0] is None else np.concatenate(c, axis=-1) for c in columns))

    def _smoothing(self):
        kind = SMOOTHINGS[self.setting.baseline]
        offset = {"offset": 1e-7} if kind is smoothing.Power else {}
        return kind(self.setting.sharpness, **offset)

    def log_q_at(self, images, zeta):
        """Of relaxed bits in the energies of binary ones, at given latents, [P, N, D]."""
        centred = (images - self.setting.train_mean)[None]
        groups = np.split(zeta, np.cumsum(self.setting.group_sizes)[:-1], axis=-1)
        names = [f"encoder{group}" for group in range(len(groups))]
        logits = [self.network(n, centred, *groups[:at]) for at, n in enumerate(names)]
        return straight.log_q(zeta, np.concatenate(logits, axis=-1))

    def _posterior(self):
        if self.setting.baseline in straight.ALL:
            return straight.Bits(self.setting.baseline, self.setting.sharpness)
        if self.setting.baseline == "dvae_spike_exp":
            return relaxation.SpikeExponential(self.setting.sharpness)
        if self.setting.baseline == "dvaes_gi":
            return relaxation.ShiftedGaussian()
        return relaxation.Mixture(self._smoothing())

    def rbm(self):
        """The prior's parameters."""
        return relaxation.RBM(*(self.weights[n] for n in ("left_bias", "right_bias", "coupling")))

    def kl(self, draw):
        """Without log Z, [P, N]."""
        setting, rbm = self.setting, self.rbm()
        if setting.of_samples:
            if setting.baseline in straight.ALL:
                prior = rbm.negative_energy(draw.zeta)
            elif setting.baseline == "dvaes_gi":
                prior = relaxation.gaussian_integral_log_prior(rbm, draw.zeta, setting.sharpness)
            else:
                densities = self._smoothing().log_densities
                prior = relaxation.mean_field_log_prior(rbm, draw.zeta, densities)
            posterior = setting.term("posterior") * np.sum(draw.log_q, axis=-1)
            return posterior - setting.term("prior") * prior
        if len(setting.group_sizes) == 1:
            return relaxation.factorial_kl(rbm, draw, setting.terms)
        if setting.baseline == "dvae_spike_exp":
            return relaxation.spike_kl(rbm, draw, setting.terms, setting.group_sizes[-1])
        return relaxation.smoothed_kl(rbm, draw, setting.terms, self._smoothing().log_odds)

    def objective(self, images, key, weight):
        """What is raised, averaged over images, and its parts, [P] each; row b K + k of image b."""
        setting = self.setting
        repeated = np.repeat(images, setting.k, axis=0)
        draw = self.encode(repeated, key)
        squared = setting.baseline in straight.SQUARED
        own = Draw(*map(real, draw)) if squared else draw
        log_w, likelihood, kl = self.log_weights(repeated, own, weight)
        if setting.k > 1 and setting.of_samples:
            log_w = log_w.reshape(len(log_w), -1, setting.k)
            high = real(log_w).max(axis=-1, keepdims=True)
            log_w = high[..., 0] + np.log(np.mean(np.exp(log_w - high), axis=-1))
        log_w = log_w.mean(axis=-1)
        if squared:
            log_w = log_w + 1j * np.imag(self.along_samples(repeated, draw, weight))
        return {"objective": log_w, "reconstruction": likelihood.mean(-1), "kl": kl.mean(-1)}

    def log_weights(self, images, draw, weight):
        """log w, log p(x | ζ) and the KL term of each row, [P, N]."""
        constant = logit(np.clip(self.setting.train_mean, 0.001, 0.999))
        logits = self.network("decoder", draw.zeta) + constant
        likelihood = np.sum(images * logits - relaxation.softplus(logits), axis=-1)
        kl = self.kl(draw)
        return self.setting.term("reconstruction") * likelihood - weight * kl, likelihood, kl

    def along_samples(self, images, draw, weight):
        """Doubly reparameterised: what moves is ζ alone, log w_k has the weights κ w² + (1-κ) w."""
        still = Pass(self.setting, {name: real(value) for name, value in self.weights.items()})
        own = draw._replace(log_q=still.log_q_at(images, draw.zeta))
        log_w = still.log_weights(images, own, weight)[0]
        log_w = log_w.reshape(len(log_w), -1, self.setting.k)
        odds = np.exp(real(log_w - real(log_w).max(axis=-1, keepdims=True)))
        share = odds / odds.sum(axis=-1, keepdims=True)
        factors = weight * share**2 + (1 - weight) * share
        return np.sum(factors * log_w, axis=-1).mean(axis=-1)


def moved(weights):
    """Each weight with an axis in front along which one number after another is moved."""
    total = sum(value.size for value in weights.values())
    result, start = {}, 0
    for name, value in weights.items():
        rows = np.zeros([total, value.size], complex) + value.ravel()
        rows[start + np.arange(value.size), np.arange(value.size)] += STEP * 1j
        start += value.size
        # Vectors stand beside rows of a batch.
        result[name] = rows.reshape(total, *(value.shape if value.ndim == 2 else (1, value.size)))
    return result


def gradient(setting, state, images, key):
    """Of the loss with weight decay; the pass, and the values for logs."""
    weight = kl_weight(setting, state.step)
    forward = Pass(setting, moved(state.weights))
    values = forward.objective(images, key, weight)
    negative_energy = forward.rbm().negative_energy(state.population.states[None])
    log_z = setting.term("log Z") * np.sum(state.population.weights() * negative_energy, axis=-1)
    slopes = np.imag(weight * log_z - values["objective"]) / STEP
    pieces = np.split(slopes, np.cumsum([value.size for value in state.weights.values()])[:-1])
    result = {}
    for (name, value), piece in zip(state.weights.items(), pieces, strict=True):
        decayed = any(part in name for part in ("first", "kernel", "gamma", "coupling"))
        factor = setting.term("decay") * setting.weight_decay if decayed else 0.0
        result[name] = piece.reshape(value.shape) + factor * value
    return result, forward, {name: float(real(value)[0]) for name, value in values.items()}


def adam(setting, state, gradients):
    """Kingma and Ba 2015 in the form before their section 2.1: epsilon beside the raw moment."""
    count = state.step + 1
    beta_1, beta_2 = 0.9 * setting.term("beta 1"), 0.999 * setting.term("beta 2")
    rate = learning_rate(setting, state.step) * np.sqrt(1 - beta_2**count) / (1 - beta_1**count)
    weights, moments = {}, {}
    for name, slope in gradients.items():
        first, second = state.moments[name]
        first = beta_1 * first + (1 - beta_1) * slope
        second = beta_2 * second + (1 - beta_2) * slope**2
        epsilon = 1e-3 * setting.term("epsilon")
        weights[name] = state.weights[name] - rate * first / (np.sqrt(second) + epsilon)
        moments[name] = first, second
    return weights, moments


def training_step(setting, state, images):
    """The state after one step; images [B, X]: bits, or grey levels to be binarised."""
    step_key = fold_in(fold_in(key_of(setting.seed), STEP_STREAM), state.step)
    for_chains, for_binarising, for_posterior = split(step_key, 3)
    rbm = ReferenceRBM(*(state.weights[n] for n in ("left_bias", "right_bias", "coupling")))
    chain_key = split(for_chains, 2)[0]
    arguments = (rbm, state.population, chain_key, setting.num_sweeps)
    if setting.sampler == "pa":
        population = chains.anneal(*arguments, setting.threshold)
    else:
        population = chains.contrastive_divergence(*arguments)
    if setting.grey_unit is not None:
        probability = np.float32(images) * np.float32(setting.grey_unit)
        images = uniform(for_binarising, images.shape) < probability
    state = replace(state, population=population)
    gradients, forward, values = gradient(setting, state, np.float64(images), for_posterior)
    weights, moments = adam(setting, state, gradients)
    momentum = 0.8 * setting.term("momentum")
    averages = {}
    for name, statistics in forward.statistics.items():
        pairs = zip(state.averages[name], statistics, strict=True)
        averages[name] = tuple(momentum * old + (1 - momentum) * new for old, new in pairs)
    return State(state.step + 1, weights, moments, averages, population, values)
