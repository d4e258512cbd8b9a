{{/*
The alerts. Each has a section of its name in docs/csi.md.

Series are selected by metric name and by the namespace, where the scrape configuration adds such a label. `|` at the end of a
pattern also matches a series without the label.

The driver hides errors of republishing from the kubelet, so these alerts are the only sign of files that are not updated.
The author of a class can make mounts fail, so failures that a class can cause raise no critical alert: `unreachable` is the default
ScaiVault alone, by failures that depend on no secret.
*/}}
{{- define "provider.rules" -}}
{{- $ours := printf "namespace=~\"%[1]s|\",kubernetes_namespace=~\"%[1]s|\"" .Release.Namespace -}}
{{- $mounts := printf "scaivault_csi_provider_mounts_total{%s}" $ours -}}
{{- $unreachable := printf "scaivault_csi_provider_mounts_total{%s,outcome=\"unreachable\"}" $ours -}}
{{- $answered := printf "scaivault_csi_provider_mounts_total{%s,outcome!=\"busy\"}" $ours -}}
{{- $failed := printf "scaivault_csi_provider_mounts_total{%s,outcome!=\"done\"}" $ours -}}
{{- $internal := printf "scaivault_csi_provider_mounts_total{%s,outcome=\"internal\"}" $ours -}}
{{- $runbook := .Values.prometheusRule.runbookUrl -}}
groups:
  - name: scaivault-csi-provider
    rules:
      - alert: ScaiVaultCsiProviderDown
        {{- if .Values.podMonitor.enabled }}
        expr: absent({{ $mounts }})
        {{- else }}
        # Only where the provider was scraped within 30 days: nothing here says that it is scraped at all.
        expr: absent({{ $mounts }}) and on () count(present_over_time({{ $mounts }}[30d])) > 0
        {{- end }}
        for: 5m
        labels: {severity: critical}
        annotations:
          summary: No CSI provider runs.
          description: Prometheus reaches no pod of the provider. Pods with its volumes cannot start, and files are not updated.
          runbook_url: {{ $runbook }}#scaivaultcsiproviderdown
      - alert: ScaiVaultCsiProviderNodeDown
        expr: up == 0 and on (job, instance) count by (job, instance) (present_over_time({{ $mounts }}[1h])) > 0
        for: 10m
        labels: {severity: warning}
        annotations:
          summary: The CSI provider of a node does not answer.
          description: {{ `'Prometheus has not reached the provider {{ $labels.instance }} for 10 minutes. Pods with its volumes cannot start on that node, and files are not updated.'` }}
          runbook_url: {{ $runbook }}#scaivaultcsiprovidernodedown
      - alert: ScaiVaultCsiProviderScaiVaultUnreachable
        # More than two failures, and more than half of all mounts. Without `busy`: in an outage these calls would hide the others.
        expr: sum(increase({{ $unreachable }}[10m])) / sum(increase({{ $answered }}[10m])) > 0.5 and sum(increase({{ $unreachable }}[10m])) > 2
        for: 5m
        labels: {severity: critical}
        annotations:
          summary: Most mounts fail because ScaiVault cannot be reached.
          description: {{ `'{{ $value | humanizePercentage }} of the mount calls of 10 minutes failed. Pods with volumes of the provider cannot start; running pods keep their files.'` }}
          runbook_url: {{ $runbook }}#scaivaultcsiproviderscaivaultunreachable
      - alert: ScaiVaultCsiProviderMountsFail
        # Also the only sign of a default ScaiVault that answers no reads while logins are kept.
        expr: sum by (outcome) (increase({{ $failed }}[5m])) > 0
        for: 15m
        labels: {severity: warning}
        annotations:
          summary: Some mounts fail.
          description: {{ `'Mount calls have failed for 15 minutes as {{ $labels.outcome }}, {{ $value | humanize }} in the last 5. Pods do not start, or their files are not updated.'` }}
          runbook_url: {{ $runbook }}#scaivaultcsiprovidermountsfail
      - alert: ScaiVaultCsiProviderInternalError
        expr: sum(increase({{ $internal }}[10m])) > 0
        labels: {severity: warning}
        annotations:
          summary: The CSI provider itself has a fault.
          description: {{ `'Mount calls of 10 minutes that failed because of the provider or of its state directory: {{ $value | humanize }}.'` }}
          runbook_url: {{ $runbook }}#scaivaultcsiproviderinternalerror
      {{- if .Values.policies.enabled }}
      - alert: ScaiVaultCsiProviderPolicyRejected
        expr: max by (state) (scaivault_csi_provider_policies{ {{- $ours -}} ,state=~"kept|rejected|held"}) > 0
        for: 10m
        labels: {severity: warning}
        annotations:
          summary: An InjectionPolicy does not limit volumes as it is written.
          description: {{ `'{{ $value }} policies cannot be used by a provider, or were deleted and stay in force (state "{{ $labels.state }}"). With "rejected", a provider that starts refuses all mounts.'` }}
          runbook_url: {{ $runbook }}#scaivaultcsiproviderpolicyrejected
      {{- end }}
{{- end -}}
