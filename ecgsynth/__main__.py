"""`python -m ecgsynth` is the command line."""

from ecgsynth.cli import main

main(prog_name="ecgsynth")
