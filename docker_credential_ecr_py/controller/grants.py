"""The grants file: which namespaces get pull secrets for which registries. Parsed and checked.

YAML, as users of Kubernetes write it, read as text: an account stays twelve digits, and a label
that is written `yes` stays "yes". An error names the file, the line and the key.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeVar

import yaml

from docker_credential_ecr_py.config.text_file import read_existing
from docker_credential_ecr_py.errors import BadInput, EcrPyError, GrantsError, nearest
from docker_credential_ecr_py.registry import (
    Registry,
    host_of,
    may_name_registries,
    partition_of,
)

DEFAULT_SECRET = "ecr-pull"  # noqa: S105 - a name
# A ConfigMap holds no more.
_LARGEST = 1024 * 1024
_DEEPEST = 20
# More is not read: aliases of YAML can make millions of items of a small file.
_MOST_ITEMS, _MOST_MISTAKES = 100_000, 100
_ACCOUNT = re.compile(r"[0-9]{12}")
_LINE = re.compile(r"[^\x00-\x1f\x7f]{1,200}")
_GLOB = re.compile(r"[a-z0-9.*?\[\]!_-]+")
_WILDCARD = re.compile(r"[*?\[]")
# Names, label keys and label values as apimachinery has them (pkg/util/validation).
_SUBDOMAIN = re.compile(r"(?=.{1,253}$)[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?")
_NAME_GLOB = re.compile(r"[a-z0-9.*?\[\]!-]+")
_LABEL_KEY = re.compile(
    r"(?:(?=[^/]{1,253}/)[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?/)?"
    r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?"
)
_LABEL_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")

_T = TypeVar("_T")


@dataclass(frozen=True)
class Requirement:
    """One condition on labels, as in a matchExpressions of Kubernetes; `operator` is one of its.

    A matchLabels is In with one value.
    """

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def fits(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "In":
                return value in self.values
            case "NotIn":  # also if the label is absent, as Kubernetes has it
                return value not in self.values
            case "Exists":
                return value is not None
        return value is None


@dataclass(frozen=True)
class Grant:
    """Registries for namespaces. `line` is where it begins in the file.

    `registries` are hosts, accounts and globs of hosts, as written; an account means its registries
    in `regions`, if there are any, else in the regions of its profiles. A `profile` is used instead
    of the rules. A namespace gets the grant if its name fits one of `namespaces` (names and globs)
    or its labels fit all requirements of one of `selectors`. `service_accounts` are names and
    globs: the secret is added to their imagePullSecrets. `lines` are those of its keys.
    """

    name: str
    registries: tuple[str, ...]
    namespaces: tuple[str, ...] = ()
    selectors: tuple[tuple[Requirement, ...], ...] = ()
    secret: str = DEFAULT_SECRET
    regions: tuple[str, ...] = ()
    profile: str = ""
    service_accounts: tuple[str, ...] = ()
    line: int = field(default=0, compare=False)
    key: str = field(default="", compare=False)
    lines: Mapping[str, int] = field(default_factory=dict, compare=False)

    def fits(self, namespace: str, labels: Mapping[str, str]) -> bool:
        return any(fnmatchcase(namespace, glob) for glob in self.namespaces) or any(
            all(requirement.fits(labels) for requirement in selector) for selector in self.selectors
        )


@dataclass(frozen=True)
class Grants:
    """All grants of a file, in its order."""

    grants: tuple[Grant, ...] = ()
    source: str = "grants.yaml"

    @property
    def secret_names(self) -> tuple[str, ...]:
        """The names of secrets that the grants write, each once."""
        return tuple(dict.fromkeys(grant.secret for grant in self.grants))

    @property
    def patch_service_accounts(self) -> bool:
        return any(grant.service_accounts for grant in self.grants)


def load_grants(path: Path) -> Grants:
    """Return the grants in a file. Raises GrantsError with its first mistake."""
    grants, mistakes = check_grants(path)
    if mistakes:
        raise mistakes[0]
    return grants


def check_grants(path: Path) -> tuple[Grants, list[GrantsError]]:
    """Return the grants of a file that are valid, and every mistake in the others.

    Raises GrantsError if it cannot be read or is not YAML.
    """
    return parse_grants(read_existing(path, GrantsError), str(path))


def parse_grants(text: str, name: str) -> tuple[Grants, list[GrantsError]]:
    """As check_grants, for a document called `name`."""
    if len(text) > _LARGEST:
        raise GrantsError(f"{name} is larger than 1 MiB")
    try:
        _check_depth(text)
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        at = f", line {mark.line + 1}" if mark else ""
        raise GrantsError(f"{name}{at}: not YAML: {error.problem or error.context}") from None
    except yaml.YAMLError as error:
        raise GrantsError(f"{name}: not YAML: {error}") from None
    reader = _Reader(name)
    found: list[Grant] = []
    with suppress(_TooMuch):
        found.extend(reader.grants(root))
    grants = Grants(tuple(found), name)
    return grants, [mistake for _, mistake in sorted(reader.mistakes, key=lambda found: found[0])]


def _check_depth(text: str) -> None:
    """Raise YAMLError if a document is nested so deeply that reading all of it would take long."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise yaml.YAMLError("it is nested too deeply")


class _Mistake(Exception):
    """A value that cannot be used; it is noted, and its grant left out."""


class _TooMuch(Exception):
    """There are so many items or mistakes that the rest of the file is not read."""


class _Reader:
    """Reads a document, and notes each mistake with its line and its key."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.mistakes: list[tuple[int, GrantsError]] = []  # each with its line
        self._items_read = 0

    def grants(self, root: yaml.Node | None) -> Iterator[Grant]:
        if root is None:
            self._note(None, "grants", "is missing: the file is empty")
            return
        try:
            top = self._mapping(root, "", ("secret", "grants"))
            if "grants" not in top:
                raise self._wrong(root, "grants", "is missing")
            secret = self._secret(top, "secret", DEFAULT_SECRET)
            items = self._items(top["grants"], "grants")
        except _Mistake:
            return
        names: dict[str, int] = {}
        for number, node in enumerate(items):
            key = f"grants[{number}]"
            with suppress(_Mistake):
                grant = self._grant(node, key, secret)
                if grant.name in names:
                    what = f"is that of line {names[grant.name]} too"
                    raise self._wrong(node, f"{key}.name", what)
                names[grant.name] = grant.line
                yield grant

    def _grant(self, node: yaml.Node, key: str, secret: str) -> Grant:
        allowed = ("name", "registries", "namespaces", "secret", "regions", "profile")
        keys = self._mapping(node, key, (*allowed, "serviceAccounts"))
        mistakes = len(self.mistakes)
        for needed in ("name", "registries", "namespaces"):
            if needed not in keys:
                self._note(node, f"{key}.{needed}", "is missing")
        names, selectors = self._namespaces(keys, key)
        grant = Grant(
            self._optional_text(keys, "name", key),
            self._list(keys, "registries", key, self._registry),
            names,
            selectors,
            self._secret(keys, f"{key}.secret", secret),
            self._list(keys, "regions", key, self._region),
            self._optional_text(keys, "profile", key),
            self._list(keys, "serviceAccounts", key, self._object_glob),
            self._line(node),
            key,
            {name: self._line(value) for name, value in keys.items()},
        )
        if not grant.registries and len(self.mistakes) == mistakes:
            self._note(keys["registries"], f"{key}.registries", "names no registry")
        if len(self.mistakes) > mistakes:
            raise _Mistake
        return grant

    def _namespaces(
        self, keys: Mapping[str, yaml.Node], key: str
    ) -> tuple[tuple[str, ...], tuple[tuple[Requirement, ...], ...]]:
        def read(item: yaml.Node, at: str) -> str | tuple[Requirement, ...]:
            is_selector = isinstance(item, yaml.MappingNode)
            return self._selector(item, at) if is_selector else self._object_glob(item, at)

        found = self._list(keys, "namespaces", key, read)
        names = tuple(one for one in found if isinstance(one, str))
        return names, tuple(one for one in found if not isinstance(one, str))

    def _selector(self, node: yaml.Node, key: str) -> tuple[Requirement, ...]:
        keys = self._mapping(node, key, ("matchLabels", "matchExpressions"))
        found: list[Requirement] = []
        if "matchLabels" in keys:
            at = f"{key}.matchLabels"
            for label, value in self._mapping(keys["matchLabels"], at).items():
                self._fitting(keys["matchLabels"], at, label, _LABEL_KEY, "the key of a label")
                text = self._text(value, f"{at}.{label}", empty=True)
                self._fitting(value, f"{at}.{label}", text, _LABEL_VALUE, "the value of a label")
                found.append(Requirement(label, "In", (text,)))
        if "matchExpressions" in keys:
            for at, item in self._each(keys["matchExpressions"], f"{key}.matchExpressions"):
                found.append(self._requirement(item, at))
        if not found:  # Kubernetes takes an empty one as "all": too easily written by mistake
            raise self._wrong(node, key, 'selects by no label; all namespaces are written "*"')
        return tuple(found)

    def _requirement(self, node: yaml.Node, key: str) -> Requirement:
        keys = self._mapping(node, key, ("key", "operator", "values"))
        for needed in ("key", "operator"):
            if needed not in keys:
                raise self._wrong(node, f"{key}.{needed}", "is missing")
        label = self._text(keys["key"], f"{key}.key")
        self._fitting(keys["key"], f"{key}.key", label, _LABEL_KEY, "the key of a label")
        operator = self._text(keys["operator"], f"{key}.operator")
        operators = ("In", "NotIn", "Exists", "DoesNotExist")
        if operator not in operators:
            raise self._wrong(
                keys["operator"],
                f"{key}.operator",
                f"{operator!r} is not one of {', '.join(operators)}",
            )
        values = self._list(keys, "values", key, lambda item, at: self._text(item, at, empty=True))
        if bool(values) != (operator in operators[:2]):
            wants = "needs values" if not values else "takes no values"
            raise self._wrong(node, f"{key}.values", f"{operator} {wants}")
        return Requirement(label, operator, values)

    def _registry(self, node: yaml.Node, key: str) -> str:
        text = self._text(node, key)
        if _ACCOUNT.fullmatch(text):
            return text
        if text.isdigit():
            raise self._wrong(node, key, f"{text} is not an account: it has twelve digits")
        glob = text.lower()
        if not _WILDCARD.search(glob):
            try:
                host = Registry.of_host(host_of(text)).host
            except EcrPyError as error:
                raise self._wrong(node, key, error.what) from None
            if "/" in re.sub("^https?://|/$", "", text):
                raise self._wrong(node, key, f"{text!r} is a repository; a token is for a registry")
            return host
        if not _GLOB.fullmatch(glob) or not may_name_registries(glob):
            raise self._wrong(node, key, f"{text!r} matches no registry of ECR's")
        return glob

    def _region(self, node: yaml.Node, key: str) -> str:
        text = self._text(node, key)
        if not partition_of(text):
            raise self._wrong(node, key, f"{text!r} is not a region (such as eu-west-1)")
        return text

    def _object_glob(self, node: yaml.Node, key: str) -> str:
        text = self._text(node, key)
        return self._fitting(node, key, text, _NAME_GLOB, "a name of Kubernetes, or a glob of them")

    def _secret(self, keys: Mapping[str, yaml.Node], key: str, default: str) -> str:
        if "secret" not in keys:
            return default
        with suppress(_Mistake):
            text = self._text(keys["secret"], key)
            return self._fitting(keys["secret"], key, text, _SUBDOMAIN, "the name of a secret")
        return default

    def _fitting(
        self, node: yaml.Node, key: str, text: str, pattern: re.Pattern[str], what: str
    ) -> str:
        if not pattern.fullmatch(text):
            raise self._wrong(node, key, f"must be {what}, not {text[:300]!r}")
        return text

    # The shapes of YAML

    def _mapping(
        self, node: yaml.Node, key: str, allowed: Iterable[str] | None = None
    ) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            raise self._wrong(node, key or "the file", "must have keys under it")
        found: dict[str, yaml.Node] = {}
        for key_node, value in node.value:
            name = self._text(key_node, f"{key}: a key")
            at = f"{key}.{name}" if key else name
            if allowed is not None and name not in allowed:
                near = nearest(name, allowed) or f"; allowed: {', '.join(allowed)}"
                raise self._wrong(key_node, at, f"is unknown{near}")
            if name in found:
                raise self._wrong(key_node, at, "is given twice")
            found[name] = value
        return found

    def _each(self, node: yaml.Node, key: str) -> Iterator[tuple[str, yaml.Node]]:
        for number, item in enumerate(self._items(node, key)):
            yield f"{key}[{number}]", item

    def _items(self, node: yaml.Node, key: str) -> list[yaml.Node]:
        if not isinstance(node, yaml.SequenceNode):
            raise self._wrong(node, key, "must be a list: each item on a line that begins with -")
        self._items_read += len(node.value)
        if self._items_read > _MOST_ITEMS:
            self._note(node, key, f"is one item too many: {_MOST_ITEMS:,} are read")
            raise _TooMuch
        return list(node.value)

    def _list(
        self,
        keys: Mapping[str, yaml.Node],
        name: str,
        key: str,
        read: Callable[[yaml.Node, str], _T],
    ) -> tuple[_T, ...]:
        """Return the items that can be read; the mistakes in the others are noted."""
        found: list[_T] = []
        if name in keys:
            with suppress(_Mistake):
                for at, item in self._each(keys[name], f"{key}.{name}"):
                    with suppress(_Mistake):
                        found.append(read(item, at))
        return tuple(dict.fromkeys(found))

    def _optional_text(self, keys: Mapping[str, yaml.Node], name: str, key: str) -> str:
        if name in keys:
            with suppress(_Mistake):
                text = self._text(keys[name], f"{key}.{name}")
                what = "a line of 200 characters at most"
                return self._fitting(keys[name], f"{key}.{name}", text, _LINE, what)
        return ""

    def _text(self, node: yaml.Node, key: str, *, empty: bool = False) -> str:
        if not isinstance(node, yaml.ScalarNode) or not (node.value.strip() or empty):
            raise self._wrong(node, key, "must be a text")
        return str(node.value)

    def _wrong(self, node: yaml.Node | None, key: str, what: str) -> _Mistake:
        self._note(node, key, what)
        return _Mistake()

    def _note(self, node: yaml.Node | None, key: str, what: str) -> None:
        line = self._line(node) if node is not None else 1
        self.mistakes.append((line, GrantsError(f"{self.name}, line {line}: {key}: {what}")))
        if len(self.mistakes) == _MOST_MISTAKES:
            raise _TooMuch

    @staticmethod
    def _line(node: yaml.Node) -> int:
        return int(node.start_mark.line) + 1


def registries_of(grant: Grant, known: Iterable[Registry]) -> dict[str, list[Registry]]:
    """Return the registries that each text in a grant's `registries` means.

    Globs, and accounts without regions, choose among those `known`; they may mean none.
    """
    known = list(known)
    return {text: _named_by(text, grant.regions, known) for text in grant.registries}


def _named_by(text: str, regions: tuple[str, ...], known: list[Registry]) -> list[Registry]:
    if _ACCOUNT.fullmatch(text) and regions:
        return [found for region in regions if (found := _of_account(text, region))]
    if _ACCOUNT.fullmatch(text):
        return [one for one in known if one.account == text]
    if _WILDCARD.search(text):
        return [one for one in known if fnmatchcase(one.host, text)]
    return [Registry.of_host(text)]


def _of_account(account: str, region: str) -> Registry | None:
    try:
        return Registry.of_account(account, region)
    except BadInput:
        return None
