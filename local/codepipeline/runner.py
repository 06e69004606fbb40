"""How executions move: through stages, actions and jobs, one task at a time.

Everything that happens later is a `Task`. `step()` runs the next due one, so a test decides what happens
between two tasks and nothing sleeps; threads simply call `step()` too. A task takes the lock to look and to
write, never while it calls the world: a build may run for minutes and a function may call the API back
while it is being invoked.

An execution enters a free stage at once: its actions are in progress and visible. Performing each of them
is a task.
"""

from __future__ import annotations

import heapq
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from local.codepipeline import messages, rules
from local.codepipeline.values import (
    JSON,
    UNFINISHED,
    ActionFailed,
    ActionRun,
    ApiError,
    Build,
    BuildStatus,
    Execution,
    Job,
    Pipeline,
    Settings,
    SourceRevision,
    StageRun,
    Status,
    World,
)

T = TypeVar("T")


@dataclass(order=True)
class Task:
    """Something to do at `due`; dropped unseen when it is no longer `alive`."""

    due: float
    number: int
    run: Callable[[], None] = field(compare=False)
    alive: Callable[[], bool] = field(compare=False)


class Runner:
    """The moving parts. Methods that end in `_locked` expect the lock to be held."""

    def __init__(self, world: World, settings: Settings) -> None:
        self.world = world
        self.settings = settings
        self.lock = threading.RLock()
        self.builds: dict[str, ActionRun] = {}
        self._jobs: dict[str, Job] = {}
        self._changed = threading.Condition(self.lock)
        self._tasks: list[Task] = []
        self._scheduled = 0
        self._events: deque[JSON] = deque()
        self._delivering = False

    # --- One step at a time ----------------------------------------------------------------------

    def step(self) -> bool:
        """Deliver what is to be told, run one due task, deliver again. False: there was nothing to do."""
        delivered = self._deliver()
        task = self._take()
        if task is None:
            return delivered
        task.run()
        self._deliver()
        return True

    def next_due(self) -> float | None:
        """When the next task is due, for tests that move a clock of their own."""
        with self.lock:
            while self._tasks and not self._tasks[0].alive():
                heapq.heappop(self._tasks)
            return self._tasks[0].due if self._tasks else None

    def wait(self, stop: threading.Event) -> None:
        """Block until there may be something to do, or `stop` is set and `wake` was called."""
        with self.lock:
            due = self.next_due()
            delay = None if due is None else due - self.settings.clock()
            undelivered = bool(self._events) and not self._delivering
            if not stop.is_set() and not undelivered and (delay is None or delay > 0):
                self._changed.wait(delay)

    def wake(self) -> None:
        """Let everyone who waits look again."""
        with self.lock:
            self._changed.notify_all()

    def _schedule(
        self, run: Callable[[], None], delay: float = 0, alive: Callable[[], bool] = lambda: True
    ) -> None:
        self._push(Task(self.settings.clock() + delay, self._next_number(), run, alive))

    def _schedule_first(self, run: Callable[[], None], alive: Callable[[], bool]) -> None:
        self._push(Task(0, self._next_number(), run, alive))

    def _push(self, task: Task) -> None:
        with self.lock:
            heapq.heappush(self._tasks, task)
            self._changed.notify_all()

    def _next_number(self) -> int:
        with self.lock:
            self._scheduled += 1
            return self._scheduled

    def _take(self) -> Task | None:
        with self.lock:
            due = self.next_due()
            return heapq.heappop(self._tasks) if due is not None and due <= self.settings.clock() else None

    # --- Telling ---------------------------------------------------------------------------------

    def _deliver(self) -> bool:
        """Emit in order, by one caller at a time, and never during the API call that caused it."""
        with self.lock:
            if self._delivering or not self._events:
                return False
            self._delivering = True
        try:
            while event := self._next_event():
                self.world.emit(event)
        finally:
            with self.lock:
                self._delivering = False
        return True

    def _next_event(self) -> JSON | None:
        with self.lock:
            self._delivering = bool(self._events)
            return self._events.popleft() if self._events else None

    def _tell(self, kind: str, execution: Execution, status: Status, **more: object) -> None:
        """Queue an event; none of a deleted pipeline, for which it is not established what AWS tells."""
        if not execution.pipeline.deleted:
            event = messages.state_change(self.settings, kind, execution, status, **more)
            with self.lock:
                self._events.append(event)
                self._changed.notify_all()

    def _mark_execution(self, execution: Execution, status: Status, summary: str = "") -> None:
        execution.status, execution.summary, execution.updated = status, summary, self.settings.clock()
        self._tell("Pipeline", execution, status)

    def _mark_stage(self, stage: StageRun, status: Status) -> None:
        stage.status = status
        self._tell("Stage", stage.execution, status, stage=stage.name)

    def _mark_action(self, action: ActionRun, status: Status, state: Status | None = None) -> None:
        action.status, action.updated = status, self.settings.clock()
        more = messages.of_action(action, self.settings.region)
        self._tell("Action", action.stage.execution, state or status, **more)

    # --- Executions ------------------------------------------------------------------------------

    def start(self, execution: Execution) -> None:
        """Begin an execution that was just recorded: it waits in front of the first stage."""
        with self.lock:
            more = messages.of_execution(execution, self.settings.account)
            self._tell("Pipeline", execution, Status.IN_PROGRESS, **more)
            self._queue_locked(execution)

    def stop(self, execution: Execution) -> None:
        """Stopping now, Stopped once nothing of it runs (facts B3-13): later, never in this call."""
        with self.lock:
            if execution.status is not Status.STOPPING:
                self._mark_execution(execution, Status.STOPPING)
                if execution.current:
                    self._mark_stage(execution.current, Status.STOPPING)
                elif execution.next_stage:
                    del execution.pipeline.waiting[execution.next_stage]
            self._settle_later_locked(execution)

    def cancel(self, pipeline: Pipeline) -> None:
        """The structure changed: all that is in flight is cancelled (facts B3-10); builds go on running."""
        with self.lock:
            unfinished = [run for run in pipeline.executions.values() if run.status in UNFINISHED]
            pipeline.waiting.clear()
            pipeline.occupants.clear()
            for execution in unfinished:
                self._give_up_locked(execution, Status.CANCELLED, Status.CANCELLED)
                self._mark_execution(execution, Status.CANCELLED, "The pipeline structure was updated.")

    def _settle_later_locked(self, execution: Execution) -> None:
        """End a stop as the very next task: abandoning overtakes the builds it abandons."""

        def settled() -> bool:
            running = execution.current and execution.current.unfinished
            return execution.status is Status.STOPPING and (execution.abandon or not running)

        def settle() -> None:
            with self.lock:
                if settled():
                    stage = execution.current
                    self._give_up_locked(execution, Status.STOPPED, Status.ABANDONED)
                    self._mark_execution(execution, Status.STOPPED)
                    if stage:
                        self._leave_locked(stage)

        self._schedule_first(settle, settled)

    def _give_up_locked(self, execution: Execution, stage_status: Status, action_state: Status) -> None:
        """Close the stage an execution is in; its actions are Abandoned, the only such status the API has."""
        if stage := execution.current:
            for action in stage.unfinished:
                self._mark_action(action, Status.ABANDONED, action_state)
            self._mark_stage(stage, stage_status)

    # --- Stages ----------------------------------------------------------------------------------

    def _queue_locked(self, execution: Execution) -> None:
        """Wait in front of the next stage. Whoever waited there is older and is superseded (facts B3-9)."""
        pipeline, stage = execution.pipeline, execution.next_stage
        if stage is None:
            self._mark_execution(execution, Status.SUCCEEDED)
            return
        if older := pipeline.waiting.get(stage):
            self._mark_execution(older, Status.SUPERSEDED, f"Superseded by {execution.id}.")
        pipeline.waiting[stage] = execution
        self._admit_locked(pipeline, stage)

    def _admit_locked(self, pipeline: Pipeline, stage: str) -> None:
        """Let in who waits. A stage has one execution at a time and nobody in it is stopped (facts B3-9)."""
        if pipeline.deleted or stage in pipeline.occupants or stage not in pipeline.waiting:
            return
        execution = pipeline.waiting.pop(stage)
        run = StageRun(execution, execution.declaration["stages"][len(execution.stages)])
        execution.stages.append(run)
        pipeline.occupants[stage] = pipeline.latest[stage] = run
        self._mark_stage(run, Status.IN_PROGRESS)
        self._begin_locked(run, run.next_group())

    def _begin_locked(self, stage: StageRun, group: list[JSON]) -> None:
        now = self.settings.clock()
        for declaration in group:
            action = ActionRun(self.settings.new_id(), declaration, stage, now, now)
            stage.actions.append(action)
            self._mark_action(action, Status.IN_PROGRESS)
            if _is_build(action):
                self._start_build_locked(action)
            else:
                self._schedule(partial(self._perform, action))

    def _advance_locked(self, stage: StageRun) -> None:
        """All started actions of a stage have ended: what now?"""
        execution = stage.execution
        if execution.status is Status.STOPPING:
            self._settle_later_locked(execution)
        elif any(action.status is Status.FAILED for action in stage.actions):
            self._mark_stage(stage, Status.FAILED)
            self._mark_execution(execution, Status.FAILED)
            self._leave_locked(stage)
        elif group := stage.next_group():
            self._begin_locked(stage, group)
        else:
            self._mark_stage(stage, Status.SUCCEEDED)
            self._queue_locked(execution)
            self._leave_locked(stage)

    def _leave_locked(self, stage: StageRun) -> None:
        pipeline = stage.execution.pipeline
        if pipeline.occupants.get(stage.name) is stage:
            del pipeline.occupants[stage.name]
        self._admit_locked(pipeline, stage.name)

    # --- Actions ---------------------------------------------------------------------------------

    def _perform(self, action: ActionRun) -> None:
        """Do what a started action does.

        It was told to be in progress, so its build runs even if it was abandoned, cancelled or its pipeline
        deleted since: none of these stops a build (facts B3-13, B3-14). `stop_build` does.
        """
        kind = action.declaration["actionTypeId"]["category"]
        perform = {"Source": self._fetch, "Invoke": self._invoke}.get(kind, self._build)

        def resolve_and_perform() -> None:
            with self.lock:
                namespaces = action.stage.execution.namespaces
                action.configuration = rules.resolve(action.declaration["configuration"], namespaces)
            perform(action)

        self._guard(action, resolve_and_perform)

    def _guard(self, action: ActionRun, perform: Callable[[], None]) -> None:
        try:
            perform()
        except ActionFailed as error:
            self._fail(action, error)

    def _fetch(self, action: ActionRun) -> None:
        """Find the commit: the pinned one, else the branch's head now (facts B3-1, B3-6)."""
        execution, wanted = action.stage.execution, action.configuration
        repository, branch = wanted["FullRepositoryId"], wanted["BranchName"]
        commit: str | None = execution.pins.get(action.name)
        if commit is None:
            commit = _ask(lambda: self.world.resolve_head(repository, branch), "ConfigurationError")
        if not commit:
            raise ActionFailed(
                "ConfigurationError", f"No branch {branch} found for the repository {repository}"
            )
        revision = SourceRevision(action.name, repository, branch, commit)
        variables = {"BranchName": branch, "CommitId": commit, "FullRepositoryName": repository}
        with self.lock:
            if action.status is Status.IN_PROGRESS:
                execution.revisions[action.name] = revision
                self._produce_locked(action, revision)
                self._succeed(action, {**variables, "ConnectionArn": wanted["ConnectionArn"]})

    def _build(self, action: ActionRun) -> None:
        """Run CodeBuild on the source its (primary) input artifact stems from."""
        try:
            self._run_build(action)
        except ActionFailed:
            with self.lock:
                self._end_build_locked(action, BuildStatus.FAILED)
            raise

    def _run_build(self, action: ActionRun) -> None:
        execution, wanted = action.stage.execution, action.configuration
        primary = wanted.get("PrimarySource", action.declaration["inputArtifacts"][0]["name"])
        if primary not in execution.artifacts:
            raise ActionFailed("ConfigurationError", f"There is no input artifact {primary}")
        variables = rules.environment(wanted, self.world.read_secret)
        source = execution.artifacts[primary]
        project = wanted["ProjectName"]
        result = _ask(lambda: self.world.run_build(project, variables, source, execution.id), "JobFailed")
        with self.lock:
            action.url, action.summary = result.log_url, result.summary
            if not result.ok:
                raise ActionFailed("JobFailed", result.summary or "Build terminated with state: FAILED")
            if not self._end_build_locked(action, BuildStatus.SUCCEEDED):  # stopped while it did what it does
                raise _stopped()
            self._produce_locked(action, source)
            self._succeed(action, dict(result.variables))

    def _start_build_locked(self, action: ActionRun) -> None:
        """It stands for a while, then does all that it does at once, unless somebody has stopped it."""
        project, limits = action.declaration["configuration"]["ProjectName"], self.settings
        pipeline = action.stage.execution.pipeline.name
        build = Build(f"{project}:{limits.new_id()}", project, pipeline, limits.clock())
        self.builds[build.id], action.build = action, build
        self._schedule(
            partial(self._perform, action),
            limits.build_seconds(),
            alive=lambda: build.status is BuildStatus.IN_PROGRESS,
        )

    def stop_build(self, build: str) -> None:
        """CodeBuild was asked to; what has ended stays as it is. Its action fails later, not in this call."""
        with self.lock:
            action = self.builds[build]
            if self._end_build_locked(action, BuildStatus.STOPPED):
                self._schedule(partial(self._fail, action, _stopped()))

    def _end_build_locked(self, action: ActionRun, status: BuildStatus) -> bool:
        """False where it had ended before: a build ends once."""
        build = action.build
        if build is None or build.status is not BuildStatus.IN_PROGRESS:
            return False
        build.status, build.ended = status, self.settings.clock()
        return True

    def _produce_locked(self, action: ActionRun, source: SourceRevision) -> None:
        for artifact in action.declaration["outputArtifacts"]:
            action.stage.execution.artifacts[artifact["name"]] = source

    def _succeed(self, action: ActionRun, variables: dict[str, str]) -> None:
        with self.lock:
            if action.status is Status.IN_PROGRESS:
                action.outputs = variables
                if namespace := action.declaration.get("namespace"):
                    action.stage.execution.namespaces[namespace] = variables
                self._end_locked(action, Status.SUCCEEDED)

    def _fail(self, action: ActionRun, error: ActionFailed) -> None:
        with self.lock:
            if action.status is Status.IN_PROGRESS:
                action.error = error
                self._end_locked(action, Status.FAILED)

    def _end_locked(self, action: ActionRun, status: Status) -> None:
        """Close an action. After a delete its build ends too, but nothing follows it (facts B3-14)."""
        self._mark_action(action, status)
        if not action.stage.execution.pipeline.deleted and not action.stage.unfinished:
            self._advance_locked(action.stage)

    # --- Lambda jobs -----------------------------------------------------------------------------

    def _invoke(self, action: ActionRun, continuation: str = "") -> None:
        """Invoke the function and wait for its answer; each round is a new job (BC PutJobSuccessResult)."""
        limits = self.settings
        if limits.clock() - action.started >= limits.invoke_limit:
            raise ActionFailed("JobTimedOut", "The action ran into the time limit of all its rounds")
        job = Job(limits.new_id(), action)
        with self.lock:
            self._jobs[job.id] = job
        self._schedule(partial(self._expire, job), limits.round_limit, alive=lambda: job.open)
        event = messages.lambda_job(job, limits.account, continuation)
        try:
            _ask(
                lambda: self.world.invoke_lambda(action.configuration["FunctionName"], event),
                "PermissionError",
            )
        except ActionFailed as error:
            self._close(job, error)

    def answer(self, job_id: str) -> ActionRun:
        """Close a job because its function answered; refuse one that is not open."""
        with self.lock:
            job = self._jobs.get(job_id)
            if job is None or job.action.stage.execution.pipeline.deleted:
                raise ApiError("JobNotFoundException", f"The job {job_id} cannot be found")
            if not job.open or job.action.status is not Status.IN_PROGRESS:
                raise ApiError("InvalidJobStateException", f"The job {job_id} is not in progress")
            job.open = False
            return job.action

    def succeed(self, action: ActionRun, outputs: dict[str, str]) -> None:
        """A function said that its action is done."""
        self._succeed(action, outputs)

    def fail(self, action: ActionRun, code: str, message: str) -> None:
        """A function said that its action failed."""
        self._fail(action, ActionFailed(code, message))

    def invoke_again(self, action: ActionRun, continuation: str) -> None:
        """A function asked to be called again: nobody calls it when the action has ended by then."""
        delay = self.settings.continuation_delay
        pipeline = action.stage.execution.pipeline
        again = partial(self._guard, action, partial(self._invoke, action, continuation))
        self._schedule(
            again, delay, alive=lambda: action.status is Status.IN_PROGRESS and not pipeline.deleted
        )

    def _expire(self, job: Job) -> None:
        message = "The function gave no result within the time limit of one round"
        self._close(job, ActionFailed("JobTimedOut", message))

    def _close(self, job: Job, error: ActionFailed) -> None:
        with self.lock:
            if job.open:
                job.open = False
                self._fail(job.action, error)


def _is_build(action: ActionRun) -> bool:
    return bool(action.declaration["actionTypeId"]["provider"] == "CodeBuild")


def _stopped() -> ActionFailed:
    return ActionFailed("JobFailed", "Build terminated with state: STOPPED")


def _ask(call: Callable[[], T], code: str) -> T:
    """Call the world; what it raises fails the action, except a test's own assertion."""
    try:
        return call()
    except AssertionError:
        raise
    except Exception as error:
        raise ActionFailed(code, f"{type(error).__name__}: {error}") from error
