"""The text of the repository belongs to every machine: no path of the one it was written on, ASCII in code. With plants."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

LIBRARY = ("dolma_py", "taggers", "dedup", "mixers", "pipelines", "train_bridge", "benchmarks")
# A checkout right below one of these says nothing: such names stand in ordinary text.
_EVERYWHERE = {"/", "/tmp", "/home", "/root", "/usr", "/opt", "/var", "/srv", "/mnt", "/data"}
_HOMES = re.compile(
    r"(?<![\w.{}/])(?:/home/(?!user\b|me\b|you\b|somebody\b)[a-z]\w*|/Users/[A-Za-z]\w*|/root/\.\w+|[A-Z]:\\Users\\\w+)"
)


def tracked_files(root: Path) -> list[Path]:
    """The text files that belong to the repository: git's list, with what it would take next; without git, all files."""
    answer = subprocess.run(
        ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True, check=False,
    )  # fmt: skip
    names = answer.stdout.decode().split("\0") if answer.returncode == 0 else []
    paths = [root / name for name in names if name] or [path for path in root.rglob("*") if ".venv" not in str(path)]
    return [path for path in paths if path.is_file() and b"\0" not in path.read_bytes()[:8192]]


def find_machine_paths(text: str, checkout: Path) -> list[str]:
    """Paths in the text that exist on one machine only: the checkout's own folder, its neighbours, a person's home."""
    found = _HOMES.findall(text)
    for folder in {str(checkout), str(checkout.parent)} - _EVERYWHERE:
        found += re.findall(rf"(?<![\w.}}\"'/-]){re.escape(folder)}/[\w.-]+", text)
    return found


def find_foreign_letters(source: str) -> list[str]:
    """Lines of code with anything but ASCII: identifiers and comments alike."""
    lines = source.splitlines()
    return [f"{number}: {line.strip()[:60]}" for number, line in enumerate(lines, 1) if not line.isascii()]


def test_no_path_of_one_machine(repository):
    found = {}
    for path in tracked_files(repository):
        if path.name != Path(__file__).name:
            found[str(path.relative_to(repository))] = find_machine_paths(path.read_text(errors="replace"), repository)
    assert len(found) > 50
    assert {name: paths for name, paths in found.items() if paths} == {}


def test_library_code_is_ascii(repository):
    found = {}
    for path in [path for folder in LIBRARY for path in sorted((repository / folder).rglob("*.py"))]:
        found[str(path.relative_to(repository))] = find_foreign_letters(path.read_text())
    assert len(found) > 30
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    ("text", "num_found"),
    [
        ("run /home/anna/bin/tool now", 1),
        ("see /Users/anna/x", 1),
        (r"see C:\Users\anna", 1),
        ("cache in /root/.cache", 1),
        ("open /projects/spine/dolma/README.md", 2),  # by the checkout and by its parent
        ("open /projects/spine/other/file", 1),
        ("`/projects/spine/other`", 1),
        ("https://example.org/home/anna and /home/user/x", 0),
        ("a/projects/spine/other is below a", 0),
        ("/projects/other and /tmp/x", 0),
    ],
)
def test_a_planted_path_is_found(text, num_found):
    assert len(find_machine_paths(text, Path("/projects/spine/dolma"))) == num_found


@pytest.mark.parametrize("checkout", ["/home/x", "/x"])
def test_a_checkout_in_an_ordinary_place_makes_no_noise(checkout):
    assert find_machine_paths("/home /tmp /x is a path, /usr/bin too", Path(checkout)) == []


@pytest.mark.parametrize("source", ["\u03bc = 1", "x = 1  # na\u00efve", "x = '\u20ac'"])
def test_a_planted_letter_is_found(source):
    assert len(find_foreign_letters(f"a = 1\n{source}\n")) == 1
