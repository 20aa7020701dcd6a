"""Cuts secrets out of text before it is shown or written. No other module does."""

import re

_CUT = "[secret]"

# The name of a secret, then its value: INI, JSON, a query string, a header. A value in quotes ends
# at the next quote; in JSON within JSON each has a backslash before it.
_NAMED = re.compile(
    r"""(?ix)
    ( \b (?: \w*secret\w* | \w*passw(?:or)?d | \w*token | \w*authorization | [\w-]*api[_-]?key
        | x-amz-security-token | x-amz-sso_bearer_token | code_?verifier | device_?code )
      \\*["']? \s* [=:] \s* )
    (?: b? (?P<quote> \\*["'] ) (?! \[secret\] ) (?: (?! (?P=quote) ) . )+ (?P=quote)?
      | (?: (?:basic|bearer) \s+ )? (?! \[secret\] ) [^\s"']{6,} )
    """
)
# AWS's tokens are hundreds of characters of base64, with any name. A path or the name of a role may
# be as long, but words do not change between lower case, upper case and digits at every other
# character.
_LONG_RUN = re.compile(
    r"""(?x)
    [A-Za-z0-9+/_=-]{100,}
    # The names in ARNs of roles and sessions are chosen by users, and may look like anything.
    | (?P<arn> \b arn:aws[a-z-]*:(?:iam|sts)::[0-9]{12}:[a-z-]+
        (?:/[\w+=,.@-]{1,64}){1,2} (?![\w+=/-]) )
    """
)
_CHANGE = re.compile(r"(?<=[a-z])[^a-z]|(?<=[A-Z])[^A-Z]|(?<=[0-9])[^0-9]")
_CHANGES_OF_WORDS = 0.4
# A secret access key is forty characters of base64.
_SECRET_KEY = re.compile(
    r"(?<![\w+/=.:-])(?=[a-z0-9+/]*[A-Z])(?=[A-Z0-9+/]*[a-z])(?=[A-Za-z+/]*[0-9])"
    r"[A-Za-z0-9+/]{40}(?![\w+/=-]|\.\w)"
)
# The part of a URL before the host: https://user:password@proxy.
_USERINFO = re.compile(r"(?<=://)(?:[^\s/:]*:\S*|[^\s/@:]+)(?=@)")
# The query string of a URL. Its values may be secrets with any name.
_QUERY = re.compile(r"(?<=://)(?P<place>[^\s?\"'<>]+\?)(?P<query>[^\s\"'<>#]+)")
_PLAIN_NAMES = ("account_id", "role_name", "region")


def redact(text: str) -> str:
    """Return `text` without parts that look like a token, a password or a secret key."""
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
    if run["arn"]:
        return run[0]
    changes = len(_CHANGE.findall(run[0]))
    return run[0] if changes < _CHANGES_OF_WORDS * len(run[0]) else _CUT
