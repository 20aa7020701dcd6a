"""The controller's view of a cluster, against a stand-in that fails in every way."""

import base64
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from docker_credential_ecr_py.controller import api_server, cluster
from docker_credential_ecr_py.controller.api_server import ApiServer
from docker_credential_ecr_py.controller.cluster import WatchedCluster
from docker_credential_ecr_py.controller.observed import MANAGED_BY, MANAGER, PREFIX
from docker_credential_ecr_py.errors import (
    ClusterError,
    ClusterUnavailable,
    Conflict,
    Forbidden,
    Invalid,
    ObjectGone,
    TooManyRequests,
)
from tests.standin.kubernetes import KubernetesApi, frozen
from tests.support.processes import wait_until

NAME = "ecr-pull"
DOCUMENT = b'{"auths":{}}'


class Watching:
    """A cluster that is watched, and the namespaces that were said to have changed."""

    def __init__(self, api: ApiServer) -> None:
        self.changes: list[str] = []
        self.cluster = WatchedCluster(api, self.changes.append)
        self.cluster.watch([NAME], service_accounts=True)
        wait_until(lambda: self.cluster.synced)


@pytest.fixture
def watch(api: ApiServer) -> Iterator[Callable[[], Watching]]:
    """Starts to watch; its threads end with the test."""
    with ExitStack() as stack:

        def started() -> Watching:
            watching = Watching(api)
            stack.callback(watching.cluster.stop)
            return watching

        yield started


@pytest.fixture
def watching(watch: Callable[[], Watching]) -> Watching:
    return watch()


def foreign(namespace: str, **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": NAME, "namespace": namespace}, "type": "Opaque", **more}


def test_namespaces_are_known_with_their_labels(
    server: KubernetesApi, watch: Callable[[], Watching]
) -> None:
    server.add_namespace("shop", team="a")
    found = watch().cluster.namespace("shop")
    assert found is not None
    assert (found.labels, found.terminating) == ({"team": "a"}, False)


def test_a_list_comes_in_pages(
    server: KubernetesApi, watch: Callable[[], Watching], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_server, "_PAGE", 7)
    for number in range(40):
        server.add_namespace(f"n{number}")
    assert len(watch().cluster.namespaces()) == 40


def test_changes_arrive(server: KubernetesApi, watching: Watching) -> None:
    server.add_namespace("shop")
    wait_until(lambda: watching.cluster.namespace("shop"))
    server.add_namespace("shop", team="b")
    wait_until(lambda: watching.cluster.namespaces()[0].labels == {"team": "b"})
    server.remove("namespaces", "", "shop")
    wait_until(lambda: not watching.cluster.namespaces())
    assert watching.changes.count("shop") == 3


def test_watches_that_end_at_once_are_not_begun_on_and_on(
    server: KubernetesApi, watching: Watching
) -> None:
    server.ends_watches = True
    asked = len(server.requests)
    time.sleep(0.5)
    assert len(server.requests) - asked <= 2 * 3  # of each of three resources, one that ran before
    server.ends_watches = False
    server.add_namespace("shop")
    wait_until(lambda: watching.cluster.namespace("shop"))


def test_only_metadata_of_secrets_is_asked_for(server: KubernetesApi, watching: Watching) -> None:
    secrets = [request for request in server.requests if request.path == "/api/v1/secrets"]
    assert secrets
    for request in secrets:
        assert request.query["fieldSelector"] == f"metadata.name={NAME}"
        assert "as=PartialObjectMetadata" in request.headers["Accept"]


def test_a_secret_is_written_and_known_at_once(server: KubernetesApi, watching: Watching) -> None:
    server.add_namespace("shop")
    written = watching.cluster.apply_secret("shop", NAME, DOCUMENT, {f"{PREFIX}hash": "1"})
    assert watching.cluster.secret("shop", NAME) == written
    assert (written.managed, written.editors) == (True, ())
    assert written.annotations == {f"{PREFIX}hash": "1"}
    assert watching.cluster.read_secret("shop", NAME) == DOCUMENT
    kept = server.secret("shop", NAME)
    assert kept is not None
    assert kept["type"] == "kubernetes.io/dockerconfigjson"
    assert kept["metadata"]["labels"] == {MANAGED_BY: MANAGER}


def test_what_others_do_before_our_write_is_answered_stays_known(
    server: KubernetesApi, watching: Watching, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The watch may bring a change that is newer than the answer to our own write."""
    server.add_namespace("shop")
    send = ApiServer.send

    def version() -> str:
        found = watching.cluster.secret("shop", NAME)
        return found.version if found else ""

    def answered_late(api: ApiServer, *arguments: Any, **options: Any) -> bytes:
        answer = send(api, *arguments, **options)
        server.put("secrets", foreign("shop"))
        newest = server.secret("shop", NAME)
        assert newest is not None
        wait_until(lambda: version() == newest["metadata"]["resourceVersion"])
        return answer

    monkeypatch.setattr(ApiServer, "send", answered_late)
    written = watching.cluster.apply_secret("shop", NAME, DOCUMENT, {})
    assert int(version()) > int(written.version)
    seen = watching.cluster.secret("shop", NAME)
    assert seen is not None
    watching.cluster.delete_secret(seen)
    assert int(version()) > int(seen.version)


def test_others_annotations_are_not_kept(server: KubernetesApi, watching: Watching) -> None:
    """kubectl puts the whole of a secret into one, and the owner of a namespace anything."""
    last = {
        "kubectl.kubernetes.io/last-applied-configuration": "secret",
        f"{PREFIX}hash": "1",
        f"{PREFIX}tokens": "secret" * 10_000,
    }
    meta = {"name": NAME, "namespace": "shop", "annotations": last}
    server.put("secrets", {"metadata": meta})
    wait_until(lambda: watching.cluster.secret("shop", NAME))
    assert "secret" not in repr(watching.cluster.secret("shop", NAME))


def managed_by(*managers: str) -> dict[str, Any]:
    fields: dict[str, Any] = {"f:data": {".": {}, "f:.dockerconfigjson": {}}}
    return {
        "metadata": {
            "name": NAME,
            "namespace": "shop",
            "labels": {MANAGED_BY: MANAGER},
            "managedFields": [
                {"manager": MANAGER, "fieldsV1": {"f:metadata": {}}},
                *({"manager": manager, "fieldsV1": fields} for manager in managers),
            ],
        }
    }


@pytest.mark.parametrize(
    ("managers", "editors"),
    [
        ((MANAGER,), ()),
        (("kubectl-edit",), ("kubectl-edit",)),
        ((MANAGER, "velero"), ()),  # it has written what was there
    ],
)
def test_editors_are_who_took_the_key_from_us(
    server: KubernetesApi, watching: Watching, managers: tuple[str, ...], editors: tuple[str, ...]
) -> None:
    server.put("secrets", managed_by(*managers))
    wait_until(lambda: watching.cluster.secret("shop", NAME))
    found = watching.cluster.secret("shop", NAME)
    assert found is not None
    assert found.editors == editors


def test_an_event_from_before_our_write_does_not_undo_it(
    server: KubernetesApi, watching: Watching
) -> None:
    server.add_namespace("shop")
    written = watching.cluster.apply_secret("shop", NAME, DOCUMENT, {f"{PREFIX}hash": "2"})
    old = json.dumps({"metadata": {**managed_by(MANAGER)["metadata"], "resourceVersion": "1"}})
    watch = watching.cluster._secrets[NAME]
    watch._take(api_server.WatchEvent("MODIFIED", msgspec.Raw(old.encode())))
    assert watching.cluster.secret("shop", NAME) == written


def test_a_copy_of_ours_is_not_managed(server: KubernetesApi, watching: Watching) -> None:
    copy = managed_by("reflector")
    del copy["metadata"]["managedFields"][0]
    server.put("secrets", copy)
    wait_until(lambda: watching.cluster.secret("shop", NAME))
    found = watching.cluster.secret("shop", NAME)
    assert found is not None
    assert not found.managed


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, Invalid),
        (401, Forbidden),
        (403, Forbidden),
        (404, ObjectGone),
        (409, Conflict),
        (413, Invalid),
        (422, Invalid),
        (429, TooManyRequests),
        (500, ClusterUnavailable),
        (503, ClusterUnavailable),
        (302, ClusterUnavailable),
    ],
)
def test_answers_have_types(
    server: KubernetesApi, watching: Watching, status: int, error: type[ClusterError]
) -> None:
    server.fail("PATCH", status)
    with pytest.raises(error, match=f"told to fail with {status}"):
        watching.cluster.apply_secret("shop", NAME, DOCUMENT, {})


def test_a_webhook_that_quotes_the_secret_is_not_quoted(
    server: KubernetesApi, watching: Watching
) -> None:
    quoted = base64.b64encode(bytes(range(256))).decode()
    server.fail("PATCH", 403, f"{'denied the request ' * 13}{quoted}")
    with pytest.raises(Forbidden, match=r"denied the request \[secret\]$"):
        watching.cluster.apply_secret("shop", NAME, DOCUMENT, {})


@pytest.mark.parametrize(
    ("header", "seconds"), [("7", 7), ("0", 1), ("-3", 1), ("soon", 1), ("99999999", 300)]
)
def test_retry_after(
    server: KubernetesApi, watching: Watching, header: str, seconds: float
) -> None:
    server.fail("PATCH", 429, Retry_After=header)
    with pytest.raises(TooManyRequests) as raised:
        watching.cluster.apply_secret("shop", NAME, DOCUMENT, {})
    assert raised.value.retry_after == seconds


def test_someone_elses_secret_is_not_taken(server: KubernetesApi, watching: Watching) -> None:
    server.add_namespace("shop")
    server.put("secrets", foreign("shop", type="kubernetes.io/dockerconfigjson"))
    with pytest.raises(Conflict):
        watching.cluster.apply_secret("shop", NAME, DOCUMENT, {})
    with pytest.raises(Conflict):
        watching.cluster.apply_secret("shop", NAME, DOCUMENT, {}, uid="another")


def test_a_secret_that_changed_is_not_deleted(server: KubernetesApi, watching: Watching) -> None:
    server.add_namespace("shop")
    first = watching.cluster.apply_secret("shop", NAME, DOCUMENT, {})
    second = watching.cluster.apply_secret("shop", NAME, DOCUMENT, {})
    with pytest.raises(Conflict):
        watching.cluster.delete_secret(first)
    watching.cluster.delete_secret(second)
    assert watching.cluster.secret("shop", NAME) is None
    watching.cluster.delete_secret(second)  # it is gone already


def test_pull_secrets_of_a_service_account(server: KubernetesApi, watching: Watching) -> None:
    account = {"metadata": {"name": "default", "namespace": "shop"}}
    server.put("serviceaccounts", {**account, "imagePullSecrets": [{"name": "mine"}]})
    wait_until(lambda: watching.cluster.service_accounts("shop"))
    (found,) = watching.cluster.service_accounts("shop")
    assert found.pull_secrets == ("mine",)
    watching.cluster.set_pull_secrets(found, ["mine", NAME])
    assert watching.cluster.service_accounts("shop")[0].pull_secrets == ("mine", NAME)
    with pytest.raises(Conflict):
        watching.cluster.set_pull_secrets(found, [NAME])


def test_an_event_is_sent_once_an_hour(server: KubernetesApi, watching: Watching) -> None:
    for _ in range(3):
        watching.cluster.event("shop", NAME, "LeftAlone", "it is not ours")
    watching.cluster.event("shop", NAME, "LeftAlone", "token \x1b[31m AQoDYXdz")
    events = [one for (kind, _, _), one in server.objects.items() if kind == "events"]
    assert len(events) == 2
    assert events[0]["involvedObject"]["name"] == NAME
    assert "\x1b" not in events[1]["message"]


def test_an_event_that_fails_is_no_error(server: KubernetesApi, watching: Watching) -> None:
    server.fail("POST", 403)
    watching.cluster.event("shop", NAME, "LeftAlone", "it is not ours")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time limits as in a minute that is a second long."""
    monkeypatch.setattr(api_server, "_WATCH", 1)
    monkeypatch.setattr(api_server, "_SLACK", 0.3)
    monkeypatch.setattr(api_server, "_READ", 0.5)
    monkeypatch.setattr(api_server, "_LIST_READ", 0.5)


@pytest.mark.usefixtures("impatient")
def test_a_frozen_server_is_noticed_and_caught_up_with(
    server: KubernetesApi, watching: Watching
) -> None:
    with frozen(server):
        server.add_namespace("unseen")
        wait_until(lambda: watching.cluster.problem)
        assert "did not answer in time" in watching.cluster.problem
        assert watching.cluster.synced  # what is known stays
    wait_until(lambda: watching.cluster.namespace("unseen"))
    wait_until(lambda: not watching.cluster.problem)


@pytest.mark.usefixtures("impatient")
def test_a_quiet_watch_is_no_problem(server: KubernetesApi, watching: Watching) -> None:
    def watches() -> int:
        return sum(request.query.get("watch") == "true" for request in server.requests)

    lists = len(server.requests) - watches()
    wait_until(lambda: watches() >= 9)  # three resources, each ended by the server and begun again
    assert not watching.cluster.problem
    assert len(server.requests) - watches() == lists


def test_an_old_version_means_a_new_list(server: KubernetesApi, watching: Watching) -> None:
    with server.lock:
        server.lose_events()
        server.add_namespace("lost")
        server.lose_events()
        server.forget()
    wait_until(lambda: watching.cluster.namespace("lost"))
    assert not watching.cluster.problem


def test_lost_events_do_not_matter_for_long(
    server: KubernetesApi, watch: Callable[[], Watching], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "_RELIST", 0.5)
    monkeypatch.setattr(api_server, "_WATCH", 1)
    watching = watch()
    with server.lock:
        server.add_namespace("lost")
        server.lose_events()
    wait_until(lambda: watching.cluster.namespace("lost"))


@pytest.mark.parametrize("status", [403, 429, 500])
def test_a_watch_tries_again(
    server: KubernetesApi, watch: Callable[[], Watching], status: int
) -> None:
    server.fail("GET /api/v1/namespaces?", status, times=2, Retry_After="1")
    server.add_namespace("shop")
    assert watch().cluster.namespaces()


def test_an_unexpected_answer_ends_no_watch(
    server: KubernetesApi, watching: Watching, caplog: pytest.LogCaptureFixture
) -> None:
    server.put("namespaces", {"metadata": {"name": "odd", "labels": ["no", "mapping"]}})
    wait_until(lambda: watching.cluster.problem)
    assert "not what Kubernetes answers" in watching.cluster.problem
    server.remove("namespaces", "", "odd")
    wait_until(lambda: not watching.cluster.problem)


def test_names_that_are_no_longer_watched(server: KubernetesApi, watching: Watching) -> None:
    server.add_namespace("shop")
    watching.cluster.apply_secret("shop", NAME, DOCUMENT, {})
    watching.cluster.watch(["other"], service_accounts=False)
    wait_until(lambda: watching.cluster.synced)
    assert watching.cluster.secrets("shop") == []
    assert watching.cluster.secret("shop", NAME) is None


def test_a_line_of_a_watch_may_hold_a_next_line_character() -> None:
    chunks = iter(['{"a":"x\x85y"}\n{'.encode(), b"}\n"])
    assert list(api_server._lines(chunks)) == ['{"a":"x\x85y"}'.encode(), b"{}"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "no cluster to talk to"),
        ("{", "not YAML"),
        ("[]", "is not one of Kubernetes"),
        ("", "is not one of Kubernetes"),
        ("{}", "is not complete: 'clusters' is missing"),
        ('{"clusters": [{"name": "x", "cluster": {"server": 1}}]}', "Expected `str`, got `int`"),
        ('{"clusters": [], "contexts": [], "current-context": "x"}', "Context 'x' not found"),
        ("\0", "not YAML"),
    ],
)
def test_a_kubeconfig_that_cannot_be_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, said: str
) -> None:
    file = tmp_path / "kubeconfig"
    monkeypatch.setenv("KUBECONFIG", str(file))
    if text is not None:
        file.write_text(text)
    with pytest.raises(ClusterError, match=said):
        ApiServer.connect()


def test_no_server(api: ApiServer, server: KubernetesApi) -> None:
    server.__exit__()
    with pytest.raises(ClusterUnavailable) as raised:
        api.send("GET", "/api/v1/namespaces")
    assert raised.value.what == (
        f"the API server at {server.url} cannot be reached: Connection refused"
    )


def test_several_kubeconfigs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join(("/one", "/two")))
    with pytest.raises(ClusterError, match="KUBECONFIG names several files: name one of them"):
        ApiServer.connect()


A_SCRIPT = pytest.mark.posix_only("the command is a shell script")


def by_command(file: Path, script: str, version: str = "v1") -> ApiServer:
    """The API server as one may use it who gets credentials from a script."""
    document = json.loads(file.read_text())
    command = {"apiVersion": f"client.authentication.k8s.io/{version}", "command": "sh"}
    document["users"] = [{"name": "me", "user": {"exec": {**command, "args": ["-c", script]}}}]
    file.write_text(json.dumps(document))
    return ApiServer.connect()


@A_SCRIPT
@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_credentials_from_a_command(
    server: KubernetesApi, api: ApiServer, tmp_path: Path, version: str
) -> None:
    script = 'echo "$KUBERNETES_EXEC_INFO" >$0.info; echo \'{"status":{"token":"given"}}\''
    by_command(tmp_path / "kubeconfig", f"cd {tmp_path}; {script}", version).list(
        "/api/v1/namespaces", api_server.Status, {}, metadata_only=True
    )
    assert server.requests[-1].headers["Authorization"] == "Bearer given"
    told = json.loads((tmp_path / "sh.info").read_text())
    assert told["apiVersion"] == f"client.authentication.k8s.io/{version}"


@A_SCRIPT
@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("echo; echo 'log in first' >&2; exit 3", "Exec sh returned 3: log in first"),
        ("echo hello", "the kubeconfig's command printed no token"),
        ("echo '{}'", "the kubeconfig's command printed no token"),
    ],
)
def test_a_command_without_credentials(
    server: KubernetesApi, api: ApiServer, tmp_path: Path, script: str, said: str
) -> None:
    asked = by_command(tmp_path / "kubeconfig", script)
    with pytest.raises(ClusterUnavailable) as raised:
        asked.send("GET", "/api/v1/namespaces")
    assert raised.value.what == f"no credentials for the API server at {server.url}: {said}"


def test_threads_may_share_it(server: KubernetesApi, watching: Watching) -> None:
    for number in range(40):
        server.add_namespace(f"n{number}")

    def write(first: int) -> None:
        for number in range(first, 40, 4):
            watching.cluster.apply_secret(f"n{number}", NAME, DOCUMENT, {})

    threads = [threading.Thread(target=write, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(watching.cluster.secret(f"n{number}", NAME) for number in range(40))
