"""Make docs/images/notebook.png: a notebook that was run against a server, as a browser shows it.

    .venv/bin/python scripts/notebook_picture.py [OUT.png]

A throw-away server is started, the cells below run in a kernel of Jupyter's, nbconvert writes them
as HTML, and a Chromium takes the picture. Its name can be told by the variable CHROMIUM.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbconvert import HTMLExporter

from fanfold_server.demo.ending import Ending
from fanfold_server.demo.server import ThrowAway, throw_away

ROOT = Path(__file__).parents[1]
OUT = ROOT / "docs" / "images" / "notebook.png"
WIDTH = 1000
MARK = "end-of-the-picture"
LIMIT_S = 120

CELLS = (
    """\
from fanfold import Client

client = Client()


def walk(index, rng, steps=400):
    import matplotlib.pyplot as plt
    path = rng.normal(size=steps).cumsum()
    plt.plot(path, lw=1)
    plt.title(f"walk {index}")
    return {"end": round(float(path[-1]), 2)}


client.using(seed=7).index_apply(3, walk, parallel=True, graphics=True)""",
    """\
ends = client.using(seed=7).index_apply(2000, walk, parallel=True)
ends[:3]""",
)
STYLE = """
<style>
  body { background: #fff; padding: 12px 18px !important; }
  .jp-Cell { padding: 4px 0 !important; }
  #%s { height: 1px; }
</style>
"""


def main() -> int:
    """Make the picture; return the exit status."""
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else OUT
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chrome")
    if chromium is None:
        print("there is no Chromium: name one by the variable CHROMIUM", file=sys.stderr)
        return 2
    environment = ROOT / ".environments" / "default"
    ending = Ending()
    with ending.opened(), tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "server").mkdir()
        place = folder / "server"
        with throw_away(place, environment=environment, ending=ending) as server:
            page = folder / "page.html"
            with ending.interruptible():
                page.write_text(run_notebook(server, folder), encoding="utf-8")
        height = height_of(chromium, page, folder)
        take_picture(chromium, page, folder, height, out)
    print(f"wrote {out}")
    return 0


def run_notebook(server: ThrowAway, folder: Path) -> str:
    """Run the cells, and write them with what they gave as a page."""
    os.environ.update(
        FANFOLD_URL=server.url, FANFOLD_USERNAME=server.user, FANFOLD_PASSWORD=server.password
    )
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    NotebookClient(
        notebook, timeout=LIMIT_S, resources={"metadata": {"path": str(folder)}}
    ).execute()
    page, _ = HTMLExporter(embed_images=True).from_notebook_node(notebook)
    # Nothing is fetched from elsewhere: what the page would load is not needed for the picture
    page = re.sub(r"<script\b.*?</script>", "", page, flags=re.DOTALL)
    return page.replace("</head>", STYLE % MARK + "</head>").replace(
        "</body>", f'<div id="{MARK}"></div></body>'
    )


def height_of(chromium: str, page: Path, folder: Path) -> int:
    """Measure the page: a script of ours writes its height into the document."""
    measured = folder / "measured.html"
    script = (
        "<script>addEventListener('load', () => document.title = 'height ' + "
        f"Math.ceil(document.getElementById('{MARK}').getBoundingClientRect().bottom))</script>"
    )
    measured.write_text(page.read_text(encoding="utf-8").replace("</body>", script + "</body>"))
    text = browse(chromium, folder, "--dump-dom", f"--window-size={WIDTH},800", measured.as_uri())
    found = re.search(r"<title>height (\d+)</title>", text)
    return int(found[1]) + 12 if found else 900


def take_picture(chromium: str, page: Path, folder: Path, height: int, out: Path) -> None:
    """Have the browser write the page as a PNG."""
    made = folder / "picture.png"
    browse(
        chromium, folder, f"--screenshot={made}", f"--window-size={WIDTH},{height}", page.as_uri()
    )
    shutil.copyfile(made, out)


def browse(chromium: str, folder: Path, *arguments: str) -> str:
    """Run a browser without a screen, a profile or a network."""
    return subprocess.run(
        [
            *(chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *("--force-device-scale-factor=1", f"--user-data-dir={folder / 'profile'}"),
            *("--proxy-server=127.0.0.1:9", "--virtual-time-budget=4000"),
            *arguments,
        ],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=True,
    ).stdout


if __name__ == "__main__":
    sys.exit(main())
