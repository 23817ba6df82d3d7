"""The channels that this release can send on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, cast

from shared.notify.inapp import InAppSender
from shared.notify.links import Links
from shared.notify.mail import MailSender, MailServer
from shared.notify.pagerduty import PagerDutySender
from shared.notify.sender import Reviser, Sender
from shared.notify.slack import SlackSender
from shared.notify.slack_bot import SlackBotSender
from shared.notify.threads import Threads
from shared.notify.webhook import WebhookSender

if TYPE_CHECKING:
    from shared.bootstrap import App
    from shared.notify.mail import Connections
    from shared.settings import Settings


# The settings without which there is nowhere to send to.
NEEDS = {
    "slack": "SLACK_WEBHOOK_URL, or SLACK_BOT_TOKEN and SLACK_OPS_CHANNEL",
    "email": "SMTP_HOST and EMAIL_FROM",
    "pagerduty": "PAGERDUTY_ROUTING_KEY",
    "inapp": "nothing",
    "webhook": "WEBHOOK_URL and WEBHOOK_SECRET",
}


def senders(app: App) -> Mapping[str, Sender]:
    """Sender by channel."""
    outbound, settings = app.outbound, app.settings
    links = Links(settings.public_url, settings.console_url)
    return {
        "slack": _slack(app, links),
        "email": MailSender(
            cast("Connections", outbound), _mail_server(settings), settings.email_from, settings.ops_email, links
        ),
        "pagerduty": PagerDutySender(outbound, settings.pagerduty_url, settings.pagerduty_key, links),
        "inapp": InAppSender(app.store, links, app.clock),
        "webhook": WebhookSender(outbound, settings.webhook_url, settings.webhook_secret, links, app.clock),
    }


def revisers(of: Mapping[str, Sender]) -> dict[str, Reviser]:
    """Of these, by channel, those that can bring up to date what they sent."""
    return {channel: sender for channel, sender in of.items() if isinstance(sender, SlackBotSender)}


def configured(app: App) -> dict[str, bool]:
    """Of every channel that can be sent on, whether it has an address: for `withhold_reason`."""
    return {channel: sender.configured for channel, sender in senders(app).items()}


def _slack(app: App, links: Links) -> Sender:
    """The bot, which can follow a thread, where there is one; else the webhook."""
    settings = app.settings
    if settings.slack_bot_token is None:
        return SlackSender(app.outbound, settings.slack_webhook_url, links)
    return SlackBotSender(
        app.outbound,
        settings.slack_api_url,
        settings.slack_bot_token,
        settings.slack_channel,
        links,
        Threads(app.store),
    )


def _mail_server(settings: Settings) -> MailServer | None:
    if settings.smtp_host is None:
        return None
    return MailServer(
        settings.smtp_host, settings.smtp_port, settings.smtp_security, settings.smtp_user, settings.smtp_password
    )
