"""Debian's Chromium without a screen, driven by WebDriver: what a page shows, and what it asks for.

https://www.w3.org/TR/webdriver2/, and chromedriver's own `goog/cdp` and `se/log`.
"""

from __future__ import annotations

import base64
import json
import socket
import subprocess
import time
from pathlib import Path
from typing import Any, Self
from urllib.error import HTTPError
from urllib.request import ProxyHandler, Request, build_opener

from tests.support.programs import need

_ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
    "--hide-scrollbars",
)
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key that the standard names
_OPENER = build_opener(ProxyHandler({}))


class WebDriverError(Exception):
    """What the browser could not do."""


class Browser:
    """A browser with a profile of its own in `folder`, as the context lasts."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> Self:
        chromium, driver = need("chromium"), need("chromedriver")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self._driver = subprocess.Popen(
            [driver, f"--port={port}"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._url = f"http://127.0.0.1:{port}"
        self._wait_until_ready()
        options = {"binary": chromium, "args": [*_ARGUMENTS, f"--user-data-dir={self._folder}"]}
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
        }
        started = self._ask("POST", "/session", capabilities={"alwaysMatch": wanted})
        self._url += f"/session/{started['sessionId']}"
        return self

    def __exit__(self, *exception: object) -> None:
        try:
            self._ask("DELETE", "")
        finally:
            self._driver.terminate()
            self._driver.wait(10)

    def open(self, address: str) -> None:
        self._ask("POST", "/url", url=address)

    @property
    def address(self) -> str:
        return str(self._ask("GET", "/url"))

    @property
    def text(self) -> str:
        """What a user can read."""
        return str(self.run("return document.body.innerText"))

    def wait_for(self, text: str, *, seconds: float = 20) -> None:
        """Until a page shows this."""
        deadline = time.monotonic() + seconds
        while text not in self.text:
            assert time.monotonic() < deadline, f"no {text!r} in {self.text!r}"
            time.sleep(0.02)

    def click(self, css: str) -> None:
        """Presses a button. What it leads to may be long in coming: see `wait_for`."""
        found = self._ask("POST", "/element", using="css selector", value=css)
        self._ask("POST", f"/element/{found[_ELEMENT]}/click")

    def run(self, script: str) -> Any:
        return self._ask("POST", "/execute/sync", script=script, args=[])

    def screenshot(self, file: Path) -> None:
        file.write_bytes(base64.b64decode(self._ask("GET", "/screenshot")))

    def looks(self, *, width: int, height: int, dark: bool) -> None:
        """The window's size in CSS pixels, a phone's if it is narrow, and the colours."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._devtools("Emulation.setDeviceMetricsOverride", **metrics)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._devtools("Emulation.setEmulatedMedia", features=[scheme])

    def complaints(self) -> list[str]:
        """What stands in the console since it was last asked."""
        return [entry["message"] for entry in self._ask("POST", "/se/log", type="browser")]

    def requests(self) -> list[str]:
        """What pages asked for since this was last called, but for the browser's own."""
        entries = self._ask("POST", "/se/log", type="performance")
        events = [json.loads(entry["message"])["message"] for entry in entries]
        asked = [
            str(event["params"]["request"]["url"])
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]
        return [url for url in asked if not url.startswith(("chrome:", "data:"))]

    def _devtools(self, command: str, **parameters: Any) -> Any:
        return self._ask("POST", "/goog/cdp/execute", cmd=command, params=parameters)

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + 20
        while True:
            try:
                if self._ask("GET", "/status")["ready"]:
                    return
            except OSError:
                assert time.monotonic() < deadline, "chromedriver does not start"
            time.sleep(0.02)

    def _ask(self, method: str, path: str, **given: Any) -> Any:
        body = json.dumps(given).encode() if method == "POST" else None
        request = Request(self._url + path, body, method=method)
        try:
            with _OPENER.open(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except HTTPError as error:
            said = json.load(error)["value"]
            raise WebDriverError(f"{said['error']}: {said['message']}") from None
