"""A column under another name or with another type, changed while old and new versions of an application run."""

from whimbrel.expansion.expand import Request, expand
from whimbrel.expansion.files import write_files
from whimbrel.expansion.step import Block, Expansion, Step

__all__ = ["Block", "Expansion", "Request", "Step", "expand", "write_files"]
