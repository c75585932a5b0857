"""Every relative link of the pages leads to a file that is there, and to a heading that it has."""

import re

import pytest

from tests.commands import ROOT

WRITTEN = [path for path in (ROOT / "docs").rglob("*.md") if not {"generated", "_build"} & {*path.parts}]
PAGES = [*ROOT.glob("*.md"), *sorted(WRITTEN)]


def links(path):
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    return [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not re.match(r"https?:", link)]


def anchors(path):
    """Returns the anchors of a page, as GitHub and Sphinx make them of its headings."""
    text = path.read_text()
    of_headings = [
        re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.*)$", text, re.M)
    ]
    return {*of_headings, *re.findall(r'<a id="(\w+)">', text)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_what_is_said_to_be_tested_is_tested_there(page):
    named = re.findall(r"`(tests/\w+\.py)(?:::(\w+))?`", page.read_text())
    assert not [file for file, test in named if not (ROOT / file).exists() or test not in (ROOT / file).read_text()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for link in links(page):
        place, _, anchor = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link
