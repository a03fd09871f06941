"""Published constants, each below its source. No mathematics."""

# Vahdat, Andriyash, Macready 2018, DVAE#, arXiv 1805.07445, and its supplement.
# Learning rate as (until this fraction of the run, divisor of the base rate).
LEARNING_RATE_STAGES = ((0.02, 10.0), (0.60, 1.0), (0.75, 3.0), (0.95, 10.0), (1.0, 33.0))
KL_WARMUP_FRACTION = 0.3
ADAM = {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-3}
BATCH_NORM = {"momentum": 0.8, "epsilon": 1e-2}
KERNEL_INIT_GAIN = 1.3 * 2.0  # stddev = sqrt(gain / fan_in), truncated at two of them
WEIGHT_DECAY = 1e-4
UNIFORM_SHARE = 0.05  # ε of uniform + exponential
MEAN_FIELD_ITERATIONS = 5  # of the relaxed priors
LAMBDA_MARGIN = 5.0  # λ = max(σ_max(W) + this, β)

# The 2018 command line of DVAE#.
MEAN_CLIP = (0.001, 0.999)  # of the training mean, before its logit becomes the decoder's offset
SELECTION_SAMPLES = 100  # importance samples of the evaluations during training
# ρ^30..ρ^40 underflows in float32: about half of the draws of power smoothing fall below this
# constant, at which density and distribution function are evaluated. It acts as a hyperparameter.
POWER_OFFSET = 1e-7
# Clips of q.
SPIKE_CLIP = 1e-7  # without it q = 0 divides 0 by 0, and saturated units go on to have gradients
SHIFTED_Q_CLIP = 1e-4  # log q(ζ) of a latent far from the mean of a sure unit falls no further
SPIKE_LOGIT_CLIP = 88.0  # bounds what a sure unit adds to the logged value; its gradient is 0
SPIKE_Q_CLIP = 0.999  # bounds the weight 1 / (1 - q) of a left unit that was drawn 0

# Vahdat, Andriyash, Macready 2019, arXiv 1901.03440: undirected posteriors.
COUPLING_NORM = {"momentum": 0.99, "epsilon": 1e-2}  # batch norm of the couplings
COUPLING_SCALE = 1.5  # of the normalised couplings, over the root of the units of a half
POSTERIOR_SCALE = 2.0  # t: inverse temperature of the posterior's spins
POSTERIOR_SWEEPS = 10  # of each image's chains in a training step
POSTERIOR_TEMPERATURES = 500  # of the AIS that samples a posterior in evaluation
# Modes of a posterior: iterations of mean field, rounding of its means, and the samples that a
# mode must have more than.
MODE_ITERATIONS, MODE_ROUNDING, MODE_HITS = 40, 0.01, 5
