"""Shows a notification on the user's desktop, by the desktop's own command, if there is one.

That is `notify-send` (libnotify) on Linux, and `osascript` on macOS. A library would load D-Bus
into a process that has to stay small.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress

from docker_credential_ecr_py.printable import printable
from docker_credential_ecr_py.programs import drop_relative_folders, find_program

# What notify-send prints when the button is clicked.
CLICKED = b"login"
_SHOWN_MS = "60000"
# libnotify has buttons since 0.8; with an older one, show the notification without.
_IF_NEED_BE_WITHOUT = 'send=$1 button=$2; shift 2; "$send" "$button" "$@" || exec "$send" "$@"'


def notify(environ: Mapping[str, str], title: str, text: str, button: str = "") -> int | None:
    """Show a notification, and do not wait. `button` is the text of a button, or "" for none.

    Returns a pipe that gets CLICKED if the button is clicked, and ends with the notification; None
    if there is no button, or no desktop.
    """
    title, text = printable(title), printable(text)
    if sys.platform == "darwin":
        script = "on run a\ndisplay notification (item 2 of a) with title (item 1 of a)\nend run"
        _start(["/usr/bin/osascript", "-e", script, title, text], environ, subprocess.DEVNULL)
        return None
    program = find_program("notify-send", environ.get("PATH"))
    if program is None or sys.platform == "win32":
        return None
    shown = [f"--expire-time={_SHOWN_MS}", "--app-name=ecr-py", "--icon=dialog-password"]
    shown += [title, text]
    if not button:
        _start([program, *shown], environ, subprocess.DEVNULL)
        return None
    ours, theirs = os.pipe()
    command = ["/bin/sh", "-c", _IF_NEED_BE_WITHOUT, "sh", program]
    _start([*command, f"--action={CLICKED.decode()}={button}", *shown], environ, theirs)
    os.close(theirs)
    os.set_blocking(ours, False)
    return ours


def _start(command: list[str], environ: Mapping[str, str], output: int) -> None:
    seen = dict(environ)
    drop_relative_folders(seen)
    with suppress(OSError):
        subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.DEVNULL,
            env=seen,
            cwd="/",
            start_new_session=True,
        )
