"""Keyrings that people may have in the place of a real one, as the `keyring` library finds them.

Each is the text of a module, put on `keyring-path` by a keyringrc.cfg in the person's home.
"""

from __future__ import annotations

from tests.support.home import Home

_HEAD = """\
import json, os, sys, time
from pathlib import Path
from keyring.backend import KeyringBackend
from keyring.compat import properties
from keyring.errors import KeyringLocked, PasswordSetError

class Keyring(KeyringBackend):
    priority = 1
    kept = Path(os.environ["HOME"], "kept")
    def get_password(self, service, name):
        return self.kept.read_text() if self.kept.exists() else None
    def set_password(self, service, name, secret):
        self.kept.write_text(secret)
"""
HANGS = "    def get_password(self, service, name):\n        time.sleep(3600)\n"
HANGS_AS_IT_KEEPS = "    def set_password(self, service, name, secret):\n        time.sleep(3600)\n"
HANGS_AS_IT_LOADS = "time.sleep(3600)\n"
REFUSES = (
    "    def set_password(self, service, name, secret):\n"
    "        raise PasswordSetError('not\\nfor you')\n"
)
FORGETS = "    def set_password(self, service, name, secret):\n        pass\n"
BREAKS = (
    "    def get_password(self, service, name):\n"
    "        raise RuntimeError('a library of theirs\\nfell over')\n"
)
# A user who is asked to unlock it, and says no.
ASKS = """\
    def get_password(self, service, name):
        with open(self.kept, "a") as file:
            file.write("asked\\n")
        raise KeyringLocked("Failed to unlock the collection!")
"""
EXITS = "    def get_password(self, service, name):\n        sys.exit('no')\n"
NO_TEXT = "    def get_password(self, service, name):\n        return 17\n"
CANNOT_BE_MADE = "    def __init__(self):\n        raise RuntimeError('not here')\n"
CANNOT_BE_LOADED = "raise RuntimeError('not in this Python')\n"
DOES_NOT_FIT = (
    "    @properties.classproperty\n"
    "    def priority(cls):\n"
    "        raise RuntimeError('not on this machine')\n"
)

# Keeps each text under its name, as real ones do. The process dies at the operation whose number
# is in the file "dies-at", before it is done or after.
NAMED = """\
    counter = [0]
    def _counted(self, work):
        self.counter[0] += 1
        file = Path(os.environ["HOME"], "dies-at")
        number, when = file.read_text().split() if file.exists() else ("0", "")
        if when == "before" and self.counter[0] == int(number):
            os._exit(9)
        done = work()
        if when == "after" and self.counter[0] == int(number):
            os._exit(9)
        return done
    def _all(self):
        return json.loads(self.kept.read_text()) if self.kept.exists() else {}
    def _keep(self, texts):
        beside = self.kept.with_name(f"kept.{os.getpid()}")
        beside.write_text(json.dumps(texts))
        beside.replace(self.kept)
    def get_password(self, service, name):
        return self._counted(lambda: self._all().get(name))
    def set_password(self, service, name, secret):
        self._counted(lambda: self._keep(self._all() | {name: secret}))
    def delete_password(self, service, name):
        texts = self._all()
        texts.pop(name)
        self._counted(lambda: self._keep(texts))
"""

# As Secret Service, if another process deletes an entry while this one reads it; goes after NAMED.
LOSES_AN_ENTRY = """\
    lost = []
    password_by_name = get_password
    def get_password(self, service, name):
        if name not in self.lost:
            self.lost.append(name)
            raise type("ItemNotFoundException", (Exception,), {})("no item at this path")
        return self.password_by_name(service, name)
"""

# As keyrings.alt has it: a file that anybody reads who has the disk.
PLAINTEXT = """\
import os
from pathlib import Path
from keyring.backend import KeyringBackend

class PlaintextKeyring(KeyringBackend):
    priority = 0.5
    kept = Path(os.environ["HOME"], "in-clear")
    def get_password(self, service, name):
        return self.kept.read_text() if self.kept.exists() else None
    def set_password(self, service, name, secret):
        self.kept.write_text(secret)

class OtherPlaintextKeyring(PlaintextKeyring):
    priority = 0.6
"""

# What `keyring` itself takes where it finds more than one.
CHAIN = "keyring.backends.chainer.ChainerBackend"


def use_backend(home: Home, more: str) -> None:
    """A keyring of its own module, with `more` at its end."""
    _configure(home, "theirs.Keyring")
    home.write(home.path / "backends" / "theirs.py", _HEAD + more)


def use_named(home: Home, name: str) -> None:
    """A keyring by its name, wherever that may be."""
    _configure(home, name)


def install_plaintext(home: Home, *, chained: bool) -> None:
    """keyrings.alt beside us: its first keyring alone, or all that are found, one after another."""
    folder = home.path / "backends"
    home.write(folder / "keyrings" / "alt" / "__init__.py", "")
    home.write(folder / "keyrings" / "alt" / "file.py", PLAINTEXT)
    info = folder / "keyrings.alt-5.0.2.dist-info"
    home.write(info / "METADATA", "Metadata-Version: 2.1\nName: keyrings.alt\nVersion: 5.0.2\n")
    home.write(info / "entry_points.txt", "[keyring.backends]\nfile = keyrings.alt.file\n")
    _configure(home, CHAIN if chained else "keyrings.alt.file.PlaintextKeyring")


def name_none(home: Home) -> None:
    """A keyringrc.cfg that `keyring` finds wanting, and goes on."""
    _configure(home, "")


def _configure(home: Home, name: str) -> None:
    chosen = f"default-keyring = {name}\n" if name else ""
    home.write(
        home.path / ".config" / "python_keyring" / "keyringrc.cfg",
        f"[backend]\n{chosen}keyring-path = {home.path / 'backends'}\n",
    )
