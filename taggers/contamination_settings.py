"""Settings of decontamination, and the named ones.

Presets; what is given beside one wins over it. Lengths are in tokens of `tokenizer`: with words in its place they mean about 4/3 as much text.

`decon`             decon's default: mode decon alone.
`olmo3-synth`       the released configuration for Olmo 3's synthetic midtraining data.
`olmo3-web`         the released configuration for its web data; passages are not looked at.
`olmo3-posttrain`   Olmo 3's rule for post-training data (A.5): 8-grams, at least half of an item's; n-grams mostly of one-character tokens
                    are ignored. Phrases that are common in a task's items go to `common_phrases`.
`gpt3-13-grams`     any 13 words in a row of an item (GPT-3, appendix C).
`every-8-grams`     any 8 words in a row of an item, each a span. It costs much clean text: see EIGHT_GRAMS_COST.

The first three need decon's vocabulary, cl100k_base, in `tokenizer` for decon's own tokens; their numbers stand without one too.
Not equal to decon in any of them: see taggers/contamination.py.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from dolma_py.config import Config, OptionError
from dolma_py.errors import name_known
from taggers.ngram_index import ItemRules
from taggers.ngram_score_kernels import Settings

_DECON = "decon's default"
_NEVER = 2.0  # no overlap reaches it
# what is another number in the other modes
MODES: dict[str, dict[str, Any]] = {
    "aligned": {},
    "decon": {"ngram_tokens": 5, "final_mark": None, "min_item_tokens": 20},
    "ngrams": {"ngram_tokens": 13},
}
# what one mode alone reads; given to another it is an error, lest it be believed
OWN_OPTIONS: dict[str, tuple[str, ...]] = {
    "aligned": ("question_alone", "short_question_alone", "alone_start_tokens", "alone_end_tokens"),
    "decon": (
        "stride_tokens", "max_misses", "hot_ngram_items", "whole_short_questions", "decay_start_tokens", "decay_end_tokens",
        "answer_ngram_tokens",
    ),
    "ngrams": ("min_overlap", "plain_parts"),
}  # fmt: skip
_OLMO3: dict[str, Any] = {"mode": "decon", "short_answer_tokens": 1, "answer_ngram_tokens": 2}
_EVERYTHING = ["passage", "question", "answer"]
PRESETS: dict[str, dict[str, Any]] = {
    "decon": {"mode": "decon"},
    "olmo3-synth": _OLMO3 | {
        "threshold": 0.78, "decay_start_tokens": 5, "decay_end_tokens": 26, "answer_window_tokens": 50,
        "long_answer_window_tokens": 50,
    },
    "olmo3-web": _OLMO3 | {
        "threshold": 0.88, "decay_start_tokens": 25, "decay_end_tokens": 50, "answer_window_tokens": 20,
        "long_answer_window_tokens": 20, "use_passages": False,
    },
    "olmo3-posttrain": {"mode": "ngrams", "ngram_tokens": 8, "min_overlap": 0.5, "max_single_chars": 0.5},
    "gpt3-13-grams": {"mode": "ngrams", "ngram_tokens": 13, "plain_parts": _EVERYTHING},
    "every-8-grams": {"mode": "ngrams", "ngram_tokens": 8, "plain_parts": _EVERYTHING},
}  # fmt: skip
EIGHT_GRAMS_COST = (
    "contamination: every run of {n} words that an item has is marked, however common: phrases, quotations and source texts of the items "
    "go with them. Look at the spans before you drop or cut anything, or use mode aligned."
)


class ContaminationTaggerConfig(Config):
    """Items to look for and the thresholds; defaults are decon's where it has them."""

    NOT_IDENTITY: ClassVar[tuple[str, ...]] = (
        "items_paths", "evaluation_sets", "evaluation_folder", "preset", "tokenizer",
    )  # fmt: skip

    preset: str | None = Field(
        None, description=f"named settings, one of {', '.join(PRESETS)}; null: the defaults here"
    )
    evaluation_sets: str | None = Field(
        None, description="registry of evaluation sets: a .yaml file, or the packaged `benchmarks`"
    )
    evaluation_folder: str | None = Field(None, description="what {folder} stands for in the registry's paths")
    items_paths: tuple[str, ...] = Field(
        (), description="JSON lines files of items: id, question; answer, passage and benchmark may be left out"
    )
    items_fingerprint: str = Field("", description="of the items in order; checked when given, else filled in")
    mode: Literal["aligned", "decon", "ngrams"] = Field(
        "aligned",
        description="aligned: question and answer word by word in their order; decon: its search; ngrams: any shared n-gram",
    )
    tokenizer: str | None = Field(
        None,
        description="tokenizer.json, a folder with one, or a hub name, of a byte-level BPE vocabulary; null: lower-cased words",
    )
    tokenizer_fingerprint: str = Field("", description="of the vocabulary; checked when given, else filled in")
    ngram_tokens: int = Field(3, ge=1, le=64, description="tokens of an n-gram; 5 in mode decon, 13 in mode ngrams")
    stride_tokens: int = Field(
        10, ge=1, description=f"mode decon: every how many tokens a document is probed; {_DECON}"
    )
    max_misses: int = Field(
        11, ge=1, description=f"mode decon: n-grams in a row without the item that end its expansion; {_DECON}"
    )
    hot_ngram_items: int = Field(
        2000, ge=1, description=f"mode decon: n-grams of more items start no expansion, nor of 2 sqrt(items); {_DECON}"
    )
    threshold: float = Field(0.8, gt=0, le=1, description=f"score from which a document is contaminated; {_DECON}")
    question_alone: float | None = Field(
        0.65,
        gt=0,
        le=1,
        description="mode aligned: share of a long question that contaminates without its answer, whatever the threshold; null: never, as decon",
    )
    short_question_alone: float = Field(
        0.9,
        gt=0,
        le=1,
        description="mode aligned: share that a question of alone_start_tokens needs without its answer",
    )
    alone_start_tokens: int = Field(
        7,
        ge=1,
        description="mode aligned: questions of fewer distinct tokens of two bytes or more never count alone",
    )
    alone_end_tokens: int = Field(
        20,
        ge=2,
        description="mode aligned: questions of so many such tokens or more need question_alone, linear in between",
    )
    whole_short_questions: bool = Field(
        True,
        description=f"mode decon: short questions must be found wholly even with a long passage or answer; {_DECON}",
    )
    decay_start_tokens: int = Field(
        20, ge=0, description=f"mode decon: items of up to so many tokens must match wholly; {_DECON}"
    )
    decay_end_tokens: int = Field(
        50, ge=1, description=f"mode decon: items of so many tokens need the threshold alone; {_DECON}"
    )
    short_answer_tokens: int = Field(
        3, ge=1, description=f"answers of up to so many tokens are looked for token by token; {_DECON}"
    )
    answer_window_tokens: int = Field(
        50, ge=1, description=f"tokens after the question that hold a short answer; {_DECON}"
    )
    answer_ngram_tokens: int = Field(3, ge=1, description=f"mode decon: n-grams of longer answers; {_DECON}")
    long_answer_window_tokens: int = Field(
        100, ge=1, description=f"window of longer answers, at least twice their length; {_DECON}"
    )
    passage_ngram_tokens: int = Field(4, ge=1, description=f"n-grams of passages; {_DECON}")
    passage_window_tokens: int = Field(
        100, ge=1, description=f"window before the question, at least twice the passage's length; {_DECON}"
    )
    passage_max_misses: int = Field(2, ge=0, description=f"n-grams in a row that a passage may lack; {_DECON}")
    use_answers: bool = Field(True, description=f"answers count; {_DECON}")
    use_passages: bool = Field(True, description=f"passages count; {_DECON}")
    final_mark: str | None = Field(
        "####",
        min_length=1,
        description="stands in worked answers before the final one, which counts like the whole; GSM8K's; null: none, as decon",
    )
    min_item_tokens: int = Field(
        15,
        ge=1,
        description="items with fewer in question, answer and passage are left out; decon: 20 BPE tokens, about 15 words",
    )
    min_unique_tokens: int = Field(4, ge=1, description=f"items with fewer different ones are left out; {_DECON}")
    min_overlap: float = Field(
        0.0, ge=0, le=1, description="mode ngrams: least share of an item's n-grams; Olmo 3 post-training: 0.5"
    )
    plain_parts: tuple[Literal["question", "answer", "passage"], ...] = Field(
        ("question",), min_length=1, description="mode ngrams: parts of an item that n-grams are taken from"
    )
    max_single_chars: float = Field(
        1.0,
        ge=0,
        le=1,
        description="n-grams with a greater share of one-character tokens are ignored; post-training: 0.5",
    )
    common_phrases: dict[str, tuple[str, ...]] = Field(
        {},
        description='benchmark, or "" for all: phrases that its items share; n-grams that stand in them by more than half are ignored',
    )

    @model_validator(mode="before")
    @classmethod
    def _apply_preset(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        name = values.get("preset")
        chosen = PRESETS[name] | values if isinstance(name, str) and name in PRESETS else values
        mode = chosen.get("mode")
        return MODES[mode] | chosen if isinstance(mode, str) and mode in MODES else chosen

    @field_validator("preset")
    @classmethod
    def _check_preset(cls, name: str | None) -> str | None:
        if name is not None and name not in PRESETS:
            raise ValueError(f"no such preset. {name_known(name, PRESETS)}")
        return name

    @model_validator(mode="after")
    def _check_lengths(self) -> ContaminationTaggerConfig:
        if not self.items_paths and self.evaluation_sets is None:
            raise ValueError("expected evaluation_sets or items_paths")
        if self.evaluation_folder is not None and self.evaluation_sets is None:
            rule, hint = (
                "expected evaluation_sets with it",
                "Give evaluation_sets, a registry whose paths name {folder}.",
            )
            raise OptionError("evaluation_folder", self.evaluation_folder, rule, hint)
        for mode, names in OWN_OPTIONS.items():
            given = [name for name in names if name in self.model_fields_set and getattr(self, name) is not None]
            if given and mode != self.mode:
                rule = f"only mode {mode} reads it, and the mode is {self.mode}"
                raise OptionError(given[0], getattr(self, given[0]), rule, f"Leave it out, or set mode: {mode}.")
        lower_bounds = {
            "decay_end_tokens": ("above", "decay_start_tokens", self.decay_end_tokens > self.decay_start_tokens),
            "alone_end_tokens": ("above", "alone_start_tokens", self.alone_end_tokens > self.alone_start_tokens),
            "short_question_alone": ("at least", "question_alone", self.short_question_alone >= (self.question_alone or 0.0)),
        }  # fmt: skip
        for name, (relation, other, holds) in lower_bounds.items():
            if not holds:
                raise OptionError(
                    name, getattr(self, name), f"expected {relation} {other}, which is {getattr(self, other)}"
                )
        if self.mode == "decon" and self.answer_ngram_tokens > self.short_answer_tokens + 1:
            rule = f"expected at most short_answer_tokens + 1, which is {self.short_answer_tokens + 1}, else some answers have no n-gram"
            raise OptionError("answer_ngram_tokens", self.answer_ngram_tokens, rule)
        return self

    @property
    def settings(self) -> Settings:
        """The numbers that kernels take."""
        plain = self.mode == "ngrams"
        return Settings(
            ngram_tokens=self.ngram_tokens,
            stride_tokens=self.stride_tokens,
            max_misses=self.max_misses,
            hot_ngram_items=self.hot_ngram_items,
            threshold=self.min_overlap if plain else self.threshold,
            decay_start_tokens=self.decay_start_tokens,
            decay_end_tokens=self.decay_end_tokens,
            short_answer_tokens=self.short_answer_tokens,
            answer_window_tokens=self.answer_window_tokens,
            answer_ngram_tokens=self.answer_ngram_tokens,
            long_answer_window_tokens=self.long_answer_window_tokens,
            passage_ngram_tokens=self.passage_ngram_tokens,
            passage_window_tokens=self.passage_window_tokens,
            passage_max_misses=self.passage_max_misses,
            whole_short_questions=self.whole_short_questions,
            question_alone=_NEVER if self.question_alone is None else self.question_alone,
            short_question_alone=self.short_question_alone,
            alone_start_tokens=self.alone_start_tokens,
            alone_end_tokens=self.alone_end_tokens,
            plain=plain,
            aligned=self.mode == "aligned",
        )

    @property
    def rules(self) -> ItemRules:
        """Which items are looked for."""
        return ItemRules(
            min_tokens=self.min_item_tokens,
            min_unique_tokens=self.min_unique_tokens,
            use_answers=self.use_answers,
            use_passages=self.use_passages,
            final_mark=self.final_mark,
            plain_parts=tuple(self.plain_parts),
            max_single_chars=self.max_single_chars,
            common_phrases=self.common_phrases,
        )

    @property
    def warnings(self) -> list[str]:
        """What the command says before it starts, one sentence each."""
        costly = self.mode == "ngrams" and self.ngram_tokens < 13 and self.min_overlap < 0.5
        return [EIGHT_GRAMS_COST.format(n=self.ngram_tokens)] if costly else []
