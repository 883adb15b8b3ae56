# SPDX-License-Identifier: MIT
"""Children: how they start, what they find, and how their end is told."""

import asyncio
import errno
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tellin.runtime import processes
from tellin.runtime.loop import SmallLoop
from tellin.runtime.privileges import Account
from tellin.runtime.processes import Child, ExitStatus, shell_command, signal_name, spawn
from tellin.runtime.terminal import PseudoTerminal, WindowSize, open_pty

ENV = {"PATH": "/usr/bin:/bin"}
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


@pytest.fixture(params=["posix_spawn", "fork"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to start a child must give the same child."""
    if request.param == "fork":
        monkeypatch.setattr(processes._Plan, "is_plain", lambda self: False)
    return str(request.param)


def sh(script: str, **more: Any) -> Child:
    return spawn(["/bin/sh", "-c", script], env=ENV, **more)


def read_all(fd: int) -> bytes:
    parts = []
    while True:
        try:
            part = os.read(fd, 65536)
        except OSError:
            # EIO: the end of a terminal.
            break
        if not part:
            break
        parts.append(part)
    return b"".join(parts)


def output(child: Child) -> bytes:
    said = read_all(child.stdout_fd)
    child.wait()
    child.close()
    return said


def terminal() -> PseudoTerminal:
    return open_pty(WindowSize(columns=80, rows=24))


@pytest.mark.parametrize("status", [0, 1, 44, 255])
def test_exit_statuses_arrive(loop: SmallLoop, way: str, status: int) -> None:
    ended: list[ExitStatus] = []
    child = sh(f"exit {status}")
    child.watch(loop, ended.append)
    assert loop.run_until(lambda: ended, timeout=5)
    assert ended == [ExitStatus(status=status)]
    assert child.ended == ended[0]
    assert not loop._readers
    child.close()


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("TERM", "TERM"),
        ("KILL", "KILL"),
        ("USR1", "USR1"),
        ("HUP", "HUP"),
        ("BUS", "BUS@openssh.com"),
        ("XCPU", "XCPU@openssh.com"),
    ],
)
def test_signals_arrive_by_their_name(loop: SmallLoop, way: str, name: str, shown: str) -> None:
    ended: list[ExitStatus] = []
    child = sh(f"ulimit -c 0; kill -{name} $$")
    child.watch(loop, ended.append)
    assert loop.run_until(lambda: ended, timeout=5)
    assert ended == [ExitStatus(status=None, signal_name=shown, core_dumped=False)]
    child.close()


def test_a_core_dump_is_told() -> None:
    assert ExitStatus.of_wait(0x80 | signal.SIGSEGV) == ExitStatus(
        status=None, signal_name="SEGV", core_dumped=True
    )


def test_signals_without_a_name_get_their_number() -> None:
    assert signal_name(40) == "40@openssh.com"
    assert set(processes.SIGNALS) == {
        *("ABRT", "ALRM", "FPE", "HUP", "ILL", "INT", "KILL"),
        *("PIPE", "QUIT", "SEGV", "TERM", "USR1", "USR2"),
    }


def test_the_three_streams_are_three_pipes(way: str) -> None:
    child = sh("cat; echo oops >&2")
    os.write(child.stdin_fd, b"hello\n")
    os.close(child.stdin_fd)
    child.stdin_fd = -1
    assert read_all(child.stderr_fd) == b"oops\n"
    assert output(child) == b"hello\n"


def test_standard_error_can_go_into_standard_output(way: str) -> None:
    child = sh("echo one; echo two >&2", stderr_apart=False)
    assert child.stderr_fd == -1
    assert output(child) == b"one\ntwo\n"


def test_streams_can_be_given(way: str, tmp_path: Path) -> None:
    (tmp_path / "in").write_text("from a file")
    with (tmp_path / "in").open("rb") as source, (tmp_path / "out").open("wb") as sink:
        child = sh("cat", streams=(source.fileno(), sink.fileno(), sink.fileno()))
        assert child.wait() == ExitStatus(status=0)
    assert (tmp_path / "out").read_text() == "from a file"


def test_streams_with_low_numbers_are_not_mixed_up(way: str) -> None:
    """The streams are handed over in numbers that the child needs for others."""
    code = f"""
import os, sys
sys.path[:0] = {sys.path!r}
from tellin.runtime import processes
if {way!r} == "fork":
    processes._Plan.is_plain = lambda self: False
kept = os.dup(1)
for fd in (0, 1, 2):
    os.close(fd)
r, w = os.pipe()
e = os.dup(kept)
assert (r, w, e) == (0, 1, 2)
os.write(w, b"swapped")
# In the child 0 is our 1 turned round: its input is what we call 0, its output our 2.
child = processes.spawn(["/bin/sh", "-c", "head -c 7; echo"], env={ENV!r}, streams=(r, e, e))
assert child.wait().status == 0
"""
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, check=True, timeout=20
    )
    assert done.stdout == b"swapped\n"


def test_a_child_has_a_session_of_its_own_and_no_descriptor_of_ours(way: str) -> None:
    leaked = os.dup(0)
    os.set_inheritable(leaked, True)
    # As if it had come with this process: found at the first start of a child.
    processes.seal_inherited.cache_clear()
    child = sh("ps -o sid= -p $$ | tr -d ' '; ls /proc/self/fd | wc -l")
    session, descriptors = output(child).split()
    assert int(session) == child.pid
    # Three streams, and the directory that ls reads.
    assert int(descriptors) == 4
    os.close(leaked)


def test_signals_that_we_ignore_or_block_are_normal_in_the_child(way: str) -> None:
    before = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    try:
        child = sh("grep -E '^Sig(Blk|Ign)' /proc/self/status")
    finally:
        now = signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGUSR2, before)
    assert signal.SIGUSR1 in now
    blocked, ignored = (int(line.split()[1], 16) for line in output(child).splitlines())
    assert blocked == 0
    for number in (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGUSR2):
        assert not ignored >> (number - 1) & 1


def test_the_environment_is_exactly_what_was_given(way: str) -> None:
    child = spawn(["/usr/bin/env"], env={"A": "1", "PATH": "/bin"})
    assert sorted(output(child).split()) == [b"A=1", b"PATH=/bin"]


def test_a_name_for_the_shell_differs_from_its_path(way: str) -> None:
    child = spawn(["-sh", "-c", "echo $0"], executable="/bin/sh", env=ENV)
    assert output(child) == b"-sh\n"


def test_a_program_that_is_not_there_is_an_error_here(way: str) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with pytest.raises(FileNotFoundError) as caught:
        spawn(["/nonexistent/program"], env=ENV)
    assert "/nonexistent/program" in str(caught.value)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_a_nul_in_an_argument_is_an_error_here(way: str) -> None:
    with pytest.raises(OSError, match="/bin/sh") as caught:
        spawn(["/bin/sh", "-c", "a\0b"], env=ENV)
    assert caught.value.errno == errno.EINVAL


def test_a_directory_and_an_umask_are_set(tmp_path: Path) -> None:
    child = sh("pwd; umask", cwd=str(tmp_path), umask=0o027)
    assert output(child).decode().split() == [str(tmp_path), "0027"]


def test_a_directory_that_cannot_be_entered_is_an_error_unless_it_is_a_home() -> None:
    with pytest.raises(FileNotFoundError, match="/nonexistent"):
        sh("pwd", cwd="/nonexistent")
    child = sh("pwd", cwd="/nonexistent", cwd_optional=True)
    assert read_all(child.stderr_fd) == (
        b"Could not chdir to home directory /nonexistent: No such file or directory\n"
    )
    assert output(child) == b"/\n"


def test_on_a_terminal_the_child_controls_it_and_has_its_size() -> None:
    pty = terminal()
    child = sh("test -t 0 && test -t 1 && test -t 2 && stty size < /dev/tty; tty", pty=pty)
    assert child.stdin_fd == child.stdout_fd == child.stderr_fd == -1
    assert pty.slave == -1
    said = read_all(pty.master)
    assert said.split() == [b"24", b"80", pty.name.encode()]
    assert child.wait() == ExitStatus(status=0)
    child.close()
    assert pty.master == -1


def test_ctrl_c_on_a_terminal_reaches_the_child() -> None:
    pty = terminal()
    child = sh("echo ready; exec sleep 20", pty=pty)
    assert os.read(pty.master, 100) == b"ready\r\n"
    os.write(pty.master, b"\x03")
    assert child.wait() == ExitStatus(status=None, signal_name="INT")
    child.close()


def test_closing_the_master_hangs_the_session_up() -> None:
    child = sh("echo ready; exec sleep 20", pty=terminal())
    assert child.pty is not None
    os.read(child.pty.master, 100)
    child.close()
    assert child.wait() == ExitStatus(status=None, signal_name="HUP")


def test_a_signal_goes_to_the_whole_group_and_never_to_a_reaped_number() -> None:
    child = sh("sleep 20 & echo started; wait")
    assert os.read(child.stdout_fd, 100) == b"started\n"
    assert child.send_signal(signal.SIGTERM)
    # The pipe's end shows that the inner sleep has gone too.
    assert read_all(child.stdout_fd) == b""
    assert child.wait().signal_name == "TERM"
    assert not child.send_signal(signal.SIGTERM)
    child.close()


def test_without_pidfd_the_end_is_still_noticed(
    loop: SmallLoop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(pid: int) -> int:
        raise OSError(errno.ENOSYS, "none")

    monkeypatch.setattr(os, "pidfd_open", missing)
    ended: list[ExitStatus] = []
    child = sh("sleep 0.03; exit 7")
    child.watch(loop, ended.append)
    assert loop.run_until(lambda: ended, timeout=5)
    assert ended == [ExitStatus(status=7)]
    child.close()


def test_a_child_that_somebody_else_reaped_is_over(loop: SmallLoop) -> None:
    ended: list[ExitStatus] = []
    child = sh("exit 3")
    child.watch(loop, ended.append)
    os.waitpid(child.pid, 0)
    assert loop.run_until(lambda: ended, timeout=5)
    assert ended == [ExitStatus(status=255)]
    child.close()


def test_a_forgotten_child_calls_nobody(loop: SmallLoop) -> None:
    ended: list[ExitStatus] = []
    child = sh("exit 3")
    child.watch(loop, ended.append)
    child.forget()
    assert loop.run_until(lambda: ended, timeout=0.05) is False
    assert child.wait() == ExitStatus(status=3)
    child.close()


def test_asyncio_hears_of_the_end_too() -> None:
    async def run() -> ExitStatus:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[ExitStatus] = loop.create_future()
        child = sh("exit 44")
        child.watch(loop, ended.set_result)
        found = await asyncio.wait_for(ended, 5)
        child.close()
        return found

    assert asyncio.run(run()) == ExitStatus(status=44)


def test_a_signal_during_the_fork_does_not_wake_our_loop_twice(loop: SmallLoop) -> None:
    seen: list[int] = []
    loop.add_signal(signal.SIGUSR1, seen.append, 1)
    child = sh("kill -USR1 $$", umask=0o022)
    assert child.wait().signal_name == "USR1"
    loop.run_until(lambda: False, timeout=0.02)
    assert seen == []
    child.close()


@needs_root
def test_another_user_is_become_whole_and_at_home(tmp_path: Path) -> None:
    nobody = Account.named("nobody")
    assert nobody is not None
    child = sh("id -u; id -g; id -G; grep CapEff /proc/self/status", user=nobody, cwd="/")
    uid, gid, groups, _, capabilities = output(child).split(maxsplit=4)
    assert (int(uid), int(gid), int(groups)) == (nobody.uid, nobody.gid, nobody.gid)
    assert int(capabilities, 16) == 0
    tmp_path.chmod(0o700)
    with pytest.raises(PermissionError, match=str(tmp_path)):
        sh("pwd", user=nobody, cwd=str(tmp_path))


@needs_root
def test_another_root_directory_is_entered(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="/bin/sh"):
        sh("pwd", root=str(tmp_path))
    assert output(sh("pwd", root="/")) == b"/\n"


def test_an_unknown_way_to_spawn_falls_back_to_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> int:
        raise NotImplementedError

    monkeypatch.setattr(os, "posix_spawn", missing)
    assert output(sh("echo forked")) == b"forked\n"


def test_shells_are_called_with_a_command_or_as_login_shells() -> None:
    account = Account(name="a", uid=1, gid=1, home="/", shell="/bin/zsh")  # noqa: S604 - a name
    assert shell_command(account, None) == ("/bin/zsh", ["-zsh"])
    assert shell_command(account, "ls -l") == ("/bin/zsh", ["zsh", "-c", "ls -l"])


def test_fifty_children_take_no_longer_than_a_breath(loop: SmallLoop, way: str) -> None:
    ended: list[ExitStatus] = []
    before = sum(os.times()[:4])
    children = [spawn(["/bin/true"], env=ENV) for _ in range(50)]
    for child in children:
        child.watch(loop, ended.append)
    assert loop.run_until(lambda: len(ended) == 50, timeout=60)
    for child in children:
        child.close()
    # Work, of the children too: how long it takes is up to who else works here.
    assert sum(os.times()[:4]) - before < 10
