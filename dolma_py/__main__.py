"""python -m dolma_py."""

from dolma_py.cli import main

if __name__ == "__main__":  # processes of our own import this file under another name
    main()
