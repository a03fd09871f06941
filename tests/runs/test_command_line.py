"""Flag files: damaged ones end with one line and code 2, or hold settings that are refused so."""

import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags

import run
from configs import command_line
from configs.errors import UserError
from tests.helpers.damaged_files import damaged_bytes, no_hang

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


def outcome(capsys, *arguments):
    """What the flags and the configuration made of them say: exit code or None, and stderr."""
    values = flags.FLAGS.flag_values_dict()
    present = {name: flags.FLAGS[name].present for name in values}
    code = None
    try:
        with no_hang():
            command_line.parse(["run.py", *arguments])
            run.config_from_flags()
    except SystemExit as stop:
        code = stop.code
    except UserError as error:
        assert len(str(error).splitlines()) == 1
        code = 2
    finally:
        flags.FLAGS.unparse_flags()
        for name, value in values.items():
            flags.FLAGS[name].value, flags.FLAGS[name].present = value, present[name]
        flags.FLAGS.mark_as_parsed()
    return code, capsys.readouterr().err


def contents():
    yield from damaged_bytes(GOOD, 1)
    for name in _NAMES:
        for value in _VALUES:
            yield GOOD + f"--{name}={value}\n".encode()
    yield b"--k\n"
    yield b"--no_such_flag=3\n"
    yield b"stray words\n"
    yield b"--flagfile=/nowhere/at/all\n"
    yield b"--seed=" + b"7" * 100_000
    yield b"\xef\xbb\xbf" + GOOD
    yield b"\xff\xfe" + "--k=1".encode("utf-16-le")


def test_damaged_flag_files(tmp_path, capsys):
    path = tmp_path / "some.flags"
    path.write_bytes(GOOD)
    assert outcome(capsys, f"--flagfile={path}") == (None, "")
    total = refused = 0
    for content in contents():
        path.write_bytes(content)
        code, err = outcome(capsys, f"--flagfile={path}")
        total += 1
        assert code in (None, 2), content[:200]
        if err:
            assert err.startswith("error: "), err
            assert len(err.splitlines()) == 1
        refused += code == 2
    assert total >= 500
    # The others: a comment changed, a line lost at the end, another value that is allowed.
    assert refused > 0.5 * total


def test_flag_file_that_names_itself(tmp_path, capsys):
    path = tmp_path / "loop.flags"
    path.write_text(f"--flagfile={path}\n--k=0\n")
    code, _ = outcome(capsys, f"--flagfile={path}")
    assert code == 2


def test_flag_files_of_other_encodings_say_so(tmp_path, capsys):
    """As editors on Windows save them, and text of before Unicode."""
    path = tmp_path / "some.flags"
    for content in (GOOD.decode().encode("utf-8-sig"), GOOD.decode().encode("utf-16"), b"--x=\xe9"):
        path.write_bytes(content)
        code, err = outcome(capsys, f"--flagfile={path}")
        assert code == 2 and err.startswith("error: a flag file") and len(err.splitlines()) == 1


def test_of_a_flag_given_twice_the_last_counts(tmp_path, capsys):
    path = tmp_path / "some.flags"
    path.write_bytes(GOOD.replace(b"\n", b"\r\n") + b"--k=0\r\n")
    assert outcome(capsys, f"--flagfile={path}")[0] == 2
    assert outcome(capsys, f"--flagfile={path}", "--k=2") == (None, "")


@pytest.mark.parametrize("bad", ["--nosuch=1", "--k=many", "--mode=dance", "--log_dir=a\0b"])
def test_bad_flags_are_one_line(capsys, bad):
    code, err = outcome(capsys, bad)
    assert code == 2
    assert err.startswith("error: ")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("program", ["run.py", "run_table.py"])
def test_a_system_without_file_locks_is_told_which_will_do(program):
    """As Windows is: in one line, before anything else is wanted of it."""
    code = "import runpy, sys; sys.modules['fcntl'] = None; sys.argv[0] = sys.argv[1]\n"
    code += "sys.argv[1:] = ['--help']; runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-c", code, str(ROOT / program)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=60)
    [line] = done.stderr.strip().splitlines()
    assert done.returncode == 2 and line.startswith("error: ") and "Linux and macOS" in line
