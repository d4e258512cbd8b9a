# Templates of files inside a Helm chart. Helm interprets double braces first, so the agent's tags are
# escaped: Helm writes text between backquotes in a tag as it is. Put this file into a chart as
# templates/deployment.yaml.
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ .Release.Name }}
  namespace: {{ .Release.Namespace }}
  annotations:
    scaikey.scailabs.ai/role: sa:{{ .Release.Name }}
automountServiceAccountToken: false
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ .Release.Name }}
  namespace: {{ .Release.Namespace }}
spec:
  selector:
    matchLabels:
      app: {{ .Release.Name }}
  template:
    metadata:
      labels:
        app: {{ .Release.Name }}
      annotations:
        # One line: put each tag of the agent between backquotes. Helm interprets the rest.
        scaivault.scailabs.ai/inject-secret-db.url: environments/production/billing/database
        scaivault.scailabs.ai/secret-template-db.url: "postgres://{{ `{{ data.username | urlencode }}` }}:{{ `{{ data.password | urlencode }}` }}@{{ .Values.host }}/billing"
        # Several lines: put all of them between backquotes, and use `indent` for YAML.
        scaivault.scailabs.ai/inject-secret-app.properties: environments/production/billing/database
        scaivault.scailabs.ai/secret-template-app.properties: |
{{ `spring.datasource.username={{ data.username }}
spring.datasource.password={{ data.password }}
{% if data.schema is defined %}spring.jpa.properties.hibernate.default_schema={{ data.schema }}
{% endif %}` | indent 10 }}
        # From values.yaml, or from a file of the chart with .Files.Get: Helm does not interpret tags in
        # them, so nothing is escaped.
        scaivault.scailabs.ai/inject-secret-pgpass: environments/production/billing/database
        scaivault.scailabs.ai/secret-template-pgpass: {{ .Values.pgpass | quote }}
        scaivault.scailabs.ai/secret-mode-pgpass: "0400"
    spec:
      serviceAccountName: {{ .Release.Name }}
      securityContext:
        runAsNonRoot: true
        runAsUser: 1000
        seccompProfile:
          type: RuntimeDefault
      containers:
        - name: app
          image: registry.example/billing:1.0
          resources:
            requests:
              cpu: 100m
              memory: 64Mi
            limits:
              memory: 128Mi
          securityContext:
            allowPrivilegeEscalation: false
            readOnlyRootFilesystem: true
            capabilities:
              drop: [ALL]
