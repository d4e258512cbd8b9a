{{/*
The alerts. Each has a section of its name in docs/operations.md. Alerts about the server use its own metrics. Alerts about failed
calls use the API server's metrics, because calls that never arrive are not in the injector's.

Series are selected by metric name and by the namespace, where the scrape configuration adds such a label: a ServiceMonitor, a
PodMonitor and scraping by annotations add different ones. `|` at the end of a pattern also matches a series without the label.

Any pod may connect to the admission port and post reviews, so a counter of the injector alone must not raise a critical alert.
*/}}
{{- define "injector.rules" -}}
{{- $selector := printf "namespace=~\"%[1]s|\",kubernetes_namespace=~\"%[1]s|\"" .Release.Namespace -}}
{{- $pod := "{{ or $labels.pod $labels.kubernetes_pod_name $labels.instance }}" -}}
{{- $webhooks := "name=~\".+[.]injector[.]scaivault[.]scailabs[.]ai\"" -}}
{{- $leaf := include "injector.seconds" .Values.certificates.self.leafLifetime | int64 -}}
{{- $reload := include "injector.seconds" .Values.certificates.reloadInterval | int64 -}}
{{- $replicas := ternary .Values.autoscaling.minReplicas .Values.replicas .Values.autoscaling.enabled | int -}}
{{- $authority := include "injector.seconds" .Values.certificates.self.caLifetime | int64 -}}
groups:
  - name: scaivault-injector
    rules:
      - alert: ScaiVaultInjectorDown
        {{- if and (include "injector.deployed" .) .Values.serviceMonitor.enabled }}
        expr: absent(scaivault_injector_ready{ {{- $selector -}} } == 1)
        {{- else }}
        # Only if the injector was scraped within 30 days, because without a ServiceMonitor it may not be scraped at all.
        # So the alert ends after an outage of 30 days.
        expr: absent(scaivault_injector_ready{ {{- $selector -}} } == 1) and on () count(present_over_time(scaivault_injector_ready{ {{- $selector -}} }[30d])) > 0
        {{- end }}
        for: 2m
        labels: {severity: critical}
        annotations:
          summary: No injector is ready.
          description: Prometheus finds no ready pod of the injector. With failurePolicy Fail, annotated pods are refused.
          runbook_url: {{ .Values.prometheusRule.runbookUrl }}#scaivaultinjectordown
      {{- if include "injector.deployed" . }}
      - alert: ScaiVaultInjectorReplicaDown
        # Two scrape configurations may find the same pod and give it different labels, so each job is counted by itself.
        expr: max(count by (job) (max by (job, instance) (scaivault_injector_ready{ {{- $selector -}} }) == 1)) < {{ $replicas }}
        for: 15m
        labels: {severity: warning}
        annotations:
          summary: Fewer replicas of the injector are ready than configured.
          description: {{ printf "'{{ $value }} of %d pods have been ready for 15 minutes.'" $replicas }}
          runbook_url: {{ .Values.prometheusRule.runbookUrl }}#scaivaultinjectorreplicadown
      {{- end }}
      {{- $failures := printf "apiserver_admission_webhook_rejection_count{%s,error_type!=\"no_error\"}" $webhooks }}
      {{- $calls := printf "apiserver_admission_webhook_admission_duration_seconds_count{%s}" $webhooks }}
      {{- $failedOpen := printf "apiserver_admission_webhook_fail_open_count{%s}" $webhooks }}
      {{- /* At least three failures, and more than half of a webhook's calls. */}}
      {{- $most := "sum by (name) (increase(%[1]s[%[3]s])) > 2 unless on (name) sum by (name) (increase(%[1]s[%[3]s])) / sum by (name) (increase(%[2]s[%[3]s])) <= 0.5" }}
      - alert: ScaiVaultInjectorCallsFail
        # A call also counts as failed if the timeout of the client's request ends it. A few such requests must not raise the alert in a busy cluster.
        expr: {{ printf $most $failures $calls "5m" }}
        for: 1m
        labels: {severity: critical}
        annotations:
          summary: The API server refuses pods because it gets no response from the injector.
          description: {{ `'More than half of the calls of {{ $labels.name }} fail, {{ $value | humanize }} in 5 minutes: no connection, an untrusted certificate, or no response in time.'` }}
          runbook_url: {{ .Values.prometheusRule.runbookUrl }}#scaivaultinjectorcallsfail
      - alert: ScaiVaultInjectorCallsFail
        expr: sum by (name) (increase({{ $failures }}[5m])) > 0
        for: 10m
        labels: {severity: warning}
        annotations:
          summary: Some calls of the injector fail.
          description: {{ `'Calls of {{ $labels.name }} have failed for 10 minutes, {{ $value | humanize }} in the last 5 minutes; other calls may succeed.'` }}
          runbook_url: {{ .Values.prometheusRule.runbookUrl }}#scaivaultinjectorcallsfail
      - alert: ScaiVaultInjectorFailedOpen
        expr: sum by (name) (increase({{ $failedOpen }}[10m])) > 2
        for: 1m
        labels: {severity: warning}
        annotations:
          summary: The API server continues without a response from the injector.
          description: {{ `'Calls of {{ $labels.name }} failed open {{ $value | humanize }} times in 10 minutes.'` }}
          runbook_url: {{ .Values.prometheusRule.runbookUrl }}#scaivaultinjectorfailedopen
      {{- $rejected := printf "sum(increase(scaivault_injector_tls_handshake_failures_total{%s,reason=\"rejected\"}[10m])) > 0" $selector }}
      {{- $admissions := printf "scaivault_injector_admissions_total{%s}" $selector }}
      - alert: ScaiVaultInjectorCertificateRejected
        # Any client can reject a certificate, so this is only critical if most of the API server's calls fail too.
        expr: {{ $rejected }} and on () ({{ printf $most $failures $calls "10m" }} or {{ printf $most $failedOpen $calls "10m" }})
        for: 5m
        labels: {severity: critical}
        annotations:
          summary: Clients do not trust the injector's certificate.
          description: {{ `'{{ $value | humanize }} TLS handshakes in 10 minutes ended because the client rejected the certificate, and most calls of the API server fail; most likely the caBundle does not contain the CA of the certificate.'` }}
          runbook_url: {{ .Values.prometheusRule.runbookUrl }}#scaivaultinjectorcertificaterejected
      - alert: ScaiVaultInjectorCertificateRejected
        # Used if the API server's metrics are missing: no review arrives any more.
        expr: {{ $rejected }} and on () sum(increase({{ $admissions }}[10m])) == 0 and on () sum(increase({{ $admissions }}[1d] offset 10m)) > 0 unless on () count({{ $calls }})
        for: 5m
        labels: {severity: warning}
        annotations:
          summary: Clients do not trust the injector's certificate, and no reviews arrive.
          description: {{ `'{{ $value | humanize }} TLS handshakes in 10 minutes ended because the client rejected the certificate, and no review was answered; perhaps the caBundle does not contain the CA of the certificate.'` }}
          runbook_url: {{ .Values.prometheusRule.runbookUrl }}#scaivaultinjectorcertificaterejected
      - alert: ScaiVaultInjectorCertificateExpires
        {{- if eq .Values.certificates.mode "self" }}
        # It is renewed at two thirds of its lifetime, so at an eighth before its end renewal has failed. 0: there is none yet.
        expr: (scaivault_injector_certificate_expiry_timestamp_seconds{ {{- $selector -}} } > 0) - time() < {{ div $leaf 8 }}
        {{- else if eq .Values.certificates.mode "cert-manager" }}
        # Half of the time that cert-manager has for the renewal has passed.
        expr: (scaivault_injector_certificate_expiry_timestamp_seconds{ {{- $selector -}} } > 0) - time() < {{ div (include "injector.seconds" .Values.certificates.certManager.renewBefore | int64) 2 }}
        {{- else }}
        expr: (scaivault_injector_certificate_expiry_timestamp_seconds{ {{- $selector -}} } > 0) - time() < {{ include "injector.seconds" .Values.certificates.files.warnBefore }}
        {{- end }}
        for: 5m
        labels: {severity: critical}
        annotations:
          summary: The injector's certificate is about to expire.
          description: {{ printf `'The certificate of %[1]s expires in {{ $value | humanizeDuration }} and was not renewed.'` $pod }}
          runbook_url: {{ .Values.prometheusRule.runbookUrl }}#scaivaultinjectorcertificateexpires
      {{- if ne .Values.certificates.mode "self" }}
      - alert: ScaiVaultInjectorCertificateBroken
        expr: scaivault_injector_certificate_refused{ {{- $selector -}} } == 1
        for: 5m
        labels: {severity: warning}
        annotations:
          summary: A renewed certificate cannot be used; the previous one is still served.
          description: {{ printf `'%[1]s cannot use the certificate in the Secret; its log has the reason. A replica that restarts does not start.'` $pod }}
          runbook_url: {{ .Values.prometheusRule.runbookUrl }}#scaivaultinjectorcertificatebroken
      {{- end }}
      {{- if eq .Values.certificates.mode "self" }}
      - alert: ScaiVaultInjectorAuthorityExpires
        # It is renewed when a third of its lifetime is left, so at a quarter renewal has failed. 0: the replica has none yet, and is not ready.
        expr: (scaivault_injector_certificate_authority_expiry_timestamp_seconds{ {{- $selector -}} } > 0) - time() < {{ div $authority 4 }}
        for: 1h
        labels: {severity: warning}
        annotations:
          summary: The injector's certificate authority is about to expire.
          description: {{ printf `'The authority of %[1]s expires in {{ $value | humanizeDuration }} and was not renewed.'` $pod }}
          runbook_url: {{ .Values.prometheusRule.runbookUrl }}#scaivaultinjectorauthorityexpires
      - alert: ScaiVaultInjectorCaBundleUnchecked
        expr: time() - (scaivault_injector_ca_bundle_checked_timestamp_seconds{ {{- $selector -}} } > 0) > {{ max 600 (mul 3 $reload) }}
        for: 5m
        labels: {severity: warning}
        annotations:
          summary: The injector cannot check or repair its caBundle.
          description: {{ printf `'%[1]s last verified the caBundle of every webhook {{ $value | humanizeDuration }} ago.'` $pod }}
          runbook_url: {{ .Values.prometheusRule.runbookUrl }}#scaivaultinjectorcabundleunchecked
      - alert: ScaiVaultInjectorCertificateSyncFailing
        # Two replicas that write at the same time cause a short conflict, so the failures must last.
        expr: sum by (reason) (increase(scaivault_injector_certificate_sync_failures_total{ {{- $selector -}} }[{{ max 300 (mul 3 $reload) }}s])) > 0
        for: 10m
        labels: {severity: warning}
        annotations:
          summary: The injector cannot renew its certificate; the served one is kept until it expires.
          description: {{ `'{{ $value | humanize }} syncs of the CA and the caBundle failed within minutes (reason "{{ $labels.reason }}"). The log of the injector has the error.'` }}
          runbook_url: {{ .Values.prometheusRule.runbookUrl }}#scaivaultinjectorcertificatesyncfailing
      {{- end }}
      - alert: ScaiVaultInjectorOverloaded
        # Any pod can reach the limits of a single source, so these only count if calls of the API server fail too.
        expr: sum by (reason) (rate(scaivault_injector_shed_total{ {{- $selector -}} ,reason!~"source|.+-per-source"}[5m])) > 0 or sum by (reason) (rate(scaivault_injector_shed_total{ {{- $selector -}} ,reason=~".+-per-source"}[5m])) > 0 and on () (sum(increase({{ $failures }}[5m])) > 0 or absent({{ $calls }}))
        for: 5m
        labels: {severity: warning}
        annotations:
          summary: The injector rejects requests or connections because a limit is reached.
          description: {{ `'{{ $value | humanize }} a second are over the limit "{{ $labels.reason }}". The API server retries until its timeout.'` }}
          runbook_url: {{ .Values.prometheusRule.runbookUrl }}#scaivaultinjectoroverloaded
      - alert: ScaiVaultInjectorSlow
        # Any pod can post a slow review, so this only counts if calls of the API server are slow too.
        expr: histogram_quantile(0.99, sum by (le) (rate(scaivault_injector_admission_duration_seconds_bucket{ {{- $selector -}} }[5m]))) > 0.1 and on () (histogram_quantile(0.99, sum by (le) (rate(apiserver_admission_webhook_admission_duration_seconds_bucket{ {{- $webhooks -}} }[5m]))) > 0.1 or absent(apiserver_admission_webhook_admission_duration_seconds_bucket{ {{- $webhooks -}} }))
        for: 10m
        labels: {severity: warning}
        annotations:
          summary: The injector is slow.
          description: {{ `'The p99 of a review is {{ $value | humanizeDuration }}; it should be far below a millisecond.'` }}
          runbook_url: {{ .Values.prometheusRule.runbookUrl }}#scaivaultinjectorslow
      - alert: ScaiVaultInjectorSourceRefused
        expr: sum(increase(scaivault_injector_shed_total{ {{- $selector -}} ,reason="source"}[15m])) > 0
        for: 15m
        labels: {severity: info}
        annotations:
          summary: Connections come from addresses that are not allowed.
          description: {{ `'{{ $value | humanize }} connections in 15 minutes were refused by server.allowSources (--allow-source).'` }}
          runbook_url: {{ .Values.prometheusRule.runbookUrl }}#scaivaultinjectorsourcerefused
      - alert: ScaiVaultInjectorConfigBroken
        expr: scaivault_injector_config_refused{ {{- $selector -}} } == 1
        for: 1m
        labels: {severity: warning}
        annotations:
          summary: A changed configuration file is invalid; the previous settings stay in force.
          description: {{ printf `'%[1]s rejects the file; its log has the mistakes. A replica that restarts does not start.'` $pod }}
          runbook_url: {{ .Values.prometheusRule.runbookUrl }}#scaivaultinjectorconfigbroken
      {{- if .Values.server.clientCa.configMap }}
      - alert: ScaiVaultInjectorClientCaBroken
        expr: scaivault_injector_client_ca_refused{ {{- $selector -}} } == 1
        for: 5m
        labels: {severity: warning}
        annotations:
          summary: A changed file of client authorities is invalid; the previous authorities are kept.
          description: {{ printf `'%[1]s rejects the file of server.clientCa; its log has the reason. A replica that restarts does not start.'` $pod }}
          runbook_url: {{ .Values.prometheusRule.runbookUrl }}#scaivaultinjectorclientcabroken
      {{- end }}
      - alert: ScaiVaultInjectorWatchDown
        # 0: the watch works.
        expr: time() - (scaivault_injector_watch_down_since_timestamp_seconds{ {{- $selector -}} } > 0) > 300
        for: 5m
        labels: {severity: warning}
        annotations:
          summary: A watch of the injector is interrupted, so its cache is outdated.
          description: {{ printf `'The watch of {{ $labels.resource }} in %[1]s has failed for {{ $value | humanizeDuration }}.'` $pod }}
          runbook_url: {{ .Values.prometheusRule.runbookUrl }}#scaivaultinjectorwatchdown
      {{- if .Values.policies.enabled }}
      - alert: ScaiVaultInjectorPolicyRejected
        expr: max by (state) (scaivault_injector_policies{ {{- $selector -}} ,state=~"kept|rejected"}) > 0
        for: 10m
        labels: {severity: warning}
        annotations:
          summary: An InjectionPolicy cannot be used.
          description: {{ `'{{ $value }} policies cannot be used (state "{{ $labels.state }}"; kept: the last valid version stays in force; rejected: none is). Their condition Accepted has the reason.'` }}
          runbook_url: {{ .Values.prometheusRule.runbookUrl }}#scaivaultinjectorpolicyrejected
      - alert: ScaiVaultInjectorPolicyConflict
        expr: max(scaivault_injector_policies{ {{- $selector -}} ,state="conflicted"}) > 0
        for: 10m
        labels: {severity: warning}
        annotations:
          summary: InjectionPolicies contradict each other.
          description: {{ `'{{ $value }} policies contradict another one; pods that both select are refused. The condition Conflicted names both policies.'` }}
          runbook_url: {{ .Values.prometheusRule.runbookUrl }}#scaivaultinjectorpolicyconflict
      - alert: ScaiVaultInjectorPolicyHeld
        expr: max(scaivault_injector_policies{ {{- $selector -}} ,state="held"}) > 0
        for: 5m
        labels: {severity: warning}
        annotations:
          summary: Deleted InjectionPolicies stay in force.
          description: {{ `'{{ $value }} policies were deleted and stay in force, because their CRD was deleted too, or because the API server does not say whether it was. The log of the injector says which.'` }}
          runbook_url: {{ .Values.prometheusRule.runbookUrl }}#scaivaultinjectorpolicyheld
      - alert: ScaiVaultInjectorPolicyWritesFail
        expr: sum by (result) (increase(scaivault_injector_policy_writes_total{ {{- $selector -}} ,result=~"status-failed|label-failed"}[15m])) > 0
        for: 15m
        labels: {severity: info}
        annotations:
          summary: The injector cannot write the status of policies or the label of namespaces.
          description: {{ `'{{ $value | humanize }} writes in 15 minutes had the result {{ $labels.result }}. The log of the injector has the reason.'` }}
          runbook_url: {{ .Values.prometheusRule.runbookUrl }}#scaivaultinjectorpolicywritesfail
      {{- end }}
      - alert: ScaiVaultInjectorEventsLost
        expr: sum by (result) (increase(scaivault_injector_events_total{ {{- $selector -}} ,result=~"failed|dropped"}[15m])) > 0
        for: 15m
        labels: {severity: info}
        annotations:
          summary: Events about pods are lost.
          description: {{ `'{{ $value | humanize }} Events on owners of pods in 15 minutes were {{ $labels.result }}. The log of the injector has the same information, and the reason.'` }}
          runbook_url: {{ .Values.prometheusRule.runbookUrl }}#scaivaultinjectoreventslost
      - alert: ScaiVaultInjectorLogLinesDropped
        # Any pod can post reviews, and each causes a log line.
        expr: sum(increase(scaivault_injector_log_lines_dropped_total{ {{- $selector -}} }[15m])) > 0
        for: 5m
        labels: {severity: info}
        annotations:
          summary: Log lines of the injector were dropped.
          description: {{ `'{{ $value | humanize }} lines in 15 minutes were dropped because they were written faster than the container runtime read them. They may be about refused pods.'` }}
          runbook_url: {{ .Values.prometheusRule.runbookUrl }}#scaivaultinjectorloglinesdropped
      - alert: ScaiVaultInjectorBug
        expr: sum(increase(scaivault_injector_panics_total{ {{- $selector -}} }[15m])) > 0
        labels: {severity: warning}
        annotations:
          summary: A bug in the injector caused a failed request.
          description: {{ `'{{ $value | humanize }} requests in 15 minutes were answered with 500. Please report it with the log line.'` }}
          runbook_url: {{ .Values.prometheusRule.runbookUrl }}#scaivaultinjectorbug
      - alert: ScaiVaultInjectorPodsRefused
        expr: sum(increase(scaivault_injector_admissions_total{ {{- $selector -}} ,entry="mutate",outcome="denied",dry_run="false"}[15m])) > 0
        for: 30m
        labels: {severity: info}
        annotations:
          summary: Pods are refused because of their annotations.
          description: {{ `'{{ $value | humanize }} pods in 15 minutes. The log of the injector and the Events of their owners have the pods and the reasons.'` }}
          runbook_url: {{ .Values.prometheusRule.runbookUrl }}#scaivaultinjectorpodsrefused
{{- if .Values.restarter.enabled }}
{{- include "injector.restarterRules" . }}
{{- end }}
{{- end -}}

{{/* The alerts of the restart controller. Only the leader's metrics about workloads are current. */}}
{{- define "injector.restarterRules" -}}
{{- $selector := printf "namespace=~\"%[1]s|\",kubernetes_namespace=~\"%[1]s|\"" .Release.Namespace -}}
{{- $page := .Values.prometheusRule.runbookUrl -}}
{{- $leads := printf "on (instance) (scaivault_restarter_leader{%s} == 1)" $selector -}}
{{- $limit := include "injector.seconds" .Values.restarter.pendingLimit }}
  - name: scaivault-restarter
    rules:
      - alert: ScaiVaultRestarterDown
        {{- if .Values.restarter.podMonitor.enabled }}
        expr: absent(scaivault_restarter_leader{ {{- $selector -}} } == 1)
        {{- else }}
        # Only if the controller was scraped within 30 days, because without a PodMonitor it may not be scraped at all.
        expr: absent(scaivault_restarter_leader{ {{- $selector -}} } == 1) and on () count(present_over_time(scaivault_restarter_leader{ {{- $selector -}} }[30d])) > 0
        {{- end }}
        for: 10m
        labels: {severity: warning}
        annotations:
          summary: No replica of the restart controller is the leader.
          description: Prometheus finds no replica of the restart controller that holds the Lease. Workloads keep running with their current secrets; none is restarted after a rotation.
          runbook_url: {{ $page }}#scaivaultrestarterdown
      - alert: ScaiVaultRestarterRolloutFailed
        expr: (scaivault_restarter_failed_versions{ {{- $selector -}} } and {{ $leads }}) > 0
        for: 1m
        labels: {severity: critical}
        annotations:
          summary: A restart after a rotation failed.
          description: {{ `'Healthy workloads did not become healthy again after a restart for {{ $value }} rotated secrets (counted in each namespace). Perhaps the new credentials do not work. Other workloads with the secret are not restarted until this is repaired.'` }}
          runbook_url: {{ $page }}#scaivaultrestarterrolloutfailed
      - alert: ScaiVaultRestarterStopped
        expr: sum(scaivault_restarter_workloads{ {{- $selector -}} ,reason="Stopped"} and {{ $leads }}) > 0
        for: 5m
        labels: {severity: warning}
        annotations:
          summary: Restarts wait because the same version of a secret failed on another workload.
          description: {{ `'{{ $value }} workloads keep the old version of a secret, which may stop working.'` }}
          runbook_url: {{ $page }}#scaivaultrestarterstopped
      - alert: ScaiVaultRestarterPending
        # 0: no restart is pending. Those that wait for their owners raise no alert.
        expr: (time() - (scaivault_restarter_oldest_pending_timestamp_seconds{ {{- $selector -}} ,waits_for="controller"} > 0)) > {{ $limit }} and {{ $leads }}
        for: 10m
        labels: {severity: warning}
        annotations:
          summary: A restart has been pending for too long.
          description: {{ `'The oldest restart has been pending for {{ $value | humanizeDuration }}, although it does not wait for its owner. The usual reasons are a maintenance window that opens too rarely, or a version that failed.'` }}
          runbook_url: {{ $page }}#scaivaultrestarterpending
      {{- if .Values.restarter.scaivault.url }}
      - alert: ScaiVaultRestarterVaultUnreachable
        # 0: not yet.
        expr: (time() - scaivault_restarter_vault_complete_timestamp_seconds{ {{- $selector -}} }) > {{ max 3600 (mul 3 (include "injector.seconds" .Values.restarter.scaivault.pollInterval | int64)) }} and {{ $leads }} and on (instance) scaivault_restarter_vault_secrets{ {{- $selector -}} } > 0
        for: 15m
        labels: {severity: warning}
        annotations:
          summary: The restart controller cannot read the versions of secrets from ScaiVault.
          description: {{ `'The versions of all secrets were last read {{ $value | humanizeDuration }} ago. Rotations since then restart nothing.'` }}
          runbook_url: {{ $page }}#scaivaultrestartervaultunreachable
      - alert: ScaiVaultRestarterSecretsUnknown
        expr: (scaivault_restarter_vault_secrets_failing{ {{- $selector -}} } and {{ $leads }}) > 0
        for: 1h
        labels: {severity: info}
        annotations:
          summary: Versions of some secrets cannot be read.
          description: {{ `'ScaiVault returns no version for {{ $value }} secrets of workloads. Their rotations restart nothing. The log of the controller names them.'` }}
          runbook_url: {{ $page }}#scaivaultrestartersecretsunknown
      {{- end }}
      - alert: ScaiVaultRestarterWatchDown
        expr: (time() - (scaivault_restarter_watch_down_since_timestamp_seconds{ {{- $selector -}} } > 0)) > 300
        for: 5m
        labels: {severity: warning}
        annotations:
          summary: A watch of the restart controller is interrupted, so its cache is outdated.
          description: {{ `'The watch of {{ $labels.resource }} has failed for {{ $value | humanizeDuration }}.'` }}
          runbook_url: {{ $page }}#scaivaultrestarterwatchdown
      - alert: ScaiVaultRestarterUndecided
        # 0: not yet; of outdated workloads: none.
        expr: (time() - scaivault_restarter_decided_timestamp_seconds{ {{- $selector -}} } > 600 or time() - (scaivault_restarter_outdated_since_timestamp_seconds{ {{- $selector -}} } > 0) > 600) and {{ $leads }}
        for: 10m
        labels: {severity: warning}
        annotations:
          summary: The restart controller runs, but makes no decisions, or none about some workloads.
          description: The leader has made no decision for more than ten minutes, or none about workloads that it has to read again. Rotations since then restart nothing there.
          runbook_url: {{ $page }}#scaivaultrestarterundecided
      - alert: ScaiVaultRestarterWritesFail
        expr: sum by (result) (increase(scaivault_restarter_restarts_total{ {{- $selector -}} ,result=~"refused|unavailable"}[15m]) or increase(scaivault_restarter_record_writes_total{ {{- $selector -}} ,result=~"refused|unavailable"}[15m])) > 0
        for: 15m
        labels: {severity: warning}
        annotations:
          summary: The restart controller cannot write to the API server.
          description: {{ `'{{ $value | humanize }} writes in 15 minutes had the result {{ $labels.result }}. The log of the controller has the reason.'` }}
          runbook_url: {{ $page }}#scaivaultrestarterwritesfail
      - alert: ScaiVaultRestarterBesideReloader
        expr: max(scaivault_restarter_reloaders{ {{- $selector -}} }) > 0
        for: 1h
        labels: {severity: warning}
        annotations:
          summary: Stakater's Reloader also runs in the cluster.
          description: Workloads that both follow are restarted twice for one rotation. Remove one of the two.
          runbook_url: {{ $page }}#scaivaultrestarterbesidereloader
{{- end -}}
