"""The checks of `ecr-py doctor`: each is a function from a Scene to findings.

No check changes anything. The checks that use the network are at the end.
"""

import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from docker_credential_ecr_py import __version__, shell
from docker_credential_ecr_py.app import App
from docker_credential_ecr_py.aws.ec2 import on_ec2
from docker_credential_ecr_py.cli.humanize import counted, lasting
from docker_credential_ecr_py.cli.installation import how_to_find, installed_in, reinstall
from docker_credential_ecr_py.cli.output import counting
from docker_credential_ecr_py.cli.ownership import Misowned, chown_command, misowned
from docker_credential_ecr_py.cli.registry_state import (
    ENDED,
    Files,
    Row,
    Session,
    causes,
    daemon_line,
    failures_by_cause,
    not_asked,
    some_forwarded,
)
from docker_credential_ecr_py.cli.targets import no_registry
from docker_credential_ecr_py.config import paths
from docker_credential_ecr_py.config.aws_config import AwsConfig, accounts_of
from docker_credential_ecr_py.config.containers_config import CONTAINERS, load_containers_config
from docker_credential_ecr_py.config.docker_config import OURSELVES, load_docker_config
from docker_credential_ecr_py.config.docker_plan import stale_auths
from docker_credential_ecr_py.config.settings import KEYRING, may_be_used
from docker_credential_ecr_py.daemon.discovery import (
    NOT_RUNNING,
    RESTART,
    START,
    find_daemon,
    forwarding_status,
)
from docker_credential_ecr_py.deadline import call_parallel, call_with_deadline
from docker_credential_ecr_py.errors import (
    AwsConfigError,
    CredentialsNotFound,
    EcrPyError,
    LoginNeeded,
    MfaCodeNeeded,
    Unreachable,
    login_command,
    some,
)
from docker_credential_ecr_py.known_registries import errors_in_places
from docker_credential_ecr_py.other_registries import find_helper
from docker_credential_ecr_py.programs import NO_WINDOW, found_by_shell
from docker_credential_ecr_py.protocol import NAME as HELPER
from docker_credential_ecr_py.registry import Registry
from docker_credential_ecr_py.selection import (
    Selection,
    SsoSession,
    account_of_environment,
    identity_of,
    select,
)
from docker_credential_ecr_py.shell import quote
from docker_credential_ecr_py.store import record
from docker_credential_ecr_py.store.file_backend import FileBackend
from docker_credential_ecr_py.store.record_store import CREDENTIALS
from docker_credential_ecr_py.store.writable import advice, nearest_folder, problem_of
from docker_credential_ecr_py.tunnel import HINT, Tunnel

# Fine; not fine, though a pull works; the user must log in; a pull does not work.
OK, NOTE, LOG_IN, WRONG = "ok", "note", "log in", "wrong"

# What shows whether the user's correction helped.
CHECK = "ecr-py doctor"

# Seconds: for the version of an executable, for all endpoints; and how far off a clock may be.
_VERSION, _ENDPOINTS = 15, 8
_NOTICEABLE_SKEW, _LARGEST_SKEW = 60, 300
_OF_ANY_ACCOUNT = Registry.of_account("0" * 12, "us-east-1")
_SET_CLOCK = {
    "darwin": "run `sudo sntp -sS time.apple.com`",
    "win32": "run `w32tm /resync`",
}.get(sys.platform, "run `sudo timedatectl set-ntp true`")


@dataclass(frozen=True)
class Finding:
    """The result of a check; `hint` is what to do about it, or ""."""

    name: str
    state: str
    words: str
    hint: str = ""


@dataclass(frozen=True)
class Scene:
    """What the checks look at: the environment, the files, and each registry as they say it.

    `tunnel_is_alive` is None if there is no tunnel.
    """

    environ: Mapping[str, str]
    files: Files
    rows: tuple[Row, ...]
    tunnel: Tunnel
    tunnel_is_alive: bool | None


def failed(name: str, error: EcrPyError, state: str = WRONG, *, then: str = CHECK) -> Finding:
    """Return the finding for an error; `then` is its command if it has none itself."""
    needs_login = isinstance(error, LoginNeeded | MfaCodeNeeded)
    hint = error.hint
    if not hint.endswith("`"):
        hint = f"{hint}, then run `{then}`" if hint else f"run `{then}`"
    return Finding(name, LOG_IN if needs_login else state, error.what, hint)


# The executable and docker


def executable(scene: Scene) -> Iterator[Finding]:
    """Check which executable docker finds (Go's exec.LookPath), and that it is this version."""
    name = "executable"
    found = found_by_shell(HELPER, scene.environ.get("PATH"))
    here = installed_in()
    first = f"run `{shell.put_first_on_path(here)}`" if here else reinstall()
    if found is None:
        yield Finding(name, WRONG, f"{HELPER} is not on the PATH", how_to_find(here) or first)
        return
    if not os.path.isabs(found):
        what = f"{found} is found through a relative folder in the PATH, which docker refuses"
        yield Finding(name, WRONG, what, first)
        return
    try:
        done = subprocess.run(
            [found, "version"],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_VERSION,
            creationflags=NO_WINDOW,
            check=False,
        )
        reported = done.stdout.split()[-1] if done.stdout.split() else "nothing"
    except subprocess.TimeoutExpired:
        what = f"{found} gave no answer within {_VERSION} seconds"
        yield Finding(name, WRONG, what, reinstall())
        return
    except OSError as error:
        yield Finding(name, WRONG, f"{found} does not run: {error.strerror}", reinstall())
        return
    if reported != __version__:
        what = f"{found} has version {reported}, but ecr-py has {__version__}"
        yield Finding(name, WRONG, what, first)
        return
    yield Finding(name, OK, f"{found} {reported}")


def docker_config(scene: Scene) -> Iterator[Finding]:
    name, docker, settings = "docker config", scene.files.docker, scene.files.settings
    if error := scene.files.failures.get("docker"):
        yield failed(name, error, then=shell.edit(paths.docker_config_file(os.environ)))
        return
    for host in docker.ours:
        # The fallback answers for a host that is not ECR's.
        if not settings.is_ecr(host) and not settings.fallback:
            yield Finding(
                name,
                NOTE,
                f"uses ecr-py for {host}, which is not an ECR registry",
                f"remove its entry: run `{shell.edit(Path(docker.source))}`",
            )
    if not scene.rows:
        if docker.store == OURSELVES:
            yield Finding(name, OK, f"{docker.source} uses ecr-py for every registry")
        elif not scene.files.failures and _any_registry(scene).state == OK:
            what = f"{docker.source} does not use ecr-py"
            yield Finding(name, WRONG, what, "run `ecr-py configure --creds-store`")
        return  # else the check of the registries, or of a file, says why
    others = not_asked(scene.files, scene.rows)
    configured = [row for row in scene.rows if row.in_docker]
    for one in others:
        what = f"does not use ecr-py for {some(one.hosts)}"
        if one.helper_is_missing:
            what = f"uses {one.helper}, which is not installed, for {some(one.hosts)}"
        elif one.helper:
            what = f"uses {one.helper} for {some(one.hosts)}"
        elif not configured and len(others) == 1:
            what = f"{docker.source} does not use ecr-py"
        # A user of podman alone needs no config of docker's.
        needed = not podman_uses_us() or found_by_shell("docker", scene.environ.get("PATH"))
        state = WRONG if one.helper_is_missing or (needed and not configured) else NOTE
        yield Finding(name, state, what, f"run `{one.command}`")
    if not others:
        yield Finding(name, OK, f"{docker.source} uses ecr-py for {_registries(len(configured))}")


def podman_config(scene: Scene) -> Iterator[Finding]:
    """Check that podman, buildah and skopeo use ecr-py: they do not read docker's credsStore."""
    name, path = "podman config", scene.environ.get("PATH")
    installed = [program for program in CONTAINERS if found_by_shell(program, path)]
    try:
        containers = load_containers_config(scene.environ)
        own = load_docker_config(paths.podman_auth_file(scene.environ))
    except EcrPyError as error:
        if installed:
            yield failed(name, error, NOTE, then=shell.edit(paths.podman_auth_file(scene.environ)))
        return
    if containers.uses_us:
        yield Finding(name, OK, f"{containers.file} uses ecr-py for every registry")
        return
    by_name = {*scene.files.docker.ours, *own.ours}
    others = [row.host for row in scene.rows if row.host not in by_name]
    if installed and others:
        what = f"{some(installed)} {'does' if len(installed) == 1 else 'do'} not use ecr-py for "
        yield Finding(name, NOTE, what + some(others), "run `ecr-py configure --for podman`")


def ecr_login(scene: Scene) -> Iterator[Finding]:
    """Check for what AWS's helper, docker-credential-ecr-login, leaves when ecr-py replaces it."""
    name = "ecr-login"
    if folder := scene.environ.get("AWS_ECR_CACHE_DIR"):
        what = f"AWS_ECR_CACHE_DIR={folder} is for AWS's helper; ecr-py keeps its cache in "
        instead = shell.unset("AWS_ECR_CACHE_DIR")
        hint = f"run `{instead}` (XDG_CACHE_HOME moves the cache of ecr-py)"
        yield Finding(name, NOTE, what + str(paths.cache_folder() or "no folder"), hint)
    still_used = name in (scene.files.docker.store, *scene.files.docker.helpers.values())
    left = paths.home() / ".ecr"
    if os.path.isdir(left) and not still_used:
        what = f"{left} is what AWS's helper left, with its log and passwords in clear"
        yield Finding(name, NOTE, what, f"run `{shell.remove_folder(left)}`")


def podman_uses_us() -> bool:
    """Return whether podman, buildah and skopeo use ecr-py for every registry."""
    with suppress(EcrPyError):
        return load_containers_config(os.environ).uses_us
    return False


def passwords(scene: Scene) -> Iterator[Finding]:
    """Check docker's config for ECR passwords: they expire, and some clients prefer them."""
    name = "auths"
    for url in stale_auths(scene.files.docker, scene.files.settings):
        what = f"{scene.files.docker.source} holds a password for {url}"
        yield Finding(name, NOTE, what, "run `ecr-py configure --remove-auths`")


# Settings, the AWS config, sessions


def settings(scene: Scene) -> Iterator[Finding]:
    name = "settings"
    if error := scene.files.failures.get("settings"):
        yield failed(name, error, then=shell.edit(paths.settings_file(scene.environ)))
        return
    for host in scene.files.settings.profiles:
        if not may_be_used(host, scene.files.settings):
            what = f"{host} matches no registry, so its profile is never used"
            hint = f"run `ecr-py config unset {quote(f'registries.{host}.profile')}`"
            yield Finding(name, NOTE, what, hint)
    file = paths.settings_file(scene.environ)
    yield Finding(name, OK, str(file) if os.path.exists(file) else "the defaults")


def fallback_helper(scene: Scene) -> Iterator[Finding]:
    helper = scene.files.settings.fallback
    if helper and helper != KEYRING:
        try:
            yield Finding("fallback", OK, find_helper(helper))
        except EcrPyError as error:
            yield failed("fallback", error, NOTE, then="ecr-py config unset fallback")


def aws_config(scene: Scene) -> Iterator[Finding]:
    name = "AWS config"
    edit = _edit_aws(scene)
    if error := scene.files.failures.get("aws"):
        yield failed(name, error, then=edit)
        return
    profiles = scene.files.aws.profiles
    wrong: list[EcrPyError] = [*errors_in_places(scene.files.aws)]
    for profile, values in profiles.items():
        try:
            identity_of(profile, scene.files.aws, on_ec2=on_ec2(scene.environ))
        except AwsConfigError as error:
            # [default] often holds a region and no more.
            if accounts_of(values) or profile != "default":
                wrong.append(error)
    # One cause is one line: the check of the registries says why one has no credentials.
    said = {error.what for error, _ in causes(scene.rows)}
    if not scene.rows:
        said.add(no_registry(scene.files.aws).what)
    for one in wrong:
        if one.what not in said:
            yield failed(name, one, NOTE, then=edit)
    if not profiles:
        yield from _no_profiles(scene, name)
    elif not wrong:
        yield Finding(name, OK, f"{scene.files.aws.source}: {counted(len(profiles), 'profile')}")


def _edit_aws(scene: Scene) -> str:
    return shell.edit(paths.aws_config_file(scene.environ))


def _no_profiles(scene: Scene, name: str) -> Iterator[Finding]:
    """Say whether profiles are needed, unless the check of the registries does."""
    if account_of_environment(scene.environ) is not None:
        yield Finding(name, OK, "not needed: the environment has AWS credentials")
    elif not scene.rows and scene.files.failures:
        yield _none_found(scene, name, NOTE)
    elif all(found.state == OK for found in registries(scene)):
        yield Finding(name, OK, f"not needed: {scene.files.aws.why_empty}")


def registries(scene: Scene) -> Iterator[Finding]:
    """Check that credentials can be found for each registry."""
    name = "registries"
    if not scene.rows and not scene.files.failures:
        yield _any_registry(scene)
        return
    for error, rows in causes(scene.rows):
        if error not in scene.files.failures.values():
            state = WRONG if any(row.in_docker for row in rows) else NOTE
            found = failed(name, error, state, then=_edit_aws(scene))
            hosts = some([row.host for row in rows])
            yield replace(found, words=f"{hosts}: {found.words}")
    if scene.rows and all(row.wrong is None for row in scene.rows):
        every = f"{'all ' if len(scene.rows) > 1 else ''}{_registries(len(scene.rows))}"
        yield Finding(name, OK, f"credentials found for {every}")


def _any_registry(scene: Scene) -> Finding:
    """Check that credentials can be found although no file names a registry."""
    here = on_ec2(scene.environ)
    try:
        found = select(
            _OF_ANY_ACCOUNT,
            _OF_ANY_ACCOUNT.host,
            scene.files.settings,
            scene.files.aws,
            scene.environ,
            on_ec2=here,
        )
    except EcrPyError:
        if scene.tunnel_is_alive:
            return Finding("registries", OK, "another machine answers for them")
        return _none_found(scene, "registries", WRONG)
    return Finding("registries", OK, f"{found.steps[-1].saw} answers for any registry")


def _none_found(scene: Scene, name: str, state: str) -> Finding:
    missing = no_registry(scene.files.aws)
    hint = missing.hint or f"run `{_edit_aws(scene)}`"
    return Finding(name, state, f"no registry found: {missing.what}", hint)


def sessions(scene: Scene) -> Iterator[Finding]:
    for session, rows in _by_session(scene.rows):
        sso = session.sso
        login = login_command(sso.login_name)
        if session.state != ENDED and _wants_login(sso):
            stops = any(row.kept is None and row.in_docker for row in rows)
            state = LOG_IN if stops else NOTE
            yield Finding("session", state, f"the portal has ended the session {sso.title}", login)
        elif session.state != ENDED:
            left = lasting(session.expires - time.time())
            words = "renews automatically" if session.renews else f"{left} left"
            yield Finding("session", OK, f"{sso.title}: {words}")
        else:
            stops = any(row.needs_login and row.in_docker for row in rows)
            yield Finding(
                "session", LOG_IN if stops else NOTE, f"the session {sso.title} has expired", login
            )


def _wants_login(session: SsoSession) -> bool:
    """Return whether the portal wants a login, as the next pull would see it.

    False if the portal cannot be reached.
    """
    from docker_credential_ecr_py.sso.portal import accepts

    sessions = App(may_log_in=False).sessions()

    def ask() -> None:
        token = sessions.ensure(session)
        if not accepts(session, token.access_token):
            sessions.ensure(session, rejected=token.access_token)

    try:
        call_with_deadline(_ENDPOINTS, ask, Unreachable(f"{session.start_url} gave no answer"))
    except LoginNeeded:
        return True
    except EcrPyError:
        pass  # the check of the endpoints reports it
    return False


def _by_session(rows: Iterable[Row]) -> list[tuple[Session, list[Row]]]:
    found: dict[str, tuple[Session, list[Row]]] = {}
    for row in rows:
        if row.session is not None:
            found.setdefault(row.session.sso.token_file, (row.session, []))[1].append(row)
    return list(found.values())


# Folders, and the daemon


def folders(scene: Scene) -> Iterator[Finding]:
    log = paths.log_file()
    ours = {"cache": paths.cache_folder(), "log": log and log.parent}
    ours["SSO cache"] = paths.sso_cache_folder()
    wrong = misowned(scene.environ)
    for name, folder in ours.items():
        if folder is None:
            yield _no_folder(name)
        elif here := [one for one in wrong if one.concerns(folder)]:
            yield _not_ours(name, here)
            wrong = [one for one in wrong if one not in here]
        else:
            yield _folder(name, folder, private=name != "SSO cache")
    for one in wrong:
        yield _not_ours("owner", [one])
    for file in open_files():
        name = "backup" if file.suffix == ".bak" else "SSO cache"
        hint = f"run `chmod 600 {quote(str(file))}`"
        yield Finding(name, NOTE, f"{file} is readable by other users", hint)


def open_files() -> list[Path]:
    """Return the user's token files and backups that other users may read.

    Links are left out: we do not check what they lead to.
    """
    found: list[Path] = []
    with suppress(OSError):
        found = sorted(paths.sso_cache_folder().glob("*.json"))
    for file in (paths.docker_config_file(os.environ), paths.aws_config_file(os.environ)):
        found.append(file.with_name(f"{file.name}.bak"))
    return [file for file in found if _is_open(file, stat.S_ISREG)]


def open_folders() -> list[Path]:
    """Return our folders that other users may enter."""
    log = paths.log_file()
    own = [folder for folder in (paths.cache_folder(), log and log.parent) if folder]
    return [folder for folder in own if _is_open(folder, stat.S_ISDIR)]


def _no_folder(name: str) -> Finding:
    if why := paths.why_root_keeps_nothing():
        return Finding(name, NOTE, why, "run it as that user, or run `export HOME=/root`")
    return Finding(name, NOTE, "there is no home folder to keep it in", "run `export HOME=FOLDER`")


def _not_ours(name: str, wrong: list[Misowned]) -> Finding:
    words = f"{some([str(one.path) for one in wrong])} belongs to another user"
    state = WRONG if any(one.harms for one in wrong) else NOTE
    return Finding(name, state, words, chown_command(wrong))


def _folder(name: str, folder: Path, *, private: bool) -> Finding:
    try:
        found = folder.stat()
    except FileNotFoundError:
        there = nearest_folder(folder)
        if problem := problem_of(there):
            return _unwritable(name, problem, there)
        return Finding(name, OK, f"{folder} (created when needed)")
    except OSError as error:
        return Finding(name, WRONG, f"{folder}: {error.strerror}", _look_at(folder))
    if not stat.S_ISDIR(found.st_mode):
        return Finding(name, WRONG, f"{folder} is not a folder", f"run `rm {quote(str(folder))}`")
    if problem := problem_of(folder):
        return _unwritable(name, problem, folder)
    if private and sys.platform == "win32":
        return _protected_by_rights(name, folder)
    if private and _is_open(folder, stat.S_ISDIR):
        return Finding(
            name, NOTE, f"{folder} is readable by other users", "run `ecr-py doctor --fix`"
        )
    return Finding(name, OK, str(folder))


def _protected_by_rights(name: str, folder: Path) -> Finding:
    """Check a folder whose files have no modes: it is not used if other users can write to it."""
    from docker_credential_ecr_py.windows import why_not_private

    if why := why_not_private(str(folder)):
        return Finding(name, NOTE, f"not used: {why}", _look_at(folder))
    words = f"{folder}: no user but you and administrators can write to it"
    return Finding(name, OK, words)


def _unwritable(name: str, problem: OSError, folder: Path) -> Finding:
    words, hint = advice(problem, folder)
    if not hint.endswith("`"):
        hint = f"{hint}: run `{shell.show_room(folder)}`" if hint else _look_at(folder)
    return Finding(name, WRONG, words, hint)


def _look_at(path: Path) -> str:
    return f"run `{shell.show_rights(path)}`"


def _is_open(path: Path, is_kind: Callable[[int], bool]) -> bool:
    """Return whether other users have rights to our file or folder. A link is neither."""
    if os.name != "posix":
        return False
    try:
        found = path.lstat()
    except OSError:
        return False
    return is_kind(found.st_mode) and found.st_uid == os.geteuid() and bool(found.st_mode & 0o077)


def keyring(scene: Scene) -> Iterator[Finding]:
    """Check the keyring, if the settings use it. It may ask the user to unlock it."""
    if KEYRING not in (scene.files.settings.store, scene.files.settings.fallback):
        return
    from docker_credential_ecr_py.store.seal import Seal

    try:
        Seal(None).key()
    except EcrPyError as error:
        sealed = scene.files.settings.store == KEYRING
        without = "ecr-py config set store file" if sealed else "ecr-py config unset fallback"
        found = failed("keyring", error, NOTE)
        yield replace(found, hint=f"unlock it, or run `{without}`")
    else:
        yield Finding("keyring", OK, "answers")
        yield from _unfinished_change()


def _unfinished_change() -> Iterator[Finding]:
    from docker_credential_ecr_py.store.key_rotation import is_unfinished

    with suppress(EcrPyError):
        if is_unfinished():
            what = "a change of the sealing key was interrupted; everything can still be read"
            yield Finding("keyring", NOTE, what, "run `ecr-py key rotate`")


def leftovers(scene: Scene) -> Iterator[Finding]:
    """Check for credentials that another store left on disk."""
    root, store = paths.cache_folder(), scene.files.settings.store
    if root is None or store == "file" or "settings" in scene.files.failures:
        return
    files = FileBackend(root)
    names = files.names(CREDENTIALS)
    if store == KEYRING:
        names = [name for name in names if files.read(name, record.CREDENTIAL)]
    if names:
        what = f'{counted(len(names), "credential")} of another store than "{store}" in {root}'
        yield Finding("leftovers", NOTE, what, f"run `ecr-py config set store {store}`")


def daemon(scene: Scene) -> Iterator[Finding]:
    found = find_daemon(scene.environ)
    if found is None:
        if scene.files.settings.store == "memory":
            what = 'not running, and store = "memory" keeps nothing without it'
            yield Finding("daemon", NOTE, what, START or "run `ecr-py config set store file`")
        elif sys.platform == "win32":
            what = "none on Windows: a pull renews an ageing token in the background"
            yield Finding("daemon", OK, what)
    elif found.status is None:
        yield Finding("daemon", NOTE, found.problem, RESTART)
    elif found.status["version"] != __version__:
        what = f"has version {found.status['version']}, but ecr-py has {__version__}"
        yield Finding("daemon", NOTE, what, RESTART)
    else:
        yield Finding("daemon", OK, daemon_line(found))
        # Renewals that failed, and that it will try again.
        for what in failures_by_cause(found.status["failures"]):
            hint = "" if what.endswith("`") else "run `ecr-py daemon logs`"
            yield Finding("renewal", NOTE, what.removeprefix("ecr-py: "), hint)


def forwarding(scene: Scene) -> Iterator[Finding]:
    """Check that the daemon answers other machines, if the settings say so."""
    name, globs = "forwarding", scene.files.settings.forward
    if not globs:
        return
    try:
        found = forwarding_status(scene.environ)
    except EcrPyError:
        return  # the check of the daemon says why
    if found is None:
        hint = START or "run `ecr-py forward off`"
        yield Finding(name, NOTE, f"is on, but {NOT_RUNNING}", hint)
    elif not found["open"]:
        what = found["problem"] or "is on, but the daemon has not read the settings"
        yield Finding(name, NOTE, what, "run `ecr-py daemon logs`")
    else:
        yield Finding(name, OK, f"answers other machines for {some_forwarded(globs)}")


def tunnel(scene: Scene) -> Iterator[Finding]:
    """Check that another machine answers, if there is a tunnel to one."""
    if scene.tunnel_is_alive:
        yield Finding("tunnel", OK, f"another machine answers at {scene.tunnel.path}")
    elif scene.tunnel_is_alive is not None:
        state = NOTE if scene.rows else WRONG
        yield Finding("tunnel", state, scene.tunnel.problem, HINT)


# The network


def network(scene: Scene) -> Iterator[Finding]:
    """Check the endpoints of the regions in use, as a pull reaches them, and AWS's clock."""
    chosen = [(row.registry, row.selection) for row in scene.rows if row.selection is not None]
    if not chosen:
        return
    from docker_credential_ecr_py.aws.probe import ProbeResult, Target, probe_all, proxy_for

    places = list(dict.fromkeys(_endpoints(scene.files.aws, chosen)))
    targets = [Target(*place) for place in places if isinstance(place, tuple)]
    invalid = {str(place): place for place in places if isinstance(place, EcrPyError)}
    yield from (failed("endpoints", error) for error in invalid.values())
    found = probe_all(targets, seconds=_ENDPOINTS)
    answered = [one for one in found.values() if isinstance(one, ProbeResult)]
    yield from _unreachable(
        {target.url: one for target, one in found.items() if isinstance(one, EcrPyError)}
    )
    if answered and len(answered) == len(places):
        proxies = sorted({proxy_for(target.url) for target in targets} - {""})
        by = f", through {', '.join(proxies)}" if proxies else ""
        count = len({target.url for target in targets})
        yield Finding("endpoints", OK, f"{counted(count, 'endpoint')} answered{by}")
    dates = [one.date for one in answered if one.date is not None]
    if dates:
        yield clock(time.time() - max(dates))


def _unreachable(errors: Mapping[str, EcrPyError]) -> Iterator[Finding]:
    """Yield a finding for each cause; the errors are by URL, with which their texts begin."""
    causes: dict[tuple[str, str], list[str]] = {}
    for url, error in errors.items():
        causes.setdefault((error.what.removeprefix(url), error.hint), []).append(url)
    for (words, hint), urls in causes.items():
        yield Finding("endpoints", WRONG, f"{some(urls)}{words}", hint)


def clock(skew: float) -> Finding:
    """Check the clock; `skew` is how many seconds it is ahead of AWS's."""
    how = f"{abs(skew):.0f} seconds {'ahead of' if skew > 0 else 'behind'} AWS's"
    if abs(skew) > _LARGEST_SKEW:
        return Finding("clock", WRONG, f"{how}: AWS rejects signed requests", _SET_CLOCK)
    if abs(skew) > _NOTICEABLE_SKEW:
        return Finding("clock", NOTE, how, _SET_CLOCK)
    return Finding("clock", OK, "in sync with AWS")


# The settings of a profile that decide where AWS is, and how it is reached.
_OF_CONNECTIONS = (
    "ca_bundle",
    "endpoint_url",
    "services",
    "use_dualstack_endpoint",
    "use_fips_endpoint",
    "ignore_configured_endpoint_urls",
)


def _endpoints(
    aws: AwsConfig, chosen: Iterable[tuple[Registry, Selection]]
) -> Iterator[tuple[str, str] | EcrPyError]:
    """Yield the URL of each endpoint and the profile that calls it, or the error if it is invalid.

    botocore finds them. It takes a tenth of a second for each, so profiles that have the same
    settings share one.
    """
    from docker_credential_ecr_py.aws.ecr import ecr_endpoint
    from docker_credential_ecr_py.aws.session import endpoint_of

    finders: dict[tuple[object, ...], tuple[str, Callable[[], str]]] = {}

    def add(place: tuple[object, ...], profile: str, find: Callable[[], str]) -> None:
        values = aws.profiles.get(profile, {})
        settings = tuple(values.get(name) for name in _OF_CONNECTIONS)
        finders.setdefault(place + settings, (profile, find))

    for one, selection in chosen:
        place = (one.public, one.region, selection.variants)
        add(place, selection.profile, partial(ecr_endpoint, one, selection))
        if sso := selection.identity.sso:
            for service in ("sso-oidc", "sso"):
                find = partial(endpoint_of, service, sso.region, sso.profile)
                add((service, sso.region), sso.profile, find)
    for profile, endpoint in finders.values():
        try:
            yield endpoint(), profile
        except EcrPyError as error:
            yield error


def deep(scene: Scene) -> Iterator[Finding]:
    """Check with a real GetAuthorizationToken for each identity and region; store nothing."""
    rows = {
        (
            row.selection.identity,
            row.registry.region,
            row.registry.public,
            row.selection.variants,
        ): row
        for row in scene.rows
        if row.selection is not None and row.wrong is None
    }
    environ = {**scene.environ, "AWS_ECR_DISABLE_CACHE": "true"}

    def ask(row: Row) -> Finding:
        try:
            App(environ, may_log_in=False).broker.get(row.host)
        except CredentialsNotFound:
            return Finding("token", OK, f"{_HOST}: pulls there are anonymous")
        except EcrPyError as error:
            found = failed("token", error, then="ecr-py doctor --deep")
            state = found.state if row.in_docker else NOTE
            return Finding("token", state, f"{_HOST}: {found.words}", found.hint)
        return Finding("token", OK, f"AWS issued one for {_HOST}")

    with counting("tokens") as counter:
        found = call_parallel(ask, rows.values(), counter)
    # One cause is one line, however many registries it concerns.
    failures: dict[Finding, list[str]] = {}
    for row, finding in zip(rows.values(), found, strict=True):
        if finding.state == OK:
            yield replace(finding, words=finding.words.replace(_HOST, row.host))
        else:
            failures.setdefault(finding, []).append(row.host)
    for finding, hosts in failures.items():
        yield replace(finding, words=finding.words.replace(_HOST, some(hosts)))


# Stands for the hosts in the words of a finding.
_HOST = "HOST"


def _registries(count: int) -> str:
    return counted(count, "registry", "registries")
