"""Programs as files: what JAX makes of them is what TensorFlow makes of them."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

import benchmarks
from benchmarks import exported, gpu_training
from dvae.runs.records import read_json, read_result
from dvae.train_step import STEPS_A_GROUP
from tests.helpers import tiny_training

RUNNER = Path(benchmarks.__file__).parent / "run_exported.py"
CALLS, STEPS = 2, gpu_training.STEPS_PER_CALL


@pytest.fixture(autouse=True)
def seed():
    """TensorFlow draws a number to find its device, and wants a seed under determinism."""
    tf.random.set_seed(1)


def run(folder, out):
    """What the program says that has JAX alone, and its exit code."""
    command = [sys.executable, str(RUNNER), str(folder), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout + done.stderr


def test_a_sum_is_fed_back(tmp_path):
    """Two calls add 3 and 4 to a variable; an array of two jobs is written once."""
    total = tf.Variable(10.0)

    def add(row, times):
        total.assign_add(times * row)

    function = tf.function(add, jit_compile=True, autograph=False)
    found = exported.export(lambda: exported.Call(function, (tf.constant(3.0), 2)))
    assert [v is total for v in found.variables] == [False, True]
    rows = np.float32([3.0, 4.0])
    for name in ("one", "two"):
        exported.write(tmp_path, name, found, exported.Work(2, "sum", 4), {0: rows}, {"total": 1})
    assert len(list((tmp_path / "arrays").iterdir())) == 3
    code, said = run(tmp_path, tmp_path / "out")
    assert code == 0, said
    for name in ("one", "two"):
        assert np.load(tmp_path / "out" / f"{name}.npz")["total"] == 24.0
    job = read_json(tmp_path / "out" / "times.json")["jobs"]["one"]
    assert job["unit"] == "sum" and 0.0 < job["microseconds"] < 1e6 * job["first_call_seconds"]


def test_what_fails_is_named_and_the_rest_is_run(tmp_path):
    function = tf.function(lambda x: x + 1.0, jit_compile=True)
    found = exported.export(lambda: exported.Call(function, (tf.constant(1.0),)))
    for name in ("bad", "good"):
        exported.write(tmp_path, name, found, exported.Work(1, "call", 1), keep={"x": 0})
    (tmp_path / "programs" / "bad.hlo.gz").write_bytes(b"no program")
    code, said = run(tmp_path, tmp_path / "out")
    assert code == 1 and "failed: bad" in said
    assert (tmp_path / "out" / "good.npz").exists()


@pytest.mark.parametrize("baseline, k", [("dvaes_power", 1), ("dvaess_pwl", 2)])
def test_a_run_ends_with_the_weights_that_tensorflow_gives(baseline, k, tmp_path):
    """All variables of a run of 200 steps; rounding may flip a draw, which shows in weights."""
    struct = "1-layer-nonlin" if baseline == "dvaess_pwl" else "2-layer-nonlin"
    config = tiny_training.config_of(
        baseline=baseline,
        k=k,
        num_train_iter=CALLS * STEPS,
        structure=tiny_training.STRUCTURES[struct],
    )
    dataset = tiny_training.dataset()
    gpu_training.export(tmp_path, config, dataset)
    code, said = run(tmp_path, tmp_path)
    assert code == 0, said
    (job,) = (tmp_path / "jobs").iterdir()
    program = gpu_training.TrainProgram(config, dataset)
    for rows in gpu_training.batches(config, len(dataset.train)):
        program.run(rows, STEPS)
    kept = gpu_training.kept(program)
    with np.load(tmp_path / f"{job.stem}.npz") as found:
        assert set(found) >= {"model 000", "sampler 000", "step"}
        assert found["step"] == CALLS * STEPS and STEPS % STEPS_A_GROUP == 0
        for name in found:
            np.testing.assert_allclose(found[name], kept[name].numpy(), atol=2e-3, err_msg=name)


def test_an_exported_run_is_finished_with_a_result(tmp_path):
    """Of a model that was trained elsewhere; one that stopped early is refused."""
    config = tiny_training.config_of(num_train_iter=STEPS, eval_batchsize=4, eval_iw_samples=3)
    config = dataclasses.replace(config, dataset="tiny.npz", ais_chains=8)
    dataset = tiny_training.dataset()
    gpu_training.export(tmp_path, config, dataset)
    (job,) = (tmp_path / "jobs").iterdir()
    program = gpu_training.TrainProgram(config, dataset)
    program.run(*gpu_training.batches(config, len(dataset.train)), STEPS)
    named = {name: variable.numpy() for name, variable in gpu_training.kept(program).items()}
    times = {"device": "GPU: a card", "jobs": {job.stem: {"microseconds": 250.0}}}
    (tmp_path / "times.json").write_text(json.dumps(times))
    np.savez(tmp_path / f"{job.stem}.npz", **named)
    logs = tmp_path / "logs"
    record = gpu_training.finish(tmp_path, tmp_path, job.stem, dataset, logs)
    assert record["device"] == "GPU: a card" and record["ms_per_step"] == 0.25
    assert read_result(config.run_directory(logs) / "result.json") == record
    np.savez(tmp_path / f"{job.stem}.npz", **named | {"step": np.int64(7)})
    with pytest.raises(SystemExit, match="stands at step 7, not at 100"):
        gpu_training.finish(tmp_path, tmp_path, job.stem, dataset, tmp_path / "other")
