# SPDX-License-Identifier: MIT
"""Terminals through ssh: shells, sizes, modes and keys, with tellin on one side or on both."""

import os
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.interop.children import Terminal
from tests.interop.conftest import Make, Running
from tests.interop.pairs import pairs
from tests.interop.peers import no_terminals_of_sshd

# plink's own terminal handling is that of a PuTTY window; npm's ssh2 and Paramiko have none.
WITH_TERMINAL = pytest.mark.parametrize(
    ("client", "server"),
    pairs(clients=("ssh", "dbclient", "plink", "tellin"), servers=("sshd", "dropbear", "tellin")),
)
# Those whose users' terminals are looked at as a whole.
FAITHFUL = pytest.mark.parametrize(
    ("client", "server"), pairs(clients=("ssh", "tellin"), servers=("sshd", "dropbear", "tellin"))
)
PATIENCE = 60


@pytest.fixture
def dialled(client: str, server: str, running: Running, make_client: Make) -> object:
    """Opens a terminal with the client in it: ``with dialled(command) as terminal``."""
    if server == "sshd" and (reason := no_terminals_of_sshd()):
        pytest.skip(reason)

    @contextmanager
    def dial(
        command: str, *, rows: int = 24, columns: int = 80, before: object = None
    ) -> Iterator[Terminal]:
        peer, target = make_client(client), running(server).target
        argv = peer.argv(target, command, pty=True)
        environment = {**peer.environment(target), "TERM": "xterm-256color"}
        with Terminal(
            argv, environment=environment, rows=rows, columns=columns, before=before
        ) as terminal:
            yield terminal

    return dial


# ------------------------------------------------------------------------- what a command sees


@WITH_TERMINAL
def test_a_command_gets_a_terminal_of_the_right_size_and_kind(dialled) -> None:
    with dialled("tty; stty size; echo $TERM.; exit 3", rows=31, columns=97) as terminal:
        terminal.expect("/dev/pts/", PATIENCE)
        terminal.expect("31 97", PATIENCE)
        terminal.expect("xterm", PATIENCE)
        assert terminal.wait(PATIENCE) == 3


@WITH_TERMINAL
def test_a_new_size_reaches_the_program_at_once(dialled) -> None:
    # The shell hears SIGWINCH; nothing is typed.
    command = "trap 'stty size; exit 5' WINCH; echo ready; while :; do sleep 0.05; done"
    with dialled(command, rows=25, columns=81) as terminal:
        terminal.expect("ready", PATIENCE)
        terminal.resize(rows=50, columns=132)
        terminal.expect("50 132", PATIENCE)
        assert terminal.wait(PATIENCE) == 5


@FAITHFUL
def test_sizes_follow_one_another(dialled) -> None:
    # Asked for again and again: bash loses a SIGWINCH that comes while it handles one.
    command = (
        "trap 'exit 4' INT; while :; do now=$(stty size);"
        ' [ "$now" = "$last" ] || echo "now $now."; last=$now; sleep 0.05; done'
    )
    with dialled(command) as terminal:
        terminal.expect("now 24 80.", PATIENCE)
        for rows, columns in ((1, 1), (200, 400), (24, 80), (43, 95)):
            terminal.resize(rows=rows, columns=columns)
            terminal.expect(f"now {rows} {columns}.", PATIENCE)
        terminal.write("\x03")
        assert terminal.wait(PATIENCE) == 4


@FAITHFUL
def test_the_modes_of_the_users_terminal_are_those_of_the_command(dialled, server: str) -> None:
    def unusual(descriptor: int) -> None:
        modes = termios.tcgetattr(descriptor)
        modes[0] &= ~termios.IXON
        modes[0] |= termios.IXANY
        modes[3] &= ~termios.ECHOE
        modes[6][termios.VINTR] = b"\x18"
        modes[6][termios.VERASE] = b"\x08"
        modes[6][termios.VQUIT] = b"\x00"
        termios.tcsetattr(descriptor, termios.TCSANOW, modes)

    with dialled("stty -a; exit 0", before=unusual) as terminal:
        assert terminal.wait(PATIENCE) == 0
        seen = terminal.seen.decode().replace("\r\n", " ")
    wanted = ["intr = ^X;", "erase = ^H;", " -ixon ", " ixany ", " -echoe "]
    if server != "dropbear":
        # RFC 4254 section 8: 255 stands for none; Dropbear takes it for a character.
        wanted.append("quit = <undef>;")
    assert [words for words in wanted if words not in seen] == [], seen


@FAITHFUL
def test_input_with_iutf8_is_erased_by_characters(dialled) -> None:
    def wide(descriptor: int) -> None:
        modes = termios.tcgetattr(descriptor)
        modes[0] |= termios.IUTF8 if hasattr(termios, "IUTF8") else 0o40000
        termios.tcsetattr(descriptor, termios.TCSANOW, modes)

    with dialled('echo ready; read word; echo "<$word>"; exit 0', before=wide) as terminal:
        terminal.expect("ready", PATIENCE)
        # One key takes back the whole of a letter of two bytes.
        terminal.write("aä\x7fb\r")
        terminal.expect("<ab>", PATIENCE)
        assert terminal.wait(PATIENCE) == 0


@WITH_TERMINAL
def test_a_password_is_not_echoed(dialled) -> None:
    command = "stty -echo; echo ready; read word; stty echo; echo got ${#word}; exit 0"
    with dialled(command) as terminal:
        terminal.expect("ready", PATIENCE)
        terminal.write("secret word\r")
        terminal.expect("got 11", PATIENCE)
        assert terminal.wait(PATIENCE) == 0
        assert b"secret" not in terminal.seen


# ------------------------------------------------------------------------- keys


@WITH_TERMINAL
def test_ctrl_c_interrupts_the_command_not_the_client(dialled) -> None:
    command = "trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.05; done"
    with dialled(command) as terminal:
        terminal.expect("ready", PATIENCE)
        terminal.write("\x03")
        terminal.expect("caught", PATIENCE)
        assert terminal.wait(PATIENCE) == 9


@FAITHFUL
def test_ctrl_c_ends_a_command_that_does_not_care(dialled) -> None:
    with dialled("sh -c 'echo ready; exec sleep 300'; echo status $?; exit 2") as terminal:
        terminal.expect("ready", PATIENCE)
        terminal.write("\x03")
        # The outer shell gets it too, and most end with it: either way nothing hangs.
        assert terminal.wait(PATIENCE) in {2, 130, 255}


@FAITHFUL
def test_every_byte_goes_through_in_both_directions(dialled) -> None:
    """All but what a terminal keeps for itself: the command is in raw mode, and counts."""
    script = (
        "stty raw -echo; printf 'ready'; "
        "dd bs=1 count=256 2>/dev/null | od -An -v -tx1 | tr -d ' \\n'; echo .; exit 0"
    )
    with dialled(script) as terminal:
        terminal.expect("ready", PATIENCE)
        # "\n~" and "~." would be words to the client: the escape character only counts behind
        # a line end, so 126 stands before 10 and 13 here.
        everything = bytes([126, *(byte for byte in range(256) if byte != 126)])
        terminal.write(everything)
        assert terminal.expect(".", PATIENCE).decode().strip() == everything.hex()
        assert terminal.wait(PATIENCE) == 0


@WITH_TERMINAL
def test_ctrl_d_ends_a_shell(dialled) -> None:
    with dialled("exec sh -c 'cat; exit 6'") as terminal:
        terminal.write("word\r")
        terminal.expect("word\r\nword\r\n", PATIENCE)
        terminal.write("\x04")
        assert terminal.wait(PATIENCE) == 6


# ------------------------------------------------------------------------- shells


@pytest.mark.parametrize(
    ("client", "server"), pairs(clients=("ssh", "tellin"), servers=("sshd", "dropbear", "tellin"))
)
def test_an_interactive_shell(dialled, tmp_path: Path) -> None:
    """A login shell with job control, history of keys and an exit status."""
    with dialled("") as terminal:
        # A prompt of our own; quoted so that its echo does not look like it.
        terminal.write("unset PROMPT_COMMAND; PS1='tellin''-prompt '; cd /\r")
        terminal.expect("tellin-prompt ", PATIENCE)
        terminal.write("tty; echo $((6*7))\r")
        terminal.expect("/dev/pts/", PATIENCE)
        terminal.expect("42\r\n", PATIENCE)
        terminal.expect("tellin-prompt ", PATIENCE)
        # In a shell of its own, which has the terminal by the time that it says so.
        terminal.write("sh -c 'echo fall\"\"ing asleep; exec sleep 300'\r")
        terminal.expect("falling asleep", PATIENCE)
        terminal.write("\x03")
        terminal.expect("tellin-prompt ", PATIENCE)
        terminal.resize(rows=40, columns=111)
        # The size and the line race each other to the server.
        terminal.write(
            "until [ \"$(stty size)\" = '40 111' ]; do sleep 0.05; done; echo re''sized\r"
        )
        terminal.expect("resized", PATIENCE)
        terminal.write("exit 7\r")
        assert terminal.wait(PATIENCE) == 7


@FAITHFUL
def test_what_a_background_process_holds_does_not_keep_the_terminal(dialled) -> None:
    # It ignores the hangup and keeps the terminal open.
    with dialled("trap '' HUP; sleep 300 & echo pid $!; exit 8") as terminal:
        terminal.expect("pid ", PATIENCE)
        left = int(terminal.expect("\r\n", PATIENCE))
        try:
            assert terminal.wait(PATIENCE) == 8
        finally:
            os.kill(left, 9)


@FAITHFUL
def test_much_output_of_a_terminal_arrives_to_the_last_line(dialled) -> None:
    with dialled("seq 1 60000; exit 1") as terminal:
        assert terminal.wait(PATIENCE) == 1
        seen = terminal.seen
    lines = seen.replace(b"\r", b"").split(b"\n")
    numbers = [int(line) for line in lines if line.isdigit()]
    assert numbers == list(range(1, 60001))


@pytest.mark.parametrize(
    ("client", "server"), pairs(clients=("ssh", "tellin"), servers=("sshd", "tellin"))
)
def test_a_terminal_that_is_closed_hangs_its_command_up(dialled, tmp_path: Path) -> None:
    """The user closes the window."""
    told = tmp_path / "told"
    told.mkdir(mode=0o777)
    command = (
        f"trap 'echo hung up > {told}/word; exit 0' HUP; echo ready; while :; do sleep 0.05; done"
    )
    with dialled(command) as terminal:
        terminal.expect("ready", PATIENCE)
    from tests.interop.test_exec import wait_for

    wait_for(lambda: (told / "word").exists(), "the command was not hung up")


# ------------------------------------------------------------------------- with and without


@pytest.mark.parametrize("server", ["tellin"])
@pytest.mark.parametrize(
    ("words", "terminal_wanted"),
    [((), False), (("-t",), True), (("-T",), False), (("-t", "-T"), False)],
    ids=["alone", "t", "T", "tT"],
)
def test_a_command_gets_a_terminal_when_asked(
    server: str,
    words: tuple[str, ...],
    terminal_wanted: bool,
    running: Running,
    make_client: Make,
) -> None:
    client, target = make_client("tellin"), running(server).target
    argv = [str(word) for word in client.argv(target, "tty || true")]
    at = argv.index("-T")
    argv[at : at + 1] = words
    with Terminal(argv, environment=client.environment(target)) as terminal:
        status = terminal.wait(PATIENCE)
        seen = terminal.seen
    assert status == 0
    assert (b"/dev/pts/" in seen, b"not a tty" in seen) == (terminal_wanted, not terminal_wanted)


def test_a_terminal_can_be_forced_without_one(running: Running, make_client: Make) -> None:
    done = make_client("tellin").run(running("tellin").target, "tty; exit 3", pty=True)
    assert done.status == 3
    assert done.stdout.startswith(b"/dev/pts/")


def test_the_users_terminal_is_as_it_was_afterwards(running: Running, make_client: Make) -> None:
    client, target = make_client("tellin"), running("tellin").target
    argv = client.argv(target, "stty raw; exit 0", pty=True)
    found: list[list[object]] = []

    def remember(descriptor: int) -> None:
        found.append(termios.tcgetattr(descriptor))

    with Terminal(argv, environment=client.environment(target), before=remember) as terminal:
        assert terminal.wait(PATIENCE) == 0
        assert termios.tcgetattr(terminal.master) == found[0]
