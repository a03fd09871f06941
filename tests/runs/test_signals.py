"""Signals that stop or save: before training and in it, alone, in a script, on a node."""

import contextlib
import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import pytest

from dvae.runs.process import SignalWatch, Stopped
from tables.local import LocalExecutor
from tables.runs import outcome_of
from tests.helpers import stand_in_table

ROOT = Path(__file__).parents[2]
STOPPING = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR2", "SIGXCPU")
# A program that goes through what training does, in a moment.
_PROGRAM = """
import sys, time
from configs import command_line
from dvae.runs.process import SignalWatch, Stopped

def early():
    print("early", flush=True)
    time.sleep(60)
    return 0

def main():
    end = time.monotonic() + 60
    try:
        with SignalWatch() as watch:
            print("ready", flush=True)
            while time.monotonic() < end:
                watch.raise_if_stopped()
                if watch.save_requested():
                    print("saved", flush=True)
                time.sleep(0.02)
    except Stopped as stop:
        print(f"stopped by {stop}", flush=True)
        return stop.exit_code
    return 0

chosen = early if "early" in sys.argv else main
sys.argv = sys.argv[:1]
command_line.start(chosen, "", [])
"""
_TASK = f"""
import sys, types
from pathlib import Path
from tables.on_ray import attempt_run

run = types.SimpleNamespace(log_path=Path(sys.argv[1]), arguments=(), start_in=Path.cwd())
sys.exit(attempt_run(run, [sys.executable, "-c", {_PROGRAM!r}], 1.0))
"""


_PIPES = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)


def _start(argument, code=_PROGRAM):
    return subprocess.Popen([sys.executable, "-c", code, str(argument)], **_PIPES)


def _end(process):
    out, _ = process.communicate(timeout=60)
    return process.returncode, out


def _wait_for(path, word):
    end = time.monotonic() + 60
    while not (path.exists() and word in path.read_text()):
        assert time.monotonic() < end, path
        time.sleep(0.02)


@pytest.mark.parametrize("moment", ["early", "ready"])
def test_every_signal_that_asks_to_stop_ends_in_good_order(moment):
    """After one that asks to save, which ends nothing, neither before training nor in it."""
    started = {name: _start(moment) for name in STOPPING}
    for name, process in started.items():
        assert process.stdout.readline().strip() == moment
        process.send_signal(signal.SIGUSR1)
        if moment == "ready":
            assert process.stdout.readline() == "saved\n"
        process.send_signal(getattr(signal, name))
    for name, process in started.items():
        code, out = _end(process)
        assert code == 128 + getattr(signal, name), (name, out)
        expected = [f"{name}: stopping as soon as the work under way allows", f"stopped by {name}"]
        if moment == "early":
            expected = [f"stopped by {name}; the same command starts again"]
        # A line that a signal comes across while it is written may be there twice.
        assert [line for line in out.splitlines() if line not in (moment, "saved")] == expected


def test_a_job_in_a_scripts_background_stops_by_kill_int_and_not_by_ctrl_c():
    """Shells start it deaf to SIGINT: it stays so to the terminal's, which is for the script."""
    script = f"trap : INT; '{sys.executable}' -c '{_PROGRAM}' & echo $!; wait $!; wait $!; echo $?"
    master, slave = os.openpty()
    shell = subprocess.Popen(
        ["sh", "-c", script],
        stdin=slave,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        **_PIPES,
    )
    pid = int(shell.stdout.readline())
    try:
        assert shell.stdout.readline() == "ready\n"
        os.write(master, b"\x03")
        os.kill(pid, signal.SIGUSR1)
        assert shell.stdout.readline() == "saved\n"
        os.kill(pid, signal.SIGINT)
        assert shell.communicate(timeout=60)[0].splitlines() == ["stopped by SIGINT", "130"]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        for end in (master, slave):
            os.close(end)


@pytest.mark.parametrize("name", ["SIGHUP", "SIGUSR2"])
def test_a_batch_system_that_ends_a_node_lets_its_run_save(tmp_path, name):
    """The task that has the run on a Ray cluster passes both requests on."""
    log = tmp_path / "output" / "log"
    task = _start(log, code=_TASK)
    _wait_for(log, "ready")
    task.send_signal(signal.SIGUSR1)
    _wait_for(log, "saved")
    task.send_signal(getattr(signal, name))
    assert _end(task) == (143, "")
    assert "stopped by SIGTERM" in log.read_text()


class _Watch:
    """Asks to save when both runs are ready, and to stop when both have saved, or never will."""

    number = signal.SIGTERM

    def __init__(self, logs):
        self._logs, self._asked, self._end = logs, False, time.monotonic() + 20.0

    def _all_say(self, word):
        return all(path.exists() and word in path.read_text() for path in self._logs)

    @property
    def requested(self):
        return self._all_say("saved") or time.monotonic() > self._end

    def save_requested(self):
        before, self._asked = self._asked, self._all_say("ready")
        return self._asked and not before


def test_a_table_passes_on_the_request_to_save(tmp_path):
    plan = stand_in_table.plan(tmp_path, stand_in_table.SMALL_GRID)
    runs = [run._replace(arguments=()) for run in plan]
    executor = LocalExecutor([{}, {}], [sys.executable, "-c", _PROGRAM])
    outcomes = executor.outcomes(runs, _Watch([run.log_path for run in runs]))
    assert [ended.status for ended in outcomes] == ["stopped"] * 2
    assert all("saved" in run.log_path.read_text() for run in runs)


def test_a_run_that_any_of_them_stopped_can_go_on(tmp_path):
    """A batch system signals every process of a job, runs of a table among them."""
    [run, _] = stand_in_table.plan(tmp_path, stand_in_table.SMALL_GRID)
    run.log_path.parent.mkdir(parents=True)
    run.log_path.write_text("stopped")
    for number in (getattr(signal, name) for name in STOPPING):
        assert {outcome_of(run, code).status for code in (128 + number, -number)} == {"stopped"}
    assert outcome_of(run, -signal.SIGSEGV).status == "failed"


def _wait_as_compiled_calls_do(seconds):
    """In C, where Python's signal handlers do not run."""
    libc, mutex = ctypes.CDLL(None), (ctypes.c_byte * 256)()
    end = (ctypes.c_long * 2)(int(time.time()) + seconds, 0)
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_timedlock(mutex, end)


@pytest.mark.parametrize("name", [*STOPPING, "SIGUSR1"])
def test_a_watch_knows_every_one(name, capsys):
    """And speaks of a request to stop before the call under way ends, not of one to save."""
    number, main = getattr(signal, name), threading.main_thread().ident
    said = [f"{name}: stopping as soon as the work under way allows"] if name in STOPPING else []
    before = signal.signal(number, lambda *_: None)
    try:
        handlers = [signal.getsignal(n) for n in signal.valid_signals()]
        with SignalWatch() as watch:
            timer = threading.Timer(0.2, signal.pthread_kill, (main, number))
            timer.start()
            _wait_as_compiled_calls_do(2)
            print("the call has ended")
        timer.join()
        assert capsys.readouterr().out.splitlines() == [*said, "the call has ended"]
        assert [signal.getsignal(n) for n in signal.valid_signals()] == handlers
        assert signal.set_wakeup_fd(-1) == -1
        assert watch.save_requested() != bool(said)
        if said:
            with pytest.raises(Stopped) as stop:
                watch.raise_if_stopped()
            assert stop.value.exit_code == 128 + number
    finally:
        signal.signal(number, before)


def test_an_ignored_interrupt_counts_if_it_was_sent():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        with SignalWatch() as watch:
            watch.raise_if_stopped()
            signal.raise_signal(signal.SIGINT)
            with pytest.raises(Stopped):
                watch.raise_if_stopped()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        signal.signal(signal.SIGINT, before)
