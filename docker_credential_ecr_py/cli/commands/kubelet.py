"""ecr-py kubelet: sets up the kubelet's credential provider, and shows what the kubelet gets."""

import os
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import click

from docker_credential_ecr_py.app import App
from docker_credential_ecr_py.cli.humanize import lasting
from docker_credential_ecr_py.cli.installation import with_extra
from docker_credential_ecr_py.cli.output import FAILED, Group, show_folded
from docker_credential_ecr_py.credential import basic_auth
from docker_credential_ecr_py.errors import BadInput, EcrPyError, NotEcr, YamlMissing
from docker_credential_ecr_py.kubelet import provider_config
from docker_credential_ecr_py.kubelet.check import Kubelet, Response, ask, find_kubelet
from docker_credential_ecr_py.kubelet.messages import LARGEST_REQUEST
from docker_credential_ecr_py.kubelet.protocol import Request
from docker_credential_ecr_py.kubelet.provider_config import Provider
from docker_credential_ecr_py.kubelet.service_account import ROLE_ANNOTATIONS, ServiceAccount
from docker_credential_ecr_py.programs import find_program
from docker_credential_ecr_py.protocol import KUBELET_PLUGIN
from docker_credential_ecr_py.registry import host_of

_INDENT = 11


@click.group(cls=Group)
def kubelet() -> None:
    """Set up the kubelet's image credential provider, and check it.

    \b
    ecr-py kubelet config > /etc/kubernetes/credential-provider.yaml
    ecr-py kubelet check 642976147714.dkr.ecr.eu-west-1.amazonaws.com/team/app:1
    """


@kubelet.command()
@click.option(
    "--env",
    "variables",
    multiple=True,
    metavar="NAME=VALUE",
    help="A variable of the plugin's environment, such as AWS_CONFIG_FILE=/etc/ecr-py/aws.",
)
@click.option(
    "--service-accounts",
    is_flag=True,
    help="Pull as the role in an annotation of the pod's service account (Kubernetes 1.34).",
)
@click.option(
    "--annotation",
    "annotations",
    multiple=True,
    metavar="KEY",
    help=f"The annotation that names the role (default: {ROLE_ANNOTATIONS[0]}).",
)
@click.option(
    "--audience",
    default=provider_config.AUDIENCE,
    show_default=True,
    metavar="NAME",
    help="The audience of the service accounts' tokens.",
)
@click.option(
    "--name",
    default=KUBELET_PLUGIN,
    show_default=True,
    metavar="NAME",
    help="The name of the program, or of a link to it, in the kubelet's folder.",
)
@click.option("--rbac", is_flag=True, help="Print the RBAC for --service-accounts instead.")
def config(
    variables: tuple[str, ...],
    service_accounts: bool,
    annotations: tuple[str, ...],
    audience: str,
    name: str,
    rbac: bool,
) -> None:
    """Print the kubelet's CredentialProviderConfig, as YAML.

    It is for every registry of ECR's, and for the aliases in the settings. The kubelet reads it
    when it starts, with --image-credential-provider-config and --image-credential-provider-bin-dir.

    \b
    ecr-py kubelet config > /etc/kubernetes/credential-provider.yaml
    ecr-py kubelet config --service-accounts     each pod pulls with a role of its own
    ecr-py kubelet config --rbac | kubectl apply -f -
    """
    if rbac:
        click.echo(provider_config.rbac_text(audience), nl=False)
        return
    if audience != provider_config.AUDIENCE and not (service_accounts or annotations):
        raise click.UsageError("--audience needs --service-accounts, --annotation or --rbac")
    _check_roles(annotations)
    if not provider_config.is_name(name):
        raise BadInput(f"--name: {name[:80]!a} is not the name of a provider's program")
    provider = Provider(
        name=name,
        patterns=(*provider_config.ECR_PATTERNS, *App().settings.aliases),
        environment=_variables(variables),
        audience=audience if service_accounts or annotations else "",
        annotations=annotations,
    )
    click.echo(provider_config.config_text(provider), nl=False)


def _check_roles(annotations: tuple[str, ...]) -> None:
    for key in annotations:
        if key not in ROLE_ANNOTATIONS:
            known = " or ".join(ROLE_ANNOTATIONS)
            raise BadInput(f"the plugin reads the role from {known}, not from {key[:80]!a}")


def _variables(given: tuple[str, ...]) -> dict[str, str]:
    """Return --env as a dict. Raises BadInput for what cannot stand in YAML, or is no variable."""
    found = _pairs(given, "--env")
    for name, value in found.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
            raise BadInput(f"--env: {name[:80]!a} is not the name of a variable")
        if not value.isprintable():
            raise BadInput(f"--env: the value of {name} is not a line of text")
    return found


def _pairs(given: tuple[str, ...], option: str) -> dict[str, str]:
    """Return NAME=VALUE texts as a dict. Raises BadInput."""
    for text in given:
        if not text.partition("=")[0].strip() or "=" not in text:
            raise BadInput(f"{option} takes NAME=VALUE, not {text[:80]!a}")
    return dict(text.split("=", 1) for text in given)


@kubelet.command()
@click.argument("image")
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path),
    help="The kubelet's configuration (default: that of the kubelet that runs here, or ours).",
)
@click.option(
    "--bin-dir", type=click.Path(path_type=Path), help="The folder with the kubelet's providers."
)
@click.option(
    "--token-file",
    type=click.File("rb"),
    help="A token of the pod's service account; `-` is standard input.",
)
@click.option(
    "--annotation",
    "annotations",
    multiple=True,
    metavar="KEY=VALUE",
    help="An annotation of the pod's service account.",
)
def check(
    image: str,
    config_path: Path | None,
    bin_dir: Path | None,
    token_file: BinaryIO | None,
    annotations: tuple[str, ...],
) -> None:
    """Do what the kubelet would do for IMAGE, and explain the result.

    Run it on a node, as root: it then has the flags and the environment of the kubelet that runs
    there. Exits with 0 only if the kubelet would pull with credentials that the registry accepts.

    \b
    ecr-py kubelet check 642976147714.dkr.ecr.eu-west-1.amazonaws.com/team/app:1
    kubectl create token app -n team --audience sts.amazonaws.com > token
    ecr-py kubelet check --token-file token \\
        --annotation eks.amazonaws.com/ecr-role-arn=ROLE IMAGE
    """
    token = _token_in(token_file) if token_file else ""
    about = _pairs(annotations, "--annotation")
    Request("v1", image).registry_host  # noqa: B018 - raises BadInput
    found = find_kubelet()
    kubelet = replace(found, config=config_path or found.config, bin_dir=bin_dir or found.bin_dir)
    _show("kubelet", _described(kubelet))
    try:
        providers = (
            provider_config.read_providers(kubelet.config)
            if kubelet.config
            else [Provider(patterns=(*provider_config.ECR_PATTERNS, *App().settings.aliases))]
        )
    except YamlMissing as error:
        error.hint = with_extra("kubernetes")
        raise
    name = _without_tag(image)
    matching = [provider for provider in providers if provider.pattern_for(name)]
    if not matching:
        names = ", ".join(provider.name for provider in providers)
        raise EcrPyError(f"matchImages of no provider matches {name} ({names})")
    works = [_works(kubelet, provider, name, token, about) for provider in matching]
    if not any(works):
        raise SystemExit(FAILED)


def _token_in(file: BinaryIO) -> str:
    """Raises BadInput if the file has no token, as after a kubectl that failed."""
    text = file.read(LARGEST_REQUEST).decode(errors="replace").strip()
    if not text.isascii() or not text.isprintable() or not text:
        raise BadInput("--token-file: there is no token in it")
    return text


def _show(name: str, line: str) -> None:
    show_folded(f"{name:{_INDENT}}{line}", indent=_INDENT)


def _described(kubelet: Kubelet) -> str:
    none = "none runs here, so a usual environment is used"
    runs = f"process {kubelet.pid}" if kubelet.pid else none
    runs += ", whose environment only root can read" if kubelet.hidden else ""
    return f"{runs}, with {kubelet.config or 'what `ecr-py kubelet config` prints'}"


def _without_tag(image: str) -> str:
    """Return an image as the kubelet names it to providers: without tag and digest."""
    host, slash, path = image.partition("@")[0].partition("/")
    return f"{host}{slash}{path.partition(':')[0]}"


def _works(
    kubelet: Kubelet, provider: Provider, image: str, token: str, annotations: Mapping[str, str]
) -> bool:
    """As _checked. The kubelet asks the others if one provider fails, and so does this command."""
    try:
        return _checked(kubelet, provider, image, token, annotations)
    except EcrPyError as error:
        click.echo(str(error), err=True)
        return False


def _checked(
    kubelet: Kubelet, provider: Provider, image: str, token: str, annotations: Mapping[str, str]
) -> bool:
    """Ask one provider, and show what comes. Return whether a pull would have credentials."""
    _show("provider", f"{provider.name}, by the pattern {provider.pattern_for(image)}")
    program = _program(kubelet, provider)
    environment = kubelet.environment_for(provider)
    if not provider.audience:
        if token:
            _show("token", "is not sent: the configuration has no tokenAttributes")
        token, annotations = "", {}
    sent = {name: annotations[name] for name in provider.annotations if name in annotations}
    if os.path.realpath(program).endswith(f"/{KUBELET_PLUGIN}"):
        _explain(image, token, sent, environment)
    return _result(ask(program, provider, environment, image, token, sent), image)


def _program(kubelet: Kubelet, provider: Provider) -> Path:
    """Return the program of a provider: in the kubelet's folder, or as it is installed here."""
    if kubelet.bin_dir is not None:
        return kubelet.bin_dir / provider.name
    beside = Path(sys.executable).with_name(provider.name)
    found = str(beside) if beside.exists() else find_program(provider.name)
    if not found:
        raise EcrPyError(
            f"{provider.name} is not installed here", hint="name its folder: --bin-dir"
        )
    return Path(found)


def _explain(
    image: str, token: str, annotations: Mapping[str, str], environment: Mapping[str, str]
) -> None:
    """Show which identity answers in the plugin's environment, as `ecr-py explain` does."""
    before = dict(os.environ)
    try:
        os.environ.clear()
        os.environ.update(environment)
        with suppress(EcrPyError):
            if role := Request("v1", image, token, annotations).role:
                _show("identity", f"{ServiceAccount.of(token).title} has the role {role}")
                return
            step = App(environment, may_log_in=False).select(image.partition("/")[0]).steps[-1]
            _show("identity", f"by the rule {step.rule}: {step.saw}")
    finally:
        os.environ.clear()
        os.environ.update(before)


def _result(response: Response, image: str) -> bool:
    if response.auth is None:
        _show("answer", "no credentials: the kubelet pulls without")
        return False
    kept = "as long as defaultCacheDuration" if response.kept is None else lasting(response.kept)
    _show("answer", f"user {response.auth[0]} and a token; the kubelet keeps them for {kept}")
    status = _answer_to_token(image, response.auth)
    if status is not None:
        accepted = status == 200
        _show("registry", "accepts the token" if accepted else f"rejects the token ({status})")
        return accepted
    return True


def _answer_to_token(image: str, auth: tuple[str, str]) -> int | None:
    """Return the status of a request with the token; None if the registry is not asked.

    ECR Public and registries that are not ECR's take tokens in ways of their own.
    """
    from docker_credential_ecr_py.aws.probe import status_at_registry

    registry = image.partition("/")[0]
    try:
        if App().settings.registry_for(host_of(registry)).public:
            return None
    except NotEcr:
        return None
    return status_at_registry(registry, basic_auth(*auth))
