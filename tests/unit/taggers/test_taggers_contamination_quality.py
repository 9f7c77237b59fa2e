"""The planting does what it says, and the scores are right where they can be worked out by hand."""

from __future__ import annotations

import random
import re
from xml.etree import ElementTree

import pytest

from benchmarks import contamination_material, natural_contamination
from benchmarks import contamination_quality as quality
from benchmarks.planted_items import FORMS, change_numbers, edit_words, make_planted, plant, reword, truncate_words
from taggers.ngram_match import Item

QUESTION = (
    "If a quick baker has 12 rolls, she sells 7 of them before noon. She buys 30 more after that, and gives 5 to a friend. "
    "How many rolls does the baker keep at the end of the day?"
)
ITEM = Item("quiz/test/1", QUESTION, "30 rolls", None, "quiz")
HOST = "First line of a document.\nSecond line, \u00e4lter.\nThird line.\n"
WORDS = ["alpha", "beta", "gamma"]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize("share", [0.0, 0.1])
def test_a_planted_item_stands_where_it_is_said_to_stand(form, share):
    made = make_planted(ITEM, form, share, HOST, WORDS)
    data = made.text.encode()
    planted = data[made.start_byte : made.end_byte].decode()
    rest = (data[: made.start_byte] + data[made.end_byte + 1 :]).decode()
    assert rest == HOST and made == make_planted(ITEM, form, share, HOST, WORDS)
    assert ("30 rolls" in planted) is (share == 0 and form.name not in ("answer-less", "truncated")) or share > 0
    assert (QUESTION in planted) is (share == 0 and form.name not in ("truncated", "reworded"))


def test_a_passage_comes_first():
    made = make_planted(ITEM._replace(passage="The bakery opens at six."), FORMS[0], 0.0, HOST, WORDS)
    assert f"The bakery opens at six.\n{QUESTION}\n30 rolls\n" in made.text


@pytest.mark.parametrize("share", [0.0, 0.05, 0.1, 0.2])
def test_the_share_of_edited_words_is_exact(share):
    words = QUESTION.split()
    edited = [edit_words(QUESTION, share, ["zeta"], random.Random(seed)).split() for seed in range(30)]
    wanted = round(share * len(words))
    for found in edited:
        added = found.count("zeta")  # replacements and insertions
        lost = len(words) - (len(found) - added)  # replacements and deletions
        replaced = added + lost - wanted
        assert 0 <= replaced <= min(added, lost)
        kept = iter(words)
        assert all(word in kept for word in found if word != "zeta")  # in their order
    assert len({tuple(found) for found in edited}) > 1 or share == 0


def test_truncated_and_reworded_texts():
    words = QUESTION.split()
    assert truncate_words(QUESTION).split() == words[: round(0.85 * len(words))]
    turned = {reword("If it rains, a big cat walks.", random.Random(seed)) for seed in range(9)}
    assert turned == {"If it rains, a large cat walks.", "a large cat walks, If it rains."}


def test_changed_numbers_keep_their_digits():
    changed = change_numbers(QUESTION, random.Random(1))
    assert re.sub(r"\d", "0", changed) == re.sub(r"\d", "0", QUESTION)
    pairs = zip(re.findall(r"\d+", changed), re.findall(r"\d+", QUESTION), strict=True)
    assert all(one != other for one, other in pairs)


def test_items_are_chosen_from_the_benchmarks_in_turn():
    def make(benchmark, number, suffix=""):
        return Item(f"{benchmark}/test/{number}{suffix}", f"{QUESTION} {benchmark} {number}", "a", None, benchmark)

    items = [make("a", number) for number in range(50)] + [
        make("b", 0, "/right"),
        make("b", 0, "/wrong-1"),
        make("b", 1),
    ]
    items += [Item("c/test/1", "Too short a one?", "yes", None, "c")]
    chosen = contamination_material.choose_items(items, 10, 1)
    assert [item.benchmark for item in chosen] == ["a", "b", "a", "b"] + ["a"] * 6
    assert len({item.question for item in chosen}) == 10 and chosen == contamination_material.choose_items(items, 10, 1)


@pytest.fixture(scope="module")
def material():
    """Word problems in made texts, twenty documents a cell."""
    made = contamination_material.load_material(None)
    other = [plant("Nothing of the kind.", ITEM, HOST, random.Random(1))] * 4
    planted = {key: documents[:20] for key, documents in made.planted.items()}
    return made._replace(planted=planted, pool=made.pool[:50], other_items=other, changed=made.changed[:5])


def test_scores_of_a_small_run(material):
    """Verbatim items are found and named, other items and clean documents are not; precision by hand."""
    scores = quality.score_method(material, quality.METHODS[0], 0.65)
    assert scores.recall["verbatim", 0.0] == 1.0 and scores.right_item > 0.9
    assert (scores.other_items, scores.pool) == (0.0, 0)
    assert scores.recall["truncated", 0.2] < 1.0
    assert quality.precision(material, scores, "verbatim", 0.0) == 1.0
    # 20 planted found against half of 4 other items and 5 documents of the pool
    assert quality.precision(material, scores._replace(other_items=0.5, pool=5), "verbatim", 0.0) == pytest.approx(
        20 / 27
    )


def test_tables_and_curves_say_what_was_scored(material, capsys, monkeypatch):
    method = quality.METHODS[0]._replace(values=(0.65,))
    quality.print_head(material)
    quality.print_groups(material, quality.print_method(material, method))
    shown = capsys.readouterr().out
    assert "planted 20: {'word problems': 20}" in shown and "0.65* 1.000" in shown
    assert re.search(r"word problems +20 1\.000", shown)
    monkeypatch.setattr(quality, "METHODS", (method,))
    picture = quality.draw_curves(material)
    ElementTree.fromstring(picture)  # as a browser reads a file: every prefix is declared
    assert picture.startswith('<svg xmlns="http://www.w3.org/2000/svg"') and "default (0 of 50)" in picture


def test_natural_finds_are_listed_with_their_texts(tmp_path, capsys):
    tagger = contamination_material.make_tagger([ITEM], {})
    rows = [
        {"id": "d1", "source": "web", "text": "Nothing."},
        {"id": "d2", "source": "web", "text": f"So \u00e4: {QUESTION} They are 30 rolls. " + "And so on. " * 40},
    ]
    (find,) = natural_contamination.list_flagged(tagger, rows, {ITEM.id: ITEM})
    assert (find["document"], find["item"], find["benchmark"], find["source"]) == ("d2", "quiz/test/1", "quiz", "web")
    question, answer = find["found"]  # each with the text behind it
    assert question.startswith("If a quick baker") and "30 rolls" in question and answer.startswith("30 rolls")
    natural_contamination.print_table([find, find])
    assert re.search(r"quiz +web +2\n", capsys.readouterr().out)
