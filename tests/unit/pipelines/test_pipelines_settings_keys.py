"""The keys of a step's own settings, which stand beside the recipe's in one mapping."""

from __future__ import annotations

import importlib

import pytest

from pipelines.recipe import KINDS, build_step


@pytest.mark.parametrize("kind", KINDS)
def test_no_setting_is_called_kind(kind):
    """A file for --config is merged with the command's `kind`: a setting of that name would be taken for it."""
    module, model = KINDS[kind]
    fields = set(getattr(importlib.import_module(module), model).model_fields)
    assert "kind" not in fields


def test_a_file_of_settings_says_what_rows_are_made():
    values = {
        "mix": "m", "rows": "pairs", "tokenizer": "t.json", "template": "instruct", "sources": [{"name": "s", "inputs": ["a.jsonl"]}],
    }  # fmt: skip
    assert build_step(0, {"kind": "prepare_posttrain", **values}).settings.rows == "pairs"
