"""The probe that we ship of the status page itself: what the report calls its uptime. No component's state knows it."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit

from shared.domain.probe import HttpProbe

SETTING = "STATUS_PAGE_URL"
NOT_A_COMPONENT = "status-page"  # where a component's id would stand, and no such id
PROBE = "status_page"  # by which the report knows the samples


def of_status_page(values: Mapping[str, str]) -> HttpProbe | None:
    """Asks its health answer, the way visitors come. None unless the page's address is set."""
    if SETTING not in values:
        return None
    place = urlsplit(values[SETTING])
    url = f"{place.scheme}://{place.netloc}/api/status/healthz"
    return HttpProbe.model_validate({"id": PROBE, "kind": "http", "url": url, "slowMs": 3000})
