"""Runs whose prior is a graph in four classes: trained, evaluated, sampled, against enumeration."""

import dataclasses
import json

import numpy as np
import pytest
from scipy.special import logsumexp

from configs import registry
from configs.registry import Structure
from dvae.runs import commands
from dvae.runs.trained_model import TrainedModel
from samplers import exact
from samplers.boltzmann import BoltzmannMachine
from tests.helpers import statistical, tiny_runs
from tests.reference.graph import ReferenceGraph, king_moves

EDGES = king_moves(8)
SAMPLERS = [
    ("pa", 1),
    pytest.param(("pcd", 2), marks=pytest.mark.slow),
    pytest.param(("pt", 1), marks=pytest.mark.slow),
]


@pytest.fixture(scope="module", params=SAMPLERS, ids=lambda param: param[0])
def run(request, tmp_path_factory):
    """A finished run, in whose training the couplings have moved; of a sampler and some groups."""
    sampler, groups = request.param
    registry.PRIORS["king"] = lambda structure: BoltzmannMachine(structure.num_latents, EDGES)
    folder = tmp_path_factory.mktemp(sampler)
    structure = dataclasses.replace(Structure(groups, 8 // groups, 1, 20), prior="king")
    config = tiny_runs.tiny_config(
        tiny_runs.write_data(folder / "own.npz", grey=False),
        **dict(baseline="loo", k=2, sampler=sampler, base_lr=0.03, structure=structure),
        **dict(eval_iw_samples=2000, ais_chains=400, num_temperatures=4),
        num_chains=1600 if sampler == "pt" else 400,  # 400 feed the gradient, as many as AIS has
    )
    tiny_runs.train(config, folder / "run")
    yield TrainedModel(folder / "run", str(folder))
    del registry.PRIORS["king"]


@pytest.fixture
def prior(run):
    return ReferenceGraph(np.float64(run.prior.bias), EDGES, np.float64(run.prior.coupling))


def test_trained(run, prior):
    """log Z is exact in the result, as the model can be enumerated."""
    assert np.abs(prior.coupling).min() > 0 and np.abs(prior.coupling).max() > 0.05
    assert run.chains.shape == (400, 8) and set(np.unique(run.chains)) == {0.0, 1.0}
    assert run.result["log_z"] == pytest.approx(prior.log_partition(), abs=1e-5)
    found = run.log_partition()
    assert found.status == "exact" and found.value == pytest.approx(prior.log_partition(), abs=1e-5)


def test_log_partition_without_enumeration(run, prior, monkeypatch, tmp_path):
    """--mode=log_z: AIS both ways and tempering within 5 stated errors; bounds on their side."""
    monkeypatch.setattr(exact, "MAX_ENUMERATED_UNITS", 0)
    assert commands.log_z(run, tmp_path) == 0
    rows = json.loads((tmp_path / "log_z.json").read_text())["estimators"]
    by_name = {row["estimator"]: row for row in rows}
    assert "exact" not in by_name
    for name in ("forward AIS, uniform base", "forward AIS, fitted base", "tempering and BAR"):
        row = by_name[name]
        assert 0 < row["stderr"] < 0.05
        assert abs(row["value"] - prior.log_partition()) < statistical.SIGMAS * row["stderr"]
    back = by_name["reverse AIS"]  # from chains that have all but mixed
    assert abs(back["value"] - prior.log_partition()) < statistical.SIGMAS * back["stderr"] + 0.05
    assert by_name["Markov lower bound, uniform base"]["value"] < prior.log_partition()


def test_likelihood(run, prior, tmp_path):
    """--mode=evaluate and Python: within 5 errors of the sum over all 256 states."""
    states = prior.states()
    means = run.decode(np.float32(states)).reshape(len(states), -1).astype(np.float64)
    log_prior = -prior.energy(states) - prior.log_partition()
    images = np.uint8(np.random.default_rng(6).random((11, 30)) < 0.3)
    log_joint = images @ np.log(means).T + (1 - images) @ np.log1p(-means).T + log_prior
    found = run.log_likelihood(images, num_samples=2000)
    deviation = np.abs(found.values - logsumexp(log_joint, axis=1))
    assert np.all(deviation < statistical.SIGMAS * found.stderr + 1e-3)
    assert commands.evaluate(run, tmp_path) == 0
    record = json.loads((tmp_path / "evaluation.json").read_text())
    assert record["log_z"] == pytest.approx(prior.log_partition(), abs=1e-5)
    assert record["test_nll"] == pytest.approx(run.result["test_nll"], abs=0.2)


def test_generate(run, prior, tmp_path):
    """--mode=generate: 1,000 samples have the means of the prior, standard error 0.016."""
    assert commands.generate(run, tmp_path, num_images=1000) == 0
    latents = np.load(tmp_path / "generated.npz")["latents"]
    statistical.assert_fraction(latents, prior.probabilities() @ prior.states())
