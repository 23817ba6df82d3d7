"""The channels that this release can send on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from shared.notify.links import Links
from shared.notify.pagerduty import PagerDutySender
from shared.notify.sender import Sender
from shared.notify.slack import SlackSender
from shared.notify.webhook import WebhookSender

if TYPE_CHECKING:
    from shared.bootstrap import App


def senders(app: App) -> Mapping[str, Sender]:
    """Sender by channel."""
    outbound, settings = app.outbound, app.settings
    links = Links(settings.public_url, settings.console_url)
    return {
        "slack": SlackSender(outbound, settings.slack_webhook_url, links),
        "pagerduty": PagerDutySender(outbound, settings.pagerduty_url, settings.pagerduty_key, links),
        "webhook": WebhookSender(outbound, settings.webhook_url, settings.webhook_secret, links, app.clock),
    }


def configured(app: App) -> dict[str, bool]:
    """Of every channel that can be sent on, whether it has an address: for `withhold_reason`."""
    return {channel: sender.configured for channel, sender in senders(app).items()}
