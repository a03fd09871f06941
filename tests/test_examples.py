"""Examples: what they say before anything slow, what they report, and what NumPy alone reads."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import dvae
from examples import numpy_reader, rbm_training
from tests.helpers import statistical
from tests.reference.graph import random_graph

EXAMPLE = Path(__file__).parents[1] / "examples" / "train_rbm.py"


@pytest.fixture
def started(tmp_path):
    """Starts it where TensorFlow cannot be imported: exit code, stdout, stderr."""
    for name in ("tensorflow", "keras"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('slow')")

    def start(*arguments):
        done = subprocess.run(
            [sys.executable, str(EXAMPLE), *arguments],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={"PYTHONPATH": str(tmp_path)},
        )
        return done.returncode, done.stdout, done.stderr

    return start


@pytest.mark.parametrize(
    "bad", ["--num_hidden=0", "--minutes=nan", "--sampler=gibbs", "--nosuch=1", "stray", "--seed=x"]
)
def test_a_usage_error_is_one_line_and_needs_no_tensorflow(started, bad):
    code, out, err = started(bad)
    assert (code, out) == (2, "")
    assert err.startswith("error: ") and len(err.splitlines()) == 1


def test_help_begins_with_examples(started):
    code, out, _ = started("--help")
    assert code == 0
    first = [line for line in out.splitlines() if line.strip()][:2]
    assert first[0].startswith("Examples") and "train_rbm.py --" in first[1]
    assert "--num_hidden" in out


@pytest.mark.parametrize("count", [1, 40])
@pytest.mark.parametrize("images", [1, 5])
def test_what_is_reported_has_an_error_or_says_that_it_is_not_known(count, images, capsys):
    """Of errors that two decimals would not show too."""
    forward = 7.0 + np.linspace(-0.02, 0.02, count)
    log_z = rbm_training._log_partition(tf.constant(forward), tf.constant(7.0 + np.zeros(9)))
    rbm_training._report(log_z, np.linspace(-20.0, -19.0, images), 1000)
    said, likelihood, *doubts = capsys.readouterr().out.splitlines()
    if count == 1:
        assert said.startswith("log Z 6.980 (error not known) by AIS")
        assert likelihood.count("(error not known)") == 2
        assert len(doubts) == 1 and "single chain" in doubts[0]
    else:
        assert said.startswith("log Z 7.000 [6.996, 7.004] by AIS") and not doubts
        value = np.linspace(-20.0, -19.0, images).mean() - 7.0
        assert likelihood.startswith(f"test log-likelihood {value:.3f} [{value - 0.004:.3f}, ")
        assert ("error not known" in likelihood) == (images == 1)
    assert "nan" not in said + likelihood


def test_numpy_reader_samples_and_decodes_as_the_model_does(tmp_path):
    """Of a shipped model, in a process that has NumPy alone; the sampler against its chains."""
    shipped = EXAMPLE.parents[1] / "models" / "digits-1-layer-nonlin-dvaes_power-k1"
    for name in ("tensorflow", "keras", "dvae"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('not NumPy alone')")
    command = [sys.executable, str(EXAMPLE.with_name("numpy_reader.py")), str(shipped)]
    subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(tmp_path)}, check=True)
    assert np.load(tmp_path / "samples.npy").shape == (100, 8, 8)
    model, arrays = dvae.load(shipped), dict(np.load(shipped / "weights.npz"))
    latents = numpy_reader.sample_prior(arrays, 1000, sweeps=100)
    np.testing.assert_allclose(
        numpy_reader.decode(arrays, latents).reshape(-1, 8, 8), model.decode(latents), atol=1e-5
    )
    # Two sets of 1,000 samples: differences of means and pairs have errors of at most 0.0224.
    theirs = model.sample_latents(1000)
    assert np.abs(latents.mean(axis=0) - theirs.mean(axis=0)).max() < 5 * 0.0224
    pairs = [each[:, :100].T @ each[:, 100:] / 1000 for each in (latents, theirs)]
    assert np.abs(pairs[0] - pairs[1]).max() < 5.5 * 0.0224


def test_numpy_reader_knows_priors_on_graphs():
    """Means and pairs of 20,000 samples within 5 standard errors of enumeration."""
    graph = random_graph(8, seed=3)
    arrays = {"bias": graph.bias, "coupling": graph.coupling, "edges": np.array(graph.edges)}
    arrays = {f"prior.{name}": value for name, value in arrays.items()}
    arrays["prior.chains"] = np.zeros([1, 8], np.uint8)
    found = graph.features(numpy_reader.sample_prior(arrays, 20_000, sweeps=60))
    statistical.assert_fraction(found, graph.probabilities() @ graph.features(graph.states()))


def reader(*arguments):
    command = [sys.executable, str(EXAMPLE.with_name("numpy_reader.py")), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_numpy_reader_refuses_in_one_line(tmp_path):
    assert reader("--help").returncode == 0
    assert "arguments are required: model" in reader().stderr.splitlines()[-1]
    (tmp_path / "data.json").write_text('{"image_shape": [1, 1]}')
    (tmp_path / "config.json").write_text('{"structure": {"decoder": "x", "likelihood": "y"}}')
    for files, said in (({}, "is no exported model"), ({"prior.bias": [0]}, "another kind")):
        if files:
            np.savez(tmp_path / "weights.npz", **files)
        done = reader(tmp_path, tmp_path / "out.npy")
        assert done.returncode == 1 and said in done.stderr and done.stderr.count("\n") == 1
