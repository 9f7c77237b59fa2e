import importlib.resources
import os
import shlex
import subprocess
import sys

import numpy as np
import orjson
import pytest

from dolma_py.errors import ConfigError, DolmaError
from taggers import recipes_by_name as module
from taggers.classifier_commands import describe_threshold, print_check, print_figures, run_annotate, run_train
from taggers.classifier_figures import measure_labels
from taggers.labelled_texts import ExampleSource, is_label
from taggers.recipes_by_name import check_source, check_sources, list_recipes, load_recipe
from taggers.train_labels import train_labels
from tests.chat_server import ChatServer
from tests.conftest import REPOSITORY

MODE = {"check": False, "dry_run": False, "replace": False}
TOPICS = 24


def write_lines(path, count=60):
    rows = [
        {"text": f"{'good' if n % 2 else 'bad'} words {n} and {n % 7}", "label": "hq" if n % 2 else "cc"}
        for n in range(count)
    ]
    path.write_bytes(b"".join(orjson.dumps(row) + b"\n" for row in rows))
    return str(path)


@pytest.mark.parametrize("name", list_recipes("classifier"))
def test_a_packaged_recipe_is_whole(name):
    config = load_recipe("classifier", name, inputs=[], overrides=[])
    assert config.about and all(source.about or name == "pool-topics" for source in config.examples)
    for source in config.examples:
        assert [source.label, source.label_field].count(None) == 1
        assert all(is_label(label) for label in [*source.labels.values(), *([source.label] if source.label else [])])


def test_the_recipes_of_others_are_there():
    assert {"dclm", "educational-score", "math-score", "olmo3-quality", "weborganizer-topics"} <= {
        *list_recipes("classifier")
    }
    dclm = load_recipe("classifier", "dclm", inputs=[], overrides=[])
    assert {source.name: (source.label, source.max_docs) for source in dclm.examples} == {
        "openhermes": ("hq", 100000), "eli5": ("hq", 100000), "refinedweb": ("cc", 200000),
    }  # fmt: skip
    assert dclm.balance and dclm.classifier.word_ngrams == 2
    olmo = load_recipe("classifier", "olmo3-quality", inputs=[], overrides=[])
    assert {s.name for s in olmo.examples if s.label == "hq"} == {"openhermes", "eli5", "ultrachat", "wildchat"}
    topics = load_recipe("classifier", "weborganizer-topics", inputs=[], overrides=[])
    asked = load_recipe(
        "annotation", "weborganizer-topics", inputs=["x"],
        overrides=["endpoint={base_url: 'http://127.0.0.1:1/v1', model: m, cache: c}"],
    )  # fmt: skip
    for source in topics.examples:
        assert len(set(source.labels.values())) == TOPICS and set(source.labels.values()) == set(asked.labels)


def test_files_of_ones_own_stand_in_place_of_the_recipes_sources(tmp_path):
    path = write_lines(tmp_path / "a.jsonl")
    config = load_recipe(
        "classifier", "dclm", inputs=[path], overrides=["examples.labels.text=body", "classifier.dim=7"]
    )
    assert [(s.name, s.inputs, s.text, s.label_field) for s in config.examples] == [("labels", [path], "body", "label")]
    assert config.balance and config.classifier.dim == 7
    one = load_recipe("classifier", "dclm", inputs=[], overrides=[f"examples.eli5.inputs=['{path}']"])
    assert one.examples[1].inputs == [path] and len(one.examples) == 3


def test_a_mistake_is_told_with_its_place(tmp_path):
    with pytest.raises(ConfigError, match="Did you mean dclm"):
        load_recipe("classifier", "dclmm", inputs=[], overrides=[])
    (tmp_path / "r.yaml").write_text("examples: [{name: a, inputs: [x], lable: y}]\n")
    with pytest.raises(ConfigError, match=r"lable.*Did you mean label"):
        load_recipe("classifier", str(tmp_path / "r.yaml"), inputs=[], overrides=[])
    with pytest.raises(ConfigError, match="Packaged recipes: dclm"):
        run_train(recipe=None, inputs=[], output="m.bin", folder=None, overrides=[], seed=0, mode=MODE)
    with pytest.raises(ConfigError, match="Packaged: educational-score"):
        run_annotate(recipe=None, inputs=[], output="m", folder=None, overrides=[], seed=0, mode=MODE)


def test_what_is_there_and_what_is_not_is_said(tmp_path, monkeypatch, capsys):
    path = write_lines(tmp_path / "a.jsonl")
    here = ExampleSource(name="here", inputs=[path], label="x", about="a set of mine")
    gone = ExampleSource(name="gone", inputs=["{folder}/none.jsonl"], label="y", about="somebody's")
    standings = check_sources([here, gone], str(tmp_path))
    assert [(s.name, s.files, bool(s.problem)) for s in standings] == [("here", 1, False), ("gone", 0, True)]
    assert standings[0].num_bytes == os.path.getsize(path) and "at least one file" in standings[1].problem

    def fail(*_, **__):
        raise OSError(5, "the Hub does not answer", "hf://datasets/a/b")

    monkeypatch.setattr(module, "find_inputs", fail)
    assert "the Hub does not answer" in check_source(here).problem
    monkeypatch.undo()
    config = load_recipe("classifier", None, inputs=[path], overrides=[])
    print_check(config.model_copy(update={"examples": [here]}), None)
    assert "reached: 1 files" in capsys.readouterr().out
    with pytest.raises(DolmaError, match="1 of 2 data sets cannot be reached"):
        print_check(config.model_copy(update={"examples": [here, gone]}), str(tmp_path))


def test_recipes_are_part_of_the_package():
    listed = (REPOSITORY / "setup.cfg").read_text()
    for folder in ("classifier_recipes", "annotation_recipes"):
        assert f"    {folder}/*.yaml" in listed
        assert (importlib.resources.files("taggers") / folder).is_dir()


def test_a_threshold_is_told_in_words():
    found = {
        "target": 0.9, "threshold": 0.25, "precision": 0.91, "precision_interval": [0.85, 0.95], "recall": 0.7,
        "recall_interval": [0.6, 0.8], "is_sure": False, "best_precision": 1.0, "called": 50,
    }  # fmt: skip
    told = describe_threshold("hq", found, 50)
    assert "P >= 0.250000" in told and "wanted 0.9, not sure" in told and "recall of 0.700 (0.600-0.800)" in told
    none = found | {"threshold": None, "best_precision": 0.8}
    assert describe_threshold("hq", none, 10) == (
        "hq: no threshold gives a precision of 0.9 on 10 texts or more; the best is 0.800"
    )
    assert describe_threshold("hq", none, 9) == "hq: no threshold, 9 texts are too few: one must call 10 or more"


def test_a_table_fits_a_narrow_terminal_and_says_no_more_than_is_known(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    truth = np.array([0] * 30 + [1] * 30)
    probabilities = np.stack([np.where(truth == 0, 0.9, 0.2), np.where(truth == 0, 0.1, 0.8)], axis=1)
    probabilities[:5] = probabilities[-5:][:, ::1]
    labels = ["educational", "conversation", "law"]
    probabilities = np.concatenate([probabilities, np.zeros((60, 1))], axis=1)
    print_figures(measure_labels(probabilities, truth, labels), "texts")
    out = capsys.readouterr().out
    assert "\u2026" not in out and "..." not in out
    assert "no figure" in out  # of law, which no text has
    assert max(map(len, [line for line in out.splitlines() if line.startswith("\u2502")])) <= 80
    print_figures(measure_labels(np.eye(2)[truth], truth, labels[:2]), "texts")
    assert "(1.000-1.000)" not in capsys.readouterr().out


def test_a_model_that_calls_everything_one_label_is_told(capsys):
    probabilities = np.tile(np.array([0.6, 0.4]), (40, 1))
    print_figures(measure_labels(probabilities, np.array([0, 1] * 20), ["a", "b"]), "texts")
    assert "every text is called a" in capsys.readouterr().out
    print_figures(measure_labels(probabilities, np.zeros(40, np.int64), ["a", "b"]), "texts")
    assert "every text is called" not in capsys.readouterr().out


def dolma_py(*arguments, cwd):
    return subprocess.run(
        [sys.executable, "-m", "dolma_py", "classifier", *arguments],
        capture_output=True, text=True, cwd=cwd, check=False, env={**os.environ, "PYTHONPATH": str(REPOSITORY), "COLUMNS": "150"},
    )  # fmt: skip


def test_the_commands_label_train_and_measure(tmp_path):
    path = write_lines(tmp_path / "texts.jsonl", count=120)
    with ChatServer(
        answer=lambda body: (
            '{"quality": "good"}' if "good words" in body["messages"][-1]["content"] else '{"quality": "bad"}'
        )
    ) as server:
        sets = [f"--set=endpoint.base_url={server.url}", "--set=endpoint.model=m", "--set=endpoint.cache=answers"]
        asked = ["annotate", "--recipe=quality", "--input", path, *sets]
        told = dolma_py(*asked, "--dry-run", cwd=tmp_path)
        assert "120 texts: 120 requests, 0 of them answered before" in told.stdout and not server.bodies, told.stderr
        told = dolma_py(*asked, "--output=labels.jsonl", cwd=tmp_path)
    assert "120 of 120 texts have a label" in told.stdout, told.stderr
    told = dolma_py(*asked, "--output=labels.jsonl", cwd=tmp_path)
    assert told.returncode == 0 and "120 of 120 texts have a label): nothing was done" in told.stdout, told.stderr
    options = [
        "--set=classifier.dim=8",
        "--set=classifier.held_out_frac=0.4",
        "--set=classifier.learning_rate=1.0",
        "--set=positive_label=good",
    ]
    told = dolma_py("train", "--input=labels.jsonl", "--dry-run", *options, cwd=tmp_path)
    assert "MB of memory. Nothing was done" in told.stdout and not list(tmp_path.glob("*.bin")), told.stderr
    told = dolma_py("train", "--input=labels.jsonl", "--output=m.bin", *options, cwd=tmp_path)
    assert "wrote m.bin" in told.stdout and "good: P >= " in told.stdout, told.stderr
    told = dolma_py("train", "--input=labels.jsonl", "--output=m.bin", *options, cwd=tmp_path)
    assert "nothing was done" in told.stdout, told.stderr
    mapped = "--set=examples.labels.labels={hq: good, cc: bad}"
    told = dolma_py("measure", "--model=m.bin", "--input", path, mapped, "--output=figures.json", cwd=tmp_path)
    figures = orjson.loads((tmp_path / "figures.json").read_bytes())["figures"]
    assert figures["texts"] == 120 and figures["accuracy"] > 0.9, told.stderr
    assert "the model was trained on these texts, on about 100% of its training texts" in told.stdout
    (tmp_path / "broken.jsonl").write_bytes((tmp_path / "labels.jsonl").read_bytes() + b'no JSON\n{"text": "x"}\n')
    told = dolma_py("train", "--input=broken.jsonl", "--output=n.bin", *options, cwd=tmp_path)
    assert "labels: of 121 read not taken: left_out:label 1, unreadable:invalid_json 1" in told.stdout, told.stdout
    told = dolma_py("measure", "--model=m.bin", "--input", path, cwd=tmp_path)
    assert told.returncode == 2 and "expected labels of the model" in told.stderr and "Traceback" not in told.stderr


def test_the_annotation_of_the_page_runs_as_written(tmp_path):
    page = (REPOSITORY / "docs" / "classifiers.md").read_text().replace("\\\n", " ")
    lines = [line for line in page.splitlines() if line.startswith("dolma-py classifier annotate")]
    assert len(lines) == 1
    (tmp_path / "pages.jsonl").write_bytes(orjson.dumps({"text": "a page"}) + b"\n" + orjson.dumps({"text": " "}))
    told = dolma_py(*shlex.split(lines[0])[2:], cwd=tmp_path)
    assert told.returncode == 0 and "1 texts: 1 requests" in told.stdout, told.stderr
    assert "no_text: 1 texts hold nothing to be read" in told.stdout


def test_an_annotation_without_its_model_is_told_what_to_give():
    with pytest.raises(
        ConfigError, match=r"^endpoint\.base_url, endpoint\.model, endpoint\.cache: .* --set endpoint\.model=NAME"
    ):
        load_recipe("annotation", "quality", inputs=["x"], overrides=[])
    with pytest.raises(ConfigError, match=r"^endpoint\.cache: .*Give --set endpoint\.cache=FOLDER\.$"):
        sets = ["endpoint.base_url=http://127.0.0.1:1/v1", "endpoint.model=m"]
        load_recipe("annotation", "quality", inputs=["x"], overrides=sets)


def test_a_recipe_learns_human_judgements_of_real_pages(data_dir, tmp_path):
    config = load_recipe("classifier", "tq-is", inputs=[], overrides=["classifier.dim=20"])
    card, _ = train_labels(config, output_path=str(tmp_path / "m.bin"), seed=1, folder=str(data_dir))
    good = card["held_out"]["labels"]["good"]
    assert good["f1"] > 0.9 and good["auc"] > 0.96 and good["threshold"]["precision"] >= 0.9
    assert card["data"]["sources"]["tq-is"]["counts"] == {"drawn": 1018, "read": 1018}
