"""Whole runs small enough for tests: a tiny model on a few small images, and what they leave."""

import json
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np

from configs.errors import UserError
from configs.experiment import ExperimentConfig
from configs.registry import Structure

TINY = Structure(num_groups=2, units_per_group=3, num_hidden_layers=1, hidden_units=5)
# Those of the summaries' quick AIS: one program serves both.
AIS_TEMPERATURES = 100
# Of `dvae.train`, where "2-layer-nonlin" is made to stand for TINY.
ARGUMENTS = dict(struct="2-layer-nonlin", num_train_iter=40, train_batchsize=10, summary_every=20)
ARGUMENTS |= dict(eval_every=20, eval_iw_samples=1000, num_chains=20, num_sweeps=2)
# 13 and 17 images take the same program.
ARGUMENTS |= dict(ais_temperatures=AIS_TEMPERATURES, ais_chains=64, eval_batchsize=13)
# The command line of a run that takes seconds, beside data set, structure and directory.
_FLAGS = {name: value for name, value in ARGUMENTS.items() if name != "struct"}
_FLAGS |= {"eval_iw_samples": 7, "compile_cache": Path(__file__).parents[2] / "build/xla-cache"}
FLAGS = tuple(f"--{name}={value}" for name, value in _FLAGS.items())


def write_data(path, grey):
    """A data file of 6x5 pictures; grey ones are binarised anew for each batch."""
    rng = np.random.default_rng(5)
    arrays = {}
    for name, count in (("train", 77), ("validation", 13), ("test", 17)):
        values = rng.random((count, 6, 5))
        arrays[name] = values if grey else np.float64(values < 0.3)
    np.savez(path, **arrays)
    return path


def tiny_config(data_path, **fields):
    """A run of 60 steps with summaries, evaluations and batches of odd sizes."""
    values = dict(dataset=str(data_path), struct="2-layer-nonlin", baseline="dvaes_power")
    values |= dict(structure=TINY, input_size=30, num_train_iter=60, train_batchsize=10, beta=5.0)
    values |= dict(eval_batchsize=13, eval_iw_samples=11, eval_every=30, summary_every=12)
    values |= dict(num_chains=37, num_sweeps=3, ais_chains=41, ais_temperatures=AIS_TEMPERATURES)
    return ExperimentConfig(**(values | dict(log_z_chains=31) | fields))


def made(config, directory, **options):
    """A run in a directory, which it holds; a checkpoint after each call unless told otherwise."""
    import data
    from dvae.runs.checkpoints import RunOptions
    from dvae.runs.directory import RunDirectory
    from dvae.runs.loop import Run

    dataset, place = data.load(config.dataset, "."), RunDirectory(directory)
    place.open(config, dataset.sha256, fresh=False)
    return Run(config, dataset, place, RunOptions(**{"checkpoint_minutes": 0.0, **options}))


def train(config, directory, **options):
    """Trains in this process, from wherever the directory stands."""
    run = made(config, directory, **options)
    try:
        run.directory.keep_data_facts(run.dataset)
        run.train()
    finally:
        run.directory.unlock()


def train_in_child(config_json, directory, actions=(), steps_per_call=100, **options):
    """`train` for a process of its own; exits like run.py when a signal or an error ends it.

    Args:
      actions: pairs (steps, function): called, without arguments, when the process has trained so
        many steps of its own.
      steps_per_call: at most, so that calls are cut elsewhere than usual.
      **options: of `RunOptions`, as in `made`.
    """
    from dvae.runs.loop import Run
    from dvae.runs.process import Stopped

    advance, waiting = Run._advance, sorted(actions, key=lambda action: action[0])
    done = 0

    def cut(run, num_steps):
        nonlocal done
        limit = waiting[0][0] - done if waiting else num_steps
        seconds = advance(run, min(num_steps, steps_per_call, limit))
        done += min(num_steps, steps_per_call, limit)
        while waiting and waiting[0][0] <= done:
            waiting.pop(0)[1]()
        return seconds

    Run._advance = cut
    try:
        train(ExperimentConfig.from_json(config_json), directory, **options)
    except Stopped as stop:
        sys.exit(stop.exit_code)
    except UserError as error:
        fill_disk(False)
        (directory.parent / "error").write_text(str(error))
        sys.exit(2)


def send_signal(number):
    """To this process; returns when it has been received."""
    os.kill(os.getpid(), number)
    time.sleep(0.01)


def fill_disk(full):
    """Lets every write to a file fail from now on, or no more."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (0 if full else hard, hard))


def numbers(directory):
    """Everything a run left that must not depend on whether it was interrupted."""
    import tensorflow as tf

    result = json.loads((directory / "result.json").read_text())
    for name in ("ms_per_step", "checkpoint", "code", "checksum"):  # times, the checkout
        result.pop(name)
    metrics = [json.loads(line) for line in (directory / "metrics.jsonl").read_text().splitlines()]
    tensors = {}
    for checkpoint in sorted((directory / "checkpoints").iterdir()):
        reader = tf.train.load_checkpoint(str(checkpoint / "tensors"))
        for name in reader.get_variable_to_shape_map():
            tensors[checkpoint.name, name] = reader.get_tensor(name)
    return result, metrics, tensors


def event_points(directory):
    """(tag, step) of every point in the TensorBoard files, in order of time."""
    import tensorflow as tf
    from tensorboard.compat.proto.event_pb2 import Event

    points = []
    for path in sorted(directory.glob("events.out.tfevents.*")):
        for record in tf.data.TFRecordDataset(os.fsencode(path)).as_numpy_iterator():
            event = Event.FromString(record)
            points += [(value.tag, event.step) for value in event.summary.value]
    return points


def assert_same_numbers(ours, theirs):
    """Two outcomes of `numbers`, bit for bit."""
    assert ours[0] == theirs[0]
    assert ours[1] == theirs[1]
    assert ours[2].keys() == theirs[2].keys()
    for name, value in ours[2].items():
        np.testing.assert_array_equal(value, theirs[2][name], err_msg=str(name))
