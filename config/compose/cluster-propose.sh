# Runs beside a salt-master of a cluster until that answers: cluster-propose.sh [PORT]; POD_IP is its address.
# A master of Salt 3008.3 that starts again and comes to lead the cluster answers nobody: what was agreed on before it led counts for it only with something
# newer (salt/cluster/consensus/raft/node.py, advance_commit_index), and it proposes nothing. So we propose what changes nothing. Who starts for the first
# time must not: there Salt's own proposal has to be the first one.
set -eu
log=${CACHE:-/var/cache/salt}/master/cluster/consensus/$POD_IP/cluster/log/0.p
pause=3
until python3 "$(dirname "$0")/master-ping.py" "$@" >/dev/null 2>&1; do
    sleep "$pause"
    [ "$pause" -ge 48 ] || pause=$((pause * 2))
    [ ! -s "$log" ] || salt-run cluster.route_clear data_type=unused >/dev/null 2>&1 || true
done
