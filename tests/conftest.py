"""Settings of the whole suite."""

from __future__ import annotations

import gc
import signal
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import jax
import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.compiling import unoptimised
from tests.needs import NEEDS
from tests.shapes import check_shapes
from tests.share import Share

check_shapes()

# Compiling dominates an example that compiles, so time limits mean nothing; such tests lower `max_examples`.
settings.register_profile(
    "default",
    deadline=None,
    max_examples=40,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.register_profile("few", settings.get_profile("default"), max_examples=10)
# Where it is enough that a test fails, no smaller example is looked for.
settings.register_profile("unshrunk", settings.get_profile("default"), phases=(Phase.explicit, Phase.generate))
settings.load_profile("default")

# Jaxprs are many small objects that stay: looking through all of them so often takes a tenth of the time.
gc.set_threshold(50_000, 20, 20)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--cases", type=int, help="how many cases the suites of drawn cases draw (default: those of CI)")
    parser.addoption("--shares", type=int, default=1, help="how many tests each such suite is")
    parser.addoption("--run-all", action="store_true", help="what the machine lacks is a failure, not a reason to skip")
    parser.addoption("--one-in", type=int, default=1, help="run one in so many tests, drawn by name and --turn")
    parser.addoption("--turn", type=int, default=0, help="of --one-in: in as many turns every test has been run")


def pytest_configure() -> None:
    """A shell's background ignores SIGINT, and so would every process that a test starts and interrupts."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """A suite of drawn cases is as many tests as it has shares."""
    if "share" in metafunc.fixturenames:
        cases, of = metafunc.config.getoption("--cases"), metafunc.config.getoption("--shares")
        metafunc.parametrize("share", [Share(cases, number, of) for number in range(of)], ids=str)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Hashes of names: every worker, machine and commit draws the same."""
    one_in, turn = config.getoption("--one-in"), config.getoption("--turn")
    drawn = {item for item in items if zlib.crc32(item.nodeid.encode()) % one_in == turn % one_in}
    config.hook.pytest_deselected(items=[item for item in items if item not in drawn])
    items[:] = [item for item in items if item in drawn]


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips what this machine cannot run, and says what it lacks."""
    if item.config.getoption("--run-all"):
        return
    for marker, missing in NEEDS.items():
        if item.get_closest_marker(marker) and (why := missing()):
            pytest.skip(why)


@pytest.fixture(autouse=True)
def nothing_stays_registered() -> Iterator[None]:
    """What a test registers, by a plugin's file too, is gone after it: its worker's next test knows nothing of it."""
    from attention.extend import REGISTRIES  # what is imported before `check_shapes` is not checked

    with ExitStack() as until_the_end:
        for registry in REGISTRIES.values():
            until_the_end.enter_context(registry.temporarily())
        yield


@pytest.fixture
def fast_compile() -> Iterator[None]:
    """Compiles without optimising: for tests of many small programs, whose results do not depend on it."""
    with unoptimised():
        yield


@pytest.fixture
def fast_off_gpu(request: pytest.FixtureRequest) -> None:
    """`fast_compile`, but for the tests of a module that compile its kernels for a GPU."""
    if "gpu" not in request.keywords:
        request.getfixturevalue("fast_compile")


MOST_MAPS = 20_000
"""Of the 65,530 memory maps that Linux grants a process; each compiled program takes some."""


@pytest.fixture(autouse=True, scope="module")
def drop_compiled_programs() -> Iterator[None]:
    """Forgets the programs of earlier modules before they use up what the system grants: LLVM aborts then."""
    yield
    maps = Path("/proc/self/maps")  # where there is none, there is no such limit
    if maps.exists() and maps.read_bytes().count(b"\n") > MOST_MAPS:
        jax.clear_caches()
