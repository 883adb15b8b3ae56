# SPDX-License-Identifier: MIT
"""Ansible by way of ``tellin ssh``, its connections shared and kept."""

import json
import os
import re
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.interop.conftest import Running
from tests.interop.servers import Server
from tests.programs.ssh_runs import LONGEST, SSH

pytestmark = [pytest.mark.slow, pytest.mark.peer("sshd"), pytest.mark.timeout(600)]

BUILD = Path(__file__).parents[2] / "build" / "ansible"
ANSIBLE = "ansible-core==2.19.*"

PLAYBOOK = """\
- hosts: all
  gather_facts: true
  tasks:
    - name: a command has its output
      ansible.builtin.command: echo hello
      register: said
    - ansible.builtin.assert:
        that: said.stdout == "hello"
    - name: a file goes there
      ansible.builtin.copy:
        content: "{{ 'line\\n' * 20000 }}"
        dest: "{{ place }}/copied"
    - name: and comes back
      ansible.builtin.fetch:
        src: "{{ place }}/copied"
        dest: "{{ place }}/fetched"
        flat: true
    - name: which connection was it?
      ansible.builtin.shell: echo "$SSH_CONNECTION" >> "{{ place }}/connections"
      loop: [1, 2, 3]
    - name: what fails is seen to fail
      ansible.builtin.command: exit 3
      register: failed
      ignore_errors: true
    - ansible.builtin.assert:
        that: failed is failed
"""


@pytest.fixture(scope="module")
def ansible() -> Path:
    """Ansible in an environment of its own, made once."""
    program = BUILD / "bin" / "ansible-playbook"
    if not program.exists():
        venv.create(BUILD, with_pip=True, clear=True)
        done = subprocess.run(
            [BUILD / "bin" / "python", "-m", "pip", "install", "-q", ANSIBLE],
            capture_output=True,
            check=False,
            text=True,
        )
        if done.returncode:
            pytest.skip(f"Ansible cannot be had: {done.stderr[-300:]}")
    return program


@pytest.fixture
def place(running: Running) -> Iterator[tuple[Path, Server]]:
    with tempfile.TemporaryDirectory(prefix="tellin-") as made:
        directory = Path(made)
        directory.chmod(0o777)
        yield directory, running("sshd")


def test_a_playbook_runs_over_one_connection(ansible: Path, place: tuple[Path, Server]) -> None:
    directory, server = place
    target = server.target
    assert target.identity is not None
    known, executable = directory / "known_hosts", directory / "ssh"
    known.write_text(target.known_hosts(), "ascii")
    executable.write_text(f'#!/bin/sh\nexec {" ".join(SSH)} -F none "$@"\n', "ascii")
    executable.chmod(0o755)
    (directory / "playbook.yml").write_text(PLAYBOOK, "ascii")
    variables = {
        "ansible_port": target.port,
        "ansible_user": target.user,
        "ansible_ssh_executable": str(executable),
        "ansible_ssh_private_key_file": str(target.identity.path),
        "ansible_ssh_common_args": f"-o UserKnownHostsFile={known} -o GlobalKnownHostsFile=none",
        "ansible_control_path": str(directory / "control"),
        "ansible_ssh_args": "-o ControlMaster=auto -o ControlPersist=60s",
        "ansible_python_interpreter": sys.executable if os.geteuid() else "/usr/bin/python3",
        "place": str(directory),
    }
    (directory / "inventory.json").write_text(
        json.dumps({"all": {"hosts": {target.host: variables}}}), "ascii"
    )
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("SSH_")
    }
    done = subprocess.run(
        [ansible, "-vvv", "-i", directory / "inventory.json", directory / "playbook.yml"],
        env=environment
        | {"ANSIBLE_HOME": str(directory / "home"), "ANSIBLE_LOCAL_TEMP": str(directory / "temp")},
        capture_output=True,
        check=False,
        text=True,
        timeout=8 * LONGEST,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert re.search(r"ok=\d+ +changed=\d+ +unreachable=0 +failed=0", done.stdout)
    assert (directory / "fetched").read_text("ascii") == "line\n" * 20000
    connections = (directory / "connections").read_text("ascii").split("\n")[:-1]
    assert len(connections) == 3
    assert len(set(connections)) == 1
    # The master is still there for the next play, and ends when it is told.
    where = ["-S", str(directory / "control"), target.host]
    ended = subprocess.run(
        [*SSH, "-F", "none", "-O", "exit", *where],
        capture_output=True,
        check=False,
        timeout=LONGEST,
    )
    assert (ended.returncode, ended.stderr) == (0, b"Exit request sent.\r\n")
