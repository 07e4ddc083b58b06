"""Site: settings of Sphinx, `python -m sphinx -W docs SITE`.

Pages are the Markdown files beside this one. The reference is made of what rooms export, the
gallery of the scripts in `examples/`, each of which is run.
"""

import sys
from pathlib import Path

DOCS = Path(__file__).parent
sys.path[:0] = [str(DOCS.parent), str(DOCS)]

import pages  # noqa: E402

import tomolearn  # noqa: E402

project = "tomolearn"
author = "the authors of tomolearn"
version = release = tomolearn.__version__
extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "scripts", "gallery_header.rst"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

autosummary_generate = False
autodoc_typehints = "none"  # types stand in the signature and in the sections of each docstring
autodoc_member_order = "bysource"
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
default_role = "code"

pages.write_reference(DOCS / "reference")
pages.copy_scripts(DOCS / "scripts")
sphinx_gallery_conf = {
    "examples_dirs": [str(DOCS / "scripts")],
    "gallery_dirs": ["gallery"],
    "filename_pattern": r"\.py$",
    "image_scrapers": ("pages.written_figures",),
    "reset_argv": "pages.short_arguments",
    "default_thumb_file": str(DOCS / "pictures" / "thumbnail.png"),
    "download_all_examples": False,
    "remove_config_comments": True,
    "min_reported_time": 0,
    "show_memory": False,
}

html_theme = "pydata_sphinx_theme"
html_title = f"tomolearn {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_sidebars = {"conventions": [], "comparison": []}
html_show_sourcelink = False
html_theme_options = {
    "show_prev_next": False,
    "navigation_with_keys": False,
    "secondary_sidebar_items": ["page-toc"],
    "footer_start": ["copyright"],
    "footer_end": [],
}
copyright = "2026, the authors of tomolearn. GPL-3.0-or-later"


def setup(app):
    """Read docstrings as what they are, before numpydoc does."""
    app.connect("autodoc-process-docstring", pages.plain_signs, priority=400)
