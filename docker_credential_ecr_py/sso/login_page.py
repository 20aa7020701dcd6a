"""The page that the browser shows after a login. It loads nothing."""

import base64
import hashlib
import html

_STYLE = """
:root { color-scheme: light dark; --ink: #16191f; --paper: #fff; --mark: #067f68; }
:root.failed { --mark: #b3261e; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e9ebed; --paper: #16191f; --mark: #2bc4a4; }
  :root.failed { --mark: #ff8a80; }
}
body { margin: 0; min-height: 100vh; display: grid; place-items: center;
  font: 1.125rem/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); }
main { max-width: 32rem; padding: 2rem; border-left: .375rem solid var(--mark); }
h1 { margin: 0 0 .5rem; font-size: 1.75rem; line-height: 1.2; }
p { margin: 0; }
"""
_STYLE_DIGEST = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()

HEADERS = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_STYLE_DIGEST}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def page(failure: str = "") -> bytes:
    """Return the page for a login that succeeded, or that did not because of `failure`."""
    if failure:
        heading, text = "Not logged in", f"{html.escape(failure)}. Your terminal has more."
    else:
        heading, text = "You are logged in", "You can close this page and go back to your terminal."
    return (
        f'<!doctype html>\n<html lang="en"{" class=failed" * bool(failure)}>\n'
        '<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{heading} · ecr-py</title>\n<style>{_STYLE}</style>\n"
        f"<main><h1>{heading}</h1><p>{text}</p></main>\n"
    ).encode()


def redirect_page(address: str) -> bytes:
    """Return a page that redirects to an address at once, and has a link in case it fails."""
    there = html.escape(address, quote=True)
    return (
        '<!doctype html>\n<html lang="en">\n<meta charset="utf-8">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f'<meta http-equiv="refresh" content="0; url={there}">\n'
        f'<title>Log in · ecr-py</title>\n<p><a href="{there}">Log in</a></p>\n'
    ).encode()
