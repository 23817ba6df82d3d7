"""What delivery needs of a channel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from shared.domain.first_message import Shown
from shared.domain.notification import Outcome


class Sender(Protocol):
    """One file a channel. `configured` says whether there is an address to send to.

    `groups`: may one message tell several notifications? Where it is False, `send` is given one at a time.
    """

    @property
    def configured(self) -> bool: ...

    @property
    def groups(self) -> bool: ...

    def send(self, notifications: Sequence[Mapping[str, Any]]) -> Outcome:
        """One attempt to send ONE message that tells all of these notification documents, one at least.

        The first leads: the message bears its notificationId. Over within `HTTP_TIMEOUT`. Raises nothing.
        """
        ...


class Reviser(Protocol):
    """Of a channel whose messages can be changed once they have arrived."""

    def revise(self, reference: str, shown: Shown) -> Outcome:
        """One attempt to make the first message of a thread say this, once or twice alike. Over within
        `HTTP_TIMEOUT`, notifies nobody, raises nothing.
        """
        ...
