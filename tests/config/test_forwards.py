# SPDX-License-Identifier: MIT
"""What is forwarded where: every way to write it, beside OpenSSH's reading of the same."""

import subprocess

import pytest
from tests.config.paper_machine import paper

from tellin.config.forwards import Forward, parse_forward
from tellin.config.ssh_reading import read_ssh_config
from tellin.errors import ConfigError

LOCAL = [
    "8080:host:80",
    "a:8080:host:80",
    "[::1]:80:[::2]:90",
    "*:80:h:1",
    ":80:h:1",
    "80:/tmp/b",
    "a:80:/tmp/b",
    "/tmp/a:/tmp/b",
    "/tmp/a:host:80",
    "65535:h:65535",
]
REMOTE = [*LOCAL, "80", "0", "a:80", "[::1]:90", "/tmp/a", "0:h:90", "80:/tmp/x"]
DYNAMIC = ["1080", "a:1080", "[::1]:1080", "*:1080", "/tmp/socks"]
NEITHER = [
    "", ":", "80", "80:h", "0:h:1", "80:h:0", "80:h:", "80:h:65536", "80:h:-1", "80:h:1:2", "a:b:c",
    "1:2:3:4:5", "[::1:80:h:1", "[::1]80:h:1", "/tmp/a", "/tmp/a:80", "a/80/h/90",
    "/tmp/" + "a" * 108 + ":h:80", "80:" + "h" * 1100 + ":80", "80::90",
]  # fmt: skip


def openssh(flag: str, text: str) -> list[str]:
    done = subprocess.run(
        ["ssh", "-F", "none", "-G", flag, text, "h"], capture_output=True, text=True, check=False
    )
    keyword = {"-L": "localforward ", "-R": "remoteforward ", "-D": "dynamicforward "}[flag]
    return [line for line in done.stdout.splitlines() if line.startswith(keyword)]


def ours(keyword: str, text: str) -> list[str]:
    # A file takes both ends as two words or, like a flag, as one.
    made = parse_forward(
        text, remote=keyword == "RemoteForward", socks=keyword == "DynamicForward"
    )
    words = f"{keyword} {made.listening} {made.leading}"
    found = read_ssh_config(paper(words), "h")
    return [line for line in found.dump() if line.startswith(keyword.lower() + " ")]


@pytest.mark.peer("ssh")
@pytest.mark.parametrize(
    ("flag", "keyword", "text"),
    [
        *(("-L", "LocalForward", text) for text in LOCAL),
        *(("-R", "RemoteForward", text) for text in REMOTE),
        *(("-D", "DynamicForward", text) for text in DYNAMIC),
    ],
)
def test_every_form_is_read_as_openssh_reads_it(flag: str, keyword: str, text: str) -> None:
    said = openssh(flag, text)
    assert len(said) == 1
    assert ours(keyword, text) == said


@pytest.mark.parametrize("text", NEITHER)
def test_what_is_no_forwarding_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_forward(text)


@pytest.mark.parametrize("text", ["0", "1:2:3", "1:/tmp/x", "/a:/b", "[::1", "65536"])
def test_what_leads_nowhere_has_no_destination(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_forward(text, socks=True)


def test_a_backslash_keeps_a_colon_in_a_path() -> None:
    made = parse_forward(r"/tmp/a\:b\\c:host:80")
    assert made.listen_path == r"/tmp/a:b\c"
    assert parse_forward(f"{made.listening}:{made.leading}") == made


def test_the_parts_have_names() -> None:
    made = parse_forward("[::1]:80:/run/x", remote=True)
    assert made == Forward("::1", 80, "", "", 0, "/run/x")
    assert not made.is_socks
    assert parse_forward("/run/y:h:22").listen_path == "/run/y"
    assert parse_forward("22", remote=True).is_socks
    assert parse_forward("22:h:22").listen_host is None
    assert parse_forward(":22:h:22").listen_host == ""


@pytest.mark.parametrize(
    "line",
    [
        "LocalForward 80",
        "LocalForward 80 h:90 x",
        "DynamicForward 80 h:80",
        "RemoteForward 80 h:90 x",
        "LocalForward 0 h:90",
    ],
)
def test_a_line_has_as_many_words_as_it_needs(line: str) -> None:
    with pytest.raises(ConfigError, match=r"line 1: .*Forward: "):
        read_ssh_config(paper(line), "h")


def test_forwardings_add_up() -> None:
    text = "LocalForward 80 h:90\nLocalForward 81 h:91\nRemoteForward 0\nDynamicForward 1080"
    found = read_ssh_config(paper(text), "h")
    assert [one.listen_port for one in found.local_forward] == [80, 81]
    assert [one.listen_port for one in found.dynamic_forward] == [1080]
    assert not found.not_yet
    assert list(
        read_ssh_config(paper("\n".join(found.dump()).partition("\n")[2]), "h").dump()
    ) == list(found.dump())
