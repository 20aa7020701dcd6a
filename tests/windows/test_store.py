"""What is kept on Windows: erase, list, and both uses of the Credential Manager."""

import json

from tests.standin.aws import Aws
from tests.support.home import DEV, NOT_FOUND, registry
from tests.support.records import files
from tests.support.stores import clear_records, erase, right, set_store, store
from tests.windows.conftest import WindowsHome

LONG = "x" * 3000  # a credential in the Credential Manager may have 2,560 bytes


def test_erase_and_list(home: WindowsHome, aws: Aws) -> None:
    home.get(registry(DEV))
    assert home.call("list").json[f"https://{registry(DEV)}"] == "AWS"
    assert erase(home, registry(DEV)).code == 0
    assert not files(home, "selections")


def test_a_store_under_a_key_in_the_credential_manager(home: WindowsHome, aws: Aws) -> None:
    set_store(home, "keyring")
    first = right(aws, home.get(registry(DEV)))
    assert right(aws, home.get(registry(DEV))) == first
    assert files(home, "credentials")
    assert not clear_records(home)


def test_other_registries_in_the_credential_manager(home: WindowsHome) -> None:
    set_store(home, "file", fallback="keyring")
    assert store(home, "https://registry.example", "me", LONG).code == 0
    kept = json.loads(home.call("get", stdin=b"https://registry.example").stdout)
    assert kept["Secret"] == LONG
    assert erase(home, "https://registry.example").code == 0
    gone = home.call("get", stdin=b"https://registry.example")
    assert (gone.code, gone.stdout) == (1, f"{NOT_FOUND}\n".encode())
