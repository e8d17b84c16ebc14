"""What the commands of `spatialprobe fusion` do and print."""

from __future__ import annotations

from cache.care.describe import draw
from cache.printing import verify_store
from cache.source import FeatureSource
from cache.store import FeatureStore
from configs import commands
from configs.console import Progress, format_bytes, print_table
from configs.errors import ConfigError, SpatialprobeError
from configs.names import read_models
from fusion.config import FuseConfig, InspectConfig, ListConfig, ViewConfig
from fusion.materialise import materialise
from fusion.opening import open_source, resolve_aliases, training_clips, view_by_name
from fusion.record import ENDING, find_views, load_record, save_view, view_entry
from fusion.views.view import FusedView


def fuse(config: FuseConfig) -> int:
    """Make a view and record it, so that probes find it by name; write it out if asked to. Returns the exit code.

    Raises:
        ConfigError: a single model with nothing done to it, or options that contradict each other.
        SpatialprobeError: see `fusion.opening.view_by_name`.
    """
    recipe, choices = config.recipe, config.choices
    recipe.check()
    name = read_models(config.model, config.variant, recipe.width)
    name = resolve_aliases(config.root, config.dataset, name)
    if not name.joined:
        raise ConfigError(
            f"{name} alone is a single model, whose name opens its store",
            expected="two models or more, or a variant of one",
            fix=f'write model="{name} <another>", or model={name}@zscore',
        )
    given = config.train_clips or None
    train = training_clips(config.root, config.dataset, given) if recipe.fitted else []
    view = view_by_name(config.root, config.dataset, name, config.stores, recipe, choices, train_clips=train)
    path = save_view(config.root, view, recipe, choices, train)
    describe(view)
    print(f"view:  {path}")
    if not config.materialise:
        command = commands.probe(
            "train", task=commands.Blank("<task>"), model=view.source, dataset=view.dataset, root=config.root
        )
        print(f"probe: {command}")
        return 0
    with Progress(len(view.clips), "materialise") as bar:
        store = materialise(view, config.root, bar.advance)
    print(f"store: {store.where}")
    missing = store.missing(quarantined=True)
    if missing:
        print(f"{len(missing)} clips have no features in the parents yet; the same command adds them later")
    return 1 if missing else 0


def list_views(config: ListConfig) -> int:
    """Print the recorded views with their parents; returns 1 if a record can't be read."""
    rows: list[list[object]] = []
    notes = []
    name = str(read_models(config.model)) if config.model else None
    for path in find_views(config.root, config.dataset, name):
        try:
            view = view_entry(path)
            parents = [f"{parent} (gone)" if parent in view.gone else parent for parent in view.parents]
            rows.append([view.dataset, view.source, view.short, ", ".join(parents)])
        except SpatialprobeError as error:
            rows.append([*path.parts[-3:-1], path.name.removesuffix(ENDING), "broken"])
            notes.append(f"{path}: {error.problem}")
    print_table(f"{len(rows)} fused views", ["dataset", "name", "view", "parents"], rows, notes=notes)
    return 1 if notes else 0


def inspect(config: InspectConfig) -> int:
    """Print what a fused source is made of; a fusion that can't be opened is listed with its reason."""
    name = str(resolve_aliases(config.root, config.dataset, read_models(config.model)))
    paths = [p for p in find_views(config.root, config.dataset, name) if p.name.startswith(config.store or "")]
    if len(paths) < 2:
        source = open_source(config.root, config.dataset, name, config.store)
        describe(source)
        if config.histogram is not None:
            print(f"\n{draw(source, config.histogram)}")
        return 0
    failed = 0
    for path in paths:
        record = load_record(path)
        print(f"\n{path}")
        try:
            describe(open_source(config.root, config.dataset, name, record.short))
        except SpatialprobeError as error:
            print(f"error: {error}")
            failed += 1
    return 1 if failed else 0


def verify(config: ViewConfig) -> int:
    """Check that a fused source is up to date and every byte of it, or of its parents, is as written."""
    source = open_source(config.root, config.dataset, str(read_models(config.model)), config.store)
    stores = [source] if isinstance(source, FeatureStore) else list(getattr(source, "parents", []))
    codes = []
    for store in stores:
        if isinstance(store, FeatureStore):
            print(f"{store.source}: {store.where}")
            codes.append(verify_store(store.backend))
    return max(codes, default=0)


def describe(source: FeatureSource) -> None:
    """Print identity, branches and arrays of a source."""
    kind = "lazy view" if isinstance(source, FusedView) else "store"
    print(f"{source.source} on {source.dataset}: {kind} {source.fingerprint_digest[:12]}, {len(source.clips)} clips")
    fusion = source.fingerprint.get("fusion")
    if isinstance(fusion, dict):
        print("  " + ", ".join(f"{key} {value}" for key, value in fusion.items()))
    covered = source.coverage()
    rows: list[list[object]] = []
    for name, array in source.arrays.items():
        size = format_bytes(array.rows * array.row_bytes * len(source.clips))
        rows.append([name, "x".join(map(str, array.shape)), array.dtype, f"{covered[name]:.0%}", size, array.pooling])
    print_table("", ["array", "rows x grid x channels", "dtype", "coverage", "if written", "resampling"], rows)
    branches = next(iter(source.arrays.values())).extra.get("branches", [])
    facts = [[b["source"], b["array"], b["channels"], b["untrained"]] for b in branches]
    if facts:
        print_table("\nbranches of the first array", ["source", "array", "channels", "untrained"], facts)
