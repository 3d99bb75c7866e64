"""The login: the form, the one-time link, the cookie, the two tokens, and what is never written."""

from __future__ import annotations

import logging

import httpx
import pytest

from orchestrator.home.clock import FakeClock
from orchestrator.web import credentials as c
from orchestrator.web import limiter as lim
from orchestrator.web.credentials import Credentials
from orchestrator.web.limiter import Limiter, place_of
from orchestrator.web.settings import Settings

from .conftest import Serve, Site

TOKEN = "correct-horse-battery"
METRICS = "only-for-the-scraper"
GUARDED = Settings(token=TOKEN, metrics_token=METRICS)
BEARER = {"authorization": f"Bearer {TOKEN}"}


def log_in(site: Site, token: str = TOKEN, **options: object) -> httpx.Response:
    return site.client.post("/login", data={"token": token}, **options)  # type: ignore[arg-type]  # httpx's own


def link_of(site: Site) -> str:
    answer = site.client.post("/api/v1/login", json={}, headers=BEARER)
    assert answer.status_code == 200
    return str(answer.json()["path"])


def pause(site: Site, **headers: str) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return site.client.post("/api/v1/pause", json={}, headers=named)


def cookie_of(answer: httpx.Response) -> list[str]:
    return [part.strip().lower() for part in answer.headers["set-cookie"].split(";")]


# --- the form -------------------------------------------------------------------------------


def test_browser_without_a_cookie_gets_a_form_that_needs_no_script(serve: Serve) -> None:
    site = serve(GUARDED)
    answer = site.client.get("/")
    assert answer.status_code == 401
    assert '<form method="post" action="/login">' in answer.text
    assert "<script" not in answer.text
    assert "style=" not in answer.text
    assert answer.headers["cache-control"] == "no-store"
    # With no-referrer the browser would call the form's origin null, and the guard refuse it.
    assert answer.headers["referrer-policy"] == "same-origin"
    assert "script-src 'self'" in answer.headers["content-security-policy"]


def test_token_on_the_form_becomes_a_cookie_that_opens_everything(serve: Serve) -> None:
    site = serve(GUARDED)
    answer = log_in(site, headers={"origin": site.server.url, "sec-fetch-site": "same-origin"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    flags = cookie_of(answer)
    assert {"httponly", "samesite=strict", "path=/"} <= set(flags)
    assert "secure" not in flags
    assert "domain" not in answer.headers["set-cookie"].lower()
    assert TOKEN not in answer.headers["set-cookie"]
    assert "homerun.js" in site.client.get("/").text
    for path in ("/api/v1/status", "/metrics"):
        assert site.client.get(path).status_code == 200
    with site.client.stream("GET", "/api/v1/stream") as stream:
        assert stream.status_code == 200
    assert pause(site, origin=site.server.url).status_code == 200


def test_daemon_without_a_token_needs_no_login(site: Site) -> None:
    assert "homerun.js" in site.client.get("/").text
    assert site.client.get("/login").headers["location"] == "/"
    assert log_in(site).headers["location"] == "/"
    link = site.client.post("/api/v1/login", json={}).json()
    assert link == {"path": "/", "expires": None}


@pytest.mark.parametrize("shown", ["", "wrong", TOKEN + "x", METRICS, "schlüssel", "x" * 10_000])
def test_wrong_token_on_the_form_is_told_and_sets_no_cookie(serve: Serve, shown: str) -> None:
    answer = log_in(serve(GUARDED), shown)
    assert answer.status_code == 401
    assert "not the token" in answer.text
    assert "set-cookie" not in answer.headers
    assert shown not in answer.text or not shown


@pytest.mark.parametrize("body", [b"token", b"a=1&b=2&c=3&d=4&e=5", b"\xff\xfe", b"{}", b""])
def test_odd_forms_are_only_wrong(serve: Serve, body: bytes) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    answer = serve(GUARDED).client.post("/login", content=body, headers=headers)
    assert answer.status_code == 401


# --- the one-time link ----------------------------------------------------------------------


def test_link_logs_one_browser_in_once(serve: Serve) -> None:
    site = serve(GUARDED)
    link = link_of(site)
    first = site.client.get(link)
    assert first.status_code == 200
    assert {"httponly", "samesite=strict"} <= set(cookie_of(first))
    # Not a redirect: after one the browser would withhold a strict cookie.
    assert 'http-equiv="refresh" content="0; url=/"' in first.text
    assert site.client.get("/api/v1/status").status_code == 200
    second = httpx.get(site.server.url + link, trust_env=False)
    assert second.status_code == 401
    assert "used already or has expired" in second.text
    assert "set-cookie" not in second.headers


def test_link_ends_after_five_minutes(serve: Serve, clock: FakeClock) -> None:
    site = serve(GUARDED)
    link = link_of(site)
    clock.advance(c.CODE_SECONDS)
    assert site.client.get(link).status_code == 401


def test_looking_at_a_link_does_not_use_it_up(serve: Serve) -> None:
    site = serve(GUARDED)
    link = link_of(site)
    assert "set-cookie" not in site.client.head(link).headers
    ahead = site.client.get(link, headers={"sec-purpose": "prefetch;prerender"})
    assert "set-cookie" not in ahead.headers
    assert "set-cookie" in site.client.get(link).headers


def test_link_is_only_given_to_who_is_in_already(serve: Serve) -> None:
    site = serve(GUARDED)
    assert site.client.post("/api/v1/login", json={}).status_code == 401
    shown = {"authorization": f"Bearer {METRICS}"}
    assert site.client.post("/api/v1/login", json={}, headers=shown).status_code == 401


def test_links_that_nobody_opens_push_the_oldest_out(serve: Serve) -> None:
    site = serve(GUARDED)
    links = [link_of(site) for _ in range(c.MAX_CODES + 1)]
    assert site.client.get(links[0]).status_code == 401
    assert site.client.get(links[1]).status_code == 200


# --- the cookie -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value",
    ["", "x", "..", "9999999999.x.", "9999999999.nonce." + "0" * 64, "schlüssel", TOKEN, "-1.a.b"],
)
def test_made_up_cookie_opens_nothing(serve: Serve, value: str) -> None:
    headers = [(b"cookie", f"homerun={value}".encode("latin-1"))]
    assert serve(GUARDED).client.get("/api/v1/status", headers=headers).status_code == 401


def test_cookie_ends_after_its_days(serve: Serve, clock: FakeClock) -> None:
    site = serve(GUARDED)
    value = log_in(site).cookies["homerun"]
    site.client.cookies.clear()
    headers = {"cookie": f"homerun={value}"}
    clock.advance(c.SESSION_SECONDS - 60)
    assert site.client.get("/api/v1/status", headers=headers).status_code == 200
    clock.advance(120)
    assert site.client.get("/api/v1/status", headers=headers).status_code == 401


def test_cookie_outlives_the_daemon_but_not_its_token(clock: FakeClock) -> None:
    value = Credentials(TOKEN, "", clock).new_session()
    assert Credentials(TOKEN, "other", clock).is_session(value)
    assert not Credentials("another-token", "", clock).is_session(value)
    assert not Credentials("", "", clock).is_session(value)


def test_new_token_closes_what_the_old_one_opened(clock: FakeClock) -> None:
    known = Credentials(TOKEN, METRICS, clock)
    value = known.new_session()
    known.replace("another-token", "")
    assert not known.is_session(value)
    assert not known.opens_all(TOKEN.encode())
    assert not known.opens_metrics(METRICS.encode())
    assert known.opens_metrics(b"another-token")


def test_cookie_of_a_neighbour_on_another_port_does_not_lock_out(serve: Serve) -> None:
    site = serve(GUARDED)
    value = log_in(site).cookies["homerun"]
    site.client.cookies.clear()
    headers = {"cookie": f"homerun=planted; other=1; homerun={value}"}
    assert site.client.get("/api/v1/status", headers=headers).status_code == 200


def test_who_follows_a_link_from_elsewhere_is_sent_on_with_the_cookie(serve: Serve) -> None:
    answer = serve(GUARDED).client.get("/", headers={"sec-fetch-site": "cross-site"})
    assert answer.status_code == 200
    assert "url=/" in answer.text
    assert "homerun.js" not in answer.text


def test_old_token_in_a_page_does_not_spoil_a_good_cookie(serve: Serve) -> None:
    site = serve(GUARDED)
    log_in(site)
    for _ in range(lim.FREE_FAILURES + 2):
        answer = site.client.get("/api/v1/status", headers={"authorization": "Bearer old"})
        assert answer.status_code == 200


# --- the metrics token ----------------------------------------------------------------------


def test_metrics_token_opens_the_metrics_and_nothing_else(serve: Serve) -> None:
    site = serve(GUARDED)
    headers = {"authorization": f"Bearer {METRICS}"}
    assert site.client.get("/metrics", headers=headers).status_code == 200
    assert site.client.get("/metrics", headers=BEARER).status_code == 200
    for path in ("/api/v1/config", "/api/v1/stream", "/metrics/"):
        assert site.client.get(path, headers=headers).status_code == 401, path
    assert pause(site, **headers).status_code == 401
    assert log_in(site, METRICS).status_code == 401
    assert site.client.get("/metrics").status_code == 401


def test_scraper_with_an_old_token_does_not_lock_the_person_out(serve: Serve) -> None:
    site = serve(GUARDED)
    for _ in range(lim.FREE_FAILURES):
        site.client.get("/metrics", headers={"authorization": "Bearer old"})
    assert site.client.get("/metrics", headers={"authorization": "Bearer old"}).status_code == 429
    assert site.client.get("/api/v1/status", headers=BEARER).status_code == 200


# --- many wrong ones ------------------------------------------------------------------------


def test_guessing_gets_slow_and_a_right_guess_says_nothing_meanwhile(
    serve: Serve, clock: FakeClock
) -> None:
    site = serve(GUARDED)
    wrong = {"authorization": "Bearer wrong"}
    for _ in range(lim.FREE_FAILURES):
        assert site.client.get("/api/v1/status", headers=wrong).status_code == 401
    for headers in (wrong, BEARER):
        answer = site.client.get("/api/v1/status", headers=headers)
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) >= 1
    assert log_in(site).status_code == 429
    clock.advance(1.5)
    assert site.client.get("/api/v1/status", headers=BEARER).status_code == 200
    # The right one ended it.
    assert site.client.get("/api/v1/status", headers=wrong).status_code == 401


def test_another_address_is_not_held_up(serve: Serve) -> None:
    site = serve(GUARDED)
    for _ in range(lim.FREE_FAILURES):
        log_in(site, "wrong")
    assert log_in(site).status_code == 429
    neighbour = httpx.HTTPTransport(local_address="127.0.0.2", verify=False)
    with httpx.Client(base_url=site.server.url, transport=neighbour, trust_env=False) as other:
        assert other.post("/login", data={"token": TOKEN}).status_code == 303


def test_guessing_links_gets_slow_too(serve: Serve) -> None:
    site = serve(GUARDED)
    link = link_of(site)
    for number in range(lim.FREE_FAILURES):
        assert site.client.get(f"/login?code={number}").status_code == 401
    assert site.client.get(link).status_code == 429
    # which does not keep the person with the token out
    assert log_in(site).status_code == 303


def test_no_address_waits_for_more_than_a_minute(clock: FakeClock) -> None:
    limiter = Limiter(clock)
    for _ in range(5000):
        limiter.failed("here")
    assert limiter.wait_seconds("here") == lim.LONGEST_WAIT_SECONDS


def test_memory_of_failures_is_bounded_and_forgets_the_quietest(clock: FakeClock) -> None:
    limiter = Limiter(clock, max_addresses=8)
    for _ in range(lim.FREE_FAILURES):
        limiter.failed("loud")
    for number in range(100):
        limiter.failed(f"10.0.0.{number}")
        limiter.failed("loud")
    assert len(limiter) == 8
    assert limiter.wait_seconds("loud") > 0


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("192.168.1.7", "192.168.1.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::1", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("", ""),
    ],
)
def test_one_household_is_one_place(address: str, place: str) -> None:
    assert place_of(address) == place


# --- what is never written ------------------------------------------------------------------


def test_no_secret_is_ever_logged_or_told(
    serve: Serve, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    site = serve(GUARDED)
    # whatever else runs in this process may switch uvicorn's own log of addresses on
    monkeypatch.setattr(logging.getLogger("uvicorn.access"), "propagate", True)
    link = link_of(site)
    answers = [
        site.client.get("/login?code=wrong-code"),
        site.client.get("/api/v1/status", headers={"authorization": "Bearer wrong-token"}),
        site.client.get(link),
        site.client.get(link),
        log_in(site, "wrong-token"),
        log_in(site),
        site.client.get("/api/v1/config", headers=BEARER),
        site.client.get("/api/v1/journal", headers=BEARER),
        site.client.get("/metrics", headers=BEARER),
    ]
    session = str(site.client.cookies["homerun"])
    mine = [record for record in caplog.records if not record.name.startswith("http")]
    logged = "\n".join(record.getMessage() for record in mine)
    told = "\n".join(answer.text for answer in answers)
    secrets = (TOKEN, METRICS, "wrong-token", "wrong-code", session, link.partition("=")[2])
    for secret in secrets:
        assert secret not in logged
        assert secret not in told
    assert "a wrong token came from 127.0.0.1" in logged
