# SPDX-License-Identifier: MIT
"""Files: nothing lost, nothing torn, nothing followed that should not be."""

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tellin.errors import ConfigError, TimedOut
from tellin.runtime import files
from tellin.runtime.files import (
    append_line,
    exposed_mode,
    is_guarded,
    make_private_directory,
    read_file,
    read_text,
    strict_modes_fault,
    update_file,
    update_text,
    write_file,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the runtime is for Linux")


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- reading -------------------------------------------------------------------------------------


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"x" * 100)
    assert read_file(str(file), limit=100) == b"x" * 100
    with pytest.raises(ConfigError, match="longer than 99 bytes"):
        read_file(str(file), limit=99)
    file.write_bytes(b"")
    assert read_file(str(file), limit=0) == b""


def test_a_huge_file_is_refused_without_reading_it_all(tmp_path: Path) -> None:
    file = tmp_path / "f"
    with file.open("wb") as opened:
        opened.truncate(1 << 40)
    start = time.process_time()
    with pytest.raises(ConfigError, match="longer than"):
        read_file(str(file))
    assert time.process_time() - start < 2


def test_text_that_is_not_utf_8_goes_back_as_it_came(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"caf\xe9 \xc3\xa9\n")
    text = read_text(str(file))
    assert text == "caf\udce9 é\n"
    assert update_text(str(file), lambda old: old + "x")
    assert file.read_bytes() == b"caf\xe9 \xc3\xa9\nx"


def test_what_is_not_a_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    # Nobody writes to it: a plain open would wait for ever.
    with pytest.raises(ConfigError, match="not a regular file"):
        read_file(str(pipe))
    with pytest.raises(ConfigError, match="not a regular file"):
        read_file(str(tmp_path))
    with pytest.raises(ConfigError, match="not a regular file"):
        update_file(str(tmp_path), bytes)
    with pytest.raises(ConfigError, match="not a regular file"):
        write_file(str(pipe), b"x")
    with pytest.raises(ConfigError, match="not a regular file"):
        update_file(str(pipe), bytes)
    with pytest.raises(ConfigError, match="not a regular file"):
        read_file("/dev/zero")
    with pytest.raises(FileNotFoundError):
        read_file(str(tmp_path / "nosuch"))


def test_the_null_device_is_empty_and_takes_everything() -> None:
    before = Path("/dev/null").stat()
    assert read_file("/dev/null") == b""
    assert not update_file("/dev/null", lambda old: old + b"x")
    append_line("/dev/null", "x")
    write_file("/dev/null", b"x")
    after = Path("/dev/null").stat()
    assert stat.S_ISCHR(after.st_mode)
    assert (before.st_ino, before.st_mode) == (after.st_ino, after.st_mode)


def test_a_pipe_is_read_to_its_end_where_that_is_wanted() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"Port 1\n")
    os.close(writer)
    try:
        assert read_file(f"/dev/fd/{reader}", pipes=True) == b"Port 1\n"
    finally:
        os.close(reader)


def test_a_check_sees_the_file_that_was_opened(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"x")
    seen: list[int] = []
    read_file(str(file), check=lambda status: seen.append(status.st_ino))
    assert seen == [file.stat().st_ino]

    def refuse(status: os.stat_result) -> None:
        raise ConfigError("no")

    with pytest.raises(ConfigError, match=r"^no$"):
        read_file(str(file), check=refuse)


# --- writing -------------------------------------------------------------------------------------


def test_a_new_file_has_the_mode_it_was_given_and_an_old_one_keeps_its_own(tmp_path: Path) -> None:
    file = tmp_path / "f"
    write_file(str(file), b"one", mode=0o640)
    assert (file.read_bytes(), mode_of(file)) == (b"one", 0o640)
    file.chmod(0o604)
    write_file(str(file), b"two", mode=0o600)
    assert (file.read_bytes(), mode_of(file)) == (b"two", 0o604)
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.root
@pytest.mark.skipif(os.getuid() != 0, reason="only root may give files away")
def test_the_owner_stays(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"")
    os.chown(file, 1234, 4321)
    write_file(str(file), b"x")
    assert (file.stat().st_uid, file.stat().st_gid) == (1234, 4321)


def test_a_symbolic_link_is_followed_and_stays_one(tmp_path: Path) -> None:
    real = tmp_path / "real"
    real.mkdir()
    link = tmp_path / "link"
    link.symlink_to("real/f")
    write_file(str(link), b"one")
    append_line(str(link), "two")
    assert link.is_symlink()
    assert (real / "f").read_bytes() == b"one\ntwo\n"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"old")

    def full(descriptor: int, data: object) -> int:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="no space"):
        write_file(str(file), b"new")
    with pytest.raises(OSError, match="no space"):
        update_file(str(file), lambda old: old + b"new")
    monkeypatch.undo()
    assert file.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_missing_directory_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_file(str(tmp_path / "no" / "f"), b"")
    with pytest.raises(FileNotFoundError):
        append_line(str(tmp_path / "no" / "f"), "x")


# --- changing ------------------------------------------------------------------------------------


def test_a_line_is_added_behind_a_last_line_that_lacks_its_end(tmp_path: Path) -> None:
    file = tmp_path / "f"
    append_line(str(file), "one")
    assert (file.read_bytes(), mode_of(file)) == (b"one\n", 0o600)
    file.write_bytes(b"one\ntwo")
    append_line(str(file), "three")
    assert file.read_bytes() == b"one\ntwo\nthree\n"
    for bad in ("a\nb", "a\rb"):
        with pytest.raises(ConfigError, match="line break"):
            append_line(str(file), bad)


def test_a_change_that_changes_nothing_writes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"x")
    before = file.stat().st_ino
    assert not update_file(str(file), lambda old: old)
    assert file.stat().st_ino == before
    assert update_file(str(file), lambda old: b"")
    assert file.read_bytes() == b""


def test_an_error_in_the_change_leaves_the_file(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"x")

    def fail(old: bytes) -> bytes:
        raise ConfigError("no")

    with pytest.raises(ConfigError, match=r"^no$"):
        update_file(str(file), fail)
    assert file.read_bytes() == b"x"
    append_line(str(file), "y")  # and the lock is free again


WRITER = """
import sys
from tellin.runtime.files import append_line
path, who, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
for number in range(count):
    append_line(path, f"{who} {number} " + "x" * 200)
"""


def test_ten_processes_lose_no_line(tmp_path: Path) -> None:
    # Case 313.
    file = tmp_path / "f"
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(file), str(who), "12"])
        for who in range(10)
    ]
    assert [writer.wait(60) for writer in writers] == [0] * 10
    lines = file.read_text().splitlines()
    wanted = {f"{who} {number} " + "x" * 200 for who in range(10) for number in range(12)}
    assert len(lines) == 120
    assert set(lines) == wanted
    assert list(tmp_path.iterdir()) == [file]


def test_killed_at_any_moment_it_leaves_old_or_new(tmp_path: Path) -> None:
    file = tmp_path / "f"
    big = "y" * 200_000
    file.write_text(f"{big}\n")
    for pause in (0.0, 0.002, 0.005, 0.01, 0.02):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(file), "w", "100000"])
        deadline = time.monotonic() + 30
        size = file.stat().st_size
        while file.stat().st_size == size:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        time.sleep(pause)
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        lines = file.read_text().split("\n")
        assert lines[0] == big
        assert lines[-1] == ""
        assert {line.rpartition(" ")[2] for line in lines[1:-1]} <= {"x" * 200}
    append_line(str(file), "after")
    assert file.read_text().endswith("\nafter\n")


def test_a_lock_that_is_not_to_be_had_ends_in_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "_LOCK_SECONDS", 0.05)
    file = tmp_path / "f"
    file.write_bytes(b"x\n")
    with file.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(TimedOut, match="locked by another process"):
            append_line(str(file), "y")
    append_line(str(file), "y")
    assert file.read_bytes() == b"x\ny\n"


def test_who_waited_for_a_file_that_has_gone_takes_the_new_one(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"old\n")
    with file.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        waiting = threading.Thread(target=append_line, args=(str(file), "mine"))
        waiting.start()
        time.sleep(0.1)
        write_file(str(file), b"new\n")
    waiting.join(10)
    assert file.read_bytes() == b"new\nmine\n"


def test_where_there_are_no_locks_it_goes_without(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(descriptor: object, operation: int) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", none)
    append_line(str(tmp_path / "f"), "x")
    assert (tmp_path / "f").read_bytes() == b"x\n"

    def broken(descriptor: object, operation: int) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(fcntl, "flock", broken)
    with pytest.raises(OSError, match="broken"):
        append_line(str(tmp_path / "f"), "x")


def test_a_file_that_cannot_be_replaced_is_added_to_in_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"one")

    def mounted(source: str, target: str) -> None:
        raise OSError(errno.EBUSY, "a mount of its own")

    monkeypatch.setattr(os, "replace", mounted)
    before = file.stat().st_ino
    append_line(str(file), "two")
    assert file.read_bytes() == b"one\ntwo\n"
    assert file.stat().st_ino == before
    # What is more than an addition would leave the file open to a crash half-way.
    with pytest.raises(OSError, match="mount"):
        update_file(str(file), lambda old: b"other")
    assert file.read_bytes() == b"one\ntwo\n"
    assert list(tmp_path.iterdir()) == [file]


def test_an_addition_in_place_is_whole_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"one\n")

    def mounted(source: str, target: str) -> None:
        raise OSError(errno.EBUSY, "a mount of its own")

    written = []
    real_write = os.write

    def half(descriptor: int, data: memoryview) -> int:
        written.append(bytes(data))
        if len(written) == 2:
            return real_write(descriptor, data[:2])
        if len(written) == 3:
            raise OSError(errno.ENOSPC, "no space")
        return real_write(descriptor, data)

    monkeypatch.setattr(os, "replace", mounted)
    monkeypatch.setattr(os, "write", half)
    with pytest.raises(OSError, match="no space"):
        append_line(str(file), "two")
    assert file.read_bytes() == b"one\n"


def test_a_private_directory_is_made_once(tmp_path: Path) -> None:
    make_private_directory(str(tmp_path / ".ssh"))
    assert mode_of(tmp_path / ".ssh") == 0o700
    make_private_directory(str(tmp_path / ".ssh"))


# --- who else may touch it -----------------------------------------------------------------------


def status(mode: int, uid: int) -> os.stat_result:
    return os.stat_result((mode, 1, 1, 1, uid, 0, 0, 0, 0, 0))


REGULAR = stat.S_IFREG


@pytest.mark.parametrize(
    ("mode", "uid", "exposed"),
    [(0o600, 5, None), (0o400, 5, None), (0o700, 5, None), (0o640, 5, 0o640), (0o644, 5, 0o644),
     (0o604, 5, 0o604), (0o610, 5, 0o610), (0o644, 6, None)],
)  # fmt: skip
def test_a_private_key_is_for_its_owner_alone(mode: int, uid: int, exposed: int | None) -> None:
    assert exposed_mode(status(REGULAR | mode, uid), uid=5) == exposed


@pytest.mark.parametrize(
    ("mode", "uid", "guarded"),
    [(0o644, 5, True), (0o600, 0, True), (0o444, 5, True), (0o664, 5, False), (0o646, 5, False),
     (0o600, 6, False)],
)  # fmt: skip
def test_a_configuration_is_written_by_its_owner_alone(mode: int, uid: int, guarded: bool) -> None:
    assert is_guarded(status(REGULAR | mode, uid), uid=5) is guarded


def test_both_rules_judge_for_the_one_who_runs(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"")
    file.chmod(0o640)
    assert exposed_mode(file.stat()) == 0o640
    assert is_guarded(file.stat())


def test_strict_modes_looks_at_the_file_and_everything_above_it(tmp_path: Path) -> None:
    uid = os.getuid()
    home = tmp_path / "home"
    folder = home / ".ssh"
    folder.mkdir(parents=True, mode=0o755)
    file = folder / "authorized_keys"
    file.write_bytes(b"")

    def fault() -> str:
        return strict_modes_fault(str(file), file.stat(), uid=uid, home=str(home))

    home.chmod(0o755)
    folder.chmod(0o755)
    file.chmod(0o644)
    assert fault() == ""
    for place, bad in ((file, 0o664), (file, 0o646), (folder, 0o775), (home, 0o757)):
        kept = mode_of(place)
        place.chmod(bad)
        kind = "file" if place is file else "directory"
        assert fault() == f"bad ownership or modes for {kind} {place}"
        place.chmod(kept)
    # Above the home directory others may do as they like.
    tmp_path.chmod(0o777)
    assert fault() == ""
    tmp_path.chmod(0o700)
    if uid == 0:
        os.chown(folder, 1234, 0)
        assert fault() == f"bad ownership or modes for directory {folder}"
    assert strict_modes_fault(str(folder), folder.stat(), uid=uid, home=str(home)) == (
        f"{folder} is not a regular file"
    )


def test_strict_modes_goes_up_to_the_root_outside_the_home(tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.write_bytes(b"")
    file.chmod(0o644)
    tmp_path.chmod(0o777)
    found = strict_modes_fault(str(file), file.stat(), uid=os.getuid(), home="/nonexistent")
    assert found == f"bad ownership or modes for directory {tmp_path}"
    assert (
        strict_modes_fault("/etc/passwd", Path("/etc/passwd").stat(), uid=1, home="/home/x") == ""
    )


MORTAL = """
import os, signal, sys, types
from tellin.runtime import files

path, last = sys.argv[1], int(sys.argv[2])
calls = 0

def mortal(call):
    def made(*words, **named):
        global calls
        calls += 1
        if calls == last:
            if call is os.write:
                # In the middle of it.
                os.write(words[0], bytes(words[1])[: len(words[1]) // 2])
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*words, **named)
    return made

names = {name: getattr(os, name) for name in dir(os)}
calling = {
    name: mortal(value)
    for name, value in names.items()
    if isinstance(value, types.BuiltinFunctionType) and name != "fspath"
}
files.os = types.SimpleNamespace(**{**names, **calling})
files.os.path = os.path
files.update_text(path, lambda old: old.replace("two", "TWO " * 9000) + "four\\n")
print(calls)
"""


def test_killed_at_each_system_call_it_leaves_the_old_or_the_new_and_no_lock(
    tmp_path: Path,
) -> None:
    file = tmp_path / "f"
    old = "one\ntwo\nthree\n"
    new = old.replace("two", "TWO " * 9000) + "four\n"
    seen = []
    for last in range(1, 100):
        file.write_text(old)
        file.chmod(0o640)
        done = subprocess.run(
            [sys.executable, "-c", MORTAL, file, str(last)], capture_output=True, check=False
        )
        text = file.read_text()
        assert text in {old, new}, last
        assert mode_of(file) == 0o640
        # Whoever comes next is held up by nothing that was left behind.
        append_line(str(file), "next")
        assert file.read_text() == f"{text}next\n"
        if not done.returncode:
            break
        assert done.returncode == -signal.SIGKILL, done.stderr
        seen.append(text == new)
    assert int(done.stdout) == len(seen)
    # Every call was the last one once: first the old is there, then the new, and never the old again.
    assert seen == sorted(seen)
    assert {*seen} == {False, True}
    assert len(seen) > 10


KNOWN_HOSTS_WRITER = """
import sys
from tellin.client.hosts.records import FileRecords
from tellin.config.known_hosts import remove_host
from tellin.runtime.files import update_text
from tellin.runtime.journal import Journal
path, who, count, key = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
records = FileRecords([path], [], Journal())
for number in range(count):
    records.add(f"host{who}-{number} {key}")
    records.add(f"gone{who}-{number} {key}")
    update_text(path, lambda text: remove_host(text, f"gone{who}-{number}")[0])
"""


@pytest.mark.peer("ssh-keygen", "openssh")
def test_case_313_ten_processes_at_one_known_hosts_and_openssh_reads_it(tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    public = " ".join(Path(f"{key}.pub").read_text("ascii").split()[:2])
    file = tmp_path / "known_hosts"
    first = f"# mine\n\n@revoked bad {public}\nlast {public} without its end"
    file.write_text(first, "ascii")
    file.chmod(0o644)
    writers = [
        subprocess.Popen([sys.executable, "-c", KNOWN_HOSTS_WRITER, file, str(who), "6", public])
        for who in range(10)
    ]
    while any(writer.poll() is None for writer in writers):
        # Who reads meanwhile sees whole lines, and never less than there was.
        text = file.read_text("ascii")
        assert text.startswith(first)
        assert text in {first, first + "\n"} or text.endswith(f"{public}\n")
        time.sleep(0.01)
    assert [writer.wait(60) for writer in writers] == [0] * 10
    text = file.read_text("ascii")
    wanted = {f"host{who}-{number} {public}" for who in range(10) for number in range(6)}
    assert text.startswith(f"{first}\n")
    lines = text.removeprefix(f"{first}\n").splitlines()
    assert len(lines) == 60
    assert set(lines) == wanted
    assert mode_of(file) == 0o644
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key", "key.pub", "known_hosts"]
    for name in ("host0-0", "host9-5", "last"):
        subprocess.run(["ssh-keygen", "-q", "-F", name, "-f", file], check=True, stdout=-3)
    # OpenSSH's own removal comes by rename as well: nothing of the rest is lost to it.
    subprocess.run(["ssh-keygen", "-q", "-R", "host0-0", "-f", file], check=True, stdout=-3)
    append_line(str(file), f"after {public}")
    left = file.read_text("ascii").splitlines()
    assert set(left[4:]) == wanted - {f"host0-0 {public}"} | {f"after {public}"}
