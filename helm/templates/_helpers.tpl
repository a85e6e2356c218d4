{{/* Names, labels and the pieces that gateways and monitor have in common. */}}

{{- define "gateway.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- (contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name)) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{/* Given (dict "top" $ "component" "gateway"): what selects pods, and never changes. */}}
{{- define "gateway.selector" -}}
app.kubernetes.io/name: {{ default .top.Chart.Name .top.Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .top.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end }}

{{- define "gateway.labels" -}}
{{ include "gateway.selector" . }}
app.kubernetes.io/version: {{ .top.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .top.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .top.Chart.Name .top.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- with .top.Values.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Given (dict "top" $ "component" …, "suffix" "-x"): name, namespace and labels. */}}
{{- define "gateway.metadata" -}}
name: {{ include "gateway.fullname" .top }}{{ .suffix }}
namespace: {{ .top.Release.Namespace }}
labels:
  {{- include "gateway.labels" . | nindent 2 }}
{{- end }}

{{- define "gateway.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end }}

{{- define "gateway.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{ default (include "gateway.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{ default "default" .Values.serviceAccount.name }}
{{- end -}}
{{- end }}

{{/* "true" if there may be more than one gateway. */}}
{{- define "gateway.isMany" -}}
{{- if or .Values.autoscaling.enabled (gt (int .Values.replicas) 1) }}true{{ end -}}
{{- end }}

{{/* "true" if a Deployment publishes for all; what a branch says of who is served, it cannot follow. */}}
{{- define "gateway.hasMonitor" -}}
{{- if and (include "gateway.isMany" .) .Values.monitor.deployment (not .Values.configBranch) }}true{{ end -}}
{{- end }}

{{/* Given (list $ "serviceMonitor" "ServiceMonitor"): "true" if it is wanted, and known if that is to be found out. */}}
{{- define "gateway.wants" -}}
{{- $top := index . 0 -}}
{{- $enabled := (index $top.Values (index . 1)).enabled | toString -}}
{{- $known := $top.Capabilities.APIVersions.Has (printf "monitoring.coreos.com/v1/%s" (index . 2)) -}}
{{- if or (eq $enabled "true") (and (eq $enabled "auto") $known) }}true{{ end -}}
{{- end }}

{{- define "gateway.scheme" -}}
{{- if .Values.tls.existingSecret }}HTTPS{{ else }}HTTP{{ end -}}
{{- end }}

{{/* Given (list $ "path" "probe"): a probe of the gateway. */}}
{{- define "gateway.probe" -}}
{{- $top := index . 0 -}}
httpGet:
  path: {{ index . 1 }}
  port: http
  scheme: {{ include "gateway.scheme" $top }}
{{ toYaml (index $top.Values.probes (index . 2)) }}
{{- end }}

{{- define "gateway.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{- define "gateway.containerSecurity" -}}
allowPrivilegeEscalation: false
privileged: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* What every pod's spec has, apart from containers and volumes. */}}
{{- define "gateway.pod" -}}
serviceAccountName: {{ include "gateway.serviceAccount" . }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  {{- include "gateway.podSecurity" . | nindent 2 }}
terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end }}

{{- define "gateway.spread" -}}
{{- if .Values.topologySpreadConstraints -}}
{{ toYaml .Values.topologySpreadConstraints }}
{{- else -}}
{{- range $key := list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
- topologyKey: {{ $key }}
  maxSkew: 1
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- include "gateway.selector" (dict "top" $ "component" "gateway") | nindent 6 }}
{{- end }}
{{- end -}}
{{- end }}
