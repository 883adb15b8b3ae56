# SPDX-License-Identifier: MIT
"""ssh-add beside OpenSSH's: what it says, byte by byte, how it ends, and what the agent then has."""

import subprocess
from pathlib import Path

import pytest
from tests.interop.agents import PROGRAMS, SECONDS, RunningAgent
from tests.interop.target import make_key, my_name

from tellin.keys import PrivateKey
from tellin.programs.agents import ssh_add
from tellin.programs.agents.add_wishes import Wishes
from tellin.runtime import prompts

LINES = (
    "plain",
    "-q plain",
    "-t 60 plain",
    "-t 1h30m plain",
    "-t nonsense plain",
    "-t -5 plain",
    "-c plain",
    "locked",
    "locked locked",
    "certified",
    "-k certified",
    "-q certified",
    "exposed",
    "nosuch",
    "nosuch plain",
    "-d plain",
    "-d nosuch",
    "-d",
    "-T plain.pub",
    "-T nosuch",
    "-T",
    "-l",
    "-L",
    "-E md5 -l",
    "-E nonsense -l",
    "-D",
    "-q -D",
    "-X",
    "-s /nonexistent.so",
    "-e /nonexistent.so",
    "-h nowhere plain",
    "-H /nonexistent -h nowhere plain",
    "-l -L",
    "-l -l",
    "-X -x",
    "-D -l",
    "-x -D",
    "-d -T plain.pub",
    "pem",
)

# What is said and done one after the other, each by the same program on an agent that is empty at first.
COURSES = (
    ("certified", "-d -k certified", "-l", "-d certified", "-l", "-d certified"),
    ("certified", "-T certified.pub", "-T certified-cert.pub", "-d certified-cert.pub", "-l"),
    ("certified", "-T certified-cert.pub plain.pub", "-d -k certified-cert.pub", "-l"),
    ("pem", "-l", "-d pem", "-l"),
    ("lonely", "-d lonely", "-l"),
    ("-x", "-l", "certified", "-d certified", "-X", "-l"),
)


@pytest.fixture
def desk(agent: RunningAgent, home: Path) -> RunningAgent:
    """An agent, and somebody with keys of several kinds who answers every question."""
    for name in ("plain", "exposed", "certified"):
        make_key(home / name)
    words = ["ssh-keygen", "-q", "-t", "ecdsa", "-N", "secret", "-C", "mine"]
    subprocess.run([*words, "-f", home / "locked"], check=True)
    (home / "exposed").chmod(0o644)
    program = home / "askpass"
    program.write_text("#!/bin/sh\necho secret\n")
    program.chmod(0o755)
    agent.environment |= {"SSH_ASKPASS": str(program), "SSH_ASKPASS_REQUIRE": "force"}
    certify(home / "certified", "+1h", home)
    subprocess.run([*words, "-m", "PEM", "-f", home / "pem", "-N", ""], check=True)
    (home / "lonely").touch(0o600)
    (home / "lonely").write_bytes((home / "plain").read_bytes())
    return agent


def certify(path: Path, interval: str, home: Path) -> None:
    if not (home / "authority").exists():
        make_key(home / "authority")
    words = ["ssh-keygen", "-q", "-s", home / "authority", "-I", "who", "-n", my_name()]
    subprocess.run([*words, "-V", interval, f"{path}.pub"], check=True)


def run(desk: RunningAgent, user: str, *words: str) -> tuple[int, bytes, bytes]:
    done = subprocess.run(
        [*PROGRAMS[user]["add"], *words],
        cwd=desk.directory,
        env=desk.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=SECONDS,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.peer("openssh", "ssh-keygen")
@pytest.mark.sampled(2)
@pytest.mark.parametrize("line", LINES)
def test_both_say_the_same_byte_by_byte(desk: RunningAgent, line: str) -> None:
    seen = []
    for user in ("openssh", "tellin"):
        run(desk, "openssh", "-D")
        run(desk, "openssh", "-q", "locked")
        # The certificate of an hour is OpenSSH 9.2's for ever: -N is what it does.
        more = ["-N"] if user == "tellin" and "certified" in line else []
        done = run(desk, user, *more, *line.split())
        seen.append((done, run(desk, "openssh", "-l")))
    assert seen[0] == seen[1]


@pytest.mark.parametrize("course", COURSES, ids=" ; ".join)
def test_both_do_the_same_step_by_step(desk: RunningAgent, course: tuple[str, ...]) -> None:
    seen = []
    for user in ("openssh", "tellin"):
        run(desk, "openssh", "-D")
        # See above for -N.
        more = {"certified": ["-N"]} if user == "tellin" else {}
        seen.append([run(desk, user, *more.get(line, []), *line.split()) for line in course])
    for line, theirs, ours in zip(course, *seen, strict=True):
        assert ours == theirs, line


def test_certificates_alone_are_taken_away_where_they_alone_were_added(desk: RunningAgent) -> None:
    assert run(desk, "tellin", "certified")[0] == 0
    assert run(desk, "tellin", "-d", "-C", "certified")[0] == 0
    (line,) = run(desk, "openssh", "-l")[1].splitlines()
    assert line.endswith(b"(ED25519)")


@pytest.mark.peer("ssh-keygen")
def test_a_certificate_leaves_the_agent_soon_after_its_end(desk: RunningAgent, home: Path) -> None:
    for interval, said in (
        ("-2h:-1h", b"Certificate over-cert.pub has already expired\r\n"),
        ("-1h:+1h", b"Lifetime set to "),
    ):
        if not (home / "over").exists():
            make_key(home / "over")
        certify(home / "over", interval, home)
        run(desk, "tellin", "-D")
        status, _, errors = run(desk, "tellin", "over")
        assert status == 0
        assert said in errors, interval
        listed = run(desk, "tellin", "-l")[1]
        assert (b"-CERT)" in listed) is (interval == "-1h:+1h")
    (line,) = [one for one in errors.split(b"\n") if one.startswith(b"Lifetime")]
    seconds = int(line.split()[3])
    # Five minutes more than is left; the test itself has taken some of it.
    assert 3600 < seconds <= 3900
    # -t says less, and -N nothing of it.
    assert b"Lifetime set to 5 seconds" in run(desk, "tellin", "-t", "5", "over")[2]
    assert b"Lifetime" not in run(desk, "tellin", "-N", "over")[2]
    run(desk, "tellin", "-D")
    assert run(desk, "tellin", "-C", "certified")[0] == 0
    assert run(desk, "tellin", "-l")[1].count(b"\n") == 1


def test_the_last_passphrase_is_tried_for_the_next_key(desk: RunningAgent, home: Path) -> None:
    counter = home / "asked"
    (home / "askpass").write_text(f"#!/bin/sh\necho x >> {counter}\necho secret\n")
    status, _, errors = run(desk, "tellin", "locked", "locked")
    assert (status, errors.count(b"Identity added")) == (0, 2)
    assert counter.read_text() == "x\n"


def test_without_a_terminal_the_passphrase_comes_by_standard_input(desk: RunningAgent) -> None:
    environment = {n: v for n, v in desk.environment.items() if not n.startswith("SSH_ASKPASS")}

    def add(user: str, typed: bytes) -> tuple[int, bytes, bytes]:
        done = subprocess.run(
            [*PROGRAMS[user]["add"], "locked"],
            cwd=desk.directory,
            env=environment,
            input=typed,
            capture_output=True,
            timeout=SECONDS,
            check=False,
            start_new_session=True,
        )
        run(desk, "openssh", "-D")
        return done.returncode, done.stdout, done.stderr

    for typed in (b"secret\n", b"wrong\nsecret\n", b"wrong\n", b"\n", b""):
        ours, theirs = add("tellin", typed), add("openssh", typed)
        assert ours == theirs
        assert ours[0] == (b"secret" not in typed)


def test_a_key_may_come_out_of_a_pipe(desk: RunningAgent, home: Path) -> None:
    """As in ssh-add <(command), or with a secret of a build: it never lies on a disk."""
    private, public = (home / "plain").read_bytes(), (home / "plain.pub").read_bytes()
    for words, typed in (
        (["/dev/stdin"], private),
        (["-T", "/dev/stdin"], public),
        (["-d", "/dev/stdin"], public),
    ):
        said = []
        for user in ("openssh", "tellin"):
            run(desk, "openssh", "-D")
            run(desk, "openssh", "-q", *(["plain"] if typed == public else []))
            done = subprocess.run(
                [*PROGRAMS[user]["add"], *words],
                cwd=desk.directory,
                env=desk.environment,
                input=typed,
                capture_output=True,
                timeout=SECONDS,
                check=False,
            )
            said.append((done.returncode, done.stdout, done.stderr))
        assert said[0] == said[1], words
        assert said[1][0] == 0


@pytest.mark.parametrize("answer", ["no", "yes"])
def test_r074_case_279_a_passphrase_that_takes_long_is_asked_about(
    answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """OpenSSH makes such keys with -a 3000: their owner can say that he is willing to wait."""
    asked: list[str] = []

    def ask(question: str, **more: object) -> str:
        asked.append(question)
        return "secret" if question.startswith("Enter") else answer

    monkeypatch.setattr(prompts, "ask", ask)
    monkeypatch.setattr(ssh_add, "DEFAULT_MOST_ROUNDS", 4)
    key = PrivateKey.generate("ed25519", comment="slow")
    opened = ssh_add._opened(key.to_openssh(b"secret", rounds=5), "key", Wishes())
    assert (opened is not None) is (answer == "yes")
    assert asked == [
        "Enter passphrase for key: ",
        "The key key has a passphrase of 5 rounds, where 4 are allowed. Go on (yes/no)? ",
    ]
