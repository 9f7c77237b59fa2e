"""Which language a document is in, by a library's detector or by a fastText language model; its paragraphs' languages and its scripts.

Legend: N documents, L labels, S segments (lines or paragraphs) of all documents together.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, field_validator, model_validator

from dolma_py.arrow_buffers import build_list, view_text
from dolma_py.config import Config
from dolma_py.documents import SPANS
from dolma_py.errors import ConfigError
from dolma_py.spans import Spans, build_spans
from taggers import language_kernels as kernels
from taggers.characters import character_table
from taggers.fasttext_model import check_fingerprint, check_label, load_model, score_texts
from taggers.langid import knows_nothing, load_langid, score_langid
from taggers.scripts import DENSE_CHARS, NAMES, count_scripts, join_scripts, name_scripts, weight_table

UNDETERMINED = "und"  # ISO 639-2
OTHER = "other"  # label of a first model for languages that are not its own
LANGID_MIN_SCORE = 0.05  # of 41,149 test sentences 18 score less, 5 of them right (docs/language.md)
LANGID_BYTES = 1000  # more changes few answers and costs time in proportion
NUM_PIECES = 3

_MIN_SCORES = {"langid": LANGID_MIN_SCORE, "fasttext": 0.0}

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


class LanguageTaggerConfig(Config):
    """Detector, how much of a text it sees, and what is written besides the language."""

    NOT_IDENTITY: ClassVar[tuple[str, ...]] = ("model_path", "first_model_path")

    detector: Literal["langid", "fasttext"] = Field(
        "langid", description="langid: py3langid's own model; fasttext: model_path"
    )
    model_path: str = Field(
        "", description="local path of a fastText language model such as lid.176.bin or lid.176.ftz"
    )
    model_fingerprint: str = Field("", description="xxh3-128 of that file; checked when given, else filled in")
    max_bytes: int | None = Field(
        None,
        ge=0,
        description=f"UTF-8 bytes of a text that the detector reads, in `pieces`; 0: all; null: {LANGID_BYTES} with langid, all with fasttext",
    )
    pieces: int = Field(
        NUM_PIECES,
        ge=1,
        le=100,
        description="of equal length and spread evenly from a longer text's start to its end, that max_bytes are read in; 1: its start alone",
    )
    min_chars: int = Field(
        20,
        ge=0,
        description='texts with fewer characters, outer white space apart, get "und"; a Chinese character, kana or Hangul syllable counts as '
        f"{DENSE_CHARS}",
    )
    min_score: float | None = Field(
        None,
        ge=0,
        le=1,
        description=f'answers of the detector with a smaller probability become "und"; null: {LANGID_MIN_SCORE} with langid, 0 with fasttext, '
        "whose scores are on another scale",
    )
    languages: list[str] = Field(
        [],
        description="the answers that are possible, as the model writes them; empty: all. langid's scores are then shares among them",
    )
    first_model_path: str = Field(
        "",
        description="local path of a fastText model of languages that the detector lacks, asked first: the most probable of its labels but "
        f'"{OTHER}" stands if its probability is first_min_score or more; empty: none',
    )
    first_model_fingerprint: str = Field("", description="xxh3-128 of that file; checked when given, else filled in")
    first_min_score: float = Field(
        0.05, ge=0, le=1, description="probability from which the first model's answer stands"
    )
    scores: list[str] = Field([], description="languages whose probability is written too, as score_<language>")
    segments: Literal["none", "lines", "paragraphs"] = Field(
        "none", description="whether lines, or paragraphs parted by blank lines, get a language each"
    )
    scripts: bool | list[str] = Field(
        False,
        description="whether the most frequent script and its share of the letters are written; a list of codes, such as [Latn, Cyrl]: the "
        "shares of these too, as script_frac_<code>",
    )

    @field_validator("scripts")
    @classmethod
    def _check_scripts(cls, scripts: bool | list[str]) -> bool | list[str]:
        wrong = [code for code in scripts if code not in NAMES] if isinstance(scripts, list) else []
        if wrong or (isinstance(scripts, list) and (not scripts or len(set(scripts)) < len(scripts))):
            raise ValueError(f"expected true, false or codes of {', '.join(NAMES)}, each once; got {wrong or scripts}")
        return scripts

    @model_validator(mode="after")
    def _check_model(self) -> LanguageTaggerConfig:
        if (self.detector == "fasttext") != bool(self.model_path):
            raise ValueError("model_path is needed with detector fasttext, and only there")
        if self.max_bytes is not None and 0 < self.max_bytes < 16 * self.pieces:
            raise ValueError(f"max_bytes: expected 0, or {16 * self.pieces} and more for {self.pieces} pieces")
        return self


class _Answers(NamedTuple):
    labels: list[str | None]  # None: nothing is known
    scores: Floats  # of that label; NaN with None
    asked: Floats  # (rows, scores asked for)


class LanguageTagger:
    """Writes `lang` (ISO 639-1 or -3 as the model has it, "und" for short texts and where nothing
    is likely) and `lang_score` under attributes/language-v3.

    lang_score is the probability of `lang`, float32 in [0, 1]; null with "und". Olmo 3's web pool keeps en with a score of
    0.65 or more by fastText's lid.176 (report, section 3.4.1); scores of other detectors are not on that scale. By options also:

    score_<language>    float32, probability of that language, whatever `lang` is; null with "und"
    segments            spans of the lines or paragraphs that have a language, score: its probability
    segment_langs       list of their languages, in the same order
    lang_frac           float32, share of the segments' bytes that are in `lang`; null without segments
    script              ISO 15924 code of the most frequent script ("Zyyy" without letters of any; Jpan: Han and kana of Japanese)
    script_frac         float32, its share of the letters and marks; null with "Zyyy"
    script_frac_<code>  float32, that script's share of them; null without letters of any
    """

    config_model = LanguageTaggerConfig
    name = "language"
    version = 3  # 2: py3langid by a kernel; 3: pieces of the whole text, East Asian characters counted as more, unlikely answers und

    def __init__(self, config: LanguageTaggerConfig) -> None:
        self.config = config
        if config.detector == "langid":
            self.langid = load_langid(tuple(config.languages))
            self.labels = self.langid.labels
            self._check_languages()
        else:
            self.model = load_model(config.model_path)
            check_fingerprint(self.model, config.model_fingerprint, "language.model_fingerprint")
            self.labels = self.model.labels
            for language in config.languages + config.scores:
                check_label(self.model, language, "language.languages")
            self.config = config.model_copy(update={"model_fingerprint": self.model.fingerprint})
        self.min_score = np.float32(config.min_score if config.min_score is not None else _MIN_SCORES[config.detector])
        self.first = None
        if config.first_model_path:
            self.first = load_model(config.first_model_path)
            check_fingerprint(self.first, config.first_model_fingerprint, "language.first_model_fingerprint")
            self.config = self.config.model_copy(update={"first_model_fingerprint": self.first.fingerprint})
        self.asked = [self.labels.index(language) for language in config.scores]
        self.chosen = np.array([not config.languages or label in config.languages for label in self.labels])
        self.schema = pa.schema(list(self._fields()))

    def _check_languages(self) -> None:
        for language in self.config.scores:
            if language not in self.labels:
                raise ConfigError(
                    "language.scores", language, "no such language in the model, or not among `languages`"
                )

    def _fields(self) -> Any:
        yield from [("lang", pa.string()), ("lang_score", pa.float32())]
        yield from [(f"score_{language}", pa.float32()) for language in self.config.scores]
        if self.config.segments != "none":
            yield from [("segments", SPANS), ("segment_langs", pa.list_(pa.string())), ("lang_frac", pa.float32())]
        if self.config.scripts:
            yield from [("script", pa.string()), ("script_frac", pa.float32())]
            yield from [(f"script_frac_{code}", pa.float32()) for code in self._asked_scripts()]

    def _asked_scripts(self) -> list[str]:
        return self.config.scripts if isinstance(self.config.scripts, list) else []

    def tag(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """One language per document, and what the options ask for."""
        data, offsets = view_text(batch.column("text"))
        answers = self._answer(data, offsets[:-1], offsets[1:])
        langs = np.array([label or UNDETERMINED for label in answers.labels], object)
        columns = [pa.array(langs, pa.string()), _nullable(answers.scores)]
        columns += [_nullable(answers.asked[:, place]) for place in range(len(self.asked))]
        if self.config.segments != "none":
            columns += self._tag_segments(data, offsets, langs)
        if self.config.scripts:
            columns += _tag_scripts(data, offsets, self._asked_scripts())
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def _answer(self, data: Bytes, starts: Ints, ends: Ints) -> _Answers:
        """Of each data[start:end]; nothing for texts that are too short."""
        limit = self.config.max_bytes
        if limit is None:
            limit = LANGID_BYTES if self.config.detector == "langid" else 0
        is_long = np.empty(len(starts), np.bool_)
        kernels.long_enough_kernel(
            data, starts, ends, character_table(), weight_table(), self.config.min_chars, is_long
        )
        rows = np.flatnonzero(is_long)
        labels: list[str | None] = [None] * len(starts)
        scores, asked = (
            np.full(len(starts), np.nan, np.float32),
            np.full((len(starts), len(self.asked)), np.nan, np.float32),
        )
        if len(rows):
            sampled = data, starts[rows], ends[rows]
            if limit:
                sampled = sample_pieces(*sampled, max_bytes=limit, num_pieces=self.config.pieces)
            find = self._ask_langid if self.config.detector == "langid" else self._ask_fasttext
            best, of_best, of_asked = find(*sampled)
            unsure = ~(of_best >= self.min_score)  # NaN is
            best[unsure], of_best[unsure], of_asked[unsure] = -1, np.nan, np.nan
            scores[rows], asked[rows] = of_best, of_asked
            for row, label in zip(rows.tolist(), best.tolist(), strict=True):
                labels[row] = self.labels[label] if label >= 0 else None
            if self.first is not None:
                own = np.array([label != OTHER for label in self.first.labels])
                (first,) = score_texts([self.first], *sampled, chosen=[own])
                shares = first.best_probabilities()
                for place in np.flatnonzero(shares >= self.config.first_min_score).tolist():
                    labels[rows[place]], scores[rows[place]] = self.first.labels[first.best[place]], shares[place]
        return _Answers(labels, scores, asked)

    def _ask_langid(self, data: Bytes, starts: Ints, ends: Ints) -> tuple[Ints, Floats, Floats]:
        texts = [
            data[start:end].tobytes().decode("utf-8", "ignore").strip()
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
        ]
        scores = score_langid(self.langid, texts)
        best = np.argmax(scores, axis=1)
        # white space where the text is read says nothing, however long it is
        best[[not text for text in texts]] = -1
        best[knows_nothing(self.langid, scores)] = -1
        scores[best < 0] = np.nan
        return best, scores[np.arange(len(best)), best], scores[:, self.asked]

    def _ask_fasttext(self, data: Bytes, starts: Ints, ends: Ints) -> tuple[Ints, Floats, Floats]:
        (found,) = score_texts([self.model], data, starts, ends, chosen=[self.chosen])
        asked = [found.probabilities(label) for label in self.asked]
        columns = np.stack(asked, axis=1) if asked else np.empty((len(starts), 0), np.float32)
        return found.best, found.best_probabilities(), columns

    def _tag_segments(self, data: Bytes, offsets: Ints, langs: npt.NDArray[Any]) -> list[pa.Array]:
        segments = split_segments(data, offsets, by_lines=self.config.segments == "lines")
        answers = self._answer(data, segments.starts, segments.ends)
        known = np.array([label is not None for label in answers.labels], np.bool_)
        found = np.array(answers.labels, object)
        document = np.repeat(np.arange(len(offsets) - 1), np.diff(segments.offsets))
        sizes = segments.ends - segments.starts
        in_lang = np.bincount(document, sizes * (known & (found == langs[document])), len(langs))
        whole = np.bincount(document, sizes * known, len(langs))
        counts = np.bincount(document, known, len(langs)).astype(np.int64)
        spans = Spans(
            np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]),
            (segments.starts - offsets[:-1][document])[known],
            (segments.ends - offsets[:-1][document])[known],
        )
        share = np.where(whole > 0, in_lang / np.maximum(whole, 1), np.nan).astype(np.float32)
        names = pa.array(found[known].tolist(), pa.string())
        return [build_spans(spans, answers.scores[known]), build_list(names, spans.offsets), _nullable(share)]


def _nullable(values: Floats) -> pa.Array:
    return pa.array(np.ascontiguousarray(values), pa.float32(), mask=np.isnan(values))


def _tag_scripts(data: Bytes, offsets: Ints, asked: list[str]) -> list[pa.Array]:
    counts = count_scripts(data, offsets)
    codes, sizes = name_scripts(counts)
    total = counts[:, 1:].sum(axis=1)
    letters = join_scripts(counts)
    shares = [
        np.where(total > 0, some / np.maximum(total, 1), np.nan).astype(np.float32)
        for some in (sizes, *(letters[:, NAMES.index(code)] for code in asked))
    ]
    return [pa.array(codes, pa.string()), *map(_nullable, shares)]


def sample_pieces(
    data: Bytes, starts: Ints, ends: Ints, *, max_bytes: int, num_pieces: int
) -> tuple[Bytes, Ints, Ints]:
    """Of each longer text `num_pieces` pieces of max_bytes // num_pieces bytes, evenly spread from its start to its end; (bytes, starts, ends).

    Pieces are cut to whole characters and parted by a line feed. Texts of max_bytes and less are whole.

    Parameters
    ----------
    data : uint8 (B,)           texts
    starts, ends : int64 (N,)   text i is data[starts[i]:ends[i]]; no byte outside is looked at
    """
    sizes = ends - starts
    out = np.empty(int(np.where(sizes > max_bytes, max_bytes + num_pieces, sizes).sum()), np.uint8)
    offsets = np.empty(len(starts) + 1, np.int64)
    kernels.sample_pieces_kernel(data, starts, ends, max_bytes, num_pieces, out, offsets)
    return out, offsets[:-1], offsets[1:]


def split_segments(data: Bytes, offsets: Ints, *, by_lines: bool) -> Spans:
    """Lines, or paragraphs parted by blank lines, that are not blank, without outer white space; starts and ends are positions in `data`.

    Parameters
    ----------
    data : uint8 (B,)           texts, back to back
    offsets : int64 (N + 1,)    text i is data[offsets[i]:offsets[i + 1]]
    """
    bounds = np.empty(len(offsets), np.int64)
    starts, ends = np.empty(8 * len(offsets), np.int64), np.empty(8 * len(offsets), np.int64)
    count = int(kernels.split_segments_kernel(data, offsets, by_lines, starts, ends, bounds))
    if count > len(starts):
        starts, ends = np.empty(count, np.int64), np.empty(count, np.int64)
        kernels.split_segments_kernel(data, offsets, by_lines, starts, ends, bounds)
    return Spans(bounds, starts[:count], ends[:count])
