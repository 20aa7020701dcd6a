"""What the SSO portal says that a person has: accounts, and roles in them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import botocore.exceptions as aws_errors

from docker_credential_ecr_py.aws import AnonymousSession, network_error, unsigned_client
from docker_credential_ecr_py.selection import SsoSession


@dataclass(frozen=True)
class Assignment:
    """A role that a person may take in an account."""

    account: str
    account_name: str
    role: str


def assignments(session: SsoSession, access_token: str) -> list[Assignment]:
    """Every account and role of the person who logged in (ListAccounts, ListAccountRoles).

    Raises as aws.network_error.
    """
    client = unsigned_client("sso", session.region)
    try:
        return [
            Assignment(account["accountId"], account.get("accountName", ""), role["roleName"])
            for account in _pages(client, "list_accounts", "accountList", access_token)
            for role in _pages(
                client,
                "list_account_roles",
                "roleList",
                access_token,
                accountId=account["accountId"],
            )
        ]
    except (aws_errors.ClientError, aws_errors.BotoCoreError) as error:
        raise network_error(error, session.start_url) from None


def accepts(session: SsoSession, access_token: str) -> bool:
    """Whether the portal still knows a session, whatever its token's file says (ListAccounts).

    Raises as aws.network_error.
    """
    client = unsigned_client("sso", session.region)
    try:
        client.list_accounts(accessToken=access_token, maxResults=1)
    except client.exceptions.UnauthorizedException:
        return False
    except (aws_errors.ClientError, aws_errors.BotoCoreError) as error:
        raise network_error(error, session.start_url) from None
    return True


def regions(service: str = "sso-oidc") -> list[str]:
    """The regions that have a service, as far as the installed botocore knows."""
    session = AnonymousSession()
    return [
        region
        for partition in session.get_available_partitions()
        for region in session.get_available_regions(service, partition)
    ]


def end_session(session: SsoSession, access_token: str) -> None:
    """Ends the session at the portal (Logout). Raises as aws.network_error."""
    client = unsigned_client("sso", session.region)
    try:
        client.logout(accessToken=access_token)
    except client.exceptions.UnauthorizedException:
        return  # it has ended already
    except (aws_errors.ClientError, aws_errors.BotoCoreError) as error:
        raise network_error(error, session.start_url) from None


def _pages(
    client: Any, operation: str, of: str, access_token: str, **given: str
) -> Iterator[dict[str, str]]:
    for page in client.get_paginator(operation).paginate(accessToken=access_token, **given):
        yield from page.get(of, [])
