"""Randomness follows from (seed, index) alone."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from fanfold_server.model.environment import Environment
from tests.runtime.bench import Engine, opened

PLAIN = """
    import random
    def f(i):
        return [random.random(), random.gauss(0, 1), sorted(random.sample(range(100), 3))]
"""
LEGACY = """
    import numpy as np
    def f(i):
        return [np.random.rand(), np.random.randint(1 << 40), np.random.normal(size=2).tolist()]
"""
GENERATOR = """
    def f(i, rng):
        return [rng.random(), rng.integers(1 << 40), rng.normal(size=2)]
"""
WHO_IN_NUMPY_DRAWS_FROM_PYTHON = """
    import ast, pathlib
    import numpy

    def f(i):
        found = []
        top = pathlib.Path(numpy.__file__).parent
        apart = {"tests", "testing", "f2py", "_pyinstaller", "conftest.py"}
        for file in top.rglob("*.py"):
            if not apart & set(file.relative_to(top).parts):
                for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                    modules = []
                    if isinstance(node, ast.Import):
                        modules = [alias.name for alias in node.names]
                    elif isinstance(node, ast.ImportFrom) and not node.level:
                        modules = [node.module]
                    found += [str(file)] * ("random" in modules)
        return [found, (top / "random").is_dir()]
"""
SETS = """
    import math
    def f(i):
        return "".join({"a%d" % (i * k) for k in range(50)})
"""
EVERYWHERE = {"random": PLAIN, "set": SETS}
WITH_NUMPY = {"legacy": LEGACY, "generator": GENERATOR}

COUNT = 24


@pytest.fixture(scope="module")
def forking(environment: Environment, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine in which every run has workers of its own."""
    with opened(environment, tmp_path_factory.mktemp("cache"), reuse="fork") as engine:
        yield engine


def sources(engine: Engine) -> dict[str, str]:
    has_numpy = engine.environment.name == "default"
    return EVERYWHERE | (WITH_NUMPY if has_numpy else {})


def test_values_are_byte_equal_for_any_degree(anywhere: Engine) -> None:
    for name, source in sources(anywhere).items():
        runs = [anywhere.run(source, count=COUNT, degree=degree) for degree in (1, 2, 4)]
        assert len(runs[0].texts) == COUNT, (name, runs[0].failures, runs[0].error)
        assert runs[0].texts == runs[1].texts == runs[2].texts, name
        assert len(set(runs[0].texts.values())) == COUNT, "each index has a value of its own"


def test_values_are_byte_equal_call_by_call(anywhere: Engine) -> None:
    for name, source in sources(anywhere).items():
        whole = anywhere.run(source, count=COUNT)
        single = {i: anywhere.run(source, start=i).texts[i] for i in range(1, COUNT + 1)}
        assert whole.texts == single, name


def test_values_are_byte_equal_in_fresh_processes(anywhere: Engine, forking: Engine) -> None:
    for name, source in sources(anywhere).items():
        warm = anywhere.run(source, count=COUNT)
        assert forking.run(source, count=COUNT, degree=4).texts == warm.texts, name


def test_values_are_byte_equal_after_a_worker_was_killed(anywhere: Engine) -> None:
    """Index 7 kills its worker the first time that it is run, here and in its neighbours' midst."""
    for name, source in sources(anywhere).items():
        calm = anywhere.run(source, count=COUNT)
        gate = anywhere.shared / name
        deadly = source.replace("def f(", "def g(").replace(
            "def g(",
            f"""def f({"i, rng" if name == "generator" else "i"}):
        import os
        if i == 7:
            try:
                os.close(os.open("{gate}", os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                pass
            else:
                os.kill(os.getpid(), {signal.SIGKILL})
        return g({"i, rng" if name == "generator" else "i"})
    def g(""",
        )
        try:
            record = anywhere.run(deadly, count=COUNT)
            assert gate.exists(), "the worker was killed"
        finally:
            gate.unlink(missing_ok=True)
        assert record.texts == calm.texts, (name, record.failures)


def test_another_seed_gives_other_values(anywhere: Engine) -> None:
    for name, source in sources(anywhere).items():
        if name == "set":
            continue  # the order of a set does not depend on the seed
        one, other = (anywhere.run(source, count=4, seed=seed) for seed in (1, 2))
        assert not set(one.texts.values()) & set(other.texts.values()), name


def test_a_seed_has_64_bits(anywhere: Engine) -> None:
    values = [anywhere.run(PLAIN, seed=seed).value for seed in (0, 1 << 63, (1 << 64) - 1)]
    assert values[0] != values[1] != values[2]


def test_what_a_module_draws_while_it_loads_does_not_shift_its_calls(anywhere: Engine) -> None:
    source = PLAIN.replace("def f", "table = [random.random() for _ in range(5)]\n    def f")
    assert anywhere.run(source, count=4).texts == anywhere.run(PLAIN, count=4).texts


def test_what_a_call_draws_does_not_shift_the_next(anywhere: Engine) -> None:
    source = PLAIN.replace("return", "[random.random() for _ in range(i)]; return")
    greedy, modest = anywhere.run(source, count=8), anywhere.run(PLAIN, count=8)
    assert anywhere.run(source, count=8, degree=1).texts == greedy.texts
    assert greedy.texts != modest.texts


def test_a_generator_is_given_by_position_where_it_has_to_be(engine: Engine) -> None:
    plain = engine.run("def f(i, rng): return rng.random()", seed=4, count=3)
    for head in ("i, rng, /", "i, x=1, rng=None, /", "i, rng, x=1, /"):
        record = engine.run(f"def f({head}): return rng.random()", seed=4, count=3)
        assert record.returned == plain.returned


@pytest.mark.parametrize(
    ("wrapper", "is_given"),
    [
        ("functools.wraps(inner)(lambda *a, **k: inner(*a, **k))", True),
        ("functools.wraps(inner)(lambda i, rng: inner(i, rng))", True),
        ("functools.lru_cache(inner)", True),
        ("functools.wraps(inner)(functools.lru_cache(lambda *a, **k: inner(*a, **k)))", True),
        ("functools.wraps(inner)(lambda i: inner(i, None))", False),
        ("lambda *a, **k: inner(*a, **k)", False),
    ],
)
def test_a_decorated_function_is_given_its_generator(
    engine: Engine, wrapper: str, *, is_given: bool
) -> None:
    plain = engine.run("def f(i, rng): return rng.random()", seed=4, count=3)
    source = f"""
        import functools
        def decorated(inner):
            return {wrapper}
        @decorated
        def f(i, rng=None):
            return None if rng is None else rng.random()
    """
    expected = plain.returned if is_given else dict.fromkeys((1, 2, 3))
    assert engine.run(source, seed=4, count=3).returned == expected


def test_a_parameter_named_rng_is_the_callers(anywhere: Engine) -> None:
    assert anywhere.run("def f(i, rng): return rng", parameters={"rng": 5}).value == 5


def test_a_function_that_seeds_itself_has_its_way(engine: Engine) -> None:
    """The documented example does so."""
    source = """
        import numpy as np
        def f(i):
            np.random.seed(i)
            return float(np.random.random())
    """
    assert anywhere_seeds(engine, source, 1) == anywhere_seeds(engine, source, 2)


def anywhere_seeds(engine: Engine, source: str, seed: int) -> dict[int, bytes]:
    return engine.run(source, count=3, seed=seed).texts


def test_the_generator_is_numpys_own_child_of_the_seed(engine: Engine) -> None:
    """So that anybody can have the same numbers outside."""
    source = """
        import numpy as np
        def f(i, rng):
            sequence = np.random.SeedSequence(7, spawn_key=(i,))
            return rng.random() == np.random.Generator(np.random.PCG64(sequence)).random()
    """
    assert engine.run(source, count=3).returned == {1: True, 2: True, 3: True}


def test_numpy_does_not_draw_from_the_generator_of_python(engine: Engine) -> None:
    """So a script that imports nothing else needs only NumPy's own to be seeded."""
    assert engine.run(WHO_IN_NUMPY_DRAWS_FROM_PYTHON).value == [[], True]
