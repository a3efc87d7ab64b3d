"""`python -m adtool` is `adtool`."""

from adtool.cli import main

main(prog_name="adtool")
