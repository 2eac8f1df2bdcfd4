"""A column under another name: both stand side by side until nobody uses the old one."""

from __future__ import annotations

from whimbrel.expansion import defaults, guards, indexes
from whimbrel.expansion.indexes import Twin
from whimbrel.expansion.parts import differs
from whimbrel.expansion.phases import NOT_YET, Phases
from whimbrel.expansion.step import Block, Expansion, Step
from whimbrel.expansion.subject import Subject
from whimbrel.expansion.target import Target


def rename_column(subject: Subject, target: Target, new: str) -> Expansion:
    """Return the migrations that rename a column."""
    return _Rename(subject, target, new).expansion()


def find_rename_obstacles(subject: Subject) -> list[str]:
    """Return what a new name would break and a new type would not."""
    return [
        f"trigger {trigger.name} fires before both columns are in step, and its function {trigger.function} names the"
        " column: make it an AFTER trigger, or do its work elsewhere"
        for trigger in subject.triggers
        if trigger.is_before and trigger.mentions
    ]


class _Rename(Phases):
    def __init__(self, subject: Subject, target: Target, new: str) -> None:
        super().__init__(subject, target, new)
        self.constant = defaults.constant_default(subject.column)

    def expansion(self) -> Expansion:
        old, new = self.column.name, self.parts.new
        default = None
        if self.constant is not None:
            default = Block(
                "The default is set on its own: rows that are there keep NULL until they are filled.",
                "\n".join(defaults.set_default(self.parts, new, self.constant)),
            )
        expand = self.expand(
            f"Add {new} beside {old}, and keep both in step.",
            f"Whoever writes {old} writes {new} too, and the other way round, so that the old and the new version of"
            " the application can run at the same time.",
            default,
        )
        steps = (expand, self.backfill(), self.validate(), self.contract())
        return Expansion(f"{self.subject.table}_{old}_to_{new}", steps, 3, False, old, new, tuple(self.notes()))

    def notes(self) -> list[str]:
        old, new, functions = self.column.name, self.parts.new, self.subject.functions
        return [
            *self.noise(),
            *(
                f"function {function} has the words {self.subject.table} and {old} in it: if it reads this column, let"
                f" it read {new} before the contract"
                for function in functions
            ),
            *(
                f"trigger {trigger.name} calls {trigger.function}, which has the word {old} in it: let it read {new}"
                " before the contract"
                for trigger in self.subject.triggers
                if trigger.mentions and not any(name.startswith(f"{trigger.function}(") for name in functions)
            ),
        ]

    def trigger_body(self) -> str:
        old, new = f"NEW.{self.old}", f"NEW.{self.new}"
        is_exact = self.target.is_exact
        if self.constant is None:
            given, said = f"{new} IS NOT NULL", "Who gives the new column means it; who does not, the old one."
        else:
            given = differs(new, f"({self.constant})::{self.target.type}", is_exact)
            said = "Who gives the new column something else than its default means it; else the old one counts."
        return f"""
BEGIN
    IF TG_OP = 'INSERT' THEN
        -- {said}
        IF {given} THEN
            {old} := {new};
        ELSE
            {new} := {old};
        END IF;
    ELSIF {differs(new, f"OLD.{self.new}", is_exact)} THEN
        {old} := {new};
    ELSE
        -- The old column changed, or neither did: then this fills a row that was not filled yet.
        {new} := {old};
    END IF;
    RETURN NEW;
END
"""

    def contract(self) -> Step:
        parts, column = self.parts, self.column
        known = [parts.step, *(twin.index.name for twin in self.twins), *(twin.check.name for twin in self.checks)]
        guard = guards.do_block(
            [
                guards.ready(
                    parts,
                    f"column {column.name} cannot be dropped yet: it is not proven that every row has its value in"
                    f" {parts.new}",
                    NOT_YET,
                    self.proven(),
                    [twin.name for twin in self.twins],
                ),
                guards.alone(parts, column.name, known),
            ],
            guards.VARIABLES,
        )
        up = [
            Block("Looks into the catalog only.", guard),
            Block(
                "From here on nobody may use the old column. What follows changes the catalog only, and is over at"
                " once.",
                parts.drop_trigger(parts.function) + "\n" + parts.alter(parts.drop_constraint(parts.step)),
            ),
        ]
        if column.is_not_null:
            up.append(
                Block(
                    "The proven constraint saves the server from reading the table for SET NOT NULL.",
                    parts.alter(f"ALTER COLUMN {self.new} SET NOT NULL")
                    + "\n"
                    + parts.alter(parts.drop_constraint(parts.filled)),
                )
            )
        lines = [line for twin in self.twins for line in self.replace_index(twin)]
        for twin in self.checks:
            lines.append(parts.alter(parts.drop_constraint(twin.check.name)))
            lines.append(parts.rename_constraint(twin.name, twin.check.name))
        if lines:
            up.append(Block("Indexes and checks take the names of those that they stand for.", "\n".join(lines)))
        up += self.move_default()
        lines = [parts.alter(f"DROP COLUMN {self.old}"), *indexes.cluster_on(parts)]
        up.append(Block("", "\n".join(lines)))
        reason = f"{column.name} is gone, and {parts.new} has its values; the way back is to rename {parts.new}"
        return Step("contract", f"Drop {column.name}: {parts.new} has taken its place.", tuple(up), irreversible=reason)

    def replace_index(self, twin: Twin) -> list[str]:
        parts, index = self.parts, twin.index
        if index.kind:
            return [
                parts.alter(parts.drop_constraint(index.name)),
                *indexes.add_unique(parts, index, twin.name),
            ]
        return [f"DROP INDEX {parts.in_schema(index.name)};", *indexes.rename_twin(parts, twin)]

    def move_default(self) -> list[Block]:
        parts, column = self.parts, self.column
        if column.identity:
            body = defaults.move_identity(parts, column.name, parts.new)
            comment = "The identity goes over with the number that it has come to."
            return [Block(comment, guards.do_block(body, defaults.IDENTITY_VARIABLES))]
        lines = defaults.own_sequence(parts, parts.new)
        if self.constant is None:
            lines += defaults.set_default(parts, parts.new, self.target.default)
        return [Block("", "\n".join(lines))] if lines else []
