"""What Spark says when it gives a task up, as one sentence, with all of its words kept in a file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from py4j.protocol import Py4JError, Py4JNetworkError
from pyspark.errors import PySparkException

from dolma_py import storage
from dolma_py.errors import TaskError, describe_os_error
from pipelines.recipe import Recipe, Step
from pipelines.session import jvm_has_died
from pipelines.steps import StepContext

WORKER_DIED = "a Python worker died (killed by the system, often for lack of memory, or crashed in native code)"
EXECUTOR_LOST = "an executor was lost"
JVM_DIED = "its JVM ended (killed by the system, often for lack of memory, or crashed)"
JVM_WAIT_SEC = 5.0  # from its connections' end to its own

# kind of a step -> its own settings that bound what a task holds
MEMORY_SETTINGS = {
    "ingest": ("row_group_text_bytes", "limits.max_record_bytes"),
    "read_plain": ("row_group_text_bytes", "limits.max_record_bytes"),
    "dedup_substring": ("pool_bytes",),
    "dedup_minhash": ("unit_docs", "max_bucket_bytes"),
    "tokenize": ("tokens_per_part",),
    "prepare_posttrain": ("tokens_per_part", "limits.max_record_bytes"),
}
# kinds whose tasks read splits of a view, which the recipe's split_bytes bounds
SPLIT_KINDS = (
    "tag", "dedup_exact", "dedup_urls", "dedup_paragraphs", "dedup_minhash", "dedup_substring", "train_tokenizer", "tokenize",
    "materialize", "export_dolma", "train_language_model", "synth", "synth_variants",
)  # fmt: skip


def memory_hint(step: Step, recipe: Recipe) -> str:
    """What to do when a process dies of this step's memory; names only settings that can be given where the step comes from."""
    names = MEMORY_SETTINGS.get(step.kind, ())
    more = "Give the machine more memory, or run fewer tasks at once with --master local[N]"
    lower = [f"{' or '.join(names)} of step {step.name}"] if names else []
    if step.kind in SPLIT_KINDS and recipe.flow != "job":  # a command of one job has no recipe to set it in
        lower.append("the recipe's split_bytes")
    return f"{more}, or lower {', or '.join(lower)}." if lower else f"{more}."


@contextmanager
def explain_failures(context: StepContext, hint: str = "") -> Iterator[None]:
    """Turn Spark's own errors into a TaskError; its traces go to error.txt in the step's work folder, which goes with success.

    hint: what to do when a process has died. An error of the network is Spark's only when the JVM is gone.
    """
    try:
        yield
    except (Py4JError, PySparkException, OSError, EOFError) as error:
        is_dead = (isinstance(error, Py4JNetworkError | OSError | EOFError)) and jvm_has_died(JVM_WAIT_SEC)
        if not is_dead and not isinstance(error, Py4JError | PySparkException):
            raise
        text = repr(error) if is_dead else str(error)  # now, while the JVM still answers
        path = context.corpus.path(context.work, "error.txt")
        try:
            storage.make_folder(context.corpus.path(context.work))
            storage.write_bytes(path, text.encode(errors="replace"))
        except OSError as refused:  # the cause itself may be that nothing can be written there
            path = f"not kept, {describe_os_error(refused, names_trace=False)}"
        cause = JVM_DIED if is_dead else find_cause(text)
        has_died = cause in (JVM_DIED, WORKER_DIED) or cause.startswith(EXECUTOR_LOST)
        raise TaskError(context.name, cause, path, hint if has_died else "") from error


def find_cause(text: str) -> str:
    """The line that names the cause: a worker's death, an executor's loss, the last line of a Python trace, else the first line.

    >>> find_cause("Job aborted\\nTraceback (most recent call last):\\n  File x\\nKeyError: 'a'\\n\\n\\tat org.apache")
    "KeyError: 'a'"
    """
    if "Python worker exited unexpectedly" in text or "Python worker failed to connect" in text:
        return WORKER_DIED
    lost = re.search(r"ExecutorLostFailure \([^)]*\) Reason: ([^\n]*)", text)
    if lost:
        return f"{EXECUTOR_LOST} ({lost.group(1).strip()[:200]})"
    trace = text.rpartition("Traceback (most recent call last):")[2] if "Traceback" in text else ""
    for line in trace.splitlines()[1:]:
        if line and not line[0].isspace():
            return re.sub(r"^dolma_py\.errors\.\w+: ", "", line.strip())[:300]
    return next((line.strip() for line in text.splitlines() if line.strip()), "no words at all")[:300]
