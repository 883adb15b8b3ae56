# SPDX-License-Identifier: MIT
"""What -v and -vv tell of a connection, in the order in which it happens."""

import re
from pathlib import Path

import pytest
from tests.client.scene import GRANT, Scene, no, pk_ok

from tellin.client.authentication.identities import FileKeys, KeyPolicy, MemoryKeys
from tellin.client.narration import Narrator
from tellin.keys import PrivateKey
from tellin.runtime.journal import DEBUG1, DEBUG2, Journal
from tellin.testing.pairs import make_pair

KEY = PrivateKey.generate("ed25519", comment="mine")


def told(level: int, method: str, *, rekey: bool = False) -> list[str]:
    pair = make_pair(key_exchanges=(method,))
    pair.log_in()
    pair.session()
    if rekey:
        pair.client.rekey()
        pair.pump()
    lines: list[str] = []
    narrator = Narrator(Journal(level, lines.append), pair.client)
    narrator.begin("SSH-2.0-us")
    for event in pair.client_events:
        narrator.tell(event)
    return lines


def test_an_exchange_on_a_curve() -> None:
    lines = told(DEBUG1, "curve25519-sha256")
    start = lines.index("debug1: SSH2_MSG_KEXINIT received")
    assert lines[start + 1] == "debug1: kex: algorithm: curve25519-sha256"
    assert lines[start + 5 : start + 10] == [
        "debug1: expecting SSH2_MSG_KEX_ECDH_REPLY",
        "debug1: SSH2_MSG_KEX_ECDH_REPLY received",
        "debug1: SSH2_MSG_NEWKEYS sent",
        "debug1: expecting SSH2_MSG_NEWKEYS",
        "debug1: SSH2_MSG_NEWKEYS received",
    ]
    assert not [line for line in lines if "bits set" in line or "proposal" in line]


def test_an_exchange_in_a_fixed_group_and_another_one_after_it() -> None:
    lines = told(DEBUG2, "diffie-hellman-group14-sha256", rekey=True)
    assert sum(bool(re.fullmatch(r"debug2: bits set: \d+/2048", line)) for line in lines) == 4
    assert lines.count("debug1: SSH2_MSG_NEWKEYS sent") == 2
    assert lines.count("debug1: expecting SSH2_MSG_KEXDH_REPLY") == 2


def test_an_exchange_in_a_group_that_the_server_picks() -> None:
    lines = told(DEBUG2, "diffie-hellman-group-exchange-sha256")
    start = lines.index("debug1: SSH2_MSG_KEX_DH_GEX_REQUEST(2048<3072<8192) sent")
    ours, theirs = (line for line in lines if "bits set" in line)
    assert lines[start + 1 : start + 8] == [
        "debug1: expecting SSH2_MSG_KEX_DH_GEX_GROUP",
        "debug1: SSH2_MSG_KEX_DH_GEX_GROUP received",
        ours,
        "debug1: SSH2_MSG_KEX_DH_GEX_INIT sent",
        "debug1: expecting SSH2_MSG_KEX_DH_GEX_REPLY",
        theirs,
        "debug1: SSH2_MSG_KEX_DH_GEX_REPLY received",
    ]
    size = int(ours.rpartition("/")[2])
    assert 2048 <= size <= 8192
    assert all(
        size // 3 < int(line.split()[3].partition("/")[0]) < size for line in (ours, theirs)
    )


def test_both_offers_are_shown_whole() -> None:
    lines = told(DEBUG2, "curve25519-sha256")
    ours = lines.index("debug2: local client KEXINIT proposal")
    theirs = lines.index("debug2: peer server KEXINIT proposal")
    assert lines[ours + 1].startswith("debug2: KEX algorithms: curve25519-sha256,")
    assert theirs - ours == 10
    assert lines[theirs + 2] == "debug2: host key algorithms: ssh-ed25519"
    assert lines[theirs + 9] == "debug2: first_kex_follows 0"


@pytest.mark.parametrize("at_once", [True, False])
def test_the_key_that_let_us_in_is_told_once(at_once: bool, tmp_path: Path) -> None:
    other = PrivateKey.generate("ed25519", comment="other")
    path = tmp_path / "key"
    path.write_bytes(KEY.to_openssh(None if at_once else b"secret", rounds=1))
    path.chmod(0o600)
    scene = Scene(script=[no("publickey"), GRANT] if at_once else [no("publickey"), pk_ok, GRANT])
    scene.answers.passphrases = [b"secret"]
    files = FileKeys(
        [str(path)],
        explicit=True,
        policy=KeyPolicy(),
        prompter=scene.answers,
        journal=scene.journal,
    )
    scene.login._keys._sources.extend([MemoryKeys([other]), files])
    scene.play()
    assert scene.granted
    first, second = other.public.fingerprint(), KEY.public.fingerprint()
    wanted = [
        "debug1: Will attempt key: other explicit",
        "debug1: Next authentication method: publickey",
        f"debug1: Offering public key: other ED25519 {first} explicit",
        "debug2: we sent a publickey packet, wait for reply",
        "debug1: Authentications that can continue: publickey",
        f"debug1: Will attempt key: {path} explicit",
        f"debug1: Offering public key: {path} ED25519 {second} explicit",
        "debug2: we sent a publickey packet, wait for reply",
        f"debug1: Server accepts key: {path} ED25519 {second} explicit",
    ]
    assert [line for line in scene.lines if "host" not in line.lower()][: len(wanted)] == wanted
    assert sum("accepts key" in line for line in scene.lines) == 1


def test_bytes_are_counted_under_all_keys() -> None:
    pair = make_pair()
    pair.log_in()
    ours, theirs = pair.session()
    before = pair.client.traffic
    for _ in range(3):
        ours.send(bytes(10_000))
        pair.client.rekey()
        pair.pump()
    assert pair.client.traffic == pair.server.traffic[::-1]
    assert pair.client.traffic[0] - before[0] > 30_000
    assert theirs.number == 0
