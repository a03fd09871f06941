"""The lock of a run directory: held by the living, taken over from the dead, never by two."""

import contextlib
import json
import os
import socket
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest

from configs.errors import UserError
from dvae.runs import lock as run_lock
from dvae.runs.lock import RunLock
from tests.helpers.damaged_files import Hang, no_hang
from tests.helpers.works import works

_PIDS = (b"0}", b"-1}", b"1e400}", b"99999999999999}", b'"x"}', b"[]}")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(run_lock, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(run_lock, "LEASE_SECONDS", 0.5)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "lock.json"


@pytest.fixture
def other():
    """A living process beside this one."""
    process = subprocess.Popen(["sleep", "600"])
    yield process
    process.kill()
    process.wait()


def _become(monkeypatch, host):
    monkeypatch.setattr(run_lock.socket, "gethostname", lambda: host)


def _leave(path, host, pid):
    path.write_text(json.dumps({"host": host, "pid": pid, "token": "t"}))


def _taken_by(path, pid, named=None):
    """Leaves the lock that a process of this machine would, but for the number it is named by."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_lock, "BEAT_SECONDS", 1e6)
        patch.setattr(run_lock.os, "getpid", lambda: pid)
        RunLock(path).take()
    path.write_text(json.dumps({**json.loads(path.read_text()), "pid": named or pid}))


def test_taken_checked_and_given_back(path):
    lock = RunLock(path)
    lock.take()
    lock.check()
    assert json.loads(path.read_text())["pid"] == os.getpid()
    lock.release()
    assert not path.exists()


@pytest.mark.parametrize("of_another_user", [False, True])
def test_living_process_of_this_machine_keeps_it(path, other, monkeypatch, of_another_user):
    _taken_by(path, other.pid)

    def refuse(*_):
        raise PermissionError

    with monkeypatch.context() as patch:
        if of_another_user:
            patch.setattr(run_lock.os, "kill", refuse)
        with pytest.raises(UserError, match=f"process {other.pid} trains in .* already"):
            RunLock(path).take()
    assert path.exists()


@pytest.mark.parametrize("case", ["gone", "not waited for", "number in other hands", "rebooted"])
def test_lock_of_a_process_that_ended_is_taken(path, other, monkeypatch, case):
    """At once, but for a machine that was started anew: that could be another of its name."""
    _taken_by(path, *{"number in other hands": (os.getpid(), other.pid)}.get(case, (other.pid,)))
    if case in ("gone", "not waited for"):
        other.kill()
        if case == "gone":
            other.wait()
        else:
            os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
    if case == "rebooted":
        monkeypatch.setattr(run_lock, "_machine", lambda: "another boot", raising=False)
    else:
        monkeypatch.setattr(run_lock, "LEASE_SECONDS", 1e9)
    with works(UserError), no_hang():
        lock = RunLock(path)
        lock.take()
    lock.check()
    lock.release()
    assert not path.exists()


@pytest.mark.parametrize(
    "content",
    [
        *(b"", b"{", b'{"host": "a"}', b"null", b"\xff\xfe\0", b"[" * 100_000, b" " * 2**22),
        *(b'{"host": "%s", "pid": ' % socket.gethostname().encode() + n for n in _PIDS),
    ],
    ids=lambda content: repr(content[:20]),
)
def test_what_no_living_process_wrote_is_taken_at_once(path, monkeypatch, content):
    monkeypatch.setattr(run_lock, "LEASE_SECONDS", 1e9)
    path.write_bytes(content)
    with no_hang():
        lock = RunLock(path)
        lock.take()
    lock.check()
    lock.release()


def _put(path, what):
    if what == "directory":
        path.mkdir()
    elif what == "pipe":
        os.mkfifo(path)
    elif what == "socket":
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
    elif what == "link":
        _leave(path.with_name("elsewhere"), "gone", 1)
        path.symlink_to("elsewhere")
    else:
        path.symlink_to("nowhere")


@pytest.mark.parametrize("name", ["lock.json", ".lock.json.guard"])
@pytest.mark.parametrize("what", ["directory", "dangling link", "link", "pipe", "socket"])
def test_what_is_no_file_ends_with_one_line_that_helps(path, name, what):
    """A pipe as guard does its duty; all else is refused, and what the line says mends it."""
    place = path.with_name(name)
    _put(place, what)
    lock = RunLock(path)
    with works(Hang), no_hang(5):
        try:
            lock.take()
        except UserError as error:
            assert f"{place} " in str(error) and len(str(error).splitlines()) == 1
            place.rmdir() if what == "directory" else place.unlink()
            lock.take()
        else:
            assert (name, what) == (".lock.json.guard", "pipe")
    lock.release()
    assert not path.with_name("nowhere").exists()


def test_living_process_of_another_machine_keeps_it(path, monkeypatch):
    _become(monkeypatch, "first")
    holder = RunLock(path)
    holder.take()
    _become(monkeypatch, "second")
    with pytest.raises(UserError, match="on first trains in"):
        RunLock(path).take()
    holder.check()
    holder.release()


def test_lock_of_a_dead_machine_is_taken_after_its_lease(path):
    _leave(path, "gone", 1)
    lock = RunLock(path)
    start = time.monotonic()
    lock.take()
    assert time.monotonic() - start >= run_lock.LEASE_SECONDS
    lock.check()
    lock.release()
    assert [left.name for left in path.parent.iterdir()] == [".lock.json.guard"]


def test_lock_given_back_while_it_is_watched_is_taken_at_once(path, monkeypatch):
    monkeypatch.setattr(run_lock, "LEASE_SECONDS", 30.0)
    monkeypatch.setattr(run_lock, "_POLL_SECONDS", 0.05)
    _leave(path, "leaving", 1)
    threading.Timer(0.3, path.unlink).start()
    start = time.monotonic()
    lock = RunLock(path)
    lock.take()
    assert time.monotonic() - start < 10.0
    lock.release()


def test_holder_that_was_cut_off_learns_of_it_and_leaves_the_lock_alone(path, monkeypatch):
    monkeypatch.setattr(run_lock, "BEAT_SECONDS", 1e6)  # no sign of life
    _become(monkeypatch, "slow")
    cut_off = RunLock(path)
    cut_off.take()
    _become(monkeypatch, "next")
    new = RunLock(path)
    new.take()
    with pytest.raises(UserError, match="on next has taken over"):
        cut_off.check()
    cut_off.release()
    new.check()
    assert path.exists()
    new.release()


def test_of_many_that_find_a_dead_lock_one_takes_it(path, monkeypatch):
    _become(monkeypatch, "here")
    _leave(path, "gone", 1)
    locks = [RunLock(path) for _ in range(8)]
    refused = []

    def take(lock):
        try:
            lock.take()
        except UserError as error:
            refused.append(error)

    # One process here; the pid of a sibling would be refused at once, its own is "dead".
    monkeypatch.setattr(run_lock, "_started", lambda pid: "long ago")
    pids = iter(range(100, 200))
    monkeypatch.setattr(run_lock.os, "getpid", lambda: next(pids))
    threads = [threading.Thread(target=take, args=(lock,)) for lock in locks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(refused) == 7
    for lock in locks:
        lock.release()
    assert not path.exists()


def test_a_run_that_lost_its_lock_writes_no_checkpoint(tmp_path, monkeypatch):
    from dvae.runs.directory import RunDirectory
    from dvae.runs.loop import Run

    monkeypatch.setattr(run_lock, "BEAT_SECONDS", 1e6)
    written = []

    class Writer:
        def save(self, progress):
            written.append(progress)

        def flush(self):
            pass

    run = object.__new__(Run)  # only what `save` needs: no model is built
    run.directory, run.progress = RunDirectory(tmp_path), "progress"
    run._saver = run._summaries = Writer()
    run.directory.lock.take()
    run.save()
    assert written == ["progress"]
    _leave(tmp_path / "lock.json", "elsewhere", 1)
    with pytest.raises(UserError, match="on elsewhere has taken over"):
        run.save()
    assert written == ["progress"]


@pytest.fixture
def open_path():
    """A lock's path where every user may write."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        yield Path(folder) / "lock.json"


def _as_nobody(attempt):
    """Runs `attempt` in a child that is nobody, or in this process if it is not root's.

    Returns the text of its UserError, or None.
    """

    def outcome():
        try:
            attempt()
        except UserError as error:
            return str(error)
        return None

    if os.getuid() != 0:
        return outcome()
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            os.setuid(65534)
            os.write(writer, json.dumps(outcome()).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as file:
        answer = file.read()
    os.waitpid(child, 0)
    return json.loads(answer)


@pytest.mark.skipif(not Path("/proc/1").is_dir(), reason="no process 1 that is another user's")
def test_living_process_of_another_user_keeps_it(open_path, monkeypatch):
    """Process 1 belongs to root: nobody else may signal it, but it lives."""
    before = os.umask(0)
    try:
        with monkeypatch.context() as patch:
            patch.setattr(run_lock.os, "getpid", lambda: 1)
            holder = RunLock(open_path)
            holder.take()
        found = _as_nobody(RunLock(open_path).take)
        assert found is not None and "process 1 trains in" in found
        assert open_path.exists()
        holder.check()
        holder.release()
    finally:
        os.umask(before)
