# SPDX-License-Identifier: MIT
"""Any bytes as key files, known_hosts, configuration and command-line words."""

import base64
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache

from tests.fuzz.harness import Harness, on_bytes, on_text, pieces

from tellin.algorithms.compression import Decompressor
from tellin.config import kinds
from tellin.config.authorized_keys import AuthorizedKeys, read_key
from tellin.config.destination import parse_destination, parse_jump, parse_port
from tellin.config.forwards import parse_forward
from tellin.config.grammar import read_line, read_lines
from tellin.config.key_options import read_expiry, read_options
from tellin.config.known_hosts import KnownHosts, decode_key, make_line
from tellin.config.linting import lint_ssh_config, lint_sshd_config
from tellin.config.principals import Principals
from tellin.config.ssh_reading import read_ssh_config
from tellin.config.sshd_reading import Peer, read_sshd_config
from tellin.config.surroundings import Surroundings
from tellin.errors import ConfigError, KeyFileError, MalformedPacket, ProtocolError, UsageError
from tellin.keys import PrivateKey, PublicKey, load_private_key, load_public_key, pem, rfc4716
from tellin.wire import Cursor

LARGEST = 1 << 18


@cache
def keys() -> tuple[PrivateKey, ...]:
    return (
        PrivateKey.generate("ed25519", comment="me@here"),
        PrivateKey.generate("ecdsa"),
        PrivateKey.generate("rsa", bits=2048),
    )


def private_files() -> Iterator[bytes]:
    for key in keys():
        yield key.to_openssh()
        yield key.to_openssh(b"x", rounds=1)
        yield key.to_pkcs8()
    yield keys()[1].to_pem()
    yield keys()[2].to_pem()


def public_files() -> Iterator[bytes]:
    for key in keys():
        yield key.public.to_line().encode()
        yield key.public.to_rfc4716("a comment").encode()
        yield key.public.to_pkcs8()


def load_with_passphrases(data: bytes) -> None:
    for passphrase in (None, b"x"):
        with suppress(KeyFileError):
            load_private_key(data, passphrase, most_rounds=2)


def read_pem(data: bytes) -> None:
    with suppress(KeyFileError):
        pem.read_public(data)
    with suppress(KeyFileError):
        pem.read_private(data, b"x")


def read_private(data: bytes) -> None:
    with suppress(KeyFileError, MalformedPacket):
        PrivateKey.read(Cursor(data))


def use_public(data: bytes) -> None:
    """A key that loads can be shown and asked."""
    try:
        key = PublicKey.from_blob(data)
    except (KeyFileError, MalformedPacket):
        return
    assert key.fingerprint().startswith("SHA256:")
    for algorithm in key.signature_algorithms:
        assert not key.verify(b"data", data, algorithm=algorithm)


def look_up(text: str) -> None:
    hosts = KnownHosts.parse(text)
    hosts.lookup(["host", "[host]:2222"], keys()[0].public.blob)
    for entry in hosts.entries():
        entry.is_for("host")


def known_hosts_files() -> Iterator[bytes]:
    key = keys()[0].public
    line = make_line("host", key.key_type, key.blob)
    yield f"{line}\n@revoked * {key.to_line()}\n# comment\n".encode()
    salt = base64.b64encode(bytes(20)).decode()
    yield f"|1|{salt}|{salt} {key.to_line()}\n@cert-authority *.example {key.to_line()}".encode()


class OneFile(Surroundings):
    """A machine whose every file is the fuzzer's text; files included by it are empty."""

    def __init__(self, text: str) -> None:
        super().__init__(user="me", home="/home/me", uid=1000, host="here")
        self.text = text

    def read(self, path: str, *, guarded: bool = False) -> str | None:
        text, self.text = self.text, ""
        return text

    def glob(self, pattern: str) -> list[str]:
        return [pattern]


def read_configuration(text: str) -> None:
    config = read_ssh_config(OneFile(text), "host", file="config")
    list(config.dump())


CONFIGURATION = b"""
Host host !other *.example
    HostName 192.0.2.1
    Port = 2222
    User "me too"
    Ciphers +aes*-gcm@openssh.com,^3des-cbc
    Include more/*
Match user me exec "true" host h?st
    RekeyLimit 1G 1h
    SetEnv A=b 'C=d e'
    ServerAliveInterval 1m30s
"""


AUTHORIZED_OPTIONS = (
    b'restrict,pty,from="192.0.2.0/24,!192.0.2.9",command="echo \\"hi\\"",environment="A=b",'
    b'permitopen="host:80",permitlisten="*:8080",expiry-time="20301231235959Z",no-pty'
)


PRINCIPALS = b"alice\n" + AUTHORIZED_OPTIONS + b' bob # and so on\n\tcommand="a b" carol\n'


def authorized_keys_files() -> Iterator[bytes]:
    for key in keys():
        line = key.public.to_line().encode()
        yield line + b"\n" + AUTHORIZED_OPTIONS + b" " + line + b"\n# comment\n"
        yield b'cert-authority,principals="a,b" ' + line


SERVER_CONFIGURATION = b"""
Port 2222
ListenAddress [::1]:22
Subsystem sftp internal-sftp
AuthenticationMethods publickey,password keyboard-interactive
Match User me,!you Address 192.0.2.0/24 LocalPort 22
    PasswordAuthentication no
    SetEnv A=b "C=d e"
Match all
    MaxStartups 10:30:100
"""


def read_server_configuration(text: str) -> None:
    settings = read_sshd_config(OneFile(text), file="config")
    made = settings.for_peer(Peer(user="me", host="here", address="192.0.2.1"))
    list(made.dump())


class SameFile(OneFile):
    """The same, read as often as anybody likes."""

    def read(self, path: str, *, guarded: bool = False) -> str | None:
        return self.text if path == "config" else ""


def lint(text: str) -> None:
    """Whatever stands in a file, and whoever is asked about, there are findings and no error."""
    machine = SameFile(text)
    for host in (None, "host"):
        for one in lint_ssh_config(machine, file="config", host=host).findings:
            assert str(one)
    for peer in (None, Peer(user="me", host="here", address="192.0.2.1")):
        for one in lint_sshd_config(machine, file="config", peer=peer).findings:
            assert str(one)


def inflate(data: bytes) -> None:
    stream = Decompressor()
    with suppress(ProtocolError):
        for packet in pieces(data):
            assert len(stream.decompress(packet, LARGEST)) <= LARGEST


def deflated() -> Iterator[bytes]:
    stream = zlib.compressobj()
    for text in (b"a payload", bytes(1 << 16)):
        packet = stream.compress(text) + stream.flush(zlib.Z_PARTIAL_FLUSH)
        yield len(packet).to_bytes(2, "big") + packet


def all_of(*parsers: Callable[[str], object]) -> Callable[[str], None]:
    """Each parser by itself: what one refuses the next may take."""

    def run(text: str) -> None:
        for parse in parsers:
            with suppress(ConfigError, UsageError):
                parse(text)

    return run


def words(text: str) -> None:
    for line in read_lines(text, file="config"):
        with suppress(ConfigError):
            line.words()


HARNESSES = [
    Harness(
        "private_key_file",
        load_with_passphrases,
        covers=["tellin.keys.formats.load_private_key"],
        seeds=private_files,
    ),
    Harness(
        "public_key_file",
        on_bytes(load_public_key, KeyFileError),
        covers=["tellin.keys.formats.load_public_key"],
        seeds=public_files,
    ),
    Harness(
        "pem",
        read_pem,
        covers=["tellin.keys.pem.read_public", "tellin.keys.pem.read_private"],
        seeds=lambda: [*private_files(), *public_files()],
    ),
    Harness(
        "private_key_fields",
        read_private,
        covers=["tellin.keys.private.PrivateKey.read"],
        seeds=lambda: [key.encode() for key in keys()],
    ),
    Harness(
        "public_key_blob",
        use_public,
        covers=["tellin.keys.public.PublicKey.from_blob"],
        seeds=lambda: [key.public.blob for key in keys()],
    ),
    Harness(
        "public_key_line",
        on_text(PublicKey.from_line, KeyFileError),
        covers=["tellin.keys.public.PublicKey.from_line"],
        seeds=lambda: [key.public.to_line().encode() for key in keys()],
    ),
    Harness(
        "rfc4716",
        on_text(rfc4716.read, KeyFileError),
        covers=["tellin.keys.rfc4716.read"],
        seeds=lambda: [key.public.to_rfc4716("comment").encode() for key in keys()],
    ),
    Harness(
        "known_hosts",
        on_text(look_up),
        covers=["tellin.config.known_hosts.KnownHosts.parse"],
        seeds=known_hosts_files,
    ),
    Harness(
        "known_hosts_key",
        on_text(lambda text: decode_key(*[*text.split(" ", 1), ""][:2]), ConfigError),
        covers=["tellin.config.known_hosts.decode_key"],
        seeds=lambda: [key.public.to_line().encode() for key in keys()],
    ),
    Harness(
        "ssh_config",
        on_text(read_configuration, ConfigError),
        covers=["tellin.config.reading.Reader.read_text"],
        seeds=lambda: [CONFIGURATION],
    ),
    Harness(
        "sshd_config",
        on_text(read_server_configuration, ConfigError),
        covers=["tellin.config.reading.Reader.read_text"],
        seeds=lambda: [SERVER_CONFIGURATION],
    ),
    Harness(
        "linting",
        on_text(lint),
        covers=[
            "tellin.config.linting.survey.Survey.read_option",
            "tellin.config.linting.survey.Survey.read_text",
        ],
        seeds=lambda: [CONFIGURATION, SERVER_CONFIGURATION],
    ),
    Harness(
        "authorized_keys",
        on_text(AuthorizedKeys.parse),
        covers=["tellin.config.authorized_keys.AuthorizedKeys.parse"],
        seeds=authorized_keys_files,
    ),
    Harness(
        "authorized_keys_options",
        on_text(all_of(read_key, read_options, read_expiry)),
        covers=[
            "tellin.config.authorized_keys.read_key",
            "tellin.config.key_options.read_options",
            "tellin.config.key_options.read_expiry",
        ],
        seeds=lambda: [
            *authorized_keys_files(),
            AUTHORIZED_OPTIONS,
            b"20301231",
            b"203012312359Z",
        ],
    ),
    Harness(
        "principals",
        on_text(lambda text: Principals.parse(text).find(("alice", "b"))),
        covers=["tellin.config.principals.Principals.parse"],
        seeds=lambda: [PRINCIPALS],
    ),
    Harness(
        "config_lines",
        on_text(words, ConfigError),
        covers=["tellin.config.grammar.read_lines"],
        seeds=lambda: [CONFIGURATION],
    ),
    Harness(
        "config_values",
        on_text(
            all_of(
                lambda text: read_line(text, file="config"),
                kinds.read_seconds,
                kinds.read_bytes,
                lambda text: kinds.read_integer(text, 0, 65535),
            )
        ),
        covers=[
            "tellin.config.grammar.read_line",
            "tellin.config.kinds.read_seconds",
            "tellin.config.kinds.read_bytes",
            "tellin.config.kinds.read_integer",
        ],
        seeds=lambda: [b"1h30m", b"4G", b"65535", b"-1", b"Port=22"],
    ),
    Harness(
        "destination",
        on_text(all_of(parse_destination, parse_jump, parse_port)),
        covers=[
            "tellin.config.destination.parse_destination",
            "tellin.config.destination.parse_jump",
            "tellin.config.destination.parse_port",
        ],
        seeds=lambda: [b"me@host", b"ssh://me@[2001:db8::1]:2222", b"a@b:22", b"22"],
    ),
    Harness(
        "forward",
        on_text(
            all_of(
                parse_forward,
                lambda text: parse_forward(text, remote=True),
                lambda text: parse_forward(text, socks=True),
            ),
            ConfigError,
        ),
        covers=["tellin.config.forwards.parse_forward"],
        seeds=lambda: [b"80:h:80", b"[::1]:80:/run/x", b"/a:[::2]:1", b"*:1080"],
    ),
    Harness(
        "inflate",
        inflate,
        covers=["tellin.algorithms.compression.Decompressor.decompress"],
        seeds=deflated,
    ),
]
