"""A column with another type: a new one grows beside it, takes its name, and the old one stays for the way back."""

from __future__ import annotations

from dataclasses import dataclass

from whimbrel.expansion import constraints, defaults, guards, indexes
from whimbrel.expansion.indexes import Twin
from whimbrel.expansion.names import literal
from whimbrel.expansion.parts import compared, differs
from whimbrel.expansion.phases import NOT_YET, Phases
from whimbrel.expansion.step import Block, Expansion, Step
from whimbrel.expansion.subject import Subject
from whimbrel.expansion.target import Target


@dataclass(frozen=True, slots=True)
class Targets:
    """What the server makes of the column: with the new type under the new and the old name, and the old type kept."""

    new: Target
    final: Target
    kept: Target


def find_retype_obstacles(subject: Subject, using: str | None) -> list[str]:
    """Return what an expression would break and a plain cast would not."""
    if using is None:
        return []
    return [
        f"foreign key {key.name} writes to the column by itself, and an expression cannot be undone: make it anew with"
        " NO ACTION before"
        for key in subject.foreign_keys
        if key.is_outgoing and key.acts
    ]


def names_of(subject: Subject) -> tuple[str, str]:
    """Return what the new column is called before the names are swapped, and the old one behind that."""
    return f"{subject.column.name}_new", f"{subject.column.name}_old"


class Retype(Phases):
    """The steps that give a column another type; those back from the swap are in `swap`.

    `name` is the column's, which both columns have in turn; `kept_name` what the old one is called behind the swap.
    """

    def __init__(self, subject: Subject, targets: Targets) -> None:
        new, self.kept_name = names_of(subject)
        super().__init__(subject, targets.new, new)
        self.targets = targets
        parts = self.parts
        self.name, self.kept = parts.q(subject.column.name), parts.q(self.kept_name)
        self.kept_filled = parts.constraints.free(subject.table, self.kept_name, suffix="is_filled")
        self.turned = parts.functions.free(subject.table, subject.column.name, self.kept_name, suffix="in_step")
        self.olds = indexes.twins(parts, targets.kept.indexes, "old")
        self.old_checks = constraints.twin_checks(parts, targets.kept.checks, "old")
        self.conversion = targets.new.conversion
        self.type = targets.new.type

    def first_steps(self) -> tuple[Step, Step, Step]:
        """Return the steps before the swap."""
        expand = self.expand(
            f"Add {self.parts.new} of type {self.type} beside {self.column.name}, and keep it in step.",
            f"Whoever writes {self.column.name} writes {self.parts.new} too.",
        )
        return expand, self.backfill(), self.validate()

    def expansion(self, swap_back: tuple[Block, ...]) -> Expansion:
        """Return the migrations, with the way back of the swap."""
        name, table = self.column.name, self.subject.table
        notes = [
            *self.noise(),
            *(
                f"function {function} has the words {table} and {name} in it: see whether it bears the new type"
                for function in self.subject.functions
            ),
        ]
        steps = (*self.first_steps(), self.swap(swap_back), self.contract())
        return Expansion(f"{table}_{name}_to_{self.type}", steps, 4, True, name, self.type, tuple(notes))

    # Triggers

    def trigger_body(self) -> str:
        old, new = f"NEW.{self.name}", f"NEW.{self.new}"
        if self.conversion.is_plain and any(key.is_outgoing and key.acts for key in self.subject.foreign_keys):
            is_changed = differs(old, f"OLD.{self.name}", self.targets.kept.is_exact)
            return f"""
BEGIN
    IF TG_OP = 'UPDATE' AND NOT ({is_changed})
        AND {differs(new, f"OLD.{self.new}", self.target.is_exact)}
    THEN
        -- What the foreign key does by itself, it does to the new column as soon as it is moved there.
        {old} := {new};
    ELSE
        {new} := {old};
    END IF;
    RETURN NEW;
END
"""
        if self.conversion.is_plain:
            return f"\nBEGIN\n    {new} := {old};\n    RETURN NEW;\nEND\n"
        value = self.selected(self.conversion.forward, {self.column.name: f"NEW.{self.name}"})
        return f"\n#variable_conflict use_column\nBEGIN\n    NEW.{self.new} := {value};\n    RETURN NEW;\nEND\n"

    def selected(self, expression: str, values: dict[str, str]) -> str:
        """Return an expression over columns as one that a trigger can evaluate, with the values of some of them."""
        q = self.parts.q
        wanted = {**{name: f"NEW.{q(name)}" for name in self.conversion.uses}, **values}
        columns = ", ".join(f"{value} AS {q(name)}" for name, value in wanted.items())
        return f"(SELECT {expression} FROM (SELECT {columns}) AS given)"  # noqa: S608  (names are quoted)

    def turned_body(self) -> str:
        """Return the body of the function that fills the old column behind the swap."""
        name, kept = f"NEW.{self.name}", f"NEW.{self.kept}"
        lower, upper = defaults.INTEGERS.get(self.column.type, (0, 0))
        pragma = ""
        if self.type in defaults.INTEGERS and upper and self.conversion.is_plain:
            keep = f"        {kept} := CASE WHEN {name} BETWEEN {lower} AND {upper} THEN {name} END;"
        else:
            back = f"{kept}::{self.type}"
            if not self.conversion.is_plain:
                pragma = "#variable_conflict use_column\n"
                back = self.selected(self.conversion.backward, {self.kept_name: kept})
            left, right = (compared(each, self.target.has_equality) for each in (back, name))
            keep = f"""\
        BEGIN
            {kept} := {name};
        EXCEPTION WHEN data_exception OR check_violation THEN
            {kept} := NULL;
        END;
        -- What does not come back the same is not kept.
        IF {left} IS DISTINCT FROM {right} THEN
            {kept} := NULL;
        END IF;"""
        return f"""
{pragma}BEGIN
    IF TG_OP = 'INSERT' OR {differs(name, f"OLD.{self.name}", self.target.is_exact)} THEN
{keep}
    END IF;
    RETURN NEW;
END
"""

    # Swap

    def swap(self, back: tuple[Block, ...]) -> Step:
        """Return the step that lets the new column take the name."""
        parts, name = self.parts, self.column.name
        known = [parts.step, *(twin.index.name for twin in self.twins), *(twin.check.name for twin in self.checks)]
        ready = guards.ready(
            parts,
            f"column {name} cannot change its type yet: it is not proven that every row is filled",
            NOT_YET,
            self.proven(),
            [twin.name for twin in self.twins],
        )
        guard = guards.do_block([ready, guards.alone(parts, name, known)], guards.VARIABLES)
        drops = [parts.step, *(twin.check.name for twin in self.checks)]
        drops += [twin.index.name for twin in self.twins if twin.index.kind]
        unique = [twin.index.name for twin in self.twins if twin.index.is_unique and not twin.index.kind]
        lines = [
            parts.alter(*(parts.drop_constraint(each) for each in drops)),
            *(f"DROP INDEX {parts.in_schema(each)};" for each in unique),
        ]
        up = [
            Block("Looks into the catalog only.", guard),
            Block(
                "Everything from here on changes the catalog only, and is over at once.",
                parts.drop_trigger(parts.function),
            ),
            Block(f"Values that only {self.type} can hold are accepted from here on.", "\n".join(lines)),
            self.swap_names(),
        ]
        lines = [line for twin, old in zip(self.twins, self.olds, strict=True) for line in self.swap_index(twin, old)]
        lines += [parts.rename_constraint(twin.name, twin.check.name) for twin in self.checks]
        lines += indexes.cluster_on(parts)
        if lines:
            up.append(Block("Indexes and checks take the names of those that they stand for.", "\n".join(lines)))
        up.append(
            Block(
                f"The trigger turned round: {self.kept_name} follows as long as a value fits, for the way back, and is"
                " NULL where none does.",
                parts.trigger_statements(self.turned, self.turned_body()),
            )
        )
        title = f"Let {parts.new} take the name {name}; the old column stays as {self.kept_name}."
        return Step("swap", title, tuple(up), back, down_autocommit=True)

    def swap_names(self) -> Block:
        parts, column, name = self.parts, self.column, self.column.name
        # In this order the constraint of SET NOT NULL, which 18 gives a name, finds that name free.
        before = [parts.alter(f"ALTER COLUMN {self.name} DROP NOT NULL")] if column.is_not_null else []
        names = [parts.rename_column(name, self.kept_name), parts.rename_column(parts.new, name)]
        after: list[str] = []
        if column.is_not_null:
            after.append(parts.alter(f"ALTER COLUMN {self.name} SET NOT NULL"))
            after.append(parts.alter(parts.drop_constraint(parts.filled)))
        remark = " The proven constraint saves the server from reading the table for SET NOT NULL." * bool(after)
        is_counted = self.type in defaults.INTEGERS
        if column.identity:
            between = [*before, *names, *after]
            body = defaults.move_identity(parts, name, name, between, is_widened=is_counted)
            text = guards.do_block(body, defaults.IDENTITY_VARIABLES)
            return Block(f"The swap. The identity goes over with the number that it has come to.{remark}", text)
        if column.default is not None:
            before.insert(0, parts.alter(f"ALTER COLUMN {self.name} DROP DEFAULT"))
        after += defaults.own_sequence(parts, name, self.type if is_counted else "")
        after += defaults.set_default(parts, name, self.target.default)
        return Block(f"The swap.{remark}", "\n".join([*before, *names, *after]))

    def swap_index(self, twin: Twin, old: Twin) -> list[str]:
        parts, index = self.parts, twin.index
        if index.kind:
            return indexes.add_unique(parts, index, twin.name)
        if index.is_unique:
            return indexes.rename_twin(parts, twin)
        return [*indexes.rename_index(parts, index, old), *indexes.rename_twin(parts, twin)]

    def contract(self) -> Step:
        """Return the step that drops the old column."""
        parts, kept = self.parts, self.kept_name
        olds = [old.name for old in self.olds if not old.index.is_unique]
        swapped = guards.unless(
            "EXISTS (SELECT FROM pg_catalog.pg_trigger AS t\n"
            "        JOIN pg_catalog.pg_proc AS p ON p.oid = t.tgfoid\n"
            f"        WHERE t.tgrelid = {guards.relation(parts)}\n"
            f"            AND t.tgname = {literal(parts.trigger)} AND p.proname = {literal(self.turned)})",
            f"column {kept} cannot be dropped yet: the columns are not swapped",
            "Let the migrations before this one end first.",
        )
        up = (
            Block(
                "Looks into the catalog only.",
                guards.do_block([swapped, guards.alone(parts, kept, olds)], guards.VARIABLES),
            ),
            Block(
                "From here on there is no way back to the old column.",
                "\n".join(
                    [
                        parts.drop_trigger(self.turned),
                        *(f"DROP INDEX {parts.in_schema(old)};" for old in olds),
                        parts.alter(f"DROP COLUMN {self.kept}"),
                    ]
                ),
            ),
        )
        reason = f"{kept} is gone, and {self.column.name} may hold values that {self.column.type} cannot"
        return Step("contract", f"Drop {kept}: nobody goes back to it.", up, irreversible=reason)
