"""The sweeper of `compare.py`: it runs a comparison's arms through whatever launcher Hydra has."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from tl_run.baselines import LONGER
from tl_run.cli import checked
from tl_run.compare.arms import BASELINE, Arm, check_unlabelled, chosen_arms, longer, read_arms, reads_no_label
from tl_run.compare.book import COMPLETE, FAILED, FOLDER, Book, Entry, Job, Outcome, digest, outcome_of
from tl_run.compare.choosing import better, outrun, widened
from tl_run.compare.options import RACE_AFTER, options
from tl_run.compare.plan import Plan, check_two, duration, fitting, planned, show
from tl_run.compare.watching import quietly, watched
from tl_run.errors import RunError
from tl_run.paths import folders
from tl_run.schema import ConfigError
from tl_run.stopping import Stopping
from tl_run.sweeping import MINIMIZE, direction_of, returned

LOG = "log.txt"


class Comparison:
    """Plan a comparison, run what is not there yet, and report.

    Args:
        given: Its options; see `options.Options`.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        plain = {key: OmegaConf.to_container(one) if OmegaConf.is_config(one) else one for key, one in given.items()}
        self.options = options(plain)
        self.count, self.over = 0, 0.0

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra gives a sweeper."""
        self.config, self.hydra_context = config, hydra_context
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Do it all.

        Args:
            arguments: The options that all runs have.

        Raises:
            ConfigError: If the comparison cannot be.
            RunError: If no run of it succeeds.
            SystemExit: If it was stopped.
        """
        self.common = self.only_single(arguments)
        asked = chosen_arms(read_arms(folders()), self.options.arms)
        check_unlabelled(self.options.without_labels, asked)
        arms, left_out = fitting(asked, self.values, self.check)
        check_two([arm.name for arm, _ in arms], left_out)
        grid, seeds = self.grid(), self.options.all_seeds()
        if self.options.plateau:  # what is wrong with it is said now
            alone, cfg = next(one for one in arms if one[0].name == BASELINE)
            validations = cfg["trainer"]["validations"]
            self.check(self.values(longer(alone, cfg["steps"] or validations, validations)))  # epochs are known later
        print(f"looking at {len(arms)} arms, with a few steps of each", flush=True)
        from tl_run.compare.probing import probe  # torch is not needed to answer a wrong option

        with quietly(None):
            plan = planned(arms, left_out, probe)
        check_two([arm.name for arm, _, _ in plan.arms], plan.left_out)
        base = next(cfg for arm, cfg, _ in plan.arms if arm.name == BASELINE)
        metric, direction = str(returned(base)), "min" if direction_of(base) == MINIMIZE else "max"
        said = [self.common, {arm.name: arm.overrides for arm, _, _ in plan.arms}, seeds, grid, self.options.race]
        said += [self.options.without_labels] if self.options.without_labels else []
        entries = [Entry(arm, cfg["cell"]["name"]) for arm, cfg, _ in plan.arms]
        self.book = Book(Path(FOLDER) / digest(said), entries, metric, direction, command())
        self.arms = {arm.name: arm for arm, _, _ in plan.arms}
        jobs = self.first(grid, seeds)
        done = sum(self.there(job) for job in jobs)
        each = len(jobs) // len(entries) + (len(seeds) - 1 if grid else 0)
        seconds = show(plan, dict.fromkeys(self.arms, each), done, metric, direction)
        after = longer(self.arms[BASELINE], plan.steps()[BASELINE], base["trainer"]["validations"])
        went_on = self.book.went_on()
        if self.options.plateau:
            most = duration(LONGER * len(seeds) * plan.seconds()[BASELINE])
            print(f"where another arm is best, {BASELINE} then goes on until nothing gets better: at most {most}")
        if self.options.advise:
            self.foretell(plan, grid, done == len(jobs))
        self.left, self.due, self.begun = each * len(entries) - done, seconds, time.perf_counter()
        self.expected = plan.seconds()
        try:
            with Stopping() as self.stopping:  # between runs too
                self.compare(grid, seeds)
                if self.options.plateau or went_on:
                    self.go_on(after, seeds)
        except (KeyboardInterrupt, SystemExit) as stop:
            self.book.write()
            print("stopped; the same command goes on", file=sys.stderr)
            raise SystemExit(130 if isinstance(stop, KeyboardInterrupt) else stop.code) from None
        self.answer()

    def foretell(self, plan: Plan, grid: Sequence[float], afterwards: bool) -> None:
        """Print what order of the arms is expected, and how often such advice was right.

        Args:
            plan: The arms that can run.
            grid: The rates.
            afterwards: Whether all runs are over already.
        """
        from tl_run.compare.advisor import advise

        print("looking at frozen features", flush=True)
        with quietly(None):
            said = advise(plan, self.book.folder, grid, afterwards)
        print("before anything is trained:")
        for line in said:
            print(f"  {line}", flush=True)

    def compare(self, grid: Sequence[float], seeds: Sequence[int]) -> None:
        """Run everything: the grid, then the seeds."""
        entries = self.book.entries
        if grid:
            self.run(self.first(grid, seeds))
            self.note_rates()
            wider = {name: widened(entry.rates, self.book.direction) for name, entry in entries.items()}
            more = [Job(name, seeds[0], rate) for name, rate in wider.items() if rate is not None]
            self.left += len(more)
            self.due += sum(self.expected[job.arm] for job in more)
            self.run(more)
            self.note_rates()
            for entry in entries.values():
                entry.rate = better(entry.rates, self.book.direction)
        going = [entry for entry in entries.values() if not grid or entry.rate is not None]
        for entry in going:
            entry.planned = [Job(entry.arm.name, seed, entry.rate) for seed in seeds]
        for job in (job for entry in going for job in entry.planned):
            self.folder(job)
        batches = [seeds[:RACE_AFTER], *([seed] for seed in seeds[RACE_AFTER:])] if self.options.race else [seeds]
        for batch in batches:
            running = [entry for entry in going if entry.stopped is None]
            self.run([job for entry in running for job in entry.planned if job.seed in batch])
            if self.options.race:
                self.race(max(batch) + 1)

    def go_on(self, arm: Arm, seeds: Sequence[int]) -> None:
        """Train the baseline until nothing gets better, at its rate, where another arm is best on validation.

        Where that was asked for before and is not now, what is there counts.

        Args:
            arm: The arm that does so.
            seeds: The seeds.
        """
        from tl_run.report.answer import answer
        from tl_run.report.arms import compared

        try:
            found = answer(compared(self.book.folder, self.book.content())[0])
        except ValueError:  # there is no run, as is said at the end
            return
        if found.baseline is None or found.best is None:
            return
        if found.best == BASELINE:
            print(f"{BASELINE} is best on validation, so it is not trained longer")
            return
        base = self.book.entries[BASELINE]
        jobs = [Job(arm.name, seed, base.rate) for seed in seeds]
        self.arms[arm.name], self.expected[arm.name] = arm, LONGER * self.expected[BASELINE]
        due = [job for job in jobs if not self.there(job)]
        if not self.options.plateau:
            jobs, due = [job for job in jobs if job not in due], []
        self.book.entries[arm.name] = Entry(arm, base.cell, base.rate, planned=jobs, longer=BASELINE)
        self.left += len(due)
        self.due += self.expected[arm.name] * len(due)
        self.run(jobs)

    def first(self, grid: Sequence[float], seeds: Sequence[int]) -> list[Job]:
        """Return the runs of the grid, or without one all runs."""
        if grid:
            return [Job(name, seeds[0], rate) for name in self.book.entries for rate in grid]
        return [Job(name, seed, None) for name in self.book.entries for seed in seeds]

    def note_rates(self) -> None:
        """Keep what the rates that were tried gave."""
        for job in self.book.outcomes:
            if job.rate is not None:
                self.book.entries[job.arm].rates[job.rate] = self.book.tried(job)
        self.book.write()

    def race(self, seeds: int) -> None:
        """Stop the arms that are surely behind.

        Args:
            seeds: How many are done.
        """
        for name, (low, high) in outrun(self.book.scores(), self.book.direction, [BASELINE]).items():
            entry = self.book.entries[name]
            rest = [job for job in entry.planned if job not in self.book.outcomes]
            if not rest:
                continue
            entry.stopped = {"after_seeds": seeds, "interval": [low, high]}
            entry.planned = [job for job in entry.planned if job in self.book.outcomes]
            self.left -= len(rest)
            self.due -= self.expected[name] * len(rest)
            behind = f"{low:+.4f} to {high:+.4f} of {self.book.metric} from the leader"
            print(f"{name} stops after {seeds} seeds: {behind} (95 % interval)")
        self.book.write()

    def run(self, jobs: Sequence[Job]) -> None:
        """Run what is not there yet; one after the other with Hydra's own launcher, else all at once.

        Args:
            jobs: The runs.
        """
        due = []
        for job in jobs:
            if job in self.book.outcomes:
                continue
            if self.there(job):
                self.book.outcomes[job] = outcome_of(self.folder(job)) or Outcome(FAILED)
            else:
                due.append(job)
        self.book.write()
        alone = isinstance(self.launcher, BasicLauncher)
        size = 1 if alone else max(1, len(due))
        for start in range(0, len(due), size):
            batch = due[start : start + size]
            overrides = [self.overrides(self.arms[job.arm], job) for job in batch]
            returns: Sequence[Any]
            with quietly(self.book.folder / LOG) as shown, self.watching([] if alone else batch, shown):
                try:
                    returns = self.launcher.launch(overrides, initial_job_idx=self.count)
                except Exception as error:  # such as a process that was killed: what is over counts
                    if alone:
                        raise
                    returns = [error] * len(batch)
            self.count += len(batch)
            self.stopping.leave()
            for job, came in zip(batch, returns, strict=True):
                if job not in self.book.outcomes:
                    self.note(job, came, sys.stdout)

    def watching(self, batch: Sequence[Job], shown: TextIO) -> contextlib.AbstractContextManager[None]:
        """Return the context in which the runs of a launcher are told of as soon as they are over."""
        return watched(batch, self.there, lambda job: self.note(job, None, shown))

    def note(self, job: Job, came: Any, shown: TextIO) -> None:
        """Keep what came of a run, and say it.

        Args:
            job: The run.
            came: What its launcher gave back, or why it has nothing.
            shown: Where it is said.
        """
        found = outcome_of(self.folder(job))
        if found is None or (found.status != COMPLETE and found.why is None):
            raised = came if isinstance(came, Exception) else getattr(came, "_return_value", None)
            why = " ".join(str(raised).split()) if isinstance(raised, Exception) else None
            found = Outcome(FAILED if found is None else found.status, None, why)
        self.book.outcomes[job] = found
        self.left -= 1
        self.due -= self.expected[job.arm]
        self.over += self.expected[job.arm]
        print(self.says(job, found), file=shown, flush=True)
        self.book.write()

    def says(self, job: Job, outcome: Outcome) -> str:
        """Return a line on a run that is over."""
        slower = (time.perf_counter() - self.begun) / self.over  # than was expected; less where runs are side by side
        remains = f"{self.left} left, about {duration(max(0.0, self.due) * slower)}" if self.left > 0 else "the last"
        value = "undefined" if outcome.value is None else f"{outcome.value:.4f}"
        result = f"{outcome.metric} {value}" if outcome.status == COMPLETE else f"{outcome.status}: {outcome.why}"
        return f"{job.says()}: {result} ({remains})"

    def answer(self) -> None:
        """Say what failed, and make the report.

        Raises:
            RunError: If there is nothing to report.
            SystemExit: If an arm failed.
        """
        for name, why in self.book.failed().items():
            print(f"arm {name} failed in {why}", file=sys.stderr)
        from tl_run.report.comparison import report
        from tl_run.report.words import foretold

        try:
            answers = report(self.book.folder)
        except ValueError as error:
            raise RunError(str(error)) from error
        for told in map(foretold, answers):
            if told is not None:
                print("Foretold:", *told[1])
        if self.book.failed():
            raise SystemExit(1)

    def grid(self) -> list[float]:
        """Return the rates to try; none where one is given.

        Raises:
            ConfigError: If both are given.
        """
        given = [line for line in self.common if line.lstrip("+").startswith("cell.lr=")]
        if given and self.options.rates:
            raise ConfigError(f"{given[-1]}: excludes compare.rates; give one of the two")
        return [] if given else self.options.grid()

    def only_single(self, arguments: Sequence[str]) -> list[str]:
        """Return the options that all runs have.

        Raises:
            ConfigError: If one has several values.
        """
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        for one in parser.parse_overrides(list(arguments)):
            if one.is_sweep_override():
                raise ConfigError(f"{one.input_line}: a comparison has one value of it; compare each by itself")
        return list(arguments)

    def overrides(self, arm: Arm, job: Job) -> list[str]:
        """Return what a run is composed from."""
        rate = [] if job.rate is None else [f"cell.lr={job.rate!r}"]
        rule = self.options.without_labels
        chosen = [f"selection.without_labels={rule}"] if rule is not None and reads_no_label(arm) else []
        return [*self.common, *arm.overrides, *chosen, f"seed={job.seed}", *rate]

    def composed(self, overrides: Sequence[str]) -> DictConfig:
        """Return a run's configuration with Hydra's own node, as the launcher makes it."""
        made = self.hydra_context.config_loader.load_sweep_config(self.config, list(overrides))
        with open_dict(made):
            made.hydra.job.id, made.hydra.job.num = "0", 0
        return made

    def values(self, arm: Arm) -> dict[str, Any]:
        """Return an arm's configuration as plain values, before it is checked."""
        made = self.composed(self.overrides(arm, Job(arm.name, 0, None)))
        self.seen = OmegaConf.masked_copy(made, [str(key) for key in made if key != "hydra"])
        values: Any = OmegaConf.to_container(self.seen, resolve=True)
        return values

    def check(self, values: Any) -> dict[str, Any]:
        """Return the configuration that was composed last, checked."""
        return checked(self.seen)

    def folder(self, job: Job) -> Path:
        """Return the folder of a run."""
        if job not in self.book.folders:
            sweep = self.composed(self.overrides(self.arms[job.arm], job)).hydra.sweep
            self.book.folders[job] = Path(str(sweep.dir)) / str(sweep.subdir)
        return self.book.folders[job]

    def there(self, job: Job) -> bool:
        """Tell whether a run is complete already."""
        found = outcome_of(self.folder(job))
        return found is not None and found.status == COMPLETE


def command() -> str:
    """Return the command line, as it was typed."""
    import shlex

    from tl_run.plain_cli import program

    given = [line for line in ASKED if line not in ("-m", "--multirun")]
    return " ".join([program(), *map(shlex.quote, given)])


ASKED: list[str] = []  # the command line's arguments, before they are made Hydra's
