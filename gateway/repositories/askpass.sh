#!/bin/sh
# Answers what git and git-lfs ask for by GIT_ASKPASS: "Username for 'https://host:port': ",
# 'Password for "https://user@host:port"'. It answers for the repository's own server alone:
# whatever a redirect, a submodule or a file of the repository names gets nothing.
# Only what every POSIX shell has built in, so that it needs no PATH.

address=${1#* for ?}
host=${address#*://}
host=${host%%[/\'\"]*}
server=${address%%://*}://${host##*@}
if [ "$server" != "$GATEWAY_GIT_SERVER" ]; then
    echo "$server asked for the password of $GATEWAY_GIT_SERVER" >&2
    exit 1
fi

case $1 in
"Username for "*)
    printf '%s\n' "$GATEWAY_GIT_USERNAME"
    ;;
"Password for "*)
    password=
    # The last line of a file may lack its end: `read` then fails, having read it.
    IFS= read -r password <"$GATEWAY_GIT_PASSWORD_AT"
    password=${password%%"$(printf '\r')"*}
    if [ -z "$password" ]; then
        echo "no password could be read from $GATEWAY_GIT_PASSWORD_AT" >&2
        exit 1
    fi
    printf '%s\n' "$password"
    ;;
*)
    exit 1
    ;;
esac
