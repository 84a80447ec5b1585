{{/* The files that sidecar and master read. */}}

{{/* sidecar.yaml. Behind nginx in the same pod the API listens on loopback, and believes nginx who calls. */}}
{{- define "sidecar.settings" -}}
{{- $settings := deepCopy .Values.config -}}
{{- if .Values.tls.enabled -}}
{{- $api := merge (dict "host" "127.0.0.1") ($settings.api | default dict) -}}
{{- $access := $settings.access | default dict -}}
{{- $proxies := append ($access.trusted_proxies | default list) "127.0.0.1" | uniq -}}
{{- $websocket := dict "port" (include "sidecar.websocketPort" . | int) -}}
{{- $settings = merge (dict "api" $api "access" (dict "trusted_proxies" $proxies) "websocket" $websocket) $settings -}}
{{- end -}}
{{- if .Values.metrics.token.existingSecret -}}
{{- $settings = merge (dict "ops" (dict "token_file" "/etc/salt-sidecar/ops/token")) $settings -}}
{{- end -}}
{{- if .Values.jobs.database.url -}}
{{- $database := dict "store" .Values.jobs.database.url "store_password_file" "/etc/salt-sidecar/database/password" -}}
{{- $settings = merge (dict "jobs" (merge $database ($settings.jobs | default dict))) $settings -}}
{{- end -}}
{{- with .Values.jobs.notify -}}
{{- if .urls -}}
{{- $notify := dict "notify_urls" .urls "notify_secret_file" "/etc/salt-sidecar/notify/secret" -}}
{{- $settings = merge (dict "jobs" (merge $notify ($settings.jobs | default dict))) $settings -}}
{{- end -}}
{{- end -}}
{{- if .Values.identities.enabled -}}
{{- $settings = merge (dict "identities" (include "sidecar.identitySettings" . | fromYaml)) $settings -}}
{{- end -}}
{{- toYaml $settings -}}
{{- end -}}

{{/* The master's configuration: paths whose parents are volumes, the sockets where the sidecar looks, and what the values say. */}}
{{- define "sidecar.masterConfig" -}}
{{- $own := dict
  "id" "master"
  "interface" "0.0.0.0"
  "publish_port" (int .Values.master.ports.publish)
  "ret_port" (int .Values.master.ports.ret)
  "pki_dir" "/etc/salt/pki/master"
  "cachedir" "/var/cache/salt/master"
  "sock_dir" "/var/run/salt/master"
  "pidfile" "/var/run/salt/salt-master.pid"
  "log_file" "/dev/null"
  "key_logfile" "/dev/null"
  "default_include" "/etc/salt/conf.d/*/*.conf"
  "netapi_enable_clients" .Values.master.clients
  "presence_events" true
  "master_stats" true
-}}
{{- $logins := dict -}}
{{- if include "sidecar.usesSharedSecret" . -}}
{{- $_ := set $logins "sharedsecret" (include "sidecar.users" . | fromYaml) -}}
{{- end -}}
{{- with .Values.identities.accounts -}}
{{- $_ := set $logins "sidecar" . -}}
{{- end -}}
{{- with $logins -}}
{{- $_ := set $own "external_auth" . -}}
{{- end -}}
{{- toYaml (merge (.Values.master.config | default dict | deepCopy) (include "sidecar.clusterConfig" . | fromYaml) $own) -}}
{{- end -}}

{{- define "sidecar.scripts" -}}
{{ (.Files.Glob "files/scripts/*.sh").AsConfig }}
{{ (.Files.Glob "files/scripts/master-ping.py").AsConfig }}
{{- end -}}

{{/* nginx in the pod, without root and with nothing to write but /tmp. */}}
{{- define "sidecar.nginx" -}}
pid /tmp/nginx.pid;
worker_processes 1;
error_log /dev/stderr warn;
events { worker_connections 4096; }
http {
    access_log off;
    server_tokens off;
    client_body_temp_path /tmp/client;
    proxy_temp_path /tmp/proxy;
    fastcgi_temp_path /tmp/fastcgi;
    uwsgi_temp_path /tmp/uwsgi;
    scgi_temp_path /tmp/scgi;
    upstream websockets { server 127.0.0.1:{{ include "sidecar.websocketPort" . }}; }
    map $http_upgrade $websocket { "~*^websocket$" websocket; default ""; }
    map $websocket $websocket_connection { websocket upgrade; default ""; }
    upstream sidecar { server 127.0.0.1:{{ include "sidecar.apiPort" . }}; keepalive 32; }
    {{- if include "sidecar.passesCertificates" . }}
    map $ssl_client_verify $verified_certificate { SUCCESS $ssl_client_escaped_cert; default ""; }
    {{- end }}
    server {
        listen {{ .Values.tls.port }} ssl;
        {{- if has .Values.service.ipFamilyPolicy (list "PreferDualStack" "RequireDualStack") }}
        listen [::]:{{ .Values.tls.port }} ssl;
        {{- end }}
        ssl_certificate /etc/nginx/tls/tls.crt;
        ssl_certificate_key /etc/nginx/tls/tls.key;
        ssl_protocols TLSv1.2 TLSv1.3;
        {{- if .Values.tls.clientCASecret }}
        ssl_client_certificate /etc/nginx/client-ca/ca.crt;
        ssl_verify_client {{ ternary "on" "optional" (eq .Values.tls.clientCertificates "required") }};
        {{- end }}
        client_max_body_size 0;
        location / {
            proxy_pass http://sidecar;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto https;
            {{- if include "sidecar.passesCertificates" . }}
            {{- include "sidecar.certificateHeaders" . | nindent 12 }}
            {{- end }}
            proxy_buffering off;
            proxy_request_buffering off;
            # The sidecar has a deadline for everything; nginx is only not to be faster.
            proxy_read_timeout 86400s;
            proxy_send_timeout 300s;
        }
        location ~ ^{{ include "sidecar.rootPrefix" . }}/+(ws|all_events|formatted_events)(/|$) {
            # What nginx has to say of a request has its path in it, where the token may be.
            error_log /dev/stderr crit;
            proxy_pass http://websockets;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $websocket;
            proxy_set_header Connection $websocket_connection;
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto https;
            proxy_read_timeout 86400s;
        }
    }
}
{{- end -}}
