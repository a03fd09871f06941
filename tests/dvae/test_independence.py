"""Random numbers that must be independent are: of steps, purposes, groups, samples and images.

Every Threefry block that a run draws is recorded with its purpose. No block may be drawn twice,
which is all that counter-based numbers ask for.
"""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from configs.experiment import ExperimentConfig
from configs.paper import POSTERIOR_SWEEPS
from configs.registry import BASELINES, SAMPLERS, Structure
from data.dataset import Dataset
from dvae.evaluation import Evaluator
from dvae.prior_chains import PriorChains
from dvae.runs.checkpoints import Progress
from dvae.runs.directory import RunDirectory
from dvae.runs.monitor import Monitor
from dvae.runs.result import evaluate_model
from dvae.runs.summaries import Summaries
from dvae.streams import Stream, stream_key
from dvae.train_step import TrainProgram
from samplers.rbm import Halves
from tests.helpers import statistical, tiny_models
from tests.helpers.recorded_draws import Draws, bits, words
from tests.helpers.step_cases import config_of
from tests.helpers.tiny_training import eager

NUM_STEPS = 2
IMAGES, UNITS, CHAINS = 40, 12, 16
BATCH = np.arange(IMAGES, dtype=np.int32)[None]


def grey_data():
    """Training images of 60 pixels that are binarised anew, and bits of the other sets."""
    rng = np.random.default_rng(1)
    grey = rng.integers(1, 16, (80, 60)).astype(np.uint8)
    drawn = np.uint8(rng.random((40, 60)) < 0.5)
    return Dataset("grey", grey, 1 / 16, True, drawn, drawn[:30], (6, 10), "", "")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Two trainings (seeds) of a few steps; of one of them evaluations, summaries and result."""
    sizes = dict(input_size=60, train_batchsize=IMAGES, num_chains=100, num_sweeps=3)
    sizes |= dict(log_z_population="separate", log_z_chains=20, ais_chains=50, ais_temperatures=6)
    sizes |= dict(eval_batchsize=20, eval_iw_samples=5, structure=Structure(2, 12, 1, 5))
    with pytest.MonkeyPatch.context() as patch, eager():
        seen = Draws(patch)
        for seed in (statistical.seed(1), statistical.seed(2)):
            with seen.named(f"seed {seed}: init"):
                config = config_of("dvaes_exp", 2, 5, seed=seed, **sizes)
                program = TrainProgram(config, grey_data())
            train(seen, patch, program, seed, NUM_STEPS)
        for module in ("monitor", "result"):
            patch.setattr(f"dvae.runs.{module}.SELECTION_SAMPLES", 3)
        patch.setattr("dvae.runs.monitor.SUMMARY_TEMPERATURES", 5)
        patch.setattr("dvae.evaluation.num_workers", lambda: 1)
        summaries = Summaries(RunDirectory(tmp_path_factory.mktemp("run")))
        monitor = Monitor(config, grey_data(), program, summaries)
        for step in (1, NUM_STEPS):
            with seen.named(f"evaluation, step {step}"):
                monitor.evaluate(Progress(step=step), lambda: None)
            with seen.named(f"summary, step {step}"):
                monitor.summarize(Progress(step=step))
        with seen.named("final"):
            chains = program.sampler.chains(program.state.sampler)
            key = stream_key(program.run_key, Stream.FINAL)
            evaluate_model(monitor.evaluator, config, grey_data(), chains, key)
        return seen


def train(seen, patch, program, seed, num_steps):
    """A few steps of 40 images, each purpose named; posterior draws by their group."""
    groups = itertools.cycle(range(program.config.structure.num_groups))
    for owner, method, purpose in (
        (program.sampler, "step", lambda: "prior"),
        (program, "batch", lambda: "binarisation"),
        (program.estimator, "step", lambda: "estimator"),
        (program.model.encoder.posterior, "sample", lambda: f"posterior, group {next(groups)}"),
    ):
        name = lambda said=purpose: f"seed {seed}, step {program.state.step}: {said()}"  # noqa: E731
        seen.wrap(patch, owner, method, name)
    for _ in range(num_steps):
        program.run(BATCH, 1)


def test_no_block_is_drawn_twice(recorded):
    """Over steps, purposes, groups, samples, images, units, seeds, evaluation and summaries."""
    recorded.assert_apart()
    # Of each seed the start and four purposes a step; evaluations, summaries and their two groups,
    # which go by the step of the program; the result.
    assert len(recorded.names) == 2 * (1 + NUM_STEPS * 4) + 4 + 2 + 1
    assert recorded.count() > 15_000


def test_as_many_samples_as_asked_for(recorded):
    """AIS of 50 chains and 6 temperatures forward; 3 samples of 70 images, of 24 units.

    Three sweeps a step of the 100 chains that feed the gradient, and of 20 that track log Z. In
    the end reverse from exact samples too, and of 30 images 5 samples.
    """
    forward, samples = bits(50, 12) + bits(6, 50, 24), bits(70, 3, 24)
    for step in (1, NUM_STEPS):
        assert recorded.count(f"evaluation, step {step}") >= forward + samples
        assert recorded.count(f"summary, step {step}") >= bits(50, 12) + bits(5, 50, 24)
    for step in range(NUM_STEPS):
        swept = bits(3, 100, 24) + bits(3, 20, 24)
        assert recorded.count(f"step {step}", "prior") >= 2 * swept
    exactly = 50 + bits(50, 12)
    backward, test = exactly + bits(6, 50, 24), bits(40, 3, 24) + bits(30, 5, 24)
    assert recorded.count("final") >= forward + backward + test


METHODS = [name for name in BASELINES if name != "exact"]  # which enumerates


def least_blocks(baseline, k):
    """Of an estimator's step: two groups, or one, of 12 latents together."""
    sampled = (IMAGES, k, UNITS)
    if baseline.startswith(("dvaepp", "dvaes_")):  # a bit, and what relaxes it
        return bits(*sampled) + words(*sampled) * (3 if baseline == "dvaes_unexp" else 1)
    if baseline.startswith("dvaess"):
        return bits(*sampled) * POSTERIOR_SWEEPS + words(*sampled)
    if baseline in ("dvae_spike_exp", "gumbolt", "pwl", "concrete", "disarm"):
        return words(*sampled)
    return bits(*sampled)


@pytest.mark.parametrize("number, baseline", list(enumerate(METHODS)), ids=METHODS)
def test_no_method_draws_a_block_twice(number, baseline, monkeypatch):
    """A step of each method, with each sampler in turn: no block twice, and how many.

    Each image, sample and unit of each group takes numbers of its own, and each chain and unit
    of each sweep. Groups and halves are of equal size.
    """
    one_group = BASELINES[baseline].most_groups == 1
    structure = Structure(1, UNITS, 0, 5) if one_group else Structure(2, UNITS // 2, 0, 5)
    sizes = dict(input_size=60, train_batchsize=IMAGES, num_chains=CHAINS, num_sweeps=2)
    k, draws, sampler = 3, Draws(monkeypatch), list(SAMPLERS)[number % len(SAMPLERS)]
    fields = dict(baseline=baseline, k=k, sampler=sampler, structure=structure, beta=3.0, seed=17)
    with eager():
        with draws.named("start"):
            program = TrainProgram(ExperimentConfig(**fields, **sizes), grey_data())
        train(draws, monkeypatch, program, 17, 1)
    draws.assert_apart()
    of_a_step = least_blocks(baseline, k)
    assert of_a_step <= draws.count("estimator") + draws.count("posterior") < 1.1 * of_a_step
    assert draws.count("binarisation") == words(IMAGES, 60)
    assert draws.count("prior") >= bits(2, CHAINS, UNITS)
    # Chains of the prior, and left halves of those of each of 80 images.
    of_images = words(80, k, UNITS // 2) if baseline.startswith("dvaess") else 0
    of_chains = bits(CHAINS, UNITS) if sampler == "pt" else words(CHAINS, UNITS)
    assert draws.count("start") >= of_chains + of_images


COPIES, SAMPLES = 7, 3


@pytest.mark.parametrize("baseline, groups, rows", [("dvaes_exp", 2, 4), ("dvaess_pwl", 1, 12)])
def test_evaluation_of_equal_images_differs(baseline, groups, rows, monkeypatch):
    """Copies of an image in one batch, in others, and in another pass have samples of their own.

    Posterior means are near one half and one sample is taken: equal values mean equal bits. Each
    image has as many samples as were asked for.
    """
    structure = Structure(groups, UNITS // groups, 0, 5)
    model = tiny_models.make_model(structure, 0.3, 5, baseline=baseline, beta=4.0)
    model.encoder.num_temperatures = 3
    images = np.tile(np.uint8([[1, 0, 1, 1, 0, 0, 1]]), (COPIES, 1))
    draws = Draws(monkeypatch)
    monkeypatch.setattr("dvae.evaluation.num_workers", lambda: 1)
    monkeypatch.setattr("dvae.evaluation._ROWS_PER_PASS_CPU", rows)
    with eager():
        found = Evaluator(model).per_image(images, SAMPLES, 4, statistical.key(3))
    assert len(np.unique(np.round(found.neg_elbo, 5))) == COPIES
    draws.assert_apart()
    of_a_sample = UNITS * (1 if groups == 2 else 1 + 3)  # of the base, and of three temperatures
    assert draws.count() >= bits(COPIES, SAMPLES, of_a_sample)


def test_modes_of_images_are_counted_apart(monkeypatch):
    """Samples of 11 images, ten of which are taken at once: three temperatures, four samples."""
    model = tiny_models.make_model(Structure(1, UNITS, 0, 5), 0.3, 5, baseline="dvaess_pwl")
    model.encoder.num_temperatures = 3
    draws = Draws(monkeypatch)
    with eager():
        model.encoder.count_modes(np.float32(tiny_models.images()), 4, statistical.key(1))
    draws.assert_apart()
    assert draws.count() >= bits(11, 4, 4 * UNITS)


def test_samples_of_the_prior_part(monkeypatch):
    """More samples than chains start as copies: each goes on with numbers of its own.

    At zero parameters they are fair bits: of 1200, a standard error of 0.014.
    """
    draws = Draws(monkeypatch)
    prior = tiny_models.make_model(Structure(1, UNITS, 0, 5)).prior
    for variable in prior.variables:
        variable.assign(tf.zeros_like(variable))
    monkeypatch.setattr("dvae.priors.SAMPLE_SWEEPS", 2)
    with eager():
        sampler = PriorChains(ExperimentConfig(), prior.energy_model)
        chains = sampler.init(statistical.key(1)).gradient.chains
        chains = type(chains)(*(half[:50] for half in chains))
        with draws.named("samples"):
            drawn = prior.samples(prior.parameters(), chains, 100, statistical.key(2)).numpy()
    draws.assert_apart()
    assert draws.count("samples") >= bits(2, 100, UNITS)
    assert drawn.shape == (100, UNITS)
    for first, second in (np.split(drawn, 2), np.split(drawn, 2, axis=1)):
        statistical.assert_fraction(np.ravel(first == second), np.array(0.5))


def test_samples_of_the_prior_start_from_all_chains(monkeypatch):
    """Units of both halves that are locked in pairs stay as they were: each chain's in turn."""
    prior = tiny_models.make_model(Structure(1, UNITS, 0, 5)).prior
    half = UNITS // 2
    for bias in prior.fields[:2]:
        bias.assign(tf.fill([half], -30.0))
    prior.fields.coupling.assign(60.0 * tf.eye(half))
    right = np.float32(np.random.default_rng(4).integers(0, 2, (5, half)))
    chains = Halves(tf.zeros([5, half]), tf.constant(right))
    monkeypatch.setattr("dvae.priors.SAMPLE_SWEEPS", 1)
    with eager():
        drawn = prior.samples(prior.parameters(), chains, 12, statistical.key(2)).numpy()
    expected = np.concatenate([right, right, right[:2]])
    np.testing.assert_array_equal(drawn, np.concatenate([expected, expected], axis=1))
