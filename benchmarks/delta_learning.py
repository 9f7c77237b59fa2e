"""The report's first experiment on preferences, in small: fine-tuning on chosen answers beside DPO on (chosen, rejected), from one start.

Run:  python -m benchmarks.delta_learning OUTPUT [--seed 1] [--test 400] [--pairs 2400]
The task has a number as the answer, so that an answer is right or wrong: --family short, one sum in a sentence (a minute or two of one
core in all), or word_problems, two or three steps (dolma_py.word_problems, some of its templates; some 10 minutes).
A small model is trained on sums and questions without answers (`train`), then fine-tuned on worked solutions (`sft`); checkpoints on the
way are the weak models. Chosen answers come from a second run of the same fine-tuning with another order, so they are no better than
the start; rejected ones from an early checkpoint (large delta), from one half way (small) and from the second run itself (none). Nothing
is filtered. Then, from the start: `sft` on the chosen answers, `dpo` on each set of pairs. Runs that are done are not done again.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from dolma_py.word_problems import NAMES, OBJECTS, make_word_problems
from train_bridge.generation import SamplingConfig, generate_batch
from train_bridge.run_evaluation import load_run
from train_bridge.run_preference import dpo
from train_bridge.run_sft import sft
from train_bridge.run_training import train
from train_bridge.text_tokenizer import TextTokenizer

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
TEMPLATES = (2, 5, 9)  # of word_problems, by number: walking, ages, half
SHAPES = {
    "short": "d_model=48 mlp_hidden=192 num_layers=2 num_heads=4 num_kv_heads=4 head_dim=12 window_tokens=64",
    "word_problems": "d_model=64 mlp_hidden=256 num_layers=4 num_heads=4 num_kv_heads=4 head_dim=16 window_tokens=128",
}
MAX_NEW_TOKENS = {"short": 24, "word_problems": 90}
ANSWERS_AT_A_TIME = 200
LIST_IDS, LIST_MASK = pa.list_(pa.uint32()), pa.list_(pa.bool_())


class Question(NamedTuple):
    """One problem."""

    text: str
    answer: str
    solution: str

    @property
    def prompt(self) -> str:
        return f"<|im_start|>user\n{self.text}<|im_end|>\n<|im_start|>assistant\n"

    @property
    def worked(self) -> str:
        return f"{self.solution} The answer is {self.answer}."


def make_questions(num: int, seed: int, *, family: str, without: Sequence[Question] = ()) -> list[Question]:
    """Questions of a family, none twice and none of `without`."""
    seen = {question.text for question in without}
    if family == "short":
        rng, made = random.Random(seed), []
        while len(made) < num:
            a, b = rng.randint(2, 12), rng.randint(2, 12)
            text = f"{rng.choice(NAMES)} has {a} {rng.choice(OBJECTS)} and gets {b} more. How many now?"
            if text not in seen:
                seen.add(text)
                made.append(Question(text, str(a + b), f"{a} + {b} = {a + b}."))
        return made
    items = make_word_problems(num * 10 // len(TEMPLATES) + 20, seed)
    found = [
        Question(str(item["question"]), str(item["answer"]), str(item["solution"]))
        for number, item in enumerate(items)
        if number % 10 in TEMPLATES and item["question"] not in seen
    ]
    return found[:num]


def make_sums(num: int, seed: int, *, family: str) -> list[str]:
    """Lines of the kinds of sums that solutions have."""
    rng = random.Random(seed)
    if family == "short":
        pairs = [(rng.randint(2, 12), rng.randint(2, 12)) for _ in range(num)]
        return [f"{a} + {b} = {a + b}." for a, b in pairs]
    lines = []
    for _ in range(num):
        a, b = rng.randint(2, 15), rng.randint(2, 24)
        c, d = rng.randint(10, 200), rng.randint(3, 90)
        lines.append(
            rng.choice(
                [
                    f"{a} x {b} = {a * b}",
                    f"2 x {c} = {2 * c}",
                    f"{c} + {d} = {c + d}",
                    f"{c + d} - {d} = {c}",
                    f"Half of {2 * c} is {c}",
                ]
            )
        )
    return [f"{line}." for line in lines]


def train_tokenizer(folder: Path, texts: list[str], vocab: int) -> None:
    """Words of the texts, digits one by one."""
    import tokenizers

    pre = tokenizers.pre_tokenizers
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = pre.Sequence([pre.Digits(individual_digits=True), pre.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab, special_tokens=list(SPECIAL), show_progress=False, initial_alphabet=pre.ByteLevel.alphabet()
    )
    tokenizer.train_from_iterator(texts, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))


def common_manifest(tokenizer: Path) -> dict[str, Any]:
    return {
        "version": 1, "vocab_size": json.loads(tokenizer.read_text())["model"]["vocab"].__len__(), "eos_token_id": 0,
        "tokenizer": {"path": "tokenizer.json", "fingerprint": "delta"}, "fingerprint": "delta",
    }  # fmt: skip


def write_shards(folder: Path, tokenizer: Path, documents: list[tuple[list[int], list[bool]]], *, masks: bool) -> None:
    """One token file with sidecar, and with a label mask for fine-tuning."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    ids = np.array([token for document, _ in documents for token in document], dtype="<u2")
    (folder / "token_ids_part_0000.npy").write_bytes(ids.tobytes())
    ends = np.cumsum([len(document) for document, _ in documents]).tolist()
    lines = [
        f"{end - len(document)},{end},{n},made,{n + 1}\n"
        for n, (end, (document, _)) in enumerate(zip(ends, documents, strict=True))
    ]
    (folder / "token_ids_part_0000.csv.gz").write_bytes(gzip.compress("".join(lines).encode(), mtime=0))
    entry = {"path": "token_ids_part_0000.npy", "tokens": len(ids), "documents": len(documents), "checksum": f"{len(ids)}",
             "sidecar": {"path": "token_ids_part_0000.csv.gz", "checksum": "made"}}  # fmt: skip
    if masks:
        mask = np.array([value for _, values in documents for value in values], dtype=np.uint8)
        (folder / "labels_mask_part_0000.npy").write_bytes(mask.tobytes())
        entry["labels_mask"] = {"path": "labels_mask_part_0000.npy", "checksum": "made"}
    manifest = {**common_manifest(tokenizer), "format": "dolma-py-shards", "dtype": "uint16", "tokens": len(ids),
                "documents": len(documents), "files": [entry]}  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))


def write_pairs(folder: Path, tokenizer: Path, pairs: list[tuple[Any, Any]]) -> None:
    """Pairs of (ids, mask) in the form that `dpo` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    columns: dict[str, Any] = {"id": pa.array([f"pair-{n}" for n in range(len(pairs))])}
    for place, side in enumerate(("chosen", "rejected")):
        columns[f"{side}_ids"] = pa.array([pair[place][0] for pair in pairs], LIST_IDS)
        columns[f"{side}_mask"] = pa.array([pair[place][1] for pair in pairs], LIST_MASK)
    for place, side in enumerate(("chosen", "rejected")):
        columns[f"{side}_last"] = pa.array([pair[place][1].index(True) for pair in pairs], pa.int32())
    pq.write_table(pa.table(columns), folder / "pairs_part_0000.parquet")
    entry = {"path": "pairs_part_0000.parquet", "documents": len(pairs), "checksum": "made"}
    manifest = {**common_manifest(tokenizer), "format": "dolma-py-pairs", "template": {"name": "made", "fingerprint": "made"},
                "documents": len(pairs), "files": [entry]}  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))


def conversation(tokenizer: TextTokenizer, prompt: str, answer: str) -> tuple[list[int], list[bool]]:
    """Ids and label mask; the answer and the end of the text are trained on."""
    before, after = tokenizer.encode(prompt), [*tokenizer.encode(answer), 0]
    return before + after, [False] * len(before) + [True] * len(after)


def answer_all(
    run: str, questions: Sequence[Question], *, temperature: float, seed: int, max_new_tokens: int
) -> list[str]:
    """What a model says to each question."""
    _, model, _ = load_run(run)
    folder = Path(run.partition("@")[0])
    tokenizer = TextTokenizer(folder / "tokenizer.json")
    vocab_size = json.loads((folder / "tokens.json").read_text())["vocab_size"]
    sampling = SamplingConfig(max_new_tokens=max_new_tokens, temperature=temperature, top_p=1.0)
    texts: list[str] = []
    for first in range(0, len(questions), ANSWERS_AT_A_TIME):
        part = questions[first : first + ANSWERS_AT_A_TIME]
        prompts = [tokenizer.encode(question.prompt) for question in part]
        seeds = [seed * 1_000_003 + first + n for n in range(len(part))]
        completions = generate_batch(
            model, prompts, sampling=sampling, seeds=seeds, end_ids=(0,), vocab_size=vocab_size
        )
        texts += [tokenizer.decode(completion.ids) for completion in completions]
    return texts


def is_right(question: Question, text: str) -> bool:
    found = re.findall(r"The answer is (-?\d+)\.", text)
    return bool(found) and found[-1] == question.answer


class Experiment:
    """All runs of one seed, below one folder."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments, self.folder, self.seed = (
            arguments,
            Path(arguments.output) / f"seed-{arguments.seed}",
            arguments.seed,
        )
        self.family = arguments.family
        self.test = self._make(arguments.test, 10_000)
        self.fine = self._make(arguments.fine, 20_000 + self.seed, without=self.test)
        self.asked = self._make(arguments.pairs, 30_000 + self.seed, without=self.test + self.fine)
        self.tokenizer_path = self.folder / "tokenizer" / "tokenizer.json"
        if not self.tokenizer_path.is_file():
            texts = [question.text + " " + question.worked for question in self.fine[:4000]]
            train_tokenizer(self.tokenizer_path.parent, texts, arguments.vocab)
        self.tokenizer = TextTokenizer(self.tokenizer_path)
        shape = [f"model.{word}" for word in SHAPES[self.family].split()]
        self.common = [*shape, f"run.num_threads={arguments.threads}", "run.device=cpu"]

    def _make(self, num: int, seed: int, *, without: Sequence[Question] = ()) -> list[Question]:
        return make_questions(num, seed, family=self.family, without=without)

    def train_base(self) -> str:
        """Sums and questions, no solution and no chat."""
        shards = self.folder / "shards-base"
        if not (shards / "manifest.json").is_file():
            stories = self._make(self.arguments.stories, 40_000 + self.seed, without=self.test)
            texts = make_sums(self.arguments.sums, self.seed, family=self.family) + [
                question.text for question in stories
            ]
            random.Random(self.seed).shuffle(texts)
            write_shards(
                shards, self.tokenizer_path, [([*self.tokenizer.encode(text), 0], []) for text in texts], masks=False
            )
        overrides = [*self.common, f"run.steps={self.arguments.base_steps}",
                     f"data.batch_instances={self.arguments.rows}", f"data.micro_batch_instances={self.arguments.rows}",
                     "schedule.peak_lr=4e-3", f"run.init_seed={self.seed}"]  # fmt: skip
        return self._run(train, "base", config="quickstart/pretrain", shards=str(shards), overrides=overrides)

    def fine_tune(
        self, name: str, parent: str, answers: list[tuple[Question, str]], *, epochs: float, lr: float, order: int
    ) -> str:
        shards = self.folder / f"shards-{name}"
        if not (shards / "manifest.json").is_file():
            documents = [conversation(self.tokenizer, question.prompt, text) for question, text in answers]
            write_shards(shards, self.tokenizer_path, documents, masks=True)
        overrides = [*self.common, f"run.epochs={epochs}", f"schedule.peak_lr={lr}", f"data.seed={order}",
                     f"data.batch_instances={self.arguments.rows}", f"data.micro_batch_instances={self.arguments.rows}",
                     f"checkpoints.permanent_every_steps={self.arguments.keep_every}", "checkpoints.ephemeral_every_steps=null"]  # fmt: skip
        return self._run(sft, name, config="quickstart/sft", shards=str(shards), parent=parent, overrides=overrides)

    def prefer(self, name: str, parent: str, chosen: list[str], rejected: list[str]) -> str:
        folder = self.folder / f"pairs-{name}"
        if not (folder / "manifest.json").is_file():
            pairs = [
                (
                    conversation(self.tokenizer, question.prompt, good),
                    conversation(self.tokenizer, question.prompt, bad),
                )
                for question, good, bad in zip(self.asked, chosen, rejected, strict=True)
                if good != bad
            ]
            write_pairs(folder, self.tokenizer_path, pairs)
        overrides = [
            *self.common,
            f"schedule.peak_lr={self.arguments.dpo_lr}",
            f"run.epochs={self.arguments.dpo_epochs}",
        ]
        return self._run(
            dpo,
            f"{name}-{self.arguments.dpo_lr:g}",
            config="quickstart/dpo",
            pairs=str(folder),
            parent=parent,
            overrides=overrides,
        )

    def _run(self, command: Any, name: str, **options: Any) -> str:
        started = time.perf_counter()
        command(output=str(self.folder / name), dry_run=False, **options)
        print(f"  {name}: {time.perf_counter() - started:.0f} s", flush=True)
        return str(self.folder / name)

    def accuracy(self, run: str) -> np.ndarray:
        """1 where the likeliest answer to a held-out question is right."""
        texts = answer_all(run, self.test, temperature=0, seed=0, max_new_tokens=MAX_NEW_TOKENS[self.family])
        return np.array([is_right(question, text) for question, text in zip(self.test, texts, strict=True)])

    def say(self, name: str, run: str, *, seed: int = 0) -> list[str]:
        """Answers to the questions of the pairs, drawn at temperature 1, kept in a file."""
        path = self.folder / f"answers-{name}.json"
        if not path.is_file():
            options = {"temperature": 1.0, "seed": self.seed + seed, "max_new_tokens": MAX_NEW_TOKENS[self.family]}
            path.write_text(json.dumps(answer_all(run, self.asked, **options)))
        texts: list[str] = json.loads(path.read_text())
        return texts


def row(name: str, is_right: np.ndarray, start: np.ndarray | None) -> str:
    """Accuracy with its standard error, and the difference to the start, question by question."""
    share, error = is_right.mean(), is_right.std() / np.sqrt(len(is_right))
    text = f"| {name} | {share:.1%} +- {error:.1%} |"
    if start is None:
        return text + " |"
    difference = is_right.astype(float) - start.astype(float)
    return f"{text} {100 * difference.mean():+.1f} +- {100 * difference.std() / np.sqrt(len(difference)):.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--family", choices=sorted(SHAPES), default="short")
    parser.add_argument("--rows", type=int, default=4, help="of 256 tokens a step; for word_problems 8 is better")
    parser.add_argument("--test", type=int, default=400, help="questions that no run has seen")
    parser.add_argument("--fine", type=int, default=2400, help="worked solutions of the fine-tuning")
    parser.add_argument("--pairs", type=int, default=960, help="questions that chosen and rejected answers are of")
    parser.add_argument("--sums", type=int, default=6000)
    parser.add_argument("--stories", type=int, default=1000)
    parser.add_argument("--base-steps", type=int, default=80)
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--keep-every", type=int, default=25, help="steps between checkpoints of the fine-tuning")
    parser.add_argument("--early", type=int, default=75, help="step of the weak model (large delta)")
    parser.add_argument("--middle", type=int, default=150, help="step of the one half way (small delta)")
    parser.add_argument("--sft-lr", type=float, default=4e-3)
    parser.add_argument("--dpo-lr", type=float, default=1e-4)
    parser.add_argument("--dpo-epochs", type=float, default=1)
    parser.add_argument("--vocab", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    started = time.perf_counter()
    work = Experiment(arguments)
    base = work.train_base()
    worked = [(question, question.worked) for question in work.fine]
    start = work.fine_tune("start", base, worked, epochs=arguments.epochs, lr=arguments.sft_lr, order=1)
    second = work.fine_tune("second", base, worked, epochs=arguments.epochs, lr=arguments.sft_lr, order=2)
    models = {"base": base, "start": start, "second run": second, "early": f"{start}@{arguments.early}",
              "middle": f"{start}@{arguments.middle}"}  # fmt: skip
    scores = {name: work.accuracy(run) for name, run in models.items()}
    print("\n| model | right on held-out questions | |\n|---|---|---|")
    for name, score in scores.items():
        print(row(name, score, None), flush=True)
    said = {name: work.say(name.replace(" ", "-"), models[name]) for name in ("second run", "early", "middle")}
    shares = {
        name: np.mean([is_right(q, text) for q, text in zip(work.asked, texts, strict=True)])
        for name, texts in said.items()
    }
    print("\nanswers that are right: " + ", ".join(f"{name} {share:.1%}" for name, share in shares.items()))
    chosen = said["second run"]
    again = work.say("again", second, seed=77)
    after = {
        "sft on chosen": work.fine_tune(
            "sft-chosen", start, list(zip(work.asked, chosen, strict=True)), epochs=2, lr=3e-4, order=3
        ),
        "dpo, large delta": work.prefer("dpo-large", start, chosen, said["early"]),
        "dpo, small delta": work.prefer("dpo-small", start, chosen, said["middle"]),
        "dpo, no delta": work.prefer("dpo-none", start, chosen, again),
    }
    print("\n| from the start | right on held-out questions | points over the start |\n|---|---|---|")
    print(row("start", scores["start"], None))
    for name, run in after.items():
        print(row(name, work.accuracy(run), scores["start"]), flush=True)
    print(f"\nall of it in {time.perf_counter() - started:.0f} s, CPU {time.process_time():.0f} s")


if __name__ == "__main__":
    main()
