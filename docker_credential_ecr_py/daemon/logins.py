"""Logins that many wait for: one worker a session, its prompt shown to each who asks."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field

from docker_credential_ecr_py.daemon.boundary import LoginOrder
from docker_credential_ecr_py.daemon.server import Connection
from docker_credential_ecr_py.daemon.worker_pool import MOST_FOR_PEOPLE, Report, Worker, Workers
from docker_credential_ecr_py.errors import EcrPyError

# Seconds that a login goes on when nobody waits for it any more: another may be about to ask.
GRACE = 10.0
# Seconds that it may take beside the person.
_OVERHEAD = 60


@dataclass
class _Login:
    worker: Worker
    waiting: list[Connection] = field(default_factory=list)
    prompt: Report | None = None
    opened: bool = False


class Logins:
    """`later` calls something after so many seconds; `ended` is called after each login."""

    def __init__(
        self,
        workers: Workers,
        later: Callable[[float, Callable[[], None]], None],
        ended: Callable[[], None],
    ) -> None:
        self._workers = workers
        self._later = later
        self._after = ended
        self._running: dict[str, _Login] = {}

    def join(self, order: LoginOrder, environ: Mapping[str, str], client: Connection) -> None:
        """Lets a client wait for a login of the session that it orders, begun if none runs.

        It is told the prompt, with whether it is the one to open a browser, and the result; or
        nothing, if as many logins run as may: then it logs in by itself.
        """
        name = json.dumps([order.session.name, order.session.start_url])
        login = self._running.get(name)
        is_new = login is None
        if login is None:
            if len(self._running) >= MOST_FOR_PEOPLE:
                client.answer(b"")
                return
            worker = Worker(
                {"do": "login", **asdict(order)},
                environ,
                ends=lambda result: self._ended(name, result),
                reports=lambda report: self._reported(name, report),
                limit=order.limit + _OVERHEAD,
                for_person=True,
            )
            login = self._running[name] = _Login(worker)
        # Who has gone already is found out by telling.
        client.hold()
        client.gone = lambda: self._left(name, client)
        login.waiting.append(client)
        self._tell(client, {}, opens=False)  # we are here
        self._show(login, client)
        if is_new:
            self._workers.start(login.worker)

    def _reported(self, session: str, report: Report) -> None:
        login = self._running[session]
        login.prompt = report
        for client in list(login.waiting):
            self._show(login, client)

    def _ended(self, session: str, result: Report) -> None:
        login = self._running.pop(session)
        if "died" in result:
            result = {"result": EcrPyError(f"the login broke off: {result['died']}").to_dict()}
        for client in login.waiting:
            client.gone = lambda: None
            client.answer(json.dumps(result).encode() + b"\n")
        self._after()

    def _left(self, session: str, client: Connection) -> None:
        login = self._running.get(session)
        if login is None or client not in login.waiting:
            return
        login.waiting.remove(client)
        if not login.waiting:
            self._later(GRACE, lambda: self._give_up(session, login))

    def _give_up(self, session: str, login: _Login) -> None:
        if self._running.get(session) is login and not login.waiting:
            login.worker.kill()

    def _show(self, login: _Login, client: Connection) -> None:
        """The first that is there to see the prompt is the one to open a browser."""
        if login.prompt is not None and client in login.waiting:
            self._tell(client, login.prompt, opens=not login.opened)
            login.opened = login.opened or client in login.waiting

    def _tell(self, client: Connection, report: Report, *, opens: bool) -> None:
        client.tell(json.dumps({**report, "opens": opens}).encode() + b"\n")
