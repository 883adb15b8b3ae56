# SPDX-License-Identifier: MIT

import os
import random
import re
import stat
from pathlib import Path

import pytest
from tests.interop.odd_names import ODD
from tests.interop.servers import find
from tests.programs.file_runs import OURS, TELLIN, THEIRS, Hosts, said, tree
from tests.programs.ssh_runs import Typist
from tests.programs.test_scp import cut_after

from tellin.programs.files.meter import Figures, show_rate, show_size, show_time
from tellin.programs.files.sftp_lines import LineFault, line_of
from tellin.programs.files.sftp_listing import scaled
from tellin.programs.files.sftp_words import words_of

DATA = random.Random(18).randbytes(1_300_001)
EVERYTHING = """\
pwd
lpwd
ls
ls -l
-ls -1
ls -la d
ls -lh
-ls d
-ls nothing
ls *
ls -1 d/*
ls -r
ls -a
ls -t d/f d
ls -1 */
ls -1 d/
ls dl
ls -l dl
ls -1 d*
ls -l {dl,ro}
-ls b/
cd d
pwd
cd ..
-cd nothing
-cd b
-get nothing
-get d
-get */
get -r d/ slashed
get ro
get ro
-get b nodir/
get b
get b bb
-get b /nodir/x
-get -r d
-get * /nodir
put here
-put nothing
-put tree
put -r tree
put -r tree
ls tree
-put here nodir/x
get -p b
-rm nothing
-rm z*
rm tree/1 tree/x
-rm tree/s*
-rmdir tree
-mkdir tree
mkdir m2
rename m2 m3
-rename m3 b
ln -s b soft
symlink b soft2
ln b hard
-ln b hard
chmod 600 b
-chmod 9 b
-chmod
-chmod 600
chmod -h 600 b
chown 0 b
chgrp 0 b
lmkdir lm
-lmkdir lm
lcd lm
lpwd
lcd ..
-lcd nothing
lumask 022
-lumask 9
version
progress
progress
copy b copied
cp b copied2
!echo hi
!false
lls nothing
-frobnicate
-get
-put
-rename a
-ls -z
-get -z
-reput here
reget b
-reget nothing
-reput nothing
-get -a b
-ls "unterminated
ls 'd'
get -f b
@pwd
-@pwd
@-pwd
# comment

mget b
mput here
-mkdir -x
mkdir -- -y
-rmdir -x
rmdir -- -y
-cd -x
-lcd -x
-rm -f b
-rm -- -z
-copy -x b c
-lmkdir -x
-symlink -s b c3
ln b -- c4
rename -- c4 c5
-rename -x b
-copy nothing q
-copy d q
ls -1r
ls -lS
-ls -l nothing*
-ls -x
get -R d/ dd
put -P here h2
put -r tree/ t2
reput -p here h2
-rm d/f nothing
-df -x
chmod 7777 b
-chmod u+x b
-chown x b
-copy b
-ln b
-symlink
-get b /nodir/
help
lls -d lm
bye
pwd"""


@pytest.fixture
def hosts(tmp_path: Path) -> Hosts:
    return Hosts(tmp_path)


def fill(hosts: Hosts) -> None:
    (hosts.host / "a").write_bytes(b"a")
    (hosts.host / "b").write_bytes(b"world\n")
    (hosts.host / "a long name").write_bytes(b"")
    (hosts.host / ".hidden").write_bytes(b"")
    (hosts.host / "d" / "e").mkdir(parents=True)
    (hosts.host / "d" / "f").write_bytes(b"x\n")
    (hosts.host / "d" / "l").symlink_to("f")
    (hosts.here / "here").write_bytes(b"here")
    (hosts.here / "tree" / "sub").mkdir(parents=True)
    (hosts.here / "tree" / "1").write_bytes(b"1")
    (hosts.here / "tree" / "sub" / "2").write_bytes(b"2")
    (hosts.here / "tree" / "link").symlink_to("1")
    for path in (*hosts.host.rglob("*"), hosts.host):
        os.utime(path, (1_700_000_000, 1_700_000_000), follow_symlinks=False)


def modes(place: Path) -> dict[str, str]:
    """The permissions of all that is below a folder."""
    return {
        str(path.relative_to(place)): stat.filemode(path.lstat().st_mode)
        for path in (*place.joinpath("host").rglob("*"), *place.joinpath("here").rglob("*"))
    }


@pytest.mark.peer("sftp", "sftp-server")
@pytest.mark.parametrize("flags", [[], pytest.param(["-N"], marks=pytest.mark.slow)], ids=str)
def test_every_command_says_and_does_what_openssh_s_sftp_says_and_does(
    flags: list[str], tmp_path: Path
) -> None:
    seen = []
    for name, program in (("ours", TELLIN), ("theirs", ())):
        place = tmp_path / name
        place.mkdir()
        hosts = Hosts(place, server=THEIRS)
        fill(hosts)
        (hosts.host / "dl").symlink_to("d")
        (hosts.host / "ro").write_bytes(b"read only")
        (hosts.host / "ro").chmod(0o444)
        os.utime(hosts.host / "ro", (1_700_000_000, 1_700_000_000))
        done = hosts.run(
            "sftp", *flags, "-b", "-", "host", program=program, lines=EVERYTHING.splitlines()
        )
        out, err = (
            re.sub(r"[A-Z][a-z][a-z] [ 0-9]\d \d\d:\d\d", "TIME", text.decode()).replace(
                str(place), "."
            )
            for text in (done.stdout, done.stderr)
        )
        seen.append(
            (
                done.returncode,
                out.splitlines(),
                err.splitlines(),
                tree(place / "host"),
                tree(place / "here"),
                modes(place),
            )
        )
    ours, theirs = seen
    # What is told of each file besides ends in a slash there where it is a directory.
    for part in (3, 4, 5, 2, 0) if flags else (3, 4, 5, 2, 1, 0):
        assert ours[part] == theirs[part]


@pytest.mark.parametrize(
    "server",
    [OURS, pytest.param(THEIRS, marks=pytest.mark.peer("sftp-server"))],
    ids=["tellin", "openssh"],
)
def test_odd_names_go_there_and_back(server: str, tmp_path: Path) -> None:
    hosts = Hosts(tmp_path, server=server)
    (hosts.here / "odd").mkdir()
    for number, name in enumerate(ODD):
        (hosts.here / "odd" / os.fsdecode(name)).write_bytes(b"x" * number)
    before = tree(hosts.here / "odd")
    done = hosts.batch(
        "put -r odd",
        'get "odd/[x]*?" one',
        "get odd/\\[x\\]\\*\\? two",
        b"get odd/\xff\xfe three",
        "get 'odd/a b'",
        "rename odd/-rf odd/-x",
        "ls -l odd",
        "get -r odd back",
    )
    assert (done.returncode, said(done)) == (0, [])
    assert tree(hosts.host / "odd").keys() == {*before} - {"-rf"} | {"-x"}
    assert (hosts.here / "one").read_bytes() == (hosts.here / "two").read_bytes() == b"xxxxx"
    assert (hosts.here / "three").read_bytes() == b"xxx"
    assert (hosts.here / "a b").read_bytes() == b""
    assert tree(hosts.here / "back") == tree(hosts.host / "odd")
    # What is shown steers no terminal.
    assert b"line\\012end" in done.stdout


def test_a_batch_ends_at_its_first_failure_with_1(hosts: Hosts) -> None:
    done = hosts.batch("mkdir a", "-mkdir a", "mkdir a", "mkdir b")
    assert done.returncode == 1
    assert tree(hosts.host) == {"a": None}
    # Without -b the next line is read, and nothing has failed.
    done = hosts.run("sftp", "host", lines=["mkdir a", "mkdir b", "bye"])
    assert done.returncode == 0
    assert tree(hosts.host) == {"a": None, "b": None}


def test_a_path_behind_the_host_is_fetched_or_gone_to(hosts: Hosts) -> None:
    fill(hosts)
    done = hosts.run("sftp", "host:b")
    assert (done.returncode, done.stdout.decode()) == (0, f"Fetching {hosts.host}/b to b\n")
    assert hosts.run("sftp", "host:b", "c").returncode == 0
    assert (hosts.here / "c").read_bytes() == b"world\n"
    done = hosts.run("sftp", f"sftp://u@host:22/{hosts.host}/d", lines=["pwd"])
    assert f"Changing to: {hosts.host}/d" in done.stdout.decode()
    assert f"Remote working directory: {hosts.host}/d" in done.stdout.decode()
    done = hosts.run("sftp", "host:nothing")
    assert (done.returncode, said(done)[-1]) == (1, f'File "{hosts.host}/nothing" not found.')


def test_ssh_gets_the_words_that_openssh_s_sftp_gives_it(hosts: Hosts) -> None:
    begin = ["-oForwardX11 no", "-oPermitLocalCommand no", "-oClearAllForwardings yes"]
    hosts.run("sftp", "-6", "-C", "-J", "j", "-v", "-P", "22", "-l", "99", "sftp://u@host:33/")
    assert hosts.called() == [
        *begin, "-6", "-C", "-J", "j", "-v", "-oPort 22", "-oForwardAgent no", "-oPort 33",
        "-l", "u", "-s", "--", "host", "sftp",
    ]  # fmt: skip
    (hosts.root / "called").unlink()
    hosts.batch(flags=["-A", "-s", "/bin/true"])
    assert hosts.called() == [*begin, "-obatchmode yes", "-A", "--", "host", "/bin/true"]


def test_a_command_in_place_of_ssh_is_a_server(hosts: Hosts) -> None:
    done = hosts.run("sftp", "-D", f"{OURS} -d '{hosts.host}'", lines=["mkdir x"])
    assert (done.returncode, tree(hosts.host)) == (0, {"x": None})
    for words, status, line in (
        (["-b", "nothing", "host"], 255, "No such file or directory (nothing)."),
        (["-B", "3x", "host"], 255, 'Invalid buffer size "3x"'),
        (["-b", "-", "-b", "-", "host"], 255, "Batch file already specified."),
        (
            ["host", "a", "b"],
            1,
            "usage: sftp [-46AaCfNpqrv] [-B buffer_size] [-b batchfile] [-c cipher]",
        ),
        (["-S", "/nothing", "host"], 255, "sftp: /nothing: No such file or directory"),
    ):
        done = hosts.run("sftp", *words)
        assert (done.returncode, said(done)[0]) == (status, line), words


# Resuming


@pytest.mark.parametrize(
    "size", [1, *(pytest.param(size, marks=pytest.mark.slow) for size in (0, 32_768, 1_300_000))]
)
def test_half_a_file_is_gone_on_with_both_ways(size: int, hosts: Hosts) -> None:
    (hosts.host / "down").write_bytes(DATA)
    (hosts.here / "down").write_bytes(DATA[:size])
    (hosts.here / "up").write_bytes(DATA)
    (hosts.host / "up").write_bytes(DATA[:size])
    done = hosts.batch("reget down", "reput up")
    assert done.returncode == 0
    assert (hosts.here / "down").read_bytes() == DATA
    assert (hosts.host / "up").read_bytes() == DATA


def test_case_261_what_is_longer_than_the_whole_is_no_beginning_of_it(hosts: Hosts) -> None:
    (hosts.host / "a").write_bytes(DATA)
    (hosts.here / "a").write_bytes(DATA + b"more")
    done = hosts.batch("reget a")
    assert done.returncode == 1
    assert "bytes already" in said(done)[0]
    assert (hosts.here / "a").read_bytes() == DATA + b"more"
    for size in (len(DATA) - 5, len(DATA)):
        os.truncate(hosts.here / "a", size)
        done = hosts.batch("reput a")
        assert done.returncode == 1
        assert said(done) == ['resume "a": destination file same size or larger']
    assert (hosts.host / "a").read_bytes() == DATA


@pytest.mark.parametrize(
    "count",
    [300_000, *(pytest.param(count, marks=pytest.mark.slow) for count in (2_000, 1_299_000))],
)
def test_a_download_that_is_cut_is_finished_by_reget(count: int, tmp_path: Path) -> None:
    hosts = Hosts(tmp_path, server=cut_after(count))
    (hosts.host / "a").write_bytes(DATA)
    done = hosts.batch("get a")
    assert done.returncode == 255
    kept = (hosts.here / "a").read_bytes()
    assert DATA.startswith(kept)
    assert any(f"{len(kept)} bytes" in line for line in said(done))
    again = Hosts(tmp_path)
    assert again.batch("reget a").returncode == 0
    assert (hosts.here / "a").read_bytes() == DATA


def test_r176_a_full_disk_there_says_how_far_it_got_and_reput_finishes_it(hosts: Hosts) -> None:
    limit = 684 * 1024
    hosts.program.write_text(
        hosts.program.read_text().replace("#!/bin/sh", "#!/bin/bash\nulimit -f 684")
    )
    (hosts.here / "a").write_bytes(DATA)
    done = hosts.batch("put a")
    assert done.returncode == 1
    kept = (hosts.host / "a").read_bytes()
    assert DATA.startswith(kept)
    assert 0 < len(kept) <= limit
    assert any(re.search(r"up to \d+ bytes of 1300001 are there", line) for line in said(done)), (
        said(done)
    )
    whole = Hosts(hosts.root)
    assert whole.batch("reput a").returncode == 0
    assert (hosts.host / "a").read_bytes() == DATA


# Somebody types


def test_names_of_both_sides_are_completed_and_r186_no_control_character_comes_from_one(
    hosts: Hosts,
) -> None:
    fill(hosts)
    (hosts.host / "evil\033]0;title\007x").write_bytes(b"")
    (hosts.host / "even").write_bytes(b"even")
    (hosts.host / "it's one").write_bytes(b"one")
    typist = Typist(
        [*TELLIN, "sftp", "-S", str(hosts.program), "host"],
        env={**os.environ, "HOME": str(hosts.root), "INPUTRC": "/dev/null"},
    )
    shown = ""
    with typist:
        for line in (f"get it\t {hosts.here}/one", f"get ev\t {hosts.here}/two", "prog\t"):
            shown += typist.expect("(?s).*sftp> ")
            typist.type(f"{line}\r")
        shown += typist.expect("(?s).*Progress meter.*sftp> ")
        typist.type("bye\r")
        assert typist.end() == 0
    assert (hosts.here / "one").read_bytes() == b"one"
    # The one with the escape in its name is not offered, so this is the only one.
    assert (hosts.here / "two").read_bytes() == b"even"
    assert "\033]0;title" not in shown


# Lines


def test_words_are_patterns_in_which_quotes_have_made_letters_plain() -> None:
    for line, words in (
        (b"get 'a b' c\\ d", [b"get", b"a b", b"c d"]),
        (b'ls "x*y" *', [b"ls", b"x\\*y", b"*"]),
        (b"rm \\*a b # c", [b"rm", b"\\*a", b"b"]),
        (b"put 'it\\'s' x", [b"put", b"it's", b"x"]),
        # As OpenSSH's: a backslash by itself stays, two are one.
        (rb'rename "a\\b" "c\d"', [b"rename", rb"a\\b", rb"c\\d"]),
        (b"  ", []),
        (b"a'b'\"c\"", [b"abc"]),
        (b"''", [b""]),
    ):
        assert words_of(line) == words


def test_a_line_says_what_is_forgiven_and_what_is_not_shown() -> None:
    line = line_of(b" -@ get -pf a* 'b c' extra\n")
    assert (line.deed, line.flags, line.forgiven, line.silent) == ("get", ("p", "f"), True, True)
    assert (line.patterns, line.paths) == ((b"a*", b"b c"), (b"a*", b"b c"))
    assert line_of(b"chmod 4755 x").number == 0o4755
    assert line_of(b"!ls 'a").rest == b"ls 'a"
    assert line_of(b"# nothing").deed == ""
    for bad in (
        b"chmod 8 x",
        b"chown -1 x",
        b"chown 4294967296 x",
        b"chmod 10000 x",
        b"ln a",
        b"rm",
    ):
        with pytest.raises(LineFault):
            line_of(bad)


# What is shown


def test_amounts_rates_and_times_are_shown_as_openssh_shows_them() -> None:
    assert [scaled(n) for n in (0, 6, 1023, 4096, 34 << 30, 252 << 30)] == [
        "0B", "6B", "1023B", "4.0K", "34.0G", "252G",
    ]  # fmt: skip
    assert [show_size(n) for n in (0, 9999, 10_000, 3_000_000)] == [
        "   0  ", "9999  ", "  10KB", "2930KB",
    ]  # fmt: skip
    assert [show_rate(n) for n in (0, 5, 39_600, 164_000_000)] == [
        "  0.0KB", "  0.0KB", " 38.7KB", "156.4MB",
    ]  # fmt: skip
    assert [show_time(n) for n in (5, 65, 3_661)] == ["  00:05", "  01:05", "1:01:01"]


def test_the_meter_fills_a_line_and_knows_when_nothing_moves() -> None:
    figures = Figures("name", 1_000_000, 0.0)
    assert figures.line(0.0, 80) == f"\r{'name':45}   0%    0     0.0KB/s   --:-- ETA"
    figures.position = 250_000
    assert figures.line(1.0, 80) == f"\r{'name':45}  25%  244KB 244.1KB/s   00:03 ETA"
    for now in range(2, 8):
        line = figures.line(float(now), 80)
    assert line.endswith("- stalled -")
    figures.position = 1_000_000
    assert figures.line(10.0, 80) == f"\r{'name':45} 100%  977KB  97.7KB/s   00:10    "
    assert len(figures.line(10.0, 30)) == 31


def test_letters_that_take_two_columns_do_not_break_the_meter_s_line() -> None:
    for name, shown in (
        ("日本語", "日本語    "),
        ("日本語日本語", "日本語日本"),
        ("a日本語日本語", "a日本語日 "),
        ("e\u0301te\u0301", "e\u0301te\u0301       "),
        ("ünïcödé.binary", "ünïcödé.bi"),
    ):
        line = Figures(name, 10, 0.0).line(0.0, 45)
        assert line == f"\r{shown}   0%    0     0.0KB/s   --:-- ETA", name


@pytest.mark.peer("scp")
def test_the_meter_on_a_terminal_is_drawn_as_openssh_draws_it(hosts: Hosts) -> None:
    (hosts.here / "file").write_bytes(DATA)
    lines = []
    for program in ([*TELLIN, "scp"], [find("scp")]):
        typist = Typist(
            [*program, "-S", str(hosts.program), str(hosts.here / "file"), "host:"],
            env=dict(os.environ),
        )
        with typist:
            assert typist.end() == 0
        last = typist.read.replace(b"\n", b"").rstrip(b"\r").rpartition(b"\r")[2].decode()
        lines.append(re.sub(r"[ \d]+\.\d[KM]B/s +\d\d:\d\d", " RATE", last))
    assert lines[0] == lines[1]
    assert lines[0].startswith("file  ")
    assert "100% 1270KB" in lines[0]
