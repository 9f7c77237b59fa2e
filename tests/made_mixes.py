"""Small mixes, tokenized in this process from random documents with edits, for tests of what reads shards."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

from hypothesis import strategies as st

from dolma_py import manifest, views
from dolma_py.corpus import Corpus, read_group
from dolma_py.trace_document import trace_document
from dolma_py.trace_token import trace_token
from dolma_py.views import Step, View
from mixers.fim import FimConfig
from pipelines import make_tokens, sample_mix
from pipelines.make_tokens import MakeTokensConfig
from pipelines.steps import StepContext
from pipelines.units import UnitTimes
from tests import tiny_corpus

SPECIALS = ("<|endoftext|>", "<|pad|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>")
STEPS = [
    Step(name="cut", attributes="a-v1", edit="spans"),
    Step(name="flagged", attributes="a-v1", keep="flag"),
    Step(name="web only", attributes="b-v1", keep="n >= 0", sources=["web"]),
    Step(name="cut more", attributes="b-v1", edit="spans"),
    Step(name="long enough", min_text_bytes=1),
]


class MadeDocument(NamedTuple):
    """One document and all that decides what becomes of it."""

    id: str
    text: str
    source: str
    attributes: dict[str, dict[str, Any]]  # of the sets a-v1 and b-v1
    copies: int
    is_heldout: bool

    def kept_bytes(self) -> list[int]:
        """Places in the UTF-8 of the text that both edits leave, where no rule drops the document."""
        gone = {
            place for values in self.attributes.values() for span in values["spans"] for place in range(span["start"], span["end"])
        }  # fmt: skip
        return [place for place in range(len(self.text.encode())) if place not in gone]

    def fate(self) -> str:
        """What `trace document` must say: the verdict, or the step that drops it."""
        if self.attributes["a-v1"]["flag"] is not True:
            return "flagged"
        if self.source == "web" and (self.attributes["b-v1"]["n"] is None or self.attributes["b-v1"]["n"] < 0):
            return "web only"
        if not self.kept_bytes():
            return "long enough"
        return "held out" if self.is_heldout else "written" if self.copies else "sampled zero times"


@st.composite
def made_documents(draw: st.DrawFn) -> list[list[MadeDocument]]:
    """Row groups of documents with edits, rules, copies and ids that are hard to write in a line."""
    made: list[list[MadeDocument]] = []
    number = 0
    for _ in range(draw(st.integers(1, 3))):
        group = []
        for _ in range(draw(st.integers(0, 3))):
            text = draw(st.text("ab \n\u00e9\u4e2d\U0001f600<|_", max_size=25))
            values = {name: dict(draw(tiny_corpus.attribute_rows(text))) for name in ("a-v1", "b-v1")}
            values["a-v1"]["flag"] = draw(st.sampled_from([True, True, True, False, None]))
            values["b-v1"]["n"] = draw(st.sampled_from([0, 1, 2, -1, None]))
            heldout = draw(st.sampled_from([False] * 5 + [True]))
            name = draw(st.sampled_from(["", ',"', "\n", "\u00e9", "#fim-"])) + str(number)
            source = draw(st.sampled_from(["web", "code"]))
            group.append(MadeDocument(name, text, source, values, 0 if heldout else draw(st.integers(0, 3)), heldout))
            number += 1
        made.append(group)
    return made


def write_mix(
    root: str, groups: list[list[MadeDocument]], tokenizer: str, *, fim: FimConfig | None = None
) -> tuple[Corpus, View]:
    """A corpus of one shard, its view STEPS, and tokens/mix drawn from it, as a run of a recipe leaves them.

    pipelines.steps.run_units must be run_in_order.
    """
    rows = [[{"id": one.id, "text": one.text, "source": one.source} for one in group] for group in groups]
    made = tiny_corpus.write_corpus(root, [rows])
    for name in ("a-v1", "b-v1"):
        tiny_corpus.write_attributes(made, name, [[[one.attributes[name] for one in group] for group in groups]])
    drawn = [[{"copies": one.copies, "is_heldout": one.is_heldout, "bucket": 0} for one in group] for group in groups]
    tiny_corpus.write_attributes(made, "sample-v1", [drawn], sample_mix.SET_SCHEMA)
    view = made.load_view(None).extend("view", STEPS)
    views.save_view(view, made.path("views", "view.yaml"))
    context = StepContext(lambda: None, made, view, "s", "runs/r/00-s", "f", 7, {}, split_bytes=1)
    result = make_tokens.run(context, MakeTokensConfig(mix="mix", tokenizer=tokenizer, tokens_per_part=1024, fim=fim))
    manifest.write_manifest(made.path("runs/r/00-s"), {
        "kind": "tokenize", "facts": result.facts, "config": {"sample": "sample-v1"}, "view": view.name,
        "view_fingerprint": view.fingerprint, "attributes": {},
    })  # fmt: skip
    return made, view


def run_in_order(spark, units, work, *, done, attempts, **_):
    """The units, one after another, in this process; in the place of pipelines.steps.run_units."""
    for unit in units:
        done.publish(unit.name, *work(unit.params, attempts))
    return UnitTimes(0.0, 0)


def count_fates(corpus: Corpus) -> dict[str, int]:
    """Documents by what `trace document` says of them, a verdict or the step that dropped them, and their copies.

    The last token of text of each copy is traced, and must end the document's edited text.
    """
    told: Counter[str] = Counter()
    options: dict[str, Any] = {"mix": None, "view": None, "with_attributes": False}
    for shard in corpus.read_listing().shards:
        groups = [read_group(corpus, shard, group, ["id"]) for group in range(len(shard.row_groups))]
        for name in [name for group in groups for name in group.column("id").to_pylist()]:
            (fate,) = trace_document(corpus, name, **options)["fates"]
            told[fate["steps"][-1]["step"] if fate["verdict"] == "dropped" else fate["verdict"]] += 1
            told["copies"] += len(fate["copies"])
            for copy in fate["copies"]:
                found = trace_token(corpus, f"{copy['mix']}/{copy['part']}:{copy['end'] - 2}", **options)
                assert (found["document"]["id"], found["edited"][1]) == (name, found["document"]["edited_bytes"])
    return dict(told)
