"""Constants of `configs.paper` and `configs.setting`, others, and what one asks of another.

A test with a reference of its own sees a wrong constant too, but only where it looks. Here nothing
is missing: a constant that is added to these needs a place in CONSTANTS.
"""

import math

import numpy as np
import pytest
from scipy import stats

from configs import paper, setting
from configs.datasets import DATASETS
from configs.experiment import ExperimentConfig
from data import dataset, digits
from dvae import prior_chains, priors, relaxed_bernoulli, relaxed_priors, undirected
from dvae.estimators import enumeration
from dvae.runs import lock, loop, monitor, result
from dvae.runs.checkpoints import RunOptions
from dvae.streams import EvaluationKey, StepKey, Stream
from samplers import exact, log_partition, log_z_table
from samplers.log_partition_value import ALPHA, Z95

# Of `configs.paper`, where their sources are, and of `configs.setting`.
CONSTANTS = dict(
    LEARNING_RATE_STAGES=((0.02, 10.0), (0.60, 1.0), (0.75, 3.0), (0.95, 10.0), (1.0, 33.0))
)
CONSTANTS |= dict(KL_WARMUP_FRACTION=0.3, KERNEL_INIT_GAIN=2.6, WEIGHT_DECAY=1e-4)
CONSTANTS |= dict(ADAM={"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-3})
CONSTANTS |= dict(BATCH_NORM={"momentum": 0.8, "epsilon": 1e-2}, MEAN_CLIP=(0.001, 0.999))
CONSTANTS |= dict(POWER_OFFSET=1e-7, UNIFORM_SHARE=0.05, SPIKE_CLIP=1e-7, SHIFTED_Q_CLIP=1e-4)
CONSTANTS |= dict(SPIKE_LOGIT_CLIP=88.0, SPIKE_Q_CLIP=0.999)
CONSTANTS |= dict(MEAN_FIELD_ITERATIONS=5, LAMBDA_MARGIN=5.0, SELECTION_SAMPLES=100)
CONSTANTS |= dict(COUPLING_NORM={"momentum": 0.99, "epsilon": 1e-2}, COUPLING_SCALE=1.5)
CONSTANTS |= dict(POSTERIOR_SCALE=2.0, POSTERIOR_SWEEPS=10, POSTERIOR_TEMPERATURES=500)
CONSTANTS |= dict(MODE_ITERATIONS=40, MODE_ROUNDING=0.01, MODE_HITS=5)
CONSTANTS |= dict(MAX_STEPS=2_147_483_647, MAX_SIZE=10_000_000)
CONSTANTS |= dict(MIN_FLOAT=np.finfo(np.float32).tiny, MAX_FLOAT=np.finfo(np.float32).max)


def test_every_constant_is_listed():
    """A new one is written into CONSTANTS too."""
    public = {name for module in (paper, setting) for name in vars(module) if name.isupper()}
    assert {name for name in public if not name.startswith("_")} == set(CONSTANTS)


@pytest.mark.parametrize("name", CONSTANTS)
def test_constant(name):
    assert (vars(paper) | vars(setting))[name] == CONSTANTS[name]


# Those of other modules: published, or such that another value changes recorded numbers.
OTHERS = (
    (relaxed_bernoulli, dict(CONCRETE_CLIP=1e-5, SLOPE_OFFSET=1e-2)),
    (relaxed_priors, dict(B_CLIP=10.0)),
    (prior_chains, dict(FAMILY_WINDOW=100)),
    (priors, dict(SAMPLE_SWEEPS=1000)),
    (monitor, dict(SUMMARY_TEMPERATURES=100, MAX_DRIFT=5.0, COLLAPSED_SHARE=0.02)),
    (loop, dict(MAX_SKIPPED_IN_A_ROW=100)),
    (enumeration, dict(MOST_STATES=1024, MOST_MULTISETS=65536)),
    (exact, dict(MAX_ENUMERATED_UNITS=20)),
    (log_partition, dict(ALPHA=0.05, MARKOV_GROUPS=32)),
    (log_z_table, dict(CONFIDENCE=0.95)),
    (dataset, dict(BINARISATION_SEED=1)),
    (digits, dict(SPLIT_SEED=0)),
)


@pytest.mark.parametrize("module, values", OTHERS, ids=[m.__name__ for m, _ in OTHERS])
def test_constants_of_another_module(module, values):
    assert {name: getattr(module, name) for name in values} == values


def test_purposes_keep_their_streams():
    """Another number is another sequence: runs that are resumed and results would change."""
    names = "INIT STEP EVALUATION FINAL LATENTS EVALUATE GENERATE LOG_Z SUMMARY IMAGE_STATES"
    names += " PIXELS INTERPOLATION DIAGNOSIS"
    assert [stream.name for stream in Stream] == names.split()
    assert [*Stream] == list(range(1, 14))
    assert [key.name for key in StepKey] == ["SAMPLER", "BINARIZATION", "POSTERIOR"]
    assert [key.name for key in EvaluationKey] == ["LOG_PARTITION", "VALIDATION", "TEST"]
    assert [*StepKey] == [*EvaluationKey] == [0, 1, 2]


class TestRelations:
    """What one constant asks of another, where both are not written above."""

    def test_lock(self):
        """A beat may come late, and attributes of files lie in caches for up to a minute (NFS)."""
        assert lock.LEASE_SECONDS >= 5 * lock.BEAT_SECONDS
        assert lock.LEASE_SECONDS >= 60 + 2 * lock.BEAT_SECONDS

    def test_calls_of_the_program(self):
        """Skipped updates are counted after each call; families are, since a step within it."""
        assert loop.MAX_SKIPPED_IN_A_ROW >= loop.STEPS_PER_CALL
        assert loop.STEPS_PER_CALL % prior_chains.FAMILY_WINDOW == 0
        assert 0 < RunOptions().checkpoint_minutes <= 60

    def test_log_z(self):
        assert result.ais_settings(ExperimentConfig()) == log_partition.Settings()
        assert math.isclose(Z95, stats.norm.ppf(1 - ALPHA / 2))

    def test_posteriors(self):
        assert undirected.UndirectedEncoder.samples_per_pass <= paper.SELECTION_SAMPLES


def test_published_files():
    """Digests that are published: TensorFlow Datasets, binarized_mnist.txt; the file of Burda."""
    published = {
        url.rpartition("/")[2]: digest
        for entry in DATASETS.values()
        for url, digest in entry.files.items()
    }
    assert published == {
        "binarized_mnist_train.amat": "sha256:"
        "ad693b29f94c14277b095f5238ddefbbdaaae0939789dd2f4f0205278cee3e4d",
        "binarized_mnist_valid.amat": "sha256:"
        "1de3d397c40fe8eeb33dafd4099a1f665ec01e96d9be234aaeeac8a34930e2e2",
        "binarized_mnist_test.amat": "sha256:"
        "e6687bfea3f820c174f33b7865140b2a2dd2930ef786f35d45795fc193b5ab2c",
        "chardata.mat": "md5:21ecaf34373511aa7691cf2e0802aa3d",
    }


def test_published_sizes():
    """Evaluation batches of the 2018 command line; sizes of Burda et al. 2016 and of our split."""
    found = {name: (entry.eval_batch_size, *entry.sizes) for name, entry in DATASETS.items()}
    assert found == {
        "binarized_mnist": (1000, 50_000, 10_000, 10_000),
        "omniglot": (269, 23_000, 1345, 8070),
        "digits": (1000, 1297, 200, 300),
    }
