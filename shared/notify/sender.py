"""What delivery needs of a channel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from shared.domain.notification import Outcome


class Sender(Protocol):
    """One file a channel. `configured` says whether there is an address to send to."""

    @property
    def configured(self) -> bool: ...

    def send(self, notification: Mapping[str, Any]) -> Outcome:
        """One attempt to send a notification's document, over within `HTTP_TIMEOUT`. Raises nothing."""
        ...
