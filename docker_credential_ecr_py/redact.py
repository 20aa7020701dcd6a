"""Cuts secrets out of text that people or files get to see. The only place that does."""

import re

_CUT = "[secret]"

# A name that says its value is secret, then the value: INI, JSON, a query string, a header. A
# value in quotes goes to the quote that ends it; in JSON within JSON there is a backslash before.
_NAMED = re.compile(
    r"""(?ix)
    ( \b (?: \w*secret\w* | \w*passw(?:or)?d | \w*token | \w*authorization | [\w-]*api[_-]?key
        | x-amz-security-token | x-amz-sso_bearer_token | code_?verifier | device_?code )
      \\*["']? \s* [=:] \s* )
    (?: b? (?P<quote> \\*["'] ) (?! \[secret\] ) (?: (?! (?P=quote) ) . )+ (?P=quote)?
      | (?: (?:basic|bearer) \s+ )? (?! \[secret\] ) [^\s"']{6,} )
    """
)
# AWS's tokens are hundreds of characters of base64, whatever they are called. So may a path be
# long, or the name of a role, but words do not change between lower case, upper case and digits
# at every other character.
_LONG_RUN = re.compile(r"[A-Za-z0-9+/_=-]{100,}")
_CHANGE = re.compile(r"(?<=[a-z])[^a-z]|(?<=[A-Z])[^A-Z]|(?<=[0-9])[^0-9]")
_CHANGES_OF_WORDS = 0.4
# A secret access key is forty characters of base64.
_SECRET_KEY = re.compile(
    r"(?<![\w+/=.:-])(?=[a-z0-9+/]*[A-Z])(?=[A-Z0-9+/]*[a-z])(?=[A-Za-z+/]*[0-9])"
    r"[A-Za-z0-9+/]{40}(?![\w+/=-]|\.\w)"
)
# What a URL carries before the host: https://user:password@proxy.
_USERINFO = re.compile(r"(?<=://)(?:[^\s/:]*:\S*|[^\s/@:]+)(?=@)")
# The query string of a URL. Its values may be secrets whatever their names are.
_QUERY = re.compile(r"(?<=://)(?P<place>[^\s?\"'<>]+\?)(?P<query>[^\s\"'<>#]+)")
_PLAIN_NAMES = ("account_id", "role_name", "region")


def redact(text: str) -> str:
    """`text` without what looks like a token, a password or a secret key."""
    text = _USERINFO.sub(_CUT, text)
    text = _NAMED.sub(r"\1" + _CUT, text)
    text = _QUERY.sub(_cut_values, text)
    text = _LONG_RUN.sub(_cut_unless_words, text)
    return _SECRET_KEY.sub(_CUT, text)


def _cut_values(url: re.Match[str]) -> str:
    pairs = [pair.partition("=") for pair in url["query"].split("&")]
    shown = (
        f"{name}={value if name in _PLAIN_NAMES else _CUT}" if equals else _CUT
        for name, equals, value in pairs
    )
    return url["place"] + "&".join(shown)


def _cut_unless_words(run: re.Match[str]) -> str:
    changes = len(_CHANGE.findall(run[0]))
    return run[0] if changes < _CHANGES_OF_WORDS * len(run[0]) else _CUT
