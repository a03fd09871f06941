"""Whole runs that take long: on any number of cores, of many steps, with another posterior."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import dvae
from configs.registry import Structure
from dvae.runs import commands
from dvae.runs.loop import Run
from samplers import ais
from tests.helpers import tiny_runs

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
# The cores are chosen before TensorFlow looks how many there are.
_PROGRAM = """
import json, os, sys
os.sched_setaffinity(0, set(json.loads(sys.argv[1])))
from configs.experiment import ExperimentConfig
from pathlib import Path
from tests.helpers import tiny_runs
tiny_runs.train(ExperimentConfig.from_json(json.loads(sys.argv[2])), Path(sys.argv[3]))
"""


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is one core only")
def test_number_of_cores_does_not_matter(tmp_path):
    """The same numbers, bit for bit."""
    path = tiny_runs.write_data(tmp_path / "data.npz", grey=True)
    config = json.dumps(tiny_runs.tiny_config(path, k=2).to_json())
    cores = sorted(os.sched_getaffinity(0))
    found = []
    for number in (1, len(cores)):
        directory = tmp_path / f"cores{number}"
        arguments = [json.dumps(cores[:number]), config, str(directory)]
        command = [sys.executable, "-c", _PROGRAM, *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        found.append(tiny_runs.numbers(directory))
    tiny_runs.assert_same_numbers(*found)


NUM_STEPS, SETTLED = 20_000, 2000
PAGE_KIB = 4
_STATM = Path("/proc/self/statm")


def _resident_kib():
    return int(_STATM.read_text().split()[1]) * PAGE_KIB


def _traces(run):
    """How often each compiled function of a run has been traced."""
    diagnostics = run.monitor.diagnostics
    functions = {
        **{"step": run.program.compiled, "ais": ais._run},
        **{"latents": diagnostics._latents, "decode": diagnostics._decode},
        "evaluation": run.monitor.evaluator._compiled,
    }
    return {name: f.experimental_get_tracing_count() for name, f in functions.items()}


@pytest.mark.skipif(not _STATM.exists(), reason="reads Linux's /proc")
def test_a_long_run_neither_grows_nor_traces_anew(tmp_path, monkeypatch):
    """With a checkpoint after each call; memory grows by less than 2 % after 2000 steps."""
    path = tiny_runs.write_data(tmp_path / "data.npz", grey=True)
    often = dict(summary_every=100, eval_every=1000, eval_iw_samples=100)
    config = tiny_runs.tiny_config(path, num_train_iter=NUM_STEPS, **often)
    seen = {}
    save = Run.save

    def watched(run):
        save(run)
        seen[run.progress.step] = (_resident_kib(), _traces(run))

    monkeypatch.setattr(Run, "save", watched)
    before = ais._run.experimental_get_tracing_count()
    tiny_runs.train(config, tmp_path / "run")
    memory, counts = seen[NUM_STEPS]
    assert memory < 1.02 * seen[SETTLED][0], f"{seen[SETTLED][0]} KiB grew to {memory} KiB"
    assert counts == seen[SETTLED][1]
    # AIS has two numbers of temperatures, evaluation two sets of images.
    assert counts["ais"] - before <= 2
    assert counts["evaluation"] <= 2
    assert counts["step"] == counts["latents"] == counts["decode"] == 1


def test_a_run_with_an_undirected_posterior(tmp_path):
    """And everything that can be asked of its model."""
    path = tiny_runs.write_data(tmp_path / "data.npz", grey=False)
    shape = dict(struct="1-layer-nonlin", structure=Structure(1, 6, 1, 5), k=3)
    directory, out = tmp_path / "run", tmp_path / "out"
    tiny_runs.train(tiny_runs.tiny_config(path, baseline="dvaess_concrete", **shape), directory)
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

    assert commands.evaluate(model, out) == commands.log_z(model, out) == 0
    assert commands.generate(model, out, num_images=4) == 0
    written = {path.name for path in out.iterdir()}
    assert written == {"evaluation.json", "log_z.json", "generated.npz", "generated.png"}
    many, few = (model.log_likelihood(images, num_samples=number) for number in (2000, 2))
    assert many.values.mean() > few.values.mean()
    assert np.all(many.stderr > 0)
