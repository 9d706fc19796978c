"""The notebooks in demos/ are clean, and what they link to is there.

They are run by ``python -m pytest --nbmake demos``, a stage of .ci/run.
"""

import json
import re
from pathlib import Path

import pytest

DEMOS = Path(__file__).parents[1] / "demos"
NOTEBOOKS = sorted(path.name for path in DEMOS.glob("*.ipynb"))
LINK = re.compile(r"\]\(([^)#\s]+)(#[^)]*)?\)")


@pytest.fixture(params=NOTEBOOKS)
def notebook(request):
    """What a notebook has, as JSON."""
    return json.loads((DEMOS / request.param).read_text())


def test_nothing_of_a_run_is_saved(notebook):
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    for cell in notebook["cells"]:
        assert cell["metadata"] == {}
        if cell["cell_type"] == "code":
            assert (cell["outputs"], cell["execution_count"]) == ([], None)


def test_it_begins_with_a_title_and_text(notebook):
    first = notebook["cells"][0]
    title, blank, *text = "".join(first["source"]).split("\n")
    assert first["cell_type"] == "markdown"
    assert title.startswith("# ")
    assert not blank
    assert len(" ".join(text)) > 100


def test_links_lead_somewhere(notebook):
    words = [
        "".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "markdown"
    ]
    found = [target for text in words for target, _ in LINK.findall(text)]
    local = [target for target in found if "://" not in target]
    missing = [target for target in local if not (DEMOS / target).exists()]
    assert not missing


def test_all_are_on_the_page_of_demos():
    page = (DEMOS.parent / "docs" / "demos.md").read_text()
    listed = re.findall(r"^demos/(\w+)$", page, re.M)
    assert sorted(f"{name}.ipynb" for name in listed) == NOTEBOOKS
    assert all(f"<demos/{name}>`" in page for name in listed)
