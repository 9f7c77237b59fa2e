import contextlib
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import orjson
import pytest

from dolma_py.errors import ConfigError, DataError, DolmaError
from taggers import calibration_chart
from taggers import train_labels as module
from taggers.fasttext_model import load_model, normalize_text, predict_best
from taggers.labelled_texts import ExampleSource, is_held_out
from taggers.train_classifier import FastTextOptions
from taggers.train_labels import (
    TrainLabelsConfig,
    find_card,
    measure_model,
    predict_probabilities,
    quantized_path,
    train_labels,
)

REPOSITORY = Path(__file__).resolve().parents[3]
WORDS = {"art": "paint", "law": "court", "tech": "wire"}


def make_rows(count=120, seed=7):
    generator = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        label = sorted(WORDS)[number % 3]
        words = [f"{WORDS[label]}{i}" for i in generator.integers(0, 40, 12)] + [
            f"w{i}" for i in generator.integers(0, 90, 12)
        ]
        rows.append({"text": f"{number} " + " ".join(words) + "\nend", "label": label})
    return rows


def write_lines(path, rows):
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return str(path)


def settings(path, **options):
    fast = {"dim": 16, "epochs": 15, "learning_rate": 0.5, "held_out_frac": 0.25, **options.pop("classifier", {})}
    return TrainLabelsConfig(
        examples=[ExampleSource(name="rows", inputs=[str(path)], label_field="label")],
        classifier=FastTextOptions(**fast),
        **options,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels")
    data = write_lines(folder / "rows.jsonl", make_rows())
    output = str(folder / "model.bin")
    card, is_new = train_labels(settings(data, target_precision=0.8), output_path=output, seed=5)
    assert is_new
    return folder, data, output, card


def test_three_labels_are_learnt_and_the_card_says_how_well(trained):
    _, _, output, card = trained
    assert card["labels"] == ["art", "law", "tech"]
    assert card["held_out"]["accuracy"] > 0.7
    assert card["held_out"]["texts"] == sum(part["held_out"] for part in card["data"]["labels"].values())
    assert sum(sum(part.values()) for part in card["data"]["labels"].values()) == 120
    assert card["held_out"]["labels"]["art"]["threshold"]["target"] == 0.8
    assert card["library"].startswith("fasttext") and card["normalisation"].startswith("1:")
    assert find_card(output) == card and json.loads(Path(output + ".card.json").read_text()) == card


def test_held_out_texts_are_those_of_the_hash_and_their_figures_are_counted_by_hand(trained):
    _, data, output, card = trained
    rows = [orjson.loads(line) for line in Path(data).read_bytes().splitlines()]
    apart = is_held_out([row["text"] for row in rows], seed=5, held_out_frac=0.25)
    held_out = [row for row, is_apart in zip(rows, apart, strict=True) if is_apart]
    best, _ = predict_best(load_model(output), [row["text"] for row in held_out])
    right = [one == row["label"] for one, row in zip(best, held_out, strict=True)]
    assert card["held_out"]["accuracy"] == sum(right) / len(right)
    called = [row["label"] for one, row in zip(best, held_out, strict=True) if one == "law"]
    assert card["held_out"]["labels"]["law"]["precision"] == called.count("law") / len(called)


def test_the_picture_is_a_whole_file(trained):
    root = ET.parse(trained[2] + ".calibration.svg").getroot()
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "probability that the model gives" in Path(trained[2] + ".calibration.svg").read_text()


def test_the_order_of_the_records_changes_no_byte(trained, tmp_path):
    turned = write_lines(tmp_path / "rows.jsonl", make_rows()[::-1])
    train_labels(settings(turned, target_precision=0.8), output_path=str(tmp_path / "m.bin"), seed=5)
    assert (tmp_path / "m.bin").read_bytes() == Path(trained[2]).read_bytes()


def test_the_same_again_is_not_trained_and_another_is_refused(trained, monkeypatch):
    _, data, output, card = trained
    before = Path(output).read_bytes()
    monkeypatch.setattr(module, "train_model", lambda *_: pytest.fail("trained again"))
    assert train_labels(settings(data, target_precision=0.8), output_path=output, seed=5) == (card, False)
    with pytest.raises(ConfigError, match="another model stands there"):
        train_labels(settings(data, target_precision=0.8), output_path=output, seed=6)
    assert Path(output).read_bytes() == before


def test_a_model_of_somebody_else_is_not_written_over(trained, tmp_path):
    (tmp_path / "m.bin").write_bytes(b"precious")
    with pytest.raises(ConfigError, match="--replace"):
        train_labels(settings(trained[1]), output_path=str(tmp_path / "m.bin"), seed=5)
    assert (tmp_path / "m.bin").read_bytes() == b"precious"
    _, is_new = train_labels(settings(trained[1]), output_path=str(tmp_path / "m.bin"), seed=5, replace=True)
    assert is_new and find_card(str(tmp_path / "m.bin"))


_TRAIN = """
import sys
sys.path[:0] = [{repository!r}, {here!r}]
import test_taggers_train_labels as t
from pathlib import Path
t.train_labels(t.settings(sys.argv[1], classifier={classifier!r}, quantize={quantize!r}), output_path=sys.argv[2], seed=3)
"""


def run_training(data, output, environment=None, **options):
    script = _TRAIN.format(
        repository=str(REPOSITORY), here=str(Path(__file__).parent),
        classifier=options.get("classifier", {}), quantize=options.get("quantize", False),
    )  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-c", script, str(data), str(output)], env={**os.environ, **(environment or {})}
    )


@pytest.mark.parametrize(
    "classifier",
    [
        {"word_ngrams": 2, "num_buckets": 20000},
        {"char_ngrams_min": 2, "char_ngrams_max": 4, "num_buckets": 20000},
        {"word_ngrams": 3, "char_ngrams_min": 3, "char_ngrams_max": 3, "num_buckets": 18000, "min_count": 3},
    ],
)
def test_ngrams_repeat_in_other_processes_with_other_memory(trained, tmp_path, classifier):
    for name, perturb in (("first.bin", "0"), ("second.bin", "165")):
        assert (
            run_training(trained[1], tmp_path / name, {"MALLOC_PERTURB_": perturb}, classifier=classifier).wait() == 0
        )
    first, second = ((tmp_path / name).read_bytes() for name in ("first.bin", "second.bin"))
    assert first == second
    assert find_card(str(tmp_path / "first.bin"))["held_out"]["accuracy"] > 0.7


def test_a_quantised_model_repeats_is_smaller_and_has_figures_of_its_own(tmp_path):
    data = write_lines(tmp_path / "rows.jsonl", make_rows(count=600))
    classifier = {"word_ngrams": 2, "num_buckets": 20000}
    for name in ("first.bin", "second.bin"):
        assert run_training(data, tmp_path / name, classifier=classifier, quantize=True).wait() == 0
    assert (tmp_path / "first.ftz").read_bytes() == (tmp_path / "second.ftz").read_bytes()
    card, small = find_card(str(tmp_path / "first.bin")), find_card(quantized_path(str(tmp_path / "first.bin")))
    assert small["model_bytes"] < card["model_bytes"] / 2
    assert card["quantized"]["held_out"] == small["held_out"]
    assert small["held_out"]["accuracy"] > 0.7 and small["held_out"]["texts"] == card["held_out"]["texts"]


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name.startswith("m.")}


class Killed(BaseException):
    """Nothing catches it, as nothing catches a kill."""


def die_after(monkeypatch, count):
    """The (count + 1)-th file that would be written, copied or taken away is not, and nothing after it."""
    done = []

    def patch(name):
        real = getattr(module, name)

        def act(*args):
            if len(done) == count:
                raise Killed
            done.append(name)
            return real(*args)

        monkeypatch.setattr(module, name, act)

    for name in ("write_bytes", "copy_file", "remove_file"):
        patch(name)
    return done


QUICK = {"dim": 4, "epochs": 2}


@pytest.fixture
def _quick_picture(monkeypatch):
    """The picture's file without its drawing, which is most of a small training's time."""
    monkeypatch.setattr(calibration_chart, "draw_calibration", lambda figures: f"picture of {figures['accuracy']}")


@pytest.fixture(scope="module")
def wholes(tmp_path_factory):
    """The data, and what trainings of either seed leave behind, quantised and not."""
    data = write_lines(tmp_path_factory.mktemp("rows") / "rows.jsonl", make_rows(count=300))
    found = {}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(calibration_chart, "draw_calibration", lambda figures: f"picture of {figures['accuracy']}")
        for seed in (3, 4):
            for quantize in (True, False):
                folder = tmp_path_factory.mktemp("whole")
                config = settings(data, classifier=QUICK, quantize=quantize)
                train_labels(config, output_path=str(folder / "m.bin"), seed=seed)
                found[seed, quantize] = files_of(folder)
    return data, found


@pytest.mark.usefixtures("_quick_picture")
@pytest.mark.parametrize(
    ("stands", "quantize"), [
        (None, True), (True, True), pytest.param(True, False, marks=pytest.mark.slow), pytest.param(False, True, marks=pytest.mark.slow),
    ],
    ids=["quantised over nothing", "over a quantised one", "unquantised over a quantised one", "over an unquantised one"],
)  # fmt: skip
def test_a_training_killed_at_any_file_leaves_no_model_of_two_trainings(
    wholes, tmp_path, monkeypatch, stands, quantize
):
    """Before each of its files; the model of another seed stood there. The same command again, without --replace, mends it."""
    data, whole = wholes
    config = settings(data, classifier=QUICK, quantize=quantize)
    arguments = {"output_path": str(tmp_path / "m.bin"), "seed": 3}
    finished = False
    for count in range(30):
        for name in files_of(tmp_path):
            (tmp_path / name).unlink()
        for name, content in whole.get((4, stands), {}).items():
            (tmp_path / name).write_bytes(content)
        with monkeypatch.context() as patched, contextlib.suppress(Killed):
            die_after(patched, count)
            train_labels(config, **arguments, replace=stands is not None)
            finished = True
        left = files_of(tmp_path)
        if finished:
            break
        # the .bin that stood goes first, the new one comes last
        assert ("m.bin" in left) == (count == 0 and stands is not None)
        train_labels(config, **arguments, replace="m.bin" in left)
        assert files_of(tmp_path) == whole[3, quantize]
    assert finished and count >= 7
    assert left == whole[3, quantize]


@pytest.mark.usefixtures("_quick_picture")
def test_a_quantised_model_of_another_training_is_not_taken_for_this_ones(wholes, tmp_path):
    data, whole = wholes
    for name, content in whole[3, True].items():
        (tmp_path / name).write_bytes(content)
    for name in ("m.ftz", "m.ftz.card.json"):
        (tmp_path / name).write_bytes(whole[4, True][name])
    config = settings(data, classifier=QUICK, quantize=True)
    with pytest.raises(ConfigError, match="another model stands there"):
        train_labels(config, output_path=str(tmp_path / "m.bin"), seed=3)
    _, is_new = train_labels(config, output_path=str(tmp_path / "m.bin"), seed=3, replace=True)
    assert is_new and files_of(tmp_path) == whole[3, True]


@pytest.mark.usefixtures("_quick_picture")
def test_a_quantised_model_of_somebody_else_is_left_alone(wholes, tmp_path):
    (tmp_path / "m.ftz").write_bytes(b"precious")
    config = settings(wholes[0], classifier=QUICK, quantize=True)
    with pytest.raises(ConfigError, match="--replace"):
        train_labels(config, output_path=str(tmp_path / "m.bin"), seed=3)
    config = config.model_copy(update={"quantize": False})
    train_labels(config, output_path=str(tmp_path / "m.bin"), seed=3, replace=True)
    assert (tmp_path / "m.ftz").read_bytes() == b"precious"


def test_another_target_gives_new_figures_and_no_new_model(trained, tmp_path, monkeypatch):
    output = str(tmp_path / "m.bin")
    arguments = {"output_path": output, "seed": 3}
    train_labels(settings(trained[1], classifier=QUICK), **arguments)
    model = Path(output).read_bytes()
    monkeypatch.setattr(module, "train_model", lambda *_: pytest.fail("trained again"))
    config = settings(trained[1], classifier=QUICK, target_precision=0.5, positive_label="law")
    card, is_new = train_labels(config, **arguments)
    assert not is_new and Path(output).read_bytes() == model
    assert card["held_out"]["labels"]["art"]["threshold"]["target"] == 0.5 and card["config"]["positive_label"] == "law"
    assert find_card(output) == card


def test_a_model_of_another_library_is_another_model(trained, tmp_path, monkeypatch):
    config = settings(trained[1], classifier=QUICK)
    train_labels(config, output_path=str(tmp_path / "m.bin"), seed=3)
    monkeypatch.setattr(module, "name_library", lambda: "fasttext 99")
    with pytest.raises(ConfigError, match="another model stands there"):
        train_labels(config, output_path=str(tmp_path / "m.bin"), seed=3)


def test_texts_under_two_labels_are_counted(tmp_path):
    rows = [*make_rows(), {"text": "the same\nwords", "label": "art"}, {"text": "the  same words", "label": "law"}]
    data = write_lines(tmp_path / "rows.jsonl", rows)
    card, _ = train_labels(settings(data, classifier=QUICK), output_path=str(tmp_path / "m.bin"), seed=1)
    assert card["data"]["texts_under_two_labels"] == 1


def test_a_card_without_its_model_is_no_model(trained, tmp_path):
    (tmp_path / "m.bin.card.json").write_bytes(Path(trained[2] + ".card.json").read_bytes())
    assert find_card(str(tmp_path / "m.bin")) is None
    (tmp_path / "m.bin").write_bytes(b"half a model")
    assert find_card(str(tmp_path / "m.bin")) is None


@pytest.mark.parametrize("classifier", [{}, {"char_ngrams_min": 2, "char_ngrams_max": 3, "num_buckets": 20000}])
def test_probabilities_and_counts_are_the_librarys_in_the_order_that_is_asked(
    trained, tmp_path, monkeypatch, classifier
):
    monkeypatch.setattr(module, "_BATCH_TEXTS", 7)
    path = str(tmp_path / "m.bin")
    card, _ = train_labels(settings(trained[1], classifier=classifier), output_path=path, seed=5)
    model = load_model(path)
    texts = [row["text"] for row in make_rows(seed=8)] + ["", " \n", "\U0001f600 " * 400]
    found = predict_probabilities(model, texts, ["tech", "art"])
    assert "model" not in vars(model)  # nothing asked the library
    names, values = model.model.predict([normalize_text(text) for text in texts], k=3)
    for row, (of_text, probabilities) in enumerate(zip(names, values, strict=True)):
        expected = dict(zip(of_text, probabilities, strict=True))
        wanted = [min(expected[f"__label__{label}"], 1) for label in ("tech", "art")]
        assert found[row].tolist() == pytest.approx(wanted, abs=1e-5)
    assert found.shape == (123, 2) and card["num_words"] == len(model.model.get_words())
    with pytest.raises(ConfigError, match="no such label"):
        predict_probabilities(model, texts, ["music"])


def test_a_text_that_the_model_knows_nothing_of_has_no_probability(tmp_path):
    """Not even its end, which stands but once in a text."""
    rows = [{"text": f"{number} " + f"{WORDS[label]} " * 5, "label": label} for label in WORDS for number in range(40)]
    config = settings(write_lines(tmp_path / "rows.jsonl", rows), classifier={"min_count": 121})
    train_labels(config, output_path=str(tmp_path / "m.bin"), seed=5)
    model = load_model(str(tmp_path / "m.bin"))
    assert [len(names) for names in model.model.predict(["wires", "wire"], k=3)[0]] == [0, 3]
    found = predict_probabilities(model, ["wires", "wire"], ["tech", "art"])
    assert np.isnan(found[0]).all() and found[1, 0] > 0.9 > found[1, 1]


def test_an_existing_model_is_measured_on_other_texts(trained, tmp_path):
    data = write_lines(tmp_path / "other.jsonl", make_rows(count=90, seed=9))
    source = ExampleSource(name="other", inputs=[data], label_field="label")
    found = measure_model(trained[2], [source], seed=1)
    assert found["figures"]["texts"] == 90 and found["figures"]["accuracy"] > 0.7
    assert found["model"]["fingerprint"] == trained[3]["model_fingerprint"]
    assert found["trained_on_frac"] == 0.0
    own = ExampleSource(name="own", inputs=[trained[1]], label_field="label")
    assert measure_model(trained[2], [own], seed=9)["trained_on_frac"] == 1.0
    strange = source.model_copy(update={"labels": {"art": "art", "law": "justice"}})
    with pytest.raises(ConfigError, match="expected labels of the model"):
        measure_model(trained[2], [strange], seed=1)


def test_labels_are_balanced_and_scores_are_measured(tmp_path):
    rows = [{"text": row["text"], "label": number % 4 * 2 // 3} for number, row in enumerate(make_rows(count=200))]
    data = write_lines(tmp_path / "rows.jsonl", rows)
    card, _ = train_labels(settings(data, balance=True, score_cut=2), output_path=str(tmp_path / "m.bin"), seed=1)
    assert {sum(part.values()) for part in card["data"]["labels"].values()} == {50}
    assert card["scores"]["cut"] == 2 and card["labels"] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("options", "rows", "words"),
    [
        ({"positive_label": "nothing"}, make_rows(), "expected one of the labels"),
        ({"score_cut": 1}, make_rows(), "whole numbers"),
    ],
)
def test_settings_that_the_labels_contradict(tmp_path, options, rows, words):
    with pytest.raises(ConfigError, match=words):
        train_labels(settings(write_lines(tmp_path / "r.jsonl", rows), **options), output_path=str(tmp_path / "m.bin"))


def test_one_label_or_too_few_texts_are_refused(tmp_path):
    path = write_lines(tmp_path / "r.jsonl", [{"text": str(number), "label": "a"} for number in range(30)])
    with pytest.raises(DataError, match="one label only"):
        train_labels(settings(path), output_path=str(tmp_path / "m.bin"))
    path = write_lines(tmp_path / "s.jsonl", [*make_rows(), {"text": "alone", "label": "rare"}])
    with pytest.raises(DataError, match="label rare has"):
        train_labels(settings(path), output_path=str(tmp_path / "m.bin"))
    with pytest.raises(ConfigError, match="ends in .bin"):
        train_labels(settings(path), output_path=str(tmp_path / "m.model"))
    assert not list(tmp_path.glob("m.*"))


@pytest.mark.parametrize("classifier", [{}, {"word_ngrams": 2, "num_buckets": 20000}])
def test_a_training_that_diverges_is_one_sentence_and_leaves_nothing(trained, tmp_path, classifier):
    config = settings(trained[1], classifier={"learning_rate": 1e6, **classifier})
    with pytest.raises(DolmaError, match="not finite. Lower learning_rate"):
        train_labels(config, output_path=str(tmp_path / "m.bin"), seed=5)
    assert not list(tmp_path.iterdir())


def test_too_few_hash_rows_to_repeat_are_refused():
    with pytest.raises(ValueError, match="expected 2622 or more"):
        FastTextOptions(word_ngrams=2, num_buckets=100)
    with pytest.raises(ValueError, match="char_ngrams_min"):
        FastTextOptions(char_ngrams_max=3)
