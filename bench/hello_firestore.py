"""Baseline of a cold start: imports the Firestore client, and does nothing with it."""

import functions_framework
import google.cloud.firestore
from flask import Request

_ = google.cloud.firestore


@functions_framework.http
def hello(request: Request) -> str:
    return "hello"
