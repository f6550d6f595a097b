"""The README's two commands are those that are run, and its links work away from the clone."""

import configparser
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SHELL = re.findall(r"```sh\n(.*?)\n```", README, re.DOTALL)


def test_the_first_command_is_that_of_the_quick_start_and_sets_up_as_the_launchers_say():
    quick_start = (ROOT / "docs" / "quickstart.md").read_text(encoding="utf-8")
    assert SHELL[0] in quick_start
    launcher = (ROOT / "bin" / "launcher.py").read_text()
    assert SHELL[0].rpartition(" && ")[0] in launcher


def test_the_second_command_is_what_ci_runs():
    assert SHELL[1].endswith("-m pytest")
    ci = (ROOT / ".ci" / "run").read_text().replace(" --quiet", "")
    assert SHELL[1] in ci


def test_links_are_absolute_and_lead_to_files():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    address = config["metadata"]["url"]
    raw = address.replace("github.com", "raw.githubusercontent.com")
    links = re.findall(r"\]\(([^)]+)\)", README)
    assert all(link.startswith("https://") for link in links), links
    local = [link.partition("#")[0].removeprefix(base) for link in links
             for base in (f"{address}/blob/main/", f"{raw}/main/") if link.startswith(base)]
    assert "docs/pictures/examples.png" in local
    assert "docs/model_card.md" in local
    for path in local:
        assert (ROOT / path).is_file(), path
