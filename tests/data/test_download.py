"""Downloads from a server on this machine that fails in every way a server can."""

import hashlib
import re
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import data
from configs.errors import UserError
from data import binarized_mnist, omniglot
from data.download import DownloadPolicy, download
from tests.helpers import data_files as made
from tests.helpers.faulty_server import Server

BODY = bytes(np.random.default_rng(5).integers(0, 256, 100_003, dtype=np.uint8))
FAST = DownloadPolicy(attempts=3, first_wait=0.02, timeout=0.5, min_bytes=64, max_queue=10.0)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = Server()
    server.files["file"] = BODY
    yield server
    server.stop()


def fetch(server, path, policy=FAST, check=None):
    def is_sound(part):
        if part.read_bytes() != BODY:
            raise UserError("not what was expected")

    download(server.url + "file", path, check=check or is_sound, policy=policy)


def assert_complete(path):
    assert path.read_bytes() == BODY
    record = path.with_name(path.name + ".sha256").read_text()
    assert record == f"{hashlib.sha256(BODY).hexdigest()}  {path.name}\n"
    assert sorted(p.name for p in path.parent.iterdir()) == [path.name, path.name + ".sha256"]


def assert_fails(server, path, message, **kwargs):
    with pytest.raises(UserError, match=message) as raised:
        fetch(server, path, **kwargs)
    text = str(raised.value)
    assert len(text.splitlines()) == 1
    assert str(path) in text
    assert server.url + "file" in text
    assert not path.exists()
    return text


def test_a_sound_download_shows_progress_on_stderr_only(server, tmp_path, capsys):
    path = tmp_path / "new" / "file"
    fetch(server, path)
    assert_complete(path)
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "file: downloading http://127.0.0.1" in shown.err
    assert "100k/100k" in shown.err or "0.00/100k" in shown.err
    assert len(server.requests) == 1


@pytest.mark.parametrize("fault", [500, 503, 429, "silent", "drip", "cut"])
def test_what_may_pass_is_retried(server, tmp_path, capsys, fault):
    server.faults = [fault, fault]
    fetch(server, tmp_path / "file")
    assert_complete(tmp_path / "file")
    assert len(server.requests) == 3
    waits = re.findall(r"attempt \d of 3 in ([\d.]+) s", capsys.readouterr().err)
    assert [float(wait) for wait in waits] == [0.02, 0.04]


def test_a_cut_download_is_resumed_where_it_was_cut(server, tmp_path):
    server.faults = ["cut"]
    fetch(server, tmp_path / "file")
    assert server.requests == [("/file", None), ("/file", "bytes=50001-")]
    assert_complete(tmp_path / "file")


def test_a_later_process_resumes(server, tmp_path):
    made.put(tmp_path / "file.part", BODY[:70_001])
    fetch(server, tmp_path / "file")
    assert server.requests == [("/file", "bytes=70001-")]
    assert_complete(tmp_path / "file")


def test_stopped_between_the_last_byte_and_the_check(server, tmp_path):
    made.put(tmp_path / "file.part", BODY)
    fetch(server, tmp_path / "file")
    assert len(server.requests) == 1
    assert_complete(tmp_path / "file")


@pytest.mark.parametrize("part", [b"x" * 77, b"x" * (len(BODY) + 9), b"x" * len(BODY)])
def test_a_part_of_something_else_starts_over(server, tmp_path, part):
    made.put(tmp_path / "file.part", part)
    fetch(server, tmp_path / "file")
    assert server.requests[-1] == ("/file", None)
    assert_complete(tmp_path / "file")


def test_a_server_without_ranges_starts_over(server, tmp_path):
    server.ranges = False
    server.faults = ["cut"]
    fetch(server, tmp_path / "file")
    assert_complete(tmp_path / "file")


def test_a_wrong_range_starts_over(server, tmp_path):
    made.put(tmp_path / "file.part", BODY[:1009])
    server.faults = ["wrong range"]
    fetch(server, tmp_path / "file")
    assert_complete(tmp_path / "file")


def test_a_damaged_body_is_thrown_away_and_fetched_again(server, tmp_path):
    server.faults = ["garbage"]
    fetch(server, tmp_path / "file")
    assert_complete(tmp_path / "file")
    server.faults = ["garbage"] * 3
    path = tmp_path / "other" / "file"
    assert_fails(server, path, "what came is damaged: not what was expected")
    assert not path.parent.exists()


def test_a_body_always_cut_ends_and_keeps_its_part(server, tmp_path):
    server.faults = ["cut"] * 3
    assert_fails(server, tmp_path / "file", "the connection ended after 87502 of 100003 bytes")
    fetch(server, tmp_path / "file")
    assert server.requests[-1] == ("/file", "bytes=87502-")
    assert_complete(tmp_path / "file")


@pytest.mark.parametrize("status", [404, 403, 410])
def test_what_cannot_pass_is_not_retried(server, tmp_path, status):
    server.faults = [status]
    assert_fails(server, tmp_path / "new" / "file", f"HTTP status {status}")
    assert len(server.requests) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_recorded_checksum_that_differs_is_refused_with_both_sums(server, tmp_path):
    wrong = "ab" * 32
    made.put(tmp_path / "file.sha256", wrong.encode())
    text = assert_fails(server, tmp_path / "file", "was recorded in file.sha256")
    assert wrong in text
    assert hashlib.sha256(BODY).hexdigest() in text
    assert [p.name for p in tmp_path.iterdir()] == ["file.sha256"]


def test_too_long_a_file_is_refused(server, tmp_path):
    policy = DownloadPolicy(attempts=3, max_bytes=1000)
    assert_fails(server, tmp_path / "file", "has 100003 bytes, more than is", policy=policy)
    assert len(server.requests) == 1


def test_no_server(server, tmp_path):
    gone = Server()
    gone.stop()
    text = assert_fails(gone, tmp_path / "file", "cannot be downloaded .*refused")
    assert "put it there" in text
    assert list(tmp_path.iterdir()) == []


def test_a_silent_server_does_not_hold_us(server, tmp_path):
    server.faults = ["silent"] * 2
    start = time.monotonic()
    policy = DownloadPolicy(attempts=2, first_wait=0.01, timeout=0.2)
    assert_fails(server, tmp_path / "file", "timed out", policy=policy)
    assert time.monotonic() - start < 3


def test_a_directory_that_cannot_be_written(server, tmp_path):
    made.put(tmp_path / "plain", b"a file")
    assert_fails(server, tmp_path / "plain" / "file", r"cannot be written .*File exists")
    (tmp_path / "file.part").mkdir()
    assert_fails(server, tmp_path / "file", r"cannot be written .*Is a directory")
    assert server.requests == []


def test_several_at_once_download_once(server, tmp_path):
    server.delay = 0.2
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: fetch(server, tmp_path / "file"), range(4)))
    assert len(server.requests) == 1
    assert_complete(tmp_path / "file")


def test_binarized_mnist_is_fetched_cached_and_found_again(server, tmp_path, monkeypatch):
    monkeypatch.setattr(binarized_mnist, "BASE_URL", server.url)
    for split in made.COUNTS:
        name = f"binarized_mnist_{split}.amat"
        server.files[name] = made.amat_bytes(made.binary_images(split))
    server.faults = ["cut", None, 500]
    first = binarized_mnist.load(tmp_path, FAST)
    assert len(server.requests) == 5
    again = data.load("binarized_mnist", str(tmp_path))
    assert len(server.requests) == 5
    assert first.sha256 == again.sha256
    np.testing.assert_array_equal(first.validation, made.binary_images("valid"))
    directory = tmp_path / "binarized_mnist"
    assert {p.name for p in directory.iterdir()} == {
        f"binarized_mnist_{split}{suffix}"
        for split in made.COUNTS
        for suffix in (".amat", ".amat.sha256", ".npz", ".npz.sha256")
    }
    with np.load(directory / "binarized_mnist_test.npz", allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["arr_0"], made.binary_images("test"))


def test_a_login_page_in_place_of_the_data(server, tmp_path, monkeypatch):
    monkeypatch.setattr(binarized_mnist, "BASE_URL", server.url)
    server.files["binarized_mnist_train.amat"] = b"<html>please log in</html>"
    with pytest.raises(UserError, match=r"what came is damaged.*has the byte b'<'"):
        binarized_mnist.load(tmp_path, FAST)
    assert list(tmp_path.iterdir()) == []


def test_omniglot_is_fetched_and_found_again(server, tmp_path, monkeypatch):
    monkeypatch.setattr(omniglot, "URL", server.url + "chardata.mat")
    monkeypatch.setattr(omniglot, "NUM_VALIDATION", made.NUM_VALIDATION)
    columns = {key: made.to_columns(made.omniglot_rows(key)) for key in made.OMNIGLOT_COUNTS}
    server.files["chardata.mat"] = made.mat_bytes(**columns)
    first = omniglot.load(tmp_path, FAST)
    assert data.load("omniglot", str(tmp_path)).sha256 == first.sha256
    assert len(server.requests) == 1
    assert (tmp_path / "OMNIGLOT" / "chardata.mat.sha256").exists()
