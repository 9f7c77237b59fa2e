"""python -m dolma_py."""

from dolma_py.cli import main

main()
