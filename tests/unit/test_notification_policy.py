"""`config/notifications.json`: what is shipped needs no attention, and a fault is told with its path."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from scripts import configuration
from shared.delivery.policy import PolicyLoader, load_policy
from shared.domain.faults import ConfigError
from shared.domain.notification_policy import NotificationPolicy
from tests.core import CONFIG, make_app


def test_what_is_shipped_is_what_an_empty_or_missing_file_means(tmp_path: Path) -> None:
    assert load_policy(CONFIG) == NotificationPolicy()
    assert load_policy(tmp_path) == NotificationPolicy()
    (tmp_path / "notifications.json").write_text("{}")
    assert load_policy(tmp_path) == NotificationPolicy()


def test_a_policy_that_cannot_be_used_keeps_no_alert_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(CONFIG, tmp_path, dirs_exist_ok=True)
    (tmp_path / "notifications.json").write_text('{"grouping": 7}')
    app = make_app(None, config_dir=tmp_path)  # type: ignore[arg-type]  # it is not asked
    assert app.part(PolicyLoader).policy == NotificationPolicy()
    assert "notifications.json is not usable" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("data", "faults"),
    [
        (
            {"grouping": {"interval": "soon"}, "repeat": {"critical": "1m", "mild": "4h"}},
            [
                "grouping.interval: a wait is a number with s, m, h or d, such as '30s' or '4h'",
                "repeat.mild.[key]: must be 'critical', 'high' or 'warning'",
            ],
        ),
        ({"repeat": {"critical": "1m"}}, ["repeat: critical: at least 5m, or people stop reading"]),
        ({"repeat": {"critical": "8d"}}, ["repeat.critical: a wait lasts 7 days at most"]),
        (
            {"escalation": {"critical": [{"after": "10s", "channels": ["slack"]}]}},
            ["escalation.critical[0].after: give people a minute at least"],
        ),
        (
            {"inhibit": [{"name": "r", "source": ["severity=~\"(\""], "target": ["component"]}]},
            [
                "inhibit[0].source[0]: the pattern ends in the middle",
                'inhibit[0].target[0]: a matcher is a text such as severity="critical" or component=~"API|Auth"',
            ],
        ),
        ({"mutes": [{"schedule": "nights"}]}, ["(the whole): mutes[0].schedule: there is no schedule 'nights'"]),
        ({"grouped": {}}, ["grouped: there is no such field"]),
    ],
)  # fmt: skip
def test_every_fault_is_told_with_its_path(data: dict[str, Any], faults: list[str], tmp_path: Path) -> None:
    (tmp_path / "notifications.json").write_text(json.dumps(data))
    with pytest.raises(ConfigError) as caught:
        load_policy(tmp_path)
    assert caught.value.faults == faults
    assert [f"notifications.json: {fault}" for fault in faults] == [
        fault for fault in configuration.faults(tmp_path) if fault.startswith("notifications.json")
    ]
