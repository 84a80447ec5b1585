{{/* Logins without passwords: an init container makes the key, the module for the master, and the secret by which nginx is believed. */}}

{{/* Whether a rule lets in who has a client certificate. */}}
{{- define "sidecar.takesCertificates" -}}
{{- range (.Values.config.identities | default dict).rules -}}
{{- if eq .issuer "certificate" }}yes{{ end -}}
{{- end -}}
{{- end -}}

{{/* Whether nginx in the pod passes them on. */}}
{{- define "sidecar.passesCertificates" -}}
{{- if and .Values.identities.enabled .Values.tls.enabled .Values.tls.clientCASecret (include "sidecar.takesCertificates" .) }}yes{{ end -}}
{{- end -}}

{{/* Where the master finds what it is told. The chart's own master reads every folder there; to another one it is a folder of ours. */}}
{{- define "sidecar.toldPath" -}}
{{- if eq .Values.mode "bundled" }}/etc/salt/conf.d/identities{{ else }}/etc/salt-sidecar/master{{ end -}}
{{- end -}}

{{- define "sidecar.identitySettings" -}}
key_file: /etc/salt-sidecar/identity/identity.pem
{{- if include "sidecar.passesCertificates" . }}
proxy_secret_file: /etc/salt-sidecar/proxy/secret
{{- end }}
{{- end -}}

{{- define "sidecar.toldMount" -}}
- name: salt-sidecar-told
  mountPath: {{ include "sidecar.toldPath" . }}
  readOnly: true
{{- end -}}

{{- define "sidecar.identityMounts" -}}
{{ include "sidecar.toldMount" . }}
- name: salt-sidecar-identity
  mountPath: /etc/salt-sidecar/identity
  readOnly: true
{{- if include "sidecar.passesCertificates" . }}
- name: salt-sidecar-proxy
  mountPath: /etc/salt-sidecar/proxy
  readOnly: true
{{- end }}
{{- end -}}

{{- define "sidecar.identitiesContainer" -}}
name: identities
image: {{ include "sidecar.image" (dict "image" .Values.image "root" .) }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
command:
  - sh
  - /etc/salt-sidecar/scripts/identities.sh
  - {{ include "sidecar.toldPath" . }}
  - {{ default (printf "%s/%s" (include "sidecar.namespace" .) (include "sidecar.fullname" .)) .Values.identities.audience | quote }}
  - {{ ternary "/etc/salt-sidecar/proxy" "" (include "sidecar.passesCertificates" . | empty | not) | quote }}
  - /etc/salt-sidecar/identity/identity.pem
  {{- if .Values.identities.key.nextSecretKey }}
  - /etc/salt-sidecar/identity/next.pem
  {{- end }}
resources:
  requests:
    cpu: 10m
    memory: 48Mi
  limits:
    memory: 128Mi
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
volumeMounts:
  - name: salt-sidecar-scripts
    mountPath: /etc/salt-sidecar/scripts
    readOnly: true
  - name: salt-sidecar-told
    mountPath: {{ include "sidecar.toldPath" . }}
  - name: salt-sidecar-identity
    mountPath: /etc/salt-sidecar/identity
    {{- if .Values.identities.key.existingSecret }}
    readOnly: true
    {{- end }}
  {{- if include "sidecar.passesCertificates" . }}
  - name: salt-sidecar-proxy
    mountPath: /etc/salt-sidecar/proxy
  {{- end }}
{{- end -}}

{{- define "sidecar.identityVolumes" -}}
- name: salt-sidecar-told
  emptyDir:
    medium: Memory
    sizeLimit: 1Mi
- name: salt-sidecar-identity
  {{- with .Values.identities.key }}
  {{- if .existingSecret }}
  secret:
    secretName: {{ .existingSecret | quote }}
    defaultMode: {{ include "sidecar.secretMode" $ }}
    items:
      - key: {{ .secretKey | quote }}
        path: identity.pem
      {{- if .nextSecretKey }}
      - key: {{ .nextSecretKey | quote }}
        path: next.pem
      {{- end }}
  {{- else }}
  emptyDir:
    medium: Memory
    sizeLimit: 1Mi
  {{- end }}
  {{- end }}
{{- if include "sidecar.passesCertificates" . }}
- name: salt-sidecar-proxy
  emptyDir:
    medium: Memory
    sizeLimit: 1Mi
{{- end }}
{{- end -}}

{{/* In nginx: the certificate that it has verified, in the place of whatever callers write there, and what proves that it comes from nginx. */}}
{{- define "sidecar.certificateHeaders" -}}
proxy_set_header {{ (.Values.config.identities | default dict).certificate_header | default "X-Client-Cert" }} $verified_certificate;
include /etc/nginx/proxy/header.conf;
{{- end -}}

{{/* What contradicts itself in identities: a list in JSON. */}}
{{- define "sidecar.identityFaults" -}}
{{- $faults := list -}}
{{- $given := .Values.config.identities | default dict -}}
{{- if .Values.identities.enabled -}}
{{- if $given.key_file -}}
{{- $faults = append $faults "config.identities.key_file: is the chart's business; a key of your own goes into identities.key.existingSecret" -}}
{{- end -}}
{{- if and $given.proxy_secret_file (include "sidecar.passesCertificates" .) -}}
{{- $faults = append $faults "config.identities.proxy_secret_file: nginx in the pod has a secret of its own; it is for a proxy elsewhere" -}}
{{- end -}}
{{- if .Values.existingConfigMap -}}
{{- $faults = append $faults "identities.enabled: the chart writes sidecar.yaml for it, so that the key is found; use config instead of existingConfigMap" -}}
{{- end -}}
{{- if and (include "sidecar.takesCertificates" .) (not (include "sidecar.passesCertificates" .)) (not $given.proxy_secret_file) -}}
{{- $faults = append $faults "config.identities.rules: one is for certificates, and nobody passes them on; set tls.enabled and tls.clientCASecret, or config.identities.proxy_secret_file" -}}
{{- end -}}
{{- else -}}
{{- if and (or $given.issuers $given.rules) (not $given.key_file) -}}
{{- $faults = append $faults "identities.enabled: is false, so the master would take nobody of config.identities" -}}
{{- end -}}
{{- if .Values.identities.accounts -}}
{{- $faults = append $faults "identities.enabled: is false, so nobody could be one of identities.accounts" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.identities.accounts (eq .Values.mode "attach") -}}
{{- $faults = append $faults "identities.accounts: is for bundled mode; an attached master has its own external_auth" -}}
{{- end -}}
{{- if and .Values.identities.key.nextSecretKey (not .Values.identities.key.existingSecret) -}}
{{- $faults = append $faults "identities.key.existingSecret: is empty, so there is no Secret with the key in identities.key.nextSecretKey" -}}
{{- end -}}
{{- if and (eq .Values.tls.clientCertificates "optional") (not .Values.tls.clientCASecret) -}}
{{- $faults = append $faults "tls.clientCASecret: is empty, so nobody is asked for a certificate, and tls.clientCertificates has no effect" -}}
{{- end -}}
{{- toJson $faults -}}
{{- end -}}
