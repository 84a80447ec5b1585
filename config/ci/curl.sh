#!/bin/sh
# Plain curl, where there is no Python: apply a state, wait for its end, and fail when it fails. curl.sh KEY TARGET STATE
# KEY names the step; the same one again gets the same job. From the environment: SALT_API_URL and SALT_TOKEN, a session's token.
set -eu
key=$1 target=$2 state=$3
case $target$state in *[\"\\]*) echo "TARGET and STATE may hold neither quotes nor backslashes" >&2; exit 64 ;; esac

# Standard input: what is on a command line is seen by everybody on the machine.
call() {
    printf 'header = "X-Auth-Token: %s"\n' "$SALT_TOKEN" | curl --config - --fail-with-body --silent --show-error --max-time 120 \
        --retry 5 --retry-connrefused --header 'Prefer: handling=strict' --write-out '\n%{http_code}\n' "$@"
}

answer=$(call --header "Idempotency-Key: $key" --header 'Content-Type: application/json' \
    --data "{\"tgt\": \"$target\", \"fun\": \"state.apply\", \"arg\": [\"$state\"]}" "$SALT_API_URL/v1/jobs?wait=60&fields=jid,status,exit_code") || { echo "$answer"; exit 1; }
jid=$(printf '%s' "$answer" | grep --only-matching '[0-9]\{20\}' | head -n 1)
# 202 means that it goes on; what went wrong is an HTTP status that curl fails on.
while [ "$(printf '%s' "$answer" | tail -n 1)" = 202 ]; do
    answer=$(call "$SALT_API_URL/v1/jobs/$jid?wait=60&fields=jid,status,exit_code") || { echo "$answer"; exit 1; }
done
printf '%s\n' "$answer"
