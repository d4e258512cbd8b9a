{{/* Value of the label app.kubernetes.io/name. */}}
{{- define "provider.name" -}}
{{- include "provider.shortened" (list (default .Chart.Name .Values.nameOverride) 63) -}}
{{- end -}}

{{/*
A name of at most so many characters: (list name length). A longer one keeps its beginning and gets a hash of the whole, so
that two long names with the same beginning stay different.
*/}}
{{- define "provider.shortened" -}}
{{- $name := index . 0 -}}
{{- $length := index . 1 | int -}}
{{- if le (len $name) $length -}}
{{- $name -}}
{{- else -}}
{{- printf "%s-%s" (trunc (int (sub $length 9)) $name | trimSuffix "-") (sha256sum $name | trunc 8) -}}
{{- end -}}
{{- end -}}

{{/* The name of the objects. At most 48 characters: with `-dashboard`, or the suffix of a pod's name, it must fit into 63. */}}
{{- define "provider.fullname" -}}
{{- $name := include "provider.name" . -}}
{{- $fullname := .Values.fullnameOverride -}}
{{- if not $fullname -}}
{{- $fullname = ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- end -}}
{{- include "provider.shortened" (list $fullname 48) -}}
{{- end -}}

{{- define "provider.selectorLabels" -}}
app.kubernetes.io/name: {{ include "provider.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "provider.labels" -}}
{{- with .Values.commonLabels -}}
{{ toYaml . }}
{{ end -}}
{{ include "provider.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "provider.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "provider.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "provider.image" -}}
{{- with .Values.imageRegistry -}}{{ trimSuffix "/" . }}/{{- end -}}
{{- .Values.image.repository -}}
{{- if .Values.image.digest -}}@{{ .Values.image.digest }}{{- else -}}:{{ default .Chart.AppVersion .Values.image.tag }}{{- end -}}
{{- end -}}

{{/* Whether the provider uses the API server; empty: no. */}}
{{- define "provider.hasCluster" -}}
{{- if or .Values.dynamicCredentials.enabled .Values.policies.enabled -}}true{{- end -}}
{{- end -}}

{{- define "provider.stateDir" -}}
{{- default (printf "/run/%s-csi-provider" .Values.providerName) .Values.stateDir -}}
{{- end -}}

{{/* Whether the provider uses the API server: `true` or empty. */}}
{{- define "provider.needsApi" -}}
{{- if or (include "provider.hasCluster" .) (include "provider.ownVersionKey" .) -}}true{{- end -}}
{{- end -}}

{{/* Whether the key of object versions is in the chart's own Secret: `true` or empty. */}}
{{- define "provider.ownVersionKey" -}}
{{- if and .Values.versionKey.shared (not .Values.versionKey.existingSecret) -}}true{{- end -}}
{{- end -}}

{{/* The Secret of the key of object versions. */}}
{{- define "provider.versionKeySecret" -}}
{{- default (printf "%s-key" (include "provider.fullname" .)) .Values.versionKey.existingSecret -}}
{{- end -}}

{{/* Where an existing Secret with the key is mounted. */}}
{{- define "provider.versionKeyDir" -}}
/etc/scaivault-csi-version-key
{{- end -}}

{{/* Where the ConfigMap is mounted. */}}
{{- define "provider.configDir" -}}
/etc/scaivault-csi-provider
{{- end -}}

{{/* The provider's configuration file. */}}
{{- define "provider.config" -}}
{{- $scaivault := .Values.scaivault -}}
audience: {{ quote $scaivault.audience }}
allow-audiences: {{ toJson $scaivault.allowedAudiences }}
allow-roles: {{ toJson $scaivault.allowedRoles }}
{{- if $scaivault.allowedUrls }}
allow-urls:
  {{- range $index, $allowed := $scaivault.allowedUrls }}
  - url: {{ quote $allowed.url }}
    {{- if $allowed.caBundle }}
    ca-file: {{ include "provider.configDir" $ }}/ca-{{ $index }}.pem
    {{- end }}
    {{- with $allowed.audiences }}
    audiences: {{ toJson . }}
    {{- end }}
    {{- if hasKey $allowed "roles" }}
    roles: {{ toJson $allowed.roles }}
    {{- end }}
  {{- end }}
{{- else }}
allow-urls: []
{{- end }}
{{- with $scaivault.tenant }}
tenant: {{ quote . }}
{{- end }}
refresh-interval: {{ $scaivault.refreshInterval }}
events: {{ $scaivault.events }}
{{- end -}}

{{/* The files of the ConfigMap. */}}
{{- define "provider.files" -}}
config.yaml: |
  {{- include "provider.config" . | nindent 2 }}
{{- with .Values.scaivault.caBundle }}
ca.pem: |
  {{- trim . | nindent 2 }}
{{- end }}
{{- range $index, $allowed := .Values.scaivault.allowedUrls }}
{{- with $allowed.caBundle }}
ca-{{ $index }}.pem: |
  {{- trim . | nindent 2 }}
{{- end }}
{{- end }}
{{- end -}}

{{/* The ports of all addresses of ScaiVault, as a JSON list. */}}
{{- define "provider.scaivaultPorts" -}}
{{- $urls := list .Values.scaivault.url -}}
{{- range .Values.scaivault.allowedUrls -}}
{{- $urls = append $urls .url -}}
{{- end -}}
{{- $ports := list -}}
{{- range $urls -}}
{{- $port := regexFind ":[0-9]+$" (get (urlParse .) "host") -}}
{{- $ports = append $ports (trimPrefix ":" $port | default "443" | int) -}}
{{- end -}}
{{- $ports | uniq | toJson -}}
{{- end -}}

{{/* Checks that a schema cannot express: values that depend on each other. */}}
{{- define "provider.check" -}}
{{- include "provider.checkUrls" . -}}
{{- include "provider.checkRights" . -}}
{{- include "provider.checkLabels" . -}}
{{- $fullname := include "provider.fullname" . -}}
{{- if not (regexMatch "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" $fullname) -}}
{{- fail (printf "%q cannot be the name of a DaemonSet: set fullnameOverride to a name of lower-case letters, digits and -" $fullname) -}}
{{- end -}}
{{- if has (include "provider.stateDir" .) .Values.socketDirs -}}
{{- fail (printf "stateDir and socketDirs both contain %s; choose another stateDir" (include "provider.stateDir" .)) -}}
{{- end -}}
{{- if and .Values.versionKey.existingSecret (not .Values.versionKey.shared) -}}
{{- fail "versionKey.existingSecret is set and versionKey.shared is false, so the Secret would not be read; set versionKey.shared to true, or remove versionKey.existingSecret" -}}
{{- end -}}
{{- $refresh := .Values.scaivault.refreshInterval -}}
{{- $unit := get (dict "s" 1 "m" 60 "h" 3600 "d" 86400) (trunc -1 $refresh) -}}
{{- $seconds := mul $unit (substr 0 (int (sub (len $refresh) 1)) $refresh | int64) -}}
{{- if gt $seconds (mul 366 86400) -}}
{{- fail (printf "scaivault.refreshInterval is %s: it must be at most 366d" $refresh) -}}
{{- end -}}
{{- end -}}

{{/* The provider uses the first matching address, so a duplicate with other authorities would have no effect. */}}
{{- define "provider.checkUrls" -}}
{{- $scaivault := .Values.scaivault -}}
{{- $seen := dict (trimSuffix "/" $scaivault.url | lower) "scaivault.url" -}}
{{- $bundles := dict "scaivault.caBundle" $scaivault.caBundle -}}
{{- range $index, $allowed := $scaivault.allowedUrls -}}
{{- $name := printf "scaivault.allowedUrls[%d]" $index -}}
{{- $url := trimSuffix "/" $allowed.url | lower -}}
{{- if hasKey $seen $url -}}
{{- fail (printf "%s.url and %s are both %s; remove one of them" $name (get $seen $url) $allowed.url) -}}
{{- end -}}
{{- $_ := set $seen $url (printf "%s.url" $name) -}}
{{- $_ := set $bundles (printf "%s.caBundle" $name) (default "" $allowed.caBundle) -}}
{{- end -}}
{{- range $name, $bundle := $bundles -}}
{{- if contains "PRIVATE KEY" $bundle -}}
{{- fail (printf "%s contains a private key, which all users who may read ConfigMaps would see: keep only the CERTIFICATE blocks, and replace the key" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Values that would widen rights if they were empty or removed by `null`. */}}
{{- define "provider.checkRights" -}}
{{- $account := .Values.serviceAccount.name -}}
{{- if and (not .Values.serviceAccount.create) (not $account) -}}
{{- fail "serviceAccount.create is false and serviceAccount.name is empty: the service account `default`, and so every pod of the namespace, would get the provider's rights; set serviceAccount.name to an existing service account that only the provider uses, or serviceAccount.create to true" -}}
{{- end -}}
{{- if eq (default "" $account) "default" -}}
{{- fail "serviceAccount.name is default: every pod of the namespace that sets no service account would get the provider's rights; set it to a service account that only the provider uses, or leave it empty with serviceAccount.create true" -}}
{{- end -}}
{{- if and .Values.networkPolicy.enabled (or (not .Values.networkPolicy.apiServerPorts) (has "" .Values.networkPolicy.apiServerPorts)) -}}
{{- fail "networkPolicy.apiServerPorts is empty, which in a NetworkPolicy allows every port: list the ports of the API servers, such as [443, 6443]" -}}
{{- end -}}
{{- end -}}

{{/* Rejects users' labels that the chart or Kubernetes sets, because selectors would not match the pods. */}}
{{- define "provider.checkLabels" -}}
{{- $own := keys (include "provider.selectorLabels" . | fromYaml) -}}
{{- $own = concat $own (list "app.kubernetes.io/version" "app.kubernetes.io/managed-by" "helm.sh/chart" "controller-revision-hash" "pod-template-generation") -}}
{{- range $value := list "commonLabels" "podLabels" -}}
{{- range $key, $label := get $.Values $value -}}
{{- if has $key $own -}}
{{- fail (printf "%s sets %s, which the chart or Kubernetes sets; remove it" $value $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- range $key, $label := .Values.podLabels -}}
{{- if hasKey $.Values.commonLabels $key -}}
{{- fail (printf "podLabels and commonLabels both set %s; remove one of them" $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
