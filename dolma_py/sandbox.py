"""Run a program that nobody vouches for: `run_program(Program(source="print(1)"))`.

docs/sandbox.md says what a program sees, what its limits are and who holds them, and what this does not protect against. Many
programs run faster through `sandbox_pool.Pool`, whose interpreters have started before the programs come.
"""

from __future__ import annotations

import functools
import subprocess
import warnings

from dolma_py.errors import ConfigError, SandboxError
from dolma_py.sandbox_command import find_bubblewrap
from dolma_py.sandbox_program import Limits, Outcome, Program
from dolma_py.sandbox_run import Sandbox

UNSAFE = "run without a sandbox"
_DEFAULTS = Limits()


def run_program(
    program: Program, limits: Limits = _DEFAULTS, *, with_packages: bool = False, unsafe: str = ""
) -> Outcome:
    """Run one program to its end, or to its first limit.

    Parameters
    ----------
    with_packages : bool    let the program import what is installed here, in this interpreter's virtual environment too; without,
                            it has the standard library alone, and starts faster
    unsafe : str            the words "run without a sandbox" where none can be opened and you would trust the program with your
                            files: time, output, and memory of each process are limited, nothing else

    Raises
    ------
    ConfigError     the program cannot be run whatever is in it; other words than those
    SandboxError    no sandbox can be opened here, or it did not start: the program was not run; or it cannot be watched, and was ended
    """
    return open_sandbox(limits, with_packages=with_packages, unsafe=unsafe).run(program)


def open_sandbox(limits: Limits, *, with_packages: bool, unsafe: str) -> Sandbox:
    """A started sandbox for one program, of the thread that asks; see run_program."""
    if unsafe not in ("", UNSAFE):
        raise ConfigError("unsafe", unsafe, f"expected nothing, or the words {UNSAFE!r}")
    if unsafe:
        warnings.warn("A program runs without a sandbox: it may read, change and send what you may.", stacklevel=3)
    else:
        check_sandbox()
    return Sandbox(limits, with_packages=with_packages, is_confined=not unsafe)


def check_sandbox() -> str:
    """bubblewrap's version, after a program has run in a sandbox here; once per process and program bwrap.

    Raises
    ------
    SandboxError    there is none, or it may not make a namespace; with what to do
    """
    return _check(find_bubblewrap())


@functools.cache
def _check(bubblewrap: str) -> str:
    outcome = Sandbox(_DEFAULTS).run(Program(source="print(6 * 7)"))
    if (outcome.status, outcome.stdout) != ("ok", b"42\n"):
        said = outcome.stderr.decode("utf-8", "replace").strip()[-300:]
        raise SandboxError(
            f"a first program ended as {outcome.status} ({said})", "Look at bubblewrap and the interpreter's folder."
        )
    answer = subprocess.run([bubblewrap, "--version"], capture_output=True, text=True, timeout=30, check=False)
    return answer.stdout.strip()
