"""Folders that steps of a recipe make and later steps of it ingest: the corpora of `synth` and `materialize`."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipelines.recipe import Step


def list_outputs(steps: list[Step]) -> dict[str, str]:
    """Folder, as the settings name it, -> the step that makes it; in order of the steps."""
    kinds = ("synth", "materialize")
    return {str(step.settings.output).rstrip("/"): step.name for step in steps if step.kind in kinds}  # type: ignore[attr-defined]


def find_maker(path: str, outputs: dict[str, str]) -> str | None:
    """The step in whose folder a path lies, as the settings name both; None for no step's.

    >>> find_maker("{corpus}/made/cwe/documents", {"{corpus}/made/cwe": "cwe"})
    'cwe'
    """
    return next((step for folder, step in outputs.items() if path == folder or path.startswith(f"{folder}/")), None)
