"""The recipe olmo3-pdf from files to kept documents, with a server on this machine in the place of both models.

The server cannot see: it knows each page's picture and says the text that the page was made of. So this tests what happens to answers,
and nothing of how well a model reads.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack

import fasttext
import pytest

from dolma_py.corpus import Corpus, read_view
from dolma_py.formats.pdf import PdfConfig
from dolma_py.listing import plan_splits
from dolma_py.pdf_process import PdfLimits, PdfProcess
from pipelines.build_recipe import BuildOptions, build
from pipelines.ingest_inputs import IngestConfig, describe_inputs
from pipelines.recipe import load_recipe
from tests.chat_server import ChatServer, framed_in, images_of, question_of
from tests.conftest import REPOSITORY
from tests.made_pdfs import make_encrypted, make_lines, make_pdf

PROSE = (
    "The river rises in the hills to the north of the town and is fed by many small streams.", "Its water was used by mills for several",
    "hundred years, and some of them can still be seen by those who walk along the bank.", "In the spring the meadows are often under water,",
)  # fmt: skip
DOCUMENTS = {
    "river": ["About the river", *PROSE],
    "longer": ["On mills and meadows", *reversed(PROSE), "They stand there to this day because nobody took them away."],
    "german": [
        "Der Fluss entspringt in den Bergen im Norden der Stadt und wird von vielen",
        "kleinen Quellen gespeist, die im Winter gefrieren.",
    ]
    * 3,
    "spam": ["Download this free ebook as a pdf file", *PROSE],
    "private": [
        "A letter to my neighbour, who was born on the first of May and lives next door",
        *PROSE[:3],
        "Yours, as ever.",
    ],
    "resume": [
        "Resume of somebody who wants to work with mills and has done it before in the north",
        *PROSE[1:],
        "References on request.",
    ],
}
WIDTH = 128  # pixels of the longer side


def write_files(folder) -> dict[str, str]:
    """The PDFs of DOCUMENTS, a copy of one and a locked one; and what each picture says, by its base64."""
    folder.mkdir()
    process, says = PdfProcess(PdfLimits()), {}
    for number, (name, lines) in enumerate(DOCUMENTS.items()):
        data = make_pdf([make_lines(lines, top=700 - 40 * number, size=6)])
        (folder / f"{name}.pdf").write_bytes(data)
        picture = process.render(data, 0, 1, long_side=WIDTH).pages[0].png
        says[base64.b64encode(picture).decode()] = "\n".join(lines)
    process.close()
    (folder / "river_copy.pdf").write_bytes((folder / "river.pdf").read_bytes())
    (folder / "locked.pdf").write_bytes(make_encrypted())
    return says


def answer_from(says: dict[str, str]):
    def answer(body) -> str:
        if images_of(body):
            return says[images_of(body)[0].partition(",")[2]]
        question = question_of(body)
        text = framed_in(question)
        if "document_types" in question:
            return json.dumps({"document_types": ["resume" if "Resume of" in text else "other"]})
        return json.dumps({"contains_pii": "born on" in text, "public_document": "letter" not in text})

    return answer


def settings(folder, url: str, corpus: str) -> list[str]:
    endpoint = "steps.ingest.sources.pdf.pdf.endpoint"
    privacy = "steps.privacy.taggers.0.options.endpoint"
    return [
        f"steps.ingest.sources.pdf.inputs=[{json.dumps(str(folder))}]", f"{endpoint}.base_url={url}", f"{privacy}.base_url={url}",
        f"{endpoint}.cache={folder.parent}/answers", f"{privacy}.cache={folder.parent}/answers",
        f"steps.ingest.sources.pdf.pdf.long_side_pixels={WIDTH}",
    ]  # fmt: skip


def titles(corpus: str) -> set[str]:
    opened = Corpus(corpus)
    view = opened.load_view("olmo3-pdf-privacy")
    listing = opened.read_listing()
    found = set()
    for split in plan_splits(listing, 1 << 30):
        for batch in read_view(opened, view, split):
            found |= {text.split("\n")[0] for text in batch.documents.column("text").to_pylist()}
    return found


def test_the_funnel(tmp_path, caplog):
    says = write_files(tmp_path / "papers")
    with ChatServer(answer_from(says)) as server:
        corpora = [str(tmp_path / name) for name in ("one", "two")]
        runs = []
        for corpus in corpora:
            recipe = load_recipe("olmo3-pdf", settings(tmp_path / "papers", server.url, corpus))
            runs.append(build(recipe, corpus, BuildOptions(show_progress=False)))
            asked = len(server.bodies)
    # each page once, the copy is answered by the first; then two questions about each of four documents; the second run asks nothing
    assert asked == 6 + 2 * 4
    assert titles(corpora[0]) == titles(corpora[1]) == {"About the river", "On mills and meadows"}
    ingest = runs[0][0].manifest
    assert ingest["facts"]["rejected"] == {"pdf": {"encrypted": 1}}
    assert ingest["facts"]["documents"] == 7
    assert [run.manifest for run in runs[0]] == [run.manifest for run in runs[1]]


def train_models(folder) -> dict[str, str]:
    """fastText models for the three questions, of words of DOCUMENTS."""
    texts = {name: " ".join(lines) for name, lines in DOCUMENTS.items()}
    prose = [texts["river"], texts["longer"]]
    labels = {
        "pii": {"pii": [texts["private"]], "none": [*prose, texts["resume"]]},
        "public": {"public": [*prose, texts["resume"]], "closed": [texts["private"]]},
        "type": {"resume": [texts["resume"]], "other": [*prose, texts["private"]]},
    }
    for name, sides in labels.items():
        lines = [f"__label__{label} {text}" for _ in range(100) for label, found in sides.items() for text in found]
        (folder / f"{name}.txt").write_text("\n".join(lines) + "\n")
        # 16 threads: builds of the library leave a part of the matrix unset with fewer
        model = fasttext.train_supervised(
            str(folder / f"{name}.txt"), dim=8, epoch=60, lr=1.0, minn=0, maxn=0, thread=16, verbose=0
        )
        model.save_model(str(folder / f"{name}.bin"))
    return {f"{name}_model_path": str(folder / f"{name}.bin") for name in labels}


def test_the_funnel_with_models_and_no_server(tmp_path):
    """Own text in place of a vision model, fastText models in place of the endpoint."""
    write_files(tmp_path / "papers")
    options = json.dumps(train_models(tmp_path))
    changes = [
        f"steps.ingest.sources.pdf.inputs=[{json.dumps(str(tmp_path / 'papers'))}]", "steps.ingest.sources.pdf.pdf.route=text",
        "steps.ingest.sources.pdf.pdf.endpoint=null", f"steps.privacy.taggers.0.options={options}",
    ]  # fmt: skip
    corpus = str(tmp_path / "corpus")
    runs = build(load_recipe("olmo3-pdf", changes), corpus, BuildOptions(show_progress=False))
    assert titles(corpus) == {"About the river", "On mills and meadows"}
    assert "document-privacy-v2" in json.dumps(runs[-1].manifest)


def test_the_plan_tells_the_cost(tmp_path, caplog):
    write_files(tmp_path / "papers")
    endpoint = {
        "base_url": "http://127.0.0.1:9/v1",
        "model": "eyes",
        "cache": "c",
        "price_per_million_prompt": 10.0,
        "image_tokens": 1000,
    }
    source = {
        "name": "pdf",
        "inputs": [str(tmp_path / "papers")],
        "pdf": {"route": "vision", "endpoint": endpoint, "max_answer_tokens": 100},
    }
    with caplog.at_level(logging.WARNING, "dolma_py.build"):
        describe_inputs(Corpus(str(tmp_path / "corpus")), IngestConfig.model_validate({"sources": [source]}))
    (line,) = [record.message for record in caplog.records if "pages" in record.message]
    assert "8 PDFs with 7 pages, each a request to eyes" in line
    assert "at most 700 tokens of answers, at most 0.07" in line
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("kind", ["", "pdf"])
def test_the_process_that_parses_counts(kind):
    from pipelines.ingest_inputs import worker_memory_bytes

    source = {"inputs": ["x"], "kind": kind}
    plain = worker_memory_bytes(IngestConfig.model_validate({"sources": [{"inputs": ["x"]}]}), 0)
    assert worker_memory_bytes(IngestConfig.model_validate({"sources": [source]}), 0) - plain == (
        (1 << 30) if kind else 0
    )


def test_files_are_read_at_the_same_time_and_kept_in_order(tmp_path):
    """A task asks for eight one-page files at once; their order is that of one after the other."""
    from pipelines.ingest_tasks import RejectedRecords, _read_pieces

    folder = tmp_path / "papers"
    folder.mkdir()
    for number in range(24):
        (folder / f"{number:02}.pdf").write_bytes(make_pdf([make_lines([f"paper {number}"], size=40)]))
    (folder / "05.pdf").write_bytes(make_encrypted())
    with ChatServer(lambda body: f"{len(images_of(body)[0])}", seconds=0.2) as server:
        found = []
        for files_at_once in (8, 1):
            endpoint = {"base_url": server.url, "model": "m", "cache": str(tmp_path / f"answers{files_at_once}")}
            pdf = {"route": "vision", "endpoint": endpoint, "long_side_pixels": 64, "files_at_once": files_at_once}
            pieces = [
                {
                    "path": str(path),
                    "kind": "pdf",
                    "fields": {},
                    "part": None,
                    "root": str(folder),
                    "settings": PdfConfig(**pdf).model_dump(mode="json"),
                }
                for path in sorted(folder.iterdir())
            ]
            params = {"root": str(tmp_path), "part": "p", "source": "s", "added": None, "limits": {}, "pieces": pieces}
            with ExitStack() as stack:
                rejected = RejectedRecords(stack, params, "attempts")
                batches = list(_read_pieces(params, rejected))
            found.append([json.loads(batch["metadata"][0].as_py())["path"] for batch in batches])
            assert rejected.counts == {"encrypted": 1}
            assert server.most_at_once == 8
    assert found[0] == found[1] == [f"{number:02}.pdf" for number in range(24) if number != 5]


@pytest.mark.slow
def test_killed_while_it_asks_it_goes_on(tmp_path):
    """The whole process group killed with -9 in the middle: the same command ends with the bytes of a run that nobody killed."""
    folder = tmp_path / "papers"
    folder.mkdir()
    for number in range(30):
        (folder / f"{number:02}.pdf").write_bytes(make_pdf([make_lines([f"paper {number}"], size=40)]))

    def command(corpus: str, url: str) -> list[str]:
        endpoint = {"base_url": url, "model": "m", "cache": f"{corpus}/answers", "concurrency": 2}
        source = {
            "name": "pdf",
            "inputs": [str(folder)],
            "pdf": {"route": "vision", "endpoint": endpoint, "long_side_pixels": 64},
        }
        job = {"corpus": corpus, "step": {"sources": [source], "unit_bytes": 4000}}
        file = tmp_path / f"{corpus.rpartition('/')[2]}.yaml"
        file.write_text(json.dumps(job))
        return [sys.executable, "-m", "pipelines.ingest_documents", "--config", str(file)]

    def start(corpus: str, url: str) -> subprocess.Popen:
        return subprocess.Popen(command(corpus, url), cwd=REPOSITORY, start_new_session=True)

    with ChatServer(lambda body: f"an answer of {len(images_of(body)[0])} letters", seconds=0.1) as server:
        killed = start(str(tmp_path / "killed"), server.url)
        while len(server.bodies) < 12:
            assert killed.poll() is None
            time.sleep(0.02)
        os.killpg(killed.pid, signal.SIGKILL)
        killed.wait(timeout=60)
        time.sleep(0.5)  # what was under way is over
        asked = len(server.bodies)
        assert asked < 30
        assert start(str(tmp_path / "killed"), server.url).wait(timeout=300) == 0
        again = len(server.bodies)
        assert start(str(tmp_path / "whole"), server.url).wait(timeout=300) == 0
        assert len(server.bodies) - again == 30
    assert again <= 30 + 2 * 4  # two requests under way in each of a few workers
    shards = [sorted((tmp_path / name).rglob("documents/**/*.parquet")) for name in ("killed", "whole")]
    assert [path.name for path in shards[0]] == [path.name for path in shards[1]] != []
    assert [path.read_bytes() for path in shards[0]] == [path.read_bytes() for path in shards[1]]
