# SPDX-License-Identifier: MIT
"""Sizes, rounds and counts of a run: every number that decides how long the benchmark takes."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20
GIB = 1 << 30

AES256_GCM = "aes256-gcm@openssh.com"
AES128_GCM = "aes128-gcm@openssh.com"
CHACHA20 = "chacha20-poly1305@openssh.com"
AES256_CTR = "aes256-ctr"
SHA256_ETM = "hmac-sha2-256-etm@openssh.com"
# One exchange under both of its names: Paramiko knows the older one only.
CURVE25519 = "curve25519-sha256,curve25519-sha256@libssh.org"


@dataclass(frozen=True, kw_only=True)
class Protection:
    """A cipher and its MAC, under the short name that the tables show."""

    label: str
    cipher: str
    mac: str | None = None


GCM256 = Protection(label="aes256-gcm", cipher=AES256_GCM)
GCM128 = Protection(label="aes128-gcm", cipher=AES128_GCM)
PROTECTIONS = (
    GCM256,
    GCM128,
    Protection(label="chacha20-poly1305", cipher=CHACHA20),
    Protection(label="aes256-ctr+etm", cipher=AES256_CTR, mac=SHA256_ETM),
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How much of everything; the defaults are the full run."""

    quick: bool = False
    rounds: int = 5
    # exec_bulk: the aes256-gcm table, then the pairs that take twice as long as OpenSSH, then the
    # other ciphers. Rates are compared, so a smaller size only makes a figure noisier.
    bulk_bytes: int = GIB
    slow_bulk_bytes: int = 512 * MIB
    cipher_bulk_bytes: int = 384 * MIB
    tiny_bytes: int = 1024
    check_bytes: int = 4 * MIB + 12_345
    # library: source in memory, sink discards
    library_bytes: int = 512 * MIB
    # login
    logins_a_round: int = 4
    library_logins_a_round: int = 40
    parallel_clients: int = 8
    parallel_logins: int = 64
    # commands
    spawned_commands: int = 200
    handled_commands: int = 500
    # memory
    idle_sessions: int = 1000
    idle_program_sessions: int = 60
    # echo
    keystrokes: int = 300
    # tunnels
    tunnel_bytes: int = 256 * MIB
    tunnel_connections: int = 4000
    tunnel_flow_bytes: int = 1 * MIB
    # latency: one way, in seconds; sizes by how fast a pair is expected to be
    delay: float = 0.05
    delayed_bytes: int = 32 * MIB
    delayed_fast_bytes: int = 512 * MIB
    delayed_rounds: int = 3
    delayed_logins_a_round: int = 2
    # files
    file_bytes: int = 512 * MIB
    small_files: int = 2000
    small_file_bytes: int = 4096
    delayed_file_bytes: int = 256 * MIB
    delayed_slow_file_bytes: int = 32 * MIB
    delayed_small_files: int = 400
    delayed_slow_small_files: int = 10
    # no single client process may take longer than this
    patience: float = 120.0

    @classmethod
    def quickly(cls, *, rounds: int | None = None) -> Settings:
        """Smaller sizes and three rounds: to see that all is well, not to quote."""
        return cls(
            quick=True,
            rounds=rounds or 3,
            bulk_bytes=256 * MIB,
            slow_bulk_bytes=128 * MIB,
            cipher_bulk_bytes=128 * MIB,
            library_bytes=128 * MIB,
            logins_a_round=3,
            library_logins_a_round=20,
            parallel_logins=24,
            spawned_commands=60,
            handled_commands=200,
            idle_sessions=200,
            idle_program_sessions=20,
            keystrokes=100,
            tunnel_bytes=64 * MIB,
            tunnel_connections=800,
            tunnel_flow_bytes=256 << 10,
            file_bytes=128 * MIB,
            small_files=500,
            delayed_file_bytes=96 * MIB,
            delayed_slow_file_bytes=16 * MIB,
            delayed_small_files=200,
            delayed_slow_small_files=4,
            delayed_bytes=12 * MIB,
            delayed_fast_bytes=128 * MIB,
            delayed_rounds=1,
            delayed_logins_a_round=1,
        )
