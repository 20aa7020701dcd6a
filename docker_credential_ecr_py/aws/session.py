"""What all calls to AWS share: a botocore session with time limits, and network errors."""

import json
import os
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal

import botocore.configloader
import botocore.exceptions as aws_errors
import botocore.session
from botocore import UNSIGNED
from botocore.config import Config
from botocore.credentials import ConfigProvider, SharedCredentialProvider, SSOProvider
from botocore.tokens import SSOTokenProvider
from botocore.utils import JSONFileCache

from docker_credential_ecr_py.atomic_file import write_whole
from docker_credential_ecr_py.aws.connection import use_everywhere
from docker_credential_ecr_py.aws.connection_errors import (
    bundle_problem,
    cause_of,
    origin,
    proxy_cause,
    proxy_problem,
)
from docker_credential_ecr_py.config.aws_config import read_sections
from docker_credential_ecr_py.config.paths import aws_path
from docker_credential_ecr_py.errors import (
    AwsConfigError,
    BadAnswer,
    EcrPyError,
    Throttled,
    Unreachable,
    nearest,
)
from docker_credential_ecr_py.redact import redact

# Seconds for a connection and for an answer; a call is tried four times, with jittered pauses.
CONNECT, READ = 4, 8
LIMITS = Config(
    connect_timeout=CONNECT,
    read_timeout=READ,
    retries={"mode": "standard", "total_max_attempts": 4},
)

use_everywhere()

# What botocore and this package raise for an answer of another shape than AWS's.
MALFORMED = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


class Session(botocore.session.Session):
    """A botocore session that reads the AWS config as config/aws_config.py does.

    botocore refuses repeated sections and a byte-order mark, and takes the file on Windows for one
    in the code page of the machine.
    """

    def __init__(self, profile: str | None = None) -> None:
        super().__init__(profile=profile)
        self.set_default_client_config(LIMITS)

    @property
    def ca_bundle(self) -> str | Literal[True]:
        """The file of CA certificates that the user names, or True for those of the machine."""
        named = self.get_config_variable("ca_bundle") or os.environ.get("REQUESTS_CA_BUNDLE")
        return os.path.expanduser(named) if named else True

    def create_client(self, *arguments: Any, **options: Any) -> Any:
        """As its base; every client of botocore's own providers is made by this too."""
        return super().create_client(*arguments, **{"verify": self.ca_bundle, **options})

    @property
    def full_config(self) -> dict[str, Any]:
        return self._full_config

    @cached_property
    def _full_config(self) -> dict[str, Any]:
        config = _profile_map(self.get_config_variable("config_file"))
        credentials = _sections(self.get_config_variable("credentials_file"))
        for name, values in credentials.items():
            config["profiles"].setdefault(name, {}).update(values)
        return config

    def use_tolerant_config_readers(self, profile: str) -> None:
        """Have botocore's credential providers read the AWS config as config/aws_config.py does.

        And never refresh an SSO session: sso/ does so, under a lock.
        """
        config_file = self.get_config_variable("config_file")
        credentials_file = self.get_config_variable("credentials_file")
        chain = self.get_component("credential_provider")
        for provider in (
            SharedCredentialProvider(credentials_file, profile, ini_parser=_sections),
            ConfigProvider(config_file, profile, config_parser=_profile_map),
            SSOProvider(
                lambda: self.full_config,
                self.create_client,
                profile,
                token_provider=SSOTokenProvider(
                    self, profile_name=profile, time_fetcher=_time_before_any_refresh
                ),
            ),
        ):
            chain.insert_after(provider.METHOD, provider)
            chain.remove(provider.METHOD)
        with suppress(aws_errors.UnknownCredentialError):  # a botocore that has no `aws login` yet
            # Any: its cache is a private attribute, and no argument reaches it from here.
            login: Any = chain.get_provider("login")
            login._token_cache = _LoginCache(login._token_cache._working_dir)


class _LoginCache(JSONFileCache):
    """The tokens of `aws login`. Those that root writes belong to the owner of the home."""

    def __init__(self, folder: str) -> None:
        super().__init__(folder)
        self._folder = Path(folder)

    def __setitem__(self, key: str, value: Any) -> None:
        """Raises OSError."""
        file = self._folder / f"{key}.json"
        write_whole(file, json.dumps(value).encode(), durable=True, for_owner_of_folder=True)


def _time_before_any_refresh() -> datetime:
    """Return a time by which botocore refreshes no live token: it does so 15 minutes early."""
    return datetime.now(UTC) - timedelta(minutes=15)


class AnonymousSession(Session):
    """For calls without credentials: AWS_PROFILE may name a profile that does not exist yet."""

    def get_scoped_config(self) -> dict[str, Any]:
        with suppress(aws_errors.ProfileNotFound):
            return super().get_scoped_config()
        return {}


def unsigned_client(
    service: str, region: str, profile: str = "", config: Config | None = None
) -> Any:
    """Return a client that signs nothing, with the `ca_bundle` and endpoints of a profile.

    Any: botocore makes its methods at run time.
    """
    unsigned = LIMITS.merge(Config(signature_version=UNSIGNED)).merge(config or Config())
    session = AnonymousSession(profile or None)
    return session.create_client(service, region_name=region, config=unsigned)


def endpoint_of(service: str, region: str, profile: str = "", config: Config | None = None) -> str:
    """Return the URL at which botocore calls a service in a region, with a profile's settings.

    Raises AwsConfigError if the environment or the AWS config sets one that is not a URL.
    """
    try:
        return str(unsigned_client(service, region, profile, config).meta.endpoint_url)
    except ValueError:
        raise AwsConfigError(
            f"the address of {service} in {region} is not valid",
            hint="check AWS_ENDPOINT_URL and endpoint_url",
        ) from None
    except Exception as error:
        raise network_error(error) from error


@cache  # it takes 0.1 s, and a network failure asks for each registry of `status --check`
def regions(service: str = "sso-oidc") -> tuple[str, ...]:
    """Return the regions that have a service, as far as the installed botocore knows."""
    session = AnonymousSession()
    return tuple(
        region
        for partition in session.get_available_partitions()
        for region in session.get_available_regions(service, partition)
    )


def note_on_region(region: str, service: str, setting: str = "region") -> str:
    """Return a note, for the end of a sentence, if a region may not exist; else "".

    `setting` is where the user has written it.
    """
    known = regions(service)
    return "" if region in known else f"; {setting} {region} may not exist{nearest(region, known)}"


def _sections(path: str) -> dict[str, dict[str, str]]:
    return read_sections(aws_path(path), with_secrets=True)


def _profile_map(path: str) -> dict[str, Any]:
    parsed = {
        heading: {name: _nested(value) for name, value in values.items()}
        for heading, values in _sections(path).items()
    }
    return botocore.configloader.build_profile_map(parsed)


def _nested(value: str) -> str | dict[str, str]:
    """Parse a value that may have settings of its own below it, as `s3` and `services` do."""
    if not value.startswith("\n"):
        return value
    parts = (line.partition("=") for line in value.splitlines() if line)
    return {name.strip(): inner.strip() for name, _, inner in parts}


def network_error(error: Exception, what: str = "AWS") -> EcrPyError:
    """Return the error for an exception that botocore raised in a call to `what`."""
    text = first_line(str(error))
    match error:
        case aws_errors.ClientError():
            return answer_error(error, what)
        case aws_errors.HTTPClientError() | aws_errors.ConnectionError():
            return _unreachable(error, what)
        case aws_errors.BotoCoreError():
            return BadAnswer(f"{type(error).__name__}: {text}")
        case ValueError() if text.startswith("Invalid endpoint"):
            return AwsConfigError(text, hint="check AWS_ENDPOINT_URL and endpoint_url")
        case OSError() if error.filename:
            return AwsConfigError(f"{error.filename} cannot be read: {error.strerror}")
    return BadAnswer(f"{what} sent a response that cannot be read ({type(error).__name__})")


def answer_error(error: aws_errors.ClientError, what: str = "AWS") -> EcrPyError:
    """Return the error for an error code of AWS's that the caller does not know better."""
    about = error.response.get("Error", {})
    code, message = str(about.get("Code", "")), first_line(str(about.get("Message", "")))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    again = "try again in a minute"
    if status == 429 or "Throttl" in code or code in ("TooManyRequestsException", "SlowDown"):
        return Throttled(f"{what} is throttling requests", hint=again)
    if isinstance(status, int) and status >= 500:
        return Unreachable(
            f"{what} answered {error.operation_name} with {status} {message}", hint=again
        )
    return BadAnswer(f"{what} answered {error.operation_name} with {code}: {message}")


def _unreachable(
    error: aws_errors.HTTPClientError | aws_errors.ConnectionError, what: str
) -> Unreachable:
    url, proxy, bundle = (
        str(error.kwargs.get(name, "")) for name in ("endpoint_url", "proxy_url", "bundle")
    )
    place = ""
    if cause := proxy_problem() or bundle_problem(bundle):
        pass
    elif proxy:
        cause = proxy_cause(error, proxy)
    else:
        cause, place = cause_of(error, url, bundle), origin(url)
    at = f" at {place}" if place and not what.startswith(place) else ""
    return Unreachable(f"{what} cannot be reached{at}: {cause.words}", hint=cause.hint)


def first_line(text: str) -> str:
    """Return the start of another program's message, in one line of at most 300 characters.

    It is redacted first, since the beginning of a token is not recognised as one.
    """
    line = " ".join(redact(text).split())
    return line if len(line) <= 300 else line[:299] + "…"
