{{/* Whose certificate nginx in the pod shows. */}}

{{/* `yes` where nobody named one, so that the chart makes it. */}}
{{- define "sidecar.makesCertificate" -}}
{{- if and .Values.tls.enabled (not .Values.tls.existingSecret) (not .Values.tls.certManager.enabled) }}yes{{ end -}}
{{- end -}}

{{/* Not the name that cert-manager's Secret has: Helm takes ours away when somebody changes over, and would take that one. */}}
{{- define "sidecar.tlsSecret" -}}
{{- if include "sidecar.makesCertificate" . -}}
{{- printf "%s-made-tls" (include "sidecar.fullname" .) -}}
{{- else -}}
{{- default (printf "%s-tls" (include "sidecar.fullname" .)) .Values.tls.existingSecret -}}
{{- end -}}
{{- end -}}

{{/* The names of the Service: a list in YAML. */}}
{{- define "sidecar.serviceNames" -}}
{{- $service := include "sidecar.fullname" . -}}
{{- $namespace := include "sidecar.namespace" . -}}
{{- list $service (printf "%s.%s" $service $namespace) (printf "%s.%s.svc" $service $namespace) | toYaml -}}
{{- end -}}

{{/* The data of a Secret for nginx, with the authority that callers need; its key is thrown away. `localhost` is for port-forward. */}}
{{- define "sidecar.madeCertificate" -}}
{{- $service := include "sidecar.fullname" . -}}
{{- $names := append (include "sidecar.serviceNames" . | fromYamlArray) "localhost" -}}
{{- $days := int .Values.tls.madeForDays -}}
{{- $authority := genCAWithKey (printf "%s-ca" $service) $days (genPrivateKey "ecdsa") -}}
{{- $made := genSignedCertWithKey $service (list "127.0.0.1") $names $days $authority (genPrivateKey "ecdsa") -}}
ca.crt: {{ $authority.Cert | b64enc }}
tls.crt: {{ $made.Cert | b64enc }}
tls.key: {{ $made.Key | b64enc }}
{{- end -}}

{{/* What contradicts itself in how callers reach the API, and what would change under them: a list in JSON. */}}
{{- define "sidecar.tlsFaults" -}}
{{- $faults := list -}}
{{- if and .Values.tls.certManager.enabled (not .Values.tls.enabled) -}}
{{- $faults = append $faults "tls.enabled: is false, so nobody would use the certificate of tls.certManager" -}}
{{- end -}}
{{- if and .Values.tls.certManager.enabled (not .Values.tls.certManager.issuer) -}}
{{- $faults = append $faults "tls.certManager.issuer: is needed" -}}
{{- end -}}
{{- if and .Values.tls.existingSecret (not .Values.tls.enabled) -}}
{{- $faults = append $faults "tls.enabled: is false, so nobody would use the certificate in tls.existingSecret" -}}
{{- end -}}
{{- if and .Values.tls.clientCASecret (not .Values.tls.enabled) -}}
{{- $faults = append $faults "tls.enabled: is false, so nobody would ask for the certificates of tls.clientCASecret" -}}
{{- end -}}
{{- if and .Values.tls.enabled .Values.existingConfigMap -}}
{{- $faults = append $faults "existingConfigMap: with tls.enabled, which is the default, the chart writes sidecar.yaml, so that nginx is believed; use config, or set tls.enabled to false" -}}
{{- end -}}
{{- if include "sidecar.makesCertificate" . -}}
{{- range $name := list "ingress" "httpRoute" -}}
{{- if (get $.Values $name).enabled -}}
{{- $faults = append $faults (printf "%s.enabled: what is behind it would be a pod with a certificate that nobody knows; set tls.enabled to false, so that TLS ends in front, or name a certificate in tls.existingSecret or tls.certManager, and tell the proxy to speak TLS to the Service" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- $service := include "sidecar.fullname" . -}}
{{- range dig "spec" "ports" list (lookup "v1" "Service" (include "sidecar.namespace" .) $service) -}}
{{- if eq (.name | default "") "api" -}}
{{- if and (eq (.targetPort | toString) "api") (include "sidecar.makesCertificate" $) -}}
{{- $faults = append $faults (printf "tls.enabled: callers of Service %s speak plain http until now, and TLS is the default of this chart; set tls.enabled to false to go on as before, or name a certificate in tls.existingSecret or tls.certManager" $service) -}}
{{- end -}}
{{- if and (eq (.targetPort | toString) "https") $.Values.tls.enabled (not $.Values.service.port) (ne (int .port) 443) -}}
{{- $faults = append $faults (printf "service.port: of Service %s is %d until now, and would be 443, which is the default with TLS; set service.port to what it shall be" $service (int .port)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $faults -}}
{{- end -}}
