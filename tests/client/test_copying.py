# SPDX-License-Identifier: MIT

from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest
from tests.client.test_trees import grown, planted
from tests.sftp.paper_files import Talk

from tellin.client.files.copying import Links, TreeCopy, Wishes
from tellin.client.files.sides import (
    Fetching,
    LocalSource,
    LocalTarget,
    Relaying,
    RemoteSource,
    RemoteTarget,
    Sending,
)
from tellin.errors import ConnectionLost
from tellin.server.files.sftp_files import LocalFiles
from tellin.sftp.remote_files import RemoteFiles
from tellin.sftp.waiting import Answer, Cancelled, Directly, Job, obtained


class Program:
    """A talk as a program has one: nothing of asyncio, and the disk is used on the spot."""

    def __init__(self, piece: int = 1 << 20) -> None:
        self.talk = Talk(LocalFiles(), piece=piece)
        self.waits = Directly()
        self.files = RemoteFiles(self.talk.client, self.waits)

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        job = Job(work)
        while not job.done():
            before = self.talk.client.in_flight
            self.talk.step()
            assert job.done() or before, "nothing is asked, and nothing is waited for"
        return job.result()

    def copy(
        self, verb: str, source: Path, target: Path, **options: Any
    ) -> Coroutine[Any, Any, None]:
        wishes = Wishes(**options)
        ends: dict[str, Any] = {
            "get": (
                RemoteSource(self.files),
                LocalTarget(self.waits),
                Fetching(self.files, wishes),
            ),
            "put": (
                LocalSource(self.waits),
                RemoteTarget(self.files),
                Sending(self.files, wishes),
            ),
            "copy": (
                RemoteSource(self.files),
                RemoteTarget(self.files),
                Relaying(self.files, self.files, wishes),
            ),
        }
        copy = TreeCopy(self.waits, *ends[verb], wishes)
        return copy.run([(bytes(source), bytes(target))])


@pytest.mark.parametrize("verb", ["get", "put", "copy"])
@pytest.mark.parametrize("parallel", [1, 3, 0])
def test_a_program_copies_trees_without_a_loop(tmp_path: Path, verb: str, parallel: int) -> None:
    source = planted(tmp_path / "source")
    program = Program()
    program.run(
        program.copy(
            verb, source, tmp_path / "new", recursive=True, preserve=True, parallel=parallel
        )
    )
    assert grown(tmp_path / "new") == grown(source)
    assert (tmp_path / "new" / "f1").stat().st_mtime == 1_100_000_000
    program.talk.step()
    assert not program.talk.server._handlers._held


def test_links_may_be_left_out(tmp_path: Path) -> None:
    source = planted(tmp_path / "source")
    left: list[bytes] = []
    program = Program()
    program.run(
        program.copy(
            "get",
            source,
            tmp_path / "new",
            recursive=True,
            links=Links.SKIP,
            on_skip=left.append,
        )
    )
    assert sorted(left) == [bytes(source / "link"), bytes(source / "nowhere")]
    assert {"link", "nowhere"}.isdisjoint(grown(tmp_path / "new"))


@pytest.mark.parametrize("verb", ["get", "put", "copy"])
def test_a_program_calls_a_copy_off(tmp_path: Path, verb: str) -> None:
    source = planted(tmp_path / "source")
    program = Program()
    job = Job(program.copy(verb, source, tmp_path / "new", recursive=True))
    job.cancel()
    program.talk.step()
    assert isinstance(job.exception(), Cancelled)
    program.run(program.copy(verb, source, tmp_path / "again", recursive=True))
    assert grown(tmp_path / "again") == grown(source)


def test_a_copy_ends_when_the_server_is_gone(tmp_path: Path) -> None:
    source = planted(tmp_path / "source")
    program = Program()
    told: list[bytes] = []
    job = Job(
        program.copy(
            "get",
            source,
            tmp_path / "new",
            recursive=True,
            on_error=lambda one, _target, _error: told.append(one),
        )
    )
    program.talk.client.lost(ConnectionLost("gone"))
    assert isinstance(job.exception(), ConnectionLost)
    assert not told


# Waiting without a loop


def test_a_job_goes_on_when_its_answer_comes() -> None:
    answers = [Answer(), Answer()]

    async def add() -> int:
        return int(await answers[0]) + int(await answers[1])

    job = Job(add())
    answers[1].set_result(2)
    assert not job.done()
    answers[0].set_result(1)
    assert job.result() == 3


def test_a_job_that_is_called_off_may_clean_up_and_what_comes_late_is_nothing_to_it() -> None:
    first, second = Answer(), Answer()
    steps: list[str] = []

    async def work() -> None:
        try:
            await first
        finally:
            steps.append("cleaning")
            await second
            steps.append("clean")

    job = Job(work())
    job.cancel()
    first.set_result(None)
    assert steps == ["cleaning"]
    second.set_result(None)
    assert steps == ["cleaning", "clean"]
    with pytest.raises(Cancelled):
        job.result()
    job.cancel()


def test_a_job_may_call_itself_off_and_wait_for_others() -> None:
    answer = Answer()
    jobs: list[Job] = []

    async def inner() -> None:
        await answer
        jobs[0].cancel()
        await Answer()

    async def outer() -> str:
        try:
            await jobs[0]
        except Cancelled:
            return "called off"
        return "not"

    jobs.append(Job(inner()))
    waiting = Job(outer())
    answer.set_result(None)
    assert waiting.result() == "called off"


def test_what_comes_for_one_who_was_called_off_is_closed() -> None:
    later: list[Any] = []

    class Slowly(Directly):
        def aside(self, settle: Any, function: Any, *args: Any) -> None:
            later.append(lambda: settle(function(*args), None))

    closed: list[int] = []
    job = Job(obtained(Slowly(), closed.append, lambda: 5))
    job.cancel()
    assert isinstance(job.exception(), Cancelled)
    later.pop()()
    assert closed == [5]
    kept = Job(obtained(Slowly(), closed.append, lambda: 6))
    later.pop()()
    assert (kept.result(), closed) == (6, [5])
