"""JSON documents are told from JSON Lines by their first line."""

import json

import pytest

from dolma_py.formats.json_documents import HEAD_BYTES, is_json_document

RECORDS = [{"text": "a [list] of {signs}", "n": 1}, {"text": "b"}]
GOOD = "\n".join(map(json.dumps, RECORDS)) + "\n"


@pytest.mark.parametrize(("text", "expected"), [
    (json.dumps(RECORDS), True), (json.dumps(RECORDS, indent=1), True), (json.dumps({"a": RECORDS}, indent=2), True),
    ("\ufeff" + json.dumps(RECORDS), True), ("\n\n [\n]", True), ('{"a": {\n"b": 1}}', True), ('{"a":\n 1}', True),
    ("\n".join(map(json.dumps, RECORDS)), False), (json.dumps(RECORDS[0]), False), ("", False), ("\n\n", False), ("{broken", False),
    ('{"text": "cut in the mid', False), ("no json at all", False), ('"a"', False), ("7\n8\n", False),
    ('{"text": "' + "x" * HEAD_BYTES + '"}', False), ("[" * HEAD_BYTES * 2, True), ('{"a":' * HEAD_BYTES, False),
    ('{"a":' * (HEAD_BYTES // 8), False),  # too deep for anyone: the reader rejects it
    ('{"n": ' + "1" * 5000 + "}\n" + GOOD, False), ("[" + "1" * 5000 + "]", True), ('{"n":\n' + "1" * 5000 + "}", True),
    ('{"id": "a",\n' + GOOD, False), ('{"id":\n\n' + GOOD, False), ("{\n" + GOOD, False), ('[{"a": 1}, \n' + GOOD, False),
    ('{"id": "a",\n' + GOOD * HEAD_BYTES, False), ('["a"]\n["b"]\n', False), ('[{"a": 1}\n\n', True),
    ('[\n{"a": 1},\n{"b": 2}\n]\n', True), ('[\n{"a": 1},\n{"b": 2},\n]\n', True), ("[" + '\n{"a": "b"},' * HEAD_BYTES, True),
    (json.dumps(["x" * 900] * 900, indent=1), True), ('{"text": "a\u2028b"}\n' + GOOD, False),
    ('{"id": "a",\n{"text": "' + "x" * HEAD_BYTES + '"}\n', False), ('["a"]\n{"text": "' + "x" * HEAD_BYTES + '"}\n', False),
    ('[\n{"text": "' + "x" * HEAD_BYTES + '"}\n]', True), ('{"a":\n{"text": "' + "x" * HEAD_BYTES + '"}\n}', True),
    ('[\n"' + "x" * HEAD_BYTES + '"\n]', True)])  # fmt: skip
def test_the_first_line_tells(tmp_path, text, expected):
    path = tmp_path / "file.JSON"
    path.write_text(text, encoding="utf-8")
    assert is_json_document(str(path)) is expected


def test_bytes_that_are_no_text_and_other_names(tmp_path):
    (tmp_path / "a.json").write_bytes(b"\xff\xfe{\n\x00")
    (tmp_path / "a.jsonl").write_text("[\n")
    assert not is_json_document(str(tmp_path / "a.json")) and not is_json_document(str(tmp_path / "a.jsonl"))
