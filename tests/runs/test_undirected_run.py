"""A whole run with an undirected posterior, and everything that can be asked of its model."""

import json

import numpy as np
import pytest

import dvae
from configs.registry import Structure
from dvae.runs import commands
from tests.helpers import tiny_runs


@pytest.mark.slow
def test_a_run(tmp_path):
    path = tiny_runs.write_data(tmp_path / "data.npz", grey=False)
    config = tiny_runs.tiny_config(
        path,
        baseline="dvaess_concrete",
        struct="1-layer-nonlin",
        structure=Structure(1, 6, 1, 5),
        k=3,
    )
    directory = tmp_path / "run"
    tiny_runs.train(config, directory)
    model = dvae.load(directory)
    with np.load(path) as arrays:
        images = arrays["test"]

    rows = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    tags = set().union(*rows)
    assert not {"train/neg_iw_loss", "train/neg_elbo", "obj/kl"} & tags
    assert {"obj/recon_loss", "obj/kl_gradient_surrogate", "val/neg_ll", "val/neg_elbo"} <= tags
    assert all(np.isfinite(v) for row in rows for v in row.values() if isinstance(v, float))

    encoded = model.encode(images)
    assert encoded.latents.shape == encoded.probabilities.shape == (17, 6)
    # Logits of units that are as sure as their sample agree with it.
    sure = np.abs(encoded.probabilities - 0.5) > 0.4999
    assert np.all(np.round(encoded.probabilities)[sure] == encoded.latents[sure])
    assert np.all(encoded.log_prob < 1.0)
    assert model.reconstruct(images).shape == (17, 6, 5)
    counts = model.count_modes(images, num_samples=100)
    assert counts.shape == (17,) and np.all(counts >= 1)

    out = tmp_path / "out"
    assert commands.evaluate(model, out) == commands.log_z(model, out) == 0
    assert commands.generate(model, out, num_images=4) == 0
    written = {path.name for path in out.iterdir()}
    assert written == {"evaluation.json", "log_z.json", "generated.npz", "generated.png"}
    many = model.log_likelihood(images, num_samples=2000)
    few = model.log_likelihood(images, num_samples=2)
    assert many.values.mean() > few.values.mean()
    assert np.all(many.stderr > 0)
