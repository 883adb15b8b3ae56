# SPDX-License-Identifier: MIT
"""authorized_keys: a line that is not understood in full lets nobody in."""

from binascii import b2a_base64
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.work import work

from tellin.config.authorized_keys import AuthorizedKeys, read_key
from tellin.config.key_options import Expiry, Forward, KeyOptions, read_expiry, read_options
from tellin.errors import ConfigError
from tellin.keys import PrivateKey
from tellin.wire import string


def blob(letter: str = "a", key_type: str = "ssh-ed25519") -> bytes:
    return string(key_type.encode()) + string(letter.encode() * 32)


def key(letter: str = "a", key_type: str = "ssh-ed25519") -> str:
    return f"{key_type} {b2a_base64(blob(letter, key_type), newline=False).decode()}"


def test_a_plain_key_may_do_everything() -> None:
    found = AuthorizedKeys.parse(f"# me\n\n  {key()} me@here today\r\n", file="f").find(blob())
    assert found is not None
    assert (found.where, found.key_type, found.comment) == ("f:3", "ssh-ed25519", "me@here today")
    assert found.options == KeyOptions()
    options = found.options
    assert options.permit_pty
    assert options.permit_tunnel
    assert options.permit_streamlocal_forwarding
    assert options.allows_from("h", "192.0.2.1")
    assert options.allows_open("h", 1)
    assert not options.expired(utc=(9999, 1, 1, 0, 0, 0), local=(9999, 1, 1, 0, 0, 0))


def test_a_key_that_is_not_there_is_not_found() -> None:
    keys = AuthorizedKeys.parse(f"{key()}\n")
    assert keys.find(blob("b")) is None
    assert keys.find(b"") is None


ALL = (
    'command="echo \\"a, b\\" # c",environment="A=1",Environment="B=x y",expiry-time="20301231",'
    'from="*.example,192.0.2.0/24,!192.0.2.9",principals="ann,bob",permitopen="db:5432",'
    'permitopen="[2001:DB8::1]:*",permitlisten="8080",permitlisten="localhost:*",tunnel="3",'
    "no-touch-required,verify-required,no-pty,NO-port-forwarding,no-agent-forwarding,"
    "no-X11-forwarding,no-user-rc,cert-authority"
)


def test_every_option_is_read() -> None:
    options = read_options(ALL)
    assert options.command == 'echo "a, b" # c'
    assert options.environment == (("A", "1"), ("B", "x y"))
    assert options.expiry == (Expiry((2030, 12, 31, 0, 0, 0), utc=False),)
    assert options.principals == ("ann", "bob")
    assert options.permit_open == (Forward("db", 5432), Forward("2001:db8::1", None))
    assert options.permit_listen == (Forward("*", 8080), Forward("localhost", None))
    assert options.tunnel == 3
    assert (options.touch_required, options.verify_required) == (False, True)
    assert options.cert_authority
    assert not options.permit_pty
    assert not options.permit_port_forwarding
    assert not options.permit_agent_forwarding
    assert not options.permit_x11_forwarding
    assert not options.permit_user_rc
    assert options.allows_from("a.example", "198.51.100.1")
    assert options.allows_from("", "192.0.2.1")
    assert not options.allows_from("a.example", "192.0.2.9")
    assert "command='echo" in repr(options)
    line = f"{ALL} {key()} c"
    assert read_key(line).options == options
    assert "ssh-ed25519" in repr(read_key(line))


FORBIDDEN = ["permit_pty", "permit_port_forwarding", "permit_streamlocal_forwarding",
             "permit_agent_forwarding", "permit_x11_forwarding", "permit_tunnel",
             "permit_user_rc"]  # fmt: skip


def test_a_tunnel_may_be_any_and_of_two_settings_the_first_stands() -> None:
    assert read_options('tunnel="ANY"').tunnel == -1
    assert read_options('environment="A=1",environment="A=2"').environment == (("A", "1"),)


@pytest.mark.parametrize(
    ("option", "most"),
    [('environment="A{}=1"', 1024), ('permitopen="h:{}"', 4096), ('permitlisten="{}"', 4096)],
)
def test_there_is_an_end_to_what_a_line_may_list(option: str, most: int) -> None:
    items = [option.format(number + 1) for number in range(most + 1)]
    read_options(",".join(items[:most]))
    with pytest.raises(ConfigError, match="too many"):
        read_options(",".join(items))


def test_r110_restrict_takes_everything_and_gives_back_what_is_named_behind_it() -> None:
    # R110: every kind of forwarding is in the matrix.
    options = read_options("restrict")
    assert [name for name in FORBIDDEN if getattr(options, name)] == []
    assert not options.allows_open("h", 1)
    assert not options.allows_listen("h", 1)
    backs = {"pty": {"permit_pty"}, "user-rc": {"permit_user_rc"}, 'tunnel="0"': {"permit_tunnel"},
             "agent-forwarding": {"permit_agent_forwarding"},
             "X11-forwarding": {"permit_x11_forwarding"},
             "port-forwarding": {"permit_port_forwarding", "permit_streamlocal_forwarding"}}  # fmt: skip
    for text, wanted in backs.items():
        given = read_options(f"restrict,{text}")
        assert {name for name in FORBIDDEN if getattr(given, name)} == wanted
        # What stands before it is taken away again.
        taken = read_options(f"{text},restrict")
        assert [name for name in FORBIDDEN if getattr(taken, name)] == []


def test_forwards_are_matched_by_host_and_port() -> None:
    options = read_options('permitopen="DB:1",permitopen="*:2",permitlisten="h:3"')
    assert options.allows_open("db", 1)
    assert options.allows_open("DB", 1)
    assert options.allows_open("any", 2)
    assert not options.allows_open("any", 1)
    assert not options.allows_open("db2", 1)
    assert options.allows_listen("h", 3)
    assert not options.allows_listen("h", 4)
    assert not read_options('no-port-forwarding,permitopen="db:1"').allows_open("db", 1)


def test_a_key_ends_at_its_moment() -> None:
    options = read_options('expiry-time="20301231",expiry-time="202901020304Z"')
    early, late = (2020, 1, 1, 0, 0, 0), (2029, 6, 1, 0, 0, 0)
    assert not options.expired(utc=early, local=late)
    assert options.expired(utc=(2029, 1, 2, 3, 4, 0), local=early)
    assert not options.expired(utc=(2029, 1, 2, 3, 3, 59), local=early)
    assert options.expired(utc=early, local=(2030, 12, 31, 0, 0, 0))
    assert read_expiry("20240229235959Z") == Expiry((2024, 2, 29, 23, 59, 59), utc=True)


@pytest.mark.parametrize(
    "text",
    ["", "2030", "20300230", "20230229", "21000229", "20301301", "20300001", "20300100",
     "203001012400", "203001010060", "20300101000060", "20300101T", "203001011", "20300101z",
     "\u06602300101"],
)  # fmt: skip
def test_a_moment_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        read_expiry(text)


BAD_OPTIONS = [
    "unknown", 'unknown="x"', "command", 'command="a",command="b"', 'from="*",from="*"',
    'from=""', 'from=","', 'from="192.0.2.1/24"', 'from="192.0.2.0/33"', 'principals=""',
    'principals="a,"', 'principals="a",principals="b"', 'expiry-time="soon"', "expiry-time",
    'environment="A"', 'environment="A B=1"', 'environment="=1"', 'tunnel="x"', 'tunnel="-1"',
    'tunnel="1",tunnel="2"', 'tunnel="9999999999"', 'permitopen="db"', 'permitopen="db:0"',
    'permitopen="db:65536"', 'permitopen="db:4294967295"', 'permitopen="db:-1"',
    'permitopen="db:http"', 'permitopen="8080"', 'permitopen="a:b:1"', 'permitopen="[::1]"',
    'permitopen=":1"', 'permitlisten="0"', 'permitlisten="70000"', 'permitlisten="a:"',
    'permitlisten="/a:1"', 'restrict="yes"', 'pty="no"', "restrict,", ",restrict",
    "restrict,,pty", "command=a", 'command="a"b', "no-pty restrict", "pty;",
]  # fmt: skip


@pytest.mark.parametrize("options", BAD_OPTIONS)
def test_r111_cases_314_315_a_line_with_a_bad_option_lets_nobody_in(options: str) -> None:

    keys = AuthorizedKeys.parse(f"{key('b')}\n{options} {key()}\n", file="f")
    assert keys.find(blob()) is None
    assert len(keys.warnings) == 1
    assert keys.warnings[0].startswith("f:2: ")
    assert keys.find(blob("b")) is not None


BAD_LINES = [
    "restrict",
    f"restrict {key().split()[1]}",  # R107: the token swallowed as a type
    f"restrict {key().split()[1]} comment",
    f"ssh-rsa {key().split()[1]}",
    f"restrict ssh-rsa {key().split()[1]}",
    key()[:-2],
    "ssh-ed25519",
    "ssh-ed25519 !!!!",
    f"restrict\u00a0{key()}",  # R108
    f"\ufeff{key()}",
    f'command="a {key()}',
    f'command="a" , {key()}',
    f"{key()}\0",
    f'command="a\0b" {key()}',
    f"{key()} {'x' * 65536}",
    f"@cert-authority * {key()}",
    "1024 35 12345 me",
]


@pytest.mark.parametrize("line", BAD_LINES)
def test_r107_r108_a_bad_line_lets_nobody_in(line: str) -> None:
    keys = AuthorizedKeys.parse(line, file="f")
    assert keys.find(blob()) is None
    assert keys.keys == ()
    assert [note.partition(": ")[0] for note in keys.warnings] == ["f:1"]


def test_no_option_holds_a_nul() -> None:
    with pytest.raises(ConfigError, match="NUL"):
        read_options('command="a\0b"')


def test_a_broken_key_is_called_a_broken_key() -> None:
    with pytest.raises(ConfigError, match="not base64"):
        read_key("ssh-ed25519 !!!! me")
    with pytest.raises(ConfigError, match="unknown key option 'restict'"):
        read_key(f"restict {key()}")


def test_the_first_of_two_lines_counts_and_the_other_is_named() -> None:
    keys = AuthorizedKeys.parse(f"restrict {key()}\n{key('b')}\n{key()}\n", file="f")
    found = keys.find(blob())
    assert found is not None
    assert found.options.restricted
    keys.find(blob())
    assert keys.warnings == ["f:3: the key stands at f:1 with other options"]
    same = AuthorizedKeys.parse(f"{key()}\n{key()} again\n")
    assert same.find(blob()) is not None
    assert same.warnings == []


def test_an_authority_is_no_key_and_a_key_no_authority() -> None:
    keys = AuthorizedKeys.parse(f"cert-authority {key()}\n{key('b')}\n")
    assert keys.find(blob()) is None
    assert keys.find_authority(blob()) is not None
    assert keys.find_authority(blob("b")) is None


# With 424 the key ends just behind its type's name.
@example(424, 0)
@given(st.integers(0, 1000), st.integers(0, 20))
def test_r116_every_prefix_of_a_good_line_is_the_line_or_nothing(size: int, letter: int) -> None:
    line = f"{ALL},restrict {key(chr(97 + letter))} comment"
    try:
        found = read_key(line[:size])
    except ConfigError:
        return
    assert found.blob == blob(chr(97 + letter))
    assert found.options == read_options(f"{ALL},restrict")


def test_ten_thousand_keys_take_a_moment() -> None:
    letters = [f"{n:032d}".encode() for n in range(10_000)]
    blobs = [string(b"ssh-ed25519") + string(letter) for letter in letters]
    text = "".join(
        f'restrict,command="x" ssh-ed25519 {b2a_base64(one, newline=False).decode()} c\n'
        for one in blobs
    )
    assert work(lambda: AuthorizedKeys.parse(text).find(blobs[-1])) < 10_000 * 110
    keys = AuthorizedKeys.parse(text)
    assert keys.find(blobs[-1]) is not None
    assert all(one.line < two.line for one, two in pairwise(keys.keys))


# Changing a file

PUBLIC = [PrivateKey.generate("ed25519", comment=name).public for name in ("ann", "bob")]
ANN, BOB = PUBLIC


def test_a_key_is_added_once_and_everything_else_stays_to_the_letter() -> None:
    # The last line lacks its end.
    text = f"# the team\r\n\n\tbroken line\n  no-pty {ANN.to_line()} \nlast"
    keys = AuthorizedKeys.parse(text)
    assert not keys.add(ANN)
    assert not keys.add(ANN, options="restrict")
    assert keys.text == text
    assert keys.add(BOB, options='restrict,command="say \\"hi\\""')
    added = f'restrict,command="say \\"hi\\"" {BOB.to_line()}\n'
    assert keys.text == f"{text}\n{added}"
    found = keys.find(BOB.blob)
    assert found is not None
    assert (found.line, found.options.command, found.options.permit_pty) == (6, 'say "hi"', False)
    assert not keys.add(BOB)
    # The same key may be an authority as well; that is another line.
    assert keys.add(BOB, options="cert-authority", comment="")
    assert keys.text.endswith(f"cert-authority {BOB.with_comment('').to_line()}\n")
    assert AuthorizedKeys.parse(keys.text).text == keys.text


def test_every_line_of_a_key_is_taken_out_and_no_other() -> None:
    text = f"# a\n{ANN.to_line()}\n{BOB.to_line()}\nbroken\nno-pty {ANN.to_line()}"
    keys = AuthorizedKeys.parse(text)
    assert keys.remove(ANN) == 2
    assert keys.text == f"# a\n{BOB.to_line()}\nbroken"
    assert keys.find(ANN.blob) is None
    assert keys.remove(ANN) == 0
    assert keys.add(ANN)
    assert keys.text == f"# a\n{BOB.to_line()}\nbroken\n{ANN.to_line()}\n"


@pytest.mark.parametrize(
    ("options", "comment"),
    [
        ("", "two\nssh-ed25519 AAAA"),
        ("", "a\rb"),
        ("", "a\0b"),
        ("", "x" * 70_000),
        ('command="a\nb"', ""),
        ("nonsense", ""),
        ("no-pty ssh-rsa", ""),
        ('command="open', ""),
        ("no-pty,", ""),
        (" ", ""),
    ],
)
def test_what_would_not_be_read_back_as_this_one_line_is_not_written(
    options: str, comment: str
) -> None:
    keys = AuthorizedKeys()
    with pytest.raises(ConfigError):
        keys.add(ANN, options=options, comment=comment)
    assert keys.text == ""


@given(st.text(max_size=40), st.text(max_size=40))
def test_whatever_is_added_is_one_line_with_these_options(options: str, comment: str) -> None:
    keys = AuthorizedKeys("# first")
    try:
        keys.add(ANN, options=options, comment=comment)
    except ConfigError:
        assert keys.text == "# first"
        return
    (found,) = keys.keys
    assert (found.line, found.blob) == (2, ANN.blob)
    assert found.options == read_options(options)
