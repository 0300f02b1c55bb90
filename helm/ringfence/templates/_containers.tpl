{{/* The containers of a pod: the gateway, and the OPA server beside it. */}}

{{- define "ringfence.gateway" -}}
- name: ringfence
  image: {{ include "ringfence.image" (dict "image" .Values.image "tag" .Chart.AppVersion) }}
  imagePullPolicy: {{ .Values.image.pullPolicy }}
  args: [serve, --config, /etc/ringfence/ringfence.yaml]
  securityContext: {{- toYaml .Values.securityContext | nindent 4 }}
  env:
    - name: PGPASSWORD
      valueFrom:
        secretKeyRef:
          name: {{ .Values.store.existingSecret }}
          key: {{ .Values.store.passwordKey }}
    {{- with .Values.extraEnv }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- with .Values.existingSecrets }}
  envFrom:
    {{- range . }}
    - secretRef:
        name: {{ . }}
    {{- end }}
  {{- end }}
  ports:
    - {name: http, containerPort: 8080}
    - {name: metrics, containerPort: 9464}
  # Policies are parsed and tested before the ports open.
  startupProbe:
    httpGet: {path: /healthz, port: http}
    periodSeconds: 2
    timeoutSeconds: 2
    failureThreshold: 60
  # Neither asks the database: a gateway that cannot reach it must stay, and tell its clients so. If readiness failed, all
  # replicas would leave the Service at once, and clients would see a connection error instead of a reason.
  readinessProbe:
    httpGet: {path: /readyz, port: http}
    periodSeconds: 5
    timeoutSeconds: 3
    failureThreshold: 3
  # Slow to act: a restart cuts every stream of the process.
  livenessProbe:
    httpGet: {path: /healthz, port: http}
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 6
  lifecycle:
    # The kubelet's own sleep: nothing is started in the container, and it is there for any image. Since Kubernetes 1.30.
    preStop:
      sleep: {seconds: {{ .Values.drain.preStopSeconds }}}
  resources: {{- toYaml .Values.resources | nindent 4 }}
  volumeMounts:
    - {name: config, mountPath: /etc/ringfence, readOnly: true}
    - {name: tmp, mountPath: /tmp}
    - {name: journal, mountPath: /var/lib/ringfence}
    {{- with .Values.extraVolumeMounts }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
{{- end -}}

{{/* A sidecar in the sense of Kubernetes: it is there before the gateway starts, and ends after it has drained. */}}
{{- define "ringfence.opa" -}}
- name: opa
  image: {{ include "ringfence.image" (dict "image" .Values.opa.image "tag" "") }}
  imagePullPolicy: {{ .Values.opa.image.pullPolicy }}
  restartPolicy: Always
  args:
    - run
    - --server
    - --addr=127.0.0.1:8181
    # The kubelet reaches no loopback address, so health has a port of its own.
    - --diagnostic-addr=0.0.0.0:8282
    - --skip-version-check
    # Each decision would be two lines of it.
    - --log-level=error
    {{- if .Values.opa.existingConfigMap }}
    # A ConfigMap is mounted twice, once in a hidden folder.
    - --ignore=.*
    - /policies
    {{- end }}
  securityContext: {{- toYaml .Values.securityContext | nindent 4 }}
  ports:
    - {name: opa-health, containerPort: 8282}
  startupProbe:
    httpGet: {path: /health, port: opa-health}
    periodSeconds: 1
    failureThreshold: 60
  livenessProbe:
    httpGet: {path: /health, port: opa-health}
    periodSeconds: 10
    timeoutSeconds: 5
    failureThreshold: 6
  resources: {{- toYaml .Values.opa.resources | nindent 4 }}
  {{- if .Values.opa.existingConfigMap }}
  volumeMounts:
    - {name: opa-policies, mountPath: /policies, readOnly: true}
  {{- end }}
{{- end -}}
