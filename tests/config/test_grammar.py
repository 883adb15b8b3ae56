# SPDX-License-Identifier: MIT
"""Lines and words of configuration files."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.config.paper_machine import PaperMachine

from tellin.config.grammar import LONGEST_LINE, quoted, read_line, read_lines, split_words
from tellin.config.ssh_reading import read_ssh_config
from tellin.config.sshd_reading import Peer, read_sshd_config
from tellin.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "keyword", "words"),
    [
        ("Port 22", "Port", ["22"]),
        ("Port=22", "Port", ["22"]),
        ("Port = 22", "Port", ["22"]),
        ("Port\t22", "Port", ["22"]),
        ("Port =22", "Port", ["22"]),
        ("Port==22", "Port", ["=22"]),
        ("Host a b  c", "Host", ["a", "b", "c"]),
        ("Host a # b c", "Host", ["a"]),
        ("Host a#b", "Host", ["a#b"]),
        ('IdentityFile "a b"', "IdentityFile", ["a b"]),
        ("IdentityFile 'a \"b'", "IdentityFile", ['a "b']),
        ('SetEnv A="b c" D=e', "SetEnv", ["A=b c", "D=e"]),
        (r"IdentityFile a\ b", "IdentityFile", ["a b"]),
        (r'X "a\"b" c\\d e\f', "X", ['a"b', r"c\d", r"e\f"]),
        (r'X "a\ b"', "X", [r"a\ b"]),
        ('X "#a" #b', "X", ["#a"]),
        ('X ""', "X", [""]),
        ("X a\u00a0b", "X", ["a\u00a0b"]),
        ("X", "X", []),
        ("X a\\", "X", ["a\\"]),
    ],
)
def test_a_line_is_a_keyword_and_words(text: str, keyword: str, words: list[str]) -> None:
    line = read_line(text, file="f", number=3)
    assert (line.keyword, line.words()) == (keyword, words)


@pytest.mark.parametrize("text", ['X "a', "X 'a", 'X a"b c', "X \"a'"])
def test_an_open_quote_is_an_error_with_its_place(text: str) -> None:
    with pytest.raises(ConfigError, match="f line 3: a quote is not closed") as caught:
        read_line(text, file="f", number=3).words()
    assert (caught.value.file, caught.value.line, caught.value.keyword) == ("f", 3, "X")


@pytest.mark.parametrize("text", ["= 22", '"Port" 22', "X a\0b"])
def test_a_line_without_keyword_or_with_a_nul_is_an_error(text: str) -> None:
    with pytest.raises(ConfigError, match="f line 1"):
        read_line(text, file="f", number=1)


def test_comments_empty_lines_and_both_line_ends() -> None:
    text = "# c\r\n\r\n  Port 1\r\n\t# d\nHost a \nX b"
    found = [(line.number, line.keyword, line.rest) for line in read_lines(text, file="f")]
    assert found == [(3, "Port", "1"), (5, "Host", "a"), (6, "X", "b")]


def test_only_a_newline_ends_a_line() -> None:
    (line,) = read_lines("X a\u2028Port 1\x0bPort 2", file="f")
    assert line.keyword == "X"


def test_r109_an_over_long_line_comes_whole_and_without_keyword() -> None:
    # R109: a reader with a fixed buffer would take the tail for a line of its own.
    long, after = read_lines("X " + "a" * LONGEST_LINE + " Port 1\nPort 2", file="f")
    assert (long.keyword, long.rest) == ("", "")
    assert (after.number, after.rest) == (2, "2")


@given(st.text(st.characters(exclude_characters="\n\0")))
def test_a_quoted_word_reads_back(word: str) -> None:
    assert split_words(f"{quoted(word)} x") == [word, "x"]


@given(st.text(st.sampled_from("=\\\"'# \ta"), min_size=1))
def test_a_quoted_word_reads_back_behind_its_keyword(word: str) -> None:
    assert read_line(f"user {quoted(word)} x", file="f").words() == [word, "x"]
    assert read_line(f"user={quoted(word)} x", file="f").words() == [word, "x"]


@pytest.mark.parametrize("word", [r"CORP\alice", r"C:\keys\id", "a#b", "a=b", "SHA256:x=", "+a"])
def test_what_reads_back_as_it_is_has_no_quotes(word: str) -> None:
    assert quoted(word) == word


@pytest.mark.parametrize(
    "word", ["", "=b", "#b", "it's", 'a"b', "a b", "a\tb", "a\\", r"\\server\share", r"a\'b"]
)
def test_what_would_read_as_something_else_has_quotes(word: str) -> None:
    assert quoted(word).startswith('"')


# Whole files with every way of writing a value: each beginning is read, or refused with its place.
R116 = {
    "ssh_config": b"""
Host "a b" !c *.example
    HostName=192.0.2.1
    User = "me \\" too"
    Ciphers +aes*-gcm@openssh.com
    LocalForward [::1]:8080 host:80
Match user me exec "true" host h?st,!x
    SetEnv A=b "C=d e"
    RekeyLimit 1G 1h
""",
    "sshd_config": b"""
ListenAddress [::1]:22
Subsystem sftp internal-sftp -u 077
MaxStartups 10:30:100
Match User me,!you Address 192.0.2.0/24
    SetEnv A=b "C=d e"
    AuthorizedKeysCommand /x "%u"
""",
}


@pytest.mark.parametrize("file", R116)
def test_r116_every_beginning_of_a_configuration_is_read_or_refused(file: str) -> None:
    text = R116[file].decode()
    refused = []
    for end in range(len(text) + 1):
        machine = PaperMachine({file: text[:end]})
        try:
            if file == "ssh_config":
                read_ssh_config(machine, "host", file=file)
            else:
                read_sshd_config(machine, file=file).for_peer(Peer(user="me", address="192.0.2.1"))
        except ConfigError as error:
            refused.append((error.file, error.line, text[:end].count("\n") + 1))
    # It is always the line that was cut off, and no other.
    assert 0 < len(refused) < len(text)
    assert [one for one in refused if one[:2] != (file, one[2])] == []
