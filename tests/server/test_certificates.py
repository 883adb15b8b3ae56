# SPDX-License-Identifier: MIT
"""Who is let in by a certificate, from where, for what: every demand by itself, with a clock that stands."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from tests.certified import authority, host_certificate, user_certificate
from tests.server.test_access import KEY, NOW, VISITOR, authorized, me

from tellin.algorithms.signatures import CA_SIGNATURE_ALGORITHMS
from tellin.config.authorized_keys import AuthorizedKey
from tellin.errors import KeyFileError
from tellin.keys import Certificate, PrivateKey, RevocationList
from tellin.server.authentication.access import AccessRules, Helper, Visitor
from tellin.server.authentication.authorities import SystemAccess
from tellin.server.authentication.commands import HelperFailed, ask, command_tokens

CA = authority()
PERMISSIONS = (
    "permit_agent_forwarding",
    "permit_port_forwarding",
    "permit_pty",
    "permit_user_rc",
    "permit_x11_forwarding",
)


def certified(*principals: str, **changes: Any) -> Certificate:
    return user_certificate(KEY, *(principals or ("alice",)), now=NOW, **changes)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home whose parents belong to this user or root."""
    place = tmp_path / "home"
    place.mkdir(mode=0o755)
    (place / ".ssh").mkdir(mode=0o700)
    return place


@pytest.fixture
def trusted(home: Path) -> Path:
    return authorized(home, f"# ours\n{CA.public.to_line()}\n", "ca.pub")


def access(now: float = NOW, **rules: Any) -> SystemAccess:
    return SystemAccess(
        AccessRules(**rules), find=lambda name: None, shadow=lambda name: None, now=lambda: now
    )


def enter(
    home: Path, shown: Any, visitor: Visitor = VISITOR, *, now: float = NOW, **rules: Any
) -> tuple[AuthorizedKey | None, str]:
    """What lets it in, and what is noted."""
    checker = access(now, **rules)
    grant = checker.authorize(me(home), "alice", shown, visitor)
    return grant, "\n".join(checker.notes)


# TrustedUserCAKeys


def test_a_trusted_authoritys_certificate_lets_its_principals_in(
    home: Path, trusted: Path
) -> None:
    rules = {"authorities_file": str(trusted)}
    grant, notes = enter(home, certified(), **rules)
    assert grant is not None
    assert 'Accepted certificate ID "five minutes" (serial 7) signed by ED25519 CA' in notes
    assert notes.endswith(f"via {trusted}")
    assert all(getattr(grant.options, name) for name in PERMISSIONS)
    # The key without it is nobody's, and so is the authority's own.
    assert enter(home, KEY, **rules) == (None, "")
    assert enter(home, CA.public, **rules) == (None, "")
    assert enter(home, certified()) == (None, "")


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "R103 a minute after its time": ({"valid_before": int(NOW)}, "invalid: expired"),
    "R103 before its time": ({"valid_after": int(NOW) + 1}, "invalid: not yet valid"),
    "case 291 a time that ends first": (
        {"valid_after": int(NOW) - 9, "valid_before": int(NOW) - 8}, "invalid: expired",
    ),
    "case 293 an unknown demand": ({"options": {"only": None}}, "option 'only' is not supported"),
    "R069 case 295 no address": ({"options": {"source-address": ""}}, "empty source-address"),
    "R069 case 295 other addresses": (
        {"options": {"source-address": "192.0.2.8,198.51.100.0/24"}}, "not from a permitted address",
    ),
    "case 295 a pattern": ({"options": {"source-address": "192.0.2.*"}}, "damaged source-address"),
    "case 295 a broken block": (
        {"options": {"source-address": "192.0.2.7,192.0.2.0/99"}}, "damaged source-address",
    ),
    "case 295 a negation": ({"options": {"source-address": "!192.0.2.8"}}, "damaged source-addr"),
    "case 289 another algorithm": (
        {"signer": PrivateKey.generate("rsa", bits=2048), "algorithm": "rsa-sha2-256"},
        "disallowed algorithm",
    ),
}  # fmt: skip


@pytest.mark.parametrize("way", REFUSED)
def test_a_certificate_that_does_not_hold_lets_nobody_in(
    home: Path, trusted: Path, way: str
) -> None:
    changes, reason = REFUSED[way]
    signer = changes.get("signer", CA)
    trusted.write_text(signer.public.to_line())
    algorithms = tuple(name for name in CA_SIGNATURE_ALGORITHMS if name != "rsa-sha2-256")
    rules = {"authorities_file": str(trusted), "authority_algorithms": algorithms}
    grant, notes = enter(home, certified(**changes), **rules)
    assert grant is None
    assert reason in notes


def test_r103_a_hosts_certificate_is_no_users(home: Path, trusted: Path) -> None:
    made = host_certificate(KEY, "alice", now=NOW)
    grant, notes = enter(home, made, authorities_file=str(trusted))
    assert grant is None
    assert "not a user certificate" in notes


def test_r100_r101_principals_are_names_one_by_one_and_never_everybody(
    home: Path, trusted: Path
) -> None:
    rules = {"authorities_file": str(trusted)}
    for principals in (("bob",), ("alice,bob",), ("*",), ("Alice",), ("alic",), ("alice ",)):
        assert enter(home, certified(*principals), **rules)[0] is None, principals
    nobody = user_certificate(KEY, now=NOW)
    grant, notes = enter(home, nobody, **rules)
    assert grant is None
    assert "Certificate lacks principal list" in notes
    assert enter(home, certified("bob", "alice"), **rules)[0] is not None


def test_r104_case_298_what_is_revoked_lets_nobody_in(home: Path, trusted: Path) -> None:
    rules = {"authorities_file": str(trusted)}
    made = certified()
    for what in ("key", "authority", "serial", "id"):
        revoked = RevocationList()
        match what:
            case "key":
                revoked.add_key(KEY)
            case "authority":
                revoked.add_key(CA.public)
            case "serial":
                revoked.add_serials(7, authority=CA.public)
            case "id":
                revoked.add_key_id("five minutes", authority=CA.public)
        # Of several files each counts.
        empty = authorized(home, "# nobody\n", "empty")
        path = home / "revoked"
        path.write_bytes(revoked.to_bytes())
        grant, notes = enter(home, made, **rules, revoked_files=(str(empty), str(path)))
        assert grant is None, what
        assert f"revoked by file {path}" in notes
        assert enter(home, made, **rules, revoked_files=(str(empty),))[0] is not None


@pytest.mark.parametrize("content", [None, b"", b"SSHKRL\n\0", b"no key\n", "a directory"])
def test_cases_301_305_306_a_list_that_cannot_be_read_revokes_everything(
    home: Path, content: bytes | str | None
) -> None:
    authorized(home, KEY.to_line())
    path = home / "revoked"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        path.mkdir()
    grant, notes = enter(home, KEY, revoked_files=(str(path),))
    assert grant is None
    assert f"Error checking authentication key in revoked keys file {path}" in notes
    assert enter(home, KEY)[0] is not None


def test_a_revoked_key_of_the_users_own_file_lets_nobody_in(home: Path) -> None:
    authorized(home, KEY.to_line())
    path = authorized(home, f"# stolen\n{KEY.to_line()}\n", "revoked")
    assert enter(home, KEY, revoked_files=(str(path),))[0] is None


def test_r069_a_certificate_for_some_addresses_is_good_from_nowhere_else(
    home: Path, trusted: Path
) -> None:
    rules = {"authorities_file": str(trusted)}
    made = certified(options={"source-address": "192.0.2.0/24,2001:db8::/32"})
    for address in ("192.0.2.7", "::ffff:192.0.2.9", "2001:db8::1"):
        assert enter(home, made, Visitor("", address), **rules)[0] is not None, address
    for address in ("", "198.51.100.1", "2001:db9::1", "::1"):
        # A name proves nothing here.
        assert enter(home, made, Visitor("192.0.2.7", address), **rules)[0] is None, address


def test_an_authorities_file_that_cannot_be_read_trusts_nobody(home: Path) -> None:
    grant, notes = enter(home, certified(), authorities_file=str(home / "none"))
    assert grant is None
    assert "could not open authorities" in notes
    broken = authorized(home, f"what is this\n{CA.public.to_line()}\n", "ca.pub")
    grant, notes = enter(home, certified(), authorities_file=str(broken))
    assert grant is not None
    assert f"{broken}:1: " in notes


def test_r102_case_297_a_certificate_is_no_authority() -> None:
    middle = PrivateKey.generate("ed25519")
    of_middle = user_certificate(middle.public, "alice", now=NOW)
    good = user_certificate(KEY, "alice", signer=middle, now=NOW).blob
    # In place of the authority's key, its certificate.
    plain, nested = middle.public.blob, of_middle.blob
    forged = good.replace(
        len(plain).to_bytes(4, "big") + plain, len(nested).to_bytes(4, "big") + nested
    )
    assert forged != good
    with pytest.raises(KeyFileError, match="authority is no key"):
        Certificate.from_blob(forged)


class _Sha1:
    """An authority of yesterday."""

    def __init__(self, key: PrivateKey) -> None:
        self.public = key.public
        self._key = key

    def sign(self, data: bytes, algorithm: str) -> bytes:
        return self._key.sign(data, "ssh-rsa", sha1=True)


def test_r047_case_289_what_an_authority_signs_by_sha1_is_worth_nothing(
    home: Path, trusted: Path
) -> None:
    signer = _Sha1(PrivateKey.generate("rsa", bits=2048))
    trusted.write_text(signer.public.to_line())
    grant, notes = enter(home, certified(signer=signer), authorities_file=str(trusted))
    assert grant is None
    assert "disallowed algorithm 'ssh-rsa'" in notes
    # It is a matter of the list: there it may stand, for whoever cannot do without.
    old = {"authorities_file": str(trusted), "authority_algorithms": ("ssh-rsa",)}
    assert enter(home, certified(signer=signer), **old)[0] is not None
    # And a signature that is none is none by any list.
    damaged = Certificate.from_blob(certified(signer=signer).blob[:-1] + b"\0")
    assert enter(home, damaged, **old)[0] is None


# cert-authority lines


def line(*options: str) -> str:
    return f"{','.join(('cert-authority', *options))} {CA.public.to_line()}"


def test_a_line_may_trust_an_authority(home: Path) -> None:
    path = authorized(home, line())
    grant, notes = enter(home, certified())
    assert grant is not None
    assert notes.endswith(f"found at {path}:1")
    # Without the word it is a key like any other, and lets in no certificate.
    authorized(home, CA.public.to_line())
    assert enter(home, certified()) == (None, "")
    # And with it, it is no user's.
    authorized(home, line())
    assert enter(home, CA.public) == (None, "")


def test_r100_the_principals_of_a_line_replace_the_users_name(home: Path) -> None:
    authorized(home, line('principals="ops,deploy"'))
    assert enter(home, certified("deploy"))[0] is not None
    for names in (("alice",), ("ops,deploy",), ("op",)):
        grant, notes = enter(home, certified(*names))
        assert grant is None
        assert notes == "Certificate does not contain an authorized principal"
    nobody = user_certificate(KEY, now=NOW)
    assert enter(home, nobody)[0] is None


@pytest.mark.parametrize("missing", PERMISSIONS)
def test_r110_what_either_does_not_allow_is_not_allowed(home: Path, missing: str) -> None:
    name = {"permit_x11_forwarding": "permit-X11-forwarding"}.get(missing, missing).replace(
        "_", "-"
    )
    without = [f"permit-{rest}" for rest in ("pty", "user-rc", "port-forwarding",
               "agent-forwarding", "X11-forwarding") if f"permit-{rest}" != name]  # fmt: skip
    authorized(home, line())
    grant, _ = enter(home, certified(extensions=without))
    assert grant is not None
    assert {one for one in PERMISSIONS if not getattr(grant.options, one)} == {missing}
    authorized(home, line(name.replace("permit-", "no-")))
    grant, _ = enter(home, certified())
    assert grant is not None
    assert {one for one in PERMISSIONS if not getattr(grant.options, one)} == {missing}
    # Nothing at all, from either side.
    for text, extensions in ((line("restrict"), without), (line(), ())):
        authorized(home, text)
        grant, _ = enter(home, certified(extensions=extensions))
        assert grant is not None
        assert not any(getattr(grant.options, one) for one in PERMISSIONS)


def test_case_294_commands_that_contradict_each_other_let_nobody_in(home: Path) -> None:
    date = {"force-command": "date"}
    commands: list[tuple[tuple[str, ...], Mapping[str, str | None], str | None]] = [
        ((), date, "date"),
        (('command="date"',), {}, "date"),
        (('command="date"',), date, "date"),
        ((), {}, None),
    ]
    for options, demands, expected in commands:
        authorized(home, line(*options))
        grant, _ = enter(home, certified(options=demands))
        assert grant is not None
        assert grant.options.command == expected
    for other in ('command="id"', 'command=""'):
        authorized(home, line(other))
        grant, notes = enter(home, certified(options=date))
        assert grant is None
        assert notes == "forced command options do not match"


def test_r073_the_touch_is_left_out_only_where_both_say_so(home: Path) -> None:
    waived = (*("permit-pty",), "no-touch-required")
    for options, extensions, required in (
        ((), (), True),
        ((), waived, True),
        (("no-touch-required",), (), True),
        (("no-touch-required",), waived, False),
    ):
        authorized(home, line(*options))
        grant, _ = enter(home, certified(extensions=extensions))
        assert grant is not None
        assert grant.options.touch_required is required
    for options, demands, required in (
        ((), {}, False),
        (("verify-required",), {}, True),
        ((), {"verify-required": None}, True),
    ):
        authorized(home, line(*options))
        grant, _ = enter(home, certified(options=demands))
        assert grant is not None
        assert grant.options.verify_required is required


def test_r069_the_lines_own_demands_hold_for_certificates_too(home: Path) -> None:
    authorized(home, line('from="198.51.100.0/24"'))
    grant, notes = enter(home, certified())
    assert grant is None
    assert "not from a permitted host" in notes
    authorized(home, line('expiry-time="20240101Z"'))
    assert "has expired" in enter(home, certified())[1]
    # A line that does not fit does not stand before one that does.
    authorized(home, f"{line(chr(102) + 'rom=' + chr(34) + '198.51.100.1' + chr(34))}\n{line()}\n")
    assert enter(home, certified())[0] is not None


# Principals


def test_a_file_of_principals_says_who_may_be_this_user(home: Path, trusted: Path) -> None:
    rules = {"authorities_file": str(trusted), "principals_file": ".ssh/%u.names"}
    authorized(
        home,
        '# who\n\nops # on call\nrestrict,command="a b"\tdeploy\nbad-option x\n',
        ".ssh/alice.names",
    )
    grant, _ = enter(home, certified("ops"), **rules)
    assert grant is not None
    assert grant.options.permit_pty
    grant, _ = enter(home, certified("deploy"), **rules)
    assert grant is not None
    assert (grant.options.command, grant.options.permit_pty) == ("a b", False)
    # The user's own name is none of them, nor is a comment, an option or a list.
    for name in ("alice", "on", "who", "restrict", "x", "ops,deploy", "#"):
        grant, notes = enter(home, certified(name), **rules)
        assert grant is None, name
        assert "Certificate does not contain an authorized principal" in notes
    assert "alice.names:5: unknown key option" in notes


def test_without_its_file_nobody_is_a_principal(home: Path, trusted: Path) -> None:
    rules = {"authorities_file": str(trusted), "principals_file": "names"}
    assert enter(home, certified(), **rules)[0] is None
    path = authorized(home, "alice\n", "names")
    assert enter(home, certified(), **rules)[0] is not None
    path.chmod(0o666)
    grant, notes = enter(home, certified(), **rules)
    assert grant is None
    assert "bad ownership or modes" in notes
    assert enter(home, certified(), **rules, strict_modes=False)[0] is not None


def test_r069_a_principals_options_hold(home: Path, trusted: Path) -> None:
    rules = {"authorities_file": str(trusted), "principals_file": "names"}
    authorized(home, 'from="198.51.100.1" alice\n', "names")
    grant, notes = enter(home, certified(), **rules)
    assert grant is None
    assert "not from a permitted host" in notes
    authorized(home, 'command="id" alice\n', "names")
    grant, notes = enter(home, certified(options={"force-command": "date"}), **rules)
    assert grant is None
    assert "do not match" in notes


def test_r117_a_users_name_leads_to_no_other_file_of_principals(home: Path, trusted: Path) -> None:
    authorized(home, "alice\n", "names")
    rules = {"authorities_file": str(trusted), "principals_file": ".ssh/%u"}
    for user in ("../names", "..", "-n", "a b", "$(id)"):
        checker = access(**rules)
        assert checker.authorize(me(home), user, certified(), VISITOR) is None
        assert "is not put into a file name" in checker.notes[-1]


# Commands


def helper(command: str, *, user: str = "", keyword: str = "AuthorizedKeysCommand") -> Helper:
    return Helper(keyword, command, user or _own(), "CDfhikKstTuUF")


def _own() -> str:
    import pwd

    return pwd.getpwuid(os.getuid()).pw_name


def test_a_command_is_asked_where_no_file_lets_in(home: Path, trusted: Path) -> None:
    path = authorized(home, f"{KEY.to_line()}\n{line()}\n", "printed")
    rules = {"keys_command": helper(f"/usr/bin/cat {path}")}
    grant, _ = enter(home, KEY, **rules)
    assert grant is not None
    assert grant.where == "/usr/bin/cat:1"
    assert enter(home, certified(), **rules)[0] is not None
    assert enter(home, CA.public, **rules)[0] is None
    named = helper("/usr/bin/printf 'restrict %i'", keyword="AuthorizedPrincipalsCommand")
    rules = {"authorities_file": str(trusted), "principals_command": named}
    # "%i" is the key id, which is put into its word and into no other.
    grant, _ = enter(home, certified("boss", key_id="boss"), **rules)
    assert grant is not None
    assert not grant.options.permit_pty
    assert enter(home, certified("alice"), **rules)[0] is None


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("/usr/bin/false", "failed, status 1"),
        ("/usr/bin/sleep 60", "did not answer within bounds"),
        ("/usr/bin/yes", "did not answer within bounds"),
        ("/usr/bin/env sh -c 'exec >&-; sleep 60'", "did not answer within bounds"),
        ("/no/such/command", "Unsafe"),
        ("cat x", "path is not absolute"),
        ("/usr/bin/cat 'x", "No closing quotation"),
        ("/usr/bin/cat %Z", "unknown token"),
        ("/usr/bin", "not a regular file"),
    ],
)
def test_case_162_a_command_that_does_not_answer_lets_nobody_in(command: str, reason: str) -> None:
    with pytest.raises(HelperFailed, match=reason):
        ask(helper(command), {"Z": str}, patience=0.5)


def test_a_command_that_anybody_could_have_put_there_is_not_run(home: Path) -> None:
    path = home / "command"
    path.write_text("#!/bin/sh\necho yes\n")
    path.chmod(0o777)
    with pytest.raises(HelperFailed, match="bad ownership or modes"):
        ask(helper(str(path)), {})
    with pytest.raises(HelperFailed, match="does not exist"):
        ask(helper("/usr/bin/true", user="no-such-user"), {})


def test_r119_a_command_has_its_users_rights_and_a_clean_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SECRET", "of the server")
    leaked = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(leaked, True)
    try:
        said = ask(helper("/usr/bin/env sh -c 'env; id -u; id -G; ls /proc/self/fd'"), {})
    finally:
        os.close(leaked)
    assert "SECRET" not in said
    assert f"USER={_own()}" in said
    assert f"\n{os.getuid()}\n" in said
    assert len(said.splitlines()) < 20
    if os.geteuid() == 0:
        said = ask(helper("/usr/bin/env sh -c 'id -u; id -g; id -G'", user="nobody"), {})
        assert "0" not in said.split()


def test_the_tokens_of_a_command_tell_of_key_and_certificate(home: Path) -> None:
    made, account = certified(key_id="an id; rm -rf /"), me(home)
    tokens = command_tokens(account, "alice", made, "192.0.2.7 1 192.0.2.1 22")
    shown = {letter: tokens[letter]() for letter in tokens}
    assert (shown["u"], shown["U"], shown["h"]) == ("alice", str(os.getuid()), str(home))
    assert (shown["f"], shown["t"]) == (KEY.fingerprint(), made.key_type)
    assert (shown["F"], shown["T"]) == (CA.public.fingerprint(), "ssh-ed25519")
    assert (shown["i"], shown["s"]) == ("an id; rm -rf /", "7")
    assert shown["C"] == "192.0.2.7 1 192.0.2.1 22"
    said = ask(helper("/usr/bin/printf '<%%s>' %i x"), tokens)
    assert said == "<an id; rm -rf /><x>"
    plain = command_tokens(account, "alice", KEY, "")
    assert (plain["i"](), plain["s"](), plain["F"]()) == ("", "0", "")
