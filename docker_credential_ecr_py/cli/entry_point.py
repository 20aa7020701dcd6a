"""The entry point of `ecr-py`: makes the process safe before it imports the rest.

Installers write the first lines of ecr-py themselves, so it cannot start Python in isolated mode
as the helper does. This module imports only what the interpreter has loaded by now.

On Windows the helper starts here, too: without the compiled front docker-credential-ecr-py.exe is
the installer's, and the front runs `ecr-py docker-credential ...` for what it does not answer.
"""

import os
import site
import sys


def main() -> None:
    """Run ecr-py, and exit with its code."""
    if sys.argv[1:2] == ["docker-credential"]:
        del sys.argv[1]
        helper()
    sys.path[:] = installed_only(sys.path, os.environ.get("PYTHONPATH", ""))
    try:
        from docker_credential_ecr_py.hardening import forbid_dumps

        forbid_dumps()
        from docker_credential_ecr_py.cli.main import main as command
    except ImportError as error:
        sys.exit(
            f"ecr-py: the module {error.name} is missing: install docker-credential-ecr-py again"
        )
    command()


def helper() -> None:
    """Run docker-credential-ecr-py, and exit with its code."""
    sys.path[:] = installed_only(sys.path, os.environ.get("PYTHONPATH", ""))
    from docker_credential_ecr_py.helper import main as serve

    serve()


def installed_only(path: list[str], python_path: str) -> list[str]:
    """Return `path` without the folders of PYTHONPATH and without the folder of the script.

    A project that the user works on may have a click.py. The folder that this package was loaded
    from stays, as the last one, even if PYTHONPATH names it.
    """
    ours = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    library = os.path.dirname(os.__file__)
    installed = {library, os.path.join(library, "lib-dynload"), *site.getsitepackages()}
    installed.add(site.getusersitepackages())
    foreign = {os.path.abspath(folder) for folder in python_path.split(os.pathsep)}
    if not python_path:
        foreign.clear()
    foreign.add(os.path.dirname(os.path.realpath(sys.argv[0])))
    kept = [
        folder
        for folder in path
        if folder in installed or os.path.abspath(folder) not in {*foreign, ours}
    ]
    return kept if ours in kept else [*kept, ours]
