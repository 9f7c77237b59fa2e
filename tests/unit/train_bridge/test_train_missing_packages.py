"""Without numba and xxhash: plain instances train, and what needs them says so before anything is written."""

import json
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[3]
_WITHOUT = """
import contextlib, io, json, sys
from pathlib import Path

sys.modules["numba"] = sys.modules["xxhash"] = None
from dolma_py.errors import MissingDependencyError
from train_bridge.describe_shards import main
from train_bridge.run_training import train

config, shards, tokens, output = sys.argv[1:]
found = {}
for name, override in (("packed", "data.instances=packed"), ("filter", "data.instance_filter={}"), ("plain", "run.steps=3")):
    try:
        train(config=config, shards=shards, output=f"{output}/{name}", overrides=[override], dry_run=False)
        text = ""
    except MissingDependencyError as error:
        text = str(error)
    found[name] = [text, Path(output, name).exists()]
with contextlib.redirect_stderr(io.StringIO()) as told:
    code = main([tokens, "--dtype", "uint16", "--vocab-size", "50", "--eos", "0"])
found["describe"] = [told.getvalue().strip(), code]
print(json.dumps(found))
"""


def test_what_needs_numba_and_xxhash_says_so_before_the_first_step(make_shards, train_config_file, tmp_path):
    tokens = make_shards(name="tokens")
    (tokens / "manifest.json").unlink()
    arguments = [str(train_config_file), str(make_shards()), str(tokens), str(tmp_path / "runs")]
    answer = subprocess.run(
        [sys.executable, "-c", _WITHOUT, *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    missing = "xxhash is not installed. Run: pip install 'dolma-py[train]'"
    assert json.loads(answer.stdout) == {
        "packed": [missing, False], "filter": [missing, False], "plain": ["", True], "describe": [missing, 2],
    }  # fmt: skip
    assert (tmp_path / "runs" / "plain" / "manifest.json").is_file()
    assert not (tokens / "manifest.json").exists()
