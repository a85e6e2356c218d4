"""One branch: keeps its slot supplied with workers of the newest move that loads.

The new is started, loaded and probed beside the old, and only then swapped in; whatever fails
leaves the old one serving and says so.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from functools import partial
from pathlib import Path
from typing import Any

from gateway.config.sections import BranchConfig, LimitsConfig, Privacy
from gateway.environments.keeping import Equipment, Recipe
from gateway.errors import LoadError, ProbeError
from gateway.names import Branch, Fingerprint
from gateway.repositories.move import Move
from gateway.timestamps import rfc3339
from gateway.workers import probe
from gateway.workers.attempts import Attempts
from gateway.workers.bounds import Bounds
from gateway.workers.crew import TOLD, Crew, Order, about
from gateway.workers.examiner import Examiner
from gateway.workers.failures import Failures
from gateway.workers.process import Worker
from gateway.workers.slot import Slot
from gateway.workers.surroundings import Surroundings


class Keeper:
    """Owns one branch's slot, crew and newest move; one load at a time."""

    def __init__(
        self,
        branch: Branch,
        config: BranchConfig,
        limits: LimitsConfig,
        privacy: Privacy,
        around: Surroundings,
        known: Fingerprint | None,
    ) -> None:
        self.branch = branch
        self._around = around
        self._metrics = around.metrics.branch(branch)
        #: The fingerprint that served last: serving it again is no news.
        self.known = known
        self._config = config
        self._privacy = privacy
        self._wanted: Move | None = None
        self._offered = asyncio.Event()
        self._crew: Crew | None = None
        self._loading: tuple[Order, asyncio.Task[None]] | None = None
        self._refused: Order | None = None
        #: Whether its load waits for an environment.
        self._building = False
        self._reason: str | None = None
        self._attempts = Attempts(self._metrics, partial(around.logged, branch), around.now)
        self._tasks: set[asyncio.Task[None]] = set()
        self._stops: set[asyncio.Task[None]] = set()
        self._closing = False
        self.slot = Slot(
            branch,
            metrics=self._metrics,
            answered=around.answered,
            died=self._on_death,
            released=self._on_release,
            story=self._story,
            failures=Failures(
                lambda suspicion: self._examiner.suspect(suspicion),
                lambda: self._examiner.recovered(),
            ),
        )
        self._examiner = Examiner(
            self.slot,
            metrics=self._metrics,
            decided=self._decided,
            spawn=self._spawn,
            wait=around.patience.wait,
            now=around.now,
        )
        self.configure(config, limits, privacy)

    # -- what is wanted ---------------------------------------------------------------------

    def configure(self, config: BranchConfig, limits: LimitsConfig, privacy: Privacy) -> None:
        """Bounds apply at once; what changes the workers is loaded beside them."""
        same_model = config.model == self._config.model
        self._config, self._limits, self._privacy = config, limits, privacy
        patience = self._around.patience
        self.slot.bound(
            Bounds(
                queue_rows=limits.queue_rows,
                batch_rows=limits.batch_rows,
                timeout=config.timeout,
                patience=max(patience.timeouts * config.timeout, patience.frame),
                ejectable=not config.shadow,  # which answers nobody
            )
        )
        # Another model is another content: the watcher's next move brings its fingerprint.
        if self._wanted is not None and same_model:
            self._aim(self._wanted)

    def offer(self, move: Move) -> None:
        """The branch's newest move; an older one that is still loading is given up."""
        self._wanted = move
        self._offered.set()
        self._aim(move)

    def _order(self, move: Move) -> Order:
        config, around = self._config, self._around
        rules, recipe = around.trust.rules_of(self.branch), around.recipe(config.environment)
        return Order.of(move, config, self._limits, self._privacy, rules, recipe)

    def _aim(self, move: Move) -> None:
        if self._closing:
            return
        order = self._order(move)
        if self._crew is not None and self._crew.order == order:
            self._give_up()
            if self._refused is not None:
                evidence = {"fingerprint": move.fingerprint, "tip": move.tip}
                reason = "the branch is back at what serves"
                self._around.decided(self.branch, move.commit, "quarantine_ended", reason, evidence)
            self._settle_on(self._crew, move)
        elif order == self._refused:
            self._give_up()
        elif self._loading is None or self._loading[0] != order:
            before = self._give_up()
            task = self._spawn(self._keep_loading(order, before))
            self._loading = (order, task)

    def _settle_on(self, crew: Crew, move: Move) -> None:
        """What is wanted already serves: a quiet move, or a revert to what was never stopped."""
        crew.moved(move)
        self.slot.serving = crew.serving
        self._refused, self._reason = None, None
        self._metrics.quarantined.set(0)
        self._metrics.show_serving(move.commit, move.fingerprint)
        if crew.ready is not None:
            self._metrics.accelerated.set(crew.ready.accelerated["form"] is not None)
            self._metrics.containment.show(crew.ready.containment)

    def _give_up(self) -> asyncio.Task[None] | None:
        loading, self._loading = self._loading, None
        if loading is None:
            return None
        loading[1].cancel()
        return loading[1]

    # -- loading ----------------------------------------------------------------------------

    async def _keep_loading(self, order: Order, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])  # its child is gone before ours comes
        failures = 0
        while self._wanted is not None:
            try:
                await self._load(order, self._wanted)
            except (LoadError, ProbeError) as error:
                if isinstance(error, LoadError):
                    self._metrics.worker_exits["not_started"].inc()
                self._quarantine(order, error)
            except Exception as error:
                # Not the commit's fault as far as is known: the machine's, or ours.
                failures += 1
                self._reason = f"could not start: {type(error).__name__}: {error}"
                self._metrics.worker_exits["not_started"].inc()
                if failures == 1:
                    self._log(self._wanted.commit, self._reason)
                await asyncio.sleep(self._around.patience.wait(failures + 1))
                continue
            if self._loading is not None and self._loading[0] == order:
                self._loading = None
            return

    async def _load(self, order: Order, move: Move) -> None:
        loop, around = asyncio.get_running_loop(), self._around
        begun = loop.time()
        deadline = around.patience.shadow_load if order.shadow else around.patience.load
        crew = Crew(
            move,
            order,
            launch=around.launch,
            spares=around.spares,
            load_deadline=deadline,
            lease=lambda: around.lease(move.fingerprint),
            equip=self._equip,
            logged=self._attempts.hear,
            dropped=self._metrics.output_dropped.inc,
        )
        try:
            ready = await crew.open()
            old = self._crew.ready if self._crew is not None else None
            same = old is not None and old.columns == ready.columns
            recent = list(self.slot.recent) if same else []
            worker, columns = crew.workers[0], ready.columns
            probed = await probe.probe(worker, crew.root, recent, deadline, columns)
            if self.slot.ready:  # else the first answers at once, and the others join it
                await crew.fill()
            # A build is no load: it is counted by itself.
            seconds = loop.time() - begun - crew.built_seconds
            self._metrics.load_seconds.observe(seconds)
            await self._named()
        except BaseException:
            await crew.close()
            raise
        crew.probed, crew.since = probed.by, rfc3339(around.now().timestamp())
        if probed.trouble is not None:
            self._log(move.commit, f"a recent request is not answered: {probed.trouble}")
        if ready.mismatch is not None:
            around.logged(self.branch, move.commit, "warning", "gateway", ready.mismatch)
        self._swap(crew, seconds, probed)

    async def _equip(self, root: Path, recipe: Recipe) -> Equipment:
        self._building = True
        try:
            return await self._around.environments.equip(root, recipe)
        finally:
            self._building = False

    async def _named(self) -> None:
        """Once it is known which commit answers are to name; it was looked for meanwhile."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._around.patience.naming):
                while self._wanted is not None and self._wanted.settling:
                    self._offered.clear()
                    await self._offered.wait()

    def _swap(self, crew: Crew, seconds: float, probed: probe.Probed) -> None:
        old, self._crew = self._crew, crew
        self._loading = None
        self._metrics.reloads["swapped"].inc()
        # Its order is the newest, or it would have been cancelled; its commit may have moved.
        self._settle_on(crew, self._wanted or crew.move)
        missing = crew.missing
        self.slot.swap(crew)
        for _ in range(missing):
            self._spawn(self._hire(crew))
        self._examiner.forget()
        if old is not None:
            old.retire()
        move = crew.move
        if move.fingerprint != self.known:
            self.known = move.fingerprint
            evidence = {
                "fingerprint": move.fingerprint,
                "tip": move.tip,
                "probed": probed.by,
                "probed_rows": probed.rows,
                "seconds": round(seconds, 3),
                **{name: about(crew)[name] or {} for name in TOLD},
            }
            reason = f"loaded and probed by {probed.by}" if probed.rows else "loaded, unprobed"
            self._around.decided(self.branch, move.commit, "serving", reason, evidence)

    def _quarantine(self, order: Order, error: LoadError | ProbeError) -> None:
        move = self._wanted
        if move is None:
            return
        self._refused, self._reason = order, str(error)
        self._metrics.quarantined.set(1)
        self._metrics.reloads["quarantined"].inc()
        notes = "\n".join(getattr(error, "__notes__", ()))
        serving = self._crew.move.commit if self._crew is not None else None
        evidence = {
            "fingerprint": move.fingerprint,
            "tip": move.tip,
            "still_serving": serving,
            "traceback": notes,
        }
        self._around.decided(self.branch, move.commit, "quarantined", str(error), evidence)
        self._log(move.commit, f"quarantined: {error}\n{notes}".strip())

    # -- workers that end -------------------------------------------------------------------

    def _on_release(self, crew: Crew, worker: Worker) -> None:
        async def retire() -> None:
            try:
                await worker.stop()
            finally:
                self._metrics.worker_exits["retired"].inc()
                crew.forget(worker)

        task = self._spawn(retire())
        self._stops.add(task)
        task.add_done_callback(self._stops.discard)

    def _on_death(self, crew: Crew, worker: Worker) -> None:
        crew.forget(worker)
        crew.deaths += 1
        exit_ = "too_slow" if worker.too_slow else "died"
        self._metrics.worker_exits[exit_].inc()
        slow = "; it answered no frame for too long" if worker.too_slow else ""
        tail = "" if crew.order.privacy.withhold else "".join(f"\n{line}" for line in worker.tail)
        self._log(crew.move.commit, f"{worker.why}{slow}{tail}")
        if crew is self._crew and not self._closing:
            if self._refused is None:
                self._reason = f"{worker.why}{slow}"
            wait = self._around.patience.wait(crew.deaths)
            self.slot.expected = asyncio.get_running_loop().time() + wait
            self._spawn(self._hire(crew))

    async def _hire(self, crew: Crew) -> None:
        """One more worker: at once after the first death or failure; ever slower while they die
        without an answer, or cannot be started."""
        loop, failures = asyncio.get_running_loop(), 0
        while True:
            wait = self._around.patience.wait(crew.deaths + failures)
            self.slot.expected = loop.time() + wait
            await asyncio.sleep(wait)
            if crew is not self._crew or self._closing:
                return
            try:
                worker, _ = await crew.hire()
            except Exception as error:
                failures += 1
                self._metrics.worker_exits["not_started"].inc()
                self._reason = f"one more worker could not be started: {error}"
                continue
            if crew is not self._crew or self._closing:
                self._on_release(crew, worker)
                return
            if self._refused is None:
                self._reason = None
            self.slot.seat(crew, worker)
            return

    def _spawn(self, body: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(body)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _decided(self, decision: str, reason: str, evidence: dict[str, Any]) -> None:
        if self._crew is not None:
            move = self._crew.move
            evidence = {"fingerprint": move.fingerprint, **evidence}
            self._around.decided(self.branch, move.commit, decision, reason, evidence)

    def _log(self, commit: str, message: str) -> None:
        self._around.logged(self.branch, commit, "error", "gateway", message)

    # -- status and the end -----------------------------------------------------------------

    @property
    def _condition(self) -> str:
        if self.slot.ready:
            return "ready" if self._examiner.story is None else "ejected"
        if self._crew is not None:
            return "restarting"
        if self._refused is not None:
            return "failed"
        return "loading" if self._loading is not None else "absent"

    def _story(self) -> dict[str, Any]:
        wanted, crew = self._wanted, self._crew
        return {
            "state": self._condition,
            "loading": self._loading is not None,
            "wanted": None
            if wanted is None
            else {
                "commit": wanted.commit,
                "tip": wanted.tip,
                "fingerprint": wanted.fingerprint,
            },
            "reason": self._reason,
            "ejected": self._examiner.story,
            "quarantined": self._refused.fingerprint if self._refused is not None else None,
            "tip": wanted.tip if wanted is not None else None,
            "commit_known": wanted.commit_known if wanted is not None else None,
            "building": self._building,
            **about(crew),
            "containment": self._attempts.story(crew.ready if crew is not None else None),
        }

    async def close(self, reason: str) -> None:
        """Finish what is queued and in flight, each by its deadline; then stop every worker."""
        self.slot.close(reason)
        self._examiner.close()
        self._give_up()
        try:
            await self.slot.drained()
        finally:
            self._closing = True
            crew, self._crew = self._crew, None
            for task in self._tasks - self._stops:
                if not task.cancelling():  # once: a second time would cut its tidying up short
                    task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            if crew is not None:
                await crew.close()
                self._metrics.worker_exits["retired"].inc()
            self.slot.forget()
