# SPDX-License-Identifier: MIT
"""Logging in with security keys: here, and with the same bytes at OpenSSH's server."""

from pathlib import Path

import pytest
from tests.certified import Certified, authority, user_certificate
from tests.interop.servers import OpenSSHServer
from tests.keys.software_authenticator import (
    PRESENT,
    VERIFIED,
    WEBAUTHN,
    SoftwareAuthenticator,
)
from tests.library import awaited, connecting, serving
from tests.server.caller import Caller

import tellin
from tellin.keys import PublicKey
from tellin.protocol.events import Authenticated

# What a line says, what the security key says, and whether that opens the door.
RULES = [
    ("", PRESENT, True),
    ("", 0, False),
    ("", VERIFIED, False),
    ("no-touch-required", 0, True),
    ("verify-required", PRESENT, False),
    ("verify-required", PRESENT | VERIFIED, True),
    ("no-touch-required,verify-required", VERIFIED, True),
]


class Token:
    """A Signer with a security key in software."""

    def __init__(self, authenticator: SoftwareAuthenticator, *, flags: int = PRESENT) -> None:
        self.public = PublicKey.from_blob(authenticator.blob)
        self._authenticator = authenticator
        self._flags = flags

    def sign(self, data: bytes, algorithm: str) -> bytes:
        if algorithm == WEBAUTHN:
            return self._authenticator.sign_in_browser(data, flags=self._flags)
        return self._authenticator.sign(data, flags=self._flags)


@pytest.mark.parametrize("way", ["authorized_keys", "authorize"])
@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])
@awaited
async def test_r073_what_a_line_asks_of_a_security_key_holds(
    tmp_path: Path, way: str, kind: str
) -> None:
    authenticator = SoftwareAuthenticator("ed25519" if kind == "ed25519" else "ecdsa")
    file = tmp_path / "authorized_keys"
    authorize = (lambda candidate: True) if way == "authorize" else None
    for line, flags, right in RULES:
        file.write_text(f"{line} {authenticator.line}\n")
        token = Token(authenticator, flags=flags)
        async with serving(authorized_keys=file, authorize=authorize) as server:
            assert await _gets_in(server, token) is right, (line, flags)


async def _gets_in(server: object, token: Token | Certified) -> bool:
    try:
        async with connecting(server, keys=[token]) as connection:
            return (await connection.run("status 0")).ok
    except tellin.AuthenticationFailed:
        return False


@awaited
async def test_r073_without_a_line_a_touch_is_asked_for() -> None:
    for flags, right in ((PRESENT, True), (0, False)):
        token = Token(SoftwareAuthenticator(), flags=flags)
        async with serving(authorize=lambda candidate: True) as server:
            assert await _gets_in(server, token) is right


@pytest.mark.peer("sshd", "ssh-keygen")
@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "browser"])
def test_openssh_s_server_decides_as_ours_does(kind: str, tmp_path: Path) -> None:
    """The same bytes at another server: what is taken and refused above is so there too."""
    authenticator = SoftwareAuthenticator("ed25519" if kind == "ed25519" else "ecdsa")
    keys = tmp_path / "authorized_keys"
    # Not all releases take what comes from a browser unless told to.
    options = {"AuthorizedKeysFile": keys, "PubkeyAcceptedAlgorithms": f"+{WEBAUTHN}"}
    algorithm = WEBAUTHN if kind == "browser" else authenticator.key_type
    with OpenSSHServer(tmp_path, options=options) as server:
        for line, flags, right in RULES:
            keys.write_text(f"{line} {authenticator.line}\n")
            with Caller(server.port) as caller:
                token = Token(authenticator, flags=flags)
                done = caller.ready().key(server.user, token, algorithm)
                assert isinstance(done, Authenticated) is right, (line, flags)


# What the authority's line says, what the certificate's extensions say, and what the token saw.
CERTIFIED = [
    ("", (), PRESENT, True),
    ("", (), 0, False),
    ("no-touch-required", (), 0, False),
    ("", ("no-touch-required",), 0, False),
    ("no-touch-required", ("no-touch-required",), 0, True),
    ("verify-required", (), PRESENT, False),
    ("verify-required", (), PRESENT | VERIFIED, True),
]


@awaited
async def test_r073_what_line_and_certificate_ask_of_a_security_key_holds(tmp_path: Path) -> None:
    authenticator = SoftwareAuthenticator("ed25519")
    file = tmp_path / "authorized_keys"
    for line, extensions, flags, right in CERTIFIED:
        words = ",".join(filter(None, ("cert-authority", line)))
        file.write_text(f"{words} {authority().public.to_line()}\n")
        token = Token(authenticator, flags=flags)
        made = user_certificate(token.public, "someone", extensions=extensions)
        shown = Certified(token, made)
        async with serving(authorized_keys=file) as server:
            assert await _gets_in(server, shown) is right, (line, extensions, flags)


@awaited
async def test_r073_a_certificate_may_want_to_know_by_whom_it_was_touched(tmp_path: Path) -> None:
    authenticator = SoftwareAuthenticator("ecdsa")
    for flags, right in ((PRESENT, False), (PRESENT | VERIFIED, True)):
        token = Token(authenticator, flags=flags)
        made = user_certificate(token.public, "someone", options={"verify-required": None})
        async with serving(authorities=authority().public) as server:
            assert await _gets_in(server, Certified(token, made)) is right
