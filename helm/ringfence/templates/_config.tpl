{{/* The gateway's configuration: what the values say, and the keys that the chart decides. */}}

{{- define "ringfence.config" -}}
{{- $listen := dict "host" "0.0.0.0" "port" 8080 "drain_seconds" .Values.drain.seconds -}}
{{- $metrics := dict "host" "0.0.0.0" "port" 9464 -}}
{{- $store := dict "url" .Values.store.url "on_failure" .Values.store.onFailure "journal" "/var/lib/ringfence" -}}
{{- $own := dict "listen" $listen "metrics" $metrics "store" $store -}}
{{- if .Values.opa.enabled -}}
{{- $policy := dict "engine" "opa" "url" "http://127.0.0.1:8181" -}}
{{- if .Values.opa.existingConfigMap -}}
{{- $_ := set $policy "push" false -}}
{{- end -}}
{{- $_ := set $own "policy" $policy -}}
{{- end -}}
{{- toYaml (merge $own .Values.config) -}}
{{- end -}}

{{/* Ports of the database's hosts, as a JSON list. */}}
{{- define "ringfence.databasePorts" -}}
{{- $hosts := .Values.store.url | regexFind "//[^/?]*" | trimPrefix "//" | splitList "@" | last -}}
{{- $ports := list -}}
{{- range splitList "," $hosts -}}
{{- $ports = append $ports (regexFind ":[0-9]+$" . | trimPrefix ":" | default "5432" | int) -}}
{{- end -}}
{{- $ports | uniq | toJson -}}
{{- end -}}
