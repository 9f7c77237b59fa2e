"""What packing leaves of a mix: padding, and tokens of documents that are longer than an instance, by best fit and by cutting every T tokens.

    python -m benchmarks.packing_waste --shards CORPUS/tokens/longmino-small --sequence-tokens 4096

Padding is what `train` with data.instances: packed never trains; `concatenated` is data.instances: fixed, whose instances hold parts of documents.
"""

from __future__ import annotations

import argparse

import numpy as np

from train_bridge.manifest import read_manifest
from train_bridge.packed_dataset import PackedDataset


def measure(shards: str, sequence_tokens: int, group_files: int) -> list[dict[str, float]]:
    """A row for each way: instances, and shares of the space (padding) and of the mix's tokens or documents (the rest)."""
    manifest = read_manifest(shards)
    rows = []
    for long_documents in ("truncate", "split"):
        packed = PackedDataset(
            shards, manifest, sequence_tokens=sequence_tokens, long_documents=long_documents, group_files=group_files
        )
        space = packed.num_instances * sequence_tokens
        rows.append(
            {
                "way": f"best fit, longer documents {long_documents}", "instances": packed.num_instances,
                "padding": packed.num_padding_tokens / space,
                "dropped": packed.num_dropped_tokens / manifest.tokens, "cut": _share_longer(packed, sequence_tokens),
            }
        )  # fmt: skip
    files = packed.files
    spans = [files.document_spans(place) for place in range(len(manifest.files))]
    whole = [entry.tokens // sequence_tokens for entry in manifest.files]
    cut = sum(int((span[:, 0] // sequence_tokens != (span[:, 1] - 1) // sequence_tokens).sum()) for span in spans)
    left = manifest.tokens - sum(whole) * sequence_tokens
    rows.append(
        {
            "way": "concatenated",
            "instances": sum(whole),
            "padding": 0.0,
            "dropped": left / manifest.tokens,
            "cut": cut / sum(map(len, spans)),
        }
    )
    return rows


def _share_longer(packed: PackedDataset, sequence_tokens: int) -> float:
    """Of all documents, those that no instance holds whole."""
    spans = [packed.files.document_spans(place) for place in range(len(packed.manifest.files))]
    return sum(int((np.diff(one, axis=1) > sequence_tokens).sum()) for one in spans) / sum(map(len, spans))


def main() -> None:
    """A table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", required=True)
    parser.add_argument("--sequence-tokens", type=int, default=65536)
    parser.add_argument("--group-files", type=int, default=8)
    options = parser.parse_args()
    print("| instances of whole documents | number | padding, of the space | left out, of the tokens | documents cut |")
    print("|---|---|---|---|---|")
    for row in measure(options.shards, options.sequence_tokens, options.group_files):
        print(
            f"| {row['way']} | {row['instances']:,} | {100 * row['padding']:.2f} % | {100 * row['dropped']:.2f} % | {100 * row['cut']:.1f} % |"
        )


if __name__ == "__main__":
    main()
