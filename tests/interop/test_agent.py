# SPDX-License-Identifier: MIT
"""Agents: ours and OpenSSH's, each with ssh-add and ssh of both."""

import asyncio
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.interop.agents import PROGRAMS, SECONDS, RunningAgent, wait_for
from tests.interop.conftest import Running
from tests.interop.servers import OpenSSHServer
from tests.interop.target import KEY_KINDS, KeyFile, Target, make_key, my_name

import tellin
from tellin.keys import Agent, PrivateKey, load_public_key

openssh = pytest.param("openssh", marks=pytest.mark.peer("openssh"))
# Ours with theirs, theirs with ours, and ours with itself.
MEETINGS = pytest.mark.parametrize(
    ("agent", "user"),
    [
        ("tellin", "tellin"),
        pytest.param("tellin", "openssh", marks=pytest.mark.peer("openssh")),
        pytest.param("openssh", "tellin", marks=pytest.mark.peer("openssh")),
    ],
    indirect=["agent"],
)
HOSTILE = (
    "import socket, sys; s = socket.socket(fileno=int(sys.argv[1])); c = s.accept()[0];"
    "c.recv(9999); c.sendall(bytes.fromhex(sys.argv[2])); c.close()"
)


@MEETINGS
@pytest.mark.parametrize("kind", KEY_KINDS)
def test_every_kind_of_key_is_added_shown_used_and_removed(
    agent: RunningAgent, user: str, kind: str, tmp_path: Path
) -> None:
    key = make_key(tmp_path / "key", kind)
    said = agent.add(user, key.path).stderr
    assert said.replace("\r", "") == f"Identity added: {key.path} ({key.path})\n"
    other = "openssh" if agent.name == user == "tellin" else "tellin"
    if agent.name == "tellin":
        listed = agent.add(user, "-l").stdout
        assert key.fingerprint in listed
        assert agent.add(user, "-L").stdout.split()[:2] == key.public.split()[:2]
    agent.add(user, "-T", f"{key.path}.pub")
    said = agent.add(user, "-d", key.path).stderr
    assert said.startswith(f"Identity removed: {key.path} ")
    assert agent.add(user, "-l", check=False).returncode == 1
    assert other


@pytest.mark.peer("openssh")
def test_both_ssh_adds_say_the_same(agent: RunningAgent, tmp_path: Path) -> None:
    for kind in ("ed25519", "ecdsa384", "rsa"):
        agent.add("openssh", make_key(tmp_path / kind, kind).path)
    for words in (["-l"], ["-L"], ["-l", "-E", "md5"], ["-D"], ["-l"], ["-L"], ["-d", "nosuch"]):
        theirs = agent.add("openssh", *words, check=False)
        if words == ["-D"]:
            agent.add("openssh", tmp_path / "rsa")
        ours = agent.add("tellin", *words, check=False)
        assert (ours.returncode, ours.stdout, ours.stderr) == (
            theirs.returncode,
            theirs.stdout,
            theirs.stderr,
        ), words


@MEETINGS
def test_ssh_logs_in_with_a_key_that_only_the_agent_has(
    agent: RunningAgent, user: str, running: Running, tmp_path: Path
) -> None:
    target = running("sshd").target
    assert target.identity is not None
    agent.add(user, target.identity.path)
    done = agent.logs_in(user, target)
    assert (done.returncode, done.stdout) == (0, "in\n"), done.stderr


@pytest.mark.peer("sshd")
def test_identities_only_keeps_to_what_is_configured(
    agent: RunningAgent, running: Running, tmp_path: Path
) -> None:
    target = running("sshd").target
    assert target.identity is not None
    for number in range(3):
        agent.add("tellin", make_key(tmp_path / f"other{number}").path)
    agent.add("tellin", target.identity.path)
    refused = agent.logs_in("tellin", target, "-o", "IdentitiesOnly=yes")
    assert refused.returncode == 255
    # The public half names the one that the agent holds; the others are not even offered.
    public = f"{target.identity.path}.pub"
    done = agent.logs_in("tellin", target, "-v", "-o", "IdentitiesOnly=yes", "-i", public)
    assert (done.returncode, done.stdout) == (0, "in\n"), done.stderr
    assert done.stderr.count("Offering public key") == 1
    assert "UNPROTECTED" not in done.stderr


@pytest.mark.peer("sshd")
def test_identity_agent_chooses_the_agent(
    agent: RunningAgent, running: Running, tmp_path: Path
) -> None:
    target = running("sshd").target
    assert target.identity is not None
    agent.add("tellin", target.identity.path)
    del agent.environment["SSH_AUTH_SOCK"]
    assert agent.logs_in("tellin", target).returncode == 255
    assert agent.logs_in("tellin", target, "-o", f"IdentityAgent={agent.path}").returncode == 0
    agent.environment["OTHER"] = str(agent.path)
    assert agent.logs_in("tellin", target, "-o", "IdentityAgent=$OTHER").returncode == 0
    agent.environment["SSH_AUTH_SOCK"] = str(agent.path)
    assert agent.logs_in("tellin", target, "-o", "IdentityAgent=none").returncode == 255


@pytest.mark.peer("sshd")
def test_an_agent_that_is_gone_or_hostile_does_not_stop_a_login(
    running: Running, agent: RunningAgent, home: Path
) -> None:
    target = running("sshd").target
    assert target.identity is not None
    with socket.socket(socket.AF_UNIX) as hostile:
        hostile.bind(str(home / "hostile"))
        hostile.listen()
        for answer in (b"", b"\xff" * 8, b"\0\0\0\5\x0c\xff\xff\xff\xff"):
            agent.environment["SSH_AUTH_SOCK"] = str(home / "hostile")
            with subprocess.Popen(
                [
                    sys.executable,
                    "-c",
                    HOSTILE,
                    str(hostile.fileno()),
                    answer.hex(),
                ],
                pass_fds=[hostile.fileno()],
            ):
                done = agent.logs_in("tellin", target, "-i", str(target.identity.path))
                assert (done.returncode, done.stdout) == (0, "in\n"), done.stderr
    agent.environment["SSH_AUTH_SOCK"] = str(home / "nosuch")
    assert agent.logs_in("tellin", target, "-i", str(target.identity.path)).returncode == 0


# Certificates


@pytest.mark.sampled(2)
@MEETINGS
@pytest.mark.parametrize("kind", KEY_KINDS)
@pytest.mark.peer("openssh", "sshd")
def test_a_certificate_is_added_with_its_key_and_logs_in(
    agent: RunningAgent, user: str, kind: str, tmp_path: Path
) -> None:
    key, authority = make_key(tmp_path / "key", kind), make_key(tmp_path / "authority")
    subprocess.run(
        [
            "ssh-keygen",
            "-q",
            "-s",
            authority.path,
            "-I",
            "who",
            "-n",
            my_name(),
            f"{key.path}.pub",
        ],
        check=True,
    )
    said = agent.add(user, key.path).stderr.replace("\r", "")
    assert f"Certificate added: {key.path}-cert.pub (who)\n" in said
    listed = agent.add(user, "-l").stdout
    assert listed.count(key.fingerprint) == 2
    assert "-CERT)" in listed
    # The bare key lets nobody in there.
    options = {"TrustedUserCAKeys": f"{authority.path}.pub", "AuthorizedKeysFile": "none"}
    with OpenSSHServer(_made(tmp_path / "server"), options=options) as server:
        for client in ("openssh", "tellin"):
            done = agent.logs_in(client, server.target)
            assert (done.returncode, done.stdout) == (0, "in\n"), done.stderr
    said = agent.add(user, "-d", key.path).stderr
    assert said.count("Identity removed: ") == 2
    assert agent.add(user, "-l", check=False).returncode == 1


# Destinations


def named(target: Target, name: str) -> str:
    return "".join(f"{name} {' '.join(line.split()[:2])}\n" for line in target.host_keys)


@MEETINGS
def test_a_key_kept_to_a_destination_logs_in_there_only(
    agent: RunningAgent, user: str, running: Running, tmp_path: Path
) -> None:
    target = running("sshd").target
    assert target.identity is not None
    known = tmp_path / "names"
    other = make_key(tmp_path / "elsewhere")
    known.write_text(f"{named(target, 'there')}elsewhere {other.public}\n", "ascii")
    for destination, status in (
        ("there", 0),
        (f"{target.user}@there", 0),
        ("nobody@there", 255),
        ("elsewhere", 255),
    ):
        agent.add(user, "-D")
        agent.add(user, "-H", known, "-h", destination, target.identity.path)
        assert agent.logs_in(user, target).returncode == status, destination


@pytest.mark.peer("sshd", "openssh")
def test_a_key_kept_to_destinations_refuses_the_second_hop_that_is_not_permitted(
    agent: RunningAgent, running: Running, tmp_path: Path
) -> None:
    first = running("sshd").target
    assert first.identity is not None
    allowed, forbidden = (
        OpenSSHServer(_made(tmp_path / name)) for name in ("allowed", "forbidden")
    )
    known = tmp_path / "names"
    with allowed, forbidden:
        for server in (allowed, forbidden):
            line = Path(f"{first.identity.path}.pub").read_text("ascii")
            (server.directory / "authorized_keys").write_text(line, "ascii")
        known.write_text(
            named(first, "first")
            + named(allowed.target, "allowed")
            + named(forbidden.target, "forbidden"),
            "ascii",
        )
        agent.add("tellin", "-H", known, "-h", "first", "-h", "first>allowed", first.identity.path)
        for server, name in ((allowed, "allowed"), (forbidden, "forbidden")):
            inner = (
                f"ssh -F none -p {server.port} -o UserKnownHostsFile={known} -o BatchMode=yes"
                f" -o IdentityFile=/nonexistent -o HostKeyAlias={name} 127.0.0.1 echo through"
            )
            done = subprocess.run(
                [
                    "ssh", "-A", "-F", "none", "-p", str(first.port), "-l", first.user,
                    "-o", f"UserKnownHostsFile={known}", "-o", "HostKeyAlias=first",
                    "-o", "BatchMode=yes", "-o", "IdentityFile=/nonexistent",
                    first.host, inner,
                ],
                env=agent.environment,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=SECONDS,
                check=False,
            )  # fmt: skip
            assert (done.stdout == "through\n") is (name == "allowed"), done.stderr


def _made(path: Path) -> Path:
    path.mkdir()
    return path


# How the agent runs


def test_the_article_two_lines_start_an_agent_and_give_it_a_key(home: Path) -> None:
    """``eval "$(ssh-agent -s)"; ssh-add``, as people type it."""
    (home / ".ssh").mkdir(mode=0o700)
    key = make_key(home / ".ssh" / "id_ed25519")
    program = f"{sys.executable} -m tellin"
    script = (
        f'eval "$({program} ssh-agent -s)"; {program} ssh-add {key.path}; {program} ssh-add -l;'
        f' ls -ld "${{SSH_AUTH_SOCK%/*}}"; {program} ssh-agent -k; ls -A "${{SSH_AUTH_SOCK%/*}}"'
    )
    done = subprocess.run(
        ["sh", "-c", script],
        env={**os.environ, "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert lines[0].startswith("Agent pid ")
    assert key.fingerprint in lines[1]
    assert lines[2].startswith("drwx------")
    assert lines[3:6] == [
        "unset SSH_AUTH_SOCK;",
        "unset SSH_AGENT_PID;",
        f"echo {lines[0]} killed;",
    ]


def test_what_an_agent_prints_is_what_shells_read(home: Path) -> None:
    for flags, shell, lines in (
        (
            ["-s"],
            "/bin/csh",
            [
                "SSH_AUTH_SOCK={s}; export SSH_AUTH_SOCK;",
                "SSH_AGENT_PID={p}; export SSH_AGENT_PID;",
            ],
        ),
        ([], "/bin/csh", ["setenv SSH_AUTH_SOCK {s};", "setenv SSH_AGENT_PID {p};"]),
        (["-c"], "/bin/sh", ["setenv SSH_AUTH_SOCK {s};", "setenv SSH_AGENT_PID {p};"]),
    ):
        place = home / f"sock{len(flags)}{shell[-3].strip('/')}"
        environment = {**os.environ, "SHELL": shell}
        done = subprocess.run(
            [*PROGRAMS["tellin"]["agent"], *flags, "-a", str(place)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=True,
        )
        pid = int(done.stdout.split()[-1].rstrip(";"))
        try:
            wanted = [line.format(s=place, p=pid) for line in lines]
            assert done.stdout.splitlines() == [*wanted, f"echo Agent pid {pid};"]
        finally:
            os.kill(pid, signal.SIGTERM)
        wait_for(lambda gone=place: not gone.exists(), "the socket stays behind")


def test_an_agent_around_a_command_ends_with_it(home: Path) -> None:
    done = subprocess.run(
        [
            *PROGRAMS["tellin"]["agent"],
            "-a",
            str(home / "sock"),
            "sh",
            "-c",
            f"{sys.executable} -m tellin ssh-add -l; echo $? $SSH_AUTH_SOCK; exit 7",
        ],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 7
    assert done.stdout == f"The agent has no identities.\n1 {home / 'sock'}\n"
    wait_for(lambda: not (home / "sock").exists(), "the agent outlives its command")


def test_a_command_under_an_agent_ignores_no_signals(home: Path) -> None:
    """Python ignores SIGPIPE: in a session below the agent `yes | head` would not end."""
    words = ["-a", str(home / "sock"), "sh", "-c", "grep SigIgn: /proc/self/status"]
    done = subprocess.run(
        [*PROGRAMS["tellin"]["agent"], *words],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    ignored = int(done.stdout.split()[1], 16)
    assert not ignored & (1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1)


def test_r159_the_socket_and_its_directory_are_the_owners_alone(home: Path) -> None:
    (home / ".ssh").mkdir()
    (home / ".ssh" / "agent").mkdir(mode=0o777)
    (home / ".ssh" / "agent").chmod(0o777)
    done = subprocess.run(
        [*PROGRAMS["tellin"]["agent"], "-s"],
        env={**os.environ, "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=True,
    )
    pid = int(done.stdout.split()[-1].rstrip(";"))
    try:
        (found,) = (home / ".ssh" / "agent").iterdir()
        assert stat.S_IMODE(found.stat().st_mode) == 0o600
        assert stat.S_IMODE(found.parent.stat().st_mode) == 0o700
    finally:
        os.kill(pid, signal.SIGTERM)
    wait_for(lambda: not found.exists(), "the socket stays behind")


@pytest.mark.root
def test_r159_case_273_another_user_is_hung_up_on(agent: RunningAgent, home: Path) -> None:
    agent.path.chmod(0o777)
    home.chmod(0o711)
    script = (
        "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
        "s.settimeout(60); print(s.recv(1))"
    )
    done = subprocess.run(
        ["/usr/bin/python3", "-c", script, str(agent.path)],
        user=65534,
        group=65534,
        extra_groups=[],
        cwd="/",
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.stdout == "b''\n" or "reset" in done.stderr, done.stderr
    assert agent.add("tellin", "-l", check=False).returncode == 1


@pytest.mark.parametrize("what", ["file", "socket", "link", "directory"])
def test_case_274_what_stands_where_the_socket_should_be_stays(what: str, home: Path) -> None:
    place = home / "place"
    if what == "file":
        place.write_text("mine")
    elif what == "link":
        place.symlink_to(home / "elsewhere")
    elif what == "directory":
        place.mkdir()
    else:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(str(place))
    before = place.lstat()
    done = subprocess.run(
        [*PROGRAMS["tellin"]["agent"], "-a", str(place)],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 1
    assert "Address already in use" in done.stderr
    assert place.lstat() == before
    assert not (home / "elsewhere").exists()


def test_sigusr1_forgets_all_keys(agent: RunningAgent, tmp_path: Path) -> None:
    agent.add("tellin", make_key(tmp_path / "key").path)
    agent.process.send_signal(signal.SIGUSR1)
    wait_for(
        lambda: agent.add("tellin", "-l", check=False).returncode == 1, "the keys are still there"
    )


def test_a_key_expires_by_itself(agent: RunningAgent, tmp_path: Path) -> None:
    said = agent.add("tellin", "-t", "1", make_key(tmp_path / "key").path).stderr
    assert "Lifetime set to 1 seconds" in said
    wait_for(
        lambda: agent.add("tellin", "-l", check=False).returncode == 1, "the key is still there"
    )


@pytest.mark.parametrize(
    ("answer", "status"), [("exit 0", 0), ("exit 1", 1), ("echo no", 1), ("echo yes", 0)]
)
def test_the_owner_is_asked_by_the_askpass_program(answer: str, status: int, home: Path) -> None:
    program = home / "askpass"
    program.write_text(
        f'#!/bin/sh\nprintf "%s|%s" "$SSH_ASKPASS_PROMPT" "$1" > {home}/asked\n{answer}\n'
    )
    program.chmod(0o755)
    agent = RunningAgent("tellin", home, SSH_ASKPASS=str(program), SSH_ASKPASS_REQUIRE="force")
    try:
        key = make_key(home / "key")
        said = agent.add("tellin", "-c", key.path).stderr
        assert "The user must confirm each use of the key" in said
        done = agent.add("tellin", "-T", f"{key.path}.pub", check=False)
        assert done.returncode == status
        asked = (home / "asked").read_text()
        assert asked == (
            f"confirm|Allow use of key {key.path}?\nKey fingerprint {key.fingerprint}."
        )
    finally:
        agent.stop()


def test_the_askpass_program_is_looked_for_as_a_shell_does(home: Path) -> None:
    program = home / "bin" / "my-askpass"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho yes\n")
    program.chmod(0o755)
    path = f"/nonexistent:{home / 'bin'}:{os.environ['PATH']}"
    agent = RunningAgent(
        "tellin", home, SSH_ASKPASS="my-askpass", SSH_ASKPASS_REQUIRE="force", PATH=path
    )
    try:
        key = make_key(home / "key")
        agent.add("tellin", "-c", key.path)
        agent.add("tellin", "-T", f"{key.path}.pub")
    finally:
        agent.stop()


def test_case_267_without_an_askpass_program_confirmation_is_refused(
    agent: RunningAgent, tmp_path: Path
) -> None:
    done = agent.add("tellin", "-c", make_key(tmp_path / "key").path, check=False)
    assert done.returncode == 1
    assert "agent refused operation" in done.stderr


def test_a_socket_may_be_handed_over_by_a_supervisor(home: Path) -> None:
    key = make_key(home / "key")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(home / "given"))
        listening.listen()
        # Its own number is known to the agent-to-be only.
        launcher = (
            "import os, sys; os.dup2(int(sys.argv[1]), 3); os.environ['LISTEN_FDS'] = '1';"
            "os.environ['LISTEN_PID'] = str(os.getpid()); os.execv(sys.argv[2], sys.argv[2:])"
        )
        program = [*PROGRAMS["tellin"]["agent"], "-D"]
        process = subprocess.Popen(
            [sys.executable, "-c", launcher, str(listening.fileno()), *program],
            pass_fds=[listening.fileno()],
            stdout=subprocess.PIPE,
        )
        try:
            environment = {**os.environ, "SSH_AUTH_SOCK": str(home / "given")}
            done = subprocess.run(
                [*PROGRAMS["tellin"]["add"], str(key.path)],
                env=environment,
                capture_output=True,
                timeout=SECONDS,
                check=False,
            )
            assert done.returncode == 0, done.stderr
        finally:
            process.terminate()
            out, _ = process.communicate(timeout=SECONDS)
        assert out == b""
    assert (home / "given").exists()


@pytest.mark.parametrize(
    "words",
    ["-E foo", "-t x", "-O foo", "-a nodir/sock", "-P a -P b", "-c -s", "-k", "-s -k extra"],
)
@pytest.mark.parametrize("pid", ["", "x", "1", "-9", "0", "99999999999"])
def test_what_an_agent_cannot_do_is_said_as_by_openssh(words: str, pid: str, home: Path) -> None:
    said = []
    for name in ("openssh", "tellin"):
        done = subprocess.run(
            [*PROGRAMS[name]["agent"], *words.split()],
            env={**os.environ, "HOME": str(home)} | ({"SSH_AGENT_PID": pid} if pid else {}),
            cwd=home,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        said.append((done.returncode, done.stdout, done.stderr.partition("usage:")[0]))
    assert said[0] == said[1]


def test_no_agent_is_exit_status_2(tmp_path: Path) -> None:
    clean: Mapping[str, str] = {n: v for n, v in os.environ.items() if n != "SSH_AUTH_SOCK"}
    for surroundings, said in (
        (clean, "Could not open a connection to your authentication agent."),
        (
            {**clean, "SSH_AUTH_SOCK": str(tmp_path / "nosuch")},
            "Error connecting to agent: No such file or directory",
        ),
    ):
        done = subprocess.run(
            [*PROGRAMS["tellin"]["add"], "-l"],
            env=surroundings,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert (done.returncode, done.stderr) == (2, said + "\n")


def test_keys_to_remove_may_come_on_standard_input(agent: RunningAgent, tmp_path: Path) -> None:
    keys: list[KeyFile] = [make_key(tmp_path / f"key{number}") for number in range(3)]
    for key in keys:
        agent.add("tellin", key.path)
    text = f"# two of them\n{keys[0].public}\n\n{keys[2].public} comment\n"
    agent.add("tellin", "-d", "-", typed=text)
    listed = agent.add("tellin", "-L").stdout
    assert [key.public.split()[1] in listed for key in keys] == [False, True, False]


def test_a_locked_agent_shows_nothing_until_it_is_unlocked(
    agent: RunningAgent, tmp_path: Path
) -> None:
    program = tmp_path / "askpass"
    program.write_text("#!/bin/sh\necho secret\n")
    program.chmod(0o755)
    agent.environment |= {"SSH_ASKPASS": str(program), "SSH_ASKPASS_REQUIRE": "force"}
    agent.add("tellin", make_key(tmp_path / "key").path)
    agent.add("tellin", "-x")
    assert agent.add("tellin", "-l", check=False).returncode == 1
    program.write_text("#!/bin/sh\necho wrong\n")
    assert agent.add("tellin", "-X", check=False).returncode == 1
    program.write_text("#!/bin/sh\necho secret\n")
    agent.add("tellin", "-X")
    assert agent.add("tellin", "-l", check=False).returncode == 0


@MEETINGS
@pytest.mark.peer("sshd")
def test_a_key_from_a_file_goes_on_to_the_agent(
    agent: RunningAgent, user: str, running: Running, tmp_path: Path
) -> None:
    target = running("sshd").target
    assert target.identity is not None
    fingerprint = target.identity.fingerprint

    def holds(wanted: str, *words: str) -> bool:
        agent.add("tellin", "-D")
        done = agent.logs_in(
            user, target, "-i", target.identity.path, "-o", f"AddKeysToAgent={wanted}", *words
        )
        assert (done.returncode, done.stdout) == (0, "in\n"), done.stderr
        return fingerprint in agent.add("tellin", "-l", check=False).stdout

    assert not holds("no")
    assert holds("yes")
    assert holds("1h")
    assert not holds("yes", "-o", "IdentityAgent=none")
    # There is nobody to ask, which is no consent.
    assert not holds("ask")


@pytest.mark.peer("sshd")
def test_the_owner_s_terms_go_with_the_key(
    running: Running, agent: RunningAgent, tmp_path: Path
) -> None:
    target = running("sshd").target
    assert target.identity is not None
    askpass = tmp_path / "askpass"
    agent.environment.update(SSH_ASKPASS=str(askpass), SSH_ASKPASS_REQUIRE="force")
    given = ["-i", target.identity.path]
    for answer, wanted in (("yes", True), ("no", False), ("", True)):
        askpass.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/asked\necho "{answer}"\n', "ascii")
        askpass.chmod(0o700)
        agent.add("tellin", "-D")
        agent.logs_in("tellin", target, *given, "-o", "AddKeysToAgent=ask")
        held = agent.add("tellin", "-l", check=False).stdout
        assert (target.identity.fingerprint in held) is wanted
        question = (tmp_path / "asked").read_text("ascii")
        assert question.startswith(f"Add key {target.identity.path} (")
    agent.add("tellin", "-D")
    agent.logs_in("tellin", target, *given, "-o", "AddKeysToAgent=2")
    wait_for(
        lambda: target.identity.fingerprint not in agent.add("tellin", "-l", check=False).stdout,
        "the key to expire",
    )


def test_a_program_logs_in_by_an_agent(agent: RunningAgent, tmp_path: Path) -> None:
    asyncio.run(_logs_in_by(agent, tmp_path))


async def _logs_in_by(agent: RunningAgent, tmp_path: Path) -> None:
    host_key = PrivateKey.generate("ed25519")
    keys = [PrivateKey.generate(kind, comment=kind) for kind in ("ed25519", "ecdsa", "rsa")]

    async def log_in(server: tellin.Server, given: object) -> tellin.PublicKey | None:
        async with tellin.connect(
            "127.0.0.1",
            port=server.port,
            user="me",
            host_keys=host_key.public,
            config=None,
            agent=given,  # type: ignore[arg-type]
        ):
            return seen[-1]

    seen: list[tellin.PublicKey | None] = []

    def note(candidate: tellin.Candidate) -> bool:
        seen.append(candidate.key)
        return candidate.key == wanted

    async with tellin.serve(host_keys=[host_key], authorize=note) as server:
        with Agent.connect(str(agent.path)) as opened:
            for key in keys:
                opened.add(key)
            for wanted in (key.public for key in keys):
                assert await log_in(server, agent.path) == wanted
                assert await log_in(server, str(agent.path)) == wanted
                # One of the program's own stays open.
                assert await log_in(server, opened) == wanted
            with pytest.raises(tellin.AuthenticationFailed):
                await log_in(server, None)
            opened.clear()
            with pytest.raises(tellin.AuthenticationFailed):
                await log_in(server, opened)
        with pytest.raises(tellin.ConnectFailed):
            await log_in(server, tmp_path / "nosuch")
        with pytest.raises(tellin.UsageError, match="int is no agent"):
            await log_in(server, 7)


@MEETINGS
@pytest.mark.peer("sshd")
def test_a_program_s_key_that_is_kept_to_a_destination_logs_in_there_only(
    agent: RunningAgent, user: str, running: Running, tmp_path: Path
) -> None:
    target = running("sshd").target
    assert target.identity is not None
    known = tmp_path / "names"
    other = make_key(tmp_path / "elsewhere")
    known.write_text(f"{named(target, 'there')}elsewhere {other.public}\n", "ascii")

    async def log_in(given: object) -> bool:
        try:
            async with tellin.connect(
                target.host,
                port=target.port,
                user=target.user,
                host_keys=[load_public_key(line.encode()) for line in target.host_keys],
                config=None,
                agent=given,  # type: ignore[arg-type]
            ) as connection:
                return (await connection.run("echo in")).stdout == "in\n"
        except tellin.AuthenticationFailed:
            return False

    for destination, wanted in (
        ("there", True),
        (f"{target.user}@there", True),
        ("nobody@there", False),
        ("elsewhere", False),
    ):
        agent.add(user, "-D")
        agent.add(user, "-H", known, "-h", destination, target.identity.path)
        with Agent.connect(str(agent.path)) as opened:
            for given in (agent.path, opened, opened):
                assert asyncio.run(log_in(given)) is wanted, destination
            assert len(opened.keys()) == 1
