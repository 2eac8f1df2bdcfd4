"""Indexes of the new column: built beside those of the old one, under other names at first."""

from __future__ import annotations

from dataclasses import dataclass

from whimbrel.expansion.names import literal
from whimbrel.expansion.parts import Parts
from whimbrel.expansion.subject import Index


@dataclass(frozen=True, slots=True)
class Twin:
    """An index that is built for the new column: under `name` at first, under that of `index` in the end."""

    index: Index
    name: str
    definition: str
    # The names of the partitions' indexes.
    partitions: tuple[str, ...]


def twins(parts: Parts, definitions: dict[str, str], suffix: str) -> list[Twin]:
    """Return the indexes of the column as they are to be built, under names that are free."""
    return [
        Twin(
            index,
            parts.relations.free(index.name, suffix=suffix),
            definitions[index.name],
            tuple(parts.relations.free(name, suffix=suffix) for _, _, name in index.partitions),
        )
        for index in parts.subject.indexes
    ]


def build(parts: Parts, twin: Twin) -> str:
    """Return what builds an index without standing in anybody's way; each statement a transaction of its own."""
    index, quoting = twin.index, parts.subject.quoting
    head = f"CREATE {'UNIQUE ' if index.is_unique else ''}INDEX"
    lines: list[str] = []
    if not parts.subject.is_partitioned:
        lines.append(f"{head} CONCURRENTLY {parts.q(twin.name)}\n    ON {parts.table} USING {twin.definition};")
    else:
        lines.append(f"{head} {parts.q(twin.name)}\n    ON ONLY {parts.table} USING {twin.definition};")
        for (schema, table, _), name in zip(index.partitions, twin.partitions, strict=True):
            partition = quoting.qualified(schema, table)
            lines.append(f"{head} CONCURRENTLY {parts.q(name)}\n    ON {partition} USING {twin.definition};")
            attached = f"ATTACH PARTITION {quoting.qualified(schema, name)}"
            lines.append(f"ALTER INDEX {parts.in_schema(twin.name)} {attached};")
    for number, statistics in index.statistics:
        lines.append(f"ALTER INDEX {parts.in_schema(twin.name)} ALTER COLUMN {number} SET STATISTICS {statistics};")
    if index.comment is not None and not index.kind:
        lines.append(f"COMMENT ON INDEX {parts.in_schema(twin.name)} IS {literal(index.comment)};")
    return "\n".join(lines)


def drop_index(parts: Parts, twin: Twin) -> str:
    """Return what takes a built index away again."""
    # An index over partitions cannot be dropped concurrently.
    word = "" if parts.subject.is_partitioned else "CONCURRENTLY "
    return f"DROP INDEX {word}{parts.in_schema(twin.name)};"


def rename_index(parts: Parts, index: Index, twin: Twin) -> list[str]:
    """Return what gives an index, and those of its partitions, the names of a twin."""
    lines = [f"ALTER INDEX {parts.in_schema(index.name)} RENAME TO {parts.q(twin.name)};"]
    for (schema, _, current), later in zip(index.partitions, twin.partitions, strict=True):
        lines.append(f"ALTER INDEX {parts.subject.quoting.qualified(schema, current)} RENAME TO {parts.q(later)};")
    return lines


def rename_twin(parts: Parts, twin: Twin) -> list[str]:
    """Return what gives a twin, and those of its partitions, the names of the index that it stands for."""
    lines = [f"ALTER INDEX {parts.in_schema(twin.name)} RENAME TO {parts.q(twin.index.name)};"]
    for (schema, _, final), name in zip(twin.index.partitions, twin.partitions, strict=True):
        lines.append(f"ALTER INDEX {parts.subject.quoting.qualified(schema, name)} RENAME TO {parts.q(final)};")
    return lines


def add_unique(parts: Parts, index: Index, built: str) -> list[str]:
    """Return what makes a unique or primary key constraint of a built index, with the name that it has."""
    kind = "PRIMARY KEY" if index.kind == "p" else "UNIQUE"
    lines = [parts.alter(f"ADD CONSTRAINT {parts.q(index.name)} {kind} USING INDEX {parts.q(built)}")]
    if index.comment is not None:
        lines.append(f"COMMENT ON CONSTRAINT {parts.q(index.name)} ON {parts.table} IS {literal(index.comment)};")
    return lines


def cluster_on(parts: Parts) -> list[str]:
    """Return what chooses the index again by which the table is clustered."""
    return [
        f"ALTER TABLE {parts.table} CLUSTER ON {parts.q(index.name)};"
        for index in parts.subject.indexes
        if index.is_clustered
    ]
