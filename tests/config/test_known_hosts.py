# SPDX-License-Identifier: MIT
"""known_hosts: what a line says, what a look-up answers, and what a rewrite leaves alone."""

import subprocess
from binascii import b2a_base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.work import work

from tellin.config.known_hosts import (
    HostKeyState,
    KnownHosts,
    Marker,
    add_line,
    hash_name,
    hash_names,
    host_name,
    make_line,
    remove_host,
)
from tellin.errors import ConfigError
from tellin.wire import string

SALT = bytes(range(20))


def blob(letter: str, key_type: str = "ssh-ed25519") -> bytes:
    return string(key_type.encode()) + string(letter.encode() * 32)


def key(letter: str, key_type: str = "ssh-ed25519") -> str:
    return f"{key_type} {b2a_base64(blob(letter, key_type), newline=False).decode()}"


def state(text: str, letter: str, *names: str) -> HostKeyState:
    return KnownHosts.parse(text).lookup(names or ("host",), blob(letter)).state


def test_the_key_on_record_matches_and_names_its_line() -> None:
    found = KnownHosts.parse(f"# mine\n\nhost {key('a')} the host\n", file="f").lookup(
        ["host"], blob("a")
    )
    assert found.state is HostKeyState.MATCHES
    assert found.entry is not None
    assert (found.entry.where, found.entry.comment) == ("f:3", "the host")


def test_another_key_of_the_same_type_is_a_change() -> None:
    found = KnownHosts.parse(f"other {key('b')}\nhost {key('a')}", file="f").lookup(
        ["host"], blob("b")
    )
    assert found.state is HostKeyState.CHANGED
    assert found.entry is not None
    assert found.entry.where == "f:2"
    assert [entry.names for entry in found.elsewhere] == ["other"]


def test_a_key_of_another_type_than_those_on_record_is_a_changed_one() -> None:
    lines = f"host {key('a', 'ssh-rsa')}\nhost {key('b')}\nhost {key('c', 'ssh-dss')}"
    found = KnownHosts.parse(lines, file="f").lookup(["host"], blob("a"))
    assert found.state is HostKeyState.CHANGED
    assert found.entry is not None
    assert found.entry.where == "f:2"
    assert [entry.key_type for entry in found.known] == ["ssh-rsa", "ssh-ed25519", "ssh-dss"]
    # Nobody can show a key of such a type any more.
    assert state(f"host {key('a', 'ssh-dss')}", "a") is HostKeyState.UNKNOWN


def test_a_host_without_record_is_unknown() -> None:
    assert state("", "a") is HostKeyState.UNKNOWN
    assert state(f"host2 {key('a')}", "a") is HostKeyState.UNKNOWN


def test_any_of_several_keys_of_a_host_matches() -> None:
    assert state(f"host {key('a')}\nhost {key('b')}", "b") is HostKeyState.MATCHES


def test_case_311_revoked_wins_over_trusted_in_either_order() -> None:
    lines = [f"host {key('a')}", f"@revoked * {key('a')}"]
    assert state("\n".join(lines), "a") is HostKeyState.REVOKED
    assert state("\n".join(reversed(lines)), "a") is HostKeyState.REVOKED
    assert state("\n".join(lines), "b") is HostKeyState.CHANGED


def test_a_certificate_matches_by_its_authority_only_for_the_authoritys_hosts() -> None:
    known = KnownHosts.parse(f"@cert-authority *.example {key('c')}")
    hit = known.lookup(["a.example"], blob("x"), authority=blob("c"))
    assert hit.state is HostKeyState.MATCHES
    assert known.lookup(["a.other"], blob("x"), authority=blob("c")).state is HostKeyState.UNKNOWN
    assert known.lookup(["a.example"], blob("x"), authority=blob("d")).state is (
        HostKeyState.UNKNOWN
    )
    # An authority's own key is not a host key.
    assert known.lookup(["a.example"], blob("c")).state is HostKeyState.UNKNOWN
    assert [entry.blob for entry in hit.authorities] == [blob("c")]


def test_a_revoked_authority_revokes_what_it_signed() -> None:
    known = KnownHosts.parse(f"@cert-authority * {key('c')}\n@revoked * {key('c')}")
    assert known.lookup(["h"], blob("x"), authority=blob("c")).state is HostKeyState.REVOKED


def test_case_310_ports_patterns_and_negations() -> None:
    text = f"*.example,!bad.example,[h]:2222 {key('a')}"
    assert state(text, "a", "good.example") is HostKeyState.MATCHES
    assert state(text, "a", "bad.example") is HostKeyState.UNKNOWN
    assert state(text, "a", host_name("H", 2222)) is HostKeyState.MATCHES
    assert state(text, "a", host_name("h")) is HostKeyState.UNKNOWN
    assert state(text, "a", "GOOD.example") is HostKeyState.MATCHES
    assert state(f"!bad {key('a')}", "a", "good") is HostKeyState.UNKNOWN


def test_a_fallback_name_can_match_but_never_alarm() -> None:
    known = KnownHosts.parse(f"host {key('a')}")
    names = [host_name("host", 2222)]
    same = known.lookup(names, blob("a"), match_only=["host"])
    assert same.state is HostKeyState.MATCHES
    other = known.lookup(names, blob("b"), match_only=["host"])
    assert other.state is HostKeyState.UNKNOWN
    revoked = KnownHosts.parse(f"@revoked host {key('a')}")
    assert revoked.lookup(names, blob("a"), match_only=["host"]).state is HostKeyState.REVOKED


def test_a_hashed_name_matches_its_name_alone() -> None:
    text = f"{hash_name('Host', salt=SALT)} {key('a')}"
    assert state(text, "a", "host") is HostKeyState.MATCHES
    assert state(text, "a", "other") is HostKeyState.UNKNOWN
    with pytest.raises(ConfigError):
        hash_name("host", salt=b"short")


@pytest.mark.parametrize(
    "line",
    [
        f"host ssh-rsa {key('a').split()[1]}",  # R107: the word is not the type of the blob
        f"host {key('a')[:-3]}",
        f"host ssh-ed25519 {b2a_base64(blob('a')[:-1], newline=False).decode()}",  # cut short
        f"host ssh-ed25519 {b2a_base64(blob('a') + b'x', newline=False).decode()}",
        "host ssh-ed25519 %%%%",
        "host ssh-ed25519 AAAAé",
        "host ssh-ed25519",
        "host",
        f"@unknown host {key('a')}",
        f"@revoked @cert-authority host {key('a')}",  # R108
        f"@cert-authority @revoked {key('a')}",
        f"host\u00a0{key('a')}",  # R108: no other space parts fields
        f"host\u2003{key('a')} host",
        f"|1|AAAA|{b2a_base64(SALT, newline=False).decode()} {key('a')}",
        f"|1|||| {key('a')}",
        f"|1|!!|!! {key('a')}",
        f"|1| {key('a')}",
        f"host\0 {key('a')}",
        f"\ufeffhost {key('a')}",
        f"host {key('a')} {'x' * 65536}",
        "host 1024 35 123456789",
    ],
)
def test_r107_r108_cases_307_309_a_bad_line_is_skipped_with_its_place_and_never_matches(
    line: str,
) -> None:
    known = KnownHosts.parse(f"first {key('b')}\n{line}\nlast {key('b')}", file="f")
    for name in ("host", "x", "", "host\u00a0" + key("a").split()[0]):
        assert known.lookup([name], blob("a")).state is HostKeyState.UNKNOWN
    assert [entry.names for entry in known.entries()] == ["first", "last"]
    assert len(known.warnings) == 1
    assert known.warnings[0].startswith("f:2: ")


def test_r109_a_long_line_is_never_read_in_pieces() -> None:
    # R109: the tail of the line would be a line of its own to a reader with a fixed buffer.
    text = f"x ssh-ed25519 {'A' * 65536}\0host {key('a')}"
    assert state(text, "a") is HostKeyState.UNKNOWN


def test_case_307_line_ends_of_both_kinds_are_read() -> None:
    text = f"one {key('a')}\r\ntwo {key('a')} comment\r\nthree {key('a')}"
    for name in ("one", "two", "three"):
        assert state(text, "a", name) is HostKeyState.MATCHES
    # Other line ends of Unicode part nothing.
    assert state(f"x {key('b')} \x0bhost {key('a')}", "a") is HostKeyState.UNKNOWN


def test_an_entry_knows_its_names_and_a_certificate_may_stand_for_a_key() -> None:
    kind = "ssh-ed25519-cert-v01@openssh.com"
    # A certificate has numbers among its fields: its end is for whoever reads all of them.
    known = KnownHosts.parse(f"*.x,!b.x {key('a', kind)}")
    (entry,) = known.entries()
    assert (entry.is_for("a.x"), entry.is_for("b.x")) == (True, False)


def test_several_files_are_read_in_order() -> None:
    known = KnownHosts.parse(f"host {key('a')}", file="user")
    known.add(f"host {key('b')}\nbad", file="global")
    found = known.lookup(["host"], blob("b"))
    assert found.entry is not None
    assert found.entry.where == "global:1"
    assert known.warnings == ["global:2: a host, a key type and a key are needed"]


def test_adding_a_line_repairs_a_missing_newline() -> None:
    line = make_line(["host", "192.0.2.1"], "ssh-ed25519", blob("a"))
    assert add_line("", line) == line + "\n"
    assert add_line("x", line) == f"x\n{line}\n"
    assert add_line("x\n", line) == f"x\n{line}\n"
    assert state(line, "a", "192.0.2.1") is HostKeyState.MATCHES


@pytest.mark.parametrize("name", ["a\nb", "a b", "", "#a", "a\r", "a\tb"])
def test_a_name_that_would_forge_a_line_is_refused(name: str) -> None:
    with pytest.raises(ConfigError):
        make_line(name, "ssh-ed25519", blob("a"))
    with pytest.raises(ConfigError):
        make_line("host", "ssh-ed25519", blob("a"), comment="x\ny")


def test_a_marker_is_written_and_read_back() -> None:
    line = make_line("*", "ssh-ed25519", blob("a"), marker=Marker.REVOKED, comment="why")
    (entry,) = KnownHosts.parse(line).entries()
    assert (entry.marker, entry.comment, entry.hashed) == (Marker.REVOKED, "why", False)
    assert "ssh-ed25519" in repr(entry)


def test_removing_a_host_keeps_every_other_line() -> None:
    text = (
        f"# comment\nhost {key('a')}\nbad line\n@revoked host {key('a')}\r\n"
        f"{hash_name('host', salt=SALT)} {key('b')}\nother {key('a')} \udcff"
    )
    left, gone = remove_host(text, "host")
    assert [entry.line for entry in gone] == [2, 5]
    assert left == (f"# comment\nbad line\n@revoked host {key('a')}\r\nother {key('a')} \udcff")


def test_hashing_leaves_patterns_and_comments() -> None:
    text = f"# c\na,b {key('a')} note\n*.x {key('a')}\n@revoked r {key('a')}\nbad\n"
    hashed = hash_names(text, salt=lambda: SALT)
    lines = hashed.split("\n")
    assert lines[0] == "# c"
    assert lines[1] == f"{hash_name('a', salt=SALT)} {key('a')} note"
    assert lines[2] == f"{hash_name('b', salt=SALT)} {key('a')} note"
    assert lines[3:] == [f"*.x {key('a')}", f"@revoked r {key('a')}", "bad", ""]
    assert hash_names(hashed, salt=lambda: SALT) == hashed


def test_a_line_that_names_nobody_is_left_as_it_is() -> None:
    text = f",, {key('a')}\n"
    assert hash_names(text, salt=lambda: SALT) == text


@given(st.integers(0, 2000))
def test_r116_every_prefix_of_a_good_file_is_read(size: int) -> None:
    text = (
        f"{hash_name('host', salt=SALT)} {key('a')}\n@cert-authority *.x,!y {key('b')} z\n"
        f"[h]:22,192.0.2.1 {key('c', 'ssh-rsa')}\r\n"
    )[:size]
    known = KnownHosts.parse(text)
    known.lookup(["host", "[h]:22"], blob("a"))
    assert len(list(known.entries())) + len(known.warnings) <= 3


def test_case_310_a_thousand_stars_are_linear() -> None:
    line = f"{'*a' * 1000}b {key('a')}"
    assert state(line, "a", "a" * 1000) is HostKeyState.UNKNOWN
    assert work(lambda: state(line, "a", "a" * 1000)) < 1000


def test_ten_thousand_lines_are_searched_quickly() -> None:
    text = "".join(f"host{n},192.0.2.{n % 250} {key('a')}\n" for n in range(10_000))
    assert state(text, "a", "host9999") is HostKeyState.MATCHES
    assert work(lambda: state(text, "a", "host9999")) < 10_000 * 80


@pytest.mark.parametrize("hashed", [False, True])
def test_the_file_of_a_whole_site_costs_a_login_little(hashed: bool) -> None:
    """Thirty thousand lines: taking each apart took longer than all the rest of a login."""
    names = (f"node{number}.example.org" for number in range(30_000))
    written = (hash_name(name, salt=SALT) if hashed else f"{name},10.0.0.1" for name in names)
    known = KnownHosts.parse("".join(f"{name} {key('a')}\n" for name in written))

    def log_in() -> None:
        assert known.types(["host"]) == frozenset()
        assert known.lookup(["host"], blob("b")).state is HostKeyState.UNKNOWN

    assert work(log_in) < 30_000 * (26 if hashed else 14)


NAMES = (
    "host",
    "Host",
    "*.x",
    "a.x,b.x",
    "!host,*",
    "[host]:2222",
    "10.0.0.1",
    "|1|a|b",
    "@revoked",
)
ENDS = ("", "\r", " comment", " \t", "\0", " #x", "  host")


@given(
    st.lists(
        st.tuples(
            st.sampled_from((*NAMES, *(hash_name(name, salt=SALT) for name in ("host", "b.x")))),
            st.sampled_from(("a", "b")),
            st.sampled_from((" ", "\t", "  ", "\u00a0")),
            st.sampled_from(ENDS),
        ),
        max_size=6,
    ),
    st.lists(
        st.sampled_from(("host", "HOST", "b.x", "[host]:2222", "10.0.0.1", "hos", "")), min_size=1
    ),
)
def test_lines_that_are_passed_over_are_for_nobody_that_was_asked_about(
    lines: list[tuple[str, str, str, str]], names: list[str]
) -> None:
    text = "\n".join(
        space.join((name, *key(letter).split(" "))) + end for name, letter, space, end in lines
    )
    # Short files are not looked at in this way.
    known = KnownHosts.parse("#\n" * 1000 + text)
    every = list(known.entries())
    for name in names:
        fitting = [entry.line for entry in every if entry.is_for(name)]
        assert [entry.line for entry in known.find(name)] == fitting
        assert set(fitting) <= set(known.lines_of(name))
    found = known.lookup(names, blob("a"))
    here = [entry for entry in every if any(map(entry.is_for, names))]
    assert [entry.line for entry in found.known] == [
        entry.line for entry in here if entry.marker is Marker.NONE
    ]
    assert [entry.line for entry in found.elsewhere] == [
        entry.line
        for entry in every
        if entry not in here and entry.blob == blob("a") and entry.marker is Marker.NONE
    ]
    chosen = {entry.line for entry in known.select(names, [blob("b")])}
    assert chosen == {entry.line for entry in every if entry in here or entry.blob == blob("b")}


@pytest.mark.peer("openssh")
def test_openssh_finds_what_we_write_and_we_find_what_it_hashes(tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    names = ["host", "[h]:2222", "192.0.2.1"]
    good = "AAAAC3NzaC1lZDI1NTE5AAAAIA" + "A" * 42
    plain = "".join(f"{name} ssh-ed25519 {good}\n" for name in names)
    ours = hash_names(plain, salt=lambda: SALT)
    file.write_text(ours)
    for name in names:
        found = subprocess.run(
            ["ssh-keygen", "-F", name, "-f", file], capture_output=True, check=True, text=True
        )
        assert f"# Host {name} found" in found.stdout
    file.write_text(plain)
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", file], check=True, capture_output=True)
    known = KnownHosts.parse(file.read_text())
    for number, name in enumerate(names, 1):
        assert [entry.line for entry in known.find(name)] == [number]
