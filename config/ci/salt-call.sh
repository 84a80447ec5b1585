#!/bin/sh
# Run a function on minions through the API, print what they say, and end with what a pipeline needs to know:
#   salt-call.sh TARGET FUNCTION [ARGUMENT...]
#   0 every minion did it   1 a minion failed   2 no minion matched   3 a minion was silent   4 no answer of the API
# From the environment: SALT_API_URL, SALT_API_USER, SALT_API_SECRET; SALT_API_EAUTH (sharedsecret); SALT_API_CURL, more options for curl, such as
# --cacert FILE --cert FILE --key FILE. Needs curl and jq.
set -eu

target=$1 function=$2
shift 2
eauth=${SALT_API_EAUTH:-sharedsecret}

# The body on standard input: a secret on a command line is visible to everybody on the machine. jq reads it from the environment.
export eauth SALT_API_USER SALT_API_SECRET
body=$(jq --null-input --arg tgt "$target" --arg fun "$function" '
    [{client: "local", tgt: $tgt, fun: $fun, arg: $ARGS.positional, full_return: true,
      eauth: env.eauth, username: env.SALT_API_USER,
      (if env.eauth == "sharedsecret" then "sharedsecret" else "password" end): env.SALT_API_SECRET}]' --args -- "$@")

# Sent once: what was begun is not begun again.
# shellcheck disable=SC2086 # SALT_API_CURL holds several words
if ! answer=$(printf '%s' "$body" | curl --silent --show-error --fail-with-body --max-time 1800 --connect-timeout 10 \
    ${SALT_API_CURL:-} --header 'Content-Type: application/json' --data-binary @- "$SALT_API_URL/"); then
    echo "the API did not run it: $answer" >&2
    exit 4
fi

printf '%s' "$answer" | jq '.return[0]'
printf '%s' "$answer" | jq --exit-status '.return[0] | length > 0' >/dev/null || { echo "no minion matched $target" >&2; exit 2; }
# A minion that was silent has no {jid, ret, retcode}.
silent=$(printf '%s' "$answer" | jq --raw-output '.return[0] | to_entries[] | select(.value | type != "object" or (has("retcode") | not)) | .key')
failed=$(printf '%s' "$answer" | jq --raw-output '.return[0] | to_entries[] | select(.value | type == "object" and (.retcode // 0) != 0) | .key')
[ -z "$failed" ] || { echo "failed on:" $failed >&2; exit 1; }
[ -z "$silent" ] || { echo "silent:" $silent >&2; exit 3; }
