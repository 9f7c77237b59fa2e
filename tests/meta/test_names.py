"""A kernel file has a sister and its kernels have twins; no file of pipelines/ hides a standard module. With plants."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

LIBRARY = ("dolma_py", "taggers", "dedup", "mixers", "pipelines", "train_bridge")

# kernel file -> the file that wraps it, where that is not the same name without _kernels; say why
SISTERS = {
    # one pass of character classes serves several taggers
    "taggers/character_kernels.py": "taggers/characters.py",
    # the repetition rules are part of the Gopher tagger
    "taggers/repetition_kernels.py": "taggers/gopher.py",
    # what a sign is belongs to what a word is
    "taggers/spacy_signs_kernels.py": "taggers/spacy_words.py",
    # lines and n-grams of the presets are parts of one sweep
    "taggers/preset_lines_kernels.py": "taggers/rule_presets.py",
    "taggers/preset_ngrams_kernels.py": "taggers/rule_presets.py",
    # parts of the web filter's chain
    "taggers/web_sweep_kernels.py": "taggers/web_filter.py",
    "taggers/letter_block_kernels.py": "taggers/web_filter.py",
    "taggers/line_edits_kernels.py": "taggers/web_filter.py",
    "taggers/sentence_rules_kernels.py": "taggers/web_filter.py",
    # from hidden vectors to labels is the model's second half
    "taggers/fasttext_output_kernels.py": "taggers/fasttext_model.py",
    # one of the hashes of shingles
    "dedup/sha1_kernels.py": "dedup/shingles.py",
    # addresses and numbers are found in one sweep
    "taggers/pii_address_kernels.py": "taggers/pii.py",
    "taggers/pii_number_kernels.py": "taggers/pii.py",
    # comments are one of the things that a source file holds
    "taggers/code_comments_kernels.py": "taggers/code_content.py",
    # scoring is a part of the search
    "taggers/ngram_score_kernels.py": "taggers/ngram_match.py",
    # and so is alignment
    "taggers/ngram_align_kernels.py": "taggers/ngram_match.py",
    # strings, numbers and times are parts of a line, and are searched 32 bytes at once
    "dolma_py/vector_bytes_kernels.py": "dolma_py/formats/json_lines.py",
    "dolma_py/formats/json_values_kernels.py": "dolma_py/formats/json_lines.py",
    "dolma_py/formats/iso_times_kernels.py": "dolma_py/formats/json_lines.py",
}

# kernel -> its twin, where the twin stands for the whole public function that calls it and carries that one's name
TWINS = {
    "component_roots_kernel": "components.connected_components",
    "describe_blocks_kernel": "substring.find_repeats",
    "mark_repeats_kernel": "substring.find_repeats",
    "merge_spans_kernel": "substring.find_repeats",
    "jaccard_pairs_kernel": "verification.jaccard",
    "join_representatives_kernel": "verification.verify_representatives",
    "join_pairs_kernel": "verification.verify_pairs",
    "count_code_kernel": "word_stats.count_code",
    "count_lengths_kernel": "word_stats.count_lengths",
    "count_comments_kernel": "code_content.count_comments",
    "count_visible_kernel": "code_content.count_visible",
    "fill_table_kernel": "url_lists.find_hosts",
    "build_automaton_kernel": "url_lists.count_hits",
    "hash_ids_kernel": "ngram_tokens.encode_pieces",
    "build_slots_kernel": "ngram_match.find_items",
    "build_filter_kernel": "ngram_match.find_items",
    "number_keys_kernel": "ngram_index.weights",
    "count_words_kernel": "ngram_index.weights",
    "first_ngrams_kernel": "ngram_index.distinct",
    "choose_seeds_kernel": "ngram_align.find_items",
    "order_grams_kernel": "ngram_match.find_items",
    "split_texts_kernel": "ngram_tokens.split_tokens",
    "align_items_kernel": "ngram_align.find_items",
    "align_token_items_kernel": "ngram_align.find_items",
    "find_token_items_kernel": "ngram_match.find_items",
    "find_items_plainly_kernel": "ngram_match.find_items",
    "find_token_items_plainly_kernel": "ngram_match.find_items",
    "gopher_counts_kernel": "gopher.count_gopher",
    "hash_word_kernel": "spacy_words.split_words",
    "next_key_kernel": "spacy_words.split_words",
    "first_slot_kernel": "spacy_words.split_words",
    "split_spacy_words_kernel": "spacy_words.split_words",
    "bad_words_kernel": "bad_words.count_bad_words",
    "filter_documents_kernel": "web_filter.filter_documents",
    # the table is what the twin has as a mapping of word tuples
    "make_keys_kernel": "language_model.score_units",
    "insert_ngrams_kernel": "language_model.score_units",
    "check_table_kernel": "language_model.score_units",
    "hash_rows_kernel": "language_model.score_units",
    "back_off_kernel": "language_model.score_word",
    "read_entries_kernel": "fasttext.read_entries",
    "fill_slots_kernel": "fasttext.hidden_vectors",
    "fill_buckets_kernel": "fasttext.hidden_vectors",
    "read_words_kernel": "fasttext.split_words",
    "hidden_vectors_kernel": "fasttext.hidden_vectors",
    "score_labels_kernel": "fasttext.score_labels",
    "best_labels_kernel": "fasttext.best_labels",
    "langid_scores_kernel": "language.langid_scores",
    "count_scripts_kernel": "language.count_scripts",
}


def public_kernels(source: str) -> list[str]:
    """Names of the compiled functions of a kernel file that others may call: those without a leading underscore."""
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    compiled = [node for node in functions if any("jit" in ast.unparse(item) for item in node.decorator_list)]
    return [node.name for node in compiled if not node.name.startswith("_")]


def names_read(source: str) -> set[str]:
    """Every name, attribute and imported name in the source, but not the names of its own functions."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.alias):
            found.add(node.name.split(".")[-1])
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[-1])
    return found


def find_name_problems(root: Path, sisters: dict[str, str]) -> list[str]:
    """One line per kernel file without a sister, kernel without the suffix or any caller, and entry without a twin.

    An entry is a kernel that a library file other than a kernel file calls; a kernel that only kernels call is a step of
    theirs, and the twin of the entry covers it.
    """
    read = {path: names_read(path.read_text()) for folder in LIBRARY for path in (root / folder).rglob("*.py")}
    found = []
    for path in sorted(path for path in read if path.stem.endswith("_kernels")):
        name = path.relative_to(root).as_posix()
        stem = path.stem.removesuffix("_kernels")
        sister = root / sisters.get(name, f"{path.parent.relative_to(root).as_posix()}/{stem}.py")
        if not sister.is_file():
            found.append(f"{name}: no {sister.relative_to(root).as_posix()} beside it")
        callers = [names for other, names in read.items() if not other.stem.endswith("_kernels") and path.stem in names]
        entries = set().union(*callers)
        kernel_names = set().union(*(names for other, names in read.items() if other.stem.endswith("_kernels")))
        for kernel in public_kernels(path.read_text()):
            if not kernel.endswith("_kernel"):
                found.append(f"{name}: {kernel}: a public kernel's name ends in _kernel")
            elif kernel not in entries | kernel_names:
                found.append(f"{name}: {kernel}: nobody calls it")
            elif kernel in entries and not _has_twin(root, kernel, stem):
                found.append(f"{name}: {kernel}: no {kernel.removesuffix('_kernel')} in tests/reference/{stem}.py")
    return found


def _has_twin(root: Path, kernel: str, stem: str) -> bool:
    module, _, function = TWINS.get(kernel, f"{stem}.{kernel.removesuffix('_kernel')}").partition(".")
    path = root / "tests" / "reference" / f"{module}.py"
    return path.is_file() and function in _functions(path.read_text())


def _functions(source: str) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef)}


def find_shadows(folder: Path) -> list[str]:
    """Files of `folder` named like a standard module: as scripts they would put themselves before it on the search path."""
    return sorted(path.name for path in folder.glob("*.py") if path.stem in sys.stdlib_module_names)


def test_every_kernel_has_sister_and_twin(repository):
    assert find_name_problems(repository, SISTERS) == []


def test_no_exception_outlives_its_file(repository):
    assert [name for name in SISTERS if not (repository / name).is_file()] == []


def test_there_are_kernels_to_check(repository):
    files = [path for folder in LIBRARY for path in (repository / folder).rglob("*_kernels.py")]
    assert sum(len(public_kernels(path.read_text())) for path in files) >= 10


@pytest.mark.parametrize("folder", [*LIBRARY, "benchmarks"])
def test_no_file_shadows_the_standard_library(repository, folder):
    assert find_shadows(repository / folder) == []


def test_a_planted_shadow_is_found(tmp_path):
    (tmp_path / "tokenize.py").write_text("")
    (tmp_path / "make_tokens.py").write_text("")
    assert find_shadows(tmp_path) == ["tokenize.py"]


_KERNEL = "@njit(**KERNEL)\ndef {name}(x):\n    return x\n"


_SISTER = "from dedup.a_kernels import find_kernel\nfind_kernel(1)\n"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"dedup/a_kernels.py": ""}, "no dedup/a.py beside it"),
        ({"dedup/a_kernels.py": _KERNEL.format(name="find"), "dedup/a.py": ""}, "ends in _kernel"),
        ({"dedup/a_kernels.py": _KERNEL.format(name="find_kernel"), "dedup/a.py": ""}, "nobody calls it"),
        (
            {"dedup/a_kernels.py": _KERNEL.format(name="find_kernel"), "dedup/a.py": _SISTER},
            "no find in tests/reference",
        ),
        (
            {
                "dedup/a_kernels.py": _KERNEL.format(name="find_kernel"),
                "dedup/a.py": "from dedup import a_kernels\na_kernels.find_kernel(1)\n",
                "tests/reference/a.py": "def look(): pass\n",
            },
            "no find in tests/reference/a.py",
        ),
    ],
)
def test_a_planted_problem_is_found(tmp_path, files, expected):
    _write(tmp_path, files)
    problems = find_name_problems(tmp_path, {})
    assert len(problems) == 1 and expected in problems[0]


def test_a_whole_trio_passes(tmp_path):
    kernels = _KERNEL.format(name="find_kernel") + _KERNEL.format(name="step_kernel") + "step_kernel(find_kernel(2))\n"
    twin = "def find(): pass\n"
    _write(tmp_path, {"dedup/a_kernels.py": kernels, "dedup/a.py": _SISTER, "tests/reference/a.py": twin})
    assert find_name_problems(tmp_path, {}) == []


def test_an_exception_names_the_other_sister(tmp_path):
    _write(tmp_path, {"dedup/a_kernels.py": "", "dedup/b.py": ""})
    assert find_name_problems(tmp_path, {"dedup/a_kernels.py": "dedup/b.py"}) == []


def _write(root: Path, files: dict[str, str]) -> None:
    for name, source in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(source)
