{{- define "scoped-secrets.labels" -}}
{{- include "scoped-secrets.labelsWith" (dict "root" . "own" dict) -}}
{{- end -}}

{{/*
Labels of every object: dict "root" $ "own" DICT, what the object has besides. Ours win, since the operator, and whoever breaks the
glass, find objects by them; then its own; then commonLabels.
*/}}
{{- define "scoped-secrets.labelsWith" -}}
{{- $own := .own | default dict -}}
{{- with .root -}}
{{- $ours := dict
  "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-")
  "app.kubernetes.io/name" "scoped-secrets"
  "app.kubernetes.io/instance" (.Release.Name | trunc 63 | trimSuffix "-")
  "app.kubernetes.io/version" .Chart.AppVersion
  "app.kubernetes.io/managed-by" .Release.Service
  "app.kubernetes.io/part-of" "scoped-secrets" -}}
{{- toYaml (merge $ours $own (.Values.commonLabels | default dict)) -}}
{{- end -}}
{{- end -}}

{{/* The pods of the Deployment. Without the release's name, as deploy/ has it: there is one operator in a cluster. */}}
{{- define "scoped-secrets.selector" -}}
app.kubernetes.io/name: scoped-secrets
{{- end -}}

{{- define "scoped-secrets.image" -}}
{{- $tag := .Values.image.tag | default (printf "v%s" .Chart.AppVersion) -}}
{{- .Values.image.repository -}}
{{- if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ $tag }}{{ end -}}
{{- end -}}

{{/* Charts differ in whether global.imagePullSecrets has names or objects. */}}
{{- define "scoped-secrets.pullSecrets" -}}
{{- with .Values.global.imagePullSecrets -}}
imagePullSecrets:
{{- range . }}
- name: {{ kindIs "string" . | ternary . (get (kindIs "string" . | ternary dict .) "name") | quote }}
{{- end }}
{{- end -}}
{{- end -}}

{{/* Those of every container of ours: as the Pod Security Standard `restricted` wants them, and nothing to write to. */}}
{{- define "scoped-secrets.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "scoped-secrets.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{/* Where pods of ours may run. */}}
{{- define "scoped-secrets.scheduling" -}}
{{- $all := dict -}}
{{- range $key := list "priorityClassName" "nodeSelector" "tolerations" "affinity" -}}
{{- with index $.Values $key }}{{ $_ := set $all $key . }}{{ end -}}
{{- end -}}
{{- with $all }}{{ toYaml . }}{{ end -}}
{{- end -}}

{{/*
Objects from a generated file, with our labels: dict "root" $ "text" TEXT "annotations" DICT.
*/}}
{{- define "scoped-secrets.objects" -}}
{{- $root := .root -}}
{{- $annotations := .annotations -}}
{{- range splitList "\n---\n" .text }}
{{- $object := fromYaml . }}
{{- if hasKey $object "Error" }}{{ fail (printf "a generated file cannot be read: %s" $object.Error) }}{{ end }}
{{- $own := $object.metadata.labels | default dict }}
{{- $_ := set $object.metadata "labels" (include "scoped-secrets.labelsWith" (dict "root" $root "own" $own) | fromYaml) }}
{{- with $annotations }}{{ $_ := set $object.metadata "annotations" (merge (deepCopy .) ($object.metadata.annotations | default dict)) }}{{ end }}
---
{{ toYaml $object }}
{{- end }}
{{- end -}}

{{/*
Whether an object of a kind that another project brings is rendered: dict "root" $ "api" "GROUP/VERSION/KIND" "key" "serviceMonitor".
Prints `true` or nothing.
*/}}
{{- define "scoped-secrets.foreign" -}}
{{- $values := index .root.Values .key -}}
{{- if $values.enabled -}}
{{- if .root.Capabilities.APIVersions.Has .api -}}true
{{- else if eq $values.onMissingCRD "Fail" -}}
{{- fail (printf "%s.enabled is true, and this cluster has no %s: install what brings it, or set %s.onMissingCRD=Skip (with `helm template`: --api-versions %s)" .key .api .key .api) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* A Role and who has it: dict "namespace" "name" "rules" (text) "labels" (text) "account" DICT. */}}
{{- define "scoped-secrets.role" }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ .name }}
  namespace: {{ .namespace | quote }}
  labels:
    {{- .labels | nindent 4 }}
rules:
{{- .rules | nindent 0 }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ .name }}
  namespace: {{ .namespace | quote }}
  labels:
    {{- .labels | nindent 4 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ .name }}
subjects:
- {{ toYaml .account | nindent 2 | trim }}
{{- end }}
