"""The training step: every method takes steps; compiled = eager; bad batches; state and metrics.

What a step computes is held against the formulas in test_reference_step.py.
"""

import math

import numpy as np
import pytest
import tensorflow as tf

from configs.registry import SAMPLERS
from configs.tables import PUBLISHED_BASELINES
from dvae import train_step
from dvae.adam import unflatten
from dvae.train_state import BAD_TERMS, named_leaves
from dvae.train_step import TrainProgram
from tests.helpers import tiny_training as tiny
from tests.helpers.recorded_draws import Draws
from tests.helpers.tiny_training import STRUCTURES, config_of, eager, make_program, same, snapshot

BINARY = ("loo", "vimco", "disarm", "rodeo", "exact")
UNDIRECTED = ("dvaess_pwl", "dvaess_concrete")
ONE_GROUP = ("1-layer-lin", "1-layer-nonlin")
# K and sampler go in turn over the structures of each baseline.
METHODS = [
    (struct, baseline, ks[(number + index) % 2], list(SAMPLERS)[number // 2 % 2])
    for baselines, structs, ks in (
        (PUBLISHED_BASELINES, tuple(STRUCTURES), (1, 5)),
        (("loo", "disarm", "rodeo"), ("1-layer-nonlin", "2-layer-nonlin"), (1, 5)),
        (("vimco",), ("1-layer-nonlin", "2-layer-nonlin"), (2, 5)),
        (("exact",), ("1-layer-nonlin", "2-layer-nonlin"), (1, 2)),
        (UNDIRECTED, ONE_GROUP, (1, 5)),
    )
    for index, baseline in enumerate(baselines)
    for number, struct in enumerate(structs)
]


@pytest.fixture
def fast_eager(monkeypatch):
    """Random bits by NumPy: eager Threefry would take most of the time of a step."""
    Draws(monkeypatch)
    with eager():
        yield


@pytest.mark.usefixtures("fast_eager")
@pytest.mark.parametrize("struct, baseline, k, sampler", METHODS)
def test_every_method_takes_a_step(struct, baseline, k, sampler, monkeypatch):
    """Finite terms, and no variable without a gradient other than weight decay's."""
    structure = STRUCTURES[struct]
    program = make_program(config_of(baseline=baseline, structure=structure, k=k, sampler=sampler))
    variables = tiny.variables_of(program)
    before = [v.numpy() for v in variables]
    seen = tiny.watch_gradients(monkeypatch, program)
    # Two samples that agree in all bits of a group say nothing of it: not one step, but three.
    steps = 3 if baseline in BINARY else 1
    program.run(np.array([[1, 5, 8], [2, 0, 9], [3, 4, 7]]), steps)
    assert program.state.skipped == 0 and program.state.step == 5 + steps == 5 + len(seen)
    metrics = program.take_metrics((3.0, 3.0))
    assert len(metrics) >= 3 and all(math.isfinite(value) for value in metrics.values())
    weighted = k > 1 and baseline.startswith(("dvaes_", "vimco", "exact"))
    bound = "train/neg_iw_loss" if weighted else "train/neg_elbo"
    bounds = [name for name in metrics if name.startswith("train/neg")]
    assert bounds == ([] if baseline in UNDIRECTED else [bound])
    assert "obj/kl" not in metrics or baseline not in UNDIRECTED
    largest = np.max(np.abs(seen), axis=0)
    assert np.all(np.isfinite(largest))
    pieces = unflatten(largest, program.trained)
    for variable, gradient in zip(program.trained, pieces, strict=True):
        assert np.max(gradient) > 1e-6, variable.path
    for variable, old in zip(variables, before, strict=True):
        assert np.any(variable.numpy() != old), variable.path


SETTINGS = {
    "pwl": dict(k=5, beta=1.5, resample_threshold=0.6),
    "dvaess_concrete": dict(k=2, structure=STRUCTURES["1-layer-nonlin"]),
    "dvaes_power": dict(k=5, beta=20.0, resample_threshold=0.6),
    **{baseline: dict(k=2) for baseline in BINARY},
}
KINDS = [pytest.param(name, marks=[pytest.mark.slow] * (n > 1)) for n, name in enumerate(SETTINGS)]
BATCHES = np.array([[1, 5, 8], [2, 0, 9], [1, 4, 6], [7, 1, 0]])


def image_states(program):
    """The chains of training images, of methods that have them."""
    return [leaf.numpy() for leaf in tf.nest.flatten(program.state.image_states)]


class TestCompiled:
    @pytest.fixture(scope="class", params=KINDS)
    def compiled(self, request):
        """A compiled program and its log: metrics, weights and chains after 3 good steps."""
        config = config_of(baseline=request.param, **SETTINGS[request.param])
        program = make_program(config, tiny.poisoned(), step=3)
        program.run(BATCHES, 3)
        return program, program.take_metrics(), snapshot(program), image_states(program)

    def test_equals_eager(self, compiled):
        """Three steps in one compiled call = three calls in plain Python, to rounding.

        Metrics of a call are the means over its steps; chains of images are the same bits.
        """
        program, metrics, weights, states = compiled
        plain = make_program(program.config, tiny.poisoned(), step=3)
        taken = []
        with eager():
            for row in BATCHES[:3]:
                plain.run(row[None], 1)
                taken.append(plain.take_metrics())
        assert plain.state.skipped == 0 and plain.state.step == 6
        assert same(states, image_states(plain))
        for found, expected in zip(weights, snapshot(plain), strict=True):
            assert np.allclose(found, expected, rtol=1e-4, atol=1e-5)
        for name, value in metrics.items():
            mean = sum(step[name] for step in taken) / 3
            assert math.isclose(value, mean, rel_tol=1e-4, abs_tol=1e-4), name

    def test_a_bad_batch_is_skipped(self, compiled):
        """NaN pixels: weights, averages, slots and images' chains stay bit for bit, and it is said.

        Good steps go on afterwards, in the same program: one trace for any number of steps.
        """
        program, *_ = compiled
        step, before, states = program.state.step, snapshot(program), image_states(program)
        chains = program.state.sampler.gradient.chains.left.numpy()
        bad = np.array([[1, 10, 8], [10, 10, 10], [3, 4, 6], [7, 1, 0]])
        program.run(bad, 2)
        assert same(before, snapshot(program)) and same(states, image_states(program))
        assert program.state.skipped == program.state.skipped_in_a_row == 2
        assert program.state.skipped_terms.tolist() == [2, 0, 0, 0]
        assert program.take_metrics((6.0, 9.0)) == {}
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


@pytest.mark.usefixtures("fast_eager")
class TestTerms:
    def bad(self, program):
        """Runs one step and returns the one term that is blamed; nothing else may move."""
        before = snapshot(program)
        program.run(np.array([[1, 5, 8]]), 1)
        assert same(before, snapshot(program))
        terms = program.state.skipped_terms
        assert terms.sum() == 1 == program.state.skipped
        return BAD_TERMS[int(np.argmax(terms))]

    def test_the_first_bad_term_is_named(self, monkeypatch):
        """Each of the four; a bad KL makes bad gradients too, yet only the KL is blamed.

        A gradient of 1e25 is finite, but its square, which Adam takes, is not.
        """
        config = config_of(baseline="dvaepp_exp", structure=STRUCTURES["1-layer-lin"])
        assert self.bad(make_program(config, tiny.poisoned(slice(None)))) == "reconstruction"
        program = make_program(config)
        ratio = type(program.estimator.objective.log_ratio)
        for owner, name, term in (
            (ratio, "__call__", "posterior or prior"),
            (train_step, "log_partition_surrogate", "log Z"),
        ):
            plain = getattr(owner, name)
            with monkeypatch.context() as patch:
                patch.setattr(owner, name, lambda *args, f=plain: f(*args) * np.float32("nan"))
                assert self.bad(make_program(config)) == term
        for rate in (math.nan, 1e25):
            program = make_program(config)
            program._decay_rates = [rate] * len(program.trained)
            assert self.bad(program) == "gradient"

    @pytest.mark.parametrize(
        ("baseline", "k", "bound", "kl"),
        [
            ("dvaes_exp", 1, "train/neg_elbo", "obj/kl"),
            ("dvaes_exp", 5, "train/neg_iw_loss", "obj/kl"),
            ("dvae_spike_exp", 1, "train/neg_elbo", None),
            ("dvaess_pwl", 1, None, None),
        ],
    )
    def test_log_partition_completes_the_metrics(self, baseline, k, bound, kl):
        """Steps 1 (KL weight 1/3), 2 (skipped) and 3 (1) of 10, log Z from 6 to 9 nats: 6 and 8.

        The bound has the mean of weight times log Z, the KL that of log Z, the rest none of it.
        """
        struct = STRUCTURES["1-layer-lin" if baseline == "dvaess_pwl" else "2-layer-nonlin"]
        config = config_of(baseline=baseline, k=k, structure=struct)
        program = make_program(config, tiny.poisoned(), step=1)
        for row in ([1, 5, 8], [1, 10, 8], [2, 4, 6]):
            program.run(np.array([row]), 1)
        assert program.state.skipped == 1
        summed = program.state
        without = program.take_metrics()
        program.state = summed
        completed = program.take_metrics((6.0, 9.0))
        added = {name: completed[name] - without[name] for name in without}
        expected = {bound: (6.0 / 3 + 8.0) / 2, kl: 7.0}
        for name, value in added.items():
            assert math.isclose(value, expected.get(name, 0.0), abs_tol=1e-4), name
        assert {bound, kl or "obj/kl_gradient_surrogate"} - {None} <= set(added)


class TestState:
    """Its leaves by name, the networks' share in it, and the step as a function of it."""

    def test_leaves_are_named_in_order(self):
        """As `tf.nest` flattens them; what is () has none: only undirected posteriors keep any."""
        program = make_program(config_of(sampler="pcd", log_z_population="separate"))
        names = named_leaves(program.state)
        chains = [f"sampler/gradient/chains/{half}" for half in ("left", "right")]
        assert list(names)[:4] == ["weights", "averages", *chains]
        last = ["adam/count", "adam/first", "adam/second", "counts", "metric_sums"]
        assert list(names)[-5:] == last
        assert not [name for name in names if "image_states" in name]
        for (name, leaf), other in zip(names.items(), tf.nest.flatten(program.state), strict=True):
            assert leaf is other, name
        of_model = {n for n in names if n.split("/")[0] in ("weights", "averages", "sampler")}
        assert set(named_leaves(program.state.model)) == of_model

    @pytest.mark.slow
    @pytest.mark.parametrize("baseline", ["dvaes_power", "dvaess_pwl"])
    def test_one_step_maps_over_several_states(self, baseline):
        """Two seeds at once: each comes out as by itself, to rounding.

        Traced and run; nothing is said of speed.
        """
        configs = [
            config_of(baseline=baseline, structure=STRUCTURES["1-layer-lin"], seed=seed)
            for seed in (1, 2)
        ]
        programs = [make_program(config) for config in configs]
        program, indices = programs[0], tf.constant([1, 5, 8])
        images = program.arguments(indices, 0, 1)[0]
        both = tf.nest.map_structure(lambda *pair: tf.stack(pair), *(p.state for p in programs))

        @tf.function(autograph=False)
        def step(*arguments):
            return tf.vectorized_map(
                lambda pair: program.one_step(images, indices, *pair), arguments
            )

        found = step(both, tf.stack([p.run_key for p in programs]))
        for place, alone in enumerate(programs):
            with eager():
                alone.run(indices.numpy()[None], 1)
            assert alone.state.skipped == 0
            for name, expected in named_leaves(alone.state).items():
                leaf = named_leaves(found)[name][place]
                np.testing.assert_allclose(leaf, expected, rtol=1e-4, atol=1e-5, err_msg=name)

    def test_a_new_state_is_that_of_the_networks(self):
        """And what is set is given to them."""
        program = TrainProgram(config_of(), tiny.dataset())
        before = [v.numpy() for v in tiny.variables_of(program)]
        program.state = program.state
        for variable, old in zip(tiny.variables_of(program), before, strict=True):
            np.testing.assert_array_equal(variable, old, err_msg=variable.path)
        weights = snapshot(program)[0]
        program.state = program.state._replace(weights=2.0 * program.state.weights)
        found = np.concatenate([v.numpy().ravel() for v in program.trained])
        np.testing.assert_array_equal(found, 2.0 * weights)
