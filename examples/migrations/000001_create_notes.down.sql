-- Undo: create notes.

DROP TABLE notes;
