"""The messages of the kubelet's protocol, as bytes: for a hit, which loads no JSON parser."""

from docker_credential_ecr_py.store import record

LARGEST_REQUEST = 1024 * 1024
GROUP = b"credentialprovider.kubelet.k8s.io"
VERSIONS = (b"v1", b"v1beta1", b"v1alpha1")
# AWS's plugin was once configured with this argument, and configurations are copied.
ARGUMENTS: tuple[list[str], ...] = ([], ["get-credentials"])
# Seconds for which the kubelet keeps an answer: at least a minute, at most half of a token's life.
SHORTEST, LONGEST = 60, 6 * 3600
_BEFORE_VERSION = b'{"kind":"CredentialProviderRequest","apiVersion":"%b/' % GROUP


def plain_request(given: bytes) -> tuple[bytes, bytes] | None:
    """Return the version and the registry's host of a request as a kubelet writes it, or None.

    None too if it has a service account's token.
    """
    if not given.startswith(_BEFORE_VERSION):
        return None
    rest = given[len(_BEFORE_VERSION) :]
    version, _, rest = rest.partition(b'","image":"')
    image, _, end = rest.partition(b'"')
    host = record.plain_host(image)
    if version not in VERSIONS or end.rstrip() != b"}" or not host or not image.startswith(host):
        return None
    return version, host


def response(version: bytes, host: bytes, username: bytes, password: bytes, kept: int) -> bytes:
    """Return a CredentialProviderResponse. `username` and `password` are JSON strings.

    The kubelet keeps it for `kept` seconds, for all images of the registry, and refuses one with
    any other field.
    """
    auth = b',"auth":{"%b":{"username":%b,"password":%b}}' % (host, username, password)
    return _response(version, kept, auth)


def response_without_credentials(version: bytes, kept: int) -> bytes:
    """As response, if there are none: the kubelet pulls without."""
    return _response(version, kept, b"")


def _response(version: bytes, kept: int, auth: bytes) -> bytes:
    return (
        b'{"kind":"CredentialProviderResponse","apiVersion":"%b/%b",'
        b'"cacheKeyType":"Registry","cacheDuration":"%ds"%b}\n' % (GROUP, version, kept, auth)
    )


def seconds_kept(renew_at: int, ends: int, now: float) -> int:
    """Return the seconds for which the kubelet may keep a credential: the rest of its fresh life.

    A minute if it is ageing, because it is being renewed, but not past the moment at which it
    `ends`. Never 0: the kubelet would ask for each container.
    """
    left = max(renew_at - now, min(SHORTEST, ends - now))
    return max(1, min(int(left), LONGEST))
