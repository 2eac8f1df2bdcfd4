"""Large files: memory does not grow with them, and they do not take for ever."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from whimbrel.statements import read_script

from .splitting import statements

READ = """
import re, resource, sys
from pathlib import Path
from whimbrel.migration import outline
from whimbrel.statements import read_script

script = read_script(Path(sys.argv[1]), "file.sql")
outlined = outline(script, 1, "schema_migrations").statements
counted = rows = 0
for statement in script.statements():
    counted += 1
    rows += sum(piece.count(b"\\n") for piece in script.copy_data(statement))
assert counted == outlined
# ru_maxrss also knows the process that this one was forked from; Linux tells them apart elsewhere.
status = Path("/proc/self/status")
peak = (
    int(re.search(r"VmHWM:\\s*([0-9]+) kB", status.read_text())[1])
    if status.exists()
    else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
)
print(counted, rows, peak)
"""
KILOBYTES = 1024 if sys.platform == "darwin" else 1


def read(file: Path) -> tuple[int, int, int]:
    """Read a file in a process of its own; return the statements, the rows of data and the peak memory in KB."""
    done = subprocess.run([sys.executable, "-c", READ, str(file)], capture_output=True, check=True, text=True)
    counted, rows, peak = map(int, done.stdout.split())
    return counted, rows, peak // KILOBYTES


def write_inserts(file: Path, megabytes: int) -> int:
    line = "INSERT INTO places (id, name) VALUES (1, 'Skagen; 57° 43'' N -- the tip');\n".encode()
    count = megabytes * 1_000_000 // len(line)
    file.write_bytes(line * count)
    return count


def write_copy(file: Path, megabytes: int) -> int:
    line = "1\tSkagen; 57° 43' N -- the tip\n".encode()
    count = megabytes * 1_000_000 // len(line)
    file.write_bytes(b"COPY places FROM stdin;\n" + line * count + b"\\.\n")
    return count


@pytest.mark.slow
def test_memory_does_not_grow_with_a_file_of_inserts(tmp_path: Path) -> None:
    file = tmp_path / "file.sql"
    small_count = write_inserts(file, 1)
    small = read(file)
    large_count = write_inserts(file, 50)
    large = read(file)
    assert (small[0], large[0]) == (small_count, large_count)
    assert large[2] - small[2] < 20 * 1024


@pytest.mark.slow
def test_memory_does_not_grow_with_the_data_of_a_copy(tmp_path: Path) -> None:
    file = tmp_path / "file.sql"
    write_copy(file, 4)
    small = read(file)
    large_count = write_copy(file, 50)
    large = read(file)
    assert large[:2] == (1, large_count)
    assert large[2] - small[2] < 20 * 1024


def test_a_file_of_twenty_thousand_functions_is_split() -> None:
    body = "BEGIN\n  -- it's; END\n  NEW.x := ';';\n  RETURN NEW;\nEND\n"
    text = "".join(
        f"CREATE FUNCTION f{number}() RETURNS trigger LANGUAGE plpgsql AS $$\n{body}$$;\n\n" for number in range(20_000)
    )
    found = statements(text)
    assert len(found) == 20_000
    assert found[-1].line == 19_999 * 8 + 1


def test_a_file_of_one_line_is_split_in_linear_time() -> None:
    """A line of megabytes, as some dumps have them, is neither refused nor read over and over."""
    text = "INSERT INTO places VALUES (1, 'Skagen; 57° N');" * 50_000
    start = time.process_time()
    found = statements(text)
    assert len(found) == 50_000
    assert found[-1].column == len(text) - len("INSERT INTO places VALUES (1, 'Skagen; 57° N');") + 1
    assert time.process_time() - start < 10


def test_many_small_copies_are_split_in_linear_time() -> None:
    text = "COPY t FROM stdin;\n1\t'\n2\t$$\n\\.\n\n" * 1_000
    start = time.process_time()
    assert len(statements(text)) == 1_000
    assert time.process_time() - start < 20


def test_a_comment_above_a_statement_of_megabytes_costs_little(tmp_path: Path) -> None:
    """Its tokens would take up many times the memory of its text."""
    file = tmp_path / "file.sql"
    file.write_text("/* places */ INSERT INTO places VALUES (1, 'Skagen');")
    small = read(file)
    rows = ", ".join(["(1, 'Skagen')"] * 200_000)
    file.write_text(f"/* places */ INSERT INTO places VALUES {rows};")
    large = read(file)
    assert large[0] == 1
    assert large[2] - small[2] < 60 * 1024


def test_a_large_file_is_not_kept_in_memory(tmp_path: Path) -> None:
    file = tmp_path / "file.sql"
    write_inserts(file, 2)
    assert read_script(file, "file.sql").content is None
