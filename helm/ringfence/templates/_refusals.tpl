{{/* Every reason not to render, as one list: a pod that cannot start is found later than a render that fails. */}}

{{- define "ringfence.refuse" -}}
{{- $found := concat
  (include "ringfence.missing" . | fromJsonArray)
  (include "ringfence.misplaced" . | fromJsonArray)
  (include "ringfence.exposed" . | fromJsonArray)
-}}
{{- if $found -}}
{{- fail (printf "\n\n%s\n" (join "\n" $found)) -}}
{{- end -}}
{{- end -}}

{{- define "ringfence.missing" -}}
{{- $found := list -}}
{{- if not .Values.image.repository -}}
{{- $found = append $found "image.repository is empty: name the image that you built from the Containerfile and pushed." -}}
{{- end -}}
{{- if not .Values.store.url -}}
{{- $found = append $found "store.url is empty: name your Postgres, such as postgresql://ringfence@db.example.internal/ringfence?sslmode=verify-full&sslrootcert=/etc/ssl/certs/ca-certificates.crt." -}}
{{- end -}}
{{- if and (regexMatch "[?&]sslmode=verify-" .Values.store.url) (not (regexMatch "[?&]sslrootcert=/" .Values.store.url)) -}}
{{- $found = append $found "store.url verifies the server without sslrootcert: name the file of its authority, /etc/ssl/certs/ca-certificates.crt for a public one." -}}
{{- end -}}
{{- if not .Values.store.existingSecret -}}
{{- $found = append $found "store.existingSecret is empty: name the Secret that holds the password of the database user." -}}
{{- end -}}
{{- if not .Values.config.upstreams -}}
{{- $found = append $found "config.upstreams is empty: name at least one, such as {id: claude, backend: anthropic, api_key: \"${ANTHROPIC_API_KEY}\"}." -}}
{{- end -}}
{{- if not (dig "identity" "credentials" list .Values.config) -}}
{{- $found = append $found "config.identity.credentials is empty: the gateway serves a network only when there is at least one, such as {id: ops, secret: \"${OPS_CREDENTIAL}\", user: olga, operator: true}." -}}
{{- end -}}
{{- if and (regexMatch "(^|[^$])\\$\\{[A-Za-z_]" (toYaml .Values.config | replace "${file:" "")) (not .Values.existingSecrets) (not .Values.extraEnv) -}}
{{- $found = append $found "config refers to ${...}, but existingSecrets is empty: name the Secrets whose keys are these variables." -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) -}}
{{- $found = append $found "ingress.hosts is empty: name the host that clients use, or disable the ingress." -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{- define "ringfence.misplaced" -}}
{{- $found := list -}}
{{- range $key, $instead := dict "listen" "service and drain" "metrics" "metrics and networkPolicy" "store" "store" -}}
{{- if hasKey $.Values.config $key -}}
{{- $found = append $found (printf "config.%s is the chart's own: use the values %s." $key $instead) -}}
{{- end -}}
{{- end -}}
{{- range $key := list "engine" "url" "token" "push" -}}
{{- if and $.Values.opa.enabled (hasKey (dig "policy" dict $.Values.config) $key) -}}
{{- $found = append $found (printf "config.policy.%s is the chart's own with opa.enabled: use the values opa." $key) -}}
{{- end -}}
{{- end -}}
{{- range $key := list "path" "bundle" "mode" "rules" "settings" -}}
{{- if and $.Values.opa.enabled $.Values.opa.existingConfigMap (hasKey (dig "policy" dict $.Values.config) $key) -}}
{{- $found = append $found (printf "config.policy.%s holds nothing with opa.existingConfigMap: say it in those policies." $key) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.store.url (not (regexMatch "^postgres(ql)?://" .Values.store.url)) -}}
{{- $found = append $found "store.url is no Postgres: replicas share one, so it must begin with postgresql://." -}}
{{- end -}}
{{- range $rule, $mode := dig "policy" "rules" dict .Values.config -}}
{{- if kindIs "bool" $mode -}}
{{- $found = append $found (printf "config.policy.rules.%s is read as %v: put the word in quotes, \"off\"." $rule $mode) -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{/* Secrets that would stand in a ConfigMap or in the release. Their text is never shown. */}}
{{- define "ringfence.exposed" -}}
{{- $found := list -}}
{{- if regexMatch "^[^/]*//[^/?@]*:[^/?]*@|[?&]password=" .Values.store.url -}}
{{- $found = append $found "store.url contains a password: remove it, and put it in the Secret that store.existingSecret names." -}}
{{- end -}}
{{- range $at, $upstream := .Values.config.upstreams -}}
{{- range $key := list "api_key" "bearer" -}}
{{- if and (hasKey $upstream $key) (not (hasPrefix "${" (toString (index $upstream $key)))) -}}
{{- $found = append $found (printf "config.upstreams[%d].%s is written out, and a ConfigMap is no place for it: write ${NAME}, and put it in a Secret of existingSecrets." $at $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $at, $credential := dig "identity" "credentials" list .Values.config -}}
{{- if not (hasPrefix "${" (toString $credential.secret)) -}}
{{- $found = append $found (printf "config.identity.credentials[%d].secret is written out, and a ConfigMap is no place for it: write ${NAME}, and put it in a Secret of existingSecrets." $at) -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}
