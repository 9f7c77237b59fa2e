"""PDF files to documents by both routes; the model is a server on this machine that says what a function says."""

from __future__ import annotations

import base64
import hashlib
import io
import json

import pyarrow as pa
import pypdfium2
import pytest

from dolma_py import pdf_worker
from dolma_py.endpoint import Answer, Endpoint, EndpointConfig
from dolma_py.errors import EndpointError
from dolma_py.formats import FieldMap, Limits, Rejection, read_any
from dolma_py.formats.pdf import PdfConfig, extract_pdf, read_documents
from dolma_py.pdf_process import PdfProcess
from dolma_py.pdf_vision import PAGE_PROMPT, is_looping, parse_page
from dolma_py.pdf_worker import MAX_PAGE_GLYPHS
from tests.chat_server import ChatServer, images_of, question_of
from tests.golden.make_pdf_outputs import RECORD, describe_texts, make_files
from tests.made_pdfs import Text, make_encrypted, make_lines, make_pdf

TEXT = PdfConfig()


@pytest.fixture(scope="module")
def process():
    process = PdfProcess(TEXT.limits)
    yield process
    process.close()


def read(data: bytes, name: str = "a/paper.pdf", limits: Limits = Limits(), **more):
    return list(
        read_any(
            f"/in/{name}", source="s", limits=limits, fields=FieldMap(), added=None, open_stream=lambda path: io.BytesIO(data), root="/in",
            **more,
        )
    )  # fmt: skip


def test_one_file_is_one_document():
    data = make_pdf([make_lines(["A title", "and a line"]), make_lines(["the second page"])])
    (batch,) = read(data)
    (row,) = batch.to_pylist()
    digest = hashlib.sha1(data).hexdigest()
    assert (row["id"], row["source"], row["text"]) == (digest, "s", "A title\nand a line\n\nthe second page")
    assert json.loads(row["metadata"]) == {
        "path": "a/paper.pdf", "sha1": digest, "pdf_version": 1, "pdf_route": "text", "pdf_pages": 2, "pdf_failed_pages": 0,
        "pdf_page_numbers": [[0, 18, 1], [20, 35, 2]],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "bad_pdf"), (b"<html>no PDF</html>", "bad_pdf"), (make_encrypted(), "encrypted"),
        (make_pdf([make_lines(["a"])])[:200], "truncated"), (make_pdf([[]]), "no_text"), (b"%PDF-1.7 x %%EOF", "bad_pdf"),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_a_rejection(data, reason):
    (rejection,) = read(data)
    assert rejection[:4] == ("a/paper.pdf", 1, 0, reason)


def test_a_file_beyond_the_limit_is_not_parsed():
    (rejection,) = read(make_pdf([make_lines(["a"])]), limits=Limits(max_record_bytes=100))
    assert rejection.reason == "too_long"


def test_text_is_where_it_was_before_the_mark():
    (batch,) = read(b"\n\nsome bytes of a mail\n" + make_pdf([make_lines(["a"])]))
    assert batch.column("text").to_pylist() == ["a"]


def test_unreadable_pages_are_bounded(process):
    whole = make_pdf([make_lines([f"page {n}"]) for n in range(300)])
    broken = whole.replace(b"\n34 0 obj\n<</Type/Page/", b"\n34 0 obj\n<</Type/None/", 1)
    found = extract_pdf(broken, TEXT, process)  # 1 of 300 is less than 1 in 250
    assert (found.reason, found.facts["pdf_failed_pages"]) == ("", 1)
    assert "page 11" in found.text and "page 12\n" not in found.text and "page 13" in found.text
    worse = broken.replace(b"\n36 0 obj\n<</Type/Page/", b"\n36 0 obj\n<</Type/None/", 1)
    assert extract_pdf(worse, TEXT, process).reason == "failed_pages"
    strict = extract_pdf(
        make_pdf([make_lines(["a"]), make_lines(["b"])]).replace(b"10 0 obj", b"99 0 obj", 1), TEXT, process
    )
    assert strict.reason == "failed_pages"


def test_a_page_of_too_many_characters_is_told(process):
    page = [Text("0123456789 " * 10, 20, 12_000 - 5 * n, 4) for n in range(2_000)]
    found = extract_pdf(make_pdf([page, make_lines(["short"])], box=(0, 0, 612, 12_100)), TEXT, process)
    assert found.reason == ""
    assert found.facts["pdf_cut_pages"] == 1
    assert 0.9 * MAX_PAGE_GLYPHS < len(found.text) <= MAX_PAGE_GLYPHS + len("\n\nshort")


@pytest.mark.parametrize(("limit", "is_cut"), [(9, False), (8, True)])
def test_where_a_page_is_cut(monkeypatch, limit, is_cut):
    monkeypatch.setattr(pdf_worker, "MAX_PAGE_GLYPHS", limit)
    with pypdfium2.PdfDocument(make_pdf([make_lines(["012345678"])])) as document:
        glyphs, told = pdf_worker.read_glyphs(document[0])
    assert ("".join(glyph.text for glyph in glyphs), told) == ("012345678"[:limit], is_cut)


def test_margins_may_stay(process):
    data = make_pdf([[Text("body of the page", 72, 500), Text("Downloaded by somebody", 72, 8)]])
    assert extract_pdf(data, TEXT, process).text == "body of the page"
    assert (
        extract_pdf(data, PdfConfig(drop_margins=False), process).text == "body of the page\n\nDownloaded by somebody"
    )


def answer_of(text: str, **more) -> Answer:
    return Answer(text=text, finish_reason=more.pop("finish_reason", "stop"), **more)


@pytest.mark.parametrize(
    ("answer", "reading"),
    [
        (answer_of("# Title\n\ntext"), ("# Title\n\ntext", 0, "")),
        (answer_of("```markdown\n# Title\n```"), ("# Title", 0, "")),
        (answer_of("before\n```python\nx\n```"), ("before\n```python\nx\n```", 0, "")),
        (answer_of("EMPTY"), ("", 0, "")),
        (answer_of(" **EMPTY.** "), ("", 0, "")),
        (answer_of("ROTATE 90"), (None, 90, "")),
        (answer_of("`rotate 270`."), (None, 270, "")),
        (answer_of("rotate 90 degrees and drill"), ("rotate 90 degrees and drill", 0, "")),
        (answer_of("text", finish_reason="length"), (None, 0, "cut_off")),
        (answer_of("", finish_reason="refusal"), (None, 0, "refused_page")),
        (answer_of("x", finish_reason="content_filter"), (None, 0, "refused_page")),
        (answer_of("  "), (None, 0, "refused_page")),
        (answer_of("word " + "the same words again, " * 40), (None, 0, "looping")),
        (Answer(failure="timeout"), (None, 0, "timeout")),
    ],
)
def test_answers_of_a_model(answer, reading):
    assert parse_page(answer) == reading


@pytest.mark.parametrize(
    "text", ["", "a", "-" * 5000, "| | | |\n" * 500, "0.5 0.7 " * 3, "\n".join(f"line {n}" for n in range(500))]
)
def test_what_is_no_loop(text):
    assert not is_looping(text)


@pytest.fixture
def vision(tmp_path):
    def make(server: ChatServer, **more) -> PdfConfig:
        endpoint = EndpointConfig(
            base_url=server.url, model="eyes", cache=str(tmp_path / "answers"), first_wait_seconds=0.0, max_tries=2, max_failed_frac=1.0,
            concurrency=4,
        )  # fmt: skip
        return PdfConfig(route="vision", endpoint=endpoint, long_side_pixels=64, **more)

    return make


def pages(number: int) -> bytes:
    """Pages that differ in where their ink is."""
    return make_pdf([[Text(f"own text of page {n}", 20, 300 + n, 40)] for n in range(number)])


def by_image(says):
    """A model that tells pages apart by their pictures: `says(number of the picture, attempt of this picture)`."""
    seen: dict[str, int] = {}
    attempts: dict[str, int] = {}

    def answer(body):
        image = images_of(body)[0]
        attempts[image] = attempts.get(image, -1) + 1
        return says(seen.setdefault(image, len(seen)), attempts[image])

    return answer


def test_a_model_reads_the_pages(process, vision):
    with ChatServer(lambda body: f"image of {len(images_of(body)[0])} bytes") as server:
        settings = vision(server)
        with Endpoint(settings.endpoint) as endpoint:
            found = extract_pdf(pages(3), settings, process, endpoint)
    assert found.reason == ""
    assert found.text.count("image of") == 3
    assert len(server.bodies) == 3 and {question_of(body) for body in server.bodies} == {PAGE_PROMPT}
    assert base64.b64decode(images_of(server.bodies[0])[0].partition(",")[2]).startswith(b"\x89PNG")
    facts = found.facts
    assert (facts["pdf_route"], facts["pdf_pages"], facts["pdf_model"]) == ("vision", 3, "eyes")
    assert (facts["pdf_fallback_pages"], facts["pdf_failed_pages"], facts["pdf_problems"]) == (0, 0, {})
    assert facts["completion_tokens"] == 12


def test_asked_once_ever(process, vision):
    with ChatServer(lambda body: "said") as server:
        settings = vision(server)
        for _ in range(2):
            with Endpoint(settings.endpoint) as endpoint:
                assert extract_pdf(pages(2), settings, process, endpoint).text == "said\n\nsaid"
    assert len(server.bodies) == 2


def test_a_page_is_turned_and_asked_again(process, vision):
    with ChatServer(by_image(lambda number, attempt: "ROTATE 90" if number == 0 else "upright")) as server:
        settings = vision(server)
        with Endpoint(settings.endpoint) as endpoint:
            found = extract_pdf(pages(1), settings, process, endpoint)
    assert (found.text, found.facts["pdf_turned_pages"], found.facts["pdf_fallback_pages"]) == ("upright", 1, 0)
    first, second = (decode_size(images_of(body)[0]) for body in server.bodies)
    assert first == (49, 64) and second == (64, 49)


def decode_size(url: str) -> tuple[int, int]:
    png = base64.b64decode(url.partition(",")[2])
    return int.from_bytes(png[16:20]), int.from_bytes(png[20:24])


def test_a_page_is_asked_again_more_warmly(process, vision):
    loop = "again and again " * 50
    with ChatServer(by_image(lambda number, attempt: loop if attempt < 2 else "good at last")) as server:
        settings = vision(server)
        with Endpoint(settings.endpoint) as endpoint:
            found = extract_pdf(pages(1), settings, process, endpoint)
    assert (found.text, found.facts["pdf_problems"]) == ("good at last", {"looping": 2})
    assert [body["temperature"] for body in server.bodies] == [0.0, 0.1, 0.2]


@pytest.mark.parametrize(("num_pages", "reason"), [(250, ""), (249, "too_many_fallbacks"), (1, "too_many_fallbacks")])
def test_one_page_in_250_may_fall_back(process, vision, num_pages, reason):
    """The rule at its border: 1 in 250 pages is allowed, 1 in 249 is not."""
    with ChatServer(fault=lambda number, body: "400" if is_first(body) else "", answer=lambda body: "read") as server:
        first = base64.b64encode(process.render(pages(1), 0, 1, long_side=64).pages[0].png).decode()

        def is_first(body):
            return images_of(body)[0].endswith(first)

        settings = vision(server, page_tries=2)
        with Endpoint(settings.endpoint) as endpoint:
            found = extract_pdf(
                make_pdf([[Text("own text of page 0", 20, 300, 40)]] + [[]] * (num_pages - 1)),
                settings,
                process,
                endpoint,
            )
    assert found.reason == reason
    if reason:
        told = f"no good answer for 1 of {num_pages} pages: refused 1; page 1: refused (status 400: "
        assert found.said.startswith(told) and "as was wished" in found.said
    if not reason:
        assert found.text.startswith("own text of page 0\n\nread\n\nread")
        assert (found.facts["pdf_fallback_pages"], found.facts["pdf_failed_pages"]) == (1, 0)
        assert found.facts["pdf_problems"] == {"refused": 1}


def test_a_rejection_says_what_the_endpoint_said(tmp_path, vision):
    (tmp_path / "a.pdf").write_bytes(pages(1))
    with ChatServer(fault=lambda number, body: "500") as server:
        settings = vision(server)
        settings = settings.model_copy(update={"endpoint": settings.endpoint.model_copy(update={"max_tries": 1})})
        (rejection,) = read_documents(
            "a.pdf", source="s", limits=Limits(), fields=FieldMap(), added=None, settings=settings,
            open_stream=lambda path: (tmp_path / path).open("rb"),
        )  # fmt: skip
    assert rejection.reason == "too_many_fallbacks"
    assert "server_error 1; page 1: server_error (status 500" in str(rejection.excerpt)


def test_an_empty_page_is_no_fallback(process, vision):
    with ChatServer(by_image(lambda number, attempt: "EMPTY" if number else "text")) as server:
        settings = vision(server)
        settings = settings.model_copy(update={"endpoint": settings.endpoint.model_copy(update={"concurrency": 1})})
        with Endpoint(settings.endpoint) as endpoint:
            found = extract_pdf(pages(2), settings, process, endpoint)
    assert (found.text, found.facts["pdf_page_numbers"]) == ("text", [[0, 4, 1], [4, 4, 2]])


def test_a_server_that_fails_all_is_an_error(process, vision):
    with ChatServer(fault=lambda number, body: "400") as server:
        settings = vision(server)
        settings = settings.model_copy(
            update={"endpoint": settings.endpoint.model_copy(update={"max_failed_frac": 0.5})}
        )
        with Endpoint(settings.endpoint) as endpoint, pytest.raises(EndpointError, match="20 of 20 requests failed"):
            extract_pdf(pages(40), settings, process, endpoint)


def test_reading_by_the_settings_of_a_source(vision):
    with ChatServer(lambda body: "by the model") as server:
        from dolma_py.formats.pdf import read_documents

        (batch,) = read_documents(
            "/in/a.pdf", source="s", limits=Limits(), fields=FieldMap(), added=None,
            open_stream=lambda path: io.BytesIO(pages(1)), root="/in", settings=vision(server),
        )  # fmt: skip
    assert isinstance(batch, pa.RecordBatch) and batch.column("text").to_pylist() == ["by the model"]


@pytest.mark.parametrize(
    "values",
    [{"route": "vision"}, {"route": "text", "endpoint": {"base_url": "http://a/v1", "model": "m", "cache": "c"}}],
)
def test_route_and_endpoint_go_together(values):
    with pytest.raises(ValueError, match="route vision and endpoint go together"):
        PdfConfig.model_validate(values)


def test_rejections_are_told_by_name():
    rejection = read(make_encrypted())[0]
    assert isinstance(rejection, Rejection) and rejection.excerpt.startswith("%PDF-1.7")


def test_recorded_text_guards_the_version():
    """When this fails: see the top of tests/golden/make_pdf_outputs.py."""
    assert describe_texts() == json.loads(RECORD.read_text())


def test_the_recorded_files_show_what_they_are_for(process):
    texts = [extract_pdf(data, TEXT, process).text for data in make_files()]
    prose = "\n".join(f"A line of prose, number {n} of its page." for n in range(12)) + "\n\nAfter a gap."
    assert texts[0] == "\n\n".join([prose] * 4)
    assert texts[1].startswith('<table>\n<tr><th></th><th colspan="2">Left</th>')
    assert texts[2].split("\n")[9:12] == ["left column, line 9", "", "right column, line 0"]
    assert texts[3:] == ["a page on its side", "a page that was cropped"]
