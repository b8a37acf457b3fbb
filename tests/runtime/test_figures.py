"""Figures: what is captured, in which order, as what; and that none leaks into the next call."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from fanfold_server.model.environment import Environment
from fanfold_server.model.outcome import FailureKind, Image, Returned
from tests.runtime.bench import Engine, Record, opened, run_limits

PNG = b"\x89PNG\r\n\x1a\n"


def images(record: Record) -> dict[int, tuple[Image, ...]]:
    """Index → the images of that call."""
    assert record.error is None, record.error
    assert not record.failures, record.failures
    found = {}
    for index, outcome in sorted(record.outcomes.items()):
        assert isinstance(outcome, Returned)
        found[index] = outcome.images
    return found


def titles(engine: Engine, source: str, count: int = 1) -> dict[int, list[str | None]]:
    record = engine.run(source, count=count, graphics=True)
    return {index: [image.title for image in made] for index, made in images(record).items()}


def size(png: bytes) -> tuple[int, int]:
    """Return (width, height) of a PNG file, in pixels."""
    assert png.startswith(PNG)
    assert png[12:16] == b"IHDR"
    width, height = struct.unpack(">II", png[16:24])
    return width, height


def dots_per_metre(png: bytes) -> int:
    """Return what the file says of its resolution."""
    at = png.index(b"pHYs")
    across, along, unit = struct.unpack(">IIB", png[at + 4 : at + 13])
    assert (across, unit) == (along, 1)
    return int(across)


IMPORT = "import matplotlib.pyplot as plt\n"

ONE_EACH = """
import matplotlib.pyplot as plt
def f(i):
    plt.plot([1, i])
    plt.title("Title %d" % i)
    return i
"""


def test_a_figure_is_a_png_of_640_by_480_at_100_dots_an_inch(engine: Engine) -> None:
    record = engine.run(ONE_EACH, graphics=True)
    ((image,),) = images(record).values()
    assert size(image.png) == (640, 480)
    assert dots_per_metre(image.png) == 3937  # 100 dots an inch
    assert record.value == 1


def test_a_figures_own_size_is_kept_at_100_dots_an_inch(engine: Engine) -> None:
    source = IMPORT + "def f(i): plt.figure(figsize=(3, 2), dpi=33); plt.plot([1])"
    ((image,),) = images(engine.run(source, graphics=True)).values()
    assert size(image.png) == (300, 200)


def test_a_call_that_draws_nothing_has_no_image(engine: Engine) -> None:
    record = engine.run("def f(i): return i", graphics=True, count=3)
    assert images(record) == {1: (), 2: (), 3: ()}
    assert record.returned == {1: 1, 2: 2, 3: 3}


def test_each_figure_belongs_to_its_own_call(engine: Engine) -> None:
    assert titles(engine, ONE_EACH, 4) == {i: [f"Title {i}"] for i in range(1, 5)}


def test_two_figures_are_two_images_in_the_order_of_their_making(engine: Engine) -> None:
    source = IMPORT + "def f(i):\n    for n in 'ab': plt.figure(); plt.title(n)"
    assert titles(engine, source) == {1: ["a", "b"]}


def test_a_figure_with_two_axes_is_one_image(engine: Engine) -> None:
    source = IMPORT + "def f(i):\n    a, b = plt.subplots(2)[1]; b.set_title('second')"
    assert titles(engine, source) == {1: ["second"]}


def test_a_shown_figure_is_captured_then_and_once(engine: Engine) -> None:
    """As in a notebook: what is drawn afterwards is another figure."""
    source = IMPORT + "def f(i):\n    for n in 'abc': plt.title(n); n < 'c' and plt.show()"
    assert titles(engine, source) == {1: ["a", "b", "c"]}


def test_one_figure_can_be_shown_by_itself(engine: Engine) -> None:
    source = IMPORT + "def f(i):\n    a, b = plt.figure(), plt.figure(); b.suptitle('b')\n"
    source += "    b.gca().set_title('b'); b.show(); a.gca().set_title('a')"
    assert titles(engine, source) == {1: ["b", "a"]}


def test_show_under_any_name_is_ours(engine: Engine) -> None:
    source = "from matplotlib.pyplot import *\ndef f(i): title('x'); show(block=True)"
    assert titles(engine, source) == {1: ["x"]}


def test_the_heading_of_a_figure_is_no_title(engine: Engine) -> None:
    source = IMPORT + "def f(i): plt.plot([1]); plt.suptitle('heading')"
    assert titles(engine, source) == {1: [None]}


def test_a_title_on_either_side_counts(engine: Engine) -> None:
    source = IMPORT + "def f(i): plt.title('x', loc='left' if i == 1 else 'right')"
    assert titles(engine, source, 2) == {1: ["x"], 2: ["x"]}


@pytest.mark.parametrize("graphics", [True, False])
def test_figures_that_a_call_leaves_open_do_not_reach_the_next(
    engine: Engine, *, graphics: bool
) -> None:
    source = IMPORT + "def f(i):\n    n = len(plt.get_fignums()); plt.plot([1]); return n"
    for _ in range(2):
        record = engine.run(source, count=4, graphics=graphics)
        assert record.returned == {1: 0, 2: 0, 3: 0, 4: 0}


def test_figures_of_a_failed_call_do_not_reach_the_next(engine: Engine) -> None:
    source = (
        IMPORT + "def f(i): plt.title('t%d' % i); plt.show(); plt.figure(); return 1 // (i - 2)"
    )
    record = engine.run(source, count=3, graphics=True)
    del record.outcomes[2]
    assert record.failures.pop(2).type == "ZeroDivisionError"
    assert {k: len(made) for k, made in images(record).items()} == {1: 2, 3: 2}


def test_figures_of_a_run_that_wants_none_do_not_reach_the_next(engine: Engine) -> None:
    engine.run(IMPORT + "def f(i): plt.title('old'); plt.show(); plt.figure()")
    assert titles(engine, ONE_EACH) == {1: ["Title 1"]}


@pytest.mark.parametrize(
    "asking",
    [
        "matplotlib.use('TkAgg')",
        "matplotlib.use('TkAgg', force=True)",
        "plt.switch_backend('TkAgg')",
        "matplotlib.rcParams['backend'] = 'TkAgg'",
        "plt.rcParams.update({'backend': 'TkAgg'})",
        "import os; os.environ['MPLBACKEND'] = 'TkAgg'",
    ],
)
@pytest.mark.parametrize("graphics", [True, False])
def test_the_backend_is_agg_whatever_a_script_asks_for(
    engine: Engine, asking: str, *, graphics: bool
) -> None:
    source = f"""
        import matplotlib
        import matplotlib.pyplot as plt
        {asking}
        def f(i):
            canvas = plt.figure().canvas
            plt.title("x")
            plt.show()
            return type(canvas).__name__
    """
    record = engine.run(source, graphics=graphics)
    assert record.value == "FigureCanvasAgg"
    if graphics:
        assert [image.title for image in images(record)[1]] == ["x"]


def test_pandas_draws(engine: Engine) -> None:
    source = "import pandas as pd\ndef f(i): pd.Series([1, i]).plot(title='pandas'); return i"
    assert titles(engine, source) == {1: ["pandas"]}


def test_seaborn_draws(engine: Engine) -> None:
    source = """
        import seaborn as sns
        def f(i):
            sns.set_theme()
            sns.lineplot(x=[1, 2], y=[1, i]).set_title("seaborn")
    """
    assert titles(engine, source) == {1: ["seaborn"]}


def test_a_figure_that_cannot_be_drawn_fails_its_call(engine: Engine) -> None:
    source = IMPORT + "def f(i): plt.title('$\\\\nonsense$' if i == 2 else 'fine'); return i"
    record = engine.run(source, count=3, graphics=True)
    assert record.returned == {1: 1, 3: 3}
    assert record.failure.kind is FailureKind.RAISED
    assert record.failure.type == "ValueError"
    assert record.failure.message.startswith("figure 1 cannot be drawn: ")
    assert titles(engine, ONE_EACH) == {1: ["Title 1"]}


@pytest.mark.parametrize("value", ["plt.figure()", "plt.gca()", "plt.plot([1])"])
def test_a_figure_that_is_returned_is_refused_with_what_to_do(engine: Engine, value: str) -> None:
    record = engine.run(IMPORT + f"def f(i): return {value}", graphics=True)
    assert record.failure.kind is FailureKind.NOT_JSON
    assert "the open figures come as images by themselves" in record.failure.message


def test_figures_of_equal_calls_are_byte_equal(engine: Engine) -> None:
    source = IMPORT + "import random\ndef f(i): plt.plot([random.random() for _ in range(9)])"
    runs = [images(engine.run(source, count=3, graphics=True, degree=d)) for d in (1, 2)]
    assert runs[0] == runs[1]


@pytest.fixture(scope="module")
def unprepared(
    libraries: Environment, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    """An engine whose zygotes import nothing ahead."""
    with opened(libraries, tmp_path_factory.mktemp("cache"), preload=()) as engine:
        yield engine


@pytest.mark.parametrize("graphics", [True, False])
def test_agg_also_where_matplotlib_is_imported_by_the_script(
    unprepared: Engine, *, graphics: bool
) -> None:
    source = """
        import os
        def f(i):
            import matplotlib
            matplotlib.use("TkAgg")
            from matplotlib.pyplot import figure, show, get_fignums
            before = get_fignums()
            canvas = figure().canvas
            show()
            return [type(canvas).__name__, before, get_fignums()]
    """
    for _ in range(2):
        record = unprepared.run(source, graphics=graphics, count=2)
        assert record.returned == {i: ["FigureCanvasAgg", [], []] for i in (1, 2)}
        if graphics:
            assert {i: len(made) for i, made in images(record).items()} == {1: 1, 2: 1}


def test_a_worker_that_has_drawn_is_used_again(engine: Engine) -> None:
    """Matplotlib keeps the files of its fonts open."""
    source = IMPORT + "import os\ndef f(i): plt.title('x'); plt.show(); return os.getpid()"
    assert len({engine.run(source, graphics=True).value for _ in range(4)}) == 1


def test_figures_that_take_too_much_fail_their_call(libraries: Environment, tmp_path: Path) -> None:
    source = """
        import matplotlib.pyplot as plt
        import numpy as np
        def f(i):
            if i == 2:
                plt.figimage(np.random.rand(480, 640, 3))
            return i
    """
    limits = run_limits(max_value_bytes=100_000)
    with opened(libraries, tmp_path, limits=limits) as small:
        record = small.run(source, count=3, graphics=True)
    assert record.returned == {1: 1, 3: 3}
    assert record.failure.kind is FailureKind.TOO_LARGE
    assert "figures" in record.failure.message
