"""ecr-py policy: prints the least IAM policy for a task. Works offline.

Source: Amazon ECR's user guide, "IAM permissions for pushing an image" and its managed policies.
"""

from collections.abc import Iterable
from typing import Any

import click

from docker_credential_ecr_py.app import App
from docker_credential_ecr_py.cli.completions import REGISTRIES, REPOSITORIES
from docker_credential_ecr_py.cli.output import Group, show_json
from docker_credential_ecr_py.cli.target_options import target_options
from docker_credential_ecr_py.cli.targets import (
    TargetOptions,
    registry_and_repository,
    resolve_targets,
)
from docker_credential_ecr_py.errors import BadInput
from docker_credential_ecr_py.reference import Reference
from docker_credential_ecr_py.registry import Registry

# Each also allows what those before it allow.
_ACTIONS = {
    "pull": ("BatchCheckLayerAvailability", "GetDownloadUrlForLayer", "BatchGetImage"),
    "push": ("InitiateLayerUpload", "UploadLayerPart", "CompleteLayerUpload", "PutImage"),
    "create": ("DescribeRepositories", "CreateRepository"),
}

_repositories_option = click.option(
    "--repository",
    "repositories",
    multiple=True,
    metavar="NAME",
    shell_complete=REPOSITORIES,
    help="Only this repository; `team/*` is all under team (default: all).",
)


@click.group(cls=Group)
def policy() -> None:
    """Print the least IAM policy for a task, as JSON.

    \b
    ecr-py policy pull dev                       all repositories of profile dev's registry
    ecr-py policy push --repository lcm-backend --repository nats
    ecr-py policy create 642976147714.dkr.ecr.eu-west-1.amazonaws.com
    ecr-py policy pull > pull.json && aws iam create-policy \\
        --policy-name pull --policy-document file://pull.json
    """


# The help text of each task.
_HELP = {
    "pull": """Print the policy for pulling.

    \b
    ecr-py policy pull dev
    ecr-py policy pull --repository 642976147714.dkr.ecr.eu-west-1.amazonaws.com/nats
    """,
    "push": """Print the policy for pushing to existing repositories, and pulling.

    \b
    ecr-py policy push dev --repository lcm-backend
    """,
    "create": """Print the policy for creating repositories, pushing to them and pulling.

    \b
    ecr-py policy create dev --repository 'team/*'
    """,
}


def _add_command(task: str, help: str) -> None:
    @policy.command(task, help=help)
    @click.argument("name", default="", metavar="[REGISTRY]", shell_complete=REGISTRIES)
    @_repositories_option
    @target_options
    def print_policy(name: str, repositories: tuple[str, ...], options: TargetOptions) -> None:
        host, repository = registry_and_repository(name)
        references = [_reference(text) for text in repositories]
        hosts = filter(None, [host, *(reference.host for reference in references)])
        found = resolve_targets(App(), options, hosts).registry
        if found.public:
            raise BadInput(
                "ECR Public needs no policy for a pull, and uses other actions for a push"
            )
        named = [repository, *(reference.repository for reference in references)]
        show_json(least_policy(task, found, list(dict.fromkeys(filter(None, named))) or ["*"]))


for _task, _help in _HELP.items():
    _add_command(_task, _help)


def least_policy(task: str, registry: Registry, repositories: Iterable[str]) -> dict[str, Any]:
    """Return the IAM policy for "pull", "push" or "create" in these repositories, or all ("*")."""
    place = f"arn:{registry.partition}:ecr:{registry.region}:{registry.account}:repository"
    arns = [f"{place}/{name}" for name in repositories]
    login = _statement("Login", ["GetAuthorizationToken"], ["*"])
    tasks = list(_ACTIONS)
    allowed = tasks[: tasks.index(task) + 1]
    statements = [_statement(name.capitalize(), _ACTIONS[name], arns) for name in allowed]
    return {"Version": "2012-10-17", "Statement": [login, *statements]}


def _statement(sid: str, actions: Iterable[str], resources: list[str]) -> dict[str, Any]:
    return {
        "Sid": sid,
        "Effect": "Allow",
        "Action": [f"ecr:{action}" for action in actions],
        "Resource": resources,
    }


def _reference(text: str) -> Reference:
    """Parse a repository, or several with the wildcards of IAM. Raises BadInput."""
    example = text.replace("*", "xx").replace("?", "x")
    reference = Reference.parse(example).without_image()
    if example == text:
        return reference
    if reference.host:
        raise BadInput(f"{text}: with a wildcard, name the registry by --registry")
    return Reference(text)
