# SPDX-License-Identifier: MIT
"""A login and a command by Paramiko for each set of algorithms told on standard input; what went wrong as JSON."""

import json
import random
import socket
import sys

import paramiko

OPTIONS = {"kex": "kex", "host_key": "key_types", "cipher": "ciphers", "mac": "digests"}
DATA = random.Random(3).randbytes(5_003)


def once(told: dict, key: paramiko.PKey, algorithms: dict) -> str:
    transport = paramiko.Transport(socket.create_connection((told["host"], told["port"]), 60))
    try:
        for patience in ("banner_timeout", "handshake_timeout", "auth_timeout"):
            setattr(transport, patience, 60)
        security = transport.get_security_options()
        for kind, option in OPTIONS.items():
            if algorithms[kind]:
                setattr(security, option, (algorithms[kind],))
        transport.start_client(timeout=60)
        if transport.get_remote_server_key().get_base64() not in told["known_hosts"]:
            return "another host key"
        transport.auth_publickey(told["user"], key)
        channel = transport.open_session(timeout=60)
        channel.exec_command("cat")
        channel.sendall(DATA)
        channel.shutdown_write()
        back = b""
        while block := channel.recv(65_536):
            back += block
        return "" if back == DATA else "other bytes came back"
    finally:
        transport.close()


def main() -> None:
    told = json.load(sys.stdin)
    key = paramiko.PKey.from_path(told["identity"])
    found = []
    for algorithms in told["rounds"]:
        try:
            found.append(once(told, key, algorithms))
        except (OSError, EOFError, ValueError, paramiko.SSHException) as error:
            found.append(f"{type(error).__name__}: {error}")
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
