# SPDX-License-Identifier: MIT
"""Any text is a value or a ConfigError, whole or cut short."""

from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.config.paper_machine import USER, PaperMachine

from tellin.config.authorized_keys import AuthorizedKeys
from tellin.config.destination import parse_destination, parse_jump
from tellin.config.key_options import read_expiry, read_options
from tellin.config.known_hosts import KnownHosts, add_line, hash_names, remove_host
from tellin.config.ssh_config import SshConfig
from tellin.config.ssh_reading import read_ssh_config
from tellin.config.sshd_config import SshdConfig
from tellin.config.sshd_reading import Peer, read_sshd_config
from tellin.errors import ConfigError, UsageError

FILE = "/etc/ssh/sshd_config"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA" + "A" * 42

KEYWORDS = st.sampled_from(
    sorted({*SshConfig.known, *SshdConfig.known, "host", "match", "include"})
)
WORDS = st.sampled_from(
    ["yes", "no", "none", "any", "all", "host", "user", "root", "!", "*", "final", "exec", "true",
     "canonical", "address", "192.0.2.0/24", "::1", "[::1]:22", "%h", "%%", "%", "${A}", "${", "~",
     "~root/x", "'", '"', "\\", "#", "=", ",", "1", "22", "0", "99999999999", "1h", "1G", "10:30:60",
     "sftp", "internal-sftp", "publickey,password", "+aes*", "-*", "^x", "A=b", "a b", "config",
     "restrict", 'command="x"', "cert-authority", "@revoked", "@cert-authority", "|1|", "|1|a|b",
     KEY, "\0", "\r", "\u2028", "\ufeff", "\udcff"]
)  # fmt: skip
SEPARATORS = st.sampled_from([" ", "=", "\t", "\n", ",", "", " = "])


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Lines of known words in no good order, and now and then anything."""
    pieces: list[str] = []
    for _ in range(draw(st.integers(0, 8))):
        pieces.append(draw(KEYWORDS | st.text(max_size=4)))
        for _ in range(draw(st.integers(0, 4))):
            pieces += draw(SEPARATORS), draw(WORDS | st.text(max_size=6))
        pieces.append("\n")
    return "".join(pieces)


@settings(max_examples=300, deadline=None)
@given(texts(), st.text(max_size=8))
def test_any_text_as_ssh_config(text: str, host: str) -> None:
    machine = PaperMachine({USER: text}, A="a")
    for name in ("host", host):
        try:
            found = read_ssh_config(machine, name)
            expanded = found.expanded(machine)
        except ConfigError:
            continue
        # What was read can be dumped, and the dump read.
        again = read_ssh_config(PaperMachine({USER: "\n".join(found.dump())}), name)
        assert again == found
        list(expanded.dump())


@settings(max_examples=300, deadline=None)
@given(texts())
def test_any_text_as_an_option(text: str) -> None:
    with suppress(ConfigError):
        read_ssh_config(PaperMachine({}), "host", options=text.split("\n"))


@settings(max_examples=300, deadline=None)
@given(texts(), st.text(max_size=8))
def test_any_text_as_sshd_config(text: str, user: str) -> None:
    try:
        found = read_sshd_config(PaperMachine({FILE: text}))
    except ConfigError:
        return
    # R115: what the daemon starts with serves every connection.
    for peer in (
        Peer(),
        Peer(user=user, groups=(user,), host=user, address=user, local_port=1),
        Peer(user="root", address="::ffff:192.0.2.1", local_address="fe80::1%x", version="x"),
    ):
        effective = found.for_peer(peer)
        dumped = "\n".join(effective.dump())
        assert read_sshd_config(PaperMachine({FILE: dumped})).always == effective


@settings(max_examples=300, deadline=None)
@given(texts())
def test_any_text_as_known_hosts(text: str) -> None:
    known = KnownHosts.parse(text)
    found = list(known.entries())
    for entry in found:
        known.lookup([entry.names, "host"], entry.blob, authority=entry.blob)
    for line in (text, add_line(text, f"host {KEY}")):
        left, gone = remove_host(line, "host")
        assert len(left.split("\n")) == len(line.split("\n")) - len(gone)
    hashed = hash_names(text, salt=lambda: bytes(20))
    assert len(list(KnownHosts.parse(hashed).entries())) >= len(found)


@settings(max_examples=300, deadline=None)
@given(texts())
def test_any_text_as_authorized_keys(text: str) -> None:
    keys = AuthorizedKeys.parse(text)
    for key in keys.keys:
        keys.find(key.blob)
        keys.find_authority(key.blob)
    for line in text.split("\n"):
        for parse in (read_options, read_expiry):
            with suppress(ConfigError):
                parse(line)


@settings(max_examples=300, deadline=None)
@given(texts())
def test_any_text_as_a_destination(text: str) -> None:
    for line in text.split("\n"):
        for parse in (parse_destination, parse_jump):
            with suppress(UsageError):
                parse(line)
