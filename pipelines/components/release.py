"""The release of a project, and with it the wide steps of the run over all its documents."""

import datetime as dt
import os
import socket
from collections.abc import Iterator
from typing import Any

import dagster as dg

from pipelines import alerts, lock
from pipelines.components.areas import areas_spec
from pipelines.components.base import (
    AREAS_KEY,
    INTAKE_KEY,
    PUBLIC_KEY,
    RELEASE_KEY,
    REPORT_KEY,
    YamlComponent,
    delivery_key,
    index_key,
    indicator_key,
    mart_key,
    measure_key,
    models_of,
    prepare,
    reading_key,
    spec,
)
from pipelines.components.index import index_spec
from pipelines.components.indicator import indicator_spec
from pipelines.components.mart import MART_CHECK, mart_check, mart_spec
from pipelines.components.measure import measure_spec
from pipelines.components.source import CONTRACT_CHECK, contract_check, delivery_spec, reading_spec
from pipelines.exit_codes import EXIT_FAILED
from pipelines.incidents import cause_of
from pipelines.intake.run import SourceState
from pipelines.marts.models import Models
from pipelines.night import Night
from pipelines.paths import Paths
from pipelines.project import Project
from pipelines.publishable import check_rows
from pipelines.status import note_begin, note_end, refuse_stale
from schemas.documents import Release

FINAL_CHECK = "alle_lieferungen_angenommen"
BEGUN_BY, COMMAND_LINE = "sozialraum/anlass", "Kommandozeile"
KEEP_RUNS = dt.timedelta(days=90)
MOST_FORGOTTEN = 20
"""Runs removed per night; their number only matters for the first night after an update."""
_NIGHTS: dict[str, Night] = {}
_BEGUN_HERE: set[str] = set()
"""Runs begun by schedule, sensor or web page; those of the command line note their end themselves."""
_LAST_STEP = "veroeffentlichen"


class ReleaseComponent(YamlComponent[Release]):
    """What the project publishes. Builds intake, build, protection and publication as five wide steps."""

    model = Release

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """All assets and checks of the project."""
        models = models_of(context.project_root)
        project = models.project
        steps = _Steps(project, models)
        # What lies between the steps is reported by them when it changes; an executed asset costs ten times as much.
        assets: list[dg.AssetSpec | dg.AssetsDefinition] = [areas_spec(project)]
        assets += [delivery_spec(project, source) for source in project.sources.values()]
        assets += [measure_spec(project, measure) for measure in project.measures.values()]
        assets += [indicator_spec(project, indicator) for indicator in project.indicators.values()]
        assets += [index_spec(project, index) for index in project.indexes.values()]
        assets += [steps.intake(), steps.build(), steps.protect(), steps.report(), steps.publish()]
        return dg.Definitions(assets=assets)


def night_of(project: Project, context: dg.AssetExecutionContext) -> Night:
    """The night of a Dagster run; takes the lock on first use, so runs from the web page wait for nobody either."""
    night = _NIGHTS.get(context.run.run_id)
    if night is None:
        _NIGHTS.clear()
        lock.take(project.paths.lock_file)  # before the note: one that is turned away leaves that of the active run
        selected = context.run.asset_selection
        if not selected or {INTAKE_KEY, RELEASE_KEY} <= selected:  # single steps are no night
            note_begin(project.paths)
            _BEGUN_HERE.add(context.run.run_id)
        refuse_stale(project.paths)
        night = _NIGHTS[context.run.run_id] = Night.begin(project.paths.root, context.log.info)
        fail_dead_runs(context.instance, context.run.run_id)
    return night


def adopt(run_id: str, night: Night) -> None:
    """Hand a night that the command line has begun to the run it starts."""
    _NIGHTS.clear()
    _NIGHTS[run_id] = night
    prepare(night.models)


def telling_hooks(paths: Paths) -> set[dg.HookDefinition]:
    """Runs begun by schedule, sensor or web page note their end and tell whom it concerns, as the command line does."""

    def end(context: dg.HookContext, cause: str = "") -> None:
        if context.run_id in _BEGUN_HERE:
            night = _NIGHTS.get(context.run_id)
            note_end(paths, night.exit_code if night and night.finished else EXIT_FAILED, cause)
            alerts.tell(paths.root, context.log.info)

    @dg.success_hook(name="meldung_nach_erfolg")
    def after_success(context: dg.HookContext) -> None:
        if context.op.name == _LAST_STEP:
            end(context)

    @dg.failure_hook(name="meldung_nach_fehler")
    def after_failure(context: dg.HookContext) -> None:
        night, error = _NIGHTS.get(context.run_id), context.op_exception
        published = night is not None and night.finished  # then the closing check failed: a finding, no failure
        end(context, "" if published or error is None else cause_of(error))

    return {after_success, after_failure}


def fail_dead_runs(instance: dg.DagsterInstance, own: str) -> list[str]:
    """Runs of this project that were killed stay STARTED for ever; whoever holds the lock knows they are dead."""
    running = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.CANCELING]
    dead = [run for run in instance.get_runs(filters=dg.RunsFilter(statuses=running)) if run.run_id != own]
    # One that the command line made and that never began; others in this state may be about to be launched.
    unborn = dg.RunsFilter(statuses=[dg.DagsterRunStatus.NOT_STARTED], tags={BEGUN_BY: COMMAND_LINE})
    dead += [run for run in instance.get_runs(filters=unborn) if run.run_id != own]
    for run in dead:
        where = f"{socket.gethostname()}, Prozess {os.getpid()}"
        instance.report_run_failed(run, f"Der Lauf wurde abgebrochen; festgestellt vom nächsten Lauf ({where}).")
    return [run.run_id for run in dead]


def forget_old_runs(instance: dg.DagsterInstance) -> list[str]:
    """Dagster's record grows without end: runs older than `KEEP_RUNS` go, a few each night.

    A run stays while it holds the newest event of an asset: what has not changed for months is not reported again, and
    the freshness of deliveries is told from there.
    """
    before = dg.RunsFilter(created_before=dt.datetime.now(dt.UTC) - KEEP_RUNS)
    old = [run.run_id for run in instance.get_runs(filters=before)]
    if old:
        newest = [record.asset_entry.last_materialization_record for record in instance.get_asset_records()]
        needed = {event.run_id for event in newest if event}
        old = [run_id for run_id in old if run_id not in needed][-MOST_FORGOTTEN:]
    for run_id in old:
        instance.delete_run(run_id)
    return old


def forget_removed(instance: dg.DagsterInstance, job: dg.JobDefinition) -> None:
    """Assets of topics that were removed leave the catalogue of the web page too."""
    known = job.asset_layer.asset_graph.get_all_asset_keys()
    removed = [key for key in instance.all_asset_keys() if key not in known]
    if removed:
        instance.wipe_assets(removed)


class _Steps:
    """The five executable multi-assets."""

    def __init__(self, project: Project, models: Models) -> None:
        self.project = project
        self.models = models

    def intake(self) -> dg.AssetsDefinition:
        project = self.project
        sources = project.sources

        ledger = spec(
            project,
            project.release,
            INTAKE_KEY,
            deps=[reading_key(s) for s in sources],
            kinds=["json"],
            group="eingang",
            description=(
                "Eingangsbuch: jede eingegangene Lieferung mit Entscheidung und Gründen. "
                "Das einzige Verzeichnis, das nicht neu erzeugt werden kann; es wird gesichert."
            ),
        )

        @dg.multi_asset(
            name="eingang",
            specs=[*[reading_spec(project, s) for s in sources.values()], ledger],
            check_specs=[contract_check(s) for s in sources.values()],
            can_subset=True,  # also: what has not changed is not reported again
        )
        def eingang(context: dg.AssetExecutionContext) -> Iterator[Any]:
            night = night_of(project, context)
            selected = context.selected_asset_keys
            whole = INTAKE_KEY in selected and len(selected) == len(sources) + 1
            states = night.intake(sorted(key.path[-1] for key in selected if key != INTAKE_KEY))
            for source_id, state in states.items():
                if whole and not night.changed(f"zaehlwerte/{source_id}"):
                    continue
                yield from _source_events(context, state)
            if INTAKE_KEY in selected:
                if night.changed("gebiete"):
                    context.log_event(dg.AssetMaterialization(AREAS_KEY))
                count = sum(len(state.deliveries) for state in states.values())
                yield dg.MaterializeResult(INTAKE_KEY, metadata={"lieferungen": count})

        return eingang

    def build(self) -> dg.AssetsDefinition:
        project, models = self.project, self.models
        tables = models.marts
        specs = [mart_spec(models, m) for m in models.order]

        @dg.multi_asset(name="aufbau", specs=specs, check_specs=[mart_check(m) for m in tables], can_subset=False)
        def aufbau(context: dg.AssetExecutionContext) -> Iterator[Any]:
            night = night_of(project, context)
            edition = night.build()
            rules = check_rows({}, [m.mart.id for m in tables], night.failed_rules)
            between = {f"kennzahl/{m}": measure_key(m) for m in project.measures}
            between |= {f"indikator/{i}": indicator_key(i) for i in project.indicators}
            between |= {f"index/{i}": index_key(i) for i in project.indexes}
            for mark, key in between.items():
                if night.changed(mark):
                    context.log_event(dg.AssetMaterialization(key))
            for model in models.order:
                name = model.mart.id
                yield dg.MaterializeResult(mart_key(name), metadata={"dagster/row_count": edition.rows[name]})
            for name in [model.mart.id for model in tables]:
                own = [(rule, passed) for _, subject, rule, passed in rules if subject == name]
                yield dg.AssetCheckResult(
                    passed=all(passed for _, passed in own),
                    asset_key=mart_key(name),
                    check_name=MART_CHECK,
                    severity=dg.AssetCheckSeverity.WARN,
                    metadata={"regeln": dg.MetadataValue.md(_rules_table(own))},
                )

        return aufbau

    def protect(self) -> dg.AssetsDefinition:
        project, models = self.project, self.models
        public = spec(
            project,
            project.release,
            PUBLIC_KEY,
            deps=[mart_key(m.mart.id) for m in models.marts],
            kinds=["duckdb"],
            group="veroeffentlichung",
            description=(
                "Öffentliche Ausgabe: Kleine Anzahlen und alles, woraus sie sich errechnen ließen, werden gesperrt; "
                "dieselben Tabellen werden dann nur aus dem gerechnet, was übrig bleibt."
            ),
        )

        @dg.multi_asset(name="schutz", specs=[public])
        def schutz(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
            night = night_of(project, context)
            edition = night.protect()
            content = edition.content_hash if edition else "intern, keine Veröffentlichung"
            words = night.protection.in_words() if night.protection else content
            return dg.MaterializeResult(PUBLIC_KEY, metadata={"inhalt": content, "geheimhaltung": words})

        return schutz

    def report(self) -> dg.AssetsDefinition:
        project = self.project
        pages = spec(
            project,
            project.release,
            REPORT_KEY,
            deps=[PUBLIC_KEY],
            kinds=["html", "pdf"],
            group="veroeffentlichung",
            description=(
                "Sozialraumbericht: Seiten, Tabellenband und gedruckte Berichte für den Arbeitskreis, "
                "nur aus der öffentlichen Ausgabe. Was sich nicht geändert hat, wird nicht neu geschrieben."
            ),
        )

        @dg.multi_asset(name="bericht", specs=[pages])
        def bericht(context: dg.AssetExecutionContext) -> dg.MaterializeResult[None]:
            written = night_of(project, context).report()
            numbers = {"seiten": written.pages, "neu_geschrieben": written.rendered} if written else {}
            return dg.MaterializeResult(REPORT_KEY, metadata=numbers)

        return bericht

    def publish(self) -> dg.AssetsDefinition:
        project = self.project
        release = spec(
            project,
            project.release,
            RELEASE_KEY,
            deps=[PUBLIC_KEY, REPORT_KEY],
            kinds=["duckdb", "parquet", "csv", "excel"],
            group="veroeffentlichung",
        )
        check = dg.AssetCheckSpec(
            FINAL_CHECK,
            asset=RELEASE_KEY,
            blocking=True,
            description="Ob alle Lieferungen angenommen und pünktlich sind; wird nichts veröffentlicht, warum.",
        )

        @dg.multi_asset(name=_LAST_STEP, specs=[release], check_specs=[check])
        def veroeffentlichen(context: dg.AssetExecutionContext) -> Iterator[Any]:
            night = night_of(project, context)
            publication = night.publish()
            findings = night.findings
            yield dg.MaterializeResult(
                RELEASE_KEY,
                metadata={
                    "veroeffentlichung": publication.release_id if publication else "keine",
                    "neu": bool(publication and publication.new),
                    "aenderungen": "\n".join(night.news) or "keine",
                    "angriff": night.audit.in_words() if night.audit else "nicht nötig: Inhalt unverändert",
                },
            )
            but = "" if night.implausible or night.held_back else "veröffentlicht, aber: "  # the finding says so itself
            text = "alles angenommen" if not findings else but + "; ".join(findings)
            yield dg.AssetCheckResult(
                passed=not findings,
                asset_key=RELEASE_KEY,
                check_name=FINAL_CHECK,
                description=text,
                metadata={"ergebnis": text},
            )

        return veroeffentlichen


def _source_events(context: dg.AssetExecutionContext, state: SourceState) -> Iterator[Any]:
    """An accepted delivery, the readings in force, and the result of the contract."""
    in_force = {d.delivery_id for d in state.in_force}
    for delivery in state.new:
        if delivery.delivery_id in in_force:
            key = delivery_key(state.source.id)
            context.log_event(dg.AssetMaterialization(key, metadata={"lieferung": delivery.delivery_id}))
    yield dg.MaterializeResult(
        reading_key(state.source.id), metadata={"lieferungen_in_kraft": len(in_force), "neu": len(state.new)}
    )
    yield _contract_result(state)


def _contract_result(state: SourceState) -> dg.AssetCheckResult:
    """Rule ids and counts, no values: Dagster's storage is not protected like the warehouse."""
    rules: dict[str, int] = {}
    for delivery in state.unsettled:
        for failure in state.verdicts[delivery.delivery_id].failures:
            rules[failure["rule"]] = rules.get(failure["rule"], 0) + 1
    if state.refused:
        rules["eingang_lesbar"] = len(state.refused)
    if state.missed:
        rules["termin_eingehalten"] = 1
    lines = ["| Regel | Beanstandungen |", "| --- | --- |", *[f"| {rule} | {n} |" for rule, n in sorted(rules.items())]]
    return dg.AssetCheckResult(
        passed=state.well,
        asset_key=reading_key(state.source.id),
        check_name=CONTRACT_CHECK,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"regeln": dg.MetadataValue.md("\n".join(lines) if rules else "alle erfüllt")},
    )


def _rules_table(rules: list[tuple[str, bool]]) -> str:
    lines = ["| Regel | erfüllt |", "| --- | --- |"]
    return "\n".join([*lines, *[f"| {rule} | {'ja' if passed else 'nein'} |" for rule, passed in rules]])
