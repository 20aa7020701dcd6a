"""The helper beside its peers, in one run: `python -m benchmarks.helpers`.

Both sides of a ratio run in turn against the same stand-in for AWS, which counts their calls. A
figure is the ratio of the two medians; behind it the quartiles of the ratios run by run.
"""

import argparse
import json
import logging
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer
from threading import Thread
from typing import Any

import pytest

from benchmarks.daemon import crowd, resident, secret_service
from benchmarks.measure import (
    Command,
    Crowd,
    Ratio,
    Wrong,
    at_once,
    peak_memory,
    race,
    seconds,
)
from benchmarks.remote import tunnel
from benchmarks.week import live
from docker_credential_ecr_py.log import log
from tests.standin import control
from tests.support.front import SOURCE, build_front
from tests.support.home import (
    DEV,
    HELPER,
    LAUNCHER,
    PROD,
    ROLE,
    STAGE,
    START_URL,
    THREE_ACCOUNTS,
    Home,
    registry,
)
from tests.support.kubelet import PLUGIN, request

ACCOUNTS = (DEV, STAGE, PROD)
RIGHT = b'"Username":"AWS"'
NOT_FOUND = b"credentials not found in native keychain"


class NotInstalled(Exception):
    """A peer is not on this machine; its rows are left out."""


@dataclass(frozen=True)
class Row:
    """A line of the table. `reached` is None where there is nothing to reach."""

    name: str
    figure: str
    spread: str = ""
    target: str = ""
    reached: bool | None = None
    detail: str = ""

    def cells(self) -> list[str]:
        reached = {True: "yes", False: "NO", None: ""}[self.reached]
        return [self.name, self.figure, self.spread, self.target, reached, self.detail]


class Bench:
    """What the rows share: the stand-in, a folder for homes, and how often to run."""

    def __init__(self, folder: Path, runs: int, server: Mapping[str, Any]) -> None:
        self.folder = folder
        self.runs = runs
        self.idle = 600 if runs >= 40 else 20  # seconds that the idle daemon is looked at
        self.hits = 5 * runs  # they take milliseconds: more of them cost little and tell more
        self.url: str = server["url"]
        self.endpoints: dict[str, str] = server["environment"]
        self.proxy: dict[str, str] = server["proxy"]
        for account in ACCOUNTS:
            control.call(self.url, "assign", account=account, role=ROLE)

    def home(self, name: str, config: str = THREE_ACCOUNTS) -> Path:
        """A home with the accounts of one SSO start URL, and a live session."""
        home = self.folder / name
        (home / ".aws").mkdir(parents=True)
        (home / ".aws" / "config").write_text(config)
        control.call(self.url, "write_sso_token", home=home, start_url=START_URL)
        return home

    def environment(self, home: Path, way: Mapping[str, str], **more: str) -> dict[str, str]:
        """All that a program gets to see; `way` is how it reaches the stand-in."""
        return {"HOME": str(home), "PATH": os.environ["PATH"], **way, **more}

    def hit(self, home: Path, *argv: str, host: str = registry(DEV)) -> Command:
        """A `get` of ours that is answered from the cache; the first run, untimed, fills it."""
        environment = self.environment(home, self.endpoints)
        return Command([*(argv or [str(HELPER)]), "get"], environment, host.encode(), answer=RIGHT)

    @contextmanager
    def latency(self, each: float) -> Iterator[None]:
        control.call(self.url, "set", latency=each)
        try:
            yield
        finally:
            control.call(self.url, "set", latency=0.0)

    def calls(self) -> Counter[str]:
        """The operations that AWS was asked for since the last time."""
        calls = control.call(self.url, "calls")
        control.call(self.url, "reset_calls")
        return Counter(call["operation"] for call in calls)


def compare(name: str, target: str, above: Command, below: Command, runs: int) -> Row:
    """A row of the ratio above/below; `target` is "≤ X", "≥ X" or "" for none."""
    one, other = race(runs, above, below)
    return ratio_row(name, target, one, other)


def ratio_row(name: str, target: str, one: list[float], other: list[float]) -> Row:
    ratio = Ratio.of(one, other)
    reached = None
    if target:
        sign, bound = target.split()
        reached = ratio.value <= float(bound) if sign == "≤" else ratio.value >= float(bound)
    figure, spread = f"{ratio.value:.2f}", f"{ratio.low:.2f}-{ratio.high:.2f}"
    return Row(name, figure, spread, target, reached, f"{_ms(one)} / {_ms(other)} ms")


def percentile_row(name: str, target: str, one: list[float], other: list[float]) -> Row:
    """The ratio of the 99th percentiles."""
    above, below = (statistics.quantiles(times, n=100)[98] for times in (one, other))
    ratio = above / below
    detail = f"{above * 1000:.1f} / {below * 1000:.1f} ms"
    reached = ratio <= float(target.split()[1])
    return Row(name, f"{ratio:.2f}", "", target, reached, detail)


def _ms(times: list[float]) -> str:
    return f"{statistics.median(times) * 1000:.1f}"


# Our peers.


def awslabs() -> str:
    path = shutil.which("docker-credential-ecr-login")
    if path is None:
        raise NotInstalled("docker-credential-ecr-login (Debian: amazon-ecr-credential-helper)")
    return path


def aws_cli() -> str:
    for folder in os.get_exec_path():
        path = shutil.which("aws", path=folder)
        if path is None:
            continue
        done = subprocess.run([path, "--version"], capture_output=True, text=True, check=False)
        if done.stdout.startswith("aws-cli/2"):
            return path
    raise NotInstalled("AWS CLI 2 (Debian: awscli)")


def docker() -> str:
    path = shutil.which("docker")
    if path is None:
        raise NotInstalled("docker (Debian: docker.io)")
    return path


def awslabs_get(bench: Bench, home: Path, *, host: str = registry(DEV), **env: str) -> Command:
    """It knows no AWS_ENDPOINT_URL, so it finds the stand-in by the proxy."""
    environment = bench.environment(home, bench.proxy, AWS_SDK_LOAD_CONFIG="true", **env)
    return Command([awslabs(), "get"], environment, host.encode(), answer=RIGHT)


# Our own helper, in each of its forms.


def compiled() -> str:
    """The installed helper, if it is the compiled front."""
    if LAUNCHER == HELPER:
        raise NotInstalled("the compiled front (`pip install .` with a C compiler)")
    return str(HELPER)


@contextmanager
def beside_ecr_py() -> Iterator[Path]:
    """A folder with the command ecr-py in it, as deep below the environment as its bin."""
    with tempfile.TemporaryDirectory(prefix="bench-", dir=HELPER.parent.parent) as folder:
        Path(folder, "ecr-py").symlink_to(HELPER.with_name("ecr-py"))
        yield Path(folder)


@contextmanager
def launcher() -> Iterator[str]:
    """The launcher, as the wheel without the compiled front installs it."""
    with beside_ecr_py() as folder:
        yield shutil.copy(str(LAUNCHER), str(folder / HELPER.name))


@contextmanager
def dynamic_front() -> Iterator[str]:
    """The compiled front where the compiler cannot link statically."""
    with beside_ecr_py() as folder:
        program = build_front(folder, SOURCE / "front.c", "-s")
        yield str(program.rename(folder / HELPER.name))


@contextmanager
def released_front() -> Iterator[str]:
    """The compiled front in the wheel for this machine that `make release` has made."""
    wheels = list(Path("dist").glob(f"*manylinux*_{platform.machine()}*.whl"))
    if not wheels:
        raise NotInstalled("a wheel for this machine in dist (`make release`)")
    with beside_ecr_py() as folder, zipfile.ZipFile(wheels[0]) as wheel:
        (name,) = (name for name in wheel.namelist() if name.endswith(f"/scripts/{HELPER.name}"))
        program = folder / HELPER.name
        program.write_bytes(wheel.read(name))
        program.chmod(0o755)
        yield str(program)


# The rows, in the order of the table.


def hit_over_interpreter(bench: Bench) -> Iterator[Row]:
    """Without the compiled front."""
    home = bench.home("hit")
    bare = Command([sys.executable, "-IS", "-c", "pass"], bench.environment(home, {}))
    with launcher() as program:
        yield compare(
            "hit by the launcher, SSO profile, over `python -IS -c pass`",
            "≤ 1.15",
            bench.hit(home, program),
            bare,
            bench.hits,
        )


def hit_over_awslabs(bench: Bench) -> Iterator[Row]:
    """Its best case: static keys. Each fills its own cache in the first run, which is not timed."""
    home = bench.home("keys")
    key = "AKIAIOSFODNN7EXAMPLE"
    arn = f"arn:aws:iam::{DEV}:user/builder"
    secret = control.call(bench.url, "add_key", access_key_id=key, arn=arn)
    keys = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}
    theirs = awslabs_get(bench, home, **keys)
    beside, in_memory = bench.home("beside-keys"), bench.home("beside-keys-memory")
    with (
        resident(in_memory, bench.environment(in_memory, bench.endpoints), "memory") as daemon,
        launcher() as launched,
        dynamic_front() as dynamic,
        released_front() as released,
    ):
        by_socket = replace(bench.hit(in_memory, compiled()), environment=daemon.environment)
        ways = {
            "as released": ("≤ 0.10", bench.hit(beside, released)),
            "static": ("≤ 0.10", bench.hit(beside, compiled())),
            "plain `cc`": ("≤ 0.25", bench.hit(beside, dynamic)),
            "through the socket": ("≤ 0.20", by_socket),
            "the launcher": ("", bench.hit(beside, launched)),
        }
        bench.calls()
        their_times, *our_times = race(bench.hits, theirs, *(hit for _, hit in ways.values()))
        calls = bench.calls()
    # Theirs is one token, ours a role's credentials and one token in each home.
    if calls != {"GetAuthorizationToken": 3, "GetRoleCredentials": 2}:
        raise Wrong(f"somebody's hit was none: {dict(calls)}")
    for (way, (target, _)), times in zip(ways.items(), our_times, strict=True):
        name = f"hit, {way}, over awslabs' hit with static keys"
        yield ratio_row(f"{name}: median", target, times, their_times)
        yield ratio_row(f"{name}: min", target, [min(times)] * 2, [min(their_times)] * 2)


def awslabs_over_hit(bench: Bench) -> Iterator[Row]:
    """An SSO profile, where awslabs' cache never hits."""
    for milliseconds, target in ((0, "≥ 15"), (20, "≥ 80"), (100, "≥ 300")):
        theirs = awslabs_get(bench, bench.home(f"theirs-{milliseconds}"), AWS_PROFILE="dev")
        with bench.latency(milliseconds / 1000), released_front() as program:
            ours = bench.hit(bench.home(f"sso-{milliseconds}"), program)
            name = f"awslabs over ours, SSO profile, {milliseconds} ms a call"
            yield compare(name, target, theirs, ours, bench.runs)


def crowd_of_hits(bench: Bench) -> Iterator[Row]:
    """Two hundred processes at any time, by the compiled front and by the launcher in turn."""
    home = bench.home("hits")
    with launcher() as program:
        front, launched = bench.hit(home, compiled()), bench.hit(home, program)
        one, other = Crowd(), Crowd()
        for command in (front, launched):
            seconds(command)
        for _ in range(5):
            one += at_once(front, width=200, runs=600)
            other += at_once(launched, width=200, runs=600)
    ratio = one.rate / other.rate
    yield Row(
        "200 processes at once, 3,000 hits: answers a second over the launcher's",
        f"{ratio:.1f}",
        target="≥ 8",
        reached=ratio >= 8,
        detail=f"{one.rate:.0f} / {other.rate:.0f} a second",
    )


def build_of_eight(bench: Bench) -> Iterator[Row]:
    """`docker build` with the legacy builder asks for each registry that its config names.

    The engine is a stand-in that builds nothing: what is timed is docker's client and the helper.
    """
    home = bench.home("build", _many_profiles(8))
    hosts = [registry(f"{number:012}") for number in range(8)]
    for number, host in enumerate(hosts):
        control.call(bench.url, "assign", account=f"{number:012}", role=ROLE)
        seconds(bench.hit(home, host=host))
    (home / ".docker").mkdir()
    helpers = {"credHelpers": dict.fromkeys(hosts, "ecr-py")}
    (home / ".docker" / "config.json").write_text(json.dumps(helpers))
    dockerfile = "".join(f"FROM {host}/base AS stage-{n}\n" for n, host in enumerate(hosts))
    with launcher() as program, idle_engine(home) as engine:

        def build(helper: str) -> Command:
            path = f"{Path(helper).parent}:{os.environ['PATH']}"
            more = {"DOCKER_HOST": engine, "DOCKER_BUILDKIT": "0", "PATH": path}
            environment = bench.environment(home, bench.endpoints, **more)
            return Command([docker(), "build", "-"], environment, dockerfile.encode())

        one, other = race(bench.runs, build(compiled()), build(program))
    name = "`docker build` with eight FROM lines, over the same with the launcher"
    yield ratio_row(name, "", one, other)


def calls_of_ten(bench: Bench) -> Iterator[Row]:
    """Ten `get`s round three accounts. awslabs is told the profile; ours finds it."""
    our_home, their_home = bench.home("ten"), bench.home("their-ten")
    profiles = dict(zip(ACCOUNTS, ("dev", "stage", "prod"), strict=True))
    turns = [ACCOUNTS[turn % 3] for turn in range(10)]
    bench.calls()
    for account in turns:
        seconds(bench.hit(our_home, host=registry(account)))
    ours = bench.calls()
    yield Row(
        "AWS calls of ten gets, SSO, three accounts cold: ours",
        str(ours.total()),
        target="= 6",
        reached=ours.total() == 2 * len(ACCOUNTS),
        detail=_counts(ours),
    )
    for account in turns:
        host, profile = registry(account), profiles[account]
        seconds(awslabs_get(bench, their_home, host=host, AWS_PROFILE=profile))
    theirs = bench.calls()
    yield Row(
        "… awslabs', told the profile each time",
        str(theirs.total()),
        detail=_counts(theirs),
    )


def many_at_once(bench: Bench) -> Iterator[Row]:
    rounds = max(1, bench.runs // 10)
    most: Counter[str] = Counter()
    wrong = 0
    for turn in range(rounds):
        command = bench.hit(bench.home(f"many-{turn}"))
        bench.calls()
        answers = _at_once(command, 50)
        most |= bench.calls()
        wrong += sum(answer != answers[0] or RIGHT not in answer for answer in answers)
    tokens = most["GetAuthorizationToken"]
    yield Row(
        "GetAuthorizationToken calls of 50 gets at once, cold",
        str(tokens),
        target="= 1",
        reached=tokens == 1 and not wrong,
        detail=f"the most of {rounds} rounds; {wrong} of {50 * rounds} answers wrong",
    )


def plugin_hit(bench: Bench) -> Iterator[Row]:
    """The kubelet's plugin, which has no compiled front."""
    home = bench.home("plugin")
    with launcher() as program:
        docker_hit = bench.hit(home, program)
        seconds(docker_hit)
        plugin = plugin_for(docker_hit, f"{registry(DEV)}/team/app")
        name = "the kubelet's plugin, hit over docker's by the same launcher"
        yield compare(name, "≤ 1.15", plugin, docker_hit, bench.hits)


def plugin_for(get: Command, image: str) -> Command:
    """What the kubelet runs for an image, in the environment of a get."""
    answer = b'"auth":{"%b":{"username":"AWS"' % image.partition("/")[0].encode()
    return replace(get, arguments=[str(PLUGIN)], stdin=request(image), answer=answer)


def plugin_calls(bench: Bench) -> Iterator[Row]:
    """A new node pulls ten images, five pods each; then its kubelet is started again."""
    rounds = max(1, bench.runs // 10)
    cold: list[int] = []
    warm: list[int] = []
    for turn in range(rounds):
        get = bench.hit(bench.home(f"node-{turn}"))
        pulls = [plugin_for(get, f"{registry(DEV)}/app-{number % 10}") for number in range(50)]
        for counts in (cold, warm):
            bench.calls()
            for pull, answer in zip(pulls, _all_at_once(pulls), strict=True):
                pull.check(0, answer)
            counts.append(bench.calls()["GetAuthorizationToken"])
    for name, counts, target in (
        ("GetAuthorizationToken calls of 50 pulls at once, ten images, a new node", cold, 1),
        ("… after the kubelet has been started again", warm, 0),
    ):
        detail = f"the most of {rounds} rounds"
        yield Row(
            name,
            str(max(counts)),
            target=f"= {target}",
            reached=max(counts) == target,
            detail=detail,
        )


def cold_over_aws_cli(bench: Bench) -> Iterator[Row]:
    """Both through the proxy, which AWS CLI before 2.13 needs, and both with nothing cached."""
    home = bench.home("cold")
    environment = bench.environment(home, bench.proxy)
    ours = Command(
        [str(HELPER), "get"],
        environment,
        registry(DEV).encode(),
        answer=RIGHT,
        before=lambda: shutil.rmtree(home / ".cache", ignore_errors=True),
    )
    login = [aws_cli(), "ecr", "get-login-password", "--profile", "dev"]
    roles = home / ".aws" / "cli"
    theirs = Command(
        login, environment, answer=b"\n", before=lambda: shutil.rmtree(roles, ignore_errors=True)
    )
    bench.calls()
    row = compare("cold get over `aws ecr get-login-password`", "≤ 0.55", ours, theirs, bench.runs)
    calls = bench.calls()
    gets = 2 * (bench.runs + 1)
    if calls != {"GetAuthorizationToken": gets, "GetRoleCredentials": gets}:
        raise Wrong(f"somebody was not cold: {dict(calls)}")
    yield row
    warm = Command(login, environment, answer=b"\n")
    yield compare("… where aws has its role credentials cached", "", ours, warm, bench.runs)


def login_over_aws_cli(bench: Bench) -> Iterator[Row]:
    """A device login that is allowed at once, both with a live registration."""
    home = bench.home("login")
    environment = bench.environment(home, bench.proxy)
    control.call(bench.url, "set", auto_approve=True)
    ours = Command([str(HELPER.parent / "ecr-py"), "login", "dev", "--force"], environment)
    theirs = Command([aws_cli(), "sso", "login", "--profile", "dev", "--no-browser"], environment)
    bench.calls()
    yield compare("`ecr-py login` over `aws sso login`", "≤ 0.6", ours, theirs, bench.runs)
    calls = bench.calls()
    logins = 2 * (bench.runs + 1)
    yield Row(
        "… calls of both together, for each login",
        f"{calls.total() / logins:.1f}",
        detail=_counts(calls),
    )


def status_over_aws_version(bench: Bench) -> Iterator[Row]:
    """Three registries, one of them with a token."""
    home = bench.home("status")
    seconds(bench.hit(home))
    environment = bench.environment(home, bench.endpoints)
    ours = Command([str(HELPER.parent / "ecr-py"), "status"], environment, answer=b"REGISTRY")
    theirs = Command([aws_cli(), "--version"], environment, answer=b"aws-cli/2")
    yield compare("`ecr-py status` over `aws --version`", "≤ 0.5", ours, theirs, bench.runs)


def many_profiles(bench: Bench) -> Iterator[Row]:
    config = _many_profiles(2000 - len(ACCOUNTS)) + THREE_ACCOUNTS
    many, few = bench.home("2000", config), bench.home("3")
    yield compare(
        "hit with 2,000 profiles over hit with 3",
        "≤ 1.05",
        bench.hit(many),
        bench.hit(few),
        bench.hits,
    )


def memory(bench: Bench) -> Iterator[Row]:
    home = bench.home("memory")
    hit = bench.hit(home, compiled())
    bare = Command([sys.executable, "-IS", "-c", "pass"], bench.environment(home, {}))
    peak_memory(hit)
    ours, theirs = ([peak_memory(command) for _ in range(bench.runs)] for command in (hit, bare))
    figure = statistics.median(ours)
    yield Row(
        "peak memory of a hit, MiB",
        f"{figure:.1f}",
        f"{min(ours):.1f}-{max(ours):.1f}",
        "≤ 1.5",
        figure <= 1.5,
        f"`python -IS -c pass`: {statistics.median(theirs):.1f} MiB",
    )


def other_registry(bench: Bench) -> Iterator[Row]:
    home = bench.home("other")
    hit = bench.hit(home)
    other = Command(
        hit.arguments, hit.environment, b"https://index.docker.io/v1/", code=1, answer=NOT_FOUND
    )
    yield compare("not found (a host that is not ECR) over a hit", "", other, hit, bench.hits)


def socket_over_file(bench: Bench) -> Iterator[Row]:
    """A hit that the daemon answers from its memory, over one from a file; also the 99th of 100."""
    home = bench.home("memory-store")
    environment = bench.environment(home, bench.endpoints)
    with resident(home, environment, "memory") as daemon, launcher() as program:
        by_socket = replace(bench.hit(home, program), environment=daemon.environment)
        one, other = race(bench.hits, by_socket, bench.hit(bench.home("beside-socket"), program))
    name = "hit by socket over hit by file, the launcher"
    yield ratio_row(f"{name}, p50", "≤ 1.10", one, other)
    yield percentile_row(f"{name}, p99", "≤ 1.10", one, other)


def sealed_over_file(bench: Bench) -> Iterator[Row]:
    """With the daemon running, and a real Secret Service that seals."""
    home = bench.home("sealed")
    try:
        with secret_service(home) as keyring:
            environment = bench.environment(home, bench.endpoints, **keyring)
            with resident(home, environment, "keyring") as daemon, launcher() as program:
                sealed = replace(bench.hit(home, program), environment=daemon.environment)
                by_file = bench.hit(bench.home("beside-sealed"), program)
                one, other = race(bench.hits, sealed, by_file)
    except FileNotFoundError as missing:
        raise NotInstalled(str(missing)) from None
    [record] = (home / ".cache" / "ecr-py" / "credentials").iterdir()
    if b"ecr-py sealed" not in record.read_bytes():
        raise Wrong("it was not sealed")
    name = "hit, sealed store, daemon running, over hit by file, the launcher"
    yield ratio_row(name, "≤ 1.10", one, other)


def idle_daemon(bench: Bench) -> Iterator[Row]:
    """Fifty registries in its memory, and nobody who asks."""
    home = bench.home("idle", _many_profiles(50))
    accounts = [f"{number:012}" for number in range(50)]
    for account in accounts:
        control.call(bench.url, "assign", account=account, role=ROLE)
    with resident(home, bench.environment(home, bench.endpoints), "memory") as daemon:
        for account in accounts:
            command = replace(
                bench.hit(home, host=registry(account)), environment=daemon.environment
            )
            seconds(command)
        megabytes = daemon.memory()
        before, began = daemon.processor(), time.monotonic()
        time.sleep(bench.idle)
        share = (daemon.processor() - before) / (time.monotonic() - began) * 100
        grown = daemon.memory()
    yield Row(
        "resident memory of the idle daemon, 50 registries, MiB",
        f"{megabytes:.1f}",
        target="≤ 25",
        reached=megabytes <= 25,
        detail=f"{grown:.1f} MiB after {bench.idle} s",
    )
    yield Row(
        "processor of the idle daemon, % of a core",
        f"{share:.3f}",
        target="≤ 0.1",
        reached=share <= 0.1,
        detail=f"{bench.idle} s of real time",
    )


def many_clients(bench: Bench) -> Iterator[Row]:
    home = bench.home("crowd")
    with resident(home, bench.environment(home, bench.endpoints), "memory") as daemon:
        seconds(replace(bench.hit(home), environment=daemon.environment))
        found = crowd(daemon, registry(DEV), clients=200, requests=20_000)
    p99 = statistics.quantiles(found.took, n=100)[98] * 1000
    yield Row(
        "200 clients at once, 20,000 requests: p99, ms",
        f"{p99:.1f}",
        target="≤ 20",
        reached=p99 <= 20 and not found.lost and not found.wrong,
        detail=f"{found.lost} lost, {found.wrong} wrong; median {_ms(found.took)} ms",
    )


def many_helpers(bench: Bench) -> Iterator[Row]:
    """Two hundred launchers at any time, each store's in turn with those of files."""
    home = bench.home("helpers")
    environment = bench.environment(home, bench.endpoints)
    with resident(home, environment, "memory") as daemon, launcher() as program:
        command = replace(bench.hit(home, program), environment=daemon.environment)
        yield from _crowd_rows(bench, "memory", command)
    home = bench.home("sealed-helpers")
    try:
        with secret_service(home) as keyring:
            environment = bench.environment(home, bench.endpoints, **keyring)
            with resident(home, environment, "keyring") as daemon, launcher() as program:
                command = replace(bench.hit(home, program), environment=daemon.environment)
                yield from _crowd_rows(bench, "keyring", command)
    except FileNotFoundError as missing:
        raise NotInstalled(str(missing)) from None


def _crowd_rows(bench: Bench, store: str, command: Command) -> Iterator[Row]:
    by_file = bench.hit(bench.home(f"beside-{store}"), *command.arguments[:-1])
    one, other = Crowd(), Crowd()
    for each in (command, by_file):
        seconds(each)
    for _ in range(max(3, bench.runs // 4)):
        one += at_once(command, width=200, runs=600)
        other += at_once(by_file, width=200, runs=600)
    name = f'200 launchers at once, store = "{store}" over "file"'
    for figure, above, below, detail in (
        ("answers a second", other.rate, one.rate, f"{one.rate:.0f} / {other.rate:.0f} a second"),
        ("p99", one.p99, other.p99, f"{one.p99 * 1000:.0f} / {other.p99 * 1000:.0f} ms"),
    ):
        ratio = above / below
        yield Row(f"{name}: {figure}", f"{ratio:.2f}", "", "≤ 1.15", ratio <= 1.15, detail)


def hung_daemon(bench: Bench) -> Iterator[Row]:
    """What one that does not answer costs a get whose credential is in its memory."""
    home, beside = bench.home("hung"), bench.home("beside-hung")
    with resident(home, bench.environment(home, bench.endpoints), "memory") as daemon:
        command = replace(bench.hit(home), environment=daemon.environment)
        seconds(command)
        settings = Path(".config", "ecr-py", "config.toml")
        (beside / settings).parent.mkdir(parents=True)
        shutil.copy(home / settings, beside / settings)
        with daemon.stopped():
            one, other = race(bench.runs, command, bench.hit(beside))
    costs = statistics.median(one) - statistics.median(other)
    yield Row(
        "what a hung daemon costs a get that it alone could answer, s",
        f"{costs:.2f}",
        target="≤ 0.3",
        reached=costs <= 0.3,
        detail=f"{_ms(one)} / {_ms(other)} ms without one",
    )


def tunnel_hit(bench: Bench) -> Iterator[Row]:
    """What a hit through SSH on loopback costs, a tunnel that hangs, and having none."""
    home = bench.home("laptop")
    try:
        with tunnel(home, bench.environment(home, bench.endpoints)) as (daemon, host):
            here = replace(bench.hit(home, compiled()), environment=daemon.environment)
            there = replace(here, environment=host.home.environment)
            yield from _median_and_min(
                "hit through SSH on loopback over a hit by socket", "", there, here, bench.hits
            )
            beside = bench.hit(bench.home("own"), compiled())
            through = {**beside.environment, "ECR_PY_FORWARD": str(host.tunnel)}
            hangs = replace(beside, environment=through)
            seconds(beside)
            with daemon.stopped():
                one, other = race(bench.runs, hangs, beside)
    except pytest.skip.Exception as lacking:
        raise NotInstalled(str(lacking)) from None
    costs = statistics.median(one) - statistics.median(other)
    yield Row(
        "what a tunnel that hangs costs a get with a credential of its own, s",
        f"{costs:.2f}",
        target="≤ 0.3",
        reached=costs <= 0.3,
        detail=f"{_ms(one)} / {_ms(other)} ms without one",
    )
    empty = replace(beside, environment={**beside.environment, "ECR_PY_FORWARD": ""})
    name = "hit by file, no tunnel there, over one with ECR_PY_FORWARD empty"
    yield from _median_and_min(name, "≤ 1.02", beside, empty, 5 * bench.hits)


def _median_and_min(
    name: str, target: str, above: Command, below: Command, runs: int
) -> Iterator[Row]:
    one, other = race(runs, above, below)
    yield ratio_row(f"{name}: median", target, one, other)
    yield ratio_row(f"{name}: min", target, [min(one)] * 2, [min(other)] * 2)


def week(bench: Bench) -> Iterator[Row]:
    lived = live(bench.folder / "week")
    tokens = lived.calls["GetAuthorizationToken"]
    yield Row(
        "a simulated week: gets that waited for AWS outside the logins",
        str(lived.waited),
        target="= 0",
        reached=lived.waited == 0,
        detail=f"of {lived.gets}; 20 registries, 4 identities, {lived.logins} logins",
    )
    ratio = tokens / lived.least_tokens
    yield Row(
        "… its calls over the least possible",
        f"{ratio:.2f}",
        target="≤ 2",
        reached=ratio <= 2,
        detail=f"{tokens} / {lived.least_tokens} GetAuthorizationToken",
    )


def cluster(bench: Bench) -> Iterator[Row]:
    """The controller on a real API server: see benchmarks/cluster.py."""
    from benchmarks.cluster import NAMESPACES, measure

    home = bench.home("cluster")
    environment = bench.environment(home, bench.endpoints, XDG_RUNTIME_DIR=str(home))
    try:
        seen = measure(Home(home, environment), lambda: bench.calls()["GetAuthorizationToken"])
    except pytest.skip.Exception as lacking:
        raise NotInstalled(str(lacking)) from None
    size, median, late = seen.resident / 2**20, seen.delay(0.5) * 1000, seen.delay(0.99) * 1000
    many = f"{NAMESPACES:,} namespaces"
    name = f"the controller: resident MiB, {many}, three service accounts each"
    yield Row(name, f"{size:.1f}", target="≤ 90", reached=size <= 90)
    name = "… namespace created to secret, ms, median"
    yield Row(name, f"{median:.0f}", target="≤ 50", reached=median <= 50)
    name = "… 99th of 100"
    yield Row(name, f"{late:.0f}", target="≤ 250", reached=late <= 250)
    ratio = seen.calls / seen.calls_of_few
    detail = f"{seen.calls} / {seen.calls_of_few}"
    name = f"… GetAuthorizationToken with {many} over with 20"
    yield Row(name, f"{ratio:.1f}", target="≤ 1", reached=ratio <= 1, detail=detail)
    name = "… all secrets written anew without a pace, seconds"
    yield Row(name, f"{seen.rotation:.1f}", target="≤ 15", reached=seen.rotation <= 15)
    each = seen.rotation / NAMESPACES
    detail = f"{each * 1000:.1f} / {seen.bare * 1000:.1f} ms"
    name = "… one of these over a write by a loop that does nothing else"
    yield Row(name, f"{each / seen.bare:.2f}", detail=detail)


def cluster_week(bench: Bench) -> Iterator[Row]:
    """The planner and the loop alone, with a cluster and AWS in memory."""
    from tests.unit.controller.week import live_a_week

    folder = bench.folder / "cluster-week"
    folder.mkdir()
    log.addHandler(logging.NullHandler())  # else the week's outages are printed
    lived = live_a_week(folder, identities=40, regions=6, namespaces=2000)
    name = "a simulated week of a cluster: secrets that ever held an expired token"
    yield Row(name, str(lived.expired), target="= 0", reached=lived.expired == 0)
    ratio = lived.tokens / lived.least
    detail = (
        f"{lived.tokens} / {lived.least} tokens, {lived.writes} writes; "
        f"{lived.failed_tokens} and {lived.failed_writes} failed in outages"
    )
    name = "… its calls over the least possible"
    yield Row(name, f"{ratio:.2f}", target="≤ 2", reached=ratio <= 2, detail=detail)


def ways_to_start(bench: Bench) -> Iterator[Row]:
    """The same hit, started as installers could start it, over how the launcher starts it."""
    program = LAUNCHER.read_text().partition("\n'''\n")[2]
    wrapper = (HELPER.parent / "ecr-py").read_text()
    with beside_ecr_py() as folder, launcher() as launched:

        def script(name: str, text: str) -> str:
            file = folder / name
            file.write_text(text)
            file.chmod(0o755)
            return str(file)

        python = sys.executable
        ways = {
            "the wrapper that installers write": [
                script("wrapper", wrapper.replace(".cli.entry_point", ".helper"))
            ],
            "`#!python` script": [script("plain", f"#!{python}\n{program}")],
            "`#!python -I` script": [script("isolated", f"#!{python} -I\n{program}")],
            "`python -IS -X utf8 FILE`, no launcher": [python, "-IS", "-X", "utf8", str(LAUNCHER)],
        }
        home = bench.home("start")
        commands = [bench.hit(home, *argv) for argv in ([launched], *ways.values())]
        ours, *others = race(bench.hits, *commands)
    for way, times in zip(ways, others, strict=True):
        yield ratio_row(f"a hit by {way}, over the launcher", "", times, ours)


ROWS: dict[str, Callable[[Bench], Iterator[Row]]] = {
    row.__name__: row
    for row in (
        hit_over_interpreter,
        hit_over_awslabs,
        awslabs_over_hit,
        crowd_of_hits,
        build_of_eight,
        calls_of_ten,
        many_at_once,
        plugin_hit,
        plugin_calls,
        cold_over_aws_cli,
        login_over_aws_cli,
        status_over_aws_version,
        many_profiles,
        memory,
        other_registry,
        socket_over_file,
        sealed_over_file,
        idle_daemon,
        many_clients,
        many_helpers,
        hung_daemon,
        tunnel_hit,
        week,
        cluster,
        cluster_week,
        ways_to_start,
    )
}


# Minutes each: they run only if they are named, or by "all".
LONG = {
    *("cold_over_aws_cli", "login_over_aws_cli", "idle_daemon", "many_helpers", "week"),
    *("cluster", "cluster_week"),
}


def _many_profiles(number: int) -> str:
    profile = THREE_ACCOUNTS[: THREE_ACCOUNTS.index("[profile stage]")]
    return "".join(
        profile.replace("profile dev", f"profile team-{n}").replace(DEV, f"{n:012}")
        for n in range(number)
    )


def _at_once(command: Command, number: int) -> list[bytes]:
    return _all_at_once([command] * number)


def _all_at_once(commands: list[Command]) -> list[bytes]:
    pipe = subprocess.PIPE
    running = [
        subprocess.Popen(command.arguments, stdin=pipe, stdout=pipe, env=command.environment)
        for command in commands
    ]
    for command, process in zip(commands, running, strict=True):
        assert process.stdin is not None
        process.stdin.write(command.stdin)
        process.stdin.close()
        process.stdin = None
    return [process.communicate()[0] for process in running]


class _Idle(BaseHTTPRequestHandler):
    """An engine that says of each build that it is done."""

    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                self.rfile.read(size + 2)
            self.rfile.readline()
        self.send_response(200)
        for name, value in {
            "API-Version": "1.44",
            "Builder-Version": "1",
            "Content-Type": "application/json",
            "Content-Length": "2",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(b"{}")

    do_GET = do_HEAD = do_POST = _answer  # noqa: N815

    def address_string(self) -> str:
        return "docker"  # a Unix socket's client has no address

    def log_message(self, *_: object) -> None: ...


@contextmanager
def idle_engine(folder: Path) -> Iterator[str]:
    """The address of an engine that builds nothing."""
    socket = folder / "docker.sock"
    with ThreadingUnixStreamServer(str(socket), _Idle) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"unix://{socket}"
        server.shutdown()


def _counts(calls: Counter[str]) -> str:
    return ", ".join(f"{count} {operation}" for operation, count in sorted(calls.items()))


@contextmanager
def _server() -> Iterator[Mapping[str, Any]]:
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-m", "tests.standin"], stdin=pipe, stdout=pipe
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield json.loads(process.stdout.readline())
        process.stdin.close()


_HEAD = ("row", "figure", "quartiles", "target", "reached", "medians, or what was counted")
_WIDTHS = (76, 6, 11, 6, 7, 0)


def _print_line(cells: Iterable[str]) -> None:
    padded = (cell.ljust(width) for cell, width in zip(cells, _WIDTHS, strict=True))
    print("  ".join(padded).rstrip(), flush=True)


def _named(words: list[str]) -> list[str]:
    """Return the rows whose names contain one of `words`. Raises LookupError if none does."""
    if not words:
        return [name for name in ROWS if name not in LONG]
    for word in words:
        if word != "all" and not any(word in name for name in ROWS):
            raise LookupError(f"no row has {word!r} in its name: {', '.join(ROWS)}")
    # A whole name means that row alone.
    return [
        name
        for name in ROWS
        if any(word in ("all", name) or (word in name and word not in ROWS) for word in words)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="5 runs a row, for a first look")
    parser.add_argument(
        "--runs",
        type=int,
        help="of each side: 40, or 20 if no row is named; five times that of hits",
    )
    parser.add_argument(
        "rows",
        nargs="*",
        help=f"all, or words of: {', '.join(ROWS)}; by default all but {', '.join(sorted(LONG))}",
    )
    asked = parser.parse_args()
    try:
        names = _named(asked.rows)
    except LookupError as unknown:
        parser.error(str(unknown.args[0]))
    failed = False
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, _server() as server:
        runs = 5 if asked.quick else asked.runs or (40 if asked.rows else 20)
        bench = Bench(Path(folder), max(2, runs), server)
        print(
            f"Python {sys.version.split()[0]}, {os.cpu_count()} processors; {bench.runs} runs of "
            f"each side in turn, {bench.hits} of hits\n"
        )
        _print_line(_HEAD)
        _print_line("-" * (width or len(_HEAD[-1])) for width in _WIDTHS)
        for name in names:
            try:
                for row in ROWS[name](bench):
                    _print_line(row.cells())
            except NotInstalled as peer:
                _print_line(Row(name, "-", detail=f"not installed: {peer}").cells())
            except Wrong as wrong:
                _print_line(Row(name, "-", detail=f"a wrong answer: {wrong}").cells())
                failed = True
    return failed


if __name__ == "__main__":
    sys.exit(main())
