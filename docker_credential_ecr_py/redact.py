"""Cuts secrets out of text that people or files get to see. The only place that does."""

import re

_CUT = "[secret]"

# A name that says its value is secret, then the value: INI, JSON, a query string, a header.
_NAMED = re.compile(
    r"""(?ix)
    ( ["']? \b (?: \w*secret\w* | \w*password | \w*token | \w*authorization
        | x-amz-security-token | x-amz-sso_bearer_token | code_?verifier | device_?code )
      ["']? \s* [=:] \s* (?: b?["'] )? (?: (?:basic|bearer) \s+ )? )
    (?! \[secret\] ) [^\s"',;&<>(){}]{6,}
    """
)
# AWS's tokens are hundreds of characters of base64, whatever they are called.
_LONG_RUN = re.compile(r"[A-Za-z0-9+/_=-]{100,}")
_LONGEST_PATH_SEGMENT = 32
# A secret access key is forty characters of base64.
_SECRET_KEY = re.compile(
    r"(?<![\w+/=.:-])(?=[a-z0-9+/]*[A-Z])(?=[A-Z0-9+/]*[a-z])(?=[A-Za-z+/]*[0-9])"
    r"[A-Za-z0-9+/]{40}(?![\w+/=.-])"
)
# What a URL carries before the host: https://user:password@proxy.
_USERINFO = re.compile(r"(?<=://)[^\s/@]+(?=@)")


def redact(text: str) -> str:
    """`text` without what looks like a token, a password or a secret key."""
    text = _USERINFO.sub(_CUT, text)
    text = _NAMED.sub(r"\1" + _CUT, text)
    text = _LONG_RUN.sub(_cut_unless_a_path, text)
    return _SECRET_KEY.sub(_CUT, text)


def _cut_unless_a_path(run: re.Match[str]) -> str:
    longest = max(map(len, run[0].split("/")))
    return run[0] if longest <= _LONGEST_PATH_SEGMENT else _CUT
