"""examples/train_rbm.py: help and errors before anything slow, a bar for the evaluation, a stop."""

import subprocess
import sys
from pathlib import Path

import pytest

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
