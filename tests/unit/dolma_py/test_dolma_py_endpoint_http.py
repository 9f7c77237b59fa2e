"""The exchange with a server below the endpoint client: addresses, Retry-After, https."""

from __future__ import annotations

import shutil
import subprocess
import time

import pytest

from dolma_py.endpoint import Endpoint, EndpointConfig, Message, Request
from dolma_py.endpoint_http import parse_address, parse_retry_after
from dolma_py.errors import ConfigError, EndpointError
from tests.chat_server import ChatServer


def ask_of(text: str, **more) -> Request:
    return Request((Message("user", text),), max_tokens=8, **more)


@pytest.fixture
def settings(tmp_path):
    def make(server: ChatServer, **more) -> EndpointConfig:
        values = {"base_url": server.url, "model": "m", "cache": str(tmp_path / "answers"), "first_wait_seconds": 0.01}
        return EndpointConfig(**(values | {"timeout_seconds": 10.0, "max_tries": 3} | more))

    return make


def fault_first(fault: str, times: int = 1):
    return lambda number, body: fault if number < times else ""


@pytest.mark.parametrize(
    ("value", "low", "high"),
    [
        ("2", 2, 2),
        ("0.5", 0.5, 0.5),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0),
        ("Fri, 01 Jan 2100 00:00:00 GMT", 1e6, 1e10),
    ],
)
def test_retry_after(value, low, high):
    assert low <= parse_retry_after(value) <= high


@pytest.mark.parametrize("value", ["", "soon", "-1", "nan", "inf", "9" * 400])
def test_a_retry_after_that_means_nothing(value):
    assert parse_retry_after(value) is None


@pytest.mark.parametrize(
    "url", ["ftp://h/v1", "h:8000/v1", "http://u:p@h/v1", "http://h/v1?k=p", "http://h:x/v1", "http://"]
)
def test_an_address_that_is_none(url):
    with pytest.raises(ConfigError, match="base_url: expected an address") as caught:
        parse_address(url)
    assert "p@h" not in str(caught.value) and "k=p" not in str(caught.value)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("certificate")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(folder / "key"), "-out", str(folder / "cert")]
    subprocess.run(command, check=True, capture_output=True)
    (folder / "both").write_text((folder / "cert").read_text() + (folder / "key").read_text())
    return str(folder / "both")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_https_keeps_its_connection(settings, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", certificate)
    with ChatServer(certificate=certificate) as server, Endpoint(settings(server, concurrency=1)) as endpoint:
        assert server.url.startswith("https://")
        for number in range(4):
            assert next(endpoint.ask([ask_of("x" * number)])).text == f"{number} letters, 0 images"
            time.sleep(0.05)
    assert server.num_connections == 1


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_a_certificate_that_nobody_vouches_for_is_refused(settings, certificate):
    with (
        ChatServer(certificate=certificate) as server,
        Endpoint(settings(server, max_tries=1)) as endpoint,
        pytest.raises(EndpointError, match="CERTIFICATE_VERIFY_FAILED"),
    ):
        next(endpoint.ask([ask_of("a")]))
    assert server.bodies == []


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_the_deadline_holds_over_https(settings, certificate, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", certificate)
    with (
        ChatServer(certificate=certificate, fault=fault_first("drip")) as server,
        Endpoint(settings(server, timeout_seconds=0.5)) as endpoint,
    ):
        started = time.monotonic()
        assert next(endpoint.ask([ask_of("a")])).tries == 2
    assert time.monotonic() - started < 5
