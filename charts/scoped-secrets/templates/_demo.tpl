{{/*
The values of the demo's file store. They are the pods' annotations, which the kubelet mounts as files: in a Secret or ConfigMap
the scan would find them, and report them as copies.
*/}}
{{- define "scoped-secrets.demo.files" -}}
billing/demo/invoices-api: {clientId: invoices, clientSecret: made-up-for-invoices-in-the-demo}
payments/demo/orders-db: {username: orders, password: made-up-for-orders-in-the-demo}
{{- end -}}

{{/* A demo in namespaces that are not served would never project anything. */}}
{{- define "scoped-secrets.demo.served" -}}
{{- if and .Values.demo.enabled .Values.namespaces }}
{{- range list "demo-billing" "demo-payments" }}
{{- if not (has . $.Values.namespaces) }}
{{- fail (printf "demo.enabled is true, and %s is not in namespaces: add demo-billing and demo-payments to namespaces, or leave it empty" .) }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "scoped-secrets.demo.path" -}}/etc/scoped-secrets-demo{{- end -}}

{{- define "scoped-secrets.demo.annotation" -}}demo.scopedsecrets.io/{{ . | replace "/" "-" }}{{- end -}}

{{- define "scoped-secrets.demo.annotations" -}}
{{- range $key, $value := include "scoped-secrets.demo.files" . | fromYaml }}
{{ include "scoped-secrets.demo.annotation" $key }}: {{ $value | toJson | quote }}
{{- end }}
{{- end -}}

{{- define "scoped-secrets.demo.volume" -}}
- name: demo
  downwardAPI:
    items:
    {{- range $key, $_ := include "scoped-secrets.demo.files" . | fromYaml }}
    - path: {{ $key }}.json
      fieldRef:
        fieldPath: metadata.annotations['{{ include "scoped-secrets.demo.annotation" $key }}']
    {{- end }}
{{- end -}}
