import json
import random

import pyarrow as pa
import pytest

from dolma_py.config import build_config
from dolma_py.errors import ConfigError, DataError
from mixers.tokenization import BpeConfig, train_bpe
from taggers.base import describe_tagger, tag_checked
from taggers.contamination import PRESETS, ContaminationTaggerConfig, fingerprint_items, read_items
from taggers.ngram_match import Item
from taggers.registry import build_tagger

NAMES = ["Amira", "Boris", "Chen", "Dalia", "Edgar", "Fatima", "Goran", "Hanna", "Ivo", "Jelena"]
THINGS = ["apples", "bricks", "candles", "drums", "envelopes", "feathers", "guitars", "hammers", "icons", "jars"]
PLACES = ["harbour", "village", "market", "station", "library", "bakery", "orchard", "museum", "workshop", "chapel"]


def make_item(number):
    rng = random.Random(number)
    name, other = rng.sample(NAMES, 2)
    thing, place, second = rng.choice(THINGS), rng.choice(PLACES), rng.choice(PLACES)
    counts = [rng.randrange(11, 99) for _ in range(4)]
    question = (
        f"On a windy morning {name} carries {counts[0]} {thing} from the {place} to the old {second}, where {other} already "
        f"waits with {counts[1]} more of them. During the long afternoon they sell {counts[2]} {thing} to travellers passing "
        f"by, and a neighbour brings another {counts[3]} boxes. How many {thing} do {name} and {other} own by the evening?"
    )
    return {"id": f"item-{number}", "question": question, "answer": str(sum(counts))}


ITEMS = [make_item(number) for number in range(40)]
FILLER = [f"The committee met for the {n}th time and discussed topic {n * 7} at length." for n in range(400)]


def write_items(path, items):
    path.write_text("\n".join(json.dumps(item) for item in items) + "\n\n")
    return str(path)


@pytest.fixture
def items_path(tmp_path):
    return write_items(tmp_path / "items.jsonl", ITEMS)


def tag(path, texts, **options):
    batch = pa.record_batch({"text": pa.array(texts, pa.large_string())})
    return tag_checked(build_tagger("contamination", {"items_paths": [path], **options}), batch).to_pylist()


def plant(text, seed):
    rng = random.Random(seed)
    before, after = (" ".join(rng.choices(FILLER, k=rng.randrange(1, 9))) for _ in range(2))
    return f"\u00c4lter: {before} {text} {after}"


def edit_words(text, share, seed):
    """Exactly this share of the words, chosen at random, replaced."""
    rng = random.Random(seed)
    words = text.split(" ")
    for place in rng.sample(range(len(words)), round(share * len(words))):
        words[place] = f"changed{place}"
    return " ".join(words)


@pytest.mark.parametrize("options", [{}, {"mode": "decon"}, {"mode": "ngrams", "ngram_tokens": 8}])
def test_verbatim_items_are_found_with_their_names_and_places(items_path, options):
    texts = [plant(f"{item['question']}\nAnswer: {item['answer']}", number) for number, item in enumerate(ITEMS)]
    rows = tag(items_path, texts, **options)
    assert all(row["contaminated"] for row in rows)
    assert [row["item"] for row in rows] == [item["id"] for item in ITEMS]
    for row, text, item in zip(rows, texts, ITEMS, strict=True):
        parts = [text.encode()[span["start"] : span["end"]].decode() for span in row["spans"]]
        assert item["question"].rstrip("?") in parts


def test_items_with_a_tenth_of_their_words_edited_are_found(items_path):
    texts = [
        plant(f"{edit_words(item['question'], 0.1, number)} Answer: {item['answer']}", number)
        for number, item in enumerate(ITEMS)
    ]
    rows = tag(items_path, texts)
    assert all(row["contaminated"] for row in rows)
    assert [row["item"] for row in rows] == [item["id"] for item in ITEMS]


def test_clean_text_is_not_flagged(items_path):
    texts = [" ".join(FILLER[start : start + 40]) for start in range(0, 400, 40)]
    assert not any(row["contaminated"] for row in tag(items_path, texts))
    assert not any(row["contaminated"] for row in tag(items_path, texts, mode="ngrams", ngram_tokens=8))


def test_other_items_of_the_same_form_are_not_flagged(items_path):
    others = [make_item(number) for number in range(1000, 1040)]
    rows = tag(items_path, [plant(f"{item['question']} {item['answer']}", 1) for item in others])
    assert sum(row["contaminated"] for row in rows) == 0


@pytest.mark.parametrize("answer", ["231", "230 + 1 is what we get"])
def test_a_question_without_its_answer(tmp_path, answer):
    """By decon's weights it is worth .75 and does not contaminate; a long one contaminates from .65 of it on, with .8 + .2 of its worth."""
    path = write_items(tmp_path / "items.jsonl", [{**ITEMS[3], "answer": answer}])
    text = plant(ITEMS[3]["question"], 3)
    (decon,) = tag(path, [text], preset="decon")
    assert (decon["score"], decon["contaminated"]) == (0.75, False)
    assert (decon["question_overlap"], decon["answer_overlap"]) == (1.0, 0.0)
    (ours,) = tag(path, [text])
    assert (round(ours["score"], 6), ours["contaminated"]) == (0.95, True)
    (edited,) = tag(path, [plant(edit_words(ITEMS[3]["question"], 0.2, 3), 3)])
    assert edited["contaminated"] is True and 0.65 < edited["question_overlap"] < 0.9
    (never,) = tag(path, [text], question_alone=None)
    assert (round(never["score"], 6), never["contaminated"]) == (0.75, False)


def test_few_words_and_single_characters_are_no_question_of_their_own(tmp_path):
    """Six distinct words of two letters never count alone, seven do when all are there; variables and digits are no words."""
    questions = {
        "six": "Which of the following is true of which of the following?",
        "seven": "Which of these following statements seems true of which of these following statements?",
        "letters": "If x - y = 1 and x + y = 7, find x y - 3 x + 2 y + 5 + x - y + 1.",
    }
    lines = [{"id": name, "question": text, "answer": "a long answer elsewhere"} for name, text in questions.items()]
    path = write_items(tmp_path / "items.jsonl", lines)
    rows = tag(path, [plant(text, 4) for text in questions.values()])
    assert [(row["item"], row["contaminated"]) for row in rows] == [("six", False), ("seven", True), ("letters", False)]
    assert [row["question_overlap"] for row in rows] == [1.0, 1.0, 1.0]


def test_words_in_another_order_do_not_count(tmp_path):
    path = write_items(tmp_path / "items.jsonl", ITEMS[:1])
    sentences = ITEMS[0]["question"].split(". ")
    (row,) = tag(path, [plant(". ".join(reversed(sentences)), 1)])
    assert row["item"] == "item-0" and row["question_overlap"] < 0.6 and not row["contaminated"]


def test_a_place_that_fails_hides_no_other(items_path):
    """Pieces of a question, then all of it; and a question that stands twice has two places."""
    question = ITEMS[6]["question"]
    words = question.split(" ")
    pieces = f"{' '.join(words[:6])} and so on {' '.join(words[20:26])}"
    for gap in (0, 3, 40):
        text = f"{pieces} {' '.join(['filler'] * gap)} {question} \n{' '.join(['filler'] * gap)} {question}"
        (row,) = tag(items_path, [text])
        assert row["contaminated"] and row["question_overlap"] == 1.0
        found = [text.encode()[span["start"] : span["end"]].decode() for span in row["spans"]]
        assert sum(part.count(question.rstrip("?")) for part in found) == 2


def test_a_beginning_hides_no_question_behind_it(tmp_path):
    """The first words of a question and then the whole, with words put into it: the first alignment may end too early to be one."""
    words = [f"word{number}" for number in range(16)]
    path = write_items(tmp_path / "items.jsonl", [{"id": "a", "question": " ".join(words), "answer": "elsewhere"}])
    for gap in range(8):
        for inserted in range(8):
            text = [*words[:4], *["gap"] * gap, *words[:4], *["between"] * inserted, *words[4:]]
            (row,) = tag(path, [" ".join(["x", *text])])
            assert row["contaminated"], (gap, inserted, row["question_overlap"])


@pytest.mark.parametrize("between", range(4))
def test_a_short_question_that_stands_twice_is_marked_twice(tmp_path, between):
    question = "which small town hosts the famous cheese race"
    path = write_items(
        tmp_path / "items.jsonl",
        [{"id": "a", "question": question, "answer": "a long answer in seven words elsewhere"}],
    )
    text = f"{question} {'so ' * between}{question}"
    (row,) = tag(path, [text])
    assert row["spans"][0]["start"] == 0 and row["spans"][-1]["end"] == len(text)


def test_items_of_one_phrase_cost_no_document_dearly(tmp_path):
    """Thousands of items share their 3-grams: those start nothing, and what they have of their own is found."""
    lines = [
        {
            "id": str(n),
            "question": f"Which of the following is w{n}?",
            "answer": f"an answer of many words, which has the number {n} and no other",
        }
        for n in range(3000)
    ]
    path = write_items(tmp_path / "items.jsonl", lines)
    tagger = build_tagger("contamination", {"items_paths": [path]})
    arrays = tagger.index.arrays
    assert int((arrays.posting_offsets[1:] - arrays.posting_offsets[:-1]).max()) <= 256
    (row,) = tag(path, [f"which of the following is true {lines[70]['question']} {lines[70]['answer']}"])
    assert (row["item"], row["contaminated"]) == ("70", True)


def test_a_long_answer_is_aligned(tmp_path):
    """An edited word of an answer costs itself, and words of it in another order do not count."""
    answer = "first they count every lantern on the pier then they add the seven that were lost and halve the whole"
    path = write_items(tmp_path / "items.jsonl", [{**ITEMS[2], "answer": answer}])
    texts = [answer, answer.replace("lantern", "lamp"), " ".join(reversed(answer.split(" "))), "no such thing"]
    overlaps = [
        row["answer_overlap"] for row in tag(path, [plant(f"{ITEMS[2]['question']} {text}", 2) for text in texts])
    ]
    assert overlaps[0] == 1.0 and 0.9 < overlaps[1] < 1.0 and overlaps[2] < 0.31 and overlaps[3] < 0.31


def test_a_worked_answer_that_repeats_the_question_is_found(tmp_path):
    question = ITEMS[5]["question"]
    answer = " ".join(question.split(" ")[3:18]) + ", so that 12 + 30 = 42 and twice 42 are 84 in all, whence 84 boxes."
    path = write_items(tmp_path / "items.jsonl", [{**ITEMS[5], "answer": answer}])
    (row,) = tag(path, [plant(f"{question} {answer}", 1)], preset="decon", stride_tokens=1)
    assert (row["answer_overlap"], row["score"]) == (1.0, 1.0)


def test_a_final_answer_worked_out_by_another_counts(tmp_path):
    """The answer of GSM8K is a worked solution; documents have the question with another one, or with the number alone."""
    item = {
        **ITEMS[5],
        "answer": f"First we count all that they carried, then what they sold, and add.\n#### {ITEMS[5]['answer']}",
    }
    path = write_items(tmp_path / "items.jsonl", [item])
    question = edit_words(item["question"], 0.1, 5)
    texts = [plant(f"{question} Adding up, we get {number}.", 1) for number in (ITEMS[5]["answer"], "7")]
    found = tag(path, texts, question_alone=None)
    assert [(row["contaminated"], row["answer_overlap"] == 1.0) for row in found] == [(True, True), (False, False)]
    assert not any(row["contaminated"] for row in tag(path, texts, question_alone=None, final_mark=None))


def test_a_passage_before_the_question_counts(tmp_path):
    passage = " ".join(FILLER[7:12])
    item = {
        "id": "p",
        "question": "Who met for the topic, and at what length?",
        "passage": passage,
        "benchmark": "reading",
    }
    path = write_items(tmp_path / "items.jsonl", [item])
    text = f"Here is a text. {passage} {item['question']}"
    (row,) = tag(path, [text])
    assert (row["contaminated"], row["benchmark"], row["passage_overlap"]) == (True, "reading", 1.0)
    spans = [text[span["start"] : span["end"]] for span in row["spans"]]
    assert spans == [passage.rstrip("."), item["question"].rstrip("?")]
    assert row["span_items"] == ["p", "p"]
    (alone,) = tag(path, [f"Here is a text. {item['question']}"], question_alone=None)
    assert alone["contaminated"] is False


@pytest.mark.parametrize(
    ("preset", "threshold", "window", "passages"),
    [("decon", 0.8, 100, True), ("olmo3-synth", 0.78, 50, True), ("olmo3-web", 0.88, 20, False)],
)
def test_presets_are_decons_configurations(items_path, preset, threshold, window, passages):
    config = build_tagger("contamination", {"items_paths": [items_path], "preset": preset}).config
    assert (config.threshold, config.long_answer_window_tokens, config.use_passages) == (threshold, window, passages)
    assert (config.mode, config.ngram_tokens, config.final_mark, config.min_item_tokens) == ("decon", 5, None, 20)
    given = build_tagger("contamination", {"items_paths": [items_path], "preset": preset, "threshold": 0.9}).config
    assert given.threshold == 0.9


@pytest.mark.parametrize(
    "preset", ["decon", "olmo3-synth", "olmo3-web", "olmo3-posttrain", "gpt3-13-grams", "every-8-grams"]
)
def test_every_preset_finds_verbatim_items(items_path, preset):
    texts = [plant(f"{item['question']} {item['answer']}", number) for number, item in enumerate(ITEMS)]
    rows = tag(items_path, texts, preset=preset)
    assert [row["contaminated"] for row in rows] == [True] * len(ITEMS)
    spelled = describe_tagger(build_tagger("contamination", {"items_paths": [items_path], "preset": preset}))
    plain = describe_tagger(build_tagger("contamination", {"items_paths": [items_path], **PRESETS[preset]}))
    assert spelled == plain


def test_only_the_costly_rule_warns(items_path):
    warned = {
        preset: build_tagger("contamination", {"items_paths": [items_path], "preset": preset}).warnings
        for preset in PRESETS
    }
    assert [preset for preset, texts in warned.items() if texts] == ["every-8-grams"]
    assert "every run of 8 words" in warned["every-8-grams"][0]


def test_ngrams_of_single_characters_and_common_phrases_are_ignored(tmp_path):
    sums = {
        "id": "sums",
        "question": "1 + 2 + 3 + 4 + 5 + 6 + 7 + 8 + 9 + 1 then find what the whole of it comes to",
        "benchmark": "m",
    }
    phrase = "Read the text below with care and answer the question"
    story = {
        "id": "story",
        "question": f"{phrase} why the old baker left his village before dawn in winter",
        "benchmark": "s",
    }
    path = write_items(tmp_path / "items.jsonl", [sums, story])
    texts = ["1 2 3 4 5 6 7 8 9 1", phrase, sums["question"], story["question"]]
    met = [row["item"] for row in tag(path, texts, preset="olmo3-posttrain", min_overlap=0.0)]
    assert met == [None, "story", "sums", "story"]
    rows = tag(path, texts, preset="olmo3-posttrain", common_phrases={"s": [phrase]})
    assert [row["item"] for row in rows] == [None, None, "sums", "story"]
    assert [row["contaminated"] for row in rows] == [False, False, True, True]
    other = tag(path, texts, preset="olmo3-posttrain", common_phrases={"m": [phrase]})
    assert other[1]["item"] == "story"


def test_spans_are_those_of_items_that_reach_the_least_overlap(items_path):
    third = " ".join(ITEMS[0]["question"].split(" ")[:20])
    whole = ITEMS[1]["question"]
    (row,) = tag(
        items_path, [f"{third}. {' '.join(FILLER[:3])} {whole}"], mode="ngrams", ngram_tokens=8, min_overlap=0.5
    )
    assert set(row["span_items"]) == {"item-1"}
    assert all(span["score"] == 1.0 for span in row["spans"])


def test_pieces_of_a_vocabulary(items_path, tmp_path):
    vocabulary = tmp_path / "tokenizer.json"
    vocabulary.write_bytes(train_bpe([item["question"] for item in ITEMS], BpeConfig(vocab_size=400)))
    options = {"tokenizer": str(vocabulary), "preset": "decon"}
    texts = [plant(f"{item['question'].upper()} {item['answer']}", number) for number, item in enumerate(ITEMS)]
    rows = tag(items_path, [*texts, *FILLER[:5]], **options)
    assert [row["item"] for row in rows[:40]] == [item["id"] for item in ITEMS]
    assert [row["contaminated"] for row in rows] == [True] * 40 + [False] * 5
    for row, text, item in zip(rows, texts, ITEMS, strict=False):
        parts = [text.encode()[span["start"] : span["end"]].decode() for span in row["spans"]]
        assert any(item["question"].upper().rstrip("?") in part for part in parts)
    tagger = build_tagger("contamination", {"items_paths": [items_path], **options})
    with pytest.raises(ConfigError, match="tokenizer_fingerprint"):
        build_tagger("contamination", {"items_paths": [items_path], **options, "tokenizer_fingerprint": "00"})
    assert describe_tagger(tagger)["options"]["tokenizer_fingerprint"]


def test_rows_do_not_depend_on_the_batch(items_path):
    texts = [plant(edit_words(item["question"], 0.05, 1) + " " + item["answer"], 2) for item in ITEMS[:7]] + ["", "x"]
    assert tag(items_path, texts) == [tag(items_path, [text])[0] for text in texts]
    assert tag(items_path, []) == []


def test_min_overlap_of_the_plain_rule(items_path):
    half = " ".join(ITEMS[0]["question"].split(" ")[:30])
    for least, expected in ((0.0, True), (0.9, False)):
        (row,) = tag(items_path, [half], mode="ngrams", ngram_tokens=8, min_overlap=least)
        assert row["contaminated"] is expected


def test_items_are_part_of_the_identity_and_paths_are_not(items_path, tmp_path):
    first = describe_tagger(build_tagger("contamination", {"items_paths": [items_path]}))
    copy = describe_tagger(
        build_tagger("contamination", {"items_paths": [write_items(tmp_path / "copy.jsonl", ITEMS)]})
    )
    fewer = describe_tagger(
        build_tagger("contamination", {"items_paths": [write_items(tmp_path / "fewer.jsonl", ITEMS[1:])]})
    )
    assert first == copy != fewer
    with pytest.raises(ConfigError) as error:
        build_tagger("contamination", {"items_paths": [items_path], "items_fingerprint": "00"})
    assert error.value.key == "contamination.items_fingerprint"


def test_short_questions_are_left_out_and_named(tmp_path):
    path = write_items(tmp_path / "items.jsonl", [*ITEMS, {"id": "short", "question": "How many?", "answer": "3"}])
    tagger = build_tagger("contamination", {"items_paths": [path]})
    assert tagger.index.skipped_ids == ("short",)
    assert len(tagger.index.ids) == 40


def test_items_carry_passage_benchmark_and_file(tmp_path):
    path = write_items(
        tmp_path / "items.jsonl", [{"id": "a", "question": "q", "passage": "p", "benchmark": "b"}, ITEMS[0]]
    )
    first, second = read_items((path,))
    assert first == Item("a", "q", None, "p", "b", path)
    assert second == Item("item-0", ITEMS[0]["question"], ITEMS[0]["answer"], None, "", path)
    # neither the file nor an absent passage is part of the items; each part that is looked for is
    other = first._replace(source="elsewhere")
    assert fingerprint_items([first]) == fingerprint_items([other])
    changed = [first._replace(**{part: "x"}) for part in ("id", "question", "answer", "passage", "benchmark")]
    assert len({fingerprint_items([item]) for item in [first, *changed]}) == 6


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[1]",
        '{"id": "x"}',
        '{"id": 3, "question": "q"}',
        '{"id": "x", "question": "q", "answer": 4}',
        '{"id": "x", "question": "q", "passage": []}',
        '{"id": "x", "question": "q", "benchmark": 0}',
    ],
)
def test_bad_item_lines_name_file_and_line(tmp_path, line):
    path = tmp_path / "items.jsonl"
    path.write_text(json.dumps(ITEMS[0]) + "\n\n" + line + "\n")
    with pytest.raises(DataError) as error:
        read_items((str(path),))
    assert (error.value.path, error.value.row) == (str(path), 3)


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "decon", "decay_start_tokens": 50},
        {"alone_start_tokens": 20},
        {"question_alone": 0.95},
        {"stride_tokens": 1},
        {"preset": "decon", "question_alone": 0.5},
        {"preset": "decon", "question_alone": 0.65},
        {"preset": "gpt3-13-grams", "stride_tokens": 10},
        {"min_overlap": 0.5},
        {"mode": "items"},
        {"mode": "decon", "answer_ngram_tokens": 5},
        {"threshold": 0},
        {"items_paths": []},
        {"stride": 3},
        {"preset": "decom"},
        {"preset": 3},
        {"tokenizer": "nowhere.json"},
    ],
)
def test_impossible_options_are_refused(items_path, options):
    with pytest.raises(ConfigError):
        build_tagger("contamination", {"items_paths": [items_path], **options})


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"min_overlap": 0.5}, "contamination.min_overlap: only mode ngrams reads it, and the mode is aligned, got 0.5. "
         "Leave it out, or set mode: ngrams."),
        ({"preset": "gpt3-13-grams", "stride_tokens": 4}, "contamination.stride_tokens: only mode decon reads it, and the mode is ngrams, "
         "got 4. Leave it out, or set mode: decon."),
        ({"mode": "decon", "decay_end_tokens": 3}, "contamination.decay_end_tokens: expected above decay_start_tokens, which is 20, got 3."),
    ],
)  # fmt: skip
def test_an_option_that_does_not_fit_the_others_is_named_alone(options, said):
    with pytest.raises(ConfigError) as caught:
        build_config(ContaminationTaggerConfig, {"items_paths": ["x"], **options}, prefix="contamination")
    assert str(caught.value) == said
