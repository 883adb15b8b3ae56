# SPDX-License-Identifier: MIT
"""ssh-keygen whose keys are in an agent, ours or OpenSSH's; and keys that OpenSSH's is too old for."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.programs.keygen_twins import KEYS, TELLIN, Twins, signing_twins

from tellin.client.authentication.agents import Agent
from tellin.keys import load_certificate, load_private_key

pytestmark = pytest.mark.peer("ssh-keygen")


@pytest.fixture
def signing(tmp_path: Path) -> Twins:
    return signing_twins(tmp_path)


@pytest.fixture(params=["tellin", "openssh"])
def agent(request: pytest.FixtureRequest, signing: Twins) -> Iterator[Twins]:
    """Both use one agent, which has the authority, a and r; the private files are gone."""
    program = [TELLIN, "ssh-agent"] if request.param == "tellin" else ["ssh-agent"]
    socket = signing.ours.parent / "agent"
    running = subprocess.Popen(
        [*program, "-D", "-a", socket],
        env=signing.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while not socket.exists():
            assert time.monotonic() < deadline
            assert running.poll() is None
            time.sleep(0.02)
        signing.environment["SSH_AUTH_SOCK"] = str(socket)
        with Agent.connect(str(socket)) as filled:
            for name in ("ca", "a", "r"):
                filled.add(KEYS[name])
                for place in (signing.ours, signing.theirs):
                    (place / name).unlink()
        yield signing
    finally:
        running.terminate()
        running.wait()


def test_an_authority_in_the_agent_signs_certificates(agent: Twins) -> None:
    for arguments in (
        ("-s", "ca.pub", "-I", "id", "-n", "me", "a.pub"),
        ("-s", "r.pub", "-I", "id", "-h", "-n", "host", "b.pub"),
        ("-s", "r.pub", "-t", "rsa-sha2-256", "-I", "id", "-z", "+3", "a.pub", "b.pub"),
    ):
        assert agent.same("-U", *arguments).status == 0
        for name in (word for word in arguments if word in {"a.pub", "b.pub"}):
            made = agent.files()[name.replace(".pub", "-cert.pub")]
            ours, theirs = (load_certificate(data) for data in made)
            assert ours.is_signed()
            assert ours.signature_algorithm == theirs.signature_algorithm
            assert (ours.serial, ours.key_id, ours.principals) == (
                theirs.serial,
                theirs.key_id,
                theirs.principals,
            )


def test_what_the_agent_does_not_have_signs_nothing(agent: Twins) -> None:
    unknown = agent.run_ours("-U", "-s", "b.pub", "-I", "id", "a.pub")
    assert unknown.status == agent.run_theirs("-U", "-s", "b.pub", "-I", "id", "a.pub").status
    assert unknown.status == 255
    assert "a-cert.pub" not in agent.files()
    for key in ("nofile", "ca.pub.pub"):
        assert agent.same("-U", "-s", key, "-I", "id", "a.pub").status == 255
    with Agent.connect(agent.environment["SSH_AUTH_SOCK"]) as locked:
        locked.lock(b"word")
    assert agent.run_ours("-U", "-s", "ca.pub", "-I", "id", "a.pub").status == 255
    assert agent.run_ours("-Y", "sign", "-f", "a.pub", "-n", "file", "msg").status == 255
    assert not {"a-cert.pub", "msg.sig"} & {*agent.files()}


def test_a_key_in_the_agent_signs_files(agent: Twins) -> None:
    for key in ("a.pub", "r.pub"):
        assert agent.same("-Y", "sign", "-f", key, "-n", "file", "msg").status == 0
        ours, theirs = agent.files()["msg.sig"]
        assert ours == theirs
        assert agent.same("-U", "-Y", "sign", "-f", key, "-n", "file", typed="hello\n").status == 0
        for place in (agent.ours, agent.theirs):
            (place / "msg.sig").unlink()
    assert agent.same("-U", "-Y", "sign", "-f", "b.pub", "-n", "file", "msg").status == 255
    # Without -U the file beside the public half will do.
    assert agent.run_ours("-q", "-Y", "sign", "-f", "b.pub", "-n", "git", "msg").status == 0
    agent.share("msg.sig")
    verify = ("-Y", "verify", "-f", "allowed", "-n", "git", "-s", "msg.sig", "-I", "you")
    assert agent.same(*verify, typed="hello\n").status == 0


def test_an_agent_that_is_not_there_is_told_of(signing: Twins) -> None:
    assert signing.same("-U", "-s", "ca.pub", "-I", "id", "a.pub").status == 255
    assert signing.same("-U", "-Y", "sign", "-f", "a.pub", "-n", "file", "msg").status == 255
    signing.environment["SSH_AUTH_SOCK"] = str(signing.ours / "nothing")
    assert signing.run_ours("-U", "-s", "ca.pub", "-I", "id", "a.pub").status == 255
    assert signing.same("-Y", "sign", "-f", "a", "-n", "file", "msg").status == 0


@pytest.mark.parametrize("name", ["mldsa44-ed25519", "ssh-mldsa44-ed25519@openssh.com"])
def test_a_key_of_both_ages_is_made_certifies_and_signs(signing: Twins, name: str) -> None:
    made = signing.run_ours("-t", name, "-N", "", "-C", "pq", "-f", "pq")
    assert made.status == 0
    assert made.out.startswith(f"Generating public/private {name} key pair.\n")
    key = load_private_key((signing.ours / "pq").read_bytes())
    assert key.public.key_type == "ssh-mldsa44-ed25519@openssh.com"
    assert signing.run_ours("-q", "-s", "pq", "-I", "id", "-n", "me", "a.pub").status == 0
    made_here = load_certificate((signing.ours / "a-cert.pub").read_bytes())
    # It is off until somebody names it.
    assert not made_here.is_signed()
    assert made_here.is_signed((key.public.key_type,))
    assert signing.run_ours("-q", "-Y", "sign", "-f", "pq", "-n", "file", "msg").status == 0
    signing.put("allowed", f"me {key.public.to_line()}\n")
    verify = ("-Y", "verify", "-f", "allowed", "-n", "file", "-s", "msg.sig", "-I", "me")
    good = signing.run_ours(*verify, typed="hello\n")
    assert (good.status, good.err) == (0, "")
    assert good.out.startswith('Good "file" signature for me with MLDSA44-ED25519 key SHA256:')
    assert signing.run_ours(*verify, typed="other\n").status == 255
