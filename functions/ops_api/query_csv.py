"""A metric query's answer as CSV (RFC 4180): time, one column a label, value, low, high, count, estimated."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from flask import Response

from shared.api.spreadsheet import harmless
from shared.domain.metric_query import MetricQuery
from shared.domain.query_cells import OTHER, Group
from shared.domain.query_range import iso
from shared.metrics.query import Answer


def response(asked: MetricQuery, found: Answer) -> Response:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow(["time", *asked.group_by, "value", "low", "high", "count", "estimated"])
    for group in sorted(found.points):
        cells = _cells(group, asked.group_by)
        for (start, _), p in zip(asked.range.steps(), found.points[group], strict=True):
            row = [iso(start), *cells, p.value, p.low, p.high, p.count, "true" if p.estimated else "false"]
            writer.writerow(row)  # None is an empty cell
    return Response(file.getvalue(), content_type="text/csv; charset=utf-8; header=present")


def _cells(group: Group, group_by: Sequence[str]) -> list[str]:
    if group_by and group == OTHER:
        return ["(other)"] * len(group_by)
    return [harmless(value) for value in group]
