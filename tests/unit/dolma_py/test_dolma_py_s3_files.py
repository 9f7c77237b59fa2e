"""What a store refuses on s3:// is an OSError with the object's address, and no refusal leaves an object that looks finished."""

from __future__ import annotations

import errno
import gc
import logging
import pickle

import boto3
import pytest
import smart_open.s3
import smart_open.utils

from dolma_py import storage
from dolma_py.errors import StoreUnavailableError, describe_os_error
from tests.remote_places import Refusals, open_s3_bucket

PART_BYTES = 5 << 20  # the least that S3 takes for a part but the last
CREDENTIALS = "Check the address, the credentials (AWS_ACCESS_KEY_ID and the like) and the network."


@pytest.fixture(scope="module")
def place():
    refusals = Refusals()
    with open_s3_bucket("corpus", refusals) as bucket:
        yield bucket, refusals


@pytest.fixture
def refuse(place, monkeypatch):
    """A function that has the server refuse what a pattern finds."""
    _, refusals = place
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")

    def set_refusal(pattern, status="403 Forbidden", code="AccessDenied"):
        refusals.pattern, refusals.status, refusals.code, refusals.refused = pattern, status, code, []

    yield set_refusal
    refusals.pattern = None


def list_left(path):
    """Objects and unfinished uploads at the path."""
    bucket, _, key = path.removeprefix("s3://").partition("/")
    uploads = boto3.client("s3").list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    return [path] * storage.path_exists(path) + [upload["Key"] for upload in uploads if upload["Key"] == key]


# what is refused -> the operation that the error names
UPLOADS = {
    r"POST .*/a file\?uploads": "CreateMultipartUpload",
    r"PUT .*/a file\?.*partNumber=1": "UploadPart",
    r"PUT .*/a file\?.*partNumber=2": "UploadPart",  # of 1.5: at the end of the block
    r"POST .*/a file\?.*uploadId": "CompleteMultipartUpload",
}


@pytest.mark.parametrize(
    ("pattern", "status", "code", "kind"),
    [(pattern, "403 Forbidden", "AccessDenied", OSError) for pattern in UPLOADS]
    + [
        # the store's client waits and tries again, for half a minute
        pytest.param(
            r"POST .*/a file\?uploads",
            "503 Service Unavailable",
            "SlowDown",
            StoreUnavailableError,
            marks=pytest.mark.slow,
        )
    ]
    + [
        (r"POST .*/a file\?uploads", *answer)
        for answer in (
            ("400 Bad Request", "InvalidStorageClass", OSError),
            ("500 Internal Server Error", "InternalError", StoreUnavailableError),
            ("400 Bad Request", "RequestTimeout", StoreUnavailableError),
        )
    ],
)
def test_a_refused_upload_is_told_with_its_address_and_leaves_nothing(
    place, refuse, monkeypatch, pattern, status, code, kind
):
    monkeypatch.setattr(smart_open.utils, "clamp", lambda *_: PART_BYTES)  # in place of 50 MB
    path = f"{place[0]}/a file"
    refuse(pattern, status, code)
    with pytest.raises(OSError) as caught:
        _write(path)
    error = caught.value
    assert type(error) is kind and place[1].refused
    assert error.filename == path and error.errno == errno.EIO
    sentence = describe_os_error(error, names_trace=False)
    assert sentence.startswith(f"{path}: AWS Error {code} during {UPLOADS[pattern]}: refused. Check the ")
    assert ("run again" in sentence) == (kind is StoreUnavailableError) and (CREDENTIALS in sentence) == (
        kind is OSError
    )
    refuse(None)
    del caught, error
    gc.collect()
    assert list_left(path) == []


def _write(path):
    with storage.write_file(path) as stream:
        for _ in range(3):
            stream.write(bytes(PART_BYTES // 2))


def test_two_open_uploads_are_told_apart(place, refuse, monkeypatch):
    monkeypatch.setattr(smart_open.utils, "clamp", lambda *_: PART_BYTES)
    one, other = f"{place[0]}/one", f"{place[0]}/other"
    refuse("PUT .*/one")
    with pytest.raises(OSError, match="AccessDenied") as caught:
        _write_both(one, other)
    assert caught.value.filename == one
    assert list_left(one) == list_left(other) == []


def _write_both(one, other):
    with storage.write_file(one) as first, storage.write_file(other) as second:
        second.write(b"x")
        first.write(bytes(PART_BYTES))


def test_half_a_file_is_never_completed_where_it_could_not_be_aborted(place, refuse):
    """The stream's finalizer closes it, which would complete the upload with what came before the error."""
    refuse("DELETE .*/half")
    with pytest.raises(ZeroDivisionError), storage.write_file(f"{place[0]}/half") as stream:
        stream.write(b"the first half")
        raise ZeroDivisionError
    assert place[1].refused
    refuse(None)
    del stream
    gc.collect()
    assert not storage.path_exists(f"{place[0]}/half")
    (upload,) = boto3.client("s3").list_multipart_uploads(Bucket="corpus")["Uploads"]
    boto3.client("s3").abort_multipart_upload(Bucket="corpus", Key="half", UploadId=upload["UploadId"])


def test_a_stream_that_its_writer_closes_is_complete_only_at_the_end_of_the_block(place):
    path = f"{place[0]}/closed early"
    with pytest.raises(ZeroDivisionError), storage.write_file(path) as stream:
        stream.write(b"x")
        stream.close()
        raise ZeroDivisionError
    assert list_left(path) == []
    with storage.write_file(path) as stream:
        assert stream.write(b"abc") == 3 and stream.tell() == 3
        stream.close()
    assert storage.read_bytes(path) == b"abc"
    storage.remove_file(path)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        ("403 Forbidden", "AccessDenied", OSError),
        pytest.param("503 Service Unavailable", "SlowDown", StoreUnavailableError, marks=pytest.mark.slow),
    ],
)
def test_a_refused_reading_is_told_with_its_address(place, refuse, status, code, kind):
    path = f"{place[0]}/read"
    storage.write_bytes(path, bytes(3 << 20))
    refuse("GET .*/read", status, code)
    with pytest.raises(OSError, match="refused") as opening:
        storage.open_read(path)
    refuse(None)
    with storage.open_read(path) as stream:
        assert len(stream.read(10)) == 10 and stream.seek(2 << 20) == stream.tell() == 2 << 20
        refuse("GET .*/read", status, code)
        with pytest.raises(OSError, match="refused") as reading:
            stream.seek(0)
    for caught in (opening, reading):
        assert type(caught.value) is kind and caught.value.filename == path
        assert f"{path}: AWS Error {code} during GetObject: refused. Check the " in describe_os_error(caught.value)
    storage.remove_file(path)


def test_a_missing_object_is_a_missing_file(place):
    with pytest.raises(FileNotFoundError) as caught:
        storage.open_read(f"{place[0]}/nothing")
    assert caught.value.filename == f"{place[0]}/nothing"


def test_a_missing_bucket_is_told(place):
    with pytest.raises(OSError, match="NoSuchBucket") as caught:
        storage.write_bytes("s3://no-such-bucket/a", b"x")
    assert describe_os_error(caught.value, names_trace=False).endswith(CREDENTIALS)


def test_a_server_that_is_gone_is_told_without_traces(place, monkeypatch, caplog):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setattr(smart_open.s3.RETRY, "sleep_seconds", 0)
    with caplog.at_level(logging.WARNING), pytest.raises(StoreUnavailableError) as writing:
        storage.write_bytes("s3://corpus/a", b"x")
    with pytest.raises(StoreUnavailableError, match="Could not connect to the endpoint") as reading:
        storage.open_read("s3://corpus/a")
    assert {writing.value.filename, reading.value.filename} == {"s3://corpus/a"}
    assert "retrying" in caplog.text and "Traceback" not in caplog.text


def test_no_credentials_are_told(place, monkeypatch, tmp_path):
    monkeypatch.setattr(boto3, "DEFAULT_SESSION", None)  # it keeps those that it found
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    with pytest.raises(OSError, match="AWS Error NoCredentialsError") as caught:
        storage.write_bytes(f"{place[0]}/a", b"x")
    assert type(caught.value) is OSError and describe_os_error(caught.value, names_trace=False).endswith(CREDENTIALS)


def test_errors_that_are_not_the_stores_stay(place):
    with pytest.raises(ValueError, match="mine"), storage.write_file(f"{place[0]}/a"):
        raise ValueError("mine")
    with pytest.raises(OSError, match="of a disk") as caught, storage.write_file(f"{place[0]}/a"):
        raise OSError("of a disk")
    assert caught.value.filename is None and list_left(f"{place[0]}/a") == []


def test_an_error_survives_the_way_from_a_process():
    error = StoreUnavailableError("s3://b/k", "AWS Error SlowDown during UploadPart: later")
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again), again.filename, again.errno) == (type(error), str(error), "s3://b/k", errno.EIO)
    assert str(error) == "s3://b/k: AWS Error SlowDown during UploadPart: later"
