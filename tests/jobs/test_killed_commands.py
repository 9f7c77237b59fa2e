"""A kill that came too late is told: else the tests that kill would be green without one."""

from __future__ import annotations

import pytest

from tests.jobs import killed_commands


def test_what_runs_is_killed_and_its_children_waited_for(tmp_path):
    """The child in a session of its own outlives the group by a second."""
    command = killed_commands.start(["sh", "-c", "setsid sleep 2 & exec sleep 100"], tmp_path / "log")
    assert killed_commands.reach(command, lambda: len(killed_commands.list_descendants(command.process.pid)) == 1)
    (child,) = killed_commands.list_descendants(command.process.pid)
    assert killed_commands.kill_all(command)
    assert not killed_commands.is_alive(child)


def test_what_ended_by_itself_was_not_killed(tmp_path):
    command = killed_commands.start(["true"], tmp_path / "log")
    assert not killed_commands.reach(command, lambda: False)
    assert not killed_commands.kill_all(command)


def test_what_ends_within_the_delay_is_not_reached(tmp_path):
    command = killed_commands.start(["sleep", "0.2"], tmp_path / "log")
    assert not killed_commands.reach(command, lambda: True, 60)
    assert not killed_commands.kill_all(command)


def test_a_command_that_loses_no_task_is_an_error(tmp_path):
    command = killed_commands.start(["sh", "-c", "echo no task was lost"], tmp_path / "log")
    with pytest.raises(AssertionError, match="ended before a task was lost: no task was lost"):
        killed_commands.kill_a_task(command)
