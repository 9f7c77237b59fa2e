import json

import pytest
from typer.testing import CliRunner

from dolma_py.cli import app
from dolma_py.errors import ConfigError, DataError
from pipelines import train_language_model
from taggers.language_model import load_model
from taggers.language_model_training import LanguageModelConfig, TokenStream

runner = CliRunner()


@pytest.fixture
def folder(tmp_path):
    rows = [{"id": f"d{n}", "text": f"the {word} of {n}", "body": "other words here"} for n, word in enumerate("abcab")]
    lines = [json.dumps(row) for row in rows]
    (tmp_path / "a.jsonl").write_text("\n".join(lines[:3]) + "\nnot json\n")
    (tmp_path / "b.jsonl").write_text("\n".join(lines[3:]) + "\n")
    return tmp_path


def train(folder, *options):
    command = [
        "language-model",
        "train",
        "--input",
        str(folder / "*.jsonl"),
        "--output",
        str(folder / "m.lm"),
        *options,
    ]
    return runner.invoke(app, command, catch_exceptions=False)


def test_plain_files_need_no_spark(folder):
    answer = train(folder, "--set", "order=2", "--set", "arpa=true", "--set", "text.lower_case=false")
    assert answer.exit_code == 0 and "5 documents, 20 tokens" in answer.stdout
    model = load_model(str(folder / "m.lm"))
    assert model.order == 2 and model.text.lower_case is False
    card = json.loads((folder / "m.lm.card.json").read_text())
    assert card["data"]["num_texts"] == 5 and card["model_fingerprint"] == model.fingerprint
    assert (folder / "m.lm.arpa").read_text().startswith("\\data\\\nngram 1=")


def files_of(folder):
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.glob("m.lm*")}


def test_the_same_command_again_does_nothing_and_says_so(folder):
    train(folder, "--set", "order=3", "--set", "arpa=true")
    before = files_of(folder)
    answer = train(folder, "--set", "order=3", "--set", "arpa=true", "--set", "max_tokens=1000")
    assert answer.exit_code == 0 and answer.stdout.endswith("made from the same texts and settings: nothing was done\n")
    assert files_of(folder) == before
    assert train(folder, "--set", "order=3", "--set", "arpa=true", "--replace").stdout.startswith("5 documents")
    after = files_of(folder)
    assert {name: content for name, (content, _) in after.items()} == {
        name: content for name, (content, _) in before.items()
    }
    assert after["m.lm"][1] > before["m.lm"][1]


def test_another_model_is_written_over_with_replace_alone(folder):
    train(folder, "--set", "order=3")
    before = files_of(folder)
    for options in (["order=2"], ["order=3", "arpa=true"]):
        with pytest.raises(ConfigError, match=r"another model, or another file, stands there.*--replace"):
            train(folder, *(part for option in options for part in ("--set", option)))
    with (folder / "b.jsonl").open("a") as stream:
        stream.write(json.dumps({"id": "new", "text": "more"}) + "\n")
    with pytest.raises(ConfigError, match="another model, or another file, stands there"):
        train(folder, "--set", "order=3")
    assert files_of(folder) == before
    assert "6 documents" in train(folder, "--set", "order=2", "--replace").stdout
    assert load_model(str(folder / "m.lm")).order == 2


@pytest.mark.parametrize("name", ["m.lm", "m.lm.card.json"])
def test_a_file_that_is_not_whole_is_no_finished_model(folder, name):
    train(folder, "--set", "order=2")
    (folder / name).write_bytes((folder / name).read_bytes()[:-9])
    with pytest.raises(ConfigError, match="another model, or another file, stands there"):
        train(folder, "--set", "order=2")


def test_a_run_killed_before_its_card_is_done_again_by_the_same_command(folder):
    train(folder, "--set", "order=2")
    whole = (folder / "m.lm").read_bytes(), (folder / "m.lm.card.json").read_bytes()
    (folder / "m.lm.card.json").unlink()
    assert "5 documents" in train(folder, "--set", "order=2").stdout
    assert ((folder / "m.lm").read_bytes(), (folder / "m.lm.card.json").read_bytes()) == whole
    (folder / "m.lm.card.json").unlink()
    with pytest.raises(ConfigError, match="another model, or another file, stands there"):
        train(folder, "--set", "order=2", "--text-column", "body")  # a model of other texts is nobody's leftover
    (folder / "m.lm").write_bytes(b"words of mine")
    with pytest.raises(ConfigError, match="another model, or another file, stands there"):
        train(folder, "--set", "order=2")


def test_another_column(folder):
    train(folder, "--text-column", "body")
    card = json.loads((folder / "m.lm.card.json").read_text())
    assert card["num_words"] == 3 + 3


def test_a_plan_counts_its_input_and_writes_nothing(folder):
    """20 words and 5 units with two marks each: 30, of 340 bytes at order 5."""
    answer = train(folder, "--dry-run", "--set", "order=5")
    num_bytes = sum(len(f"the {word} of {n}") for n, word in enumerate("abcab"))
    assert num_bytes == 50
    assert answer.stdout == (
        "2 files, 5 documents, 0.0 MB of text, 30 tokens and ends of units\n"
        "at most 0 MB of memory beside the words; 1 s of one core at 3 million n-grams a second. Nothing was done.\n"
    )
    assert not (folder / "m.lm").exists()
    train(folder, "--set", "order=5")
    card = json.loads((folder / "m.lm.card.json").read_text())["data"]
    assert card["num_tokens"] + 2 * card["num_units"] == 30 and card["num_bytes"] == num_bytes
    assert train(folder, "--dry-run", "--set", "order=5").stdout.endswith(
        "same texts and settings: there is nothing to do\n"
    )
    with pytest.raises(ConfigError, match="another model, or another file, stands there"):
        train(folder, "--dry-run", "--set", "order=4")
    assert "30 tokens" in train(folder, "--dry-run", "--set", "order=4", "--replace").stdout


@pytest.mark.parametrize(("max_tokens", "said"), [(29, "more than max_tokens (29)"), (30, None)])
def test_a_plan_says_when_training_would_stop(folder, max_tokens, said):
    answer = train(folder, "--dry-run", "--set", f"max_tokens={max_tokens}").stdout
    assert (said in answer) if said else "max_tokens" not in answer


def test_a_plan_of_much_text_counts_a_part_of_each_file(tmp_path, monkeypatch):
    """Files of other tokens: 3,000 texts of one word of nine letters, 3,000 of five words of one; batches have 1,000 texts."""
    monkeypatch.setattr(train_language_model, "SAMPLE_BYTES", 100)
    for name, text in (("a", "wordwords"), ("b", "a b c d e")):
        (tmp_path / f"{name}.jsonl").write_text(f'{{"id": "x", "text": "{text}"}}\n' * 3000)
    counted = []
    add = TokenStream.add
    monkeypatch.setattr(TokenStream, "add", lambda *args: (counted.append(len(args[1].offsets) - 1), add(*args))[1])
    files = sorted(str(path) for path in tmp_path.iterdir())
    plan = train_language_model.plan_training(files, LanguageModelConfig(), "text")
    assert counted == [1000, 1000]
    assert plan == (2, 6000, 54_000, 3000 * (1 + 2) + 3000 * (5 + 2), False, {})
    settings = LanguageModelConfig(memory_bytes=65536, order=3)
    assert train_language_model.describe_plan(plan, settings) == (
        "2 files, 6,000 documents, 0.1 MB of text, about 30,000 tokens and ends of units\n"
        "0 MB of memory beside the words, at most 8 MB of TMPDIR; more than 1 s of one core at 3 million n-grams a second. "
        "Nothing was done."
    )


def test_a_plan_of_no_words_is_the_training_s_error(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"id": "x", "text": " "}\n')
    for more in (["--dry-run"], []):
        with pytest.raises(DataError, match="the text has no tokens"):
            train(tmp_path, *more)


@pytest.mark.parametrize(
    ("options", "error", "problem"),
    [
        (["--input", "/no/such/*.jsonl", "--output", "m"], ConfigError, "/no/such"),
        (["--output", "m"], ConfigError, "expected one of the two"),
        (["--input", "{a}"], ConfigError, "expected a file for the model"),
        (["--corpus", "{folder}", "--output", "m"], ConfigError, "expected with --input only"),
        (["--corpus", "{folder}", "--replace"], ConfigError, "expected with --input only"),
        (["--input", "{a}", "--output", "m", "--set", "orders=3"], ConfigError, "orders"),
        (["--input", "{a}", "--output", "m", "--set", "max_tokens=3"], DataError, "more than 3 tokens"),
    ],
)
def test_wrong_options(folder, options, error, problem):
    options = [option.format(a=folder / "a.jsonl", folder=folder) for option in options]
    with pytest.raises(error, match=problem):
        runner.invoke(app, ["language-model", "train", *options], catch_exceptions=False)
