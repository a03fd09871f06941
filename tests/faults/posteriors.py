"""Faults of smoothing distributions and of the relaxed posteriors made of them."""

import math

import tensorflow as tf

from tests.faults import argument, cases, fault, result, text, within, wrapped
from tests.faults.common import BLOCKS, STEP, negative, one_key, stop

EXPONENTIAL, POWER, GAUSSIAN = (
    STEP("dvaes_exp-1-5"),
    STEP("dvaes_power-1-5"),
    STEP("dvaes_gauss-1-5"),
)
SHARE = "TestSmoothing.test_sampler[0.0-UniformExponential(sharpness=16.0, epsilon=0.05)]"
SPIKE, SHIFTED = STEP("dvae_spike_exp-2-5"), STEP("dvaes_gi-1-5")
METHODS = cases("test_no_method_draws_a_block_twice")

# Smoothing.
with fault("B(ζ) has the wrong sign", GAUSSIAN, STEP("dvaepp_exp-2-5")):
    result("Smoothing.log_ratio", negative)
with fault("R1 is R0 of the mirror image", GAUSSIAN):
    result("MirroredSmoothing.cdf_at_1", lambda cdf: 1.0 - cdf)
with fault("samples are mirrored for z = 0", GAUSSIAN):
    argument("MirroredSmoothing.sample", binary=lambda bits: 1.0 - bits)
with fault("the exponential is not normalised", EXPONENTIAL):
    wrapped(
        "Exponential.log_density_at_0",
        lambda f, r, z: f(r, z) + math.log(-math.expm1(-r.sharpness)),
    )
with fault("the sharpness of the exponential is squared", EXPONENTIAL):
    wrapped("Exponential.sample_at_0", lambda f, self, *a: f(self, *a) / self.sharpness)
with fault("power smoothing takes β for λ", POWER):
    wrapped("Power.log_density_at_0", lambda f, self, z: f(type(self)(1.0 / self.sharpness), z))
with fault("the density of power smoothing is not normalised", POWER):
    wrapped("Power.log_density_at_0", lambda f, self, z: f(self, z) + math.log(self.sharpness))
with fault("uniform + exponential chooses by what it returns", SHARE, METHODS("dvaes_unexp")):
    within(
        "UniformExponential.sample_at_0",
        "counter_random.split",
        lambda f, *a: tf.gather(f(*a), [0, 0, 2]),
    )
with fault("the Gaussian's β is its standard deviation", GAUSSIAN):
    wrapped("Gaussian.scale", lambda _, self: 1.0 / self.sharpness)

# Mixtures.
with fault("z and ζ are drawn from one key", EXPONENTIAL, STEP("dvaepp_power-1-5"), BLOCKS):
    within("MixturePosterior.sample", "counter_random.split", one_key)
with fault("the implicit gradient has the wrong sign", GAUSSIAN, STEP("dvaepp_power-1-5")):
    argument(
        "MixturePosterior.sample",
        params=lambda q: q._replace(logits=2.0 * tf.stop_gradient(q[0]) - q[0]),
    )
with fault("the implicit gradient is with respect to q instead of the logit", GAUSSIAN):
    text("MixturePosterior.sample", "upstream * «q * (1.0 - q) *  → »difference")
with fault("log q takes 1-q for q", GAUSSIAN):
    argument("MixturePosterior.log_density", params=lambda q: q._replace(logits=-q.logits))

# Spike and exponential.
with fault("the spike lies at 1", SPIKE):
    within("SpikeExponentialPosterior.sample", "tf.zeros_like", lambda _, v: tf.ones_like(v))
with fault("the spike is taken with probability q", SPIKE):
    text("SpikeExponentialPosterior.sample", "rho < «1.0 -  → »q")
with fault("spike-and-exponential is mirrored", SPIKE):
    text("SpikeExponentialPosterior.sample", "expm1(« → -»self.", ") / « → -»self.")
with fault("no gradient flows through the percentile of spike-and-exponential", SPIKE):
    within("SpikeExponentialPosterior.sample", "tf.math.log1p", stop)

# The Gaussian mixture.
with fault("the shift of the Gaussian mixture is twice as wide", SHIFTED):
    result("ShiftedGaussianPosterior.split", lambda q: q._replace(shift=2.0 * q.shift))
with fault("logits and shifts of the Gaussian mixture are exchanged", SHIFTED):
    within("ShiftedGaussianPosterior.split", "tf.split", lambda f, *a, **o: f(*a, **o)[::-1])
with fault("groups of the Gaussian mixture have each other's scale", STEP("dvaes_gi-2-5")):
    argument("ShiftedGaussianPosterior.split", group=lambda group: group - 1)
with fault("the smallest scale of the Gaussian mixture is another", SHIFTED):
    result("posteriors._scale", lambda scale: scale - 0.04)
with fault("the gradient of the scale forgets the shift, as in 2018", SHIFTED):
    text("ShiftedGaussianPosterior.sample", "+ responsibility * at_1« →  + shift / scale»")
with fault("no gradient reaches the shift", SHIFTED):
    argument(
        "ShiftedGaussianPosterior.sample",
        params=lambda q: q._replace(shift=tf.stop_gradient(q.shift)),
    )
with fault("responsibilities are plain probabilities", SHIFTED):
    text("ShiftedGaussianPosterior.sample", "responsibility = « → q + 0.0 * »tf.sigmoid(")
with fault("z and the noise of the Gaussian mixture share a key", SHIFTED):
    within("ShiftedGaussianPosterior.sample", "counter_random.split", one_key)
