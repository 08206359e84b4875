{{- define "kubebpf.fullname" -}}
{{- if .Values.fullnameOverride -}}{{ .Values.fullnameOverride }}
{{- else if contains .Chart.Name .Release.Name -}}{{ .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else -}}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}
{{- end -}}
{{- end -}}

{{- /* Names of cluster-wide objects say the namespace, so that a second release does not meet the first. */ -}}
{{- define "kubebpf.clusterName" -}}
{{- if eq .Release.Namespace "kubebpf-system" -}}{{ include "kubebpf.fullname" . }}
{{- else -}}{{ include "kubebpf.fullname" . }}-{{ .Release.Namespace }}
{{- end -}}
{{- end -}}

{{- /* What never changes for a component: a Deployment's selector is immutable. Takes (list root component). */ -}}
{{- define "kubebpf.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: kubebpf
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end -}}

{{- define "kubebpf.labels" -}}
{{- $root := index . 0 -}}
{{ include "kubebpf.selector" . }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
app.kubernetes.io/part-of: kubebpf
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.extraLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* Takes (list root image). */ -}}
{{- define "kubebpf.image" -}}
{{- $image := index . 1 -}}
{{- if $image.digest -}}{{ $image.repository }}@{{ $image.digest }}
{{- else -}}{{ $image.repository }}:{{ $image.tag | default (index . 0).Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- /* Where the pods may run. Takes a component's values. */ -}}
{{- define "kubebpf.placement" -}}
{{- with .nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- end -}}
