"""What is said of a folder that nothing can be written to."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from docker_credential_ecr_py.store.writable import advice, problem_of
from tests.support.other_user import AS_ROOT, as_other, folder_of_theirs
from tests.support.programs import NO_MODES


@AS_ROOT
def test_nobody_is_told_to_change_the_rights_of_anothers_folder() -> None:
    """Typed as root, `chmod 700` on such a folder, which may be /, shuts all others out."""
    with folder_of_theirs() as home, as_other():
        above = home.parent  # root's
        error = problem_of(above)
        assert error
        said = f"{above} belongs to root, and you may not write to it"
        assert advice(error, above) == (said, "")
        assert advice(error, above / "missing" / "cache") == (said, "")


@AS_ROOT
def test_the_folder_that_is_changed_is_there() -> None:
    with folder_of_theirs() as home:
        home.chmod(0o555)
        with as_other():
            error = problem_of(home)
            assert error
            what, hint = advice(error, home / "missing" / "cache")
            assert what == f"{home} is read-only"
            assert hint == f"run `chmod u+rwx {home}`"
            os.chmod(home, 0o755)
            assert problem_of(home) is None


@NO_MODES
def test_a_path_that_is_relative() -> None:
    error = PermissionError(errno.EACCES, "Permission denied")
    assert advice(error, Path("missing/cache"))[0].startswith(str(Path.cwd()))
