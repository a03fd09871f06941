"""What does not fit into memory is refused in a line with the number, before any of it is taken."""

import dataclasses
import io
import struct
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest

import data
import dvae
from configs import memory
from configs.errors import UserError
from configs.experiment import build_config
from configs.registry import STRUCTURES
from data import matlab, npz
from data.amat import read_amat
from data.dataset import Dataset
from dvae.runs import commands
from dvae.runs import memory as of_runs
from dvae.runs.checkpoints import RunOptions
from dvae.runs.records import RunConfig, write_config
from tests.helpers import tiny_runs
from tests.helpers.works import refused

MODEL = Path(__file__).parents[2] / "models" / "digits-1-layer-nonlin-dvaes_power-k1"
GIB = 1 << 30
NEEDS = r"needs about [\d.]+ GiB of memory, [\d.]+ GiB are free: "


def _tree(root, files):
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


MACHINE = {"proc/meminfo": f"MemTotal: {64 << 20} kB\nMemAvailable:   {32 << 20} kB\n"}


def _groups(name, **limits):
    """Files that put this process into a control group: what a group may take, and takes."""
    files = {"proc/self/cgroup": name}
    for group, (most, taken) in limits.items():
        folder = group.replace("_", "/").removesuffix("top")
        names = f"{folder}/memory.max", f"{folder}/memory.current"
        if "memory:" in name:  # version 1
            names = (
                f"memory/{folder}/memory.limit_in_bytes",
                f"memory/{folder}/memory.usage_in_bytes",
            )
        for file, value in zip(names, (most, taken), strict=True):
            files[f"sys/fs/cgroup/{file}"] = f"{value}\n"
    return files


STEP = "0::/job/step\n"
CACHED = {"sys/fs/cgroup/job/step/memory.stat": f"anon {4 * GIB}\ninactive_file {GIB}\n"}
LIMITS = {
    "no group": ({}, 32),
    "none is set": (_groups("0::/\n", top=("max", 0)), 32),
    "version 2": (_groups(STEP, job_step=(8 * GIB, 5 * GIB)) | CACHED, 4),
    "a group above": (_groups(STEP, job_step=("max", 7), job=(6 * GIB, 4 * GIB)), 2),
    "version 1": (_groups("4:cpu,memory:/job\n3:pids:/\n0::/\n", job=(3 * GIB, 2 * GIB)), 1),
    "a container, whose group has another name within": (
        _groups("4:memory:/docker/f00\n", top=(3 * GIB, GIB)),
        2,
    ),
    "more is taken than is allowed": (_groups("0::/\n", top=(7, GIB)), 0),
    "odd": (_groups("::\n0\n\n0::/\n", top=("", "")), 32),
}


@pytest.mark.parametrize("kind", LIMITS)
def test_what_is_free_is_what_the_machine_and_each_group_leave(tmp_path, kind):
    files, expected = LIMITS[kind]
    assert memory.free_bytes(_tree(tmp_path, MACHINE | files)) == expected * GIB


@pytest.fixture
def half_gib(monkeypatch):
    """So much is free, and no GPU has any."""
    monkeypatch.setattr(of_runs, "_GPU_BYTES", 0)
    monkeypatch.setattr(memory, "free_bytes", lambda: GIB // 2)


def _npz(path, dtype, count):
    """A small file of `count` zeros; each split is the same."""
    header = io.BytesIO()
    facts = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": (count,)}
    np.lib.format.write_array_header_1_0(header, facts)
    zeros, left = bytes(1 << 20), count * np.dtype(dtype).itemsize
    with (
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("train.npy", "w") as member,
    ):
        member.write(header.getvalue())
        for start in range(0, left, len(zeros)):
            member.write(zeros[: left - start])
    assert path.stat().st_size < 1 << 20


def _sparse_amat(path):
    with path.open("wb") as file:
        file.truncate(GIB // 4)


BOMBS = {
    "bytes": ("a.npz", lambda path: _npz(path, "u1", 50 << 20)),
    # Grey values take most: of two bytes each, their working copies are sixteen times as large.
    "grey values": ("a.npz", lambda path: _npz(path, "f2", 16 << 20)),
    "text": ("a.amat", _sparse_amat),
}
FILE_READERS = {
    ".npz": lambda path: npz.read_npz(path, ("train",), "mend it"),
    ".amat": lambda path: read_amat(path, 784, "mend it"),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_file_that_does_not_fit_is_not_read(tmp_path, half_gib, kind):
    name, make = BOMBS[kind]
    make(tmp_path / name)
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=rf"^{tmp_path}/{name}: it {NEEDS}mend it$"):
            FILE_READERS[Path(name).suffix](tmp_path / name)
        assert tracemalloc.get_traced_memory()[1] < 1 << 22
    finally:
        tracemalloc.stop()


def test_a_mat_file_that_does_not_fit_is_not_inflated(tmp_path):
    """The first bytes of its element say how large it is; here there is no more of it."""
    element = zlib.compress(struct.pack("<II", 14, (1 << 31) - 8) + bytes(64))
    head = b"MATLAB 5.0".ljust(124) + struct.pack("<HH", 0x0100, 0x4D49)
    path = tmp_path / "a.mat"
    path.write_bytes(head + struct.pack("<II", 15, len(element)) + element)
    most = matlab.MAX_MEMORY_BYTES
    with pytest.raises(UserError, match=r"it needs 2147483\d+ bytes, more than the \d+") as caught:
        matlab.read_mat(path, ("data",), "mend it")
    assert int(str(caught.value).split("more than the ")[1].split()[0]) <= most


def _run_of(directory, config):
    directory.mkdir()
    write_config(directory / "config.json", RunConfig(config, "ab" * 32))


ABSURD = {"hidden units": "hidden_units", "latents": "units_per_group"}
ABSURD |= {"groups": "num_groups", "layers": "num_hidden_layers"}


@pytest.mark.parametrize("kind", ABSURD)
def test_a_model_whose_configuration_is_absurd_is_not_built(tmp_path, half_gib, kind):
    """The number alone decides: there is nothing else in these directories."""
    structure = dataclasses.replace(tiny_runs.TINY, **{ABSURD[kind]: 10**7})
    _run_of(tmp_path / "run", tiny_runs.tiny_config("own.npz", structure=structure))
    with refused(rf"^the model of {tmp_path}/run {NEEDS}"):
        dvae.load(tmp_path / "run")


@pytest.mark.parametrize("name", ["num_chains", "ais_chains", "k", "log_z_chains"])
def test_a_run_that_does_not_fit_is_not_begun(tmp_path, half_gib, name):
    fields = {"log_z_population": "separate", name: 10**7}
    config = build_config(dataset="digits", struct="1-layer-nonlin", **fields)
    with pytest.raises(UserError, match=rf"^this run \(1-layer-nonlin, \d+ rows a step\) {NEEDS}"):
        dataset = data.load(config.dataset, "")
        commands.train_run(config, dataset, tmp_path / "run", False, RunOptions())
    assert not (tmp_path / "run").exists()


def test_a_trained_model_is_not_asked_for_more_than_fits(tmp_path, half_gib):
    model = commands.TrainedModel(MODEL, ais_chains=10**7)
    with pytest.raises(UserError, match=rf"^10000000 images {NEEDS}ask for fewer"):
        commands.generate(model, tmp_path, num_images=10**7)
    for mode in (commands.log_z, commands.evaluate):
        with pytest.raises(UserError, match=rf"^AIS with 10000000 chains {NEEDS}"):
            mode(model, tmp_path)
    assert not list(tmp_path.iterdir())


def _as_large_as_mnist():
    def images(count):
        return np.broadcast_to(np.uint8(0), (count, 784))

    return Dataset(
        *("mnist", images(50_000), 1.0, False, images(10_000), images(10_000), (28, 28)),
        *("ab" * 32, "", True),
    )


@pytest.mark.parametrize("struct", STRUCTURES)
def test_published_settings_fit_where_they_can_run(half_gib, struct):
    """A lower bound is held against what is free: a run of the 1-layer model took 1.1 GiB."""
    for k in (1, 5, 25):
        config = build_config(
            dataset="binarized_mnist", struct=struct, k=k, log_z_population="separate"
        )
        of_runs.check_training(config, _as_large_as_mnist())
        of_runs.check_loading(config, "a run")
        of_runs.check_measuring(config)
        of_runs.check_images(config, 10_000)
