# SPDX-License-Identifier: MIT
"""One run of a command by Paramiko, told by a JSON object as the argument.

The remote streams are this process's own; what else is known goes to the file ``facts`` as JSON.
"""

import contextlib
import json
import os
import socket
import sys
import threading
from pathlib import Path

import paramiko


def check_host_key(offered: paramiko.PKey, known_hosts: str) -> None:
    if offered.get_base64() not in known_hosts:
        raise paramiko.SSHException("the host key is not the one expected")


def authenticate(transport: paramiko.Transport, told: dict) -> None:
    method = told["methods"]
    if method == "publickey":
        transport.auth_publickey(told["user"], paramiko.PKey.from_path(told["identity"]))
    elif method == "password":
        transport.auth_password(told["user"], told["password"], fallback=False)
    else:
        transport.auth_interactive(told["user"], lambda *_: [told["password"]])


def write(descriptor: int, data: bytes) -> None:
    """At once: who reads it may wait for it."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def transfer(channel: paramiko.Channel) -> None:
    def feed() -> None:
        with contextlib.suppress(OSError):
            while data := os.read(0, 65536):
                channel.sendall(data)
            channel.shutdown_write()

    def drain_stderr() -> None:
        while data := channel.recv_stderr(65536):
            write(2, data)

    threading.Thread(target=feed, daemon=True).start()
    errors = threading.Thread(target=drain_stderr, daemon=True)
    errors.start()
    while data := channel.recv(65536):
        write(1, data)
    errors.join()


def main() -> int:
    told = json.loads(sys.argv[1])
    facts: dict = {}
    try:
        transport = paramiko.Transport(socket.create_connection((told["host"], told["port"]), 60))
        for patience in ("banner_timeout", "handshake_timeout", "auth_timeout"):
            setattr(transport, patience, 60)
        chosen = told["algorithms"]
        security = transport.get_security_options()
        for name, option in (
            ("kex", "kex"),
            ("host_key", "key_types"),
            ("cipher", "ciphers"),
            ("mac", "digests"),
            ("compression", "compression"),
        ):
            if chosen[name]:
                setattr(security, option, (chosen[name],))
        transport.start_client(timeout=60)
        check_host_key(transport.get_remote_server_key(), told["known_hosts"])
        facts["server_version"] = transport.remote_version
        facts["session_id"] = transport.session_id.hex()
        facts["send_cipher"] = transport.local_cipher
        facts["recv_cipher"] = transport.remote_cipher
        facts["send_mac"] = transport.local_mac
        facts["host_key_type"] = transport.host_key_type
        authenticate(transport, told)
        channel = transport.open_session(timeout=60)
        for name, value in told.get("env", {}).items():
            channel.set_environment_variable(name, value)
        if told["pty"]:
            channel.get_pty("xterm", 100, 30)
        if told["subsystem"]:
            channel.invoke_subsystem(told["command"])
        else:
            channel.exec_command(told["command"])
        transfer(channel)
        status = channel.recv_exit_status()
        transport.close()
    except (OSError, EOFError, paramiko.SSHException) as error:
        facts["error"] = f"{type(error).__name__}: {error}"
        print(facts["error"], file=sys.stderr)
        return 255
    finally:
        Path(told["facts"]).write_text(json.dumps(facts), "utf-8")
    return status if status >= 0 else 255


sys.exit(main())
