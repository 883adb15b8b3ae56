# SPDX-License-Identifier: MIT
"""How programs are found, started and ended."""

import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tellin.errors import ConfigError, TellinError, UsageError
from tellin.keys import PrivateKey
from tellin.programs import command
from tellin.programs.command import Failure, OptionError, Options, Program, start, visible


def read(arguments: list[str], accepted: str) -> tuple[list[tuple[str, str]], list[str], bool]:
    options = Options(arguments, accepted)
    found = list(options)
    return found, options.rest, options.ended


@pytest.mark.parametrize(
    ("arguments", "found", "rest", "ended"),
    [
        ([], [], [], False),
        (["host", "-v"], [], ["host", "-v"], False),
        (["-v", "host"], [("v", "")], ["host"], False),
        (["-vq", "-v"], [("v", ""), ("q", ""), ("v", "")], [], False),
        (["-p22", "x"], [("p", "22")], ["x"], False),
        (["-p", "22", "x"], [("p", "22")], ["x"], False),
        (["-vp22"], [("v", ""), ("p", "22")], [], False),
        (["-vp", "-v", "-q"], [("v", ""), ("p", "-v"), ("q", "")], [], False),
        (["-p", ""], [("p", "")], [], False),
        (["-p="], [("p", "=")], [], False),
        (["-v", "--", "-q"], [("v", "")], ["-q"], True),
        (["-p", "--", "-q"], [("p", "--"), ("q", "")], [], False),
        (["-v", "-", "-q"], [("v", "")], ["-", "-q"], False),
        (["-v", "", "-q"], [("v", "")], ["", "-q"], False),
    ],
)
def test_options_are_read_as_getopt_reads_them(
    arguments: list[str], found: list[tuple[str, str]], rest: list[str], ended: bool
) -> None:
    assert read(arguments, "vqp:") == (found, rest, ended)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-x"], "unknown option -- x"),
        (["-vx"], "unknown option -- x"),
        (["--verbose"], "unknown option -- -"),
        (["-:"], "unknown option -- :"),
        (["-v:"], "unknown option -- :"),
        (["-p"], "option requires an argument -- p"),
        (["-vp"], "option requires an argument -- p"),
        (["-\u00e9"], "unknown option -- \u00e9"),
    ],
)
def test_options_that_are_none_are_refused(arguments: list[str], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        read(arguments, "vqp:")
    assert str(caught.value) == message


# --- finding and ending --------------------------------------------------------------------------


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[list[str]], int]], None]:
    """Make ``one`` and ``two`` the only programs; both run the function given."""

    def install(run: Callable[[list[str]], int]) -> None:
        made = {name: Program(name, f"does {name}", run, failure=7) for name in ("one", "two")}
        monkeypatch.setattr(command, "PROGRAMS", {name: f"module.{name}" for name in made})
        monkeypatch.setattr(command, "load", made.__getitem__)

    return install


Install = Callable[[Callable[[list[str]], int]], None]


@pytest.mark.parametrize(
    "argv",
    [
        ["/usr/bin/tellin", "one", "-x", "two"],
        ["tellin", "one", "-x", "two"],
        ["/a/b/__main__.py", "one", "-x", "two"],
        ["/usr/local/bin/one", "-x", "two"],
        ["one", "-x", "two"],
    ],
)
def test_a_program_is_found_by_its_name_and_by_a_links(programs: Install, argv: list[str]) -> None:
    seen: list[list[str]] = []

    def run(arguments: list[str]) -> int:
        seen.append(arguments)
        return 5

    programs(run)
    assert start(argv) == 5
    assert seen == [["-x", "two"]]


def raising(error: BaseException) -> Callable[[list[str]], int]:
    def run(arguments: list[str]) -> int:
        raise error

    return run


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (UsageError("wrong use"), 7, "wrong use\r\n"),
        (ConfigError("bad", file="f", line=3), 7, "f line 3: bad\r\n"),
        (Failure("gone", status=1), 1, "gone\r\n"),
        (Failure("gone"), 7, "gone\r\n"),
        (Failure(status=3), 3, ""),
        (Failure("gone", usage="usage: one", status=1), 1, "gone\r\nusage: one\n"),
        (TellinError("two\nlines \x1b[2J \x9b"), 7, "two\r\nlines \\033[2J \\302\\233\r\n"),
        (FileNotFoundError(2, "No such file or directory", "f\n"), 7, "one: f\\012: No such"),
        (KeyboardInterrupt(), 130, ""),
        (ValueError("a fault of ours"), 7, "one: internal error: ValueError: a fault of ours"),
    ],
    ids=[
        "usage error",
        "config error",
        "failure with a status",
        "failure without a status",
        "failure without words",
        "failure with a usage",
        "control characters",
        "file not found",
        "interrupt",
        "fault of ours",
    ],
)
def test_every_error_ends_in_a_status_and_a_line(
    programs: Install,
    capfd: pytest.CaptureFixture[str],
    error: BaseException,
    status: int,
    said: str,
) -> None:
    programs(raising(error))
    assert start(["tellin", "one"]) == status
    # newline="" is not to be had from capfd, which reads bytes as they are.
    assert capfd.readouterr().err.startswith(said)


@pytest.mark.parametrize(
    "end",
    [Failure(status=3), FileNotFoundError(2, "gone"), KeyboardInterrupt(), ValueError("ours")],
    ids=lambda end: type(end).__name__,
)
def test_what_was_printed_before_an_error_is_written(
    programs: Install, monkeypatch: pytest.MonkeyPatch, end: BaseException
) -> None:
    # The process ends without Python's own clearing up, which would have written it.
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, "utf-8"))

    def run(arguments: list[str]) -> int:
        sys.stdout.write("printed")
        raise end

    programs(run)
    start(["tellin", "one"])
    assert written.getvalue() == b"printed"


def test_a_fault_of_ours_shows_its_place_when_asked(
    programs: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs(raising(ValueError("a fault of ours")))
    monkeypatch.setenv("TELLIN_TRACEBACK", "1")
    with pytest.raises(ValueError, match="a fault of ours"):
        start(["tellin", "one"])


def test_a_hint_is_for_people_not_for_scripts(
    programs: Install, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    programs(raising(UsageError("wrong use", hint="use it so")))
    start(["tellin", "one"])
    assert capsys.readouterr().err == "wrong use\r\n"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    start(["tellin", "one"])
    assert capsys.readouterr().err == "wrong use\r\nuse it so\r\n"


def test_a_word_that_is_no_program_gets_the_near_ones(
    programs: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    programs(lambda arguments: 0)
    assert start(["tellin", "onne"]) == 2
    assert "no program named onne; is it one?" in capsys.readouterr().err
    assert start(["tellin", "xyz"]) == 2
    assert capsys.readouterr().err == "tellin: no program named xyz\r\n"


@pytest.mark.parametrize("arguments", [[], ["--nonsense"], ["--help", "more"]])
def test_tellin_alone_prints_its_usage_and_fails(
    programs: Install, capsys: pytest.CaptureFixture[str], arguments: list[str]
) -> None:
    programs(lambda arguments: 0)
    assert start(["tellin", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("usage: tellin PROGRAM")


def test_help_lists_every_program(programs: Install, capsys: pytest.CaptureFixture[str]) -> None:
    programs(lambda arguments: 0)
    for word in ("--help", "-h", "help"):
        assert start(["tellin", word]) == 0
        shown = capsys.readouterr().out
        assert "  one  does one\n" in shown
        assert "  two  does two\n" in shown


def test_every_row_is_a_program_of_its_name() -> None:
    for name in command.PROGRAMS:
        program = command.load(name)
        assert program.name == name
        assert program.summary
        assert callable(program.run)


def test_text_for_a_terminal_is_made_harmless() -> None:
    # R036
    assert visible("a\tb \u00e9\u6f22") == "a\tb \u00e9\u6f22"
    assert visible("\x1b]0;x\x07\r\n\x7f\x85") == "\\033]0;x\\007\\015\\012\\177\\302\\205"
    assert visible("caf\udce9") == "caf\\351"


# --- as a process --------------------------------------------------------------------------------

TELLIN = Path(sys.executable).with_name("tellin")


def run(*arguments: str | Path, **more: object) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        arguments, capture_output=True, text=True, check=False, **more
    )


def test_the_installed_program_and_the_module_are_the_same() -> None:
    for form in ([TELLIN], [sys.executable, "-m", "tellin"]):
        done = run(*form, "--version")
        assert done.returncode == 0
        assert done.stdout.startswith("tellin 0.")


def test_output_that_cannot_be_written_is_an_error() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [TELLIN, "--version"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert (done.returncode, done.stderr) == (2, "tellin: No space left on device\n")


@pytest.mark.parametrize("encoding", ["utf-8:strict", "ascii:strict", "latin-1:strict"])
def test_what_a_file_says_goes_out_as_it_came_in_whatever_the_terminal_takes(
    tmp_path: Path, encoding: str
) -> None:
    """Where the locale is one of UTF-8 but C's, Python writes no text that is not sound."""
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    for comment in (b"J\xfcrgen", "J\u00fcrgen \u0142".encode()):
        key = PrivateKey.generate("ed25519", comment=comment.decode("utf-8", "surrogateescape"))
        path = tmp_path / "key"
        path.touch(0o600)
        path.write_bytes(key.to_openssh())
        words = [TELLIN, "ssh-keygen", "-y", "-f", path]
        done = subprocess.run(words, env=environment, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"")
        assert done.stdout.endswith(b" " + comment + b"\n")


def test_links_are_made_found_and_kept(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "bin"
    done = run(TELLIN, "link", directory, "ssh-keygen")
    link = directory / "ssh-keygen"
    assert (done.returncode, done.stdout) == (0, f"{link}\n"), done.stderr
    assert [entry.name for entry in directory.iterdir()] == ["ssh-keygen"]
    used = run(link, "-l", "-f", "/nonexistent")
    assert (used.returncode, used.stderr) == (
        255,
        "ssh-keygen: /nonexistent: No such file or directory\n",
    )
    # Nothing is replaced unless asked for.
    again = run(TELLIN, "link", directory, "ssh-keygen")
    assert (again.returncode, again.stderr) == (1, f"link: {link} exists (-f replaces it)\n")
    assert run(TELLIN, "link", "-f", directory, "ssh-keygen").returncode == 0


def test_link_without_words_takes_all_and_refuses_the_unknown(tmp_path: Path) -> None:
    done = run(TELLIN, "link", tmp_path / "bin")
    assert done.returncode == 0, done.stderr
    made = {entry.name for entry in (tmp_path / "bin").iterdir()}
    assert "ssh-keygen" in made
    # ``link`` would hide the system's own.
    assert "link" not in made
    assert made <= set(command.PROGRAMS)
    for arguments in ([], ["-x"], [tmp_path / "bin2", "link"], [tmp_path / "bin2", "cat"]):
        refused = run(TELLIN, "link", *arguments)
        assert refused.returncode == 1
        assert refused.stderr
    assert not (tmp_path / "bin2").exists()


def test_without_the_script_a_wrapper_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tellin.programs import link

    python = tmp_path / "python here"
    python.symlink_to(sys.executable)
    monkeypatch.setattr(sys, "executable", str(python))
    assert link.run([str(tmp_path / "bin"), "ssh-keygen"]) == 0
    wrapper = tmp_path / "bin" / "ssh-keygen"
    assert wrapper.read_text() == (f"#!/bin/sh\nexec '{python}' -m tellin ssh-keygen \"$@\"\n")
    assert os.access(wrapper, os.X_OK)


def test_a_reader_that_leaves_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [TELLIN, "--help"], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert done.returncode == 128 + signal.SIGPIPE
    assert done.stderr == ""


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)], ids=str)
def test_closed_standard_descriptors_become_dev_null(tmp_path: Path, closed: tuple[int]) -> None:
    # Case 354: the new key must not land in the descriptor that is printed to.
    closing = " ".join(f"{number}>&-" for number in closed)
    script = f'exec "$1" ssh-keygen -t ed25519 -N "" -f "$2" {closing}'
    path = tmp_path / "key"
    done = run("/bin/sh", "-c", script, "sh", TELLIN, path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert path.read_text().startswith("-----BEGIN OPENSSH PRIVATE KEY-----\n")
    assert path.read_text().endswith("-----END OPENSSH PRIVATE KEY-----\n")


def test_start_up_loads_only_what_a_key_needs(tmp_path: Path) -> None:
    # Each of these costs as much as making the key, or more.
    heavy = [
        "asyncio",
        "bcrypt",
        "cryptography.hazmat.primitives.asymmetric.ec",
        "cryptography.hazmat.primitives.asymmetric.rsa",
        "cryptography.hazmat.primitives.ciphers",
        "cryptography.hazmat.primitives.serialization",
        "dataclasses",
        "inspect",
        "pathlib",
        "secrets",
        "socket",
        "subprocess",
        "threading",
    ]
    code = f"""
import sys
from tellin.programs.command import start
status = start(["tellin", "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", sys.argv[1]])
print(status, sorted(set({heavy!r}) & set(sys.modules)))
"""
    done = run(sys.executable, "-S", "-c", code, tmp_path / "key", env=_bare_environment())
    assert done.stdout == "0 []\n", done.stderr


def _bare_environment() -> dict[str, str]:
    # Without the site module nothing but our own imports is loaded.
    paths = [entry for entry in sys.path if entry.endswith(("site-packages", "src"))]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
