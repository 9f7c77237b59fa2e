"""What dolma's Gopher taggers make of texts, one line of JSON per text.

    .venv-peers/dolma/bin/python tests/peers/record_filters_dolma.py [TAGGER...] < texts.jsonl > answers.jsonl

A line of the input is {"text": ...}. Runs inside dolma's environment. An answer holds the scores of gopher_v1 and gopher_v2, or of
the named one alone, by type. The last line has the CPU seconds of each tagger.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
import tempfile
import time

# its import looks for nltk's data, and would fetch them
os.environ.setdefault("NLTK_DATA", tempfile.gettempdir())

import nltk

nltk.download = lambda *args, **options: True

from dolma.core.data_types import Document  # noqa: E402
from dolma.taggers.gopher import GopherTagger, GopherTaggerV2  # noqa: E402


def main() -> None:
    taggers = {"gopher_v1": GopherTagger(), "gopher_v2": GopherTaggerV2()}
    taggers = {name: taggers[name] for name in sys.argv[1:] or taggers}
    seconds = dict.fromkeys(taggers, 0.0)
    for line in sys.stdin:
        document = Document(source="", id="0", text=json.loads(line)["text"])
        answer = {}
        for name, tagger in taggers.items():
            begin = time.process_time()
            spans = tagger.predict(document).spans
            seconds[name] += time.process_time() - begin
            answer[name] = {span.type: span.score for span in spans}
        print(json.dumps(answer, sort_keys=True))
    print(
        json.dumps(
            {"tool": "dolma", "version": importlib.metadata.version("dolma"), "seconds": seconds}, sort_keys=True
        )
    )


if __name__ == "__main__":
    main()
