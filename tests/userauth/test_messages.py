# SPDX-License-Identifier: MIT
import pytest

from tellin.errors import MalformedPacket
from tellin.userauth.messages import (
    HostBasedFields,
    InfoRequest,
    InfoResponse,
    KeyboardInteractiveFields,
    NoneFields,
    PasswordChangeFields,
    PasswordChangeRequest,
    PasswordFields,
    PublicKeyFields,
    PublicKeyOk,
    SignedHostBasedFields,
    SignedHostBoundFields,
    SignedPublicKeyFields,
    UserauthBanner,
    UserauthFailure,
    UserauthRequest,
    UserauthSuccess,
    host_based_signed_data,
    method_fields,
    signed_data,
)
from tellin.wire import Message, string

MESSAGES = [
    UserauthRequest("me", "ssh-connection", "none", b""),
    UserauthFailure(("publickey", "password"), partial_success=True),
    UserauthSuccess(),
    UserauthBanner("Hello\r\n", "en"),
    PublicKeyOk("ssh-ed25519", b"blob"),
    PasswordChangeRequest("It has run out.", ""),
    InfoRequest("Name", "Instruction", "", (("Password: ", False), ("Code: ", True))),
    InfoResponse((b"secret", b"123456")),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_reads_back_as_it_was_written(message: Message) -> None:
    assert type(message).decode(message.encode()) == message


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_every_shortened_message_is_malformed(message: Message) -> None:
    payload = message.encode()
    # A request's last field is whatever is left: its own layout is checked by its method.
    least = len(payload) if message.number != 50 else len(payload) - 1
    for size in range(1, least):
        with pytest.raises(MalformedPacket):
            type(message).decode(payload[:size])


def test_a_request_is_laid_out_as_in_rfc_4252_section_5() -> None:
    fields = PasswordFields(changing=False, password=b"pw")
    request = UserauthRequest("me", "ssh-connection", "password", fields.encode())
    assert request.encode() == (
        b"\x32\0\0\0\x02me\0\0\0\x0essh-connection\0\0\0\x08password\0\0\0\0\x02pw"
    )


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("none", NoneFields()),
        ("publickey", PublicKeyFields(signed=False, algorithm="a", key_blob=b"b")),
        (
            "publickey",
            SignedPublicKeyFields(signed=True, algorithm="a", key_blob=b"b", signature=b"s"),
        ),
        (
            "publickey-hostbound-v00@openssh.com",
            SignedHostBoundFields(
                signed=True, algorithm="a", key_blob=b"b", host_key_blob=b"h", signature=b"s"
            ),
        ),
        ("password", PasswordFields(changing=False, password=b"p")),
        ("password", PasswordChangeFields(changing=True, password=b"p", new_password=b"n")),
        ("keyboard-interactive", KeyboardInteractiveFields("", b"pam")),
        ("hostbased", SignedHostBasedFields("a", b"b", "host.", "me", signature=b"s")),
    ],
)
def test_a_methods_fields_are_found_by_its_name_and_flag(method: str, fields: Message) -> None:
    request = UserauthRequest("me", "ssh-connection", method, fields.encode())
    assert method_fields(request) == fields


def test_a_method_without_a_layout_has_no_fields() -> None:
    assert method_fields(UserauthRequest("me", "ssh-connection", "gssapi", b"\xff")) is None


def test_bytes_after_a_methods_fields_are_malformed() -> None:
    data = PasswordFields(changing=False, password=b"p").encode() + b"\0"
    with pytest.raises(MalformedPacket):
        method_fields(UserauthRequest("me", "ssh-connection", "password", data))


def test_signed_data_is_that_of_rfc_4252_section_7() -> None:
    data = signed_data(b"session", user="me", algorithm="ssh-ed25519", key_blob=b"blob")
    assert data == (
        string(b"session")
        + b"\x32"
        + string(b"me")
        + string(b"ssh-connection")
        + string(b"publickey")
        + b"\x01"
        + string(b"ssh-ed25519")
        + string(b"blob")
    )


def test_host_bound_signed_data_ends_in_the_host_key() -> None:
    plain = signed_data(b"session", user="me", algorithm="ssh-ed25519", key_blob=b"blob")
    bound = signed_data(
        b"session", user="me", algorithm="ssh-ed25519", key_blob=b"blob", host_key_blob=b"host"
    )
    name = b"publickey-hostbound-v00@openssh.com"
    assert bound == plain.replace(string(b"publickey"), string(name)) + string(b"host")


def test_host_based_signed_data_is_that_of_rfc_4252_section_9() -> None:
    fields = HostBasedFields("ssh-ed25519", b"blob", "host.", "her")
    assert host_based_signed_data(b"session", user="me", fields=fields) == (
        string(b"session")
        + b"\x32"
        + b"".join(map(string, [b"me", b"ssh-connection", b"hostbased", b"ssh-ed25519", b"blob"]))
        + string(b"host.")
        + string(b"her")
    )


def test_passwords_and_answers_do_not_show_in_repr_r210() -> None:
    secret = "hunter2"
    shown = repr(
        [
            PasswordChangeFields(True, secret.encode(), new_password=secret.encode()),
            InfoResponse((secret.encode(),)),
            UserauthRequest("me", "ssh-connection", "password", secret.encode()),
        ]
    )
    assert secret not in shown


def test_32_prompts_are_read_and_33_are_not_r086() -> None:
    def request(count: int) -> bytes:
        return InfoRequest("", "", "", (("?", True),) * count).encode()

    assert len(InfoRequest.decode(request(32)).prompts) == 32
    with pytest.raises(MalformedPacket):
        InfoRequest.decode(request(33))


def test_case_150_a_count_of_2_32_minus_1_is_malformed_before_anything_is_allocated() -> None:
    with pytest.raises(MalformedPacket):
        InfoResponse.decode(b"\x3d" + b"\xff\xff\xff\xff")
    with pytest.raises(MalformedPacket):
        InfoResponse.decode(b"\x3d" + b"\0\0\0\x20" + b"\0\0\0\0" * 31)


def test_case_170_a_banner_of_1_mib_is_cut_to_8_kib() -> None:
    banner = UserauthBanner.decode(b"\x35" + string(b"x" * 2**20) + string(b""))
    assert banner.text == "x" * 8192


def test_a_banner_in_another_encoding_is_shown_with_marks_and_ends_nothing() -> None:
    banner = UserauthBanner.decode(b"\x35" + string("Gr\xfc\xdfe".encode("latin-1")) + string(b""))
    assert banner.text == "Gr\ufffd\ufffde"


def test_case_167_a_list_of_10_000_methods_is_cut_and_cleaned() -> None:
    methods = [b"pass\x1b[2Jword", b"", b"publickey", *(b"m%d" % n for n in range(10_000))]
    failure = UserauthFailure.decode(b"\x33" + string(b",".join(methods)) + b"\0")
    assert failure.methods[:2] == ("publickey", "m0")
    assert len(failure.methods) <= 64
