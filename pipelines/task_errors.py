"""What Spark says when it gives a task up, as one sentence, with all of its words kept in a file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from dolma_py import storage
from dolma_py.errors import TaskError
from pipelines.steps import StepContext

WORKER_DIED = "a Python worker died (killed by the system, often for lack of memory, or crashed in native code)"


@contextmanager
def explain_failures(context: StepContext) -> Iterator[None]:
    """Turn Spark's own errors into a TaskError; its traces go to error.txt in the step's work folder, which goes with success."""
    try:
        yield
    except (Py4JError, PySparkException) as error:
        text = str(error)  # now, while the JVM still answers
        path = context.corpus.path(context.work, "error.txt")
        storage.make_folder(context.corpus.path(context.work))
        storage.write_bytes(path, text.encode(errors="replace"))
        raise TaskError(context.name, find_cause(text), path) from error


def find_cause(text: str) -> str:
    """The line that names the cause: a worker's death, an executor's loss, the last line of a Python trace, else the first line.

    >>> find_cause("Job aborted\\nTraceback (most recent call last):\\n  File x\\nKeyError: 'a'\\n\\n\\tat org.apache")
    "KeyError: 'a'"
    """
    if "Python worker exited unexpectedly" in text or "Python worker failed to connect" in text:
        return WORKER_DIED
    lost = re.search(r"ExecutorLostFailure \([^)]*\) Reason: ([^\n]*)", text)
    if lost:
        return f"an executor was lost ({lost.group(1).strip()[:200]})"
    trace = text.rpartition("Traceback (most recent call last):")[2] if "Traceback" in text else ""
    for line in trace.splitlines()[1:]:
        if line and not line[0].isspace():
            return line.strip()[:300]
    return next((line.strip() for line in text.splitlines() if line.strip()), "no words at all")[:300]
