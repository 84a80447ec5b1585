# Runs after prepare.sh where the pod is a master of a cluster: cluster.sh ADDRESS... writes which of the masters it is.
set -eu
umask 077
pki=${PKI:-/etc/salt/pki} own=${OWN:-/etc/salt/conf.d/secret/cluster.conf} first=$1 known=
peers=
for address; do
    if [ "$address" = "$POD_IP" ]; then known=yes; else peers="$peers, '$address'"; fi
done
[ -n "$known" ] || { echo "this pod has the address $POD_IP, which is none of cluster.addresses: $*" >&2; exit 1; }
for state in minions minions_pre minions_rejected minions_denied; do
    mkdir -p "$pki/cluster/$state"
done
# A mount of the master's: one that the kubelet had to make would be root's, with its parent.
mkdir -p "${CACHE:-/var/cache/salt}/master/health"
# Masters that start at the same time would each make the key of the cluster; so all wait for the first one's.
tries=${TRIES:-300}
until [ "$POD_IP" = "$first" ] || [ -e "$pki/cluster/cluster.pem" ]; do
    tries=$((tries - 1))
    [ "$tries" -gt 0 ] || { echo "$first has not made the key of the cluster" >&2; exit 1; }
    sleep 1
done
cat >"$own" <<END
id: '$POD_IP'
interface: '$POD_IP'
cluster_peers: [${peers#, }]
pki_dir: '$pki/$POD_IP'
END
echo "this is the master $POD_IP of the cluster"
