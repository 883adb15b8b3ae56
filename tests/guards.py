# SPDX-License-Identifier: MIT
"""The lines that keep the rules, and what happens without them: each row takes one guard out.

``text`` stands exactly once in its file below ``src/tellin``; with ``without`` in its place the
tests named must fail. A test that passes without the guard it is there for is no test of it.
"""

from typing import Final, NamedTuple


class Guard(NamedTuple):
    """One guard: its rule, its place, and the tests that miss it."""

    rule: str
    file: str
    text: str
    without: str
    tests: tuple[str, ...]  # below tests/; a test with parameters stands for any of them


def _guard(rule: str, file: str, text: str, without: str, *tests: str) -> Guard:
    return Guard(rule, file, text, without, tests)


IDENTIFICATION: Final = "conversations/test_identification.py::"
PACKETS: Final = "conversations/test_packets.py::"
NEGOTIATION: Final = "conversations/test_negotiation.py::"
EXCHANGES: Final = "conversations/test_exchanges.py::"
ADMISSION: Final = "conversations/test_admission.py::"
REKEY: Final = "conversations/test_rekey.py::"
CHANNELS: Final = "conversations/test_channels.py::"
SERVER: Final = "userauth/test_server.py::"
CLIENT: Final = "userauth/test_client.py::"

TRANSPORT: Final = (
    _guard(
        "R034",
        "transport/version.py",
        "if size > IDENTIFICATION_BYTES or not all(32 <= byte < 127 for byte in text):",
        "if size > IDENTIFICATION_BYTES:",
        IDENTIFICATION + "test_what_is_no_identification_is_told_so_in_a_line_of_text[case 7]",
    ),
    _guard(
        "R034",
        "transport/version.py",
        "if len(self.lines) >= LINES_BEFORE:",
        "if False:",
        IDENTIFICATION + "test_case_013_a_server_may_say_1024_lines_first_and_no_more",
    ),
    _guard(
        "R034",
        "transport/version.py",
        "if len(waiting) > limit or (len(waiting) == limit and self._role is Role.SERVER):",
        "if False:",
        IDENTIFICATION + "test_r034_case_014_a_line_before_has_8192_bytes_at_most",
        IDENTIFICATION + "test_case_002_a_scanner_is_not_listened_to_for_long",
    ),
    _guard(
        "case 5",
        "transport/version.py",
        'if not software or software.startswith(" "):',
        "if False:",
        IDENTIFICATION + "test_what_is_no_identification_is_told_so_in_a_line_of_text[case 5]",
    ),
    _guard(
        "R024",
        "transport/packets.py",
        "if not MINIMUM_PACKET <= length <= MAXIMUM_PACKET or (",
        "if not MINIMUM_PACKET <= length or (",
        PACKETS + "test_packets_that_end_the_connection_with_code_2[case 23, case 30]",
        PACKETS + "test_case_030_under_keys_262144_bytes_are_the_limit",
    ),
    _guard(
        "case 26",
        "transport/packets.py",
        "if padding < MINIMUM_PADDING:",
        "if False:",
        PACKETS + "test_packets_that_end_the_connection_with_code_2[case 26: padding 3]",
    ),
    _guard(
        "R026",
        "transport/packets.py",
        "if padding > length - 2:",
        "if False:",
        PACKETS + "test_packets_that_end_the_connection_with_code_2[R026: no payload]",
        PACKETS + "test_r026_a_packet_without_a_payload_under_keys",
    ),
    _guard(
        "R187",
        "transport/machine.py",
        "self._say_goodbye(int(reason), error.parting or str(error))",
        "self._say_goodbye(int(reason), str(error))",
        ADMISSION + "test_a_peer_is_not_told_what_our_errors_say_to_the_user",
    ),
    _guard(
        "R002",
        "transport/packets.py",
        """        self.opener = opener
        self.packets = self.bytes = 0
        if reset:""",
        """        self.opener = opener
        self.packets = self.bytes = 0
        if False:""",
        ADMISSION + "test_r002_sequence_numbers_are_zero_after_newkeys",
    ),
    _guard(
        "R029",
        "transport/packets.py",
        "if not self.opener.hides_length:",
        "if True:",
        PACKETS
        + "test_case_045_a_length_that_is_no_multiple_of_a_block[aes128-cbc+hmac-sha2-256]",
    ),
    _guard(
        "R027",
        "transport/packets.py",
        "self.decompressor.decompress(payload, MAXIMUM_PAYLOAD)",
        "self.decompressor.decompress(payload, 1 << 30)",
        PACKETS + "test_a_payload_that_does_not_inflate_within_its_bound[case 54, R027]",
    ),
    _guard(
        "case 51",
        "transport/packets.py",
        "if packets >= _SEQUENCE:",
        "if False:",
        PACKETS + "test_case_051_new_keys_are_asked_for_long_before_the_sequence_numbers_wrap",
        PACKETS + "test_case_051_we_do_not_send_beyond_the_last_sequence_number",
    ),
    _guard(
        "R084",
        "transport/machine.py",
        "if phase is _CLOSED:",
        "if False:",
        IDENTIFICATION + "test_r034_r084_nothing_that_follows_a_bad_identification_is_looked_at",
    ),
    _guard(
        "R003",
        "transport/machine.py",
        "if self.reader.sequence == 0 and not self.keying.session_id:",
        "if False:",
        PACKETS + "test_r003_sequence_numbers_that_wrap_before_the_first_keys_end_the_connection",
    ),
    _guard(
        "R001",
        "transport/machine.py",
        "Phase.STRICT_EXCHANGE: _row(_GOODBYE, _METHOD, _NEWKEYS, _KEXINIT),",
        "Phase.STRICT_EXCHANGE: _row(_GOODBYE, _NOISE, _DEBUG, _METHOD, _NEWKEYS, _KEXINIT),",
        NEGOTIATION + "test_r001_cases_73_75_strict_exchange_admits_nothing_else",
    ),
    _guard(
        "R011",
        "transport/machine.py",
        "Phase.REKEY: _row(_GOODBYE, _NOISE, _DEBUG, _METHOD, _NEWKEYS),",
        """Phase.REKEY: _row(
        _GOODBYE, _NOISE, _DEBUG, _METHOD, _NEWKEYS, (range(80, 128), "_connection")
    ),""",
        REKEY + "test_r011_messages_above_after_a_rekey_kexinit_end_the_connection",
    ),
    _guard(
        "R006",
        "transport/machine.py",
        "Phase.NEWKEYS_DUE: _row(_GOODBYE, _NEWKEYS),",
        "Phase.NEWKEYS_DUE: _row(_GOODBYE, _NOISE, _NEWKEYS),",
        ADMISSION + "test_r006_between_our_newkeys_and_the_peers_nothing_else_may_come",
    ),
    _guard(
        "R013",
        "transport/machine.py",
        '((192,), "_ignore"),',
        '((192,), "_ping"),',
        ADMISSION + "test_r013_case_038_ping_before_login_is_not_answered",
    ),
    _guard(
        "R013",
        "transport/machine.py",
        "if len(self.outgoing) > UNSENT_REPLIES:",
        "if False:",
        ADMISSION + "test_r013_a_flood_of_pings_that_nobody_reads_ends",
        CHANNELS + "test_case_185_a_flood_of_keepalives_that_nobody_reads_ends",
    ),
    _guard(
        "R019",
        "transport/machine.py",
        'return "before login" if 80 <= number < 128 else ""',
        'return ""',
        ADMISSION + "test_r019_case_158_the_connection_protocol_before_login",
    ),
    _guard(
        "R020",
        "transport/machine.py",
        "if self._ext_info_count > 2 or not (place or self.role is Role.CLIENT):",
        "if self._ext_info_count > 2:",
        ADMISSION + "test_r020_case_115_a_client_says_it_first_or_not_at_all",
    ),
    _guard(
        "R021",
        "transport/machine.py",
        "if self._ext_info_count > 2 or not (place or self.role is Role.CLIENT):",
        "if not (place or self.role is Role.CLIENT):",
        ADMISSION + "test_r021_case_115_a_third_ext_info",
    ),
    _guard(
        "R020",
        "transport/machine.py",
        'self._admission = {1: "_disconnected", 52: "_authentication"}',
        "self._admission = self._admission",
        ADMISSION + "test_r020_between_it_and_success_nothing_may_come",
    ),
    _guard(
        "R022",
        "transport/machine.py",
        "early = 5 <= number <= 7 or 50 <= number < 128",
        "early = False",
        PACKETS + "test_packets_that_end_the_connection_with_code_2[case 41, R022]",
        PACKETS + "test_packets_that_end_the_connection_with_code_2[case 42]",
    ),
    _guard(
        "R007",
        "transport/machine.py",
        """        if 20 <= number < 50:
            return "outside a key exchange\"""",
        """        if 22 <= number < 30:
            return "outside a key exchange\"""",
        REKEY + "test_case_107_newkeys_outside_an_exchange",
        REKEY + "test_r007_methods_messages_outside_an_exchange",
    ),
    _guard(
        "case 33",
        "transport/machine.py",
        "if self._noise > NOISE_BEFORE_KEXINIT:",
        "if False:",
        PACKETS + "test_case_033_noise_before_kexinit_is_bounded",
    ),
    _guard(
        "R012",
        "transport/renewal.py",
        "return self._exchange_deadline is not None and now >= self._exchange_deadline",
        "return False",
        REKEY + "test_r012_case_110_an_exchange_that_the_peer_does_not_finish_times_out",
    ),
    _guard(
        "R012",
        "transport/renewal.py",
        "if self.size > HELD_BYTES:",
        "if False:",
        REKEY + "test_r012_what_we_would_send_meanwhile_is_bounded",
    ),
    _guard(
        "R051",
        "transport/renewal.py",
        "and reader.packets < REKEY_PACKETS",
        "and True",
        REKEY + "test_r051_the_default_limits_are_in_force",
    ),
    _guard(
        "R051",
        "transport/renewal.py",
        "and reader.bytes < limit",
        "and True",
        REKEY + "test_r051_the_default_limits_are_in_force",
    ),
    _guard(
        "R042",
        "algorithms/post_quantum.py",
        "    if len(peer_public) != kem_size + curve_size:\n"
        "        raise KeyExchangeFailed(\n"
        '            f"a public value of {len(peer_public)} bytes where'
        ' {kem_size + curve_size} make one"\n'
        "        )\n"
        "    return peer_public[:kem_size], peer_public[kem_size:]",
        "    return peer_public[:kem_size], peer_public[-curve_size:]",
        EXCHANGES + "test_r040_r042_cases_89_91_93_94_only_one_length_is_right",
    ),
    _guard(
        "R038",
        "algorithms/finite_field.py",
        "        check_public(peer_public, prime)\n        ours = self.start(*group)",
        "        ours = self.start(*group)",
        "algorithms/test_finite_field.py::test_r038_nothing_is_raised_to_a_power_for_a_bad_value",
    ),
    _guard(
        "R048",
        "client/preferences.py",
        "if keys and SHOWN_KEYS[keys[0]].key_type not in known:",
        "if keys:",
        "client/test_host_keys.py::test_r048_a_first_visit_and_the_usual_one_offer_the_same",
    ),
    _guard(
        "R060",
        "userauth/server.py",
        "fields = method_fields(request)",
        'fields = method_fields(request) if request.user == "alice" else None',
        SERVER + "test_r060_a_malformed_request_ends_alike_for_users_who_exist_or_not",
    ),
    _guard(
        "R068",
        "server/system.py",
        "if len(commands) > 1:",
        "if False:",
        "server/test_keywords.py::test_r068_commands_that_contradict_each_other_let_nobody_in",
    ),
    _guard(
        "R068",
        "server/system.py",
        "commands = {one.command for one in options if one.command is not None}",
        "commands = {one.command for one in options if one.command}",
        "server/test_keywords.py"
        "::test_r068_an_empty_command_of_a_key_is_a_command_that_does_nothing",
    ),
    _guard(
        "R069",
        "server/authentication/admission.py",
        "if options.from_patterns is not None and not (\n            peer.host and",
        "if peer.host and options.from_patterns is not None and not (\n            peer.host and",
        "server/test_serve.py::test_r069_without_an_address_no_rule_about_addresses_is_kept",
    ),
    _guard(
        "R075",
        "keys/kinds.py",
        "if not self.curve.holds(cursor.string()):",
        "if not cursor.string():",
        "keys/test_public.py::test_a_damaged_or_dangerous_blob_is_refused_with_its_cause",
    ),
    _guard(
        "R141",
        "connection/channel.py",
        "        if room > 0:\n            return room\n        self._connection.blocked(self)",
        "        if room > 0:\n            return room",
        CHANNELS + "test_r141_flood_both_ways_over_64_channels_with_tiny_windows",
    ),
    _guard(
        "R051",
        "connection/machine.py",
        "return min(HIGH_WATER - transport.outgoing.size, transport.left_to_seal())",
        "return HIGH_WATER - len(transport.outgoing)",
        REKEY + "test_r051_no_keys_seal_more_than_the_limit",
    ),
    _guard(
        "R027",
        "transport/machine.py",
        """        if self.resting is not Phase.OPEN:
            return
        keying""",
        "        keying",
        PACKETS + "test_r027_before_login_nothing_is_inflated",
    ),
    _guard(
        "R007",
        "transport/keying.py",
        "if self.stage not in {Stage.IDLE, Stage.OFFERED}:",
        "if False:",
        NEGOTIATION + "test_r007_case_071_a_second_kexinit",
    ),
    _guard(
        "R001",
        "transport/keying.py",
        "if self._reader.sequence != 1:",
        "if False:",
        NEGOTIATION + "test_r001_cases_73_75_strict_exchange_admits_nothing_else",
    ),
    _guard(
        "R005",
        "transport/keying.py",
        "elif self._settings.require_strict:",
        "elif False:",
        NEGOTIATION + "test_r005_strict_exchange_can_be_required",
    ),
    _guard(
        "R004",
        "transport/keying.py",
        """        if not self.session_id:
            self._settle_strictness(theirs)""",
        """        if True:
            self._settle_strictness(theirs)""",
        ADMISSION + "test_r004_case_114_strictness_is_settled_by_the_first_kexinit",
    ),
    _guard(
        "R009",
        "transport/keying.py",
        "self._skip = theirs.first_kex_packet_follows and not chosen.guess_right",
        "self._skip = False",
        NEGOTIATION + "test_r009_case_077_after_a_wrong_guess_one_packet_is_skipped",
        NEGOTIATION + "test_r009_r010_guesses_at_a_rekey[False-client]",
    ),
    _guard(
        "R009",
        "transport/keying.py",
        """            self._skip = False
            return""",
        "            return",
        NEGOTIATION + "test_r009_case_077_one_packet_and_no_more",
    ),
    _guard(
        "R016",
        "transport/keying.py",
        """raise HostKeyRejected("the server's signature over the key exchange is wrong")""",
        "key = key",
        EXCHANGES + "test_no_host_key_is_offered_whose_signature_is_wrong[R016: damaged]",
        EXCHANGES + "test_r016_a_signature_by_another_key_is_wrong",
    ),
    _guard(
        "R015",
        "transport/keying.py",
        "elif agreed.host_key != self.host_key:",
        "elif False:",
        REKEY + "test_r015_case_111_a_host_key_that_changes_at_rekey_ends_the_connection",
    ),
    _guard(
        "R008",
        "transport/keying.py",
        "if self.stage is not Stage.FINISHING or incoming is None:",
        "if False:",
        EXCHANGES + "test_r008_case_103_newkeys_before_there_are_keys",
    ),
    _guard(
        "case 105",
        "transport/keying.py",
        "NewKeys.decode(payload)",
        "NewKeys.decode(payload[:1])",
        EXCHANGES + "test_case_105_newkeys_with_something_in_it",
        REKEY + "test_case_105_newkeys_with_something_in_it_at_a_rekey",
    ),
    _guard(
        "R032",
        "transport/negotiation.py",
        "if name in offered and name not in MARKERS:",
        "if name in offered:",
        NEGOTIATION + "test_r032_markers_are_never_chosen",
    ),
    _guard(
        "R010",
        "transport/negotiation.py",
        "return first == (server.kex_algorithms[0], server.server_host_key_algorithms[0])",
        "return first[0] == server.kex_algorithms[0]",
        NEGOTIATION + "test_r010_a_guess_is_wrong_if_only_the_host_keys_differ",
    ),
    _guard(
        "R010",
        "transport/negotiation.py",
        "if GUESS_BY_CHOICE in client.kex_algorithms and GUESS_BY_CHOICE in server.kex_algorithms:",
        "if GUESS_BY_CHOICE in server.kex_algorithms:",
        NEGOTIATION
        + "test_r010_a_guess_is_judged_by_the_choice_where_both_sides_say_so[False-True]",
    ),
    _guard(
        "R021",
        "transport/messages.py",
        "if self.count > EXTENSIONS or len(self.pairs) > EXTENSION_BYTES:",
        "if False:",
        ADMISSION + "test_r021_case_115_ext_info_that_is_too_much_or_no_list[65]",
        ADMISSION + "test_r021_case_115_ext_info_that_is_too_much_or_no_list[64 KiB]",
    ),
    _guard(
        "R021",
        "transport/messages.py",
        "if name in found:",
        "if False:",
        ADMISSION + "test_r021_case_115_ext_info_that_is_too_much_or_no_list[twice]",
    ),
    _guard(
        "R041",
        "transport/exchange.py",
        "if not minimum <= preferred <= maximum:",
        "if False:",
        EXCHANGES + "test_a_group_that_is_not_to_be_had[R041: the least above the wish]",
    ),
)

WIRE: Final = (
    _guard(
        "R049",
        "wire/types.py",
        'if raw.count(b",") >= NAME_LIST_NAMES:',
        "if False:",
        NEGOTIATION + "test_odd_lists_of_names_end_the_connection[case 65, R049: 513 names-0]",
    ),
    _guard(
        "R049",
        "wire/types.py",
        'if not name or len(name) > NAME_BYTES or not name.isprintable() or " " in name:',
        "if False:",
        NEGOTIATION + "test_odd_lists_of_names_end_the_connection[case 62: an empty name-0]",
        NEGOTIATION + "test_odd_lists_of_names_end_the_connection[R049: a name of 65 bytes-0]",
    ),
    _guard(
        "R025",
        "wire/types.py",
        "if size < 0 or end > len(self.data):",
        "if size < 0:",
        "wire/test_types.py::test_r025_a_length_is_checked_before_anything_is_allocated",
    ),
    _guard(
        "case 82",
        "wire/types.py",
        "if raw and raw[0] in {0, 255} and (size == 1 or (raw[0] ^ raw[1]) < 0x80):",
        "if False:",
        "wire/test_types.py::test_case_082_integers_with_unnecessary_bytes",
        EXCHANGES
        + "test_a_value_that_no_client_sends_is_refused_before_anything_is_signed"
        + "[case 82: leading zeros]",
    ),
    _guard(
        "case 83",
        "wire/types.py",
        "if size > MPINT_BYTES:",
        "if False:",
        "wire/test_types.py::test_case_083_integers_that_are_too_long",
    ),
    _guard(
        "R135",
        "wire/message.py",
        "cursor.end(cls.__name__)",
        "cursor.remaining()",
        CHANNELS + "test_a_request_of_a_wrong_shape_ends_the_connection[case 215: eow]",
        CHANNELS
        + "test_a_request_of_a_wrong_shape_ends_the_connection[R135: shell with something]",
    ),
)

ALGORITHMS: Final = (
    _guard(
        "R039",
        "algorithms/finite_field.py",
        "if not 1 < value < prime - 1 or value.bit_count() < _LEAST_BITS_SET:",
        "if False:",
        EXCHANGES
        + "test_a_value_that_no_client_sends_is_refused_before_anything_is_signed"
        + "[case 81, R039: a power of two]",
        "algorithms/test_finite_field.py::test_r039_case_081_values_out_of_range_are_refused",
    ),
    _guard(
        "R041",
        "algorithms/finite_field.py",
        "if prime < 0 or not minimum <= bits <= maximum:",
        "if False:",
        EXCHANGES + "test_a_client_takes_no_bad_group[case 86, R041: 1024 bits]",
    ),
    _guard(
        "R041",
        "algorithms/finite_field.py",
        """        raise KeyExchangeFailed("the modulus of the group is even")""",
        "        bits = 0",
        EXCHANGES + "test_a_client_takes_no_bad_group[case 86, R041: even]",
    ),
    _guard(
        "R040",
        "algorithms/elliptic_curves.py",
        "if len(peer_public) != size:",
        "if False:",
        "algorithms/test_key_exchange.py::test_r040_case_089_a_value_of_another_length_is_refused",
    ),
    _guard(
        "R027",
        "algorithms/compression.py",
        "if len(inflated) > limit:",
        "if False:",
        "algorithms/test_compression.py::test_r027_case_054_a_bomb_goes_off_at_the_limit",
    ),
    _guard(
        "case 57",
        "algorithms/compression.py",
        "if stream.eof:",
        "if False:",
        PACKETS + "test_a_payload_that_does_not_inflate_within_its_bound[case 57]",
    ),
    _guard(
        "R028",
        "algorithms/aead.py",
        "view[body:end] = bytes(end - body)",
        "del body",
        "algorithms/test_protection.py::test_r028_one_flipped_bit_is_found_anywhere"
        "[aes256-gcm@openssh.com]",
    ),
    _guard(
        "R028",
        "algorithms/separate_macs.py",
        """            raise corrupted()
        self._apply(view[start + 4 : end])""",
        """            del expected
        self._apply(view[start + 4 : end])""",
        PACKETS + "test_r028_case_043_a_flipped_bit_delivers_nothing"
        "[aes128-ctr+hmac-sha2-256-etm@openssh.com]",
    ),
    _guard(
        "R029",
        "algorithms/separate_macs.py",
        "if self._missing <= 0:",
        "if True:",
        "algorithms/test_chained_errors.py::"
        "test_r029_each_length_is_awaited_as_long_and_fails_alike",
        PACKETS
        + "test_case_045_a_length_that_is_no_multiple_of_a_block[aes128-cbc+hmac-sha2-256]",
    ),
    _guard(
        "R031",
        "algorithms/protection.py",
        "if mac is None or not isinstance(cipher, HidingCipher):",
        "if not isinstance(cipher, HidingCipher):",
        "algorithms/test_protection.py::test_r031_a_cipher_that_only_hides_never_runs_alone",
    ),
)

KEYS: Final = (
    _guard(
        "R070",
        "keys/public.py",
        'if name != algorithm.encode("utf-8"):',
        "if False:",
        SERVER + "test_a_signature_that_is_not_one_fails[R070 inner algorithm]",
    ),
    _guard(
        "R078",
        "keys/public.py",
        "return self._arithmetic().verify(signature, data, hash_name) is True",
        "return bool(self._arithmetic().verify(signature, data, hash_name))",
        "keys/test_signatures.py::test_r078_the_answer_is_false_unless_the_library_says_yes",
    ),
    _guard(
        "R047",
        "keys/public.py",
        'if sha1 and algorithm == self.key_type == "ssh-rsa":',
        'if algorithm == self.key_type == "ssh-rsa":',
        "keys/test_signatures.py::test_r047_r077_sha1_is_neither_made_nor_accepted_unless_allowed",
    ),
    _guard(
        "case 141",
        "keys/public.py",
        'cursor.end("a signature")',
        "cursor.remaining()",
        SERVER + "test_a_signature_that_is_not_one_fails[case 141]",
        EXCHANGES + "test_no_host_key_is_offered_whose_signature_is_wrong[R016: trailing bytes]",
    ),
    _guard(
        "case 95",
        "keys/public.py",
        'cursor.end("a public key")',
        "cursor.remaining()",
        "keys/test_public.py::test_a_damaged_or_dangerous_blob_is_refused_with_its_cause[trailing]",
    ),
    _guard(
        "R044",
        "keys/rsa.py",
        "if not self._verifier.verify(signature, data, hash_name):",
        "if False:",
        "keys/test_signatures.py::test_r044_a_faulty_rsa_signature_does_not_leave",
    ),
    _guard(
        "R074",
        "keys/kinds.py",
        "if modulus < 0 or bits < RSA_LEAST_BITS:",
        "if False:",
        "keys/test_public.py::test_a_damaged_or_dangerous_blob_is_refused_with_its_cause"
        "[R074, case 138: RSA 512]",
    ),
)

LOGIN: Final = (
    _guard(
        "R065",
        "userauth/server.py",
        "if self._requests > MAXIMUM_REQUESTS:",
        "if False:",
        SERVER + "test_r065_128_requests_are_the_end_whatever_the_policy_allows",
    ),
    _guard(
        "R065",
        "userauth/server.py",
        "if login.failures >= login.policy.maximum_tries:",
        "if False:",
        SERVER + "test_case_127_the_seventh_failure_ends_the_connection",
        SERVER + "test_r064_dialogues_are_capped_at_the_maximum_of_tries",
    ),
    _guard(
        "R064",
        "userauth/server.py",
        "if abandoned or (offered is not None and offered != _signer(fields)):",
        "if False:",
        SERVER + "test_r064_dialogues_dropped_half_way_are_tries_too",
        SERVER
        + "test_case_146_probes_without_a_signature_count_and_end_the_connection_at_the_cap",
    ),
    _guard(
        "R066",
        "userauth/server.py",
        "if request.user != self._user or request.service != SERVICE:",
        "if False:",
        SERVER + "test_r066_another_user_or_service_ends_the_connection",
    ),
    _guard(
        "R018",
        "userauth/server.py",
        'raise ProtocolError(f"message {number} is not for a server, or out of turn")',
        "return Reply(())",
        SERVER + "test_r018_cases_154_157_what_only_a_server_sends_ends_the_connection",
    ),
    _guard(
        "R089",
        "userauth/server.py",
        "elif handler is None or fields is None or method not in login.progress.methods():",
        "elif handler is None or fields is None:",
        SERVER + "test_r089_a_method_that_is_not_offered_fails_without_its_backend",
    ),
    _guard(
        "case 150",
        "userauth/server.py",
        "if len(given) != self._login.prompts:",
        "if False:",
        SERVER + "test_case_150_responses_that_do_not_match_the_prompts_end_the_connection",
    ),
    _guard(
        "R062",
        "userauth/login.py",
        'if len(raw) > MAXIMUM_PASSWORD or b"\\0" in raw:',
        "if False:",
        SERVER + "test_r062_a_password_that_cannot_be_one_is_refused_without_a_hash[1025 bytes]",
        SERVER + "test_r062_a_password_that_cannot_be_one_is_refused_without_a_hash[case 133]",
    ),
    _guard(
        "R071",
        "userauth/login.py",
        "if algorithm not in accepted:",
        "if False:",
        SERVER + "test_r071_one_listed_curve_lets_in_no_other",
    ),
    _guard(
        "R072",
        "userauth/login.py",
        "if algorithm not in key.signature_algorithms and algorithm != key.key_type:",
        "if False:",
        SERVER + "test_r072_an_algorithm_that_does_not_fit_the_key_fails",
    ),
    _guard(
        "R076",
        "userauth/login.py",
        "except (KeyFileError, ProtocolError) as error:",
        "except ProtocolError as error:",
        SERVER + "test_r076_cases_135_to_138_a_bad_key_fails_fast_and_the_login_goes_on",
    ),
    _guard(
        "R061",
        "userauth/login.py",
        "if not isinstance(answer, Accepted) or not self.known:",
        "if not isinstance(answer, Accepted):",
        SERVER + "test_a_yes_for_a_user_who_does_not_exist_is_a_no",
    ),
    _guard(
        "case 134",
        "userauth/login.py",
        "if not self._confidential:",
        "if False:",
        SERVER + "test_case_134_no_password_crosses_a_connection_that_anybody_can_read",
    ),
    _guard(
        "R078",
        "userauth/methods.py",
        "if verified is not True:",
        "if not verified:",
        SERVER + "test_r078_only_an_explicit_true_lets_in",
    ),
    _guard(
        "R085",
        "userauth/client.py",
        "if self._tries >= MAXIMUM_TRIES:",
        "if False:",
        CLIENT + "test_r085_case_171_the_65th_try_fails_with_what_was_tried",
    ),
    _guard(
        "R022",
        "userauth/client.py",
        "if self.waiting is not Waiting.FOR_REPLY or attempt is None:",
        "if attempt is None:",
        CLIENT + "test_case_166_success_while_only_the_signature_is_being_made_is_unrequested",
    ),
    _guard(
        "R023",
        "userauth/client.py",
        "if self.refuse_trivial and not (attempt.proof or self._proved):",
        "if False:",
        CLIENT + "test_r023_a_login_without_proof_is_refused_where_asked",
    ),
    _guard(
        "case 173",
        "userauth/client.py",
        "if self.waiting is Waiting.NO_MORE:",
        "if False:",
        CLIENT + "test_case_173_nothing_comes_after_success",
    ),
    _guard(
        "case 169",
        "userauth/messages.py",
        "if count > MAXIMUM_PROMPTS or count * least > cursor.remaining():",
        "if count * least > cursor.remaining():",
        CLIENT + "test_r086_case_169_33_prompts_end_the_connection",
    ),
    _guard(
        "R036",
        "userauth/text.py",
        "text = text.translate(_escapes())",
        "text = str(text)",
        "userauth/test_text.py::test_r036_control_characters_are_escaped",
        IDENTIFICATION + "test_r036_case_014_lines_before_are_shown_escaped",
    ),
    _guard(
        "R017",
        "protocol/client.py",
        "if self._transport.keying.sending is None:",
        "if False:",
        ADMISSION + "test_r017_nothing_of_a_login_is_sent_without_a_cipher",
    ),
    _guard(
        "case 166",
        "protocol/client.py",
        "if not self._service_granted:",
        "if False:",
        ADMISSION + "test_case_166_success_before_the_service_is_granted",
    ),
    _guard(
        "case 121",
        "protocol/client.py",
        "if name != USERAUTH_SERVICE or self._service_granted:",
        "if False:",
        ADMISSION + "test_case_121_a_service_that_was_not_asked_for_is_granted",
    ),
    _guard(
        "R022",
        "protocol/server.py",
        "if not self._services:",
        "if False:",
        ADMISSION + "test_r022_a_request_to_log_in_before_its_service_was_granted",
    ),
    _guard(
        "case 119",
        "protocol/server.py",
        "if self._services > SERVICE_REQUESTS:",
        "if False:",
        ADMISSION + "test_case_119_a_third_service_request",
    ),
    _guard(
        "case 117",
        "protocol/server.py",
        "if name != SERVICE:",
        "if False:",
        ADMISSION + "test_case_117_a_service_that_is_not_there_is_code_7",
    ),
    _guard(
        "R037",
        "protocol/server.py",
        "if self._grace_at is not None and now >= self._grace_at:",
        "if False:",
        ADMISSION + "test_r037_case_019_login_grace_only_closes",
    ),
    _guard(
        "R014",
        "client/hosts/host_keys.py",
        "if answer is True and self._key is not None:",
        "if answer and self._key is not None:",
        "client/test_host_keys.py::test_r014_anything_but_true_is_a_no",
    ),
    _guard(
        "R014",
        "client/hosts/host_keys.py",
        "if answer is True:",
        "if answer:",
        "client/test_host_keys.py::test_r014_an_address_of_another_key_needs_a_plain_yes",
    ),
    _guard(
        "R014",
        "config/known_hosts.py",
        "other = [entry for entry in known if entry.key_type in _SHOWN]",
        "other = [entry for entry in known if entry.key_type == _type_of(key_blob)]",
        "client/test_host_keys.py::test_a_key_of_another_type_than_is_on_record_is_a_changed_one",
    ),
    _guard(
        "R016",
        "client/hosts/host_keys.py",
        "if self._policy is None:",
        "if False:",
        "client/test_host_keys.py::test_r016_without_a_policy_the_connection_is_refused",
    ),
    _guard(
        "R063",
        "server/authentication/passwords.py",
        'return len(self.password_hash) < _SHORTEST_HASH or self.password_hash[0] in "!*"',
        "return False",
        "server/test_passwords.py::test_r063_case_163_a_locked_account_has_no_password",
    ),
    _guard(
        "R062",
        "server/authentication/passwords.py",
        'if len(given) > MAXIMUM_PASSWORD or b"\\0" in given:',
        "if False:",
        "server/test_passwords.py::"
        "test_r062_a_password_of_1025_bytes_is_wrong_without_a_hash_for_everybody",
    ),
)

CONNECTION: Final = (
    _guard(
        "R130",
        "connection/machine.py",
        "if channel.send_window > WINDOW_LIMIT:",
        "if False:",
        CHANNELS + "test_r130_a_window_beyond_32_bits_ends_the_connection",
        CHANNELS + "test_r130_r132_windows_add_up_or_end_the_connection",
    ),
    _guard(
        "R131",
        "connection/machine.py",
        """        if message.maximum_packet < LEAST_PACKET:
            return""",
        """        if False:
            return""",
        CHANNELS + "test_r131_case_189_a_tiny_maximum_packet_is_refused",
    ),
    _guard(
        "R131",
        "connection/machine.py",
        """        if message.maximum_packet < LEAST_PACKET:
            raise""",
        """        if False:
            raise""",
        CHANNELS + "test_r131_case_189_a_confirmation_with_a_tiny_packet_ends_the_connection",
    ),
    _guard(
        "R133",
        "connection/machine.py",
        """        channel.standing = Standing.GONE
        del self.channels[channel.number]""",
        "        channel.standing = Standing.GONE",
        CHANNELS + "test_r133_refused_channels_leave_nothing_behind",
    ),
    _guard(
        "R134",
        "connection/channel.py",
        "if not self._awaiting:",
        "if False:",
        CHANNELS + "test_r134_an_answer_to_no_request_ends_the_connection",
    ),
    _guard(
        "R134",
        "connection/machine.py",
        "if not self._global_waiting:",
        "if False:",
        CHANNELS + "test_r134_an_answer_to_no_global_request_ends_the_connection",
    ),
    _guard(
        "R136",
        "connection/channel.py",
        """                self.consumed(size)
                return""",
        "                return",
        CHANNELS + "test_r136_case_202_extended_data_of_other_types_is_dropped_and_credited",
        CHANNELS
        + "test_r136_case_203_error_output_on_a_channel_without_it_is_dropped_and_credited",
    ),
    _guard(
        "R137",
        "connection/machine.py",
        """        if channel is None or channel.standing is not _OPEN:
            raise ProtocolError(f"a message for""",
        """        if channel is None:
            raise ProtocolError(f"a message for""",
        CHANNELS + "test_r137_case_193_a_channel_that_nobody_has_accepted_yet",
    ),
    _guard(
        "R138",
        "connection/channel.py",
        """        if self.receiving is not _HALF_OPEN:
            raise ProtocolError(f"data on""",
        """        if False:
            raise ProtocolError(f"data on""",
        CHANNELS + "test_r138_case_199_data_after_the_end",
        CHANNELS + "test_r138_case_199_extended_data_after_the_end",
    ),
    _guard(
        "R138",
        "connection/machine.py",
        """        if channel.receiving is not _HALF_OPEN:
            raise ProtocolError(f"a second end""",
        """        if False:
            raise ProtocolError(f"a second end""",
        CHANNELS + "test_r138_a_second_end_of_data",
    ),
    _guard(
        "case 201",
        "connection/machine.py",
        "if channel.receiving is Half.CLOSED:",
        "if False:",
        CHANNELS + "test_case_201_a_second_close_of_a_channel_that_lingers",
    ),
    _guard(
        "R139",
        "connection/channel.py",
        "if left < -SLACK_PACKETS * self.receive_packet:",
        "if False:",
        CHANNELS + "test_r139_case_198_data_beyond_the_window",
    ),
    _guard(
        "R140",
        "connection/machine.py",
        """        if len(self.channels) >= self._settings.maximum_channels:
            return""",
        """        if False:
            return""",
        CHANNELS + "test_r140_channels_of_all_types_are_limited_and_half_open_ones_count",
    ),
    _guard(
        "R142",
        "connection/machine.py",
        "known = message.name in self._settings.global_requests",
        "known = True",
        CHANNELS + "test_r142_case_174_unknown_global_requests_get_failure_only",
    ),
    _guard(
        "case 187",
        "connection/machine.py",
        "if message.channel_type not in self._settings.channel_types:",
        "if False:",
        CHANNELS + "test_case_187_an_unknown_channel_type",
    ),
    _guard(
        "case 206",
        "connection/machine.py",
        "if channel is None or channel.standing is not Standing.WANTED:",
        "if channel is None:",
        CHANNELS + "test_case_206_a_second_confirmation",
    ),
    _guard(
        "case 209",
        "server/sessions/sessions.py",
        """        if self._started:
            return False  # case 209""",
        "",
        "conversations/test_sessions.py::"
        "test_case_209_a_second_command_is_refused_and_the_first_goes_on",
    ),
    _guard(
        "case 214",
        "server/sessions/sessions.py",
        "if number is None or self._child is None or self._rules.forced_command is not None:",
        "if number is None or self._child is None:",
        "conversations/test_sessions.py::"
        "test_case_214_a_forced_command_is_not_the_clients_to_kill",
    ),
    _guard(
        "R205",
        "protocol/freezing.py",
        "or bool(mac) is bool(CIPHERS[direction.cipher].tag_size)",
        "or False",
        "conversations/test_freezing.py::test_r205_a_frozen_cipher_never_runs_without_its_mac",
    ),
)

ACCESS: Final = "server/test_access.py::"
KEY_OPTIONS: Final = "config/test_authorized_keys.py::"
KNOWN_HOSTS: Final = "config/test_known_hosts.py::"
DESTINATION: Final = "config/test_destination.py::"
SSH_CONFIG: Final = "config/test_ssh_config.py::"
SERVE: Final = "server/test_serve.py::"

ACCOUNTS: Final = (
    _guard(
        "R069",
        "server/authentication/access.py",
        "visitor.address and options.allows_from(visitor.host, visitor.address)",
        "options.allows_from(visitor.host, visitor.address)",
        ACCESS + "test_r069_a_key_for_some_addresses_lets_in_from_no_other",
    ),
    _guard(
        "R069",
        "server/authentication/access.py",
        '            return f"is right but not from a permitted host ({visitor})"',
        "            return None",
        ACCESS + "test_r069_a_key_for_some_addresses_lets_in_from_no_other",
    ),
    _guard(
        "R069",
        "server/authentication/access.py",
        """            return "has expired"
""",
        """            return None
""",
        ACCESS + "test_a_key_ends_with_its_expiry_time",
    ),
    _guard(
        "R114",
        "client/offer.py",
        "    check_known(config, config.algorithms_named)\n",
        "",
        "config/test_algorithm_lists.py"
        "::test_r114_a_name_in_a_block_for_others_is_refused_too[Ciphers]",
    ),
    _guard(
        "R114",
        "server/settings.py",
        """    for said in {(one.attribute, one.spec): one for one in reversed([*lines])}.values():
""",
        """    for said in ():
""",
        "config/test_algorithm_lists.py"
        "::test_r114_r115_a_list_in_a_match_block_is_looked_at_before_anybody_meets_it"
        "[-*-PubkeyAcceptedAlgorithms]",
    ),
    _guard(
        "R117",
        "server/authentication/access.py",
        "if not safe_in_paths(user):",
        "if False:",
        ACCESS + "test_r117_a_name_that_is_no_file_name_opens_no_file",
    ),
    _guard(
        "R118",
        "server/authentication/access.py",
        """        if not stat.S_ISREG(status.st_mode):
            raise""",
        """        if False:
            raise""",
        ACCESS + "test_r118_a_fifo_does_not_hold_up_the_server",
    ),
    _guard(
        "R118",
        "server/authentication/access.py",
        "return found.st_uid in {0, account.uid} and not found.st_mode & 0o022",
        "return not found.st_mode & 0o022",
        ACCESS + "test_r118_a_foreign_owner_is_refused",
    ),
    _guard(
        "R118",
        "server/authentication/access.py",
        "if not private(os.lstat(directory)):",
        "if False:",
        ACCESS + "test_r118_so_is_one_in_a_directory_that_others_may_write",
    ),
    _guard(
        "R118",
        "server/authentication/access.py",
        "    if not private(status):",
        "    if False:",
        ACCESS + "test_r118_a_file_that_others_may_write_is_refused",
    ),
    _guard(
        "case 317",
        "server/authentication/access.py",
        "if status.st_size > MAXIMUM_KEY_FILE:",
        "if False:",
        ACCESS + "test_case_317_a_file_of_1_gib_is_not_read",
    ),
    _guard(
        "R067",
        "server/authentication/access.py",
        "if found.blob == signer.blob and found.options.cert_authority is (signer is not key):",
        "if found.blob == signer.blob:",
        ACCESS + "test_an_authoritys_key_is_no_users_key",
    ),
    _guard(
        "R110",
        "config/key_options.py",
        "setattr(options, attribute, False)",
        "setattr(options, attribute, True)",
        KEY_OPTIONS + "test_r110_restrict_takes_everything_and_gives_back_what_is_named_behind_it",
    ),
    _guard(
        "R110",
        "config/key_options.py",
        """    else:
        raise ConfigError(f"unknown key option {name[:40]!a}")""",
        "",
        KEY_OPTIONS + "test_r111_cases_314_315_a_line_with_a_bad_option_lets_nobody_in",
    ),
    _guard(
        "R069",
        "config/key_options.py",
        'if not value.strip(","):',
        "if False:",
        KEY_OPTIONS + "test_r111_cases_314_315_a_line_with_a_bad_option_lets_nobody_in",
    ),
    _guard(
        "R111",
        "config/key_options.py",
        "if found is None or (host_needed and found[4] is not None):",
        "if found is None:",
        KEY_OPTIONS + "test_r111_cases_314_315_a_line_with_a_bad_option_lets_nobody_in",
    ),
    _guard(
        "R111",
        "config/key_options.py",
        "(one.port is None or one.port == port)",
        "True",
        KEY_OPTIONS + "test_forwards_are_matched_by_host_and_port",
    ),
    _guard(
        "R068",
        "config/key_options.py",
        '_once("command", options.command)',
        "options.command = None",
        KEY_OPTIONS + "test_r111_cases_314_315_a_line_with_a_bad_option_lets_nobody_in",
    ),
    _guard(
        "R107",
        "config/known_hosts.py",
        "if not type_word or _type_of(blob) != type_word:",
        "if False:",
        KNOWN_HOSTS
        + "test_r107_r108_cases_307_309_a_bad_line_is_skipped_with_its_place_and_never_matches",
    ),
    _guard(
        "R108",
        "config/known_hosts.py",
        'if self.names.startswith("@"):',
        "if False:",
        KNOWN_HOSTS
        + "test_r107_r108_cases_307_309_a_bad_line_is_skipped_with_its_place_and_never_matches",
    ),
    _guard(
        "R109",
        "config/known_hosts.py",
        "if len(text) > _LONGEST_LINE:",
        "if False:",
        KNOWN_HOSTS
        + "test_r107_r108_cases_307_309_a_bad_line_is_skipped_with_its_place_and_never_matches",
    ),
    _guard(
        "R109",
        "config/authorized_keys.py",
        "if len(line) > _LONGEST_LINE:",
        "if False:",
        KEY_OPTIONS + "test_r107_r108_a_bad_line_lets_nobody_in",
    ),
    _guard(
        "R170",
        "config/destination.py",
        "if character in forbidden:",
        "if False:",
        DESTINATION + "test_a_metacharacter_is_refused_in_user_and_host",
    ),
    _guard(
        "R170",
        "config/destination.py",
        'if name.startswith("-"):',
        "if False:",
        DESTINATION + "test_a_bad_destination_is_refused",
    ),
    _guard(
        "R170",
        "config/destination.py",
        'if character == " " or not character.isprintable():',
        'if character == " ":',
        DESTINATION + "test_a_metacharacter_is_refused_in_user_and_host",
    ),
    _guard(
        "R170",
        "config/ssh_reading.py",
        '_check_name("host", host, host_fault(host))',
        "",
        SSH_CONFIG + "test_a_host_that_is_more_than_a_name_is_refused",
    ),
    _guard(
        "R170",
        "config/ssh_config.py",
        'return _checked(tokens, _FROM_OUTSIDE, "must not get to a shell")',
        "return tokens",
        SSH_CONFIG + "test_a_command_gets_no_name_that_a_shell_could_misread",
        SSH_CONFIG + "test_a_proxy_command_gets_no_name_that_a_shell_could_misread",
    ),
    _guard(
        "R170",
        "config/ssh_reading.py",
        '_check_name("user", user, user_fault(user))',
        "",
        SSH_CONFIG + "test_a_user_that_is_more_than_a_name_is_refused",
    ),
    _guard(
        "R170",
        "config/ssh_reading.py",
        "if user is None and given is not None:",
        "if False:",
        SSH_CONFIG + "test_r170_a_user_of_an_option_is_one_of_the_command_line",
    ),
    _guard(
        "R117",
        "config/ssh_config.py",
        """return "holds '/'" if "/" in name else \"\"""",
        'return ""',
        SSH_CONFIG + "test_r117_a_user_that_leads_elsewhere_becomes_part_of_no_path",
    ),
    _guard(
        "R111",
        "config/kinds.py",
        "and 1 <= int(text) <= 65535",
        "",
        SSH_CONFIG + "test_r111_a_port_that_is_none_is_not_every_port",
    ),
    _guard(
        "R171",
        "config/ssh_config.py",
        'if name == "user" and self.user_is_literal:',
        "if False:",
        SSH_CONFIG + "test_the_user_and_port_of_the_command_line_come_first",
    ),
    _guard(
        "R171",
        "client/attempt.py",
        "user = own_name() if self.user is None else self.user",
        "user = self.user or own_name()",
        "client/test_arguments.py::test_r171_an_empty_user_is_not_the_one_who_runs_us",
    ),
    _guard(
        "R119",
        "server/system.py",
        "if os.geteuid() == 0:",
        "if os.geteuid() == 0 and account.uid != 0:",
        "server/test_system.py"
        "::test_r119_root_has_the_groups_of_its_own_and_not_those_of_the_server",
    ),
    _guard(
        "R067",
        "server/authentication/admission.py",
        "elif not _has_signed(asker, question, _accepted(grant)):",
        "elif False:",
        SERVE + "test_r067_authorize_hears_only_of_keys_that_have_signed",
    ),
    _guard(
        "R078",
        "server/authentication/admission.py",
        'done(_accepted(grant) if verdict is True else Refused("not authorized"))',
        'done(_accepted(grant) if verdict else Refused("not authorized"))',
        SERVE + "test_only_true_authorizes",
    ),
    _guard(
        "R078",
        "server/authentication/admission.py",
        "if right is True:",
        "if right:",
        SERVE + "test_only_true_authorizes",
    ),
)

UPDATES: Final = "client/test_host_key_updates.py::"

SOURCES: Final = "client/test_host_key_sources.py::"

HOSTS: Final = (
    _guard(
        "R109",
        "config/authorized_keys.py",
        'if any(sign in line for sign in "\\n\\r\\0"):',
        "if False:",
        KEY_OPTIONS + "test_what_would_not_be_read_back_as_this_one_line_is_not_written",
    ),
    _guard(
        "R014",
        "client/hosts/host_key_updates.py",
        "elif key.verify(claim(self._core.session_id, blob), signature, algorithm=algorithm):",
        "elif signature:",
        UPDATES + "test_one_wrong_signature_and_no_key_is_learnt",
    ),
    _guard(
        "R014",
        "client/hosts/host_key_updates.py",
        "if len(signatures) != len(new):",
        "if len(signatures) < len(new):",
        UPDATES + "test_too_few_and_too_many_signatures_teach_nothing",
    ),
    _guard(
        "R047",
        "client/hosts/host_key_updates.py",
        'return named if named in able else ""',
        "return named",
        UPDATES + "test_r047_an_rsa_key_that_signs_by_sha_1_is_not_learnt_and_the_others_are",
    ),
    _guard(
        "R025",
        "connection/host_keys.py",
        "if len(items) == MOST_KEYS:",
        "if False:",
        UPDATES + "test_a_list_of_keys_is_bounded_before_it_is_read",
    ),
    _guard(
        "R038",
        "server/host_key_proofs.py",
        "if blobs and self._asked <= _MOST_REQUESTS:",
        "if blobs:",
        UPDATES + "test_requests_for_proofs_are_counted",
    ),
    _guard(
        "R038",
        "server/host_key_proofs.py",
        "return blobs if set(blobs) <= set(self._keys) and len(set(blobs)) == len(blobs) else ()",
        "return blobs if set(blobs) <= set(self._keys) else ()",
        UPDATES + "test_a_server_signs_with_its_own_keys_once_each_and_nothing_else",
    ),
    _guard(
        "R014",
        "client/hosts/host_key_sources.py",
        "return Verdict.PROVEN if answer.secure else Verdict.MATCHES",
        "return Verdict.PROVEN",
        SOURCES + "test_a_verified_record_is_enough_only_where_that_is_said",
    ),
    _guard(
        "R014",
        "runtime/sshfp.py",
        "secure=vouched and trusts_ad(resolv_conf)",
        "secure=vouched",
        SOURCES + "test_records_come_from_the_name_server",
    ),
    _guard(
        "R104",
        "client/hosts/host_keys.py",
        "if self._found is None or found.state is HostKeyState.REVOKED:",
        "if self._found is None:",
        SOURCES + "test_what_is_revoked_stays_revoked_whatever_the_dns_says",
    ),
)

SESSION: Final = "agent/test_session.py::"
TOKENS: Final = "agent/test_tokens.py::"

AGENT: Final = (
    _guard(
        "R123",
        "agent/constraints.py",
        'if len(raw) > _LONGEST_NAME or b"\\0" in raw:',
        'if b"\\0" in raw:',
        "agent/test_limits.py::test_r123_names_in_constraints_are_no_longer_than_they_may_be",
    ),
    _guard(
        "R120",
        "programs/keygen/files.py",
        "os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)",
        "os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)",
        "programs/test_key_safety.py::test_r120_a_private_key_is_made_in_one_step_with_its_mode",
    ),
    _guard(
        "R155",
        "agent/messages.py",
        "if not 0 < size <= self._most:",
        "if False:",
        SESSION + "test_r155_case_262_a_length_out_of_bounds_ends_the_connection_at_once",
    ),
    _guard(
        "R155",
        "agent/messages.py",
        "if count > MOST_IDENTITIES or count * 8 > cursor.remaining():",
        "if count * 8 > cursor.remaining():",
        SESSION + "test_r155_a_list_of_more_identities_than_anybody_has_is_refused_unread",
    ),
    _guard(
        "R155",
        "agent/keyring.py",
        "if blob not in self._keys and len(self._keys) >= MOST_IDENTITIES:",
        "if False:",
        SESSION + "test_r155_an_agent_keeps_no_more_keys_than_a_reply_may_list",
    ),
    _guard(
        "R156",
        "agent/keyring.py",
        "self.next_try = now + min(self._failures * _STEP, _LONGEST_WAIT)",
        "self.next_try = now",
        SESSION + "test_r156_case_270_wrong_passphrases_wait_longer_each_time_whoever_tries",
    ),
    _guard(
        "case 267",
        "agent/constraints.py",
        "if name in seen:",
        "if False:",
        TOKENS + "test_case_267_a_constraint_is_not_given_twice",
    ),
    _guard(
        "R153",
        "agent/session.py",
        "if constraints.provider and not credential.key.public.is_on_token:",
        "if False:",
        TOKENS + "test_r153_constraints_that_fit_no_module_or_no_key_are_refused",
    ),
    _guard(
        "R153",
        "agent/session.py",
        "if constraints.certificates or constraints.certified_only:",
        "if False:",
        TOKENS + "test_r153_constraints_that_fit_no_module_or_no_key_are_refused",
    ),
    _guard(
        "R153",
        "agent/session.py",
        "if constraints.provider or (constraints.confirm and not self._can_confirm):",
        "if False:",
        TOKENS + "test_r153_constraints_that_fit_no_module_or_no_key_are_refused",
    ),
    _guard(
        "R151",
        "agent/session.py",
        "return bool(self._bindings) or self._bind_failed",
        "return False",
        TOKENS + "test_r151_whoever_comes_through_a_session_loads_nothing",
        TOKENS + "test_r151_r154_whoever_lied_about_a_session_loads_nothing",
    ),
    _guard(
        "R154",
        "agent/session.py",
        "return bool(self._bindings) or self._bind_failed",
        "return bool(self._bindings)",
        TOKENS + "test_r151_r154_whoever_lied_about_a_session_loads_nothing",
    ),
    _guard(
        "R154",
        "agent/session.py",
        "(messages.Extension, AgentSession._extension, True),",
        "(messages.Extension, AgentSession._extension, False),",
        SESSION + "test_r154_a_session_is_bound_while_the_agent_is_locked",
        TOKENS + "test_r151_r154_whoever_lied_about_a_session_loads_nothing",
    ),
    _guard(
        "R151",
        "agent/session.py",
        "if provider is None or provider == INTERNAL:",
        "provider = request.provider\n        if False:",
        TOKENS + "test_r151_a_module_from_elsewhere_is_never_asked_for",
    ),
    _guard(
        "R151",
        "programs/agents/agent_tokens.py",
        'return path if allowed and provider.startswith("/") else None',
        "return path",
        "interop/test_pkcs11.py::test_r151_p_says_where_modules_may_be",
    ),
    _guard(
        "case 275",
        "agent/session.py",
        "if not here or not isinstance(answer, Signed):",
        "if not isinstance(answer, Signed):",
        TOKENS + "test_case_275_a_key_that_goes_while_its_token_signs_has_not_signed",
    ),
    _guard(
        "case 270",
        "agent/session.py",
        "if not isinstance(answer, KeysListed) or self._keyring.locked:",
        "if not isinstance(answer, KeysListed):",
        TOKENS + "test_case_270_what_is_listed_after_a_lock_is_not_added",
    ),
    _guard(
        "case 265",
        "agent/session.py",
        "if not self._is_web_safe(held, login, request.data):",
        "if False:",
        TOKENS + "test_a_security_keys_key_for_a_web_site_signs_what_is_sshs_alone",
    ),
    _guard(
        "R159",
        "programs/agents/agent_service.py",
        "if uid not in {0, os.getuid()}:",
        "if False:",
        "interop/test_agent.py::test_r159_case_273_another_user_is_hung_up_on",
    ),
    _guard(
        "R159",
        "runtime/private_sockets.py",
        "return caller_of(stream) in {0, os.geteuid()}",
        "return True",
        "server/test_agent_forwarding.py"
        "::test_r159_another_user_who_gets_to_the_socket_is_hung_up_on",
    ),
    _guard(
        "R159",
        "runtime/private_sockets.py",
        "os.mkdir(directory, 0o700)",
        "os.mkdir(directory, 0o755)",
        "server/test_agent_forwarding.py"
        "::test_r159_r148_the_socket_is_the_users_alone_and_goes_with_the_connection",
    ),
    _guard(
        "R154",
        "client/forwarding/agent_forwarding.py",
        "core.host_key, core.session_id, core.host_key_signature, forwarding=True",
        'core.host_key, core.session_id, b"", forwarding=True',
        "interop/test_agent_forwarding.py"
        "::test_a_key_kept_to_destinations_goes_on_by_the_permitted_way_alone",
    ),
    _guard(
        "R143",
        "connection/x11.py",
        "if len(text) > 2 * LONGEST_COOKIE or not _HEX.fullmatch(text):",
        "if len(text) > 2 * LONGEST_COOKIE:",
        "server/test_x11_forwarding.py"
        "::test_what_cannot_be_a_cookie_is_refused_and_the_session_goes_on",
    ),
    _guard(
        "R143",
        "connection/x11.py",
        "if len(protocol) > LONGEST_PROTOCOL or not _PROTOCOL.fullmatch(protocol):",
        "if len(protocol) > LONGEST_PROTOCOL:",
        "server/test_x11_forwarding.py"
        "::test_what_cannot_be_a_cookie_is_refused_and_the_session_goes_on",
    ),
    _guard(
        "R144",
        "client/forwarding/x11_forwarding.py",
        """        journal.debug(str(error))
        return None
    else:""",
        """        journal.debug(str(error))
        return _list(xauth, (), display, journal)
    else:""",
        "client/test_lending.py"
        "::test_r144_the_displays_own_cookie_is_given_to_nobody_who_is_not_trusted",
    ),
    _guard(
        "R144",
        "client/forwarding/x11_forwarding.py",
        "return self._until is not None and self.loop.time() >= self._until",
        "return False",
        "interop/test_x11.py::test_r144_what_comes_after_forward_x11_timeout_is_refused",
    ),
    _guard(
        "R144",
        "connection/x11.py",
        "if held[_HEAD_BYTES : _HEAD_BYTES + name] != protocol or not same:",
        "if held[_HEAD_BYTES : _HEAD_BYTES + name] != protocol:",
        "client/test_lending.py::test_a_forged_cookie_is_refused_as_soon_as_it_can_be_told",
    ),
    _guard(
        "R145",
        "server/forwarding/x11_forwarding.py",
        "for host in LOOPBACK if self._rules.loopback else EVERYWHERE:",
        "for host in EVERYWHERE:",
        "server/test_x11_forwarding.py"
        "::test_r145_a_display_listens_on_loopback_alone_and_nobody_listens_beside_it",
    ),
    _guard(
        "R146",
        "client/forwarding/incoming.py",
        "if taker is None:",
        "if taker is None and not self._takers:",
        "client/test_lending.py::test_r146_what_was_not_asked_for_is_refused_whatever_else_was",
    ),
    _guard(
        "R146",
        "client/forwarding/incoming.py",
        "for line in _WARNINGS[kind]:",
        "for line in ():",
        "client/test_lending.py::"
        "test_r146_of_what_was_not_asked_for_the_first_of_each_type_is_told",
    ),
    _guard(
        "R150",
        "server/settings.py",
        "if any(match_pattern(name, dangerous) for dangerous in _DANGEROUS):",
        "if False:",
        "server/test_keywords.py::test_r150_a_pattern_lets_no_dangerous_variable_in",
        "server/test_serve.py::"
        "test_r150_variables_that_change_programs_are_taken_by_their_full_names_alone",
    ),
    _guard(
        "R150",
        "server/sessions/sessions.py",
        "len(self._client_variables) >= ENVIRONMENT_VARIABLES",
        "False",
        "server/test_sessions.py::test_r150_variables_are_bounded_in_number_and_in_bytes",
    ),
    _guard(
        "R157",
        "client/sessions/keystrokes.py",
        "sent = self._send_fake()",
        "sent = False",
        "client/test_keystrokes.py::"
        "test_r157_a_typed_line_is_a_steady_beat_and_fakes_go_on_for_a_second",
    ),
    _guard(
        "R157",
        "client/sessions/keystrokes.py",
        "self._until = now + _SHORTEST + self._fraction() * _VARYING",
        "self._until = now",
        "client/test_keystrokes.py::"
        "test_r157_a_typed_line_is_a_steady_beat_and_fakes_go_on_for_a_second",
    ),
    _guard(
        "R157",
        "client/sessions/keystrokes.py",
        '        self._typed = typed\n        self._go_on(self._loop.time())\n        return b""',
        "        self._go_on(self._loop.time())\n        return data",
        "client/test_keystrokes.py::"
        "test_r157_a_typed_line_is_a_steady_beat_and_fakes_go_on_for_a_second",
    ),
    _guard(
        "R159",
        "programs/agents/agent_place.py",
        "if status.st_mode & 0o077:",
        "if False:",
        "interop/test_agent.py::test_r159_the_socket_and_its_directory_are_the_owners_alone",
    ),
)

OPENSSH_FILES: Final = "keys/test_openssh_files.py::"
REVOCATION: Final = "keys/test_revocation.py::"
KEYGEN: Final = "programs/test_ssh_keygen.py::"

FILES: Final = (
    _guard(
        "case 278",
        "keys/openssh.py",
        "if count != 1:",
        "if False:",
        OPENSSH_FILES + "test_case_278_a_damaged_file_is_refused_with_its_cause",
    ),
    _guard(
        "case 278",
        "keys/openssh.py",
        "if cursor.uint32() != cursor.uint32():",
        "if not cursor.take(8):",
        OPENSSH_FILES + "test_case_278_a_damaged_file_is_refused_with_its_cause",
        OPENSSH_FILES + "test_case_279_an_encrypted_key_opens_with_its_passphrase_alone",
    ),
    _guard(
        "case 283",
        "programs/keygen/files.py",
        "if status.st_uid == user and status.st_mode & 0o077:",
        "if False:",
        KEYGEN + "test_case_283_a_private_key_that_others_may_touch_is_not_used",
    ),
    _guard(
        "case 287",
        "programs/keygen/files.py",
        "            _name_new(beside, path, mode)",
        "            os.replace(beside, path)",
        KEYGEN + "test_case_287_a_new_key_does_not_replace_one_that_came_up_meanwhile",
    ),
    _guard(
        "case 301",
        "keys/revocation.py",
        "if version != _VERSION:",
        "if False:",
        REVOCATION + "test_cases_301_to_303_a_list_that_is_not_understood_is_refused",
    ),
    _guard(
        "case 302",
        "keys/revocation.py",
        "    if critical:",
        "    if False:",
        REVOCATION + "test_cases_301_to_303_a_list_that_is_not_understood_is_refused",
    ),
    _guard(
        "case 303",
        "keys/revocation.py",
        "if bits < 0 or offset + bits.bit_length() > 1 << 64:",
        "if bits < 0:",
        REVOCATION + "test_cases_301_to_303_a_list_that_is_not_understood_is_refused",
    ),
    _guard(
        "case 305",
        "keys/revocation.py",
        'raise KeyFileError("a revocation list with a wrong signature")',
        "return",
        REVOCATION + "test_case_305_a_wrong_signature_or_something_behind_it",
    ),
)

CERTIFIED: Final = "server/test_certificates.py::"
SERVED: Final = "server/test_serve_certificates.py::"
SHOWN: Final = "client/test_certificates.py::"

CERTIFICATES: Final = (
    _guard(
        "R069",
        "server/authentication/certificates.py",
        "if options.source_address is not None and not _stands_in(address, options.source_address):",
        "if False:",
        CERTIFIED + "test_r069_a_certificate_for_some_addresses_is_good_from_nowhere_else",
        SERVED + "test_r069_a_certificate_for_some_addresses_needs_an_address",
    ),
    _guard(
        "R100",
        "server/authentication/certificates.py",
        "name in certificate.principals for name in line.principals",
        'name in ",".join(certificate.principals).split(",") for name in line.principals',
        CERTIFIED + "test_r100_the_principals_of_a_line_replace_the_users_name",
    ),
    _guard(
        "case 294",
        "server/authentication/certificates.py",
        "and line.command != certificate.force_command",
        "and False",
        CERTIFIED + "test_case_294_commands_that_contradict_each_other_let_nobody_in",
    ),
    _guard(
        "R110",
        "server/authentication/certificates.py",
        "getattr(line, name) and getattr(certificate, name)",
        "getattr(line, name)",
        CERTIFIED + "test_r110_what_either_does_not_allow_is_not_allowed",
    ),
    _guard(
        "R110",
        "server/authentication/certificates.py",
        "vars(made).update(vars(line))",
        "made.touch_required = line.touch_required",
        CERTIFIED + "test_case_294_commands_that_contradict_each_other_let_nobody_in",
    ),
    _guard(
        "R073",
        "server/authentication/certificates.py",
        "made.touch_required = line.touch_required or certificate.touch_required",
        "made.touch_required = line.touch_required and certificate.touch_required",
        CERTIFIED + "test_r073_the_touch_is_left_out_only_where_both_say_so",
    ),
    _guard(
        "R100",
        "server/authentication/access.py",
        "if not has_principal(certificate, line.options):",
        "if False:",
        CERTIFIED + "test_r100_the_principals_of_a_line_replace_the_users_name",
    ),
    _guard(
        "R104",
        "server/authentication/access.py",
        "            self._check_revoked(key)\n",
        "",
        CERTIFIED + "test_r104_case_298_what_is_revoked_lets_nobody_in",
        CERTIFIED + "test_cases_301_305_306_a_list_that_cannot_be_read_revokes_everything",
    ),
    _guard(
        "R100",
        "server/authentication/authorities.py",
        "names=(account.name,) if named is None else None",
        "names=None",
        CERTIFIED + "test_r100_r101_principals_are_names_one_by_one_and_never_everybody",
    ),
    _guard(
        "case 162",
        "server/authentication/commands.py",
        "if status.st_uid not in {0, os.geteuid()} or status.st_mode & 0o022:",
        "if status.st_uid not in {0, os.geteuid()}:",
        CERTIFIED + "test_a_command_that_anybody_could_have_put_there_is_not_run",
    ),
    _guard(
        "case 162",
        "server/authentication/commands.py",
        "if child.returncode != 0:",
        "if False:",
        CERTIFIED + "test_case_162_a_command_that_does_not_answer_lets_nobody_in",
    ),
    _guard(
        "R105",
        "server/authentication/admission.py",
        "if self._keys is not None or isinstance(question.key, Certificate):",
        "if self._keys is not None:",
        SERVED + "test_r105_a_function_alone_hears_of_no_certificate",
    ),
    _guard(
        "R104",
        "server/authentication/admission.py",
        "refusal = revocation(question.key, self._revoked)",
        'refusal = ""',
        SERVED + "test_r104_what_is_revoked_lets_nobody_in",
    ),
    _guard(
        "R068",
        "server/authentication/admission.py",
        "return all(grant.options.permit_pty",
        "return any(grant.options.permit_pty",
        SERVED + "test_r068_a_terminal_needs_the_word_of_every_key",
    ),
    _guard(
        "R068",
        "userauth/login.py",
        "if any(factor.key == inner for factor in self.factors):",
        "if any(factor.key == key for factor in self.factors):",
        SERVED + "test_r068_two_keys_allow_what_both_allow",
    ),
    _guard(
        "R103",
        "keys/certificates.py",
        "if self.role is not role:",
        "if False:",
        CERTIFIED + "test_r103_a_hosts_certificate_is_no_users",
        SHOWN + "test_r106_a_certificate_that_does_not_hold_is_as_good_as_its_key[R103 a user's]",
    ),
    _guard(
        "R101",
        "keys/certificates.py",
        "if not self.principals:",
        "if False:",
        CERTIFIED + "test_r100_r101_principals_are_names_one_by_one_and_never_everybody",
    ),
    _guard(
        "R103",
        "keys/certificates.py",
        "if now >= self.valid_before:",
        "if False:",
        CERTIFIED + "test_a_certificate_that_does_not_hold_lets_nobody_in",
        SHOWN + "test_r106_a_certificate_that_does_not_hold_is_as_good_as_its_key[R103 no more]",
    ),
    _guard(
        "R106",
        "client/hosts/host_keys.py",
        "            self._judge_key(key)\n        else:",
        "            self._trust()\n        else:",
        SHOWN + "test_r106_a_certificate_that_nobody_vouches_for_is_as_good_as_its_key",
        SHOWN + "test_r106_a_certificate_that_does_not_hold_is_as_good_as_its_key",
    ),
    _guard(
        "R104",
        "client/hosts/host_keys.py",
        "if found.state is HostKeyState.REVOKED:\n            # R104",
        "if False:\n            # R104",
        SHOWN + "test_r104_case_311_what_is_revoked_proves_nothing",
    ),
    _guard(
        "R104",
        "client/hosts/host_keys.py",
        "if revoked.revokes(shown):",
        "if False:",
        SHOWN + "test_r104_case_298_lists_of_revoked_keys_refuse_whatever_the_policy",
    ),
    _guard(
        "R103",
        "client/hosts/host_certificates.py",
        "names=((place.alias or place.host).lower(),),",
        "names=None,",
        SHOWN + "test_r106_a_certificate_that_does_not_hold_is_as_good_as_its_key[for another]",
        SHOWN + "test_an_alias_is_the_name_that_has_to_be_in_it",
    ),
)

SFTP_SERVER: Final = "sftp/test_server.py::"
SFTP_CLIENT: Final = "sftp/test_client.py::"
SFTP_MESSAGES: Final = "sftp/test_messages.py::"
FILE_SERVICE: Final = "server/test_file_service.py::"
ROOTED: Final = "server/test_rooted_files.py::"
FILE_SYSTEMS: Final = "server/test_file_systems.py::"
SERVED_FILES: Final = "server/test_serve_files.py::"
LIBRARY_FILES: Final = "client/test_files.py::"
LIBRARY_TREES: Final = "client/test_trees.py::"
RCP: Final = "sftp/test_rcp.py::"
SCP: Final = "programs/test_scp.py::"
SFTP_PROGRAM: Final = "programs/test_sftp_program.py::"

TRANSFERS: Final = (
    _guard(
        "R172",
        "sftp/rcp.py",
        'if name in {b".", b".."} or b"/" in name or b"\\0" in name:',
        'if name in {b".", b".."}:',
        RCP + "test_r172_case_259_a_name_that_leads_elsewhere_ends_it",
    ),
    _guard(
        "R172",
        "sftp/rcp.py",
        "if not self._depth and not self._accepts(name):",
        "if not self._depth and not self._accepts(name) and not name:",
        RCP + "test_r172_a_name_that_was_not_asked_for_ends_it",
    ),
    _guard(
        "R173",
        "programs/files/places.py",
        'return b"." if name == b".." else name',
        "return name",
        SCP + "test_r173_what_is_fetched_into_a_directory_has_the_last_name_of_what_was_asked_for",
    ),
    _guard(
        "R175",
        "programs/files/scp_legacy.py",
        "descriptor = os.open(what, _DIRECTORY | link, dir_fd=folder)",
        "descriptor = os.open(what, _DIRECTORY, dir_fd=folder)",
        SCP + "test_r175_no_link_is_followed_below_a_directory_that_is_received",
    ),
    _guard(
        "R185",
        "programs/files/scp_names.py",
        'made += b"\\\\" + bytes([byte])',
        "made.append(byte)",
        SCP + "test_r185_a_path_is_quoted_for_the_remote_shell_and_patterns_stay",
    ),
    _guard(
        "R186",
        "programs/files/sftp_typing.py",
        'and shown(name) == name.decode("utf-8", "surrogateescape")',
        "and name",
        SFTP_PROGRAM
        + "test_names_of_both_sides_are_completed_and_r186_no_control_character_comes_from_one",
    ),
    _guard(
        "R182",
        "sftp/server.py",
        "Stage.SERVING: frozenset(set(range(256)) - {Init.number}),",
        "Stage.SERVING: frozenset(set(range(256))),",
        SFTP_SERVER + "test_r182_case_226_a_second_init_is_the_end",
    ),
    _guard(
        "case 225",
        "sftp/server.py",
        "Stage.FRESH: frozenset({Init.number}),",
        "Stage.FRESH: frozenset(range(256)),",
        SFTP_SERVER + "test_case_225_nothing_is_done_before_init",
    ),
    _guard(
        "case 227",
        "sftp/server.py",
        "if not _SMALLEST <= length <= MOST_BYTES:",
        "if False:",
        SFTP_SERVER
        + "test_case_227_a_length_out_of_bounds_is_the_end_before_there_is_room_for_it",
    ),
    _guard(
        "R181",
        "sftp/server.py",
        "length = min(length, MOST_DATA)",
        "length = min(length, 1 << 20)",
        SFTP_SERVER + "test_r181_a_read_of_too_much_is_cut_to_what_a_message_holds",
    ),
    _guard(
        "case 246",
        "sftp/server.py",
        "            and self._out.size < MOST_WAITING\n",
        "",
        SFTP_SERVER + "test_case_246_a_client_that_does_not_read_is_not_worked_for",
    ),
    _guard(
        "R176",
        "sftp/server.py",
        "                self._failure = error\n",
        "                self._handlers.failed(error)\n",
        SFTP_SERVER + "test_r176_a_write_that_fails_in_its_middle_is_a_failure_and_writes_no_more",
    ),
    _guard(
        "R181",
        "sftp/server.py",
        "if frame != lane.size - 4 + length:",
        "if False:",
        SFTP_SERVER + "test_what_is_taken_in_any_pieces_is_done_as_if_it_came_whole",
    ),
    _guard(
        "R180",
        "sftp/handlers.py",
        "if len(self._held) >= self._most_handles:",
        "if False:",
        SFTP_SERVER
        + "test_r180_case_235_open_handles_are_limited_and_closed_when_the_client_is_gone",
    ),
    _guard(
        "R180",
        "sftp/handlers.py",
        'if len(getattr(request, field, b"")) > LONGEST_PATH:',
        "if False:",
        SFTP_SERVER + "test_r180_a_path_beyond_4096_bytes_is_refused_and_never_cut",
    ),
    _guard(
        "R178",
        "sftp/handlers.py",
        "if self.permits.read_only and flags & _CHANGING:",
        "if False:",
        SFTP_SERVER + "test_r178_a_read_only_server_opens_nothing_to_write_make_or_empty",
    ),
    _guard(
        "R178",
        "sftp/handlers.py",
        "if self.read_only and kind in WRITING:",
        "if False:",
        SFTP_SERVER + "test_r178_a_read_only_server_refuses_all_that_changes_anything",
    ),
    _guard(
        "case 231",
        "sftp/handlers.py",
        'handle = self._salt + self._count.to_bytes(4, "big")',
        'handle = b"pepp\\0\\0\\0\\1"',
        SFTP_SERVER + "test_r181_case_230_what_is_no_handle_opens_nothing",
    ),
    _guard(
        "case 243",
        "sftp/handlers.py",
        "if len(packed) % 4 or len(packed) > MOST_IDS * 4:",
        "if len(packed) % 4:",
        SFTP_SERVER + "test_case_243_extensions_answer_odd_wishes_within_bounds",
    ),
    _guard(
        "R177",
        "sftp/handlers.py",
        "if source_held.path == target_held.path or max(ends) > _MOST_OFFSET:",
        "if max(ends) > _MOST_OFFSET:",
        SFTP_SERVER + "test_r177_case_242_a_file_is_not_copied_into_itself",
    ),
    _guard(
        "R177",
        "server/files/sftp_files.py",
        "if os.path.samestat(os.fstat(source.descriptor), os.fstat(self.descriptor)):",
        "if False:",
        FILE_SERVICE + "test_r177_case_242_a_file_with_two_names_is_not_copied_into_itself",
    ),
    _guard(
        "case 241",
        "server/files/sftp_files.py",
        "        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))",
        "        return",
        FILE_SERVICE + "test_case_241_a_rename_never_replaces_and_directories_are_renamed_too",
    ),
    _guard(
        "R179",
        "runtime/inside.py",
        "_IN_ROOT: Final = _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGIC_LINKS",
        "_IN_ROOT: Final = 0",
        ROOTED + "test_r179_case_237_no_path_leads_outside",
        ROOTED + "test_r179_case_237_a_swapper_of_links_gets_no_client_outside[openat2-some]",
    ),
    _guard(
        "R179",
        "runtime/inside.py",
        "os.open(name, flags | os.O_NOFOLLOW, mode, dir_fd=self._directories[-1])",
        "os.open(name, flags, mode, dir_fd=self._directories[-1])",
        ROOTED + "test_r179_case_237_no_path_leads_outside",
        ROOTED + "test_r179_case_237_a_swapper_of_links_gets_no_client_outside[by hand-some]",
    ),
    _guard(
        "R179",
        "runtime/inside.py",
        "                if self._names:\n",
        "                if True:\n",
        ROOTED + "test_r179_case_238_a_real_path_is_one_of_inside_whatever_there_is_outside",
    ),
    _guard(
        "R179",
        "runtime/inside.py",
        "                    os.close(self._directories.pop())\n            elif",
        "                    up = os.open(b'..', os.O_PATH, dir_fd=self._directories.pop())\n"
        "                    self._directories.append(up)\n            elif",
        ROOTED + "test_r179_dots_in_a_directory_that_is_moved_out_meanwhile_lead_back_inside",
    ),
    _guard(
        "R179",
        "runtime/inside.py",
        "            self.close()\n            self._names.clear()\n",
        "            pass\n",
        ROOTED + "test_r179_what_is_written_through_a_link_lands_inside",
        ROOTED + "test_r179_case_238_a_real_path_is_one_of_inside_whatever_there_is_outside",
    ),
    _guard(
        "R180",
        "runtime/inside.py",
        "if len(self._names) >= _DEEPEST:",
        "if False:",
        ROOTED + "test_r180_a_path_of_two_thousand_parts_takes_no_two_thousand_descriptors",
    ),
    _guard(
        "R179",
        "server/files/rooted_files.py",
        'above = self._root.open(self._path + b"/..", os.O_PATH)',
        'above = os.open(b"..", os.O_PATH, dir_fd=self._directory)',
        ROOTED + "test_r179_the_root_s_parent_is_the_root",
    ),
    _guard(
        "R179",
        "server/files/rooted_files.py",
        "        if user:\n",
        "        if False:\n",
        ROOTED + "test_homes_are_inside_and_other_users_are_not_known",
    ),
    _guard(
        "R179",
        "server/files/service.py",
        'cannot serve from {wishes.root}: {error}")\n            raise\n',
        'cannot serve from {wishes.root}: {error}")\n            files = LocalFiles()\n',
        "interop/test_sftp.py::test_r179_a_root_that_is_not_there_is_served_by_nobody",
    ),
    _guard(
        "case 233",
        "server/files/memory_files.py",
        "        if self._bytes + grown > self._most_bytes:\n",
        "        if grown > 1 << 24 and False:\n",
        FILE_SYSTEMS + "test_memory_is_bounded_and_what_is_removed_is_free_again",
    ),
    _guard(
        "case 233",
        "server/files/fsspec_files.py",
        "        if at > self._size:\n",
        "        if False:\n",
        FILE_SYSTEMS + "test_case_233_a_hole_costs_no_memory",
    ),
    _guard(
        "R179",
        "server/files/fsspec_files.py",
        '            if part == b"..":\n',
        "            if False:\n",
        FILE_SYSTEMS + "test_r179_case_237_case_238_there_is_nothing_above_the_root",
    ),
    _guard(
        "R179",
        "server/files/fsspec_files.py",
        "if _LOCAL & {*((kinds,) if isinstance(kinds, str) else kinds)}:",
        "if False:",
        FILE_SYSTEMS + "test_r179_a_directory_of_this_machine_is_not_served_through_fsspec",
    ),
    _guard(
        "R068",
        "server/sessions/subsystem.py",
        "        if words[:1] != [BUILT_IN]:\n            return None\n",
        "",
        SERVED_FILES + "test_r068_a_key_s_only_command_holds_for_files_too",
    ),
    _guard(
        "R068",
        "server/sessions/subsystem.py",
        "            wishes.read_only or ours.read_only,\n",
        "            ours.read_only,\n",
        SERVED_FILES + "test_r068_a_key_s_only_command_holds_for_files_too",
    ),
    _guard(
        "R179",
        "server/sessions/chroot.py",
        "        if status.st_uid != 0 or status.st_mode & _OTHERS_WRITE:\n",
        "        if False:\n",
        "server/test_chroot.py::test_a_root_that_others_may_change_is_refused_with_openssh_s_words",
    ),
    _guard(
        "R189",
        "sftp/messages.py",
        'if b"\\0" in path:',
        "if False:",
        SFTP_MESSAGES + "test_r189_a_path_with_a_nul_is_no_path",
    ),
    _guard(
        "R182",
        "sftp/client.py",
        "if asked is None:\n            # R182",
        "if False:\n            # R182",
        SFTP_CLIENT + "test_a_server_that_breaks_the_protocol_is_given_up",
    ),
    _guard(
        "R183",
        "sftp/client.py",
        "if asked.single and isinstance(value, Name) and len(value.entries) != 1:",
        "if False:",
        SFTP_CLIENT + "test_a_server_that_breaks_the_protocol_is_given_up",
    ),
    _guard(
        "case 254",
        "sftp/client.py",
        "if size != room or size > asked.length:",
        "if size != room:",
        SFTP_CLIENT + "test_a_server_that_breaks_the_protocol_is_given_up",
    ),
    _guard(
        "case 249",
        "sftp/client.py",
        "if greeting.version != VERSION:",
        "if False:",
        SFTP_CLIENT + "test_case_249_what_does_not_begin_with_version_3_is_no_file_server",
    ),
    _guard(
        "case 254",
        "sftp/transfers.py",
        "if ended is not None and ended < size:",
        "if False:",
        LIBRARY_FILES
        + "test_case_254_a_file_that_ends_before_its_size_is_an_error_that_says_how_far_it_got",
    ),
    _guard(
        "R176",
        "sftp/transfers.py",
        "self._refused = offset if self._refused is None else min(self._refused, offset)\n"
        "            self.fail(error)",
        "self._refused = offset",
        LIBRARY_FILES + "test_r176_case_257_a_write_that_failed_fails_the_transfer",
    ),
    _guard(
        "R176",
        "sftp/transfers.py",
        "if piece.there and piece.buffer is not None and piece.offset > self._at:",
        "if False:",
        "sftp/test_cut_anywhere.py"
        "::test_a_line_that_is_cut_after_any_byte_leaves_beginnings_that_resuming_finishes"
        "[a file-in no order-get-some]",
    ),
    _guard(
        "R176",
        "sftp/transfers.py",
        "return (self._keeping + len(self._early)) * self._block < _MOST_KEEPING",
        "return self._keeping * self._block < _MOST_KEEPING",
        "sftp/test_cut_anywhere.py::test_a_server_whose_answers_skip_one_is_not_read_to_its_end",
    ),
    _guard(
        "R176",
        "client/files/sides.py",
        "reached, shortened = transfer.contiguous, False\n        wanted = messages.FileSetStat(made, Attributes(size=reached))",
        "reached, shortened = transfer.contiguous, False\n        wanted = messages.FileSetStat(made, Attributes())",
        "sftp/test_cut_anywhere.py::test_r176_a_write_that_failed_is_an_error"
        "_and_resuming_trusts_no_more_than_lies_before_it",
    ),
    _guard(
        "R176",
        "sftp/transfers.py",
        "return refused is not None and self._behind > refused",
        "return False",
        "sftp/test_cut_anywhere.py::test_r176_where_a_gap_cannot_be_taken_off_it_is_said_that_there_is_one",
    ),
    _guard(
        "R176",
        "runtime/local_trees.py",
        "            self._failure = error\n",
        "            pass\n",
        "sftp/test_cut_anywhere.py::test_r176_a_disk_that_fails_once_is_written_no_further",
    ),
    _guard(
        "case 226",
        "sftp/server.py",
        "    Stage.SERVING: frozenset(set(range(256)) - {Init.number}),",
        "    Stage.SERVING: frozenset(range(256)),",
        SFTP_SERVER + "test_r182_case_226_a_second_init_is_the_end",
    ),
    _guard(
        "case 229",
        "sftp/server.py",
        "        if at + _PLACE.size != len(frame):",
        "        if False:",
        SFTP_SERVER
        + "test_a_message_that_does_not_fit_its_length_is_a_bad_one_and_the_next_is_served",
    ),
    _guard(
        "case 230",
        "sftp/handlers.py",
        "        if held is None or held.listing is None:",
        "        if held is None:",
        SFTP_SERVER + "test_case_230_a_closed_handle_and_one_of_the_other_kind_are_none",
    ),
    _guard(
        "case 234",
        "sftp/handlers.py",
        "        if flags & messages.OPEN_EXCLUSIVE and not flags & messages.OPEN_CREATE:",
        "        if False:",
        SFTP_SERVER + "test_case_234_flags_of_open_that_do_not_fit",
    ),
    _guard(
        "case 239",
        "sftp/handlers.py",
        "held.listing.entries(ENTRIES_A_REPLY)",
        "held.listing.entries(100_000)",
        SFTP_SERVER + "test_case_239_a_huge_directory_comes_in_replies_of_a_hundred",
    ),
    _guard(
        "case 242",
        "sftp/handlers.py",
        "if source_held.path == target_held.path or max(ends) > _MOST_OFFSET:",
        "if source_held.path == target_held.path:",
        SFTP_SERVER + "test_r177_case_242_a_file_is_not_copied_into_itself",
    ),
    _guard(
        "case 245",
        "sftp/server.py",
        "        if self._handlers.refuse(kind):",
        "        if False:",
        SFTP_SERVER
        + "test_case_245_a_request_that_is_denied_or_not_allowed_is_refused_and_not_offered",
    ),
    _guard(
        "case 250",
        "sftp/client.py",
        "elif kind is None or kind is not asked.answer:",
        "elif kind is None:",
        SFTP_CLIENT + "test_a_server_that_breaks_the_protocol_is_given_up",
    ),
    _guard(
        "case 254",
        "sftp/client.py",
        "        if asked.answer is not Status:",
        "        if False:",
        SFTP_CLIENT + "test_a_server_that_breaks_the_protocol_is_given_up",
    ),
    _guard(
        "case 259",
        "sftp/rcp.py",
        '        if line != b"E" or not self._depth:',
        '        if line != b"E":',
        RCP + "test_case_259_a_line_that_cannot_be_meant_ends_it",
    ),
    _guard(
        "case 259",
        "sftp/rcp.py",
        "        if size > _MOST_SIZE:",
        "        if False:",
        RCP + "test_case_259_a_line_that_cannot_be_meant_ends_it",
    ),
    _guard(
        "case 259",
        "sftp/rcp.py",
        "            if len(self._line) > MOST_LINE:\n                self._broken",
        "            if False:\n                self._broken",
        RCP + "test_case_259_a_line_without_end_is_not_collected",
    ),
    _guard(
        "case 259",
        "sftp/rcp.py",
        "unfinished = self._stage is not _Stage.LINE or self._line or self._depth",
        "unfinished = False",
        RCP + "test_case_259_an_end_in_the_middle_is_a_lost_connection",
    ),
    _guard(
        "case 259",
        "sftp/rcp.py",
        "        if not self._recursive:",
        "        if False:",
        RCP + "test_case_259_a_directory_is_refused_where_none_was_asked_for",
    ),
    _guard(
        "case 259",
        "sftp/rcp.py",
        "        if max(mtime, atime) > _MOST_TIME:",
        "        if False:",
        RCP + "test_case_259_a_line_that_cannot_be_meant_ends_it",
    ),
    _guard(
        "R174",
        "programs/files/scp_legacy.py",
        "                mode & _PERMISSIONS | stat.S_IWUSR,",
        "                mode & _ALL | stat.S_IWUSR,",
        SCP + "test_r174_without_p_nothing_privileged_arrives",
    ),
    _guard(
        "R174",
        "client/files/sides.py",
        "    return Attributes(permissions=attributes.mode, atime",
        "    return Attributes(uid=attributes.uid, gid=attributes.gid, permissions=attributes.mode, atime",
        LIBRARY_TREES + "test_r174_a_copy_that_keeps_all_keeps_no_owner",
    ),
    _guard(
        "case 230",
        "sftp/handlers.py",
        'SftpError if it is none."""\n'
        "        held = self._held.get(handle)\n"
        "        if held is None or held.file is None:",
        'SftpError if it is none."""\n'
        "        held = self._held.get(handle)\n"
        "        if held is None:",
        SFTP_SERVER + "test_case_230_a_closed_handle_and_one_of_the_other_kind_are_none",
    ),
    _guard(
        "R173",
        "sftp/remote_files.py",
        'if not name or b"/" in name or b"\\0" in name or name in {b".", b".."}:',
        "if False:",
        LIBRARY_FILES + "test_r173_a_listing_with_a_way_to_somewhere_else_is_refused",
    ),
    _guard(
        "R173",
        "client/files/files.py",
        'if name in {b"", b".", b".."}:',
        "if False:",
        LIBRARY_FILES + "test_r173_what_has_no_name_of_its_own_is_not_fetched_into_a_directory",
    ),
    _guard(
        "R174",
        "runtime/local_trees.py",
        "PLAIN: Final = 0o777",
        "PLAIN: Final = 0o7777",
        LIBRARY_FILES + "test_r174_what_is_fetched_has_no_set_user_id",
    ),
    _guard(
        "R172",
        "client/files/copying.py",
        "            for name, attributes in found:\n                checked(name)",
        "            for name, attributes in found:",
        LIBRARY_TREES + "test_r172_r173_a_source_that_does_not_check_its_names_is_checked",
    ),
    _guard(
        "R175",
        "runtime/local_trees.py",
        "_DIRECTORY | os.O_NOFOLLOW",
        "_DIRECTORY",
        LIBRARY_TREES + "test_r175_a_link_is_not_written_through",
    ),
    _guard(
        "R175",
        "runtime/local_trees.py",
        "flags = _CREATE | os.O_NOFOLLOW",
        "flags = _CREATE",
        LIBRARY_TREES + "test_r175_a_link_is_not_written_through",
    ),
    _guard(
        "R183",
        "sftp/remote_files.py",
        "if len(found) > MOST_ENTRIES or size > MOST_LISTING:",
        "if len(found) > 100 * MOST_ENTRIES:",
        "client/test_file_objects.py::test_r183_a_listing_without_an_end_is_stopped",
    ),
    _guard(
        "R184",
        "sftp/globs.py",
        "if len(name) > LONGEST or (",
        "if (",
        "sftp/test_globs.py::test_r184_what_is_longer_than_any_name_is_not_looked_at",
    ),
    _guard(
        "R184",
        "sftp/remote_files.py",
        "seen.add((directory, len(parts)))",
        "seen.add((directory, -1))",
        "client/test_trees.py::test_r184_a_directory_is_looked_through_once_for_each_part",
    ),
    _guard(
        "R176",
        "client/files/remote_file.py",
        "self._failure = error",
        "self._failure = None",
        "client/test_file_objects.py"
        "::test_r176_a_write_that_failed_is_raised_by_all_that_comes_after_it",
    ),
    _guard(
        "case 253",
        "client/files/copying.py",
        "if attributes.is_directory and directory.leads_back(real):",
        "if False:",
        LIBRARY_TREES + "test_case_253_a_link_that_leads_back_is_an_error",
    ),
    _guard(
        "case 261",
        "client/files/sides.py",
        "if here > there:",
        "if False:",
        LIBRARY_TREES + "test_case_261_more_than_there_is_to_have_is_no_beginning",
    ),
)

SERVER_CONFIG: Final = "config/test_sshd_config.py::"
IN_BLOCKS: Final = "server/test_keywords.py::test_r113_a_match_block_is_in_force"

CONFIGURATION: Final = (
    _guard(
        "R115",
        "config/sshd_reading.py",
        "        if row.tokens:\n",
        "        if False:\n",
        SERVER_CONFIG + "test_r115_case_325_what_would_fail_at_every_login_is_refused_at_once",
    ),
    _guard(
        "R115",
        "config/sshd_kinds.py",
        'if colon and (method != "keyboard-interactive" or not device):',
        "if False:",
        SERVER_CONFIG + "test_r115_case_325_what_would_fail_at_every_login_is_refused_at_once",
    ),
    _guard(
        "R114",
        "server/settings.py",
        "    check_algorithms(configuration.algorithms_named)\n",
        "",
        "programs/test_sshd.py::test_what_makes_no_sense_is_refused_where_opensshs_refuses_it",
    ),
    _guard(
        "R113",
        "server/system.py",
        "        if self._config.refuse_connection:\n",
        "        if False:\n",
        IN_BLOCKS + "[RefuseConnection]",
    ),
    _guard(
        "R113",
        "server/settings.py",
        "        required_rsa_size=required_rsa_size(config),\n",
        "",
        IN_BLOCKS + "[RequiredRSASize]",
    ),
)

SHARING: Final = "programs/test_ssh_sharing.py::"
TALK: Final = "mux/test_talk.py::"

CONTROL_SOCKETS: Final = (
    _guard(
        "R158",
        "programs/ssh/master.py",
        'if self.config.control_master not in {"ask", "autoask"}:',
        "if True:",
        SHARING + "test_r158_whoever_runs_the_master_is_asked_about_every_request",
        SHARING + "test_r158_without_anybody_to_ask_the_answer_is_no",
    ),
    _guard(
        "R158",
        "programs/ssh/master.py",
        'answer(said is not None and said.lower() in {b"", b"yes"})',
        "answer(True)",
        SHARING + "test_r158_whoever_runs_the_master_is_asked_about_every_request",
    ),
    _guard(
        "R158",
        "programs/ssh/visitor.py",
        '    Proxy: lambda _, host: f"Allow multiplexed proxy connection to {host}? ",\n',
        "",
        SHARING + "test_r158_whoever_runs_the_master_is_asked_about_every_request[ssh]",
    ),
    _guard(
        "R159",
        "programs/ssh/master.py",
        "if not is_trusted(uid):",
        "if False:",
        SHARING + "test_r159_another_user_is_not_heard_even_where_the_file_lets_him_in",
    ),
    _guard(
        "R159",
        "runtime/control_sockets.py",
        "    if not trusted:\n",
        "    if False:\n",
        SHARING + "test_r159_case_337_a_socket_of_somebody_else_is_handed_nothing",
    ),
    _guard(
        "case 331",
        "mux/talk.py",
        "if hello.version != VERSION:",
        "if False:",
        TALK + "test_case_331_without_the_one_hello_there_is_no_conversation",
    ),
    _guard(
        "case 333",
        "mux/talk.py",
        "if place != self._start or len(found) != 1:",
        "if place != self._start:",
        TALK + "test_case_333_three_descriptors_with_one_byte_are_not_one_each",
    ),
    _guard(
        "case 333",
        "mux/talk.py",
        "if self._came and self._came[0][0] < self._start:",
        "if False:",
        TALK + "test_case_333_descriptors_are_not_kept_for_the_next_session",
    ),
    _guard(
        "case 335",
        "programs/ssh/visitor.py",
        "            guest.drop()\n",
        "            guest.look_at_size()\n",
        SHARING + "test_case_335_a_passengers_death_ends_its_command_and_nothing_is_left",
    ),
    _guard(
        "case 337",
        "runtime/control_sockets.py",
        "if stat.S_ISLNK(os.lstat(path).st_mode):",
        "if False:",
        SHARING + "test_case_337_what_is_no_masters_socket_is_not_connected_to",
    ),
    _guard(
        "case 337",
        "runtime/control_sockets.py",
        "if stat.S_ISSOCK(os.lstat(path).st_mode):",
        "if True:",
        SHARING + "test_case_337_what_is_no_masters_socket_is_not_connected_to",
    ),
)

LISTENING: Final = "server/test_listening.py::"

FORWARDING: Final = (
    _guard(
        "R145",
        "runtime/gateways.py",
        "return (host,) if host in LOOPBACK else LOOPBACK",
        "return EVERYWHERE",
        "client/test_remote_forwards.py::"
        "test_r145_where_nothing_else_is_said_a_server_listens_for_its_own_machine_alone",
    ),
    _guard(
        "R146",
        "client/forwarding/listening.py",
        "takers = self._takers.get(place)\n        if takers is None:",
        "takers = next(iter(self._takers.values()), None)\n        if takers is None:",
        "client/test_listening.py::test_r146_only_what_was_asked_for_is_taken_by_address_and_port",
    ),
    _guard(
        "R147",
        "connection/machine.py",
        "name, token = self._global_waiting.pop(0)",
        "name, token = self._global_waiting.pop()",
        "client/test_listening.py::"
        "test_r147_answers_to_mixed_forwards_and_cancels_reach_whoever_asked",
    ),
    _guard(
        "R149",
        "server/forwarding/forwarding.py",
        "opens = all(one.names_opening for one in forcing)",
        "opens = True",
        "server/test_forwarding_rules.py::"
        "test_r149_what_a_key_with_a_command_names_is_allowed_in_that_direction_alone",
    ),
    _guard(
        "R149",
        "server/forwarding/forwarding.py",
        "listens = all(one.names_listening for one in forcing)",
        "listens = True",
        "client/test_remote_forwards.py::"
        "test_r149_a_server_of_the_library_listens_only_where_it_and_the_key_permit",
        "server/test_forwarding_rules.py::"
        "test_r149_what_a_key_with_a_command_names_is_allowed_in_that_direction_alone",
    ),
    _guard(
        "R110",
        "server/forwarding/forwarding.py",
        "return bool(self.devices & mode) and all(one.permit_tunnel for one in self.options)",
        "return bool(self.devices & mode)",
        "server/test_network_devices.py::"
        "test_r110_devices_are_joined_where_configuration_and_key_permit_it",
    ),
    _guard(
        "R149",
        "server/forwarding/forwarding.py",
        "devices = devices if named else 0",
        "pass",
        "server/test_network_devices.py::"
        "test_r149_beside_a_key_s_command_no_device_is_joined_unless_that_is_said",
    ),
    _guard(
        "case 177",
        "server/forwarding/listening.py",
        " or not 0 <= port <= LARGEST_PORT or",
        " or",
        LISTENING + "test_case_177_no_port_that_is_none_is_listened_on",
    ),
    _guard(
        "case 178",
        "server/forwarding/listening.py",
        "if 0 < port < PRIVILEGED and os.geteuid() != 0:",
        "if False:",
        LISTENING + "test_case_178_a_user_gets_no_privileged_port_whatever_the_system_allows",
    ),
    _guard(
        "case 179",
        "server/forwarding/listening.py",
        " and len(self._listeners) < MOST_LISTENERS",
        "",
        LISTENING + "test_case_179_one_place_is_had_once_and_a_hundred_together",
    ),
    _guard(
        "case 182",
        "server/forwarding/listening.py",
        "unlink=rules.unlink)",
        "unlink=True)",
        LISTENING + "test_case_182_a_path_that_is_none_or_taken_is_refused",
    ),
)

DISPLAYS: Final = "client/test_display.py::"
POOL: Final = "client/test_pool.py::"
TUNNEL: Final = "programs/test_tunnel.py::"

KEPT_UP: Final = (
    _guard(
        "R016",
        "programs/tunnels/plan.py",
        'options["host_keys"] = HostKeyPolicy.STRICT',
        'options["host_keys"] = HostKeyPolicy.ACCEPT_NEW',
        TUNNEL
        + "test_r016_a_host_that_nobody_knows_is_not_trusted_because_nobody_is_there_to_be_asked",
    ),
    _guard(
        "R036",
        "programs/tunnels/status.py",
        """yield visible(f"{one['name']:{names}}  {one['state']:10}  {_detail(one)}")""",
        """yield f"{one['name']:{names}}  {one['state']:10}  {_detail(one)}\"""",
        TUNNEL + "test_r036_what_a_server_says_cannot_steer_the_terminal_of_who_asks",
    ),
    _guard(
        "R145",
        "programs/tunnels/plan.py",
        "gateway=config.gateway_ports,",
        "gateway=True,",
        TUNNEL
        + "test_r145_a_tunnel_listens_for_its_own_machine_alone_unless_it_is_told_otherwise",
    ),
    _guard(
        "R146",
        "client/forwarding/remote_forwards.py",
        "if permitted != ANYWHERE and not any(names_place(one, host, port) for one in permitted):",
        "if False:",
        TUNNEL + "test_r146_permit_remote_open_bounds_where_socks_from_the_server_leads",
        "client/test_remote_forwards.py"
        "::test_without_a_target_each_connection_says_by_socks_where_it_wants_to_go",
    ),
    _guard(
        "R146",
        "client/tunnel.py",
        "await connection.lead_from_there(standing.asked, standing.permitted)",
        "await connection.lead_from_there(standing.asked)",
        TUNNEL + "test_r146_permit_remote_open_bounds_where_socks_from_the_server_leads",
    ),
    _guard(
        "R159",
        "programs/tunnels/status.py",
        "        and not stat.S_IMODE(found.st_mode) & 0o077\n",
        "",
        TUNNEL + "test_r159_who_was_killed_and_who_talks_nonsense_are_no_tunnels",
    ),
    _guard(
        "R159",
        "programs/tunnels/status.py",
        "if not called_by_us(stream):",
        "if False:",
        TUNNEL + "test_r159_another_user_is_told_nothing_even_where_the_files_let_him_in",
    ),
    _guard(
        "case 221",
        "client/forwarding/leading.py",
        "if len(self._asking) >= MOST_ASKING:",
        "if False:",
        "client/test_forwards.py"
        "::test_case_221_more_askers_than_there_is_room_for_are_turned_away",
    ),
    _guard(
        "R140",
        "client/pool.py",
        "free = [one for one in ours if one.lent < self._sessions]",
        "free = ours",
        POOL + "test_r140_those_who_come_together_wait_for_one_login",
        POOL + "test_r140_who_finds_no_room_waits_for_the_first_that_is_given_back",
    ),
    _guard(
        "R140",
        "client/pool.py",
        "if len(ours) >= self._max_per_host:",
        "if False:",
        POOL + "test_r140_who_finds_no_room_waits_for_the_first_that_is_given_back",
    ),
)

WINDOWS: Final = (
    _guard(
        "R014",
        "client/display_lending.py",
        "if connection.lent.unsafe:",
        "if False:",
        DISPLAYS + "test_r014_a_server_whose_key_has_changed_is_shown_no_display",
    ),
    _guard(
        "R143",
        "server/forwarding/client_display.py",
        "cookie = read_cookie(request.protocol, request.cookie)",
        "cookie = Cookie(request.protocol, request.cookie.encode())",
        DISPLAYS + "test_r143_what_no_cookie_can_be_is_refused_before_any_function_sees_it",
    ),
    _guard(
        "R143",
        "server/forwarding/client_display.py",
        "if request.screen > LARGEST_SCREEN:",
        "if False:",
        DISPLAYS + "test_r143_what_no_cookie_can_be_is_refused_before_any_function_sees_it",
    ),
    _guard(
        "R143",
        "server/serve.py",
        "self._permit_x11 and ",
        "",
        DISPLAYS + "test_r143_a_server_shows_windows_only_where_it_and_the_key_permit_it",
    ),
    _guard(
        "R143",
        "server/serve.py",
        " and permits_x11(grants)",
        "",
        DISPLAYS + "test_r143_a_server_shows_windows_only_where_it_and_the_key_permit_it",
    ),
    _guard(
        "R144",
        "client/display_lending.py",
        "trusted=display.trusted,",
        "trusted=True,",
        DISPLAYS + "test_r144_without_a_cookie_for_those_who_are_not_trusted_nothing_is_shown",
    ),
    _guard(
        "R144",
        "client/display_lending.py",
        "bound = None if display.trusted else display.timeout or None",
        "bound = None",
        DISPLAYS
        + "test_r144_what_comes_after_the_time_is_refused_and_the_next_session_has_a_time_of_its_own",
    ),
    _guard(
        "R144",
        "client/display_lending.py",
        "if forwarding is None or forwarding.late:",
        "if forwarding is None:",
        DISPLAYS
        + "test_r144_what_comes_after_the_time_is_refused_and_the_next_session_has_a_time_of_its_own",
    ),
    _guard(
        "R146",
        "client/forwarding/x11_forwarding.py",
        "if self._single and not self._left:",
        "if False:",
        DISPLAYS + "test_r146_a_single_connection_is_one_at_both_ends",
    ),
)

GUARDS: Final = (
    *FORWARDING,
    *KEPT_UP,
    *WINDOWS,
    *CONFIGURATION,
    *CONTROL_SOCKETS,
    *FILES,
    *TRANSPORT,
    *WIRE,
    *ALGORITHMS,
    *KEYS,
    *LOGIN,
    *CONNECTION,
    *ACCOUNTS,
    *CERTIFICATES,
    *HOSTS,
    *AGENT,
    *TRANSFERS,
)
