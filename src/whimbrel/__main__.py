"""python -m whimbrel"""

from whimbrel.cli import main

main()
