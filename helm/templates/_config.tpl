{{/* gateway.yaml: what `config` says, and what the chart knows better. */}}

{{/* Given (dict "top" $ "names" (list "git" …)): volumes and mounts of the secrets that these values name. */}}
{{- define "gateway.secretVolumes" -}}
{{- range $name := .names }}
{{- with (index $.top.Values $name).existingSecret }}
- name: {{ kebabcase $name }}
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- end }}
{{- end }}

{{- define "gateway.secretMounts" -}}
{{- range $name := .names }}
{{- if (index $.top.Values $name).existingSecret }}
- name: {{ kebabcase $name }}
  mountPath: /run/secrets/gateway/{{ kebabcase $name }}
  readOnly: true
{{- end }}
{{- end }}
{{- end }}

{{- define "gateway.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $_ := set $config "listen" (printf "%s:8080" .Values.listenHost) -}}
{{- $_ := set $config "state_dir" "/var/lib/gateway" -}}
{{- include "gateway.credentials" (list . $config) -}}
{{- if .Values.unitKey.existingSecret -}}
{{- $_ := set $config "unit_key_file" (printf "/run/secrets/gateway/unit-key/%s" .Values.unitKey.key) -}}
{{- end -}}
{{- if .Values.webhook.existingSecret -}}
{{- $_ := set $config "webhook" (dict "secret_file" (printf "/run/secrets/gateway/webhook/%s" .Values.webhook.key)) -}}
{{- end -}}
{{- with .Values.redis -}}
{{- if .existingSecret -}}
{{- $redis := dict "url_file" (printf "/run/secrets/gateway/redis/%s" .key) -}}
{{- if .caKey }}{{ $_ := set $redis "ca_file" (printf "/run/secrets/gateway/redis/%s" .caKey) }}{{ end -}}
{{- $_ := set $config "redis" (merge $redis ($config.redis | default dict)) -}}
{{- end -}}
{{- end -}}
{{- $access := $config.access | default dict -}}
{{- if .Values.access.existingSecret }}{{ $_ := set $access "keys_file" (printf "/run/secrets/gateway/access/%s" .Values.access.key) }}{{ end -}}
{{- if .Values.access.anonymous }}{{ $_ := set $access "anonymous" .Values.access.anonymous }}{{ end -}}
{{- $_ := set $config "access" $access -}}
{{- if .Values.tls.existingSecret -}}
{{- $_ := set $config "tls" (dict "cert_file" "/run/secrets/gateway/tls/tls.crt" "key_file" "/run/secrets/gateway/tls/tls.key") -}}
{{- end -}}
{{ toYaml $config }}
{{- end }}

{{/* Given (list $ $config): sets its credentials. */}}
{{- define "gateway.credentials" -}}
{{- $config := index . 1 -}}
{{- with (index . 0).Values.git -}}
{{- if .existingSecret -}}
{{- $at := "/run/secrets/gateway/git" -}}
{{- $found := dict -}}
{{- if .username }}{{ $_ := set $found "username" .username }}{{ end -}}
{{- if .sshKeyKey -}}
{{- $_ := set $found "ssh_key_file" (printf "%s/%s" $at .sshKeyKey) -}}
{{- if .knownHostsKey }}{{ $_ := set $found "known_hosts_file" (printf "%s/%s" $at .knownHostsKey) }}{{ end -}}
{{- else if .passwordKey -}}
{{- $_ := set $found "password_file" (printf "%s/%s" $at .passwordKey) -}}
{{- end -}}
{{- if .caKey }}{{ $_ := set $found "ca_file" (printf "%s/%s" $at .caKey) }}{{ end -}}
{{- $_ := set $config "credentials" $found -}}
{{- end -}}
{{- end -}}
{{- end }}

{{/* Of what takes effect at a restart only: pods are replaced when it changes, and at no other edit. */}}
{{- define "gateway.restartDigest" -}}
{{- $config := include "gateway.config" . | fromYaml -}}
{{- pick $config "repository" "listen" "state_dir" "unit_key_file" "credentials" "webhook" "redis" "tls" "trust" "sandbox" | toJson | sha256sum | trunc 16 -}}
{{- end }}
