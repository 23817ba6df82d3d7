"""The channels that this release can send on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from shared.notify.sender import Sender
from shared.notify.slack import SlackSender

if TYPE_CHECKING:
    from shared.bootstrap import App


def senders(app: App) -> Mapping[str, Sender]:
    """Sender by channel."""
    return {"slack": SlackSender(app.outbound, app.settings.slack_webhook_url, app.settings.public_url)}


def configured(app: App) -> dict[str, bool]:
    """Of every channel that can be sent on, whether it has an address: for `withhold_reason`."""
    return {channel: sender.configured for channel, sender in senders(app).items()}
