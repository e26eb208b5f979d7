"""How the documentation is built: `make docs`."""

from importlib.metadata import version as version_of

project = "ecgsynth"
author = "The ecgsynth developers"
version = release = version_of("ecgsynth")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click"]
source_suffix = {".md": "markdown"}
html_theme = "furo"
html_show_copyright = False
smartquotes = False  # or `--like` in a command would become a dash
html_title = f"ecgsynth {version}"
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
autodoc_typehints = "none"
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_rtype = False
linkcheck_timeout = 20
# Publishers turn away what is no browser; their addresses are checked to be DOIs instead.
linkcheck_ignore = [r"https://doi\.org/10\.\d{4,}/.+"]
