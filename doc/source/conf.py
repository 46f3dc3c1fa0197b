# SPDX-License-Identifier: Apache-2.0
"""How Sphinx builds the documentation; the version is read from the code."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]

project = "Zaqar"
author = ""
version = release = re.findall(
    r'__version__ = "([^"]+)"', (ROOT / "zaqar/__init__.py").read_text()
)[0]
html_theme = "alabaster"
html_show_copyright = False
html_extra_path = [
    "api/openapi.yaml",
    "api/openapi-topics.yaml",
    "api/openapi-v1.1.yaml",
]
