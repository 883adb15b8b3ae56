# SPDX-License-Identifier: MIT
"""The state of every keyword of both files: in force, and which test shows it, or what it waits for.

What waits stands in the table of the keywords itself (``later``), which refuses it by a sentence
where somebody asks for it; test_ssh_config.py and test_sshd_config.py show that.
"""

import ast
from functools import cache
from pathlib import Path

import pytest
from tests.config.paper_machine import paper

from tellin.config.keywords import KeywordFile, Tier
from tellin.config.ssh_config import SshConfig
from tellin.config.ssh_reading import read_ssh_config
from tellin.config.sshd_config import SshdConfig
from tellin.errors import ConfigError

TESTS = Path(__file__).parents[1]

SSH = "programs/test_ssh_keywords.py::test_"
ELSEWHERE = "interop/test_client_keywords.py::test_"
TRUST = "programs/test_ssh_trust.py::test_"
AGENT = "interop/test_agent.py::test_"
WINDOWS = "interop/test_x11.py::test_"
SHARED = "programs/test_ssh_sharing.py::test_"
FORWARDED = "interop/test_forwarding.py::test_"
REMOTE = "interop/test_remote_forwarding.py::test_"
SOCKETS = "a_socket_that_is_listened_on_is_ours_alone_unless_the_mask_says_more"
ALIAS = "interop/test_article_config.py::test_row_16_an_alias_brings_host_user_port_and_key"
DEVICES = "interop/test_network_devices.py::test_"
FROZEN = (
    "interop/test_article_config.py"
    "::test_row_16_a_peer_that_is_frozen_is_given_up_after_three_signs_of_life"
)
ALGORITHMS = "interop/test_algorithms.py::test_each_algorithm_that_both_have"
METHOD_OFF = SSH + "a_method_that_is_off_asks_nothing"
LOCAL_COMMAND = SSH + "local_command_runs_where_it_is_permitted"

CLIENT = {
    "AddKeysToAgent": AGENT + "a_key_from_a_file_goes_on_to_the_agent",
    "AddressFamily": SSH + "address_family_leaves_the_other_out",
    "BatchMode": TRUST + "batch_mode_asks_nothing",
    "BindAddress": SSH + "bind_address_is_where_it_comes_from",
    "BindInterface": ELSEWHERE + "bind_interface_is_what_it_comes_from",
    "CanonicalDomains": ELSEWHERE + "canonicalize_hostname_finds_the_full_name",
    "CanonicalizeFallbackLocal": ELSEWHERE + "canonicalize_fallback_local_may_be_off",
    "CanonicalizeHostname": ELSEWHERE + "canonicalize_hostname_finds_the_full_name",
    "CanonicalizeMaxDots": ELSEWHERE + "canonicalize_max_dots_says_which_names_are_short",
    "CanonicalizePermittedCNAMEs": ELSEWHERE + "canonicalize_permitted_cnames_says_whom_to_follow",
    "CASignatureAlgorithms": SSH + "ca_signature_algorithms_limit_who_vouches_for_hosts",
    "CertificateFile": "interop/test_certificates.py"
    "::test_a_certificate_for_five_minutes_logs_in_and_a_hosts_leaves_no_question",
    "ChannelTimeout": SSH + "channel_timeout_ends_a_session_in_which_nothing_moves",
    "CheckHostIP": ELSEWHERE + "check_host_ip_wants_the_key_of_the_address_too",
    "Ciphers": ALGORITHMS,
    "ClearAllForwardings": FORWARDED + "what_cannot_be_had_is_said_in_openssh_s_words",
    "Compression": SSH + "compression_is_asked_for",
    "ConnectionAttempts": SSH + "a_later_attempt_finds_who_was_late",
    "ConnectTimeout": "interop/test_bad_peers.py::test_silent_port",
    "DynamicForward": FORWARDED
    + "d_leads_where_socks_says_by_every_version_with_names_and_numbers",
    "ControlMaster": SHARED + "the_first_of_auto_is_the_master_and_stays_for_control_persist",
    "ControlPath": SHARED + "the_place_may_be_made_of_tokens",
    "ControlPersist": SHARED + "the_first_of_auto_is_the_master_and_stays_for_control_persist",
    "EnableEscapeCommandline": "programs/test_ssh_terminal.py"
    "::test_forwardings_come_and_go_by_the_command_line",
    "EscapeChar": SSH + "escape_char_begins_escapes",
    "ExitOnForwardFailure": FORWARDED + "what_cannot_be_had_is_said_in_openssh_s_words",
    "FingerprintHash": SSH + "fingerprint_hash_is_how_keys_are_shown",
    "ForkAfterAuthentication": SSH + "fork_after_authentication_leaves_us_behind",
    "ForwardAgent": "interop/test_agent_forwarding.py"
    "::test_forward_agent_names_another_agent_by_its_path_or_by_a_variable",
    "ForwardX11": WINDOWS + "programs_there_show_windows_here",
    "ForwardX11Timeout": WINDOWS + "r144_what_comes_after_forward_x11_timeout_is_refused",
    "ForwardX11Trusted": WINDOWS
    + "without_xauth_windows_are_shown_to_those_who_are_trusted_alone",
    "XAuthLocation": WINDOWS + "without_xauth_windows_are_shown_to_those_who_are_trusted_alone",
    "GatewayPorts": FORWARDED + "l_listens_where_it_is_told",
    "GlobalKnownHostsFile": SSH + "global_known_hosts_file_is_a_record_too",
    "HashKnownHosts": TRUST + "names_are_hashed_where_that_is_wanted",
    "HostKeyAlgorithms": ALGORITHMS,
    "HostKeyAlias": SSH + "host_key_alias_is_the_name_of_the_record",
    "Hostname": ALIAS,
    "IdentitiesOnly": AGENT + "identities_only_keeps_to_what_is_configured",
    "IdentityAgent": AGENT + "identity_agent_chooses_the_agent",
    "IdentityFile": ALIAS,
    "IgnoreUnknown": SSH + "ignore_unknown_lets_pass_what_it_names",
    "IPQoS": SSH + "ip_qos_marks_a_terminal_and_everything_else",
    "KbdInteractiveAuthentication": METHOD_OFF,
    "KbdInteractiveDevices": SSH + "kbd_interactive_devices_are_told_the_server",
    "KexAlgorithms": ALGORITHMS,
    "KnownHostsCommand": TRUST + "a_program_knows_the_host",
    "LocalCommand": LOCAL_COMMAND,
    "LocalForward": FORWARDED + "l_leads_a_port_to_a_port_both_ways_and_each_direction_ends_alone",
    "LogLevel": SSH + "log_level_says_how_much",
    "LogVerbose": SSH + "log_verbose_says_all_of_some_places",
    "MACs": ALGORITHMS,
    "NoHostAuthenticationForLocalhost": TRUST
    + "one_s_own_machine_needs_no_record_where_that_is_said",
    "NumberOfPasswordPrompts": SSH + "number_of_password_prompts",
    "ObscureKeystrokeTiming": "programs/test_ssh_terminal.py"
    "::test_when_keys_are_pressed_is_hidden_among_fakes",
    "PasswordAuthentication": METHOD_OFF,
    "PermitLocalCommand": LOCAL_COMMAND,
    "PermitRemoteOpen": REMOTE
    + "r_without_a_target_leads_where_socks_says_within_permit_remote_open",
    "PKCS11Provider": "interop/test_pkcs11.py"
    "::test_pkcs11provider_logs_in_and_asks_for_the_pin_once",
    "Port": ALIAS,
    "PreferredAuthentications": SSH + "preferred_authentications_are_tried_in_order",
    "ProxyCommand": "programs/test_ssh.py::test_a_proxy_command_carries_the_connection",
    "ProxyJump": "programs/test_ssh_jumps.py::test_the_configuration_says_the_way",
    "ProxyUseFdpass": "programs/test_ssh_proxies.py::test_a_connected_socket_is_handed_over",
    "PubkeyAcceptedAlgorithms": SSH + "pubkey_accepted_algorithms_keep_a_key_back",
    "PubkeyAuthentication": SSH + "pubkey_authentication_can_be_off",
    "RefuseConnection": SSH + "refuse_connection_says_why_and_connects_to_nobody",
    "RekeyLimit": SSH + "rekey_limit_by_time_holds_where_little_moves",
    "RemoteForward": REMOTE
    + "r_leads_a_port_of_the_server_here_both_ways_and_each_direction_ends_alone",
    "RemoteCommand": SSH + "r112_remote_command_is_run_and_is_not_beside_another",
    "RequestTTY": SSH + "request_tty_at_a_terminal",
    "RequiredRSASize": SSH + "required_rsa_size_refuses_a_shorter_host_key",
    "RevokedHostKeys": SSH + "revoked_host_keys_are_refused",
    "SecurityKeyProvider": "interop/test_fido.py::test_ssh_logs_in_by_a_touch",
    "SecurityProfile": SSH
    + "security_profile_strict_takes_no_exchange_that_a_quantum_computer_breaks",
    "SendEnv": SSH + "send_env_takes_names_back",
    "ServerAliveCountMax": FROZEN,
    "ServerAliveInterval": FROZEN,
    "SessionType": SSH + "session_type_none_opens_no_session",
    "SetEnv": SSH + "send_env_takes_names_back",
    "StdinNull": SSH + "stdin_null_reads_nothing",
    "StreamLocalBindMask": FORWARDED + SOCKETS,
    "StreamLocalBindUnlink": FORWARDED + SOCKETS,
    "StrictHostKeyChecking": TRUST + "strict_refuses_an_unknown_host_and_writes_nothing",
    "SyslogFacility": ELSEWHERE + "syslog_facility_is_what_y_writes_to",
    "Tag": SSH + "a_tag_chooses_a_match_block",
    "TCPKeepAlive": SSH + "tcp_keep_alive_is_the_systems_own_timer",
    **dict.fromkeys(
        ("Tunnel", "TunnelDevice"),
        DEVICES + "packets_and_frames_cross_both_ways_between_devices_of_both_sides",
    ),
    "UpdateHostKeys": "interop/test_host_key_updates.py::test_ask_asks",
    "User": ALIAS,
    "UserKnownHostsFile": "interop/test_article.py"
    "::test_row_23_another_port_stands_with_the_name_in_known_hosts",
    "VerifyHostKeyDNS": ELSEWHERE + "verify_host_key_dns_asks_the_name_server",
    "VersionAddendum": "programs/test_ssh_connecting.py"
    "::test_the_greeting_is_the_one_that_is_configured",
    "VisualHostKey": SSH + "visual_host_key_draws_the_same_picture",
    "WarnWeakCrypto": SSH + "warn_weak_crypto_is_about_the_exchange",
}

DAEMON = "server/test_keywords.py::test_"
IN_MATCH = DAEMON + "r113_a_match_block_is_in_force"
LED = FORWARDED + "r110_where_clients_may_be_led_to"
OFFERED = DAEMON + "lists_of_algorithms_are_what_is_offered"

SERVER = {
    **dict.fromkeys(
        (
            *("AcceptEnv", "AllowAgentForwarding", "AllowGroups", "AllowUsers"),
            "AuthenticationMethods",
            *("AuthorizedKeysCommand", "AuthorizedKeysCommandUser", "AuthorizedKeysFile"),
            *("AuthorizedPrincipalsCommand", "AuthorizedPrincipalsCommandUser"),
            *("AuthorizedPrincipalsFile", "Banner", "ClientAliveCountMax", "ClientAliveInterval"),
            *("DenyGroups", "DenyUsers", "ForceCommand", "KbdInteractiveAuthentication"),
            *("LogLevel", "MaxAuthTries", "MaxSessions", "PasswordAuthentication", "PermitTTY"),
            *("PubkeyAcceptedAlgorithms", "PubkeyAuthentication", "RekeyLimit", "RevokedKeys"),
            *("PubkeyAuthOptions", "RefuseConnection", "RequiredRSASize"),
            *("GatewayPorts", "PermitListen", "StreamLocalBindMask", "StreamLocalBindUnlink"),
            *("ChannelTimeout", "UnusedConnectionTimeout"),
            *("ExposeAuthInfo", "IPQoS", "LogVerbose", "PermitUserRC"),
            *("SetEnv", "Subsystem", "TrustedUserCAKeys"),
            *("X11DisplayOffset", "X11Forwarding", "X11UseLocalhost"),
        ),
        IN_MATCH,
    ),
    "AddressFamily": "server/test_daemon.py::test_address_family_chooses",
    "AllowStreamLocalForwarding": LED,
    "AllowTcpForwarding": LED,
    "CASignatureAlgorithms": "server/test_certificates.py"
    "::test_r047_case_289_what_an_authority_signs_by_sha1_is_worth_nothing",
    "ChrootDirectory": "server/test_chroot.py::test_r113_a_match_block_has_a_root_of_its_own",
    "Ciphers": OFFERED,
    "Compression": OFFERED,
    "DisableForwarding": LED,
    "HostCertificate": "interop/test_certificates.py"
    "::test_a_certificate_for_five_minutes_logs_in_and_a_hosts_leaves_no_question",
    "HostKey": ALGORITHMS,
    "HostKeyAlgorithms": DAEMON + "what_is_not_listed_is_not_done",
    "KexAlgorithms": OFFERED,
    "ListenAddress": "interop/test_article.py"
    "::test_row_23_port_and_listen_address_say_where_the_server_is",
    "LoginGraceTime": DAEMON + "login_grace_time_ends_a_login",
    "MACs": OFFERED,
    "MaxStartups": "server/test_daemon.py::test_a_reload_keeps_the_sockets_it_goes_on_with",
    "ModuliFile": DAEMON + "moduli_file_gives_the_groups",
    "PermitEmptyPasswords": "server/test_system.py"
    "::test_r090_an_empty_password_gets_in_only_where_that_is_said",
    "PermitOpen": LED,
    "PermitTunnel": DEVICES + "r110_r113_devices_are_joined_where_all_who_are_asked_permit_it",
    "PermitRootLogin": "server/test_system.py::test_r113_permit_root_login_in_a_match_block",
    "PidFile": "programs/test_sshd.py::test_without_d_it_goes_to_the_background_when_it_listens",
    "Port": "interop/test_article.py::test_row_23_port_and_listen_address_say_where_the_server_is",
    "PrintLastLog": DAEMON + "print_last_log_says_that_there_is_none",
    "PrintMotd": DAEMON + "print_motd_greets_a_shell_on_a_terminal",
    "SecurityProfile": OFFERED,
    "StrictModes": DAEMON + "strict_modes_trusts_no_file_that_others_write",
    "SyslogFacility": "programs/test_sshd.py"
    "::test_syslog_facility_is_where_its_lines_go_also_after_a_reload",
    "TCPKeepAlive": DAEMON + "tcp_keep_alive_is_the_systems_own_timer",
    "UseDNS": DAEMON + "use_dns_lets_rules_speak_of_names",
    "XAuthLocation": "server/test_x11_forwarding.py::test_without_xauth_there_is_no_display",
    "VersionAddendum": DAEMON + "version_addendum_stands_in_the_first_line",
}

TABLES = pytest.mark.parametrize(("table", "shown"), [(SshConfig, CLIENT), (SshdConfig, SERVER)])


def states(table: type[KeywordFile], shown: dict[str, str]) -> dict[str, str]:
    """Every keyword and its state in words."""
    found: dict[str, str] = {}
    for row in table.rows.values():
        if row.later is None:
            found[row.spelling] = f"in force: {shown.get(row.spelling, '')}"
        elif row.later.feature.endswith("leaves out"):
            found[row.spelling] = f"refused: {row.later.feature}"
        else:
            found[row.spelling] = f"waits for {row.later.feature}"
    return found


@TABLES
def test_every_keyword_is_in_force_and_shown_or_waits(
    table: type[KeywordFile], shown: dict[str, str]
) -> None:
    found = states(table, shown)
    assert len(found) == len(table.rows)
    # No test shows it, and nothing is said that it waits for.
    assert [name for name, state in found.items() if state == "in force: "] == []
    # Said to wait and shown to be in force.
    assert [name for name in shown if not found[name].startswith("in force: ")] == []


@cache
def functions_of(file: str) -> dict[str, str]:
    text = (TESTS / file).read_text("utf-8")
    return {
        node.name: text
        for node in ast.parse(text).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }


@TABLES
def test_the_tests_that_show_it_are_there_and_speak_of_it(
    table: type[KeywordFile], shown: dict[str, str]
) -> None:
    by_spelling = {row.spelling: row for row in table.rows.values()}
    missing = []
    for spelling, test in shown.items():
        file, _, name = test.partition("::")
        texts = functions_of(file)
        words = (spelling.lower(), by_spelling[spelling].attribute)
        # What all clients are told stands where they are.
        told = "".join(
            (TESTS / "interop" / one).read_text("utf-8") for one in ("clients.py", "servers.py")
        )
        text = (texts.get(name, "") + told).lower()
        if name not in texts or not any(word in text for word in words):
            missing.append((spelling, test))
    assert missing == []


# What asks for something that is not there.
ASKING = {
    "DynamicForward": "1080",
    "GSSAPIAuthentication": "yes",
    "HostbasedAuthentication": "yes",
    "LocalForward": "8080 localhost:80",
    "RemoteForward": "8080 localhost:80",
}


def test_what_waits_is_refused_by_a_sentence_where_it_is_asked_for() -> None:
    waiting = [
        row
        for row in SshConfig.rows.values()
        if row.later is not None and row.later.harmless is not None
    ]
    for row in waiting:
        option = f"{row.spelling}={ASKING[row.spelling]}"
        with pytest.raises(ConfigError, match=f"^command-line: {row.spelling} is not supported$"):
            read_ssh_config(paper(""), "host", options=[option])
        # In a file it is left out, which is said; or refused, where that would lead astray.
        text = f"{row.spelling} {ASKING[row.spelling]}"
        if row.later is not None and row.later.essential:
            with pytest.raises(ConfigError, match=f"line 1: {row.spelling} is not supported"):
                read_ssh_config(paper(text), "host")
        else:
            (left_out,) = read_ssh_config(paper(text), "host").not_yet
            assert left_out.keyword == row.spelling


def test_what_waits_for_everybody_is_forwarding_and_sharing() -> None:
    """Of what most people use nothing waits but what is built in one piece."""
    waiting = {
        row.later.feature
        for row in SshConfig.rows.values()
        if row.later is not None and row.tier is not Tier.RARE
    }
    assert waiting <= {"forwarding", "sharing"}
