"""The published settings, typed a second time, against what a command line ends up with.

Source of the numbers: DVAE# (arXiv 1805.07445) with its supplement, and the 2018 command line.
"""

import dataclasses

import numpy as np
import pytest
from absl.testing import flagsaver

import run
from configs import command_line, paper, registry
from configs.errors import UserError
from configs.experiment import ExperimentConfig, build_config
from configs.tables import PUBLISHED_BASELINES
from dvae.runs import monitor, result
from samplers import ais, log_partition

# β: data set, structure, and a value for each of the baselines.
SHARPNESS = """
binarized_mnist 1-layer-lin    5 12 40 40 40 12 40 40
binarized_mnist 1-layer-nonlin 5 14 30 30 30 12 30 40
binarized_mnist 2-layer-nonlin 4 10 30 30 25 10 16 30
binarized_mnist 4-layer-nonlin 4 10 30 30 25 10 16 30
omniglot        1-layer-lin    4 14 40 40 40 12 40 40
omniglot        1-layer-nonlin 4 12 40 30 25 10 16 30
omniglot        2-layer-nonlin 4 10 30 25 25  8 16 20
omniglot        4-layer-nonlin 4 10 30 25 25  8 16 20
"""
# Groups, units of each, hidden layers, hidden units.
STRUCTURES = {"1-layer-lin": (1, 200, 0, 200), "1-layer-nonlin": (1, 200, 2, 200)}
STRUCTURES |= {"2-layer-nonlin": (2, 200, 2, 200), "4-layer-nonlin": (4, 100, 2, 200)}
# The function that makes its parts, its smoothing, and whether K > 1 is importance-weighted.
PARTS = {
    "dvae_spike_exp": ("dvae", None, False),
    "dvaepp_exp": ("dvaepp", "Exponential", False),
    "dvaepp_power": ("dvaepp", "Power", False),
    "dvaes_gi": ("dvaes_gaussian_integral", None, True),
    "dvaes_gauss": ("dvaes", "Gaussian", True),
    "dvaes_exp": ("dvaes", "Exponential", True),
    "dvaes_unexp": ("dvaes", "UniformExponential", True),
    "dvaes_power": ("dvaes", "Power", True),
}


def configured(*arguments):
    """The configuration of a command line."""
    with flagsaver.flagsaver():
        command_line.parse(["run.py", *arguments])
        return run.config_from_flags()


@pytest.mark.parametrize("line", SHARPNESS.strip().splitlines())
def test_sharpness(line):
    dataset, struct, *values = line.split()
    for baseline, value in zip(PARTS, values, strict=True):
        config = configured(f"--dataset={dataset}", f"--struct={struct}", f"--baseline={baseline}")
        assert config.beta == float(value), baseline


def test_sharpness_of_other_data_is_that_of_mnist_and_beta_overrides_it():
    assert configured("--dataset=digits", "--struct=1-layer-nonlin").beta == 40.0
    assert configured("--dataset=a/b.npz").beta == 30.0
    assert configured("--dataset=omniglot", "--beta=7.5").beta == 7.5


@pytest.mark.parametrize("baseline", "st reinmax loo vimco disarm rodeo exact".split())
def test_a_method_without_sharpness_takes_none(baseline):
    """Its runs lie where they always lay, and those that were recorded with one can be read."""
    plain = dict(baseline=baseline, k=2, struct="1-layer-nonlin")
    config = build_config(**plain)
    assert not config.has_sharpness and build_config().has_sharpness
    assert config.run_directory("logs").name == "pa_beta1_seed0"
    with pytest.raises(UserError, match=f"^{baseline} has no beta: leave it out$"):
        build_config(**plain, beta=2.0)
    recorded = ExperimentConfig.from_json(config.to_json() | {"beta": 2.0})
    assert recorded.beta == 2.0


@pytest.mark.parametrize("struct", STRUCTURES)
def test_structures(struct):
    found = configured(f"--struct={struct}").structure
    sizes = found.num_groups, found.units_per_group, found.num_hidden_layers, found.hidden_units
    assert sizes == STRUCTURES[struct]
    assert found.num_latents == sizes[0] * sizes[1]
    names = found.encoder, found.decoder, found.likelihood, found.prior
    assert names == ("dense", "dense", "bernoulli", "rbm")


def test_what_each_baseline_is_made_of():
    assert PUBLISHED_BASELINES == tuple(PARTS)
    for name, (method, smoothing, weighted) in PARTS.items():
        entry = registry.BASELINES[name]
        options = {} if smoothing is None else {"smoothing": f"dvae.smoothing:{smoothing}"}
        assert entry.method == f"dvae.methods:{method}", name
        assert (dict(entry.options), entry.importance_weighted) == (options, weighted), name


def test_defaults():
    """A command line without flags is the published run; log Z as in its evaluation or better."""
    found = configured()
    expected = dict(dataset="binarized_mnist", struct="2-layer-nonlin", baseline="dvaes_power")
    expected |= dict(k=1, sampler="pa", seed=0, num_train_iter=1_000_000, train_batchsize=100)
    expected |= dict(eval_batchsize=1000, eval_iw_samples=4000, eval_every=20_000)
    expected |= dict(summary_every=1000, base_lr=3e-3, input_size=784, num_chains=1000)
    expected |= dict(num_sweeps=40, resample_threshold=1.0, log_z_population="shared")
    expected |= dict(log_z_chains=1000, ais_chains=1024, ais_temperatures=1000, ais_base="uniform")
    assert {name: getattr(found, name) for name in expected} == expected


def test_evaluation():
    """By data set and length of the run; the choice of the best model by 100 samples."""
    assert configured("--dataset=omniglot").eval_batchsize == 269
    assert configured("--dataset=omniglot", "--eval_batchsize=50").eval_batchsize == 50
    assert configured("--dataset=digits").eval_batchsize == 1000
    intervals = {100_000: (10_000, 1000), 100_001: (20_000, 1000), 10_000: (10_000, 1000)}
    for steps, expected in (intervals | {2000: (500, 200), 3: (1, 1)}).items():
        found = configured(f"--num_train_iter={steps}")
        assert (found.eval_every, found.summary_every) == expected
    assert configured("--eval_every=123").eval_every == 123
    assert {m.SELECTION_SAMPLES for m in (paper, monitor, result)} == {100}
    settings = log_partition.Settings()
    assert (settings.num_chains, settings.num_temperatures) == (1024, 1000)
    np.testing.assert_allclose(
        ais.linear_temperatures(1000).numpy(), np.arange(1001) / 1000, rtol=1e-6
    )


def test_every_flag_reaches_its_field():
    """Values that no default has."""
    wanted = dict(dataset="omniglot", struct="4-layer-nonlin", baseline="dvaes_unexp", k=3)
    wanted |= dict(num_train_iter=123_456, train_batchsize=77, eval_batchsize=88, base_lr=0.25)
    wanted |= dict(eval_iw_samples=99, seed=5, eval_every=1234, summary_every=17, num_chains=18)
    wanted |= dict(num_sweeps=19, resample_threshold=0.5, log_z_population="separate")
    wanted |= dict(log_z_chains=20, ais_chains=21, ais_temperatures=22, ais_base="fitted")
    wanted |= dict(sampler="pcd", input_size=30)
    found = configured("--beta=6.5", *(f"--{name}={value}" for name, value in wanted.items()))
    assert {name: getattr(found, name) for name in wanted} == wanted
    assert found.beta == 6.5
    assert configured("--qupa=False").sampler == "pcd"
    assert configured("--noqupa").sampler == "pcd"
    assert configured("--qupa=True").sampler == "pa"
    path = found.run_directory("logs").as_posix()
    assert path == "logs/omniglot/4-layer-nonlin/dvaes_unexp/3/pcd_beta6.5_seed5"


def test_sizes_of_a_structure_and_the_name_of_its_runs():
    found = configured("--struct=1-layer-nonlin", "--num_latents=60", "--num_groups=3")
    assert found.structure == dataclasses.replace(
        registry.STRUCTURES["1-layer-nonlin"], num_groups=3, units_per_group=20
    )
    assert found.run_directory("L").parts[2] == "1-layer-nonlin-latents60-groups3"
    found = configured("--hidden_units=7", "--num_hidden_layers=0")
    assert (found.structure.hidden_units, found.structure.num_hidden_layers) == (7, 0)
    assert found.structure_name == "2-layer-nonlin-layers0-hidden7"
    usual = configured("--num_latents=400", "--num_groups=2", "--hidden_units=200")
    assert usual == configured() and usual.structure_name == "2-layer-nonlin"
    assert ExperimentConfig.from_json(found.to_json()) == found
    with pytest.raises(UserError, match="num_latents=401 must be a multiple of the 2 groups"):
        build_config(num_latents=401)
    with pytest.raises(UserError, match="one latent group only"):
        build_config(baseline="dvaess_pwl", struct="1-layer-nonlin", num_groups=2)
