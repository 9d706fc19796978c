"""Settings of the documentation: ``sphinx-build -W -b html docs <output>``.

Neither the build nor the pages need the internet: nothing is looked up in other
projects' documentation, and formulas are MathML.
"""

import os
import sys
from importlib import metadata
from pathlib import Path

project = "qstore_pl"
author = "The qstore_pl authors"
copyright = "2026, The qstore_pl authors"
release = metadata.version("qstore-pl")
version = release

sys.path.insert(0, str(Path(__file__).parent))

# The notebooks of demos/ are pages too; their links are those of the repository.
_demos = Path(__file__).parent / "demos"
_demos.mkdir(exist_ok=True)
for _notebook in Path(__file__).parents[1].glob("demos/*.ipynb"):
    _text = _notebook.read_text(encoding="utf-8")
    _text = _text.replace("](../docs/", "](../").replace(
        "](results/README.md", "](../results.md"
    )
    _page = _demos / _notebook.name
    if not _page.exists() or _page.read_text(encoding="utf-8") != _text:
        _page.write_text(_text, encoding="utf-8")
extensions = [
    "mathml",
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_build", "jupyter_execute"]
html_math_renderer = "mathml"
html_theme = "furo"
html_title = f"{project} {release}"

myst_enable_extensions = ["deflist", "dollarmath"]
myst_heading_anchors = 3

# Pages with code are run on every build; one that fails, fails the build.
nb_execution_mode = "force"
nb_execution_raise_on_error = True
nb_execution_in_temp = True
nb_execution_timeout = 300
# Pages find tables.py, which is beside this file.
_paths = (str(Path(__file__).parent), os.environ.get("PYTHONPATH", ""))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, _paths))
os.environ["TQDM_DISABLE"] = "1"  # nobody watches the progress of a page
nb_render_markdown_format = "myst"  # tables and definitions that code writes

autosummary_generate = False  # the pages of docs/api are written by hand
autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_google_docstring = True
napoleon_numpy_docstring = False


def setup(app):
    """Before napoleon, which takes what is before a colon for a property's type."""
    app.connect("autodoc-process-docstring", _begin_with_no_type, priority=400)
    app.connect("missing-reference", _by_its_last_part)


def _begin_with_no_type(app, what, name, obj, options, lines):
    if what in ("attribute", "data", "property"):
        lines[:0] = ["..", ""]  # an empty comment, which has no colon


def _by_its_last_part(app, env, node, contnode):
    """Docstrings name what is beside them in the code; pages have another order."""
    if node.get("refdomain") != "py":
        return None
    python, target = env.get_domain("py"), node["reftarget"]
    own = target if target.partition(".")[0] != project else target.rpartition(".")[2]
    ends = {
        entry.node_id: name  # an object is listed under each of its names
        for name, entry in python.objects.items()
        if name.endswith(f".{own}")
    }
    if len(ends) != 1:
        return None
    (name,) = ends.values()
    document = node.get("refdoc", env.docname)
    return python.resolve_xref(env, document, app.builder, "obj", name, node, contnode)
