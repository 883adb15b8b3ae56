# SPDX-License-Identifier: MIT
"""Where the files of a user and of the system lie: Linux and macOS, and Windows on paper."""

import pytest
from tests.config.paper_machine import PaperMachine

from tellin.config.locations import home_directory, locations
from tellin.config.ssh_reading import read_ssh_config

WINDOWS_HOME = r"C:\Users\me"


@pytest.mark.parametrize("system", ["linux", "darwin", "freebsd14"])
def test_on_a_unix_the_accounts_home_counts_whatever_home_says(system: str) -> None:
    environment = {"HOME": "/elsewhere", "USERPROFILE": r"C:\Users\me"}
    assert home_directory(system, environment, "/home/me") == "/home/me"
    found = locations(system, environment, "/home/me")
    assert (found.user_config, found.system_config) == (
        "/home/me/.ssh/config",
        "/etc/ssh/ssh_config",
    )
    assert found.system_known_hosts == ("/etc/ssh/ssh_known_hosts", "/etc/ssh/ssh_known_hosts2")


@pytest.mark.parametrize(
    ("environment", "home"),
    [
        ({"USERPROFILE": WINDOWS_HOME, "HOME": "/elsewhere"}, WINDOWS_HOME),
        ({"USERPROFILE": "C:\\Users\\me\\"}, WINDOWS_HOME),
        ({"HOMEDRIVE": "H:", "HOMEPATH": r"\me"}, r"H:\me"),
        ({"USERPROFILE": "", "HOMEDRIVE": "H:"}, "account's"),
        ({}, "account's"),
    ],
)
def test_on_windows_it_is_userprofile(environment: dict[str, str], home: str) -> None:
    assert home_directory("win32", environment, "account's") == home


def test_windows_files_of_the_system_are_in_programdata() -> None:
    found = locations("win32", {"PROGRAMDATA": "D:\\Data\\"}, WINDOWS_HOME)
    assert found.user_config == r"C:\Users\me\.ssh\config"
    assert found.system_config == r"D:\Data\ssh\ssh_config"
    assert found.system_known_hosts[0] == r"D:\Data\ssh\ssh_known_hosts"
    assert locations("win32", {}, WINDOWS_HOME).system == r"C:\ProgramData\ssh"


@pytest.mark.parametrize(
    ("path", "unix", "windows"),
    [
        ("/x", True, True),
        ("x", False, False),
        (r"C:\x", False, True),
        ("C:/x", False, True),
        ("C:x", False, False),
        (r"\\server\share", False, True),
        (r"\x", False, False),
    ],
)
def test_a_whole_path_is_another_thing_on_each(path: str, *, unix: bool, windows: bool) -> None:
    here = locations("linux", {}, "/home/me")
    there = locations("win32", {}, WINDOWS_HOME)
    assert here.is_whole(path) is unix
    assert there.is_whole(path) is windows
    assert here.in_user(path) == (path if unix else f"/home/me/.ssh/{path}")
    assert there.in_system(path) == (path if windows else rf"C:\ProgramData\ssh\{path}")


def test_an_include_is_looked_for_beside_the_file_of_its_system() -> None:
    machine = PaperMachine(
        {
            r"C:\Users\me\.ssh\config": "Include more\nInclude D:\\other",
            r"C:\Users\me\.ssh\more": "Port 7",
            r"D:\other": "User u",
        },
        system="win32",
        home=WINDOWS_HOME,
    )
    found = read_ssh_config(machine, "host")
    assert (found.port, found.user) == (7, "u")


def test_the_records_for_all_users_are_those_of_the_system() -> None:
    windows = PaperMachine({}, system="win32", home=WINDOWS_HOME, PROGRAMDATA=r"D:\Data")
    unix = PaperMachine({})
    for machine, expected in (
        (windows, r"D:\Data\ssh\ssh_known_hosts"),
        (unix, "/etc/ssh/ssh_known_hosts"),
    ):
        found = read_ssh_config(machine, "host").expanded(machine)
        assert found.global_known_hosts_file[0] == expected
    chosen = read_ssh_config(windows, "host", options=["GlobalKnownHostsFile=none"])
    assert chosen.expanded(windows).global_known_hosts_file == ()
