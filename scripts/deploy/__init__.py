"""Deploying with gcloud: the manifest becomes commands and Cloud Scheduler jobs. See docs/deploy.md."""
