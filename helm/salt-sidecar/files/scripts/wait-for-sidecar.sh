# Runs before the salt-master and nginx are told to stop: callers who wait for a job need both. wait-for-sidecar.sh PORT SECONDS
# The sidecar closes its ops listener last; /proc knows whether somebody still listens (state 0A).
set -eu
port=$(printf ':%04X' "$1")
i=0
while [ "$i" -lt "$2" ]; do
    listening=$(cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | awk -v port="$port" '$4 == "0A" && substr($2, length($2) - 4) == port' | wc -l)
    [ "$listening" -gt 0 ] || exit 0
    sleep 1
    i=$((i + 1))
done
