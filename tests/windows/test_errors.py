"""What goes wrong on Windows: the tests of tests/system/get/test_errors.py, with its programs.

Of a test with many cases the first one runs, since each starts a program under wine, for seconds.
"""

import pytest

from tests.system.get.test_errors import *  # noqa: F403
from tests.windows.conftest import WindowsHome


@pytest.fixture(autouse=True)
def _nobody_to_log_in(home: WindowsHome) -> None:
    """Windows always has a desktop, so a login would open a browser."""
    home.environment["CI"] = "true"
