"""The checksums in step_outputs.json: what each step made of the corpus of tests/jobs/made_recipe.py, beside the step's version.

    PYTHONPATH=. python tests/golden/make_step_outputs.py

Run it after a change that is meant to change a step's bytes, and raise the step's VERSION: under the old one, steps that are done
would stand in every corpus made before, beside what the new program makes. It refuses other bytes of the same version.
Not here is what follows from the trained classifier: its scores, the plan, the sample and the shards.
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import xxhash
import yaml

from tests.jobs import made_recipe

RECORD = Path(__file__).parent / "step_outputs.json"
# step -> what it wrote. Files are read without their gzip, whose bytes are another matter of each zlib
OUTPUTS = {
    "ingest": ["documents/*/*.parquet", "attributes/sizes-v1/*/*.parquet", "rejected/*/*.gz"],
    "tag": ["attributes/lengths-v1/*/*.parquet", "attributes/gopher-dclm-v1/*/*.parquet"],
    "exact": ["runs/tiny/03-exact/keys/*.parquet", "attributes/exact-v1/*/*.parquet"],
    "minhash": ["runs/tiny/04-minhash/bands/*.parquet", "attributes/minhash-v1/*/*.parquet"],
    "substring": ["attributes/substring-v1/*/*.parquet"],
    "decontaminate": ["attributes/contamination-v1/*/*.parquet"],
    "tokenizer": ["runs/tiny/07-tokenizer/tokenizer.json"],
    "tokens": ["attributes/token_count-v1/*/*.parquet"],
}


def describe_steps(corpus: Path) -> dict[str, dict[str, Any]]:
    """Step -> its version, number of files, and the xxh3-128 of their bytes in order of their paths."""
    found = {}
    for step, patterns in OUTPUTS.items():
        (path,) = corpus.glob(f"runs/tiny/*-{step}/manifest.json")
        files = [file for pattern in patterns for file in sorted(corpus.glob(pattern))]
        digest = xxhash.xxh3_128()
        for file in files:
            digest.update(gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes())
        version = json.loads(path.read_text())["version"]
        found[step] = {"version": version, "files": len(files), "xxh3_128": digest.hexdigest()}
    return found


def find_unannounced(record: dict[str, Any], found: dict[str, Any]) -> list[str]:
    """Steps whose bytes changed and whose version did not."""
    known = [step for step in found if step in record]
    return [step for step in known if found[step] != record[step] and found[step]["version"] == record[step]["version"]]


def main() -> int:
    from pipelines.build_recipe import BuildOptions, build
    from pipelines.recipe import load_recipe

    with tempfile.TemporaryDirectory() as folder:
        made_recipe.write_inputs(Path(folder))
        (Path(folder) / "tiny.yaml").write_text(yaml.safe_dump(made_recipe.make_recipe(Path(folder))))
        build(
            load_recipe(str(Path(folder) / "tiny.yaml"), []), str(Path(folder) / "corpus"), BuildOptions(until="tokens")
        )
        found = describe_steps(Path(folder) / "corpus")
    unannounced = find_unannounced(json.loads(RECORD.read_text()) if RECORD.exists() else {}, found)
    if unannounced:
        sys.stderr.write(f"other bytes of the same version: {', '.join(unannounced)}. Raise their VERSION.\n")
        return 1
    RECORD.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
