"""dask-jobqueue's SLURM cluster, with jobs that are replaced when lost and reasons when none comes."""

from __future__ import annotations

import asyncio
import logging
import os
import shlex
import shutil
import sys
import time
import warnings
from typing import Any
from urllib.parse import urlsplit

import dask
from distributed import Status
from distributed.deploy.spec import ProcessInterface

from daskmgrit.errors import ClusterError
from daskmgrit.slurm.jobqueue import JobQueueCluster, JobQueueJob
from daskmgrit.slurm.keys import TemporaryKeys
from daskmgrit.slurm.queue import JobEntry, QueueError, ask_slurm, own_jobs, post_mortem
from daskmgrit.utils.config import setting
from daskmgrit.utils.units import nbytes, time_option, time_setting
from daskmgrit.utils.validation import integer_option

__all__ = ["SLURMCluster"]

logger = logging.getLogger("daskmgrit")


# Times in a row that jobs may end before their workers connect; further ones would end the same way.
ROUNDS = 3


def _some(jobs: list[str]) -> str:
    return ", ".join(jobs[:3]) + (" …" if len(jobs) > 3 else "")


class WorkersMissing(ClusterError, TimeoutError):
    """Workers did not come in time: an error of this package, and the type that a client expects."""


def _is_loopback(address: Any) -> bool:
    return str(address).removeprefix("http://").split(":")[0] in ("127.0.0.1", "localhost")


class _Job(JobQueueJob):
    """A job that keeps sbatch's reason for a refusal, for which dask-jobqueue's only logs a traceback."""

    submitted: dict[str, _Job]
    refusal: str | None = None
    connected = False

    async def start(self) -> None:
        try:
            await super().start()
        except (RuntimeError, OSError, ValueError) as error:
            lines = str(error).strip().splitlines()
            said = [line for line in lines if line.startswith("sbatch: error:")]
            self.refusal = " ".join(line.removeprefix("sbatch: error:").strip() for line in said) or " ".join(lines)
            await ProcessInterface.start(self)
        self.submitted[self.name] = self

    async def close(self) -> None:
        await super().close()
        await ProcessInterface.close(self)


class SLURMCluster(JobQueueCluster):
    """A Dask cluster whose workers are SLURM jobs and whose scheduler is in this process.

    It is ``dask_jobqueue.SLURMCluster`` and takes the same options, by default from ``jobqueue.slurm`` in
    ``dask.config``. The differences are:

    * after :meth:`scale`, a new job replaces each job that is over (its walltime, ``scancel``, its node);
    * the error of :meth:`wait_for_workers` and :meth:`explain` give sbatch's reason for a refusal, the reason of a
      pending job, and the end of a job that never connected;
    * connections are encrypted, and dashboards listen on loopback, unless options say otherwise;
    * a job has one worker process with one thread for each of its cores.

    Parameters
    ----------
    n_workers : int, default 0
        Workers to start with; see :meth:`scale`.
    cores, memory : int, str
        Cores and memory of a job.
    processes : int, optional
        Worker processes per job, by default `cores`.
    security : bool or distributed.Security, optional
        True: a certificate for this cluster alone, in a folder with mode 0700 below `shared_temp_directory`, removed
        when the cluster closes. False: no encryption. By default ``daskmgrit.slurm.tls`` of ``dask.config``.
    shared_temp_directory : str, optional
        A folder that all nodes see, by default the current one.
    **kwargs : Any
        Further options of ``dask_jobqueue.SLURMCluster``.

    Raises
    ------
    ValueError
        If the cores or the memory of a job are not given.
    ClusterError
        If there is no SLURM here.

    Examples
    --------
    >>> from daskmgrit.slurm import SLURMCluster
    >>> with SLURMCluster(cores=8, memory="16GB", walltime="02:00:00") as cluster:  # doctest: +SKIP
    ...     cluster.scale(jobs=4)
    ...     with Client(cluster) as client:
    ...         client.wait_for_workers(32, timeout=3600)
    ...         result = solver.solve(w0)
    """

    def __init__(
        self,
        n_workers: int = 0,
        cores: int | None = None,
        memory: str | None = None,
        processes: int | None = None,
        security: Any = None,
        shared_temp_directory: str | None = None,
        scheduler_options: dict[str, Any] | None = None,
        worker_extra_args: list[str] | None = None,
        python: str | None = None,
        config_name: str = "slurm",
        **kwargs: Any,
    ) -> None:
        if shutil.which("sbatch") is None:
            raise ClusterError("there is no sbatch on the PATH: run this on a login node of a SLURM cluster")

        def of_jobs(name: str) -> Any:
            return dask.config.get(f"jobqueue.{config_name}.{name}", None)

        cores, memory = cores or of_jobs("cores"), memory or of_jobs("memory")
        for name, value in (("cores", cores), ("memory", memory)):
            if value is None:
                variable = f"DASK_JOBQUEUE__{config_name.upper()}"
                raise ValueError(
                    f"jobqueue.{config_name}.{name} is not set in dask.config: set a job's resources in "
                    f"{os.path.join(dask.config.PATH, 'jobqueue.yaml')}, such as deploy/slurm/jobqueue.yaml of this "
                    f"project, or by {variable}__CORES=8 and {variable}__MEMORY=16GB in the environment"
                )
        if isinstance(cores, str) and cores.isdigit():
            cores = int(cores)
        integer_option(f"jobqueue.{config_name}.cores", cores, 1, "it is the number of cores of a job")
        try:
            nbytes(memory)
        except ValueError as error:
            raise ValueError(f"jobqueue.{config_name}.memory={error}") from None
        shared = shared_temp_directory or of_jobs("shared-temp-directory") or os.getcwd()
        if security is None:
            security = bool(setting("daskmgrit.slurm.tls"))
        self._keys = TemporaryKeys(os.path.expandvars(shared)) if security is True else None
        arguments = list(of_jobs("worker-extra-args") or [] if worker_extra_args is None else worker_extra_args)
        if not any(argument.startswith("--dashboard-address") for argument in arguments):
            # A worker's pages are plain http, on all interfaces by default.
            arguments += ["--dashboard-address", "127.0.0.1:0"]
        self._target = 0
        self._keeper: asyncio.Task[None] | None = None
        self._queue: dict[str, JobEntry] = {}
        self._failed_rounds = 0
        self._trouble: dict[str, str] = {}
        self._said = ""
        self._poll = time_setting("daskmgrit.slurm.poll")
        # Looked at now: a mistake in it is to be told before jobs are submitted.
        self._patience = time_setting("daskmgrit.slurm.wait")
        try:
            with warnings.catch_warnings():
                # Another port is taken then; dashboard_link has it.
                warnings.filterwarnings("ignore", "Port [0-9]+ is already in use")
                super().__init__(
                    n_workers=n_workers,
                    cores=cores,
                    memory=memory,
                    processes=processes or of_jobs("processes") or cores,
                    job_cls=type("SLURMJob", (_Job,), {"submitted": {}}),
                    security=self._keys.security if self._keys else security or None,
                    shared_temp_directory=shared,
                    scheduler_options={"dashboard_address": "127.0.0.1:8787"}
                    | dict(of_jobs("scheduler-options") or {} if scheduler_options is None else scheduler_options),
                    worker_extra_args=arguments,
                    python=python or of_jobs("python") or shlex.quote(sys.executable),
                    config_name=config_name,
                    **kwargs,
                )
        except BaseException as error:
            if self._keys:
                self._keys.remove()
            if isinstance(error, RuntimeError) and "failed to start" in str(error):
                name = f"jobqueue.{config_name}"
                raise ClusterError(
                    f"{error} (from {name} in dask.config: check interface and scheduler-options, which set the "
                    "scheduler's address)"
                ) from error
            raise

    @property
    def processes(self) -> int:
        """Worker processes per job."""
        return int(self._job_kwargs["processes"])

    def what_is_started(self, jobs: int, wanted: int | None = None) -> str:
        """Return the numbers of jobs and workers, and the reason for more workers than requested."""
        workers = jobs * self.processes
        text = f"SLURM jobs: {jobs}, workers: {workers}"
        if wanted is None or workers <= wanted:
            return text
        return (
            f"{text} for the {wanted} requested, because a job has {self.processes} worker processes, one for each of "
            "its cores (jobqueue.slurm.cores, or jobqueue.slurm.processes): set these lower for fewer"
        )

    @property
    def dashboard_link(self) -> str:
        """Address of the dashboard, on this machine if it listens on loopback alone."""
        link = str(super().dashboard_link)
        options = self.scheduler_spec["options"]
        port = urlsplit(link).port
        return f"http://127.0.0.1:{port}/status" if _is_loopback(options["dashboard_address"]) else link

    # -- jobs ----------------------------------------------------------------------------------------------------

    def scale(self, n: int | None = None, jobs: int = 0, memory: str | None = None, cores: int | None = None) -> Any:
        """Set the number of workers, or jobs, from now on; jobs that are lost are replaced.

        Parameters
        ----------
        n : int, optional
            Number of workers.
        jobs : int
            Number of jobs.
        memory : str, optional
            Memory of all jobs together.
        cores : int, optional
            Cores of all jobs together.
        """
        answer = super().scale(n, jobs=jobs, memory=memory, cores=cores)
        self._target = len(self.worker_spec)
        self.loop.add_callback(self._start_keeper)
        return answer

    def adapt(self, *args: Any, **kwargs: Any) -> Any:
        """Adapt the number of workers to the work, as in dask-jobqueue; only its own rules then replace jobs."""
        self._target = 0
        return super().adapt(*args, **kwargs)

    def new_worker_spec(self) -> dict[str, Any]:
        """Return the next job under a new name, because the scheduler may not have forgotten a lost job yet."""
        self._i += 1
        return dict(super().new_worker_spec())

    def _start_keeper(self) -> None:
        if self._keeper is None and self.status not in (Status.closing, Status.closed):
            self._keeper = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        """Watch the jobs. SLURM is asked only while workers are missing."""
        due = 0.0
        while True:
            await asyncio.sleep(0.5)
            if len(self._connected()) >= self._target * self.processes:
                due = 0.0
            elif time.monotonic() >= due:
                try:
                    await self._replace_lost()
                except Exception:
                    # Without this task no job would be replaced any more.
                    logger.exception("watching the SLURM jobs failed; retrying")
                # Jobs that only fail are not submitted faster and faster.
                due = time.monotonic() + self._poll * 2 ** min(self._failed_rounds, 5)
            self._said = self._say()

    def _connected(self) -> set[str]:
        """Return the names of the workers that the scheduler knows; record the jobs that have had one."""
        names = {str(worker.name) for worker in self.scheduler.workers.values()} if self.scheduler else set()
        for name, job in list(self.job_cls.submitted.items()):
            if not job.connected and names & self._workers_of(name):
                job.connected = True
                self._failed_rounds = 0
                self._trouble.clear()
        return names

    def _workers_of(self, name: str) -> set[str]:
        return {name} | {f"{name}-{number}" for number in range(self.processes)}

    async def _replace_lost(self) -> None:
        jobs = dict(self.job_cls.submitted)
        try:
            # Jobs submitted while squeue runs are not in `jobs`, so they are not taken for lost.
            self._queue = await own_jobs()
        except QueueError as error:
            self._trouble["squeue"] = str(error)
            return
        self._trouble.pop("squeue", None)
        connected = self._connected()
        failed = False
        for name, job in jobs.items():
            if name not in self.worker_spec:  # no longer wanted
                self.job_cls.submitted.pop(name, None)
                continue
            if job.refusal is not None:
                self._trouble["sbatch"] = f"sbatch refused a job: {job.refusal}"
            elif job.job_id in self._queue or connected & self._workers_of(name):
                continue
            elif not job.connected:
                self._trouble["job"] = await post_mortem(job.job_id)
            else:
                logger.warning("SLURM job %s is over: submitting another", job.job_id)
            failed = failed or not job.connected
            self.job_cls.submitted.pop(name, None)
            self.worker_spec.pop(name, None)
        self._failed_rounds += failed
        if len(self.worker_spec) < self._target:
            super().scale(jobs=self._target)

    # -- waiting -------------------------------------------------------------------------------------------------

    @property
    def patience(self) -> float:
        """Maximum seconds of a wait for workers: ``daskmgrit.slurm.wait``."""
        return self._patience

    def explain(self) -> str:
        """Return, in words, the states, reasons, refusals and ends of the jobs whose workers are missing."""
        return self._said

    def _say(self) -> str:
        here = self._connected()
        states: dict[str, list[str]] = {}
        for name, job in list(self.job_cls.submitted.items()):
            if here & self._workers_of(name) or job.refusal is not None:
                continue
            entry = self._queue.get(job.job_id)
            late = ", no worker has connected yet" if entry is not None and entry.state == "RUNNING" else ""
            states.setdefault(("submitted" if entry is None else str(entry)) + late, []).append(job.job_id)
        texts = [
            (f"job {jobs[0]} is {state}" if len(jobs) == 1 else f"{len(jobs)} jobs ({_some(jobs)}) are {state}")
            for state, jobs in states.items()
        ]
        if waiting := len(set(self.worker_spec) - set(self.job_cls.submitted)):
            texts.append(f"sbatch has not answered yet for {waiting} job{'s' * (waiting > 1)}")
        refused = {f"sbatch refused a job: {job.refusal}" for job in self.job_cls.submitted.values() if job.refusal}
        return "; ".join([*texts, *sorted(refused | set(self._trouble.values()))])

    async def _wait_for_workers(self, n_workers: int = 0, timeout: Any = None) -> None:
        patience = self.patience if timeout is None else time_option("timeout", timeout)
        begin, told, told_at = time.monotonic(), "", 0.0
        while (count := len(self._connected())) < n_workers:
            elapsed = time.monotonic() - begin
            state = self._say()
            missing = f"{count} of {n_workers} workers have come"
            refused = sum(job.refusal is not None for job in self.job_cls.submitted.values())
            if refused and (self._target - refused) * self.processes < n_workers:
                raise ClusterError(f"{missing}, and no more will: {state}")
            if self._failed_rounds >= ROUNDS:
                raise ClusterError(f"{missing}; jobs ended {ROUNDS} times before a worker connected: {state}")
            if elapsed > patience:
                remedy = "Increase timeout=, or daskmgrit.slurm.wait in dask.config, or request less"
                if "job" in self._trouble:
                    remedy = "Fix the cause of the jobs' end; or increase" + remedy.removeprefix("Increase")
                raise WorkersMissing(
                    f"{missing} within {patience:g} s: {state or 'no job was requested, see scale()'}. {remedy}"
                )
            # A line when something changes; an unchanged state is told at doubling intervals.
            if (f"{missing}; {state}" != told and elapsed - told_at >= 1) or elapsed > max(2 * told_at, 10):
                told, told_at = f"{missing}; {state}", elapsed
                logger.warning("%s (waiting for %.0f s of at most %g s)", told, elapsed, patience)
            await asyncio.sleep(0.1)
        # The base class refreshes this too: a client of this cluster reads it.
        await super()._wait_for_workers(n_workers, 60)

    # -- the end -------------------------------------------------------------------------------------------------

    async def _close(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            self._keeper = None
        try:
            await super()._close()
        finally:
            if self._keys:
                self._keys.remove()
            # Each is cancelled already; this is for one whose cancellation failed.
            jobs = {job.job_id for job in self.job_cls.submitted.values() if job.job_id}
            self.job_cls.submitted.clear()
            try:
                if left := sorted(jobs & set(await own_jobs())) if jobs else []:
                    await ask_slurm("scancel", *left)
            except QueueError as error:
                logger.warning(
                    "SLURM jobs %s may still run: %s; cancel them with scancel", ", ".join(sorted(jobs)), error
                )
