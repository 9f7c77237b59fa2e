"""What the benchmarks say a command cost holds the processes that the kernel forgets."""

from __future__ import annotations

import re
import subprocess
import sys

from tests.conftest import REPOSITORY

# as the daemon of PySpark's workers: it ignores that its children end, so nobody is told what they used
DAEMON = """
import os, signal, time
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
child = os.fork()
while time.process_time() < 2 and child == 0:
    pass
if child:
    try:
        os.waitpid(child, 0)
    except ChildProcessError:
        pass
"""


def test_children_that_nobody_waits_for_are_counted():
    # in a process of its own: it waits for all its children, and these tests may have a JVM
    command = [sys.executable, "-m", "benchmarks.process_tree", sys.executable, "-c", DAEMON]
    shown = subprocess.run(command, check=True, capture_output=True, text=True, cwd=REPOSITORY).stdout
    (cpu_sec,) = re.findall(r"CPU ([\d.]+) s", shown)
    assert 1.0 <= float(cpu_sec) < 4.0  # 2 s, of which a look ten times a second may miss the last
