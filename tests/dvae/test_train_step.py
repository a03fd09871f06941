"""The training step: every combination takes steps; compiled = eager; bad batches are skipped."""

import functools
import math

import numpy as np
import pytest

from configs.registry import BASELINES, SAMPLERS
from configs.tables import PUBLISHED_BASELINES
from dvae import train_step
from dvae.build import build
from dvae.objective import Objective
from tests.helpers.tiny_training import (
    STRUCTURES,
    config_of,
    dataset,
    decay_of,
    eager,
    make_program,
    poisoned,
    same,
    snapshot,
    use_numpy_random,
    watch_gradients,
)


@pytest.fixture
def fast_eager(monkeypatch):
    use_numpy_random(monkeypatch)
    with eager():
        yield


@functools.lru_cache(maxsize=1)
def built(baseline, struct):
    """One model for each baseline and structure: to build one takes longer than a step."""
    return build(config_of(baseline=baseline, structure=STRUCTURES[struct]), dataset().train_mean)


@pytest.mark.usefixtures("fast_eager")
@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("k", [1, 5], ids=["k1", "k5"])
@pytest.mark.parametrize("baseline", PUBLISHED_BASELINES)
@pytest.mark.parametrize("struct", STRUCTURES)
def test_every_combination_takes_a_step(struct, baseline, k, sampler, monkeypatch):
    """Finite terms, and no variable without a gradient other than weight decay's."""

    def model_and_estimator(config, _train_mean):
        model, of_one_k = built(baseline, struct)
        weighted = BASELINES[baseline].importance_weighted and config.k > 1
        objective = Objective(of_one_k.objective.log_ratio, weighted)
        return model, type(of_one_k)(objective, config.k, config.structure)

    monkeypatch.setattr(train_step, "build", model_and_estimator)
    program = make_program(
        config_of(
            baseline=baseline,
            structure=STRUCTURES[struct],
            k=k,
            sampler=sampler,
        )
    )
    variables = program.trained
    seen = watch_gradients(monkeypatch)
    penalties = decay_of(program)
    before = [v.numpy() for v in variables]
    program.run(np.array([[1, 5, 8]]), 1)
    assert program.state.skipped == 0 and program.state.step == 6
    metrics = program.take_metrics()
    assert len(metrics) >= 4 and all(math.isfinite(value) for value in metrics.values())
    assert len(seen) == 1
    gradients = np.split(seen[0], np.cumsum([old.size for old in before])[:-1])
    for variable, gradient, penalty, old in zip(
        variables, gradients, penalties, before, strict=True
    ):
        of_loss = gradient.reshape(old.shape) - penalty
        assert np.all(np.isfinite(of_loss)), variable.path
        assert np.max(np.abs(of_loss)) > 1e-6, variable.path
        assert np.any(variable.numpy() != old), variable.path


@pytest.fixture(scope="module")
def config():
    return config_of(baseline="dvaes_power", k=5, beta=20.0, resample_threshold=0.6)


@pytest.fixture(scope="module")
def compiled(config):
    """A compiled program and its log: metrics and weights after 3 good steps."""
    program = make_program(config, poisoned(), step=3)
    program.run(np.array([[1, 5, 8], [2, 0, 9], [3, 4, 6], [7, 1, 0]]), 3)
    return program, program.take_metrics(), snapshot(program)


class TestCompiled:
    def test_equals_eager(self, compiled, config):
        """Three steps in one compiled call = three calls in plain Python, to rounding.

        Metrics of a call are the means over its steps.
        """
        _, metrics, weights = compiled
        plain = make_program(config, poisoned(), step=3)
        taken = []
        with eager():
            for row in ([1, 5, 8], [2, 0, 9], [3, 4, 6]):
                plain.run(np.array([row]), 1)
                taken.append(plain.take_metrics())
        assert plain.state.skipped == 0 and plain.state.step == 6
        for found, expected in zip(weights, snapshot(plain), strict=True):
            assert np.allclose(found, expected, rtol=1e-4, atol=1e-5)
        for name, value in metrics.items():
            mean = sum(step[name] for step in taken) / 3
            assert math.isclose(value, mean, rel_tol=1e-4, abs_tol=1e-4), name

    def test_a_bad_batch_is_skipped(self, compiled):
        """NaN pixels: weights, averages and slots stay bit for bit; the reconstruction is named.

        Good steps go on afterwards, in the same program: one trace for any number of steps.
        """
        program, *_ = compiled
        step, before = program.state.step, snapshot(program)
        program.take_metrics()
        chains = program.state.sampler.gradient.chains.left.numpy()
        bad = np.array([[1, 10, 8], [10, 10, 10], [3, 4, 6], [7, 1, 0]])
        program.run(bad, 2)
        assert same(before, snapshot(program))
        assert program.state.skipped == program.state.skipped_in_a_row == 2
        assert program.state.skipped_terms.tolist() == [2, 0, 0, 0]
        assert all(value == 0 for value in program.take_metrics().values())
        # Steps are counted and the chains move on all the same.
        assert program.state.step == step + 2
        assert not np.array_equal(chains, program.state.sampler.gradient.chains.left)
        program.run(np.array(bad[[2, 3, 0, 1]]), 1)
        assert program.state.skipped == 2 and program.state.skipped_in_a_row == 0
        assert not same(before, snapshot(program))
        metrics = program.take_metrics()
        assert all(math.isfinite(value) for value in metrics.values())
        assert metrics["obj/recon_loss"] > 0
        assert program.compiled.experimental_get_tracing_count() == 1
