"""The calls to the SSO portal: a user's accounts and roles, and the end of a session.

The portal is not trusted: its names are checked before they are shown or written.
"""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import botocore.exceptions as aws_errors

from docker_credential_ecr_py.aws.session import (
    MALFORMED,
    first_line,
    network_error,
    unsigned_client,
)
from docker_credential_ecr_py.deadline import call_parallel
from docker_credential_ecr_py.errors import BadAnswer
from docker_credential_ecr_py.log import log
from docker_credential_ecr_py.selection import SsoSession

# AWS's own rules: Organizations' AccountId and AccountName (but older accounts have names that are
# not ASCII), IAM's RoleName.
_ACCOUNT = re.compile(r"[0-9]{12}")
_ROLE = re.compile(r"[A-Za-z0-9_+=,.@-]{1,64}")
_LONGEST_ACCOUNT_NAME = 50
# Pages of one listing; each has a hundred entries or so.
_MOST_PAGES = 1000


@dataclass(frozen=True)
class Assignment:
    """A role that a user has in an account. `account_name` is "" if there is none."""

    account: str
    account_name: str
    role: str


def assignments(
    session: SsoSession, access_token: str, counter: Callable[[int], None] = lambda count: None
) -> list[Assignment]:
    """Return every account and role of the user who logged in (ListAccounts, ListAccountRoles).

    `counter` is called with how many accounts are done. Raises BadAnswer for a name that AWS does
    not allow, and as aws.session.network_error.
    """
    client = unsigned_client("sso", session.region, session.profile)

    def roles_in(account: dict[str, Any]) -> list[Assignment]:
        number = _checked(account["accountId"], _ACCOUNT, "account")
        name = _account_name(account.get("accountName"), number)
        roles = _pages(client, "list_account_roles", "roleList", access_token, accountId=number)
        return [
            Assignment(number, name, _checked(role["roleName"], _ROLE, "role")) for role in roles
        ]

    with _translated(session):
        accounts = list(_pages(client, "list_accounts", "accountList", access_token))
        found = call_parallel(roles_in, accounts, counter)
    each: dict[tuple[str, str], Assignment] = {}
    for one in chain.from_iterable(found):
        each.setdefault((one.account, one.role), one)
    return list(each.values())


def accepts(session: SsoSession, access_token: str) -> bool:
    """Whether the portal still accepts a session's token (ListAccounts).

    Raises as aws.session.network_error.
    """
    client = unsigned_client("sso", session.region, session.profile)
    with _translated(session):
        try:
            client.list_accounts(accessToken=access_token, maxResults=1)
        except client.exceptions.UnauthorizedException:
            return False
    return True


def end_session(session: SsoSession, access_token: str) -> None:
    """End the session at the portal (Logout). Raises as aws.session.network_error."""
    client = unsigned_client("sso", session.region, session.profile)
    with _translated(session):
        try:
            client.logout(accessToken=access_token)
        except client.exceptions.UnauthorizedException:
            return  # it has ended already


def _pages(
    client: Any, operation: str, of: str, access_token: str, **given: str
) -> Iterator[dict[str, Any]]:
    pages = client.get_paginator(operation).paginate(accessToken=access_token, **given)
    for number, page in enumerate(pages):
        if number == _MOST_PAGES:
            raise BadAnswer(f"the portal's list is too long: more than {_MOST_PAGES} pages")
        yield from page.get(of, [])


def _checked(name: object, rule: re.Pattern[str], what: str) -> str:
    """Return a name. Raises BadAnswer if it does not follow AWS's rules."""
    if not isinstance(name, str) or not rule.fullmatch(name):
        raise BadAnswer(f"the portal names {first_line(repr(name))}, which cannot be an AWS {what}")
    return name


def _account_name(name: object, account: str) -> str:
    """Return the account's name, or "" if it has none or one that AWS does not allow."""
    if name is None or name == "":
        return ""
    if isinstance(name, str) and len(name) <= _LONGEST_ACCOUNT_NAME and name.isprintable():
        return name
    log.warning("account %s has a name that AWS does not allow; its number is used", account)
    return ""


@contextmanager
def _translated(session: SsoSession) -> Iterator[None]:
    try:
        yield
    except (aws_errors.ClientError, aws_errors.BotoCoreError) as error:
        raise network_error(error, session.start_url) from None
    except MALFORMED:
        raise BadAnswer(f"{session.start_url} sent a response that cannot be read") from None
