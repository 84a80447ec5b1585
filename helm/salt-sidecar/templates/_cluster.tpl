{{/* The parts of pods that are masters of one Salt master cluster. */}}

{{/* `yes` where there is one. */}}
{{- define "sidecar.clustered" -}}
{{- if and (eq .Values.mode "bundled") (gt (int .Values.replicas) 1) }}yes{{ end -}}
{{- end -}}

{{/* The folder below /etc/salt/pki with the keys of the minions. */}}
{{- define "sidecar.keys" -}}
{{- ternary "cluster" "master" (eq (include "sidecar.clustered" .) "yes") -}}
{{- end -}}

{{/* What all masters have in common; files/scripts/cluster.sh adds what each has of its own. */}}
{{- define "sidecar.clusterConfig" -}}
{{- if include "sidecar.clustered" . -}}
cluster_id: {{ .Values.cluster.id | quote }}
cluster_pki_dir: /etc/salt/pki/cluster
cluster_pool_port: {{ int .Values.cluster.port }}
{{- end -}}
{{- end -}}

{{/* Who this pod is; its master listens there alone. */}}
{{- define "sidecar.clusterEnv" -}}
{{- if include "sidecar.clustered" . }}
- name: POD_IP
  valueFrom:
    fieldRef:
      fieldPath: status.podIP
{{- end }}
{{- end -}}

{{/* The ports of the node that a pod takes with its address. */}}
{{- define "sidecar.nodePorts" -}}
{{- $ports := list (int .Values.master.ports.publish) (int .Values.master.ports.ret) (int .Values.cluster.port) -}}
{{- $ports = append $ports (ternary (int .Values.tls.port) (include "sidecar.apiPort" . | int) .Values.tls.enabled) -}}
{{- join ", " (append $ports (include "sidecar.opsPort" . | int)) -}}
{{- end -}}

{{/* The claims that all pods share: those of a StatefulSet are one for each pod. */}}
{{- define "sidecar.sharedClaim" -}}
{{ .claim.existingClaim | default (printf "%s-%s" (include "sidecar.fullname" .root) .name) }}
{{- end -}}
