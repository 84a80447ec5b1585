# Runs nginx over the sidecars of several masters, and has it pass over one that is not ready: serve-ready.sh SIDECAR... -- NGINX_CONF FILE...
# A sidecar is HOST:API-PORT:WEBSOCKET-PORT:OPS-PORT. One whose master is gone answers 503 for itself. nginx alone would go on asking it, and must not send
# such a request again elsewhere: Salt might run it twice.
set -u
apis=/tmp/sidecars.conf
sockets=/tmp/websockets.conf
sidecars=
while [ "$1" != -- ]; do
    sidecars="$sidecars $1"
    shift
done
shift

field() { # NUMBER SIDECAR
    echo "$2" | cut -d: -f"$1"
}

is_ready() { # SIDECAR
    timeout 5 wget -q -O /dev/null "http://$(field 1 "$1"):$(field 4 "$1")/readyz" 2>/dev/null
}

servers() { # PORT-FIELD READY: all of them; who is not ready is down, unless nobody is ready: then each says for itself why
    for sidecar in $sidecars; do
        case "$2 " in
        *" $sidecar "* | " ") down= ;;
        *) down=" down" ;;
        esac
        echo "server $(field 1 "$sidecar"):$(field "$1" "$sidecar") max_fails=0$down;"
    done
}

list() { # READY: in one step each; serve-tls.sh has nginx read them again when they have changed
    servers 3 "$1" >"$sockets.new" && mv "$sockets.new" "$sockets"
    servers 2 "$1" >"$apis.new" && mv "$apis.new" "$apis"
}

follow() {
    while sleep "${READY_SECONDS:-2}"; do
        ready=
        for sidecar in $sidecars; do
            is_ready "$sidecar" && ready="$ready $sidecar"
        done
        list "$ready"
    done
}

list ""
follow &
export TLS_RELOAD_SECONDS="${TLS_RELOAD_SECONDS:-2}"
exec sh /etc/nginx/serve-tls.sh "$@" "$apis"
