# Probe of the salt-master's container by a file that Salt 3008 writes.
set -eu
file=/var/cache/salt/master/health/alive
[ -e "$file" ] || { echo "$file is not there"; exit 1; }
[ -n "$(find "$file" -mmin -2)" ] || { echo "the master's main loop has not turned for two minutes"; exit 1; }
