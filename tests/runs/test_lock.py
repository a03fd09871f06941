"""The lock of a run directory: held by the living, taken over from the dead, never by two."""

import json
import os
import socket
import subprocess
import threading
import time

import pytest

from configs.errors import UserError
from dvae.runs import lock as run_lock
from dvae.runs.directory import RunDirectory
from dvae.runs.lock import RunLock
from dvae.runs.loop import Run
from tests.helpers.damaged_files import Hang, no_hang
from tests.helpers.works import works


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


def _take(path):
    lock = RunLock(path)
    with works(Hang), no_hang():
        lock.take()
    return lock


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


def _refuse(*_):
    raise PermissionError


@pytest.mark.parametrize("of_another_user", [False, True])
def test_living_process_of_this_machine_keeps_it(path, other, monkeypatch, of_another_user):
    _taken_by(path, other.pid)
    with monkeypatch.context() as patch:
        if of_another_user:
            patch.setattr(run_lock.os, "kill", _refuse)
        with pytest.raises(UserError, match=f"process {other.pid} trains in .* already"):
            _take(path)
    assert path.exists()


@pytest.mark.parametrize("case", ["gone", "not waited for", "number in other hands", "rebooted"])
def test_lock_of_a_process_that_ended_is_taken(path, other, monkeypatch, case):
    """At once, but for a machine that was started anew: that could be another of its name."""
    _taken_by(path, *{"number in other hands": (os.getpid(), other.pid)}.get(case, (other.pid,)))
    if case in ("gone", "not waited for"):
        other.kill()
        os.waitid(os.P_PID, other.pid, os.WEXITED | (os.WNOWAIT if case != "gone" else 0))
    if case == "rebooted":
        monkeypatch.setattr(run_lock, "_machine", lambda: "another boot", raising=False)
    else:
        monkeypatch.setattr(run_lock, "LEASE_SECONDS", 1e9)
    with works(UserError):
        lock = _take(path)
    lock.check()
    lock.release()
    assert not path.exists()


_HERE = b'{"host": "%s", "pid": ' % socket.gethostname().encode()
_PIDS = (b"0}", b"-1}", b"1e400}", b"99999999999999}", b'"x"}', b"[]}")
_DAMAGED = [b"", b"{", b"[]", b"\0\0", b'{"host": "a"}', b'{"host": 1}', b"null", b"\xff\xfe\0"]


@pytest.mark.parametrize(
    "content",
    [*_DAMAGED, b"[" * 100_000, b" " * 2**22, *(_HERE + number for number in _PIDS)],
    ids=lambda content: repr(content[:20]),
)
def test_what_no_living_process_wrote_is_taken_at_once(path, monkeypatch, content):
    monkeypatch.setattr(run_lock, "LEASE_SECONDS", 1e9)
    path.write_bytes(content)
    lock = _take(path)
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
    else:
        _leave(path.with_name("elsewhere"), "gone", 1)
        path.symlink_to({"link": "elsewhere", "dangling link": "nowhere"}[what])


@pytest.mark.parametrize("name", ["lock.json", ".lock.json.guard"])
@pytest.mark.parametrize("what", ["directory", "dangling link", "link", "pipe", "socket"])
def test_what_is_no_file_ends_with_one_line_that_helps(path, name, what):
    """A pipe as guard does its duty; all else is refused, and what the line says mends it."""
    place, lock = path.with_name(name), RunLock(path)
    _put(place, what)
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
    holder = _take(path)
    _become(monkeypatch, "second")
    with pytest.raises(UserError, match="on first trains in"):
        _take(path)
    holder.check()
    holder.release()


def test_lock_of_a_dead_machine_is_taken_after_its_lease(path):
    _leave(path, "gone", 1)
    start = time.monotonic()
    lock = _take(path)
    assert time.monotonic() - start >= run_lock.LEASE_SECONDS
    lock.check()
    lock.release()
    assert [left.name for left in path.parent.iterdir()] == [".lock.json.guard"]


def test_lock_given_back_while_it_is_watched_is_taken_at_once(path, monkeypatch):
    monkeypatch.setattr(run_lock, "LEASE_SECONDS", 30.0)
    monkeypatch.setattr(run_lock, "_POLL_SECONDS", 0.05)
    _leave(path, "leaving", 1)
    threading.Timer(0.3, path.unlink).start()
    _take(path).release()  # within 10 seconds


def test_a_run_that_was_cut_off_learns_of_it_and_writes_nothing(tmp_path, path, monkeypatch):
    """It leaves the lock alone, which is another's now."""
    monkeypatch.setattr(run_lock, "BEAT_SECONDS", 1e6)  # no sign of life
    written = []

    class Writer:
        def save(self, progress):
            written.append(progress)

        def flush(self):
            pass

    run = object.__new__(Run)  # only what `save` needs: no model is built
    run.directory, run.progress = RunDirectory(tmp_path), "progress"
    run._saver = run._summaries = Writer()
    _become(monkeypatch, "slow")
    run.directory.lock.take()
    run.save()
    assert written == ["progress"]
    _become(monkeypatch, "next")
    new = _take(path)
    for attempt in (run.directory.lock.check, run.save):
        with pytest.raises(UserError, match="on next has taken over"):
            attempt()
    assert written == ["progress"]
    run.directory.lock.release()
    new.check()
    assert path.exists()
    new.release()


def test_of_many_that_find_a_dead_lock_one_takes_it(path, monkeypatch):
    _become(monkeypatch, "here")
    _leave(path, "gone", 1)
    locks, refused = [RunLock(path) for _ in range(8)], []

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
