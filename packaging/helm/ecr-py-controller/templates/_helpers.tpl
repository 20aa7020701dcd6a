{{- define "ecr-py.name" -}}
{{- .Release.Name | trunc 53 | trimSuffix "-" -}}
{{- end -}}

{{- define "ecr-py.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (include "ecr-py.name" .) -}}
{{- end -}}

{{- define "ecr-py.selector" -}}
app.kubernetes.io/name: ecr-py-controller
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "ecr-py.labels" -}}
{{ include "ecr-py.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "ecr-py.image" -}}
{{- $repository := required "image.repository: set it to the image that you built from packaging/Containerfile" .Values.image.repository -}}
{{- if .Values.image.digest -}}
{{ $repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ $repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{- /* The names of all secrets that the grants write, as a JSON list. */ -}}
{{- define "ecr-py.secretNames" -}}
{{- if .Values.existingGrants -}}
{{- if not .Values.secretNames -}}
{{- fail "secretNames: name the secrets that the grants in existingGrants write" -}}
{{- end -}}
{{- .Values.secretNames | toJson -}}
{{- else -}}
{{- $default := .Values.grants.secret | default "ecr-pull" -}}
{{- $names := list -}}
{{- range .Values.grants.grants -}}
{{- $names = append $names (.secret | default $default) -}}
{{- end -}}
{{- $names | default (list $default) | uniq | sortAlpha | toJson -}}
{{- end -}}
{{- end -}}

{{- /* "true" if a grant names service accounts, else nothing. */ -}}
{{- define "ecr-py.patchesServiceAccounts" -}}
{{- if .Values.existingGrants -}}
{{- if .Values.patchServiceAccounts }}true{{ end -}}
{{- else -}}
{{- range .Values.grants.grants -}}
{{- if .serviceAccounts }}true{{ end -}}
{{- end -}}
{{- end -}}
{{- end -}}
