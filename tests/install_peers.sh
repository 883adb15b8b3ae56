#!/bin/sh
# SPDX-License-Identifier: MIT
# Brings the SSH programs that the tests talk to: Debian's packages as root, npm's ssh2 and ssh2-sftp-client as anybody.
# Quick when all is there. What cannot be had is named; its tests skip themselves (and fail where CI is set).
set -eu
cd "$(dirname "$0")/.."

have() { command -v "$1" >/dev/null 2>&1 || [ -x "/usr/sbin/$1" ]; }

nss_wrapper() {
    for file in /usr/lib/*/libnss_wrapper.so /usr/lib/libnss_wrapper.so /usr/lib64/libnss_wrapper.so; do
        [ -e "$file" ] && return 0
    done
    return 1
}

wanted=
have ssh || wanted="$wanted openssh-client"
have sshd || wanted="$wanted openssh-server"
have dropbear && have dbclient || wanted="$wanted dropbear-bin"
# Dropbear looks for authorized_keys in the account's home alone: the tests give it another passwd.
nss_wrapper || wanted="$wanted libnss-wrapper"
have plink && have puttygen || wanted="$wanted putty-tools"
# Programs that work with files over SFTP.
have curl || wanted="$wanted curl"
have lftp || wanted="$wanted lftp"
have rclone || wanted="$wanted rclone"
have sshfs || wanted="$wanted sshfs"
# A PKCS#11 token in software.
have softhsm2-util || wanted="$wanted softhsm2"
# What people give as a ProxyCommand; the one that also hands over a connected socket.
have nc || wanted="$wanted netcat-openbsd"
# A display without a screen, a program that looks at it, and what keeps its cookies.
have Xvfb || wanted="$wanted xvfb"
have xdpyinfo || wanted="$wanted x11-utils"
have xauth || wanted="$wanted xauth"
# What people use on top of ssh.
have git || wanted="$wanted git"
have rsync || wanted="$wanted rsync"
have sshfs || wanted="$wanted sshfs"
# An editor that takes the whole of a terminal.
have vim || have vim.tiny || wanted="$wanted vim-tiny"
# Shells that complete tellin's command lines.
have zsh || wanted="$wanted zsh"
have fish || wanted="$wanted fish"
have node || wanted="$wanted nodejs"
have npm || [ -d build/peers/node_modules/ssh2-sftp-client ] || wanted="$wanted npm"

if [ -n "$wanted" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "installing$wanted"
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        # No daemon of these packages is to start here: the tests run their own, on loopback.
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
        trap 'rm -f "$policy"' EXIT
    fi
    # One run at a time: apt's own lock waits.
    apt-get -q -o DPkg::Lock::Timeout=300 update >/dev/null
    # shellcheck disable=SC2086  # a list of words
    DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=300 \
        install --no-install-recommends $wanted >/dev/null
    case "$wanted" in
        *openssh-server*)
            if [ -d /run/systemd/system ]; then
                systemctl disable --quiet ssh.service ssh.socket 2>/dev/null || true
            fi
            ;;
    esac
elif [ -n "$wanted" ]; then
    echo "not here, tests with them are skipped:$wanted"
fi

if have node && have npm; then
    # Both at once: npm takes away what it is not told of.
    missing=
    for package in ssh2 ssh2-sftp-client; do
        [ -d "build/peers/node_modules/$package" ] || missing="$missing $package"
    done
    if [ -n "$missing" ]; then
        echo "installing$missing from npm into build/peers"
        mkdir -p build/peers
        # Node knows the authorities of its own list alone; some networks have one of the machine's.
        bundle=/etc/ssl/certs/ca-certificates.crt
        if [ -z "${NODE_EXTRA_CA_CERTS:-}" ] && [ -r "$bundle" ]; then
            export NODE_EXTRA_CA_CERTS="$bundle"
        fi
        # Without its optional native code: the cipher of Node itself is what is wanted.
        npm install --prefix build/peers --ignore-scripts --omit=optional --no-audit --no-fund \
            --loglevel=error ssh2@1 ssh2-sftp-client@12 >/dev/null ||
            echo "npm could not bring$missing: its tests are skipped"
    fi
fi
