#!/bin/sh
set -e
# One file, into a directory and under another name.
scp report.txt host:inbox/
scp host:inbox/report.txt back.txt

# A tree, with its times and permissions.
scp -rp photos host:backup
scp -rp host:backup/photos restored

# A pattern is for the host: it is kept from this side's shell.
scp 'host:inbox/*.txt' here/

# A name that looks like a host's, and one that begins with a dash.
scp ./a:b host:inbox/
scp -- -draft host:inbox/

# From one host to another, through this one.
scp host:inbox/report.txt other:inbox/
scp -q scp://host/inbox/report.txt last.txt
