"""Sphinx settings: `sphinx-build -W --keep-going -b html docs docs/_build`."""

import configparser
import pathlib
import re
import shutil

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_SETUP = configparser.ConfigParser()
_SETUP.read(_ROOT / "setup.cfg")
_FILES = f"{_SETUP['metadata']['url']}/blob/main/"

project = "deepmds_jax"
author = "deepmds_jax maintainers"
release = version = _SETUP["metadata"]["version"]
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.mathjax", "sphinx.ext.napoleon"]
exclude_patterns = ["_build"]

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["custom.css"]
html_title = f"{project} {release}"
html_show_copyright = False
html_show_sphinx = False
pygments_style = "friendly"

myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_fence_as_directive = ["math"]
myst_heading_anchors = 3

# The page for the browser, if it was built: web.md embeds it.
_DEMO = _ROOT / "web" / "dist"
if _DEMO.is_dir():
    tags.add("demo")  # noqa: F821 (Sphinx has it)

default_role = "code"  # docstrings write `name`
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_attr_annotations = False  # the signature has the types
napoleon_use_ivar = True  # "Attributes:" of a docstring describes the fields; autodoc need not
napoleon_use_rtype = False


def _link_to_files(app, docname, source):
    """Links out of this folder lead to a file of the clone; the site has them on the forge."""
    source[0] = re.sub(r"(?<!!)(\[[^\]]*\])\(\.\./", rf"\1({_FILES}", source[0])


def _escape(app, what, name, obj, options, lines):
    """Docstrings are plain text with `code` in it: `|x|`, `*.toml` and `name`s are no markup."""
    for i, line in enumerate(lines):
        # Sphinx would take the first of "yaw, pitch, roll: ..." for a type.
        line = re.sub(r"^ +\w+(, \w+)+(?=: )", lambda names: names[0].replace(", ", "/"), line)
        text, *rest = line.split("`")
        text = _escape_text(text)
        for code, after in zip(rest[::2], rest[1::2], strict=False):
            text += f"`{code}`" + re.sub(r"^(?=\w)", r"\\ ", _escape_text(after))
        lines[i] = text if len(rest) % 2 == 0 else line  # code that goes on in the next line


def _escape_text(text):
    return re.sub(r"\||\*(?=\S)", r"\\\g<0>", text)


def _skip_fields(app, what, name, obj, skip, options):
    """Fields of named tuples and dataclasses are in the docstring of their class."""
    return True if type(obj).__name__ in ("_tuplegetter", "member_descriptor") else skip


def _copy_demo(app, exception):
    if exception is None and app.builder.format == "html" and _DEMO.is_dir():
        shutil.copytree(_DEMO, pathlib.Path(app.outdir) / "demo", dirs_exist_ok=True)


def setup(app):
    """Connects the functions above."""
    app.connect("source-read", _link_to_files)
    app.connect("autodoc-process-docstring", _escape, priority=400)  # before Napoleon's
    app.connect("autodoc-skip-member", _skip_fields)
    app.connect("build-finished", _copy_demo)
