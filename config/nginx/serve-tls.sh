# Runs nginx, and has it read its certificates again when their files have changed. serve-tls.sh NGINX_CONF FILE...
# A kubelet, or whoever renews them, replaces the files and tells nobody; the image has nothing that watches files.
set -u
conf=$1
shift

mark() { cat "$@" 2>/dev/null | cksum; }

follow() {
    seen=$(mark "$@")
    while sleep "${TLS_RELOAD_SECONDS:-10}"; do
        now=$(mark "$@")
        [ "$now" = "$seen" ] && continue
        # It checks them first: when a key does not fit it says so and serves with what it has, and we ask again.
        nginx -c "$conf" -s reload && seen=$now
    done
}

# Begun before nginx reads the files, so that no change falls between.
follow "$@" &
exec nginx -c "$conf" -g "daemon off;"
