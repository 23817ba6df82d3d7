"""Runbooks as the one on call reads them: on a phone and at a desk, in a real browser, from the real local server."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from shared.incidents.runbooks import all_runbooks
from tests.dev_server import DevServer
from tests.e2e.axe import faults_of

NAMES = [runbook.name for runbook in all_runbooks()]
WRITTEN = """# Hostile

<script>globalThis.hacked = 1</script> <img src=x onerror="globalThis.hacked = 1"> [a](javascript:globalThis.hacked=1)
[b](javascript:alert%281%29) [c](//elsewhere.example) [d](../docs/deploy.md) [e](#nowhere) [f](data:text/html,x)
<https://good.example/?a=1&b="x"> [`g`](https://good.example/g) [h](api-outage.md#mitigation) [i](#what-else)

| <b>x</b> | `a \\| b` |
|---|---|
| [j](vbscript:x) | 2 \\* 3 **bold `code`** and *so* or snake_case_name |

1. One, which
   goes on

   - below <svg onload=globalThis.hacked=1>
     - deeper
   ```html
   <script>globalThis.hacked = 1</script>
   ```
2. Two

## What else? `<i>`

## What else

```
never closed
| # **as it is**
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DevServer]:
    with DevServer(tmp_path_factory.mktemp("runbooks") / "data", "--no-schedules") as server:
        yield server


@pytest.fixture
def page(server: DevServer, browser: Any) -> Iterator[Any]:
    """A phone's page; what its console says against it fails the test."""
    context = browser.new_context(viewport={"width": 320, "height": 640}, base_url=server.url)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda said: faults.append(said.text) if said.type == "error" else None)
    yield page
    context.close()
    assert faults == []


def read(page: Any, name: str) -> Any:
    """The element with the text of the runbook."""
    page.goto(f"/on-call/runbooks/{name}")
    page.locator(".runbook").wait_for()
    return page.locator(".runbook")


def serve(page: Any, markdown: str) -> None:
    known = {"name": "hostile", "title": "Hostile", "markdown": markdown}
    page.route("**/api/runbooks/hostile", lambda route: route.fulfill(json=known))


@pytest.mark.parametrize("name", NAMES)
def test_every_runbook_is_read_without_a_sign_of_markdown_and_its_links_lead_somewhere(page: Any, name: str) -> None:
    shown = read(page, name)
    prose = shown.evaluate(
        "(all) => { const copy = all.cloneNode(true); copy.querySelectorAll('code').forEach((one) => one.remove());"
        " return copy.textContent; }"
    )
    assert re.findall(r"\||```|\*\*|`|\]\(|^#", prose, re.MULTILINE) == []
    assert page.evaluate("document.documentElement.scrollWidth") == 320
    for table in shown.get_by_role("group").all():
        assert table.evaluate("(one) => one.scrollWidth > one.clientWidth"), "as wide as it needs, in its own frame"
    links = [link.get_attribute("href") for link in shown.get_by_role("link").all()]
    assert links
    for link in links:
        path, _, part = link.partition("#")
        if path.startswith("/"):
            assert path.removeprefix("/on-call/runbooks/") in NAMES
        elif path:
            assert path.startswith("https://")
        if part and not path:
            assert shown.locator(f"[id='{part}']").count() == 1


def test_every_command_is_copied_as_it_stands_by_the_keyboard_and_that_is_said(page: Any) -> None:
    shown = read(page, "billing-outage")
    written = re.findall(
        r"```\w+\n(.*?)\n```", (next(r for r in all_runbooks() if r.name == "billing-outage")).markdown, re.S
    )
    blocks = shown.locator(".code").all()
    assert len(blocks) == len(written) > 5
    for block, command in zip(blocks, written, strict=True):
        block.get_by_role("button").press("Enter")
        block.get_by_role("status").filter(has_text="Copied").wait_for()
        assert page.evaluate("navigator.clipboard.readText()") == command


def test_where_nothing_can_be_copied_the_command_is_selected(page: Any) -> None:
    page.add_init_script("navigator.clipboard.writeText = () => Promise.reject(new Error('not allowed'))")
    block = read(page, "api-outage").locator(".code").first
    block.get_by_role("button").press("Enter")
    block.get_by_role("status").filter(has_text="Not copied").wait_for()
    assert page.evaluate("String(getSelection())") == block.locator("code").inner_text()


def test_from_a_runbook_one_comes_to_another_and_to_a_part_of_it(page: Any) -> None:
    read(page, "api-outage").get_by_role("link", name="billing-outage.md").first.click()
    page.get_by_role("heading", level=1, name="Billing outage").wait_for()
    page.locator(".runbook").get_by_role("link", name="the webhook fails").first.click()
    assert page.url.endswith("#part-the-webhook-fails")
    page.reload()
    page.locator(".runbook").wait_for()
    page.wait_for_function("scrollY > 500")


def test_hostile_markdown_stays_text(page: Any) -> None:
    serve(page, WRITTEN)
    shown = read(page, "hostile")
    assert shown.locator("script, img, svg, b, i").count() == 0
    links = {link.inner_text(): link.get_attribute("href") for link in shown.get_by_role("link").all()}
    assert links == {
        'https://good.example/?a=1&b="x"': 'https://good.example/?a=1&b="x"',
        "g": "https://good.example/g",
        "h": "/on-call/runbooks/api-outage#part-mitigation",
        "i": "#part-what-else",
    }
    said = shown.inner_text()
    for text in (
        "<script>globalThis.hacked = 1</script> <img src=x",
        "a (javascript:globalThis.hacked=1)",
        "d (../docs/deploy.md)",
        "<b>x</b>",
        "2 * 3 bold code and so or snake_case_name",
        "| # **as it is**",
    ):
        assert text in said
    assert page.evaluate("globalThis.hacked") is None


LISTS = """# Hostile

1. One
   - a
     goes on
     1. deep
   - b
2. Two

```sh
ls
```

3. Three
lazily
"""


def test_lists_lie_in_each_other_and_go_on_counting(page: Any) -> None:
    serve(page, LISTS)
    shown = read(page, "hostile")
    assert shown.locator("> ol").first.locator("> li > p").all_inner_texts() == ["One", "Two"]
    assert shown.locator("> ol > li > ul > li > p").all_inner_texts() == ["a goes on", "b"]
    assert shown.locator("> ol > li > ul > li > ol").inner_text() == "deep"
    assert shown.locator("> ol").last.get_attribute("start") == "3"
    assert shown.locator("> ol").last.inner_text() == "Three lazily"


def test_axe_finds_nothing_to_complain_about_in_any_runbook_in_light_and_dark(server: DevServer, browser: Any) -> None:
    context = browser.new_context(bypass_csp=True, viewport={"width": 320, "height": 640}, base_url=server.url)
    page = context.new_page()
    found: dict[str, list[str]] = {}
    for name in NAMES:
        read(page, name)
        found |= faults_of(page, name)
    context.close()
    assert found == {}
