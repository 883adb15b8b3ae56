# SPDX-License-Identifier: MIT
"""Child processes: started as another user or on a terminal if asked, watched until they end.

Standard input, output and error are pipes. Against socket pairs (which OpenSSH uses on many
systems) they measured here, for 1 GiB through a reader of 256 KiB: 2,900 against 3,400 MB/s from
a writer of 64 KiB blocks, but 1,250 against 710 MB/s from one of 4 KiB blocks, as most programs
are; and programs can open /dev/stdout only on a pipe. The pumps enlarge the pipe when it fills.
"""

import errno
import fcntl
import os
import signal
import termios
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Final, NoReturn

from tellin.runtime.loop import Cancellable, Loop
from tellin.runtime.privileges import Account, become, close_inherited
from tellin.runtime.terminal import PseudoTerminal
from tellin.wire import Record

# The names of RFC 4254 section 6.10, without SIG; all others carry a domain there.
SIGNALS: Final[dict[str, int]] = {
    name: getattr(signal, f"SIG{name}")
    for name in (
        *("ABRT", "ALRM", "FPE", "HUP", "ILL", "INT", "KILL"),
        *("PIPE", "QUIT", "SEGV", "TERM", "USR1", "USR2"),
    )
}
_SIGNAL_NAMES: Final = {number: name for name, number in SIGNALS.items()}
# Python ignores these two, and an ignored signal stays ignored over exec: `yes | head` would
# not end.
_IGNORED_BY_PYTHON: Final = (signal.SIGPIPE, signal.SIGXFSZ)
_POLL_FIRST: Final = 0.005
_POLL_LONGEST: Final = 0.25
_REPORT_LIMIT: Final = 4096


class ExitStatus(Record):
    """How a process ended: a status, or the signal that killed it."""

    status: int | None
    signal_name: str | None = None
    core_dumped: bool = False

    @classmethod
    def of_wait(cls, wait_status: int) -> "ExitStatus":
        """Read what ``waitpid`` returned."""
        if os.WIFEXITED(wait_status):
            return cls(status=os.WEXITSTATUS(wait_status))
        number = os.WTERMSIG(wait_status)
        return cls(
            status=None, signal_name=signal_name(number), core_dumped=os.WCOREDUMP(wait_status)
        )


def signal_name(number: int) -> str:
    """The name for exit-signal: of the RFC, or the local one with a domain."""
    name = _SIGNAL_NAMES.get(number)
    if name is not None:
        return name
    try:
        return f"{signal.Signals(number).name.removeprefix('SIG')}@openssh.com"
    except ValueError:
        return f"{number}@openssh.com"


class Child:
    """A process that was started, its descriptors, and how it ended.

    The descriptors belong to whoever takes them over (pumps close their own); ``close`` closes
    those that are still here: set an attribute to -1 when you have taken it.
    """

    def __init__(
        self,
        pid: int,
        *,
        stdin_fd: int,
        stdout_fd: int,
        stderr_fd: int,
        pty: PseudoTerminal | None,
    ) -> None:
        self.pid = pid
        self.stdin_fd = stdin_fd
        self.stdout_fd = stdout_fd
        self.stderr_fd = stderr_fd
        self.pty = pty
        self.ended: ExitStatus | None = None
        self._loop: Loop | None = None
        self._on_exit: Callable[[ExitStatus], object] | None = None
        self._pidfd = -1
        self._timer: Cancellable | None = None
        self._patience = _POLL_FIRST

    def watch(self, loop: Loop, on_exit: Callable[[ExitStatus], object]) -> None:
        """Call once when the process has ended, and reap it."""
        self._loop = loop
        self._on_exit = on_exit
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except OSError:
            # No pidfd here (an old kernel, a strict sandbox): look from time to time.
            self._timer = loop.call_soon(self._look)
        else:
            loop.add_reader(self._pidfd, self._look)

    def forget(self) -> None:
        """Watch no more; the process runs on and somebody else reaps it."""
        if self._pidfd >= 0 and self._loop is not None:
            self._loop.remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def send_signal(self, number: int) -> bool:
        """Signal the whole process group; false when the process has ended.

        Never after it is reaped: the number may belong to somebody else by then.
        """
        if self.ended is not None:
            return False
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return False
        except PermissionError:
            # It runs under another user id by now (su): not ours to signal.
            return False
        return True

    def close(self) -> None:
        """Close the descriptors that nobody took over."""
        for fd in (self.stdin_fd, self.stdout_fd, self.stderr_fd):
            if fd >= 0:
                os.close(fd)
        self.stdin_fd = self.stdout_fd = self.stderr_fd = -1
        if self.pty is not None:
            self.pty.close()

    def wait(self) -> ExitStatus:
        """Wait without a loop."""
        self.ended = ExitStatus.of_wait(os.waitpid(self.pid, 0)[1])
        return self.ended

    def _look(self) -> None:
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            # Somebody reaped it (SIGCHLD set to ignore): that it ended is all there is to know.
            self._over(ExitStatus(status=255))
            return
        if pid:
            self._over(ExitStatus.of_wait(status))
        elif self._pidfd < 0 and self._loop is not None:
            self._timer = self._loop.call_later(self._patience, self._look)
            self._patience = min(self._patience * 2, _POLL_LONGEST)

    def _over(self, ended: ExitStatus) -> None:
        self.ended = ended
        self._timer = None
        self.forget()
        if self._on_exit is not None:
            self._on_exit(ended)


class _Plan:
    """All that the child does between fork and exec, worked out before the fork."""

    def __init__(self, executable: str, argv: Sequence[str], env: Mapping[str, str]) -> None:
        self.executable = executable
        self.argv = list(argv)
        self.env = env
        self.streams: tuple[int, int, int] = (0, 1, 2)
        self.pty: PseudoTerminal | None = None
        self.user: Account | None = None
        self.groups: list[int] = []
        self.cwd: str | None = None
        self.cwd_optional = False
        self.root: str | None = None
        self.umask: int | None = None
        self.step = "start"
        self.inside: Callable[[], int] | None = None

    def is_plain(self) -> bool:
        """Nothing but descriptors, a directory and a session of its own."""
        asked = (self.pty, self.user, self.root, self.umask, self.inside)
        return all(one is None for one in asked)

    def stays_here(self) -> bool:
        """posix_spawn can do it: it knows no directories."""
        return self.cwd is None or self.cwd == os.getcwd()  # noqa: PTH109 - a str is compared


def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    executable: str | None = None,
    cwd: str | None = None,
    cwd_optional: bool = False,
    user: Account | None = None,
    pty: PseudoTerminal | None = None,
    streams: tuple[int, int, int] | None = None,
    stderr_apart: bool = True,
    root: str | None = None,
    umask: int | None = None,
    inside: Callable[[], int] | None = None,
) -> Child:
    """Start ``executable`` (default ``argv[0]``) in a session of its own; raises OSError from the child.

    With ``pty`` its slave is the controlling terminal and all three streams; else pipes, where
    ``stderr_apart=False`` sends standard error into standard output; or the given ``streams``
    (child's ends, which stay open here). ``cwd_optional``: a home that cannot be entered is
    reported on standard error, and / serves. ``root`` is a directory to chroot into. ``inside`` is
    called in the child in place of another program, and gives its status: only for a process
    without threads that may call what it has loaded.
    """
    plan = _Plan(executable or argv[0], argv, env)
    plan.pty, plan.user, plan.root, plan.umask = pty, user, root, umask
    plan.cwd, plan.cwd_optional = cwd, cwd_optional
    plan.inside = inside
    if user is not None:
        plan.groups = user.groups() if os.geteuid() == 0 else []
    ours: list[int] = [-1, -1, -1]
    theirs: list[int] = []
    try:
        if streams is not None:
            plan.streams = streams
        elif pty is not None:
            plan.streams = (pty.slave,) * 3
        else:
            plan.streams = _make_pipes(ours, theirs, stderr_apart=stderr_apart)
        pid = _start(plan)
    except BaseException:
        for fd in ours:
            if fd >= 0:
                os.close(fd)
        raise
    finally:
        for fd in theirs:
            os.close(fd)
    if pty is not None:
        # Only the child holds the slave now: its end is the terminal's end.
        pty.close_slave()
    return Child(pid, stdin_fd=ours[0], stdout_fd=ours[1], stderr_fd=ours[2], pty=pty)


def _make_pipes(ours: list[int], theirs: list[int], *, stderr_apart: bool) -> tuple[int, int, int]:
    child: list[int] = []
    for number in range(3 if stderr_apart else 2):
        read_end, write_end = os.pipe()
        ours[number], other = (write_end, read_end) if number == 0 else (read_end, write_end)
        theirs.append(other)
        child.append(other)
    return child[0], child[1], child[-1]


def _start(plan: _Plan) -> int:
    if plan.is_plain() and plan.stays_here():
        try:
            return _posix_spawn(plan)
        except NotImplementedError:
            # A C library without POSIX_SPAWN_SETSID.
            pass
    if plan.is_plain() and not (plan.cwd_optional and not _is_open(plan.cwd)):
        return _vfork(plan)
    return _fork(plan)


def _is_open(path: str | None) -> bool:
    return path is None or os.access(path, os.X_OK)


def _vfork(plan: _Plan) -> int:
    """As ``subprocess`` starts its children: without copying the page tables of a large process.

    A fork of an embedded server's process costs several milliseconds, this one half of one.
    """
    # Here because only servers start programs elsewhere, and every client would wait for it.
    import subprocess  # noqa: PLC0415

    try:
        process = subprocess.Popen(
            plan.argv,
            executable=plan.executable,
            env=plan.env,
            cwd=plan.cwd,
            stdin=plan.streams[0],
            stdout=plan.streams[1],
            stderr=plan.streams[2],
            start_new_session=True,
        )
    except ValueError as error:
        # A NUL in an argument or in the environment.
        raise OSError(errno.EINVAL, str(error), plan.executable) from error
    # It is waited for by its number; the object must not do so as well.
    process.returncode = 0
    return process.pid


@cache
def seal_inherited() -> None:
    """Descriptors that came with this process stay in it: posix_spawn closes only marked ones.

    Once is enough: all that Python opens itself is marked from the start (PEP 446).
    """
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - numbers, not paths
        if int(name) > 2:
            # The one that listed them is closed by now.
            with suppress(OSError):
                os.set_inheritable(int(name), False)


def _posix_spawn(plan: _Plan) -> int:
    seal_inherited()
    # Through numbers above 2 first: a stream may have one of the numbers that is to be filled.
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3) for fd in plan.streams]
    try:
        return os.posix_spawn(
            plan.executable,
            plan.argv,
            plan.env,
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(high)],
            setsid=True,
            setsigmask=(),
            setsigdef=_defaults(),
        )
    except ValueError as error:
        # A NUL in an argument or in the environment.
        raise OSError(errno.EINVAL, str(error), plan.executable) from error
    finally:
        for fd in high:
            os.close(fd)


def _defaults() -> list[int]:
    """Signals that this process ignores; a caught one goes back to its default by exec itself."""
    ignored = [
        number for number in signal.valid_signals() if signal.getsignal(number) == signal.SIG_IGN
    ]
    return sorted({*_IGNORED_BY_PYTHON, *ignored})


def _fork(plan: _Plan) -> int:
    defaults = _defaults()
    report_read, report_write = os.pipe()
    # A signal between fork and exec would be written into our loop's wake-up pipe by the child.
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if not pid:
            _become_child(plan, defaults, report_write)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        os.close(report_write)
    with open(report_read, "rb") as reader:  # noqa: PTH123 - a descriptor, not a path
        report = reader.read(_REPORT_LIMIT)
    if not report:
        # exec has closed the other end.
        return pid
    os.waitpid(pid, 0)
    number, _, step = report.partition(b" ")
    raise OSError(int(number), os.strerror(int(number)), step.decode(errors="replace"))


def _become_child(plan: _Plan, defaults: Sequence[int], report: int) -> NoReturn:
    """The child's side of the fork: it ends in exec or _exit, whatever happens."""
    try:
        # The report must survive what is put on 0, 1 and 2.
        report = fcntl.fcntl(report, fcntl.F_DUPFD_CLOEXEC, 3)
        signal.set_wakeup_fd(-1)
        for number in defaults:
            signal.signal(number, signal.SIG_DFL)
        _enter(plan, report)
        if plan.inside is not None:
            os.close(report)
            _stay_inside(plan, plan.inside)
        plan.step = plan.executable
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execve(plan.executable, plan.argv, plan.env)
    except OSError as error:
        _report(report, error.errno or errno.EINVAL, plan.step)
    except ValueError:
        # A NUL in an argument or in the environment.
        _report(report, errno.EINVAL, plan.step)
    finally:
        os._exit(127)


def _stay_inside(plan: _Plan, inside: Callable[[], int]) -> NoReturn:
    """Do the child's work here; nothing of the parent's may run on in this process."""
    status = 255
    try:
        # A reader that is gone is an error where it is written to, as everywhere in Python.
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.environ.clear()
        os.environ.update(plan.env)
        status = inside()
    finally:
        os._exit(status)


def _report(report: int, number: int, step: str) -> None:
    os.write(report, f"{number} {step}".encode(errors="surrogateescape")[:_REPORT_LIMIT])


def _enter(plan: _Plan, report: int) -> None:
    plan.step = "setsid"
    os.setsid()
    if plan.pty is not None:
        plan.step = plan.pty.name
        fcntl.ioctl(plan.pty.slave, termios.TIOCSCTTY, 0)
    plan.step = "standard streams"
    high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3) for fd in plan.streams]
    for number, fd in enumerate(high):
        os.dup2(fd, number)
    close_inherited(keep=(report,))
    if plan.root is not None:
        plan.step = plan.root
        os.chroot(plan.root)
        os.chdir("/")
    if plan.umask is not None:
        os.umask(plan.umask)
    if plan.user is not None:
        plan.step = f"user {plan.user.name}"
        become(plan.user, plan.groups)
    if plan.cwd is not None:
        # As the user: a home on NFS is closed to root.
        plan.step = plan.cwd
        _change_directory(plan.cwd, optional=plan.cwd_optional)


def _change_directory(path: str, *, optional: bool) -> None:
    try:
        os.chdir(path)
    except OSError as error:
        if not optional:
            raise
        os.write(2, f"Could not chdir to home directory {path}: {error.strerror}\n".encode())
        os.chdir("/")


def shell_command(account: Account, command: str | None) -> tuple[str, list[str]]:
    """The executable and the arguments for a user's shell: with a command, or as a login shell.

    A login shell knows itself by the dash before its name.
    """
    name = account.shell.rpartition("/")[2]
    if command is None:
        return account.shell, [f"-{name}"]
    return account.shell, [name, "-c", command]
