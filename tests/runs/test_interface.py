"""`dvae.train`, `dvae.load` and the trained model against the command line and enumeration.

Within a program of others: what they set changes no number, what dvae sets is gone afterwards, and
nothing is compiled twice.
"""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.eager.polymorphic_function import polymorphic_function

import dvae
from configs import registry
from configs.errors import UserError
from dvae.runs import commands, loop
from dvae.runs.trained_model import TrainedModel
from tests.helpers import other_programs, statistical, tiny_models, tiny_runs

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
        sample = run.sample(3)
    return [
        sample,
        encoded.latents,
        encoded.log_prob,
        run.reconstruct(images),
        run.log_likelihood(images, 20).values,
        run.log_partition().value,
        *(variable.numpy() for variable in run.model.variables),
    ]


@pytest.fixture(scope="module")
def observed(tmp_path_factory):
    """A run trained from Python, its test images, its numbers, and the process's state before and
    after all that; the data file is gone."""
    folder = tmp_path_factory.mktemp("interface")
    data_path = tiny_runs.write_data(folder / "own.npz", grey=False)
    tf.config.experimental.enable_tensor_float_32_execution(True)
    before = other_programs.state()
    run = dvae.train(data_path, log_dir=folder / "logs", **SETTINGS)
    with np.load(data_path) as arrays:
        images = arrays["test"]
    numbers = _numbers(run, images)
    after = other_programs.state()
    commands.evaluate(TrainedModel(run.path, ""), run.path)
    data_path.unlink()
    return run, images, numbers, before, after


@pytest.fixture(scope="module")
def trained(observed):
    return observed[:2]


def _stop_after(monkeypatch, steps, number=signal.SIGINT):
    """Lets the next run get a signal once it has trained so many steps."""
    advance = loop.Run._advance

    def stopping(run, num_steps):
        seconds = advance(run, min(num_steps, 10))
        if run.progress.step >= steps:
            tiny_runs.send_signal(number)
        return seconds

    monkeypatch.setattr(loop.Run, "_advance", stopping)


class TestSameNumbers:
    def test_evaluation_of_the_command_line(self, trained):
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

    def test_result(self, trained):
        """Other samples than those of result.json: five standard errors of the difference."""
        run, images = trained
        record = json.loads((run.path / "result.json").read_text())
        assert run.result == {k: v for k, v in record.items() if k != "checksum"}
        found = run.log_likelihood(images, num_samples=1000, seed=statistical.seed(1))
        error = math.sqrt(np.sum(found.stderr**2)) / 17
        difference = -found.values.mean() - record["test_nll"]
        bound = 5.0 * math.hypot(error, record["nll_interval"]["importance_sampling_stderr"])
        assert abs(difference) < bound < 0.3, (difference, bound)

    def test_generate_and_log_z_of_the_command_line_without_data(self, trained):
        run, _ = trained
        commands.generate(TrainedModel(run.path), run.path, num_images=23)
        with np.load(run.path / "generated.npz") as generated:
            np.testing.assert_array_equal(run.sample(23).reshape(23, 30), generated["means"])
            np.testing.assert_array_equal(run.sample_latents(23), generated["latents"])
        commands.log_z(TrainedModel(run.path), run.path)
        rows = json.loads((run.path / "log_z.json").read_text())["estimators"]

        def timeless(row):
            return {name: value for name, value in row.items() if name != "seconds"}

        assert [*map(timeless, rows)] == [*map(timeless, run.log_partition_table())]

    def test_another_process_elsewhere_without_data(self, trained, tmp_path):
        run, images = trained
        script = """
import sys, numpy as np, dvae
run = dvae.load(sys.argv[1])
images = np.load(sys.argv[2])
found = run.log_likelihood(images, num_samples=1000)
encoded = run.encode(images)
np.savez("out.npz", values=found.values, sample=run.sample(5), log_prob=encoded.log_prob,
         latents=encoded.latents, reconstruction=run.reconstruct(images), prior=run.prior.coupling)
"""
        np.save(tmp_path / "images.npy", images)
        subprocess.run(
            [sys.executable, "-c", script, str(run.path.absolute()), "images.npy"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=True,
            timeout=300,
        )
        encoded = run.encode(images)
        with np.load(tmp_path / "out.npz") as there:
            np.testing.assert_array_equal(there["sample"], run.sample(5))
            np.testing.assert_array_equal(there["latents"], encoded.latents)
            np.testing.assert_array_equal(there["prior"], run.prior.coupling)
            np.testing.assert_allclose(there["log_prob"], encoded.log_prob, rtol=1e-5)
            np.testing.assert_array_equal(there["reconstruction"], run.reconstruct(images))
            values = run.log_likelihood(images, num_samples=1000).values
            np.testing.assert_allclose(there["values"], values, rtol=1e-6)

    def test_the_same_call_loads_a_finished_run(self, trained, monkeypatch, tmp_path):
        run, images = trained
        again = dvae.load(str(run.path))
        assert again.step == run.step and again.image_shape == (6, 5)
        np.testing.assert_array_equal(again.sample(3), run.sample(3))
        flat = images.reshape(17, 30)
        for ours, theirs in zip(again.encode(flat), run.encode(images), strict=True):
            np.testing.assert_array_equal(ours, theirs)


class TestEnumeration:
    """A model with random weights whose prior and posterior are enumerated in float64."""

    @pytest.fixture(scope="class")
    def enumerated(self, trained):
        run, images = dvae.load(trained[0].path), trained[1]
        tiny_models.randomize(run.model.variables, scale=0.5, seed=11)
        mean = json.loads((run.path / "data.json").read_text())["train_mean"]
        return run, images, *tiny_models.reference_vae_of(run.model, mean)

    def test_log_partition(self, enumerated):
        run, _, vae, _ = enumerated
        found = run.log_partition()
        assert found.status == "exact"
        assert found.low == found.value == found.high
        assert found.value == pytest.approx(vae.rbm.log_partition(), abs=1e-5)
        assert abs(found.value - 6.0 * math.log(2.0)) > 0.1  # a zero RBM's would not do

    def test_log_likelihood(self, enumerated):
        """Forty seeds: each value within 5 stated errors, which are neither too small nor large.

        Errors of 0.035 nats at most: notices a fault of 0.18 nats in any image.
        """
        run, images, vae, _ = enumerated
        exact = np.array([vae.log_likelihood(image) for image in images.reshape(17, 30)])
        scores = []
        for repeat in range(40):
            seed = statistical.seed(100 + repeat)
            found = run.log_likelihood(images, num_samples=10_000, seed=seed)
            assert found.stderr.max() < 0.035
            scores.append((found.values - exact) / found.stderr)
        assert np.abs(scores).max() < statistical.SIGMAS
        # 680 scores: the standard error of their deviation is 0.027.
        assert abs(np.std(scores) - 1.0) < 5.0 * 0.027 + 0.02

    def test_encode(self, enumerated):
        """log q(z | x) and probabilities of the very latents that were drawn, and their means."""
        run, images, _, posterior_of = enumerated
        found = run.encode(images, seed=statistical.seed(2))
        assert found.latents.dtype == np.uint8 and found.latents.shape == (17, 6)
        for row, image in enumerate(images.reshape(17, 30)):
            posterior = posterior_of(image)
            logits = posterior.logits(np.float64(found.latents[row : row + 1]))[0]
            probabilities = 1.0 / (1.0 + np.exp(-logits))
            np.testing.assert_allclose(found.probabilities[row], probabilities, rtol=1e-4)
            hit = np.where(found.latents[row], probabilities, 1.0 - probabilities)
            assert found.log_prob[row] == pytest.approx(np.log(hit).sum(), abs=1e-4)
        many = run.encode(np.repeat(images[:1], 4000, axis=0), seed=statistical.seed(3))
        first_group = many.probabilities[0, :3]
        statistical.assert_fraction(many.latents[:, :3], first_group)

    def test_decode_and_reconstruct(self, enumerated):
        run, images, vae, _ = enumerated
        latents = run.encode(images).latents
        means = 1.0 / (1.0 + np.exp(-vae.decoder(np.float64(latents))))
        found = run.reconstruct(images)
        assert found.dtype == np.float32 and found.shape == (17, 6, 5)
        np.testing.assert_allclose(found.reshape(17, 30), means, rtol=1e-4)

    def test_sample_latents(self, enumerated):
        run, _, vae, _ = enumerated
        latents = run.sample_latents(4000, seed=statistical.seed(4))
        statistical.assert_fraction(latents, vae.rbm.means())


class TestStopping:
    def test_interrupted_call_goes_on_to_the_same_number(self, trained, tmp_path, monkeypatch):
        """In a thread, where Python allows no signal handlers: the main thread's stay as they are.

        There the settings are NumPy's numbers. A model is kept on the way.
        """
        tiny_runs.write_data(tmp_path / "own.npz", grey=False)
        monkeypatch.chdir(tmp_path)
        before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        with monkeypatch.context() as patch:
            _stop_after(patch, 25)
            with pytest.raises(KeyboardInterrupt, match="SIGINT: the same call goes on"):
                dvae.train("own.npz", keep_steps=(10,), **SETTINGS)
        assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == before
        path = next(tmp_path.glob("logs/**/config.json")).parent
        unfinished = dvae.load(path)
        assert unfinished.step == 20
        with pytest.raises(ValueError, match="the run is unfinished"):
            unfinished.result  # noqa: B018

        settings = SETTINGS | {"num_train_iter": np.int32(40), "base_lr": np.float64(3e-3)}
        during, runs = [], []
        advance = loop.Run._advance

        def watched(run, num_steps):
            during.append([signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)])
            return advance(run, num_steps)

        monkeypatch.setattr(loop.Run, "_advance", watched)

        def work():
            runs.append(dvae.train("own.npz", keep_steps=(np.int64(10),), **settings))

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        assert during and all(handlers == before for handlers in during)
        assert runs[0].path.absolute() == path
        assert runs[0].result["test_nll"] == trained[0].result["test_nll"]
        early = dvae.load(path, step=10)
        assert early.step == 10
        assert not np.array_equal(early.prior.coupling, runs[0].prior.coupling)


def _damaged(name, change):
    """Changes one JSON file of a run."""

    def damage(path):
        target = path / name
        record = change(json.loads(target.read_text()))
        target.write_text(record if isinstance(record, str) else json.dumps(record))

    return damage


_ANEW = "start the run's command again, which writes it anew"
_DAMAGE = {
    "no JSON": (_damaged("config.json", lambda _: "{"), "config.json is not valid JSON"),
    "config": (_damaged("config.json", lambda r: r | {"k": 5}), "does not match its checksum"),
    "mean": (_damaged("data.json", lambda r: r | {"train_mean": [0.1]}), _ANEW),
    "other data": (_damaged("data.json", lambda r: r | {"sha256": "0"}), _ANEW),
    "no checkpoint": (lambda path: shutil.rmtree(path / "checkpoints"), "no best checkpoint"),
    "data gone": (lambda path: (path / "data.json").unlink(), _ANEW),
    "older": (_damaged("config.json", lambda r: {"k": 1}), "the version that wrote it"),
    "newer": (_damaged("config.json", lambda r: r | {"format": 3}), "the version that wrote it"),
}


@pytest.mark.parametrize("case", _DAMAGE)
def test_damaged_runs(case, trained, tmp_path):
    damage, words = _DAMAGE[case]
    path = tmp_path / "run"
    shutil.copytree(trained[0].path, path)
    damage(path)
    with pytest.raises(ValueError) as error:
        dvae.load(path)
    assert words in str(error.value) and " --" not in str(error.value)


_WRONG_CALLS = {
    "flat": (lambda run, _: run.encode(np.zeros(30)), r"shape \[30\], not \[N, 30\] or"),
    "width": (lambda run, _: run.encode(np.zeros([2, 31])), r"\[2, 31\]"),
    "no image": (lambda run, _: run.encode(np.zeros([0, 30])), "at least 1"),
    "turned": (lambda run, images: run.reconstruct(images.transpose(0, 2, 1)), r"\[17, 5, 6\]"),
    "grey": (lambda run, images: run.log_likelihood(images * 0.5), "binarise grey values first"),
    "bytes": (lambda run, images: run.log_likelihood(images * 255), "must be of 0 and 1"),
    "NaN": (lambda run, images: run.encode(images * np.nan), "must be of 0 and 1"),
    "text": (lambda run, images: run.encode(images.astype(str)), "must be of 0 and 1"),
    "samples": (lambda run, images: run.log_likelihood(images, 0), "num_samples is 0"),
    "half a sample": (lambda run, images: run.log_likelihood(images, 1.5), "num_samples is 1.5"),
    "none drawn": (lambda run, _: run.sample(0), "num is 0; it must be"),
    "latents": (lambda run, _: run.decode(np.zeros([2, 5])), r"latents have shape \[2, 5\]"),
    "step": (lambda run, _: dvae.load(run.path, step=7), "no model of step 7"),
    "modes": (lambda run, images: run.count_modes(images), "has no undirected posterior"),
    "the data": (
        lambda run, _: run.evaluate(),
        "own.npz.* say where the file lies now with .*dataset=PATH",
    ),
    "seed": (lambda run, _: run.sample(seed=1.0), "^seed is 1.0, not of type int"),
    "seed of text": (lambda run, images: run.encode(images, seed="1"), "^seed is '1', not of"),
    "seed range": (lambda run, images: run.log_likelihood(images, seed=-1), "^seed=-1 must be"),
}


@pytest.mark.parametrize("case", _WRONG_CALLS)
def test_wrong_use_of_a_trained_model(case, trained):
    call, words = _WRONG_CALLS[case]
    with pytest.raises(ValueError, match=words):
        call(*trained)


def test_one_sample_states_no_error(trained):
    run, images = trained
    found = run.log_likelihood(images, num_samples=1)
    assert np.isnan(found.stderr).all() and np.isfinite(found.values).all()


def test_seeds(trained):
    run, images = trained
    for method in (run.encode, run.log_likelihood):
        drawn, other = method(images, seed=1)[0], method(images, seed=2)[0]
        assert not np.array_equal(drawn, other)
        np.testing.assert_array_equal(drawn, method(images, seed=1)[0])
    assert not np.array_equal(run.sample(seed=1), run.sample(seed=2))


def test_the_seed_of_a_mode_is_that_of_its_draws(trained):
    """`--mode=generate --seed=2`; the model is that of the run all the same."""
    run = trained[0]
    other = TrainedModel(run.path, seed=2)
    np.testing.assert_array_equal(other.sample(4), run.sample(4, seed=2))
    assert not np.array_equal(other.sample(4), run.sample(4))
    np.testing.assert_array_equal(other.prior.coupling, run.prior.coupling)


def test_own_data_are_found_where_they_lie_now(trained, tmp_path, monkeypatch):
    """By their content: another name, a link, another spelling; another file is refused."""
    run = trained[0]
    moved = tiny_runs.write_data(tmp_path / "moved.npz", grey=False)
    (tmp_path / "link.npz").symlink_to(moved)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for place in (moved, "moved.npz", "link.npz", "~/moved.npz", "./nowhere/../moved.npz"):
        if "nowhere" in str(place):
            (tmp_path / "nowhere").mkdir()
        try:
            found = dvae.load(run.path, dataset=place).dataset()
        except ValueError as error:
            pytest.fail(f"{place}: {error}")
        assert found.test.shape == (17, 30)
    (tmp_path / "own.npz").symlink_to(moved)
    assert dvae.load(run.path, data_dir="~").dataset().test.shape == (17, 30)
    tiny_runs.write_data(tmp_path / "moved.npz", grey=True)
    for where in ({"dataset": moved}, {"data_dir": tmp_path}):
        with pytest.raises(ValueError, match=r"are not what .* was trained on"):
            dvae.load(run.path, **where).dataset()


def test_nothing_that_dvae_sets_remains(observed):
    *_, before, after = observed
    for name, value in before.items():
        assert after[name] == value, name
    # It raises under TensorFlow's determinism, unless a seed was set.
    tf.random.Generator.from_non_deterministic_state()


@pytest.mark.parametrize(
    "case", [pytest.param("float64", marks=pytest.mark.slow), "half precision", "modes"]
)
def test_what_others_set_changes_no_number(case, observed):
    run, images, numbers, *_ = observed
    with other_programs.OTHERS[case]() as state:
        before = state()
        found = _numbers(dvae.load(run.path), images)
        assert state() == before
    for ours, theirs in zip(found, numbers, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_training_among_what_others_set(observed, tmp_path):
    run, images, numbers, *_ = observed
    data_path = tiny_runs.write_data(tmp_path / "own.npz", grey=False)
    with other_programs.OTHERS["half precision"](), other_programs.OTHERS["modes"]():
        again = dvae.train(data_path, log_dir=tmp_path / "logs", **SETTINGS)
        found = _numbers(again, images)
    assert again.result["test_nll"] == run.result["test_nll"]
    for ours, theirs in zip(found, numbers, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.fixture
def traced(monkeypatch):
    """The functions that TensorFlow has traced since, as it counts them itself."""
    functions = []
    monkeypatch.setattr(
        type(polymorphic_function._frequent_tracing_detector_manager),
        "called_with_tracing",
        lambda self, key, function, omit: functions.append(function),
    )
    return functions


def test_any_number_is_compiled_once(trained, traced):
    """And what comes first does not depend on how many follow."""
    run, images = trained
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


def test_likelihoods_are_compiled_for_a_few_sizes(trained, traced):
    run, images = trained
    first = run.log_likelihood(images[:4], 64)
    traced.clear()
    for count, num_samples in ((4, 64), (2, 50), (3, 17), (4, 33)):
        found = run.log_likelihood(images[:count], num_samples)
        assert found.values.shape == (count,)
    assert not traced
    np.testing.assert_array_equal(run.log_likelihood(images[:3], 64).values, first.values[:3])


def test_a_keras_on_another_backend_is_one_line(trained, monkeypatch):
    monkeypatch.setattr(keras.config, "backend", lambda: "jax")
    with pytest.raises(UserError, match=r"Keras runs on jax here.*KERAS_BACKEND=tensorflow"):
        dvae.load(trained[0].path)


def test_within_a_graph_is_one_line(trained):
    with (
        tf.Graph().as_default(),
        pytest.raises(UserError, match="call this outside of graphs"),
    ):
        dvae.load(trained[0].path)
