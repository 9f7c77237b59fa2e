"""Strict YAML, overrides, errors that name key, value and place, and fingerprints."""

from __future__ import annotations

import hashlib
import json
import math
import string

import pydantic
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.config import (
    Config,
    OptionError,
    apply_overrides,
    build_config,
    check_known,
    dump_config,
    fingerprint,
    load_yaml,
    parse_yaml,
    render_flow,
    render_yaml,
)
from dolma_py.errors import ConfigError


class Inner(Config):
    """A nested part."""

    num_bands: int = pydantic.Field(16, ge=1)
    lang: str = "en"


class Outer(Config):
    """A whole configuration."""

    lr: float
    minhash: Inner = Inner()
    names: list[Inner] = []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001), ("1E5", 1e5), ("-1e-3", -0.001), ("+2e3", 2e3), ("1.5e3", 1500.0), (".5", 0.5), ("1.", 1.0),
        ("6e-4", 0.0006), ("1_000.5", 1000.5), ("3", 3), ("0x10", 16), ("-7", -7),
        (".inf", math.inf), ("-.inf", -math.inf),
        ("no", "no"), ("NO", "NO"), ("yes", "yes"), ("on", "on"), ("off", "off"), ("Y", "Y"),
        ("true", True), ("false", False), ("True", "True"),
        ("null", None), ("~", None), ("", None),
        ("2024-01-01", "2024-01-01"), ("1e", "1e"), ("e3", "e3"), ("v1.0", "v1.0"), ("'1e-3'", "1e-3"),
    ],
)  # fmt: skip
def test_scalars(text, value):
    got = parse_yaml(text, "x.yaml")
    assert got == value and type(got) is type(value)


@given(value=st.floats(allow_nan=False))
def test_any_float_of_json_is_a_float(value):
    """json writes 1e-05 and 1e+16, forms that YAML 1.1 takes for words."""
    text = json.dumps(value).replace("Infinity", ".inf")
    got = parse_yaml(text, "x.yaml")
    assert isinstance(got, float) and got == value


def test_nan_is_understood():
    assert math.isnan(parse_yaml(".nan", "x.yaml"))


@pytest.mark.parametrize(
    ("text", "line", "named"),
    [
        ("a: 1\nb: 2\na: 3\n", 3, "'a'"),
        ("x:\n  a: 1\n  a: 1\n", 3, "'a'"),
        ("- {a: 1, a: 2}\n", 1, "'a'"),
        ("a: &x 1\nb: *x\n", 2, "alias"),
        ("<<: {a: 1}\nb: [\n", 3, ""),
        ("1: a\n", 1, "1"),
        ("a: b: c\n", 1, ""),
        ("a: !!python/object/apply:os.system [ls]\n", 1, "python"),
    ],
)
def test_mistakes_name_file_and_line(text, line, named):
    with pytest.raises(ConfigError) as caught:
        parse_yaml(text, "x.yaml")
    assert caught.value.where == f"x.yaml:{line}" and named in str(caught.value)


def test_a_billion_laughs_stay_unread():
    bomb = "a: &a [x, x, x]\n" + "".join(
        f"{b}: &{b} [*{a}, *{a}, *{a}]\n" for a, b in zip("abcdefg", "bcdefgh", strict=True)
    )
    with pytest.raises(ConfigError, match="alias"):
        parse_yaml(bomb, "x.yaml")


def test_deep_nesting_is_an_error_and_no_crash():
    with pytest.raises(ConfigError, match="nesting too deep"):
        parse_yaml("[" * 100_000, "x.yaml")


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, content):
    path = tmp_path / "x.yaml"
    path.write_bytes(content or b"")
    path = path if content else tmp_path / "missing.yaml"
    with pytest.raises(ConfigError, match=path.name):
        load_yaml(path)


def test_the_environment_is_the_one_interpolation(monkeypatch):
    monkeypatch.setenv("DOLMA_TEST_FOLDER", "/a b")
    monkeypatch.delenv("DOLMA_TEST_MISSING", raising=False)
    assert parse_yaml("a: [{b: '${env:DOLMA_TEST_FOLDER}/c'}]", "x") == {"a": [{"b": "/a b/c"}]}
    with pytest.raises(ConfigError, match="DOLMA_TEST_MISSING"):
        parse_yaml("a: ${env:DOLMA_TEST_MISSING}", "x")
    with pytest.raises(ConfigError, match="only"):
        parse_yaml("a: ${now:}", "x")


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("a.b=2", {"a": {"b": 2, "c": [{"name": "x", "n": 1}, {"name": "y", "n": 2}]}}),
        (
            "a.new.deep=1e-3",
            {"a": {"b": 1, "c": [{"name": "x", "n": 1}, {"name": "y", "n": 2}], "new": {"deep": 0.001}}},
        ),
        ("a.c.1.n=9", {"a": {"b": 1, "c": [{"name": "x", "n": 1}, {"name": "y", "n": 9}]}}),
        ("a.c.y.n=9", {"a": {"b": 1, "c": [{"name": "x", "n": 1}, {"name": "y", "n": 9}]}}),
        ("a.b=", {"a": {"b": "", "c": [{"name": "x", "n": 1}, {"name": "y", "n": 2}]}}),
        ("a.c=[]", {"a": {"b": 1, "c": []}}),
        ("a.b=x=y", {"a": {"b": "x=y", "c": [{"name": "x", "n": 1}, {"name": "y", "n": 2}]}}),
    ],
)
def test_overrides(override, expected):
    values = {"a": {"b": 1, "c": [{"name": "x", "n": 1}, {"name": "y", "n": 2}]}}
    before = json.dumps(values)
    assert apply_overrides(values, [override]) == expected
    assert json.dumps(values) == before


@pytest.mark.parametrize("part", ["ingest", "exact", "0"])
def test_an_item_without_a_name_is_found_by_its_kind(part):
    values = {"steps": [{"kind": "ingest"}, {"kind": "ingest", "name": "exact"}]}
    changed = apply_overrides(values, [f"steps.{part}.seed=1"])["steps"]
    assert [step.get("seed") for step in changed] == ([None, 1] if part == "exact" else [1, None])


@pytest.mark.parametrize(
    ("override", "named"), [("a.b", "a.b"), ("=1", "=1"), ("a.b.c=1", "b"), ("a.c.7=1", "'7'"), ("a.c.z.n=1", "'z'")]
)
def test_an_override_that_leads_nowhere_is_named(override, named):
    with pytest.raises(ConfigError, match=named):
        apply_overrides({"a": {"b": 1, "c": [{"name": "x"}]}}, [override])


def test_later_overrides_win():
    assert apply_overrides({}, ["a.b=1", "a.b=2"]) == {"a": {"b": 2}}
    assert apply_overrides({"a": None}, ["a.b.c=1"]) == {"a": {"b": {"c": 1}}}


@pytest.mark.parametrize(
    ("values", "key", "got", "named"),
    [
        ({"lr": 1, "minhash": {"num_band": 8}}, "minhash.num_band", 8, "num_bands"),
        ({"lr": 1, "minhash": {"num_bands": 0}}, "minhash.num_bands", 0, "greater than or equal to 1"),
        ({"lr": 1, "names": [{}, {"num_bands": "x"}]}, "names.1.num_bands", "x", "integer"),
        ({"lr": "much"}, "lr", "much", "number"),
        ({"lr": math.inf}, "lr", math.inf, "finite"),
        ({}, "lr", None, "a value is needed"),
    ],
)
def test_a_mistake_names_its_key_and_value(values, key, got, named):
    with pytest.raises(ConfigError, match=named) as caught:
        build_config(Outer, values, where="x.yaml")
    assert (caught.value.key, caught.value.got) == (key, got)


def test_all_mistakes_are_told_at_once():
    with pytest.raises(ConfigError) as caught:
        build_config(Outer, {"lr": "x", "minhash": {"num_band": 1, "num_bands": 0}, "nams": []})
    text = str(caught.value)
    assert "4 mistakes" in text
    assert [key for key in ("lr:", "minhash.num_band:", "minhash.num_bands:", "nams:") if key not in text] == []
    assert "Did you mean names?" in text


def test_a_built_configuration_does_not_change():
    config = build_config(Outer, {"lr": 1e-3})
    with pytest.raises(pydantic.ValidationError, match="frozen"):
        config.lr = 2.0
    assert dump_config(config) == {"lr": 0.001, "minhash": {"num_bands": 16, "lang": "en"}, "names": []}


json_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**60), 2**60),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=8),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.text(string.ascii_letters, min_size=1, max_size=4), inner, max_size=3),
    ),
    max_leaves=8,
)


@given(values=st.dictionaries(st.text(string.ascii_letters, min_size=1, max_size=4), json_values, max_size=4))
def test_a_fingerprint_does_not_depend_on_the_order_of_keys(values):
    turned = dict(reversed(values.items()))
    assert fingerprint(values) == fingerprint(turned)
    assert len(fingerprint(values)) == 32 and fingerprint(values) != fingerprint([values])


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((), "[]"),
        (({"b": 1, "a": [1.5, None, "\u00e9"]},), r'[{"a":[1.5,null,"\u00e9"],"b":1}]'),
        ((1, "x"), '[1,"x"]'),
    ],
)
def test_a_fingerprint_is_the_digest_of_this_text(values, text):
    assert fingerprint(*values) == hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_json_cannot_hold_has_no_fingerprint(value):
    with pytest.raises(ValueError, match="JSON"):
        fingerprint(value)


@given(values=st.dictionaries(st.text(string.ascii_lowercase, min_size=2, max_size=5), json_values, max_size=4))
def test_written_yaml_reads_back(values):
    assert parse_yaml(render_yaml(values), "x") == values


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text()
        | st.sampled_from(
            [
                "no",
                "1e-3",
                "null",
                "~",
                "2024-01-01",
                "0x1f",
                "a: b",
                "# c",
                "{corpus}",
                "on",
                "=",
                "<<",
                "",
                " ",
                "-",
                "${x}",
                "${env:HOME}",
                "$${x}",
                "$$${",
                "${",
                "$${a${b}}",
            ]
        ),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=8,
    )
)
def test_what_is_written_is_read_again(value):
    text = render_flow(value)
    assert "\n" not in text and parse_yaml(text, "here") == value
    assert parse_yaml(render_yaml(value), "here") == value


@pytest.mark.parametrize("word", ["no", "Yes", "off", "2020-01-01", "1e-3", "1:30", "0o17", "~", "${x}", "a\nb"])
def test_other_readers_of_yaml_see_words_as_words(word):
    assert yaml.safe_load(render_yaml({"a": [word]})) == {"a": [word.replace("${", "$${")]}
    assert yaml.safe_load(render_flow(word)) == word.replace("${", "$${")


class Checked(Config):
    a: int = 0
    path: str = ""

    @pydantic.model_validator(mode="after")
    def _check(self):
        if self.a == 5:
            raise OptionError("a", self.a, "expected another number with this path", "Take 4.")
        if self.a > 5 or self.path == "artifact:x":
            raise ValueError("a must be small")
        return self


def test_a_validators_own_words_are_told_without_pydantics():
    with pytest.raises(ConfigError, match=r"^settings: a must be small, got"):
        build_config(Checked, {"a": 6})
    with pytest.raises(ConfigError, match=r"^steps\.s: a must be small, got"):
        build_config(Checked, {"a": 6}, prefix="steps.s")


def test_of_options_that_do_not_go_together_one_is_named_and_no_other_is_shown():
    for prefix, key in (("", "a"), ("steps.s", "steps.s.a")):
        with pytest.raises(ConfigError) as caught:
            build_config(Checked, {"a": 5, "path": "long"}, prefix=prefix)
        assert str(caught.value) == f"{key}: expected another number with this path, got 5. Take 4."


@pytest.mark.parametrize(
    ("values", "said"),
    [({"path": "artifact:x"}, None), ({"path": "artifact:x", "a": "b"}, "^p.a: "), ({"pat": 1}, r"^p\.pat: no such key")],
)  # fmt: skip
def test_of_values_to_come_only_the_keys_are_checked(values, said):
    if said is None:
        check_known(Checked, values, ["path"], prefix="p")
        return
    with pytest.raises(ConfigError, match=said):
        check_known(Checked, values, ["path", "pat"], prefix="p")


def test_a_missing_value_does_not_repeat_all_others():
    class Outer(Config):
        needed: int
        other: str = ""

    for values in ({"other": "long " * 50}, {"neded": 1, "other": "long " * 50}):
        with pytest.raises(ConfigError, match="needed: .*a value is needed") as caught:
            build_config(Outer, values)
        assert "long" not in str(caught.value)
        assert ("Did you mean needed" in str(caught.value)) == ("neded" in values)


def test_a_key_that_swallowed_its_value_is_told():
    class Outer(Config):
        kind: str = ""

    with pytest.raises(ConfigError, match="no such key, got None. Write a space after the colon: kind: warc"):
        build_config(Outer, parse_yaml("{kind:warc}", "x.yaml"))
