# SPDX-License-Identifier: MIT
"""Programs that move files, over real connections: tellin's at others' sshd, others' at tellin's sshd."""

import os
import random
import shlex
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.interop.conftest import Running
from tests.interop.odd_names import ODD
from tests.interop.peers import OpenSSHClient, PlinkClient
from tests.interop.servers import find
from tests.interop.target import Target
from tests.interop.tellin_peer import TELLIN, TellinServer

DATA = random.Random(27).randbytes(900_001)


def plant(top: Path) -> None:
    """A tree with odd names, modes and times."""
    (top / "sub" / "empty").mkdir(parents=True)
    (top / "big").write_bytes(DATA)
    (top / "none").write_bytes(b"")
    for number, name in enumerate(ODD):
        (top / "sub" / os.fsdecode(name)).write_bytes(b"x" * number)
    (top / "big").chmod(0o640)
    os.utime(top / "big", (1_000_000_000, 1_100_000_000))


def tree(top: Path) -> dict[str, bytes | None]:
    """What is below a folder."""
    found = (path for path in top.rglob("*") if not path.is_symlink())
    return {
        str(path.relative_to(top)): None if path.is_dir() else path.read_bytes() for path in found
    }


def words_for(target: Target, tmp_path: Path) -> list[str]:
    """The options of OpenSSH's programs, and tellin's, for a server."""
    argv = [str(word) for word in OpenSSHClient(tmp_path).argv(target, "sftp", subsystem=True)]
    return [*argv[1 : argv.index("-T")], "-P", str(target.port)]


def run(
    argv: Sequence[str], cwd: Path, *, text: str = "", env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        argv,
        input=os.fsencode(text),
        capture_output=True,
        cwd=cwd,
        timeout=100,
        check=False,
        env={**os.environ, **(env or {})},
        start_new_session=True,
    )


Places = tuple[Path, Path]


@pytest.fixture
def places(tmp_path: Path) -> Places:
    """A folder that stands for here, and one for there."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    return here, there


# Who copies, and at whose server.
PAIRS = [
    pytest.param(([*TELLIN], "tellin"), id="tellin-tellin", marks=pytest.mark.slow),
    pytest.param(([*TELLIN], "sshd"), id="tellin-openssh", marks=pytest.mark.peer("sshd")),
    pytest.param(([], "tellin"), id="openssh-tellin", marks=pytest.mark.peer("scp", "sftp")),
]


@pytest.mark.parametrize(
    "flags", [[], pytest.param(["-O"], marks=pytest.mark.slow)], ids=["sftp", "rcp"]
)
@pytest.mark.parametrize("pair", PAIRS)
def test_scp_brings_a_tree_there_and_back(
    pair: tuple[list[str], str], flags: list[str], running: Running, places: Places, tmp_path: Path
) -> None:
    (program, server), (here, there) = pair, places
    target = running(server).target
    plant(here / "tree")
    if flags:
        # A line of rcp's ends where the name's line does: OpenSSH's shows it in two letters.
        (here / "tree" / "sub" / "line\nend").unlink()
    scp = [*(program or [find("scp")]), *(["scp"] if program else []), *flags]
    scp += words_for(target, tmp_path)
    host = f"{target.user}@{target.host}"
    done = run([*scp, "-rp", "tree", f"{host}:{there}/"], here)
    assert (done.returncode, done.stderr) == (0, b"")
    assert tree(there / "tree") == tree(here / "tree")
    done = run([*scp, "-rp", f"{host}:{there}/tree", "back"], here)
    assert (done.returncode, done.stderr) == (0, b"")
    assert tree(here / "back") == tree(here / "tree")
    status = (here / "back" / "big").stat()
    assert (status.st_mode & 0o777, int(status.st_mtime)) == (0o640, 1_100_000_000)
    done = run([*scp, f"{host}:{there}/nothing", "."], here)
    assert done.returncode == 1
    assert b"No such file or directory" in done.stderr


@pytest.mark.parametrize("pair", PAIRS[:2])
def test_sftp_does_all_its_commands_over_a_connection(
    pair: tuple[list[str], str], running: Running, places: Places, tmp_path: Path
) -> None:
    (program, server), (here, there) = pair, places
    target = running(server).target
    plant(here / "tree")
    lines = f"""\
cd {there}
put -rp tree
rename tree moved
get -rp moved
ln -s moved soft
ln moved/big hard
chmod 600 hard
mkdir folder
rmdir folder
get soft/big again
ls -l moved
df -h
rm hard
-get nothing
reput ../here/tree/none moved/none2
"""
    words = words_for(target, tmp_path)
    where = f"{target.user}@{target.host}"
    done = run([*program, "sftp", *words, "-b", "-", where], here, text=lines)
    # The last line goes on with what is not there.
    assert done.returncode == 1, done.stderr
    assert tree(there / "moved") == tree(here / "tree") == tree(here / "moved")
    assert (here / "again").read_bytes() == DATA
    assert (there / "soft").readlink() == Path("moved")
    assert not (there / "hard").exists()
    assert (there / "moved" / "big").stat().st_mode & 0o777 == 0o600
    assert b"File " in done.stderr
    assert b"not found." in done.stderr


@pytest.mark.slow
def test_scp_goes_from_one_server_to_another(
    running: Running, places: Places, tmp_path: Path
) -> None:
    here, there = places
    target = running("tellin").target
    (here / "a").write_bytes(DATA)
    words = words_for(target, tmp_path)
    host = f"{target.user}@{target.host}"
    for flags in ([], ["-O", "-3"]):
        done = run(
            [*TELLIN, "scp", *flags, *words, f"{host}:{here}/a", f"{host}:{there}/b"], tmp_path
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert (there / "b").read_bytes() == DATA
        (there / "b").unlink()


def test_a_server_that_nobody_gets_into_is_255(running: Running, tmp_path: Path) -> None:
    target = running("tellin").target
    words = words_for(target, tmp_path)
    nobody = ["-o", "PubkeyAuthentication=no", *words]
    for name, lines in (("scp", [f"x@{target.host}:a", "b"]), ("sftp", [f"x@{target.host}"])):
        done = run([*TELLIN, name, "-B" if name == "scp" else "-N", *nobody, *lines], tmp_path)
        assert done.returncode == 255
        assert b"Permission denied" in done.stderr
        assert b"Connection closed" in done.stderr


# Others' programs at tellin's sshd


@pytest.mark.slow
@pytest.mark.peer("pscp", "plink")
@pytest.mark.parametrize("flag", ["-sftp", "-scp"])
def test_putty_s_pscp_copies_both_ways(
    flag: str, running: Running, places: Places, tmp_path: Path
) -> None:
    here, there = places
    client, target = PlinkClient(tmp_path), running("tellin").target
    argv = [str(word) for word in client.argv(target, "sftp", subsystem=True)]
    words = [word for word in argv[1:] if word not in {"-ssh", "-T", "-s", "sftp"}]
    pscp = [find("pscp"), flag, "-r", "-p", *words[:-1]]
    plant(here / "tree")
    for name in ODD:
        # What PuTTY takes for a line or for a pattern of its own.
        if b"\n" in name or b"*" in name or b"\xff" in name or b"\\" in name:
            (here / "tree" / "sub" / os.fsdecode(name)).unlink()
    env = client.environment(target)
    done = run([*pscp, "tree", f"{words[-1]}:{there}"], here, env=env)
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert tree(there / "tree") == tree(here / "tree")
    done = run([*pscp, f"{words[-1]}:{there}/tree", "back"], here, env=env)
    assert done.returncode == 0, (done.stdout, done.stderr)
    if (here / "back").exists():
        assert (here / "back" / "big").read_bytes() == DATA


@pytest.mark.peer("curl")
def test_curl_gets_puts_and_goes_on(places: Places, tmp_path: Path) -> None:
    here, there = places
    # libssh2 1.10 knows no MAC over what is encrypted.
    with TellinServer(tmp_path, options={"MACs": "+hmac-sha2-256"}) as server:
        curl_at(server.target, here, there, tmp_path)


def curl_at(target: Target, here: Path, there: Path, tmp_path: Path) -> None:
    assert target.identity is not None
    curl = [
        find("curl"),
        "-sSk",
        "--key",
        str(target.identity.path),
        "-u",
        f"{target.user}:",
        "--pubkey",
        f"{target.identity.path}.pub",
    ]
    env = {"HOME": str(tmp_path)}
    url = f"sftp://{target.host}:{target.port}{there}"
    (here / "a").write_bytes(DATA)
    done = run([*curl, "-T", "a", f"{url}/a%20b"], here, env=env)
    assert done.returncode == 0, done.stderr
    assert (there / "a b").read_bytes() == DATA
    (here / "half").write_bytes(DATA[:123_456])
    done = run([*curl, "-C", "-", "-o", "half", f"{url}/a%20b"], here, env=env)
    assert (done.returncode, done.stderr) == (0, b"")
    assert (here / "half").read_bytes() == DATA
    done = run([*curl, "-Q", f'rename "{there}/a b" {there}/c', f"{url}/"], here, env=env)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b" c\n" in done.stdout
    assert run([*curl, f"{url}/nothing"], here, env=env).returncode == 78


@pytest.mark.slow
@pytest.mark.peer("lftp", "ssh")
def test_lftp_mirrors_a_tree_both_ways(running: Running, places: Places, tmp_path: Path) -> None:
    here, there = places
    target = running("tellin").target
    plant(here / "tree")
    for name in (b"line\nend", b"\xff\xfe", b"'\"quo\\te"):
        # What its own parser of lines makes something else of.
        (here / "tree" / "sub" / os.fsdecode(name)).unlink()
    ssh = [str(word) for word in OpenSSHClient(tmp_path).argv(target, "x")]
    program = shlex.join([*ssh[: ssh.index("-T")], "-a", "-x"])
    script = f"""\
set sftp:connect-program {shlex.quote(program)}
set sftp:auto-confirm yes
set net:max-retries 1
open -u {target.user}, -p {target.port} sftp://{target.host}{there}
mirror -R tree up
mirror up back
mv up moved
get moved/big -o big
chmod 600 moved/big
rm -r moved/sub
"""
    done = run([find("lftp"), "-f", "/dev/stdin"], here, text=script, env={"HOME": str(tmp_path)})
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert tree(here / "back") == tree(here / "tree")
    assert (here / "big").read_bytes() == DATA
    assert sorted(tree(there / "moved")) == ["big", "none"]


@pytest.mark.slow
@pytest.mark.peer("rclone")
def test_rclone_copies_and_compares_a_tree(
    running: Running, places: Places, tmp_path: Path
) -> None:
    here, there = places
    target = running("tellin").target
    assert target.identity is not None
    plant(here / "tree")
    for name in (b"\xff\xfe", b"line\nend"):
        # It has letters of its own for these.
        (here / "tree" / "sub" / os.fsdecode(name)).unlink()
    known = tmp_path / "known_hosts"
    known.write_text(target.known_hosts(), "ascii")
    remote = (
        f":sftp,host={target.host},port={target.port},user={target.user},"
        f"key_file={target.identity.path},known_hosts_file={known},shell_type=none:{there}"
    )
    rclone = [find("rclone"), "--config", "/dev/null", "--retries", "1"]
    done = run([*rclone, "copy", "tree", f"{remote}/up", "--create-empty-src-dirs"], here)
    assert done.returncode == 0, done.stderr
    assert tree(there / "up") == tree(here / "tree")
    done = run([*rclone, "check", "--download", "tree", f"{remote}/up"], here)
    assert done.returncode == 0, done.stderr
    done = run([*rclone, "moveto", f"{remote}/up/big", f"{remote}/large"], here)
    assert done.returncode == 0, done.stderr
    assert (there / "large").read_bytes() == DATA


@pytest.mark.peer("sshfs", "ssh")
def test_a_tree_is_mounted_by_sshfs(running: Running, places: Places, tmp_path: Path) -> None:
    here, there = places
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("no /dev/fuse here")
    target = running("tellin").target
    words = words_for(target, tmp_path)
    options = [word for word in words[:-2] if word != "-v"]
    mount = tmp_path / "mount"
    mount.mkdir()
    config = tmp_path / "sshfs_config"
    config.write_text("", "ascii")
    ssh = tmp_path / "through"
    ssh.write_text(f'#!/bin/sh\nexec {find("ssh")} {shlex.join(options)} "$@"\n', "utf-8")
    ssh.chmod(0o755)
    where = f"{target.user}@{target.host}:{there}"
    done = run(
        [find("sshfs"), where, str(mount), "-p", str(target.port), "-o", f"ssh_command={ssh}"],
        here,
    )
    if b"fuse" in done.stderr and b"ermitted" in done.stderr:
        pytest.skip("nothing may be mounted here")
    assert done.returncode == 0, done.stderr
    try:
        plant(mount / "tree")
        assert tree(there / "tree") == tree(mount / "tree")
        (mount / "tree" / "big").rename(mount / "moved")
        (mount / "link").symlink_to("moved")
        os.truncate(mount / "moved", 1000)
        (mount / "tree" / "none").unlink()
        assert (there / "link").readlink() == Path("moved")
        deadline = time.monotonic() + 60
        while (there / "moved").stat().st_size != 1000:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert (there / "moved").read_bytes() == DATA[:1000]
    finally:
        run([find("fusermount3"), "-u", "-z", str(mount)], here)
