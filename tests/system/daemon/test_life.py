"""How a daemon begins, is told things, and ends; and how the system is made to run it."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from docker_credential_ecr_py import __version__
from docker_credential_ecr_py.log import LARGEST
from tests.standin.aws import Aws
from tests.support.daemon import (
    ECR_PY,
    TOKEN,
    Daemon,
    Daemons,
    children,
    ecr_py,
    names,
    processes_of,
    short_folder,
    socket_path,
    state,
    use_store,
)
from tests.support.home import DEV, PROD, STAGE, Home, registry
from tests.support.programs import need
from tests.support.records import HALF_LIFE, files, let_pass
from tests.support.user import eventually

Start = Callable[..., Daemon]

# As systemd would, as far as a test needs it: it runs the one service, and ends it.
SYSTEMCTL = """#!/bin/sh
echo "$*" >>"$HOME/systemctl.said"
case "$*" in
*restart*) setsid ecr-py daemon run >/dev/null 2>&1 </dev/null & echo $! >"$HOME/systemctl.pid" ;;
*stop*|*disable*) kill "$(cat "$HOME/systemctl.pid")" ;;
esac
"""


# As launchd's, which takes no agent that it has already.
LAUNCHCTL = """#!/bin/sh
case "$1" in
bootout) rm "$HOME/loaded" || exit 3 ;;
bootstrap)
    [ ! -e "$HOME/loaded" ] || { echo 'Bootstrap failed: 5: Input/output error' >&2; exit 5; }
    touch "$HOME/loaded" ;;
esac
"""
AGENT = """
import os
from docker_credential_ecr_py.daemon.service import service
agent = service("/opt/ecr-py", os.environ, "darwin")
"""


OTHERS = {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}


# One daemon


def test_a_second_daemon_says_so_and_ends(home: Home, daemon: Daemon) -> None:
    second = ecr_py(home, "daemon", "run")
    assert "a daemon is already running" in second.line
    assert daemon.status()["pid"] == daemon.pid


def test_of_ten_that_start_at_once_one_runs(home: Home, daemons: Daemons) -> None:
    started = [daemons.start(answers=False) for _ in range(10)]
    eventually(lambda: sum(one.process.poll() is None for one in started) == 1)
    (left,) = [one for one in started if one.process.poll() is None]
    assert eventually(lambda: left.ask(b"status"))
    others = [one for one in started if one is not left]
    assert [one.process.returncode for one in others] == [1] * 9
    assert {one.said.read_text().count("\n") for one in others} == {1}


def test_it_runs_again_after_it_was_killed(home: Home, daemon: Daemon, start: Start) -> None:
    daemon.kill()
    assert socket_path(home).exists()
    assert start("memory").pid != daemon.pid


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o711])
def test_it_does_not_run_in_a_folder_that_others_may_enter(home: Home, mode: int) -> None:
    socket_path(home).parent.mkdir(mode=0o700)
    socket_path(home).parent.chmod(mode)
    assert str(socket_path(home).parent) in ecr_py(home, "daemon", "run").line
    assert list(socket_path(home).parent.iterdir()) == []


def test_it_does_not_follow_a_link_for_its_folder(home: Home, tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (elsewhere := tmp_path / "elsewhere").mkdir(mode=0o700)
    socket_path(home).parent.symlink_to(elsewhere)
    assert str(socket_path(home).parent) in ecr_py(home, "daemon", "run").line
    assert list(elsewhere.iterdir()) == []


def test_something_that_cannot_be_removed_in_the_place_of_its_socket(home: Home) -> None:
    socket_path(home).mkdir(parents=True)
    socket_path(home).parent.chmod(0o700)
    assert str(socket_path(home)) in ecr_py(home, "daemon", "run").line


@pytest.mark.parametrize("folder", ["/proc/nothing", "/dev/null", "/" + "long/" * 40])
def test_no_place_for_its_socket_is_said_in_one_line(home: Home, folder: str) -> None:
    assert "ecr-py: " in ecr_py(home, "daemon", "run", XDG_RUNTIME_DIR=folder).line


def test_a_file_in_the_place_of_its_socket_goes(home: Home, start: Start) -> None:
    socket_path(home).parent.mkdir(mode=0o700)
    socket_path(home).write_text("in the way")
    assert start("memory").status()["store"] == "memory"


# Its end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_and_leaves_nothing(
    home: Home, daemon: Daemon, number: signal.Signals
) -> None:
    daemon.process.send_signal(number)
    assert daemon.process.wait(10) == 0
    assert not socket_path(home).exists()
    assert daemon.said.read_text() == ""
    assert processes_of(home) == []


def test_it_ends_at_once_however_busy_it_is(home: Home, aws: Aws, start: Start) -> None:
    hosts = [registry(account) for account in (DEV, STAGE)]
    aws.fault("GetRoleCredentials", "hang")
    daemon = start("memory", "".join(f'[registries."{host}"]\nprofile = "dev"\n' for host in hosts))
    eventually(lambda: aws.count("GetRoleCredentials") == 1)
    workers = daemon.workers()
    assert workers
    with ExitStack() as stack:
        for number in range(100):
            wire = stack.enter_context(socket.socket(socket.AF_UNIX))
            wire.settimeout(10)
            wire.connect(str(socket_path(home)))
            wire.sendall(b"ecr-py/1 read " + b"x" * number)
        began = time.monotonic()
        daemon.process.terminate()
        assert daemon.process.wait(10) == 0
        # A second where nobody else uses the machine.
        assert time.monotonic() - began < 5
        assert wire.recv(10) == b""
    eventually(lambda: all(state(worker) in "XZ" for worker in workers))
    eventually(lambda: processes_of(home) == [])


# Fails at what no test has thought of: a worker has ended, and its end cannot be dealt with.
STUMBLES = """
from docker_credential_ecr_py.daemon import __main__, scheduler

def ended(*_):
    raise ZeroDivisionError

scheduler.Scheduler._ended = ended
__main__.main()
"""


def test_one_that_nobody_reaches_any_more_ends(home: Home, daemon: Daemon) -> None:
    """Where somebody logs out, the runtime folder goes."""
    shutil.rmtree(socket_path(home).parent)
    daemon.process.send_signal(signal.SIGHUP)  # it looks now, not within the minute
    assert daemon.process.wait(20) == 1
    assert f"{socket_path(home)} was removed or replaced" in home.log.read_text()
    assert processes_of(home) == []


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_one_whose_place_was_taken_leaves_it_to_the_other(
    home: Home, daemons: Daemons, number: signal.Signals
) -> None:
    first = daemons.start()
    shutil.rmtree(socket_path(home).parent)
    second = daemons.start()
    first.process.send_signal(number)
    first.process.wait(20)
    assert second.status()["pid"] == second.pid


def test_an_error_that_nobody_has_thought_of_does_not_end_it(
    home: Home, aws: Aws, daemons: Daemons
) -> None:
    use_store(home, "memory", f'[registries."{registry(DEV)}"]\nprofile = "dev"\n')
    daemon = daemons.start(command=[sys.executable, "-c", STUMBLES])
    eventually(lambda: home.log.exists() and "ZeroDivisionError" in home.log.read_text())
    assert daemon.answers
    assert home.get(registry(DEV)).password in aws.issued


# What it is told


def test_changed_settings_are_noticed_on_sighup(home: Home, daemon: Daemon) -> None:
    home.get(registry(DEV))
    assert names(daemon, "credentials/")
    for store in ("file", "none", "keyring", "memory"):
        use_store(home, store)
        daemon.process.send_signal(signal.SIGHUP)
        eventually(lambda store=store: daemon.status()["store"] == store)  # type: ignore[misc]
        assert names(daemon, "credentials/") == []


def test_from_memory_to_files(home: Home, aws: Aws, daemon: Daemon) -> None:
    home.get(registry(DEV))
    use_store(home, "file")
    daemon.looks()
    second = home.get(registry(DEV))
    calls = aws.count()
    assert len(files(home, "credentials")) == 1
    assert names(daemon, "credentials/") == []
    assert home.get(registry(DEV)) == second
    assert aws.count() == calls


def test_from_files_to_memory(home: Home, aws: Aws, start: Start) -> None:
    daemon = start("file")
    first = home.get(registry(DEV))
    use_store(home, "memory")
    assert home.get(registry(DEV)) == first
    assert files(home, "credentials") == files(home, "selections") == []
    assert home.get(registry(DEV)) == first
    daemon.looks()
    assert home.get(registry(DEV)) == first
    assert aws.count(TOKEN) == 1


def test_settings_that_are_broken_leave_it_as_it_is(home: Home, daemon: Daemon) -> None:
    home.write(home.settings, "store = [")
    daemon.process.send_signal(signal.SIGHUP)
    eventually(lambda: home.log.exists() and "config.toml" in home.log.read_text())
    assert daemon.status()["store"] == "memory"
    use_store(home, "file")
    daemon.looks()
    assert daemon.status()["store"] == "file"


def test_settings_that_are_broken_when_it_starts(home: Home, daemons: Daemons) -> None:
    home.write(home.settings, "store = [")
    daemon = daemons.start()
    use_store(home, "memory")
    daemon.looks()
    assert daemon.status()["store"] == "memory"


def test_a_broken_config_of_docker_does_not_hide_the_settings(
    home: Home, aws: Aws, daemon: Daemon
) -> None:
    home.get(registry(DEV))
    home.write(home.path / ".docker" / "config.json", "{")
    use_store(home, "file", f'[registries."{registry(STAGE)}"]\nprofile = "stage"\n')
    daemon.looks()
    assert daemon.status()["store"] == "file"
    assert names(daemon, "credentials/") == []
    eventually(lambda: len(files(home, "credentials")) == 1)
    (home.path / ".docker" / "config.json").write_text("{}")
    daemon.looks()
    assert names(daemon, "credentials/") == []


def test_a_registry_that_settings_name_is_fetched_before_anybody_asks(
    home: Home, aws: Aws, daemon: Daemon
) -> None:
    use_store(home, "memory", f'[registries."{registry(DEV)}"]\nprofile = "dev"\n')
    daemon.looks()
    assert aws.count(TOKEN) == 1
    assert aws.issued[home.get(registry(DEV)).password].account == DEV
    assert aws.count(TOKEN) == 1


# systemd


def activated(home: Home, daemons: Daemons) -> Daemon:
    program = need("systemd-socket-activate")
    variables = [part for name in home.environment for part in ("-E", name)]
    socket_path(home).parent.mkdir(mode=0o700)
    command: list[str | Path] = [program, "-l", str(socket_path(home)), *variables]
    daemon = daemons.start(command=[*command, ECR_PY, "daemon", "run"], answers=False)
    eventually(lambda: socket_path(home).exists() and "Listening" in daemon.said.read_text())
    return daemon


def test_it_takes_the_socket_that_systemd_opened(home: Home, aws: Aws, daemons: Daemons) -> None:
    use_store(home, "memory")
    daemon = activated(home, daemons)
    inode = socket_path(home).stat().st_ino
    command = Path(f"/proc/{daemon.pid}/cmdline")
    assert b"docker_credential_ecr_py.daemon" not in command.read_bytes()
    assert aws.issued[home.get(registry(DEV)).password].account == DEV
    assert eventually(lambda: daemon.ask(b"status"))
    assert b"docker_credential_ecr_py.daemon" in command.read_bytes()
    home.get(registry(DEV))
    first = home.get(registry(DEV))
    assert home.get(registry(DEV)) == first
    daemon.process.terminate()
    assert daemon.process.wait(10) == 0
    # It is systemd's, and is not to go with us.
    assert socket_path(home).stat().st_ino == inode


def test_a_socket_of_systemds_whose_file_is_gone_is_replaced(home: Home, daemons: Daemons) -> None:
    """As with a unit of an older version, which systemd does not start again with the service."""
    daemon = activated(home, daemons)
    with socket.socket(socket.AF_UNIX) as wire:
        wire.connect(str(socket_path(home)))  # it is started
        socket_path(home).unlink()
        eventually(lambda: socket_path(home).exists())
        assert daemon.status()["pid"] == daemon.pid
    daemon.process.terminate()
    assert daemon.process.wait(10) == 0
    assert not socket_path(home).exists()


def inode(path: Path) -> int | None:
    """None between the end of one file and the beginning of the next."""
    try:
        return path.lstat().st_ino
    except FileNotFoundError:
        return None


def test_something_else_in_the_place_of_systemds_socket_is_replaced(
    home: Home, daemons: Daemons
) -> None:
    daemon = activated(home, daemons)
    with socket.socket(socket.AF_UNIX) as wire, socket.socket(socket.AF_UNIX) as another:
        wire.connect(str(socket_path(home)))
        socket_path(home).unlink()
        another.bind(str(socket_path(home)))
        another.listen()
        theirs = inode(socket_path(home))
        eventually(lambda: inode(socket_path(home)) not in (None, theirs))
        assert daemon.status()["pid"] == daemon.pid


def test_no_other_daemon_runs_beside_one_of_systemd(home: Home, daemons: Daemons) -> None:
    daemon = activated(home, daemons)
    eventually(lambda: daemon.ask(b"status"))
    assert "a daemon is already running" in ecr_py(home, "daemon", "run").line
    assert ecr_py(home, "daemon", "status").code == 0


def test_sockets_that_were_opened_for_another_process_are_left_alone(
    home: Home, daemons: Daemons
) -> None:
    daemon = daemons.start({"LISTEN_PID": "1", "LISTEN_FDS": "1"})
    assert socket_path(home).exists()
    assert daemon.status()["pid"] == daemon.pid


def test_systemd_hears_that_it_lives(home: Home, daemons: Daemons) -> None:
    path = f"{home.environment['XDG_RUNTIME_DIR']}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as wire:
        wire.settimeout(60)
        wire.bind(path)
        daemons.start({"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "1000000"}, answers=False)
        assert [wire.recv(100) for _ in range(4)] == [b"READY=1", *[b"WATCHDOG=1"] * 3]


@pytest.mark.parametrize("told", [{}, {"WATCHDOG_USEC": "x"}, {"WATCHDOG_USEC": "0"}, OTHERS])
def test_a_watchdog_that_is_not_its_own_hears_nothing(
    home: Home, daemons: Daemons, told: dict[str, str]
) -> None:
    path = f"{home.environment['XDG_RUNTIME_DIR']}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as wire:
        wire.settimeout(60)
        wire.bind(path)
        daemon = daemons.start({"NOTIFY_SOCKET": path, **told})
        assert wire.recv(100) == b"READY=1"
        daemon.looks()
        daemon.process.terminate()
        assert wire.recv(100) == b"STOPPING=1"


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told_when_it_is_ready(home: Home, daemons: Daemons, abstract: bool) -> None:
    path = f"{home.environment['XDG_RUNTIME_DIR']}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as wire:
        wire.settimeout(20)
        wire.bind(f"\0{path}" if abstract else path)
        named = f"@{path}" if abstract else path
        daemon = daemons.start({"NOTIFY_SOCKET": named}, answers=False)
        assert wire.recv(100) == b"READY=1"
        assert daemon.status()["pid"] == daemon.pid
        daemon.process.terminate()
        assert wire.recv(100) == b"STOPPING=1"


def units(home: Home, **environment: str) -> dict[str, str]:
    """The units that would be installed, by name."""
    shown = ecr_py(home, "daemon", "install", "--dry-run", **environment)
    assert (shown.code, shown.stderr) == (0, "")
    text, _, _ = shown.stdout.partition("# then: ")
    parts = re.split(r"^# (/.*)\n", text, flags=re.MULTILINE)[1:]
    return {Path(path).name: unit for path, unit in zip(parts[::2], parts[1::2], strict=True)}


def test_a_dry_run_shows_all_and_writes_nothing(home: Home) -> None:
    before = set(home.path.rglob("*"))
    shown = ecr_py(home, "daemon", "install", "--dry-run")
    assert shown.code == 0
    assert f"# {home.path}/.config/systemd/user/ecr-py.socket" in shown.stdout
    assert "# then: systemctl --user" in shown.stdout
    assert set(home.path.rglob("*")) - before <= {home.log, *home.log.parents}


@pytest.mark.parametrize("proxy", ["", "http://user:p%40ss\"w'o\\rd @proxy.example.com:3128"])
def test_systemd_finds_no_fault_with_the_units(home: Home, tmp_path: Path, proxy: str) -> None:
    program = need("systemd-analyze")
    for name, text in units(home, HTTPS_PROXY=proxy).items():
        (tmp_path / name).write_text(text)
    done = subprocess.run(
        [program, "--user", "verify", "./ecr-py.socket", "./ecr-py.service"],
        cwd=tmp_path,
        env=home.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if "Failed to initialize manager" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_unit_listens_where_the_helper_asks(home: Home) -> None:
    socket_unit = units(home)["ecr-py.socket"]
    (listens,) = re.findall(r"^ListenStream=(.*)$", socket_unit, re.MULTILINE)
    assert Path(listens.replace("%t", home.environment["XDG_RUNTIME_DIR"])) == socket_path(home)
    assert "SocketMode=0600" in socket_unit
    assert "DirectoryMode=0700" in socket_unit


def test_no_key_of_the_shell_gets_into_the_unit(home: Home, aws: Aws) -> None:
    secret = aws.add_key("AKIADEV", f"arn:aws:iam::{PROD}:user/dev")
    keys = {
        "AWS_ACCESS_KEY_ID": "AKIADEV",
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_SESSION_TOKEN": secret,
    }
    text = "".join(units(home, DOCKER_CONFIG="/somewhere", **keys).values())
    assert secret not in text
    assert "AKIADEV" not in text
    assert 'Environment="DOCKER_CONFIG=/somewhere"' in text


def test_the_service_finds_the_programs_that_the_shell_finds(
    home: Home, aws: Aws, daemons: Daemons
) -> None:
    """systemd's own PATH has neither ~/.local/bin nor Homebrew's."""
    secret = aws.add_key("AKIADEV", f"arn:aws:iam::{DEV}:user/dev")
    keys = {"Version": 1, "AccessKeyId": "AKIADEV", "SecretAccessKey": secret}
    tool = home.write(home.path / "opt" / "our-keys", f"#!/bin/sh\necho '{json.dumps(keys)}'\n")
    tool.chmod(0o755)
    home.write(
        home.aws_config,
        f"[profile dev]\naws_account_id = {DEV}\ncredential_process = our-keys\n",
    )
    use_store(home, "file", f'[registries."{registry(DEV)}"]\nprofile = "dev"\n')
    unit = units(home, PATH=f"{tool.parent}:{home.environment['PATH']}")["ecr-py.service"]
    passed = dict(re.findall(r'^Environment="(\w+)=(.*)"$', unit, re.MULTILINE))
    daemon = daemons.start({"PATH": "/usr/local/bin:/usr/bin:/bin"} | passed)
    daemon.looks()
    assert daemon.failures == []
    assert aws.count(TOKEN) == 1


def test_the_service_trusts_whom_the_shell_trusts(home: Home) -> None:
    unit = units(home, REQUESTS_CA_BUNDLE="/etc/ours.pem")["ecr-py.service"]
    assert 'Environment="REQUESTS_CA_BUNDLE=/etc/ours.pem"' in unit


def test_an_agent_of_launchd_listens_where_the_helper_asks(home: Home) -> None:
    show = "print(*agent.files.values())"
    done = subprocess.run(
        [sys.executable, "-P", "-c", AGENT + show],
        env=home.environment,
        cwd="/",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    runtime = home.environment["XDG_RUNTIME_DIR"]
    assert f"<key>XDG_RUNTIME_DIR</key>\n    <string>{runtime}</string>" in done.stdout


def test_where_systemd_does_not_answer_nothing_is_written(home: Home) -> None:
    broken = home.write(home.path / "bin" / "systemctl", "#!/bin/sh\necho no bus >&2\nexit 1\n")
    broken.chmod(0o755)
    path = f"{broken.parent}:{home.environment['PATH']}"
    before = set(home.path.rglob("*"))
    done = ecr_py(home, "daemon", "install", PATH=path)
    assert "systemd" in done.line
    assert "no bus" in done.line
    assert "ecr-py daemon start" in done.line
    assert set(home.path.rglob("*")) - before <= {home.log, *home.log.parents}


def test_where_there_is_no_systemd_nothing_is_written(home: Home) -> None:
    before = set(home.path.rglob("*"))
    done = ecr_py(home, "daemon", "install", PATH=str(ECR_PY.parent))
    assert "systemctl is not installed" in done.line
    assert set(home.path.rglob("*")) - before <= {home.log, *home.log.parents}


@pytest.fixture
def systemd(home: Home) -> Path:
    """A stand-in for systemctl; what it was asked is in the file."""
    script = home.write(home.path / "bin" / "systemctl", SYSTEMCTL)
    script.chmod(0o755)
    home.environment["PATH"] = f"{script.parent}:{home.environment['PATH']}"
    return home.path / "systemctl.said"


def test_install_writes_starts_and_uninstall_takes_it_back(
    home: Home, daemons: Daemons, systemd: Path
) -> None:
    folder = home.path / ".config" / "systemd" / "user"
    wanted = units(home)
    done = ecr_py(home, "daemon", "install")
    assert done.code == 0, done
    assert {file.name: file.read_text().rstrip() for file in folder.iterdir()} == {
        name: text.rstrip() for name, text in wanted.items()
    }
    assert {file.stat().st_mode & 0o777 for file in folder.iterdir()} == {0o600}
    assert "restart ecr-py.socket ecr-py.service" in systemd.read_text()
    assert ecr_py(home, "daemon", "status").code == 0
    assert ecr_py(home, "daemon", "stop").stdout == "Stopped\n"
    assert "stop ecr-py.socket ecr-py.service" in systemd.read_text()
    assert ecr_py(home, "daemon", "start").code == 0
    assert ecr_py(home, "daemon", "install").code == 0
    assert ecr_py(home, "daemon", "uninstall").code == 0
    assert not folder.exists()
    assert "disable --now ecr-py.socket ecr-py.service" in systemd.read_text()
    assert ecr_py(home, "daemon", "uninstall").stdout == "It was not installed\n"


def test_uninstall_removes_all_where_systemd_does_not_answer(
    home: Home, daemons: Daemons, systemd: Path
) -> None:
    """In a container, or over SSH: then nobody else would."""
    assert ecr_py(home, "daemon", "install").code == 0
    folder = home.path / ".config" / "systemd" / "user"
    for link in ("default.target.wants/ecr-py.service", "sockets.target.wants/ecr-py.socket"):
        (folder / link).parent.mkdir()
        (folder / link).symlink_to(folder / Path(link).name)
    home.write(home.path / "bin" / "systemctl", "#!/bin/sh\necho no bus >&2\nexit 1\n")
    done = ecr_py(home, "daemon", "uninstall")
    assert (done.code, done.stderr.count("\n")) == (0, 1)
    assert "no bus" in done.stderr
    assert not folder.parent.exists()
    assert not socket_path(home).parent.exists()
    assert processes_of(home) == []


def test_uninstall_leaves_a_link_of_somebody_elses(home: Home, systemd: Path) -> None:
    theirs = home.write(home.path / ".config" / "systemd" / "user" / "ecr-py.service", "[Unit]\n")
    link = theirs.parent / "default.target.wants" / "ecr-py.service"
    link.parent.mkdir()
    link.symlink_to(theirs)
    assert ecr_py(home, "daemon", "uninstall").stdout == "It was not installed\n"
    assert link.is_symlink()
    assert theirs.exists()


def test_stop_ends_one_by_hand_where_systemd_does_not_answer(
    home: Home, daemons: Daemons, systemd: Path
) -> None:
    assert ecr_py(home, "daemon", "install").code == 0
    home.write(home.path / "bin" / "systemctl", "#!/bin/sh\necho no bus >&2\nexit 1\n")
    assert ecr_py(home, "daemon", "stop").stdout == "Stopped\n"
    assert "no bus" in ecr_py(home, "daemon", "stop").line


def test_uninstall_leaves_the_locks_that_are_held(home: Home, daemon: Daemon) -> None:
    """With store = "memory" the helper's locks are there too."""
    home.get(registry(DEV))
    folder = socket_path(home).parent / "locks"
    (held,) = folder.iterdir()
    with held.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert ecr_py(home, "daemon", "uninstall").code == 0
        assert [file.name for file in socket_path(home).parent.rglob("*")] == ["locks", held.name]
    assert ecr_py(home, "daemon", "uninstall").code == 0
    assert not folder.parent.exists()


def test_uninstall_removes_what_was_cut_off(home: Home, daemon: Daemon) -> None:
    """The page of a login that was killed, and a file that the daemon was killed at."""
    folder = socket_path(home).parent
    home.write(folder / "login-0123.html", "")
    home.write(folder / "told.json.0123.new", "")
    assert ecr_py(home, "daemon", "uninstall").code == 0
    assert not folder.exists()


def test_uninstall_leaves_the_cache_where_the_socket_was_in_it(
    home: Home, daemons: Daemons
) -> None:
    """Where there is no runtime folder."""
    if Path(f"/run/user/{os.geteuid()}").exists():
        pytest.skip("this user has a runtime folder, which is taken before the cache")
    nowhere = {"XDG_RUNTIME_DIR": ""}
    with short_folder() as folder:
        nowhere["XDG_CACHE_HOME"] = str(folder)
        home.environment |= nowhere
        daemon = daemons.start(answers=False)
        socket_file = folder / "ecr-py" / "daemon.sock"
        eventually(socket_file.exists)
        home.get(registry(DEV))
        kept = set((folder / "ecr-py").rglob("*"))
        assert ecr_py(home, "daemon", "uninstall").stdout == "Stopped; it was not installed\n"
        assert daemon.process.wait(20) is not None
        gone = kept - set((folder / "ecr-py").rglob("*"))
        assert gone == {socket_file, socket_file.with_name("daemon.lock")}


@pytest.mark.parametrize("is_stopped", [False, True])
def test_install_ends_a_daemon_that_was_started_by_hand(
    home: Home, daemons: Daemons, systemd: Path, is_stopped: bool
) -> None:
    by_hand = daemons.start()
    if is_stopped:
        by_hand.process.send_signal(signal.SIGSTOP)
    done = ecr_py(home, "daemon", "install")
    assert done.code == 0, done
    assert by_hand.process.wait(20) is not None
    found = json.loads(ecr_py(home, "daemon", "status", "--json").stdout)
    assert found["pid"] != by_hand.pid
    assert f"pid {found['pid']}" in done.stdout


def test_a_daemon_started_by_hand_goes_on_where_install_writes_nothing(
    home: Home, daemon: Daemon, systemd: Path
) -> None:
    home.write(home.path / ".config" / "systemd" / "user" / "ecr-py.socket", "[Socket]\n")
    assert "was not written by ecr-py" in ecr_py(home, "daemon", "install").line
    assert daemon.answers


def test_an_agent_of_launchd_that_is_loaded_already_makes_way(home: Home) -> None:
    script = home.write(home.path / "bin" / "launchctl", LAUNCHCTL)
    script.chmod(0o755)
    path = f"{script.parent}:{home.environment['PATH']}"
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-P", "-c", f"{AGENT}agent.write(); agent.make_way(); agent.enable()"],
            env=home.environment | {"PATH": path},
            cwd="/",
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, b"")
    assert (home.path / "loaded").exists()


def test_a_unit_that_is_not_ours_is_left_alone(home: Home, systemd: Path) -> None:
    theirs = home.write(home.path / ".config" / "systemd" / "user" / "ecr-py.socket", "[Socket]\n")
    assert str(theirs) in ecr_py(home, "daemon", "install").line
    assert theirs.read_text() == "[Socket]\n"
    assert "not installed" in ecr_py(home, "daemon", "uninstall").stdout
    assert theirs.read_text() == "[Socket]\n"


# The commands


def test_start_status_stop(home: Home, daemons: Daemons) -> None:
    use_store(home, "memory")
    assert "the daemon is not running" in ecr_py(home, "daemon", "status").line
    assert ecr_py(home, "daemon", "stop").stdout == "The daemon is not running\n"
    started = ecr_py(home, "daemon", "start")
    assert (started.code, started.stderr) == (0, "")
    found = json.loads(ecr_py(home, "daemon", "status", "--json").stdout)
    assert str(found["pid"]) in started.stdout
    assert (found["version"], found["store"]) == (__version__, "memory")
    again = ecr_py(home, "daemon", "start")
    assert f"already running: pid {found['pid']}" in again.stdout
    assert again.code == 0
    assert ecr_py(home, "daemon", "stop").stdout == "Stopped\n"
    eventually(lambda: state(found["pid"]) in "XZ")
    assert ecr_py(home, "daemon", "status").code == 1


def test_what_start_starts_outlives_its_terminal_and_holds_nothing(
    home: Home, daemons: Daemons
) -> None:
    reader, writer = os.pipe()
    done = subprocess.run(
        [ECR_PY, "daemon", "start"],
        env=home.environment,
        stdout=writer,
        stderr=writer,
        cwd=home.path,
        start_new_session=True,
        timeout=30,
        check=True,
    )
    os.close(writer)
    assert done.returncode == 0
    with open(reader) as shown:
        assert shown.read().startswith("The daemon is running: pid ")
    found = json.loads(ecr_py(home, "daemon", "status", "--json").stdout)
    process = Path(f"/proc/{found['pid']}")
    if os.access(process / "fd", os.R_OK):
        held = [os.readlink(process / "fd" / str(number)) for number in (0, 1, 2)]
        assert held == ["/dev/null"] * 3
        assert os.readlink(process / "cwd") == "/"
    assert os.getsid(found["pid"]) == found["pid"]


def test_status_for_programs(home: Home, aws: Aws, daemon: Daemon) -> None:
    absent = ecr_py(home, "daemon", "status", "--json", XDG_RUNTIME_DIR="/nowhere")
    assert (absent.code, json.loads(absent.stdout)) == (1, None)
    for account in (DEV, STAGE):
        home.get(registry(account))
        home.get(registry(account))
    found = json.loads(ecr_py(home, "daemon", "status", "--json").stdout)
    assert [one["registry"] for one in found["registries"]] == sorted(map(registry, (DEV, STAGE)))


def test_status_for_people(home: Home, aws: Aws, daemon: Daemon) -> None:
    password = home.get(registry(DEV)).password
    home.get(registry(DEV))
    shown = ecr_py(home, "daemon", "status")
    assert (shown.code, shown.stderr) == (0, "")
    assert re.search(rf"{re.escape(registry(DEV))} +dev +11h5\dm", shown.stdout)
    assert re.search(r"dev +7h5\dm +log in then", shown.stdout)
    assert f"pid {daemon.pid}" in shown.stdout
    assert password[:32] not in shown.stdout


def test_logs_are_those_of_daemon_and_helper(home: Home, start: Start) -> None:
    start("file")
    home.get(registry(DEV))
    shown = ecr_py(home, "daemon", "logs")
    assert "daemon started" in shown.stdout
    assert "fetched by rule" in shown.stdout
    assert ecr_py(home, "daemon", "logs", "-n", "1").stdout.count("\n") == 1


def test_the_daemon_writes_on_where_the_log_is_after_others_renamed_it(
    home: Home, daemon: Daemon
) -> None:
    for _ in range(2):
        with home.log.open("a") as log:
            log.write("x" * (LARGEST + 1) + "\n")
        home.call("get", stdin=b"no server URL")
        assert home.log.stat().st_size < LARGEST
    daemon.process.terminate()
    assert daemon.process.wait(20) == 0
    assert "daemon ended" in home.log.read_text()


def test_a_log_that_somebody_removed_is_begun_anew(home: Home, daemon: Daemon) -> None:
    home.log.unlink()
    daemon.process.terminate()
    assert daemon.process.wait(20) == 0
    assert "daemon ended" in home.log.read_text()


def test_help_tells_of_each_command(home: Home) -> None:
    shown = ecr_py(home, "daemon", "--help").stdout
    for command in ("install", "logs", "run", "start", "status", "stop", "uninstall"):
        assert re.search(rf"^  {command} +\w", shown, re.MULTILINE), command


def test_workers_do_not_outlive_a_daemon_that_ends_in_a_renewal(
    home: Home, aws: Aws, start: Start
) -> None:
    home.get(registry(DEV))
    let_pass(home, HALF_LIFE + 60)
    aws.fault("GetRoleCredentials", "hang")
    daemon = start("file")
    eventually(lambda: aws.count("GetRoleCredentials") == 2)
    (worker,) = children(daemon.pid)
    daemon.process.terminate()
    assert daemon.process.wait(10) == 0
    eventually(lambda: state(worker) in "XZ")
    assert aws.issued[home.get(registry(DEV)).password].account == DEV


def test_restart_ends_it_and_starts_another(home: Home, daemon: Daemon) -> None:
    done = ecr_py(home, "daemon", "restart")
    assert done.code == 0, done
    assert "The daemon is running: pid" in done.stdout
    assert str(daemon.pid) not in done.stdout
    assert ecr_py(home, "daemon", "stop").stdout == "Stopped\n"
    assert "is running" in ecr_py(home, "daemon", "restart").stdout  # it need not run before
    assert ecr_py(home, "daemon", "stop").code == 0
