"""A run gives the same numbers on any number of CPU cores, bit for bit."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers import tiny_runs

ROOT = Path(__file__).parents[2]
# The cores are chosen before TensorFlow looks how many there are.
PROGRAM = """
import json, os, sys
os.sched_setaffinity(0, set(json.loads(sys.argv[1])))
from configs.experiment import ExperimentConfig
from pathlib import Path
from tests.helpers import tiny_runs
tiny_runs.train(ExperimentConfig.from_json(json.loads(sys.argv[2])), Path(sys.argv[3]))
"""


@pytest.mark.slow
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is one core only")
def test_number_of_cores_does_not_matter(tmp_path):
    path = tiny_runs.write_data(tmp_path / "data.npz", grey=True)
    config = json.dumps(tiny_runs.tiny_config(path, k=2).to_json())
    cores = sorted(os.sched_getaffinity(0))
    found = []
    for number in (1, len(cores)):
        directory = tmp_path / f"cores{number}"
        arguments = [json.dumps(cores[:number]), config, str(directory)]
        command = [sys.executable, "-c", PROGRAM, *arguments]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        found.append(tiny_runs.numbers(directory))
    tiny_runs.assert_same_numbers(*found)
