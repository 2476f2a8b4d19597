"""Lets `python -m keyturn` be the `keyturn` command."""

from keyturn.cli.main import main

if __name__ == "__main__":
    main()
