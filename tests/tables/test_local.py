"""How many runs at once fit on a machine."""

import os

import pytest

from tables.local import Machine, slots, this_machine


def test_slots_fit_the_machine(monkeypatch):
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)

    def threads(machine, jobs=None):
        return [int(slot.pop("TF_NUM_INTRAOP_THREADS")) for slot in slots(machine, jobs)]

    assert threads(Machine(2, 64.0, ())) == [1, 1]
    assert threads(Machine(8, 64.0, ())) == [1] * 8
    assert threads(Machine(8, 7.0, ())) == [4, 4]
    assert threads(Machine(1, 0.5, ())) == [1]
    assert threads(Machine(2, 64.0, ()), 3) == [1] * 3
    assert threads(Machine(8, 64.0, ()), 3) == [2] * 3
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "2")
    assert slots(Machine(8, 64.0, ()), None) == [{}] * 8  # the user's own setting stands
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS")
    two = Machine(16, 128.0, (("a", 80.0), ("b", 16.0)))
    names = [slot["CUDA_VISIBLE_DEVICES"] for slot in slots(two, None)]
    assert names == ["a", "b", "a", "b", "a", "a"]
    assert len(slots(two._replace(cores=3), None)) == 3
    assert [slot["CUDA_VISIBLE_DEVICES"] for slot in slots(two, 2)] == ["a", "b"]


_KNOWN = "0, GPU-a1, 81920"
_SAID = {
    "sound": (f"echo '{_KNOWN}'", [("GPU-a1", 80.0)]),
    "memory shared with the host": ("echo '0, GPU-a1, [N/A]'", [("GPU-a1", 0.0)]),
    "not supported": ("echo '0, GPU-a1, [Not Supported]'", [("GPU-a1", 0.0)]),
    "no identifier": ("echo '1, [N/A], 81920'", [("1", 80.0)]),
    "no number": ("echo '0, GPU-a1, nan'", [("GPU-a1", 0.0)]),
    "words": ("echo 'No devices were found'", []),
    "words beside a GPU": (f"echo 'Warning: odd, very odd'; echo '{_KNOWN}'", [("GPU-a1", 80.0)]),
    "noise": (r"printf '\377\376, \000, \n'", []),
    "nothing": ("true", []),
    "failure": (f"echo '{_KNOWN}'; exit 9", []),
}


@pytest.mark.parametrize(("script", "gpus"), _SAID.values(), ids=_SAID)
def test_what_nvidia_smi_says(tmp_path, monkeypatch, script, gpus):
    """Whatever it says, the table starts; a GPU of unknown memory takes one run."""
    driver = tmp_path / "nvidia-smi"
    driver.write_text(f"#!/bin/sh\n{script}\n")
    driver.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 4, 5}, raising=False)
    machine = this_machine()
    assert list(machine.gpus) == gpus and machine.cores == 3
    expected = [name for name, gib in gpus for _ in range(4 if gib else 1)]
    found = slots(machine._replace(cores=16, memory_gib=128.0), None)
    assert [slot.get("CUDA_VISIBLE_DEVICES") for slot in found if gpus] == expected
