"""The steps of the demo: what is asked, what comes back, and whether it is as documented."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from fanfold_server.demo import bootstrap
from fanfold_server.demo.curl import Curl, Request
from fanfold_server.demo.data_steps import fit, load
from fanfold_server.demo.functions import SOURCES
from fanfold_server.demo.step import RUN, Finding, Picture, Step, compact, expect, shortened

DOCUMENTED: Final = (
    b'{"result":[7.203244934421581,0.25926231827891333,7.081478226181048,5.4723224917572235,'
    b"8.707323061773764,3.3197980530117723,7.7991879224011464,9.68540662820932,5.018745921487388,"
    b"0.207519493594015]}"
)
"""The documented answer to the first example, to the byte."""

BOOTSTRAP_FILE: Final = "bootstrap.json"

_PNG: Final = b"\x89PNG\r\n\x1a\n"
_LIFETIME_S: Final = 3600


def log_in(curl: Curl, *, user: str, password: str) -> Step:
    """Obtain a token and give it to curl."""
    body = {"grant_type": "password", "username": user, "password": password}
    request = Request(method="POST", path="/omlusers/api/oauth2/v1/token", json=compact(body))
    shown = curl.shown(request)
    answer = curl.send(request)
    members = expect(answer, 200, "the login")
    token = members["accessToken"]
    lifetime = members.get("expiresIn")
    curl.token = token
    return Step(
        title="Log in",
        about="A token stands for the account. It goes into every other request.",
        request=shown,
        answer=answer.body.decode().replace(token, "$TOKEN"),
        findings=[Finding(text=f"the token lives {lifetime} s", is_right=lifetime == _LIFETIME_S)],
    )


def store(curl: Curl) -> Step:
    """Store the functions."""
    shown = []
    findings = []
    answers = []
    for name, source in SOURCES.items():
        request = Request(
            method="PUT", path=f"/api/v1/scripts/{name}", json=compact({"source": source})
        )
        answer = curl.send(request)
        expect(answer, 201, f"storing {name}")
        shown.append(curl.shown(request))
        answers.append(answer.body.decode())
        findings.append(Finding(text=f"stored {name}", is_right=True))
    return Step(
        title="Store functions",
        about=f"{len(SOURCES)} functions go into the script repository; this is the first.",
        request=shown[0],
        answer=answers[0],
        findings=findings,
    )


def plain(curl: Curl) -> Step:
    """Send the first documented example."""
    request = Request(
        method="POST", path=RUN + "index-apply/compute_random_mean", json='{"times":10}'
    )
    answer = curl.send(request)
    expect(answer, 200, "index-apply")
    size = len(DOCUMENTED)
    is_same = answer.body == DOCUMENTED
    words = "byte-equal to" if is_same else "DIFFERENT from"
    length = answer.headers.get("content-length")
    kind = answer.headers.get("content-type")
    return Step(
        title="Run a function ten times",
        about="The documented example of index-apply: the function is given 1, 2, … 10.",
        source=SOURCES["compute_random_mean"],
        request=curl.shown(request),
        answer=answer.body.decode(errors="replace"),
        findings=[
            Finding(text=f"the body is {words} the documented {size} bytes", is_right=is_same),
            Finding(text=f"Content-Length: {length}", is_right=length == str(size)),
            Finding(text=f"Content-Type: {kind}", is_right=kind == "application/json"),
        ],
    )


def figures_by_index(curl: Curl) -> Step:
    """Send the documented example of index-apply with figures."""
    body = '{"times":2,"envName":"seaborn","graphicsFlag":true}'
    request = Request(method="POST", path=RUN + "index-apply/test_seaborn_idx", json=body)
    answer = curl.send(request)
    members = expect(answer, 200, "index-apply with figures")["result"]
    wanted = {
        str(n): {"DATA": f"{n + 1}", "TIME": n + 1, "TITLE": f"Title {n + 1}", "ID": 1}
        for n in range(2)
    }
    rest = {
        key: {name: value for name, value in image.items() if name != "IMAGE"}
        for key, image in members.items()
    }
    pictures = [
        Picture(
            name=f"test_seaborn_idx-{image['TIME']}.png",
            png=base64.b64decode(image["IMAGE"]),
            caption=f"TIME {image['TIME']} · TITLE {image['TITLE']}",
        )
        for image in members.values()
    ]
    return Step(
        title="Draw with seaborn",
        about="The documented example with figures: an image comes back for each call.",
        source=SOURCES["test_seaborn_idx"],
        request=curl.shown(request),
        answer=shortened(answer),
        findings=[
            Finding(text='the keys are "0" and "1"', is_right=list(members) == ["0", "1"]),
            Finding(
                text="DATA, TIME, TITLE and ID are the documented ones", is_right=rest == wanted
            ),
            _are_figures(pictures),
        ],
        pictures=pictures,
    )


def figure_once(curl: Curl) -> Step:
    """Send the documented example of do-eval with a figure."""
    body = '{"graphicsFlag":true,"service":"LOW"}'
    request = Request(method="POST", path=RUN + "do-eval/RandomRedDots", json=body)
    answer = curl.send(request)
    images = expect(answer, 200, "do-eval with a figure")["result"]
    wanted = [{"id": n, "val": n / 100} for n in range(1, 10)]
    pictures = [
        Picture(
            name=f"RandomRedDots-{image['ID']}.png",
            png=base64.b64decode(image["IMAGE"]),
            caption=f"ID {image['ID']} · without a title",
        )
        for image in images
    ]
    return Step(
        title="Return a data frame and a figure",
        about="do-eval runs a function once. Its value travels with the image, as text in DATA.",
        source=SOURCES["RandomRedDots"],
        request=curl.shown(request),
        answer=shortened(answer),
        findings=[
            Finding(
                text="one object with IMAGE, DATA and ID",
                is_right=[set(image) for image in images] == [{"IMAGE", "DATA", "ID"}],
            ),
            Finding(
                text="DATA holds the nine rows",
                is_right=all(json.loads(image["DATA"]) == wanted for image in images),
            ),
            _are_figures(pictures),
        ],
        pictures=pictures,
    )


def resample(curl: Curl, folder: Path) -> Step:
    """Bootstrap a difference of means in parallel, then once more with another degree.

    Args:
        folder: where the requests' bodies are written, since they hold the data.
    """
    question = bootstrap.read_penguins()
    bodies = {
        BOOTSTRAP_FILE: bootstrap.body(question, service="MEDIUM", parallel=None),
        "again.json": bootstrap.body(question, service="HIGH", parallel=7),
    }
    requests = []
    for name, body in bodies.items():
        (folder / name).write_text(body, encoding="utf-8")
        path = RUN + "index-apply/mean_difference"
        requests.append(Request(method="POST", path=path, json=f"@{name}"))
    first, again = (curl.send(request) for request in requests)
    values = expect(first, 200, "the bootstrap")["result"]
    expect(again, 200, "the bootstrap with another degree")
    (folder / "again.json").unlink()
    estimate = bootstrap.estimate(question, values, elapsed_s=first.elapsed_s)
    is_same = first.body == again.body
    words = "byte-equal values" if is_same else "OTHER values"
    return Step(
        title=f"Bootstrap penguins, {bootstrap.TIMES:,} times in parallel",
        about=(
            f"Are {bootstrap.FIRST} penguins heavier than {bootstrap.SECOND} penguins? Each call "
            "draws both groups anew and returns the difference of the mean body masses."
        ),
        source=SOURCES["mean_difference"],
        request=curl.shown(requests[0]),
        answer=shortened(first),
        findings=[
            Finding(
                text=f"{len(values):,} values, {estimate.calls_per_s:,.0f} calls per second",
                is_right=len(values) == bootstrap.TIMES,
            ),
            Finding(
                text=f"95 % confidence interval {estimate.interval} around the observed "
                f"{bootstrap.signed(estimate.observed_g)} g",
                is_right=estimate.low_g < estimate.observed_g < estimate.high_g,
            ),
            Finding(text=f"the same seed with 7 workers instead of 4: {words}", is_right=is_same),
        ],
        estimate=estimate,
    )


def steps(curl: Curl, *, user: str, password: str, folder: Path) -> Iterator[Callable[[], Step]]:
    """Yield the steps in order, each to be taken when it is its turn."""
    yield lambda: log_in(curl, user=user, password=password)
    yield lambda: store(curl)
    yield lambda: plain(curl)
    yield lambda: figures_by_index(curl)
    yield lambda: figure_once(curl)
    yield lambda: load(curl, folder)
    yield lambda: fit(curl)
    yield lambda: resample(curl, folder)


def _are_figures(pictures: list[Picture]) -> Finding:
    """Compare size and resolution with the documented images."""
    wanted = (640, 480)
    sizes = [
        struct.unpack(">II", picture.png[16:24]) if picture.png.startswith(_PNG) else None
        for picture in pictures
    ]
    shown = ", ".join(" by ".join(map(str, size)) if size else "no PNG" for size in sizes)
    return Finding(text=f"PNG files, {shown}", is_right=sizes == [wanted] * len(sizes))
