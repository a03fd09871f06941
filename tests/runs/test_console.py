"""What is printed: streams that are closed, full, of old encodings or noisy end no run."""

import ast
import io
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from dvae.runs import noise, process
from tests.helpers.works import works

ROOT = Path(__file__).parents[2]
# Speaks in every way that the programs have, then leaves what would be a result.
_PROGRAM = """
import logging, sys, warnings
import run
from dvae.runs import process

def main():
    process.say("log Z 36.90 \\u00b1 0.02")
    print("\\u03b2 \\u2013 \\u03b6")
    bar = process.progress_bar(3, 0, "steps", "step")
    for number in range(3):
        process.say("x" * 70_000)
        print("y" * 70_000, flush=number == 1)
        logging.warning("careful %d", number)
        bar.set_postfix_str("\\u00b1")
        bar.update()
    bar.close()
    warnings.warn("odd")
    with open(sys.argv[1].partition("=")[2], "w") as file:
        file.write("done")
    return 0

run.main = main
run.program()
"""
_OLD = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}
# Where the streams lead, the environment, and what is said of an error if anybody hears it.
_STREAMS = {
    "closed": (">&- 2>&-", {}, None),
    "all closed": ("<&- >&- 2>&-", {}, None),
    "full": (">/dev/full 2>/dev/full", {}, None),
    "no longer read": ("2>&1 | head -1 >&2", {}, None),
    "output closed": (">&-", {}, None),
    "output full": (">/dev/full", {}, None),
    "ascii": ("", {"PYTHONIOENCODING": "ascii"}, "+-"),
    "strict ascii": ("", {"PYTHONIOENCODING": "ascii:strict"}, "+-"),
    "C": ("", _OLD, "+-"),
    "latin-1": ("", {"PYTHONIOENCODING": "latin-1"}, "±"),
    "utf-8": ("", {"PYTHONIOENCODING": "utf-8"}, "±"),
}


@pytest.mark.parametrize("case", _STREAMS)
def test_a_program_goes_on_whatever_its_streams_are(tmp_path, case):
    """Nothing that was meant for a stream lands in a file that is opened after it was closed."""
    where, environment, sign = _STREAMS[case]
    program, result = tmp_path / "program.py", tmp_path / "result"
    program.write_text(_PROGRAM)
    shell = f'set -o pipefail; cd "$3"; "$0" "$1" --log_dir="$2" {where}'
    done = subprocess.run(
        ["bash", "-c", shell, sys.executable, str(program), str(result), str(ROOT)],
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr[-500:]
    assert result.read_text() == "done"
    assert b"Exception ignored" not in done.stderr and b"Traceback" not in done.stderr
    if sign:
        out = done.stdout.decode("latin-1" if case == "latin-1" else "utf-8").splitlines()
        assert out[0] == f"log Z 36.90 {sign} 0.02"
        assert out[1] in ("β – ζ", r"\u03b2 \u2013 \u03b6")


def test_a_service_without_streams(monkeypatch):
    """Python has none where the process was started without, and a run from Python goes on."""
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, None)
    process.say("unheard")
    with process.progress_bar(2, 0, "steps", "step") as bar:
        bar.update(2)


def test_the_time_of_the_compiler_counts_for_no_rate(monkeypatch):
    """An hour for the first step, then a second each."""
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    now = [0.0]
    with process.progress_bar(1000, 0, "compiling", "step") as bar:
        bar._time, bar.start_t, bar.last_print_t = lambda: now[0], 0.0, 0.0
        now[0] = 3600.0
        bar.start_anew("training", 1)
        assert "training:" in str(bar) and "<?" in str(bar)
        now[0] += 100.0
        bar.update(100)
        assert "101/1000 [01:40<14:59," in str(bar)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437"])
def test_from_python_too(monkeypatch, encoding):
    """Where nobody has prepared the streams."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stream)
    with works(UnicodeError):
        process.say("± ζ \udcff")
    stream.flush()
    shown = stream.buffer.getvalue().decode(encoding)
    assert shown.split()[0] in ("+-", "±") and len(shown.split()) == 3


def _lacks_encoding(call):
    """Whether a call opens text by the encoding that the machine happens to have."""
    *owner, name = ast.unparse(call.func).split(".")
    given = {keyword.arg for keyword in call.keywords}
    if "encoding" in given:
        return False
    if name in ("read_text", "write_text"):
        # `tables.documents.write_text` takes a path and a text, and writes bytes.
        return owner not in ([], ["documents"])
    if name in ("run", "Popen", "check_output"):
        return bool(given & {"text", "universal_newlines"})
    values = [*call.args, *(word.value for word in call.keywords if word.arg == "mode")]
    values = [value.value for value in values if isinstance(value, ast.Constant)]
    modes = [mode for mode in values if isinstance(mode, str) and set(mode) <= set("rwaxbt+")]
    opens = name == "open" and (modes or not owner or not (call.args or given))
    return bool(name == "fdopen" or opens) and not any("b" in mode for mode in modes)


def test_every_file_is_read_and_written_as_utf_8():
    command = ["git", "ls-files", "-co", "--exclude-standard", "*.py"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8", check=True)
    names = [name for name in listed.stdout.split() if not name.startswith("tests/")]
    assert len(names) > 100
    found = []
    for name in names:
        nodes = ast.walk(ast.parse((ROOT / name).read_text(encoding="utf-8")))
        calls = [node for node in nodes if isinstance(node, ast.Call) and _lacks_encoding(node)]
        found += [f"{name}:{call.lineno}: {ast.unparse(call)[:80]}" for call in calls]
    assert not found, "\n".join(found)


_INFO = "I0000 00:00:1795.1 1 port.cc:153] oneDNN custom operations are on.\n"
_READ_AS_TEXT = (
    "E0000 00:00:1795.1 1 text_format.cc:378] Error parsing text-format "
    "tensorflow.XlaSerializedCacheEntry: 2:1: Expected identifier, got: 4\n"
)
_FEATURE = (
    "E0000 00:00:1795.1 1 cpu_aot_loader.cc:220] Loading XLA:CPU AOT result. Target machine "
    "feature +{} is not  supported on the host machine. This could lead to SIGILL.\n"
)
_ERRORS = [
    "E0000 00:00:1795.1 1 cuda_dnn.cc:10] Loaded runtime CuDNN library is too old\n",
    "W0000 00:00:1795.1 1 gpu_device.cc:2341] Cannot dlopen some GPU libraries.\n",
    "F0000 00:00:1795.1 1 parse_flags_from_env.cc:234] Unknown flag in XLA_FLAGS: --x\n",
    _FEATURE.format("avx512f"),
    "Image 7 is no image\n",
]


def test_only_lines_of_no_consequence_are_dropped(capfd, monkeypatch):
    """Whole or in pieces, from any thread, before and after a time without a filter."""
    monkeypatch.delenv("TF_CPP_MIN_LOG_LEVEL", raising=False)
    harmless = [_INFO, _READ_AS_TEXT, _FEATURE.format("prefer-no-gather")]
    for _ in range(2):
        with noise.dropped(), noise.dropped():
            for text in harmless + _ERRORS[:3] + harmless:
                os.write(2, text.encode())
            writer = threading.Thread(target=os.write, args=(2, _INFO.encode() * 2000))
            writer.start()  # more than a pipe holds
            writer.join()
            for text in _ERRORS[3:]:
                os.write(2, text[:9].encode())
                os.write(2, text[9:].encode())
        os.write(2, _INFO.encode())  # another's own business
    with noise.dropped():
        os.write(2, b"no line yet")
    noise._DIVERSION._filter.close()
    noise._DIVERSION._filter = None
    seen = capfd.readouterr().err
    expected = [*2 * [*_ERRORS, _INFO], "no line yet\n"]
    assert sorted(seen.splitlines(keepends=True)) == sorted(expected)


_IMPORTS = """
import sys
from dvae.runs import process
process.import_libraries()
import dvae.runs.commands
print(*sorted({name.split(".")[0] for name in sys.modules}))
import sklearn, scipy.stats
"""
_UNUSED = "IPython PIL h5py jax matplotlib pandas scipy sklearn pooch ray tensorflow_probability "
_UNUSED += "tf_keras torch"


def test_a_run_imports_nothing_that_it_does_not_use():
    """And what was kept from Keras can be imported afterwards."""
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow"}
    command = [sys.executable, "-c", _IMPORTS]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr
    imported = set(done.stdout.split())
    assert {"tensorflow", "keras", "tensorboard"} <= imported and not imported & {*_UNUSED.split()}
