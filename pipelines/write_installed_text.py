"""Write the quickstart's input files: what the Python installation itself holds, no download (dolma_py.installed_text).

Writes inputs/<source>/ and evaluation/word_problems.jsonl below the corpus; some documents carry an evaluation item, marked
in their metadata, so that decontamination can be seen to find them.

    spark-submit pipelines/write_installed_text.py --config sources.yaml
"""

from __future__ import annotations

import os
import sys
import tempfile
from typing import Any

from pydantic import Field

from dolma_py import config, manifest, storage
from dolma_py.corpus import Corpus
from dolma_py.installed_pages import Module
from dolma_py.installed_roots import list_distributions
from dolma_py.installed_text import PAGES, InstalledTextConfig, list_modules, plan_plants, write_pages, write_texts
from dolma_py.storage import HashingWriter, WrittenFile, write_attempt
from dolma_py.word_problems import make_word_problems
from pipelines.steps import StepContext, StepResult, Unit

VERSION = 2
ITEMS = "evaluation/word_problems.jsonl"


class InstalledTextStep(InstalledTextConfig):
    """dolma_py.installed_text's settings, and the evaluation items."""

    num_items: int = Field(
        default=200, ge=0, description="generated word problems; plant_frac of them go into documents"
    )
    page_files: int = Field(default=6, ge=1, description="WARC files of documentation pages")


def expected_text_bytes(settings: InstalledTextStep) -> int:
    """For the dry run: the caps, less the mark-up of pages."""
    return min(
        settings.total_bytes,
        settings.pages_bytes
        + settings.packages_bytes
        + settings.code_bytes
        + settings.files_bytes
        + settings.system_bytes,
    )


def fingerprint_inputs(corpus: Corpus, settings: InstalledTextStep) -> str:
    """Of the distributions and their versions."""
    return config.fingerprint([[dist.name, dist.version] for dist in list_distributions()], sys.version)


def run(context: StepContext, settings: InstalledTextStep) -> StepResult:
    """Items, then pages and texts, in processes of this machine: workers of a cluster hold other packages."""
    items = make_word_problems(settings.num_items, context.seed)
    lines = b"".join(manifest.render_line(item) for item in items)
    storage.write_bytes(context.corpus.path(ITEMS), lines)
    options = InstalledTextConfig(**{**settings.model_dump(exclude={"num_items", "page_files"}), "seed": context.seed})
    modules = list_modules(options)
    base = {"root": context.corpus.root, "options": config.dump_config(options), "items": items}
    units = []
    for number in range(settings.page_files):
        share = modules[number :: settings.page_files]
        urls = [module.url for module in modules]
        units.append(
            Unit(
                f"pages-{number:05d}",
                base | {"modules": [list(module) for module in share], "urls": urls, "number": number},
                settings.pages_bytes // settings.page_files,
            )
        )
    units.append(
        Unit(
            "texts", base, settings.code_bytes + settings.packages_bytes + settings.files_bytes + settings.system_bytes
        )
    )
    done, times = context.run_units("write", units, write_unit, here=True)
    facts: dict[str, Any] = {"items": len(items), "planted": [], "sources": {}}
    for line in done.units.values():
        for source, documents, num_bytes, planted in line["facts"]["counts"]:
            sums = facts["sources"].setdefault(source, {"documents": 0, "bytes": 0})
            sums["documents"] += documents
            sums["bytes"] += num_bytes
            facts["planted"].extend(planted)
    facts["planted"] = sorted(facts["planted"])
    text_bytes = sum(sums["bytes"] for sums in facts["sources"].values())
    return StepResult(artifacts={"items": ITEMS}, facts=facts, times=times._asdict() | {"text_bytes": text_bytes})


def write_unit(params: dict[str, Any], attempts: str) -> tuple[list[WrittenFile], dict[str, Any]]:
    """One task: a WARC of pages, or the sources of text documents; written beside and then moved as attempt files."""
    options = config.build_config(InstalledTextConfig, params["options"])
    with tempfile.TemporaryDirectory(prefix="dolma-py-inputs-") as folder:
        if "modules" in params:
            modules = [Module(*values[:-1], tuple(values[-1])) for values in params["modules"]]
            plants = plan_plants(params["items"], options, params["urls"])
            path = os.path.join(folder, PAGES, f"pages-{params['number']:05d}.warc.gz")
            counts = [write_pages(modules, path, plants=plants, config=options)]
        else:
            counts = write_texts(folder, options, items=params["items"])
        files = []
        for count in counts:
            content = storage.read_bytes(count.path)
            relative = "inputs/" + os.path.relpath(count.path, folder)
            files.append(
                write_attempt(
                    params["root"],
                    attempts,
                    relative,
                    lambda sink, content=content, rows=count.num_docs: _copy(sink, content, rows),
                )
            )
    return files, {
        "counts": [[count.source, count.num_docs, count.num_text_bytes, list(count.planted)] for count in counts]
    }


def _copy(sink: HashingWriter, content: bytes, rows: int) -> int:
    sink.write(content)
    return rows


def main(argv: list[str] | None = None) -> int:
    """spark-submit entry."""
    from pipelines.job_main import run_job

    return run_job("installed_text", argv)


if __name__ == "__main__":
    sys.exit(main())
