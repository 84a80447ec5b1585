# Probe of the salt-master's container by the files that Salt 3008 writes: master-health.sh startup|alive
set -eu
file=/var/cache/salt/master/health/$1
[ -e "$file" ] || { echo "$file is not there"; exit 1; }
[ "$1" != alive ] || [ -n "$(find "$file" -mmin -2)" ] || { echo "the master's main loop has not turned for two minutes"; exit 1; }
