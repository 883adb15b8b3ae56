# SPDX-License-Identifier: MIT
"""Certificates: what they say, whom to believe, and the same bytes as ssh-keygen's, in both directions."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.interop.clients import OpenSSHClient
from tests.interop.servers import OpenSSHServer
from tests.keys.software_authenticator import SoftwareAuthenticator

from tellin.errors import CertificateRejected, KeyFileError, SignatureFailed, UsageError
from tellin.keys import PrivateKey, PublicKey
from tellin.keys.certificates import (
    DEFAULT_EXTENSIONS,
    FORCE_COMMAND,
    FOREVER,
    SOURCE_ADDRESS,
    Certificate,
    CertificateRole,
    flag,
    is_certificate_type,
    load_certificate,
    text_option,
)
from tellin.wire import Cursor, string

NOW = 1_700_000_000
USER, HOST = CertificateRole.USER, CertificateRole.HOST
ED25519 = PrivateKey.generate("ed25519", comment="me")
AUTHORITY = PrivateKey.generate("ed25519")
RSA = PrivateKey.generate("rsa", bits=2048)
AUTHORITIES = {
    "ed25519": AUTHORITY,
    "ecdsa": PrivateKey.generate("ecdsa"),
    "rsa": RSA,
}
SUBJECTS = {
    "ed25519": ED25519.public,
    "nistp256": PrivateKey.generate("ecdsa").public,
    "nistp384": PrivateKey.generate("ecdsa", bits=384).public,
    "nistp521": PrivateKey.generate("ecdsa", bits=521).public,
    "rsa": RSA.public,
    "ed25519-sk": PublicKey.from_blob(SoftwareAuthenticator("ed25519").blob),
    "ecdsa-sk": PublicKey.from_blob(SoftwareAuthenticator("ecdsa").blob),
}


def issue(key: PublicKey = ED25519.public, **changes: Any) -> Certificate:
    """A user's certificate for alice that holds now."""
    given: dict[str, Any] = {
        "key_id": "alice at her desk",
        "principals": ["alice"],
        "valid_after": NOW - 60,
        "valid_before": NOW + 60,
        "extensions": map(flag, DEFAULT_EXTENSIONS),
        **changes,
    }
    return Certificate.issue(given.pop("authority", AUTHORITY), key, **given)


def judge(certificate: Certificate, **changes: Any) -> str:
    """Why it is rejected; nothing if it is not."""
    given: dict[str, Any] = {"role": USER, "now": NOW, "names": ["alice"], **changes}
    try:
        certificate.check(given.pop("role"), **given)
    except CertificateRejected as error:
        return str(error)
    return ""


# What it says


def test_what_was_issued_is_read_again() -> None:
    made = issue(
        serial=7,
        critical_options=[text_option(SOURCE_ADDRESS, "192.0.2.0/24"), flag("verify-required")],
        nonce=b"n" * 32,
    )
    again = Certificate.from_line(made.to_line())
    assert again == made
    assert hash(again) == hash(made)
    assert again.key == ED25519.public
    assert again.authority == AUTHORITY.public
    assert (again.role, again.serial, again.key_id) == (USER, 7, "alice at her desk")
    assert again.principals == ("alice",)
    assert (again.valid_after, again.valid_before) == (NOW - 60, NOW + 60)
    assert again.critical_options == (
        ("source-address", string(b"192.0.2.0/24")),
        ("verify-required", b""),
    )
    assert [name for name, _ in again.extensions] == list(DEFAULT_EXTENSIONS)
    assert again.nonce == b"n" * 32
    assert again.comment == "me"
    assert again.with_comment("x").to_line().endswith(" x")
    assert again.kind == "ED25519-CERT"
    assert again.fingerprint() == ED25519.public.fingerprint()
    assert again.signature_algorithm == "ssh-ed25519"
    assert repr(again) == "<Certificate ED25519-CERT 'alice at her desk' serial 7>"


def test_two_certificates_for_one_key_are_not_the_same() -> None:
    assert issue() != issue()
    assert issue().nonce != issue().nonce


@pytest.mark.parametrize("subject", SUBJECTS)
def test_every_kind_of_key_can_be_certified(subject: str) -> None:
    key = SUBJECTS[subject]
    made = issue(key)
    assert made.key == key
    assert is_certificate_type(made.key_type)
    assert not is_certificate_type(key.key_type)
    assert all(is_certificate_type(name) for name in made.signature_algorithms)
    assert judge(made) == ""
    assert load_certificate(made.to_line().encode()) == made


def test_names_of_algorithms_are_those_of_the_key_s() -> None:
    assert issue(RSA.public).signature_algorithms == (
        "rsa-sha2-512-cert-v01@openssh.com",
        "rsa-sha2-256-cert-v01@openssh.com",
    )
    assert issue(RSA.public).key_type == "ssh-rsa-cert-v01@openssh.com"
    token = issue(SUBJECTS["ecdsa-sk"])
    assert token.key_type == "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com"
    assert token.signature_algorithms[1] == "webauthn-sk-ecdsa-sha2-nistp256-cert-v01@openssh.com"


# Whom to believe


@pytest.mark.parametrize("authority", AUTHORITIES)
def test_a_certificate_with_a_byte_changed_is_not_signed(authority: str) -> None:
    made = issue(authority=AUTHORITIES[authority])
    assert made.is_signed()
    blob = made.blob
    start = len(blob) - len(made._signature) - 4
    for at in range(4 + len(made.key_type), start, 7):
        changed = bytearray(blob)
        changed[at] ^= 1
        try:
            damaged = Certificate.from_blob(bytes(changed))
        except KeyFileError:
            continue
        assert not damaged.is_signed(), at


def test_case_289_by_another_authority_or_another_algorithm() -> None:
    other = PrivateKey.generate("ed25519")

    class Impostor:
        public = AUTHORITY.public

        def sign(self, data: bytes, algorithm: str) -> bytes:
            return other.sign(data, algorithm)

    assert "not signed" in judge(issue(authority=Impostor()))
    made = issue(authority=RSA)
    assert made.signature_algorithm == "rsa-sha2-512"
    assert judge(made) == ""
    assert "'rsa-sha2-512'" in judge(made, algorithms=("ssh-ed25519", "rsa-sha2-256"))
    assert (
        judge(issue(authority=RSA, algorithm="rsa-sha2-256"), algorithms=("rsa-sha2-256",)) == ""
    )
    # One curve that is listed lets in no other.
    curve = PrivateKey.generate("ecdsa", bits=521)
    assert judge(issue(authority=curve), algorithms=("ecdsa-sha2-nistp256",)) != ""


def test_case_289_r047_signed_by_rsa_with_sha_1() -> None:
    class Old:
        public = RSA.public

        def sign(self, data: bytes, algorithm: str) -> bytes:
            return RSA.sign(data, "ssh-rsa", sha1=True)

    made = issue(authority=Old())
    assert made.signature_algorithm == "ssh-rsa"
    assert not made.is_signed()
    assert made.is_signed(("ssh-rsa",))


def test_a_signature_under_another_name_than_it_was_made_by() -> None:
    made = issue(authority=RSA)
    swapped = made.blob.replace(string(b"rsa-sha2-512"), string(b"rsa-sha2-256"))
    assert swapped != made.blob
    assert not Certificate.from_blob(swapped).is_signed()


def test_r103_case_290_a_host_is_no_user_and_no_user_a_host() -> None:
    host = issue(role=HOST, extensions=())
    assert judge(host) == "Certificate invalid: not a user certificate"
    assert judge(host, role=HOST) == ""
    assert judge(issue(), role=HOST) == "Certificate invalid: not a host certificate"


@pytest.mark.parametrize("role", [0, 3, 0xFFFFFFFF])
def test_case_290_an_unknown_role(role: int) -> None:
    blob = issue(serial=0x1122334455667788).blob
    mark = bytes.fromhex("112233445566778800000001")
    assert blob.count(mark) == 1
    with pytest.raises(KeyFileError, match=f"unknown type {role}"):
        Certificate.from_blob(blob.replace(mark, mark[:8] + role.to_bytes(4, "big")))


@pytest.mark.parametrize(
    ("after", "before", "now", "why"),
    [
        (NOW, NOW + 1, NOW, ""),
        (NOW, NOW + 1, NOW - 1, "not yet valid"),
        (NOW, NOW + 1, NOW + 1, "expired"),
        (NOW, NOW + 1, NOW + 0.5, ""),
        (0, FOREVER, NOW, ""),
        (0, FOREVER, 0, ""),
        (FOREVER - 1, FOREVER, NOW, "not yet valid"),
        (0, 1, NOW, "expired"),
    ],
)
def test_case_291_it_holds_in_its_time_alone(
    after: int, before: int, now: float, why: str
) -> None:
    made = issue(valid_after=after, valid_before=before)
    expected = f"Certificate invalid: {why}" if why else ""
    assert judge(made, now=now) == expected


def test_r100_a_principal_with_a_comma_is_one_principal() -> None:
    made = issue(principals=["alice,bob"])
    assert judge(made, names=["alice"]) == "Certificate invalid: name is not a listed principal"
    assert judge(made, names=["bob"]) != ""
    assert judge(made, names=["alice,bob"]) == ""
    assert judge(issue(principals=["alice", "bob"]), names=["alice,bob"]) != ""


@pytest.mark.parametrize("role", [USER, HOST])
def test_r101_a_certificate_for_nobody_is_for_nobody(role: CertificateRole) -> None:
    made = issue(principals=[], role=role, extensions=())
    for names in (["alice"], [], [""], None):
        assert judge(made, role=role, names=names) == "Certificate lacks principal list"


def test_r101_only_a_host_has_patterns() -> None:
    host = issue(principals=["*.example.org", "h?st"], role=HOST, extensions=())
    assert judge(host, role=HOST, names=["a.example.org"]) == ""
    assert judge(host, role=HOST, names=["host"]) == ""
    assert judge(host, role=HOST, names=["example.org"]) != ""
    assert judge(issue(principals=["*"])) != ""
    assert judge(issue(principals=["al*"])) != ""
    assert judge(issue(principals=["*"]), names=["*"]) == ""


def test_names_may_be_left_to_the_caller() -> None:
    assert judge(issue(principals=["someone"]), names=None) == ""
    assert judge(issue(principals=["a", "b"]), names=["x", "b"]) == ""


def certified_by(inner: bytes) -> bytes:
    """A certificate with ``inner`` where the authority's key stands."""
    blob = issue().blob
    key = string(AUTHORITY.public.blob)
    assert blob.count(key) == 1
    return blob.replace(key, string(inner))


def test_r102_case_297_a_certificate_is_no_authority() -> None:
    nested = issue().blob
    for _ in range(1000):
        if len(nested) > 100_000:
            break
        nested = certified_by(nested)
        with pytest.raises(KeyFileError, match="authority is no key"):
            Certificate.from_blob(nested)
    assert len(nested) > 100_000
    # Nor is one inside another as the key that it is about.
    body = Cursor(issue().blob)
    body.string()
    with pytest.raises(KeyFileError):
        PublicKey.from_blob(issue().blob)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ([("force-cmd", b"")], "critical option 'force-cmd' is not supported"),
        ([("permit-pty", b"")], "critical option 'permit-pty' is not supported"),
        ([(FORCE_COMMAND, b"")], "a damaged force-command option"),
        ([(FORCE_COMMAND, string(b"x") + b"y")], "a damaged force-command option"),
        ([(FORCE_COMMAND, string(b"a\0b"))], "a damaged force-command option"),
        ([(FORCE_COMMAND, string(b""))], "an empty force-command option"),
        ([(SOURCE_ADDRESS, string(b""))], "an empty source-address option"),
        ([("verify-required", string(b"no"))], "a verify-required option with a value"),
    ],
    ids=range(8),
)
def test_case_293_a_critical_option_that_is_not_understood(
    options: list[tuple[str, bytes]], why: str
) -> None:
    assert why in judge(issue(critical_options=options))


@pytest.mark.parametrize(
    "names", [["verify-required", "force-command"], ["force-command", "force-command"]]
)
def test_case_293_critical_options_twice_or_out_of_order(
    names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {"force-command": string(b"true"), "verify-required": b""}
    packed = b"".join(string(name.encode()) + string(values[name]) for name in names)
    monkeypatch.setattr("tellin.keys.certificates._packed", lambda options: packed)
    assert judge(issue()) == "Certificate invalid: critical options out of order"


def test_a_host_s_certificate_has_no_options() -> None:
    made = issue(role=HOST, critical_options=[text_option(FORCE_COMMAND, "true")], extensions=())
    assert "not supported" in judge(made, role=HOST)
    assert not issue(role=HOST).options().permit_pty


def test_what_is_not_allowed_in_so_many_words_is_not() -> None:
    everything = issue().options()
    assert everything.permit_pty
    assert everything.permit_agent_forwarding
    assert everything.permit_port_forwarding
    assert everything.permit_user_rc
    assert everything.permit_x11_forwarding
    assert everything.touch_required
    nothing = issue(extensions=()).options()
    assert not any(
        value for name, value in vars(nothing).items() if name.startswith(("permit", "force"))
    )
    some = issue(
        extensions=[
            flag("permit-pty"),
            flag("no-touch-required"),
            flag("login@example.org"),
            ("permit-user-rc", b"with a value"),
            flag("permit-x11-forwarding"),
        ],
        critical_options=[
            text_option(FORCE_COMMAND, "/bin/true"),
            text_option(SOURCE_ADDRESS, "192.0.2.1,2001:db8::/32"),
        ],
    ).options()
    assert some.permit_pty
    assert not some.touch_required
    assert not some.permit_user_rc
    assert not some.permit_x11_forwarding
    assert some.force_command == "/bin/true"
    assert some.source_address == "192.0.2.1,2001:db8::/32"


# What is refused outright


def test_r116_every_prefix_and_what_is_behind_is_refused() -> None:
    blob = issue().blob
    for size in range(len(blob)):
        with pytest.raises(KeyFileError):
            Certificate.from_blob(blob[:size])
    with pytest.raises(KeyFileError, match="bytes too many"):
        Certificate.from_blob(blob + b"\0")


def test_case_299_a_short_nonce_is_taken_and_a_huge_key_id_is_not() -> None:
    assert judge(issue(nonce=b"")) == ""
    with pytest.raises(UsageError, match="too long"):
        issue(key_id="x" * (1 << 20))
    blob = issue(key_id="x" * 1000).blob
    huge = blob.replace(string(b"x" * 1000), string(b"x" * (1 << 20)))
    with pytest.raises(KeyFileError, match="too many"):
        Certificate.from_blob(huge)
    with pytest.raises(KeyFileError):
        Certificate.from_line("ssh-ed25519-cert-v01@openssh.com " + "A" * (1 << 20))


def test_more_principals_than_anybody_has_are_refused() -> None:
    many = [f"user{number}" for number in range(256)]
    assert len(issue(principals=many).principals) == 256
    with pytest.raises(UsageError, match="256 principals"):
        issue(principals=[*many, "one more"])
    blob = issue(principals=["mark"]).blob
    crowd = b"".join(string(b"u") for _ in range(257))
    with pytest.raises(KeyFileError, match="256 principals"):
        Certificate.from_blob(blob.replace(string(string(b"mark")), string(crowd)))


@pytest.mark.parametrize("field", [b"alice at her desk", b"alice", b"permit-pty"])
def test_words_with_a_nul_are_refused(field: bytes) -> None:
    blob = issue().blob
    changed = blob.replace(string(field), string(field[:-1] + b"\0"))
    assert changed != blob
    with pytest.raises(KeyFileError, match="NUL"):
        Certificate.from_blob(changed)


@pytest.mark.parametrize(
    "line",
    [
        "",
        "ssh-ed25519-cert-v01@openssh.com",
        "ssh-ed25519-cert-v01@openssh.com !",
        "ssh-ed25519-cert-v01@openssh.com AAAA",
        ED25519.public.to_line(),
        "ssh-rsa-cert-v01@openssh.com " + issue().to_line().split()[1],
        "ssh-dss-cert-v01@openssh.com AAAAHHNzaC1kc3MtY2VydC12MDFAb3BlbnNzaC5jb20=",
    ],
    ids=range(7),
)
def test_lines_that_are_no_certificates(line: str) -> None:
    with pytest.raises(KeyFileError):
        Certificate.from_line(line)
    with pytest.raises(KeyFileError, match=r"^a file: "):
        load_certificate(line, name="a file")


@pytest.mark.parametrize(
    "changes",
    [
        {"serial": -1},
        {"serial": 1 << 64},
        {"valid_after": 5, "valid_before": 5},
        {"valid_after": -1},
        {"valid_before": 1 << 64},
        {"principals": [""]},
        {"principals": ["a\0b"]},
        {"key_id": "a\0b"},
        {"extensions": [flag("permit-pty"), flag("permit-pty")]},
    ],
    ids=range(9),
)
def test_what_cannot_be_issued_is_said(changes: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        issue(**changes)


def test_an_authority_signs_by_what_it_has() -> None:
    with pytest.raises(SignatureFailed):
        issue(algorithm="rsa-sha2-256")


# ssh-keygen


def keygen(*arguments: str | Path) -> str:
    done = subprocess.run(
        ["ssh-keygen", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "TZ": "UTC"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def put(path: Path, key: PrivateKey) -> Path:
    path.touch(0o600)
    path.write_bytes(key.to_openssh())
    return path


WAYS: dict[str, tuple[list[str], dict[str, Any]]] = {
    "plain": ([], {}),
    "serial": (["-z", "18446744073709551615"], {"serial": FOREVER}),
    "names": (["-n", "alice,bob"], {"principals": ["alice", "bob"]}),
    "time": (
        ["-V", "20260101120000Z:20270101120000Z"],
        {"valid_after": 1767268800, "valid_before": 1798804800},
    ),
    "options": (
        [
            *("-O", "clear", "-O", "permit-pty", "-O", "force-command=/bin/true x"),
            *("-O", "source-address=192.0.2.0/24,2001:db8::1", "-O", "verify-required"),
            *("-O", "extension:a@example.org=1", "-O", "critical:z@example.org"),
        ],
        {
            "extensions": [flag("permit-pty"), text_option("a@example.org", "1")],
            "critical_options": [
                text_option(FORCE_COMMAND, "/bin/true x"),
                text_option(SOURCE_ADDRESS, "192.0.2.0/24,2001:db8::1"),
                flag("verify-required"),
                flag("z@example.org"),
            ],
        },
    ),
    "host": (["-h", "-n", "*.example.org"], {"role": HOST, "principals": ["*.example.org"]}),
}
each_way = pytest.mark.parametrize("way", WAYS)


@pytest.mark.peer("ssh-keygen")
@pytest.mark.parametrize("authority", ["ed25519", "rsa"])
@each_way
def test_the_bytes_are_those_of_ssh_keygen(tmp_path: Path, authority: str, way: str) -> None:
    """With the same nonce; these two authorities always sign alike."""
    flags, fields = WAYS[way]
    signer = put(tmp_path / "ca", AUTHORITIES[authority])
    for name, key in SUBJECTS.items():
        path = tmp_path / f"{name}.pub"
        path.write_text(key.with_comment("a comment").to_line() + "\n")
        keygen("-q", "-s", signer, "-I", "who it is", *flags, path)
        theirs = load_certificate((tmp_path / f"{name}-cert.pub").read_bytes())
        given = {"principals": [], **fields}
        given.setdefault("extensions", map(flag, DEFAULT_EXTENSIONS if way != "host" else ()))
        ours = Certificate.issue(
            AUTHORITIES[authority],
            key.with_comment("a comment"),
            key_id="who it is",
            nonce=theirs.nonce,
            **given,
        )
        assert ours.blob == theirs.blob, name
        assert ours.to_line() == theirs.to_line()
        assert theirs.is_signed()


@pytest.mark.peer("ssh-keygen")
@pytest.mark.parametrize("authority", AUTHORITIES)
@each_way
def test_ssh_keygen_reads_what_is_issued_here(tmp_path: Path, authority: str, way: str) -> None:
    _, fields = WAYS[way]
    for name, key in SUBJECTS.items():
        made = issue(key, authority=AUTHORITIES[authority], **fields)
        path = tmp_path / f"{name}-cert.pub"
        path.write_text(made.to_line() + "\n")
        shown = keygen("-L", "-f", path)
        assert f"Type: {made.key_type} {made.role.name.lower()} certificate\n" in shown
        assert f"Public key: {made.kind} {key.fingerprint()}\n" in shown
        assert f"(using {made.signature_algorithm})\n" in shown
        assert 'Key ID: "alice at her desk"\n' in shown
        assert f"Serial: {made.serial}\n" in shown
        for principal in made.principals:
            assert f"                {principal}\n" in shown


@pytest.mark.peer("ssh", "sshd", "ssh-keygen")
@pytest.mark.parametrize("authority", AUTHORITIES)
def test_openssh_logs_in_by_what_is_issued_here(tmp_path: Path, authority: str) -> None:
    """A user's certificate and a host's, and neither key is known to anybody."""
    signer = AUTHORITIES[authority]
    trusted = tmp_path / "ca.pub"
    trusted.write_text(signer.public.to_line() + "\n")
    server = OpenSSHServer(
        tmp_path,
        options={
            "TrustedUserCAKeys": trusted,
            "AuthorizedKeysFile": "none",
            "HostCertificate": tmp_path / "host-cert.pub",
        },
    )
    certified = {"authority": signer, "valid_after": 0, "valid_before": FOREVER}
    host = issue(
        PublicKey.from_line(server.host_keys[0].public),
        role=HOST,
        principals=["127.0.0.1"],
        extensions=(),
        **certified,
    )
    (tmp_path / "host-cert.pub").write_text(host.to_line() + "\n")
    known = tmp_path / "known"
    known.write_text(f"@cert-authority * {signer.public.to_line()}\n")
    client = OpenSSHClient(tmp_path)
    options = {"UserKnownHostsFile": known, "StrictHostKeyChecking": "yes"}
    beside = Path(f"{server.identity.path}-cert.pub")
    command = text_option(FORCE_COMMAND, "echo forced")
    key = PublicKey.from_line(server.identity.public)
    with server:
        for principal, critical, said in (
            (server.user, (), b"asked for\n"),
            (server.user, (command,), b"forced\n"),
            ("somebody else", (), b""),
        ):
            made = issue(key, principals=[principal], critical_options=critical, **certified)
            beside.write_text(made.to_line() + "\n")
            done = client.run(server.target, "echo asked for", options=options)
            assert done.stdout == said, done.stderr
            assert (done.status == 0) is bool(said)


def test_the_certificate_of_a_file_is_its_first() -> None:
    """As OpenSSH reads it: what goes wrong before it, and what stands behind it, is no part of it."""
    first, second = issue().with_comment("a b"), issue(RSA.public)
    text = f"# mine\n\nno certificate\n {first.to_line()}\r\n{second.to_line()}\n"
    assert (load_certificate(text), load_certificate(text).comment) == (first, "a b")
    for bad in ("", "# nothing\n", f"{first.to_line()}x".replace(" ", "\u00a0")):
        with pytest.raises(KeyFileError, match="not a certificate"):
            load_certificate(bad)
    with pytest.raises(KeyFileError, match="several lines"):
        Certificate.from_line(f"{first.to_line()}\n{second.to_line()}")
