"""dvae.train, dvae.load and the trained model, within a program of others too."""

import contextlib
import io
import json
import math
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.eager.polymorphic_function import polymorphic_function

import dvae
from configs import registry
from dvae.runs import commands, loop
from dvae.runs.trained_model import TrainedModel
from tests.helpers import other_programs, statistical, tiny_models, tiny_runs
from tests.helpers.works import refused, works

ROOT = Path(__file__).parents[2]
SETTINGS = tiny_runs.ARGUMENTS


@pytest.fixture(scope="module", autouse=True)
def small_structure():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(registry.STRUCTURES, "2-layer-nonlin", tiny_runs.TINY)
        yield


def _numbers(run, images):
    """What a model gives, and its weights."""
    encoded = run.encode(images)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dvae.priors.SAMPLE_SWEEPS", 10)  # eager ones take long
        found = [run.sample(3), encoded.latents, encoded.log_prob, run.reconstruct(images)]
    found += [run.log_likelihood(images, 20).values, run.log_partition().value]
    return [*found, *(variable.numpy() for variable in run.model.variables)]


def _assert_same(first, second):
    for ours, theirs in zip(first, second, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.fixture(scope="module")
def observed(tmp_path_factory):
    """A run from Python that a signal stops, and that the same call goes on with in a thread.

    There Python allows no signal handlers, and the settings are NumPy's numbers. The state of the
    process is of before and after all that; the data file is gone in the end.
    """
    seen, folder = SimpleNamespace(), tmp_path_factory.mktemp("interface")
    path = tiny_runs.write_data(folder / "own.npz", grey=False)
    with np.load(path) as arrays:
        seen.images = arrays["test"]
    tf.config.experimental.enable_tensor_float_32_execution(True)
    seen.before, advance = other_programs.state(), loop.Run._advance

    def train(**settings):
        settings = SETTINGS | {"log_dir": "logs", "keep_steps": (10,)} | settings
        with contextlib.redirect_stdout(io.StringIO()) as said:
            seen.run = dvae.train(path, **settings)
        seen.said = said.getvalue()

    def stopping(run, num_steps):
        seconds = advance(run, min(num_steps, 10))
        if run.progress.step == 30:
            tiny_runs.send_signal(signal.SIGINT)
        return seconds

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with patch.context() as stopped:
            stopped.setattr(loop.Run, "_advance", stopping)
            with pytest.raises(KeyboardInterrupt, match="SIGINT: the same call goes on"):
                train()
        seen.unfinished = dvae.load(next(Path().glob("logs/**/config.json")).parent)
        with refused("the run is unfinished", ValueError):
            seen.unfinished.result  # noqa: B018
        numpys = {"num_train_iter": np.int32(40), "base_lr": np.float64(3e-3)}
        thread = threading.Thread(target=train, kwargs=numpys | {"keep_steps": (np.int64(10),)})
        thread.start()
        thread.join()
    seen.numbers = _numbers(seen.run, seen.images)
    seen.after = other_programs.state()
    commands.evaluate(TrainedModel(seen.run.path, ""), seen.run.path)
    path.unlink()
    return seen


@pytest.fixture(scope="module")
def trained(observed):
    return observed.run, observed.images


def test_interrupted_call_goes_on(observed):
    """And keeps a model on the way."""
    run, early = observed.run, dvae.load(observed.run.path, step=10)
    assert observed.unfinished.step == 20 and early.step == 10
    assert run.path == observed.unfinished.path and run.config.num_train_iter == 40
    assert not np.array_equal(early.prior.coupling, run.prior.coupling)
    # The directories that were given were relative ones.
    assert run.path.is_absolute() and observed.unfinished.path.is_absolute()
    log_z, nll, place = observed.said.splitlines()[-3:]  # as on the command line
    found = run.result
    assert log_z.startswith(f"log Z {found['log_z']:.3f} [")
    assert nll.startswith(f"test NLL {found['test_nll']:.2f} [")
    assert Path(place.removeprefix("result: ")).name == "result.json"


def test_evaluation_of_the_command_line(trained):
    """With the same images and samples: value, log Z and standard error."""
    run, images = trained
    record = json.loads((run.path / "evaluation.json").read_text())
    found = run.log_likelihood(images, num_samples=1000)
    assert found.values.shape == found.stderr.shape == (17,)
    assert -found.values.mean() == pytest.approx(record["test_nll"], rel=1e-12)
    stderr = math.sqrt(np.sum(found.stderr**2)) / 17
    sampling = record["nll_interval"]["importance_sampling_stderr"]
    assert stderr == pytest.approx(sampling, rel=1e-12)
    interval = record["log_z_interval"]
    assert found.log_partition == run.log_partition()
    assert found.log_partition[:3] == (record["log_z"], interval["low"], interval["high"])
    # Other samples than those of result.json: five standard errors of the difference.
    record = json.loads((run.path / "result.json").read_text())
    assert run.result == {k: v for k, v in record.items() if k != "checksum"}
    found = run.log_likelihood(images, num_samples=1000, seed=statistical.seed(1))
    error = math.sqrt(np.sum(found.stderr**2)) / 17
    difference = -found.values.mean() - record["test_nll"]
    bound = 5.0 * math.hypot(error, record["nll_interval"]["importance_sampling_stderr"])
    assert abs(difference) < bound < 0.3, (difference, bound)


def test_generate_and_log_z_of_the_command_line_without_data(trained):
    """The same call loads a finished run."""
    run, images = trained
    again = dvae.load(str(run.path))
    assert again.step == run.step and again.image_shape == (6, 5)
    _assert_same(again.encode(images.reshape(17, 30)), run.encode(images))
    commands.generate(TrainedModel(run.path), run.path, num_images=23)
    with np.load(run.path / "generated.npz") as generated:
        np.testing.assert_array_equal(run.sample(23).reshape(23, 30), generated["means"])
        np.testing.assert_array_equal(run.sample_latents(23), generated["latents"])
    commands.log_z(TrainedModel(run.path), run.path)
    rows = json.loads((run.path / "log_z.json").read_text())["estimators"]
    ours, theirs = ([{**r, "seconds": 0} for r in of] for of in (run.log_partition_table(), rows))
    assert ours == theirs


_ELSEWHERE = """
import sys, numpy as np, dvae
run, images = dvae.load(sys.argv[1]), np.load(sys.argv[2])
found, encoded = run.log_likelihood(images, num_samples=1000), run.encode(images)
np.savez("out.npz", values=found.values, sample=run.sample(5), log_prob=encoded.log_prob,
         latents=encoded.latents, reconstruction=run.reconstruct(images), prior=run.prior.coupling)
"""


def test_another_process_elsewhere_without_data(trained, tmp_path):
    run, images = trained
    np.save(tmp_path / "images.npy", images)
    command = [sys.executable, "-c", _ELSEWHERE, str(run.path.absolute()), "images.npy"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=300)
    encoded = run.encode(images)
    values = run.log_likelihood(images, num_samples=1000).values
    exact = dict(sample=run.sample(5), latents=encoded.latents, prior=run.prior.coupling)
    with np.load(tmp_path / "out.npz") as there:
        for name, ours in (exact | {"reconstruction": run.reconstruct(images)}).items():
            np.testing.assert_array_equal(there[name], ours)
        np.testing.assert_allclose(there["log_prob"], encoded.log_prob, rtol=1e-5)
        np.testing.assert_allclose(there["values"], values, rtol=1e-6)


@pytest.fixture(scope="module")
def enumerated(trained):
    """A model with random weights, and its images enumerated in float64."""
    run, images = dvae.load(trained[0].path), trained[1]
    tiny_models.randomize(run.model.variables, scale=0.5, seed=11)
    mean = json.loads((run.path / "data.json").read_text())["train_mean"]
    return run, images, tiny_models.reference_images(run.model, images.reshape(17, 30), mean)


def test_log_partition_and_samples(enumerated):
    run, _, exact = enumerated
    rbm = exact[0].rbm
    found = run.log_partition()
    assert found.status == "exact"
    assert found.low == found.value == found.high
    assert found.value == pytest.approx(rbm.log_partition(), abs=1e-5)
    assert abs(found.value - 6.0 * math.log(2.0)) > 0.1  # a zero RBM's would not do
    latents = run.sample_latents(4000, seed=statistical.seed(4))
    statistical.assert_fraction(latents, rbm.means())


def test_log_likelihood(enumerated):
    """Each value within 5 stated errors of 0.035 nats: notices 0.18 nats in any image."""
    run, images, enumerated = enumerated
    exact = np.array([image.log_likelihood() for image in enumerated])
    found = run.log_likelihood(images, num_samples=10_000, seed=statistical.seed(100))
    assert found.stderr.max() < 0.035
    assert np.abs((found.values - exact) / found.stderr).max() < statistical.SIGMAS


def test_encode(enumerated):
    """log q(z | x) and probabilities of the very latents that were drawn, and their means."""
    run, images, exact = enumerated
    found = run.encode(images, seed=statistical.seed(2))
    assert found.latents.dtype == np.uint8 and found.latents.shape == (17, 6)
    for row, image in enumerate(exact):
        logits = image.posterior.logits(np.float64(found.latents[row : row + 1]))[0]
        probabilities = 1.0 / (1.0 + np.exp(-logits))
        np.testing.assert_allclose(found.probabilities[row], probabilities, rtol=1e-4)
        hit = np.where(found.latents[row], probabilities, 1.0 - probabilities)
        assert found.log_prob[row] == pytest.approx(np.log(hit).sum(), abs=1e-4)
    many = run.encode(np.repeat(images[:1], 4000, axis=0), seed=statistical.seed(3))
    first_group = many.probabilities[0, :3]
    statistical.assert_fraction(many.latents[:, :3], first_group)


def test_decode_and_reconstruct(enumerated):
    run, images, exact = enumerated
    means = 1.0 / (1.0 + np.exp(-exact[0].decoder(np.float64(run.encode(images).latents))))
    found = run.reconstruct(images)
    assert found.dtype == np.float32 and found.shape == (17, 6, 5)
    np.testing.assert_allclose(found.reshape(17, 30), means, rtol=1e-4)


_WRONG_CALLS = {
    "width": (lambda run, _: run.encode(np.zeros([2, 31])), r"\[2, 31\]"),
    "turned": (lambda run, images: run.reconstruct(images.transpose(0, 2, 1)), r"\[17, 5, 6\]"),
    "grey": (lambda run, i: run.log_likelihood(i * 0.5), r"random\(images.shape\) < images$"),
    "two ends": (lambda run, i: run.interpolate(i[0], i[:2]), r"^b has .*, not \[30\] or \[6, 5\]"),
    "grey end": (lambda run, i: run.interpolate(i[0] / 2, i[1]), r"^a must .*\(a.shape\) < a$"),
    "samples": (lambda run, images: run.log_likelihood(images, 0), "num_samples is 0"),
    "half a sample": (lambda run, images: run.log_likelihood(images, 1.5), "num_samples is 1.5"),
    "none drawn": (lambda run, _: run.sample(0), "num is 0; it must be"),
    "latents": (lambda run, _: run.decode(np.zeros([2, 5])), r"latents have shape \[2, 5\]"),
    "step": (lambda run, _: dvae.load(run.path, step=7), "no model of step 7"),
    "modes": (lambda run, images: run.count_modes(images), "has no undirected posterior"),
    "the data": (lambda run, _: run.evaluate(), "own.npz.* lies now with .*dataset=PATH"),
    "seed": (lambda run, _: run.sample(seed=1.0), "^seed is 1.0, not of type int"),
    "seed of text": (lambda run, images: run.encode(images, seed="1"), "^seed is '1', not of"),
    "seed range": (lambda run, images: run.log_likelihood(images, seed=-1), "^seed=-1 must be"),
}


@pytest.mark.parametrize("case", _WRONG_CALLS)
def test_wrong_use_of_a_trained_model(case, trained):
    call, words = _WRONG_CALLS[case]
    with pytest.raises(ValueError, match=words):
        call(*trained)


def test_the_seed_of_a_mode_is_that_of_its_draws(trained):
    """`--mode=generate --seed=2`; the model is that of the run all the same."""
    run, images = trained
    for method in (run.encode, run.log_likelihood):
        drawn, other = method(images, seed=1)[0], method(images, seed=2)[0]
        assert not np.array_equal(drawn, other)
        np.testing.assert_array_equal(drawn, method(images, seed=1)[0])
    assert not np.array_equal(run.sample(seed=1), run.sample(seed=2))
    other = TrainedModel(run.path, seed=2)
    np.testing.assert_array_equal(other.sample(4), run.sample(4, seed=2))
    assert not np.array_equal(other.sample(4), run.sample(4))
    np.testing.assert_array_equal(other.prior.coupling, run.prior.coupling)


def test_own_data_are_found_where_they_lie_now(trained, tmp_path, monkeypatch):
    """By their content: another name, a link, another spelling; another file is refused."""
    run = trained[0]
    moved = tiny_runs.write_data(tmp_path / "moved.npz", grey=False)
    (tmp_path / "nowhere").mkdir()
    for link in ("link.npz", "own.npz"):
        (tmp_path / link).symlink_to(moved)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    places = (moved, "moved.npz", "link.npz", "~/moved.npz", "./nowhere/../moved.npz")
    for where in [*({"dataset": place} for place in places), {"data_dir": "~"}]:
        with works(ValueError):
            assert dvae.load(run.path, **where).dataset().test.shape == (17, 30)
    tiny_runs.write_data(tmp_path / "moved.npz", grey=True)
    for where in ({"dataset": moved}, {"data_dir": tmp_path}):
        with pytest.raises(ValueError, match=r"are not what .* was trained on"):
            dvae.load(run.path, **where).dataset()


def test_nothing_that_dvae_sets_remains(observed):
    assert {name: observed.after[name] for name in observed.before} == observed.before
    # It raises under TensorFlow's determinism, unless a seed was set.
    tf.random.Generator.from_non_deterministic_state()


@pytest.mark.parametrize(
    "case", [pytest.param("float64", marks=pytest.mark.slow), "half precision", "modes"]
)
def test_what_others_set_changes_no_number(case, observed):
    with other_programs.OTHERS[case]() as state:
        before = state()
        found = _numbers(dvae.load(observed.run.path), observed.images)
        assert state() == before
    _assert_same(found, observed.numbers)


@pytest.mark.slow
def test_training_among_what_others_set(observed, tmp_path):
    """Without a stop, too."""
    data_path = tiny_runs.write_data(tmp_path / "own.npz", grey=False)
    with other_programs.OTHERS["half precision"](), other_programs.OTHERS["modes"]():
        again = dvae.train(data_path, log_dir=tmp_path / "logs", **SETTINGS)
        found = _numbers(again, observed.images)
    assert again.result["test_nll"] == observed.run.result["test_nll"]
    _assert_same(found, observed.numbers)


def test_any_number_is_compiled_once(trained, monkeypatch):
    """And what comes first does not depend on how many follow; likelihoods for a few sizes."""
    traced, (run, images) = [], trained  # functions, as TensorFlow counts them itself
    detector = type(polymorphic_function._frequent_tracing_detector_manager)
    monkeypatch.setattr(detector, "called_with_tracing", lambda *of: traced.append(of[2]))
    run = dvae.load(run.path)  # which has compiled nothing yet
    many = np.concatenate([images] * 8)

    def everything(count):
        encoded = run.encode(many[:count])
        drawn = [run.sample(count), run.sample_latents(count, seed=3), *encoded]
        return [*drawn, run.decode(encoded.latents), run.reconstruct(many[:count])]

    first = everything(len(many))
    assert traced
    traced.clear()
    for count in (1, 2, 99, 100, 101):
        for few, all_of_them in zip(everything(count), first, strict=True):
            assert len(few) == count
            np.testing.assert_array_equal(few, all_of_them[:count])
    assert not traced
    alike = run.encode(np.repeat(images[:1], 200, axis=0)).latents
    assert not np.array_equal(alike[:100], alike[100:])

    first = run.log_likelihood(images[:4], 64)
    traced.clear()
    for count, num_samples in ((4, 64), (2, 50), (3, 17), (4, 33)):
        assert run.log_likelihood(images[:count], num_samples).values.shape == (count,)
    assert not traced
    np.testing.assert_array_equal(run.log_likelihood(images[:3], 64).values, first.values[:3])
    one = run.log_likelihood(images, num_samples=1)  # which states no error
    assert np.isnan(one.stderr).all() and np.isfinite(one.values).all()


def test_a_keras_on_another_backend_and_a_graph_are_one_line(trained, monkeypatch):
    with tf.Graph().as_default(), refused("call this outside of graphs"):
        dvae.load(trained[0].path)
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with refused(r"Keras runs on jax here.*KERAS_BACKEND=tensorflow"):
        dvae.load(trained[0].path)
