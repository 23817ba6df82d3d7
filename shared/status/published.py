"""Renews the public view after a change, so that the page is right within a second.

Requests that change something at the same moment share one publication: whoever comes while one is under way waits for
the next one, which begins after all of their commits.
"""

from __future__ import annotations

import threading
from datetime import datetime
from typing import TYPE_CHECKING

from shared import log
from shared.components import load_components
from shared.status.publish import publish_status
from shared.store.protocol import StoreError

if TYPE_CHECKING:
    from shared.bootstrap import App


class Publisher:
    """One in a process."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._turn = threading.Lock()  # held while one is under way
        self._lock = threading.Lock()
        self._asked = 0
        self._tried = 0  # the request up to which all had their turn, and how the last turn ended
        self._succeeded = False

    def __call__(self, now: datetime) -> bool:
        """Whether the view has everything that was committed before. If not, the next run that publishes mends it."""
        with self._lock:
            self._asked += 1
            mine = self._asked
        with self._turn:
            if self._tried >= mine:
                return self._succeeded
            with self._lock:
                covers = self._asked
            self._succeeded = self._publish(now)
            self._tried = covers
            return self._succeeded

    def _publish(self, now: datetime) -> bool:
        try:
            components = load_components(self._app.settings.config_dir)
            publish_status(self._app.store, components, self._app.flags, now, changed=True)
        except StoreError as error:
            log.warning("the change stands, and the public view follows later", kind=type(error).__name__)
            return False
        return True


def published(app: App, now: datetime) -> bool:
    """See `Publisher`."""
    return app.part(Publisher)(now)
