{{/* The name that stands in the label app.kubernetes.io/name. */}}
{{- define "injector.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{/*
The name of the objects. At most 48 characters: the names that are made from it (`-<suffix>`) and the label of a pod's
template hash have to fit into 63.
*/}}
{{- define "injector.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 48 | trimSuffix "-" -}}
{{- else -}}
{{- $name := include "injector.name" . -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 48 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 48 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "injector.selectorLabels" -}}
app.kubernetes.io/name: {{ include "injector.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "injector.labels" -}}
{{- with .Values.commonLabels -}}
{{ toYaml . }}
{{ end -}}
{{ include "injector.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "injector.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "injector.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* A repository behind the mirror, where there is one: (list . repository). */}}
{{- define "injector.repository" -}}
{{- $root := index . 0 -}}
{{- with $root.Values.imageRegistry -}}{{ trimSuffix "/" . }}/{{- end -}}
{{- index . 1 -}}
{{- end -}}

{{- define "injector.image" -}}
{{- include "injector.repository" (list . .Values.image.repository) -}}
{{- if .Values.image.digest -}}@{{ .Values.image.digest }}{{- else -}}:{{ default .Chart.AppVersion .Values.image.tag }}{{- end -}}
{{- end -}}

{{/* "true" where the injector runs in this release, else nothing. */}}
{{- define "injector.deployed" -}}
{{- $enabled := toString .Values.deployment.enabled -}}
{{- if or (eq $enabled "true") (and (eq $enabled "auto") (not .Values.webhook.url)) -}}true{{- end -}}
{{- end -}}

{{/* "true" where the ValidatingAdmissionPolicy is made, else nothing. */}}
{{- define "injector.safetyNet" -}}
{{- $enabled := toString .Values.safetyNet.enabled -}}
{{- if or (eq $enabled "true") (and (eq $enabled "auto") (eq .Values.webhook.failurePolicy "Ignore")) -}}true{{- end -}}
{{- end -}}

{{/* The names that the certificate has to hold, as a JSON list. */}}
{{- define "injector.dnsNames" -}}
{{- $names := list -}}
{{- if .Values.webhook.url -}}
{{- $names = append $names (get (urlParse .Values.webhook.url) "hostname") -}}
{{- end -}}
{{- if or (not .Values.webhook.url) (include "injector.deployed" .) -}}
{{- $names = append $names (printf "%s.%s.svc" (include "injector.fullname" .) .Release.Namespace) -}}
{{- end -}}
{{- concat $names .Values.certificates.dnsNames | uniq | toJson -}}
{{- end -}}

{{/* The Secret that is mounted; nothing where the injector makes its certificates itself. */}}
{{- define "injector.tlsSecret" -}}
{{- if eq .Values.certificates.mode "cert-manager" -}}
{{- include "injector.fullname" . }}-tls
{{- else if eq .Values.certificates.mode "files" -}}
{{- .Values.certificates.files.secretName -}}
{{- end -}}
{{- end -}}

{{/*
Which namespaces the API server calls for. The injector leaves the excluded ones alone by itself, too; here they are left out
so that they can be set up and repaired while it is away. The release's own is among them: the injector's pods must never wait
for the injector.
*/}}
{{- define "injector.namespaceSelector" -}}
{{- $excluded := concat (list "kube-node-lease" "kube-public" "kube-system" .Release.Namespace) .Values.injector.excludedNamespaces -}}
{{- with .Values.webhook.namespaceSelector.matchLabels -}}
matchLabels:
  {{- toYaml . | nindent 2 }}
{{ end -}}
matchExpressions:
  - key: kubernetes.io/metadata.name
    operator: NotIn
    values: {{ $excluded | uniq | sortAlpha | toJson }}
{{- with .Values.webhook.namespaceSelector.matchExpressions }}
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* How the API server finds the injector: (list . path). The caBundle is another's: see webhook-configurations. */}}
{{- define "injector.clientConfig" -}}
{{- $root := index . 0 -}}
{{- $path := index . 1 -}}
{{- if $root.Values.webhook.url -}}
url: {{ printf "%s%s" (trimSuffix "/" $root.Values.webhook.url) $path | quote }}
{{- else -}}
service:
  name: {{ include "injector.fullname" $root }}
  namespace: {{ $root.Release.Namespace }}
  path: {{ $path }}
  port: 443
{{- end }}
{{- if eq $root.Values.certificates.mode "files" }}
{{- with $root.Values.certificates.files.caBundle }}
caBundle: {{ b64enc . }}
{{- end }}
{{- end }}
{{- end -}}

{{/* A duration of one number and one unit (s, m, h, d) in seconds. */}}
{{- define "injector.seconds" -}}
{{- $unit := get (dict "s" 1 "m" 60 "h" 3600 "d" 86400) (trunc -1 .) -}}
{{- mul $unit (substr 0 (int (sub (len .) 1)) . | int64) -}}
{{- end -}}

{{/* The injector's configuration file. */}}
{{- define "injector.config" -}}
{{- $injector := .Values.injector -}}
initImage: {{ $injector.initImage | default (printf "%s:%s" (include "injector.repository" (list . "scailabs/scaivault-init")) .Chart.AppVersion) | quote }}
{{- with $injector.sidecarImage }}
sidecarImage: {{ quote . }}
{{- end }}
{{- with $injector.imagePullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
onProblem: {{ $injector.onProblem }}
allowedUrls: {{ toJson $injector.allowedUrls }}
allowedImages: {{ toJson $injector.allowedImages }}
allowHttp: {{ $injector.allowHttp }}
{{- with $injector.tokenUrl }}
tokenUrl: {{ quote . }}
{{- end }}
excludedNamespaces: {{ toJson $injector.excludedNamespaces }}
{{- if or $injector.sidecars.containers $injector.sidecars.images }}
sidecars: {{ toJson $injector.sidecars }}
{{- end }}
{{- if $injector.defaults }}
defaults:
  {{- range $key, $value := $injector.defaults }}
  {{ $key }}: {{ quote $value }}
  {{- end }}
{{- else }}
defaults: {}
{{- end }}
{{- end -}}

{{/* What a schema cannot say: values that need each other. */}}
{{- define "injector.check" -}}
{{- $certificates := .Values.certificates -}}
{{- if eq $certificates.mode "files" -}}
{{- if and (include "injector.deployed" .) (not $certificates.files.secretName) -}}
{{- fail "certificates.mode is files: name the Secret in certificates.files.secretName" -}}
{{- end -}}
{{- if and (not .Values.webhook.url) (not $certificates.files.caBundle) -}}
{{- fail "certificates.mode is files: write the CA (PEM) that signed the certificate into certificates.files.caBundle; no public CA signs the name of a Service" -}}
{{- end -}}
{{- end -}}
{{- if and (not (include "injector.deployed" .)) (not .Values.webhook.url) -}}
{{- fail "deployment.enabled is false and webhook.url is empty: the API server would call a Service that is not made; give the URL of the injector" -}}
{{- end -}}
{{- $fullname := include "injector.fullname" . -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $fullname) -}}
{{- fail (printf "%q cannot be the name of a Service: set fullnameOverride to letters, digits and -, a letter first" $fullname) -}}
{{- end -}}
{{- $longest := mul 366 86400 -}}
{{- $durations := dict "certificates.reloadInterval" $certificates.reloadInterval -}}
{{- if eq $certificates.mode "self" -}}
{{- range $key, $duration := $certificates.self -}}
{{- $_ := set $durations (printf "certificates.self.%s" $key) $duration -}}
{{- end -}}
{{- $authority := include "injector.seconds" $certificates.self.caLifetime | int64 -}}
{{- $leaf := include "injector.seconds" $certificates.self.leafLifetime | int64 -}}
{{- $settle := include "injector.seconds" $certificates.self.settleDelay | int64 -}}
{{- if lt $authority (mul 3 (add $leaf (mul 2 $settle))) -}}
{{- fail "certificates.self.caLifetime is too short: a third of it must cover certificates.self.leafLifetime and twice certificates.self.settleDelay" -}}
{{- end -}}
{{- end -}}
{{- range $key, $duration := $durations -}}
{{- if gt (include "injector.seconds" $duration | int64) $longest -}}
{{- fail (printf "%s is %s; the longest is 366d" $key $duration) -}}
{{- end -}}
{{- end -}}
{{- if and (eq $certificates.mode "cert-manager") (ge (include "injector.seconds" $certificates.certManager.renewBefore | int64) (include "injector.seconds" $certificates.certManager.duration | int64)) -}}
{{- fail "certificates.certManager.renewBefore is not less than certificates.certManager.duration" -}}
{{- end -}}
{{- if eq (int .Values.server.port) (int .Values.server.opsPort) -}}
{{- fail "server.port and server.opsPort are the same; choose two" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (lt (int .Values.autoscaling.maxReplicas) (int .Values.autoscaling.minReplicas)) -}}
{{- fail "autoscaling.maxReplicas is less than autoscaling.minReplicas" -}}
{{- end -}}
{{- end -}}
