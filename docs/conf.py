"""The documentation site: Sphinx, with what a page of plain Markdown and a plain docstring need to be read as they are.

``make docs`` builds it into ``build/docs``, a warning being an error. The pages need no network: formulas are MathML,
and neither theme nor notebooks load anything from elsewhere (``site/whole.py`` holds every page to that).
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "site"))
# Notebooks run in processes of their own, which find the command where Sphinx is installed.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
os.environ.setdefault("OMP_NUM_THREADS", str(os.cpu_count() or 1))

project = "toymodels"
author = "the toymodels project"
extensions = [
    "myst_nb",  # pages and notebooks in Markdown
    "sphinx.ext.autodoc",
    "sphinx.ext.viewcode",
    "plain_docstrings",
    "mathml",
    "generated",
    "records",
    "whole",
]
exclude_patterns = ["site"]

nitpicky = True
smartquotes = False
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
myst_links_external_new_tab = False

nb_execution_mode = "force"
nb_execution_in_temp = True  # what a notebook writes is gone with it
nb_execution_raise_on_error = True
nb_execution_timeout = 600  # of a cell; a machine may be busy
nb_ipywidgets_js: dict[str, dict[str, str]] = {}  # from elsewhere, and no page has a widget
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_inherit_docstrings = False
autodoc_default_options = {"members": True, "ignore-module-all": True}
python_use_unqualified_type_names = True
viewcode_follow_imported_members = False  # a constant is where it stands, not in the module of its type
python_maximum_signature_line_length = 88

html_theme = "furo"
html_title = "toymodels"
html_copy_source = False
html_show_copyright = False
html_show_sphinx = False
html_math_renderer = "mathml"
html_static_path = ["site/static"]
html_css_files = ["tables.css"]
