"""Files that a user edits, and may not read."""

from __future__ import annotations

import pytest

from docker_credential_ecr_py.config.text_file import read_text
from docker_credential_ecr_py.errors import SettingsError
from tests.support.other_user import AS_ROOT, as_other, folder_of_theirs, give


@AS_ROOT
def test_what_gives_the_right_to_read() -> None:
    """Only for a file of the user's own; an editor could not open it either."""
    with folder_of_theirs() as home:
        own, roots = home / "own.toml", home.parent / "roots.toml"
        own.write_text("")
        own.chmod(0)
        roots.write_text("")
        roots.chmod(0)
        with as_other():
            with pytest.raises(SettingsError) as error:
                read_text(roots, SettingsError)
            assert str(error.value) == f"ecr-py: {roots} cannot be read: Permission denied"
        give(own)
        with as_other():
            with pytest.raises(SettingsError) as error:
                read_text(own, SettingsError)
            assert str(error.value).endswith(f"Permission denied: run `chmod u+rw {own}`")
