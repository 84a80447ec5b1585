# Runs before the salt-master. Salt's key store ignores symlinks, and everything in a Secret is one: so keys are copied.
set -eu
umask 077
pki=${PKI:-/etc/salt/pki}
# The sidecar mounts these four, and nothing else of the keys' volume, and of the cache the tokens; a folder that the kubelet had to make would be root's.
for state in minions minions_pre minions_rejected minions_denied; do
    mkdir -p "$pki/master/$state"
done
mkdir -p "${CACHE:-/var/cache/salt}/master/tokens"
if [ -d /secrets/keys ]; then
    for end in pem pub; do
        rm -f "$pki/master/master.$end"
        cp -L "/secrets/keys/master.$end" "$pki/master/master.$end"
    done
    chmod 0400 "$pki/master/master.pem"
    chmod 0644 "$pki/master/master.pub"
    echo "the master's key pair was copied from its Secret"
fi
if [ -e /secrets/auth/sharedsecret ]; then
    quoted=$(sed "s/'/''/g" /secrets/auth/sharedsecret)
    [ -n "$quoted" ] || { echo "the shared secret is empty" >&2; exit 1; }
    printf "sharedsecret: '%s'\n" "$quoted" >/etc/salt/conf.d/secret/sharedsecret.conf
    echo "the shared secret was written for the master"
fi
