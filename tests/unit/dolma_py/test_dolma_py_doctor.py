"""The doctor names what it looked at, says what to do, and loads no heavy package."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from dolma_py import doctor
from dolma_py.machine import count_cores, read_memory_bytes


@pytest.fixture
def bare_path(monkeypatch, tmp_path):
    """A machine with no program at all."""
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.delenv("CXX", raising=False)
    return tmp_path / "bin"


def put_program(folder, name: str, body: str) -> None:
    (folder / name).write_text(f"#!/bin/sh\n{body}\n")
    (folder / name).chmod(0o755)


def finding(name: str) -> doctor.Finding:
    return {finding.name: finding for finding in doctor.diagnose()}[name]


def test_everything_is_looked_at():
    names = [finding.name for finding in doctor.diagnose()]
    assert len(names) == len(set(names))
    assert set(doctor.NEEDED) <= set(names)
    assert {"cores", "GPU", "sandbox", "browser", "C++ compiler", "pyspark", "torch"} <= set(names)


def test_what_is_missing_has_advice(bare_path):
    assert [finding.name for finding in doctor.diagnose() if not finding.ok and not finding.advice] == []


@pytest.mark.parametrize("name", ["GPU", "sandbox", "browser", "C++ compiler"])
def test_nothing_is_claimed_on_a_bare_machine(bare_path, name):
    assert not finding(name).ok


@pytest.mark.parametrize(
    ("name", "program", "body", "found"),
    [
        ("GPU", "nvidia-smi", "echo 'NVIDIA H100, 81559 MiB'", "NVIDIA H100, 81559 MiB"),
        ("browser", "chromium", "exit 0", "chromium"),
        ("C++ compiler", "g++", "echo 12", "g++ 12"),
    ],
)
def test_what_is_there_is_found(bare_path, name, program, body, found):
    put_program(bare_path, program, body)
    assert finding(name)[1:3] == (True, found)


@pytest.mark.parametrize(("name", "program"), [("GPU", "nvidia-smi"), ("sandbox", "bwrap"), ("C++ compiler", "g++")])
def test_a_program_that_fails_does_not_count(bare_path, name, program):
    put_program(bare_path, program, "echo fine; exit 1")
    assert not finding(name).ok


def test_a_sandbox_that_runs_nothing_does_not_count(bare_path):
    put_program(bare_path, "bwrap", "echo bubblewrap 0.8.0")
    assert not finding("sandbox").ok


@pytest.mark.skipif(shutil.which("bwrap") is None, reason="no bubblewrap here")
def test_a_sandbox_that_ran_a_program_is_found():
    assert finding("sandbox")[1:] == (True, subprocess.getoutput("bwrap --version"), "")


def test_an_old_java_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    java = finding("Java")
    assert not java.ok and str(tmp_path) in java.found and "17" in java.advice


def test_little_memory_is_named(monkeypatch):
    monkeypatch.setattr(doctor, "read_memory_bytes", lambda: 1 << 30)
    assert finding("memory")[1:] == (False, "1.0 GiB", "4 GiB are needed.")


def test_a_container_limit_counts(tmp_path):
    (tmp_path / "limit").write_text("1073741824\n")
    (tmp_path / "none").write_text("max\n")
    whole = read_memory_bytes((str(tmp_path / "none"), str(tmp_path / "missing")))
    assert whole > 1 << 30
    assert read_memory_bytes((str(tmp_path / "none"), str(tmp_path / "limit"))) == 1 << 30


def test_cores_are_counted():
    assert count_cores() >= 1


def test_the_report_is_printed_and_says_whether_all_is_there(capsys, monkeypatch):
    monkeypatch.setattr(doctor, "diagnose", lambda: [doctor.Finding("Java", True, "21 [x]", "")])
    assert doctor.run_doctor() == 0
    assert "21 [x]" in capsys.readouterr().out
    monkeypatch.setattr(doctor, "diagnose", lambda: [doctor.Finding("Java", False, "none", "Get one.")])
    assert doctor.run_doctor() == 1
    assert "Get one." in capsys.readouterr().out


def test_torch_is_not_loaded():
    code = (
        "import sys; from dolma_py.doctor import diagnose; diagnose(); print({'torch', 'pyspark'} & set(sys.modules))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "set()"
