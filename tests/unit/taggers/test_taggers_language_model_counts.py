import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dolma_py.arrow_buffers import view_text
from taggers import language_model_counts as counting
from taggers.language_model_counts import WorkArrays, count_in_runs, count_ngrams
from taggers.language_model_tokens import MARKS, LanguageModelText
from taggers.language_model_training import LanguageModelConfig, estimate_model, train_language_model

WORDS = np.array([5, 6, 7, 2**63 + 1], np.uint64)
UNITS = st.lists(st.lists(st.integers(0, len(WORDS) - 1), min_size=1, max_size=9), min_size=1, max_size=12)


def mark(units):
    return np.concatenate([np.concatenate([MARKS[:1], WORDS[unit], MARKS[1:2]]) for unit in units])


@given(UNITS, st.integers(1, 8), st.integers(1, 40), st.sampled_from([(), (0, 1), (0, 0, 2)]))
def test_runs_and_parts_give_what_memory_gives(units, order, num_rows, prune):
    work = WorkArrays(num_rows)
    expected, found = count_ngrams(mark(units), order), count_in_runs(mark(units), order, work)
    assert found.word_hashes.tolist() == expected.word_hashes.tolist()
    for one, other in zip(found.orders, expected.orders, strict=True):
        assert [column.tolist() for column in one] == [column.tolist() for column in other]
        assert [column.dtype for column in one] == [column.dtype for column in other]
    config = LanguageModelConfig(order=order, prune=prune)
    for one, other in zip(estimate_model(found, config, work), estimate_model(expected, config), strict=True):
        # to the bit: no value may depend on where parts end
        assert [column.tobytes() for column in one[:3]] == [column.tobytes() for column in other[:3]]
        assert one[3:] == other[3:]


def make_texts(num_texts=60, seed=1):
    chosen = np.random.Generator(np.random.PCG64(seed))
    words = np.array([f"w{number}" for number in range(90)])
    texts = [
        " ".join(words[chosen.integers(0, 90, 40)]) + "\n" + " ".join(words[chosen.integers(0, 9, 20)])
        for _ in range(num_texts)
    ]
    return view_text(pa.array(texts, pa.large_string()))


@pytest.mark.parametrize(
    "options", [{}, {"prune": (0, 0, 1)}, {"text": LanguageModelText(tokens="characters"), "order": 6}]
)
def test_a_model_counted_in_runs_has_the_same_bytes(tmp_path, monkeypatch, options):
    runs = []
    sort_run = counting._sort_run
    monkeypatch.setattr(counting, "_sort_run", lambda *arguments: runs.append(1) or sort_run(*arguments))
    cards = []
    for name, memory_bytes in (("memory", None), ("runs", 1 << 16)):
        config = LanguageModelConfig(**{"order": 4, "memory_bytes": memory_bytes, **options})
        cards.append(
            train_language_model([make_texts(), make_texts(9, 2)], output_path=str(tmp_path / name), config=config)
        )
    assert (tmp_path / "runs").read_bytes() == (tmp_path / "memory").read_bytes()
    assert (tmp_path / "runs.card.json").read_bytes() == (tmp_path / "memory.card.json").read_bytes()
    assert cards[0] == cards[1] and len(runs) >= 5 * (config.order - 1)


def test_an_array_of_a_file_is_zeros_without_a_name(tmp_path, monkeypatch):
    monkeypatch.setattr(counting.tempfile, "tempdir", str(tmp_path))
    work = WorkArrays(3)
    made = work.empty(1000, np.int32)
    assert type(made) is np.ndarray and not made.any() and list(tmp_path.iterdir()) == []
    made[:] = np.arange(1000)
    assert made.sum() == 499500 and len(work.zeros(0, np.int8)) == 0
    assert [(part.start, part.stop) for part in work.parts(7)] == [(0, 3), (3, 6), (6, 7)]
    assert list(WorkArrays().parts(7)) == [slice(0, 7)] and list(work.parts(0)) == [] == list(WorkArrays().parts(0))
    with pytest.raises(OSError):
        work.zeros(1 << 50, np.int64)


def test_an_arpa_file_is_made_in_memory_alone():
    with pytest.raises(ValueError, match="expected memory_bytes null with it"):
        LanguageModelConfig(arpa=True, memory_bytes=1 << 20)


_LIMITED = """
import re, resource, sys
import numpy as np, pyarrow as pa
from dolma_py.arrow_buffers import view_text
from taggers.language_model_training import LanguageModelConfig, train_language_model
words = np.array([chr(97 + k % 26) + chr(97 + k // 26) for k in range(600)])
rng = np.random.Generator(np.random.PCG64(1))
views = [view_text(pa.array([" ".join(words[rng.integers(0, 600, 10000)])], pa.large_string())) for _ in range(50)]
memory = {memory}
def train(views):
    return train_language_model(views, output_path="{path}", config=LanguageModelConfig(order=4, memory_bytes=memory))
train(views[:1])
now = 1024 * int(re.search(r"VmData:\\s*(\\d+)", open("/proc/self/status").read())[1])
resource.setrlimit(resource.RLIMIT_DATA, (now + {room}, now + {room}))
print(sum(train(views)["num_ngrams"]))
"""


@pytest.mark.parametrize(("memory", "suffices"), [(4 << 20, True), (None, False)])
def test_memory_stays_in_its_bound(tmp_path, memory, suffices):
    """Half a million random words: 140 MB in memory at most, 16 MB beside what was there with memory_bytes of 4 MB (glibc keeps some)."""
    code = (
        _LIMITED.replace("{path}", str(tmp_path / "m.lm"))
        .replace("{memory}", str(memory))
        .replace("{room}", str(16 << 20))
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (answer.returncode == 0) == suffices, answer.stderr[-2000:]
    assert (int(answer.stdout) > 1_200_000) if suffices else ("MemoryError" in answer.stderr)
