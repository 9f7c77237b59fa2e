"""What is found before the first step is run, and the keys by which errors name settings: those that --set takes."""

import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from dolma_py.cli import app
from dolma_py.config import Config
from dolma_py.errors import ConfigError
from pipelines import commands
from pipelines.build_recipe import replace_inputs
from pipelines.commands import run_build, run_ingest, run_job_command, run_plain_or_corpus_command
from pipelines.job_main import run_job
from pipelines.plain_commands import PlainOptions, plan_plain
from pipelines.recipe import Recipe, build_steps, check_steps, load_recipe
from taggers.base import Tagger
from tests.jobs import made_recipe
from tests.tiny_corpus import write_corpus

GOPHER = {"tagger": "gopher-dclm"}
QUALITY = {"tagger": "quality", "options": {"model_path": "artifact:quality"}}
SPARK = {"master": None, "partitions": None, "bundle": None}
RUN = {"name": "tag", "seed": 0}


class WidthConfig(Config):
    column: str = "width"
    list_path: str = ""


class WidthTagger:
    """A user's: its objects say more than the class."""

    name, version, schema = "width", 1, pa.schema([("width", pa.int64())])
    config_model = WidthConfig

    def __init__(self, config):
        if config.list_path:
            open(config.list_path).close()
        self.schema = pa.schema([(config.column, pa.int64())])

    def tag(self, batch):
        raise NotImplementedError


WIDTH = {"tagger": f"{__name__}:WidthTagger"}
PROPERTY = {"tagger": f"{__name__}:PropertyTagger"}


class PropertyTagger(WidthTagger):
    """Another: its class says nothing at all."""

    name = property(lambda self: "property")
    schema = property(lambda self: pa.schema([("breadth", pa.int64())]))

    def __init__(self, config):
        pass


def make_tag(taggers, *rules):
    rules = [{"name": f"r{number}", **rule} for number, rule in enumerate(rules)]
    return {"kind": "tag", "name": "tag", "taggers": taggers, "rules": rules}


def check(*steps):
    check_steps(build_steps(Recipe(recipe="r", seed=0, steps=list(steps))))


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (make_tag([GOPHER], {"keep": "num_stopwords >= 2"}),
         r"^steps\.tag\.rules\.r0\.keep: no such column of gopher-dclm-v1, got 'num_stopwords'\. Did you mean num_stop_words\?"),
        (make_tag([QUALITY], {"keep": "scor > 0.1"}), r"^steps\.tag\.rules\.r0\.keep: .*Did you mean score\?"),
        (make_tag([GOPHER, WIDTH], {"attributes": "width-v1", "edit": "widt"}), r"rules\.r0\.edit: .*mean width"),
        (make_tag([GOPHER, WIDTH], {"attributes": "widht-v1", "keep": "width > 1"}), r"rules\.r0\.attributes: .*'widht-v1'"),
        (make_tag([GOPHER], {"keep": "num_words >> 2"}), r"^steps\.tag\.rules\.r0\.keep: expected"),
        (make_tag([{"tagger": "length"}]), r"^steps\.tag\.taggers\.0\.tagger: no such tagger, got 'length'\. Did you mean lengths"),
        (make_tag([GOPHER, {"tagger": "quality", "options": {"model_pth": "artifact:quality"}}]),
         r"taggers\.1\.options\.model_path: 2 mistakes: .*model_pth: no such key"),
        (make_tag([{"tagger": "lengths", "options": {"a": 1}}]), r"^steps\.tag\.taggers\.0\.options\.a: no such key"),
        (make_tag([GOPHER, {"tagger": "quality", "options": {"model_path": "/nope/x.bin"}}]),
         r"^steps\.tag\.taggers\.1\.options\.model_path: no such file, got '/nope/x\.bin'"),
        (make_tag([{"tagger": "web-filter", "options": {"cursed_path": "/nope/x.gz"}}]), r"options\.cursed_path: no such file"),
        (make_tag([GOPHER, GOPHER]), r"^steps\.tag\.taggers: expected each attribute set once"),
        ({"kind": "dedup_exact", "rules": [{"name": "r", "keep": "a b"}]}, r"^steps\.dedup_exact\.rules\.r\.keep: "),
    ],
)  # fmt: skip
def test_what_a_step_would_refuse_is_found_before_any_step(step, said):
    check({"kind": "ingest", "sources": [{"inputs": ["a"]}]})
    with pytest.raises(ConfigError, match=said):
        check({"kind": "ingest", "sources": [{"inputs": ["a"]}]}, step)


@pytest.mark.parametrize(
    "step",
    [
        make_tag([GOPHER], {"min_text_bytes": 5}, {"keep": "num_words > 1"}),
        make_tag([QUALITY], {"keep": "score > 0.1"}),
        make_tag([WIDTH | {"options": {"column": "breadth"}}], {"keep": "breadth > 1"}),
        make_tag([WIDTH | {"options": {"column": "breadth", "list_path": "artifact:list"}}], {"keep": "breadth > 1"}),
        make_tag([WIDTH | {"options": {"column": "breadth", "list_path": "/none/yet"}}], {"keep": "breadth > 1"}),
        make_tag([PROPERTY], {"keep": "breadth > 1"}),
        make_tag([GOPHER | {"name": "mine"}, QUALITY], {"attributes": "mine-v1", "keep": "num_words > 1"}),
        {"kind": "dedup_exact", "rules": [{"name": "r", "attributes": "exact-v1", "keep": "not is_duplicate"}]},
        {"kind": "ingest", "sources": [{"inputs": ["a"]}],
         "rules": [{"name": "long", "attributes": "dolma-x-v1", "keep": "x__length__score >= 200"}]},
    ],
)  # fmt: skip
def test_what_is_right_or_not_known_yet_is_no_mistake(step):
    check(step)


def test_recipes_that_run_have_no_mistake(tmp_path):
    assert isinstance(WidthTagger(WidthConfig()), Tagger)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(made_recipe.make_recipe(tmp_path)))
    for recipe in ("quickstart", str(tmp_path / "tiny.yaml")):
        check_steps(build_steps(load_recipe(recipe, [])))


def write_recipe(folder, *steps):
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({"recipe": "mine", "flow": "mix", "seed": 0, "steps": list(steps)}))
    return str(path)


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_build_names_the_rule_and_the_file_before_its_first_step(tmp_path, dry_run):
    (tmp_path / "in.jsonl").write_text('{"text": "a"}\n')
    ingest = {"kind": "ingest", "sources": [{"name": "a", "inputs": [str(tmp_path / "in.jsonl")]}]}
    recipe = write_recipe(tmp_path, ingest, make_tag([GOPHER], {"keep": "num_stopwords >= 2"}))
    with pytest.raises(ConfigError, match=rf"steps\.tag\.rules\.r0\.keep: .*\({re.escape(recipe)}\)\. Did you mean"):
        run_build(recipe=recipe, corpus=str(tmp_path / "c"), flow=None, inputs=[], until=None, overrides=[],
                  dry_run=dry_run, spark=SPARK)  # fmt: skip
    assert not (tmp_path / "c" / "runs").exists() and not (tmp_path / "c" / "documents").exists()


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize("plain", [True, False])
@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("rules=[]", r"^taggers: a value is needed, got .*See: dolma-py settings tag\.$"),
        ("taggers=[{tagger: length}]", r"^taggers\.0\.tagger: no such tagger"),
        ("taggers=[{tagger: lengths, options: {b: 1}}]", r"^taggers\.0\.options\.b: no such key"),
    ],
)
def test_a_command_names_settings_as_its_set_takes_them(tmp_path, dry_run, plain, override, said):
    (tmp_path / "in.jsonl").write_text('{"text": "a"}\n')
    inputs = [str(tmp_path / "in.jsonl")] if plain else []
    files = {
        "inputs": inputs,
        "output": str(tmp_path / "out") if plain else None,
        "text_column": "text",
        "id_column": None,
        "mark": False,
    }
    with pytest.raises(ConfigError, match=said):
        run_plain_or_corpus_command(
            kind="tag", corpus=None if plain else str(tmp_path / "c"), view=None, plain=files, config=None, overrides=[override],
            run=RUN, dry_run=dry_run, spark=SPARK,
        )  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "command", "override"),
    [("plan_mix", "mix plan", "plann=1"), ("tokenize", "tokenize", "mixx=a"), ("dedup_minhash", "dedup minhash", "presett=a")],
)  # fmt: skip
def test_a_command_points_to_its_settings(tmp_path, kind, command, override):
    with pytest.raises(
        ConfigError, match=rf"(?<!\.)\b{override.split('=')[0]}: no such key.*See: dolma-py settings {command}\."
    ):
        run_job_command(kind=kind, corpus=str(tmp_path), view=None, config=None, overrides=[override],
                        run={"name": "job", "seed": 0}, dry_run=True, spark=SPARK)  # fmt: skip


def test_a_key_that_an_error_names_is_taken_by_set(tmp_path):
    """What the error of the command line says is typed again, with a value."""
    (tmp_path / "in.jsonl").write_text('{"text": "a"}\n')
    arguments = ["tag", "--input", str(tmp_path / "in.jsonl"), "--output", str(tmp_path / "out"), "--dry-run"]
    key = str(CliRunner().invoke(app, arguments).exception).partition(":")[0]
    assert CliRunner().invoke(app, [*arguments, "--set", f"{key}=[{{tagger: lengths}}]"]).exit_code == 0


@pytest.mark.parametrize(
    ("step", "key"), [({"presett": "a"}, "step.presett"), ({"preset": "fineweb", "rules": [{"name": "r", "keep": "a b"}]}, "step.rules.r.keep")]
)  # fmt: skip
def test_a_job_names_the_place_in_its_file(tmp_path, caplog, step, key):
    caplog.set_level("INFO", logger="dolma_py.build")
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump({"corpus": str(tmp_path / "c"), "step": step}))
    assert run_job("dedup_minhash", ["--config", str(path)]) == 2
    assert f"error: {key}: " in caplog.text and str(path) in caplog.text and "steps." not in caplog.text


@pytest.mark.parametrize("dry_run", [True, False])
def test_missing_inputs_are_told_of_the_option(tmp_path, dry_run):
    options = {"config": None, "overrides": [], "dry_run": dry_run, "spark": SPARK}
    missing = str(tmp_path / "none")
    with pytest.raises(ConfigError, match="^--input: expected at least one file"):
        run_ingest(corpus=str(tmp_path / "c"), inputs=[missing], source=None, name="ingest", **options)
    with pytest.raises(ConfigError, match="^--input: expected at least one file"):
        run_build(recipe="quickstart", corpus=str(tmp_path / "d"), flow=None, inputs=[missing], until=None,
                  overrides=[], dry_run=dry_run, spark=SPARK)  # fmt: skip


def test_a_plan_over_plain_files_counts_their_text(tmp_path):
    (tmp_path / "in.jsonl").write_text(json.dumps({"text": "word " * 100_000}) + "\n")
    options = PlainOptions([str(tmp_path / "in.jsonl")], str(tmp_path / "out"), "text", None, False)
    planned = plan_plain("dedup_exact", {}, RUN, options)
    assert planned["text_bytes"] == pytest.approx(500_000, rel=0.1) and planned["free_disk_bytes"] > 0
    assert all(step["disk_bytes"] > 0 for step in planned["steps"])


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".hidden", "a b"])
def test_the_name_of_a_step_names_a_folder(name):
    if name:  # an empty one is the kind's
        with pytest.raises(ConfigError, match="expected letters, digits, _ and -"):
            build_steps(Recipe(recipe="r", seed=0, steps=[{"kind": "dedup_exact", "name": name}]))
    else:
        assert (
            build_steps(Recipe(recipe="r", seed=0, steps=[{"kind": "dedup_exact", "name": name}]))[0].name
            == "dedup_exact"
        )


TOKENS = ["preset=olmo3-web-tokens"]


@pytest.mark.parametrize("dry_run", [True, False])
@pytest.mark.parametrize("plain", [True, False])
def test_a_preset_of_tokens_without_a_tokenizer_is_refused_before_anything_runs(tmp_path, dry_run, plain):
    (tmp_path / "in.jsonl").write_text('{"text": "a"}\n')
    files = {
        "inputs": [str(tmp_path / "in.jsonl")] if plain else [], "output": str(tmp_path / "out") if plain else None,
        "text_column": "text", "id_column": None, "mark": False,
    }  # fmt: skip
    with pytest.raises(ConfigError, match=r"^minhash\.shingles\.tokenizer: expected a tokenizer.*p50k_base"):
        run_plain_or_corpus_command(
            kind="dedup_minhash", corpus=None if plain else str(tmp_path / "c"), view=None, plain=files, config=None,
            overrides=TOKENS, run={"name": "minhash", "seed": 0}, dry_run=dry_run, spark=SPARK,
        )  # fmt: skip
    assert not (tmp_path / "out").exists() and not (tmp_path / "c").exists()


def test_in_a_recipe_the_key_has_its_step(tmp_path):
    minhash = {"kind": "dedup_minhash", "name": "near", "preset": "olmo3-web-tokens"}
    with pytest.raises(ConfigError, match=r"^steps\.near\.minhash\.shingles\.tokenizer: "):
        check(minhash)
    check(minhash | {"minhash": {"shingles": {"tokenizer": "p50k/tokenizer.json"}}})


def test_a_tokenizer_that_is_not_there_is_told_by_the_same_key(tmp_path):
    """By --dry-run over documents, which are sampled, and by the run before Spark starts."""
    corpus = write_corpus(str(tmp_path / "c"), [[[{"text": "a text of more than five words"}]]])
    overrides = [*TOKENS, f"minhash.shingles.tokenizer={tmp_path}/none/tokenizer.json"]
    for dry_run in (True, False):
        with pytest.raises(ConfigError, match=r"^minhash\.shingles\.tokenizer: expected a file that exists"):
            run_job_command(kind="dedup_minhash", corpus=corpus.root, view=None, config=None, overrides=overrides,
                            run={"name": "job", "seed": 0}, dry_run=dry_run, spark=SPARK)  # fmt: skip
    assert not list((tmp_path / "c").glob("runs/job/*/work/*"))


def ingest(folder, config, inputs=(), source=None, overrides=()):
    """A dry run of `ingest` with a file of settings, in which `{folder}` stands for the folder."""
    (folder / "ingest.yaml").write_text(config.replace("{folder}", str(folder)))
    run_ingest(corpus=str(folder / "c"), inputs=list(inputs), source=source, config=str(folder / "ingest.yaml"),
               overrides=list(overrides), name="ingest", dry_run=True, spark=SPARK)  # fmt: skip


@pytest.fixture
def planned(monkeypatch):
    """The settings of the ingest jobs that were planned."""
    seen = []
    monkeypatch.setattr(commands, "print_plan", lambda plan: None)
    monkeypatch.setattr(commands, "plan_ingest", lambda values, place: seen.append(values["step"]))
    return seen


TWO = "sources:\n  - {name: a, inputs: ['{folder}/a']}\n  - {name: b, inputs: ['{folder}/b'], kind: text}\n"


def test_sources_of_a_file_are_read_without_inputs(tmp_path, planned):
    ingest(tmp_path, TWO)
    assert [(item["name"], item["inputs"]) for item in planned[0]["sources"]] == [
        ("a", [f"{tmp_path}/a"]), ("b", [f"{tmp_path}/b"])
    ]  # fmt: skip
    arguments = ["--corpus", str(tmp_path / "c"), "--config", str(tmp_path / "ingest.yaml"), "--dry-run"]
    assert CliRunner().invoke(app, ["ingest", *arguments]).exit_code == 0 and len(planned) == 2


def test_inputs_of_the_command_stand_above_those_of_the_only_source(tmp_path, planned, caplog):
    one = "sources: [{name: wiki, kind: text, inputs: ['{folder}/a']}]\n"
    ingest(tmp_path, one, inputs=["/x"])
    ingest(tmp_path, one, inputs=["/x"], source="other")
    ingest(tmp_path, one, source="third")
    ingest(tmp_path, "unit_bytes: 9\n", inputs=["/x"])
    found = [(item.get("name"), item["inputs"], item.get("kind")) for step in planned for item in step["sources"]]
    assert found == [
        ("wiki", ["/x"], "text"), ("other", ["/x"], "text"), ("third", [f"{tmp_path}/a"], "text"), (None, ["/x"], None)
    ]  # fmt: skip
    assert caplog.text.count("--input stands in their place") == 2


@pytest.mark.parametrize(
    ("config", "options", "said"),
    [
        (TWO, {"inputs": ["/x"]}, r"^--input: expected the settings of one source, there are 2, got \['/x'\]\. Leave it out"),
        (TWO, {"source": "x"}, r"^--source: expected the settings of one source"),
        ("unit_bytes: 9\n", {}, r"^--input: expected files, or sources"),
        ("sources: 3\n", {"inputs": ["/x"]}, r"^sources: expected a list of mappings, got 'int'"),
        ("sources: [{inputs: ['{folder}/none']}]\n", {}, r"^sources\.0\.inputs: expected at least one file, got '/"),
        ("sources: [{kind: wark, inputs: ['{folder}']}]\n", {}, r"^sources\.0\.kind: no such kind\. Did you mean warc\?.* got 'wark'"),
    ],
)  # fmt: skip
def test_sources_that_do_not_fit_are_told_in_one_sentence(tmp_path, config, options, said):
    with pytest.raises(ConfigError, match=said) as error:
        ingest(tmp_path, config, **options)
    assert "unit_bytes" not in str(error.value) and "{'name'" not in str(error.value)


@pytest.mark.parametrize("recipe", ["olmo3-web", "madlad400"])
def test_a_recipe_without_inputs_asks_for_them(tmp_path, recipe):
    with pytest.raises(ConfigError, match=rf"got '{tmp_path}/c/inputs'\. Give --input") as error:
        run_build(recipe=recipe, corpus=str(tmp_path / "c"), flow=None, inputs=[], until=None, overrides=[],
                  dry_run=True, spark=SPARK)  # fmt: skip
    assert "{corpus}" not in str(error.value)


def test_files_whose_names_say_that_they_are_no_text_are_told(tmp_path, caplog):
    for name in ("a.csv", "simplewiki.xml", "notes.txt", "b.jsonl", "README"):
        (tmp_path / "in" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "in" / name).write_text('{"text": "a"}\n')
    options = {"config": None, "overrides": [], "dry_run": True, "spark": SPARK}
    run_ingest(corpus=str(tmp_path / "c"), inputs=[str(tmp_path / "in")], source=None, name="ingest", **options)
    assert "2 files read as plain text" in caplog.text and "a.csv, simplewiki.xml." in caplog.text
    caplog.clear()
    ingest(tmp_path, "sources: [{kind: text, inputs: ['{folder}/in']}]\n")
    assert "plain text" not in caplog.text


@pytest.mark.parametrize("suffix", ["parquet", "jsonl"])
def test_a_plan_over_plain_files_looks_for_the_text(tmp_path, suffix):
    path = tmp_path / f"in.{suffix}"
    table = pa.table({"content": ["a", "b"], "id": ["1", "2"]})
    if suffix == "parquet":
        pq.write_table(table, path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in [{"id": "0"}, *table.to_pylist()]))
    settings = {"taggers": [{"tagger": "lengths"}]}
    with pytest.raises(ConfigError, match=r"^--text-column: expected the name of the text.*There are: .*content"):
        plan_plain("tag", settings, RUN, PlainOptions([str(path)], str(tmp_path / "out"), "text", None, False))
    assert plan_plain("tag", settings, RUN, PlainOptions([str(path)], str(tmp_path / "out"), "content", None, False))


def test_inputs_of_a_build_keep_how_its_only_source_is_read():
    (source,) = build_steps(replace_inputs(load_recipe("olmo3-pdf", []), ["/x"]))[0].settings.sources
    assert (source.name, source.kind, source.inputs, source.pdf.route) == ("pdf", "pdf", ["/x"], "vision")
    (source,) = build_steps(replace_inputs(load_recipe("quickstart", []), ["/x"]))[1].settings.sources
    assert (source.name, source.kind, source.inputs) == (None, "", ["/x"])
