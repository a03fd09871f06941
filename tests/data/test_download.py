"""Downloads from a server on this machine that fails in every way a server can."""

import hashlib
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import data
from configs.datasets import DATASETS
from configs.errors import UserError
from data import download
from tests.helpers import data_files as made
from tests.helpers.faulty_server import Server
from tests.helpers.works import refused

ROOT = Path(__file__).parents[2]
BODY = bytes(np.random.default_rng(5).integers(0, 256, 200_003, dtype=np.uint8))
DIGEST = f"sha256:{hashlib.sha256(BODY).hexdigest()}"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the waits between attempts
    monkeypatch.setattr(download, "TIMEOUT", 0.3)
    server = Server()
    server.files["file"] = BODY
    yield server
    server.stop()


def fetch(server, path):
    download.download(server.url + "file", path, DIGEST)


def assert_complete(path):
    assert path.read_bytes() == BODY
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def assert_fails(server, path, message):
    with refused(message) as raised:
        fetch(server, path)
    text = str(raised.value)
    assert text.startswith(f"{path} is missing and cannot be downloaded (")
    assert server.url + "file" in text
    assert not path.parent.is_dir() or list(path.parent.iterdir()) == []


def start_process(server, path, **streams):
    code = f"from data import download; from pathlib import Path; download.TIMEOUT = 30; \
        download.download({server.url + 'file'!r}, Path({str(path)!r}), {DIGEST!r})"
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, **streams)


def test_a_sound_download_shows_progress_on_stderr_only(server, tmp_path):
    path = tmp_path / "new" / "file"
    process = start_process(server, path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = process.communicate()
    assert_complete(path)
    assert path.stat().st_mode & 0o777 == 0o644
    assert (process.returncode, out) == (0, b"")
    assert err.count(f"Downloading file 'file' from '{server.url}file'".encode()) == 1
    assert b"200k/200k" in err and len(server.requests) == 1


@pytest.mark.parametrize("fault", [500, 429, "silent", "cut", "stall", "garbage"])
def test_what_may_pass_is_retried(server, tmp_path, fault):
    server.faults = [fault, fault]
    fetch(server, tmp_path / "file")
    assert_complete(tmp_path / "file")
    assert len(server.requests) == 3


_LASTING = {
    404: "404 Client Error: Not Found",
    503: "503 Server Error",
    "silent": "timed out",
    "cut": "100001 bytes read",
    "stall": "timed out",
    "garbage": f"does not match the known hash: expected {DIGEST}",
}


@pytest.mark.parametrize("fault", _LASTING)
def test_what_does_not_pass_leaves_nothing(server, tmp_path, fault):
    server.faults = [fault] * 9
    assert_fails(server, tmp_path / "new" / "file", _LASTING[fault])
    assert len(server.requests) == 1 + download.RETRIES


def test_no_server_no_host_no_directory(server, tmp_path):
    gone = Server()
    gone.stop()
    assert_fails(gone, tmp_path / "file", "Connection refused")
    assert_fails(SimpleNamespace(url="http://nowhere.invalid/"), tmp_path / "file", "nowhere")
    made.put(tmp_path / "in" / "plain", b"a file")
    assert_fails(server, tmp_path / "in" / "plain" / "file", "Not a directory|File exists")
    assert server.requests == []


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
def test_a_directory_that_cannot_be_written(server, tmp_path):
    tmp_path.chmod(0o555)
    assert_fails(server, tmp_path / "file", "Permission denied")
    tmp_path.chmod(0o755)


def test_a_disk_that_takes_no_more(server, tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(BODY) // 2, limits[1]))
    try:
        assert_fails(server, tmp_path / "file", "File too large")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_what_is_there_is_never_replaced(server, tmp_path):
    path = made.put(tmp_path / "file", b"something else")
    with pytest.raises(UserError, match="updates are disallowed"):
        fetch(server, path)
    assert path.read_bytes() == b"something else"


def test_two_processes_at_once(server, tmp_path):
    server.delay = 0.5
    quiet = dict(stderr=subprocess.DEVNULL)
    processes = [start_process(server, tmp_path / "file", **quiet) for _ in range(2)]
    assert [process.wait(60) for process in processes] == [0, 0]
    assert_complete(tmp_path / "file")


def _has_content(path):
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:  # an empty one that only tried whether the folder can be written to
        return False


def test_a_killed_process_leaves_no_file_of_that_name(server, tmp_path):
    server.faults = ["stall"]
    process = start_process(server, tmp_path / "file", stderr=subprocess.DEVNULL)
    while process.poll() is None and not any(map(_has_content, tmp_path.iterdir())):
        pass
    process.kill()
    process.wait()
    [left] = tmp_path.iterdir()
    assert left.name != "file" and 0 < left.stat().st_size < len(BODY)
    fetch(server, tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == BODY


def test_binarized_mnist_is_fetched_and_found_again(server, tmp_path, monkeypatch):
    server.files |= made.publish_binarized_mnist(monkeypatch, server.url)
    server.faults = ["cut", None, 500]
    first = data.load("binarized_mnist", tmp_path)
    assert len(server.requests) == 5 and first.published
    assert data.load("binarized_mnist", str(tmp_path)).sha256 == first.sha256
    assert len(server.requests) == 5
    np.testing.assert_array_equal(first.validation, made.binary_images("valid"))
    names = {path.name for path in (tmp_path / "binarized_mnist").iterdir()}
    assert names == {f"binarized_mnist_{split}.amat" for split in made.COUNTS}


def test_a_login_page_in_place_of_the_data(server, tmp_path, monkeypatch):
    digests = DATASETS["binarized_mnist"].files.values()
    urls = [f"{server.url}binarized_mnist_{split}.amat" for split in made.COUNTS]
    made.change(monkeypatch, "binarized_mnist", files=dict(zip(urls, digests, strict=True)))
    server.files["binarized_mnist_train.amat"] = b"<html>please log in</html>"
    with pytest.raises(UserError, match="does not match the known hash: expected sha256:ad693b29"):
        data.load("binarized_mnist", tmp_path)
    assert list((tmp_path / "binarized_mnist").iterdir()) == []


def test_omniglot_is_fetched_and_found_again(server, tmp_path, monkeypatch):
    content = made.mat_bytes(**made.omniglot_columns(monkeypatch))
    server.files["chardata.mat"] = content
    made.publish_omniglot(monkeypatch, content, server.url)
    first = data.load("omniglot", tmp_path)
    again = data.load("omniglot", str(tmp_path))
    assert first.published and again.sha256 == first.sha256 and len(server.requests) == 1
