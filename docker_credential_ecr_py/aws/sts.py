"""Asks AWS whose account the credentials of a profile belong to (GetCallerIdentity of STS)."""

from typing import Any

from docker_credential_ecr_py.aws.ecr import in_time, translate
from docker_credential_ecr_py.aws.session import Session
from docker_credential_ecr_py.errors import BadAnswer, EcrPyError
from docker_credential_ecr_py.registry import Registry
from docker_credential_ecr_py.selection import Identity, Selection

# Where STS is called if the profile has no region.
_REGION = "us-east-1"


def account_of(profile: str, identity: Identity) -> str:
    """Return the account of a profile whose identity needs no login. Raises as ecr.fetch."""
    selection = Selection(identity, profile, ())
    try:
        answer = in_time(lambda: _caller(profile))
    except EcrPyError:
        raise
    except Exception as error:
        raise translate(error, Registry.of_account("0" * 12, _REGION), selection) from error
    account = answer.get("Account")
    if not (isinstance(account, str) and len(account) == 12 and account.isdigit()):
        raise BadAnswer("the response of STS has no account")
    return account


def _caller(profile: str) -> dict[str, Any]:
    session = Session(profile=profile)
    session.use_tolerant_config_readers(profile)
    region = session.get_config_variable("region") or _REGION
    client: Any = session.create_client("sts", region)  # its methods are made at run time
    return dict(client.get_caller_identity())
