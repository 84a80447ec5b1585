{{/* What an upgrade changes, for who comes from an older chart; the labels of what is there say from which. Whoever writes the next ones keeps those of a year. */}}

{{/* The version of the chart that made what is there; empty where Helm cannot look. */}}
{{- define "sidecar.versionBefore" -}}
{{- $service := lookup "v1" "Service" (include "sidecar.namespace" .) (include "sidecar.fullname" .) -}}
{{- dig "metadata" "labels" "helm.sh/chart" "" $service | trimPrefix (printf "%s-" .Chart.Name) -}}
{{- end -}}

{{- define "sidecar.upgradeNotes" -}}
{{- $before := include "sidecar.versionBefore" . -}}
{{- if and .Release.IsUpgrade (or (not $before) (semverCompare "<0.2.0-0" $before)) }}

WHAT IS NEW SINCE CHART 0.1 (docs/install-kubernetes.md, "From chart 0.1"):
  - Callers: the API is offered by TLS first. It is {{ ternary "https" "plain http" .Values.tls.enabled }} on port {{ include "sidecar.servicePort" . }} now{{ if .Values.tls.enabled }}; tls.enabled=false is as before{{ end }}.
  - Logins: the user api, who may do everything, is there with auth.trial only. {{ if include "sidecar.nobodyLogsIn" . }}Nobody may log in now.{{ else }}Who may log in is what your values say.{{ end }}
  {{- if and .Values.networkPolicy.enabled (or (eq .Values.mode "bundled") .Values.attach.networkPolicy.enabled) }}
  - The pod's own calls: {{ if .Values.networkPolicy.restrictEgress }}only DNS, what the settings name, and networkPolicy.egress; networkPolicy.restrictEgress=false is as before{{ else }}not limited, as before{{ end }}.
  - Those who call: once networkPolicy.apiFrom, metricsFrom or minionsFrom names somebody, the ports of the others are closed.
  {{- end }}
  {{- if eq .Values.mode "attach" }}
  - The patch: it adds nginx for TLS; apply it again.
  {{- end }}
{{- end }}
{{- end -}}
