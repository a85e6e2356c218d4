{{/* What does not go together: every mistake at once, each with what would be right. */}}
{{- define "gateway.checks" -}}
{{- $found := list -}}
{{- range list "listen" "state_dir" "credentials" "unit_key_env" "unit_key_file" "webhook" "tls" -}}
{{- if hasKey $.Values.config . -}}
{{- $found = append $found (printf "config.%s: is set by the chart, leave it out; secrets are named by git, unitKey, webhook and tls" .) -}}
{{- end -}}
{{- end -}}
{{- range list "url_env" "url_file" "ca_file" -}}
{{- if hasKey ($.Values.config.redis | default dict) . -}}
{{- $found = append $found (printf "config.redis.%s: is set by the chart, leave it out; the secret is named by redis.existingSecret" .) -}}
{{- end -}}
{{- end -}}
{{- range list "keys_file" "anonymous" -}}
{{- if hasKey ($.Values.config.access | default dict) . -}}
{{- $found = append $found (printf "config.access.%s: is set by the chart, leave it out; access.existingSecret and access.anonymous say it" .) -}}
{{- end -}}
{{- end -}}
{{- if and .Values.config.redis (not .Values.redis.existingSecret) -}}
{{- $found = append $found "config.redis: says how Redis is used, but redis.existingSecret does not say where it is" -}}
{{- end -}}
{{- if not .Values.config.repository -}}
{{- $found = append $found "config.repository: must be the address of the git repository, or folder:// and a mounted folder" -}}
{{- end -}}
{{- range list "baseline" "branches" -}}
{{- if and $.Values.configBranch (hasKey $.Values.config .) -}}
{{- $found = append $found (printf "config.%s: stands in the repository, on the branch that configBranch names; leave it out here" .) -}}
{{- end -}}
{{- if not (or $.Values.configBranch (index $.Values.config .)) -}}
{{- $found = append $found (printf "config.%s: must be given, or configBranch, the branch whose gateway.yaml says it" .) -}}
{{- end -}}
{{- end -}}
{{- if include "gateway.isMany" . -}}
{{- if not .Values.redis.existingSecret -}}
{{- $found = append $found "redis.existingSecret: several gateways are one only with a Redis that they share; name the secret with its address, or keep replicas at 1 without autoscaling" -}}
{{- end -}}
{{- end -}}
{{- if and (or .Values.redis.existingSecret (include "gateway.isMany" .)) (not .Values.unitKey.existingSecret) -}}
{{- $found = append $found "unitKey.existingSecret: gateways that share a Redis hash users by one key; name the secret with it" -}}
{{- end -}}
{{- if not (or .Values.access.existingSecret .Values.access.anonymous) -}}
{{- $found = append $found "access: name the secret with the file of API keys in access.existingSecret, or say aloud in access.anonymous what anybody may do who reaches the service, such as [predict, feedback, read]" -}}
{{- end -}}
{{- if and (include "gateway.wants" (list . "serviceMonitor" "ServiceMonitor")) (not .Values.serviceMonitor.authorization.existingSecret) (not (has "read" .Values.access.anonymous)) -}}
{{- $found = append $found "serviceMonitor.authorization.existingSecret: Prometheus needs an API key with the scope read; name the secret with one, or allow read in access.anonymous, or set serviceMonitor.enabled to false" -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) -}}
{{- $found = append $found "ingress.hosts: must name a host for the ingress to lead here" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (gt (int .Values.autoscaling.minReplicas) (int .Values.autoscaling.maxReplicas)) -}}
{{- $found = append $found (printf "autoscaling.minReplicas: must be at most maxReplicas, which is %d; it is %d" (int .Values.autoscaling.maxReplicas) (int .Values.autoscaling.minReplicas)) -}}
{{- end -}}
{{- if $found -}}
{{- fail (printf "\n\nThese values do not go together:\n- %s\n" (join "\n- " $found)) -}}
{{- end -}}
{{- end }}
