"""The page's files: small, ours or uPlot's own, and nothing that the policy forbids."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest

from orchestrator.web import charts
from orchestrator.web.app import STATIC
from orchestrator.web.charts import PARTS, NotTheOneError

from .conftest import Serve, Site

OURS = {"index.html", "homerun.css", "homerun.js", "favicon.svg", "login.css"}


def test_all_files_together_stay_small(site: Site) -> None:
    assert {path.name for path in STATIC.iterdir()} == OURS
    sizes = [len(site.client.get("/").content)]
    sizes += [len(site.client.get(f"/static/{name}").content) for name in (OURS | set(PARTS))]
    assert sum(sizes) < 200_000


@pytest.mark.parametrize("path", sorted(STATIC.iterdir()), ids=lambda path: str(path.name))
def test_no_file_names_another_server(path: Path) -> None:
    addresses = set(re.findall(r"(?:https?:)?//[a-z0-9.-]+\.[a-z]+[^\s\"')]*", path.read_text()))
    # The name of the SVG language, which nobody fetches.
    assert addresses <= {"http://www.w3.org/2000/svg"}


def test_page_uses_nothing_inline_that_the_policy_forbids(site: Site) -> None:
    html = (STATIC / "index.html").read_text()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|javascript:", html)
    policy = site.client.get("/").headers["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'self'" in policy or "default-src 'none'" in policy


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("homerun.js", "text/javascript"),
        ("homerun.css", "text/css"),
        ("favicon.svg", "image/svg+xml"),
        ("uplot.js", "text/javascript"),
        ("uplot.css", "text/css"),
    ],
)
def test_files_come_with_their_kind_and_are_asked_for_again(
    site: Site, name: str, kind: str
) -> None:
    first = site.client.get(f"/static/{name}")
    assert first.headers["content-type"].startswith(kind)
    assert first.headers["cache-control"] == "no-cache"
    headers = {"if-none-match": first.headers["etag"]}
    assert site.client.get(f"/static/{name}", headers=headers).status_code == 304


def test_charts_are_the_files_that_uplots_author_released() -> None:
    for part in PARTS.values():
        assert hashlib.sha256(charts.read(part)).hexdigest() == part.sha256
    assert b"uPlot (v1.6.31)" in charts.read(PARTS["uplot.js"])


def test_nothing_else_is_served_in_the_name_of_uplot(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = replace(PARTS["uplot.js"], place="youplot/__init__.py")
    monkeypatch.setitem(PARTS, "uplot.js", part)
    with pytest.raises(NotTheOneError, match="not the file of uPlot"):
        charts.read(part)
    answer = serve().client.get("/static/uplot.js")
    assert answer.status_code == 503
    assert "not the file of uPlot" in answer.json()["error"]["message"]
    assert "pip install" in answer.json()["error"]["fix"]


def test_package_that_is_not_there_is_named_with_its_fix(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> metadata.Distribution:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "distribution", missing)
    with pytest.raises(NotTheOneError, match=r"is not here: .*youplot"):
        charts.read(PARTS["uplot.js"])
