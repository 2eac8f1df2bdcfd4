"""What a new name and a new type have in common: the new column is added, filled and proven beside the old one."""

from __future__ import annotations

from abc import ABC, abstractmethod

from whimbrel.expansion import constraints, indexes
from whimbrel.expansion.parts import Parts, compared
from whimbrel.expansion.step import Block, Step
from whimbrel.expansion.subject import Subject
from whimbrel.expansion.target import Target

NOT_YET = "Let the backfill and the migration that validates end first."


class Phases(ABC):
    """The first three steps. `old` and `new` are both columns as SQL names them."""

    def __init__(self, subject: Subject, target: Target, new: str) -> None:
        self.subject = subject
        self.column = subject.column
        self.target = target
        self.parts = parts = Parts(subject, new, (subject.column.name, new))
        self.old, self.new = parts.q(subject.column.name), parts.q(new)
        self.twins = indexes.twins(parts, target.indexes, "next")
        self.checks = constraints.twin_checks(parts, target.checks, "next")
        self.keys = constraints.twin_keys(parts)

    @abstractmethod
    def trigger_body(self) -> str:
        """Return the body of the trigger's function."""

    def forward(self) -> str:
        """Return the new value, made of the old column."""
        return self.target.conversion.forward

    def in_step(self, column: str, expression: str) -> str:
        """Return the condition that a column has the value that it is to have."""
        left, right = (compared(each, self.target.has_equality) for each in (column, expression))
        return f"{left} IS NOT DISTINCT FROM {right}"

    def expand(self, title: str, about_trigger: str, default: Block | None = None) -> Step:
        """Return the step that adds the column, the trigger and the unproven constraints."""
        parts = self.parts
        up = [
            Block("The new column. It has no default yet, so no row is rewritten.", parts.add_column(self.target)),
            *([default] if default is not None else []),
            Block(
                f"{about_trigger} The trigger's name puts it behind all others that fire before a row is written.",
                parts.trigger_statements(parts.function, self.trigger_body()),
            ),
            Block(
                "NOT VALID: no row is looked at now, but from here on the server refuses every write that the trigger"
                " did not see.",
                self.with_comments(parts.alter(*self.conditions())),
            ),
        ]
        down = (
            Block("", parts.drop_trigger(parts.function)),
            Block("", parts.alter(*self.drops(), f"DROP COLUMN {self.new}")),
        )
        return Step("expand", title, tuple(up), down)

    def conditions(self) -> list[str]:
        """Return the actions that add the constraints of the new column, unproven."""
        parts = self.parts
        actions = [parts.add_check(parts.step, self.in_step(self.new, self.forward()))]
        if self.column.is_not_null:
            actions.append(parts.add_check(parts.filled, f"{self.new} IS NOT NULL"))
        return [*actions, *(constraints.twin_action(parts, twin) for twin in self.checks)]

    def drops(self) -> list[str]:
        """Return the actions that drop them."""
        names = [*self.own_constraints(), *(twin.name for twin in self.checks)]
        return [self.parts.drop_constraint(name) for name in names]

    def own_constraints(self) -> list[str]:
        """Return the constraints that are there for the expansion alone."""
        return [self.parts.step, *([self.parts.filled] if self.column.is_not_null else [])]

    def proven(self) -> list[str]:
        """Return the constraints that are proven before the old column goes."""
        return [*self.own_constraints(), *(twin.name for twin in self.checks if twin.check.is_valid)]

    def with_comments(self, text: str) -> str:
        """Return a text with the comments of the checks behind it."""
        lines = [line for twin in self.checks for line in constraints.comment_check(self.parts, twin.check, twin.name)]
        return "\n".join([text, *lines])

    def backfill(self) -> Step:
        """Return the step that fills the rows which nobody writes to."""
        # An assignment refuses a value that does not fit, where a cast would cut it.
        value = self.old if self.target.conversion.is_plain else self.forward()
        left, right = (compared(each, self.target.has_equality) for each in (self.new, self.forward()))
        up = self.parts.backfill(value, f"{left} IS DISTINCT FROM {right}")
        down = Block("Nothing to do: the column is dropped with what was filled in.")
        return Step("backfill", f"Fill {self.parts.new} from {self.column.name}.", (up,), (down,))

    def noise(self) -> list[str]:
        """Return what to say of the triggers that fire for every row that is filled."""
        return [
            f"trigger {trigger.name} ({trigger.function}) fires for every row that the backfill fills"
            for trigger in self.subject.triggers
            if trigger.is_update
        ]

    def validate(self) -> Step:
        """Return the step that proves the constraints, builds the indexes and moves the foreign keys."""
        parts = self.parts
        up = [
            Block(
                "Each proof reads the table once, while everybody reads and writes. It fails if a row is not filled.",
                "\n".join(parts.validate(name) for name in self.proven()),
            ),
            *(Block(f"To take the place of {twin.index.name}.", indexes.build(parts, twin)) for twin in self.twins),
            *(
                Block(
                    f"In the place of {twin.key.name}: the new one is added unproven, proven, and then takes its name.",
                    constraints.move_key(parts, twin),
                )
                for twin in self.keys
            ),
            Block("The planner knows nothing of the new column yet.", f"ANALYZE {parts.table};"),
        ]
        down = [
            *(
                Block(f"{twin.key.name} for the old column again.", constraints.move_key(parts, twin, back=True))
                for twin in self.keys
            ),
            *(Block("", indexes.drop_index(parts, twin)) for twin in reversed(self.twins)),
            Block(
                "Unproven again, in one statement: there is no moment without them.",
                self.with_comments(parts.alter(*self.drops(), *self.conditions())),
            ),
        ]
        is_autocommit = bool(self.twins or self.keys)
        things = " and build its indexes" if self.twins else ""
        return Step(
            "validate",
            f"Prove that every row is filled{things}.",
            tuple(up),
            tuple(down),
            up_autocommit=is_autocommit,
            down_autocommit=is_autocommit,
        )
