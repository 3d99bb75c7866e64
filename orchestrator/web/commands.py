"""POST: everything that can be asked for. Durable in the store before it is answered."""

from __future__ import annotations

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from orchestrator.domain import Checkpoint, Hold, Run
from orchestrator.errors import Invalid
from orchestrator.home.clock import Clock
from orchestrator.piloting.goals import RunGoal, goal_from
from orchestrator.web.answers import answer
from orchestrator.web.backend import Backend
from orchestrator.web.describe import (
    END,
    amount,
    describes,
    flag,
    optional,
    remark,
    text,
    whole,
)
from orchestrator.web.parameters import read_body
from trainer.checkpoint.catalog import Verdict
from trainer.checkpoint.retention import Choice

#: priorities beyond this say nothing more
MAX_PRIORITY = 1_000_000


class Commands:
    """The endpoints that change something."""

    def __init__(self, backend: Backend, clock: Clock) -> None:
        self._backend = backend
        self._clock = clock

    def routes(self) -> list[Route]:
        """Below /api/v1."""
        return [
            Route(path, endpoint, methods=["POST"])
            for path, endpoint in (
                ("/runs", self.submit),
                ("/runs/{name}/cancel", self.cancel),
                ("/runs/{name}/goal", self.goal),
                ("/pause", self.pause),
                ("/resume", self.resume),
                ("/finish", self.finish),
                ("/hold", self.hold),
                ("/unhold", self.unhold),
                ("/checkpoints/save", self.save),
                ("/checkpoints/verify", self.verify),
                ("/checkpoints/prune", self.prune),
                ("/checkpoints/restore", self.restore),
                ("/checkpoints/pin", self.pin),
                ("/checkpoints/unpin", self.unpin),
            )
        ]

    @describes(
        Run,
        status=201,
        body={
            "spec": {"type": "object", "description": "As in a spec file."},
            "priority": whole(-MAX_PRIORITY, MAX_PRIORITY, 0),
        },
        required=("spec",),
    )
    async def submit(self, request: Request) -> Response:
        """Queue a run."""
        body = await read_body(request, ("spec", "priority"))
        priority = body.number("priority", 0, -MAX_PRIORITY, MAX_PRIORITY)
        run = await run_in_threadpool(
            self._backend.submit, body.table("spec"), priority, source_of(request)
        )
        return answer(run, 201)

    @describes(Run, body={})
    async def cancel(self, request: Request) -> Response:
        """Take a run out of the queue; its checkpoints stay."""
        await read_body(request, ())
        name = request.path_params["name"]
        return answer(await run_in_threadpool(self._backend.cancel, name, source_of(request)))

    @describes(
        RunGoal,
        body={
            **END,
            "slack": amount("How much longer it may take: 0.5 is half more."),
            "budget": amount("What the rest may cost.", exact=True),
            "value": amount("What it is worth to finish an hour earlier.", exact=True),
        },
    )
    async def goal(self, request: Request) -> Response:
        """Say by when a run should be finished, and what it may cost."""
        body = await read_body(request, ("until", "seconds", "slack", "budget", "value"))
        wanted = goal_from(
            body.end(self._clock.now()),
            body.positive("slack"),
            body.money("budget"),
            body.money("value"),
        )
        name = request.path_params["name"]
        return answer(
            await run_in_threadpool(self._backend.set_goal, name, wanted, source_of(request))
        )

    @describes(
        Hold,
        body={
            "run": optional(text("Which run; all or the current one unless given.")),
            **END,
            "release": flag("Give the memory of the GPU back too."),
            "detail": remark("Why."),
        },
    )
    async def pause(self, request: Request) -> Response:
        """Hold a run."""
        body = await read_body(request, ("run", "until", "seconds", "release", "detail"))
        hold = await run_in_threadpool(
            self._backend.pause,
            run=body.text("run"),
            until=body.end(self._clock.now()),
            release=body.flag("release"),
            detail=body.remark("detail"),
            source=source_of(request),
            lasts=body.given("seconds"),
        )
        return answer(hold)

    @describes(
        {"ended": bool, "holds": list[Hold]},
        body={"run": optional(text("Which run; all or the current one unless given."))},
    )
    async def resume(self, request: Request) -> Response:
        """End what holds a run by hand; what still holds it comes back."""
        body = await read_body(request, ("run",))
        left = await run_in_threadpool(
            self._backend.resume, run=body.text("run"), source=source_of(request)
        )
        return answer({"ended": True, "holds": left})

    @describes(
        Hold,
        body={
            "run": optional(text("Which run; all or the current one unless given.")),
            "detail": remark("Why."),
        },
    )
    async def finish(self, request: Request) -> Response:
        """Stop at the next checkpoint."""
        body = await read_body(request, ("run", "detail"))
        hold = await run_in_threadpool(
            self._backend.finish,
            run=body.text("run"),
            detail=body.remark("detail"),
            source=source_of(request),
        )
        return answer(hold)

    @describes(
        Hold,
        body={"name": text("Who needs the card."), **END, "detail": remark("Why.")},
        required=("name",),
    )
    async def hold(self, request: Request) -> Response:
        """A program needs the card."""
        body = await read_body(request, ("name", "until", "seconds", "detail"))
        hold = await run_in_threadpool(
            self._backend.arrive,
            name=body.required("name"),
            until=body.end(self._clock.now()),
            detail=body.remark("detail"),
        )
        return answer(hold)

    @describes({"ended": bool}, body={"name": text("Who needed the card.")}, required=("name",))
    async def unhold(self, request: Request) -> Response:
        """A program needs the card no more."""
        body = await read_body(request, ("name",))
        name = body.required("name")
        return answer({"ended": await run_in_threadpool(self._backend.leave, name=name)})

    @describes(Checkpoint, body={})
    async def save(self, request: Request) -> Response:
        """Save a checkpoint now, and wait for it."""
        await read_body(request, ())
        saved = await run_in_threadpool(self._backend.save_checkpoint, source_of(request))
        return answer(saved)

    @describes(
        list[Verdict],
        body={
            "run": optional(text("Which run; all or the current one unless given.")),
            "name": optional(text("Which checkpoint; all unless given.")),
        },
    )
    async def verify(self, request: Request) -> Response:
        """Read checkpoints again."""
        body = await read_body(request, ("run", "name"))
        verdicts = await run_in_threadpool(
            self._backend.verify_checkpoints, body.text("run"), body.text("name")
        )
        return answer(verdicts)

    @describes(
        list[Choice],
        body={
            "run": optional(text("Which run; all or the current one unless given.")),
            "dry_run": flag("Only say what would go."),
        },
    )
    async def prune(self, request: Request) -> Response:
        """Let go of what has no reason to stay."""
        body = await read_body(request, ("run", "dry_run"))
        if body.flag("dry_run"):
            return answer(await run_in_threadpool(self._backend.plan_retention, body.text("run")))
        choices = await run_in_threadpool(self._backend.prune, body.text("run"), source_of(request))
        return answer(choices)

    @describes(
        Checkpoint,
        body={"run": text("Its name."), "url": text("Where its mirror is.")},
        required=("run", "url"),
    )
    async def restore(self, request: Request) -> Response:
        """Bring a run back from a mirror."""
        body = await read_body(request, ("run", "url"))
        run, url = body.text("run"), body.text("url")
        if run is None or url is None:
            raise Invalid(f"{'run' if run is None else 'url'}: missing")
        found = await run_in_threadpool(self._backend.restore, run, url, source_of(request))
        return answer(found)

    @describes(
        Verdict,
        body={
            "run": optional(text("Which run; all or the current one unless given.")),
            "name": text("Which checkpoint."),
        },
        required=("name",),
    )
    async def pin(self, request: Request) -> Response:
        """Keep a checkpoint whatever happens."""
        return await self._pin(request, pinned=True)

    @describes(
        Verdict,
        body={
            "run": optional(text("Which run; all or the current one unless given.")),
            "name": text("Which checkpoint."),
        },
        required=("name",),
    )
    async def unpin(self, request: Request) -> Response:
        """Let retention decide on a checkpoint again."""
        return await self._pin(request, pinned=False)

    async def _pin(self, request: Request, *, pinned: bool) -> Response:
        body = await read_body(request, ("run", "name"))
        name = body.text("name")
        if name is None:
            raise Invalid("name: missing")
        verdict = await run_in_threadpool(
            self._backend.pin, body.text("run"), name, pinned=pinned, source=source_of(request)
        )
        return answer(verdict)


def source_of(request: Request) -> str:
    """Who asks, for the journal: our page, our command line, or any other program."""
    if request.headers.get("sec-fetch-site") == "same-origin":
        return "page"
    if request.headers.get("user-agent", "").startswith("homerun"):
        return "cli"
    return "api"
