"""Loads `config/notifications.json`, what is told together, told again, passed on, and held back."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from shared import log
from shared.bootstrap import App
from shared.domain.faults import WHOLE, ConfigError, faults_of, unreadable
from shared.domain.notification_policy import NotificationPolicy

FILE = "notifications.json"


def load_policy(config_dir: Path) -> NotificationPolicy:
    """Raises `ConfigError` with every fault. Without the file, the policy that needs no attention."""
    try:
        text = (config_dir / FILE).read_text(encoding="utf-8")
    except FileNotFoundError:
        return NotificationPolicy()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(FILE, [f"{WHOLE}: {unreadable(error)}"]) from None
    try:
        return NotificationPolicy.model_validate_json(text)
    except ValidationError as error:
        raise ConfigError(FILE, faults_of(error)) from None


class PolicyLoader:
    """The policy of this instance, read once. One that cannot be used keeps no alert back: the shipped one holds."""

    def __init__(self, app: App) -> None:
        try:
            self.policy = load_policy(app.settings.config_dir)
        except ConfigError as error:
            log.error("notifications.json is not usable: what is shipped holds", faults=error.faults)
            self.policy = NotificationPolicy()
