"""Each error carries its facts as fields, and its text names what, where, which value and what to do."""

from __future__ import annotations

import pickle

import pytest

from dolma_py import errors

CASES = [
    (
        errors.ConfigError("minhash.num_bands", 9, "expected a divisor of 128", "Use 8 or 16.", "configs/tiny.yaml:14"),
        "minhash.num_bands: expected a divisor of 128, got 9 (configs/tiny.yaml:14). Use 8 or 16.",
    ),
    (errors.ConfigError("a.b", None, "a value is needed"), "a.b: a value is needed, got None."),
    (
        errors.SchemaError("text", "string", "int64", "x.parquet"),
        "column text: expected string, got int64 (x.parquet).",
    ),
    (errors.DataError("x.jsonl", "not JSON", 7, "Mend it."), "x.jsonl:7: not JSON. Mend it."),
    (errors.DataError("x.jsonl", "not JSON", 0), "x.jsonl:0: not JSON."),
    (errors.DataError("x.jsonl", "no such file"), "x.jsonl: no such file."),
    (errors.ConservationError("tag", {"in": 3, "out": 2}), "{'in': 3, 'out': 2}"),
    (
        errors.TooManyRejectedError("ingest", 6, 100, 0.05, "rejected/"),
        "6 of 100 records were rejected; allowed share 0.05",
    ),
    (errors.ResumeMismatchError("lr", 0.1, 0.2, "Start again."), "cannot resume: lr was 0.1, now 0.2. Start again."),
    (errors.NotFiniteError(12, [0, 3], "loss"), "step 12: loss is not finite on ranks [0, 3]"),
    (
        errors.TaskError("tag", "a worker died", "runs/r/work/error.txt", "Lower split_bytes."),
        "step tag: Spark failed: a worker died. What was finished stays: run again. Lower split_bytes.",
    ),
    (errors.MissingDependencyError("pyspark", "spark"), "pyspark is not installed. Run: pip install 'dolma-py[spark]'"),
    (
        errors.DedupAlarmError(
            "minhash", ["source a loses all", "a cluster is large"], "allowed is 0.5", "Look at it."
        ),
        "minhash: source a loses all; a cluster is large; allowed is 0.5. Look at it.",
    ),
    (errors.SandboxError("bwrap is not there", "Install it."), "sandbox: bwrap is not there. Install it."),
    (
        errors.EndpointError("http://h/v1", "20 of 20 requests\nfailed", "Look at the server."),
        "endpoint http://h/v1: 20 of 20 requests failed. Look at the server. Answers that came are kept: run again to go on.",
    ),
    (errors.SpikeError(12, "loss", 0.03, 0.01), "step 12: spike score of the loss is 0.03, allowed is 0.01"),
]


@pytest.mark.parametrize(("error", "text"), CASES, ids=lambda case: type(case).__name__)
def test_the_text_says_it(error, text):
    assert text in str(error)
    assert str(error) == str(error).rstrip() and "\n" not in str(error)


@pytest.mark.parametrize("error", [error for error, _ in CASES], ids=lambda case: type(case).__name__)
def test_one_family(error):
    assert isinstance(error, errors.DolmaError)


def test_every_error_is_in_the_list():
    family = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.DolmaError)}
    assert family == {type(error) for error, _ in CASES} | {errors.DolmaError}


@pytest.mark.parametrize(
    ("error", "fields"),
    [
        (CASES[0][0], {"key": "minhash.num_bands", "got": 9, "hint": "Use 8 or 16.", "where": "configs/tiny.yaml:14"}),
        (CASES[2][0], {"column": "text", "expected": "string", "got": "int64", "path": "x.parquet"}),
        (CASES[3][0], {"path": "x.jsonl", "problem": "not JSON", "row": 7}),
        (CASES[6][0], {"stage": "tag", "counts": {"in": 3, "out": 2}}),
        (CASES[7][0], {"rejected": 6, "total": 100, "allowed_frac": 0.05}),
        (CASES[8][0], {"field": "lr", "saved": 0.1, "current": 0.2}),
        (CASES[9][0], {"step": 12, "ranks": [0, 3]}),
        (CASES[10][0], {"step": "tag", "cause": "a worker died", "details": "runs/r/work/error.txt"}),
        (CASES[11][0], {"package": "pyspark", "extra": "spark"}),
        (CASES[12][0], {"step": "minhash", "alarms": ["source a loses all", "a cluster is large"]}),
    ],
    ids=lambda case: type(case).__name__,
)
def test_the_facts_are_fields(error, fields):
    assert {name: getattr(error, name) for name in fields} == fields


@pytest.mark.parametrize("error", [error for error, _ in CASES], ids=lambda case: type(case).__name__)
def test_an_error_survives_the_way_from_a_worker(error):
    """Spark and multiprocessing send exceptions as pickles."""
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error) and str(copy) == str(error) and vars(copy) == vars(error)


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (PermissionError(13, "Permission denied", "/x/corpus"), "/x/corpus: permission denied. Give this user the right"),
        (OSError(28, "No space left on device"), "no space left on device. Free space"),
        (FileNotFoundError(2, "No such file or directory", "/x/\udce9"), "/x/\\xe9: no such file or directory. Check the path."),
        (OSError(18, "Invalid cross-device link", "/a", None, "/b"), "/a and /b: invalid cross-device link."),
        (errors.StoreUnavailableError("s3://b/k", "AWS Error SlowDown"), "s3://b/k: AWS Error SlowDown. Check the network, and run"),
        (OSError("google::cloud::Status(PERMISSION_DENIED: no)"), "no). Check the address, the credentials (GOOGLE_APPLICATION_"),
        (OSError("Asking for 'k' in 'b':\nAWS Error ACCESS_DENIED"), "'k' in 'b': AWS Error ACCESS_DENIED. Check the address"),
    ],
)  # fmt: skip
def test_an_error_of_the_system_is_one_sentence(error, text):
    said = errors.describe_os_error(error)
    assert text in said and "\n" not in said and said.endswith("DOLMA_PY_TRACE=1 shows where it came from.")
    said.encode()
