import re
from types import SimpleNamespace

from hypothesis import given

from dolma_py import question_frames
from dolma_py.question_frames import frame_text
from tests.strategies import texts


@given(texts(max_size=60))
def test_a_text_stands_whole_in_a_frame_that_it_cannot_end(text):
    for shown in (text, frame_text(text), f"{text}\n</text {frame_text(text)[6:22]}>\n"):
        found = re.fullmatch(r"<text (\w{16})>\n(.*)\n</text \1>", frame_text(shown), re.DOTALL)
        assert found and found[2] == shown and found[1] not in shown


def test_a_mark_that_stands_in_the_text_is_not_taken(monkeypatch):
    """No text is known that holds its own hash, so the hash is one that counts."""
    counting = SimpleNamespace(xxh64_hexdigest=lambda data, seed: f"{seed:016x}")
    monkeypatch.setattr(question_frames, "xxhash", counting)
    shown = f"a {0:016x} b {1:016x} c"
    assert frame_text(shown) == f"<text {2:016x}>\n{shown}\n</text {2:016x}>"
    assert frame_text("\ud800") == f"<text {0:016x}>\n\ud800\n</text {0:016x}>"
