# SPDX-License-Identifier: MIT
"""Random ssh_config and sshd_config files: every keyword of a table with values that it takes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from hypothesis import strategies as st

from tellin.config.keywords import KeywordFile, Row

_YES_NO: Final = ("yes", "no", "YES", "No")
_TIMES: Final = ("0", "1", "90", "2m", "1h30m", "1d", "1W2d")
_NUMBERS: Final = ("1", "2", "7", "30")
_POLICIES: Final = {
    "ciphers": ("aes256-ctr", "aes128-ctr,aes256-gcm@openssh.com"),
    "macs": ("hmac-sha2-256", "hmac-sha2-512-etm@openssh.com,hmac-sha2-256"),
    "kexalgorithms": ("curve25519-sha256", "ecdh-sha2-nistp256,diffie-hellman-group14-sha256"),
    "hostkeyalgorithms": ("ssh-ed25519", "rsa-sha2-512,ssh-ed25519"),
    "pubkeyacceptedalgorithms": ("ssh-ed25519", "rsa-sha2-256,ssh-ed25519"),
    "hostbasedacceptedalgorithms": ("ssh-ed25519", "rsa-sha2-256"),
    "casignaturealgorithms": ("ssh-ed25519", "rsa-sha2-256,rsa-sha2-512"),
}
_LEVELS: Final = ("QUIET", "fatal", "ERROR", "INFO", "VERBOSE", "DEBUG", "DEBUG2", "debug3")

# Values by keyword in lower case; what is not here is a flag that is yes or no.
CLIENT_VALUES: Final[Mapping[str, Sequence[str]]] = {
    **_POLICIES,
    "addkeystoagent": ("yes", "no", "ask", "confirm", "confirm 5m", "1h"),
    "addressfamily": ("any", "inet", "inet6", "INET"),
    "bindaddress": ("127.0.0.1", "localhost"),
    "bindinterface": ("lo", "eth0"),
    "canonicaldomains": ("a.example", "a.example b.example", "none"),
    # Nothing here answers questions about names: only whether it is written right is compared.
    "canonicalizehostname": ("no", "false"),
    "canonicalizemaxdots": ("0", "1", "3"),
    "canonicalizepermittedcnames": ("none",),
    "certificatefile": ("~/x-cert.pub", "/c/%h"),
    "channeltimeout": ("session=5m", "none", "direct-tcpip=1 session=1h"),
    "compression": ("yes", "no"),
    "connectionattempts": _NUMBERS,
    "connecttimeout": ("1", "90", "2m"),
    "controlmaster": ("yes", "no", "ask", "auto", "autoask"),
    "controlpath": ("none", "/run/%r@%h:%p", "~/.ssh/cm-%C"),
    "controlpersist": ("yes", "no", "0", "10m"),
    "dynamicforward": ("1080", "localhost:1081", "[::1]:1082"),
    "escapechar": ("none", "~", "%"),
    "fingerprinthash": ("sha256", "md5", "SHA256"),
    # yes needs a command, which RemoteCommand forbids.
    "forkafterauthentication": ("no",),
    # A path would have to be there.
    "forwardagent": ("yes", "no"),
    "forwardx11timeout": _TIMES,
    "globalknownhostsfile": ("/k1", "/k1 /k2", "none"),
    "hostkeyalias": ("alias", "other.example"),
    "hostname": ("real.example", "%h.example", "192.0.2.1", "REAL.example"),
    "identityagent": ("none", "SSH_AUTH_SOCK", "/run/%u", "~/agent", "$OTHER_AGENT"),
    "identityfile": ("/k/id", "~/.ssh/%r", '"/k/with space"'),
    "ignoreunknown": ("nothing,like*this",),
    "ipqos": ("af21", "ef none", "lowdelay throughput", "0x01 cs1", "AF21 Cs6"),
    "kbdinteractivedevices": ("pam", "bsdauth,pam"),
    "knownhostscommand": ("/bin/k %H", "none", "/bin/k"),
    "localcommand": ("echo %h '%%' # not a comment", "date"),
    "localforward": ("8080 host:80", "[::1]:8081 h:2", "/run/y [::2]:80", "*:82 h:1"),
    "loglevel": _LEVELS,
    "logverbose": ("none", "kex.c:*:100", "a,b:c:1"),
    "numberofpasswordprompts": _NUMBERS,
    "obscurekeystroketiming": ("yes", "no", "interval:50"),
    "permitremoteopen": ("any", "none", "host:80 h2:*"),
    "pkcs11provider": ("/lib/p.so",),
    "port": ("22", "2222", "65535"),
    "preferredauthentications": ("publickey", "password,publickey"),
    "proxycommand": ("nc %h %p", "none", "exec connect '%h'"),
    "proxyjump": ("none", "bastion", "me@one:2222,ssh://two"),
    "proxyusefdpass": ("no", "yes"),
    "pubkeyauthentication": ("yes", "no", "unbound", "host-bound", "true"),
    "refuseconnection": ("no entry", "closed"),
    "rekeylimit": ("1G 1h", "512K 30m"),
    "remotecommand": ("tmux attach", "none"),
    "remoteforward": ("0", "9000", "9001 host:80", "*:9002 [::1]:81", "/run/r /run/l"),
    "requesttty": ("auto", "no", "yes", "force"),
    "requiredrsasize": ("1024", "2048", "4096"),
    "revokedhostkeys": ("/r", "none"),
    "securitykeyprovider": ("internal", "/lib/sk.so"),
    "securityprofile": ("default",),
    "sendenv": ("LANG", "LC_* X", "A B -A"),
    "serveralivecountmax": _NUMBERS,
    "serveraliveinterval": _TIMES,
    "sessiontype": ("default", "none", "subsystem"),
    "setenv": ("A=1", "A=1 B=two", '"C=with space"'),
    "streamlocalbindmask": ("0177", "077", "0"),
    "stricthostkeychecking": ("yes", "no", "ask", "accept-new", "off"),
    "syslogfacility": ("USER", "auth", "LOCAL3", "daemon"),
    "tag": ("home", "work"),
    "tunnel": ("yes", "no", "point-to-point", "ethernet"),
    "tunneldevice": ("any", "1", "2:any", "any:3"),
    # ControlPersist would make a no of ask.
    "updatehostkeys": ("yes", "no"),
    "user": ("ann", "bob"),
    "userknownhostsfile": ("/k", "~/k /k2", "none"),
    "verifyhostkeydns": ("yes", "no", "ask"),
    "versionaddendum": ("none", "some words"),
    "warnweakcrypto": ("yes", "no", "no-pq-kex"),
    "xauthlocation": ("/usr/bin/xauth", "/x"),
}
SERVER_VALUES: Final[Mapping[str, Sequence[str]]] = {
    **_POLICIES,
    "acceptenv": ("LANG", "LC_* X"),
    # Of addresses of the other family nothing would be left.
    "addressfamily": ("any", "ANY"),
    "allowgroups": ("wheel", "a* !ab"),
    "allowstreamlocalforwarding": ("yes", "no"),
    "allowtcpforwarding": ("yes", "no"),
    "allowusers": ("ann", "b* c@192.0.2.0/24", "*@*.example"),
    # A list is refused where one of its methods is switched off.
    "authenticationmethods": ("any",),
    "authorizedkeyscommand": ("/bin/k %u",),
    "authorizedkeyscommanduser": ("nobody",),
    "authorizedkeysfile": ("none", "/k/%u", ".ssh/a .ssh/b"),
    "authorizedprincipalscommand": ("/bin/p %u",),
    "authorizedprincipalscommanduser": ("nobody",),
    "authorizedprincipalsfile": ("none", "/p/%u"),
    "banner": ("none", "/etc/issue"),
    "channeltimeout": ("none",),
    "chrootdirectory": ("none",),
    "clientalivecountmax": ("0", *_NUMBERS),
    "clientaliveinterval": _TIMES,
    "compression": ("yes", "no", "delayed"),
    "denygroups": ("wheel", "a* b"),
    "denyusers": ("eve", "m@192.0.2.1"),
    "exposeauthinfo": ("no",),
    "fingerprinthash": ("sha256",),
    "forcecommand": ("none", "echo 'a  b' # kept", "internal-sftp -R"),
    "gatewayports": ("no",),
    "gssapiauthentication": ("no",),
    "hostbasedauthentication": ("no",),
    "hostcertificate": ("/c-cert.pub",),
    "hostkey": ("/k",),
    "hostkeyagent": ("none",),
    "ignorerhosts": ("yes", "no", "shosts-only"),
    "ipqos": ("none",),
    "kerberosauthentication": ("no",),
    "kerberosgetafstoken": ("no",),
    "listenaddress": ("[::1]:2200", "192.0.2.1:22"),
    "logingracetime": _TIMES,
    "loglevel": _LEVELS,
    "logverbose": ("none",),
    "maxauthtries": _NUMBERS,
    "maxsessions": ("0", *_NUMBERS),
    "maxstartups": ("5", "10:30:100", "3:100:3"),
    "modulifile": ("/etc/ssh/moduli", "/m"),
    "pamservicename": ("sshd", "other"),
    "permitlisten": ("any", "none"),
    "permitopen": ("any", "none"),
    "permitrootlogin": (
        "yes",
        "no",
        "prohibit-password",
        "without-password",
        "forced-commands-only",
    ),
    "permittunnel": ("yes", "no", "point-to-point", "ethernet"),
    "permituserenvironment": ("no",),
    "persourcemaxstartups": ("none",),
    "persourcenetblocksize": ("32:128", "24:64"),
    "persourcepenalties": ("no", "yes"),
    "persourcepenaltyexemptlist": ("192.0.2.0/24,2001:db8::/32",),
    "pidfile": ("none", "/run/x.pid"),
    "port": ("22", "2222"),
    "pubkeyauthoptions": ("none",),
    "rdomain": ("none",),
    "refuseconnection": ("no",),
    "rekeylimit": ("1G 1h", "512K 30m"),
    "requiredrsasize": ("1024", "2048"),
    "revokedkeys": ("none",),
    "securitykeyprovider": ("internal",),
    "securityprofile": ("default",),
    "setenv": ("A=1", "A=1 B=two", '"C=with space"'),
    "sshdauthpath": ("/x",),
    "sshdsessionpath": ("/x",),
    "streamlocalbindmask": ("0177", "077"),
    "subsystem": ("sftp internal-sftp", "echo /bin/cat -u"),
    "syslogfacility": ("AUTH", "authpriv", "LOCAL3", "Daemon"),
    "trustedusercakeys": ("none", "/ca"),
    "unusedconnectiontimeout": ("none",),
    "usepam": ("no",),
    "versionaddendum": ("none", "some words"),
    "x11displayoffset": ("10", "5"),
    "x11forwarding": ("no",),
    "xauthlocation": ("/usr/bin/xauth", "/x"),
}
CLIENT_CRITERIA: Final[Mapping[str, Sequence[str]]] = {
    "all": ("",),
    "canonical": ("",),
    "final": ("",),
    "exec": ("true", "false", '"test %p = 22"'),
    "host": ("host", "h*,!x", "*.example", "other"),
    "originalhost": ("host", "alias?", "*"),
    "user": ("ann", "*", "nobody-else"),
    "localuser": ("root", "*", "!root,*"),
    "localnetwork": ("127.0.0.0/8", "192.0.2.0/24,2001:db8::/32"),
    "tagged": ("home", "*", '""'),
    "command": ("date", "*"),
    "version": ("OpenSSH_9*", "*"),
    "sessiontype": ("shell", "exec"),
}
SERVER_CRITERIA: Final[Mapping[str, Sequence[str]]] = {
    "all": ("",),
    "invalid-user": ("",),
    "user": ("ann", "*", "!ann,*", "bob"),
    "group": ("root", "*", "nogroup"),
    "host": ("*.example", "client.example", "!*.example,*"),
    "address": ("192.0.2.0/24", "192.0.2.*", "!192.0.2.7,*", "2001:db8::/32"),
    "localaddress": ("198.51.100.1", "10.0.0.0/8"),
    "localport": ("22", "2200"),
    "rdomain": ("*",),
    "version": ("OpenSSH*",),
}


# OpenSSH 9.2 refuses a file that has these twice, or takes the last of them.
_ONCE: Final = frozenset(
    {"authenticationmethods", "maxstartups", "persourcenetblocksize", "subsystem"}
)


class Drawn:
    """What a run has drawn, to be shown at its end."""

    def __init__(self) -> None:
        self.keywords: Counter[str] = Counter()
        self.criteria: Counter[str] = Counter()

    def share(self, table: type[KeywordFile], criteria: Mapping[str, object]) -> float:
        """How much of a table and of the criteria was drawn, from 0 to 1."""
        return self.share_of(list(table.rows.values()), criteria)

    def share_of(self, rows: Sequence[Row[object]], criteria: Mapping[str, object]) -> float:
        """The same of some rows of a table."""
        names = {row.spelling.lower() for row in rows} | {*criteria}
        return len(names & {*self.keywords, *self.criteria}) / len(names)


def _spelt(draw: st.DrawFn, name: str) -> str:
    return draw(st.sampled_from([name, name.lower(), name.upper()]))


def _setting(draw: st.DrawFn, row: Row[object], values: Mapping[str, Sequence[str]]) -> str:
    value = draw(st.sampled_from(values.get(row.spelling.lower(), _YES_NO)))
    between = draw(st.sampled_from([" ", "\t", " = ", "="]))
    return f"{_spelt(draw, row.spelling)}{between}{value}"


def _match(
    draw: st.DrawFn, criteria: Mapping[str, Sequence[str]], drawn: Counter[str], alone: str = "all"
) -> str:
    names = draw(st.lists(st.sampled_from([*criteria]), min_size=1, max_size=3, unique=True))
    if alone in names:
        names = [alone]
    words = ["Match"]
    for name in names:
        drawn[name] += 1
        argument = draw(st.sampled_from(criteria[name]))
        words.append(_spelt(draw, name))
        words += [argument] if argument else []
    return " ".join(words)


@st.composite
def config_files(
    draw: st.DrawFn,
    rows: Sequence[Row[object]],
    values: Mapping[str, Sequence[str]],
    criteria: Mapping[str, Sequence[str]],
    drawn: Drawn,
    *,
    hosts: Sequence[str] = (),
    everywhere: bool = True,
    outside: Sequence[str] = (),
    most: int = 60,
) -> str:
    """A file of up to four blocks; ``everywhere`` lets every keyword stand in one but ``outside``.

    ``most`` is how many lines stand before the blocks.
    """
    lines: list[str] = []
    for number in range(draw(st.integers(1, 4))):
        inside = number > 0
        if inside and hosts and draw(st.booleans()):
            patterns = draw(st.lists(st.sampled_from(hosts), min_size=1, max_size=3))
            lines.append(f"{_spelt(draw, 'Host')} {' '.join(patterns)}")
        elif inside:
            lines.append(_match(draw, criteria, drawn.criteria))
        fitting = [row for row in rows if everywhere or row.in_match or not inside]
        if inside:
            fitting = [row for row in fitting if row.spelling.lower() not in outside]
        size = most * 5 // 12 if inside else most
        for row in draw(st.lists(st.sampled_from(fitting), min_size=size // 2, max_size=size)):
            name = row.spelling.lower()
            if name in _ONCE and any(name in line.lower() for line in lines):
                continue
            drawn.keywords[name] += 1
            indent = draw(st.sampled_from(["", "  ", "\t"]))
            lines.append(indent + _setting(draw, row, values))
        if draw(st.booleans()):
            lines.append(draw(st.sampled_from(["", "# a comment", "   "])))
    return "\n".join(lines) + "\n"
