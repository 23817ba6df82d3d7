"""Baselines: functions that do next to nothing, served the same way as ours."""

import functions_framework
from flask import Request


@functions_framework.http
def hello(request: Request) -> str:
    return "hello"


@functions_framework.http
def reads_body(request: Request) -> str:
    request.get_data()
    return "hello"
