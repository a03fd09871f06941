"""Which signals ask a program to stop, and what they do before it watches for them."""

import signal

# By a person or a service, a closed terminal, a batch system that announces the end of a job, and
# one whose CPU time is over.
STOPPING = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR2, signal.SIGXCPU)


def _interrupt(number: int, _: object) -> None:
    raise KeyboardInterrupt(signal.Signals(number).name)


def receive() -> None:
    """Every signal that asks to stop ends the program like Ctrl-C before a `SignalWatch` watches.

    What is ignored stays so, as by nohup. But shells let whatever runs in a script's background
    ignore SIGINT, lest Ctrl-C reach it: it is held back here, in all threads to come, so that
    `dvae.runs.process.SignalWatch` can tell one that was sent on purpose.
    """
    for number in STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    signal.signal(signal.SIGUSR1, lambda *_: None)  # there is nothing to save yet
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
