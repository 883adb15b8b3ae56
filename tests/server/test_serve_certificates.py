# SPDX-License-Identifier: MIT
"""A program's own server and certificates: whom it trusts, what its functions hear, what the session may do."""

import socket
import time
from pathlib import Path
from typing import Any

import pytest
from tests.certified import Certified, authority, host_certificate, user_certificate
from tests.library import HOST_KEY, OTHER_KEY, USER_KEY, awaited, connecting, serving

import tellin
from tellin.config.authorized_keys import AuthorizedKey
from tellin.config.key_options import KeyOptions
from tellin.keys import RevocationList
from tellin.server.authentication.admission import permits_terminal

CA = authority()
SOMEONE = "someone"


def certified(*principals: str, **changes: Any) -> dict[str, Any]:
    """What makes a client show the user's key by a certificate alone."""
    made = user_certificate(USER_KEY.public, *(principals or (SOMEONE,)), **changes)
    return {"keys": [Certified(USER_KEY, made)]}


@awaited
async def test_the_certificates_of_an_authority_let_its_principals_in() -> None:
    async with serving(authorities=CA.public) as server:
        async with connecting(server, **certified()) as connection:
            said = (await connection.run("describe")).stdout
        assert said.splitlines()[:2] == [SOMEONE, USER_KEY.public.fingerprint()]
        for refused in (
            certified("somebody-else"),
            certified(f"{SOMEONE},root"),
            certified(signer=authority(1)),
            {"keys": [USER_KEY]},
            {"keys": [CA]},
        ):
            with pytest.raises(tellin.AuthenticationFailed):
                await connecting(server, **refused)
        nobody = Certified(USER_KEY, user_certificate(USER_KEY.public))
        with pytest.raises(tellin.AuthenticationFailed):
            await connecting(server, keys=[nobody])


@awaited
async def test_a_file_may_name_authorities_beside_keys(tmp_path: Path) -> None:
    path = tmp_path / "authorized_keys"
    path.write_text(
        f'cert-authority,principals="ops" {CA.public.to_line()}\n{OTHER_KEY.public.to_line()}\n'
    )
    async with serving(authorized_keys=path) as server:
        for good in (certified("ops"), {"keys": [OTHER_KEY]}):
            await (await connecting(server, **good)).aclose()
        for bad in (certified(), {"keys": [CA]}, {"keys": [USER_KEY]}):
            with pytest.raises(tellin.AuthenticationFailed):
                await connecting(server, **bad)
    # For one user alone.
    async with serving(authorized_keys={"other": path}) as server:
        with pytest.raises(tellin.AuthenticationFailed):
            await connecting(server, **certified("ops"))


@awaited
async def test_r105_a_function_alone_hears_of_no_certificate() -> None:
    heard: list[tellin.Candidate] = []

    def decide(candidate: tellin.Candidate) -> bool:
        heard.append(candidate)
        return True

    async with serving(authorize=decide) as server:
        with pytest.raises(tellin.AuthenticationFailed):
            await connecting(server, **certified())
        assert heard == []
    async with serving(authorize=decide, authorities=[CA.public]) as server:
        async with connecting(server, **certified()):
            pass
        # R067: the key that has signed, and the certificate that says whose it is.
        (candidate,) = heard
        assert candidate.key == USER_KEY.public
        assert candidate.certificate is not None
        assert candidate.certificate.key_id == "five minutes"


@pytest.mark.parametrize("form", ["list", "binary", "text"])
@awaited
async def test_r104_what_is_revoked_lets_nobody_in(form: str, tmp_path: Path) -> None:
    listed = RevocationList()
    listed.add_key(USER_KEY.public)
    path = tmp_path / "revoked"
    path.write_bytes(listed.to_bytes() if form == "binary" else USER_KEY.public.to_line().encode())
    revoked: Any = listed if form == "list" else [path]
    keys = [USER_KEY.public, OTHER_KEY.public]
    async with serving(authorities=CA.public, authorized_keys=keys, revoked=revoked) as server:
        for refused in (certified(), {"keys": [USER_KEY]}):
            with pytest.raises(tellin.AuthenticationFailed):
                await connecting(server, **refused)
        await (await connecting(server, keys=[OTHER_KEY])).aclose()


@awaited
async def test_case_301_a_server_does_not_start_with_a_list_that_it_cannot_read(
    tmp_path: Path,
) -> None:
    path = tmp_path / "revoked"
    with pytest.raises(FileNotFoundError):
        async with serving(authorities=CA.public, revoked=path):
            pass
    path.write_bytes(b"SSHKRL\n\0\0")
    with pytest.raises(tellin.KeyFileError, match="damaged revocation list"):
        async with serving(authorities=CA.public, revoked=path):
            pass


@awaited
async def test_r069_a_certificate_for_some_addresses_needs_an_address() -> None:
    here = certified(options={"source-address": "127.0.0.1"})
    async with serving(authorities=CA.public) as server:
        await (await connecting(server, **here)).aclose()
        with pytest.raises(tellin.AuthenticationFailed):
            await connecting(server, **certified(options={"source-address": "192.0.2.1"}))
        # A socket pair has no addresses: nobody can say where it comes from.
        for shown, good in ((here, False), (certified(), True)):
            ours, theirs = socket.socketpair()
            server.serve_socket(theirs)
            if good:
                await (await connecting(server, sock=ours, **shown)).aclose()
            else:
                with pytest.raises(tellin.AuthenticationFailed):
                    await connecting(server, sock=ours, **shown)


@awaited
async def test_what_a_certificate_allows_is_what_the_session_may_do() -> None:
    async with serving(authorities=CA.public) as server:
        forced = certified(options={"force-command": "say forced"}, extensions=())
        async with connecting(server, **forced) as connection:
            assert (await connection.run("say mine")).stdout == "forced"
            with pytest.raises(tellin.TellinError):
                await connection.run("describe", term="xterm")
        async with connecting(server, **certified()) as connection:
            assert "xterm" in (await connection.run("describe", term="xterm")).stdout


@awaited
async def test_r068_two_keys_allow_what_both_allow() -> None:
    second = user_certificate(OTHER_KEY.public, SOMEONE, extensions=())
    async with serving(
        authorities=CA.public, authentication_methods=["publickey,publickey"]
    ) as server:
        keys = [*certified()["keys"], Certified(OTHER_KEY, second)]
        for order in (keys, keys[::-1]):
            async with connecting(server, keys=order) as connection:
                with pytest.raises(tellin.TellinError):
                    await connection.run("describe", term="xterm")
        # The same key with and without its certificate is one key.
        again = user_certificate(USER_KEY.public, SOMEONE, serial=8)
        with pytest.raises(tellin.AuthenticationFailed):
            await connecting(server, keys=[*certified()["keys"], Certified(USER_KEY, again)])


def test_r068_a_terminal_needs_the_word_of_every_key() -> None:
    def grant(*, terminal: bool) -> AuthorizedKey:
        options = KeyOptions()
        options.permit_pty = terminal
        return AuthorizedKey(b"", options, key_type="", comment="")

    yes, no = grant(terminal=True), grant(terminal=False)
    assert permits_terminal([])
    assert permits_terminal([yes, None, yes])
    assert not permits_terminal([yes, no])
    assert not permits_terminal([no, yes])


@awaited
async def test_a_host_certificate_has_to_be_for_one_of_the_keys() -> None:
    good = host_certificate(HOST_KEY.public, "127.0.0.1")
    for bad in (
        host_certificate(OTHER_KEY.public, "127.0.0.1"),
        user_certificate(HOST_KEY.public, "127.0.0.1"),
    ):
        with pytest.raises(tellin.UsageError, match="certificate"):
            async with serving(authorized_keys=USER_KEY.public, host_certificates=[bad]):
                pass
    # Whoever does not ask for it sees the key.
    async with (
        serving(authorized_keys=USER_KEY.public, host_certificates=[good]) as server,
        connecting(server, keys=[USER_KEY]) as connection,
    ):
        assert connection.host_certificate is None
        assert connection.host_key == HOST_KEY.public


@awaited
async def test_certificates_lie_beside_keys_or_are_named(tmp_path: Path) -> None:
    path = tmp_path / "id"
    path.write_bytes(USER_KEY.to_openssh())
    path.chmod(0o600)
    good, old = (
        user_certificate(USER_KEY.public, SOMEONE),
        user_certificate(USER_KEY.public, SOMEONE, now=time.time() - 900),
    )
    named = tmp_path / "elsewhere.pub"
    named.write_text(good.to_line())
    async with serving(authorities=CA.public) as server:
        with pytest.raises(tellin.AuthenticationFailed):
            await connecting(server, keys=[path])
        for certificate in (good, named):
            await (await connecting(server, keys=[path], certificates=[certificate])).aclose()
        beside = tmp_path / "id-cert.pub"
        beside.write_text(good.to_line())
        await (await connecting(server, keys=[path])).aclose()
        # What is named stands for what lies beside.
        with pytest.raises(tellin.AuthenticationFailed):
            await connecting(server, keys=[path], certificates=[old])
        beside.write_text("no certificate\n")
        with pytest.raises(tellin.AuthenticationFailed) as caught:
            await connecting(server, keys=[path])
        assert str(beside) in caught.value.hint
        host = host_certificate(USER_KEY.public, SOMEONE)
        with pytest.raises(tellin.KeyFileError, match="not a user certificate"):
            await connecting(server, keys=[path], certificates=[host])


@awaited
async def test_a_locked_key_is_opened_for_its_certificate(tmp_path: Path) -> None:
    path = tmp_path / "id"
    path.write_bytes(USER_KEY.to_openssh(b"secret", rounds=2))
    path.chmod(0o600)
    (tmp_path / "id-cert.pub").write_text(user_certificate(USER_KEY.public, SOMEONE).to_line())
    async with (
        serving(authorities=CA.public) as server,
        connecting(server, keys=[path], passphrase="secret") as connection,
    ):
        assert (await connection.run("say hello")).stdout == "hello"
