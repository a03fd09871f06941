"""Runs of a table as tasks of a Ray cluster; a run whose node died goes on elsewhere.

Needs the run directories, this code and the data at the same paths on every node.
"""

import logging
import math
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from configs.errors import UserError
from configs.signals import STOPPING
from dvae.runs.process import SignalWatch
from tables.local import threads_environment
from tables.runs import Outcome, PlannedRun, outcome_of, start_process, training_program

_POLL_SECONDS = 0.5
_CONNECT_SECONDS = 10.0


def attempt_run(run: PlannedRun, program: list[str] | None, cpus: float) -> int:
    """The task: trains, from the last checkpoint on, and returns the exit code.

    A cancelled task lets the run write a checkpoint. When Ray takes the node for dead the run dies
    with the task, at once, since another node goes on with it.
    """
    process = start_process(
        run,
        program or training_program(),
        threads_environment(cpus),
        at_parents_death=signal.SIGKILL,
    )
    # Ray cancels by an interrupt, which a cluster started in a script's background ignores. SIGTERM
    # is Ray's own; other signals are of the batch system that Ray runs under.
    for number in set(STOPPING) - {signal.SIGTERM}:
        signal.signal(number, signal.default_int_handler)
    signal.signal(signal.SIGUSR1, lambda *_: process.send_signal(signal.SIGUSR1))
    while True:
        try:
            return process.wait(timeout=_POLL_SECONDS)
        except subprocess.TimeoutExpired:
            continue  # a wait that never returned could not be cancelled
        except KeyboardInterrupt:
            process.terminate()


def _check_reachable(address: str) -> None:
    """Raises OSError when nothing listens at HOST:PORT, for which Ray itself waits for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS).close()


class _Pending(NamedTuple):
    run: PlannedRun
    attempts: int


class RayExecutor:
    """Gives every run to an existing cluster as a task with its share of a node.

    Args:
      address: of the cluster, as `ray.init` takes it.
      cpus, gpus: what one run reserves; a fraction of a GPU lets several share it.
      max_attempts: how often a run is started; killed that often, with its node or alone, it has
        failed.
      program: the command that takes run.py's flags; None: run.py under the node's Python.
    """

    def __init__(
        self,
        address: str,
        cpus: float,
        gpus: float,
        max_attempts: int,
        program: list[str] | None = None,
    ) -> None:
        try:
            import ray
        except ImportError:
            raise UserError("--executor=ray needs Ray: pip install ray") from None
        if max_attempts < 1:
            raise UserError(f"--max_attempts={max_attempts} must be at least 1")
        for name, share in (("run_cpus", cpus), ("run_gpus", gpus)):
            # Ray takes such a task, and fails it later.
            if not math.isfinite(share) or (share > 1 and share % 1):
                raise UserError(f"--{name}={share:g} must be a fraction of one, or a whole number")
        self._ray, self._address, self._program = ray, address, program
        self._max_attempts = max_attempts
        self._cpus, self._gpus = cpus, gpus
        self._connect()
        self._task = ray.remote(attempt_run).options(
            num_cpus=cpus,
            num_gpus=gpus,
            max_retries=0,  # retried here, where attempts are counted
            scheduling_strategy="SPREAD",
        )

    def _connect(self) -> None:
        if self._ray.is_initialized():
            return
        try:
            _check_reachable(self._address)
            self._ray.init(address=self._address, log_to_driver=False, logging_level="warning")
        except (OSError, ValueError, RuntimeError) as error:
            line = str(error).split(". ", 1)[0].split("\n", 1)[0]
            raise UserError(
                f"no Ray cluster at --ray_address={self._address} ({line}): "
                "start one with 'ray start --head'"
            ) from None

    def describe(self) -> str:
        """Where the runs go, for people."""
        total = self._ray.cluster_resources()
        text = (
            f"on a Ray cluster with {total.get('CPU', 0):g} CPUs and {total.get('GPU', 0):g} GPUs, "
            f"{self._cpus:g} and {self._gpus:g} for each run"
        )
        if not any(self._fits(node) for node in self._ray.nodes()):
            text += "; NO NODE HAS THAT: runs wait for one (or change --run_cpus, --run_gpus)"
        return text

    def _fits(self, node: dict[str, Any]) -> bool:
        has = node["Resources"]
        return node["Alive"] and (
            has.get("CPU", 0) >= self._cpus and has.get("GPU", 0) >= self._gpus
        )

    def outcomes(self, runs: Sequence[PlannedRun], stop: SignalWatch) -> Iterator[Outcome]:
        """Submits the runs and yields how each ended, in the order of ending.

        When a stop is requested, waiting runs are dropped and those that run get SIGTERM. SIGUSR1
        reaches no other machine.
        """
        pending = {self._submit(run): _Pending(run, 1) for run in runs}
        cancelled = False
        while pending:
            if stop.requested and not cancelled:
                cancelled = True
                for reference in pending:
                    self._ray.cancel(reference)
            if stop.save_requested():
                logging.warning("SIGUSR1 is not passed on: --checkpoint_minutes decides on Ray")
            ready, _ = self._ray.wait(list(pending), num_returns=1, timeout=_POLL_SECONDS)
            for reference in ready:
                entry = pending.pop(reference)
                ended = self._ended(reference, entry)
                if ended is not None:
                    yield ended
                elif stop.requested:
                    yield Outcome(entry.run, "stopped", "", entry.attempts)
                else:
                    again = _Pending(entry.run, entry.attempts + 1)
                    pending[self._submit(entry.run)] = again

    def _submit(self, run: PlannedRun) -> Any:
        return self._task.remote(run, self._program, self._cpus)

    def _ended(self, reference: Any, entry: _Pending) -> Outcome | None:
        """How a task ended; None when it died with its node and may be tried again."""
        errors = self._ray.exceptions
        try:
            code = self._ray.get(reference)
        except errors.TaskCancelledError:
            return Outcome(entry.run, "stopped", "", entry.attempts)
        except errors.RayTaskError as error:
            line = str(error.cause).split("\n", 1)[0]
            return Outcome(entry.run, "failed", line, entry.attempts)
        except errors.RayError as error:
            return self._died(entry, f"its node died ({type(error).__name__})")
        # A worker whose node dies kills its children first, and may report that before it ends.
        if code == -signal.SIGKILL:
            return self._died(entry, "it was killed, with its node or for want of memory")
        return outcome_of(entry.run, code, entry.attempts)

    def _died(self, entry: _Pending, how: str) -> Outcome | None:
        if entry.attempts < self._max_attempts:
            return None
        return Outcome(entry.run, "failed", f"{how}: {entry.attempts} attempts", entry.attempts)
