"""Memory follows from settings, not from the input: four times the text, the same peaks, and both below what the dry run says.

Cost: two builds of made text, 3 and 12 MB, about 2 minutes on two cores.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

import pytest
import yaml

sys.path.insert(0, str(Path(__file__).parent))
import made_recipe

from benchmarks.process_tree import measure_command
from pipelines.build_recipe import BuildOptions, build_named

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
SPLIT_BYTES = 500_000


def write_stories(folder: Path, num_files: int) -> None:
    """inputs/stories/*.jsonl, each of about 0.5 MB of text of its own, beside what the small recipe reads."""
    made_recipe.write_inputs(folder)
    for number in range(num_files):
        rng = random.Random(number)
        lines = [
            json.dumps({"id": f"more-{number}-{row}", "text": made_recipe.make_text(rng, 60), "source": "stories"})
            for row in range(115)
        ]
        (folder / "inputs" / "stories" / f"more-{number:03d}.jsonl").write_text("\n".join(lines) + "\n")


def make_command(folder: Path) -> list[str]:
    """A build whose every bound is small against its input."""
    recipe = made_recipe.make_recipe(folder) | {"split_bytes": SPLIT_BYTES}
    steps = {step["name"]: step for step in recipe["steps"]}
    steps["ingest"] |= {"row_group_text_bytes": SPLIT_BYTES // 2, "unit_bytes": SPLIT_BYTES}
    steps["minhash"].pop("unit_docs")
    steps["substring"] |= {"pool_bytes": SPLIT_BYTES}
    (folder / "large.yaml").write_text(yaml.safe_dump(recipe))
    return [
        sys.executable, "-m", "dolma_py", "build", "mix", "--recipe", str(folder / "large.yaml"),
        "--corpus", str(folder / "corpus"),
    ]  # fmt: skip


def read_peaks(folder: Path) -> dict[str, int]:
    """Step -> largest resident set of any of its workers, from run.json."""
    found = {}
    for path in sorted((folder / "corpus" / "runs" / "tiny").glob("*/run.json")):
        peak = json.loads(path.read_text()).get("peak_worker_bytes", 0)
        found[path.parent.name.partition("-")[2]] = int(peak)
    return found


def test_four_times_the_text_needs_no_more_memory(tmp_path):
    usage, peaks, bounds = {}, {}, {}
    for num_files in (6, 24):
        folder = tmp_path / str(num_files)
        folder.mkdir()
        write_stories(folder, num_files)
        command = make_command(folder)
        plan = build_named(
            recipe=str(folder / "large.yaml"),
            corpus=str(folder / "corpus"),
            flow="mix",
            overrides=[],
            inputs=[],
            dry_run=True,
            options=BuildOptions(),
        )
        bounds[num_files] = {step["name"]: step["worker_memory_bytes"] for step in plan["steps"]}
        usage[num_files] = measure_command(command)
        peaks[num_files] = read_peaks(folder)
    print({count: (found.peak_pss_bytes >> 20, found.peak_python_pss_bytes >> 20) for count, found in usage.items()})
    print({name: [peaks[count][name] >> 20 for count in peaks] for name in peaks[6]})
    assert usage[24].peak_python_pss_bytes < 1.15 * usage[6].peak_python_pss_bytes
    for name, bound in bounds[24].items():
        assert peaks[24][name] <= bound, f"{name}: {peaks[24][name] >> 20} MiB, the plan says {bound >> 20}"
    assert all(peaks[24][name] > 0 for name in ("ingest", "tag", "minhash", "substring", "sample", "shards"))
