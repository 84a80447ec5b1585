{{/* Names, labels and images. */}}

{{- define "sidecar.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "sidecar.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains (include "sidecar.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "sidecar.name" .) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "sidecar.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride -}}
{{- end -}}

{{/* The labels by which objects find the pod: ours, or those of the master that is there already. */}}
{{- define "sidecar.selector" -}}
{{- if eq .Values.mode "attach" -}}
{{- toYaml .Values.attach.selectorLabels -}}
{{- else -}}
app.kubernetes.io/name: {{ include "sidecar.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/component: server
{{- end -}}
{{- end -}}

{{/* Labels of an object: dict "root" $ "labels" {} "component" "metrics"; what is said closer to it wins, and no key is there twice. */}}
{{- define "sidecar.labels" -}}
{{- $own := dict
  "app.kubernetes.io/name" (include "sidecar.name" .root)
  "app.kubernetes.io/instance" .root.Release.Name
  "app.kubernetes.io/version" .root.Chart.AppVersion
  "app.kubernetes.io/managed-by" .root.Release.Service
  "helm.sh/chart" (printf "%s-%s" .root.Chart.Name (.root.Chart.Version | replace "+" "_"))
-}}
{{- with .component }}{{ $_ := set $own "app.kubernetes.io/component" . }}{{ end -}}
{{- merge (dict) (.labels | default dict) (.root.Values.commonLabels | default dict) $own | toYaml -}}
{{- end -}}

{{/* Annotations of the pod: dict "root" $ "own" {}; what the values say wins, except over checksums. */}}
{{- define "sidecar.podAnnotations" -}}
{{- tpl (merge (include "sidecar.checksums" .root | fromYaml) (.root.Values.podAnnotations | default dict) .own | toYaml) .root -}}
{{- end -}}

{{/* metadata of an object: dict "root" $ "suffix" "-metrics" (or "name" "...") "labels" {} "annotations" {} "component" "metrics" */}}
{{- define "sidecar.metadata" -}}
name: {{ .name | default (print (include "sidecar.fullname" .root) .suffix) | quote }}
namespace: {{ .namespace | default (include "sidecar.namespace" .root) | quote }}
labels:
  {{- include "sidecar.labels" . | nindent 2 }}
{{- with merge (dict) (.annotations | default dict) (.root.Values.commonAnnotations | default dict) }}
annotations:
  {{- tpl (toYaml .) $.root | nindent 2 }}
{{- end }}
{{- end -}}

{{- define "sidecar.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "sidecar.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* An image reference: dict "image" {...} "root" $ */}}
{{- define "sidecar.image" -}}
{{- with .image.registry | default .root.Values.global.imageRegistry }}{{ . }}/{{ end -}}
{{ .image.repository }}
{{- if .image.digest }}@{{ .image.digest }}{{ else }}:{{ default .root.Chart.AppVersion .image.tag }}{{ end -}}
{{- end -}}

{{- define "sidecar.authSecret" -}}
{{- default (printf "%s-auth" (include "sidecar.fullname" .)) .Values.auth.existingSecret -}}
{{- end -}}

{{- define "sidecar.authKey" -}}
{{- if .Values.auth.existingSecret }}{{ .Values.auth.secretKey }}{{ else }}sharedsecret{{ end -}}
{{- end -}}

{{/* Not in values.yaml: Helm merges maps, and a user with every right would stay beside those that somebody names. */}}
{{- define "sidecar.users" -}}
{{- $everything := list ".*" "@runner" "@wheel" "@jobs" -}}
{{- .Values.auth.users | default (dict "api" $everything) | toYaml -}}
{{- end -}}

{{- define "sidecar.firstUser" -}}
{{- include "sidecar.users" . | fromYaml | keys | sortAlpha | first -}}
{{- end -}}

{{- define "sidecar.usesSharedSecret" -}}
{{- if and (eq .Values.mode "bundled") .Values.auth.sharedsecret }}yes{{ end -}}
{{- end -}}

{{- define "sidecar.configMap" -}}
{{- default (printf "%s-config" (include "sidecar.fullname" .)) .Values.existingConfigMap -}}
{{- end -}}

{{- define "sidecar.tlsSecret" -}}
{{- default (printf "%s-tls" (include "sidecar.fullname" .)) .Values.tls.existingSecret -}}
{{- end -}}

{{/* What drains: how long the sidecar may take from SIGTERM on. */}}
{{- define "sidecar.drainSeconds" -}}
{{- $drain := .Values.config.drain | default dict -}}
{{- addf ($drain.notice_seconds | default 0) ($drain.drain_seconds | default 30) | ceil | int -}}
{{- end -}}

{{- define "sidecar.apiPort" -}}
{{- (.Values.config.api | default dict).port | default 8001 | int -}}
{{- end -}}

{{/* Of websockets, where nginx in the pod leads them. */}}
{{- define "sidecar.websocketPort" -}}
{{- (.Values.config.websocket | default dict).port | default 8003 | int -}}
{{- end -}}

{{- define "sidecar.opsPort" -}}
{{- (.Values.config.ops | default dict).port | default 9175 | int -}}
{{- end -}}

{{- define "sidecar.rootPrefix" -}}
{{- (.Values.config.api | default dict).root_prefix | default "" -}}
{{- end -}}

{{/* Mode of a Secret's files: they are root's, and the fsGroup's where there is one. Without one everybody may read them who mounts them, and that are our containers alone. */}}
{{- define "sidecar.secretMode" -}}
{{- if and (eq .Values.mode "attach") (not .Values.attach.fsGroup) }}0444{{ else }}0440{{ end -}}
{{- end -}}
