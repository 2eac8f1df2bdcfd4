"""The command line, run as a person or a machine would run it: as a process, against a real server."""
