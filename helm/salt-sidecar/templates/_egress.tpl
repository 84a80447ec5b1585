{{/* Whom the pod may call. A NetworkPolicy knows addresses, labels and ports, and no names. */}}

{{/* The URLs that the settings name: a list in JSON. */}}
{{- define "sidecar.calledUrls" -}}
{{- $jobs := .Values.config.jobs | default dict -}}
{{- $urls := list (.Values.jobs.database.url | default $jobs.store | default "") -}}
{{- $urls = append $urls ((.Values.config.tracing | default dict).endpoint | default "") -}}
{{- $urls = append $urls ((.Values.config.master | default dict).uri | default "") -}}
{{- $urls = concat $urls (.Values.jobs.notify.urls | default $jobs.notify_urls | default list) -}}
{{- range (.Values.config.identities | default dict).issuers -}}
{{- $urls = append $urls (.jwks_url | default "") -}}
{{- end -}}
{{- $called := list -}}
{{- range $urls -}}
{{- if regexMatch "^(postgresql|https?|tcp)://" . -}}
{{- $called = append $called . -}}
{{- end -}}
{{- end -}}
{{- toJson $called -}}
{{- end -}}

{{/* The rule for one host: dict "host" "" "port" 5432; nothing for the pod itself, which no policy keeps from itself. */}}
{{- define "sidecar.calledHost" -}}
{{- $ports := list (dict "port" .port "protocol" "TCP") -}}
{{- if or (eq .host "localhost") (eq .host "::1") (hasPrefix "127." .host) -}}
{{- else if regexMatch "^[0-9]+([.][0-9]+){3}$" .host -}}
{{- dict "to" (list (dict "ipBlock" (dict "cidr" (printf "%s/32" .host)))) "ports" $ports | toJson -}}
{{- else if contains ":" .host -}}
{{- dict "to" (list (dict "ipBlock" (dict "cidr" (printf "%s/128" .host)))) "ports" $ports | toJson -}}
{{- else if regexMatch "^[^.]+$" .host -}}
{{- /* A Service: the ports of its pods are not told, and a policy counts those. */ -}}
{{- dict "to" (list (dict "podSelector" dict)) | toJson -}}
{{- else if regexMatch "[.][^.]+[.]svc([.]|$)" .host -}}
{{- $namespace := regexReplaceAll "^.*[.]([^.]+)[.]svc([.].*)?$" .host "${1}" -}}
{{- dict "to" (list (dict "namespaceSelector" (dict "matchLabels" (dict "kubernetes.io/metadata.name" $namespace)))) | toJson -}}
{{- else -}}
{{- dict "ports" $ports | toJson -}}
{{- end -}}
{{- end -}}

{{/* The rules for all of them: a list in JSON. One URL may name several hosts, as those of PostgreSQL do. */}}
{{- define "sidecar.calledRules" -}}
{{- $usual := dict "postgresql" 5432 "https" 443 "http" 80 "tcp" 4506 -}}
{{- $rules := list -}}
{{- range include "sidecar.calledUrls" . | fromJsonArray -}}
{{- $port := get $usual (regexFind "^[a-z]+" .) -}}
{{- range regexReplaceAll "^[a-z]+://(?:[^/?#]*@)?([^/?#]*).*$" . "${1}" | splitList "," -}}
{{- $own := regexFind ":[0-9]+$" . | trimPrefix ":" -}}
{{- $host := regexReplaceAll ":[0-9]+$" . "" | trimPrefix "[" | trimSuffix "]" -}}
{{- with include "sidecar.calledHost" (dict "host" $host "port" (int ($own | default $port))) -}}
{{- $rules = append $rules . -}}
{{- end -}}
{{- end -}}
{{- end -}}
[{{ $rules | uniq | join "," }}]
{{- end -}}

{{/* What of the master's configuration asks others: a list in JSON. Whom, only who wrote it knows. */}}
{{- define "sidecar.masterAsks" -}}
{{- $config := .Values.master.config | default dict -}}
{{- $asks := list -}}
{{- if kindIs "map" $config.external_auth -}}
{{- range $name := list "keystone" "ldap" "mysql" "rest" -}}
{{- if hasKey $config.external_auth $name -}}
{{- $asks = append $asks (printf "external_auth.%s" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $name := list "gitfs_remotes" "hgfs_remotes" "svnfs_remotes" "syndic_master" "winrepo_remotes_ng" -}}
{{- if get $config $name -}}
{{- $asks = append $asks $name -}}
{{- end -}}
{{- end -}}
{{- if kindIs "slice" $config.ext_pillar -}}
{{- range $config.ext_pillar -}}
{{- if and (kindIs "map" .) (hasKey . "git") -}}
{{- $asks = append $asks "ext_pillar.git" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $asks -}}
{{- end -}}

{{/* What contradicts itself in whom the pod may call: a list in JSON. */}}
{{- define "sidecar.egressFaults" -}}
{{- $faults := list -}}
{{- $policy := .Values.networkPolicy -}}
{{- range $name := list "egress" "dnsTo" -}}
{{- if and (get $policy $name) (not $policy.restrictEgress) -}}
{{- $faults = append $faults (printf "networkPolicy.%s: has no effect without networkPolicy.restrictEgress" $name) -}}
{{- end -}}
{{- end -}}
{{- if and (eq .Values.mode "bundled") $policy.enabled $policy.restrictEgress (not $policy.egress) -}}
{{- with include "sidecar.masterAsks" . | fromJsonArray -}}
{{- $faults = append $faults (printf "networkPolicy.egress: is empty, so nobody lets the master out to what master.config names (%s); allow it there, or set networkPolicy.restrictEgress to false" (join ", " .)) -}}
{{- end -}}
{{- end -}}
{{- toJson $faults -}}
{{- end -}}
