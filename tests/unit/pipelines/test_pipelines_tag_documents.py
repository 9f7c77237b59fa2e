from dolma_py.corpus import Corpus
from pipelines.tag_documents import TagConfig, fingerprint_inputs


def test_the_order_of_options_does_not_decide_what_is_done_again(tmp_path):
    """A file that another program wrote may have them in another order; the files they name are known by their content."""
    corpus = Corpus(str(tmp_path / "corpus"))
    for name in ("domains", "words"):
        (tmp_path / f"{name}.txt").write_text(name)
    options = {"soft_words": [str(tmp_path / "words.txt")], "domains": [str(tmp_path / "domains.txt")]}

    def mark(options):
        return fingerprint_inputs(corpus, TagConfig(taggers=[{"tagger": "url-lists", "options": options}]))

    before = mark(options)
    assert mark(dict(reversed(options.items()))) == before
    (tmp_path / "words.txt").write_text("others")
    assert mark(options) != before
