"""What the service's restrictions keep out, and what must work under them all the same."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import pytest

from tests.acceptance.readme import PROJECT
from tests.standin.aws import Aws
from tests.support.daemon import TOKEN
from tests.support.home import DEV, START_URL, access_key_id, registry
from tests.support.machine import Machine, give_away
from tests.support.programs import need
from tests.support.secret_service import PASSWORD
from tests.support.user import BROWSER, eventually, visit
from tests.support.user_manager import RUNTIME

pytestmark = pytest.mark.timeout(600)
PATIENCE = 180
BUS = f"unix:path={RUNTIME}/bus"
# What systemd-analyze says of the unit. It also counts what only root can have.
EXPOSURE = 6.9

# A credential_process that shows what it runs under, and what it may do.
TRIES = """\
import ctypes, mmap, os, socket, sys
libc = ctypes.CDLL(None, use_errno=True)

def may(what):
    try:
        return what() in (None, 0) or "yes"
    except OSError as error:
        return error.strerror

def call(function, *arguments):
    if getattr(libc, function)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

def jit():
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()

def suid():
    open(os.path.expanduser("~/suid"), "w").close()
    os.chmod(os.path.expanduser("~/suid"), 0o4755)

tries = {
    "user namespace": lambda: call("unshare", 0x10000000),
    "mount": lambda: call("mount", b"none", b"/mnt", b"tmpfs", 0, None),
    "ptrace": lambda: call("ptrace", 16, -1, 0, 0),
    "personality": lambda: call("personality", 0x0040000),
    "packets": lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close(),
    "set-user-ID": suid,
    "JIT": jit,
    "internet": lambda: socket.socket(socket.AF_INET).close(),
    "IPv6": lambda: socket.socket(socket.AF_INET6).close(),
    "netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close(),
    "child": lambda: os.waitpid(os.spawnlp(os.P_NOWAIT, "true", "true"), 0)[1],
    "temporary files": lambda: os.close(os.open("/tmp", os.O_TMPFILE | os.O_RDWR)),
}
"""
PROCESS = (
    TRIES
    + """
import json
seen = {"status": open("/proc/self/status").read(), "cgroup": open("/proc/self/cgroup").read()}
seen["may"] = {name: may(what) for name, what in tries.items()}
file = os.path.expanduser("~/tried")
json.dump(seen, open(file + ".new", "w"))
os.rename(file + ".new", file)
print(open(os.path.expanduser("~/keys")).read())
"""
)
# What people write them in. A compiler at run time writes code to memory and runs it.
PROCESSES = {
    "node": "console.log(require('fs').readFileSync(process.env.HOME + '/keys', 'utf8'))",
    "bash": "openssl rand 8 >/dev/null && cat <(cat ~/keys)",
    "sh": "exec curl -s file://$HOME/keys",
}
# Writes down how it runs, and is then the browser of other tests.
XDG_OPEN = (
    '#!/bin/sh\ngrep -E "NoNewPrivs|Seccomp:" /proc/self/status >"$HOME/browser.status"\n'
    'cat /proc/self/cgroup >"$HOME/browser.cgroup"\n' + BROWSER.partition("\n")[2]
)
STAYS = "sleep 600\n"
CLICKS = "#!/bin/sh\necho login\n"
# Has the place of the desktop's notifications: writes down the one it gets, and clicks its button.
DESKTOP = """\
import json, sys
from jeepney import DBusAddress, HeaderFields, MessageType, new_method_return, new_signal
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import open_dbus_connection
bus = open_dbus_connection(sys.argv[1])
bus.send_and_get_reply(message_bus.RequestName("org.freedesktop.Notifications"))
print("here", flush=True)
place = DBusAddress("/org/freedesktop/Notifications", interface="org.freedesktop.Notifications")
answers = {
    "GetCapabilities": ("as", (["actions", "body"],)),
    "GetServerInformation": ("ssss", ("desktop", "test", "1", "1.2")),
    "Notify": ("u", (1,)),
    "CloseNotification": (),
}
while True:
    try:
        asked = bus.receive()
    except ConnectionResetError:
        sys.exit()
    member = asked.header.fields.get(HeaderFields.member)
    if asked.header.message_type is MessageType.method_call and member in answers:
        bus.send(new_method_return(asked, *answers[member]))
        if member == "Notify":
            print(json.dumps(asked.body[3:6]), flush=True)
            bus.send(new_signal(place, "ActionInvoked", "us", (1, asked.body[5][0])))
            bus.send(new_signal(place, "NotificationClosed", "uu", (1, 1)))
"""


def uses_credential_process(machine: Machine, aws: Aws, program: str, script: str) -> None:
    """Make `dev` a profile of a credential_process; the keys that it has to print are in ~/keys."""
    key = access_key_id(DEV)
    secret = aws.add_key(key, f"arn:aws:iam::{DEV}:user/dev")
    keys = json.dumps({"Version": 1, "AccessKeyId": key, "SecretAccessKey": secret})
    machine.write(machine.home.path / "keys", keys)
    tool = machine.home.path / "bin" / "our-keys"
    machine.write(tool, f"#!{program}\n{script}\n", 0o755)
    config = f"[profile dev]\naws_account_id = {DEV}\ncredential_process = {tool}\n"
    machine.write(machine.home.aws_config, config)
    machine.write(machine.home.settings, f'[registries."{registry(DEV)}"]\nprofile = "dev"\n')


def tried(machine: Machine) -> dict[str, Any]:
    """What PROCESS wrote down."""
    return dict(json.loads((machine.home.path / "tried").read_text()))


def installs(machine: Machine) -> None:
    done = machine.ecr_py("daemon", "install")
    assert done.code == 0, done


def restrictions(status: str) -> dict[str, str]:
    """What /proc/PID/status says of them."""
    return dict(re.findall(r"^(NoNewPrivs|Seccomp):\s+(\d)", status, re.MULTILINE))


def in_service(status: str) -> bool:
    """Whether /proc/PID/status is that of a process under the service's restrictions."""
    found = restrictions(status)
    assert set(found) == {"NoNewPrivs", "Seccomp"}
    return found == {"NoNewPrivs": "1", "Seccomp": "2"}


def test_a_credential_process_runs_under_them(machine: Machine, aws: Aws) -> None:
    """It is a worker's child, and brings a token."""
    uses_credential_process(machine, aws, sys.executable, PROCESS)
    installs(machine)
    eventually(lambda: aws.count(TOKEN) == 1, seconds=PATIENCE)
    found = tried(machine)
    assert in_service(found["status"])
    assert "/ecr-py.service\n" in found["cgroup"]
    refused = {name: said for name, said in found["may"].items() if said is not True}
    assert refused == {
        "user namespace": "Operation not permitted",
        "mount": "Operation not permitted",
        "ptrace": "Operation not permitted",
        "personality": "Operation not permitted",
        "packets": "Address family not supported by protocol",
        "set-user-ID": "Operation not permitted",
    }


def test_without_the_service_it_may_do_what_it_likes(machine: Machine, aws: Aws) -> None:
    """Or else the test above would not see what refuses."""
    uses_credential_process(machine, aws, sys.executable, PROCESS)
    assert machine.get(registry(DEV)).code == 0
    found = tried(machine)
    assert not in_service(found["status"])
    assert {found["may"][name] for name in ("personality", "set-user-ID")} == {True}
    assert found["may"]["ptrace"] == "No such process"


def test_the_reference_says_how_to_lift_them(machine: Machine, aws: Aws) -> None:
    """By a drop-in, as `systemctl edit` makes it."""
    (text,) = re.findall(
        r"```ini\n(\[Service\]\n.*?)```", (PROJECT / "docs" / "commands.md").read_text(), re.DOTALL
    )
    uses_credential_process(machine, aws, sys.executable, PROCESS)
    folder = machine.home.path / ".config" / "systemd" / "user" / "ecr-py.service.d"
    machine.write(folder / "override.conf", text)
    installs(machine)
    eventually(lambda: aws.count(TOKEN) == 1, seconds=PATIENCE)
    found = tried(machine)
    assert re.findall(r"^(?:NoNewPrivs|Seccomp):\s+(\d)", found["status"], re.MULTILINE) == [
        "0",
        "0",
    ]
    assert found["may"]["set-user-ID"] is True


@pytest.mark.parametrize("program", PROCESSES)
def test_programs_that_people_use_run_under_them(machine: Machine, aws: Aws, program: str) -> None:
    uses_credential_process(machine, aws, need(program), PROCESSES[program])
    installs(machine)
    eventually(lambda: aws.count(TOKEN) == 1, seconds=PATIENCE)


def session_ends_soon(machine: Machine, aws: Aws) -> None:
    """In ten minutes, for a registry that was used; the portal says so too."""
    machine.get(registry(DEV))
    aws.write_sso_token(machine.home.path, START_URL, lifetime=600)
    give_away(machine.home.path)
    aws.end_session()


def test_a_notification_is_shown_under_them(machine: Machine, aws: Aws) -> None:
    """By the real notify-send, over the real bus of the user."""
    need("notify-send")
    desktop = machine.manager.start(sys.executable, "-c", DESKTOP, BUS)
    assert desktop.stdout
    assert desktop.stdout.readline() == b"here\n"
    machine.write(machine.home.path / "bin" / "xdg-open", XDG_OPEN, 0o755)
    begins_session(machine)
    session_ends_soon(machine, aws)
    installs(machine)
    title, text, actions = json.loads(desktop.stdout.readline())
    assert title.startswith("Your AWS session ends in")
    assert "ecr-py login dev" in text
    assert actions == ["login", "Log in"]
    # The click came back through notify-send, and the login began.
    eventually(lambda: addresses(machine), seconds=PATIENCE)


def begins_session(machine: Machine) -> None:
    """Tell the manager what a desktop tells it."""
    # Or else Python asks it for the browser of this machine.
    machine.write(machine.home.path / "bin" / "xdg-settings", "#!/bin/sh\nexit 1\n", 0o755)
    path = machine.home.environment["PATH"]
    machine.manager.systemctl("set-environment", "DISPLAY=:7", f"PATH={path}")


def test_the_keyring_is_reached_under_them(machine: Machine, aws: Aws) -> None:
    """By a worker, over the user's bus: what it opens is then in the daemon's memory."""
    bus = {"DBUS_SESSION_BUS_ADDRESS": BUS}
    machine.home.environment |= bus
    command = [need("gnome-keyring-daemon"), "--foreground", "--unlock", "--components=secrets"]
    keyring = machine.manager.start(*command, environment=bus)
    assert keyring.stdin
    keyring.stdin.write(PASSWORD)
    keyring.stdin.close()
    machine.write(machine.home.settings, '[defaults]\nstore = "keyring"\n')
    asked = ["busctl", "--user", "status", "org.freedesktop.secrets"]
    eventually(lambda: machine.manager.run(*asked, environment=bus).returncode == 0)
    first = machine.get(registry(DEV))
    assert first.code == 0, first
    installs(machine)
    eventually(lambda: is_idle(machine), seconds=PATIENCE)
    assert machine.manager.run("pkill", "-KILL", "-x", "gnome-keyring-d").returncode == 0
    calls = aws.count()
    assert machine.get(registry(DEV)).stdout == first.stdout
    assert aws.count() == calls


def is_idle(machine: Machine) -> bool:
    found = json.loads(machine.ecr_py("daemon", "status", "--json").stdout)
    assert (found["store"], found["failures"]) == ("keyring", [])
    return not found["busy"]


def addresses(machine: Machine) -> list[str]:
    file = machine.home.path / "addresses"
    return file.read_text().splitlines() if file.exists() else []


def clicked(machine: Machine, aws: Aws, browser: str) -> str:
    """Have a user click on the notification; returns the address that their browser gets."""
    machine.write(machine.home.path / "bin" / "notify-send", CLICKS, 0o755)
    machine.write(machine.home.path / "bin" / "xdg-open", browser, 0o755)
    begins_session(machine)
    session_ends_soon(machine, aws)
    installs(machine)
    return eventually(lambda: addresses(machine), seconds=PATIENCE)[0]


def test_the_browser_does_not_run_under_them(machine: Machine, aws: Aws) -> None:
    """Its own sandbox needs what they refuse."""
    address = clicked(machine, aws, XDG_OPEN)
    assert not in_service((machine.home.path / "browser.status").read_text())
    assert "ecr-py" not in (machine.home.path / "browser.cgroup").read_text()
    visit(address, "allow")
    calls = aws.count(TOKEN)
    eventually(
        lambda: "login from the notification: {'result': None}" in machine.home.log.read_text(),
        seconds=PATIENCE,
    )
    assert aws.count(TOKEN) >= calls


def test_the_browser_goes_on_when_the_daemon_ends(machine: Machine, aws: Aws) -> None:
    clicked(machine, aws, XDG_OPEN + STAYS)
    assert machine.ecr_py("daemon", "stop").code == 0
    assert [line for line in machine.manager.processes() if line.endswith(STAYS.strip())]


def test_the_address_is_not_in_what_systemd_shows(machine: Machine, aws: Aws) -> None:
    """Nor in the journal, which holds the descriptions of units."""
    address = clicked(machine, aws, XDG_OPEN + STAYS)
    shown = machine.manager.systemctl("list-units", "--all", "--full", "--no-legend", "run-*")
    assert "Opens a page to log in" in shown
    assert address not in shown


def test_the_daemon_runs_under_them(machine: Machine) -> None:
    installs(machine)
    pid = machine.manager.shows("ecr-py.service", "MainPID")
    assert in_service(machine.manager.run("cat", f"/proc/{pid}/status").stdout)


def test_systemd_thinks_better_of_the_unit_than_it_did(machine: Machine) -> None:
    """It was 9.6 with NoNewPrivileges alone."""
    installs(machine)
    done = machine.manager.run(
        "systemd-analyze", "security", "--user", "--no-pager", "ecr-py.service"
    )
    (exposure,) = re.findall(r"Overall exposure level for ecr-py.service: ([\d.]+)", done.stdout)
    assert float(exposure) <= EXPOSURE, done.stdout
