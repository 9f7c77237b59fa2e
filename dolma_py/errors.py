"""Every error a user, a file or a cluster can cause.

Text has one form: what: expected rule, got value (where). What to do. Fields carry the same facts for tests and callers.
"""

from __future__ import annotations

import difflib
import errno
import os
from collections.abc import Iterable
from typing import Any, ClassVar

TRACE_VARIABLE = "DOLMA_PY_TRACE"
# number of a system's error -> what a user can do
_ADVICE = {
    errno.EACCES: "Give this user the right, or choose another place.",
    errno.EPERM: "Give this user the right, or choose another place.",
    errno.EROFS: "Choose a place that can be written.",
    errno.ENOSPC: "Free space, or choose another disk, and run again: what was finished stays.",
    errno.EDQUOT: "Free space, or choose another disk, and run again: what was finished stays.",
    errno.ENOENT: "Check the path.",
    errno.ENOTDIR: "Check the path: a part of it is a file.",
    errno.EISDIR: "Check the path: a file is wanted.",
    errno.ELOOP: "Remove the symbolic link that leads to itself.",
    errno.EMFILE: "Allow more open files (ulimit -n).",
    errno.ENFILE: "Allow more open files.",
}
_CREDENTIALS = ("AWS_ACCESS_KEY_ID", "GOOGLE_APPLICATION_CREDENTIALS")


class DolmaError(Exception):
    """Root of the family; the command line prints its text as one sentence and exits with `exit_code` (docs/training-logs.md)."""

    exit_code: ClassVar[int] = 2
    is_told = False  # another process of the same run says it

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors cross process borders with their fields; __init__ takes other arguments than Exception keeps."""
        return _rebuild, (type(self), self.args, vars(self))


def _rebuild(kind: type[DolmaError], args: tuple[Any, ...], fields: dict[str, Any]) -> DolmaError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(fields)
    return error


class ConfigError(DolmaError):
    """A setting breaks its rule. `key` is dotted, `got` the offending value."""

    def __init__(self, key: str, got: object, rule: str, hint: str = "", where: str = "") -> None:
        self.key, self.got, self.rule, self.hint, self.where = key, got, rule, hint, where
        text = f"{key}: {rule}, got {got!r}"
        text += f" ({where})." if where else "."
        super().__init__(f"{text} {hint}".rstrip())

    def moved(self, key: str, *, hint: str = "", where: str = "") -> ConfigError:
        """The same mistake under another key, with one more hint, and where it stands if that was not said."""
        return ConfigError(key, self.got, self.rule, f"{self.hint} {hint}".strip(), self.where or where)


class SchemaError(DolmaError):
    """A table lacks a column or has it in another type."""

    def __init__(self, column: str, expected: object, got: object, path: str = "") -> None:
        self.column, self.expected, self.got, self.path = column, expected, got, path
        super().__init__(f"column {column}: expected {expected}, got {got}" + (f" ({path})." if path else "."))


class DataError(DolmaError):
    """An input file cannot be used; the row or line is named when there is one."""

    def __init__(self, path: str, problem: str, row: int | None = None, hint: str = "") -> None:
        self.path, self.problem, self.row = path, problem, row
        at = path if row is None else f"{path}:{row}"
        super().__init__(f"{at}: {problem}. {hint}".rstrip())


class ConservationError(DolmaError):
    """Rows or bytes went in and neither came out nor were counted as dropped: our defect, never ignored."""

    def __init__(self, stage: str, counts: dict[str, int]) -> None:
        self.stage, self.counts = stage, counts
        super().__init__(f"{stage}: in != out + dropped, counts {counts}. Please report this with the run folder.")


class TooManyRejectedError(DolmaError):
    """More records were unreadable than the set share allows. worst: ("input, reason", records) of the largest part."""

    def __init__(
        self, stage: str, rejected: int, total: int, allowed_frac: float, where: str, key: str = "max_rejected_frac",
        worst: tuple[str, int] | None = None,
    ) -> None:  # fmt: skip
        self.stage, self.rejected, self.total, self.allowed_frac = stage, rejected, total, allowed_frac
        most = f", {worst[1]} of them in {worst[0]}" if worst else ""
        super().__init__(
            f"{stage}: {rejected} of {total} records were rejected{most}; allowed share {allowed_frac}. "
            f"Read {where}, mend the input or raise {key}."
        )


class DedupAlarmError(DolmaError):
    """Deduplication would remove more than its alarms allow; nothing is complete until a person has said so."""

    def __init__(self, step: str, alarms: list[str], rule: str, hint: str) -> None:
        self.step, self.alarms = step, alarms
        super().__init__(f"{step}: {'; '.join(alarms)}; {rule}. {hint}")


class ResumeMismatchError(DolmaError):
    """Saved state belongs to another configuration; `field` is the first that differs."""

    def __init__(self, field: str, saved: object, current: object, hint: str = "") -> None:
        self.field, self.saved, self.current = field, saved, current
        super().__init__(f"cannot resume: {field} was {saved!r}, now {current!r}. {hint}".rstrip())


class NotFiniteError(DolmaError):
    """Loss or gradient norm is NaN or infinite on at least one rank."""

    exit_code = 3

    def __init__(self, step: int, ranks: list[int], what: str) -> None:
        self.step, self.ranks, self.what = step, ranks, what
        super().__init__(
            f"step {step}: {what} is not finite on ranks {ranks}. The last checkpoint is untouched; "
            "lower the learning rate or look at the data of this step."
        )


class SpikeError(DolmaError):
    """More of the last steps than allowed had a loss or a gradient norm far from those before."""

    exit_code = 4

    def __init__(self, step: int, what: str, score: float, allowed: float) -> None:
        self.step, self.what, self.score, self.allowed = step, what, score, allowed
        super().__init__(
            f"step {step}: spike score of the {what} is {score:.4g}, allowed is {allowed:.4g} (logs.max_spike_score). The last "
            "checkpoint is untouched; lower the learning rate, look at the data of these steps (events.jsonl) or raise the limit."
        )


class TaskError(DolmaError):
    """Spark failed: a worker died each time a task was tried, our code failed on an executor, the JVM ended; `details` has it all."""

    def __init__(self, step: str, cause: str, details: str, hint: str = "") -> None:
        self.step, self.cause, self.details, self.hint = step, cause, details, hint
        text = f"step {step}: Spark failed: {cause}. What was finished stays: run again."
        super().__init__(f"{text} {hint}".rstrip() + f" All of Spark's words: {details}")


class StoreUnavailableError(OSError):
    """An object store did not answer, or asked for patience, in all the tries of its client: the same request may be granted later."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(errno.EIO, problem, path)

    def __reduce__(self) -> tuple[Any, ...]:
        """OSError would call __init__ with its own arguments."""
        return type(self), (self.filename, self.strerror)

    def __str__(self) -> str:
        """Without a number that is not the store's."""
        return f"{self.filename}: {self.strerror}"


class MissingDependencyError(DolmaError):
    """An optional package is needed."""

    def __init__(self, package: str, extra: str) -> None:
        self.package, self.extra = package, extra
        super().__init__(f"{package} is not installed. Run: pip install 'dolma-py[{extra}]'")


class SandboxError(DolmaError):
    """No sandbox can be opened here, it did not start, or a run cannot be watched; of the program nothing is known."""

    def __init__(self, problem: str, hint: str) -> None:
        self.problem, self.hint = problem, hint
        super().__init__(f"sandbox: {problem}. {hint}".rstrip())


class EndpointError(DolmaError):
    """A model endpoint fails too often, or asking on would cost more than is allowed. Answers that came are kept."""

    def __init__(self, address: str, problem: str, hint: str) -> None:
        self.address, self.problem = address, problem
        problem = " ".join(problem.split())  # of somebody else's words too
        super().__init__(f"endpoint {address}: {problem}. {hint} Answers that came are kept: run again to go on.")


def name_known(name: object, known: Iterable[str]) -> str:
    """The hint for a name that is not known: the nearest that is, and all of them.

    >>> name_known("lenght", ["length", "words"])
    'Did you mean length? Known: length, words.'
    """
    names = sorted(known)
    near = difflib.get_close_matches(str(name), names, 1)
    return (f"Did you mean {near[0]}? " if near else "") + f"Known: {', '.join(names)}."


def wants_trace() -> bool:
    """Whether the environment asks for the whole trace of an error of disk or network."""
    return bool(os.environ.get(TRACE_VARIABLE))


def describe_os_error(error: OSError, *, names_trace: bool = True) -> str:
    """An error of disk or network as one sentence: where, what, what to do.

    Arrow's errors of object stores have no number and no file name; their text says which bucket or key it was.
    names_trace: say how to get the trace; False where it is another process that would show it.
    """
    names = [name for name in (error.filename, error.filename2) if name is not None]
    where = " and ".join(
        os.fsencode(name).decode("utf-8", "backslashreplace") for name in names if type(name) is not int
    )
    what = " ".join(str(error.strerror or error).split()).rstrip(".")
    what = what.encode("utf-8", "backslashreplace").decode()
    what = what if what[1:2].isupper() else what[:1].lower() + what[1:]
    advice = _ADVICE.get(error.errno or 0, "Look at the disk and run again: what was finished stays.")
    if isinstance(error, StoreUnavailableError):
        advice = "Check the network, and run again once the store answers: what was finished stays."
    elif "AWS Error" in what or "google::cloud" in what:
        advice = f"Check the address, the credentials ({_CREDENTIALS['google' in what]} and the like) and the network."
    place = f"{where}: " if where else ""
    trace = f" {TRACE_VARIABLE}=1 shows where it came from." if names_trace else ""
    return f"{place}{what}. {advice}{trace}"
