"""The way back from the swap of a retyped column, which has to prove and to build things before it is one."""

from __future__ import annotations

from dataclasses import replace

from whimbrel.expansion import constraints, defaults, guards, indexes
from whimbrel.expansion.retype import Retype, Targets
from whimbrel.expansion.step import Block, Expansion
from whimbrel.expansion.subject import Subject

_LOCK_TIMEOUT = "400ms"


def retype_column(subject: Subject, targets: Targets) -> Expansion:
    """Return the migrations that give a column another type."""
    change = Retype(subject, targets)
    return change.expansion((*_prepare(change), *_swap_back(change)))


def _prepare(change: Retype) -> list[Block]:
    """Return what makes the old column complete again, without standing in anybody's way."""
    parts, column = change.parts, change.column
    adds = [parts.add_check(parts.step, change.in_step(change.name, change.conversion.backward))]
    proven = [parts.step]
    if column.is_not_null:
        adds.append(parts.add_check(parts.filled, f"{change.name} IS NOT NULL"))
        adds.append(parts.add_check(change.kept_filled, f"{change.kept} IS NOT NULL"))
        proven += [parts.filled, change.kept_filled]
    adds += [constraints.twin_action(parts, twin) for twin in change.old_checks]
    proven += [twin.name for twin in change.old_checks if twin.check.is_valid]
    blocks = [
        Block(
            f"From here on values that {column.type} cannot hold are refused again. Each statement of this file is a"
            " transaction of its own.",
            parts.alter(*adds),
        ),
        Block(
            "Fails where such a value was written meanwhile: then there is no way back that keeps it.",
            "\n".join(parts.validate(name) for name in proven),
        ),
    ]
    # A constraint takes its index along when it goes: both columns need another one.
    for twin, old in zip(change.twins, change.olds, strict=True):
        if twin.index.is_unique:
            final = replace(twin, definition=change.targets.final.indexes[twin.index.name])
            lines = [indexes.build(parts, final), indexes.build(parts, old)]
            blocks.append(Block(f"{twin.index.name}, for both columns.", "\n".join(lines)))
    return blocks


def _swap_back(change: Retype) -> list[Block]:
    parts = change.parts
    variables = defaults.IDENTITY_VARIABLES if change.column.identity else ""
    comment = (
        "The swap back, in one transaction. Where it does not get its locks it gives up at once, so that nobody has to"
        " wait behind it, and can be tried again."
    )
    blocks = [Block(comment, guards.do_block([*_locks(change), *_statements(change)], variables))]
    comments = [
        line for old in change.old_checks for line in constraints.comment_check(parts, old.check, old.check.name)
    ]
    for key in change.keys:
        if key.key.is_incoming:
            comments += constraints.prove_key(parts, key)
    if comments:
        blocks.append(Block("", "\n".join(comments)))
    return blocks


def _locks(change: Retype) -> list[str]:
    """Return what takes every lock of the block at its beginning: nobody sees into it, and knows what it will need."""
    tables = {change.parts.table: None}
    tables |= {constraints.table_of(change.parts, key): None for key in change.keys if key.key.is_incoming}
    return [
        f"PERFORM pg_catalog.set_config('lock_timeout', '{_LOCK_TIMEOUT}', true);",
        f"LOCK TABLE {', '.join(tables)} IN ACCESS EXCLUSIVE MODE;",
    ]


def _statements(change: Retype) -> list[str]:
    parts = change.parts
    incoming = [key for key in change.keys if key.key.is_incoming]
    pairs = list(zip(change.twins, change.olds, strict=True))
    lines = [parts.drop_trigger(change.turned), *(constraints.drop_key(parts, key) for key in incoming)]
    for twin, _ in pairs:
        if twin.index.kind:
            lines.append(parts.alter(parts.drop_constraint(twin.index.name)))
        elif twin.index.is_unique:
            lines.append(f"DROP INDEX {parts.in_schema(twin.index.name)};")
    lines += _names(change)
    for twin, old in pairs:
        if twin.index.kind:
            lines += indexes.add_unique(parts, twin.index, old.name)
            continue
        if not twin.index.is_unique:
            lines += indexes.rename_index(parts, twin.index, twin)
        lines += indexes.rename_twin(parts, old)
    for twin, old in zip(change.checks, change.old_checks, strict=True):
        lines.append(parts.rename_constraint(twin.check.name, twin.name))
        lines.append(parts.rename_constraint(old.name, old.check.name))
    lines += indexes.cluster_on(parts)
    lines += [constraints.add_key(parts, key, key.key.name, key.columns, key.target_columns) for key in incoming]
    return [*lines, parts.trigger_statements(parts.function, change.trigger_body())]


def _names(change: Retype) -> list[str]:
    """Return what gives the columns back their names, their NOT NULL and their default."""
    parts, column, name = change.parts, change.column, change.column.name
    names = [parts.rename_column(name, parts.new), parts.rename_column(change.kept_name, name)]
    if column.is_not_null:
        names.insert(0, parts.alter(f"ALTER COLUMN {change.name} DROP NOT NULL"))
        names.append(parts.alter(f"ALTER COLUMN {change.name} SET NOT NULL"))
        names.append(parts.alter(parts.drop_constraint(change.kept_filled)))
    if column.identity:
        return defaults.move_identity(parts, name, name, names)
    if change.target.default is not None:
        names.insert(0, parts.alter(f"ALTER COLUMN {change.name} DROP DEFAULT"))
    sequence = change.subject.sequence
    counted = sequence.type if sequence is not None and change.type in defaults.INTEGERS else ""
    return [
        *names,
        *defaults.own_sequence(parts, name, counted),
        *defaults.set_default(parts, name, column.default),
    ]
