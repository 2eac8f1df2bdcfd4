"""SQL text → Statements with their positions. The only part of whimbrel, with lint, that knows the parser."""

from whimbrel.statements.kind import Kind, classify, recorded_version
from whimbrel.statements.parser import GRAMMAR_VERSION, ParserError
from whimbrel.statements.script import Script, read_script, script_from
from whimbrel.statements.statement import Comment, Run, Statement, Trailing

__all__ = [
    "GRAMMAR_VERSION",
    "Comment",
    "Kind",
    "ParserError",
    "Run",
    "Script",
    "Statement",
    "Trailing",
    "classify",
    "read_script",
    "recorded_version",
    "script_from",
]
