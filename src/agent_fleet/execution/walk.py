"""The stages of one attempt, in their order, each of which may be walked again after a kill.

The law: what is on the machine says how far the attempt came. Nothing is prepared over a run, and
nothing is started twice; once the work is judged, nothing is committed to it any more.
"""

from collections.abc import Coroutine
from typing import Any

from msgspec.structs import replace

from agent_fleet.adapters import Adapter, render
from agent_fleet.core.errors import AttemptFailed, InvalidInput, Unavailable
from agent_fleet.core.faults import Reason
from agent_fleet.core.model import Grant, Outcome, Receipt
from agent_fleet.execution import following, run, validation
from agent_fleet.execution import workspace as workspaces
from agent_fleet.execution.following import Bounds, Followed, follow, not_started
from agent_fleet.execution.heartbeat import Halt, Halted
from agent_fleet.execution.judging import judge_run
from agent_fleet.execution.logbook import Logbook
from agent_fleet.execution.records import Ending, Judged, Prepared, Records, remember
from agent_fleet.execution.run import Graces, RunSpec, RunState, RunView
from agent_fleet.execution.setting import (
    Setting,
    place_of,
    secrets_in,
    variables_of,
)
from agent_fleet.execution.site import Site, insist
from agent_fleet.execution.validation import validate
from agent_fleet.execution.workspace import Workspace

PUSH_S = 600.0
"""Seconds that a push may take."""


class Walk:
    """One attempt being carried out.

    `view` is its run as it was found, None where there was none. `draft` is its receipt in the
    making, `survivors` are processes that could not be ended.
    """

    def __init__(
        self,
        site: Site,
        grant: Grant,
        adapter: Adapter,
        setting: Setting,
        *,
        logbook: Logbook,
        records: Records,
        view: RunView | None,
        receipt_id: str,
    ) -> None:
        self.draft = Receipt(
            receipt_id=receipt_id,
            task=grant.task,
            attempt=grant.attempt,
            outcome=Outcome.SUCCEEDED,
            branch=grant.branch if grant.deliverable == "branch" else None,
        )
        self.survivors: tuple[int, ...] = ()
        self._site = site
        self._grant = grant
        self._adapter = adapter
        self._setting = setting
        self._logbook = logbook
        self._prepared = records.prepared if view is not None else None
        self._records = records
        self._began: float | None = None
        self._directory = place_of(grant, setting, workspace="").directory
        self._graces = Graces(
            adapter.graces.interrupt_s, adapter.graces.terminate_s, adapter.graces.kill_s
        )

    async def deliver(self) -> None:
        """The stages, until the work is delivered.

        Raises AttemptFailed where one fails. Raises Halted where the attempt is to stop: of one
        that is cancelled nothing runs any more; one that is lost is left as it is.
        """
        try:
            await self._deliver()
        except Halted as halted:
            if halted.halt is Halt.CANCEL:
                await self.abandon(following.CANCELLED)
            raise

    async def _deliver(self) -> None:
        try:
            await self._site.heartbeat.answered()
        except Halted as halted:
            # A run that is found is ended by its follower, for what it still has to say.
            if halted.halt is Halt.LOST or self._prepared is None:
                raise
        prepared = self._prepared or await self._prepare()
        workspace = prepared.workspace
        self._note(prepare_s=prepared.seconds, base_sha=workspace.base_sha)
        followed = await self._run(workspace)
        judged = self._records.judged or await self._judge(workspace, followed)
        report, failure = judged.report, judged.failure
        self._note(
            run_s=judged.seconds,
            exit_code=judged.exit_code,
            summary=report.summary,
            usage=report.usage,
            session=report.session,
            head_sha=judged.head_sha,
        )
        if failure is not None:
            raise AttemptFailed(
                failure.reason, failure.message, retry_after_s=failure.retry_after_s
            )
        if self._grant.validation:
            await self._validate(workspace, judged)
        if self._grant.deliverable == "branch":
            await self._push(workspace)

    async def recount(self) -> None:
        """Give the logbook all there is of an attempt that has come to its receipt."""
        directory, number = self._directory, -1
        while (view := await self._look(directory)).state is not RunState.ABSENT:
            title = validation.title(number, self._grant.validation[number]) if number >= 0 else ""
            section = self._logbook.add(directory, "stdout", header=title)
            section.reach(view.stdout_size, ended=True)
            if number < 0:
                self._add_stderr(view)
            number += 1
            if number == len(self._grant.validation):
                return
            directory = validation.place_of(self._place(""), number).directory

    async def abandon(self, ending: Ending) -> None:
        """End what may still run of the attempt, for that reason."""
        if self._prepared is None:
            return
        agent = self._place(self._prepared.workspace.path)
        count = len(self._grant.validation)
        for place in (agent, *(validation.place_of(agent, number) for number in range(count))):
            await following.abandon(self._site, place, graces=self._graces, ending=ending)

    async def _prepare(self) -> Prepared:
        site, limit_s = self._site, self._grant.limits.prepare_s
        began = site.clock.elapsed()
        site.heartbeat.tell("prepare")
        try:
            workspace = await site.heartbeat.obey(
                workspaces.prepare(
                    site.machine,
                    root=self._setting.root,
                    grant=self._grant,
                    credentials=self._setting.credentials,
                    timeout_s=limit_s,
                )
            )
            prepared = Prepared(workspace, round(site.clock.elapsed() - began, 3))
            await insist(site, lambda: remember(site.machine, self._directory, prepared))
        except Unavailable as error:
            if site.clock.elapsed() - began >= limit_s:
                message = f"the workspace was not prepared within {limit_s:g} s"
                raise AttemptFailed(Reason.WORKSPACE_ERROR, message) from error
            raise not_started(error) from error
        self._prepared = prepared
        self._began = site.clock.elapsed()
        await following.start(site, self._spec(workspace))
        return prepared

    def _spec(self, workspace: Workspace) -> RunSpec:
        try:
            command = render(
                self._adapter,
                workspace=workspace.path,
                git_dir=f"{workspace.path}/.git",
                prompt=self._grant.prompt,
                model=self._grant.model,
                session=self._grant.session,
            )
        except InvalidInput as error:
            raise AttemptFailed(Reason.INVALID_TASK, str(error)) from error
        place = self._place(workspace.path)
        return RunSpec(
            directory=place.directory,
            argv=command.argv,
            cwd=workspace.path,
            env={**self._setting.environment, **variables_of(self._adapter, self._setting)},
            stdin=command.stdin,
            mark=place.mark,
        )

    async def _run(self, workspace: Workspace) -> Followed:
        heartbeat, limits = self._site.heartbeat, self._grant.limits
        followed = await follow(
            self._site,
            self._place(workspace.path),
            bounds=Bounds(
                start_s=self._setting.start_s,
                run_s=limits.run_s,
                output_bytes=limits.output_bytes,
                silence_s=limits.silence_s,
            ),
            graces=self._graces,
            section=self._logbook.add(self._directory, "stdout"),
            began=self._began,
            ending=self._records.ending,
            on_running=lambda: heartbeat.tell("run", status="running", base_sha=workspace.base_sha),
        )
        self.survivors += followed.survivors
        self._add_stderr(followed.view)
        return followed

    async def _judge(self, workspace: Workspace, followed: Followed) -> Judged:
        judged = await judge_run(
            self._site,
            self._grant,
            self._adapter,
            workspace,
            directory=self._directory,
            followed=followed,
            secrets=secrets_in(self._adapter, self._setting),
        )
        await insist(self._site, lambda: remember(self._site.machine, self._directory, judged))
        return judged

    async def _validate(self, workspace: Workspace, judged: Judged) -> None:
        site, limits = self._site, self._grant.limits
        site.heartbeat.tell("validate")
        validated = await validate(
            site,
            self._place(workspace.path),
            self._grant.validation,
            environment=self._setting.environment,
            bounds=Bounds(self._setting.start_s, limits.validation_s, limits.output_bytes),
            logbook=self._logbook,
            secrets=secrets_in(self._adapter, self._setting),
        )
        self.survivors += validated.survivors
        seconds = sum(result.seconds for result in validated.results)
        self._note(validation=validated.results, validate_s=seconds)
        if validated.failure is not None:
            raise AttemptFailed(validated.failure.reason, validated.failure.message)
        if judged.head_sha is None:
            return
        work = await insist(site, lambda: workspaces.inspect_work(site.machine, workspace))
        if work.head_sha != judged.head_sha:
            message = f"validation moved HEAD from {judged.head_sha} to {work.head_sha}"
            raise AttemptFailed(Reason.VALIDATION_FAILED, message)

    async def _push(self, workspace: Workspace) -> None:
        site = self._site
        site.heartbeat.tell("push")
        began = site.clock.elapsed()

        def push() -> Coroutine[Any, Any, str]:
            return workspaces.push(
                site.machine, workspace, credentials=self._setting.credentials, timeout_s=PUSH_S
            )

        head_sha = await site.heartbeat.obey(insist(site, push))
        self._note(head_sha=head_sha, push_s=site.clock.elapsed() - began)

    def _place(self, workspace: str) -> following.Place:
        return place_of(self._grant, self._setting, workspace=workspace)

    async def _look(self, directory: str) -> RunView:
        return await insist(
            self._site,
            lambda: run.inspect(
                self._site.machine, directory, stdout_offset=0, stderr_offset=0, limit=0
            ),
        )

    def _add_stderr(self, view: RunView) -> None:
        if view.stderr_size > 0:
            section = self._logbook.add(self._directory, "stderr", header="stderr")
            section.reach(view.stderr_size, ended=True)

    def _note(self, **found: Any) -> None:
        """Enter what was found into the draft; what ends in `_s` are seconds of a stage."""
        timings = {name: round(found.pop(name), 3) for name in list(found) if name.endswith("_s")}
        self.draft = replace(self.draft, timings={**self.draft.timings, **timings}, **found)
