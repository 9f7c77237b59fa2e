"""Our side of the parity tests, made once for all of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers import our_side


@pytest.fixture(scope="session")
def ours(tmp_path_factory: pytest.TempPathFactory, _spark_of_this_run: object) -> Iterator[Path]:
    """The folder of our_side.make_ours."""
    folder = tmp_path_factory.mktemp("ours")
    our_side.make_ours(folder)
    yield folder


@pytest.fixture(scope="session")
def token_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made documents beside the recorded tokenizer."""
    folder = tmp_path_factory.mktemp("tokens")
    our_side.write_token_tree(folder)
    return folder
