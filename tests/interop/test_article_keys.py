# SPDX-License-Identifier: MIT
"""What introductions to SSH tell of keys and agents, typed as it is told: rows 12, 13, 15, 21 and 32."""

import os
import shlex
import shutil
import stat
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from tests.interop.peers import Account, OpenSSHClient, OpenSSHServer, Server, make_key
from tests.interop.tellin_peer import TELLIN, TellinServer, within_reach

from tellin.keys import load_private_key, load_public_key

PATIENCE = 60
SERVERS: dict[str, type[Server]] = {"tellin": TellinServer, "sshd": OpenSSHServer}
EACH_SERVER = pytest.mark.parametrize(
    "server", ["tellin", pytest.param("sshd", marks=pytest.mark.peer("sshd"))]
)
# Our programs under their plain names, and OpenSSH's.
EACH_PROGRAM = pytest.mark.parametrize(
    "programs", ["tellin", pytest.param("openssh", marks=pytest.mark.peer("openssh"))]
)


class Person:
    """The throw-away account at a shell; ``ssh-keygen`` and the others are whose we say."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.home = account.home
        self.words, surroundings = within_reach(account)
        self.environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "USER": account.name,
            **surroundings,
            "HOME": str(account.home),
        }

    def types(
        self, script: str, *, typed: str = "", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run shell lines; ``@ssh-add`` is ours, ``ssh-add`` whatever the system has."""
        ours = shlex.join(map(str, self.words))
        done = subprocess.run(
            ["/bin/sh", "-c", script.replace("@", f"{ours} ") if "@" in script else script],
            env=self.environment,
            cwd=self.home,
            user=self.account.uid,
            group=self.account.gid,
            extra_groups=[],
            input=typed,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
            start_new_session=True,  # nobody's terminal: what is asked is asked on standard input
        )
        assert done.returncode == 0 or not check, done.stdout + done.stderr
        return done


@pytest.fixture
def person(account: Account) -> Iterator[Person]:
    shutil.rmtree(account.home / ".ssh", ignore_errors=True)
    yield Person(account)
    shutil.rmtree(account.home / ".ssh", ignore_errors=True)


# --------------------------------------------------------------- 12: ssh-keygen -t ed25519 -C


@pytest.mark.root
@pytest.mark.peer("ssh-keygen")
def test_row_12_a_key_is_made_by_three_times_return(person: Person) -> None:
    """ssh-keygen -t ed25519 -C "your_email@example.com"."""
    line = '@ssh-keygen -t ed25519 -C "your_email"'
    done = person.types(line, typed="\n\n\n")
    home = person.home / ".ssh"
    assert sorted(path.name for path in home.iterdir()) == ["id_ed25519", "id_ed25519.pub"]
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert stat.S_IMODE((home / "id_ed25519").stat().st_mode) == 0o600
    assert stat.S_IMODE((home / "id_ed25519.pub").stat().st_mode) == 0o644
    assert (home / "id_ed25519").stat().st_uid == person.account.uid
    public = (home / "id_ed25519.pub").read_text()
    assert public.startswith("ssh-ed25519 ")
    assert public.endswith(" your_email\n")
    # Both read both halves, and tell the same fingerprint.
    told = [
        person.types(f"@ssh-keygen -{flag} -f .ssh/id_ed25519").stdout
        for flag in ("l", "lv", "y", "E md5 -l")
    ]
    theirs = [
        person.types(f"ssh-keygen -{flag} -f .ssh/id_ed25519").stdout
        for flag in ("l", "lv", "y", "E md5 -l")
    ]
    assert told == theirs
    assert told[0].split()[1] in done.stdout
    # A second time it asks before it writes over the first.
    again = person.types(line, typed="\nn\n", check=False)
    assert again.returncode == 1
    assert "already exists." in again.stdout
    assert (home / "id_ed25519.pub").read_text() == public


@pytest.mark.root
@pytest.mark.peer("ssh-keygen")
def test_row_12_a_key_of_opensshs_is_read_here(person: Person) -> None:
    line = 'ssh-keygen -t ed25519 -C "your_email@example.com"'
    person.types(line, typed="\nsecret\nsecret\n")
    private = (person.home / ".ssh" / "id_ed25519").read_bytes()
    public = load_public_key((person.home / ".ssh" / "id_ed25519.pub").read_bytes())
    assert load_private_key(private, b"secret").public == public
    assert (
        person.types("@ssh-keygen -y -P secret -f .ssh/id_ed25519").stdout
        == (person.home / ".ssh" / "id_ed25519.pub").read_text()
    )


# ------------------------------------------------------------------------------ 13: ssh-copy-id


@pytest.mark.root
@EACH_SERVER
def test_row_13_a_key_is_copied_by_ssh_copy_id_and_logs_in(
    person: Person, server: str, tmp_path: Path
) -> None:
    """ssh-copy-id username@hostname, for a user who has nothing yet."""
    account = person.account
    options = {
        "StrictModes": "yes",
        "AuthorizedKeysFile": ".ssh/authorized_keys",
        "PasswordAuthentication": "yes",
    }
    key = make_key(tmp_path / "id_ed25519")
    askpass = tmp_path / "askpass"
    askpass.write_text(f"#!/bin/sh\necho '{account.password}'\n")
    askpass.chmod(0o755)
    with SERVERS[server](tmp_path, account=account, options=options) as running:
        known = tmp_path / "known"
        known.write_text(running.target.known_hosts(), "ascii")
        where = (
            *("-p", str(running.port), "-F", "none"),
            *("-o", f"UserKnownHostsFile={known}", "-o", f"IdentityFile={key.path}"),
            f"{account.name}@127.0.0.1",
        )
        environment = {
            **{n: v for n, v in os.environ.items() if not n.startswith("SSH_")},
            "HOME": str(tmp_path),
            "SSH_ASKPASS": str(askpass),
            "SSH_ASKPASS_REQUIRE": "force",
        }
        shutil.rmtree(person.home / ".ssh", ignore_errors=True)
        for times in (1, 2):
            done = _run([*TELLIN, "ssh-copy-id", "-i", f"{key.path}.pub", *where], environment)
            assert done.returncode == 0, done.stderr
            copied = person.home / ".ssh" / "authorized_keys"
            assert copied.read_text().splitlines() == [key.public], times
        assert stat.S_IMODE(copied.stat().st_mode) == 0o600
        assert stat.S_IMODE(copied.parent.stat().st_mode) == 0o700
        assert copied.stat().st_uid == account.uid
        words = [*TELLIN, "ssh", "-o", "BatchMode=yes", *where, "id -un"]
        done = _run(words, environment)
        assert (done.returncode, done.stdout) == (0, f"{account.name}\n"), done.stderr


def _run(
    words: Sequence[str | Path], environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, words)),
        env=dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


# ---------------------------------------------------------------------------- 15: authorized_keys

# What stands before a key, and what `echo asked $HAT` then says; None: nobody gets in.
OPTIONS: dict[str, str | None] = {
    "": "asked\n",
    "restrict": "asked\n",
    'command="echo forced"': "forced\n",
    'command="echo $SSH_ORIGINAL_COMMAND"': "echo asked $HAT\n",
    # Not unless the server permits it, which by default none does.
    'environment="HAT=red"': "asked\n",
    'from="127.0.0.1"': "asked\n",
    'from="127.0.0.0/8,!127.0.0.2"': "asked\n",
    'from="!127.0.0.1,*"': None,
    'from="10.0.0.0/8"': None,
    'expiry-time="29990101"': "asked\n",
    'expiry-time="20200101"': None,
    "no-pty,no-port-forwarding,no-X11-forwarding,no-agent-forwarding,no-user-rc": "asked\n",
    'restrict,pty,command="echo both"': "both\n",
    "cert-authority": None,
    "no-such-option": None,
    'command="unbalanced': None,
}


@EACH_SERVER
def test_row_15_what_stands_before_a_key_in_authorized_keys_holds(
    server: str, tmp_path: Path
) -> None:
    with SERVERS[server](tmp_path) as running:
        peer = OpenSSHClient(tmp_path)
        place = running.directory / "authorized_keys"
        said: dict[str, str | None] = {}
        for option in OPTIONS:
            place.write_text(f"# a comment\n\n{option} {running.identity.public} me\n".lstrip(" "))
            done = peer.run(running.target, "echo asked $HAT")
            said[option] = None if done.status == 255 else done.stdout.decode()
        assert said == OPTIONS


@EACH_SERVER
def test_row_15_of_two_lines_for_a_key_the_first_counts(server: str, tmp_path: Path) -> None:
    with SERVERS[server](tmp_path) as running:
        key = running.identity.public
        lines = f'command="echo first" {key}\ncommand="echo second" {key}\n'
        (running.directory / "authorized_keys").write_text(lines)
        done = OpenSSHClient(tmp_path).run(running.target, "true")
        assert done.stdout == b"first\n"


# --------------------------------------------------------------------------------- 21: which kind


@pytest.mark.root
def test_row_21_ed25519_is_what_is_made_unasked_and_weak_rsa_is_not(person: Person) -> None:
    person.types("@ssh-keygen -q -N '' -f first")
    person.types("@ssh-keygen -q -N '' -t rsa -f second")
    keys = [load_public_key((person.home / f"{n}.pub").read_bytes()) for n in ("first", "second")]
    assert [(key.kind, key.bits) for key in keys] == [("ED25519", 256), ("RSA", 3072)]
    # SHA-1 is nothing that either signs by unasked.
    assert keys[1].signature_algorithms == ("rsa-sha2-512", "rsa-sha2-256")
    for words in ("-t rsa -b 1024", "-t dsa"):
        done = person.types(f"@ssh-keygen -q -N '' {words} -f third", check=False)
        assert done.returncode == 255
        assert not (person.home / "third").exists()
    for name in ("first", "second"):
        (person.home / name).unlink()
        (person.home / f"{name}.pub").unlink()


# ---------------------------------------------------------------------------------- 32: the agent


@pytest.mark.root
@pytest.mark.peer("openssh", "sshd")
@pytest.mark.parametrize(("agent", "user"), [("tellin", "openssh"), ("openssh", "tellin")])
def test_row_32_the_two_lines_start_an_agent_with_the_usual_key(
    person: Person, agent: str, user: str, tmp_path: Path
) -> None:
    """eval "$(ssh-agent -s)"; ssh-add: ours, and OpenSSH's programs on it; theirs, and ours on it."""
    person.types("@ssh-keygen -q -t ed25519 -N '' -C me -f .ssh_key")
    home = person.home / ".ssh"
    home.mkdir(mode=0o700, exist_ok=True)
    person.account.own(home)
    for suffix in ("", ".pub"):
        (person.home / f".ssh_key{suffix}").rename(home / f"id_ed25519{suffix}")
    public = (home / "id_ed25519.pub").read_text()
    options = {"PasswordAuthentication": "no"}
    with OpenSSHServer(tmp_path, account=person.account, options=options) as running:
        (running.directory / "authorized_keys").write_text(public)
        (home / "known_hosts").write_text(running.target.known_hosts())
        person.account.own(home / "known_hosts")
        login = (
            f"-F none -p {running.port} -o BatchMode=yes -o IdentityFile=/nonexistent"
            " 127.0.0.1 echo in"
        )
        first = {
            "tellin": 'eval "$(@ssh-agent -s)"; @ssh-add; ',
            "openssh": 'eval "$(ssh-agent -s)"; ssh-add; ',
        }[agent]
        second = {
            "tellin": f"@ssh-add -l; @ssh {login}; @ssh-add -L; ",
            "openssh": f"ssh-add -l; ssh {login}; ssh-add -L; ",
        }[user]
        done = person.types(f"{first}{second}kill $SSH_AGENT_PID")
    lines = done.stdout.splitlines()
    key = load_public_key(public.encode())
    assert lines[0].startswith("Agent pid ")
    assert lines[1:4] == [
        f"256 {key.fingerprint()} me (ED25519)",
        "in",
        public.strip(),
    ], done.stderr
    assert f"Identity added: {home}/id_ed25519 (me)" in done.stderr


@pytest.mark.root
@EACH_PROGRAM
def test_row_32_without_an_agent_ssh_add_says_what_is_missing(
    person: Person, programs: str
) -> None:
    done = person.types({"tellin": "@ssh-add -l", "openssh": "ssh-add -l"}[programs], check=False)
    assert (done.returncode, done.stderr.strip()) == (
        2,
        "Could not open a connection to your authentication agent.",
    )
