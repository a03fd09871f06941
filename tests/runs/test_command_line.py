"""Flags as they were published, in files that may be damaged, and answered at once."""

import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags

import dvae
import run
from tests.helpers.damaged_files import damaged_bytes

ROOT = Path(__file__).parents[2]
GOOD = b"""# settings
--dataset=digits
--struct=1-layer-nonlin
--baseline=dvaes_power
--num_train_iter=1000
--eval_iw_samples=100
--base_lr=0.003
--qupa=true
--log_dir=logs
"""
_VALUES = ["", "nan", "-1", "0", "1e309", "10000000000000000000000", "x", "\0", "../..", "é", "--"]
_NAMES = "dataset struct baseline k beta num_train_iter base_lr qupa seed num_chains mode".split()
_NAMES += "ais_temperatures resample_threshold checkpoint_minutes input_size eval_every".split()
_ODD = (
    *(b"--k\n", b"--no_such_flag=3\n", b"stray words\n", b"--flagfile=/nowhere/at/all\n"),
    *(
        b"--seed=" + b"7" * 100_000,
        b"\xef\xbb\xbf" + GOOD,
        b"\xff\xfe" + "--k=1".encode("utf-16-le"),
    ),
)


def _configured():
    """In the place of all work."""
    run.config_from_flags()
    return 0


def test_flag_files_are_valid():
    for path in sorted((ROOT / "configs").glob("*.flags")):
        names = [line.split("=")[0] for line in path.read_text().splitlines() if line[:2] == "--"]
        assert names and all(name[2:] in flags.FLAGS for name in names), path


def test_damaged_flag_files(tmp_path, program):
    path = tmp_path / "some.flags"
    path.write_bytes(GOOD)
    assert program(f"--flagfile={path}", main=_configured) == (0, "", "")
    values = (GOOD + f"--{name}={value}\n".encode() for name in _NAMES for value in _VALUES)
    contents = [*damaged_bytes(GOOD, 1), *values, *_ODD]
    assert len(contents) >= 500
    refused = 0
    for content in contents:
        path.write_bytes(content)
        code, _, err = program(f"--flagfile={path}", main=_configured)
        assert code in (0, 2), content[:200]
        if err:
            assert err.startswith("error: "), err
            assert len(err.splitlines()) == 1
        refused += code == 2
    # The others: a comment changed, a line lost at the end, another value that is allowed.
    assert refused > 0.5 * len(contents)


def test_flag_files_of_another_encoding_or_that_name_themselves(tmp_path, fails, program):
    """As editors on Windows save them, and text of before Unicode."""
    path = tmp_path / "some.flags"
    for content in (GOOD.decode().encode("utf-8-sig"), GOOD.decode().encode("utf-16"), b"--x=\xe9"):
        path.write_bytes(content)
        assert fails(f"--flagfile={path}", main=_configured).startswith("error: a flag file")
    path.write_text(f"--flagfile={path}\n--k=0\n")
    assert program(f"--flagfile={path}", main=_configured)[0] == 2


def test_of_a_flag_given_twice_the_last_counts(tmp_path, program):
    path = tmp_path / "some.flags"
    path.write_bytes(GOOD.replace(b"\n", b"\r\n") + b"--k=0\r\n")
    assert program(f"--flagfile={path}", main=_configured)[0] == 2
    assert program(f"--flagfile={path}", "--k=2", main=_configured) == (0, "", "")


def _python(code, *arguments):
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=120)


@pytest.mark.parametrize("name", ["run.py", "run_table.py"])
def test_a_system_without_file_locks_is_told_which_will_do(name):
    """As Windows is: in one line, before anything else is wanted of it."""
    code = "import runpy, sys; sys.modules['fcntl'] = None; sys.argv[0] = sys.argv[1]\n"
    code += "sys.argv[1:] = ['--help']; runpy.run_path(sys.argv[0], run_name='__main__')"
    done = _python(code, str(ROOT / name))
    [line] = done.stderr.strip().splitlines()
    assert done.returncode == 2 and line.startswith("error: ") and "Linux and macOS" in line


_QUICK = """
import contextlib, io, os, sys
import {0}
for usage in sys.argv[1:]:
    if os.fork():
        os.wait()
        continue
    said, sys.argv = io.StringIO(), ["{0}.py", usage]
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            {0}.program()
    except SystemExit as stop:
        slow = sorted({{"tensorflow", "scipy", "matplotlib"}} & set(sys.modules))
        print(stop.code, *said.getvalue().strip().splitlines()[:1], *slow, sep="|", flush=True)
    os._exit(0)
"""
_USAGE = {
    "run": {
        "--k=0": "error: --k=0 must be at least 1",
        "--mode=evaluate": "error: --mode=evaluate needs --run=DIR",
        "--dataset=nowhere.npz": "error: nowhere.npz: does not exist",
        "--help": "Examples:",
    },
    "run_table": {"--jobs=0": "error: --jobs=0 must be at least 1", "--help": "Examples:"},
}


@pytest.mark.parametrize("name", _USAGE)
def test_usage_is_answered_before_anything_slow_is_imported(name):
    done = _python(_QUICK.format(name), *_USAGE[name])
    assert done.returncode == 0, done.stderr
    lines = done.stdout.strip().splitlines()
    for (usage, said), line in zip(_USAGE[name].items(), lines, strict=True):
        code, first, *slow = line.split("|")
        assert code == ("0" if usage == "--help" else "2") and first.startswith(said)
        assert not slow


def test_import_is_quick():
    """The interface is there, and nothing slow is loaded for it."""
    script = "import sys, dvae; print(*sorted(set(sys.modules) & {'tensorflow', 'numpy', 'keras'}))"
    done = _python(script + "; print(*(n for n in dir(dvae) if n[0] != '_'))")
    assert done.returncode == 0
    assert done.stdout.split("\n")[:2] == ["", "TrainedModel export load train"]
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        dvae.trian  # noqa: B018
