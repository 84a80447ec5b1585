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

{{/* Who may log in with the shared secret. The user of a trial is not in values.yaml: Helm merges maps, and it would stay beside those that somebody names. */}}
{{- define "sidecar.users" -}}
{{- if .Values.auth.trial -}}
{{- dict "api" (list ".*" "@runner" "@wheel" "@jobs") | toYaml -}}
{{- else -}}
{{- .Values.auth.users | default dict | toYaml -}}
{{- end -}}
{{- end -}}

{{- define "sidecar.firstUser" -}}
{{- include "sidecar.users" . | fromYaml | keys | sortAlpha | first -}}
{{- end -}}

{{- define "sidecar.usesSharedSecret" -}}
{{- if and (eq .Values.mode "bundled") .Values.auth.sharedsecret (or .Values.auth.users .Values.auth.trial) }}yes{{ end -}}
{{- end -}}

{{/* `yes` where the chart knows of nobody who may log in. What is in a ConfigMap or at somebody's own master it does not know. */}}
{{- define "sidecar.nobodyLogsIn" -}}
{{- if and (eq .Values.mode "bundled") (not .Values.master.existingConfigMap) -}}
{{- if not (or (include "sidecar.usesSharedSecret" .) .Values.identities.accounts (.Values.master.config | default dict).external_auth) }}yes{{ end -}}
{{- end -}}
{{- end -}}

{{/* What contradicts itself in who may log in, and who no longer could: a list in JSON. */}}
{{- define "sidecar.authFaults" -}}
{{- $faults := list -}}
{{- $auth := .Values.auth -}}
{{- if and $auth.trial $auth.users -}}
{{- $faults = append $faults "auth.trial: is for when auth.users names nobody" -}}
{{- end -}}
{{- if and $auth.trial (not $auth.sharedsecret) -}}
{{- $faults = append $faults "auth.trial: its user logs in with the shared secret, and auth.sharedsecret is false" -}}
{{- end -}}
{{- if and (kindIs "map" (.Values.master.config | default dict).external_auth) (not (include "sidecar.usesSharedSecret" .)) -}}
{{- if hasKey .Values.master.config.external_auth "sharedsecret" -}}
{{- $faults = append $faults "master.config.external_auth.sharedsecret: belongs into auth.users, so that the master gets the secret, too" -}}
{{- end -}}
{{- end -}}
{{- if eq .Values.mode "attach" -}}
{{- range $name := list "existingSecret" "trial" -}}
{{- if get $auth $name -}}
{{- $faults = append $faults (printf "auth.%s: is for bundled mode; an attached master has its own external_auth" $name) -}}
{{- end -}}
{{- end -}}
{{- else if and $auth.existingSecret (not (include "sidecar.usesSharedSecret" .)) -}}
{{- $faults = append $faults "auth.existingSecret: nobody may log in with that secret; say in auth.users who may, and what they may do" -}}
{{- else if and $auth.sharedsecret (not (include "sidecar.usesSharedSecret" .)) -}}
{{- /* Of a chart that made this user for everybody. */ -}}
{{- $live := (lookup "v1" "ConfigMap" (include "sidecar.namespace" .) (printf "%s-master" (include "sidecar.fullname" .)) | default dict).data | default dict -}}
{{- if has ".*" (dig "external_auth" "sharedsecret" "api" list ($live.master | default "" | fromYaml)) -}}
{{- $faults = append $faults "auth.users: is empty, and the user api, who may do everything, would no longer be there; name who may log in, or set auth.trial to true to keep that user, or auth.sharedsecret to false to be without it" -}}
{{- end -}}
{{- end -}}
{{- toJson $faults -}}
{{- end -}}

{{- define "sidecar.configMap" -}}
{{- default (printf "%s-config" (include "sidecar.fullname" .)) .Values.existingConfigMap -}}
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

{{- define "sidecar.servicePort" -}}
{{- .Values.service.port | default (ternary 443 80 .Values.tls.enabled) | int -}}
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
