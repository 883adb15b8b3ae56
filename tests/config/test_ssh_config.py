# SPDX-License-Identifier: MIT
"""ssh_config: which value counts for which host."""

import re
import subprocess
from hashlib import sha1
from pathlib import Path

import pytest
from tests.config.paper_machine import SYSTEM, USER, PaperMachine, paper
from tests.work import work

from tellin.config.keywords import Row
from tellin.config.ssh_config import SshConfig
from tellin.config.ssh_reading import read_ssh_config
from tellin.errors import ConfigError


def port_of(machine: PaperMachine, host: str = "host", **given: str) -> int:
    return read_ssh_config(machine, host, **given).port  # type: ignore[arg-type]


# --- order ---------------------------------------------------------------------------------------


def test_options_beat_the_users_file_and_that_beats_the_systems() -> None:
    one = PaperMachine({USER: "Port 2\nUser u", SYSTEM: "Port 3\nUser v\nTag t"})
    found = read_ssh_config(one, "host", options=["Port=1"])
    assert (found.port, found.user, found.tag) == (1, "u", "t")
    assert found.origin("port") == ("command-line", 0)
    assert found.origin("user") == (USER, 2)
    assert found.origin("tag") == (SYSTEM, 3)
    assert one.guarded == [USER]


def test_the_first_value_wins_and_some_accumulate() -> None:
    found = read_ssh_config(
        paper("Port 1\nPort 2\nIdentityFile a\nIdentityFile b\nSetEnv A=1\nSetEnv B=2"), "host"
    )
    assert found.port == 1
    assert found.identity_file == ("a", "b")
    assert found.set_env == ("A=1",)


def test_identity_file_none_leaves_no_key() -> None:
    assert read_ssh_config(paper("IdentityFile none"), "h").identity_file == ()
    assert len(read_ssh_config(paper(""), "h").identity_file) == 6


def test_send_env_can_take_names_out() -> None:
    text = "SendEnv LANG LC_* X\nSendEnv -LC_* -X Y"
    assert read_ssh_config(paper(text), "h").send_env == ("LANG", "Y")


def test_the_user_and_port_of_the_command_line_come_first() -> None:
    found = read_ssh_config(paper("User u\nPort 1"), "h", user="%h", port=2)
    assert (found.user, found.port) == ("%h", 2)
    # R171: what was typed is taken as it is.
    assert found.expanded(paper("")).user == "%h"


def test_dash_f_reads_one_file_alone_and_none_reads_nothing() -> None:
    one = PaperMachine({USER: "Port 2", SYSTEM: "Tag t", "/x": "User u"})
    found = read_ssh_config(one, "host", file="/x")
    assert (found.port, found.tag, found.user) == (22, None, "u")
    assert read_ssh_config(one, "host", file="none").port == 22
    with pytest.raises(ConfigError, match=r"^Can't open user config file /y"):
        read_ssh_config(one, "host", file="/y")


# --- Host ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patterns", "host", "fits"),
    [
        ("host", "host", True),
        ("HOST", "host", False),
        ("*", "host", True),
        ("h?st", "host", True),
        ("a b host", "host", True),
        ("* !host", "host", False),
        ("!host *", "host", False),
        ("!other", "host", False),
        ("a,host", "host", False),
        ("192.0.2.*", "192.0.2.1", True),
        ("10.* # comment", "192.0.2.1", False),
    ],
)
def test_host_blocks(patterns: str, host: str, fits: bool) -> None:
    assert port_of(paper(f"Host {patterns}\nPort 1\nHost *\nPort 2"), host) == (1 if fits else 2)


def test_a_line_before_any_block_counts_for_all() -> None:
    assert port_of(paper("Port 1\nHost host\nPort 2")) == 1


def test_a_block_ends_with_its_file() -> None:
    assert port_of(PaperMachine({USER: "Host nobody\nPort 1", SYSTEM: "Port 2"})) == 2


# --- Match ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("criteria", "fits"),
    [
        ("all", True),
        ("!all", False),
        ("host host", True),
        ("host=host", True),
        ("host h*,x", True),
        ("host *,!host", False),
        ("!host host", False),
        ("!host x", True),
        ("host x user root", False),
        ("originalhost host", True),
        ("localuser me", True),
        ("localuser you", False),
        ("user me", True),
        ("user root", False),
        ("exec true", True),
        ("exec false", False),
        ("!exec false", True),
        ('exec "true %h %n %p %r %u %%"', True),
        ("localnetwork 192.0.2.0/24", True),
        ("localnetwork 198.51.100.0/24,10.0.0.0/8", False),
        ("localnetwork 2001:db8::/32", True),
        ('tagged ""', True),
        ("tagged x", False),
        ("command date*", True),
        ('command ""', False),
        ("sessiontype exec", True),
        ("sessiontype shell", False),
        ("version tellin_*", True),
        ("final", None),
        ("final all", None),
        ("canonical", False),
        ("host host exec true", True),
        ("HOST host # comment", True),
    ],
)
def test_match_criteria(criteria: str, fits: bool | None) -> None:
    one = paper(f"Match {criteria}\nPort 1\nMatch all\nPort 2")
    found = read_ssh_config(one, "host", command="date -u", session="exec", version="tellin_0.1.0")
    # In the second pass that "final" asks for, the port is set already.
    assert found.port == (1 if fits else 2)


@pytest.mark.parametrize(
    "criteria",
    [
        "",
        "bogus x",
        "host",
        "user me host",
        "all host x",
        "host x all",
        "all all",
        "all=x",
        "localnetwork 192.0.2.1/24",
        "localnetwork name",
        "localnetwork 192.0.2.0/24,host",
        "exec 'true",
        "exec %z",
    ],
)
def test_a_bad_match_is_refused_with_its_place(criteria: str) -> None:
    with pytest.raises(ConfigError, match=f"^{USER} line 2: "):
        port_of(paper(f"\nMatch {criteria}\nPort 1"))


def test_match_host_means_the_real_name_and_originalhost_the_typed_one() -> None:
    text = "Host alias\nHostname real.example\nMatch host real.example originalhost alias\nPort 1"
    assert port_of(paper(text), "alias") == 1
    assert port_of(paper("Hostname %h.x\nMatch host a.x\nPort 1"), "a") == 1


def test_match_user_and_tagged_see_what_stands_above() -> None:
    assert port_of(paper("User bob\nMatch user bob\nPort 1")) == 1
    assert port_of(paper("Match user bob\nPort 1\nMatch all\nUser bob")) == 22
    assert port_of(paper("Tag x\nMatch tagged x\nPort 1")) == 1


def test_a_command_runs_only_if_everything_before_it_holds() -> None:
    one = paper("Match host x exec true1\nMatch exec true2 host x\nHost x\nMatch exec true3")
    port_of(one)
    assert one.ran == ["true2", "true3"]


def test_a_command_gets_no_name_that_a_shell_could_misread() -> None:
    # R170: the file may name such a user, and the command may not have it.
    one = paper("User $(id)\nMatch exec 'true %r'\nPort 1")
    with pytest.raises(ConfigError, match="%r must not get to a shell"):
        port_of(one)
    assert one.ran == []


def test_final_makes_a_second_pass_that_only_adds() -> None:
    text = (
        "Match final\nUser late\nIdentityFile c\nPort 9\n"
        "Match !final\nPort 1\nMatch all\nIdentityFile a\nIdentityFile b\nSendEnv X"
    )
    found = read_ssh_config(paper(text), "host")
    assert (found.user, found.port) == ("late", 1)
    assert found.identity_file == ("a", "b", "c")
    assert found.send_env == ("X",)


def test_the_second_pass_knows_the_host_by_its_real_name() -> None:
    text = "Host alias\nHostname REAL\nHost real\nPort 1\nMatch final host real\nUser u"
    found = read_ssh_config(paper(text), "alias")
    assert (found.host, found.port, found.user) == ("real", 1, "u")


# --- Include -------------------------------------------------------------------------------------


def test_include_by_pattern_is_sorted_and_relative_to_the_files_place() -> None:
    one = PaperMachine(
        {
            USER: "Include conf.d/*.conf\nInclude ~/x ~root/y nosuch",
            "/home/me/.ssh/conf.d/b.conf": "Port 2",
            "/home/me/.ssh/conf.d/a.conf": "Port 1",
            "/home/me/x": "User x",
            "/root/y": "Tag y",
            SYSTEM: "Include sys",
            "/etc/ssh/sys": "LogLevel DEBUG",
        }
    )
    found = read_ssh_config(one, "host")
    assert (found.port, found.user, found.tag, found.log_level) == (1, "x", "y", "DEBUG1")
    assert found.origin("port") == ("/home/me/.ssh/conf.d/a.conf", 1)
    # Who may write a file of the user's decides what we do, however we got there.
    assert "/home/me/x" in one.guarded
    assert "/etc/ssh/sys" not in one.guarded


def test_include_takes_tokens_and_variables() -> None:
    one = PaperMachine({USER: "Include ${DIR}/%h", "/d/host": "Port 1"}, DIR="/d")
    assert port_of(one) == 1


def test_an_include_counts_for_its_block_and_blocks_inside_end_with_it() -> None:
    one = PaperMachine(
        {
            USER: "Host a\nInclude inner\nPort 3\nHost *\nPort 4",
            "/home/me/.ssh/inner": "Host *\nUser u\nHost b\nPort 1",
        }
    )
    found = read_ssh_config(one, "a")
    assert (found.user, found.port) == ("u", 3)
    found = read_ssh_config(one, "b")
    assert (found.user, found.port) == ("me", 4)


def test_an_include_in_a_block_for_others_runs_nothing() -> None:
    one = PaperMachine({USER: "Host x\nInclude inner", "/home/me/.ssh/inner": "Match exec true"})
    port_of(one)
    assert one.ran == []


def test_include_loops_and_floods_end() -> None:
    with pytest.raises(ConfigError, match="more than 16 files include one another"):
        port_of(PaperMachine({USER: "Include config"}))
    chain = {f"/home/me/.ssh/{n}": f"Include {n + 1}" for n in range(15)}
    assert port_of(PaperMachine({USER: "Include 0", **chain, "/home/me/.ssh/15": "Port 7"})) == 7
    with pytest.raises(ConfigError, match="more than 16"):
        port_of(PaperMachine({USER: "Include 0", **chain, "/home/me/.ssh/15": "Include 16",
                         "/home/me/.ssh/16": ""}))  # fmt: skip
    wide = {f"/home/me/.ssh/d/{n}": "Include e/*" for n in range(70)}
    wide |= {f"/home/me/.ssh/e/{n}": "" for n in range(70)}
    with pytest.raises(ConfigError, match="more than 4096 files"):
        port_of(PaperMachine({USER: "Include d/*", **wide}))
    flood = {f"/home/me/.ssh/d/{n}": "Include d/*" for n in range(10)}
    with pytest.raises(ConfigError, match=r"more than 4096 files|more than 16 files"):
        port_of(PaperMachine({USER: "Include d/*", **flood}))


@pytest.mark.parametrize("include", ["", "~nobody/x", "'x", "${NOSUCH}", "%z", "secret"])
def test_a_bad_include_is_refused(include: str) -> None:
    one = PaperMachine({USER: f"Include {include}", "/home/me/.ssh/secret": None})
    with pytest.raises(ConfigError, match=r"config line 1: |secret: cannot be read"):
        port_of(one)


def test_a_system_file_includes_nothing_of_a_user() -> None:
    with pytest.raises(ConfigError, match="in a system file"):
        port_of(PaperMachine({SYSTEM: "Include ~/x"}))


# --- what is not there, what is wrong ------------------------------------------------------------


@pytest.mark.parametrize("where", ["Host host", "Host other"])
@pytest.mark.parametrize(
    "line",
    [
        "Prot 22",
        "Port xx",
        "Port",
        "Port 22 23",
        'User "a',
        "Compression x",
        "Host",
        "ObscureKeystrokeTiming every:5",
        "ObscureKeystrokeTiming interval:0",
    ],
)
def test_a_bad_line_is_refused_in_every_block(where: str, line: str) -> None:
    with pytest.raises(ConfigError, match=f"^{USER} line 2: ") as caught:
        port_of(paper(f"{where}\n{line}"))
    assert (caught.value.file, caught.value.line) == (USER, 2)


def test_unknown_keywords_can_be_let_pass() -> None:
    text = "IgnoreUnknown Use*,foo\nUseKeychain yes\nFOO bar\nPort 1"
    assert port_of(paper(text)) == 1
    with pytest.raises(ConfigError, match="Bad configuration option: UseKeychain") as caught:
        port_of(paper("UseKeychain yes\nIgnoreUnknown Use*"))
    assert caught.value.hint


def test_people_files_load_though_features_are_missing() -> None:
    text = (
        "Host *\n  HostbasedAuthentication yes\n  AddKeysToAgent yes\n  ControlMaster auto\n"
        "  ControlPath ~/.ssh/cm-%r@%h:%p\n  ControlPersist 10m # long\n  GSSAPIAuthentication yes\n"
        "  Protocol 2\n  UseRoaming no\n  Port 2222\n"
    )
    found = read_ssh_config(paper(text), "host")
    assert found.port == 2222
    assert [(left.keyword, left.value, left.line) for left in found.not_yet] == [
        ("HostbasedAuthentication", "yes", 2),
        ("GSSAPIAuthentication", "yes", 7),
    ]
    assert found.warnings == ()
    assert f"{USER} line 9: Deprecated option UseRoaming is ignored" in found.story


@pytest.mark.parametrize(
    "option",
    ["GSSAPIAuthentication yes", "GSSAPIAuthentication=yes", "HostbasedAuthentication=yes"],
)
def test_what_is_missing_is_refused_by_name_on_the_command_line(option: str) -> None:
    with pytest.raises(ConfigError, match=r"^command-line: [A-Za-z]+ is not supported$"):
        read_ssh_config(paper(""), "host", options=[option])


def test_values_that_ask_for_nothing_are_taken_on_the_command_line() -> None:
    # The options that scp and sftp give to the ssh that they start.
    given = ["ForwardX11=no", "ForwardAgent no", "PermitLocalCommand=no", "ClearAllForwardings=yes",
             "ControlMaster=no", "ControlPath none", "RequestTTY=no"]  # fmt: skip
    found = read_ssh_config(paper("ForwardAgent yes"), "host", options=given)
    assert found.not_yet == ()
    assert found.request_tty == "no"


def test_proxy_command_and_proxy_jump_compete() -> None:
    found = read_ssh_config(paper("ProxyCommand nc %h %p\nProxyJump bastion"), "host")
    assert found.proxy_command == "nc %h %p"
    found = read_ssh_config(paper("ProxyJump none\nProxyCommand nc %h %p"), "host")
    assert found.proxy_command == "nc %h %p"
    found = read_ssh_config(paper("ProxyCommand none\nProxyJump bastion"), "host")
    assert (found.proxy_command, found.proxy_jump) == (None, None)


@pytest.mark.parametrize(
    "option", ["Host x", "Match all", "Include x", "", "=", "Bogus x", "Port"]
)
def test_a_bad_option_is_refused(option: str) -> None:
    with pytest.raises(ConfigError):
        read_ssh_config(paper(""), "host", options=[option])


def test_an_over_long_line_is_skipped_whole_with_a_warning() -> None:
    found = read_ssh_config(paper("Tag " + "a " * 5000 + "\nPort 1"), "host")
    assert found.port == 1
    assert found.warnings == (f"{USER} line 1: an over-long line is skipped",)
    with pytest.raises(ConfigError, match="too long"):
        read_ssh_config(paper(""), "host", options=["Tag " + "a" * 9000])


@pytest.mark.parametrize(
    "host", ["", "-oProxyCommand=x", "a b", "a;b", "$(x)", "a\nb", "x" * 2000]
)
def test_a_host_that_is_more_than_a_name_is_refused(host: str) -> None:
    with pytest.raises(ConfigError, match="invalid host name"):
        read_ssh_config(paper(""), host)


def test_a_file_cannot_make_the_host_more_than_a_name() -> None:
    for name in ("-oX", "'a b'", "a;b"):
        with pytest.raises(ConfigError, match=f"^{USER} line 1: Hostname: "):
            read_ssh_config(paper(f"Hostname {name}"), "host")
    with pytest.raises(ConfigError, match="unknown token"):
        read_ssh_config(paper("Hostname %p"), "host")


# --- values put in -------------------------------------------------------------------------------


def test_tokens_variables_and_tildes_are_put_in() -> None:
    one = paper(
        "Hostname %h.example\nUser ${WHO}-%u\nIdentityFile ~/.ssh/%r@%h:%p\n"
        "UserKnownHostsFile ~/%n ~root/k ${WHO}\nIdentityAgent ~/a-%L\nRemoteCommand echo %i %l\n"
        "ProxyCommand nc %h %p\nSetEnv A=%d B=${WHO}\nVersionAddendum at %l\nHostKeyAlias %h\n",
        WHO="w",
    )
    found = read_ssh_config(one, "Foo").expanded(one)
    assert found.host == "foo.example"
    assert found.user == "w-me"
    # What %r stands for is the user as written: nothing is put in twice.
    assert found.identity_file == ("/home/me/.ssh/${WHO}-%u@foo.example:22",)
    assert found.user_known_hosts_file == ("/home/me/Foo", "/root/k", "w")
    assert found.identity_agent == "/home/me/a-box"
    assert found.remote_command == "echo 1000 box.example.org"
    assert found.proxy_command == "nc foo.example 22"
    assert found.set_env == ("A=/home/me", "B=w")
    assert found.version_addendum == "at box.example.org"
    assert found.host_key_alias == "%h"


def test_a_connection_has_a_short_name_of_its_own() -> None:
    one = paper("IdentityFile %C")
    (name,) = read_ssh_config(one, "host").expanded(one).identity_file
    assert re.fullmatch("[0-9a-f]{40}", name)
    (other,) = read_ssh_config(one, "host", port=23).expanded(one).identity_file
    assert name != other


def test_the_host_before_the_server_is_a_token_and_part_of_a_connections_name() -> None:
    """As OpenSSH since 9.6: by way of another host it is another connection that is shared."""

    def path(text: str) -> str | None:
        one = paper(f"ControlPath {text}")
        return read_ssh_config(one, "host", user="me", port=22).expanded(one).control_path

    way = "\nProxyJump a@gate:24,[fe80::1]:33"
    assert path(f"/c-%j{way}") == "/c-fe80::1"
    assert path("/c-%j\nProxyJump ssh://you@gate:24") == "/c-gate"
    assert path("/c-%j") == path("/c-%j\nProxyJump none") == "/c-"
    here = paper("").host
    ends = f"{here}host22me".encode()
    direct, led = (
        sha1(ends + hop, usedforsecurity=False).hexdigest() for hop in (b"", b"fe80::1")
    )
    assert path("/%C") == f"/{direct}"
    assert path(f"/%C{way}") == f"/{led}"


@pytest.mark.parametrize(
    "line",
    ["IdentityFile %z", "ProxyCommand %C", "User %r", "IdentityFile ${NOSUCH}", "SetEnv A=%"],
)
def test_a_bad_token_is_refused_with_its_place_where_it_is_used(line: str) -> None:
    one = paper(f"\n{line}")
    found = read_ssh_config(one, "host")
    with pytest.raises(ConfigError, match=f"^{USER} line 2: {line.split(maxsplit=1)[0]}: "):
        found.expanded(one)


def test_a_variable_that_is_not_set_is_no_fault_of_what_is_shown_as_it_is_written() -> None:
    text = "IdentityFile ${NOSUCH}/id\nCertificateFile ${NOSUCH}/c\nProxyCommand nc %h\n"
    one = paper(text + "LocalCommand echo %T")
    found = read_ssh_config(one, "host").shown(one)
    assert found.identity_file == ("${NOSUCH}/id",)
    assert found.certificate_file == ("${NOSUCH}/c",)
    assert (found.proxy_command, found.local_command) == ("nc %h", "echo %T")
    # Of what is shown as it will be used it is one, as with OpenSSH.
    other = paper("ControlPath ${NOSUCH}/c")
    used = read_ssh_config(other, "host")
    with pytest.raises(ConfigError, match="NOSUCH is not set"):
        used.shown(other)


def test_a_proxy_command_gets_no_name_that_a_shell_could_misread() -> None:
    one = paper("User $(id)\nProxyCommand ssh %r@jump")
    with pytest.raises(ConfigError, match="%r must not get to a shell"):
        read_ssh_config(one, "host").expanded(one)


@pytest.mark.parametrize("user", ["../x", "/x", "a/b", "..", "."])
@pytest.mark.parametrize("keyword", ["IdentityFile", "IdentityAgent", "UserKnownHostsFile"])
def test_r117_a_user_that_leads_elsewhere_becomes_part_of_no_path(keyword: str, user: str) -> None:
    one = paper(f"{keyword} ~/keys/%r")
    with pytest.raises(ConfigError, match=f"line 1: {keyword}: %r is no part of a path"):
        read_ssh_config(one, "host", user=user).expanded(one)
    # Where it is part of none it is a name like others.
    assert read_ssh_config(one, "host", user=user).user == user


def test_r117_a_host_is_no_directory_of_ours() -> None:
    one = paper("UserKnownHostsFile ~/hosts/%h")
    with pytest.raises(ConfigError, match="%h is no part of a path"):
        read_ssh_config(one, "..").expanded(one)
    found = read_ssh_config(one, "a..b").expanded(one).user_known_hosts_file
    assert found == ("/home/me/hosts/a..b",)


@pytest.mark.parametrize("port", ["0", "65536", "99999", "-1", "x", "", "4294967295"])
def test_r111_a_port_that_is_none_is_not_every_port(port: str) -> None:
    with pytest.raises(ConfigError, match="line 1: PermitRemoteOpen: "):
        read_ssh_config(paper(f"PermitRemoteOpen host:{port}"), "host")
    for good in ("1", "65535", "*"):
        found = read_ssh_config(paper(f"PermitRemoteOpen host:{good}"), "host")
        assert found.permit_remote_open == (f"host:{good}",)


R116_FILE = (
    'Host a "b c" !d\n  Hostname %h.example\n  User "me too"\n  IdentityFile ~/.ssh/%r@%h\n'
    'Match host x exec "test -f ${HOME}/x"\n  RekeyLimit 1G 1h\nMatch final all\n'
    "  SendEnv LANG LC_*\n  IPQoS af21 cs1\n  Include ~/more\n\tPort=22 # the usual\n"
)


@pytest.mark.parametrize("size", range(len(R116_FILE) + 1))
def test_r116_every_beginning_of_a_good_file_is_read_or_refused(size: int) -> None:
    one = paper(R116_FILE[:size], HOME="/home/me")
    for host in ("a", "x"):
        try:
            read_ssh_config(one, host).expanded(one)
        except ConfigError as fault:
            assert fault.file == USER  # noqa: PT017  (either is right)
            assert fault.line == R116_FILE[:size].count("\n") + 1  # noqa: PT017


@pytest.mark.parametrize("user", ["-x", "a;b", "$(id)", "'a b'", "a\x1bb", "${A}$(id)", "a\\\\b"])
def test_r170_a_user_of_an_option_is_one_of_the_command_line(user: str) -> None:
    one = paper("Match exec true", A="a")
    with pytest.raises(ConfigError, match="invalid user name"):
        read_ssh_config(one, "host", options=[f"User={user}"])
    assert one.ran == []
    found = read_ssh_config(one, "host", options=["User=${A}%u"]).expanded(one)
    assert found.user == "ame"


def test_an_alias_of_a_host_is_written_as_known_hosts_has_it() -> None:
    found = read_ssh_config(paper("HostKeyAlias ALIAS"), "host")
    assert (found.host_key_alias, found.expanded(paper("")).host_key_alias) == ("alias", "alias")


def test_none_is_no_time_of_its_own() -> None:
    found = read_ssh_config(paper("ServerAliveInterval none\nForwardX11Timeout none"), "host")
    assert (found.server_alive_interval, found.forward_x11_timeout) == (0, 1200)


@pytest.mark.parametrize("user", ["", "-x", "a;b", "$(id)", "a b", "a\x1bb"])
def test_a_user_that_is_more_than_a_name_is_refused(user: str) -> None:
    one = paper("Match exec true")
    with pytest.raises(ConfigError, match="invalid user name"):
        read_ssh_config(one, "host", user=user)
    assert one.ran == []


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("", "/agent"),
        ("IdentityAgent SSH_AUTH_SOCK", "/agent"),
        ("IdentityAgent $OTHER", "/other"),
        ("IdentityAgent ${OTHER}", "/other"),
        ("IdentityAgent $NOSUCH", None),
        ("IdentityAgent none", None),
        ("IdentityAgent ~/a", "/home/me/a"),
    ],
)
def test_where_the_agent_is(line: str, wanted: str | None) -> None:
    one = paper(line, SSH_AUTH_SOCK="/agent", OTHER="/other")
    assert read_ssh_config(one, "host").expanded(one).agent_path(one.environment) == wanted


def test_which_files_and_blocks_have_a_say_is_told() -> None:
    machine = paper(
        "Host other\n Port 1\nHost !bad h*\n Port 2\n Include more\nHost h* host\n Port 3"
    )
    machine.files["/home/me/.ssh/more"] = "Host nobody\n User x\nHost host\n User y\n"
    found = read_ssh_config(machine, "host")
    assert (found.port, found.user) == (2, "y")
    assert found.story == (
        f"Reading configuration data {USER}",
        f"{USER} line 3: Applying options for h*",
        "Reading configuration data /home/me/.ssh/more",
        "/home/me/.ssh/more line 3: Applying options for host",
        f"{USER} line 6: Applying options for h*",
    )


def test_host_keys_are_learnt_unless_the_user_has_files_of_his_own() -> None:
    def learns(text: str) -> str:
        return read_ssh_config(paper(text), "h").update_host_keys

    assert learns("") == "yes"
    assert learns("UserKnownHostsFile x") == "no"
    assert learns("VerifyHostKeyDNS ask") == "no"
    assert learns("UserKnownHostsFile x\nUpdateHostKeys ask") == "ask"


def test_what_is_not_there_yet_is_left_out_only_where_somebody_asked_for_it() -> None:
    assert read_ssh_config(paper("UserKnownHostsFile x\nPort 1"), "h").not_yet == ()
    assert (
        read_ssh_config(paper("HostbasedAuthentication no\nTunnelDevice any"), "h").not_yet == ()
    )
    found = read_ssh_config(paper("HostbasedAuthentication yes\nControlMaster auto"), "h").not_yet
    assert [(left.keyword, left.value) for left in found] == [("HostbasedAuthentication", "yes")]


# --- the dump ------------------------------------------------------------------------------------

LINES = [
    "AddKeysToAgent yes", "AddKeysToAgent ask", "AddKeysToAgent confirm", "AddKeysToAgent 5m",
    "AddKeysToAgent confirm 1h", "KnownHostsCommand /x %H '%t'", "UpdateHostKeys ask",
    "NoHostAuthenticationForLocalhost yes", "VerifyHostKeyDNS ask",
    "AddressFamily inet6", "BatchMode yes", "BindAddress 192.0.2.1",
    "CheckHostIP yes", "Ciphers +aes128-cbc", "Compression yes", "ConnectTimeout 1m",
    "ConnectionAttempts 3", "EscapeChar ^b", "EscapeChar none", "FingerprintHash md5",
    "GlobalKnownHostsFile none", "HashKnownHosts yes", "HostKeyAlias x", "Hostname y",
    "IdentitiesOnly yes", "IdentityAgent none", "IdentityFile none", "IdentityFile 'a\"b'",
    "IPQoS af21 0x10", "KbdInteractiveAuthentication no", "LogLevel debug", "MACs -*sha1*",
    "NumberOfPasswordPrompts 0", "ObscureKeystrokeTiming interval:7", "PasswordAuthentication no",
    "PreferredAuthentications publickey,password", "ProxyCommand nc '%h' # %p",
    "PubkeyAuthentication host-bound", "RekeyLimit 1G 1h", 'RemoteCommand echo "a b" # c',
    "RequestTTY force", "RequiredRSASize 2048", "SendEnv LANG LC_*", "ServerAliveCountMax 7",
    "ServerAliveInterval 1m30s", "SessionType none", "SetEnv A=1 'B=2 3'", "StdinNull yes",
    "StrictHostKeyChecking off", "TCPKeepAlive no", "User 'x y'",
    "UserKnownHostsFile a 'b c'", "UserKnownHostsFile none", "VersionAddendum a  b", "Tag t",
    "VisualHostKey yes", "WarnWeakCrypto no-pq-kex", "SecurityProfile strict",
    "ForkAfterAuthentication yes", "IgnoreUnknown a,b", "Port 99",
    "CertificateFile 'a b'", "CASignatureAlgorithms -rsa*", "RevokedHostKeys a 'b c'",
]  # fmt: skip


@pytest.mark.parametrize("line", LINES)
def test_a_dump_reads_back_to_itself(line: str) -> None:
    first = read_ssh_config(paper(line), "host")
    assert first != read_ssh_config(paper(""), "host")
    dumped = "\n".join(first.dump())
    again = read_ssh_config(paper(dumped), "host")
    assert again == first
    assert "\n".join(again.dump()) == dumped
    assert all(re.match("[a-z0-9]+ [^ ]", one) for one in dumped.split("\n"))


SHARED = [
    "addressfamily", "batchmode", "checkhostip", "compression", "hashknownhosts", "identitiesonly", "kbdinteractiveauthentication", "passwordauthentication", "stdinnull", "forkafterauthentication", "tcpkeepalive", "visualhostkey", "sessiontype", "connectionattempts", "numberofpasswordprompts", "serveralivecountmax", "serveraliveinterval", "connecttimeout", "escapechar", "rekeylimit", "requiredrsasize", "loglevel", "hostname", "port", "user", "globalknownhostsfile", "proxycommand", "remotecommand", "hostkeyalias", "bindaddress", "identityagent",
]  # fmt: skip


@pytest.mark.peer("openssh")
@pytest.mark.parametrize("host", ["plain", "alias", "x.example", "bare"])
def test_openssh_reads_the_same_values(tmp_path: Path, host: str) -> None:
    text = (
        "Host alias !x.example\n  HostName real.%h\n  User al\n  Port=2222\n"
        "Match host *.example !user root\n  ServerAliveInterval 1m30\n  IdentitiesOnly yes\n"
        "Match originalhost alias\n  Compression yes\n  RekeyLimit 1G 1h\n"
        "Host *.example,bare plain\n  ConnectTimeout 5 # seconds\n  LogLevel=debug2\n"
        'Match exec "test %n = bare"\n  ProxyCommand nc %h "%p" # x\n'
        "Match final host real.alias\n  HostKeyAlias k\n"
        "Host *\n  EscapeChar none\n  GlobalKnownHostsFile /a /b\n"
        "  StrictHostKeyChecking accept-new\n  IdentityAgent none\n"
    )
    file = tmp_path / "config"
    file.write_text(text)
    theirs = subprocess.run(
        ["ssh", "-G", "-F", file, "-l", "me", host], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    one = paper(text)
    one.succeeds = lambda command: command == "test bare = bare"
    found = read_ssh_config(one, host, user="me", file=USER)
    ours = list(found.expanded(one).dump())
    for name in SHARED:
        wanted = sorted(line for line in theirs if line.split()[0] == name)
        if name == "proxycommand":
            wanted = [line.replace("%h", host).replace("%p", "22") for line in wanted]
        assert sorted(line for line in ours if line.split()[0] == name) == wanted


def test_five_thousand_hosts_cost_little_a_line() -> None:
    """Three tenths of a second are promised; this takes a third of that."""
    text = "".join(
        f"Host host{n} alias{n}.example.org\n  Hostname 192.0.2.{n % 250}\n  User u{n}\n"
        f"  Port {n + 1}\n  IdentityFile ~/.ssh/id_{n}\n\n"
        for n in range(5000)
    )
    one = paper(text)
    assert read_ssh_config(one, "host4999").port == 5000
    assert work(lambda: read_ssh_config(one, "host4999")) < 27 * text.count("\n")


def test_a_config_can_be_made_by_hand() -> None:
    made = SshConfig(port=23, user="me")
    assert (made.port, made.user, made.compression) == (23, "me", False)


@pytest.mark.parametrize(
    ("lines", "limits"),
    [
        ("RekeyLimit 64K", (65536, 0)),
        ("RekeyLimit 64K 1h", (65536, 3600)),
        # Of the size and of the time the first that is said.
        ("RekeyLimit 64K\nRekeyLimit 1G 1h\nRekeyLimit 2G 2h", (65536, 3600)),
        ("RekeyLimit 64K none\nRekeyLimit 1G 1h", (65536, 3600)),
        ("RekeyLimit 64K 0\nRekeyLimit 1G 1h", (65536, 0)),
        ("RekeyLimit default 1m\nRekeyLimit 1G 1h", (0, 60)),
        ("RekeyLimit 64K\nMatch final all\nRekeyLimit 1G 1h", (65536, 3600)),
    ],
)
def test_rekey_limit_is_two_values(lines: str, limits: tuple[int, int]) -> None:
    found = read_ssh_config(paper(lines), "host")
    assert found.rekey_limit == limits
    assert f"rekeylimit {limits[0]} {limits[1]}" in list(found.dump())


# ssh_config(5) of OpenSSH 10.5, TOKENS: who takes which.
STD = "CdhijkLlnpru"
TOKENS_OF = {
    **dict.fromkeys(
        ("CertificateFile", "ControlPath", "IdentityAgent", "IdentityFile", "RevokedHostKeys"),
        STD + "$~",
    ),
    "UserKnownHostsFile": STD + "$~",
    "ForwardAgent": STD + "$~",
    "GlobalKnownHostsFile": "~",
    "PKCS11Provider": "~",
    "Hostname": "h",
    "KnownHostsCommand": STD + "fHIKt$",
    "LocalCommand": STD + "T",
    "ProxyCommand": "hnpr",
    "ProxyJump": "hnpr",
    "RefuseConnection": STD,
    "RemoteCommand": STD,
    "SetEnv": STD + "$",
    "User": "dhijkLlnpu$",
    "VersionAddendum": STD,
}


def test_every_keyword_takes_the_tokens_that_its_manual_names() -> None:
    ours = {row.spelling: {*row.tokens} - {"%"} for row in SshConfig.rows.values() if row.tokens}
    assert ours == {name: {*letters} for name, letters in TOKENS_OF.items()}


# Hostname is put in while the files are read, KnownHostsCommand when there is a key to ask about.
PUT_IN_LATER = sorted(TOKENS_OF.keys() - {"Hostname", "KnownHostsCommand"})


@pytest.mark.parametrize("letter", "CdfHhIijKkLlnpqrTtu")
@pytest.mark.parametrize("name", PUT_IN_LATER)
def test_case_325_a_token_is_put_in_where_it_is_allowed_and_nowhere_else(
    name: str, letter: str
) -> None:
    row = SshConfig.known[name.lower()]
    assert isinstance(row, Row)
    text = f"A=%{letter}" if name == "SetEnv" else f"/x/%{letter}"
    value = (text,) if isinstance(row.default, tuple) else text
    made = SshConfig(**{row.attribute: value})
    made.host_argument = "host"
    if TOKENS_OF[name] == "~":
        assert getattr(made.expanded(paper("")), row.attribute) == value
    elif letter in TOKENS_OF[name]:
        found = getattr(made.expanded(paper("")), row.attribute)
        assert "%" not in str(found)
    else:
        with pytest.raises(ConfigError, match=f"unknown token '%{letter}'"):
            made.expanded(paper(""))


@pytest.mark.parametrize("letter", "CdfHIijKkLlnpqrTtu")
def test_case_325_hostname_takes_the_host_alone(letter: str) -> None:
    with pytest.raises(ConfigError, match=f"line 1: Hostname: unknown token '%{letter}'"):
        read_ssh_config(paper(f"Hostname %{letter}"), "host")


ALIASES = {
    "ChallengeResponseAuthentication": ("no", "kbdinteractiveauthentication no"),
    "SKeyAuthentication": ("no", "kbdinteractiveauthentication no"),
    "TISAuthentication": ("no", "kbdinteractiveauthentication no"),
    "DSAAuthentication": ("no", "pubkeyauthentication false"),
    "IdentityFile2": ("/x/key", "identityfile /x/key"),
    "KeepAlive": ("no", "tcpkeepalive no"),
    "HostbasedKeyTypes": ("ssh-ed25519", "hostbasedacceptedalgorithms ssh-ed25519"),
    "PubkeyAcceptedKeyTypes": ("ssh-ed25519", "pubkeyacceptedalgorithms ssh-ed25519"),
    "SmartcardDevice": ("/x/module", "pkcs11provider /x/module"),
}


@pytest.mark.parametrize("alias", ALIASES)
def test_an_alias_is_the_keyword_that_it_stands_for(alias: str) -> None:
    value, line = ALIASES[alias]
    assert line in list(read_ssh_config(paper(f"{alias} {value}"), "host").dump())


def test_deprecated_words_are_told_to_who_asks_and_unsupported_ones_to_everybody() -> None:
    deprecated = [
        "Cipher",
        "FallBackToRsh",
        "GlobalKnownHostsFile2",
        "RhostsAuthentication",
        "UserKnownHostsFile2",
        "UseRoaming",
        "UseRsh",
        "UsePrivilegedPort",
    ]
    unsupported = [
        "AFSTokenPassing",
        "KerberosAuthentication",
        "KerberosTgtPassing",
        "RSAAuthentication",
        "RhostsRSAAuthentication",
        "CompressionLevel",
    ]
    text = "".join(f"{word} yes\n" for word in (*deprecated, *unsupported, "Protocol"))
    found = read_ssh_config(paper(text), "host")
    assert found.warnings == tuple(
        f"{USER} line {number}: Unsupported option {word} is ignored"
        for number, word in enumerate(unsupported, len(deprecated) + 1)
    )
    assert [line for line in found.story if "Deprecated" in line] == [
        f"{USER} line {number}: Deprecated option {word} is ignored"
        for number, word in enumerate(deprecated, 1)
    ]
    assert read_ssh_config(paper(""), "host") == found


def test_an_address_with_a_scope_reads_back_and_is_shown_as_it_is() -> None:
    machine = paper("Port 22")
    found = read_ssh_config(machine, "fe80::1%eth0")
    assert "hostname fe80::1%%eth0" in list(found.dump())
    again = read_ssh_config(paper("\n".join(found.dump())), "fe80::1%eth0")
    assert again == found
    assert "hostname fe80::1%eth0" in list(found.shown(machine).dump())
