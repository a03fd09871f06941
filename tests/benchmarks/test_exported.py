"""Programs as files, and runs that hop: what JAX makes of them is what TensorFlow makes of them."""

import gzip
import json
import re
import signal
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import data
from benchmarks import exported, gpu_compiler, gpu_training, run_exported
from configs.errors import UserError
from dvae.runs.json_files import read_json
from dvae.train_state import named_leaves
from tests.helpers import tiny_runs, tiny_training

ONE_GROUP = {"struct": "1-layer-nonlin", "structure": tiny_training.STRUCTURES["1-layer-nonlin"]}


@pytest.fixture(autouse=True)
def seed():
    """TensorFlow draws a number to find its device, and wants a seed under determinism."""
    tf.random.set_seed(1)


def run(folder, out, *flags):
    """What the program says that has JAX alone, and its exit code; nothing of ours is beside it."""
    command = [sys.executable, str(folder / "run_exported.py"), str(folder), str(out), *flags]
    environment = {"PATH": "/usr/bin", "HOME": str(out)}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=300, cwd="/", env=environment
    )
    return done.returncode, done.stdout + done.stderr


def test_what_fails_is_named_and_arrays_are_written_once(tmp_path):
    function = tf.function(lambda x: x + 1.0, jit_compile=True)
    found = exported.export(lambda: exported.Call(function, (tf.constant(1.0),)))
    for name in ("bad", "worse"):
        exported.write(tmp_path, name, found, {})
        (tmp_path / "programs" / f"{name}.hlo.gz").write_bytes(b"no program")
    assert len(list((tmp_path / "arrays").iterdir())) == 1
    code, said = run(tmp_path, tmp_path / "out")
    assert code == 1 and ("failed: bad, worse" in said or "failed: worse, bad" in said)


def test_products_are_exact_whatever_the_process_has_chosen(monkeypatch):
    def text(function, *arguments):
        make = function.experimental_get_compiler_ir(*arguments)
        return make(stage="hlo", platform_name="GPU")

    monkeypatch.setattr(exported, "lowered", text)
    function = tf.function(lambda x: tf.matmul(x, x), jit_compile=True)
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(True)
    try:
        found = exported.export(lambda: exported.Call(function, (tf.ones([2, 2]),)))
        assert tf.config.experimental.tensor_float_32_execution_enabled()
    finally:
        tf.config.experimental.enable_tensor_float_32_execution(before)
    [product] = [line for line in found.hlo.splitlines() if " dot(" in line]
    assert "operand_precision={highest,highest}" in product


def begun(tmp_path, steps, **fields):
    """A run that stands at a step where one of its calls ends, its directory and its data."""
    path = tiny_runs.write_data(tmp_path / "tiny.npz", grey=False)
    config = tiny_runs.tiny_config(path, eval_every=20, summary_every=10, **fields)
    current = tiny_runs.made(config, tmp_path / "run")
    if steps:
        current._resume()
        current._boundary(None)
        current._advance(steps)
        current.save()
    current.directory.unlock()
    return current, current.directory, current.dataset


def values(program):
    return {name: leaf.numpy() for name, leaf in named_leaves(program.state).items()}


def hopped(current, directory, dataset, tmp_path, keep_steps=(), **options):
    """Trains a run to step 50 there and takes it back; leaves its program as it does here."""
    folder, out = tmp_path / "folder", tmp_path / "out"
    gpu_training.export(folder, directory, dataset, last=50, **options)
    code, said = run(folder, out)
    assert code == 0, said
    gpu_training.take(folder, out, directory, dataset, keep_steps)
    while current.progress.step < 50:
        if current.progress.step % current.config.summary_every == 0:
            current.program.take_metrics()
        current._advance(current._steps_to_boundary())


def check_close(program, expected):
    """Rounding may flip a draw, which shows in weights."""
    found = values(program)
    assert set(found) == set(expected)
    for name in expected:
        np.testing.assert_allclose(found[name], expected[name], atol=2e-3, err_msg=name)


@pytest.mark.slow
def test_a_run_hops_and_goes_on_as_if_it_had_not(tmp_path):
    """From step 16, where no group of ten steps begins; then to its end here, with a result.

    What comes back are the weights, slots, averages, chains, counts and sums that TensorFlow gives.
    """
    current, directory, dataset = begun(tmp_path, 16)
    hopped(current, directory, dataset, tmp_path, keep_steps=(40,))
    expected = values(current.program)
    assert current._saver.restore().step == 50
    check_close(current.program, expected)
    lines = [json.loads(line) for line in directory.metrics.read_text().splitlines()]
    assert [(r["step"], r["kind"]) for r in lines if r["step"] > 16] == [
        (step, kind) for step in (20, 40) for kind in ("train", "evaluation")
    ]
    assert (directory.checkpoints / "kept-0000000040").exists()
    directory.open(current.config, dataset.sha256, fresh=False)
    current.train()
    directory.unlock()
    result = read_json(directory.result)
    validation = {
        r["step"]: r["val/neg_ll"]
        for r in map(json.loads, directory.metrics.read_text().splitlines())
        if r["kind"] == "evaluation"
    }
    assert set(validation) == {20, 40, 60}
    assert result["best_step"] == min(validation, key=validation.get)
    assert result["device_steps"]["CPU: cpu"] == 34 and sum(result["device_steps"].values()) == 60
    assert result["device"].split(" + ")[1] == "CPU: cpu"


@pytest.mark.slow
def test_a_run_with_states_of_images_is_trained_elsewhere_from_its_start(tmp_path):
    current, directory, dataset = begun(tmp_path, 0, **ONE_GROUP, baseline="dvaess_pwl", k=2)
    hopped(current, directory, dataset, tmp_path, model_every=60)
    expected = values(current.program)
    assert any(name.startswith("image_states") for name in expected)
    assert current._saver.restore().step == 50
    check_close(current.program, expected)


@pytest.mark.slow
def test_a_rehearsal_says_how_far_it_ended_from_a_run_that_stayed(tmp_path, capsys):
    """The first nine steps' draws are the same, so that nothing but rounding is between the two."""
    _, directory, dataset = begun(tmp_path, 16)
    gpu_training.rehearse(tmp_path / "scratch", directory.path, dataset, 9)
    found = re.findall(r"(\w+): apart (\S+), moved (\S+)", capsys.readouterr().out)
    assert [kind for kind, *_ in found] == ["weights", "averages", "adam", "sampler"]
    assert all(float(apart) < 1e-4 < float(moved) for _, apart, moved in found)


def test_a_hop_is_taken_only_where_it_began(tmp_path):
    current, directory, dataset = begun(tmp_path, 0)
    folder, out = tmp_path / "folder", tmp_path / "out"
    gpu_training.export(folder, directory, dataset)
    with pytest.raises(UserError, match="nothing was trained"):
        gpu_training.take(folder, out, directory, dataset, [])
    out.mkdir()
    (job,) = (folder / "jobs").iterdir()
    plan = read_json(job)["training"]
    facts = {"id": plan["id"], "step": 30, "devices": {}, "seconds": 0.0, "timed_steps": 0}
    run_exported.write_arrays(out / f"{job.stem}.state.npz", {"facts": np.array(json.dumps(facts))})
    tiny_training.set_step(current.program, 18)
    current.progress.step = 18
    current.save()
    with pytest.raises(UserError, match=r"does not stand where .* was exported from"):
        gpu_training.take(folder, out, directory, dataset, [])
    with pytest.raises(UserError, match="cannot be trained to step 18"):
        gpu_training.export(folder, directory, dataset, last=18)


def test_the_ends_with_kernels_and_without_are_compared(tmp_path, capsys):
    """Where nothing could be trained: both jobs are written, and their ends are made up."""
    current, directory, dataset = begun(tmp_path, 0, num_chains=16)
    folder, out = tmp_path / "folder", tmp_path / "out"
    names = [gpu_training.job_name(current.config, kernels) for kernels in (False, True)]
    for gpu in (None, gpu_compiler.gpu_of("h100")):
        gpu_training.export(folder, directory, dataset, last=10, kernels=gpu)
    programs = [gzip.decompress((folder / "programs" / f"{n}.hlo.gz").read_bytes()) for n in names]
    assert [b"xla.gpu.triton" in program for program in programs] == [False, True]
    first, second = [read_json(folder / "jobs" / f"{name}.json") for name in names]
    assert first == second
    out.mkdir()
    with pytest.raises(UserError, match="nothing was trained"):
        gpu_training.compare(folder, out, directory, dataset)
    told = {name: {"microseconds": 900.0, "compile_seconds": 12.0} for name in names}
    (out / "times.json").write_text(json.dumps({"jobs": told}))
    for last in (9, 10):
        for moved, (name, step) in enumerate(zip(names, (10, last), strict=True), 1):
            facts = np.array(json.dumps({"step": step, "devices": {"GPU: a card": step}}))
            end = {key: value + moved for key, value in values(current.program).items()}
            run_exported.write_arrays(out / f"{name}.state.npz", {"facts": facts, **end})
        if last == 9:
            with pytest.raises(UserError, match="different steps"):
                gpu_training.compare(folder, out, directory, dataset)
    capsys.readouterr()
    gpu_training.compare(folder, out, directory, dataset)
    said = capsys.readouterr().out
    assert all(f"{name}: to step 10, 900.0 us a step" in said for name in names)
    found = re.findall(r"(\w+): apart 1.00e\+00, moved 1.00e\+00", said)
    assert found == ["weights", "averages", "adam", "sampler"]


def test_what_takes_no_kernels_is_not_exported_for_them(tmp_path):
    _, directory, dataset = begun(tmp_path, 0, num_chains=12)
    with pytest.raises(UserError, match="num_chains=12 is no multiple of 8"):
        gpu_training.export(tmp_path, directory, dataset, kernels=gpu_compiler.gpu_of("h100"))


PLAN = {
    **{"id": "here", "first": 10, "last": 60, "per_call": 8, "summary_every": 12},
    **{"model_every": 20, "num_images": 9, "batch_size": 2, "seed": 1, "most_bad": 5},
    **{"rows": 0, "count": 1, "sums": [3], "bad_in_a_row": [4, 2]},
    **{"state": {"weights": 2, "sums": 3}, "model": ["weights", "sums"]},
}


def trained(out, limit, stop_at=None, bad=0):
    """A hop whose program adds up the images that it is given; it may be killed at a step."""
    hop = run_exported.Hop(out, "job", PLAN, [None, 0, 0, 0, [0, 0, 0]], "GPU: a card")

    def call(arguments, meanwhile):
        rows, count, weights, sums, _ = arguments
        if stop_at is not None and hop.facts["step"] >= stop_at:
            raise KeyboardInterrupt
        seen = int((rows[:count] + 1).sum())
        found = [None, 0, np.int64(weights + seen), np.int64(sums + count), np.array([0, 0, bad])]
        return found, meanwhile()

    hop.train(call, limit)
    return run_exported.read_arrays(out / "job.state.npz")


class Never:
    """No limit."""

    def reached(self, _needed=0.0):
        return False


def test_a_killed_hop_goes_on_from_its_last_state(tmp_path):
    """With the same batches and models as one that was not; each device's steps are counted."""
    for out in ("whole", "killed"):
        (tmp_path / out).mkdir()
    whole = trained(tmp_path / "whole", Never())
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "killed", Never(), stop_at=50)
    left = run_exported.read_arrays(tmp_path / "killed" / "job.state.npz")
    assert json.loads(str(left["facts"]))["step"] == 40
    again = trained(tmp_path / "killed", Never())
    assert again["weights"] == whole["weights"] == whole_sum(10, 60)
    assert again["sums"] == 12  # since the summary at 48
    facts = json.loads(str(again["facts"]))
    assert facts["step"] == 60 and facts["devices"] == {"GPU: a card": 50}
    for out in ("whole", "killed"):
        models = run_exported.read_arrays(tmp_path / out / "job.models-0.npz")
        assert {k: int(v) for k, v in models.items() if k.endswith("weights")} == {
            f"{step}/weights": whole_sum(10, step) for step in (20, 40, 60)
        }


def whole_sum(first, last):
    return int((data.batch_indices(9, 2, 1, first, last - first) + 1).sum())


def test_a_hop_ends_in_time_and_when_asked(tmp_path):
    class Soon(Never):
        asked = 0

        def reached(self, _needed=0.0):
            self.asked += 1
            return self.asked > 3

    facts = json.loads(str(trained(tmp_path, Soon())["facts"]))
    assert facts["step"] == 24 and facts["timed_steps"] == 12  # all but the first call's
    before = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        limit = run_exported.Limit(1000.0)
        assert not limit.reached(10.0) and limit.reached(1000.0)
        signal.raise_signal(signal.SIGTERM)
        assert limit.reached()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_bad_numbers_end_a_hop_and_another_runs_state_is_refused(tmp_path):
    with pytest.raises(ArithmeticError, match="5 updates in a row"):
        trained(tmp_path, Never(), bad=5)
    trained(tmp_path, Never())
    with pytest.raises(ValueError, match="another run or checkpoint"):
        run_exported.Hop(tmp_path, "job", PLAN | {"id": "there"}, [0] * 5, "GPU: a card")
