"""The environment of the tests: a PATH and a home of their own, and no variable of the machine's.

A desktop has programs that ecr-py looks for, such as docker-credential-secretservice, xdg-open or
notify-send; and a shell has AWS_PROFILE, NO_COLOR or HTTPS_PROXY. conftest.py calls `settle` before
it imports anything else, in each process of pytest-xdist.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
import tempfile

_MACHINE_PATH, _MACHINE_HOME = "TESTS_MACHINE_PATH", "TESTS_MACHINE_HOME"
# The folder that the first process has made for all.
_FOLDER = "TESTS_FOLDER"
# By these, whoever runs the tests tells them something: tests/kubernetes.
_FOR_TESTS = ("CI", "KUBEBUILDER_ASSETS", "ECR_PY_KILLS")
_KEPT = ("USER", "LOGNAME", "TMPDIR", "TZ", *_FOR_TESTS, _MACHINE_PATH, _MACHINE_HOME, _FOLDER)
# WINE*: without them wine finds no library of its own any more.
_KEPT_FAMILIES = ("PYTEST_", "HYPOTHESIS_", "COVERAGE_", "WINE")
# Without these, programs for Windows do not even start.
KEPT_ON_WINDOWS = ("COMSPEC", "PATHEXT", "SYSTEMDRIVE", "SYSTEMROOT", "TEMP", "TMP", "WINDIR")
# What scripts of the tests, of README and of the programs under test run by name. Not there, on
# purpose: browsers and what opens them, helpers of other registries, keyrings, the AWS CLI.
_PROGRAMS = """
    [ awk basename bash cat chmod chown clear cmp col cp curl cut date dd df diff dirname docker
    docker-registry du echo egrep env expr false fgrep find findmnt fish fold getent getopt grep
    groff gzip head hostname id jq kill kubectl less ln locale ls lsb_release man mkdir mkfifo
    mktemp mount mv newgidmap newuidmap nohup nroff nsenter od pager paste preconv printenv
    printf ps pwd readlink realpath rm rmdir sed seq setpriv setsid sh sleep sort stat strip
    ssh stty systemctl systemd-analyze tail tar tbl tee test timeout touch tput tr troff true tty
    umount uname uniq unshare wc which whoami xargs yes zsh
"""


def settle() -> None:
    """Change this process's environment. It is the same for each process of pytest-xdist."""
    os.environ.setdefault(_MACHINE_PATH, machine_path())
    os.environ.setdefault(_MACHINE_HOME, machine_home())
    kept = _KEPT + (KEPT_ON_WINDOWS if sys.platform == "win32" else ())
    for name in list(os.environ):
        if name not in kept and not name.startswith(_KEPT_FAMILIES):
            del os.environ[name]
    os.umask(0o022)
    folder = os.environ.setdefault(_FOLDER, "") or _new_folder()
    os.environ[_FOLDER] = folder
    os.environ["PATH"] = os.path.join(folder, "bin")
    os.environ["HOME"] = os.path.join(folder, "home")
    os.environ["LC_ALL"] = "C.UTF-8"
    if sys.platform == "win32":
        os.environ["PATH"] = os.path.join(os.environ["SYSTEMROOT"], "System32")
        os.environ["USERPROFILE"] = os.environ["HOME"]


def machine_path() -> str:
    """The PATH of whoever runs the tests, in which real programs are looked for."""
    return os.environ.get(_MACHINE_PATH) or os.environ.get("PATH", os.defpath)


def machine_home() -> str:
    """The home of whoever runs the tests."""
    return os.environ.get(_MACHINE_HOME) or os.path.expanduser("~")


def _new_folder() -> str:
    """Make a folder with an empty home and links to programs; it goes when this process ends."""
    folder = tempfile.mkdtemp(prefix="tests-")
    creator = os.getpid()

    def remove() -> None:
        if os.getpid() == creator:  # and not a process that was forked from it
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    os.chmod(folder, 0o755)  # tests run programs as other users, too
    for name in ("bin", "home"):
        os.mkdir(os.path.join(folder, name))
    for name in () if sys.platform == "win32" else _PROGRAMS.split():
        if found := shutil.which(name, path=machine_path()):
            os.symlink(found, os.path.join(folder, "bin", name))
    return folder
