"""Other users of the machine see neither the address of a login nor a way to complete it.

Whoever opens the address first logs in the user who waits for it, as themselves.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from docker_credential_ecr_py.sso import peer, private_link
from docker_credential_ecr_py.sso.redirect import PATH, Redirect, listening
from tests.standin.aws import Aws
from tests.support.browser import Browser
from tests.support.other_user import OTHER
from tests.support.programs import need
from tests.support.user import ECR_PY, User, eventually, visit

STATE = "state-of-this-login"
ADDRESS = "https://oidc.eu-west-1.amazonaws.com/authorize?state=abc&scopes=x%3Ay"
GRANTS = pytest.mark.parametrize("arguments", [(), ("--device",)], ids=["code", "device"])
linux_root = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0, reason="needs another user"
)


@pytest.fixture
def with_session(user: User) -> User:
    user.use_session_profiles()
    user.add_browser()
    return user


@pytest.fixture
def elsewhere() -> dict[str, str]:
    """The environment of a browser that cannot read our files."""
    return {"WSL_DISTRO_NAME": "Debian"}


def folder(user: User) -> Path:
    return Path(user.home.environment["XDG_RUNTIME_DIR"]) / "ecr-py"


def pages(user: User) -> list[Path]:
    return list(folder(user).glob("login-*"))


def file_of(link: str) -> Path:
    assert link.startswith("file:///")
    return Path(unquote(urlsplit(link).path))


def secrets_in(address: str) -> list[str]:
    """What somebody needs who wants to complete the login."""
    return re.findall(r"(?:state|user_code|code_challenge)=([^&]+)", address)


def everybody_sees() -> str:
    """The command lines of all processes."""
    shown = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            shown.append((process / "cmdline").read_bytes().decode(errors="replace"))
        except OSError:
            continue
    return "\n".join(shown)


# A file that redirects


@GRANTS
def test_the_browser_gets_a_file_that_only_we_can_read(
    with_session: User, arguments: tuple[str, ...]
) -> None:
    user = with_session
    # A browser that stays, so that its command line can be read.
    script = Path(user.home.environment["BROWSER"])
    stays = f'exec {sys.executable} -c "import time; time.sleep(300)" "$1"\n'
    script.write_text(script.read_text() + stays)
    with user.at_terminal(" ".join(["umask 0; ecr-py login", *arguments])) as terminal:
        address = user.next_address()
        [link] = user.opened
        path = file_of(link)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert path.stat().st_uid == os.geteuid()
        eventually(lambda: f"time.sleep(300)\0{link}" in everybody_sees())
        seen = everybody_sees()
        assert link in seen
        assert secrets_in(address)
        assert [secret for secret in secrets_in(address) if secret in seen] == []
        visit(link, "allow")
        assert terminal.wait() == 0
        assert pages(user) == []
    for process in processes(user, link):
        os.kill(process, signal.SIGKILL)


def processes(user: User, command: str) -> list[int]:
    """The processes of a command that run in this home."""
    ours, found = f"HOME={user.home.path}".encode(), []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if command.encode() + b"\0" in (process / "cmdline").read_bytes() and (
                ours in (process / "environ").read_bytes().split(b"\0")
            ):
                found.append(int(process.name))
        except OSError:
            continue
    return found


@GRANTS
def test_a_real_browser_follows_it(
    with_session: User, browser: Browser, arguments: tuple[str, ...]
) -> None:
    user = with_session
    with user.at_terminal(" ".join(["ecr-py login", *arguments])) as terminal:
        user.next_address()
        browser.open(user.opened[0])
        browser.wait_for("Allow")
        browser.click("#allow")
        browser.wait_for("close this page")
        assert terminal.wait() == 0
    assert pages(user) == []


@pytest.mark.parametrize("killed", [False, True])
def test_the_file_goes_when_the_login_is_given_up(with_session: User, killed: bool) -> None:
    """At once, or by the next login if we were killed."""
    user = with_session
    with user.at_terminal("ecr-py login") as terminal:
        user.next_address()
        path = file_of(user.opened[0])
        assert path.exists()
        if killed:
            for process in processes(user, str(ECR_PY)):
                os.kill(process, signal.SIGKILL)
        else:
            terminal.type("\x03")
        assert terminal.wait() != 0
        assert path.exists() == killed
    with user.at_terminal("ecr-py login") as terminal:
        visit(user.next_address(after=1), "allow")
        assert not path.exists()
        assert terminal.wait() == 0
    assert pages(user) == []


def test_a_login_under_way_keeps_its_file(with_session: User) -> None:
    """Another one begins meanwhile, in another cache, and sweeps."""
    user = with_session
    with (
        user.at_terminal("ecr-py login") as one,
        user.at_terminal("ecr-py login", XDG_CACHE_HOME=str(user.home.path / "b")) as two,
    ):
        eventually(lambda: len(user.opened) == 2)
        assert len(pages(user)) == 2
        for link in user.opened:
            visit(link, "allow")
        assert (one.wait(), two.wait()) == (0, 0)
    assert pages(user) == []


def test_a_timeout_leaves_no_file(with_session: User) -> None:
    user = with_session
    user.home.write(user.home.settings, "[defaults]\nlogin_timeout = 10\n")
    assert user.ecr_py("login").code == 1
    assert len(user.opened) == 1
    assert pages(user) == []


def test_without_a_runtime_folder_it_lies_in_the_cache(with_session: User) -> None:
    user = with_session
    del user.home.environment["XDG_RUNTIME_DIR"]
    with user.at_terminal(f"{ECR_PY} login", HOME=str(user.home.path)) as terminal:
        visit(user.next_address(), "allow")
        assert terminal.wait() == 0
    path = file_of(user.opened[0])
    assert path.parent in (user.home.cache, Path(f"/run/user/{os.geteuid()}/ecr-py"))
    assert not path.exists()


# A page on loopback


@GRANTS
def test_a_browser_that_cannot_read_our_files_gets_a_page(
    with_session: User, elsewhere: dict[str, str], arguments: tuple[str, ...]
) -> None:
    user = with_session
    script = " ".join(["ecr-py login", *arguments])
    with user.at_terminal(script, **elsewhere) as terminal:
        address = user.next_address()
        [link] = user.opened
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/login/[\w-]{32}", link)
        assert pages(user) == []
        visit(address, "allow")
        assert terminal.wait() == 0
    assert secrets_in(address)
    with pytest.raises(OSError, match="refused"):
        visit(link)


@pytest.mark.parametrize("name", private_link._ELSEWHERE)
def test_where_a_browser_may_not_read_our_files(name: str) -> None:
    assert private_link._browser_reads_our_files({"DISPLAY": ":0"}) != any(
        map(os.path.isdir, private_link._SNAPS)
    )
    assert not private_link._browser_reads_our_files({"DISPLAY": ":0", name: "x"})


def test_a_browser_that_may_be_a_snap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(private_link, "_SNAPS", (str(tmp_path),))
    with private_link.private_link(ADDRESS, {"DISPLAY": ":0"}) as link:
        assert link.startswith("http://127.0.0.1:")


def test_where_no_file_can_be_written_it_is_a_page(tmp_path: Path) -> None:
    """A runtime folder that is open to others, and no home."""
    runtime = tmp_path / "runtime"
    (runtime / "ecr-py").mkdir(parents=True, mode=0o755)
    environ = {"XDG_RUNTIME_DIR": str(runtime), "HOME": "/nonexistent", "DISPLAY": ":0"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", "/nonexistent")
        patch.delenv("XDG_CACHE_HOME", raising=False)
        with private_link.private_link(ADDRESS, environ) as link:
            assert link.startswith("http://127.0.0.1:")
            assert visit_page(link) == ADDRESS
    assert list((runtime / "ecr-py").iterdir()) == []


def visit_page(link: str) -> str:
    """Where a page leads."""
    done = subprocess.run(
        [need("curl"), "-s", "--noproxy", "*", link], capture_output=True, text=True, check=True
    )
    found = re.search(r'href="([^"]+)"', done.stdout)
    assert found
    return found[1].replace("&amp;", "&")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be in the home of another user")
def test_root_leaves_no_folder_in_the_home_of_another_user(tmp_path: Path) -> None:
    runtime = tmp_path / "runtime"
    runtime.mkdir(mode=0o700)
    os.chown(runtime, OTHER, OTHER)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(runtime))
        patch.delenv("XDG_CACHE_HOME", raising=False)
        environ = {"XDG_RUNTIME_DIR": str(runtime), "HOME": str(runtime), "DISPLAY": ":0"}
        with private_link.private_link(ADDRESS, environ) as link:
            assert link.startswith("http://127.0.0.1:")
    assert list(runtime.iterdir()) == []


def test_where_the_system_tells_no_users_it_is_the_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(peer, "_TABLES", ("/nonexistent/tcp",))
    with private_link.private_link(ADDRESS, {"WSL_DISTRO_NAME": "Debian"}) as link:
        assert link == ADDRESS


def test_a_failure_of_the_login_is_not_taken_for_one_of_the_link() -> None:
    for environ in ({"WSL_DISTRO_NAME": "Debian"}, {"DISPLAY": ":0"}):
        with pytest.raises(OSError, match="mine"), private_link.private_link(ADDRESS, environ):
            raise OSError("mine")


# Another user


ATTACKS = {
    "IPv4": """
wire = socket.create_connection(("127.0.0.1", port))
wire.sendall(request)
print(wire.recv(65536).decode())
""",
    "IPv6": """
wire = socket.socket(socket.AF_INET6)
wire.connect(("::ffff:127.0.0.1", port))
wire.sendall(request)
print(wire.recv(65536).decode())
""",
    "closed at once": """
wire = socket.create_connection(("127.0.0.1", port))
wire.sendall(request)
wire.close()
""",
    "reset at once": """
wire = socket.create_connection(("127.0.0.1", port))
wire.sendall(request)
wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
wire.close()
""",
    "half closed": """
wire = socket.create_connection(("127.0.0.1", port))
wire.sendall(request)
wire.shutdown(socket.SHUT_WR)
print(wire.recv(65536).decode())
""",
}
RUN = """
import socket, struct, sys
port, request = int(sys.argv[1]), sys.argv[2].encode() + b"\\r\\n\\r\\n"
for _ in range(20):
"""


def as_nobody(attack: str, port: int, path: str) -> str:
    """What somebody else gets who asks for a path twenty times in a row."""
    code = RUN + "\n".join(f"    {line}" for line in ATTACKS[attack].strip().splitlines())
    return by_nobody(sys.executable, "-c", code, str(port), f"GET {path} HTTP/1.0")


def by_nobody(*command: str) -> str:
    python = "/usr/bin/python3"  # ours may be in a folder that is closed to others
    run = [python if one == sys.executable else one for one in command]
    done = subprocess.run(
        [
            need("setpriv"),
            f"--reuid={OTHER}",
            f"--regid={OTHER}",
            "--clear-groups",
            *run,
        ],
        capture_output=True,
        text=True,
        cwd="/",
        env={"PATH": "/usr/bin:/bin"},
        timeout=60,
    )
    assert done.returncode == 0, done
    return done.stdout


@linux_root
@pytest.mark.parametrize("attack", ATTACKS)
def test_the_redirect_of_another_users_browser_is_not_taken(attack: str) -> None:
    """They know the state, have logged in as themselves, and bring their code."""
    with listening(STATE) as redirect:
        got = as_nobody(attack, redirect.port, f"{PATH}?state={STATE}&code=theirs")
        assert "You are logged in" not in got
        if "at once" not in attack:
            assert got.count("HTTP/1.0 403") == 20
            assert "another user" in got
        assert not redirect.arrived.wait(0.3)
        assert redirect.code == ""
        # And the login goes on.
        takes(redirect)


def takes(redirect: Redirect) -> None:
    """It takes the redirect of our own browser."""
    with ThreadPoolExecutor(1) as pool:
        page = pool.submit(visit, f"{redirect.uri}?state={STATE}&code=ours")
        assert redirect.arrived.wait(20)
        redirect.finish()
        status, text = page.result()
    assert (status, redirect.code) == (200, "ours")
    assert "You are logged in" in text


@linux_root
@pytest.mark.parametrize("attack", ATTACKS)
def test_the_page_on_loopback_is_not_for_another_user(
    attack: str, elsewhere: dict[str, str]
) -> None:
    with private_link.private_link(ADDRESS, elsewhere) as link:
        parts = urlsplit(link)
        assert parts.port
        got = as_nobody(attack, parts.port, parts.path)
        assert "amazonaws" not in got
        assert "state=" not in got
        assert visit_page(link) == ADDRESS


@linux_root
def test_another_user_cannot_read_the_file(with_session: User) -> None:
    user = with_session
    with user.at_terminal("ecr-py login") as terminal:
        user.next_address()
        path = file_of(user.opened[0])
        for parent in path.parents:
            if parent.stat().st_mode & 0o001 == 0 and parent != path.parent:
                parent.chmod(parent.stat().st_mode | 0o001)  # the folder itself must do
            if parent == user.home.path.parent:
                break
        with pytest.raises(AssertionError, match="Permission denied"):
            by_nobody("cat", str(path))
        terminal.type("\x03")
        assert terminal.wait() != 0


@linux_root
def test_a_whole_login_under_attack(with_session: User, aws: Aws) -> None:
    """Somebody who has learnt the address anyway logs in first, as themselves."""
    user = with_session
    with user.at_terminal("ecr-py login") as terminal:
        address = user.next_address()
        # The attacker's browser: allowed at the portal, it follows the redirect to us.
        got = by_nobody(
            *("curl", "-s", "-L", "--noproxy", "*", "-d", "decision=allow", "--post302", address)
        )
        redirect = by_nobody(
            *("curl", "-s", "-o", "/dev/null", "-w", "%{redirect_url}", "--noproxy", "*"),
            *("-d", "decision=allow", address),
        )
        got += by_nobody("curl", "-s", "--noproxy", "*", redirect)
        assert "You are logged in" not in got
        assert "another user" in got
        assert user.token_files() == []
        visit(address, "allow")
        assert terminal.wait() == 0
    assert "another user's browser" in user.home.log.read_text()
    assert len(user.token_files()) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="the tables are Linux's")
def test_whose_connection_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as ours:
            theirs, _ = server.accept()
            assert peer.user_of_peer(theirs) == os.geteuid()
            assert peer.is_same_user(theirs)
            ours.close()
            with pytest.raises(peer.PeerGone):
                peer.user_of_peer(theirs)
            assert not peer.is_same_user(theirs)
            theirs.close()
        with socket.socket(socket.AF_INET6) as six:
            six.connect(("::ffff:127.0.0.1", port))
            theirs, _ = server.accept()
            assert peer.user_of_peer(theirs) == os.geteuid()
            monkeypatch.setattr(peer, "_TABLES", ("/proc/net/tcp",))
            # As one that comes from another machine: there is no such socket here.
            assert peer.user_of_peer(theirs) is None
            assert peer.is_same_user(theirs)
            theirs.close()


def test_who_runs_us_by_sudo_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(peer, "user_of_peer", lambda connection: 1234)
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        assert not peer.is_same_user(server, {})
        assert peer.is_same_user(server, {"SUDO_UID": "1234"})
        assert not peer.is_same_user(server, {"SUDO_UID": "1234x"})
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        assert not peer.is_same_user(server, {"SUDO_UID": "1234"})
