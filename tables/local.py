"""Runs of a table as processes of this machine: how many at once fit on it, and their start."""

import logging
import math
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from configs import memory
from configs.errors import UserError
from configs.files import one_line
from dvae.runs.process import SignalWatch, num_cores
from tables.runs import Outcome, PlannedRun, outcome_of, start_process

_POLL_SECONDS = 0.1
THREADS = "TF_NUM_INTRAOP_THREADS"
# What a run is given; --jobs overrides it. On a CPU a run takes 1.3 GiB (1-layer-nonlin, k=1) to
# 1.8 GiB (4-layer-nonlin, k=25). The share of a GPU is a generous guess.
_RUN_GIB = 2.5
_RUN_GPU_GIB = 8.0
_RUNS_PER_GPU = 4
_MOST_JOBS = 10_000


class Machine(NamedTuple):
    """Cores that this process may use, free memory, and GPUs as (identifier, memory), in GiB."""

    cores: int
    memory_gib: float
    gpus: tuple[tuple[str, float], ...]


def _gpus() -> tuple[tuple[str, float], ...]:
    """GPUs that nvidia-smi knows and CUDA_VISIBLE_DEVICES allows."""
    command = ["nvidia-smi", "--query-gpu=index,uuid,memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    except FileNotFoundError:
        return ()
    except (OSError, subprocess.SubprocessError) as error:
        logging.warning("no GPU is counted, since nvidia-smi failed: %s", one_line(error))
        return ()
    found = [_gpu(line) for line in done.stdout.decode(errors="replace").strip().splitlines()]
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = None if visible is None else [name.strip() for name in visible.split(",")]
    return tuple(
        (uuid, gib)
        for index, uuid, gib in filter(None, found)
        if names is None or index in names or any(n and uuid.startswith(n) for n in names)
    )


def _gpu(line: str) -> tuple[str, str, float] | None:
    """Index, identifier and memory in GiB of a line of nvidia-smi; None if it is of no GPU.

    What nvidia-smi does not know it writes as [N/A]: the memory of a GPU that shares the host's is
    then 0, which is room for one run, and its index stands for its identifier.
    """
    parts = [part.strip() for part in line.split(",")]
    if len(parts) != 3 or not parts[0].isdecimal():
        logging.warning("nvidia-smi says %s: not counted as a GPU", one_line(line))
        return None
    index, uuid, mib = parts
    try:
        gib = float(mib) / 1024.0
    except ValueError:
        gib = 0.0
    gib = gib if math.isfinite(gib) else 0.0
    return index, uuid if uuid.startswith(("GPU-", "MIG-")) else index, gib


def this_machine() -> Machine:
    """Looks at the machine that this process runs on."""
    return Machine(num_cores(), memory.free_bytes() / 2**30, _gpus())


def threads_environment(cores: float) -> dict[str, str]:
    """Lets a run compute on so many cores, at least one, unless the caller's environment says."""
    return {} if THREADS in os.environ else {THREADS: str(max(1, int(cores)))}


def slots(machine: Machine, jobs: int | None) -> list[dict[str, str]]:
    """One entry for each run that may run at once: the environment that gives it its share.

    Without a GPU each core takes a run, as memory allows: two runs on one core each do a third
    more steps than one after the other on two (docs/tables.md). With GPUs several share each.

    Args:
      jobs: how many, or None for as many as fit.

    Raises:
      UserError: `jobs` is less than 1, or more than any machine runs.
    """
    if jobs is not None and jobs < 1:
        raise UserError(f"--jobs={jobs} must be at least 1")
    if jobs is not None and jobs > _MOST_JOBS:
        raise UserError(f"--jobs={jobs} must be at most {_MOST_JOBS}")
    by_memory = max(1, int(machine.memory_gib // _RUN_GIB))
    if not machine.gpus:
        count = jobs or min(by_memory, machine.cores)
        return [threads_environment(machine.cores / count) for _ in range(count)]
    each = [min(_RUNS_PER_GPU, max(1, int(gib // _RUN_GPU_GIB))) for _, gib in machine.gpus]
    fit = min(by_memory, machine.cores, sum(each))
    # One run on each GPU before a second on any.
    shares = list(zip((name for name, _ in machine.gpus), each, strict=True))
    order = [name for turn in range(max(each)) for name, share in shares if turn < share]
    count = jobs or fit
    return [{"CUDA_VISIBLE_DEVICES": order[i % len(order)]} for i in range(count)]


class _Running(NamedTuple):
    run: PlannedRun
    process: subprocess.Popen
    slot: dict[str, str]


class LocalExecutor:
    """Keeps every slot busy with one run.

    Args:
      slots: one environment for each run that may run at once.
      program: the command that takes run.py's flags.
    """

    def __init__(self, slots: Sequence[dict[str, str]], program: list[str]) -> None:
        self._free = deque(slots)
        self._program = program

    def describe(self) -> str:
        """Where the runs go, for people."""
        return f"{len(self._free)} at once on this machine"

    def outcomes(self, runs: Sequence[PlannedRun], stop: SignalWatch) -> Iterator[Outcome]:
        """Starts the runs and yields how each of those started ended, in the order of ending.

        When a stop is requested no more are started, and those that run get SIGTERM; SIGUSR1 is
        passed on.
        """
        waiting, running = deque(runs), list[_Running]()
        terminated = False
        try:
            while running or (waiting and not stop.requested):
                while waiting and self._free and not stop.requested:
                    running.append(self._start(waiting.popleft()))
                if stop.requested and not terminated:
                    terminated = True
                    _terminate(running)
                if stop.save_requested():
                    for entry in running:
                        entry.process.send_signal(signal.SIGUSR1)
                for entry in [entry for entry in running if entry.process.poll() is not None]:
                    running.remove(entry)
                    self._free.append(entry.slot)
                    yield outcome_of(entry.run, entry.process.returncode)
                time.sleep(_POLL_SECONDS)
        finally:
            _terminate(running)  # none, unless an error ends this process

    def _start(self, run: PlannedRun) -> _Running:
        slot = self._free.popleft()
        process = start_process(run, self._program, slot, at_parents_death=signal.SIGTERM)
        return _Running(run, process, slot)


def _terminate(running: Sequence[_Running]) -> None:
    for entry in running:
        entry.process.terminate()
