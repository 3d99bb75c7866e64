"""A page of an attacker, open in a real browser that is logged in to the daemon beside it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from orchestrator.web.settings import Settings

from .browser import Browser
from .conftest import Serve, Site

TOKEN = "correct-horse-battery"
REBOUND = "evil.example"
IN = "document.querySelector('#headline') !== null"

#: everything that a page may try on an address that is not its own; what it could read comes back
_ATTACKS = """
(async (victim) => {
  const stolen = [];
  const order = JSON.stringify({ detail: "owned" });
  const json = { "content-type": "application/json" };
  const tries = [
    [ "/api/v1/pause", { method: "POST", mode: "no-cors", body: order } ],
    [ "/api/v1/pause", { method: "POST", body: order, headers: json } ],
    [ "/api/v1/login", { method: "POST", body: "{}", headers: json } ],
    [ "/api/v1/status", {} ],
    [ "/metrics", { mode: "no-cors" } ],
  ];
  for (const [path, options] of tries) {
    try {
      const answer = await fetch(victim + path, { credentials: "include", ...options });
      stolen.push(await answer.text());
    } catch (error) { /* refused, as it should be */ }
  }
  navigator.sendBeacon(victim + "/api/v1/pause", new Blob([order], { type: "text/plain" }));
  await new Promise((done) => {
    const source = new EventSource(victim + "/api/v1/stream", { withCredentials: true });
    source.addEventListener("status", (event) => { stolen.push(event.data); done(); });
    source.onerror = () => { source.close(); done(); };
  });
  await new Promise((done) => {
    const script = document.createElement("script");
    script.src = victim + "/api/v1/status";
    script.onload = () => { stolen.push("a script ran"); done(); };
    script.onerror = done;
    document.head.append(script);
  });
  const frame = document.createElement("iframe");
  frame.name = "hidden";
  await new Promise((done) => {
    frame.onload = done;
    frame.src = victim + "/";
    document.body.append(frame);
  });
  try { stolen.push(frame.contentDocument.body.innerText); } catch (error) { /* not ours */ }
  const form = document.createElement("form");
  form.method = "post";
  form.enctype = "text/plain";
  form.target = "hidden";
  form.action = victim + "/api/v1/pause";
  form.innerHTML = '<input name=\\'{"detail": "owned", "x": "\\' value=\\'"}\\'>';
  document.body.append(form);
  await new Promise((done) => { frame.onload = done; form.submit(); });
  return stolen.filter((text) => text);
})
"""


class _Page(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"<!doctype html><meta charset=utf-8><title>nice cats</title><body>cats</body>"
        self.send_response(200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Be quiet."""


@contextmanager
def attackers_site() -> Iterator[int]:
    """Its port; it answers under every name."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Page)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    rules = f'--host-resolver-rules="MAP {REBOUND} 127.0.0.1"'
    with Browser(tmp_path_factory.mktemp("profile"), options=rules) as browser:
        yield browser


def log_in(browser: Browser, site: Site) -> None:
    """By the form, as a person does."""
    browser.open(site.server.url)
    field = "document.querySelector('#token') !== null"
    browser.until(f"{field} || ({IN})")
    # cookies know no ports: that of an earlier test's server may still let us in
    if browser.ask(field):
        browser.ask(
            f"document.querySelector('#token').value = {TOKEN!r};"
            "document.querySelector('form button').click()"
        )
    browser.until(IN)
    answer = "fetch('/api/v1/status').then((answer) => answer.status)"
    assert browser.ask(answer) == 200


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", REBOUND])
@pytest.mark.parametrize("token", [TOKEN, ""])
def test_page_of_an_attacker_reads_nothing_and_orders_nothing(
    browser: Browser, serve: Serve, name: str, token: str
) -> None:
    """From another port of the same host, where cookies go along, from another site, and open."""
    site = serve(Settings(token=token))
    if token:
        log_in(browser, site)
    with attackers_site() as port:
        browser.open(f"http://{name}:{port}/")
        assert browser.ask("document.title") == "nice cats"
        stolen = browser.ask(f"({_ATTACKS.strip()})({site.server.url!r})")
        browser.open("about:blank")
    assert stolen == []
    assert site.backend.snapshot().holds == ()


def test_name_that_is_rebound_to_this_machine_shows_nothing(browser: Browser, serve: Serve) -> None:
    """The name led to the attacker, and now leads to us: the browser sees one origin."""
    site = serve()
    browser.open(f"http://{REBOUND}:{site.server.port}/")
    browser.until("document.body && document.body.innerText.includes('wrong_host')")
    for path in ("/api/v1/status", "/", "/metrics"):
        text = browser.ask(f"fetch({path!r}).then((answer) => answer.text())")
        assert "first-run" not in text
        assert "homerun_" not in text
    headers = "headers: {'content-type': 'application/json'}"
    order = f"fetch('/api/v1/pause', {{method: 'POST', body: '{{}}', {headers}}})"
    assert browser.ask(f"{order}.then((answer) => answer.status)") == 421
    assert site.backend.snapshot().holds == ()


def test_link_of_the_command_line_opens_the_page_from_any_place(
    browser: Browser, serve: Serve, tmp_path: Path
) -> None:
    """Followed from a chat on another site, the strict cookie is still there after the click."""
    site = serve(Settings(token=TOKEN))
    shown = {"authorization": f"Bearer {TOKEN}"}
    link = site.client.post("/api/v1/login", json={}, headers=shown).json()["path"]
    browser.call("Network.clearBrowserCookies")
    with attackers_site() as port:
        browser.open(f"http://localhost:{port}/")
        browser.ask(f"location.href = {site.server.url + link!r}")
        browser.until(IN)
        # and so is it when a link elsewhere leads to the page itself
        browser.open(f"http://localhost:{port}/")
        browser.ask(f"location.href = {site.server.url + '/'!r}")
        browser.until(IN)
        browser.open("about:blank")
    browser.call("Network.clearBrowserCookies")
