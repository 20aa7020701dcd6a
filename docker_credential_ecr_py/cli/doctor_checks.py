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
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from shlex import quote

from docker_credential_ecr_py import __version__
from docker_credential_ecr_py.app import App
from docker_credential_ecr_py.aws.ec2 import on_ec2
from docker_credential_ecr_py.cli.humanize import counted, lasting
from docker_credential_ecr_py.cli.output import counting
from docker_credential_ecr_py.cli.ownership import Misowned, chown_command, misowned
from docker_credential_ecr_py.cli.registry_state import ENDED, Row, Session, daemon_line
from docker_credential_ecr_py.config import paths
from docker_credential_ecr_py.config.aws_config import AwsConfig, accounts_of
from docker_credential_ecr_py.config.docker_config import DockerConfig
from docker_credential_ecr_py.config.docker_plan import stale_auths
from docker_credential_ecr_py.config.settings import KEYRING, Settings
from docker_credential_ecr_py.daemon.discovery import RESTART, find_daemon
from docker_credential_ecr_py.deadline import call_parallel, call_with_deadline
from docker_credential_ecr_py.errors import (
    LOG_IN_FIRST,
    AwsConfigError,
    CredentialsNotFound,
    EcrPyError,
    LoginNeeded,
    MfaCodeNeeded,
    Unreachable,
    login_command,
    some,
)
from docker_credential_ecr_py.other_registries import find_helper
from docker_credential_ecr_py.programs import found_by_shell
from docker_credential_ecr_py.protocol import NAME as HELPER
from docker_credential_ecr_py.registry import Registry
from docker_credential_ecr_py.selection import Selection, SsoSession, identity_of
from docker_credential_ecr_py.store import record
from docker_credential_ecr_py.store.file_backend import FileBackend
from docker_credential_ecr_py.store.record_store import CREDENTIALS
from docker_credential_ecr_py.store.writable import advice, problem_of

# Fine; not fine, though a pull works; the user must log in; a pull does not work.
OK, NOTE, LOG_IN, WRONG = "ok", "note", "log in", "wrong"

# Seconds: for the version of an executable, for all endpoints; and how far off a clock may be.
_VERSION, _ENDPOINTS = 5, 8
_NOTICEABLE_SKEW, _LARGEST_SKEW = 60, 300


@dataclass(frozen=True)
class Finding:
    """The result of a check; `hint` is what to do about it, or ""."""

    name: str
    state: str
    words: str
    hint: str = ""


@dataclass(frozen=True)
class Scene:
    """The content of all files. `failures` has the error of each that could not be read."""

    environ: Mapping[str, str]
    settings: Settings
    aws: AwsConfig
    docker: DockerConfig
    rows: tuple[Row, ...]
    failures: Mapping[str, EcrPyError]


def failed(name: str, error: EcrPyError, state: str = WRONG) -> Finding:
    needs_login = isinstance(error, LoginNeeded | MfaCodeNeeded)
    return Finding(name, LOG_IN if needs_login else state, error.what, error.hint)


# The executable and docker


def executable(scene: Scene) -> Iterator[Finding]:
    """Check which executable docker finds (Go's exec.LookPath), and that it is this version."""
    name = "executable"
    found = found_by_shell(HELPER, scene.environ.get("PATH"))
    if found is None:
        here = installed_in()
        hint = f"add {here} to it, or `ln -s {here / HELPER} /usr/local/bin/`" if here else ""
        yield Finding(name, WRONG, f"{HELPER} is not on the PATH", hint)
        return
    if not os.path.isabs(found):
        what = f"{found} is found through a relative folder in the PATH, which docker refuses"
        yield Finding(name, WRONG, what, "name the folder in full")
        return
    try:
        done = subprocess.run(
            [found, "version"], capture_output=True, text=True, timeout=_VERSION, check=False
        )
        reported = done.stdout.split()[-1] if done.stdout.split() else "nothing"
    except (OSError, subprocess.TimeoutExpired) as error:
        yield Finding(name, WRONG, f"{found} does not run: {error}", "install it again")
        return
    if reported != __version__:
        what = f"{found} has version {reported}, but ecr-py has {__version__}"
        yield Finding(name, WRONG, what, "put the folder of this ecr-py first on the PATH")
        return
    yield Finding(name, OK, f"{found} {reported}")


def installed_in() -> Path | None:
    """Return the folder of the executable as the user knows it, for example that of a pipx link."""
    folders = (Path(sys.argv[0]).absolute().parent, Path(sys.executable).parent)
    return next((folder for folder in folders if os.path.exists(folder / HELPER)), None)


def docker_config(scene: Scene) -> Iterator[Finding]:
    name = "docker config"
    if error := scene.failures.get("docker"):
        yield failed(name, error)
        return
    docker, configure = scene.docker, "run `ecr-py configure`"
    for host in docker.ours:
        if not scene.settings.is_ecr(host):
            yield Finding(name, NOTE, f"uses ecr-py for {host}, which is not an ECR registry")
    configured = [row for row in scene.rows if row.in_docker]
    others = [row.host for row in scene.rows if not row.in_docker]
    if not configured:
        yield Finding(name, WRONG, f"{docker.source} does not use ecr-py", configure)
    elif others:
        yield Finding(name, NOTE, f"does not use ecr-py for {some(others)}", configure)
    else:
        yield Finding(name, OK, f"{docker.source} uses ecr-py for {_registries(len(configured))}")


def passwords(scene: Scene) -> Iterator[Finding]:
    """Check docker's config for ECR passwords: they expire, and some clients prefer them."""
    name = "auths"
    for url in stale_auths(scene.docker, scene.settings):
        what = f"{scene.docker.source} holds a password for {url}"
        yield Finding(name, NOTE, what, "run `ecr-py configure --remove-auths`")


# Settings, the AWS config, sessions


def settings(scene: Scene) -> Iterator[Finding]:
    name = "settings"
    if error := scene.failures.get("settings"):
        yield failed(name, error)
    else:
        file = paths.settings_file(scene.environ)
        yield Finding(name, OK, str(file) if os.path.exists(file) else "the defaults")


def fallback_helper(scene: Scene) -> Iterator[Finding]:
    helper = scene.settings.fallback
    if helper and helper != KEYRING:
        try:
            yield Finding("fallback", OK, find_helper(helper))
        except EcrPyError as error:
            yield failed("fallback", error, NOTE)


def aws_config(scene: Scene) -> Iterator[Finding]:
    name = "AWS config"
    if error := scene.failures.get("aws"):
        yield failed(name, error)
        return
    profiles = scene.aws.profiles
    incomplete = 0
    for profile, values in profiles.items():
        try:
            identity_of(profile, scene.aws, on_ec2=on_ec2(scene.environ))
        except AwsConfigError as error:
            # [default] often holds a region and no more.
            if accounts_of(values) or profile != "default":
                incomplete += 1
                yield failed(name, error, NOTE)
    if not profiles:
        yield Finding(name, NOTE, f"{scene.aws.source} does not exist or has no profiles")
    elif not incomplete:
        yield Finding(name, OK, f"{scene.aws.source}: {counted(len(profiles), 'profile')}")


def registries(scene: Scene) -> Iterator[Finding]:
    """Check that credentials can be found for each registry."""
    name = "registries"
    if not scene.rows and not scene.failures:
        hint = LOG_IN_FIRST
        yield Finding(name, WRONG, "none found", hint)
        return
    answered = [row for row in scene.rows if row.wrong is None]
    for row in scene.rows:
        if row.wrong is not None:
            found = failed(name, row.wrong, WRONG if row.in_docker else NOTE)
            yield Finding(name, found.state, f"{row.host}: {found.words}", found.hint)
    if answered and len(answered) == len(scene.rows):
        every = f"{'all ' if len(answered) > 1 else ''}{_registries(len(answered))}"
        yield Finding(name, OK, f"credentials found for {every}")


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
        return Finding(name, NOTE, why, "run it as that user")
    return Finding(name, NOTE, "there is no home folder to keep it in")


def _not_ours(name: str, wrong: list[Misowned]) -> Finding:
    words = f"{some([str(one.path) for one in wrong])} belongs to another user"
    state = WRONG if any(one.harms for one in wrong) else NOTE
    return Finding(name, state, words, chown_command(wrong))


def _folder(name: str, folder: Path, *, private: bool) -> Finding:
    try:
        found = folder.stat()
    except FileNotFoundError:
        there = next(above for above in folder.parents if os.path.isdir(above))
        if problem := problem_of(there):
            return Finding(name, WRONG, *advice(problem, there))
        return Finding(name, OK, f"{folder} (created when needed)")
    except OSError as error:
        return Finding(name, WRONG, f"{folder}: {error.strerror}")
    if not stat.S_ISDIR(found.st_mode):
        return Finding(name, WRONG, f"{folder} is not a folder", f"remove {folder}")
    if problem := problem_of(folder):
        return Finding(name, WRONG, *advice(problem, folder))
    if private and _is_open(folder, stat.S_ISDIR):
        return Finding(
            name, NOTE, f"{folder} is readable by other users", "run `ecr-py doctor --fix`"
        )
    return Finding(name, OK, str(folder))


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
    if KEYRING not in (scene.settings.store, scene.settings.fallback):
        return
    from docker_credential_ecr_py.store.seal import Seal

    try:
        Seal(None).key()
    except EcrPyError as error:
        yield failed("keyring", error, NOTE)
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
    root, store = paths.cache_folder(), scene.settings.store
    if root is None or store == "file" or "settings" in scene.failures:
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
        if scene.settings.store == "memory":
            what = 'not running, and store = "memory" keeps nothing without it'
            yield Finding("daemon", NOTE, what, "run `ecr-py daemon start`")
    elif found.status is None:
        yield Finding("daemon", NOTE, found.problem, RESTART)
    elif found.status["version"] != __version__:
        what = f"has version {found.status['version']}, but ecr-py has {__version__}"
        yield Finding("daemon", NOTE, what, "run `ecr-py daemon stop`, then `start`")
    else:
        yield Finding("daemon", OK, daemon_line(found))
        # Renewals that failed, and that it will try again.
        for what in sorted({failure["what"] for failure in found.status["failures"]}):
            yield Finding("renewal", NOTE, what.removeprefix("ecr-py: "))


# The network


def network(scene: Scene) -> Iterator[Finding]:
    """Check the endpoints of the regions in use, as a pull reaches them, and AWS's clock."""
    chosen = [(row.registry, row.selection) for row in scene.rows if row.selection is not None]
    if not chosen:
        return
    from docker_credential_ecr_py.aws.probe import ProbeResult, Target, probe_all, proxy_for

    places = list(dict.fromkeys(_endpoints(scene.aws, chosen)))
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
        return Finding("clock", WRONG, f"{how}: AWS rejects signed requests", "set the clock")
    if abs(skew) > _NOTICEABLE_SKEW:
        return Finding("clock", NOTE, how, "set the clock")
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

    for registry, selection in chosen:
        profile = selection.profile
        place = (registry.public, registry.region, registry.fips, registry.dual_stack)
        add(place, profile, partial(ecr_endpoint, registry, profile))
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
        (row.selection.identity, row.registry.region, row.registry.public): row
        for row in scene.rows
        if row.selection is not None and row.wrong is None
    }
    environ = {**scene.environ, "AWS_ECR_DISABLE_CACHE": "true"}

    def ask(row: Row) -> Finding:
        try:
            App(environ, may_log_in=False).broker.get(row.host)
        except CredentialsNotFound:
            return Finding("token", NOTE, f"{row.host}: pulls there are anonymous")
        except EcrPyError as error:
            found = failed("token", error)
            state = found.state if row.in_docker else NOTE
            return Finding("token", state, f"{row.host}: {found.words}", found.hint)
        return Finding("token", OK, f"AWS issued one for {row.host}")

    with counting("tokens") as counter:
        found = call_parallel(ask, rows.values(), counter)
    yield from found


def _registries(count: int) -> str:
    return counted(count, "registry", "registries")
