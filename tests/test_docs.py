"""The documentation: links lead somewhere, code runs, and files that it names exist.

Pages that are notebooks are run when the documentation is built.
"""

import logging
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(str(page.relative_to(ROOT)) for page in DOCS.rglob("*.md"))
TEXTS = [*PAGES, "README.md", "demos/results/README.md", "tests/benchmarks/README.md"]
LINK = re.compile(r"\]\(([^()\s]+)\)")
FENCED = re.compile(r"^```.*?^```$", re.M | re.S)
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.M | re.S)
NAMED = re.compile(r"`((?:tests|docs|demos|qstore_pl|\.ci)/[\w./-]+)`")
WITH_CODE = [page for page in PAGES if PYTHON.search((ROOT / page).read_text())]
TREE = re.compile(r"^```\{toctree\}\n(.*?)^```$", re.M | re.S)


def text_of(page):
    """What a reader sees of a page, without its code."""
    return FENCED.sub("", (ROOT / page).read_text())


def anchors(path):
    """The places of a page that a link can lead to."""
    text = path.read_text()
    labels = re.findall(r"^\(([\w-]+)\)=$", text, re.M)
    heads = re.findall(r"^#+ (.*)$", FENCED.sub("", text), re.M)
    slugs = [re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads]
    return {*labels, *slugs}


def is_place(path, anchor):
    """Whether a link to this place of a page leads there."""
    return not anchor or path.suffix != ".md" or anchor in anchors(path)


@pytest.mark.parametrize("page", TEXTS)
def test_links_lead_somewhere(page):
    dead = []
    for link in LINK.findall(text_of(page)):
        target, _, anchor = link.partition("#")
        if "://" in target:
            continue
        path = (ROOT / page).parent / target if target else ROOT / page
        if not path.exists() or not is_place(path, anchor):
            dead.append(link)
    assert not dead


@pytest.mark.parametrize("page", TEXTS)
def test_files_that_are_named_exist(page):
    named = NAMED.findall((ROOT / page).read_text())
    assert not [name for name in named if not (ROOT / name).exists()]


@pytest.fixture
def same_logging():
    """Logging as before after a test: a page sets it up."""
    loggers = logging.root, logging.getLogger("qstore_pl")
    before = [(one, one.level, list(one.handlers)) for one in loggers]
    yield
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers[:] = handlers


@pytest.mark.usefixtures("same_logging")
@pytest.mark.parametrize("page", WITH_CODE)
def test_blocks_of_python_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("data.csv").write_text("a,b,label\n0.1,0.2,0\n0.3,0.4,1\n")
    names = {"__name__": "page"}
    for block in PYTHON.findall((ROOT / page).read_text()):
        exec(block, names)


def test_every_page_is_in_one_list_of_contents():
    lists = ("index.md", "api.md")  # the pages of the API are under that of its names
    trees = [tree for page in lists for tree in TREE.findall((DOCS / page).read_text())]
    listed = [
        line
        for tree in trees
        for line in tree.splitlines()
        if line and not line.startswith(":")
    ]
    pages = [page.removeprefix("docs/").removesuffix(".md") for page in PAGES]
    assert sorted(listed) == sorted(set(pages) - {"index"})
