"""The names of an expansion, and the statements about its two columns and the trigger between them."""

from __future__ import annotations

from whimbrel.expansion.names import Registry, dollar_quoted, literal
from whimbrel.expansion.step import Block
from whimbrel.expansion.subject import Subject
from whimbrel.expansion.target import Target


class Parts:
    """Statements about one column and its successor; `new` is what that is called while both are there."""

    def __init__(self, subject: Subject, new: str, what: tuple[str, ...]) -> None:
        self.subject = subject
        self.new = new
        self.table = subject.qualified
        self.relations = Registry(set(subject.relation_names))
        self.constraints = Registry(set(subject.constraint_names))
        self.functions = Registry(set(subject.function_names))
        self.step = self.constraints.free(subject.table, *what, suffix="in_step")
        self.filled = self.constraints.free(subject.table, new, suffix="is_filled")
        self.function = self.functions.free(subject.table, *what, suffix="in_step")
        self.trigger = last_trigger(subject, what)

    def q(self, name: str) -> str:
        """Return a quoted name."""
        return self.subject.quoting.name(name)

    def in_schema(self, name: str) -> str:
        """Return the name of a relation or function of the table's schema."""
        return self.subject.quoting.qualified(self.subject.schema, name)

    def alter(self, *actions: str) -> str:
        """Return one ALTER TABLE with some actions."""
        if len(actions) == 1:
            return f"ALTER TABLE {self.table} {actions[0]};"
        return f"ALTER TABLE {self.table}\n    " + ",\n    ".join(actions) + ";"

    # The new column

    def add_column(self, target: Target) -> str:
        """Return what adds the new column, with everything that a column is given besides its type."""
        column, name = self.subject.column, self.q(self.new)
        collation = f" COLLATE {target.collation}" if target.collation else ""
        lines = [f"ALTER TABLE {self.table} ADD COLUMN {name} {target.type}{collation};"]
        lines += [
            f"ALTER TABLE {self.table} ALTER COLUMN {name} {setting};"
            for setting in column.settings
            if target.is_toastable or not setting.startswith(("SET STORAGE", "SET COMPRESSION"))
        ]
        if column.comment is not None:
            lines.append(f"COMMENT ON COLUMN {self.table}.{name} IS {literal(column.comment)};")
        for grant in column.grants:
            option = " WITH GRANT OPTION" if grant.is_grantable else ""
            lines.append(f"GRANT {grant.privilege} ({name}) ON {self.table} TO {grant.grantee}{option};")
        return "\n".join(lines)

    def trigger_statements(self, function: str, body: str) -> str:
        """Return the function and the trigger that keep both columns in step."""
        return (
            f"CREATE FUNCTION {self.in_schema(function)}() RETURNS trigger\nLANGUAGE plpgsql\n"
            f"AS {dollar_quoted(body)};\n\n"
            f"CREATE TRIGGER {self.q(self.trigger)} BEFORE INSERT OR UPDATE ON {self.table}\n"
            f"    FOR EACH ROW EXECUTE FUNCTION {self.in_schema(function)}();"
        )

    def drop_trigger(self, function: str) -> str:
        """Return what takes both away."""
        return f"DROP TRIGGER {self.q(self.trigger)} ON {self.table};\nDROP FUNCTION {self.in_schema(function)}();"

    def add_check(self, name: str, condition: str) -> str:
        """Return the action that adds a constraint for what is written from now on."""
        return f"ADD CONSTRAINT {self.q(name)} CHECK ({condition}) NOT VALID"

    def drop_constraint(self, name: str) -> str:
        """Return the action that drops a constraint."""
        return f"DROP CONSTRAINT {self.q(name)}"

    def rename_constraint(self, name: str, to: str, table: str | None = None) -> str:
        """Return the statement that renames a constraint."""
        return f"ALTER TABLE {table or self.table} RENAME CONSTRAINT {self.q(name)} TO {self.q(to)};"

    def rename_column(self, name: str, to: str) -> str:
        """Return the statement that renames a column."""
        return f"ALTER TABLE {self.table} RENAME COLUMN {self.q(name)} TO {self.q(to)};"

    def validate(self, name: str) -> str:
        """Return the statement that proves a constraint."""
        return f"ALTER TABLE {self.table} VALIDATE CONSTRAINT {self.q(name)};"

    def backfill(self, value: str, condition: str) -> Block:
        """Return the UPDATE that fills the rows which nobody writes to."""
        key = ", ".join(self.q(name) for name in self.subject.key)
        noisy = [trigger for trigger in self.subject.triggers if trigger.is_update]
        comment = "Fill the rows that nobody has written to since. Each batch is a transaction of its own."
        if noisy:
            names = ", ".join(f"{trigger.name} ({trigger.function})" for trigger in noisy)
            comment += f"\nFor each row these triggers fire as well; see whether that is wanted: {names}."
        return Block(
            comment,
            f"UPDATE {self.table}\nSET {self.q(self.new)} = {value}\nWHERE {condition};",
            f"-- whimbrel: backfill = {self.table} by {key} batch = auto",
        )


def differs(left: str, right: str, is_exact: bool) -> str:
    """Return the condition that two values are not the same to the byte, be they equal or not."""
    if is_exact:
        return f"{left} IS DISTINCT FROM {right}"
    return f"ROW({left})::record *<> ROW({right})::record"


def compared(expression: str, has_equality: bool) -> str:
    """Return a value in a form that can be compared."""
    return expression if has_equality else f"({expression})::text"


_PREFIXES = ("zz", "zzzz", "~", "~~~~", "~~~~~~~~")


def last_trigger(subject: Subject, what: tuple[str, ...]) -> str:
    """Return a name that comes behind those of all triggers that may change the row before it, or an empty one.

    Triggers fire in the order of the bytes of their names.
    """
    others = [trigger.name.encode() for trigger in subject.triggers if trigger.is_before]
    registry = Registry(set(subject.trigger_names))
    for prefix in _PREFIXES:
        name = registry.free(prefix, *what, suffix="in_step")
        if all(name.encode() > other for other in others):
            return name
    return ""
