"""What all our calls to AWS share: time limits, and botocore's network errors in our words."""

import os

import botocore.exceptions as aws_errors
from botocore.config import Config

from docker_credential_ecr_py.errors import (
    AwsConfigError,
    BadAnswer,
    EcrPyError,
    Throttled,
    Unreachable,
)

# Seconds for a connection and for an answer; a call is tried four times, with jittered pauses.
CONNECT, READ = 4, 8
LIMITS = Config(
    connect_timeout=CONNECT,
    read_timeout=READ,
    retries={"mode": "standard", "total_max_attempts": 4},
)


def network_error(error: Exception, what: str = "AWS") -> EcrPyError:
    """What stood between us and `what`, or what it answered that is no answer."""
    text = tail(str(error))
    match error:
        case aws_errors.ClientError():
            return answer_error(error, what)
        case aws_errors.ProxyConnectionError():
            cause = tail(str(error.kwargs.get("error", error)))
            return Unreachable(
                f"the proxy did not let us through to {what}: {cause}",
                mend="see HTTPS_PROXY and NO_PROXY",
            )
        case aws_errors.SSLError() if bundle := _missing_bundle():
            return Unreachable(f"AWS_CA_BUNDLE names {bundle}, and there is no such file")
        case aws_errors.SSLError():
            return Unreachable(
                f"the TLS certificate of {what} is not trusted here: {text}",
                mend="set AWS_CA_BUNDLE to the certificates of your proxy",
            )
        case aws_errors.ConnectTimeoutError() | aws_errors.ReadTimeoutError():
            return Unreachable(f"{what} gave no answer in time: {text}")
        case aws_errors.EndpointConnectionError():
            return Unreachable(f"{what} cannot be reached at {error.kwargs.get('endpoint_url')}")
        case aws_errors.HTTPClientError() | aws_errors.ConnectionError():
            return Unreachable(f"{what} cannot be reached: {text}")
        case aws_errors.BotoCoreError():
            return BadAnswer(f"{type(error).__name__}: {text}")
        case OSError() if error.filename:
            return AwsConfigError(f"{error.filename} cannot be read: {error.strerror}")
    return BadAnswer(f"{what} gave an answer that cannot be read ({type(error).__name__})")


def answer_error(error: aws_errors.ClientError, what: str = "AWS") -> EcrPyError:
    """An error that AWS answered, where the caller has nothing better to say."""
    about = error.response.get("Error", {})
    code, message = str(about.get("Code", "")), tail(str(about.get("Message", "")))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    again = "try again in a minute"
    if status == 429 or "Throttl" in code or code in ("TooManyRequestsException", "SlowDown"):
        return Throttled(f"{what} asks to call less often", mend=again)
    if isinstance(status, int) and status >= 500:
        return Unreachable(
            f"{what} answered {error.operation_name} with {status} {message}", mend=again
        )
    return BadAnswer(f"{what} answered {error.operation_name} with {code}: {message}")


def _missing_bundle() -> str:
    bundle = os.environ.get("AWS_CA_BUNDLE", "")
    return bundle if bundle and not os.path.exists(bundle) else ""


def tail(text: str) -> str:
    """Enough of somebody else's words to go on, in one line."""
    line = " ".join(text.split())
    return line if len(line) <= 300 else line[:299] + "…"
