{{/* Value of the label app.kubernetes.io/name. */}}
{{- define "injector.name" -}}
{{- include "injector.shortened" (list (default .Chart.Name .Values.nameOverride) 63) -}}
{{- end -}}

{{/*
A name with a maximum length: (list name length). A longer one is cut, and a hash of the whole name is appended, so that two
long names with the same beginning stay different.
*/}}
{{- define "injector.shortened" -}}
{{- $name := index . 0 -}}
{{- $length := index . 1 | int -}}
{{- if le (len $name) $length -}}
{{- $name -}}
{{- else -}}
{{- printf "%s-%s" (trunc (int (sub $length 9)) $name | trimSuffix "-") (sha256sum $name | trunc 8) -}}
{{- end -}}
{{- end -}}

{{/*
The name of the objects. At most 48 characters: with the longest suffix (`-critical-pods`) it must fit into 63.
*/}}
{{- define "injector.fullname" -}}
{{- $name := include "injector.name" . -}}
{{- $fullname := .Values.fullnameOverride -}}
{{- if not $fullname -}}
{{- $fullname = ternary .Release.Name (printf "%s-%s" .Release.Name $name) (contains $name .Release.Name) -}}
{{- end -}}
{{- include "injector.shortened" (list $fullname 48) -}}
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
{{- .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{/* The name of the restart controller's objects. */}}
{{- define "injector.restarterName" -}}
{{- include "injector.fullname" . }}-restarter
{{- end -}}

{{/* They differ from the injector's labels, so that no selector matches the pods of both. */}}
{{- define "injector.restarterSelectorLabels" -}}
app.kubernetes.io/name: {{ include "injector.shortened" (list (include "injector.name" .) 53) }}-restarter
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "injector.restarterLabels" -}}
{{- with .Values.commonLabels -}}
{{ toYaml . }}
{{ end -}}
{{ include "injector.restarterSelectorLabels" . }}
app.kubernetes.io/component: restarter
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "injector.restarterServiceAccountName" -}}
{{- $account := .Values.restarter.serviceAccount -}}
{{- ternary (default (include "injector.restarterName" .) $account.name) $account.name $account.create -}}
{{- end -}}

{{/* A repository, with the registry if one is set: (list . repository). */}}
{{- define "injector.repository" -}}
{{- $root := index . 0 -}}
{{- with $root.Values.imageRegistry -}}{{ trimSuffix "/" . }}/{{- end -}}
{{- index . 1 -}}
{{- end -}}

{{- define "injector.image" -}}
{{- include "injector.repository" (list . .Values.image.repository) -}}
{{- if .Values.image.digest -}}@{{ .Values.image.digest }}{{- else -}}:{{ default .Chart.AppVersion .Values.image.tag }}{{- end -}}
{{- end -}}

{{/* "true" if the injector runs in this release, else empty. */}}
{{- define "injector.deployed" -}}
{{- $enabled := toString .Values.deployment.enabled -}}
{{- if or (eq $enabled "true") (and (eq $enabled "auto") (not .Values.webhook.url)) -}}true{{- end -}}
{{- end -}}

{{/* "true" if the ValidatingAdmissionPolicy is created, else empty. */}}
{{- define "injector.safetyNet" -}}
{{- $enabled := toString .Values.safetyNet.enabled -}}
{{- if or (eq $enabled "true") (and (eq $enabled "auto") (eq .Values.webhook.failurePolicy "Ignore")) -}}true{{- end -}}
{{- end -}}

{{/* The names that the certificate must have, as a JSON list. */}}
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

{{/* The Secret that is mounted; empty if the injector issues its own certificates. */}}
{{- define "injector.tlsSecret" -}}
{{- if eq .Values.certificates.mode "cert-manager" -}}
{{- include "injector.fullname" . }}-tls
{{- else if eq .Values.certificates.mode "files" -}}
{{- .Values.certificates.files.secretName -}}
{{- end -}}
{{- end -}}

{{/* Kubernetes' own namespaces, as a JSON list. */}}
{{- define "injector.systemNamespaces" -}}
["kube-node-lease", "kube-public", "kube-system"]
{{- end -}}

{{/*
The namespaces for which the API server calls the injector. The injector itself also skips excluded namespaces; they are excluded
here so that their pods can be created while no injector answers. The release's namespace is one of them, because the injector's
own pods must not depend on the injector.
*/}}
{{- define "injector.namespaceSelector" -}}
{{- include "injector.namespaceSelectorWith" (list . list) -}}
{{- end -}}

{{/* The same with additional expressions: (list . expressions). */}}
{{- define "injector.namespaceSelectorWith" -}}
{{- $more := index . 1 -}}
{{- with index . 0 -}}
{{- $excluded := concat (include "injector.systemNamespaces" . | fromJsonArray) (list .Release.Namespace) .Values.injector.excludedNamespaces -}}
{{- with .Values.webhook.namespaceSelector.matchLabels -}}
matchLabels:
  {{- toYaml . | nindent 2 }}
{{ end -}}
matchExpressions:
  - key: kubernetes.io/metadata.name
    operator: NotIn
    values: {{ $excluded | uniq | sortAlpha | toJson }}
{{- with concat (default list .Values.webhook.namespaceSelector.matchExpressions) $more }}
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
{{- end -}}

{{/* The labels of namespaces whose pods are all sent to the injector, as a JSON list. The first one that a namespace has decides. */}}
{{- define "injector.policyLabels" -}}
{{- $labels := list -}}
{{- if .Values.policies.enabled -}}
{{- $labels = append $labels "scaivault.scailabs.ai/injection" -}}
{{- if .Values.policies.labelNamespaces -}}
{{- $labels = append $labels "scaivault.scailabs.ai/injection-by-policy" -}}
{{- end -}}
{{- end -}}
{{- toJson $labels -}}
{{- end -}}

{{/* The address of the injector for the API server: (list . path). It usually has no caBundle, see webhook-configurations.yaml. */}}
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

{{/* Checks that a schema cannot express: values that depend on each other. */}}
{{- define "injector.check" -}}
{{- include "injector.checkNamespaces" . -}}
{{- include "injector.checkRights" . -}}
{{- include "injector.checkLabels" . -}}
{{- include "injector.checkRestarter" . -}}
{{- $certificates := .Values.certificates -}}
{{- if eq $certificates.mode "files" -}}
{{- if and (include "injector.deployed" .) (not $certificates.files.secretName) -}}
{{- fail "certificates.mode is files: name the Secret in certificates.files.secretName" -}}
{{- end -}}
{{- if contains "PRIVATE KEY" $certificates.files.caBundle -}}
{{- fail "certificates.files.caBundle contains a private key, which all users who may read webhook configurations would see: keep only the CERTIFICATE blocks, and replace the key" -}}
{{- end -}}
{{- if and (not .Values.webhook.url) (not $certificates.files.caBundle) -}}
{{- fail "certificates.mode is files: write the CA (PEM) that signed the certificate into certificates.files.caBundle; no public CA signs the name of a Service" -}}
{{- end -}}
{{- end -}}
{{- if and (not (include "injector.deployed" .)) (not .Values.webhook.url) -}}
{{- fail "deployment.enabled is false and webhook.url is empty: the API server would call a Service that is not created; set webhook.url to the URL of the injector, or deployment.enabled to auto" -}}
{{- end -}}
{{- $fullname := include "injector.fullname" . -}}
{{- if not (regexMatch "^[a-z]([-a-z0-9]*[a-z0-9])?$" $fullname) -}}
{{- fail (printf "%q cannot be the name of a Service: set fullnameOverride to a name of lower-case letters, digits and -, which starts with a letter" $fullname) -}}
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
{{- fail (printf "%s is %s: it must be at most 366d" $key $duration) -}}
{{- end -}}
{{- end -}}
{{- if eq $certificates.mode "cert-manager" -}}
{{- $manager := $certificates.certManager -}}
{{- $duration := include "injector.seconds" $manager.duration | int64 -}}
{{- if ge (include "injector.seconds" $manager.renewBefore | int64) $duration -}}
{{- fail "certificates.certManager.renewBefore must be less than certificates.certManager.duration" -}}
{{- end -}}
{{- if and $manager.issuerRef (not $manager.issuerRef.name) -}}
{{- fail "certificates.certManager.issuerRef has no name: set issuerRef.name to the issuer's name, or set issuerRef to {} for a CA of this release" -}}
{{- end -}}
{{- if and (not $manager.issuerRef) (lt (include "injector.seconds" $manager.caDuration | int64) (mul 3 $duration)) -}}
{{- fail (printf "certificates.certManager.caDuration is %s: it must be at least three times certificates.certManager.duration (%s), because cert-manager renews the CA when a third of its life is left, and no certificate may outlive the CA that signed it" $manager.caDuration $manager.duration) -}}
{{- end -}}
{{- end -}}
{{- if eq (int .Values.server.port) (int .Values.server.opsPort) -}}
{{- fail "server.port and server.opsPort are the same; choose different ports" -}}
{{- end -}}
{{- if and .Values.autoscaling.enabled (lt (int .Values.autoscaling.maxReplicas) (int .Values.autoscaling.minReplicas)) -}}
{{- fail "autoscaling.maxReplicas must not be less than autoscaling.minReplicas" -}}
{{- end -}}
{{- end -}}

{{- define "injector.checkNamespaces" -}}
{{- $system := include "injector.systemNamespaces" . | fromJsonArray -}}
{{- $own := "install into a separate namespace: --namespace scaivault-system --create-namespace" -}}
{{- if eq .Release.Namespace "default" -}}
{{- fail (printf "the release's namespace is default: the injector's own namespace is excluded from injection, so no pod in default would get secrets; %s" $own) -}}
{{- end -}}
{{- if has .Release.Namespace $system -}}
{{- fail (printf "the release's namespace is %s, which belongs to Kubernetes itself; %s" .Release.Namespace $own) -}}
{{- end -}}
{{- if has .Values.test.namespace (append $system .Release.Namespace) -}}
{{- fail (printf "test.namespace is %s, for which the webhook is never called, so helm test would always fail; set it to a namespace with injection" .Values.test.namespace) -}}
{{- end -}}
{{- end -}}

{{/* Values that would widen rights if they were empty or removed by `null`. */}}
{{- define "injector.checkRights" -}}
{{- $account := .Values.serviceAccount.name -}}
{{- if and (not .Values.serviceAccount.create) (not $account) -}}
{{- fail "serviceAccount.create is false and serviceAccount.name is empty: the service account `default`, and so every pod of the namespace, would get the injector's rights; set serviceAccount.name to an existing service account that only the injector uses, or serviceAccount.create to true" -}}
{{- end -}}
{{- if eq (default "" $account) "default" -}}
{{- fail "serviceAccount.name is default: every pod of the namespace that sets no service account would get the injector's rights; set it to a service account that only the injector uses, or leave it empty with serviceAccount.create true" -}}
{{- end -}}
{{- if and .Values.networkPolicy.enabled (or (not .Values.networkPolicy.apiServerPorts) (has "" .Values.networkPolicy.apiServerPorts)) -}}
{{- fail "networkPolicy.apiServerPorts is empty, which in a NetworkPolicy allows every port: list the ports of the API servers, such as [443, 6443]" -}}
{{- end -}}
{{- end -}}

{{/* Values of the restart controller that depend on each other. */}}
{{- define "injector.checkRestarter" -}}
{{- $restarter := .Values.restarter -}}
{{- if $restarter.enabled -}}
{{- $account := default "" $restarter.serviceAccount.name -}}
{{- if and (not $restarter.serviceAccount.create) (not $account) -}}
{{- fail "restarter.serviceAccount.create is false and restarter.serviceAccount.name is empty: the service account `default`, and so every pod of the namespace, would get the rights of the restart controller; set restarter.serviceAccount.name to an existing service account that only the controller uses, or restarter.serviceAccount.create to true" -}}
{{- end -}}
{{- if has $account (list "default" (include "injector.serviceAccountName" .)) -}}
{{- fail (printf "restarter.serviceAccount.name is %s, which other pods use too: set it to a service account that only the restart controller uses, or leave it empty with restarter.serviceAccount.create true" $account) -}}
{{- end -}}
{{- if not (or $restarter.scaivault.url $restarter.nativeSecrets) -}}
{{- fail "restarter.enabled is true, but restarts for secrets of ScaiVault and native Secrets are both off: set restarter.scaivault.url to the address of ScaiVault, or restarter.nativeSecrets to true" -}}
{{- end -}}
{{- $pace := $restarter.pace -}}
{{- $seconds := dict -}}
{{- range $key, $value := $pace -}}
{{- if kindIs "string" $value -}}
{{- $_ := set $seconds $key (include "injector.seconds" $value | int64) -}}
{{- end -}}
{{- end -}}
{{- if lt $seconds.debounce 2 -}}
{{- fail (printf "restarter.pace.debounce is %s: it must be at least 2s, because times of versions are in whole seconds" $pace.debounce) -}}
{{- end -}}
{{- if lt $seconds.maxWait $seconds.debounce -}}
{{- fail (printf "restarter.pace.maxWait is %s: it must be at least restarter.pace.debounce (%s)" $pace.maxWait $pace.debounce) -}}
{{- end -}}
{{- range $key, $label := $restarter.podLabels -}}
{{- if or (hasKey $.Values.commonLabels $key) (hasKey (include "injector.restarterLabels" $ | fromYaml) $key) (eq $key "pod-template-hash") -}}
{{- fail (printf "restarter.podLabels sets %s, which the chart, Kubernetes or commonLabels sets; remove it" $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Rejects users' labels that the chart or Kubernetes sets, because selectors would not match the pods. */}}
{{- define "injector.checkLabels" -}}
{{- $own := keys (include "injector.selectorLabels" . | fromYaml) -}}
{{- $own = concat $own (list "app.kubernetes.io/version" "app.kubernetes.io/managed-by" "helm.sh/chart" "pod-template-hash") -}}
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
