# SPDX-License-Identifier: MIT
import os
import pwd
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest
from tests.work import work

from tellin.errors import ConfigError
from tellin.keys import PrivateKey
from tellin.runtime.privileges import Account
from tellin.server.authentication.access import (
    AccessRefused,
    AccessRules,
    AccountAccess,
    RootLogin,
    Visitor,
    filesystem_identity,
    group_names,
    read_guarded,
    safe_in_paths,
)
from tellin.server.authentication.passwords import ShadowEntry

VISITOR = Visitor("", "192.0.2.7")
KEY = PrivateKey.generate("ed25519").public
OTHER = PrivateKey.generate("ed25519").public
# Far in the future of any shadow entry below.
NOW = 20_000 * 86400.0


def me(home: Path, **changes: Any) -> Account:
    fields = {
        "name": "alice",
        "uid": os.getuid(),
        "gid": os.getgid(),
        "home": str(home),
        "shell": "/bin/sh",
    }
    return Account(**{**fields, **changes})


def access(entry: ShadowEntry | None = None, **rules: Any) -> AccountAccess:
    return AccountAccess(
        AccessRules(**rules),
        find=lambda name: None,
        shadow=lambda name: entry,
        now=lambda: NOW,
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home whose parents belong to this user or root, as the temporary directory's do not."""
    place = tmp_path / "home"
    place.mkdir(mode=0o755)
    (place / ".ssh").mkdir(mode=0o700)
    return place


def authorized(home: Path, text: str, name: str = ".ssh/authorized_keys") -> Path:
    path = home / name
    path.write_text(text)
    path.chmod(0o600)
    return path


# Keys


def test_a_key_in_the_users_file_lets_in(home: Path) -> None:
    path = authorized(home, f"# mine\n{KEY.to_line()} alice@desk\n")
    line = access().authorize(me(home), "alice", KEY, VISITOR)
    assert line is not None
    assert line.where == f"{path}:2"
    assert access().authorize(me(home), "alice", OTHER, VISITOR) is None


def test_the_first_of_several_files_with_the_key_counts(home: Path) -> None:
    authorized(home, OTHER.to_line())
    second = authorized(home, KEY.to_line(), ".ssh/authorized_keys2")
    grant = access().authorize(me(home), "alice", KEY, VISITOR)
    assert grant is not None
    assert grant.file == str(second)


def test_the_options_of_the_line_come_with_it(home: Path) -> None:
    authorized(home, f'restrict,command="date",from="192.0.2.0/24" {KEY.to_line()}')
    line = access().authorize(me(home), "alice", KEY, VISITOR)
    assert line is not None
    assert line.options.command == "date"
    assert not line.options.permit_pty


@pytest.mark.parametrize(
    "address", ["", "198.51.100.1", "192.0.2.70"], ids=["no address", "other net", "other host"]
)
def test_r069_a_key_for_some_addresses_lets_in_from_no_other(home: Path, address: str) -> None:
    authorized(home, f'from="192.0.2.7,trusted.example" {KEY.to_line()}')
    checker = access()
    visitor = Visitor("trusted.example" if not address else "", address)
    assert checker.authorize(me(home), "alice", KEY, visitor) is None
    assert "not from a permitted host" in checker.notes[0]
    assert checker.authorize(me(home), "alice", KEY, VISITOR) is not None


def test_r069_a_present_but_empty_from_lets_nobody_in(home: Path) -> None:
    path = authorized(home, f'from="" {KEY.to_line()}')
    checker = access()
    assert checker.authorize(me(home), "alice", KEY, VISITOR) is None
    assert checker.notes[0].startswith(f"{path}:1: ")


def test_a_key_ends_with_its_expiry_time(home: Path) -> None:
    # The tests' day is 4 October 2024.
    authorized(home, f'expiry-time="20241003Z" {KEY.to_line()}')
    checker = access()
    assert checker.authorize(me(home), "alice", KEY, VISITOR) is None
    assert "has expired" in checker.notes[0]
    authorized(home, f'expiry-time="20241005Z" {KEY.to_line()}')
    assert checker.authorize(me(home), "alice", KEY, VISITOR) is not None


def test_case_318_of_two_lines_the_first_that_lets_in_counts(home: Path) -> None:
    authorized(
        home,
        f'from="10.0.0.1",command="a" {KEY.to_line()}\n'
        f'command="b" {KEY.to_line()}\ncommand="c" {KEY.to_line()}\n',
    )
    line = access().authorize(me(home), "alice", KEY, VISITOR)
    assert line is not None
    assert line.options.command == "b"


def test_an_authoritys_key_is_no_users_key(home: Path) -> None:
    authorized(home, f"cert-authority {KEY.to_line()}")
    assert access().authorize(me(home), "alice", KEY, VISITOR) is None


@pytest.mark.parametrize(
    "options", ["no-such-option", 'command="x', "restrict,", 'permitopen="h:0"', 'tunnel="x"']
)
def test_case_314_a_line_that_is_not_understood_lets_nobody_in_and_is_logged(
    home: Path, options: str
) -> None:
    path = authorized(home, f"{OTHER.to_line()}\n{options} {KEY.to_line()}\n")
    checker = access()
    assert checker.authorize(me(home), "alice", KEY, VISITOR) is None
    assert checker.notes[0].startswith(f"{path}:2: ")


def test_a_key_that_only_stands_in_a_comment_lets_nobody_in(home: Path) -> None:
    authorized(home, f"# {KEY.to_line()}\n{OTHER.to_line()} was {KEY.to_line()}\n")
    assert access().authorize(me(home), "alice", KEY, VISITOR) is None


def test_case_317_ten_thousand_keys_take_no_time(home: Path) -> None:
    authorized(home, f"{OTHER.to_line()} x\n" * 10_000 + KEY.to_line())
    assert access().authorize(me(home), "alice", KEY, VISITOR) is not None
    assert work(lambda: access().authorize(me(home), "alice", KEY, VISITOR)) < 10_000 * 60


def test_no_file_and_no_home_let_nobody_in_and_raise_nothing(home: Path) -> None:
    assert access().authorize(me(home), "alice", KEY, VISITOR) is None
    assert access().authorize(me(home / "gone"), "alice", KEY, VISITOR) is None


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        (".ssh/authorized_keys", "{home}/.ssh/authorized_keys"),
        ("/etc/ssh/keys/%u", "/etc/ssh/keys/alice"),
        ("%h/keys", "{home}/keys"),
        ("/keys/%U/%%", "/keys/{uid}/%"),
        ("~/keys", "{home}/~/keys"),
    ],
)
def test_file_names_are_expanded(home: Path, pattern: str, path: str) -> None:
    found = access(authorized_keys_files=(pattern,)).key_files(me(home), "alice")
    assert found == [path.format(home=home, uid=os.getuid())]


def test_none_names_no_file(home: Path) -> None:
    assert access(authorized_keys_files=("none",)).key_files(me(home), "alice") == []


def test_an_unknown_token_is_a_mistake_in_the_configuration(home: Path) -> None:
    with pytest.raises(ConfigError):
        access(authorized_keys_files=("%d/keys",)).key_files(me(home), "alice")


def test_shell_patterns_name_several_files_in_their_order(home: Path) -> None:
    for name in ("b.pub", "a.pub", "c.txt"):
        authorized(home, KEY.to_line(), f".ssh/{name}")
    found = access(authorized_keys_files=(".ssh/*.pub",)).key_files(me(home), "alice")
    assert found == [str(home / ".ssh/a.pub"), str(home / ".ssh/b.pub")]


def test_a_home_that_looks_like_a_pattern_is_none(tmp_path: Path) -> None:
    odd = tmp_path / "h[ao]me*"
    (odd / ".ssh").mkdir(parents=True)
    authorized(odd, KEY.to_line(), ".ssh/a.pub")
    for pattern in (".ssh/*.pub", "%h/.ssh/*.pub"):
        found = access(authorized_keys_files=(pattern,)).key_files(me(odd), "alice")
        assert found == [str(odd / ".ssh/a.pub")]


@pytest.mark.parametrize(
    "user",
    ["../root", "a/b", "..", ".", "", "-rf", "a\0b", "a\nb", "a b", "a;id", "$(id)", "`id`", "a*"],
)
def test_r117_a_name_that_is_no_file_name_opens_no_file(
    home: Path, user: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not safe_in_paths(user)
    checker = access(authorized_keys_files=("/etc/ssh/keys/%u", ".ssh/authorized_keys"))
    authorized(home, KEY.to_line())
    opened: list[str] = []
    monkeypatch.setattr(
        "tellin.server.authentication.access.read_guarded",
        lambda path, *_, **__: opened.append(path),
    )
    assert checker.authorize(me(home), user, KEY, VISITOR) is None
    assert opened == []
    assert len(checker.notes) == 1


@pytest.mark.parametrize("user", ["alice", "a.b-c_d", "alice@example.org", "\u00e9mile", "a+b"])
def test_r117_usual_names_are_put_into_file_names(home: Path, user: str) -> None:
    found = access(authorized_keys_files=("/keys/%u",)).key_files(me(home), user)
    assert found == [f"/keys/{user}"]


# R118: StrictModes


@pytest.mark.parametrize("mode", [0o600, 0o644, 0o400, 0o755])
def test_r118_a_file_that_others_only_read_is_good(home: Path, mode: int) -> None:
    authorized(home, KEY.to_line()).chmod(mode)
    assert access().authorize(me(home), "alice", KEY, VISITOR) is not None


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_r118_a_file_that_others_may_write_is_refused(home: Path, mode: int) -> None:
    path = authorized(home, KEY.to_line())
    path.chmod(mode)
    checker = access()
    assert checker.authorize(me(home), "alice", KEY, VISITOR) is None
    assert checker.notes == [f"Authentication refused: bad ownership or modes for file {path}"]
    assert access(strict_modes=False).authorize(me(home), "alice", KEY, VISITOR) is not None


@pytest.mark.parametrize("place", [".ssh", "."])
def test_r118_so_is_one_in_a_directory_that_others_may_write(home: Path, place: str) -> None:
    authorized(home, KEY.to_line())
    directory = (home / place).resolve()
    directory.chmod(0o775)
    checker = access()
    assert checker.authorize(me(home), "alice", KEY, VISITOR) is None
    assert checker.notes == [
        f"Authentication refused: bad ownership or modes for directory {directory}"
    ]


def test_r118_above_the_home_nobody_looks(home: Path) -> None:
    home.parent.chmod(0o777)
    authorized(home, KEY.to_line())
    assert access().authorize(me(home), "alice", KEY, VISITOR) is not None


def test_r118_a_file_outside_the_home_is_checked_up_to_the_root(
    home: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "keys"
    outside.mkdir()
    outside.chmod(0o777)
    (outside / "alice").write_text(KEY.to_line())
    (outside / "alice").chmod(0o600)
    checker = access(authorized_keys_files=(f"{outside}/%u",))
    assert checker.authorize(me(home), "alice", KEY, VISITOR) is None
    assert str(outside) in checker.notes[0]


def test_r118_a_link_counts_where_it_leads_to(home: Path) -> None:
    shared = home / "shared"
    shared.mkdir()
    shared.chmod(0o777)
    target = authorized(home, KEY.to_line(), "shared/keys")
    (home / ".ssh/authorized_keys").symlink_to(target)
    checker = access()
    assert checker.authorize(me(home), "alice", KEY, VISITOR) is None
    assert str(shared) in checker.notes[0]
    shared.chmod(0o755)
    assert checker.authorize(me(home), "alice", KEY, VISITOR) is not None


def test_r118_a_foreign_owner_is_refused(home: Path) -> None:
    authorized(home, KEY.to_line())
    stranger = me(home, uid=os.getuid() + 1)
    if os.getuid() == 0:
        # Root may own it; somebody else may not.
        os.chown(home / ".ssh/authorized_keys", 12345, 12345)
        stranger = me(home)
    with pytest.raises(AccessRefused, match="bad ownership"):
        read_guarded(str(home / ".ssh/authorized_keys"), stranger, strict=True)


def test_r118_a_fifo_does_not_hold_up_the_server(home: Path) -> None:
    os.mkfifo(home / ".ssh/authorized_keys", 0o600)
    checker = access()
    # An open() that waited for a writer would wait for ever.
    assert checker.authorize(me(home), "alice", KEY, VISITOR) is None
    assert "not a regular file" in checker.notes[0]


def test_r118_neither_does_a_device_or_a_directory(home: Path) -> None:
    for path in ("/dev/zero", str(home)):
        with pytest.raises(AccessRefused):
            read_guarded(path, me(home), strict=False)


def test_a_loop_of_links_is_no_file(home: Path) -> None:
    (home / ".ssh/authorized_keys").symlink_to(home / ".ssh/authorized_keys")
    assert access().authorize(me(home), "alice", KEY, VISITOR) is None


def test_case_317_a_file_of_1_gib_is_not_read(home: Path) -> None:
    path = authorized(home, KEY.to_line())
    os.truncate(path, 2**30)
    checker = access()
    assert checker.authorize(me(home), "alice", KEY, VISITOR) is None
    assert "larger than" in checker.notes[0]


def test_bytes_that_are_no_text_are_read_all_the_same(home: Path) -> None:
    path = home / ".ssh/authorized_keys"
    path.write_bytes(b"# \xff\xfe\n" + KEY.to_line().encode())
    path.chmod(0o600)
    assert access().authorize(me(home), "alice", KEY, VISITOR) is not None


# Reading with the user's rights


@pytest.mark.root
def test_r118_root_reads_with_the_users_rights_alone(account: Any) -> None:
    user = Account.named(account.name)
    assert user is not None
    secret = Path("/root") / f".tellin-test-{os.getpid()}"
    secret.write_text(KEY.to_line())
    secret.chmod(0o600)
    home = Path(user.home)
    (home / ".ssh").mkdir(exist_ok=True)
    link = home / ".ssh/authorized_keys"
    # The account may have served another test.
    link.unlink(missing_ok=True)
    try:
        link.symlink_to(secret)
        # CVE-2017-9079: root would have followed the link and read its own file.
        checker = access(strict_modes=False)
        assert checker.authorize(user, user.name, KEY, VISITOR) is None
        link.unlink()
        link.write_text(KEY.to_line())
        for path in (home / ".ssh", link):
            os.chown(path, user.uid, user.gid)
            path.chmod(0o700)
        assert checker.authorize(user, user.name, KEY, VISITOR) is not None
    finally:
        secret.unlink()
        link.unlink(missing_ok=True)


@pytest.mark.root
def test_the_users_rights_concern_one_thread_and_end_with_the_block(tmp_path: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    user = Account("nobody", nobody.pw_uid, nobody.pw_gid, "/", "/bin/sh")
    closed = tmp_path / "closed"
    closed.write_text("root's")
    closed.chmod(0o600)
    entered, checked = threading.Event(), threading.Event()
    seen: list[str] = []

    def elsewhere() -> None:
        entered.wait(5)
        seen.append(closed.read_text())
        checked.set()

    # Started before: a thread inherits from the one that starts it.
    other = threading.Thread(target=elsewhere)
    other.start()
    groups = os.getgroups()
    with filesystem_identity(user):
        entered.set()
        assert checked.wait(5)
        assert os.getgroups() == user.groups()
        with pytest.raises(PermissionError):
            closed.read_text()
    other.join()
    assert seen == ["root's"]
    assert closed.read_text() == "root's"
    assert os.getgroups() == groups


def test_without_root_files_are_read_as_who_one_is(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with filesystem_identity(me(home, uid=1001)):
        assert home.is_dir()


# Who may log in


def test_an_ordinary_account_may(home: Path) -> None:
    assert access(ShadowEntry("*")).refusal(me(home), VISITOR) is None


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        (ShadowEntry("!"), "User alice not allowed because account is locked"),
        (ShadowEntry("!$6$salt$hash"), "User alice not allowed because account is locked"),
        (ShadowEntry("*", expires=19_999), "Account alice has expired"),
    ],
)
def test_a_locked_or_expired_account_may_not(home: Path, entry: ShadowEntry, why: str) -> None:
    assert access(entry).refusal(me(home), VISITOR) == why


def test_where_something_else_decides_a_locked_account_may(home: Path) -> None:
    assert access(ShadowEntry("!"), refuse_locked=False).refusal(me(home), VISITOR) is None


def test_a_shell_must_be_there_and_run(home: Path, tmp_path: Path) -> None:
    missing = str(tmp_path / "sh")
    assert access().refusal(me(home, shell=missing), VISITOR) == (
        f"User alice not allowed because shell {missing} does not exist"
    )
    Path(missing).write_text("")
    Path(missing).chmod(0o644)
    assert access().refusal(me(home, shell=missing), VISITOR) == (
        f"User alice not allowed because shell {missing} is not executable"
    )


@pytest.mark.parametrize(
    ("rules", "why"),
    [
        ({"deny_users": ("bob", "al*")}, "listed in DenyUsers"),
        ({"deny_users": ("alice@192.0.2.0/24",)}, "listed in DenyUsers"),
        ({"deny_users": ("alice@198.51.100.0/24",)}, None),
        ({"allow_users": ("bob",)}, "not listed in AllowUsers"),
        ({"allow_users": ("bob", "alice@192.0.2.7")}, None),
        ({"allow_users": ("alice",), "deny_users": ("alice",)}, "listed in DenyUsers"),
        ({"deny_groups": ("*",)}, "a group is listed in DenyGroups"),
        ({"allow_groups": ("no-such-group",)}, "none of user's groups are listed in AllowGroups"),
        ({"allow_groups": ("*",)}, None),
        ({"allow_groups": ("*", "!*")}, "none of user's groups are listed in AllowGroups"),
    ],
)
def test_lists_of_users_and_groups(home: Path, rules: dict[str, Any], why: str | None) -> None:
    account = me(home, name=pwd.getpwuid(os.getuid()).pw_name)
    rules = {
        name: tuple(
            item.replace("alice", account.name).replace("al*", account.name[:1] + "*")
            for item in value
        )
        for name, value in rules.items()
    }
    expected = why and f"User {account.name} from 192.0.2.7 not allowed because {why}"
    assert access(**rules).refusal(account, VISITOR) == expected


def test_an_account_without_groups_fails_rules_about_groups(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tellin.server.authentication.access.group_names", lambda account: [])
    assert access(deny_groups=("x",)).refusal(me(home), VISITOR) == (
        "User alice from 192.0.2.7 not allowed because not in any group"
    )


def test_groups_have_the_names_that_id_shows(home: Path) -> None:
    name = pwd.getpwuid(os.getuid()).pw_name
    shown = subprocess.run(["id", "-Gn", name], check=True, capture_output=True, text=True).stdout
    account = Account.named(name)
    assert account is not None
    assert sorted(group_names(account)) == sorted(shown.split())


@pytest.mark.parametrize(
    ("rule", "method", "forced", "may"),
    [
        (RootLogin.YES, "password", False, True),
        (RootLogin.PROHIBIT_PASSWORD, "password", False, False),
        (RootLogin.PROHIBIT_PASSWORD, "password", True, False),
        (RootLogin.PROHIBIT_PASSWORD, "keyboard-interactive", False, False),
        (RootLogin.PROHIBIT_PASSWORD, "none", False, False),
        (RootLogin.PROHIBIT_PASSWORD, "publickey", False, True),
        (RootLogin.PROHIBIT_PASSWORD, "hostbased", False, True),
        (RootLogin.FORCED_COMMANDS_ONLY, "publickey", False, False),
        (RootLogin.FORCED_COMMANDS_ONLY, "publickey", True, True),
        (RootLogin.FORCED_COMMANDS_ONLY, "password", True, False),
        (RootLogin.NO, "publickey", True, False),
    ],
)
def test_permit_root_login(
    home: Path, rule: RootLogin, method: str, forced: bool, may: bool
) -> None:
    checker = access(permit_root_login=rule)
    assert checker.root_may(me(home, uid=0), method, forced_command=forced) is may
    assert checker.root_may(me(home, uid=1), method, forced_command=forced)


def test_accounts_are_looked_up_and_odd_names_are_nobody() -> None:
    checker = AccountAccess(AccessRules())
    root = checker.account("root")
    assert root is not None
    assert root.uid == 0
    for name in ("nobody-such", "root\0x", "\udcff", ""):
        assert checker.account(name) is None
