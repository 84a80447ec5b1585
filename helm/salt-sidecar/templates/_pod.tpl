{{/* The parts of a pod, used by the StatefulSet and by the patch. */}}

{{- define "sidecar.masterConfigPath" -}}
{{- if and (eq .Values.mode "attach") .Values.attach.masterConfig.existingVolume -}}
{{ .Values.attach.masterConfig.mountPath }}/{{ .Values.attach.masterConfig.file }}
{{- else -}}
/etc/salt/config/master
{{- end -}}
{{- end -}}

{{- define "sidecar.sockVolume" -}}
{{- if eq .Values.mode "attach" }}{{ default "salt-run" .Values.attach.sock.existingVolume }}{{ else }}run{{ end -}}
{{- end -}}

{{- define "sidecar.masterConfigVolume" -}}
{{- if eq .Values.mode "attach" }}{{ default "salt-sidecar-master" .Values.attach.masterConfig.existingVolume }}{{ else }}master-config{{ end -}}
{{- end -}}

{{- define "sidecar.container" -}}
name: salt-sidecar
image: {{ include "sidecar.image" (dict "image" .Values.image "root" .) }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- if .Values.nativeSidecar }}
restartPolicy: Always
{{- end }}
args:
  - serve
  {{- with .Values.extraArgs }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
env:
  - name: SALT_MASTER_CONFIG
    value: {{ include "sidecar.masterConfigPath" . | quote }}
  - name: SIDECAR_CONFIG
    value: /etc/salt-sidecar/config/sidecar.yaml
  {{- with include "sidecar.clusterEnv" . | trim }}
  {{- . | nindent 2 }}
  - name: SIDECAR_MASTER_URI
    value: tcp://$(POD_IP):{{ int $.Values.master.ports.ret }}
  {{- end }}
  {{- with .Values.extraEnv }}
  {{- tpl (toYaml .) $ | nindent 2 }}
  {{- end }}
{{- with .Values.extraEnvFrom }}
envFrom:
  {{- tpl (toYaml .) $ | nindent 2 }}
{{- end }}
ports:
  - name: api
    containerPort: {{ include "sidecar.apiPort" . }}
    protocol: TCP
  - name: ops
    containerPort: {{ include "sidecar.opsPort" . }}
    protocol: TCP
{{- range $kind := list "startup" "liveness" "readiness" }}
{{- with get $.Values.probes $kind }}
{{ $kind }}Probe:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- with .Values.lifecycle }}
lifecycle:
  {{- toYaml . | nindent 2 }}
{{- end }}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
volumeMounts:
  - name: salt-sidecar-config
    mountPath: /etc/salt-sidecar/config
    readOnly: true
  - name: {{ include "sidecar.masterConfigVolume" . | quote }}
    mountPath: {{ dir (include "sidecar.masterConfigPath" .) | quote }}
    readOnly: true
  {{- if and (eq .Values.mode "bundled") .Values.master.existingConfigMap }}
  - name: master-extra
    mountPath: /etc/salt/conf.d/extra
    readOnly: true
  {{- end }}
  - name: {{ include "sidecar.sockVolume" . | quote }}
    mountPath: {{ ternary .Values.attach.sock.mountPath "/var/run/salt" (eq .Values.mode "attach") | quote }}
    readOnly: true
  {{- if eq .Values.mode "bundled" }}
  {{- /* Who has a key, for salt_minion_keys; the master's own key is beside these folders, and not here. */}}
  {{- range $folder := list "minions" "minions_pre" "minions_rejected" "minions_denied" }}
  - name: pki
    mountPath: /etc/salt/pki/{{ include "sidecar.keys" $ }}/{{ $folder }}
    subPath: {{ include "sidecar.keys" $ }}/{{ $folder }}
    readOnly: true
  {{- end }}
  {{- /* Where a logout removes the token, for this sidecar and all others of the cache. The rest of it, with the master's root key, is the master's. */}}
  - name: cache
    mountPath: /var/cache/salt/master/tokens
    subPath: master/tokens
  {{- end }}
  - name: salt-sidecar-tmp
    mountPath: /tmp
  - name: salt-sidecar-jobs
    mountPath: /var/lib/salt-sidecar
  {{- if .Values.identities.enabled }}
  {{- include "sidecar.identityMounts" . | nindent 2 }}
  {{- end }}
  {{- if .Values.secretFiles }}
  - name: salt-sidecar-secrets
    mountPath: /etc/salt-sidecar/secrets
    readOnly: true
  {{- end }}
  {{- if .Values.metrics.token.existingSecret }}
  - name: salt-sidecar-ops-token
    mountPath: /etc/salt-sidecar/ops
    readOnly: true
  {{- end }}
  {{- if .Values.jobs.database.url }}
  - name: salt-sidecar-database
    mountPath: /etc/salt-sidecar/database
    readOnly: true
  {{- end }}
  {{- if .Values.jobs.notify.urls }}
  - name: salt-sidecar-notify
    mountPath: /etc/salt-sidecar/notify
    readOnly: true
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- tpl (toYaml .) $ | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "sidecar.tlsContainer" -}}
name: tls
image: {{ include "sidecar.image" (dict "image" .Values.tls.image "root" .) }}
imagePullPolicy: {{ .Values.tls.image.pullPolicy }}
command:
  - sh
  - /etc/nginx/scripts/serve-tls.sh
  - /etc/nginx/sidecar/nginx.conf
  - /etc/nginx/tls/tls.crt
  - /etc/nginx/tls/tls.key
  {{- if .Values.tls.clientCASecret }}
  - /etc/nginx/client-ca/ca.crt
  {{- end }}
ports:
  - name: https
    containerPort: {{ .Values.tls.port }}
    protocol: TCP
readinessProbe:
  tcpSocket:
    port: https
  periodSeconds: 5
# It goes on until the sidecar has answered its last request.
lifecycle:
  preStop:
    exec:
      command: [sh, /etc/nginx/scripts/wait-for-sidecar.sh, {{ include "sidecar.opsPort" . | quote }}, {{ include "sidecar.drainSeconds" . | quote }}]
resources:
  {{- toYaml .Values.tls.resources | nindent 2 }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
volumeMounts:
  - name: salt-sidecar-nginx
    mountPath: /etc/nginx/sidecar
    readOnly: true
  - name: salt-sidecar-scripts
    mountPath: /etc/nginx/scripts
    readOnly: true
  - name: salt-sidecar-tls
    mountPath: /etc/nginx/tls
    readOnly: true
  {{- if .Values.tls.clientCASecret }}
  - name: salt-sidecar-client-ca
    mountPath: /etc/nginx/client-ca
    readOnly: true
  {{- end }}
  {{- if include "sidecar.passesCertificates" . }}
  - name: salt-sidecar-proxy
    mountPath: /etc/nginx/proxy
    readOnly: true
  {{- end }}
  - name: salt-sidecar-nginx-tmp
    mountPath: /tmp
{{- end -}}

{{- define "sidecar.jobsClaim" -}}
{{ .Values.jobs.persistence.existingClaim | default (printf "%s-jobs" (include "sidecar.fullname" .)) }}
{{- end -}}

{{- define "sidecar.tokenVolume" -}}
{{- with .Values.metrics.token }}
{{- if .existingSecret }}
- name: salt-sidecar-ops-token
  secret:
    secretName: {{ .existingSecret | quote }}
    defaultMode: {{ include "sidecar.secretMode" $ }}
    items:
      - key: {{ .secretKey | quote }}
        path: token
{{- end }}
{{- end }}
{{- end -}}

{{/* Volumes of the sidecar's own containers. */}}
{{- define "sidecar.volumes" -}}
- name: salt-sidecar-config
  configMap:
    name: {{ include "sidecar.configMap" . | quote }}
# Bodies on their way, with the credentials in them; it counts as the container's memory.
- name: salt-sidecar-tmp
  emptyDir:
    medium: Memory
    sizeLimit: 128Mi
# The store of /v1/jobs, which keeps to config.jobs.store_limit_bytes by itself.
- name: salt-sidecar-jobs
  {{- if .Values.jobs.persistence.enabled }}
  persistentVolumeClaim:
    claimName: {{ include "sidecar.jobsClaim" . | quote }}
  {{- else }}
  emptyDir: {}
  {{- end }}
{{- if .Values.secretFiles }}
- name: salt-sidecar-secrets
  secret:
    secretName: {{ .Values.secretFiles | quote }}
    defaultMode: {{ include "sidecar.secretMode" $ }}
{{- end }}
{{- with .Values.jobs.database }}
{{- if .url }}
- name: salt-sidecar-database
  secret:
    secretName: {{ .existingSecret | quote }}
    defaultMode: {{ include "sidecar.secretMode" $ }}
    items:
      - key: {{ .secretKey | quote }}
        path: password
{{- end }}
{{- end }}
{{- with .Values.jobs.notify }}
{{- if .urls }}
- name: salt-sidecar-notify
  secret:
    secretName: {{ .existingSecret | quote }}
    defaultMode: {{ include "sidecar.secretMode" $ }}
    items:
      - key: {{ .secretKey | quote }}
        path: secret
{{- end }}
{{- end }}
{{- include "sidecar.tokenVolume" . }}
{{- if .Values.identities.enabled }}
{{ include "sidecar.identityVolumes" . }}
{{- end }}
{{- if or .Values.tls.enabled .Values.identities.enabled }}
- name: salt-sidecar-scripts
  configMap:
    name: {{ include "sidecar.fullname" . }}-scripts
{{- end }}
{{- if .Values.tls.enabled }}
- name: salt-sidecar-nginx
  configMap:
    name: {{ include "sidecar.fullname" . }}-nginx
- name: salt-sidecar-nginx-tmp
  emptyDir:
    sizeLimit: 256Mi
- name: salt-sidecar-tls
  secret:
    secretName: {{ include "sidecar.tlsSecret" . | quote }}
    defaultMode: {{ include "sidecar.secretMode" $ }}
{{- if .Values.tls.clientCASecret }}
- name: salt-sidecar-client-ca
  secret:
    secretName: {{ .Values.tls.clientCASecret | quote }}
    defaultMode: {{ include "sidecar.secretMode" $ }}
{{- end }}
{{- end }}
{{- with .Values.extraVolumes }}
{{ tpl (toYaml .) $ }}
{{- end }}
{{- end -}}

{{/* A changed ConfigMap starts the pod anew; SIGHUP would do for some settings, but nobody would send it. */}}
{{- define "sidecar.checksums" -}}
checksum/config: {{ include "sidecar.settings" . | sha256sum }}
{{- if .Values.tls.enabled }}
checksum/nginx: {{ include "sidecar.nginx" . | sha256sum }}
{{- end }}
{{- if eq .Values.mode "bundled" }}
checksum/master: {{ include "sidecar.masterConfig" . | sha256sum }}
{{- end }}
{{- if or .Values.tls.enabled .Values.identities.enabled (eq .Values.mode "bundled") }}
checksum/scripts: {{ include "sidecar.scripts" . | sha256sum }}
{{- end }}
{{- end -}}

{{- define "sidecar.scheduling" -}}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- tpl (toYaml .) $ | nindent 2 }}
{{- end }}
{{- with .Values.topologySpreadConstraints }}
topologySpreadConstraints:
  {{- tpl (toYaml .) $ | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- with .Values.runtimeClassName }}
runtimeClassName: {{ . | quote }}
{{- end }}
{{- with .Values.hostAliases }}
hostAliases:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.dnsPolicy }}
dnsPolicy: {{ . }}
{{- end }}
{{- with .Values.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
