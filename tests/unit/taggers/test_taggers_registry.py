import sys

import pyarrow as pa
import pytest

from dolma_py.config import Config
from dolma_py.errors import ConfigError, SchemaError
from taggers.base import Tagger, check_aligned, describe_tagger, tag_checked
from taggers.lengths import LengthTagger, LengthTaggerConfig
from taggers.registry import TAGGERS, build_tagger, find_tagger

BATCH = pa.record_batch({"text": pa.array(["one two", ""], pa.large_string())})

USER_MODULE = """
import pyarrow as pa

class ShoutTagger:
    name = "shout"
    version = 3
    schema = pa.schema([("is_loud", pa.bool_())])

    def tag(self, batch):
        return pa.RecordBatch.from_arrays([pa.array([t.isupper() for t in batch.column("text").to_pylist()])], schema=self.schema)

class Nothing:
    pass
"""


@pytest.fixture
def user_package(tmp_path, monkeypatch):
    (tmp_path / "users_own_taggers.py").write_text(USER_MODULE)
    (tmp_path / "users_broken_taggers.py").write_text("import a_package_nobody_has")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("users_own_taggers", None)


@pytest.mark.parametrize("name", sorted(TAGGERS))
def test_every_registered_name_leads_to_a_class_with_its_config(name):
    found = find_tagger(name)
    assert issubclass(found.config_model, Config) and found.config_model.__name__.endswith("TaggerConfig")
    assert isinstance(found.version, int)


def test_unknown_name_names_the_nearest_and_all():
    with pytest.raises(ConfigError, match="Did you mean lengths") as error:
        build_tagger("length")
    assert error.value.got == "length"
    assert all(name in error.value.hint for name in TAGGERS)


@pytest.mark.parametrize(
    "name",
    [
        "no_such_package_x:Tagger",
        "users_own_taggers:Missing",
        "users_own_taggers:Nothing",
        "users_own_taggers.ShoutTagger",
    ],
)
def test_dotted_names_that_lead_nowhere_are_refused(name, user_package):
    with pytest.raises(ConfigError) as error:
        build_tagger(name)
    assert error.value.got == name


def test_users_own_tagger_is_built_by_dotted_name(user_package):
    tagger = build_tagger("users_own_taggers:ShoutTagger")
    assert isinstance(tagger, Tagger)
    assert tag_checked(tagger, BATCH).to_pylist() == [{"is_loud": False}, {"is_loud": False}]
    with pytest.raises(ConfigError, match="no config_model"):
        build_tagger("users_own_taggers:ShoutTagger", {"loud": 1})


def test_missing_package_of_a_users_module_is_not_hidden(user_package):
    with pytest.raises(ModuleNotFoundError, match="a_package_nobody_has"):
        build_tagger("users_broken_taggers:Tagger")


def test_unknown_option_is_refused_with_its_dotted_key():
    with pytest.raises(ConfigError) as error:
        build_tagger("language", {"max_byte": 10})
    assert error.value.key == "language.max_byte"
    assert "max_bytes" in error.value.hint


def test_output_with_other_rows_or_columns_is_refused():
    tagger = LengthTagger(LengthTaggerConfig())
    output = tagger.tag(BATCH)
    assert check_aligned(tagger, BATCH, output) is output
    with pytest.raises(SchemaError, match="expected 2 rows, got 1 rows"):
        check_aligned(tagger, BATCH, output.slice(0, 1))
    with pytest.raises(SchemaError, match="num_chars"):
        check_aligned(tagger, BATCH, output.set_column(1, "num_chars", pa.array([1, 2], pa.int32())))


def test_description_holds_what_decides_the_output():
    described = describe_tagger(build_tagger("language", {"max_bytes": 64}))
    assert (described["name"], described["version"], described["options"]["max_bytes"]) == ("language", 3, 64)
    assert "model_path" not in described["options"]
