"""A stand-in for run.py that starts in a fraction of a second: flags, lock, signals, checkpoints
and results like a run's, but no model. It tests what starts runs, not training.

STAND_IN_SECONDS: how long a run takes; STAND_IN_FAILING: a baseline whose runs fail;
STAND_IN_HOSTS: every attempt takes itself for another machine, so that locks are judged by their
lease; STAND_IN_GATE: no run takes its last step before LOG_DIR/gate exists.
"""

import hashlib
import json
import os
import socket
import sys
import time
from pathlib import Path

from absl import app, flags

import run as command_line
from dvae.runs import lock as run_lock
from dvae.runs.process import SignalWatch, Stopped
from tests.helpers import hand_made_results

STEPS = 20


def _advance(state):
    return hashlib.sha256(state.encode()).hexdigest()


def expected_nll(config):
    """What a run that did each step once ends with."""
    state = repr(config)
    for _ in range(STEPS):
        state = _advance(state)
    return 90.0 + int(state[:6], 16) / 2**24


def _may_finish():
    return "STAND_IN_GATE" not in os.environ or (Path(flags.FLAGS.log_dir) / "gate").exists()


def _train(config, directory, watch):
    checkpoint = directory / "checkpoint.json"
    step, state = 0, repr(config)
    if checkpoint.exists():
        step, state = json.loads(checkpoint.read_text())
        print(f"resumed at step {step}", flush=True)
    while step < STEPS:
        time.sleep(float(os.environ.get("STAND_IN_SECONDS", "0")) / STEPS)
        if step == STEPS - 1 and not _may_finish():
            watch.raise_if_stopped()
            continue
        step, state = step + 1, _advance(state)
        aside = directory / f"checkpoint.{os.getpid()}"
        aside.write_text(json.dumps([step, state]))
        os.replace(aside, checkpoint)
        watch.raise_if_stopped()
    nll = 90.0 + int(state[:6], 16) / 2**24
    hand_made_results.write_finished(directory, config, hand_made_results.record_of(config, nll))


def main(argv):
    del argv
    if "STAND_IN_HOSTS" in os.environ:
        run_lock.BEAT_SECONDS, run_lock.LEASE_SECONDS = 0.2, 1.5
        socket.gethostname = lambda: f"machine-{os.getpid()}"
    config = command_line.config_from_flags()
    if config.baseline == os.environ.get("STAND_IN_FAILING"):
        print("error: made to fail", file=sys.stderr)
        sys.exit(2)
    if flags.FLAGS.mode == "time":
        print(f"measured: {json.dumps({'hours': float(config.k)})}")
        return
    directory = config.run_directory(flags.FLAGS.log_dir)
    directory.mkdir(parents=True, exist_ok=True)
    lock = run_lock.RunLock(directory / "lock.json")
    with SignalWatch() as watch:  # before the lock: no signal leaves it behind
        lock.take()
        try:
            _train(config, directory, watch)
        except Stopped as stop:
            sys.exit(stop.exit_code)
        finally:
            lock.release()


if __name__ == "__main__":
    app.run(main)
