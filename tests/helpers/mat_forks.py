"""Runs data/mat_child.py in forks of a process that has SciPy loaded: hundreds in seconds."""

import json
import os
import subprocess
import sys
import traceback

LIMIT = 1 << 30


class MatForks:
    """Stands in for data.matlab._run_child; `folder` takes what the forks write."""

    def __init__(self, folder):
        self.out, self.err = folder / "out", folder / "err"
        command = [sys.executable, "-m", "tests.helpers.mat_forks", str(self.out), str(self.err)]
        self.server = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, file, names):
        self.server.stdin.write(json.dumps([file.name, *names]) + "\n")
        self.server.stdin.flush()
        code = int(self.server.stdout.readline())
        return subprocess.CompletedProcess([], code, self.out.read_bytes(), self.err.read_bytes())

    def stop(self):
        self.server.stdin.close()
        self.server.wait()
        self.server.stdout.close()


def _fork(path, names, out, err):
    from data.mat_child import main

    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    try:
        os.dup2(os.open(path, os.O_RDONLY), 0)
        for number, target in ((1, out), (2, err)):
            os.dup2(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        sys.stdin = open(0)
        main(LIMIT, names)
        sys.stdout.flush()
        os._exit(0)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


if __name__ == "__main__":
    for line in sys.stdin:
        path, *names = json.loads(line)
        print(_fork(path, names, *sys.argv[1:]), flush=True)
