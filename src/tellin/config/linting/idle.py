# SPDX-License-Identifier: MIT
"""Values on which nothing depends, since what they belong to is off or missing: one row a pair."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from tellin.config.keywords import KeywordFile, Row
from tellin.config.linting.coverage import for_everybody
from tellin.config.linting.findings import Finding, Kind, Severity
from tellin.config.linting.survey import Statement
from tellin.wire import Record


class Idle(Record):
    """A row: ``attribute`` acts only where some value of ``needs`` is ``enough``.

    ``when`` says of which values this is true; a row of severity ERROR says that the program ends.
    """

    attribute: str
    needs: str
    enough: Callable[[Any], bool]
    hint: str
    when: Callable[[Any], bool] = lambda value: True
    severity: Severity = Severity.NOTE


def _given(value: Any) -> bool:
    return value is not None and value != ()


def _on(value: Any) -> bool:
    return value not in {False, "no"}


def _more_than_none(value: Any) -> bool:
    return bool(value > 0)


# fmt: off
CLIENT_IDLE: Final = (
    Idle("local_command", "permit_local_command", _on, "PermitLocalCommand yes"),
    Idle("canonical_domains", "canonicalize_hostname", _on, "CanonicalizeHostname yes"),
    Idle("canonicalize_fallback_local", "canonicalize_hostname", _on, "CanonicalizeHostname yes"),
    Idle("canonicalize_max_dots", "canonicalize_hostname", _on, "CanonicalizeHostname yes"),
    Idle("canonicalize_permitted_cnames", "canonicalize_hostname", _on, "CanonicalizeHostname yes"),
    Idle("control_master", "control_path", _given, "name a ControlPath such as ~/.ssh/%C", when=_on),
    Idle("control_persist", "control_path", _given, "name a ControlPath such as ~/.ssh/%C", when=_given),
    Idle("server_alive_count_max", "server_alive_interval", _more_than_none, "give a ServerAliveInterval"),
    Idle("proxy_use_fdpass", "proxy_command", _given, "give a ProxyCommand", when=_on),
    Idle("identity_file", "pubkey_authentication", _on, "PubkeyAuthentication yes"),
    Idle("certificate_file", "pubkey_authentication", _on, "PubkeyAuthentication yes"),
    Idle("pubkey_accepted_algorithms", "pubkey_authentication", _on, "PubkeyAuthentication yes"),
    Idle("kbd_interactive_devices", "kbd_interactive_authentication", _on, "KbdInteractiveAuthentication yes"),
    Idle("hostbased_accepted_algorithms", "hostbased_authentication", _on, "HostbasedAuthentication yes"),
)

SERVER_IDLE: Final = (
    Idle(
        "authorized_keys_command", "authorized_keys_command_user", _given,
        "name an AuthorizedKeysCommandUser: sshd does not start without one", when=_given, severity=Severity.ERROR,
    ),
    Idle(
        "authorized_principals_command", "authorized_principals_command_user", _given,
        "name an AuthorizedPrincipalsCommandUser: sshd does not start without one", when=_given, severity=Severity.ERROR,
    ),
    Idle("authorized_keys_command_user", "authorized_keys_command", _given, "give an AuthorizedKeysCommand", when=_given),
    Idle("authorized_principals_command_user", "authorized_principals_command", _given, "give an AuthorizedPrincipalsCommand", when=_given),
    Idle("authorized_principals_file", "trusted_user_ca_keys", _given, "name the authorities in TrustedUserCAKeys", when=_given),
    Idle("authorized_principals_command", "trusted_user_ca_keys", _given, "name the authorities in TrustedUserCAKeys", when=_given),
    Idle("client_alive_count_max", "client_alive_interval", _more_than_none, "give a ClientAliveInterval"),
    Idle("x11_display_offset", "x11_forwarding", _on, "X11Forwarding yes"),
    Idle("x11_use_localhost", "x11_forwarding", _on, "X11Forwarding yes"),
    Idle("xauth_location", "x11_forwarding", _on, "X11Forwarding yes"),
    Idle("permit_open", "allow_tcp_forwarding", _on, "AllowTcpForwarding yes"),
    Idle("permit_listen", "allow_tcp_forwarding", _on, "AllowTcpForwarding yes"),
    Idle("allow_tcp_forwarding", "disable_forwarding", lambda value: not value, "DisableForwarding no", when=_on),
    Idle("x11_forwarding", "disable_forwarding", lambda value: not value, "DisableForwarding no", when=_on),
    Idle("permit_empty_passwords", "password_authentication", _on, "PasswordAuthentication yes", when=_on),
    Idle("authorized_keys_file", "pubkey_authentication", _on, "PubkeyAuthentication yes"),
    Idle("per_source_penalty_exempt_list", "per_source_penalties", lambda value: value != ("no",), "PerSourcePenalties yes", when=_given),
    Idle("pam_service_name", "use_pam", _on, "UsePAM yes"),
    Idle("ignore_rhosts", "hostbased_authentication", _on, "HostbasedAuthentication yes"),
    Idle("ignore_user_known_hosts", "hostbased_authentication", _on, "HostbasedAuthentication yes"),
    Idle("hostbased_uses_name_from_packet_only", "hostbased_authentication", _on, "HostbasedAuthentication yes"),
    Idle("hostbased_accepted_algorithms", "hostbased_authentication", _on, "HostbasedAuthentication yes"),
)
# fmt: on


def idle_values(
    statements: Sequence[Statement],
    rows: Sequence[Idle],
    *,
    table: type[KeywordFile],
    effective: KeywordFile | None,
) -> Iterator[Finding]:
    """Which values nothing asks for; ``effective`` is what holds for one connection, if one is meant."""
    said: dict[str, list[Statement]] = {}
    for statement in statements:
        said.setdefault(statement.row.attribute, []).append(statement)
    for row in rows:
        waiting = [one for one in said.get(row.attribute, ()) if row.when(one.value)]
        needed = table.rows[row.needs]
        if not waiting or any(map(row.enough, _possible(needed, said, effective))):
            continue
        shown = " ".join(needed.shown(needed.default)) or "not given"
        if needed.attribute in said:
            first = said[needed.attribute][0]
            shown = f"{first.words[:40]}, as {first.where} says"
        for one in waiting:
            yield Finding(
                Kind.IDLE,
                row.severity,
                one.file,
                one.line,
                one.row.spelling,
                f"{one.row.spelling} does nothing while {needed.spelling} is {shown}",
                row.hint,
            )


def _possible(
    needed: Row[Any], said: dict[str, list[Statement]], effective: KeywordFile | None
) -> list[Any]:
    """The values that may be in force for somebody."""
    if effective is not None:
        return [getattr(effective, needed.attribute)]
    given = said.get(needed.attribute, [])
    values = [one.value for one in given]
    if not any(for_everybody(one.blocks) for one in given):
        values.append(needed.default)
    return values
