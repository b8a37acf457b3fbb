"""Figures over HTTP: which are captured, in which shape they come, and that none leaks."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from tests.acceptance.conftest import ENGINE, Caller, Server, serving

PNG = b"\x89PNG\r\n\x1a\n"
DOTS_PER_METRE = 3937
"""100 dpi, as in the images of the compatible service."""

SEABORN_IDX = """
def test_seaborn_idx(i):
    import matplotlib.pyplot as plt
    import seaborn as sns

    plt.figure()
    sns.barplot(x=["a", "b"], y=[i, 2 * i])
    plt.title(f"Title {i}")
    return i
"""
RED_DOTS = """
def RandomRedDots(divisor=100, figures=1):
    import matplotlib.pyplot as plt
    import pandas as pd

    frame = pd.DataFrame({"id": range(1, 10), "val": [x / divisor for x in range(1, 10)]})
    for number in range(figures):
        figure = plt.figure(number + 1)
        axes = figure.add_subplot(111)
        axes.scatter(range(100), range(100), c="r")
        figure.suptitle("Random Red Dots")
    return frame
"""
RED_DATA = json.dumps([{"id": i, "val": i / 100} for i in range(1, 10)], separators=(",", ":"))
DRAWS = """
def draws(what, i=0):
    import matplotlib
    import matplotlib.pyplot as plt

    if what == "nothing":
        pass
    elif what == "show":
        plt.plot([1, 2]); plt.title("shown"); plt.show()
        plt.plot([2, 1]); plt.title("left open")
    elif what == "show-one":
        figure, axes = plt.subplots(); axes.set_title("one"); figure.show()
    elif what == "closed":
        plt.plot([1, 2]); plt.close()
    elif what == "subplots":
        figure, axes = plt.subplots(1, 2); axes[1].set_title("right one")
    elif what == "pandas":
        import pandas as pd
        pd.DataFrame({"a": [1, 3, 2]}).plot(title="of a frame")
    elif what == "seaborn-grid":
        import pandas as pd, seaborn as sns
        sns.relplot(data=pd.DataFrame({"x": [1, 2], "y": [2, 1], "c": ["u", "v"]}),
                    x="x", y="y", col="c")
    elif what == "big":
        plt.figure(figsize=(11.3, 10)); plt.plot([1, 2])
    elif what == "backend":
        matplotlib.use("TkAgg"); plt.switch_backend("TkAgg"); plt.plot([1, 2])
    elif what == "many":
        for k in range(i):
            plt.figure(); plt.title(f"{i}.{k}")
    elif what == "leave":
        plt.figure(); plt.title("left"); plt.rcParams["figure.figsize"] = [1, 1]
        return len(plt.get_fignums())
    elif what == "count":
        return [len(plt.get_fignums()), plt.rcParams["figure.figsize"]]
    elif what == "raise":
        plt.figure(); raise ValueError("while drawing")
    return [what, 6.0]
"""
DRAWN = '["{}",6.0]'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with an environment "seaborn", as the compatible examples name it."""
    folder = tmp_path_factory.mktemp("graphics")
    environments = folder / "data" / "environments"
    environments.mkdir(parents=True)
    environments.joinpath("seaborn").symlink_to(ENGINE)
    with serving(folder, users={"painter": "developer"}) as running:
        yield running


@pytest.fixture(scope="module")
def painter(server: Server) -> Iterator[Caller]:
    with server.caller("painter") as caller:
        caller.store("test_seaborn_idx", SEABORN_IDX)
        caller.store("RandomRedDots", RED_DOTS)
        caller.store("draws", DRAWS)
        yield caller


def _png(text: str) -> tuple[int, int]:
    """Check that the text is a PNG of 100 dpi, and give width and height."""
    png = base64.b64decode(text, validate=True)
    assert png.startswith(PNG)
    assert png.rstrip(b"\n").endswith(b"IEND\xaeB`\x82")
    width, height = struct.unpack(">II", png[16:24])
    at = png.index(b"pHYs") + 4
    assert struct.unpack(">IIB", png[at : at + 9]) == (DOTS_PER_METRE, DOTS_PER_METRE, 1)
    return width, height


def _draw(painter: Caller, what: str, **parameters: object) -> httpx2.Response:
    body = {"graphicsFlag": True, "parameters": json.dumps({"what": what, **parameters})}
    return painter.do_eval("draws", body)


def _images(answer: httpx2.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    images: list[dict[str, Any]] = answer.json()["result"]
    assert isinstance(images, list)
    return images


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_w03_index_apply_answers_images_by_running_keys(painter: Caller, version: str) -> None:
    body = {"times": 2, "envName": "seaborn", "graphicsFlag": True}
    path = f"/oml/api/py-scripts/{version}/index-apply/test_seaborn_idx"
    answer = painter.post(path, json=body)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.headers["transfer-encoding"] == "chunked"
    assert "content-length" not in answer.headers
    said = answer.json()
    assert list(said) == ["result"]
    assert list(said["result"]) == ["0", "1"]
    for key, image in said["result"].items():
        assert _png(image.pop("IMAGE")) == (640, 480)
        i = int(key) + 1
        assert image == {"DATA": str(i), "TIME": i, "TITLE": f"Title {i}", "ID": 1}
        assert [type(image[name]) for name in ("DATA", "TIME", "ID")] == [str, int, int]


def test_w04_do_eval_answers_a_list_even_for_one_image(painter: Caller) -> None:
    answer = painter.do_eval("RandomRedDots", {"graphicsFlag": True, "service": "LOW"})
    assert answer.headers["transfer-encoding"] == "chunked"
    (image,) = _images(answer)
    assert _png(image.pop("IMAGE")) == (640, 480)
    assert image == {"DATA": RED_DATA, "ID": 1}


def test_w05_two_figures_are_two_images_with_the_value_in_each(painter: Caller) -> None:
    body = {"graphicsFlag": True, "service": "LOW", "parameters": '{"figures":2}'}
    images = _images(painter.do_eval("RandomRedDots", body))
    for image in images:
        _png(image.pop("IMAGE"))
    assert images == [{"DATA": RED_DATA, "ID": 1}, {"DATA": RED_DATA, "ID": 2}]


def test_w07_a_named_environment_draws_as_the_default_one(painter: Caller) -> None:
    body = {"envName": "seaborn", "graphicsFlag": True}
    (image,) = _images(painter.do_eval("RandomRedDots", body))
    _png(image.pop("IMAGE"))
    assert image == {"DATA": RED_DATA, "ID": 1}


def test_without_the_flag_figures_are_dropped_and_the_value_is_plain(painter: Caller) -> None:
    answer = painter.do_eval("RandomRedDots")
    assert answer.json() == {"result": json.loads(RED_DATA)}
    assert "transfer-encoding" not in answer.headers


@pytest.mark.parametrize(
    ("what", "titles"),
    [
        ("show", ["shown", "left open"]),
        ("show-one", ["one"]),
        ("closed", []),
        ("subplots", ["right one"]),
        ("pandas", ["of a frame"]),
        ("seaborn-grid", ["c = u"]),
        ("backend", [None]),
    ],
)
def test_figures_that_are_open_or_were_shown_are_captured_in_order(
    painter: Caller, what: str, titles: list[str | None]
) -> None:
    images = _images(_draw(painter, what))
    if not titles:
        assert images == [{"DATA": DRAWN.format(what)}]
        return
    assert [image["ID"] for image in images] == list(range(1, len(titles) + 1))
    assert [image.get("TITLE") for image in images] == titles
    assert {image["DATA"] for image in images} == {DRAWN.format(what)}
    for image in images:
        _png(image["IMAGE"])


def test_an_image_has_the_size_of_its_figure_at_100_dpi(painter: Caller) -> None:
    (image,) = _images(_draw(painter, "big"))
    assert _png(image["IMAGE"]) == (1130, 1000)


def test_a_call_that_draws_nothing_gives_its_value_alone(painter: Caller) -> None:
    """`.0` survives inside DATA, and not outside (W08, W11)."""
    assert _images(_draw(painter, "nothing")) == [{"DATA": '["nothing",6.0]'}]
    body = {"parameters": '{"what":"nothing"}'}
    assert painter.do_eval("draws", body).content == b'{"result":["nothing",6]}'


def test_several_images_of_several_calls_have_running_keys(painter: Caller) -> None:
    """TIME says the call, ID the image within it; the third call draws three."""
    painter.store("many", DRAWS.replace("def draws(what, i=0)", "def many(i, what)"))
    body = {
        "times": 3,
        "graphicsFlag": True,
        "parallelFlag": True,
        "parameters": '{"what":"many"}',
    }
    images = painter.index_apply("many", body).json()["result"]
    assert list(images) == [str(k) for k in range(6)]
    said = [(v["TIME"], v["ID"], v["TITLE"]) for v in images.values()]
    assert said == [(i, k + 1, f"{i}.{k}") for i in (1, 2, 3) for k in range(i)]


def test_figures_of_one_call_never_leak_into_the_next(painter: Caller) -> None:
    for graphics in (False, True):
        left = painter.do_eval(
            "draws", {"graphicsFlag": graphics, "parameters": '{"what":"leave"}'}
        )
        assert left.status_code == 200
    after = painter.do_eval("draws", {"parameters": '{"what":"count"}'})
    assert after.json() == {"result": [0, [6.4, 4.8]]}
    painter.store("leaves", DRAWS.replace("def draws(what, i=0)", "def leaves(i, what)"))
    body = {"times": 4, "graphicsFlag": True, "parameters": '{"what":"leave"}'}
    images = painter.index_apply("leaves", body).json()["result"]
    assert [image["DATA"] for image in images.values()] == ["1"] * 4


def test_figures_of_a_call_that_fails_are_dropped(painter: Caller) -> None:
    answer = _draw(painter, "raise")
    assert (answer.status_code, answer.json()["errorType"]) == (400, "ValueError")
    assert _images(_draw(painter, "nothing")) == [{"DATA": '["nothing",6.0]'}]


def test_the_control_argument_asks_for_figures_like_the_flag(painter: Caller) -> None:
    with_it = {"parameters": '{"what":"pandas","oml_graphics_flag":true}'}
    assert "IMAGE" in _images(painter.do_eval("draws", with_it))[0]
    overruled = {"graphicsFlag": False, **with_it}
    assert painter.do_eval("draws", overruled).json() == {"result": ["pandas", 6]}


def test_a_failed_call_among_drawing_ones_is_null(painter: Caller) -> None:
    source = (
        "def second_fails(i):\n    import matplotlib.pyplot as plt\n    plt.figure()\n"
        "    if i == 2:\n        raise KeyError(i)\n    return i\n"
    )
    painter.store("second_fails", source)
    body = {"times": 3, "graphicsFlag": True, "onError": "continue"}
    said = painter.index_apply("second_fails", body).json()
    assert list(said["result"]) == ["0", "1", "2"]
    assert [image and image["TIME"] for image in said["result"].values()] == [1, None, 3]
    assert [error["index"] for error in said["errors"]] == [2]


def test_a_large_answer_of_many_images_is_whole(painter: Caller) -> None:
    """More than a mebibyte: sent in several pieces."""
    painter.store("many", DRAWS.replace("def draws(what, i=0)", "def many(i, what)"))
    body = {"times": 5, "graphicsFlag": True, "parameters": '{"what":"many"}'}
    answer = painter.index_apply("many", body)
    images = answer.json()["result"]
    assert len(images) == sum(range(1, 6))
    for image in images.values():
        _png(image["IMAGE"])
