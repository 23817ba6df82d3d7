# 1/10  f0-ops@ops-prod.iam.gserviceaccount.com may read the secret ingest-keys
gcloud secrets add-iam-policy-binding ingest-keys --project=ops-prod --member=serviceAccount:f0-ops@ops-prod.iam.gserviceaccount.com --role=roles/secretmanager.secretAccessor --quiet

# 2/10  f0-ops@ops-prod.iam.gserviceaccount.com may read the secret slack-webhook-url
gcloud secrets add-iam-policy-binding slack-webhook-url --project=ops-prod --member=serviceAccount:f0-ops@ops-prod.iam.gserviceaccount.com --role=roles/secretmanager.secretAccessor --quiet

# 3/10  function metricsIngest in europe-west1
mkdir -p .f0ops/deploy
cat > .f0ops/deploy/metricsIngest-europe-west1.yaml <<'END_OF_SETTINGS'
GOOGLE_CLOUD_PROJECT: ops-prod
OPS_EMAIL: oncall@example.com
SCHEDULER_SERVICE_ACCOUNT: f0-ops@ops-prod.iam.gserviceaccount.com
SLACK_OPS_CHANNEL: '#war-room'
STATUS_PAGE_URL: https://status.example.com/status
THREADS: '20'
END_OF_SETTINGS
gcloud functions deploy metricsIngest --gen2 --project=ops-prod --region=europe-west1 --runtime=python311 --source=. --entry-point=metricsIngest --trigger-http --memory=512Mi --cpu=1 --concurrency=20 --timeout=30s --min-instances=0 --max-instances=10 --ingress-settings=all --service-account=f0-ops@ops-prod.iam.gserviceaccount.com --env-vars-file=.f0ops/deploy/metricsIngest-europe-west1.yaml --set-secrets=INGEST_KEYS=ingest-keys:latest --allow-unauthenticated --quiet

# 4/10  function alertRules in europe-west1
mkdir -p .f0ops/deploy
cat > .f0ops/deploy/alertRules-europe-west1.yaml <<'END_OF_SETTINGS'
GOOGLE_CLOUD_PROJECT: ops-prod
OPS_EMAIL: oncall@example.com
SCHEDULER_AUDIENCES: https://europe-west1-ops-prod.cloudfunctions.net/alertRules
SCHEDULER_SERVICE_ACCOUNT: f0-ops@ops-prod.iam.gserviceaccount.com
SLACK_OPS_CHANNEL: '#war-room'
STATUS_PAGE_URL: https://status.example.com/status
THREADS: '1'
END_OF_SETTINGS
gcloud functions deploy alertRules --gen2 --project=ops-prod --region=europe-west1 --runtime=python311 --source=. --entry-point=alertRules --trigger-http --memory=512Mi --cpu=1 --concurrency=1 --timeout=240s --min-instances=0 --max-instances=1 --ingress-settings=all --service-account=f0-ops@ops-prod.iam.gserviceaccount.com --env-vars-file=.f0ops/deploy/alertRules-europe-west1.yaml --set-secrets=SLACK_WEBHOOK_URL=slack-webhook-url:latest --no-allow-unauthenticated --quiet

# 5/10  f0-ops@ops-prod.iam.gserviceaccount.com may call alertRules
gcloud functions add-invoker-policy-binding alertRules --project=ops-prod --region=europe-west1 --member=serviceAccount:f0-ops@ops-prod.iam.gserviceaccount.com --quiet

# 6/10  Cloud Scheduler job of alertRules
# update_job with this; where there is none, create_job:
#   name: projects/ops-prod/locations/europe-west1/jobs/firebase-schedule-alertRules-europe-west1
#   schedule: '*/5 * * * *'
#   timeZone: Etc/UTC
#   attemptDeadline: 240s
#   retryConfig:
#     retryCount: 3
#     maxRetryDuration: 60s
#     minBackoffDuration: 5s
#     maxBackoffDuration: 30s
#     maxDoublings: 2
#   httpTarget:
#     uri: https://europe-west1-ops-prod.cloudfunctions.net/alertRules
#     httpMethod: POST
#     oidcToken:
#       serviceAccountEmail: f0-ops@ops-prod.iam.gserviceaccount.com
#       audience: https://europe-west1-ops-prod.cloudfunctions.net/alertRules

# 7/10  function notifier in europe-west1
mkdir -p .f0ops/deploy
cat > .f0ops/deploy/notifier-europe-west1.yaml <<'END_OF_SETTINGS'
GOOGLE_CLOUD_PROJECT: ops-prod
OPS_EMAIL: oncall@example.com
SCHEDULER_AUDIENCES: https://europe-west1-ops-prod.cloudfunctions.net/notifier
SCHEDULER_SERVICE_ACCOUNT: f0-ops@ops-prod.iam.gserviceaccount.com
SLACK_OPS_CHANNEL: '#war-room'
STATUS_PAGE_URL: https://status.example.com/status
THREADS: '1'
END_OF_SETTINGS
gcloud functions deploy notifier --gen2 --project=ops-prod --region=europe-west1 --runtime=python311 --source=. --entry-point=notifier --trigger-http --memory=256Mi --cpu=0.167 --concurrency=1 --timeout=55s --min-instances=0 --max-instances=1 --ingress-settings=all --service-account=f0-ops@ops-prod.iam.gserviceaccount.com --env-vars-file=.f0ops/deploy/notifier-europe-west1.yaml --set-secrets=SLACK_WEBHOOK_URL=slack-webhook-url:latest --no-allow-unauthenticated --quiet

# 8/10  f0-ops@ops-prod.iam.gserviceaccount.com may call notifier
gcloud functions add-invoker-policy-binding notifier --project=ops-prod --region=europe-west1 --member=serviceAccount:f0-ops@ops-prod.iam.gserviceaccount.com --quiet

# 9/10  Cloud Scheduler job of notifier
# update_job with this; where there is none, create_job:
#   name: projects/ops-prod/locations/europe-west1/jobs/firebase-schedule-notifier-europe-west1
#   schedule: '* * * * *'
#   timeZone: Etc/UTC
#   attemptDeadline: 180s
#   retryConfig:
#     retryCount: 0
#     maxRetryDuration: 0s
#     minBackoffDuration: 5s
#     maxBackoffDuration: 30s
#     maxDoublings: 2
#   httpTarget:
#     uri: https://europe-west1-ops-prod.cloudfunctions.net/notifier
#     httpMethod: POST
#     oidcToken:
#       serviceAccountEmail: f0-ops@ops-prod.iam.gserviceaccount.com
#       audience: https://europe-west1-ops-prod.cloudfunctions.net/notifier

# 10/10  function statusApi in europe-west1
mkdir -p .f0ops/deploy
cat > .f0ops/deploy/statusApi-europe-west1.yaml <<'END_OF_SETTINGS'
GOOGLE_CLOUD_PROJECT: ops-prod
OPS_EMAIL: oncall@example.com
SCHEDULER_SERVICE_ACCOUNT: f0-ops@ops-prod.iam.gserviceaccount.com
SLACK_OPS_CHANNEL: '#war-room'
STATUS_PAGE_URL: https://status.example.com/status
THREADS: '80'
END_OF_SETTINGS
gcloud functions deploy statusApi --gen2 --project=ops-prod --region=europe-west1 --runtime=python311 --source=. --entry-point=statusApi --trigger-http --memory=256Mi --cpu=1 --concurrency=80 --timeout=30s --min-instances=0 --max-instances=4 --ingress-settings=all --service-account=f0-ops@ops-prod.iam.gserviceaccount.com --env-vars-file=.f0ops/deploy/statusApi-europe-west1.yaml --clear-secrets --allow-unauthenticated --quiet
