# SPDX-License-Identifier: MIT
"""One run of a command by AsyncSSH, told by a JSON object as the argument.

The remote streams are this process's own; what else is known goes to the file ``facts`` as JSON.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

import asyncssh


async def main(told: dict, facts: dict) -> int:
    options = {}
    for name, option in (
        ("kex", "kex_algs"),
        ("host_key", "server_host_key_algs"),
        ("cipher", "encryption_algs"),
        ("mac", "mac_algs"),
        ("compression", "compression_algs"),
    ):
        if told["algorithms"][name]:
            options[option] = [told["algorithms"][name]]
    try:
        async with asyncssh.connect(
            told["host"],
            told["port"],
            username=told["user"],
            config=None,
            agent_path=None,
            known_hosts=asyncssh.import_known_hosts(told["known_hosts"]),
            client_keys=[told["identity"]] if told["identity"] else None,
            password=told["password"],
            preferred_auth=told["methods"],
            **options,
        ) as connection:
            for name in ("send_cipher", "send_mac", "recv_cipher", "recv_mac"):
                facts[name] = connection.get_extra_info(name)
            facts["session_id"] = connection._session_id.hex()
            facts["server_version"] = connection.get_extra_info("server_version")
            process = await connection.create_process(
                None if told["subsystem"] else told["command"],
                subsystem=told["command"] if told["subsystem"] else None,
                term_type="xterm" if told["pty"] else None,
                term_size=(100, 30),
                env=told.get("env", {}),
                encoding=None,
                # It closes what it is given, and what it has to complain of would be lost.
                stdin=os.dup(0),
                stdout=os.dup(1),
                stderr=os.dup(2),
            )
            done = await process.wait()
            if done.exit_signal:
                facts["signal"] = done.exit_signal[0]
            return 255 if done.exit_status is None or done.exit_status < 0 else done.exit_status
    except (OSError, asyncssh.Error) as error:
        facts["error"] = f"{type(error).__name__}: {error}"
        print(facts["error"], file=sys.stderr)
        return 255


told = json.loads(sys.argv[1])
facts: dict = {}
status = asyncio.run(main(told, facts))
Path(told["facts"]).write_text(json.dumps(facts), "utf-8")
sys.exit(status)
