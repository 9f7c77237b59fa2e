"""`_done.jsonl` after every accident: a torn line, files that went or changed, a fingerprint that came back."""

from __future__ import annotations

import json

import pytest

from dolma_py import storage
from dolma_py.done import DoneFile, read_done_lines, render_line
from dolma_py.errors import DataError
from dolma_py.storage import WrittenFile, write_attempt

FOLDER = "runs/r/work"


def write_unit(done: DoneFile, unit: str, content: bytes = b"abc") -> None:
    """One unit with one file of its own name."""
    file = write_attempt(done.root, "attempts", f"out/{unit}", lambda sink: sink.write(content))
    done.publish(unit, [file], {"n": len(content)})


def reopen(done: DoneFile, fingerprint: str = "f") -> DoneFile:
    return DoneFile(done.root, FOLDER, fingerprint)


@pytest.fixture
def done(tmp_path) -> DoneFile:
    """Units b and a, in that order, of fingerprint f."""
    fresh = DoneFile(str(tmp_path), FOLDER, "f")
    for unit in ("b", "a"):
        write_unit(fresh, unit)
    return fresh


def test_published_units_are_found_again(done):
    again = reopen(done)
    assert again.units == done.units
    assert again.units["a"]["files"] == [
        {"path": "out/a", "bytes": 3, "rows": 3, "checksum": storage.checksum_file(f"{done.root}/out/a")}
    ]
    assert again.units["a"]["facts"] == {"n": 3}
    assert storage.list_files(f"{done.root}/attempts") == []


def test_a_line_is_sorted_json_without_a_clock(done):
    content = storage.read_bytes(done.path)
    assert content == render_line(done.units["b"]) + render_line(done.units["a"])
    first = json.loads(content.splitlines()[0])
    assert list(first) == sorted(first) == ["facts", "files", "fingerprint", "unit"]


def test_finish_orders_lines_by_name(done):
    """Who finished first does not show."""
    reopen(done).finish()
    assert [line["unit"] for line in read_done_lines(done.path)] == ["a", "b"]
    done.finish()
    assert [line["unit"] for line in read_done_lines(done.path)] == ["a", "b"]


@pytest.mark.parametrize("torn_bytes", [1, 20, 100])
def test_a_torn_last_line_is_ignored_and_never_glued_to(done, torn_bytes):
    """The driver died while it wrote the line of a; the next line must be whole."""
    content = storage.read_bytes(done.path)
    storage.write_bytes(done.path, content[: content.index(b"\n") + 1 + torn_bytes])
    again = reopen(done)
    assert list(again.units) == ["b"]
    write_unit(again, "c")
    assert [line["unit"] for line in read_done_lines(done.path)] == ["b", "c"]


def test_a_line_without_its_newline_is_torn(done):
    storage.write_bytes(done.path, storage.read_bytes(done.path)[:-1])
    assert list(reopen(done).units) == ["b"]


def test_reading_never_writes(done):
    """A report reads while the driver writes."""
    torn = storage.read_bytes(done.path)[:-5]
    storage.write_bytes(done.path, torn)
    assert len(read_done_lines(done.path)) == 1 and list(reopen(done).units) == ["b"]
    assert storage.read_bytes(done.path) == torn


@pytest.mark.parametrize(
    "bad",
    [
        b'{"unit": "b"', b"", b"\x00\x00", b"\xff", b"5", b"[]", b"null", b'{"unit": "b"}', b'{"unit":1,"fingerprint":"f","files":[],"facts":{}}',
        b'{"unit":"b","fingerprint":"f","files":[5],"facts":{}}', b'{"unit":"b","fingerprint":"f","files":[{"path":"x"}],"facts":{}}',
        b'{"unit":"b","fingerprint":"f","files":{},"facts":{}}',
    ],
)  # fmt: skip
def test_a_torn_line_elsewhere_is_refused(done, bad):
    lines = storage.read_bytes(done.path).splitlines()
    storage.write_bytes(done.path, b"\n".join([lines[0], bad, lines[1], b""]))
    for read in (read_done_lines, lambda path: reopen(done)):
        with pytest.raises(DataError) as caught:
            read(done.path)
        assert (caught.value.path, caught.value.row) == (done.path, 2)


def test_no_file_is_no_unit(tmp_path):
    assert read_done_lines(str(tmp_path / "_done.jsonl")) == []
    assert DoneFile(str(tmp_path), FOLDER, "f").units == {}


def test_another_fingerprint_knows_nothing(done):
    assert reopen(done, "g").units == {}


def test_a_missing_file_makes_its_unit_undone(done):
    storage.remove_file(f"{done.root}/out/a")
    assert list(reopen(done).units) == ["b"]


@pytest.mark.parametrize("content", [b"", b"ab", b"abcd"])
def test_a_resized_file_makes_its_unit_undone(done, content):
    storage.write_bytes(f"{done.root}/out/a", content)
    again = reopen(done)
    assert list(again.units) == ["b"]
    write_unit(again, "a")
    assert list(reopen(done).units) == ["b", "a"]


def test_a_folder_in_a_files_place_makes_its_unit_undone(done):
    storage.remove_file(f"{done.root}/out/a")
    storage.write_bytes(f"{done.root}/out/a/x", b"abc")
    assert list(reopen(done).units) == ["b"]


def test_lines_of_a_replaced_fingerprint_never_come_back(done):
    """g replaced the file of unit a with another of equal size and died; then the configuration goes back to f.

    The size alone would make f's line true again.
    """
    other = reopen(done, "g")
    write_unit(other, "a", b"xyz")
    again = reopen(done)
    assert again.units == {}
    write_unit(again, "a")
    assert storage.read_bytes(f"{done.root}/out/a") == b"abc"


def test_the_old_claim_goes_before_the_first_file_is_replaced(done):
    """Killed between the two renames of a unit of g: f must not be believed, though g has no line yet."""
    other = reopen(done, "g")
    good = write_attempt(done.root, "attempts", "out/a", lambda sink: sink.write(b"xyz"))
    gone = WrittenFile(f"{done.root}/attempts/none", "out/b", 3, "", 1)
    with pytest.raises(FileNotFoundError):
        other.publish("a", [good, gone], {})
    assert reopen(done).units == {} and reopen(done, "g").units == {}


def test_a_unit_whose_file_cannot_be_published_is_not_done(done):
    gone = WrittenFile(f"{done.root}/attempts/none", "out/c", 3, "", 1)
    with pytest.raises(FileNotFoundError):
        done.publish("c", [gone], {})
    assert sorted(done.units) == sorted(reopen(done).units) == ["a", "b"]


def test_a_unit_may_have_no_files(done):
    done.publish("none", [], {"n": 0})
    assert reopen(done).units["none"]["files"] == []


def test_facts_must_be_json(done):
    with pytest.raises(ValueError):
        done.publish("c", [], {"n": float("nan")})
    assert sorted(reopen(done).units) == ["a", "b"]
