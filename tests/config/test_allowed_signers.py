# SPDX-License-Identifier: MIT
"""allowed_signers: who may sign what, as ssh-keygen reads it."""

import calendar
import subprocess
import time
from pathlib import Path

import pytest

from tellin.config.allowed_signers import AllowedSigners, Clock
from tellin.config.key_options import Expiry
from tellin.errors import ConfigError
from tellin.keys import Certificate, PrivateKey
from tellin.keys.file_signatures import FileSignature

KEY = PrivateKey.generate("ed25519")
OTHER = PrivateKey.generate("ecdsa")
AUTHORITY = PrivateKey.generate("ed25519")
NOW = calendar.timegm((2026, 6, 1, 12, 0, 0, 0, 0, 0))
CERTIFICATE = Certificate.issue(
    AUTHORITY,
    KEY.public,
    key_id="x",
    principals=["alice@x", "bob@x", "*@y"],
    valid_after=NOW - 3600,
    valid_before=NOW + 86400,
)
MINE, OTHERS, TRUSTED = (one.public.to_line() for one in (KEY, OTHER, AUTHORITY))


def seconds(of: Expiry) -> float:
    return calendar.timegm((*of.moment, 0, 0, 0))


def text(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))


CLOCK = Clock(float(NOW), seconds, text)


def test_a_line_allows_its_key_for_its_names() -> None:
    signers = AllowedSigners.parse(f"# us\n\nalice@x,*@z {MINE} a comment\nbob@x {OTHERS}\n")
    allowed = {
        (name, key): signers.allows(key.public, name, namespace="file", clock=CLOCK)
        for name in ("alice@x", "carol@z", "bob@x", "nobody")
        for key in (KEY, OTHER)
    }
    assert {pair for pair, yes in allowed.items() if yes} == {
        ("alice@x", KEY),
        ("carol@z", KEY),
        ("bob@x", OTHER),
    }
    assert signers.principals_of(KEY.public, clock=CLOCK) == ["alice@x", "*@z"]
    assert signers.principals_of(AUTHORITY.public, clock=CLOCK) == []
    assert signers.patterns_for("carol@z") == ["alice@x,*@z"]
    assert signers.patterns_for("nobody") == []
    assert signers.notes == []


def test_the_file_is_named_in_notes() -> None:
    signers = AllowedSigners.parse("alice@x no key\n", file="allowed")
    assert not signers.allows(KEY.public, "alice@x", namespace="file", clock=CLOCK)
    assert signers.notes == ["allowed:1: invalid key"]


@pytest.mark.parametrize(
    "line", [f"alice@x {'x' * 70000} {MINE}", f"alice@x a\0b {MINE}"], ids=range(2)
)
def test_r109_lines_that_nobody_writes_are_skipped_whole(line: str) -> None:
    signers = AllowedSigners.parse(f"{line}\nalice@x {MINE}\n")
    assert signers.allows(KEY.public, "alice@x", namespace="file", clock=CLOCK)
    assert len(signers.notes) == 1


def test_times_are_read_by_the_clock_that_is_handed_in() -> None:
    asked: list[Expiry] = []

    def later(of: Expiry) -> float:
        asked.append(of)
        return float("inf")

    signers = AllowedSigners.parse(f'alice@x valid-before="20200101Z" {MINE}\n')
    clock = Clock(0.0, later, text)
    assert signers.allows(KEY.public, "alice@x", namespace="file", clock=clock)
    assert asked == [Expiry((2020, 1, 1, 0, 0, 0), True)]


# The same files at ssh-keygen: what it prints, and what it says of a signature.
FILES = {
    "plain": f"alice@x {MINE}",
    "of another": f"alice@x {OTHERS}",
    "two lines": f"alice@x {OTHERS}\nalice@x {MINE}\n",
    "quoted": f'"alice@x" {MINE}',
    "quoted and joined": f'"alice@x"{MINE}',
    "quote open": f'"alice@x {MINE}',
    "blanks": f"  alice@x \t {MINE}  with a comment  ",
    "carriage return": f"alice@x {MINE}\r\n",
    "denied": f"!alice@x,*@x {MINE}",
    "pattern": f"a*@? {MINE}",
    "namespaces": f'alice@x namespaces="git,f*" {MINE}',
    "other namespaces": f'alice@x namespaces="git" {MINE}',
    "denied namespace": f'alice@x namespaces="*,!file" {MINE}',
    "namespaces, then any": f'alice@x namespaces="git" {MINE}\nalice@x {MINE}',
    "namespaces twice": f'alice@x namespaces="a",namespaces="file" {MINE}',
    "namespaces without value": f"alice@x namespaces {MINE}",
    "after": f'alice@x valid-after="20300101Z" {MINE}',
    "after, then any": f'alice@x valid-after="20300101Z" {MINE}\nalice@x {MINE}',
    "before": f'alice@x valid-before="20200101123045Z" {MINE}',
    "within": f'alice@x valid-after="202001011200Z",valid-before="20300101Z" {MINE}',
    "local": f'alice@x valid-after="20300101" {MINE}',
    "at that second": f'alice@x valid-after="20260601120000Z",valid-before="20260601120000Z" {MINE}',
    "around": f'alice@x valid-after="20260601115959Z",valid-before="20260601120000Z" {MINE}',
    "before is before after": f'alice@x valid-after="20300101",valid-before="20200101" {MINE}',
    "bad time": f'alice@x valid-before="soon" {MINE}',
    "time twice": f'alice@x valid-after="2020",valid-after="2021" {MINE}',
    "unknown option": f"alice@x restrict {MINE}",
    "end of options": f'alice@x namespaces="file", {MINE}',
    "upper case": f'alice@x NAMESPACES="file" {MINE}',
    "bad key": "alice@x ssh-ed25519 AAAA",
    "no key": "alice@x\n",
    "nonsense": "nonsense here\n",
    "comment": f"#alice@x {MINE}",
    "authority": f"alice@x cert-authority {TRUSTED}",
    "authority of others": f"alice@x cert-authority {OTHERS}",
    "authority in time": f'*@x cert-authority,valid-before="20200101Z" {TRUSTED}',
    "authority, patterns": f"*@y,a* cert-authority {TRUSTED}",
    "authority upper case": f'alice@x Cert-Authority,namespaces="file" {TRUSTED}',
    "authority's own key": f"alice@x {TRUSTED}",
    "authority, then key": f"alice@x cert-authority {TRUSTED}\nalice@x {MINE}",
}
SIGNED = {
    "key": FileSignature.make(KEY, b"hello", namespace="file"),
    "certificate": FileSignature.make(KEY, b"hello", namespace="file", certificate=CERTIFICATE),
}
TIMES = {
    "then": NOW,
    "before the certificate": NOW - 86400,
    "after it": NOW + 40 * 86400,
}


def keygen(*arguments: object) -> tuple[int, list[str], list[str]]:
    done = subprocess.run(
        ["ssh-keygen", *map(str, arguments)],
        input=b"hello",
        capture_output=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "TZ": "UTC"},
    )
    return done.returncode, *(out.decode().splitlines() for out in (done.stdout, done.stderr))


@pytest.mark.peer("ssh-keygen")
@pytest.mark.parametrize("name", FILES)
def test_ssh_keygen_decides_and_says_the_same(name: str, tmp_path: Path) -> None:
    path = tmp_path / "allowed"
    path.write_text(FILES[name])
    for kind, moment in (("key", "then"), ("certificate", "then"), ("certificate", "after it")):
        at = TIMES[moment]
        clock = Clock(float(at), seconds, text)
        signature = tmp_path / "signature"
        signature.write_bytes(SIGNED[kind].to_armor())
        when = f"verify-time={time.strftime('%Y%m%d%H%M%SZ', time.gmtime(at))}"
        common = ("-f", path, "-s", signature, "-O", when)
        key = SIGNED[kind].key

        ours = AllowedSigners.parse(FILES[name], file=str(path))
        status, _, said = keygen("-Y", "verify", "-I", "alice@x", "-n", "file", *common)
        allowed = ours.allows(key, "alice@x", namespace="file", clock=clock)
        assert (status == 0) is allowed
        assert [line for line in said if line.startswith(str(path))] == ours.notes

        ours = AllowedSigners.parse(FILES[name], file=str(path))
        status, found, said = keygen("-Y", "find-principals", *common)
        assert found == ours.principals_of(key, clock=clock)
        assert [line for line in said if line.startswith(str(path))] == ours.notes
        assert (status == 0) is bool(found)


@pytest.mark.peer("ssh-keygen")
@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("principal", ["alice@x", "nonsense"])
def test_ssh_keygen_finds_the_same_lines(name: str, principal: str, tmp_path: Path) -> None:
    path = tmp_path / "allowed"
    path.write_text(FILES[name])
    ours = AllowedSigners.parse(FILES[name], file=str(path))
    _, theirs, said = keygen("-Y", "match-principals", "-f", path, "-I", principal)
    try:
        found = ours.patterns_for(principal)
    except ConfigError:
        found = []
    assert found == theirs
    assert [line for line in said if line.startswith(str(path))] == ours.notes
