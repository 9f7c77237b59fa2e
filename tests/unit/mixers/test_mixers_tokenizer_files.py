"""mixers.tokenizer_files: what a name means, and how little is asked of the hub. The hub is one of made answers, or nobody's port."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import xxhash
from huggingface_hub import errors

from dolma_py.errors import ConfigError
from mixers import tokenizer_files
from mixers.token_count import TokenCountTagger
from mixers.tokenization import BpeConfig, train_bpe
from pipelines import make_tokens, named_tokenizers
from pipelines.make_tokens import MakeTokensConfig
from tests import tiny_corpus

COMMITS = {"main": "a" * 40, "v2": "b" * 40}


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub that has owner/name in two revisions; counts what it is asked, and loses its network when told."""
    state = SimpleNamespace(asked=[], content={}, cached={}, online=True)
    for commit, text in zip(COMMITS.values(), ("some plain words", "quite another choice"), strict=True):
        state.content[commit] = tmp_path / f"{commit}.json"
        state.content[commit].write_bytes(train_bpe([text] * 9, BpeConfig(vocab_size=300)))

    def model_info(self, repository, *, revision=None, timeout=None):
        state.asked.append(("info", repository, revision))
        if not state.online:
            raise OSError("no network")
        if repository != "owner/name":
            raise errors.RepositoryNotFoundError(
                "404", response=SimpleNamespace(headers={}, request=None, status_code=404)
            )
        return SimpleNamespace(sha=COMMITS[revision or "main"])

    def download(repository, file, *, revision=None, local_files_only=False):
        commit = COMMITS.get(revision or "main", revision)
        if local_files_only and commit not in state.cached:
            raise errors.LocalEntryNotFoundError("not there")
        if not local_files_only:
            state.asked.append(("file", repository, revision))
            state.cached[commit] = str(state.content[commit])
        return state.cached[commit]

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", model_info)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    monkeypatch.setattr(
        huggingface_hub, "try_to_load_from_cache", lambda repository, file, *, revision: state.cached.get(revision)
    )
    return state


def test_a_name_is_its_content(hub):
    first = tokenizer_files.checksum_tokenizer("owner/name")
    assert first == xxhash.xxh3_128_hexdigest(hub.content["a" * 40].read_bytes())
    assert tokenizer_files.checksum_tokenizer("owner/name@v2") != first
    hub.content["a" * 40].write_bytes(b"{}")
    assert tokenizer_files.checksum_tokenizer("owner/name") != first
    settings = MakeTokensConfig(mix="m", tokenizer="owner/name")
    assert make_tokens.fingerprint_inputs(None, settings) == [xxhash.xxh3_128_hexdigest(b"{}")]


def test_a_commit_that_is_there_is_asked_for_nothing(hub):
    name = f"owner/name@{'b' * 40}"
    assert tokenizer_files.checksum_tokenizer(name) == name and hub.asked == []
    hub.cached["b" * 40] = str(hub.content["b" * 40])
    assert tokenizer_files.read_tokenizer_file(name) == hub.content["b" * 40].read_bytes() and hub.asked == []


def test_without_network_the_cache_is_taken_and_what_is_not_there_is_told(hub):
    hub.online = False
    with pytest.raises(ConfigError, match="cannot be reached"):
        tokenizer_files.read_tokenizer_file("owner/name")
    hub.cached["a" * 40] = str(hub.content["a" * 40])
    assert tokenizer_files.read_tokenizer_file("owner/name") == hub.content["a" * 40].read_bytes()
    hub.online = True
    with pytest.raises(ConfigError, match="the hub has no such name"):
        tokenizer_files.read_tokenizer_file("nobody/nothing")


def test_workers_of_a_tagger_get_a_file(hub, tmp_path):
    """The driver asks the hub once; what a worker gets is a path below the corpus."""
    made = tiny_corpus.write_corpus(str(tmp_path / "corpus"), [[[{"text": "a"}]]])
    context = SimpleNamespace(corpus=made, folder="runs/r/00-s")
    path = named_tokenizers.place_option(context, "tokenizer-0", "owner/name")
    assert path == made.path("runs/r/00-s/tokenizer-0/tokenizer.json")
    assert Path(path).read_bytes() == hub.content["a" * 40].read_bytes()
    assert named_tokenizers.place_option(context, "tokenizer-0", path) == path
    options = {"tokenizer": "owner/name", "eos_token": None}
    assert named_tokenizers.identify_options(TokenCountTagger, options) == {
        "tokenizer": xxhash.xxh3_128_hexdigest(hub.content["a" * 40].read_bytes())
    }


@pytest.mark.parametrize(
    ("name", "rule"),
    [("missing.json", "no such file"), ("a/b/c", "no such file"), ("./x", "no such file"), ("/x", "no such file")],
)
def test_paths_of_nothing_are_no_names(hub, name, rule):
    with pytest.raises(ConfigError, match=rule):
        tokenizer_files.find_tokenizer_file(name)
    assert hub.asked == []


def test_a_folder_without_a_tokenizer_is_told(hub, tmp_path):
    with pytest.raises(ConfigError, match=r"without tokenizer\.json"):
        tokenizer_files.find_tokenizer_file(str(tmp_path))
    assert tokenizer_files.find_tokenizer_file("owner/name@refs/pr/1") is None


def test_an_unreachable_hub_costs_seconds_and_one_sentence(tmp_path):
    program = (
        "from dolma_py.errors import ConfigError\n"
        "from mixers.tokenizer_files import read_tokenizer_file\n"
        "try:\n    read_tokenizer_file('nobody/nothing')\nexcept ConfigError as error:\n    print(error)\n"
    )
    environment = {**os.environ, "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    start = time.perf_counter()
    result = subprocess.run(
        [sys.executable, "-c", program], env=environment, cwd=Path(__file__).parents[3], capture_output=True, timeout=60, check=True
    )  # fmt: skip
    assert b"the hub cannot be reached" in result.stdout and result.stderr == b""
    assert (
        time.perf_counter() - start < 20
    )  # 40 by from_pretrained with its retries; start-up of a busy machine included
