# Runs before the salt-master, with the sidecar's image: makes what logins without passwords need, and tells the master.
# Arguments: the folder that the master reads; the master's name; the folder that nginx and the sidecar share, or nothing; the files with the sidecar's
# keys, which are made unless they are there.
set -eu
told=$1 audience=$2 proxy=$3
shift 3
{
    salt-sidecar install-eauth "$told/auth"
    salt-sidecar identity-key --audience "$audience" "$@"
} >"$told/identities.conf"
if [ -n "$proxy" ]; then
    umask 077
    secret=$(head -c 32 /dev/urandom | base64)
    printf '%s\n' "$secret" >"$proxy/secret"
    printf 'proxy_set_header X-Proxy-Secret "%s";\n' "$secret" >"$proxy/header.conf"
fi
