"""Loads `config/notifications.json`, what is told together, told again, passed on, and held back."""

from __future__ import annotations

from pathlib import Path

from shared import log
from shared.bootstrap import App
from shared.config_file import load_model
from shared.domain.faults import ConfigError
from shared.domain.notification_policy import NotificationPolicy

FILE = "notifications.json"


def load_policy(config_dir: Path) -> NotificationPolicy:
    """Raises `ConfigError` with every fault. Without the file, the policy that needs no attention."""
    return load_model(config_dir / FILE, NotificationPolicy, NotificationPolicy())


class PolicyLoader:
    """The policy of this instance, read once. One that cannot be used keeps no alert back: the shipped one holds."""

    def __init__(self, app: App) -> None:
        try:
            self.policy = load_policy(app.settings.config_dir)
        except ConfigError as error:
            log.error("notifications.json is not usable: what is shipped holds", faults=error.faults)
            self.policy = NotificationPolicy()
