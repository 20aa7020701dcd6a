"""The page that a login ends on, as Chromium shows it: on a phone and a desk, light and dark."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from docker_credential_ecr_py.sso.redirect import listening
from tests.support.browser import Browser
from tests.support.user import User

STATE = "state-of-this-login"
REFUSED = "The login was refused"
OUTCOMES = pytest.mark.parametrize("failure", ["", REFUSED], ids=["success", "failure"])
LOOKS = pytest.mark.parametrize(
    ("width", "height", "dark"),
    [(375, 667, False), (375, 667, True), (1280, 800, False), (1280, 800, True)],
    ids=["phone-light", "phone-dark", "desk-light", "desk-dark"],
)
# Every element that has text of its own: its colours, size and place.
TEXTS = """
return [...document.querySelectorAll('body, body *')]
  .filter(e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()))
  .map(e => {
    let behind = e, paper = 'rgba(0, 0, 0, 0)';
    while (behind && paper === 'rgba(0, 0, 0, 0)') {
      paper = getComputedStyle(behind).backgroundColor; behind = behind.parentElement;
    }
    const style = getComputedStyle(e), box = e.getBoundingClientRect();
    return {text: e.innerText, ink: style.color, paper, size: parseFloat(style.fontSize),
      left: box.left, right: box.right, top: box.top, bottom: box.bottom};
  })
"""


@contextmanager
def shown(browser: Browser, failure: str) -> Iterator[None]:
    """The page of an outcome, in the browser."""
    with listening(STATE) as redirect, ThreadPoolExecutor(1) as pool:
        query = "error=access_denied" if failure else "code=x"
        opened = pool.submit(browser.open, f"{redirect.uri}?state={STATE}&{query}")
        assert redirect.arrived.wait(20)
        redirect.finish(failure)
        opened.result()
        yield


def channels(colour: str) -> list[float]:
    """`rgb(22, 25, 31)`, and what it is on the way to a luminance (WCAG 2.2)."""
    values = [int(part) / 255 for part in colour[colour.index("(") + 1 : -1].split(",")[:3]]
    return [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]


def contrast(one: str, other: str) -> float:
    light = [
        0.2126 * red + 0.7152 * green + 0.0722 * blue
        for red, green, blue in (channels(one), channels(other))
    ]
    return (max(light) + 0.05) / (min(light) + 0.05)


@OUTCOMES
@LOOKS
def test_it_can_be_read(
    browser: Browser, tmp_path: Path, failure: str, width: int, height: int, dark: bool
) -> None:
    browser.looks(width=width, height=height, dark=dark)
    with shown(browser, failure):
        texts: list[dict[str, Any]] = browser.run(TEXTS)
        overflow = browser.run(
            "const d = document.documentElement;"
            "return [d.scrollWidth - d.clientWidth, d.scrollHeight - d.clientHeight]"
        )
        browser.screenshot(tmp_path / "page.png")
        title = browser.run("return document.title")
    said = " ".join(text["text"] for text in texts)
    if failure:
        assert REFUSED in said
        assert "Not logged in" in said
        assert "close this page" not in said
    else:
        assert "You are logged in" in said
        assert "close this page" in said
    assert ("Not logged in" in title) == bool(failure)
    for text in texts:
        assert contrast(text["ink"], text["paper"]) >= 7, text
        assert text["size"] >= 16, text
        assert text["left"] >= 8, text
        assert text["right"] <= width - 8, text
        assert 0 <= text["top"] < text["bottom"] <= height, text
    paper = sum(channels(texts[0]["paper"]))
    assert paper < 0.2 if dark else paper > 2.5
    assert overflow == [0, 0]
    assert (tmp_path / "page.png").stat().st_size > 1000


@OUTCOMES
def test_it_asks_nobody_for_anything(browser: Browser, failure: str) -> None:
    """No image, font, script or icon, and nothing that its own policy has to refuse."""
    browser.open("about:blank")
    browser.requests()
    browser.complaints()
    with shown(browser, failure):
        assert len(browser.text) > 20
        asked = browser.requests()
        assert browser.complaints() == []
        assert browser.run("return performance.getEntriesByType('resource').length") == 0
    assert [url.partition("?")[0].rpartition("/")[2] for url in asked] == ["callback"]


def test_its_policy_allows_nothing_but_its_style() -> None:
    with listening(STATE) as redirect, ThreadPoolExecutor(1) as pool:
        page = pool.submit(urlopen, f"{redirect.uri}?state={STATE}&code=x")
        assert redirect.arrived.wait(5)
        redirect.finish()
        headers = page.result().headers
    directives = [part.split() for part in headers["Content-Security-Policy"].split(";")]
    policy = {name: values for name, *values in directives}
    assert policy["default-src"] == ["'none'"]
    for name in ("base-uri", "form-action", "frame-ancestors"):
        assert policy[name] == ["'none'"]
    assert all(
        value == "'none'" or value.startswith("'sha256-")
        for value in itertools.chain(*policy.values())
    )
    assert headers["Cache-Control"] == "no-store"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Content-Type"] == "text/html; charset=utf-8"


def test_its_policy_is_in_force(browser: Browser) -> None:
    """Neither a style nor an image that gets into it would be let in."""
    with shown(browser, ""):
        browser.complaints()
        browser.run(
            "document.body.insertAdjacentHTML('beforeend',"
            ' \'<style>p { color: red }</style><img src="/x.png" alt="">\')'
        )
        colour = browser.run("return getComputedStyle(document.querySelector('p')).color")
        assert colour != "rgb(255, 0, 0)"
        assert any("Content Security Policy" in said for said in browser.complaints())


def test_a_refusal_that_holds_markup_is_text(browser: Browser) -> None:
    with shown(browser, "<b id=x>&lt;</b><script>document.title = 'owned'</script>"):
        assert "<b id=x>&lt;</b><script>" in browser.text
        assert browser.run("return document.querySelector('#x')") is None
        assert "owned" not in browser.run("return document.title")


def test_the_page_stays_after_the_login_has_gone_on(user: User, browser: Browser) -> None:
    """The listener is gone by then: nothing on the page may need it."""
    user.use_session_profiles()
    user.add_browser()
    with user.at_terminal("ecr-py login") as terminal:
        browser.open(user.next_address())
        browser.click("#allow")
        assert terminal.wait() == 0
    browser.wait_for("You are logged in")
