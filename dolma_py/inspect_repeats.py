"""Looking at what `dedup substring` cut: the texts that were cut most often, each with the documents that lost it first."""

from __future__ import annotations

from dolma_py.errors import ConfigError
from dolma_py.inspect_documents import InspectOptions, Section
from dolma_py.report_examples import Example
from dolma_py.report_excerpts import Part
from dolma_py.report_repeats import Repeated


def list_repeats(repeats: tuple[Repeated, ...], options: InspectOptions) -> list[Section]:
    """The first texts of a set. ConfigError for an option that chooses documents: texts are counted over all of them."""
    for option, value in (("--id", options.id), ("--source", options.source)):
        if value is not None:
            rule = f"expected without {option}: the texts of {options.set} are counted over all documents"
            raise ConfigError(option, value, rule, "Give --view and --rule to see documents.")
    examples = []
    for line in repeats[: options.sample]:
        first, *others = line.examples
        cut = f"cut {line.times:,} times in {line.documents:,} documents, {line.num_bytes:,} bytes in all"
        reasons = (cut, f"{first.file}, row {first.row}", *(f"{place.id} of {place.source} too" for place in others))
        examples.append(Example(first.id, first.source, len(line.text.encode()), reasons, (Part(line.text, "cut"),)))
    return [Section(f"{options.set}: the {len(examples):,} texts that were cut most often", examples)]
