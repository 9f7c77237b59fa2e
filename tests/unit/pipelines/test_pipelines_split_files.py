"""The digest of a split's content: everything that decides it, and nothing else."""

from dolma_py.listing import Split
from dolma_py.views import Step
from pipelines.split_files import digest_content
from tests.tiny_corpus import write_attributes, write_corpus

SHARDS = [[[{"text": "one two"}, {"text": "three"}], [{"text": "four"}]]]
SPLIT = Split(0, 0, 1, 0, 3, 16)


def make(root, shards=SHARDS, spans=((0, 3), None, None)):
    corpus = write_corpus(str(root), shards)
    rows = [
        {"n": n, "spans": [{"start": pair[0], "end": pair[1], "score": 1.0}] if pair else []}
        for n, pair in enumerate(spans)
    ]
    write_attributes(corpus, "a-v1", [[rows[:2], rows[2:]]])
    return corpus


def digest(corpus, *steps, settings=None, split=SPLIT):
    steps = [Step(name=f"s{number}", attributes="a-v1", **step) for number, step in enumerate(steps)]
    return digest_content(corpus, corpus.load_view(None).extend("v", steps), split, settings or {"x": 1})


def test_what_decides_nothing_leaves_it(tmp_path):
    corpus = make(tmp_path / "a")
    assert digest(corpus) == digest(make(tmp_path / "elsewhere"))
    assert digest(corpus) == digest(corpus, {"keep": "n >= 0"})
    assert digest(corpus, {"keep": "n != 1"}) == digest(corpus, {"keep": "n in [0, 2]"}, {"keep": "n >= 0"})


def test_what_decides_it_changes_it(tmp_path):
    corpus = make(tmp_path / "a")
    found = [
        digest(corpus), digest(corpus, settings={"x": 2}), digest(corpus, {"keep": "n != 1"}), digest(corpus, {"keep": "n != 2"}),
        digest(corpus, {"edit": "spans"}), digest(make(tmp_path / "b", spans=((0, 4), None, None)), {"edit": "spans"}),
        digest(make(tmp_path / "e", spans=((1, 3), None, None)), {"edit": "spans"}), digest(corpus, {"keep": "n != 0"}),
        digest(make(tmp_path / "c", spans=(None, (0, 3), None)), {"edit": "spans"}),
        digest(make(tmp_path / "d", [[[{"text": "one two"}, {"text": "thref"}], [{"text": "four"}]]])),
        digest(corpus, split=Split(0, 0, 0, 0, 2, 12)),
    ]  # fmt: skip
    assert len(set(found)) == len(found)


def test_a_view_without_rows_has_a_digest_too(tmp_path):
    corpus = make(tmp_path / "a")
    assert digest(corpus, {"keep": "n < 0"}) != digest(corpus)
