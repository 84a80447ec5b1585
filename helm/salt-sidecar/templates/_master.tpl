{{/* The salt-master of bundled mode. */}}

{{- define "sidecar.masterMounts" -}}
- name: master-config
  mountPath: /etc/salt/config
  readOnly: true
- name: scripts
  mountPath: /etc/salt/scripts
  readOnly: true
{{- if .Values.master.existingConfigMap }}
- name: master-extra
  mountPath: /etc/salt/conf.d/extra
  readOnly: true
{{- end }}
- name: master-secret
  mountPath: /etc/salt/conf.d/secret
{{- if .Values.identities.enabled }}
{{ include "sidecar.toldMount" . }}
{{- end }}
{{/* The parents of what Salt makes: a folder that is a mount itself belongs to root, and Salt wants to change its mode. */ -}}
- name: pki
  mountPath: /etc/salt/pki
- name: cache
  mountPath: /var/cache/salt
{{- if include "sidecar.clustered" . }}
# What probes look at is each master's own, in the cache that all share.
- name: health
  mountPath: /var/cache/salt/master/health
{{- end }}
- name: run
  mountPath: /var/run/salt
- name: master-tmp
  mountPath: /tmp
{{- end -}}

{{- define "sidecar.prepareContainer" -}}
name: prepare
image: {{ include "sidecar.image" (dict "image" .Values.master.image "root" .) }}
imagePullPolicy: {{ .Values.master.image.pullPolicy }}
{{- if include "sidecar.clustered" . }}
command: [sh, -c, {{ printf "sh /etc/salt/scripts/prepare.sh && exec sh /etc/salt/scripts/cluster.sh %s" (join " " .Values.cluster.addresses) | quote }}]
env:
  {{- include "sidecar.clusterEnv" . | nindent 2 }}
{{- else }}
command: [sh, /etc/salt/scripts/prepare.sh]
{{- end }}
resources:
  requests:
    cpu: 10m
    memory: 16Mi
  limits:
    memory: 64Mi
securityContext:
  {{- toYaml .Values.master.securityContext | nindent 2 }}
volumeMounts:
  - name: scripts
    mountPath: /etc/salt/scripts
    readOnly: true
  - name: master-secret
    mountPath: /etc/salt/conf.d/secret
  - name: pki
    mountPath: /etc/salt/pki
  - name: cache
    mountPath: /var/cache/salt
  {{- if .Values.master.keys.existingSecret }}
  - name: keys
    mountPath: /secrets/keys
    readOnly: true
  {{- end }}
  {{- if include "sidecar.usesSharedSecret" . }}
  - name: auth
    mountPath: /secrets/auth
    readOnly: true
  {{- end }}
{{- end -}}

{{- define "sidecar.masterContainer" -}}
name: salt-master
image: {{ include "sidecar.image" (dict "image" .Values.master.image "root" .) }}
imagePullPolicy: {{ .Values.master.image.pullPolicy }}
{{- with .Values.master.command }}
command:
  {{- toYaml . | nindent 2 }}
{{- end }}
args:
  {{- toYaml .Values.master.args | nindent 2 }}
{{/* So that salt-run, salt-key and salt find the configuration when somebody calls them in here. */ -}}
env:
  - name: SALT_CONFIG_DIR
    value: /etc/salt/config
  {{- include "sidecar.clusterEnv" . | trim | nindent 2 }}
  {{- with .Values.master.extraEnv }}
  {{- tpl (toYaml .) $ | nindent 2 }}
  {{- end }}
ports:
  - name: publish
    containerPort: {{ .Values.master.ports.publish }}
    protocol: TCP
  - name: ret
    containerPort: {{ .Values.master.ports.ret }}
    protocol: TCP
  {{- if include "sidecar.clustered" . }}
  - name: cluster
    containerPort: {{ int .Values.cluster.port }}
    protocol: TCP
  {{- end }}
{{- range $kind := list "startup" "liveness" "readiness" }}
{{- with get $.Values.master.probes $kind }}
{{ $kind }}Probe:
  {{- tpl (toYaml .) $ | nindent 2 }}
{{- end }}
{{- end }}
{{- if or (include "sidecar.clustered" .) (not .Values.nativeSidecar) }}
lifecycle:
  {{- if include "sidecar.clustered" . }}
  postStart:
    exec:
      command: [sh, -c, {{ printf "sh /etc/salt/scripts/cluster-propose.sh %d </dev/null >/dev/null 2>&1 &" (int .Values.master.ports.ret) | quote }}]
  {{- end }}
  {{- if not .Values.nativeSidecar }}
  preStop:
    exec:
      command: [sh, /etc/salt/scripts/wait-for-sidecar.sh, {{ include "sidecar.opsPort" . | quote }}, {{ include "sidecar.drainSeconds" . | quote }}]
  {{- end }}
{{- end }}
resources:
  {{- toYaml .Values.master.resources | nindent 2 }}
securityContext:
  {{- toYaml .Values.master.securityContext | nindent 2 }}
volumeMounts:
  {{- include "sidecar.masterMounts" . | nindent 2 }}
  {{- with .Values.master.extraVolumeMounts }}
  {{- tpl (toYaml .) $ | nindent 2 }}
  {{- end }}
{{- end -}}

{{- define "sidecar.masterVolumes" -}}
- name: master-config
  configMap:
    name: {{ include "sidecar.fullname" . }}-master
- name: scripts
  configMap:
    name: {{ include "sidecar.fullname" . }}-scripts
{{- if .Values.master.existingConfigMap }}
- name: master-extra
  configMap:
    name: {{ .Values.master.existingConfigMap | quote }}
{{- end }}
- name: master-secret
  emptyDir:
    medium: Memory
    sizeLimit: 1Mi
- name: run
  emptyDir: {}
- name: master-tmp
  emptyDir:
    sizeLimit: 512Mi
{{- with .Values.master.keys }}
{{- if .existingSecret }}
- name: keys
  secret:
    secretName: {{ .existingSecret | quote }}
    defaultMode: 0440
    items:
      - key: {{ .privateKey | quote }}
        path: master.pem
      - key: {{ .publicKey | quote }}
        path: master.pub
{{- end }}
{{- end }}
{{- if include "sidecar.usesSharedSecret" . }}
- name: auth
  secret:
    secretName: {{ include "sidecar.authSecret" . | quote }}
    defaultMode: 0440
    items:
      - key: {{ include "sidecar.authKey" . | quote }}
        path: sharedsecret
{{- end }}
{{- range $name, $claim := omit .Values.master.persistence "whenDeleted" }}
{{- if not $claim.enabled }}
- name: {{ $name }}
  emptyDir: {}
{{- else if or $claim.existingClaim (include "sidecar.clustered" $) }}
- name: {{ $name }}
  persistentVolumeClaim:
    claimName: {{ include "sidecar.sharedClaim" (dict "root" $ "name" $name "claim" $claim) | quote }}
{{- end }}
{{- end }}
{{- if include "sidecar.clustered" . }}
- name: health
  emptyDir: {}
{{- end }}
{{- end -}}

{{/* Which volume a claim binds to, if it says so. */}}
{{- define "sidecar.claimedVolume" -}}
{{- with .volumeName }}
volumeName: {{ . | quote }}
{{- end }}
{{- with .selector }}
selector:
  matchLabels:
    {{- toYaml . | nindent 4 }}
{{- end }}
{{- end -}}

{{/* The claims that the StatefulSet makes. */}}
{{- define "sidecar.claims" -}}
{{- range $name, $claim := omit .Values.master.persistence "whenDeleted" }}
{{- if and $claim.enabled (not $claim.existingClaim) (not (include "sidecar.clustered" $)) }}
- metadata:
    name: {{ $name }}
    {{- with $claim.labels }}
    labels:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    {{- with $claim.annotations }}
    annotations:
      {{- toYaml . | nindent 6 }}
    {{- end }}
  spec:
    accessModes:
      {{- toYaml $claim.accessModes | nindent 6 }}
    {{- with $claim.storageClass }}
    storageClassName: {{ . | quote }}
    {{- end }}
    resources:
      requests:
        storage: {{ $claim.size | quote }}
    {{- include "sidecar.claimedVolume" $claim | nindent 4 }}
{{- end }}
{{- end }}
{{- end -}}
