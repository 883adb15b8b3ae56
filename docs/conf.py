# SPDX-License-Identifier: MIT
"""How the documentation is built."""

import sys
from pathlib import Path

import tellin

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

project = "tellin"
author = "The tellin authors"
copyright = "2026, The tellin authors"  # noqa: A001  # the name that Sphinx asks for
version = release = tellin.__version__ if hasattr(tellin, "__version__") else ""

extensions = ["myst_parser", "tables"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "_ext"]
nitpicky = True

myst_enable_extensions = ["deflist", "colon_fence", "attrs_block"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "tellin"
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}
