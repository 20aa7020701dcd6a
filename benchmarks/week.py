"""A week of somebody's life with the daemon, in seconds: their clock is ours to move.

Twenty registries of four identities, a machine that sleeps at night, and a session that has to be
begun anew each morning. Keeper, broker and store are the real ones; a worker is a call, and AWS a
function that hands out tokens, since it is the planning that is looked at.
"""

import os
import random
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from freezegun import freeze_time

from docker_credential_ecr_py.app import App
from docker_credential_ecr_py.config import paths
from docker_credential_ecr_py.credential import Credential
from docker_credential_ecr_py.daemon.boundary import Boundary
from docker_credential_ecr_py.daemon.memory import Records
from docker_credential_ecr_py.daemon.scheduler import Ending, Scheduler
from docker_credential_ecr_py.daemon.worker_pool import Report
from docker_credential_ecr_py.errors import EcrPyError
from docker_credential_ecr_py.registry import Registry
from docker_credential_ecr_py.selection import Selection, SsoSession
from docker_credential_ecr_py.sso.token_cache import Registration, SsoFiles, Token
from docker_credential_ecr_py.store import record
from tests.support.home import ROLE, START_URL, registry

ACCOUNTS = [f"{number:012}" for number in range(111, 115)]
REGIONS = ("eu-west-1", "eu-north-1", "us-east-1", "ap-south-1", "eu-central-1")
AWAKE = range(7, 23)  # hours of the day
LOGIN_AT = 8
SESSION_HOURS = 15.5
MINUTE = 60
# What a token cannot live longer than, so what nobody can do with fewer calls than.
TOKEN_HOURS = 12


@dataclass
class Week:
    """What was counted. `waited` are gets that no record could answer, outside the logins."""

    gets: int = 0
    waited: int = 0
    logins: int = 0
    told: int = 0
    turns: int = 0
    least_tokens: int = 0
    calls: Counter[str] = field(default_factory=Counter)


def config() -> str:
    return "".join(
        f"[profile team-{account}]\nsso_start_url = {START_URL}\nsso_region = eu-west-1\n"
        f"sso_account_id = {account}\nsso_role_name = {ROLE}\nregion = eu-west-1\n"
        for account in ACCOUNTS
    )


def live(home: Path, days: int = 7) -> Week:
    """Lives `days` days in an empty `home`. os.environ is the person's while it lasts."""
    before = dict(os.environ)
    began = datetime.now(UTC).replace(hour=AWAKE.start, minute=0, second=0, microsecond=0)
    try:
        with freeze_time(began) as clock:
            environ = {"HOME": str(home), "PATH": before["PATH"]}
            os.environ.clear()
            os.environ.update(environ)
            (home / ".aws").mkdir(parents=True)
            (home / ".aws" / "config").write_text(config())
            return _Life(environ, lambda seconds: clock.tick(seconds)).live(days)
    finally:
        os.environ.clear()
        os.environ.update(before)


class _Life:
    def __init__(self, environ: Mapping[str, str], tick: Callable[[float], object]) -> None:
        self.environ, self.tick = environ, tick
        self.week = Week()
        self.files = SsoFiles(paths.sso_cache_folder())
        self.root = os.fsencode(paths.cache_folder() or "")
        boundary = Boundary(environ, self.root)
        self.records = Records(self.root, boundary)
        self.scheduler = Scheduler(
            self.records, self._work, self._told, boundary, lambda: set(), [], clock=_now
        )
        self.hosts = [registry(account, region) for account in ACCOUNTS for region in REGIONS]
        self.random = random.Random(7)

    def live(self, days: int) -> Week:
        for _ in range(days * 24 * 60):
            moment = datetime.fromtimestamp(_now(), UTC)
            if moment.hour in AWAKE:
                if (moment.hour, moment.minute) == (LOGIN_AT, 0):
                    self._log_in()
                if moment.hour >= LOGIN_AT:
                    self._get(self.random.choice(self.hosts))
                self.records.new_turn()
                self.scheduler.turn()
                self.week.turns += 1
            self.tick(MINUTE)
        # Awake from eight to eleven: two tokens a day, however cleverly one goes about it.
        awake = timedelta(hours=AWAKE.stop - LOGIN_AT)
        a_day = -(-awake // timedelta(hours=TOKEN_HOURS))
        self.week.least_tokens = len(self.hosts) * a_day * days
        return self.week

    def _log_in(self) -> None:
        """The day's first pull of each registry that is new; then the keeper's turn, at once."""
        self.week.logins += 1
        registration = Registration("client", "secret", 0.0)
        expires = _now() + SESSION_HOURS * 3600
        token = Token(START_URL, "eu-west-1", f"token {self.week.logins}", expires, registration)
        self.files.keep_token(SsoSession(START_URL, "eu-west-1", "", ""), token)
        if self.week.logins == 1:
            for host in self.hosts:
                self._app(self.environ).broker.get(host)
        self.records.new_turn()
        self.scheduler.turn()

    def _get(self, host: str) -> None:
        """What the helper does: the records answer, or AWS is asked while somebody waits."""
        self.week.gets += 1
        if not record.find(self.root, host.encode(), paths.as_bytes(self.environ)):
            self.week.waited += 1
            self._app(self.environ).broker.get(host)

    def _work(
        self, job: Report, environ: Mapping[str, str], ends: Callable[[Report], None]
    ) -> None:
        try:
            self._app(environ).broker.renew(job["host"], ahead=job["ahead"])
        except EcrPyError as error:
            ends({"result": error.to_dict()})
        else:
            ends({"result": None})

    def _app(self, environ: Mapping[str, str]) -> App:
        return App(environ, fetch=self._fetch, clock=_now, may_log_in=False)

    def _fetch(self, registry: Registry, selection: Selection, mfa_code: str) -> Credential:
        """As AWS does: two calls for a principal whose session is alive."""
        self.week.calls.update(["GetRoleCredentials", "GetAuthorizationToken"])
        expires = _now() + TOKEN_HOURS * 3600
        password = f"password {self.week.calls.total()}"
        return Credential.from_aws("AWS", password, now=_now(), expires=expires)

    def _told(self, ending: Ending) -> None:
        self.week.told += 1


def _now() -> float:
    return datetime.now(UTC).timestamp()
