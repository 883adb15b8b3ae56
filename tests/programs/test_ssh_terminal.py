# SPDX-License-Identifier: MIT
"""``tellin ssh`` on a terminal: asked for, resized, escaped from, and left as it was found."""

import os
import shutil
import signal
import socket
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interop.peers import OpenSSHServer, Server, no_terminals_of_sshd
from tests.interop.target import free_port
from tests.interop.tellin_peer import TellinServer
from tests.programs.ssh_runs import EITHER, SSH, Ssh, Typist

pytestmark = pytest.mark.peer("sshd")


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Server]:
    account = request.getfixturevalue("account") if os.geteuid() == 0 else None
    folder = tmp_path_factory.mktemp("server")
    folder.chmod(0o755)
    banner = folder / "banner"
    banner.write_bytes(b"Welcome\r\nto \x1b[2J\xc2\x9bhere\r\n")
    options = {"PrintMotd": "no", "PrintLastLog": "no", "Banner": banner}
    # OpenSSH's where it can: it may be root alone that gets a terminal of it.
    kind = TellinServer if no_terminals_of_sshd() else OpenSSHServer
    with kind(folder, account=account, options=options) as running:
        yield running


@pytest.fixture
def ssh(server: Server, tmp_path: Path) -> Ssh:
    return Ssh(tmp_path, server.target)


QUIET = ["-o", "LogLevel=ERROR"]


def test_a_shell_gets_a_terminal_of_our_kind_and_size(ssh: Ssh) -> None:
    with Typist(ssh.argv(flags=QUIET), env=ssh.environment, size=(31, 97)) as typist:
        typist.type("echo T=$TERM; stty size\n")
        typist.expect(r"T=vt100\r\n")
        typist.expect(r"31 97\r\n")
        typist.type("exit 7\n")
        assert typist.end() == 7


def test_a_new_size_arrives(ssh: Ssh) -> None:
    with Typist(ssh.argv(flags=QUIET), env=ssh.environment) as typist:
        typist.type("sh -c 'trap \"stty size; exit 6\" WINCH; echo re''ady;")
        typist.type(" while :; do sleep 0.1; done'; exit $?\n")
        typist.expect(r"ready\r\n")
        typist.resize(50, 132)
        typist.expect(r"50 132\r\n")
        assert typist.end() == 6


def test_modes_of_our_terminal_hold_there(ssh: Ssh) -> None:
    with Typist(ssh.argv("stty -a", flags=["-t", *QUIET]), env=ssh.environment) as typist:
        attributes = termios.tcgetattr(typist.terminal)
        wanted = "iutf8" if attributes[0] & 0x4000 else "-iutf8"
        status = typist.end()
        assert status == 0
        words = typist.read.decode().replace(";", " ").split()
    assert wanted in words
    assert "intr" in words
    assert "^C" in words


def test_our_terminal_is_raw_meanwhile_and_then_as_before(ssh: Ssh) -> None:
    with Typist(ssh.argv(flags=QUIET), env=ssh.environment) as typist:
        before = termios.tcgetattr(typist.terminal)
        typist.type("echo rea''dy\n")
        typist.expect(r"ready\r\n")
        assert not termios.tcgetattr(typist.terminal)[3] & (termios.ICANON | termios.ECHO)
        typist.type("exit\n")
        assert typist.end() == 0
        assert termios.tcgetattr(typist.terminal) == before


def test_keys_that_would_signal_us_signal_the_command(ssh: Ssh) -> None:
    with Typist(ssh.argv(flags=QUIET), env=ssh.environment) as typist:
        typist.type("trap 'echo inter''rupted' INT; echo rea''dy\n")
        typist.expect(r"ready\r\n")
        typist.type("\x03\n")
        typist.expect(r"interrupted\r\n")
        typist.type("exit 5\n")
        assert typist.end() == 5


def test_help_about_escapes_and_the_way_out(ssh: Ssh) -> None:
    with Typist(ssh.argv(), env=ssh.environment) as typist:
        before = termios.tcgetattr(typist.terminal)
        typist.type("echo rea''dy\n")
        typist.expect(r"ready\r\n")
        typist.type("~?")
        typist.expect(r"\r\nSupported escape sequences:\r\n")
        typist.type("~I")
        typist.expect(r"  cipher ")
        typist.type("~#")
        typist.expect(r"The following connections are open:\r\n  #0 client-session")
        typist.type("\r~.")
        typist.expect(r"~\.\r\n")
        assert typist.end() == 255
        assert typist.read.endswith(b"Connection to 127.0.0.1 closed.\r\r\n")
        assert termios.tcgetattr(typist.terminal) == before


def greeted(port: int) -> bool:
    """Whether a server greets us there, once it is listened on."""
    until = time.monotonic() + 60
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), 60) as there:
                there.settimeout(60)
                return there.recv(8) == b"SSH-2.0-"
        except ConnectionRefusedError:
            assert time.monotonic() < until
            time.sleep(0.05)


def test_forwardings_come_and_go_by_the_command_line(ssh: Ssh) -> None:
    flags = ["-o", "EnableEscapeCommandline=yes", "-o", "PermitLocalCommand=yes"]
    port = free_port()
    with Typist(ssh.argv(flags=flags), env=ssh.environment) as typist:

        def command(line: str, answer: str) -> None:
            typist.type("\r~C")
            typist.expect(r"\r\nssh> ")
            typist.type(f"{line}\n")
            typist.expect(answer)

        typist.type("echo rea''dy\n")
        typist.expect(r"ready\r\n")
        command(f"-L 127.0.0.1:{port}:127.0.0.1:{ssh.target.port}", r"Forwarding port\.")
        with socket.create_connection(("127.0.0.1", port), 60) as there:
            there.settimeout(60)
            assert there.recv(8) == b"SSH-2.0-"
            typist.type("\r~#")
            typist.expect(r"  #0 client-session \(t4 \[session:shell\] r0 ")
            typist.expect(rf"  #1 direct-tcpip: listening port {port} for 127.0.0.1 port \d+, c")
        command(f"-KL 127.0.0.1:{port}", r"Canceled forwarding\.")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        command(f"-KL 127.0.0.1:{port}", r"Unknown port forwarding\.")
        command(f"-R {port}:127.0.0.1:{ssh.target.port}", r"Forwarding port\.")
        command("", r"")
        assert greeted(port)
        command(f"-KR {port}", r"Canceled forwarding\.")
        command("-L nonsense", r"Bad local forwarding specification\.")
        command("!echo lo''cal", r"local\r\n")
        command("", r"")
        typist.type("exit 9\r")
        assert typist.end() == 9


@pytest.fixture(params=EITHER)
def either(request: pytest.FixtureRequest, ssh: Ssh) -> tuple[list[str], dict[str, str]]:
    """A run of ours or of OpenSSH's whose command line is there: what is started, and where."""
    ssh.program = SSH if request.param == "tellin" else (shutil.which("ssh") or "",)
    flags = ["-o", "EnableEscapeCommandline=yes", "-o", "LogLevel=INFO"]
    return ssh.argv("echo rea''dy; cat; exit 9", flags=["-tt", *flags]), ssh.environment


def raw_again(typist: Typist) -> None:
    """Wait until what is typed is for the other side, and no answer or signal any more."""
    until = time.monotonic() + 60
    while termios.tcgetattr(typist.terminal)[3] & termios.ICANON:
        assert time.monotonic() < until
        time.sleep(0.02)


def test_a_place_that_is_taken_is_taken_also_by_ourselves(
    either: tuple[list[str], dict[str, str]],
) -> None:
    port = free_port()
    argv, environment = either
    with Typist(argv, env=environment) as typist:
        typist.expect(r"ready\r\n")
        for leads, answer in (
            ("a:1", r"Forwarding port\."),
            ("a:1", r"bind \[127\.0\.0\.1\]:\d+: Address already in use[^$]*forwarding failed\."),
            ("b:1", r"cannot listen to port: \d+\r+\nPort forwarding failed\."),
        ):
            typist.type("\r~C")
            typist.expect(r"\r\nssh> ")
            typist.type(f"-L 127.0.0.1:{port}:{leads}\r")
            typist.expect(answer)
            raw_again(typist)
        typist.type("\r\x04")
        assert typist.end() == 9


def test_ctrl_c_takes_back_the_command_line_and_escapes_go_on(
    either: tuple[list[str], dict[str, str]],
) -> None:
    port = free_port()
    argv, environment = either
    with Typist(argv, env=environment) as typist:
        typist.expect(r"ready\r\n")
        typist.type("\r~C")
        typist.expect(r"\r\nssh> ")
        typist.type(f"-L {port}:a:1")
        typist.expect(":a:1")
        typist.type("\x03")
        typist.expect(r"\^C")
        raw_again(typist)
        typist.type("~V~V")
        typist.expect(r"~V \[LogLevel ERROR\]\r\n~V \[LogLevel FATAL\]\r\n")
        typist.type("~V~V")
        typist.expect(r"~V \[LogLevel SILENT\]\r\n~V \[LogLevel SILENT\]\r\n")
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port))
        typist.type("\r\x04")
        assert typist.end() == 9


def test_there_is_no_command_line_unless_the_configuration_says_so(ssh: Ssh) -> None:
    with Typist(ssh.argv(flags=QUIET), env=ssh.environment) as typist:
        typist.type("\r~C")
        typist.expect(r"commandline disabled\r\n")
        typist.type("exit 3\r")
        assert typist.end() == 3


def test_new_keys_may_be_asked_for_by_hand(ssh: Ssh) -> None:
    with Typist(ssh.argv(flags=["-v"]), env=ssh.environment) as typist:
        typist.expect(r"SSH2_MSG_NEWKEYS received\r+\n")
        typist.type("\recho rea''dy\r")
        typist.expect(r"ready\r\n")
        typist.type("~R")
        typist.expect(r"SSH2_MSG_NEWKEYS received\r+\n")
        typist.type("exit\r")
        assert typist.end() == 0


def test_ctrl_z_behind_the_escape_stops_us_until_we_are_continued(ssh: Ssh) -> None:
    # Under a shell with job control, as SIGTSTP does not stop whoever nobody could continue.
    shell = ["/bin/sh", "-i"]
    with Typist(shell, env={**ssh.environment, "PS1": "HERE ", "ENV": ""}) as typist:
        command = " ".join(f"'{word}'" for word in ssh.argv(flags=QUIET))
        typist.type(f"{command}\n")
        typist.type("echo rea''dy\n")
        typist.expect(r"ready\r\n")
        typist.type("\r~\x1a")
        typist.expect(r"suspend ssh")
        typist.type("stty size; jobs\n")
        typist.expect(r"Stopped")
        typist.type("fg\n")
        typist.type("\recho aga''in\r")
        typist.expect(r"again\r\n")
        typist.type("exit 8\r")
        typist.expect(r"HERE ")
        typist.type("echo le''ft $?\n")
        typist.expect(r"left 8")
        typist.type("exit\n")
        assert typist.end() == 0


def test_the_escape_character_typed_twice_is_sent(ssh: Ssh) -> None:
    with Typist(ssh.argv(flags=QUIET), env=ssh.environment) as typist:
        typist.type("\r~~ literal\r")
        typist.expect(r"~ literal")
        typist.type("exit 0\r")
        assert typist.end() == 0


def test_into_the_background_with_the_input_at_its_end(ssh: Ssh) -> None:
    # Under a shell: a program that the terminal itself belongs to takes all others with it.
    shell = ["/bin/sh", "-i"]
    with Typist(shell, env={**ssh.environment, "PS1": "HERE ", "ENV": ""}) as typist:
        before = termios.tcgetattr(typist.terminal)
        command = " ".join(f"'{word}'" for word in ssh.argv(flags=QUIET))
        typist.type(f"{command}\n")
        typist.type("trap 'sleep 0.2; echo o\\ver' EXIT; echo rea''dy\n")
        typist.expect(r"ready\r\n")
        typist.type("\r~&")
        typist.expect(r"~& \[backgrounded\]\r\n")
        typist.expect(r"HERE ")
        assert termios.tcgetattr(typist.terminal) == before
        # A shell hears of the end of what is typed by ^D alone.
        typist.expect(r"over\r+\n")
        typist.type("exit\n")
        assert typist.end() == 0


def test_a_terminal_is_asked_for_only_where_it_makes_sense(ssh: Ssh) -> None:
    assert ssh.run("test -t 0 || echo none").stdout == b"none\n"
    done = ssh.run("test -t 0 || echo none", flags=["-t"])
    assert done.stdout == b"none\n"
    assert b"Pseudo-terminal will not be allocated because stdin is not a terminal." in done.stderr
    assert ssh.run("test -t 0 && echo some", flags=["-tt"], input=None).stdout == b"some\r\n"
    with Typist(ssh.argv("test -t 0 || echo none"), env=ssh.environment) as typist:
        typist.expect(r"none\r\n")
        assert typist.end() == 0
    with Typist(ssh.argv("test -t 0 && echo some", flags=["-t"]), env=ssh.environment) as typist:
        typist.expect(r"some\r\n")
        assert typist.end() == 0
        assert typist.read.endswith(b"Connection to 127.0.0.1 closed.\r\r\n")


def test_r036_a_banner_cannot_steer_the_terminal(ssh: Ssh) -> None:
    done = ssh.run("true")
    assert done.stderr == b"Welcome\nto \\033[2J\\302\\233here\n"
    assert ssh.run("true", flags=["-q"]).stderr == b""


def test_what_a_file_asks_for_and_is_not_there_is_said_to_people_and_not_to_scripts(
    ssh: Ssh, tmp_path: Path
) -> None:
    config = tmp_path / "config"
    config.write_text("HostbasedAuthentication yes\nUpdateHostKeys no\nTag t\n", "ascii")
    argv = [str(config) if word == "none" else word for word in ssh.argv("echo do''ne")]
    with Typist(argv, env=ssh.environment) as typist:
        typist.expect(
            r"config line 1: HostbasedAuthentication is not supported and is left out\r\r\n"
        )
        typist.expect(r"done\r\n")
        assert typist.end() == 0
    done = subprocess.run(argv, env=ssh.environment, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b"done\n")
    assert b"supported" not in done.stderr


def test_when_keys_are_pressed_is_hidden_among_fakes(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    account = request.getfixturevalue("account") if os.geteuid() == 0 else None
    with TellinServer(tmp_path, account=account) as running:
        ssh = Ssh(tmp_path, running.target)
        with Typist(ssh.argv(flags=["-vvv"]), env=ssh.environment) as typist:
            typist.expect(r"Entering interactive session")
            typist.type("e")
            typist.expect(r"keystroke timing: hidden, a beat of 20 ms")
            found = typist.expect(r"keystroke timing: plain again, [a-z ]+: \d+ fakes")
            assert int(found.split()[-2]) > 10
            typist.type("xit 4\r")
            assert typist.end() == 4
        plain = ["-vvv", "-o", "ObscureKeystrokeTiming=no"]
        with Typist(ssh.argv(flags=plain), env=ssh.environment) as typist:
            typist.type("echo rea''dy\r")
            typist.expect(r"ready\r\n")
            typist.type("exit 5\r")
            assert typist.end() == 5
            assert b"keystroke timing" not in typist.read


def test_a_signal_says_nothing_of_the_connection(ssh: Ssh) -> None:
    with Typist(ssh.argv(flags=[*QUIET[:-1], "LogLevel=INFO"]), env=ssh.environment) as typist:
        before = termios.tcgetattr(typist.terminal)
        typist.type("echo rea''dy\r")
        typist.expect(r"ready\r\n")
        os.kill(typist.pid, signal.SIGTERM)
        assert typist.end() == 255
        assert b"closed" not in typist.read
        assert termios.tcgetattr(typist.terminal) == before


def test_levels_are_named_as_in_the_configuration(ssh: Ssh) -> None:
    with Typist(ssh.argv(flags=[*QUIET[:-1], "LogLevel=INFO"]), env=ssh.environment) as typist:
        typist.type("echo rea''dy\r")
        typist.expect(r"ready\r\n")
        typist.type("\r~v")
        typist.expect(r"~v \[LogLevel VERBOSE\]")
        typist.type("~v")
        typist.expect(r"~v \[LogLevel DEBUG\]")
        typist.type("~V~V")
        typist.expect(r"~V \[LogLevel INFO\]")
        typist.type("\r~.")
        assert typist.end() == 255
