{{/*
The alerts. Each has a section of its name in docs/csi.md.

Series are selected by metric name and by the namespace, where the scrape configuration adds such a label. `|` at the end of a
pattern also matches a series without the label.

The driver hides errors of republishing from the kubelet, so these alerts are the only sign of files that are not updated.
The author of a class can make mounts fail, so failures that a class can cause raise no critical alert: `unreachable` only counts
failures of the default ScaiVault that do not depend on a secret.
*/}}
{{- define "provider.rules" -}}
{{- $selector := printf "namespace=~\"%[1]s|\",kubernetes_namespace=~\"%[1]s|\"" .Release.Namespace -}}
{{- $mounts := printf "scaivault_csi_provider_mounts_total{%s}" $selector -}}
{{- $unreachable := printf "scaivault_csi_provider_mounts_total{%s,outcome=\"unreachable\"}" $selector -}}
{{- $answered := printf "scaivault_csi_provider_mounts_total{%s,outcome!=\"busy\"}" $selector -}}
{{- $failed := printf "scaivault_csi_provider_mounts_total{%s,outcome!=\"done\"}" $selector -}}
{{- $internal := printf "scaivault_csi_provider_mounts_total{%s,outcome=\"internal\"}" $selector -}}
{{- $runbook := .Values.prometheusRule.runbookUrl -}}
groups:
  - name: scaivault-csi-provider
    rules:
      - alert: ScaiVaultCsiProviderDown
        {{- if .Values.podMonitor.enabled }}
        expr: absent({{ $mounts }})
        {{- else }}
        # Only if the provider was scraped within 30 days, because without a PodMonitor it may not be scraped at all.
        expr: absent({{ $mounts }}) and on () count(present_over_time({{ $mounts }}[30d])) > 0
        {{- end }}
        for: 5m
        labels: {severity: critical}
        annotations:
          summary: No CSI provider runs.
          description: Prometheus cannot scrape any pod of the provider. Pods with its volumes cannot start, and files are not updated.
          runbook_url: {{ $runbook }}#scaivaultcsiproviderdown
      - alert: ScaiVaultCsiProviderNodeDown
        expr: up == 0 and on (job, instance) count by (job, instance) (present_over_time({{ $mounts }}[1h])) > 0
        for: 10m
        labels: {severity: warning}
        annotations:
          summary: The CSI provider of a node cannot be scraped.
          description: {{ `'Prometheus has not scraped the provider {{ $labels.instance }} for 10 minutes. Pods with its volumes cannot start on that node, and files are not updated.'` }}
          runbook_url: {{ $runbook }}#scaivaultcsiprovidernodedown
      - alert: ScaiVaultCsiProviderScaiVaultUnreachable
        # At least three failures, and more than half of all mounts. Calls with `busy` are left out, because in an outage they would outnumber the others.
        expr: sum(increase({{ $unreachable }}[10m])) / sum(increase({{ $answered }}[10m])) > 0.5 and sum(increase({{ $unreachable }}[10m])) > 2
        for: 5m
        labels: {severity: critical}
        annotations:
          summary: Most mounts fail because ScaiVault cannot be reached.
          description: {{ `'{{ $value | humanizePercentage }} of the mount calls within 10 minutes failed. Pods with volumes of the provider cannot start; running pods keep their files.'` }}
          runbook_url: {{ $runbook }}#scaivaultcsiproviderscaivaultunreachable
      - alert: ScaiVaultCsiProviderMountsFail
        # Also the only alert if the default ScaiVault answers no reads while logins are still valid.
        expr: sum by (outcome) (increase({{ $failed }}[5m])) > 0
        for: 15m
        labels: {severity: warning}
        annotations:
          summary: Some mounts fail.
          description: {{ `'Mount calls have failed for 15 minutes with the outcome {{ $labels.outcome }}, {{ $value | humanize }} in the last 5 minutes. Pods do not start, or their files are not updated.'` }}
          runbook_url: {{ $runbook }}#scaivaultcsiprovidermountsfail
      - alert: ScaiVaultCsiProviderInternalError
        expr: sum(increase({{ $internal }}[10m])) > 0
        labels: {severity: warning}
        annotations:
          summary: The CSI provider has a bug, or cannot write its state.
          description: {{ `'{{ $value | humanize }} mount calls within 10 minutes failed because of a bug in the provider, or because it cannot write to its state directory. Its log says which.'` }}
          runbook_url: {{ $runbook }}#scaivaultcsiproviderinternalerror
      {{- if .Values.policies.enabled }}
      - alert: ScaiVaultCsiProviderPolicyRejected
        expr: max by (state) (scaivault_csi_provider_policies{ {{- $selector -}} ,state=~"kept|rejected|held"}) > 0
        for: 10m
        labels: {severity: warning}
        annotations:
          summary: A CSI provider cannot use an InjectionPolicy.
          description: {{ `'{{ $value }} policies cannot be used by a provider, or were deleted and stay in force (state "{{ $labels.state }}"). With "rejected", a provider that starts refuses all mounts.'` }}
          runbook_url: {{ $runbook }}#scaivaultcsiproviderpolicyrejected
      {{- end }}
{{- end -}}
